"""Why a profile's figures may mislead: each doubt is one sentence with the number that gave it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from statistics import median

from edgedst.density import lambdas_fill_all
from edgedst.profile.host_state import Counters
from edgedst.profile.measure import Measured

MOST_SPREAD = 0.10  # (fastest - slowest) / median of a contender's steps a second
FEW_REPEATS = 3  # fewer are few
OTHER_CORES = 0.10  # kept busy by others
CLOCK_DRIFT = 0.05  # of the fastest core, over all windows
SHORT_WINDOW_SECONDS = 1.0


def doubts(measured: Measured) -> list[str]:
    """What a reader must know, the most important first."""
    rules = (_interrupted, _machine, _load, _figures, _energy, _outside, _empty_replay)
    return [sentence for rule in rules for sentence in rule(measured)] + measured.missing


def _interrupted(measured: Measured) -> Iterator[str]:
    if measured.interrupted:
        yield f"The profile was interrupted: {len(measured.rounds)} of {measured.wanted} rounds are complete."


def _machine(measured: Measured) -> Iterator[str]:
    """Throttling, by the firmware's words from either look and the events that x86 counts; clocks; governors."""
    looks = [(when, state) for when, state in (("before", measured.before), ("after", measured.after)) if state]
    if held := [f"{word} ({when})" for when, state in looks for word in (state.throttled or ())]:
        yield f"The clock was held back: {', '.join(held)}."
    if events := _grown(measured, lambda counters: counters.throttle_events):
        yield f"Cores were throttled by heat {events:,.0f} times while contenders were measured."
    ends = [counters for turn in measured.all_turns for counters in (turn.begin, turn.end)]
    clocks = [counters.fastest_mhz for counters in ends if counters.fastest_mhz is not None]
    if clocks and max(clocks) - min(clocks) > CLOCK_DRIFT * max(clocks):
        yield (
            f"The fastest core ran at {min(clocks):,.0f} to {max(clocks):,.0f} MHz at the beginnings and ends of the "
            "windows."
        )
    if slow := sorted({core.governor for _, state in looks for core in state.cores if core.governor} - {"performance"}):
        yield (
            f"The cores' governor is {', '.join(slow)}, so their clock follows the load. Steadier: `sudo cpupower "
            "frequency-set -g performance`."
        )


def _load(measured: Measured) -> Iterator[str]:
    """Other processes, swapping, and more threads than cores that this process may run on."""
    cores, threads = len(os.sched_getaffinity(0)), measured.contenders[0].config.threads
    known = [turn.other_cores for turn in measured.all_turns if turn.other_cores is not None]
    if (busiest := max(known, default=0.0)) > OTHER_CORES:
        yield (
            f"Other processes kept {median(known):.1f} of {cores} cores busy while contenders were measured, at worst "
            f"{busiest:.1f}."
        )
    if pages := _grown(measured, lambda counters: counters.swapped_pages):
        yield f"The machine swapped {pages:,.0f} pages while contenders were measured."
    if threads > cores:
        yield f"{threads} threads share {cores} cores."


def _figures(measured: Measured) -> Iterator[str]:
    """Their spread, and whether there are enough of them and each took long enough."""
    for contender in measured.contenders:
        rates = [turn.steps_per_second for turn in measured.turns(contender.name)]
        if rates and (spread := (max(rates) - min(rates)) / median(rates)) > MOST_SPREAD:
            yield (
                f"The steps a second of {contender.name} differ by {100 * spread:.0f} % of their median from repeat to "
                "repeat."
            )
    if (count := len(measured.rounds)) < FEW_REPEATS:
        few = "There is one repeat, so nothing tells how far to trust it" if count == 1 else f"{count} repeats are few"
        yield f"{few}: `--repeats 5` is usual."
    if (shortest := min((turn.seconds for turn in measured.all_turns), default=math.inf)) < SHORT_WINDOW_SECONDS:
        yield f"The shortest window took {shortest:.2f} s, which a moment of other work changes."
    config = measured.contenders[0].config
    sizes = [(turn.facts["observation_size"], turn.facts["action_size"]) for turn in measured.all_turns[:1]]
    if any(lambdas_fill_all(*size, config) for size in sizes):
        yield f"{config.method} leaves no weight out with so narrow layers: train with `--sparsity` to compare it."
    if config.method.startswith("ds-") and measured.steps < config.evolve_every:
        yield (
            f"No evolution of the topology fell into a window of {measured.steps:,} steps; training has one in "
            f"{config.evolve_every:,} updates."
        )


def _energy(measured: Measured) -> Iterator[str]:
    told = [turn.energy for turn in measured.all_turns if turn.energy is not None]
    if any(not energy["measured"] for energy in told):
        yield "Energy is modelled, not measured: it follows from time and CPU time alone."
    if gaps := sum(energy["gaps"] for energy in told):
        lost = sum(energy["gap_seconds"] for energy in told)
        yield f"The energy meter missed samples: {gaps} gaps of {lost:.1f} s together."
    if unknown := [energy for energy in told if energy["joules"] is None]:
        yield (
            f"The energy of {len(unknown)} of {len(told)} windows is not known: {unknown[0]['detail'] or 'no samples'}."
        )
    if told and measured.idle is not None and measured.idle["watts"] is None:
        yield "The idle power is not known, so energy is told in total only."


def _outside(measured: Measured) -> Iterator[str]:
    if measured.contenders[0].config.env_process:
        yield "edgedst's environment runs in a process of its own: its memory and CPU time are not in these figures."


def _empty_replay(measured: Measured) -> Iterator[str]:
    """A peer's arrays are given pages as they fill; edgedst's arena is touched whole."""
    for contender in measured.contenders:
        if contender.peer and (empty_bytes := measured.turns(contender.name)[0].empty_bytes):
            yield (
                f"{contender.peer.title}'s peak memory leaves out {empty_bytes / 1e6:,.0f} MB that its replay "
                "takes once it is full; edgedst's replay is reserved whole."
            )


def _grown(measured: Measured, counter: Callable[[Counters], float | None]) -> float:
    """How much a counter grew within the windows; 0 where the machine does not count."""
    pairs = [(counter(turn.begin), counter(turn.end)) for turn in measured.all_turns]
    return sum(end - begin for begin, end in pairs if begin is not None and end is not None)
