"""The acting side: a process that owns the machine, ticks on a monotonic clock, and waits for nobody.

In each period it reads, decides whether the episode is over, acts with its own copy of the actor, and only then hands
over the step. Whatever ends it, `robot.stop()` is called: by `finally` here, or by the warden (`warden.py`) where
nothing here can run any more.
"""

import gc
import os
import resource
import sys
from _signal import (  # type: ignore[import-not-found]  # `signal` imports enum
    SIG_DFL,
    SIG_IGN,
    SIGHUP,
    SIGINT,
    SIGTERM,
    SIGUSR1,
    signal,
)
from _thread import stack_size
from fcntl import F_SETFL, F_SETOWN, fcntl
from time import sleep

from edgedst import core
from edgedst.agents import agent_class
from edgedst.budget.guard import memory
from edgedst.envs import LARGEST_FLOAT16, LARGEST_FLOAT32
from edgedst.envs.robot import Robot
from edgedst.errors import EdgedstError, RobotFault
from edgedst.files import close_each
from edgedst.machine import link as fields
from edgedst.machine.link import HEADER, LARGEST, Link, Pipe, now_ms, now_ns
from edgedst.machine.warden import HUNG, LEAST_HANG_SECONDS, REASONS, SIGNALLED, WARDEN_GONE, guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACTING_STREAM = 500_000  # of random numbers; each start of a run takes one of its own, by its step
LOOK_NS = 50_000_000  # between two looks for the end, while a slow machine's period goes on
STACK_BYTES = 131_072  # of a thread that robot.py starts: the usual 8 MB count, though they are hardly touched
PRIORITY = 10  # of the real-time scheduling class; the warden is above it


_OVER = fields.TERMINATED | fields.TRUNCATED  # an episode is


class Interrupted(KeyboardInterrupt):
    """The warden ends what the robot's code is doing. No Exception: a driver that catches those must not catch it."""


def main(spec: "dict[str, Any]", config: "Any", file: int, told: Pipe, orders: Pipe, learner: int) -> None:
    """The process's whole life; it does not return.

    Args:
        spec: of the environment, from `registry.locate`.
        config: the run's settings.
        file: of the shared memory.
        told: to the learning side.
        orders: from it.
        learner: the end of a pipe that is at its end when the learning side is gone.
    """
    code = 1
    try:
        ends = [told.descriptor, orders.descriptor, learner]
        os.register_at_fork(after_in_child=lambda: _be_foreign(ends))
        # Should robot.py hang while it is imported: SIGIO ends this process when the learning side is gone.
        fcntl(learner, F_SETOWN, os.getpid())
        fcntl(learner, F_SETFL, os.O_ASYNC)
        acting = Acting(spec, config, told, ends)
        fcntl(learner, F_SETFL, 0)
        code = acting.live(file, orders, learner)
    except EdgedstError as error:
        told.send({"error": [type(error).__name__, str(error)]})
    except MemoryError:
        told.send(
            {
                "error": [
                    "BudgetBroken",
                    f"`{spec['env']}` wanted more memory than was left when it had been imported: what it needs later "
                    "it should make while it is imported, so that it is planned; or give it a larger budget.",
                ]
            }
        )
    except Interrupted:
        pass  # in the last instant before `stop`: the warden does it
    except BaseException as error:
        told.send({"error": ["RobotFault", f"The acting side failed: {type(error).__name__}: {error}"]})
    finally:
        if processes := sys.modules.get("multiprocessing.process"):  # `os._exit` leaves out what ends them
            for process in processes.active_children():
                if process.daemon:
                    process.terminate()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        os._exit(code)  # the learning side's objects, which were forked too, are not this process's to close


class Acting:
    """The acting side.

    Args:
        spec, config, told: as in `main`.
        ends: of pipes, which processes that robot.py forks must not hold.

    Raises:
        RobotFault: robot.py is not what it should be.
    """

    def __init__(self, spec: "dict[str, Any]", config: "Any", told: Pipe, ends: "list[int]") -> None:
        os.setsid()  # what a terminal sends is the learning side's to answer
        self.told, self.config, self.ends = told, config, ends
        self.asked = 0  # a reason to end that this process found itself
        self.interruptible = False
        self._handle_signals()
        self.robot = robot = Robot(spec["env"])
        self._handle_signals()  # a driver may have had others
        self.steps_of_episode = spec["max_episode_steps"] or robot.episode_steps
        about = {"rate_hz": robot.rate_hz, "episode_steps": self.steps_of_episode}
        names = ("observation_low", "observation_high", "action_low", "action_high")
        told.send_whole({"robot": about | {name: list(getattr(robot, name)) for name in names}})

    def live(self, file: int, orders: Pipe, learner: int) -> int:
        """Prepare, wait for the word to go, act until the end; returns the exit code."""
        if not orders.wait():  # the learning side has made the shared memory; at its end: it only wanted to know
            return 0
        robot, config = self.robot, self.config
        low, high = robot.observation_low, robot.observation_high
        n, m = len(low), len(robot.action_low)
        self.link = Link(config, n, m, robot.rate_hz, learning=False, file=file)
        self.cells = self.link.cells
        self.middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        self.half = [(b - a) / 2 for a, b in zip(low, high, strict=True)]
        self.raw, self.raw_before = _doubles(n), _doubles(n)  # observations in the robot's units
        self.seen, self.seen_before = _doubles(n), _doubles(n)  # as the networks see them: the bounds are [-1, 1]
        self.largest = LARGEST_FLOAT16 if config.replay_dtype == "float16" else LARGEST_FLOAT32
        self.action = memoryview(bytearray(4 * m)).cast("f")  # in [-1, 1]; the newest one
        self.action_before = memoryview(bytearray(4 * m)).cast("f")
        self._make_policy(n, m)
        self._rehearse()
        self.warden = guard(self.cells, robot, self.told, learner, self.ends, config.max_missed)
        self.told.send({"ready": [os.getpid(), self.warden]})
        order = orders.wait()
        if not order:
            return 0
        robot.claim()
        self.steps, self.episodes = order["steps"], order["episodes"]
        self.first_step = self.steps
        self.policy.random = core.Random(config.seed, ACTING_STREAM + self.steps)
        self.told.send({"note": self._claim(order["growth_bytes"])})
        return self._act()

    def _make_policy(self, n: int, m: int) -> None:
        kind, random = agent_class(self.config.method).POLICY, core.Random(self.config.seed, ACTING_STREAM)
        measured = core.Arena(None)
        kind(measured, self.config, self.link.actors[0], m, random)
        core.History(measured, "history", n, m, self.config.history)
        arena = core.Arena(measured.used_bytes)
        self.policy = kind(arena, self.config, self.link.actors[0], m, random)
        self.policy.normalizer = self.link.normalizers[0]
        self.history = core.History(arena, "history", n, m, self.config.history)  # of the episode, as `seen`

    def _rehearse(self) -> None:
        """Let what acts run once without the machine, so that its memory is there when it is counted."""
        for choose in (self.policy.act, self.policy.explore):
            choose(self.history, self.action)
        self.policy.random_action(self.action)
        gc.freeze()  # a collection looks at what comes from now on, and hardly takes time
        core.release_file_pages()  # of importing robot.py

    def _claim(self, growth_bytes: int) -> str:
        """Take what keeps the rate, where this process may; returns what would help where it may not, or ""."""
        _, _, data = memory()
        stack_size(STACK_BYTES)
        resource.setrlimit(resource.RLIMIT_DATA, (data + growth_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        missing = []
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
        except OSError:
            missing.append("real-time scheduling (`ulimit -r 20`, or `LimitRTPRIO=20` in a systemd unit)")
        if not core.lock_memory():
            missing.append("locked memory (`ulimit -l unlimited`, or `LimitMEMLOCK=infinity`)")
        if not missing:
            return ""
        return f"The acting side does without {' and '.join(missing)}: allowed, it would keep its rate better."

    def _act(self) -> int:
        """Everything that moves the machine; on every way out it comes to rest."""
        robot, cells, config = self.robot, self.cells, self.config
        self.dropped = 0  # records that found no room
        self.held = False  # an evaluation's actor stays until the learning side has saved it
        self.evaluated = 0
        why = "the acting side failed"
        if self._ended():  # before anything has moved
            return 0
        try:
            cells[fields.PHASE] = fields.STARTING
            self.interruptible = True
            robot.start()
            while not self._ended() and self.steps < config.steps:
                if not self._play(evaluation=False):
                    continue
                self.episodes += 1
                if config.eval_every and self.episodes % config.eval_every == 0:
                    for _ in range(config.eval_episodes):
                        if not self._ended():
                            self._play(evaluation=True)
            if not self._ended():  # all steps are done and the machine is at rest: the learning side says the end
                cells[fields.PHASE] = fields.AT_REST
            while not self._ended():
                sleep(LOOK_NS / 1e9)
            why = REASONS[self._ended()]
        except Interrupted:
            why = REASONS[self._ended() or HUNG]
        except MemoryError:
            why = "its process has no memory left"
            raise
        except EdgedstError as error:
            why = str(error)
            self.told.send({"error": [type(error).__name__, why]})  # the first cause, should `stop` fail, too
            raise
        finally:
            self._stop()
            self.told.send({"rest": why, "by": "acting"})  # who sees the phase finds the word
            cells[fields.PHASE] = fields.AT_REST
        if self._ended() == HUNG:
            seconds = round(max(2 * config.max_missed / robot.rate_hz, LEAST_HANG_SECONDS), 2)
            raise RobotFault(f"`{robot.path}`: for {seconds:g} s nothing came back: a call that hangs was ended.")
        return 0

    def _play(self, evaluation: bool) -> bool:
        """One episode, from its reset to rest; returns whether it came to an end of its own."""
        robot, cells = self.robot, self.cells
        cells[fields.PHASE] = fields.RESETTING
        robot.reset()
        if self._ended():
            return False
        if not evaluation:
            self._take_actor()
        self.kind = fields.TRIED if evaluation else fields.STEP
        self.flags = fields.EVALUATION if evaluation else 0
        self.length, self.total, self.in_a_row, self.missed = 0, 0.0, 0, 0
        self.broken = True  # the learning side does not know the observation that the next step begins with
        taken = robot.rest()
        self._beat()
        cells[fields.PHASE] = fields.RUNNING
        self.due_ns = self.read_ns = now_ns()
        self.jitter_ns = 0
        self._read()
        self.history.begin(self.seen)
        while True:
            before, over = taken, self.flags & _OVER
            if over:
                self._stop()
            else:
                taken = self._choose(taken, evaluation)
                robot.apply(taken)
            acted_ns = now_ns()
            # The machine has its action. What follows has time until the next period.
            if self.length:
                reward = robot.reward(self.raw_before, before, self.raw)
                self.total += reward
                self._hand_over(reward, 0.0 if over else (acted_ns - self.read_ns) / 1e3, acted_ns)
            if over:
                break
            self.raw_before[:], self.seen_before[:] = self.raw, self.seen
            self._wait()
            if self._ended():
                return False
            self._step(evaluation)
        if self.length < self.steps_of_episode and not self.flags & (fields.TERMINATED | fields.CUT_OFF):
            return False  # the run's last step cut it: its return is none to compare
        self.kind = fields.OVER
        # Of an evaluation that found no room in the ring the learning side never hears: it would not take note of it.
        if self._put(self.total, 0.0, acted_ns, self.seen) and evaluation:
            self.held = True
            self.evaluated += 1
        return True

    def _step(self, evaluation: bool) -> None:
        """Read what the last action led to, and decide whether that ends the episode."""
        before_ns = self.read_ns
        self._read()
        self.history.add(self.action, self.seen)
        self.length += 1
        period_ns = self.robot.period_ns
        if not evaluation:
            self.steps += 1
            # An action that was held for another time than its period would tell the critics another task.
            held = abs(self.read_ns - before_ns - period_ns) <= period_ns / 2
            self.kind = fields.STEP if held else fields.LOST
        if self.robot.terminated(self.raw):
            self.flags |= fields.TERMINATED
        if self.length >= self.steps_of_episode or (self.steps >= self.config.steps and not evaluation):
            self.flags |= fields.TRUNCATED
        if self.in_a_row >= self.config.max_missed:
            self.flags |= fields.TRUNCATED | fields.CUT_OFF

    def _read(self) -> None:
        self.robot.read(self.raw)
        self.read_ns = now_ns()
        for i, value in enumerate(self.raw):
            self.seen[i] = seen = (value - self.middle[i]) / self.half[i]
            if abs(seen) > self.largest:
                robot = self.robot
                raise RobotFault(
                    f"`{robot.path}`: read_observation gave {value:g} as `{robot.observation_names[i]}`, so far from "
                    f"its bounds {robot.observation_low[i]:g} to {robot.observation_high[i]:g} that the replay cannot "
                    "hold it. Was it a glitch, clip it in read_observation()."
                )

    def _choose(self, last: "list[float]", evaluation: bool) -> "list[float]":
        """The action for what was seen, in the robot's units and inside its bounds; `self.action` is it in [-1, 1]."""
        robot = self.robot
        if not evaluation:
            self._take_actor()
        action = self.action_before
        self.action_before, self.action = self.action, action
        if evaluation:
            self.policy.act(self.history, action)
        elif self.steps < self.config.start_steps:
            self.policy.random_action(action)
        else:
            self.policy.explore(self.history, action)
        bounds = zip(action, robot.action_low, robot.action_high, strict=True)
        scaled = [low + (a + 1.0) / 2.0 * (high - low) for a, low, high in bounds]
        if robot.limit(scaled, last):  # what is stored is what is done
            for i, (value, low, high) in enumerate(zip(scaled, robot.action_low, robot.action_high, strict=True)):
                action[i] = max(-1.0, min(1.0, 2.0 * (value - low) / (high - low) - 1.0))
        return scaled

    def _take_actor(self) -> None:
        """The newest actor that was handed over, unless the last evaluation's has to stay."""
        if self.held and self.cells[fields.ACKNOWLEDGED] != self.evaluated:
            return
        self.held = False
        index = self.link.mailbox.take()
        if index >= 0:
            self.actor_index = index
            self.policy.actor = self.link.actors[index]
            self.policy.normalizer = self.link.normalizers[index]

    def _wait(self) -> None:
        """Until the next period, or the end. One that begins more than half of it late, or never, was missed."""
        period_ns = self.robot.period_ns
        self.due_ns += period_ns
        at_ns = now_ns()
        while at_ns < self.due_ns and not self._ended():
            sleep(min(self.due_ns - at_ns, LOOK_NS) / 1e9)
            at_ns = now_ns()
        self._beat()
        self.jitter_ns = max(0, at_ns - self.due_ns)
        skipped, late_ns = divmod(self.jitter_ns, period_ns)
        self.due_ns += skipped * period_ns
        missed = skipped + (2 * late_ns > period_ns)
        self.missed = min(self.missed + missed, LARGEST)  # a long sleep of a fast machine
        self.in_a_row = self.in_a_row + missed if missed else 0
        try:
            if os.waitpid(self.warden, os.WNOHANG | os.WUNTRACED) != (0, 0):  # one that stands still is none
                self.asked = self.asked or WARDEN_GONE
        except ChildProcessError:
            self.asked = self.asked or WARDEN_GONE

    def _beat(self) -> None:
        self.cells[fields.BEAT] = (self.cells[fields.BEAT] + 1) & 0xFFFFFFFF

    def _hand_over(self, reward: float, latency_us: float, acted_ns: int) -> None:
        """The step that has just ended; behind a gap, the observation that it began with comes first."""
        kind = self.kind
        if kind == fields.LOST:
            self.broken = True
        if kind == fields.STEP and self.broken:
            self.kind = fields.BEGIN
            self.broken = not self._put(0.0, 0.0, acted_ns, self.seen_before)
            self.kind = kind
            if self.broken:
                return
        if not self._put(reward, latency_us, acted_ns, self.seen):
            self.broken = True

    def _put(self, value: float, latency_us: float, acted_ns: int, observation: "memoryview[float]") -> bool:
        """A record into the ring; False: it is full, and the record is lost and counted."""
        link, cells, index = self.link, self.cells, self.actor_index
        age_ms = (now_ms(acted_ns) - cells[fields.PUBLISHED_AT + index]) & 0xFFFFFFFF
        HEADER.pack_into(
            link.record,
            0,
            self.kind,
            self.flags,
            self.steps - self.first_step,
            self.length,
            self.missed,
            cells[fields.UPDATES_OF + index],
            index,
            self.dropped,
            value,
            self.jitter_ns / 1e3,
            latency_us,
            float(age_ms),
        )
        # While the episode goes on, the newest action is that of the step to come.
        over = self.flags & _OVER
        link.action[:] = self.action if over else self.action_before
        link.observation[:] = observation
        if not link.ring.put(link.record):
            self.dropped += 1
            return False
        if self.kind != fields.BEGIN:
            self.missed = 0
        return True

    def _stop(self) -> None:
        """Bring the machine to rest; what blocks in there is the warden's to end."""
        before, self.interruptible = self.interruptible, False
        self.cells[fields.PHASE] = fields.STOPPING
        self.robot.stop()
        self.interruptible = before

    def _ended(self) -> int:
        """The reason to end; 0: there is none."""
        return self.asked or self.cells[fields.END]

    def _handle_signals(self) -> None:
        for number in (SIGINT, SIGHUP):
            signal(number, SIG_IGN)
        signal(SIGTERM, self._ask)
        signal(SIGUSR1, self._interrupt)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = self.asked or SIGNALLED

    def _interrupt(self, _number: int, _frame: object) -> None:
        if self.interruptible:
            self.interruptible = False
            raise Interrupted


def _be_foreign(ends: "list[int]") -> None:
    """Of a process that robot.py forked: it ends by SIGTERM, and keeps nobody waiting for the end of a pipe."""
    close_each(ends)
    for number in (SIGTERM, SIGUSR1):
        signal(number, SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))  # the limit is the acting side's own


def _doubles(count: int) -> "memoryview[float]":
    return memoryview(bytearray(8 * count)).cast("d")
