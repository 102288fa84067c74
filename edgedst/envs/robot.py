"""A robot.py: the file that stands between a machine and whatever learns or acts on it.

The same file trains (`edgedst train --env robot.py`) and serves (`control_loop.py` beside an exported actor). It is
plain Python, and gives and takes plain numbers. `edgedst init robot` writes one with comments; docs/robot.md is its
contract. Importing it must not move anything: it is imported to be planned and checked, too.
"""

import math
import os
import sys
from _signal import (  # type: ignore[import-not-found]  # `signal` imports enum
    SIG_DFL,
    SIG_IGN,
    SIGCHLD,
    SIGHUP,
    SIGKILL,
    SIGTERM,
    signal,
)
from select import select
from time import monotonic_ns, sleep

from edgedst import core
from edgedst.envs import LARGEST_FLOAT32, Environment
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

    Locked are the file, by whatever path it is reached, and its name in its folder: editors put a new file there.

    Returns:
        Descriptors. The machine is free when all of their copies are closed, which the end of a process does.

    Raises:
        RobotFault: another process of edgedst has it.
    """
    folder, name = os.path.split(os.path.realpath(path))
    held: list[int] = []
    free = True
    try:
        held.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        about = os.stat(folder)
        place = core.hold_name(b"edgedst %x %x %b" % (about.st_dev, about.st_ino, os.fsencode(name)[-60:]))
        if place >= 0:
            held.append(place)
        free = locked(held[0]) and place != -1
    except OSError:  # a file that cannot be opened is for the one to tell who imports it
        pass
    if not free:
        close_each(held)
        raise RobotFault(f"The machine of `{path}` is in use by another edgedst. Wait for it, or end it.")
    return held


STOPPING, FAILED, AT_REST = b"s", b"!", b"."  # what an evaluation tells its guard of `stop`
STOPPED_ELSEWHERE = "Another process called stop(), and brought the machine to rest."


class RobotEnvironment(Environment):
    """A robot.py as an environment, in this process: each step waits for its period to be over.

    Training does not use it: there acting has a process of its own (`edgedst/machine/`). Evaluations of a finished
    actor do. Nothing moves before the first `reset`; `close` brings the machine to rest. Where it does not, a guard
    does, which was forked before anything moved:

        what the guard hears    what it does
        STOPPING                waits STOP_SECONDS for what comes next; else SIGKILL for this process, stop(), tells it
        AT_REST                 ends
        FAILED: stop() raised   stop(); its exit code says whether that helped, and `close` tells it
        the end of the pipe     stop(); tells it where that fails

    Args:
        path: of the file.
        max_episode_steps: replaces the file's EPISODE_SECONDS.

    Raises:
        RobotFault: see `Robot`.
    """

    native = True
    hardware = True

    def __init__(self, path: str, max_episode_steps: int | None = None) -> None:
        self.name = path
        self.robot = Robot(path)
        describe(self, self.robot, max_episode_steps)
        self._started = False
        self._due_ns = 0
        self._episode_step = 0

    def reset(self, seed: int) -> None:
        """Start the machine, once; then bring it to rest and to the start of an episode. The seed is not its to use."""
        if not self._started:
            self.robot.claim()
            self._guard, self._ends = _guard(self.robot)
            self._started = True  # a start that failed half-way has to be stopped, too
            self.robot.start()
        else:
            self.robot.stop()
        self.robot.reset()
        self._last = self.robot.rest()
        self.robot.read(self.observation)
        self._due_ns = monotonic_ns()
        self._episode_step = 0

    def step(self, action: "memoryview[float]") -> tuple[float, bool, bool]:
        """Apply an action, wait until its period is over, and read; one that was missed is left out, and counted."""
        before, taken = list(self.observation), list(action)
        self.robot.limit(taken, self._last)
        self.robot.apply(taken)
        self._last = self.applied = taken
        period = self.robot.period_ns
        self._due_ns += period
        skipped = max(0, -((self._due_ns - monotonic_ns()) // period))
        self._due_ns += skipped * period
        sleep(max(0, self._due_ns - monotonic_ns()) / 1e9)
        overslept, late = divmod(max(0, monotonic_ns() - self._due_ns), period)
        self._due_ns += overslept * period
        self.missed_periods += skipped + overslept + (2 * late > period)  # as in training (machine/acting.py)
        self.robot.read(self.observation)
        self._episode_step += 1
        reward = self.robot.reward(before, taken, self.observation)
        limit = self.max_episode_steps
        return reward, self.robot.terminated(self.observation), limit is not None and self._episode_step >= limit

    def close(self) -> None:
        """Bring the machine to rest, and let others have it.

        Raises:
            RobotFault: `stop` raised; the sentence says whether the guard's helped.
        """
        if not self._started:
            return
        self._started = False
        self._tell(STOPPING)
        try:
            self.robot.stop()
        except BaseException as error:
            self._tell(FAILED)
            said = str(error) or f"`{self.name}`: stop() raised {type(error).__name__}."
            at_rest = _exit_code(self._guard, 2 * STOP_SECONDS) == 0
            raise RobotFault(f"{said} {STOPPED_ELSEWHERE if at_rest else MOVING}") from error
        else:
            self._tell(AT_REST)
            _exit_code(self._guard, STOP_SECONDS)  # it holds the machine as long as it lives
        finally:
            close_each(self._ends)
            close_each(self.robot.held)

    def _tell(self, word: bytes) -> None:
        try:
            os.write(self._ends[0], word)
        except OSError:  # the guard is gone
            pass


def _guard(robot: Robot) -> "tuple[int, list[int]]":
    """Fork a process that calls `stop` where this one is gone, or does not come to an end of its own `stop`.

    Returns:
        Its process id, and the end of a pipe to it. That is closed in what is forked from here on, by robot.py too,
        which must not keep the guard waiting.
    """
    reading, writing = os.pipe()
    ends = [writing]
    os.register_at_fork(after_in_child=lambda: close_each(ends))
    player = os.getpid()
    guard = os.fork()
    if guard:
        os.close(reading)
        return guard, ends
    code = 1
    try:
        os.setsid()  # what a terminal sends is not for this one
        for number in (SIGTERM, SIGHUP):  # nor what a service's end sends to all of its processes
            signal(number, SIG_IGN)
        signal(SIGCHLD, SIG_DFL)  # a handler of robot.py's would take the exit code
        word, why = os.read(reading, 1), "its process is gone, and stop() failed in another one"
        if word == STOPPING:
            if select([reading], [], [], STOP_SECONDS)[0]:
                word = os.read(reading, 1)
            else:
                try:
                    os.kill(player, SIGKILL)
                except OSError:  # it has just ended
                    pass
                why = f"stop() did not return within {STOP_SECONDS:g} s, and its process was killed"
        code = 0 if word == AT_REST or _stopped_elsewhere(robot) else 1
        if word == STOPPING or (word == b"" and code):
            told = f"`{robot.path}`: {why}. {MOVING if code else STOPPED_ELSEWHERE}\n"
            os.write(2, told.encode(errors="backslashreplace"))
    finally:
        os._exit(code)


def _stopped_elsewhere(robot: Robot) -> bool:
    """Call `stop` in a child, which is killed after STOP_SECONDS; returns whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            robot.stop()
            code = 0
        finally:
            os._exit(code)
    ended = _exit_code(pid, STOP_SECONDS)
    if ended is None:
        os.kill(pid, SIGKILL)
    return ended == 0


def _exit_code(pid: int, seconds: float) -> "int | None":
    """How a child ended; None: it did not within these seconds, or robot.py's code has waited for it before."""
    limit_ns = monotonic_ns() + round(seconds * 1e9)
    while True:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended:
            return os.waitstatus_to_exitcode(status)
        if monotonic_ns() > limit_ns:
            return None
        sleep(0.002)


def describe(environment: Environment, robot: Robot, max_episode_steps: "int | None") -> None:
    """Fill in what an environment says of itself."""
    environment.observation_size, environment.action_size = len(robot.observation_names), len(robot.action_names)
    environment.action_low, environment.action_high = robot.action_low, robot.action_high
    environment.observation_low, environment.observation_high = robot.observation_low, robot.observation_high
    environment.max_episode_steps = max_episode_steps or robot.episode_steps
    environment.step_seconds = 1 / robot.rate_hz
    environment.observation = memoryview(bytearray(8 * environment.observation_size)).cast("d")


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
