#!/usr/bin/env python3
"""A rotary pendulum that runs on the wall clock behind a pseudo-terminal: it stands in for a machine on a serial port.

    python plant.py
    python plant.py --port plant.tty --log plant.log --seed 1
    python plant.py --torque 1 --friction 1 --latency-ms 0 --noise 0      # what the simulator thinks that it is

It never waits for anyone, and it is not what its data sheet says: by default the motor has a fifth less torque, all
friction is twice as large, a voltage acts 25 ms after it was asked for, and the encoders tremble. One line is one
command:

    V <volts>     set the motor's voltage; it acts after the latency
    ?             answers `S <arm_rad> <pendulum_rad> <arm_rad_s> <pendulum_rad_s>`; the pendulum's 0 is upright
    R             brings the arm to the middle and calms the pendulum; answers `OK` once it hangs still
    Z             motor off at once; voltages that were still under way are dropped

A line that is none of these is answered `E` and the line. Without any V or Z for --watchdog-ms the motor turns itself
off. What an episode is belongs to robot.py, beside this file. Needs Python's standard library, and Linux; the port is
examples/cartpole's.

A line of the log is a time.monotonic_ns, which all processes share, and `begin`, `volts <volts>` where they change,
`watchdog <count>`, `reset` or `ready`.
"""

import argparse
import math
import os
import random
import signal
import sys
import time
from collections import deque
from pathlib import Path

from model import COUNT_RAD, SAMPLE_SECONDS, Encoders, Furuta, Parameters

sys.path.append(str(Path(__file__).resolve().parent.parent))
from cartpole.plant import Port, finite  # its folder is only now where Python looks

MOST_VOLTS = 5.0  # either way
# Of the arm's and the pendulum's angle and the arm's rate (V for rad, V for rad/s): calms the pendulum from any state.
CALMING = (8.0, 9.0, 2.0)
STILL_ARM, STILL_PENDULUM, STILL_RATE = 0.3, 0.15, 0.7  # rad, rad, rad/s: so near to hanging in the middle
STILL_SECONDS = 0.4  # for so long
IDLE_SECONDS = 0.05  # at most: an end that was asked for is looked for in between
NEVER = math.inf


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=Path, default=Path(__file__).with_name("plant.tty"), help="link to the terminal")
    parser.add_argument("--log", type=Path, help="append voltages, watchdog trips and resets, with time.monotonic_ns")
    parser.add_argument("--seed", type=int, help="of noise and pushes; by default others each time")
    parser.add_argument("--speed", type=float, default=1.0, help="plant seconds in a second, of all times below, too")
    parser.add_argument("--torque", type=float, default=0.8, help="of the motor, as a factor of the data sheet's")
    parser.add_argument("--friction", type=float, default=2.0, help="viscous and dry, of both joints, likewise")
    parser.add_argument("--noise", type=float, default=0.5, help="of the encoders, in their steps of 1.5 mrad")
    parser.add_argument("--latency-ms", type=float, default=25.0, help="from reading a V to its voltage")
    parser.add_argument("--watchdog-ms", type=float, default=200.0, help="silence after which the motor turns off")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one does")
    options = parser.parse_args()
    if not 0.01 <= options.speed <= 50:
        parser.error(f"--speed is {options.speed:g}; 0.01 to 50 was expected")
    if not 0 <= options.latency_ms < options.watchdog_ms < NEVER:
        parser.error("--latency-ms has to be at least 0, and shorter than --watchdog-ms")
    if not all(0 <= factor <= 10 for factor in (options.torque, options.friction, options.noise)):
        parser.error("--torque, --friction and --noise have to be from 0 to 10")

    asked = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # under nohup it goes on
            signal.signal(number, lambda number, _frame: asked.append(number))
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # a real machine shares no processor with a learner
    except OSError:
        pass  # not allowed: a machine that hesitates now and then
    parent = os.getppid() if options.with_parent else None
    try:
        log = options.log.open("a", buffering=1) if options.log else None
        port = Port(options.port)
    except OSError as error:
        print(f"plant: {error}", file=sys.stderr)
        return 1
    plant = Plant(options, time.monotonic_ns(), log)
    try:
        print(f"Rotary pendulum at {options.port}. Ctrl-C ends it.", flush=True)
        while not asked and (parent is None or os.getppid() == parent):
            serve(port, plant)
    finally:
        port.close()
    print(f"The watchdog tripped {plant.trips} times.")
    return 0


def serve(port, plant):
    """Wait for lines, at most IDLE_SECONDS, and bring the plant up to now."""
    lines = port.read_lines(IDLE_SECONDS)
    now_ns = time.monotonic_ns()
    # Lines that waited because this process did not get the processor were in time, as far as anyone can know.
    if any(line.startswith(("V", "Z")) for line in lines):
        plant.heard(now_ns)
    plant.advance(now_ns)
    for line in lines:
        plant.obey(line, now_ns)
    port.write_lines(plant.answers)
    if not lines:
        port.free()


class Plant:
    """The machine as its port knows it: pendulum, motor with latency and watchdog, encoders, and the way to the middle.

    Every time is one of time.monotonic_ns. Events happen at their own time, however late this process gets to them.

    Args:
        options: of the command line.
        now_ns: the plant's first moment.
        log: text file that gets a line for every event, or None.
    """

    def __init__(self, options, now_ns, log):
        self.options, self.log = options, log
        self.random = random.Random(options.seed)
        rubs = ("arm_viscous", "arm_dry", "pendulum_viscous", "pendulum_dry")
        self.body = Furuta(Parameters().scaled(torque=options.torque, **dict.fromkeys(rubs, options.friction)))
        self.encoders = Encoders(*self.body.state[:2])
        self.volts = 0.0
        self.coming = deque()  # (when it acts, volts), in order
        self.silent_ns = NEVER  # when the watchdog trips
        self.still = None  # samples in which it hung still, during a reset
        self.trips = 0
        self.answers = []
        self.at_ns = now_ns
        self.sample_ns = now_ns + self.span_ns(1e3 * SAMPLE_SECONDS)  # when the encoders are read next
        self.note(now_ns, "begin")

    def advance(self, now_ns):
        """Bring the plant to a moment, with all events up to then."""
        while (event_ns := min(self.coming[0][0] if self.coming else NEVER, self.silent_ns, self.sample_ns)) <= now_ns:
            self.move(event_ns)
            if event_ns == self.silent_ns:
                self.trips += 1
                self.note(event_ns, f"watchdog {self.trips}")
                self.rest(event_ns)
            elif event_ns == self.sample_ns:
                self.sample_ns += self.span_ns(1e3 * SAMPLE_SECONDS)
                self.encoders.read(*(self.trembling(angle) for angle in self.body.state[:2]))
                if self.still is not None:
                    self.calm(event_ns)
            else:
                self.set_volts(event_ns, self.coming.popleft()[1])
        self.move(now_ns)

    def obey(self, line, now_ns):
        """Carry out one line of the protocol; `answers` grows by what it answers."""
        command, *rest = line.split() or [""]
        if command == "V" and (volts := finite(rest)) is not None:
            if self.still is None:  # a reset drives by itself
                volts = max(-MOST_VOLTS, min(MOST_VOLTS, volts))
                self.coming.append((now_ns + self.span_ns(self.options.latency_ms), volts))
                self.silent_ns = now_ns + self.span_ns(self.options.watchdog_ms)
        elif line == "?":
            arm, angle, arm_rate, rate = self.encoders.sample()
            self.answers.append(f"S {arm:.5f} {math.remainder(angle, math.tau):.5f} {arm_rate:.5f} {rate:.5f}")
        elif line == "R":
            self.rest(now_ns)
            self.still = 0
            self.note(now_ns, "reset")
        elif line == "Z":
            self.rest(now_ns)
        elif command:
            self.answers.append(f"E {line}")

    def calm(self, now_ns):
        """A sample's part of a reset: feedback around hanging in the middle, until it hangs still."""
        arm, angle, arm_rate, rate = self.encoders.sample()
        lean = math.remainder(angle - math.pi, math.tau)
        near = abs(arm) < STILL_ARM and abs(lean) < STILL_PENDULUM and max(abs(arm_rate), abs(rate)) < STILL_RATE
        self.still = self.still + 1 if near else 0
        if self.still * SAMPLE_SECONDS < STILL_SECONDS:
            k_arm, k_lean, k_rate = CALMING
            if abs(lean) > math.pi / 2:  # first it falls: around upright the same feedback would hold it there
                k_lean = 0.0
            volts = -(k_arm * arm + k_lean * lean + k_rate * arm_rate)
            self.volts = max(-MOST_VOLTS, min(MOST_VOLTS, volts))
            return
        self.rest(now_ns)
        self.answers.append("OK")
        self.note(now_ns, "ready")

    def heard(self, now_ns):
        """Hold off the watchdog, which a command in its time does."""
        if self.silent_ns != NEVER:
            self.silent_ns = now_ns + self.span_ns(self.options.watchdog_ms)

    def rest(self, now_ns):
        """Motor off, nothing on its way, no reset under way."""
        self.coming.clear()
        self.silent_ns = NEVER
        self.still = None
        self.set_volts(now_ns, 0.0)

    def set_volts(self, now_ns, volts):
        """Let a voltage act from now on."""
        if volts != self.volts:
            self.volts = volts
            self.note(now_ns, f"volts {volts:g}")

    def move(self, now_ns):
        """Let the time up to `now_ns` pass, without events."""
        if now_ns > self.at_ns:
            self.body.advance(self.volts, (now_ns - self.at_ns) * 1e-9 * self.options.speed)
        self.at_ns = now_ns

    def trembling(self, angle):
        """An angle as an encoder sees it."""
        return angle + self.random.gauss(0.0, self.options.noise * COUNT_RAD)

    def span_ns(self, milliseconds):
        """A duration of the plant's on the wall clock."""
        return round(milliseconds * 1e6 / self.options.speed)

    def note(self, now_ns, what):
        """A line of the log."""
        if self.log:
            print(now_ns, what, file=self.log)


if __name__ == "__main__":
    sys.exit(main())
