"""The warden: a third process, which does nothing but see to it that the machine comes to rest.

It is forked from the acting side when robot.py is loaded and nothing has moved. It waits on two pipes, whose other ends
close when a side is gone, whatever ended it, and looks for the acting side's beat in each period. When it is time to
end, it asks; then it interrupts what robot.py is doing; then it kills the acting side and calls `stop()` itself. A
learning side that waits for a disk hears no signal, SIGKILL neither: those that wait for it are seen from here.

    END is set           2 periods later          2 more, 0.1 s at least  acting side gone, not at rest
    acting side stops -> SIGUSR1: what blocks  -> SIGKILL              -> robot.stop() in this process
    at its next step     in robot.py is ended
"""

import os
import select
from _signal import (  # type: ignore[import-not-found]  # `signal` imports enum
    ITIMER_REAL,
    SIG_DFL,
    SIG_IGN,
    SIGALRM,
    SIGHUP,
    SIGINT,
    SIGKILL,
    SIGTERM,
    SIGTSTP,
    SIGUSR1,
    setitimer,
    signal,
)
from time import monotonic

from edgedst import core
from edgedst.envs.robot import STOP_SECONDS, Robot
from edgedst.errors import EdgedstError
from edgedst.machine.link import AT_REST, BEAT, END, PHASE, RUNNING, STOPPING, WAITING, Pipe

# Why the machine was brought to rest, as a cell holds it.
ASKED, LEARNER_GONE, HUNG, WARDEN_GONE, SIGNALLED = 1, 2, 3, 4, 5
REASONS = {
    ASKED: "the run ended",
    LEARNER_GONE: "the learning side is gone",
    HUNG: "a call of robot.py did not return in time",
    WARDEN_GONE: "the warden's process is gone",
    SIGNALLED: "its process got a SIGTERM",
}
MOST_LOOK_SECONDS = 0.5  # between two looks while the machine moves: a period, of a slow one a part of it
LEAST_HANG_SECONDS = 0.1  # a busy machine without real-time scheduling stands still for some of it
IDLE_MS = 50  # between two looks while the machine does not move in steps
LISTEN_SECONDS = 0.05  # at least, between two looks for signals that wait for the learning side; each takes 0.05 ms
ENDING = sum([1 << (number - 1) for number in (SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGTSTP)])  # as /proc has them
STATUS_BYTES = 8192  # of /proc/PID/status; it has some 1,500, and more for a user of many groups
PRIORITY = 11  # of the real-time scheduling class: above the acting side, should that not leave the CPU


def guard(cells: "core.Cells", robot: Robot, told: Pipe, learner: int, ends: "list[int]", max_missed: int) -> int:
    """Start it, from the acting side; returns its process id.

    Args:
        cells: of the link.
        robot: whose `stop` it calls.
        told: to the learning side.
        learner: the end of a pipe that is at its end when the learning side is gone, and brings what that asks for.
        ends: of pipes, which each process that robot.py forks closes: one more here.
        max_missed: periods; the acting side is taken to hang after twice as many looks without a beat.
    """
    alive, held = os.pipe()  # the acting side holds the other end as long as it lives
    acting = os.getpid()
    try:
        status = os.open(f"/proc/{os.getppid()}/status", os.O_RDONLY)
    except OSError:  # there is no /proc: nobody is seen to wait
        status = os.open(os.devnull, os.O_RDONLY)
    kept = list(ends)
    ends.clear()  # the warden is no such process
    pid = os.fork()
    if pid:
        os.close(alive)
        os.close(status)
        ends.extend([*kept, held])
        return pid
    try:
        ends.extend([*kept, alive])
        os.close(held)
        for number in (SIGTERM, SIGUSR1):
            signal(number, SIG_IGN)
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
        except OSError:  # not allowed: it mostly sleeps
            pass
        core.release_file_pages()
        _Warden(cells, robot, told, learner, alive, acting, status, max_missed).watch()
    finally:
        os._exit(0)


class _Warden:
    def __init__(
        self,
        cells: "core.Cells",
        robot: Robot,
        told: Pipe,
        learner: int,
        alive: int,
        acting: int,
        status: int,
        max_missed: int,
    ) -> None:
        self.cells, self.robot, self.told = cells, robot, told
        self.learner, self.alive, self.acting, self.status = learner, alive, acting, status
        period = robot.period_ns / 1e9
        self.look_seconds = min(period, MOST_LOOK_SECONDS)
        self.patience = min(2 * period, STOP_SECONDS)
        self.most_looks = round(max(2 * max_missed * period, LEAST_HANG_SECONDS) / self.look_seconds)
        self.looks = 0  # since the last beat
        self.beat = -1
        self.next_listen = 0.0
        self.waits = False  # a signal waited for the learning side at the last look
        self.ended_at = self.signalled_at = self.stopping_since = 0.0  # 0: not yet

    def watch(self) -> None:
        """Until the acting side is gone."""
        poll = select.poll()
        for pipe in (self.learner, self.alive):
            poll.register(pipe, select.POLLIN)
        while True:
            moving = self.cells[PHASE] == RUNNING or self.ended_at
            for pipe, _ in poll.poll(self.look_seconds * 1e3 if moving else IDLE_MS):
                if pipe == self.alive:
                    self.take_over()
                    return
                asked = os.read(self.learner, 64)
                self.end(ASKED if asked else LEARNER_GONE)
                if not asked:
                    poll.unregister(self.learner)
                if b"!" in asked:
                    self.interrupt()
            if os.getppid() != self.acting:
                self.take_over()
                return
            self.listen()
            self.look()
            self.press()

    def end(self, reason: int) -> None:
        """Ask the acting side to end; the first reason stays."""
        if not self.cells[END]:
            self.cells[END] = reason
        self.ended_at = self.ended_at or monotonic()

    def interrupt(self) -> None:
        """End what the robot's code is doing."""
        self.signalled_at = self.signalled_at or monotonic()
        self.kill(SIGUSR1)

    def listen(self) -> None:
        """For a signal that the learning side has not taken at two looks running. One that is ignored never waits."""
        now = monotonic()
        if self.ended_at or now < self.next_listen:
            return
        self.next_listen = now + LISTEN_SECONDS
        try:
            status = os.pread(self.status, STATUS_BYTES, 0)
        except OSError:  # it is gone
            status = b""
        words = status.partition(b"\nSigPnd:")[2].split(None, 3)  # of its main thread, "ShdPnd:", of all its threads
        waited, self.waits = self.waits, len(words) > 2 and bool((int(words[0], 16) | int(words[2], 16)) & ENDING)
        if waited and self.waits:
            self.end(ASKED)

    def look(self) -> None:
        """For the beat. Looks are counted, not time: a machine whose CPU is held up holds up both."""
        beat = self.cells[BEAT]
        self.looks = self.looks + 1 if beat == self.beat and self.cells[PHASE] == RUNNING else 0
        self.beat = beat
        if self.looks > self.most_looks and not self.ended_at:
            self.end(HUNG)
            self.interrupt()

    def press(self) -> None:
        """Where the acting side was asked to end and has not: the next means."""
        now, phase = monotonic(), self.cells[PHASE]
        self.stopping_since = (self.stopping_since or now) if phase == STOPPING else 0.0
        if self.stopping_since and now - self.stopping_since > STOP_SECONDS:
            self.end(HUNG)
            self.kill(SIGKILL)
        if not self.ended_at or phase in (WAITING, STOPPING, AT_REST):
            return
        if not self.signalled_at and (phase != RUNNING or now - self.ended_at > self.patience):
            self.interrupt()
        elif self.signalled_at and now - self.signalled_at > max(self.patience, LEAST_HANG_SECONDS):
            self.kill(SIGKILL)

    def kill(self, number: int) -> None:
        try:
            os.kill(self.acting, number)
        except OSError:
            pass

    def take_over(self) -> None:
        """The acting side is gone: bring the machine to rest where it did not."""
        if self.cells[PHASE] in (WAITING, AT_REST):
            return
        signal(SIGALRM, SIG_DFL)
        setitimer(ITIMER_REAL, STOP_SECONDS)  # should `stop` hang here, too
        why = REASONS.get(self.cells[END], "the acting side is gone")
        try:
            self.robot.stop()
            self.told.send({"rest": why, "by": "warden"})
            self.cells[PHASE] = AT_REST
        except BaseException as error:  # no memory, too
            told = str(error) if isinstance(error, EdgedstError) else f"stop() raised {type(error).__name__}."
            self.told.send({"moving": told})
