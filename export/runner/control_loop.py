#!/usr/bin/env python3
"""Run an exported actor at a fixed rate between the sensors and the motors of robot.py.

    python control_loop.py actor.onnx --golden golden.csv --rate 20
    python control_loop.py actor.onnx --golden golden.csv --rate 20 --steps 100
    python control_loop.py --stop

It starts only when the golden pairs come out, and calls robot.stop() however it ends. The rate is that of training: an
actor knows no other. Needs onnxruntime, numpy, and run_actor.py and robot.py beside it.
"""

import argparse
import os
import pathlib
import signal
import socket
import sys
import time

REPORT_SECONDS = 10.0


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
    if not (arguments.model and arguments.golden and arguments.rate and arguments.rate > 0):
        parser.error("expected a model, --golden, and a --rate above 0")
    from run_actor import check_golden, open_session, read_metadata

    try:
        session = open_session(arguments.model, threads=1)
        about = read_metadata(session)
        check_golden(session, about, arguments.golden)
    except (OSError, ValueError) as error:
        print(f"control_loop: {error}", file=sys.stderr)
        return 1
    import robot  # not before: it may move something

    ended = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ended.append(number))
    try:
        loop(session, about["observation_size"], robot, arguments.rate, arguments.steps, ended)
    except BadObservation as error:
        print(f"control_loop: {error} No action was given; the robot is stopped.", file=sys.stderr)
        return 1
    finally:
        robot.stop()
    return 0


class BadObservation(Exception):
    """robot.read_observation() gave what the actor cannot take."""


def loop(session, size, robot, rate, steps, ended):
    """Step at `rate` until `steps` are done or a signal is in `ended`.

    Steps keep to the clock: a late one moves no other, and a period that has passed is left out, not caught up with.
    """
    import numpy as np

    period = 1.0 / rate
    service, report = Service(), Report(rate)
    service.tell("READY=1")
    due, done = time.monotonic(), 0
    while not ended and (steps is None or done < steps):
        began = time.monotonic()
        observation = np.asarray(robot.read_observation(size), dtype=np.float32)
        if observation.shape != (size,):
            raise BadObservation(
                f"robot.read_observation() gave an array of shape {observation.shape}; expected ({size},)."
            )
        if not np.isfinite(observation).all():
            place = int(np.flatnonzero(~np.isfinite(observation))[0])
            raise BadObservation(f"robot.read_observation() gave {observation[place]} at index {place}.")
        robot.apply_action(session.run(["actions"], {"obs": observation[None, :]})[0][0].tolist())
        done += 1
        now = time.monotonic()
        due += period
        missed = max(0, int((now - due) // period) + 1) if now > due else 0
        due += missed * period
        report.add(now - began, missed)
        service.alive(now)
        if now < due:
            time.sleep(due - now)
    report.show()


class Report:
    """Every REPORT_SECONDS a line: steps, missed periods, and how long reading, acting and applying took."""

    def __init__(self, rate):
        self.times = [0.0] * max(1, round(rate * REPORT_SECONDS))  # the loop allocates nothing that grows
        self.count = self.missed = self.total = 0

    def add(self, seconds, missed):
        """A step, and the periods that it was late by."""
        self.times[self.count] = seconds
        self.count += 1
        self.total += 1
        self.missed += missed
        if self.count == len(self.times):
            self.show()

    def show(self):
        """Print the line, and begin anew."""
        if not self.count:
            return
        times = sorted(self.times[: self.count])
        p50, p99 = (1e3 * times[int(share * (self.count - 1))] for share in (0.5, 0.99))
        print(
            f"step {self.total:,}: p50 {p50:.2f}, p99 {p99:.2f}, max {1e3 * times[-1]:.2f} ms over {self.count:,} "
            f"steps, {self.missed:,} periods missed",
            flush=True,
        )
        self.count = self.missed = 0


class Service:
    """Tells systemd that the loop is ready and alive (sd_notify, in plain sockets); without systemd nothing."""

    def __init__(self):
        self.address = os.environ.get("NOTIFY_SOCKET")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self.address else None
        self.next = 0.0

    def tell(self, state):
        """Send one state; a name that begins with @ is an abstract one."""
        if self.socket:
            self.socket.sendto(state.encode(), "\0" + self.address[1:] if self.address[0] == "@" else self.address)

    def alive(self, now):
        """Once a second."""
        if now >= self.next:
            self.tell("WATCHDOG=1")
            self.next = now + 1.0


if __name__ == "__main__":
    sys.exit(main())
