"""The robot.py that a bundle takes along: the file that trained the actor is the one that serves it.

Nobody's code runs here because a run names it. Of the run's own file the text is copied; where the user types `--env
robot.py`, the file is also imported, which moves nothing, and held against what the actor was trained with.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedst.deploy.environment import trained_environment
from edgedst.envs import registry
from edgedst.envs.robot import Robot
from edgedst.errors import ConfigError
from edgedst.files import is_robot_file
from edgedst.runs.actor import ActorWeights
from edgedst.runs.metrics import is_number
from edgedst.runs.reading import read_regular, reason
from edgedst.runs.run import Run


@dataclass(frozen=True)
class RobotFile:
    """A robot.py, and what is known of it."""

    path: str
    content: bytes
    rate_hz: float | None  # steps a second; None: not known
    notes: tuple[str, ...]  # what the user should see to

    @property
    def told(self) -> str:
        """In words, for whoever exports."""
        return ". ".join([self.path, *self.notes])


def robot_file(run: Path, weights: ActorWeights, typed: str | None, kwargs: dict[str, Any]) -> RobotFile | None:
    """The robot.py for a bundle of this run's actor; None: there is none, and the template goes with it.

    Args:
        run: its folder.
        weights: its actor.
        typed: `--env`.
        kwargs: arguments of the environment.

    Raises:
        ConfigError: the file is not there, is no Python, or is not the one that trained the actor.
        UnknownEnvironment, RobotFault: the file that was typed is not there, or is no robot.py.
    """
    if typed is not None and is_robot_file(typed):
        registry.locate(typed, kwargs=kwargs)
        robot = Robot(typed)
        _check_fits(robot, weights)
        return _robot_file(typed, run, robot.rate_hz)
    if not is_robot_file(weights.environment):
        return None
    if typed is not None:
        raise ConfigError(
            f"The actor was trained on the machine of `{weights.environment}`, and `--env {typed}` is another task. "
            "Name that file, or leave `--env` out."
        )
    # What the last process of the run told; one that was killed told nothing.
    real_time = Run(run).file("summary.json").get("real_time")
    rate_hz = real_time.get("rate_hz") if isinstance(real_time, dict) else None
    known = is_number(rate_hz) and rate_hz > 0
    return _robot_file(trained_environment(run, weights.environment), run, rate_hz if known else None)


def _robot_file(path: str, run: Path, rate_hz: float | None) -> RobotFile:
    try:
        content = read_regular(Path(path))
        newer = os.stat(path).st_mtime > os.stat(run / "checkpoint" / "state.json").st_mtime  # noqa: PTH116
    except OSError as error:
        raise ConfigError(
            f"A bundle of this run takes its robot.py along, and `{path}` cannot be read ({reason(error)}). Say where "
            "it is: `--env PATH/robot.py`."
        ) from error
    notes = []
    if newer:
        notes.append("It is newer than the checkpoint: see that it still is what trained the actor")
    if beside := list(_imported_from_beside(path, content)):
        notes.append(f"It imports {', '.join(beside)} from beside it: copy that into the folder, too")
    return RobotFile(path, content, rate_hz, tuple(notes))


def _imported_from_beside(path: str, content: bytes) -> Iterator[str]:
    """Names of files and folders in the folder of a Python file that it imports."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"`{path}` is no Python ({error}): it is not the file that trained the actor.") from error
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    for name in sorted({name.partition(".")[0] for name in names}):
        for entry in (f"{name}.py", f"{name}/"):
            if (Path(path).parent / entry).exists():
                yield entry


def _check_fits(robot: Robot, weights: ActorWeights) -> None:
    """Refuse a robot.py of other sizes or bounds than those that the actor was trained with."""
    observation_size, action_size = len(robot.observation_names), len(robot.action_names)
    if (observation_size, action_size) != (weights.observation_size, weights.sizes[-1]):
        raise ConfigError(
            f"The actor takes {weights.observation_size} observations and gives {weights.sizes[-1]} actions; `{robot.path}` "
            f"has {observation_size} and {action_size}. Name the file that trained it."
        )
    _check_same("ACTION", robot, (robot.action_low, robot.action_high), (weights.action_low, weights.action_high))
    if weights.observation_bounds is not None:
        bounds = (robot.observation_low, robot.observation_high)
        _check_same("OBSERVATION", robot, bounds, weights.observation_bounds)


def _check_same(table: str, robot: Robot, found: Sequence[Sequence[float]], trained: Sequence[Sequence[float]]) -> None:
    for row, (now, then) in enumerate(zip(zip(*found, strict=True), zip(*trained, strict=True), strict=True)):
        if now != then:
            raise ConfigError(
                f"`{robot.path}`: row {row} of {table} goes from {now[0]:g} to {now[1]:g}, and the actor was trained "
                f"with {then[0]:g} to {then[1]:g}. Take the file that trained it, or train anew."
            )
