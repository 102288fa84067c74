"""Reads observations that a run recorded out of the replay of its checkpoint: what an exported actor is tried on."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

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


def _read_observations(
    run: Path, state: dict[str, Any], count: int, observation_size: int, action_size: int
) -> FloatArray:
    replay = state["replay"]
    dtype, row_bytes = _REPLAY_DTYPES[replay["dtype"]], replay["row_bytes"]
    constants = dict(replay.get("constants", []))
    stored = [index for index in range(observation_size) if index not in constants]
    record = np.dtype(
        [("observation", dtype, len(stored)), ("action", dtype, action_size), ("reward", "<f4"), ("flags", "u1")]
    )
    foreign = any(index >= observation_size for index in constants)
    if foreign or (replay["segments"] and record.itemsize != row_bytes):
        raise CheckpointError(
            f"The replay of `{run}` has records of {row_bytes} bytes; {observation_size} observations and "
            f"{action_size} actions in {replay['dtype']} take {record.itemsize}. It belongs to another environment."
        )
    parts: list[FloatArray] = []
    for segment in replay["segments"]:
        wanted = min(segment["rows"], count - sum(len(part) for part in parts))
        if wanted <= 0:
            break
        path = run / "checkpoint" / segment["file"]
        content = _read_segment(path, segment["rows"] * record.itemsize, segment["crc32"])
        parts.append(np.frombuffer(content, record, wanted)["observation"].astype(np.float32))
    observations = np.zeros((sum(len(part) for part in parts), observation_size), dtype=np.float32)
    if parts:
        observations[:, stored] = np.concatenate(parts)
    for index, value in constants.items():
        observations[:, index] = np.float16(value) if replay["dtype"] == "float16" else value
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
