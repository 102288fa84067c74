"""Reads observations that a run recorded out of the replay of its checkpoint: what an exported actor is tried on."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.errors import CheckpointError
from edgedst.runs.actor import ActorWeights, FloatArray, while_training
from edgedst.runs.inputs import middle_and_half
from edgedst.runs.reading import reason

_REPLAY_DTYPES = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
_TRANSITION = 1  # of a row's flags: it has an action, and the next row is its next observation


@dataclass(frozen=True, eq=False)
class Rows:
    """Consecutive rows of a replay, in the networks' units but for a normaliser's."""

    observations: npt.NDArray[np.float64]  # (rows, n)
    actions: npt.NDArray[np.float64]  # (rows, m), in [-1, 1]; 0 in a row without one
    begins: tuple[bool | None, ...]  # whether a row is an episode's first; None: its episode's start is not here


def recorded_features(run: Path, count: int, actor: ActorWeights) -> FloatArray:
    """What this actor of the run would have taken at the first steps that the run's replay still has on disk.

    Args:
        run: its folder.
        count: of rows, at most.
        actor: of that run.

    Returns:
        (rows, N) float32, in the environment's units, but for the replay's rounding; fewer where there are fewer.

    Raises:
        CheckpointError: as `recorded_rows`.
    """
    size, history = actor.observation_size, actor.history
    rows = recorded_rows(run, count + history, size, actor.sizes[-1])
    observations = rows.observations
    if actor.observation_bounds is not None:
        middle, half = middle_and_half(actor.observation_bounds)
        observations = observations * half + middle
    if not history:
        features: FloatArray = observations[:count].astype(np.float32)
        return features
    actions = actor.to_environment_units(rows.actions)
    stacked, age, whole = [], 0, False  # age: of the episode's rows so many are here before this one
    for row, begins in enumerate(rows.begins):
        age = 0 if begins in (True, None) else age + 1
        whole = begins is True or (whole and begins is False)
        if whole or age >= history:
            seen = [observations[row - min(back, age)] for back in range(history)]
            done = [actions[row - back] if back <= age else actor.start_action for back in range(1, history + 1)]
            stacked.append(np.concatenate([*seen, *done]).astype(np.float32))
    return np.array(stacked[:count], dtype=np.float32).reshape(-1, actor.sizes[0])


def recorded_rows(run: Path, count: int, observation_size: int, action_size: int) -> Rows:
    """The first `count` rows that the run's replay still has on disk, fewer when there are fewer.

    A record is observations (but those that never move, which state.json tells) less state.json's offset, then actions,
    both in the replay's dtype, then the reward (float32) and a byte of flags.

    Raises:
        CheckpointError: when state.json names a segment that is missing, damaged or of another shape.
    """
    return while_training(run, lambda state: _read_rows(run, state, count, observation_size, action_size))


class Replay:
    """The rows of a run's replay on the disk, a segment at a time.

    Args:
        run: its folder.
        state: its state.json.
        observation_size: n.
        action_size: m.

    Raises:
        CheckpointError: they are of another shape.
    """

    def __init__(self, run: Path, state: dict[str, Any], observation_size: int, action_size: int) -> None:
        replay = state["replay"]
        self.folder, self.replay = run / "checkpoint", replay
        dtype, row_bytes = _REPLAY_DTYPES[replay["dtype"]], replay["row_bytes"]
        self.constants = dict(replay.get("constants", []))
        self.offset = replay.get("offset")  # of observations, that was subtracted before they were stored
        self.observation_size = observation_size
        self.stored = [index for index in range(observation_size) if index not in self.constants]
        fields = [("observation", dtype, len(self.stored)), ("action", dtype, action_size)]
        self.record = np.dtype([*fields, ("reward", "<f4"), ("flags", "u1")])
        foreign = any(index >= observation_size for index in self.constants)
        foreign = foreign or (self.offset is not None and len(self.offset) != observation_size)
        if foreign or (replay["segments"] and self.record.itemsize != row_bytes):
            raise CheckpointError(
                f"The replay of `{run}` has records of {row_bytes} bytes; {observation_size} observations and "
                f"{action_size} actions in {replay['dtype']} take {self.record.itemsize}. It belongs to another "
                "environment."
            )

    def rows(self, segment: dict[str, Any], most: int | None = None) -> npt.NDArray[Any]:
        """The records of a segment, or `most` of them.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        path = self.folder / segment["file"]
        content = _read_segment(path, segment["rows"] * self.record.itemsize, segment["crc32"])
        return np.frombuffer(content, self.record, segment["rows"] if most is None else most)

    def observations(self, records: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """(rows, n): whole observations of records, constants included."""
        whole = np.zeros((len(records), self.observation_size))
        whole[:, self.stored] = records["observation"]
        if self.offset is not None:
            whole[:, self.stored] += np.array(self.offset)[self.stored]
        for index, value in self.constants.items():
            whole[:, index] = value
        return whole


def _read_rows(run: Path, state: dict[str, Any], count: int, observation_size: int, action_size: int) -> Rows:
    replay = Replay(run, state, observation_size, action_size)
    parts: list[npt.NDArray[Any]] = [np.zeros(0, replay.record)]
    begins: list[bool | None] = []
    due = 0  # the row that the next segment goes on with, unless the replay dropped some
    for segment in state["replay"]["segments"]:
        wanted = min(segment["rows"], count - len(begins))
        if wanted <= 0:
            break
        part = replay.rows(segment, wanted)
        ended = (part["flags"] & _TRANSITION == 0).tolist()
        if segment["first"] != due:
            first = None
        else:
            first = not begins or bool(parts[-1]["flags"][-1] & _TRANSITION == 0)
        begins += [first, *ended[:-1]]
        due = segment["first"] + segment["rows"]
        parts.append(part)
    rows = np.concatenate(parts)
    observations = replay.observations(rows)
    if state["replay"]["dtype"] == "float16":  # as the networks saw them
        for index, value in replay.constants.items():
            observations[:, index] = np.float16(value)
    return Rows(observations, rows["action"].astype(np.float64), tuple(begins))


def _read_segment(path: Path, size: int, checksum: int) -> bytes:
    """Its bytes that count: a training process may have written more behind them."""
    try:
        if not path.is_file():
            raise OSError("there is no such file")
        with path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            content = file.read(min(size, found))
    except OSError as error:
        raise CheckpointError(
            f"The replay segment `{path}` cannot be read ({reason(error)}). "
            "Copy the whole checkpoint folder, replay included."
        ) from error
    if len(content) < size:
        raise CheckpointError(
            f"The replay segment `{path}` has {len(content)} bytes where {size} were expected. It was cut off: copy it "
            "again."
        )
    if zlib.crc32(content) != checksum:
        raise CheckpointError(
            f"The replay segment `{path}` is damaged: expected CRC-32 {checksum}, got {zlib.crc32(content)}. Copy it "
            "again, or take it from a backup."
        )
    return content
