"""Reads observations that a run recorded out of the replay of its checkpoint: what an exported actor is tried on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.deploy.checkpoint import FloatArray, reason, while_training
from edgedst.errors import CheckpointError

_REPLAY_DTYPES = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}


def recorded_observations(run: Path, count: int, observation_size: int, action_size: int) -> FloatArray:
    """The first `count` observations that the run's replay still has on disk, fewer when there are fewer.

    A record is observations (but those that never move, which state.json tells), then actions, in the replay's dtype,
    then the reward (float32) and a byte of flags.

    Returns:
        (rows, observation_size) float32.

    Raises:
        CheckpointError: when state.json names a segment that is missing, too short or of another shape.
    """
    return while_training(run, lambda state: _read_observations(run, state, count, observation_size, action_size))


def _read_observations(
    run: Path, state: dict[str, Any], count: int, observation_size: int, action_size: int
) -> FloatArray:
    replay = state.get("replay") or {}
    try:
        dtype = _REPLAY_DTYPES[replay["dtype"]]
        row_bytes = int(replay["row_bytes"])
        constants = {int(index): float(value) for index, value in replay.get("constants", [])}
        segments = [(str(segment["file"]), int(segment["rows"])) for segment in replay["segments"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"`{run / 'checkpoint' / 'state.json'}` does not describe the replay ({reason(error)}). The file is "
            "damaged or foreign: take it from a backup."
        ) from error
    stored = [index for index in range(observation_size) if index not in constants]
    record = np.dtype(
        [("observation", dtype, len(stored)), ("action", dtype, action_size), ("reward", "<f4"), ("flags", "u1")]
    )
    if segments and record.itemsize != row_bytes:
        raise CheckpointError(
            f"The replay of `{run}` has records of {row_bytes} bytes; {observation_size} observations and "
            f"{action_size} actions in {replay['dtype']} take {record.itemsize}. It belongs to another environment."
        )
    parts: list[FloatArray] = []
    for name, rows in segments:
        wanted = min(rows, count - sum(len(part) for part in parts))
        if wanted <= 0:
            break
        parts.append(_read_segment(run, name, record, wanted)["observation"].astype(np.float32))
    observations = np.zeros((sum(len(part) for part in parts), observation_size), dtype=np.float32)
    if parts:
        observations[:, stored] = np.concatenate(parts)
    for index, value in constants.items():
        observations[:, index] = np.float16(value) if replay["dtype"] == "float16" else value
    return observations


def _read_segment(run: Path, name: str, record: np.dtype[Any], rows: int) -> npt.NDArray[Any]:
    path = next((p for p in (run / "checkpoint" / name, run / name) if p.is_file()), run / "checkpoint" / name)
    try:
        with path.open("rb") as file:
            content = file.read(rows * record.itemsize)
    except OSError as error:
        raise CheckpointError(
            f"The replay segment `{path}` cannot be read ({reason(error)}). "
            "Copy the whole checkpoint folder, replay included."
        ) from error
    if len(content) < rows * record.itemsize:
        raise CheckpointError(
            f"The replay segment `{path}` has {len(content)} bytes where {rows * record.itemsize} were expected. It "
            "was cut off: copy it again."
        )
    return np.frombuffer(content, dtype=record)
