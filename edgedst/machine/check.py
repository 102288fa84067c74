"""`edgedst check`: whether a robot.py can train, found out without learning.

`trial.py` does what touches the machine, in a process of its own; `seen.py` keeps its figures and says what they mean.
Here is what starts that process, and sees to the machine's rest whatever becomes of it.

    the trial's process                      here
    a call overstays its limit: ends it      it overstays by GRACE_SECONDS more: SIGKILL, then stop() elsewhere
    SIGTERM: ends what waits, stop()         a signal: passed on as SIGTERM; not at rest in time: SIGKILL, likewise
    killed, crashed                          stop() elsewhere
    SIGTERM when this process is gone        killed
"""

import mmap
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from edgedst.envs.robot import FUNCTIONS, STOP_SECONDS, claimed
from edgedst.errors import ConfigError, RobotFault
from edgedst.files import close_each
from edgedst.machine import trial
from edgedst.machine.link import Pipe
from edgedst.machine.seen import Judgement
from edgedst.machine.trial import CALLING, DEADLINE

USUAL_SECONDS, LEAST_PERIODS = 10.0, 20  # of a trial
LOOK_SECONDS = 0.05  # between two looks at the trial
GRACE_SECONDS = 0.5  # that a call may go on behind its limit
KILL_SECONDS = 2.0  # for a killed process to be gone
IMPORT_SECONDS = 10.0  # for robot.py in the process that only calls stop()


class Check:
    """A robot.py in a process of its own: loaded, and nothing has moved yet.

    Args:
        path: of the file.
        seconds: of reading and moving; None: USUAL_SECONDS, or LEAST_PERIODS periods where these are longer.
        move: False: it is started, read and stopped, and no action is given.

    Raises:
        RobotFault: the file is not what it should be, or another process of edgedst has the machine.
        ConfigError: the seconds are too few.
    """

    def __init__(self, path: str, seconds: float | None = None, move: bool = True) -> None:
        self.path, self.move = path, move
        self._held = claimed(path)  # before anything is forked: whatever may move the machine keeps it
        self._shown = memoryview(mmap.mmap(-1, 16)).cast("d")
        self._signal = 0
        reading, writing = os.pipe()
        orders, self._orders_end = os.pipe()
        self._pid = _forked(lambda: trial.main(path, self._shown, writing, orders), reading, self._orders_end)
        os.close(writing)
        os.close(orders)
        self._told = Pipe(reading)
        try:
            self.robot: dict[str, Any] = self._answer("robot")
            least = LEAST_PERIODS / self.robot["rate_hz"]
            self.seconds = max(USUAL_SECONDS, least) if seconds is None else seconds
            if not least <= self.seconds <= 1e6:
                raise ConfigError(
                    f"`--seconds {self.seconds:g}`: at least {LEAST_PERIODS} periods of `{path}` were expected, which "
                    f"are {least:g} s at RATE_HZ = {self.robot['rate_hz']:g}, at most 1e6 s."
                )
        except BaseException:
            self.close()
            raise

    def run(self, say: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Try it; whatever happens, the machine is brought to rest, and the result says so or that it may not be.

        Args:
            say: called with each phase as it begins.

        Returns:
            What was seen, in values that JSON holds; with `problems`, `warnings`, `notes`, `can_train`, and `signal`,
            the number of what asked for an early end, or 0.
        """
        with self._signals():
            Pipe(self._orders_end).send({"seconds": self.seconds, "move": self.move})
            try:
                found = self._to_rest(say or _silent)
            except BaseException:  # nothing is expected to raise; the machine has to come to rest all the same
                self._signal = self._signal or signal.SIGTERM
                self._to_rest(_silent)
                raise
        found |= {"signal": self._signal, "moved": "applied_low" in found}
        said = Judgement(self.path, self.robot, found)
        return {
            **{"robot": self.path, **self.robot, "seconds": self.seconds, **found},
            **{"problems": said.problems, "warnings": said.warnings, "notes": said.notes},
            "can_train": not said.problems and not self._signal,
        }

    def close(self) -> None:
        """End the process; before `run` nothing has moved, and after it nothing is left."""
        if self._pid:
            _kill(self._pid)
            self._pid = 0
        if self._orders_end >= 0:
            os.close(self._orders_end)
            os.close(self._told.descriptor)
            self._orders_end = -1
        close_each(self._held)

    def __enter__(self) -> "Check":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _to_rest(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Wait for the trial's end, and call `stop` elsewhere: where that is needed, and to see whether it would do."""
        found = self._wait(say)
        own = bool(found.get("at_rest"))
        seconds, fault = (0.0, "") if own and self._signal else _stopped_elsewhere(self.path)
        elsewhere = {"needed": not own, "seconds": seconds, "fault": fault}
        return {**found, "at_rest": own or not fault, "stop_elsewhere": elsewhere}

    def _wait(self, say: Callable[[str], None]) -> dict[str, Any]:
        """For the end of the trial; returns what it found. `killed`: why it could not end itself, or ""."""
        found: dict[str, Any] = {}
        killed, asked_at, late_looks = "", 0.0, 0
        patience = 2 * (self.robot["limit_seconds"] + STOP_SECONDS) + GRACE_SECONDS
        while self._pid:
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if not ended:
                select.select([self._told.descriptor], [], [], LOOK_SECONDS)
            for message in self._told.received():
                if "phase" in message:
                    try:
                        say(message["phase"])
                    except (OSError, ValueError):  # whoever read this has gone: no reason to drop a machine
                        say = _silent
                found |= message.get("found", {})
                killed = message.get("error", killed)
            if ended:
                self._pid = 0
                if os.WIFSIGNALED(status):
                    killed = (
                        f"The process that ran `{self.path}` was ended by signal {os.WTERMSIG(status)}, last in "
                        f"{self._calling()}()."
                    )
                elif not found and not killed:
                    killed = f"The process that ran `{self.path}` ended by itself, last in {self._calling()}()."
                break
            if self._signal and not asked_at:
                asked_at = monotonic()
                os.kill(self._pid, signal.SIGTERM)
            # Looks are counted, too: a machine whose CPU is held up holds up both processes.
            deadline = self._shown[DEADLINE]
            late_looks = late_looks + 1 if deadline and monotonic() > deadline + GRACE_SECONDS else 0
            if late_looks > 2 or (asked_at and monotonic() > asked_at + patience):
                killed = (
                    f"`{self.path}`: {self._calling()}() did not return in time and could not be ended: its process "
                    "was killed."
                )
                _kill(self._pid)
                self._pid = 0
        return {**found, "killed": killed}

    def _calling(self) -> str:
        return FUNCTIONS[int(self._shown[CALLING])]

    def _answer(self, key: str) -> Any:
        while True:
            said = self._told.wait()
            if key in said:
                return said[key]
            if not said or "error" in said:
                raise RobotFault(said.get("error", f"The process that loads `{self.path}` ended without a word."))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let them ask for the end, once. One that is ignored stays ignored, as under nohup."""
        numbers = [number for number in trial.ENDED_BY if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, _frame: object) -> None:
        self._signal = self._signal or number


def _silent(_phase: str) -> None:
    pass


def _forked(main: Callable[[], None], *ends: int) -> int:
    """A process that runs `main`, which does not return; `ends` of pipes stay here."""
    trial.flush()  # else it would be printed twice
    pid = os.fork()
    if pid == 0:
        try:
            for end in ends:
                os.close(end)
            main()
        finally:
            os._exit(1)
    return pid


def _kill(pid: int) -> None:
    """End a process at once. One that hangs in a driver of the kernel may not end: nobody waits for it any longer."""
    os.kill(pid, signal.SIGKILL)
    limit = monotonic() + KILL_SECONDS
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and monotonic() < limit:
        sleep(0.001)


def _stopped_elsewhere(path: str) -> tuple[float, str]:
    """Call `stop` in a new process, which has not called `start`; returns its seconds, and why it failed or ""."""
    reading, writing = os.pipe()
    pid = _forked(lambda: trial.stop_only(path, writing), reading)
    os.close(writing)
    told = Pipe(reading)
    limit = monotonic() + IMPORT_SECONDS + STOP_SECONDS + GRACE_SECONDS
    said: dict[str, Any] = {}
    while not said and not told.ended and monotonic() < limit:
        select.select([reading], [], [], LOOK_SECONDS)
        said = next(iter(told.received()), {})
    _kill(pid)  # a thread of robot.py's may keep it
    os.close(reading)
    fault = "" if "seconds" in said else said.get("error", f"`{path}`: stop() was not over after {STOP_SECONDS:g} s.")
    return said.get("seconds", 0.0), fault
