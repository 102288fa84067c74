"""Checkpoints of the lean trainer: networks (`networks_file.py`), JSON and replay segments.

RUN/checkpoint/state.json is the commit point (`state.py`): it names the files that belong to it, with their
CRC-32, and is renamed into place when they are on the disk. Networks are small and written anew each time, the actor of
the best evaluation whenever there is a better one; the replay is large and only ever appended to, in segments that are
deleted once the ring has forgotten them. The format stands in docs/formats.md.
"""

import os
from binascii import crc32

from edgedst.errors import CheckpointError
from edgedst.files import folder_error, remove, sync, told_name, write_all, write_whole
from edgedst.plain_json import loads
from edgedst.runs.networks_file import CHUNK_BYTES, check_crc, read_header, read_into, read_network, write_networks
from edgedst.runs.state import oldest_row, state_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from edgedst import core

SEGMENT_ROWS = 50_000
LAYOUT = ("dtype", "row_bytes", "constants")  # of state.json's record of a replay: what its rows are


class Checkpoints:
    """Reads and writes one run's checkpoint.

    Args:
        folder: RUN/checkpoint.
        networks: by name.
        workspace: where a layer of them is unpacked to.
        replay: the ring.
        row_bytes: of one of its records.
        dtype: of its observations and actions.
    """

    def __init__(
        self,
        folder: str,
        networks: "dict[str, core.Network]",
        workspace: "core.TopologyWorkspace",
        replay: "core.Replay",
        row_bytes: int,
        dtype: str,
    ) -> None:
        self.folder = folder
        self.networks = networks
        self.workspace = workspace
        self.replay = replay
        self.row_bytes = row_bytes
        self.dtype = dtype
        self.segments: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None  # state.json's record of the best actor's file
        self.about: dict[str, Any] = {}  # metadata of the networks that were read
        self._kept = ""  # the networks' file that state.json names
        self._chunk = bytearray(max(CHUNK_BYTES, row_bytes))

    def save(self, facts: "dict[str, Any]", about: "dict[str, Any]", others: "tuple[str, ...]" = ()) -> None:
        """Write a checkpoint; the one before stays good until this one is whole.

        Args:
            facts: what state.json holds beside the files: step, env, method, seed, agent, environment, ...
            about: metadata of the networks' file.
            others: names of files beside it that `facts` name and that are on the disk.

        Raises:
            RunFolderError: it cannot be written.
        """
        name = f"networks-{facts['step']:09d}.safetensors"
        # The same step again (a run that resumed and stopped at once): not over the file that is in use.
        if name == self._kept:
            name = "again-" + name
        try:
            networks = write_networks(os.path.join(self.folder, name), self.networks, self.workspace, about)
            segments = self._append_rows()
            sync(self.folder)
        except OSError as error:
            raise folder_error(error, self.folder) from error
        state = {
            **facts,
            "networks": {"file": name, **networks},
            "best": self.best,
            "replay": {
                **layout(self.dtype, self.row_bytes, self.replay.constants),
                **({"offset": self.replay.offset} if self.replay.offset else {}),
                **({"pinned": self.replay.pinned} if self.replay.pinned else {}),
                "rows_closed": self.replay.rows_closed,
                "capacity": self.replay.capacity,
                "segment_rows": SEGMENT_ROWS,
                "open_row": self.replay.open_row().hex(),
                "segments": segments,
            },
        }
        write_whole(os.path.join(self.folder, "state.json"), state_bytes(state))
        self.segments, self._kept = segments, name
        keep = {name, "state.json", *others, *[segment["file"] for segment in segments]}
        self._remove_others(keep | {self.best["file"]} if self.best else keep)

    def is_best(self, mean: float) -> bool:
        """Whether an evaluation's mean return is above that of the best actor that is kept."""
        return self.best is None or bool(mean > self.best["evaluation_return"])

    def save_best(self, about: "dict[str, Any]", actor: "core.Network | None" = None) -> None:
        """Write the actor, without its moments, as the best one so far: the next checkpoint will name it.

        Until then the checkpoint before names the best one of its own time, whose file stays. The file's name has the
        step, and a step is evaluated once between two checkpoints, so no file in use is written over.

        Args:
            about: the file's metadata; `step` and `evaluation_return` go into state.json too.
            actor: instead of the run's own.

        Raises:
            RunFolderError: it cannot be written.
        """
        name = f"best-{about['step']:09d}.safetensors"
        path = os.path.join(self.folder, name)
        try:
            networks = {"actor": actor or self.networks["actor"]}
            written = write_networks(path, networks, self.workspace, about, moments=False)
        except OSError as error:
            raise folder_error(error, path) from error
        told = {key: about[key] for key in ("step", "evaluation_return")}
        self.best = {"file": name, **written, **told}

    def load(self, state: "dict[str, Any]") -> str:
        """Put what a checkpoint holds into the networks and the replay.

        Args:
            state: from `state.read_state`.

        Returns:
            What the user has to know, or "": a run goes on without its best actor, which nothing is learned from.

        Raises:
            CheckpointError: a file is missing, damaged, or belongs to other networks.
        """
        try:
            self._read_networks(state)
            self._read_rows(state["replay"])
            lost = self._find_best(state.get("best"))  # runs from before there was one go on without
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"The checkpoint in `{self.folder}` does not fit this run: {error}. It is damaged or belongs "
                "to something else: take it from a backup, or train anew."
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint in `{self.folder}` cannot be read: {error.strerror}. Copy the whole "
                "checkpoint folder again."
            ) from error
        self._kept = state["networks"]["file"]
        return lost

    def _find_best(self, best: "dict[str, Any] | None") -> str:
        if best is None:
            return ""
        path = os.path.join(self.folder, best["file"])
        try:
            with open(path, "rb", buffering=0) as file:
                check_crc(file, path, best["bytes"], best["crc32"], self._chunk)
        except (CheckpointError, OSError):
            return (
                f"The best actor so far, `{path}` of step {best['step']:,}, is damaged or gone. That of the next "
                "evaluation takes its place."
            )
        self.best = best
        return ""

    def _read_networks(self, state: "dict[str, Any]") -> None:
        record = state["networks"]
        path = os.path.join(self.folder, record["file"])
        with open(path, "rb", buffering=0) as file:
            check_crc(file, path, record["bytes"], record["crc32"], self._chunk)
            header, start = read_header(file, record["bytes"])
            self._check_about(loads(header["__metadata__"]["edgedst"]), state)
            for name, network in self.networks.items():
                read_network(file, header, start, name, network, self.workspace)

    def _check_about(self, about: "dict[str, Any]", state: "dict[str, Any]") -> None:
        """The networks are those of state.json's run and step, and of this environment's sizes."""
        told = {**state, "env": told_name(state["env"])}
        for name in ("env", "method", "seed", "step"):
            if name in about and about[name] != told.get(name):
                raise ValueError(f"its networks are of {name} {about[name]}, and state.json says {told.get(name)}")
        self.about = about
        sizes = about.get("sizes", {}).get("actor")
        now = list(self.networks["actor"].sizes)
        if sizes and sizes[0] != now[0]:
            raise CheckpointError(
                f"The actor in `{self.folder}` takes {sizes[0]} observations and `{state['env']}` has {now[0]} here. "
                "Install the version that it was trained with, or train anew."
            )
        if sizes and sizes[-1] != now[-1]:
            raise CheckpointError(
                f"The actor in `{self.folder}` has {sizes[-1]} outputs and `{state['env']}` takes {now[-1]} here. "
                "Install the version that it was trained with, or train anew."
            )

    def _append_rows(self) -> "list[dict[str, Any]]":
        """Write the rows closed since the last checkpoint; returns the segments that the ring still needs."""
        closed, pinned = self.replay.rows_closed, self.replay.pinned
        oldest = oldest_row(closed, self.replay.capacity, pinned)
        segments = [dict(one) for one in self.segments if one["first"] < pinned or one["first"] + one["rows"] > oldest]
        row = segments[-1]["first"] + segments[-1]["rows"] if segments else 0
        while row < closed:
            last = segments[-1] if segments else {"first": -1, "rows": 0}
            if row >= pinned:  # rows that stay have segments of their own
                row = max(row, oldest)
            whole = last["rows"] >= SEGMENT_ROWS or last["first"] < pinned <= row
            if whole or last["first"] + last["rows"] != row:
                segments.append({"file": f"replay-{row:010d}.rows", "first": row, "rows": 0, "crc32": 0})
            first = segments[-1]["first"]
            row = self._append_to(segments[-1], min(closed, first + SEGMENT_ROWS, pinned if row < pinned else closed))
        return segments

    def _append_to(self, segment: "dict[str, Any]", stop: int) -> int:
        """Append rows up to `stop` to a segment's file, behind its last row that counts."""
        row = segment["first"] + segment["rows"]
        chunk = memoryview(self._chunk)
        most = len(chunk) // self.row_bytes
        path = os.path.join(self.folder, segment["file"])
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with open(descriptor, "r+b", buffering=0) as file:
            file.truncate(segment["rows"] * self.row_bytes)
            file.seek(0, os.SEEK_END)
            while row < stop:
                count = min(most, stop - row)
                view = chunk[: count * self.row_bytes]
                self.replay.read_rows(row, count, view)
                segment["crc32"] = crc32(view, segment["crc32"])
                write_all(file.fileno(), view)
                row += count
            os.fsync(file.fileno())
        segment["rows"] = stop - segment["first"]
        return stop

    def _read_rows(self, record: "dict[str, Any]") -> None:
        if record["row_bytes"] != self.row_bytes or record["dtype"] != self.dtype:
            raise ValueError(f"its replay rows have {record['row_bytes']} bytes of {record['dtype']}")
        if record.get("constants", []) != [list(constant) for constant in self.replay.constants]:
            raise ValueError("its replay left out other constants than this environment has")
        self.set_offset(record)
        if "pinned" in record:
            self.replay.set_pinned(record["pinned"])
        for segment in record["segments"]:
            path = os.path.join(self.folder, segment["file"])
            with open(path, "rb", buffering=0) as file:
                check_crc(file, path, segment["rows"] * self.row_bytes, segment["crc32"], self._chunk, whole=False)
                self.read_rows(file, 0, segment["rows"], segment["first"])
        if self.replay.rows_closed != record["rows_closed"]:
            raise ValueError(f"its segments end at row {self.replay.rows_closed}, not at {record['rows_closed']}")
        self.replay.set_open_row(bytes.fromhex(record["open_row"]))
        self.segments = [dict(segment) for segment in record["segments"]]

    def set_offset(self, record: "dict[str, Any]") -> None:
        """What the rows of this replay of state.json, which are read next, hold observations less of."""
        if "offset" in record:
            offset = memoryview(bytearray(8 * len(record["offset"]))).cast("d")
            for i, value in enumerate(record["offset"]):
                offset[i] = value
            self.replay.set_offset(offset)

    def read_rows(self, file: "Any", skipped: int, count: int, row: int) -> None:
        """Put `count` rows of a segment's file, behind those that are skipped, into the replay, from its `row` on.

        Raises:
            ValueError: the file ends too early, or a row is none.
        """
        file.seek(skipped * self.row_bytes)
        stop = row + count
        while row < stop:
            count = min(len(self._chunk) // self.row_bytes, stop - row)
            view = memoryview(self._chunk)[: count * self.row_bytes]
            read_into(file, view)
            self.replay.write_rows(row, count, view)
            row += count

    def next_beginning(self, file: "Any", first: int, stop: int) -> "int | None":
        """The row of a segment's file, from its row `first` on, that an episode begins with; `stop` where it is the one
        behind, None where no episode ends before `stop`.

        Raises:
            ValueError: the file ends too early.
        """
        row = max(0, first - 1)
        file.seek(row * self.row_bytes)
        while row < stop:
            count = min(len(self._chunk) // self.row_bytes, stop - row)
            view = memoryview(self._chunk)[: count * self.row_bytes]
            read_into(file, view)
            ended = bytes(view[self.row_bytes - 1 :: self.row_bytes]).find(0)  # its flags: no transition
            if ended >= 0:
                return row + ended + 1
            row += count
        return None

    def _remove_others(self, keep: "set[str]") -> None:
        for name in os.listdir(self.folder):
            if name not in keep and name.endswith((".safetensors", ".rows", ".actions", ".tmp")):
                remove(os.path.join(self.folder, name))


def layout(dtype: str, row_bytes: int, constants: "Sequence[tuple[int, float]]") -> "dict[str, Any]":
    """What the rows of a replay are, as state.json says it."""
    return {"dtype": dtype, "row_bytes": row_bytes, "constants": [list(constant) for constant in constants]}
