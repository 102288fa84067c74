"""Times several sides against each other in one run: blocks in turns, A B C A B C, compared round by round.

What disturbs the machine for a while disturbs all sides of a round, so a ratio is the median of the rounds' ratios,
not the ratio of two medians.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def nothing() -> None:
    """What most sides need before a block."""


@dataclass
class Side:
    """One of the things compared."""

    label: str
    step: Callable[[], object]  # what is timed
    prepare: Callable[[], object] = nothing  # before every block, not timed: for example the number of threads
    rare_seconds: float = 0.0  # a step's share of work too rare for a block, added to every block's mean
    facts: dict[str, object] = field(default_factory=dict)  # for the JSON
    fingerprint: Callable[[], str] | None = None  # of the result: equal means bitwise equal


def in_turns(sides: dict[str, Side], blocks: int, steps: int) -> dict[str, list[float]]:
    """Mean seconds a step, of `blocks` blocks of `steps` steps a side, after one block each that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(1 + blocks):
        for name, side in sides.items():
            side.prepare()
            seconds[name].append(side.rare_seconds + block_seconds(side.step, steps))
    return {name: times[1:] for name, times in seconds.items()}


def block_seconds(step: Callable[[], object], steps: int) -> float:
    """Mean seconds a step of one block."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median over the rounds of the share of their time that ours took."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and the fastest and slowest block, in microseconds."""
    micro = [1e6 * s for s in seconds]
    return {"median_us": statistics.median(micro), "fastest_us": min(micro), "slowest_us": max(micro)}


def report(sides: dict[str, Side], seconds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Of each side, for the JSON: label, spread, facts."""
    return {name: {"label": sides[name].label, **spread(times), **sides[name].facts} for name, times in seconds.items()}


def table(title: str, sides: dict[str, dict[str, Any]], ratios: dict[str, float] | None = None) -> str:
    """A report for reading; `ratios` by the names of sides, in a column of their own."""
    width = max(len(side["label"]) for side in sides.values())
    heads = ("median us", "fastest", "slowest", "a second", *(("ratio",) if ratios else ()))
    lines = [title, " " * width + "".join(f"{head:>11}" for head in heads)]
    for name, side in sides.items():
        times = "".join(f"{side[key]:>11.1f}" for key in ("median_us", "fastest_us", "slowest_us"))
        share = f"{ratios[name]:>11.3f}" if ratios and name in ratios else ""
        lines.append(f"{side['label']:<{width}}{times}{1e6 / side['median_us']:>11.0f}{share}")
    return "\n".join(lines) + "\n"


def progress(text: str) -> None:
    """A line on stderr: stdout keeps the table or the JSON alone."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
