"""The columns of a log: what they are called, what a task needs of them, and which of a table's are which."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgedst.envs import Environment
from edgedst.envs.robot import Robot
from edgedst.errors import LogError

EPISODE, REWARD, TERMINATED, TRUNCATED, TIME = OTHERS = ("episode", "reward", "terminated", "truncated", "time")
_NUMBERED = re.compile(r"(observation|action)_(\d+)", re.ASCII)
_MOST_TOLD = 5  # names in a sentence


@dataclass(frozen=True)
class Task:
    """What a log has to fit.

    Args:
        name: for sentences.
        observation_size: n.
        action_size: m.
        action_low: (m,) in its units.
        action_high: likewise.
        observation_low: (n,) of a robot.py, whose replay has observations normalised by its bounds.
        observation_high: likewise.
        constants: (index, value) of observations that never move.
        largest: magnitude of an observation that the replay can hold.
        normalised: it holds them less the first one (docs/decisions/0020).
        robot: that gives rewards and terminations where the log has none.
    """

    name: str
    observation_size: int
    action_size: int
    action_low: Sequence[float]
    action_high: Sequence[float]
    observation_low: Sequence[float] | None = None
    observation_high: Sequence[float] | None = None
    constants: Sequence[tuple[int, float]] = ()
    largest: float = float("inf")
    normalised: bool = False
    robot: Robot | None = None

    @staticmethod
    def of_environment(environment: Environment, **of_replay: Any) -> Task:
        """Of one that was made, and is not kept."""
        return Task(
            environment.name,
            environment.observation_size,
            environment.action_size,
            environment.action_low,
            environment.action_high,
            constants=environment.constants,
            **of_replay,
        )

    @staticmethod
    def of_robot(robot: Robot, **of_replay: Any) -> Task:
        """Of a robot.py that was imported; nothing moves."""
        return Task(
            robot.path,
            len(robot.observation_names),
            len(robot.action_names),
            robot.action_low,
            robot.action_high,
            robot.observation_low,
            robot.observation_high,
            robot=robot,
            **of_replay,
        )

    @property
    def own_names(self) -> tuple[list[str], list[str]]:
        """Of observations and actions: a robot.py's, where they can be told apart, else `observation_0`, ..."""
        return own_names(self.robot, self.observation_size, self.action_size)


def own_names(robot: Robot | None, observation_size: int, action_size: int) -> tuple[list[str], list[str]]:
    """Column names of observations and of actions. See `Task.own_names`."""
    given = [*robot.observation_names, *robot.action_names] if robot else []
    times = Counter(given)
    numbered = [f"observation_{i}" for i in range(observation_size)] + [f"action_{i}" for i in range(action_size)]
    foreign = {name for name in given if name in OTHERS or _NUMBERED.fullmatch(name) or name.strip() != name}
    plain = ["" if times[name] > 1 or name in foreign else name for name in given]
    names = [name or number for name, number in zip(plain or numbered, numbered, strict=True)]
    return names[:observation_size], names[observation_size:]


@dataclass(frozen=True)
class Columns:
    """Places of what is needed in a table's row; None where it is not there."""

    observation: list[int]
    action: list[int]
    reward: int | None
    terminated: int | None
    truncated: int | None
    episode: int | None
    time: int | None
    unused: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> list[int]:
        """Places of observations, actions, reward and time, in the order of `ticks.split`."""
        last = [place for place in (self.reward, self.time) if place is not None]
        return [*self.observation, *self.action, *last]


def matched(names: Sequence[str], task: Task, source: str) -> Columns:
    """Which column is which.

    Args:
        names: of the table's columns, in their order.
        task: that the log has to fit.
        source: the log, for sentences.

    Raises:
        LogError: columns are missing, stand there twice, or are of another task.
    """
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise LogError(f"{source} has {listed(twice)} more than once: leave one of each out.")
    place = {name: number for number, name in enumerate(names)}
    n, m = task.observation_size, task.action_size
    for name in names:
        found = _NUMBERED.fullmatch(name)
        size = {"observation": n, "action": m}[found[1]] if found else 0
        if found and int(found[2]) >= size:
            raise LogError(
                f"{source} has a column `{name}` and {task.name} has {size} {found[1]}s, `{found[1]}_0` to "
                f"`{found[1]}_{size - 1}`: it is a log of another task."
            )
    own_observations, own_actions = task.own_names
    places: list[int] = []
    missing = []
    numbered = [f"observation_{i}" for i in range(n)] + [f"action_{i}" for i in range(m)]
    for own, number in zip([*own_observations, *own_actions], numbered, strict=True):
        both = [name for name in dict.fromkeys((own, number)) if name in place]
        if len(both) > 1:
            raise LogError(f"{source} has `{own}` and `{number}`, which are the same: leave one of them out.")
        if both:
            places.append(place[both[0]])
        else:
            missing.append(own)
    others = {name: place.get(name) for name in OTHERS}
    if others[REWARD] is None and task.robot is None:
        missing.append(REWARD)
    if missing:
        raise LogError(_missing(missing, names, task, source))
    used = {*places, *(number for number in others.values() if number is not None)}
    unused = [name for number, name in enumerate(names) if number not in used]
    return Columns(places[:n], places[n:], **others, unused=unused)


def _missing(missing: list[str], names: Sequence[str], task: Task, source: str) -> str:
    near = difflib.get_close_matches(missing[0], names, n=1)
    hint = f" Is `{near[0]}` meant as `{missing[0]}`?" if near else ""
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        hint = " Columns have to be separated by commas."
    observations, actions = task.own_names
    wanted = [f"`{part[0]}`" + (f" to `{part[-1]}`" if len(part) > 1 else "") for part in (observations, actions)]
    reward = "" if task.robot else " and `reward`"
    return (
        f"{source} lacks {listed(missing)}: a log of {task.name} has a column for each of its "
        f"{task.observation_size} observations ({wanted[0]}) and {task.action_size} actions ({wanted[1]}){reward}, "
        f"and this one has {listed(list(names)) or 'none'}.{hint}"
    )


def listed(names: list[str]) -> str:
    """Some names, for a sentence."""
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_TOLD])
    return shown + (f" and {len(names) - _MOST_TOLD:,} more" if len(names) > _MOST_TOLD else "")
