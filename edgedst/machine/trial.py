"""A robot.py tried, in a process of its own: all of `edgedst check` that touches the machine.

`check.py` starts this process, asks it to end, and steps in where it cannot go on. Here each call of robot.py has a
limit of time (`_call`), and every way out leads through `stop` (`run`). Only `start` and `reset` may take their time;
they end when the end is asked for.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
from collections.abc import Callable
from time import monotonic, monotonic_ns, sleep
from typing import Any

from edgedst.envs.robot import FUNCTIONS, STOP_SECONDS, Robot
from edgedst.errors import EdgedstError
from edgedst.files import write_all
from edgedst.machine.link import Pipe
from edgedst.machine.seen import FULL, READING, REST_SECONDS, SMALL, Seen
from edgedst.plain_json import dumps

SHARES = {READING: 0.3, SMALL: 0.2, FULL: 0.5}  # of the seconds, by phase
SMALL_SHARE = 0.1  # of the way from rest to a bound
RAMP_SECONDS = 0.5  # in which an episode's actions grow to their size
SINE_SECONDS, SINE_STEPS = 3.0, 8  # of a sine: at most so long, at least so many steps; and two in the last phase
RESETTING_SECONDS = 60.0  # that all resets but the first may take together: the phase ends behind them
HANG_PERIODS, HANG_SECONDS = 3, 0.5  # a call that takes longer than both is ended
# What a user or a system asks with; Ctrl-Z too: a check that stands still sees to nothing.
ENDED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
DEADLINE, CALLING = 0, 1  # what the starter sees: when the call has to be over (0: any time), which of FUNCTIONS it is


class Hung(KeyboardInterrupt):
    """A call took longer than its limit. No Exception: a driver that catches those must not catch it."""


class Ended(KeyboardInterrupt):
    """The end was asked for, and what goes on may take its time."""


def main(path: str, shown: memoryview[float], told: int, orders: int) -> None:
    """The process's whole life; it does not return.

    Args:
        path: of the robot.py.
        shown: to the starter, two numbers: DEADLINE and CALLING.
        told: to the starter; JSON lines.
        orders: from it: {"seconds", "move"}, or its end, when nothing is to be started.
    """
    try:
        _leave_to_starter()
        trial = Trial(path, shown, told)
        order = Pipe(orders).wait()
        if order:
            _send(told, {"found": trial.run(**order)})
    except EdgedstError as error:
        _send(told, {"error": str(error)})
    except KeyboardInterrupt:  # nothing has moved
        pass
    except BaseException as error:
        _send(told, {"error": f"`{path}` could not be tried: {type(error).__name__}: {error}."})
    finally:
        os._exit(0)


def stop_only(path: str, told: int) -> None:
    """Call `stop` where `start` never was, as another process does when the one that acts is gone. Does not return."""
    try:
        os.setsid()
        for number in ENDED_BY:  # the machine is coming to rest
            signal.signal(number, signal.SIG_IGN)
        os.dup2(2, 1)
        robot = Robot(path)
        signal.signal(signal.SIGALRM, _hang)
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)
        began = monotonic()
        robot.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(told, {"seconds": monotonic() - began})
    except Hung:
        _send(told, {"error": f"`{path}`: stop() did not return within {STOP_SECONDS:g} s."})
    except BaseException as error:
        _send(told, {"error": str(error) or f"`{path}`: stop() raised {type(error).__name__}."})
    finally:
        os._exit(0)


class Trial:
    """One robot.py, loaded and checked; nothing has moved yet.

    Args:
        path, shown, told: as of `main`.

    Raises:
        RobotFault: the file is not what it should be.
    """

    def __init__(self, path: str, shown: memoryview[float], told: int) -> None:
        self.shown, self.told = shown, told
        self.asked = self.armed = False
        self.patient = True  # importing may take its time
        self._handle_signals()
        self.robot = robot = Robot(path)
        self._handle_signals()  # a driver may have taken them
        self.calling = ""
        self.limit_seconds = max(HANG_SECONDS, HANG_PERIODS * robot.period_ns / 1e9)
        self.resetting_seconds = 0.0  # of all resets but the first
        self.length = 0  # steps since the episode began
        n, m = len(robot.observation_low), len(robot.action_low)
        self.observation, self.before = (memoryview(bytearray(8 * n)).cast("d") for _ in range(2))
        self.last = robot.rest()
        self.seen = Seen(n, m)
        about: dict[str, Any] = {"rate_hz": robot.rate_hz, "episode_steps": robot.episode_steps}
        about["limit_seconds"] = self.limit_seconds
        for name in ("observation_names", "observation_low", "observation_high"):
            about[name] = list(getattr(robot, name))
        for name in ("action_names", "action_low", "action_high", "slew"):
            about[name] = list(getattr(robot, name))
        _send(told, {"robot": about})

    def run(self, seconds: float, move: bool) -> dict[str, Any]:
        """Start the machine, try it, and bring it to rest on every way out.

        Args:
            seconds: of reading and moving; resets and the rest come on top.
            move: False: it is only read.

        Returns:
            What was seen, in values that JSON holds.
        """
        periods = round(seconds * self.robot.rate_hz)
        self.sine_steps = max(SINE_STEPS, min(SINE_SECONDS * self.robot.rate_hz, SHARES[FULL] * periods / 2))
        try:
            self._faults(self._try, periods, move)
        finally:
            self._bring_to_rest()
        if move and self.seen.at_rest and not self.seen.fault and not self.asked:
            self._faults(self._watch_rest)
        return self.seen.found(self.robot.rate_hz)

    def _try(self, periods: int, move: bool) -> None:
        self._say("start()")
        self._call("start", None, self.robot.start)
        # The noise that rest is told from later needs samples enough, however short the trial.
        reading = max(round(SHARES[READING] * periods), self._rest_periods()) if move else periods
        self._phase(READING, reading)
        if move:
            self._reset()
            for name in (SMALL, FULL):
                self._phase(name, round(SHARES[name] * periods))

    # Every way out.

    def _faults(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call it, and note what ended it early."""
        path = self.robot.path
        try:
            function(*arguments)
        except Hung:
            self.seen.fault = (
                f"`{path}`: {self.calling}() did not return within {self.limit_seconds:g} s, and was ended. Give what "
                "it waits for a limit; read a slow sensor in a thread."
            )
        except EdgedstError as error:
            self.seen.fault = str(error)
        except MemoryError:
            self.seen.fault = f"`{path}`: {self.calling}() needs more memory than there is."
        except KeyboardInterrupt:
            if not self.asked:
                self.seen.fault = f"`{path}`: {self.calling}() raised KeyboardInterrupt."

    def _bring_to_rest(self) -> None:
        try:
            self._call("stop", STOP_SECONDS, self.robot.stop)
            self.seen.at_rest = True
        except Hung:
            self.seen.stop_fault = f"`{self.robot.path}`: stop() did not return within {STOP_SECONDS:g} s."
        except BaseException as error:
            self.seen.stop_fault = str(error) or f"`{self.robot.path}`: stop() raised {type(error).__name__}."

    def _call(self, name: str, limit: float | None, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call robot.py.

        Args:
            name: of its function.
            limit: seconds; None: it may take its time, and ends when the end is asked for.
            function: of `Robot`.
            *arguments: its own.

        Raises:
            Hung: it took longer, and was ended.
            Ended: the end was asked for.
            RobotFault: it raised, or gave something wrong.
        """
        self.calling, self.patient, self.armed = name, limit is None, limit is not None
        self.shown[CALLING] = FUNCTIONS.index(name)
        self.shown[DEADLINE] = monotonic() + limit if limit else 0.0
        if self.patient and self.asked:
            raise Ended
        signal.setitimer(signal.ITIMER_REAL, limit or 0)
        began_ns = monotonic_ns()
        try:
            return function(*arguments)
        finally:
            took_ns = monotonic_ns() - began_ns
            self.patient = self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.shown[DEADLINE] = 0.0
            self.seen.took(name, took_ns)

    def _handle_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGALRM, self._alarm)

    def _alarm(self, _number: int, _frame: object) -> None:
        if self.armed:
            self.armed = False
            raise Hung

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True
        if self.patient:
            raise Ended

    # What is tried.

    def _phase(self, name: str, periods: int) -> None:
        """So many periods at the rate of the file, in the order of training; with actions unless it only reads."""
        robot, moving = self.robot, name != READING
        self._say(name)
        self._begin()
        action, done = self.last, 0
        # Its last step is to be one that moves: `stop` is tried behind it.
        while done < periods or (name == FULL and done < 2 * periods and not self.seen.moving):
            if moving:
                action = self._wanted(name, done / periods)
                robot.limit(action, self.last)
                self._call("apply_action", self.limit_seconds, robot.apply, action)
                self.last = action
                self.seen.act(action)
            passed = self._wait()
            self.seen.missed += passed - 1
            done += passed
            self._read()
            self.length += 1
            self.seen.step(name, self.before, self.observation)
            self.seen.reward(
                self._call("reward", self.limit_seconds, robot.reward, self.before, action, self.observation)
            )
            over = self._terminated()
            if moving and (over or self.length >= robot.episode_steps):
                self.seen.episodes_terminated += over
                if self.resetting_seconds > RESETTING_SECONDS:
                    self.seen.resets_too_long = True
                    return
                self._call("stop", STOP_SECONDS, robot.stop)
                self._reset()

    def _reset(self) -> None:
        self._say("reset()")
        began = monotonic()
        self._call("reset", None, self.robot.reset)
        if self.seen.resets:
            self.resetting_seconds += monotonic() - began
        self.seen.resets += 1
        self.last, self.length = self.robot.rest(), 0
        self._begin()
        if self._terminated():
            self.seen.terminated_at_reset = True

    def _begin(self) -> None:
        """What comes before the first step: its observation."""
        self.due_ns = self.began_ns = monotonic_ns()
        self._read()

    def _read(self) -> None:
        self.before[:] = self.observation
        self._call("read_observation", self.limit_seconds, self.robot.read, self.observation)
        self.seen.observe(self.observation)

    def _terminated(self) -> bool:
        return bool(self._call("terminated", self.limit_seconds, self.robot.terminated, self.observation))

    def _wanted(self, phase: str, share: float) -> list[float]:
        """A smooth action: sines, each of another frequency, that start from rest and stay inside the bounds.

        Args:
            phase: SMALL: up to SMALL_SHARE; FULL: growing from there to the bounds, in the first third.
            share: of the phase that is over.
        """
        robot = self.robot
        size = SMALL_SHARE if phase == SMALL else min(1.0, SMALL_SHARE + 3 * (1 - SMALL_SHARE) * share)
        size *= min(1.0, self.length / robot.rate_hz / RAMP_SECONDS)
        side = 1 if self.seen.resets % 2 else -1  # where an episode's first movement goes
        action = []
        for i, (low, high, rest) in enumerate(zip(robot.action_low, robot.action_high, robot.rest(), strict=True)):
            turns = self.length / self.sine_steps * (1 + 0.37 * i % 1)
            target = (low + high) / 2 + side * (high - low) / 2 * math.sin(2 * math.pi * turns)
            action.append(rest + size * (target - rest))
        return action

    def _wait(self) -> int:
        """Until the next period; returns how many have passed. One that is missed is not caught up with."""
        period_ns = self.robot.period_ns
        self.due_ns += period_ns
        now_ns = monotonic_ns()
        self.seen.took("step", now_ns - self.began_ns)
        try:
            self.patient = True
            if self.asked:
                raise Ended
            while now_ns < self.due_ns:
                sleep((self.due_ns - now_ns) / 1e9)
                now_ns = monotonic_ns()
        finally:
            self.patient = False
        self.began_ns = now_ns
        late_ns = now_ns - self.due_ns
        self.seen.took("late", late_ns)
        missed = late_ns // period_ns
        self.due_ns += missed * period_ns
        return 1 + missed

    def _watch_rest(self) -> None:
        """After `stop`: how much the observation still changes."""
        self._say("rest")
        count = self._rest_periods()
        self._begin()
        for step in range(count):
            self._wait()
            self._read()
            self.seen.rest(step, count, self.before, self.observation)

    def _rest_periods(self) -> int:
        return max(3, math.ceil(REST_SECONDS * self.robot.rate_hz))

    def _say(self, phase: str) -> None:
        _send(self.told, {"phase": phase})


def flush() -> None:
    """Write out what was printed; where nobody reads it any more, no matter."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


def _leave_to_starter() -> None:
    """What a terminal or a user sends is the starter's to answer. SIGTERM comes when the starter is gone."""
    starter = os.getppid()
    os.setsid()
    for number in ENDED_BY:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != starter:
        os._exit(0)
    os.dup2(2, 1)  # what robot.py prints does not belong into the result


def _hang(_number: int, _frame: object) -> None:
    raise Hung


def _send(told: int, message: dict[str, Any]) -> None:
    flush()
    try:
        write_all(told, dumps(message).encode(errors="backslashreplace") + b"\n")
    except OSError:  # nobody is there any more
        pass
