"""Writes a run's replay as a log, that `--prefill` and other programs read: `edgedst log --transitions`.

Numbers are in the environment's units, whatever the replay keeps them in. docs/formats.md has the columns.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgedst.envs.robot import Robot
from edgedst.errors import ConfigError, LogError
from edgedst.files import folder_error, is_robot_file, put_in_place, remove, temporary
from edgedst.logs.columns import EPISODE, REWARD, TERMINATED, TRUNCATED, own_names
from edgedst.runs.actor import ActorWeights, read_actor, while_training
from edgedst.runs.inputs import middle_and_half
from edgedst.runs.recorded import Replay
from edgedst.runs.state import forgotten_rows, with_past

# Flags of a replay's row (csrc/rl/replay.h).
_TRANSITION, _TERMINATED, _TRUNCATED, _OPEN = 1, 2, 4, 8
_BLOCK = 4_096  # rows in memory as Python's numbers
_OPTION = "--transitions"


class Written(NamedTuple):
    """What a log holds."""

    transitions: int
    episodes: int
    of_robot: bool


def write_transitions(run: Path, path: Path, robot_file: str | None = None) -> Written:
    """Write what the replay of a run's newest checkpoint holds, whole or not at all.

    Args:
        run: its folder.
        path: a name that ends in .csv or .parquet.
        robot_file: the robot.py that the run was trained with, whose names the columns get. It is imported; nothing
            moves.

    Raises:
        ConfigError: the name ends otherwise, or `robot_file` is none.
        CheckpointError: the checkpoint is missing or damaged.
        LogError: there is no transition, or the robot.py is another one.
        RunFolderError: the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise ConfigError(f"`{_OPTION}` must be FILE.csv or FILE.parquet and is `{path}`.")
    if robot_file is not None and not is_robot_file(robot_file):
        raise ConfigError(f"`--env` gives columns the names of a robot.py, and `{robot_file}` is none. Leave it out.")
    writer = CsvWriter if ending == ".csv" else _parquet_writer()
    actor = read_actor(run)
    robot = _checked(Robot(robot_file), actor, run) if robot_file is not None else None
    return while_training(run, lambda state: _write(run, state, path, actor, robot, writer))


def _checked(robot: Robot, actor: ActorWeights, run: Path) -> Robot:
    """The robot, whose bounds are those that the run was trained with."""
    bounds = (robot.observation_low, robot.observation_high), robot.action_low, robot.action_high
    if bounds != (actor.observation_bounds, actor.action_low, actor.action_high):
        raise LogError(
            f"`{robot.path}` has other bounds of observations or actions than `{run}` was trained with. Name the "
            "robot.py of that run, or leave `--env` out."
        )
    return robot


class Block(NamedTuple):
    """k rows of a log."""

    episode: npt.NDArray[np.int64]
    observation: npt.NDArray[np.float64]  # (k, n)
    action: npt.NDArray[np.float64]  # (k, m)
    reward: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint8]  # without _TRANSITION the row is an observation alone


class Writer(Protocol):
    """Writes blocks into an open file."""

    def __init__(self, file: Any, observations: list[str], actions: list[str]) -> None: ...

    def write(self, block: Block) -> None:
        """The next rows."""

    def close(self) -> None:
        """There are no more; the file stays open."""


def _write(
    run: Path, state: dict[str, Any], path: Path, actor: ActorWeights, robot: Robot | None, writer: type[Writer]
) -> Written:
    record, m = state["replay"], len(actor.action_low)
    width = {"float16": 2, "float32": 4}[record["dtype"]]
    n = (record["row_bytes"] - 5) // width - m + len(record.get("constants", []))  # a reward and flags take 5
    names = own_names(robot, n, m)
    transitions = episodes = 0
    try:
        descriptor, made = temporary(str(path))
    except OSError as error:
        raise folder_error(error, str(path), _OPTION) from error
    try:
        with os.fdopen(descriptor, "wb") as file:  # its lock says that this process lives
            out = writer(file, *names)
            for block in _blocks(Replay(run, state, n, m), actor):
                transitions += int((block.flags & _TRANSITION).sum())
                episodes = int(block.episode[-1]) + 1
                out.write(block)
            out.close()
            file.flush()
            if not transitions:
                behind = " behind a beginning of an episode, which its history needs" if actor.history else " yet"
                raise LogError(f"The replay of `{run}` holds no transition{behind}: there is nothing to write.")
            put_in_place([(made, str(path))])
    except OSError as error:
        raise folder_error(error, str(path), _OPTION) from error
    finally:
        remove(made)
    return Written(transitions, episodes, actor.observation_bounds is not None)


def _blocks(replay: Replay, actor: ActorWeights) -> Iterator[Block]:
    """What the ring holds, in the environment's units."""
    action_middle, action_half = middle_and_half((actor.action_low, actor.action_high))
    episode = 0
    behind_transition = False  # an observation alone that no transition led to is of no use
    for records in _rows(replay, actor.history > 0):
        flags = records["flags"]
        follows = np.concatenate([[behind_transition], (flags[:-1] & _TRANSITION) > 0])
        behind_transition = bool(flags[-1] & _TRANSITION)
        kept = follows | ((flags & _TRANSITION) > 0)
        records, flags = records[kept], flags[kept]
        if not len(records):
            continue
        ended = np.cumsum((flags & _TRANSITION) == 0)
        observation = replay.observations(records)
        if actor.observation_bounds is not None:
            middle, half = middle_and_half(actor.observation_bounds)
            observation = middle + half * observation
        yield Block(
            episode + np.concatenate([[0], ended[:-1]]),
            observation,
            action_middle + action_half * records["action"].astype(np.float64),
            records["reward"],
            flags,
        )
        episode += int(ended[-1])


def _rows(replay: Replay, whole: bool) -> Iterator[npt.NDArray[Any]]:
    """Closed rows that the ring has not forgotten, then the open one; `whole`: of episodes that it has from their
    beginning on, as in a log each begins with its first row.
    """
    record, known = replay.replay, 0
    for segment in record["segments"]:
        rows, first = replay.rows(segment), forgotten_rows(record, segment)
        if whole:
            first, known = with_past(segment, first, known, rows, _next_beginning)
        for start in range(first, len(rows), _BLOCK):
            yield rows[start : start + _BLOCK]
    last = np.frombuffer(bytes.fromhex(record["open_row"]), replay.record).copy()
    if len(last) == 1 and last["flags"][0] == _OPEN and (not whole or known == record["rows_closed"]):
        last["flags"] = 0
        yield last


def _next_beginning(rows: npt.NDArray[Any], first: int, stop: int) -> int | None:
    """See `Checkpoints.next_beginning`."""
    before = max(0, first - 1)
    ended = np.flatnonzero((rows["flags"][before:stop] & _TRANSITION) == 0)
    return before + int(ended[0]) + 1 if len(ended) else None


class CsvWriter:
    """A line a row."""

    def __init__(self, file: Any, observations: list[str], actions: list[str]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._csv.writerow([EPISODE, *observations, *actions, REWARD, TERMINATED, TRUNCATED])

    def write(self, block: Block) -> None:
        """See `Writer`."""
        alone = [""] * (block.action.shape[1] + 3)
        rows = zip(*(values.tolist() for values in block), strict=True)
        self._csv.writerows(
            [episode, *observation, *action, reward, flags >> 1 & 1, flags >> 2 & 1]
            if flags & _TRANSITION
            else [episode, *observation, *alone]
            for episode, observation, action, reward, flags in rows
        )

    def close(self) -> None:
        """See `Writer`."""
        self._text.flush()
        self._text.detach()


def _parquet_writer() -> type[Writer]:
    import pyarrow
    import pyarrow.parquet

    class ParquetWriter:
        """A row group a block of blocks."""

        def __init__(self, file: Any, observations: list[str], actions: list[str]) -> None:
            numbers = [(name, pyarrow.float64()) for name in (*observations, *actions)]
            truths = [(name, pyarrow.bool_()) for name in (TERMINATED, TRUNCATED)]
            self._schema = pyarrow.schema([(EPISODE, pyarrow.int64()), *numbers, (REWARD, pyarrow.float32()), *truths])
            self._parquet = pyarrow.parquet.ParquetWriter(file, self._schema, write_page_checksum=True)

        def write(self, block: Block) -> None:
            """See `Writer`."""
            alone = (block.flags & _TRANSITION) == 0
            columns = [pyarrow.array(block.episode)]
            columns += [pyarrow.array(values) for values in np.ascontiguousarray(block.observation.T)]
            columns += [pyarrow.array(values, mask=alone) for values in np.ascontiguousarray(block.action.T)]
            columns.append(pyarrow.array(block.reward, mask=alone))
            columns += [pyarrow.array(block.flags & flag > 0, mask=alone) for flag in (_TERMINATED, _TRUNCATED)]
            self._parquet.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))

        def close(self) -> None:
            """See `Writer`."""
            self._parquet.close()

    return ParquetWriter
