"""Why a profile's figures may mislead: each doubt is one sentence with the number that gave it."""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median

from edgedst.profile.contenders import TORCH
from edgedst.profile.host_state import Counters, State
from edgedst.profile.measure import Measured, Turn

MOST_SPREAD = 0.10  # (fastest - slowest) / median of a contender's steps a second
FEW_REPEATS = 3  # fewer are few
OTHER_CORES = 0.10  # kept busy by others
CLOCK_DRIFT = 0.05  # of the fastest core, over all windows
SHORT_WINDOW_SECONDS = 1.0


def doubts(measured: Measured) -> list[str]:
    """What a reader must know, the most important first."""
    rules: list[Callable[[Measured], list[str]]] = [
        _interrupted,
        _throttled,
        _clocks,
        _governors,
        _others,
        _swapped,
        _threads,
        _spread,
        _few,
        _short,
        _energy,
        _outside,
        _empty_replay,
    ]
    return [sentence for rule in rules for sentence in rule(measured)] + measured.missing


def _interrupted(measured: Measured) -> list[str]:
    if not measured.interrupted:
        return []
    return [f"The profile was interrupted: {len(measured.rounds)} of {measured.wanted} rounds are complete."]


def _throttled(measured: Measured) -> list[str]:
    """The firmware's words from either look, and the events that x86 counts."""
    told = [f"{word} ({when})" for when, state in _looks(measured) for word in (state.throttled or ())]
    sentences = [f"The clock was held back: {', '.join(told)}."] if told else []
    if events := _grown(measured, lambda counters: counters.throttle_events):
        sentences.append(f"Cores were throttled by heat {events:,.0f} times while contenders were measured.")
    return sentences


def _clocks(measured: Measured) -> list[str]:
    clocks = [
        clock
        for turn in _all_turns(measured)
        for clock in (turn.begin.fastest_mhz, turn.end.fastest_mhz)
        if clock is not None
    ]
    if not clocks or max(clocks) - min(clocks) <= CLOCK_DRIFT * max(clocks):
        return []
    return [
        f"The fastest core ran at {min(clocks):,.0f} to {max(clocks):,.0f} MHz at the beginnings and ends of the "
        "windows."
    ]


def _governors(measured: Measured) -> list[str]:
    found = {core.governor for _, state in _looks(measured) for core in state.cores if core.governor}
    slow = sorted(found - {"performance"})
    if not slow:
        return []
    return [
        f"The cores' governor is {', '.join(slow)}, so their clock follows the load. Steadier: `sudo cpupower "
        "frequency-set -g performance`."
    ]


def _others(measured: Measured) -> list[str]:
    known = [turn.other_cores for turn in _all_turns(measured) if turn.other_cores is not None]
    busiest = max(known, default=0.0)
    if busiest <= OTHER_CORES:
        return []
    return [
        f"Other processes kept {median(known):.1f} of {_cores()} cores busy while contenders were measured, at worst "
        f"{busiest:.1f}."
    ]


def _swapped(measured: Measured) -> list[str]:
    pages = _grown(measured, lambda counters: counters.swapped_pages)
    return [f"The machine swapped {pages:,.0f} pages while contenders were measured."] if pages else []


def _threads(measured: Measured) -> list[str]:
    threads = measured.contenders[0].config.threads
    return [f"{threads} threads share {_cores()} cores."] if threads > _cores() else []


def _spread(measured: Measured) -> list[str]:
    sentences = []
    for contender in measured.contenders:
        rates = [turn.steps_per_second for turn in measured.turns(contender.name)]
        if rates and (spread := (max(rates) - min(rates)) / median(rates)) > MOST_SPREAD:
            sentences.append(
                f"The steps a second of {contender.name} differ by {100 * spread:.0f} % of their median from repeat to "
                "repeat."
            )
    return sentences


def _few(measured: Measured) -> list[str]:
    count = len(measured.rounds)
    if count >= FEW_REPEATS:
        return []
    told = "There is one repeat, so nothing tells how far to trust it" if count == 1 else f"{count} repeats are few"
    return [f"{told}: `--repeats 5` is usual."]


def _short(measured: Measured) -> list[str]:
    sentences = []
    seconds = [turn.seconds for turn in _all_turns(measured)]
    if seconds and min(seconds) < SHORT_WINDOW_SECONDS:
        sentences.append(f"The shortest window took {min(seconds):.2f} s, which a moment of other work changes.")
    config = measured.contenders[0].config
    if config.method.startswith("ds-") and measured.steps < config.evolve_every:
        sentences.append(
            f"No evolution of the topology fell into a window of {measured.steps:,} steps; training has one in "
            f"{config.evolve_every:,} updates."
        )
    return sentences


def _energy(measured: Measured) -> list[str]:
    told = [turn.energy for turn in _all_turns(measured) if turn.energy is not None]
    sentences = []
    if any(not energy["measured"] for energy in told):
        sentences.append("Energy is modelled, not measured: it follows from time and CPU time alone.")
    gaps = sum(energy["gaps"] for energy in told)
    if gaps:
        lost = sum(energy["gap_seconds"] for energy in told)
        sentences.append(f"The energy meter missed samples: {gaps} gaps of {lost:.1f} s together.")
    if unknown := [energy for energy in told if energy["joules"] is None]:
        sentences.append(
            f"The energy of {len(unknown)} of {len(told)} windows is not known: {unknown[0]['detail'] or 'no samples'}."
        )
    if told and measured.idle is not None and measured.idle["watts"] is None:
        sentences.append("The idle power is not known, so energy is told in total only.")
    return sentences


def _outside(measured: Measured) -> list[str]:
    if not measured.contenders[0].config.env_process:
        return []
    return ["edgedst's environment runs in a process of its own: its memory and CPU time are not in these figures."]


def _empty_replay(measured: Measured) -> list[str]:
    """Its arrays are given pages as they fill; edgedst's arena is touched whole."""
    turns = [turns[TORCH].facts for turns in measured.rounds if TORCH in turns]
    if not turns:
        return []
    missing = (turns[0]["replay_rows"] - turns[0]["filled_rows"]) * turns[0]["replay_row_bytes"]
    if missing <= 0:
        return []
    return [
        f"PyTorch's peak memory leaves out {missing / 1e6:,.0f} MB that its replay takes once it is full; edgedst's "
        "replay is reserved whole."
    ]


def _looks(measured: Measured) -> list[tuple[str, State]]:
    looks = (("before", measured.before), ("after", measured.after))
    return [(when, state) for when, state in looks if state is not None]


def _all_turns(measured: Measured) -> list[Turn]:
    return [turn for turns in measured.rounds for turn in turns.values()]


def _grown(measured: Measured, counter: Callable[[Counters], float | None]) -> float:
    """How much a counter grew within the windows; 0 where the machine does not count."""
    pairs = [(counter(turn.begin), counter(turn.end)) for turn in _all_turns(measured)]
    return sum(end - begin for begin, end in pairs if begin is not None and end is not None)


def _cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0))
