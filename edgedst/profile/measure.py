"""The measuring: idle first, a short turn of each contender to find the number of steps, then rounds A B C, A B C.

Every turn is a fresh process that is gone before the next one begins: a contender that waits costs neither time nor
memory, each repeat has address space and clocks of its own, and a peak of memory is one repeat's. The price is its
start and warm-up, told in advance. One meter, in this process, runs over all of them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgedst.energy.meter import Meter
from edgedst.errors import EdgedstError, ProfileError
from edgedst.profile.contenders import Contender, Start, run_contender
from edgedst.profile.host_state import Counters, State, read_counters, read_state
from edgedst.progress import duration

CALIBRATION_SHARE, CALIBRATION_SECONDS = 0.25, 3.0  # of a window's seconds, and at most
ACTIONS_SHARE, ACTIONS_SECONDS = 0.25, 5.0  # likewise, for single actions
IDLE_SHARE, IDLE_SECONDS = 0.5, 10.0  # likewise, for the idle power
LEAST_STEPS = 20  # of a window


class Watch(Protocol):
    """Who tells a person how far it is. See `cli/profile_terminal.py`."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def begin(self, seconds: float) -> None:
        """The rounds begin, and should take so long."""

    def turn(self, told: str, seconds: float) -> None:
        """A contender's turn begins."""

    def tick(self) -> None:
        """About once a second."""

    def turned(self, told: str) -> None:
        """The turn is over."""


@dataclass(frozen=True)
class Goal:
    """How much is measured."""

    seconds: float  # of the slowest edgedst contender's window
    repeats: int


@dataclass
class Turn:
    """What one contender measured in one round. `facts` are `window.measure`'s and the contender's own."""

    facts: dict[str, Any]
    begin: Counters
    end: Counters
    energy: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """Of the window."""
        taken: float = self.facts["end"] - self.facts["start"]
        return taken

    @property
    def steps_per_second(self) -> float:
        """Of the whole loop."""
        rate: float = self.facts["steps"] / self.seconds
        return rate

    @property
    def update_seconds(self) -> float | None:
        """Of one update alone; RLtools does not tell."""
        updates: int = self.facts["updates"]
        return self.facts["update_seconds"] / updates if updates else None

    @property
    def cpu_seconds(self) -> float:
        """Of a step."""
        seconds: float = self.facts["cpu_seconds"] / self.facts["steps"]
        return seconds

    @property
    def joules(self) -> float | None:
        """Of a step."""
        joules = self.energy["joules"] if self.energy is not None else None
        return joules / self.facts["steps"] if joules is not None else None

    def joules_above(self, idle: dict[str, float | None] | None) -> float | None:
        """Of a step, less what the machine takes when idle: that from before anything ran."""
        watts = idle["watts"] if idle is not None else None
        return self.joules - watts / self.steps_per_second if self.joules is not None and watts is not None else None

    @property
    def empty_bytes(self) -> int:
        """Of a replay that is given memory as it fills: what is missing of it at the peak."""
        rows: int = self.facts["replay_rows"] - self.facts.get("filled_rows", self.facts["replay_rows"])
        return rows * int(self.facts["replay_row_bytes"])

    @property
    def other_cores(self) -> float | None:
        """Cores that other processes kept busy meanwhile.

        On a busy machine the counters are read late, so they have a time of their own.
        """
        if self.begin.busy_seconds is None or self.end.busy_seconds is None:
            return None
        busy = (self.end.busy_seconds - self.begin.busy_seconds) / (self.end.at - self.begin.at)
        return busy - float(self.facts["cpu_seconds"]) / self.seconds


@dataclass
class Measured:
    """All that was measured."""

    contenders: list[Contender]
    steps: int = 0
    rounds: list[dict[str, Turn]] = field(default_factory=list)  # complete ones, by the contender's name
    wanted: int = 0  # rounds
    before: State | None = None
    after: State | None = None
    idle: dict[str, float | None] | None = None
    meter_cost: dict[str, Any] | None = None
    missing: list[str] = field(default_factory=list)  # sentences on contenders that could not be

    @property
    def interrupted(self) -> bool:
        """Whether rounds are missing."""
        return len(self.rounds) < self.wanted

    @property
    def all_turns(self) -> list[Turn]:
        """Of all contenders."""
        return [turn for turns in self.rounds for turn in turns.values()]

    def turns(self, name: str) -> list[Turn]:
        """A contender's, round by round."""
        return [turns[name] for turns in self.rounds]


def measure(
    contenders: Sequence[Contender],
    goal: Goal,
    start: Start,
    watch: Watch,
    meter: Meter | None = None,
    measure_idle: Callable[[Any, float], dict[str, float | None]] | None = None,
    root: Path = Path("/"),
) -> Measured:
    """Measure the contenders in turns. Ctrl-C ends every child, and what was measured until then is returned.

    A peer whose first turn fails is left out, and that is said.

    Args:
        contenders: in the order of a round.
        goal: how much.
        start: the command of edgedst's lean process.
        watch: told how far it is.
        meter: not started yet; None measures no energy.
        measure_idle: `edgedst.energy.idle.measure`, with a meter.
        root: where /proc and /sys are.

    Raises:
        EdgedstError: what a contender that failed said; nothing is returned then.
        ProfileError: every peer failed, and there is nobody else to be measured against.
    """
    session = _Session(Measured(list(contenders), wanted=goal.repeats), goal, start, watch, root)
    measured = session.measured
    try:
        if meter is not None:
            meter.start()
            if measure_idle is not None:
                seconds = min(IDLE_SECONDS, IDLE_SHARE * goal.seconds)
                watch.say(f"Idle power for {seconds:.0f} s first: leave the machine alone.")
                measured.idle = measure_idle(meter, seconds)
        session.calibrate()
        measured.before = read_state(root)
        session.rounds()
    except KeyboardInterrupt:
        pass
    finally:
        if meter is not None:
            if hertz := meter.spec.get("sample_hz"):
                time.sleep(2 / hertz)  # the last window's end lies between two samples
            meter.stop()
    measured.after = read_state(root)
    if meter is not None:
        measured.meter_cost = meter.cost()
        for turn in measured.all_turns:
            facts = turn.facts
            turn.energy = meter.energy(facts["start"], facts["end"], cpu_seconds=facts["cpu_seconds"])
    return measured


class _Session:
    """The turns of one profile."""

    def __init__(self, measured: Measured, goal: Goal, start: Start, watch: Watch, root: Path) -> None:
        self.measured, self._goal, self._start, self._watch, self._root = measured, goal, start, watch, root
        self._turn_seconds: dict[str, float] = {}  # expected of a whole turn
        self._replay_rows: int | None = None  # of edgedst's first contender: a peer's replay has about as many

    def calibrate(self) -> None:
        """A short turn of each: finds the number of steps, tells how long all will take, fails early."""
        seconds = min(CALIBRATION_SECONDS, CALIBRATION_SHARE * self._goal.seconds)
        rates, besides = {}, {}
        for contender in list(self.measured.contenders):
            self._watch.say(f"A short turn of {contender.told} to find its speed.")
            begun = time.monotonic()
            try:
                turn = self._take(contender, None, seconds)
            except EdgedstError as error:
                if contender.peer is None:
                    raise
                self.measured.contenders.remove(contender)
                self.measured.missing.append(f"{contender.peer.title} is left out: {error}")
                if len(self.measured.contenders) < 2:
                    raise ProfileError(" ".join(self.measured.missing)) from None
                self._watch.say(self.measured.missing[-1])
                continue
            rates[contender.name] = turn.steps_per_second
            besides[contender.name] = time.monotonic() - begun - turn.seconds - turn.facts.get("once_seconds", 0.0)
            if contender.peer is None and self._replay_rows is None:
                # Two digits: it differs from start to start, and RLtools compiles it in.
                self._replay_rows = int(float(f"{turn.facts['replay_rows']:.1e}"))
        slowest = min(rates[contender.name] for contender in self.measured.contenders if contender.peer is None)
        evolve_every = self.measured.contenders[0].config.evolve_every
        self.measured.steps = whole_steps(slowest * self._goal.seconds, evolve_every)
        self._turn_seconds = {name: besides[name] + self.measured.steps / rate for name, rate in rates.items()}
        windows = ", ".join(f"{name} {self.measured.steps / rate:,.0f} s" for name, rate in rates.items())
        self._watch.say(
            f"{self.measured.steps:,} steps of each in a repeat ({windows}); with start and warm-up, "
            f"{self._goal.repeats} repeats take about {duration(self._total_seconds())}."
        )

    def rounds(self) -> None:
        """A B C, A B C ...; a round counts when it is complete."""
        self._watch.begin(self._total_seconds())
        for number in range(1, self._goal.repeats + 1):
            turns = {}
            for contender in self.measured.contenders:
                told = f"round {number} of {self._goal.repeats}: {contender.name}"
                self._watch.turn(told, self._turn_seconds[contender.name])
                turns[contender.name] = self._take(contender, self.measured.steps, None)
                self._watch.turned(f"{told}, {turns[contender.name].steps_per_second:,.0f} steps/s")
            self.measured.rounds.append(turns)

    def _total_seconds(self) -> float:
        return self._goal.repeats * sum(self._turn_seconds.values())

    def _take(self, contender: Contender, steps: int | None, seconds: float | None) -> Turn:
        goal = {
            "steps": steps,
            "seconds": seconds,
            "act_seconds": min(ACTIONS_SECONDS, ACTIONS_SHARE * self._goal.seconds),
            "replay_rows": self._replay_rows,
        }
        counters: dict[str, Counters] = {}

        def mark(name: str) -> None:
            counters[name] = read_counters(self._root)

        with tempfile.TemporaryDirectory(prefix="edgedst-profile-") as folder:
            command, variables = contender.command(goal, folder, self._start)
            facts = run_contender(contender.told, command, variables, mark, self._watch.tick)
        return Turn(facts, counters["begin"], counters["end"])


def whole_steps(steps: float, evolve_every: int) -> int:
    """A window's steps: whole periods of the topology's evolution where it holds one, else two digits of the number.

    The warm-up ends on an evolution, so that each window of whole periods has its full share of them.
    """
    if steps >= evolve_every:
        return int(steps // evolve_every) * evolve_every
    whole = max(LEAST_STEPS, int(steps))
    unit: int = 10 ** (len(str(whole)) - 2)
    return whole // unit * unit
