"""The run folder: its files, the metrics, and how they survive a full disk. Checkpoints are `edgedst/checkpoints.py`'s.

RUN = runs/<env>/<method>/s<seed>-<time>/ with config.toml plan.json host.json metrics.jsonl summary.json checkpoint/.
Standard library only, and little of it: this runs in the lean trainer.
"""

import os
import time

from edgedst.errors import RunFolderError
from edgedst.files import folder_error, locked, make_folder, write_whole
from edgedst.plain_json import dumps, pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RunFolder:
    """A run folder that exists. Every failure to write is a RunFolderError that says what to do.

    Args:
        path: the folder.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.checkpoint_path = os.path.join(path, "checkpoint")
        self._metrics = -1
        self.metrics_bytes = 0

    @staticmethod
    def create(run_dir: str, env: str, method: str, seed: int) -> "RunFolder":
        """Make runs/<env>/<method>/s<seed>-<time>/, a name that nothing else has.

        Raises:
            RunFolderError: it cannot be made.
        """
        parent = os.path.join(run_dir, folder_name(env), method)
        name = f"s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
        try:
            for attempt in range(1, 1000):  # two runs that start in one second
                path = os.path.join(parent, name if attempt == 1 else f"{name}-{attempt}")
                try:
                    make_folder(path)
                    break
                except FileExistsError:
                    continue
            make_folder(os.path.join(path, "checkpoint"))
        except OSError as error:
            raise folder_error(error, parent) from error
        return RunFolder(path)

    def write(self, name: str, content: "dict[str, Any] | str") -> None:
        """Write a small file whole or not at all; a dict becomes JSON.

        Raises:
            RunFolderError: it cannot be written; a file of that name from before is as it was.
        """
        text = content if isinstance(content, str) else pretty(content)
        write_whole(os.path.join(self.path, name), text.encode())

    def open_metrics(self, keep_bytes: int = 0) -> None:
        """Open metrics.jsonl behind its first `keep_bytes`: what a resumed run had written later is cut off."""
        path = os.path.join(self.path, "metrics.jsonl")
        try:
            self._metrics = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._lock()
            if os.fstat(self._metrics).st_size < keep_bytes:
                raise RunFolderError(
                    f"`{path}` is shorter than its checkpoint says ({keep_bytes} bytes): it was edited or cut. Copy "
                    "the whole run folder again, or train anew."
                )
            os.ftruncate(self._metrics, keep_bytes)
            os.lseek(self._metrics, keep_bytes, os.SEEK_SET)
        except OSError as error:
            raise folder_error(error, path) from error
        self.metrics_bytes = keep_bytes

    def _lock(self) -> None:
        """Held until this process ends, however it ends: two trainers in one folder would spoil it."""
        if not locked(self._metrics):
            raise RunFolderError(
                f"`{self.path}` is being trained by another process. Wait for it, or end it with Ctrl-C and resume."
            )

    def metric(self, line: "dict[str, Any]") -> None:
        """Append one line to metrics.jsonl.

        Raises:
            RunFolderError: it cannot be written; half a line is taken back.
        """
        record = (dumps(line) + "\n").encode()
        try:
            written = os.write(self._metrics, record)
            if written != len(record):
                raise OSError(28, "No space left on device")
        except OSError as error:
            try:
                os.ftruncate(self._metrics, self.metrics_bytes)
            except OSError:
                pass
            raise folder_error(error, os.path.join(self.path, "metrics.jsonl")) from error
        self.metrics_bytes += len(record)

    def sync_metrics(self) -> None:
        """Put the metrics on the disk before a checkpoint counts on them."""
        try:
            os.fsync(self._metrics)
        except OSError as error:
            raise folder_error(error, os.path.join(self.path, "metrics.jsonl")) from error


def folder_name(env: str) -> str:
    """An environment's id as a folder name: `module:Env-v0` and `Space/Env-v0` have characters that folders lack."""
    return "".join([c if c.isalnum() or c in "-_." else "-" for c in env])


def host_facts() -> "dict[str, Any]":
    """The machine that a run ran on, from /proc and uname."""
    uname = os.uname()
    return {
        "machine": uname.machine,
        "kernel": f"{uname.sysname} {uname.release}",
        "board": _first_line("/proc/device-tree/model"),
        "cpu": _first_line("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
    }


def _first_line(path: str, start: str = "") -> "str | None":
    try:
        with open(path, "rb") as file:
            for line in file:
                text = line.decode("utf-8", "replace").strip("\0\n ")
                if text.startswith(start):
                    return text.partition(":")[2].strip() if start else text
    except OSError:
        pass
    return None
