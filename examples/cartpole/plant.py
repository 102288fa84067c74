#!/usr/bin/env python3
"""A cart-pole that runs on the wall clock behind a pseudo-terminal: it stands in for a machine on a serial port.

    python plant.py
    python plant.py --port plant.tty --log plant.log --seed 1
    python plant.py --start down

It never waits for anyone: the pole falls while the other side thinks. One line is one command:

    F <newtons>   set the force; it acts after the latency
    ?             answers `S <x_m> <v_m_s> <angle_rad> <rate_rad_s>`, with sensor noise; the angle is 0 upright
    R             somebody puts cart and pole back, with the force off; answers `OK` when done
    Z             force 0 at once; forces that were still under way are dropped

A line that is none of these is answered `E` and the line. Without any F or Z for --watchdog-ms the drive turns itself
off. There is no "failed" here: a pole that falls swings, and a cart at the end of its rail stops. What an episode is
belongs to robot.py, beside this file. Needs Python's standard library, and Linux.

A line of the log is a time.monotonic_ns, which all processes share, and `begin`, `force <newtons>` where it changes,
`watchdog <count>`, `reset` or `ready`.
"""

import argparse
import fcntl
import math
import os
import random
import select
import signal
import sys
import termios
import time
import tty
from collections import deque
from pathlib import Path

GRAVITY, CART_KG, POLE_KG, HALF_POLE_M = 9.81, 1.0, 0.1, 0.5
MOST_NEWTONS, RAIL_M = 10.0, 2.4  # either way
STEP_SECONDS = 0.001
NOISE = (0.0005, 0.01, 0.001, 0.02)  # standard deviations: m, m/s (what an encoder's differences give), rad, rad/s
START_M, START_RAD = 0.05, 0.05  # a reset ends at most so far from the middle, and from upright or hanging
IDLE_SECONDS = 0.05  # at most: an end that was asked for is looked for in between
LONGEST_LINE = 100  # bytes
NEVER = math.inf


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=Path, default=Path(__file__).with_name("plant.tty"), help="link to the terminal")
    parser.add_argument("--log", type=Path, help="append forces, watchdog trips and resets, with time.monotonic_ns")
    parser.add_argument("--seed", type=int, help="of noise and resets; by default others each time")
    parser.add_argument("--speed", type=float, default=1.0, help="plant seconds in a second, of all times below, too")
    parser.add_argument("--noise", type=float, default=1.0, help="of the sensors, as a factor; 0 is none")
    parser.add_argument("--latency-ms", type=float, default=2.0, help="from reading an F to its force")
    parser.add_argument("--watchdog-ms", type=float, default=100.0, help="silence after which the drive turns off")
    parser.add_argument("--reset-ms", type=float, default=500.0, help="time that a reset takes")
    parser.add_argument("--start", choices=("up", "down"), default="up", help="the pole after a reset")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one does")
    options = parser.parse_args()
    if not 0.01 <= options.speed <= 50:
        parser.error(f"--speed is {options.speed:g}; 0.01 to 50 was expected")
    if not 0 <= options.latency_ms < options.watchdog_ms < NEVER:
        parser.error("--latency-ms has to be at least 0, and shorter than --watchdog-ms")
    if not (0 <= options.noise < NEVER and 0 <= options.reset_ms < NEVER):
        parser.error("--noise and --reset-ms have to be at least 0")

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
        print(f"Cart-pole at {options.port}. Ctrl-C ends it.", flush=True)
        while not asked and (parent is None or os.getppid() == parent):
            serve(port, plant)
    finally:
        port.close()
    print(f"The watchdog tripped {plant.trips} times.")
    return 0


def serve(port, plant):
    """Wait for the next event of either side, at most IDLE_SECONDS, and bring the plant up to now."""
    wait = min(IDLE_SECONDS, max(0.0, (plant.next_event_ns() - time.monotonic_ns()) / 1e9))
    lines = port.read_lines(wait)
    now_ns = time.monotonic_ns()
    # Lines that waited because this process did not get the processor were in time, as far as anyone can know.
    if any(line.startswith(("F", "Z")) for line in lines):
        plant.heard(now_ns)
    plant.advance(now_ns)
    for line in lines:
        plant.obey(line, now_ns)
    port.write_lines(plant.answers)
    if not lines:
        port.free()


class CartPole:
    """The equations of motion. Angle 0 is upright; force, position and angle are positive to the right.

    Source: Florian 2007, "Correct equations for the dynamics of the cart-pole system", without friction. Departs from
    it: the rail has ends, which stop the cart.
    """

    def __init__(self):
        self.state = (0.0, 0.0, math.pi, 0.0)  # m, m/s, rad, rad/s

    def advance(self, force, seconds):
        """Move under a constant force (N), in steps of at most STEP_SECONDS."""
        steps = math.ceil(seconds / STEP_SECONDS)
        for _ in range(steps):
            self.step(force, seconds / steps)

    def step(self, force, h):
        """One step of the classic Runge-Kutta method, h seconds long."""
        x, v_1, angle, rate_1 = self.state
        blocked = abs(x) >= RAIL_M and x * accelerations(angle, rate_1, force, False)[0] >= 0
        cart_1, pole_1 = accelerations(angle, rate_1, force, blocked)
        v_2, rate_2 = v_1 + h / 2 * cart_1, rate_1 + h / 2 * pole_1
        cart_2, pole_2 = accelerations(angle + h / 2 * rate_1, rate_2, force, blocked)
        v_3, rate_3 = v_1 + h / 2 * cart_2, rate_1 + h / 2 * pole_2
        cart_3, pole_3 = accelerations(angle + h / 2 * rate_2, rate_3, force, blocked)
        v_4, rate_4 = v_1 + h * cart_3, rate_1 + h * pole_3
        cart_4, pole_4 = accelerations(angle + h * rate_3, rate_4, force, blocked)
        x += h / 6 * (v_1 + 2 * v_2 + 2 * v_3 + v_4)
        v = v_1 + h / 6 * (cart_1 + 2 * cart_2 + 2 * cart_3 + cart_4)
        angle += h / 6 * (rate_1 + 2 * rate_2 + 2 * rate_3 + rate_4)
        rate = rate_1 + h / 6 * (pole_1 + 2 * pole_2 + 2 * pole_3 + pole_4)
        if abs(x) > RAIL_M:
            # The stop takes the cart's momentum. The pole keeps its angular momentum about the pivot and tips on.
            rate += 0.75 * v * math.cos(angle) / HALF_POLE_M
            x, v = math.copysign(RAIL_M, x), 0.0
        self.state = (x, v, angle, rate)


def accelerations(angle, rate, force, blocked):
    """Of the cart (m/s²) and of the pole (rad/s²); a `blocked` cart is held by the end of its rail."""
    sine, cosine = math.sin(angle), math.cos(angle)
    if blocked:
        return 0.0, 0.75 * GRAVITY * sine / HALF_POLE_M
    both_kg = CART_KG + POLE_KG
    pushed = (force + POLE_KG * HALF_POLE_M * rate * rate * sine) / both_kg
    pole = (GRAVITY * sine - pushed * cosine) / (HALF_POLE_M * (4 / 3 - POLE_KG * cosine * cosine / both_kg))
    return pushed - POLE_KG * HALF_POLE_M * pole * cosine / both_kg, pole


class Plant:
    """The machine as its port knows it: cart-pole, drive with latency and watchdog, sensors, somebody who resets it.

    Every time is one of time.monotonic_ns. Events happen at their own time, however late this process gets to them.

    Args:
        options: of the command line.
        now_ns: the plant's first moment.
        log: text file that gets a line for every event, or None.
    """

    def __init__(self, options, now_ns, log):
        self.options, self.log = options, log
        self.random = random.Random(options.seed)
        self.body = CartPole()
        self.force = 0.0
        self.coming = deque()  # (when it acts, force), in order
        self.silent_ns = NEVER  # when the watchdog trips
        self.ready_ns = NEVER  # when the reset that is going on is done
        self.trips = 0
        self.answers = []
        self.at_ns = now_ns
        self.note(now_ns, "begin")

    def next_event_ns(self):
        """When something happens by itself."""
        return min(self.coming[0][0] if self.coming else NEVER, self.silent_ns, self.ready_ns)

    def advance(self, now_ns):
        """Bring the plant to a moment, with all events up to then."""
        while (event_ns := self.next_event_ns()) <= now_ns:
            self.move(event_ns)
            if event_ns == self.ready_ns:
                self.ready_ns = NEVER
                self.body.state = self.start()
                self.answers.append("OK")
                self.note(event_ns, "ready")
            elif event_ns == self.silent_ns:
                self.trips += 1
                self.note(event_ns, f"watchdog {self.trips}")
                self.rest(event_ns)
            else:
                self.set_force(event_ns, self.coming.popleft()[1])
        self.move(now_ns)

    def obey(self, line, now_ns):
        """Carry out one line of the protocol; `answers` grows by what it answers."""
        command, *rest = line.split() or [""]
        if command == "F" and (newtons := finite(rest)) is not None:
            if self.ready_ns == NEVER:  # during a reset the drive is off: there are hands in the machine
                newtons = max(-MOST_NEWTONS, min(MOST_NEWTONS, newtons))
                self.coming.append((now_ns + self.span_ns(self.options.latency_ms), newtons))
                self.silent_ns = now_ns + self.span_ns(self.options.watchdog_ms)
        elif line == "?":
            self.answers.append("S {:.5f} {:.5f} {:.5f} {:.5f}".format(*self.sensed()))
        elif line == "R":
            self.rest(now_ns)
            x, _, angle, _ = self.body.state
            self.body.state = (x, 0.0, angle, 0.0)
            self.ready_ns = now_ns + self.span_ns(self.options.reset_ms)
            self.note(now_ns, "reset")
        elif line == "Z":
            self.rest(now_ns)
        elif command:
            self.answers.append(f"E {line}")

    def heard(self, now_ns):
        """Hold off the watchdog, which a command in its time does."""
        if self.silent_ns != NEVER:
            self.silent_ns = now_ns + self.span_ns(self.options.watchdog_ms)

    def rest(self, now_ns):
        """Force 0, and nothing on its way."""
        self.coming.clear()
        self.silent_ns = NEVER
        self.set_force(now_ns, 0.0)

    def set_force(self, now_ns, newtons):
        """Let a force act from now on."""
        if newtons != self.force:
            self.force = newtons
            self.note(now_ns, f"force {newtons:g}")

    def move(self, now_ns):
        """Let the time up to `now_ns` pass, without events; hands hold the machine still during a reset."""
        if self.ready_ns == NEVER:
            self.body.advance(self.force, (now_ns - self.at_ns) * 1e-9 * self.options.speed)
        self.at_ns = now_ns

    def start(self):
        """A state as a reset leaves it: at rest, and never twice the same."""
        x, angle = self.random.uniform(-START_M, START_M), self.random.uniform(-START_RAD, START_RAD)
        return x, 0.0, angle + (math.pi if self.options.start == "down" else 0.0), 0.0

    def sensed(self):
        """The state as the sensors see it; the angle within half a turn of upright."""
        x, v, angle, rate = (
            value + self.options.noise * self.random.gauss(0.0, sigma)
            for value, sigma in zip(self.body.state, NOISE, strict=True)
        )
        return x, v, math.remainder(angle, math.tau), rate

    def span_ns(self, milliseconds):
        """A duration of the plant's on the wall clock."""
        return round(milliseconds * 1e6 / self.options.speed)

    def note(self, now_ns, what):
        """A line of the log."""
        if self.log:
            print(now_ns, what, file=self.log)


class Port:
    """A pseudo-terminal under a name, which behaves like a serial port: opened and closed at will, one user at a time.

    Args:
        path: of the symbolic link to the terminal. One that a dead plant left behind is replaced.

    Raises:
        OSError: a plant that lives has this name, or the path is no link.
    """

    def __init__(self, path):
        refuse_taken(path)
        # The terminal's other end stays open here, too: so the plant outlives everyone who opens it.
        self.ours, self.theirs = os.openpty()
        tty.setraw(self.theirs)
        os.set_blocking(self.ours, False)
        fcntl.lockf(self.theirs, fcntl.LOCK_EX)  # says that this plant lives; another kind of lock than flock
        self.path, self.target = path, os.ttyname(self.theirs)
        self.rest = b""
        link = path.with_name(f"{path.name}.{os.getpid()}")
        link.symlink_to(self.target)
        link.replace(path)

    def read_lines(self, seconds):
        """Whole lines that have come, without spaces around them, after waiting at most so long for the first byte."""
        if not select.select([self.ours], [], [], seconds)[0]:
            return []
        *lines, rest = (self.rest + os.read(self.ours, 4096)).split(b"\n")
        self.rest = rest[:LONGEST_LINE]
        return [line[:LONGEST_LINE].decode("ascii", "replace").strip() for line in lines]

    def write_lines(self, lines):
        """Send the lines and empty the list. What nobody reads is lost once the terminal is full, as on a wire."""
        if lines:
            try:
                os.write(self.ours, "".join(f"{line}\n" for line in lines).encode("ascii", "replace"))
            except BlockingIOError:
                pass
            lines.clear()

    def free(self):
        """Let anyone open the port once its user is gone: a serial port's last close does that, a terminal's does not.

        A user holds a flock as long as it lives. While the terminal is exclusive, one that was killed would keep
        everyone out for ever.
        """
        try:
            fcntl.flock(self.theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        fcntl.ioctl(self.theirs, termios.TIOCNXCL)
        fcntl.flock(self.theirs, fcntl.LOCK_UN)

    def close(self):
        """Remove the name, unless another plant has taken it."""
        if self.path.is_symlink() and str(self.path.readlink()) == self.target:
            self.path.unlink()


def refuse_taken(path):
    """Raise FileExistsError where a path is no link, or leads to a terminal that a living plant may have."""
    if not path.is_symlink():
        if path.exists():
            raise FileExistsError(f"{path} is there, and is no link that a plant made. Try another --port.")
        return
    try:
        terminal = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            fcntl.lockf(terminal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(terminal)
    except FileNotFoundError:  # terminals end with the plant that made them
        return
    except OSError as error:  # locked by a plant, or exclusive for its user
        raise FileExistsError(
            f"A plant is running at {path} ({error.strerror}). End it, or try another --port."
        ) from None


def finite(words):
    """The one finite number that the words are, or None."""
    try:
        (number,) = map(float, words)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


if __name__ == "__main__":
    sys.exit(main())
