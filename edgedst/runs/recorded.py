"""Reads observations that a run recorded out of the replay of its checkpoint: what an exported actor is tried on."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.errors import CheckpointError
from edgedst.runs.actor import Bounds, FloatArray, middle_and_half, while_training
from edgedst.runs.reading import reason

_REPLAY_DTYPES = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}


def recorded_observations(
    run: Path, count: int, observation_size: int, action_size: int, bounds: Bounds | None = None
) -> FloatArray:
    """The first `count` observations that the run's replay still has on disk, fewer when there are fewer.

    A record is observations (but those that never move, which state.json tells), then actions, in the replay's dtype,
    then the reward (float32) and a byte of flags.

    Args:
        run: its folder.
        count: of rows, at most.
        observation_size: n.
        action_size: m.
        bounds: `ActorWeights.observation_bounds`: a machine's replay has observations normalised by them.

    Returns:
        (rows, observation_size) float32, as the environment gave them, but for the replay's rounding.

    Raises:
        CheckpointError: when state.json names a segment that is missing, damaged or of another shape.
    """
    seen = while_training(run, lambda state: _read_observations(run, state, count, observation_size, action_size))
    if bounds is None:
        return seen
    middle, half = middle_and_half(bounds)
    observations: FloatArray = (seen * half + middle).astype(np.float32)
    return observations


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
        self.record = np.dtype(
            [
                ("observation", dtype, len(self.stored)),
                ("action", dtype, action_size),
                ("reward", "<f4"),
                ("flags", "u1"),
            ]
        )
        foreign = any(index >= observation_size for index in self.constants)
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


def _read_observations(
    run: Path, state: dict[str, Any], count: int, observation_size: int, action_size: int
) -> FloatArray:
    replay = Replay(run, state, observation_size, action_size)
    parts: list[FloatArray] = []
    for segment in state["replay"]["segments"]:
        wanted = min(segment["rows"], count - sum(len(part) for part in parts))
        if wanted <= 0:
            break
        parts.append(replay.observations(replay.rows(segment, wanted)).astype(np.float32))
    observations = np.concatenate(parts) if parts else np.zeros((0, observation_size), np.float32)
    if state["replay"]["dtype"] == "float16":
        for index, value in replay.constants.items():
            observations[:, index] = np.float16(value)
    return observations


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
