#!/usr/bin/env python3
"""Run an exported actor at a fixed rate between the sensors and the motors of robot.py.

    python control_loop.py actor.onnx --golden golden.csv --rate 20
    python control_loop.py actor.onnx --golden golden.csv --rate 20 --steps 100
    python control_loop.py --stop

It starts only when the golden pairs come out, and calls robot.stop() when it ends: after --steps, Ctrl-C, Ctrl-Z,
SIGTERM, a lost terminal, a bad observation, an exception in robot.py. What cannot be caught (a kill, a crash of
Python) is systemd's part, which runs `--stop`. The rate is that of training: an actor knows no other. A robot.py that
was written for training serves as it is: its ACTION limits what is applied, its other numbers and functions are not
used. Needs onnxruntime, numpy, and run_actor.py and robot.py beside it.
"""

import argparse
import contextlib
import os
import pathlib
import queue
import signal
import socket
import sys
import threading
import time

REPORT_SECONDS = 10.0
LAST_REPORT_SECONDS = 1.0  # that a reader who stands still holds up the end, with the robot at rest
SLOWEST, FASTEST = 0.01, 10_000.0  # steps a second
SLEEP_SECONDS = 0.1  # at most: a signal is looked for in between
# Ctrl-\ and Ctrl-Z, too: they would leave the robot with its last action.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
ROBOT = ("start", "read_observation", "apply_action", "stop")


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="file made by `edgedst export`")
    parser.add_argument("--golden", help="pairs that have to come out first, made by `edgedst export`")
    parser.add_argument("--rate", type=float, help="steps a second, those that the actor was trained with")
    parser.add_argument("--steps", type=int, help="end after so many steps; by default at SIGTERM or Ctrl-C")
    parser.add_argument("--stop", action="store_true", help="only call robot.stop()")
    arguments = parser.parse_args()
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # `python -I` leaves it out
    if arguments.stop:
        import robot

        robot.stop()
        return 0
    if not (arguments.model and arguments.golden and arguments.rate and SLOWEST <= arguments.rate <= FASTEST):
        parser.error(f"expected a model, --golden, and a --rate from {SLOWEST:g} to {FASTEST:g}")
    from run_actor import History, check_golden, open_session, read_metadata

    try:
        session = open_session(arguments.model, threads=1)
        about = read_metadata(session)
        check_golden(session, about, arguments.golden)
    except (OSError, ValueError) as error:
        print(f"control_loop: {error}", file=sys.stderr)
        return 1
    report = Report(arguments.rate)
    ended = Ended()
    import robot

    if missing := [name for name in ROBOT if not callable(getattr(robot, name, None))]:
        print(f"control_loop: robot.py has no function {', '.join(missing)}. Nothing was started.", file=sys.stderr)
        return 1
    try:
        limits = Limits(getattr(robot, "ACTION", None), about["action_size"])
    except ValueError as error:
        print(f"control_loop: robot.py: {error}. Nothing was started.", file=sys.stderr)
        return 1
    if ended.asked:
        return 0
    try:
        act_and_stop(session, about, robot, limits, History(about), report, arguments.steps, ended)
    except Unusable as error:  # told when the robot is at rest: a terminal may stand still
        print(f"control_loop: {error} No action was given; the robot was stopped.", file=sys.stderr)
        return 1
    report.end()
    return 0


def act_and_stop(session, about, robot, limits, history, report, steps, ended):
    """Start the robot, run the loop, and stop the robot whatever happens."""
    try:
        robot.start()
        loop(session, about, robot, limits, history, report, steps, ended)
    finally:
        try:
            ended.handle(signal.SIG_IGN)  # nothing may interrupt: the robot is coming to rest
        finally:  # a second signal may have raised in that very moment; a third one does not
            try:
                robot.stop()
            finally:
                ended.handle(signal.SIG_DFL)  # should a thread of robot.py's keep the process


class Unusable(Exception):
    """An observation that the actor cannot take, or an action that no motor may get."""


class Ended:
    """Whether a signal has asked for the end; true after the step that it came in. A second one ends at once."""

    def __init__(self):
        self.asked = self.raised = False
        self.numbers = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]  # nohup's stays ignored
        self.handle(self.ask)

    def ask(self, number, _frame):
        """The handler: Python goes on with whatever was blocked, unless this raises."""
        if self.asked and not self.raised:
            self.raised = True
            raise SystemExit(128 + number)
        self.asked = True

    def handle(self, handler):
        """Let the signals do something else."""
        for number in self.numbers:
            signal.signal(number, handler)


class Limits:
    """What robot.py's ACTION allows, as in training: (name, low, high) of each action, or (name, low, high, slew).

    `slew` is the most change in one step, from rest on: 0, or the bound nearest to it. Without an ACTION nothing is
    limited here; the actor keeps the bounds that it was trained with.
    """

    def __init__(self, table, size):
        if table is not None and not (isinstance(table, (list, tuple)) and len(table) == size):
            raise ValueError(f"ACTION is {table!r:.200}; a list of {size} rows was expected, one for each action")
        self.rows = [self.row(row) for row in table or ()]
        self.last = [max(low, min(high, 0.0)) for low, high, _ in self.rows]

    def row(self, row):
        """(low, high, slew) of a row of ACTION."""
        numbers = list(row[1:]) if isinstance(row, (list, tuple)) and len(row) in (3, 4) else []
        finite = [float(n) for n in numbers if isinstance(n, (int, float)) and abs(n) < 1e300]
        low, high, slew = [*finite, finite[1] - finite[0]][:3] if len(finite) == len(numbers) > 0 else (0.0, 0.0, 0.0)
        if not (low < high and slew > 0):
            raise ValueError(
                f"ACTION has the row {row!r:.200}; (name, low, high) or (name, low, high, slew) was expected, with low "
                "< high and slew > 0"
            )
        return low, high, slew

    def keep(self, action):
        """The nearest action that is allowed after the one before."""
        if self.rows:
            rows = zip(action, self.last, self.rows)  # noqa: B905  # Python 3.9; the sizes were compared
            self.last = action = [
                max(low, min(high, max(before - slew, min(before + slew, wanted))))
                for wanted, before, (low, high, slew) in rows
            ]
        return action


def loop(session, about, robot, limits, history, report, steps, ended):
    """Step at the report's rate until `steps` are done or the end is asked for.

    It is one episode, of which `history` remembers the end. Steps keep to the clock: a late one moves no other, and a
    period that has passed is left out, not caught up with.
    """
    period = 1.0 / report.rate
    service = Service()
    due, done = time.monotonic(), 0
    service.alive(due)
    report.begin(due)
    while not ended.asked and (steps is None or done < steps):
        began = time.monotonic()
        observation = read(robot, about["observation_size"])
        action = limits.keep(act(session, about, history.push(observation)))
        robot.apply_action(action)
        history.acted(action)
        done += 1
        now = time.monotonic()
        due += period
        missed = max(0, int((now - due) // period) + 1) if now > due else 0
        due += missed * period
        report.add(now, now - began, missed)
        service.alive(now)
        while now < due and not ended.asked:
            time.sleep(min(due - now, SLEEP_SECONDS))
            now = time.monotonic()
            service.alive(now)


def read(robot, size):
    """The robot's observation, (size,) float32."""
    import numpy as np

    given = robot.read_observation(size)
    try:
        observation = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise Unusable(f"robot.read_observation() gave what is no list of numbers ({error}).") from None
    if observation.shape != (size,):
        raise Unusable(f"robot.read_observation() gave an array of shape {observation.shape}; expected ({size},).")
    if not np.isfinite(observation).all():
        place = int(np.flatnonzero(~np.isfinite(observation))[0])
        raise Unusable(f"robot.read_observation() gave {observation[place]} at index {place}.")
    return observation


def act(session, about, features):
    """The actor's action, a list of floats within the bounds that its file states."""
    import numpy as np

    action = session.run(["actions"], {"obs": features})[0][0]
    if not np.isfinite(action).all():
        raise Unusable(f"The actor gave {action.tolist()}: the observation is far outside of what it was trained with.")
    for value, low, high in zip(action.tolist(), about["action_low"], about["action_high"]):  # noqa: B905  # Python 3.9
        slack = 1e-5 * max(abs(low), abs(high))  # what a float32 beside a bound may be off
        if not low - slack <= value <= high + slack:
            raise Unusable(f"The actor gave {value:g}, and its file says {low:g} to {high:g}: copy the bundle again.")
    return action.tolist()


class Report:
    """Every REPORT_SECONDS a line: steps, missed periods, and how long reading, acting and applying took.

    A thread writes it: a terminal after Ctrl-S, a full pipe or a slow disk keeps that thread, and the loop goes on
    without further lines. It writes past Python's buffer, whose lock the process could not end without.
    """

    def __init__(self, rate):
        self.rate = rate
        self.times = [0.0] * (1 + round(rate * REPORT_SECONDS))  # the loop allocates nothing that grows
        self.count = self.missed = self.total = 0
        self.next = 0.0
        self.lines = queue.SimpleQueue()
        self.file = sys.stdout.fileno() if sys.stdout else os.open(os.devnull, os.O_WRONLY)
        try:
            print(end="", flush=True)  # what was printed before comes first
        except OSError:
            self.drop()
        self.writer = threading.Thread(target=self.write, daemon=True)
        self.writer.start()

    def begin(self, now):
        """The loop begins."""
        self.next = now + REPORT_SECONDS

    def add(self, now, seconds, missed):
        """A step, and the periods that it was late by."""
        self.times[self.count] = seconds
        self.count += 1
        self.total += 1
        self.missed += missed
        if now >= self.next or self.count == len(self.times):
            self.show()
            self.next = now + REPORT_SECONDS

    def show(self):
        """Have the line written, unless the one before still waits for that, and begin anew."""
        if self.count and self.lines.empty():
            times = sorted(self.times[: self.count])
            p50, p99 = (1e3 * times[int(share * (self.count - 1))] for share in (0.5, 0.99))
            self.lines.put(
                f"step {self.total:,}: p50 {p50:.2f}, p99 {p99:.2f}, max {1e3 * times[-1]:.2f} ms over "
                f"{self.count:,} steps, {self.missed:,} periods missed\n"
            )
        self.count = self.missed = 0

    def end(self):
        """The last line; waits for it to be written, not for long."""
        self.show()
        self.lines.put(None)
        self.writer.join(LAST_REPORT_SECONDS)

    def write(self):
        """The thread's work."""
        while line := self.lines.get():
            try:
                os.write(self.file, line.encode())
            except OSError:
                self.drop()

    def drop(self):
        """Whoever read this has gone, or the disk is full: no reason to drop a robot."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file)


class Service:
    """Tells systemd that the loop is ready and alive (sd_notify, in plain sockets); without systemd nothing.

    A systemd that does not read loses a message, and the loop does not wait for it.
    """

    def __init__(self):
        address = os.environ.get("NOTIFY_SOCKET")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if address else None
        self.address = "\0" + address[1:] if address and address[0] == "@" else address  # an abstract one
        self.state = b"READY=1"  # until it has arrived
        self.next = 0.0

    def alive(self, now):
        """Once a second."""
        if self.socket and now >= self.next:
            self.next = now + 1.0
            with contextlib.suppress(OSError):  # systemd's watchdog knows what to do
                self.socket.sendto(self.state, self.address)
                self.state = b"WATCHDOG=1"


if __name__ == "__main__":
    sys.exit(main())
