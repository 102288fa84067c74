"""A robot.py as an environment in one process, for evaluations; and the guard that sees to the machine's rest.

Training does not use it: there acting has a process of its own (`edgedst/machine/`).
"""

import os
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

from edgedst.envs import Environment
from edgedst.envs.robot import MOVING, STOP_SECONDS, STOPPED_ELSEWHERE, Robot
from edgedst.errors import RobotFault
from edgedst.files import close_each

STOPPING, FAILED, AT_REST = b"s", b"!", b"."  # what an evaluation tells its guard of `stop`


class RobotEnvironment(Environment):
    """A robot.py as an environment, in this process: each step waits for its period to be over.

    Nothing moves before the first `reset`; `close` brings the machine to rest. Where it does not, a guard does, which
    was forked before anything moved:

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
        robot = self.robot
        self.observation_size, self.action_size = len(robot.observation_names), len(robot.action_names)
        self.action_low, self.action_high = robot.action_low, robot.action_high
        self.observation_low, self.observation_high = robot.observation_low, robot.observation_high
        self.max_episode_steps = max_episode_steps or robot.episode_steps
        self.step_seconds = 1 / robot.rate_hz
        self.observation = memoryview(bytearray(8 * self.observation_size)).cast("d")
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
