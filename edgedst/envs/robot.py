"""A robot.py: the file that stands between a machine and whatever learns or acts on it.

The same file trains (`edgedst train --env robot.py`) and serves (`control_loop.py` beside an exported actor). It is
plain Python, and gives and takes plain numbers. `edgedst init robot` writes one with comments; docs/robot.md is its
contract. Importing it must not move anything: it is imported to be planned and checked, too.
"""

import math
import os
import sys

from edgedst import core
from edgedst.envs import LARGEST_FLOAT32
from edgedst.errors import RobotFault
from edgedst.files import close_each, locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

FUNCTIONS = ("start", "read_observation", "apply_action", "stop", "reset", "reward", "terminated")
NUMBERS = ("RATE_HZ", "EPISODE_SECONDS", "OBSERVATION", "ACTION")
SLOWEST_HZ, FASTEST_HZ = 0.01, 10_000.0
STOP_SECONDS = 2.0  # that `stop` may take before another process tries it
STOPPED_ELSEWHERE = "Another process called stop(), and brought the machine to rest."
MOVING = "THE MACHINE MAY STILL BE MOVING: switch it off by hand."
MOST_STEPS = 2**31 - 1  # an episode's
_LONGEST_WORDS = 500  # characters of an error's own text in a sentence


class Robot:
    """A robot.py that was read and checked; nothing has moved yet.

    Args:
        path: of the file. Its folder is searched for what it imports, before all others.

    Raises:
        RobotFault: it cannot be read or run, or a function or number that it needs is missing or wrong.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._module = _imported(path)
        missing = [name for name in FUNCTIONS if not callable(getattr(self._module, name, None))]
        missing += [name for name in NUMBERS if not hasattr(self._module, name)]
        if missing:
            raise RobotFault(
                f"`{path}` has no {', '.join(f'`{name}`' for name in missing)}. A robot.py needs the functions "
                f"{', '.join(FUNCTIONS)} and {', '.join(NUMBERS)}: `edgedst init robot` writes one with comments."
            )
        self.rate_hz = self._number("RATE_HZ", SLOWEST_HZ, FASTEST_HZ, "steps a second")
        self.period_ns = round(1e9 / self.rate_hz)
        episode_seconds = self._number("EPISODE_SECONDS", 0.0, 1e9, "seconds")
        self.episode_steps = max(1, round(episode_seconds * self.rate_hz))
        if self.episode_steps > MOST_STEPS:
            raise RobotFault(f"`{path}`: an episode of {episode_seconds:g} s has more than {MOST_STEPS:,} steps.")
        rows = self._rows("OBSERVATION", 3, 3)
        self.observation_names = [name for name, *_ in rows]
        self.observation_low = tuple([low for _, low, _, *_ in rows])
        self.observation_high = tuple([high for _, _, high, *_ in rows])
        rows = self._rows("ACTION", 3, 4)
        self.action_names = [name for name, *_ in rows]
        self.action_low = tuple([low for _, low, _, *_ in rows])
        self.action_high = tuple([high for _, _, high, *_ in rows])
        # Most change of an action in one step, in its units; the whole range where none is given.
        self.slew = tuple([row[3] if len(row) == 4 else row[2] - row[1] for row in rows])

    def claim(self) -> None:
        """Keep the machine to this process and those that it forks from now on: two must not move it.

        Raises:
            RobotFault: another process of edgedst has it.
        """
        self.held = claimed(self._module.__file__ or self.path)  # the file's own: importing it may change the folder

    # What the machine does. Each call is the user's code: what it raises is a RobotFault that names the place.

    def start(self) -> None:
        """Make the machine ready."""
        self._call("start")

    def stop(self) -> None:
        """Bring the machine to rest, from any state."""
        self._call("stop")

    def reset(self) -> None:
        """Bring the machine to the start of an episode; it may take its time."""
        self._call("reset")

    def read(self, observation: "memoryview[float]") -> None:
        """The newest observation into (n,) float64, in the robot's units.

        Raises:
            RobotFault: the function raised, or gave something else than n finite numbers.
        """
        size = len(observation)
        given = self._call("read_observation", size)
        try:
            count = len(given)
            if count != size:
                raise RobotFault(
                    f"`{self.path}`: read_observation({size}) gave {count} numbers and OBSERVATION names {size}."
                )
            for i in range(size):
                observation[i] = given[i]
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise RobotFault(
                f"`{self.path}`: read_observation({size}) gave what is no list of numbers ({_words(error)})."
            ) from error
        if not math.isfinite(sum(observation)):
            for i, value in enumerate(observation):
                if not math.isfinite(value):
                    raise RobotFault(
                        f"`{self.path}`: read_observation gave {value} as `{self.observation_names[i]}` (index {i}); a "
                        "finite number was expected."
                    )

    def apply(self, action: "Sequence[float]") -> None:
        """Give an action, m floats inside the bounds, to the motors."""
        self._call("apply_action", list(action))

    def reward(
        self, observation: "Sequence[float]", action: "Sequence[float]", next_observation: "Sequence[float]"
    ) -> float:
        """The reward of a step.

        Raises:
            RobotFault: the function raised, or gave no finite number.
        """
        return self._finite("reward", list(observation), list(action), list(next_observation))

    def terminated(self, observation: "Sequence[float]") -> bool:
        """Whether this observation ends the episode, as a failure or a success does (not the time).

        Raises:
            RobotFault: the function raised, or gave something else than true or false: a `return` that was forgotten
                must not mean that nothing ever fails.
        """
        given = self._call("terminated", list(observation))
        if not isinstance(given, bool) and type(given).__name__ not in ("bool", "bool_"):  # NumPy's, by name
            raise RobotFault(f"`{self.path}`: terminated() gave {_kind(given)}; True or False was expected.")
        return bool(given)

    def limit(self, action: "list[float]", last: "Sequence[float]") -> bool:
        """Bring an action into bounds and slew, in place; returns whether that changed it.

        Args:
            action: (m,) in the machine's units.
            last: the action before, likewise.

        Raises:
            RobotFault: it is not finite.
        """
        changed = False
        for i, wanted in enumerate(action):
            if not math.isfinite(wanted):
                raise RobotFault(
                    f"The actor gave {wanted} as `{self.action_names[i]}`: the observation is far outside of what it "
                    "was trained with, or learning has diverged."
                )
            low, high = self.action_low[i], self.action_high[i]
            allowed = max(low, min(high, max(last[i] - self.slew[i], min(last[i] + self.slew[i], wanted))))
            if allowed != wanted:
                action[i] = allowed
                changed = True
        return changed

    def rest(self) -> "list[float]":
        """The action that a slew begins from after `stop`: zero, or the bound nearest to it."""
        return [max(low, min(high, 0.0)) for low, high in zip(self.action_low, self.action_high, strict=True)]

    def _call(self, name: str, *arguments: "Any") -> "Any":
        try:
            return getattr(self._module, name)(*arguments)
        except (MemoryError, KeyboardInterrupt):
            raise
        except BaseException as error:
            if isinstance(error, RobotFault):
                raise
            raise RobotFault(f"`{self.path}`: {name}() raised {_words(error)}.") from error

    def _finite(self, name: str, *arguments: "Any") -> float:
        given = self._call(name, *arguments)
        try:
            value = float(given)
        except (TypeError, ValueError, OverflowError) as error:
            raise RobotFault(f"`{self.path}`: {name}() gave {_kind(given)}; one number was expected.") from error
        if not abs(value) <= LARGEST_FLOAT32:
            raise RobotFault(
                f"`{self.path}`: {name}() gave {value:g}; a finite number was expected, at most {LARGEST_FLOAT32:g}."
            )
        return value

    def _number(self, name: str, above: float, most: float, unit: str) -> float:
        given = getattr(self._module, name)
        if isinstance(given, bool) or not isinstance(given, int | float) or not above < given <= most:
            raise RobotFault(
                f"`{self.path}`: {name} is {_kind(given)}; a number of {unit} above {above:g}, at most {most:g}, was "
                "expected."
            )
        return float(given)

    def _rows(self, name: str, least: int, most: int) -> "list[list[Any]]":
        """The rows (name, low, high[, slew]) of a table, with floats."""
        example = '[("angle, rad", -3.2, 3.2)]'
        given = getattr(self._module, name)
        if not isinstance(given, list | tuple) or not given:
            raise RobotFault(f"`{self.path}`: {name} is {_kind(given)}; a list like {example} was expected.")
        rows = []
        for number, row in enumerate(given):
            where = f"`{self.path}`: row {number} of {name}"
            if not isinstance(row, list | tuple) or not least <= len(row) <= most or not isinstance(row[0], str):
                form = "(name, low, high, slew)" if most > least else "(name, low, high)"
                raise RobotFault(f"{where} is {_kind(row)}; {form} was expected, as in {example}.")
            values = []
            for what, value in zip(("low", "high", "slew"), row[1:], strict=False):
                if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_FLOAT32:
                    raise RobotFault(
                        f"{where}, `{row[0]}`, has {_kind(value)} as {what}; a finite number was expected. Say the "
                        "largest that the machine can give or take."
                    )
                values.append(float(value))
            if not _single(values[0]) < _single(values[1]):
                raise RobotFault(
                    f"{where}, `{row[0]}`, has low = {values[0]:.9g} and high = {values[1]:.9g}; low below high was "
                    "expected, far enough apart for float32 to tell."
                )
            if len(values) == 3 and not values[2] > 0:
                raise RobotFault(
                    f"{where}, `{row[0]}`, has slew = {values[2]:g}; the most change in one step, above 0."
                )
            rows.append([row[0], *values])
        return rows


def claimed(path: str) -> "list[int]":
    """Keep the machine of a robot.py to this process and those that it forks from now on: two must not move it.

    Locked are the file, by whatever path it is reached, and its name in its folder, and that of a link to it: editors
    put a new file there.

    Returns:
        Descriptors. The machine is free when all of their copies are closed, which the end of a process does.

    Raises:
        RobotFault: another process of edgedst has it.
    """
    linked = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    held: list[int] = []
    free = True
    try:
        held.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        free = locked(held[0])
        for folder, name in {os.path.split(linked), os.path.split(os.path.realpath(path))}:
            about = os.stat(folder)
            place = core.hold_name(b"edgedst %x %x %b" % (about.st_dev, about.st_ino, os.fsencode(name)[-60:]))
            if place >= 0:
                held.append(place)
            free = free and place != -1
    except OSError:  # a file that cannot be opened is for the one to tell who imports it
        pass
    if not free:
        close_each(held)
        raise RobotFault(f"The machine of `{path}` is in use by another edgedst. Wait for it, or end it.")
    return held


def _imported(path: str) -> "ModuleType":
    """The module of a file, under the name `robot`; what it raises is a RobotFault."""
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise RobotFault(f"`{path}` {what}; a robot.py was expected. `edgedst init robot` writes one.")
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    module: ModuleType = type(sys)("robot")
    module.__file__ = os.path.abspath(path)
    sys.modules["robot"] = module
    for searched in (False, True):
        try:
            with open(path, "rb") as file:
                exec(compile(file.read(), path, "exec"), module.__dict__)
            return module
        except (MemoryError, KeyboardInterrupt):
            raise
        except ModuleNotFoundError as error:
            if searched or "site" in sys.modules:
                raise RobotFault(f"`{path}` cannot be imported: {_words(error)}.") from error
            import site  # packages that are found by a hook of theirs: the lean process starts without them

            site.main()
        except BaseException as error:
            raise RobotFault(f"`{path}` cannot be imported: {_words(error)}.") from error
    raise AssertionError  # the second round returns or raises


def _single(value: float) -> float:
    """As a float32."""
    single = memoryview(bytearray(4)).cast("f")
    single[0] = value
    return single[0]


def _words(error: BaseException) -> str:
    """An error's class, its own text and where it was raised, on one line."""
    text = " ".join(str(error).split())[:_LONGEST_WORDS].rstrip(".")
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    file = os.path.basename(frame.tb_frame.f_code.co_filename) if frame else ""
    where = f" ({file}, line {frame.tb_lineno})" if frame and file != os.path.basename(__file__) else ""
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _kind(value: object) -> str:
    """What was given, for a sentence."""
    try:
        shown = repr(value)
    except Exception:
        shown = "?"
    return f"{type(value).__name__} {shown[:60]}"
