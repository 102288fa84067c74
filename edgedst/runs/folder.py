"""The run folder: its files, the metrics, and how they survive a full disk. Checkpoints are `checkpoint.py`'s.

RUN = runs/<env>/<method>/s<seed>-<time>/ with config.toml plan.json host.json metrics.jsonl summary.json checkpoint/.
Standard library only, and little of it: this runs in the lean trainer.
"""

import os
import time
from binascii import crc32

from edgedst.errors import CheckpointError, RunFolderError
from edgedst.files import (
    close_each,
    folder_error,
    is_robot_file,
    locked,
    make_folder,
    remove,
    sync,
    told_name,
    write_all,
    write_whole,
)
from edgedst.plain_json import dumps, pretty

ORDER = "order"  # in the folder of the runs: theirs, one a line, in the order in which they began

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
        self.metrics_crc32 = 0

    @staticmethod
    def create(run_dir: str, env: str, method: str, seed: int) -> "RunFolder":
        """Make runs/<env>/<method>/s<seed>-<time>/, a name that nothing else has.

        Raises:
            RunFolderError: it cannot be made.
        """
        try:
            path = claim_folder(run_dir, env, method, seed)
            make_folder(os.path.join(path, "checkpoint"))
            note_in_order(run_dir, path)
        except OSError as error:
            raise folder_error(error, error.filename or run_dir) from error
        return RunFolder(path)

    def write(self, name: str, content: "dict[str, Any] | str") -> None:
        """Write a small file whole or not at all; a dict becomes JSON.

        Raises:
            RunFolderError: it cannot be written; a file of that name from before is as it was.
        """
        text = content if isinstance(content, str) else pretty(content)
        write_whole(os.path.join(self.path, name), text.encode())

    def extend(self, config_toml: str) -> int:
        """Give a run that is there more steps; returns the CRC-32 of its new config.toml.

        The summary of its end goes first: at no instant does a finished run have steps left to do.

        Raises:
            RunFolderError: config.toml cannot be written, and is as it was.
        """
        remove(os.path.join(self.path, "summary.json"))
        try:
            sync(self.path)
        except OSError as error:
            raise folder_error(error, self.path) from error
        self.write("config.toml", config_toml)
        return crc32(config_toml.encode())

    def append(self, name: str, text: str) -> None:
        """Add to a log that no checkpoint counts on.

        Raises:
            RunFolderError: it cannot be written.
        """
        path = os.path.join(self.path, name)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                write_all(descriptor, text.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise folder_error(error, path) from error

    def open_metrics(self, new: bool) -> None:
        """Open metrics.jsonl and lock the run, until this process ends, however it ends: two would spoil it.

        To be called before anything else of the run is read.

        Args:
            new: make the file, whose name is on the disk afterwards; else it has to be there.

        Raises:
            RunFolderError: another process trains the run, or the file cannot be opened.
            CheckpointError: it is not there.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if new else 0)
        try:
            self._metrics = os.open(self._metrics_path, flags, 0o644)
            if new:
                sync(self.path)
        except FileNotFoundError:
            raise CheckpointError(
                f"`{self.path}` has no metrics.jsonl, which its checkpoint counts on. Name a run folder that `edgedst "
                "train` made; copy the whole run folder again if it was copied."
            ) from None
        except OSError as error:
            raise folder_error(error, self._metrics_path) from error
        if not locked(self._metrics):
            raise RunFolderError(
                f"`{self.path}` is being trained by another process. Wait for it, or end it with Ctrl-C and resume."
            )
        # A process that the environment forks would hold the lock as long as it lives.
        held = [self._metrics]
        os.register_at_fork(after_in_child=lambda: close_each(held))

    def keep_metrics(self, size: int, expected_crc32: "int | None") -> None:
        """Go on behind the first `size` bytes: what was written after the checkpoint is cut off.

        Args:
            size: bytes.
            expected_crc32: of them; None: the checkpoint does not say (format 1).

        Raises:
            CheckpointError: they are not what the checkpoint counts on.
        """
        try:
            found = os.fstat(self._metrics).st_size
            os.lseek(self._metrics, 0, os.SEEK_SET)
            checksum, left = 0, min(size, found)
            while left and (part := os.read(self._metrics, min(left, 8192))):
                checksum, left = crc32(part, checksum), left - len(part)
            if found < size or (expected_crc32 is not None and checksum != expected_crc32):
                what = "shorter than" if found < size else "not as"
                raise CheckpointError(
                    f"`{self._metrics_path}` is {what} its checkpoint says ({size} bytes): it was edited or cut. Copy "
                    "the whole run folder again, or train anew."
                )
            os.ftruncate(self._metrics, size)
            os.lseek(self._metrics, size, os.SEEK_SET)
        except OSError as error:
            raise folder_error(error, self._metrics_path) from error
        self.metrics_bytes, self.metrics_crc32 = size, checksum

    @property
    def _metrics_path(self) -> str:
        return os.path.join(self.path, "metrics.jsonl")

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
            raise folder_error(error, self._metrics_path) from error
        self.metrics_bytes += len(record)
        self.metrics_crc32 = crc32(record, self.metrics_crc32)

    def sync_metrics(self) -> None:
        """Put the metrics on the disk before a checkpoint counts on them."""
        try:
            os.fsync(self._metrics)
        except OSError as error:
            raise folder_error(error, self._metrics_path) from error


def claim_folder(run_dir: str, env: str, method: str, seed: int) -> str:
    """Make runs/<env>/<method>/s<seed>-<time>/, empty and of a name that nothing else has.

    Raises:
        OSError: it cannot be made.
    """
    parent = os.path.join(run_dir, folder_name(env), method)
    name = f"s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(1, 1000):  # two runs that start in one second
        path = os.path.join(parent, name if attempt == 1 else f"{name}-{attempt}")
        try:
            make_folder(path)
            break
        except FileExistsError:
            continue
    return path


def note_in_order(run_dir: str, path: str) -> None:
    """Note in RUN_DIR/order that this run is the newest: on a board without a clock its name may say otherwise."""
    line = os.path.relpath(path, run_dir) + "\n"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(os.path.join(run_dir, ORDER), flags, 0o644)
    try:
        write_all(descriptor, os.fsencode(line))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync(run_dir)


def folder_name(env: str) -> str:
    """An environment's id as a folder name: `module:Env-v0` and `Space/Env-v0` have characters that folders lack.

    A robot.py has its own name, without its folder.
    """
    if is_robot_file(env):
        env = told_name(env).removesuffix(".py")
    return "".join([c if c.isalnum() or c in "-_." else "-" for c in env])


def host_facts() -> "dict[str, Any]":
    """The machine that a run ran on, from /proc and uname."""
    uname = os.uname()
    return {
        "machine": uname.machine,
        "kernel": f"{uname.sysname} {uname.release}",
        "board": _first_line("/proc/device-tree/model"),
        "cpu": _first_line("/proc/cpuinfo", "model name") or _arm_core("/proc/cpuinfo"),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
    }


# On ARM the kernel tells numbers: implementer (0x41 is ARM, 0x4e NVIDIA) and part. The cores of the boards in devices/.
_ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x4e", "0x004"): "NVIDIA Carmel",
}


def _arm_core(path: str) -> "str | None":
    """The first core's name, or its numbers; None where the file has no such."""
    implementer, part = _first_line(path, "CPU implementer"), _first_line(path, "CPU part")
    if not (implementer and part):
        return None
    return _ARM_CORES.get((implementer, part), f"ARM core of implementer {implementer}, part {part}")


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
