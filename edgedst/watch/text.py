"""What a watcher knows as lines of text, for a terminal or a file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from edgedst.progress import duration
from edgedst.watch.watcher import Watcher

REFRESH_SECONDS = 2.0
NOTHING = "-"
# Title, width, what it shows of a run's facts.
_COLUMNS = (
    ("state", 8),
    ("step", 22),
    ("return", 10),
    ("best", 10),
    ("steps/s", 8),
    ("updates", 8),
    ("missed", 7),
    ("memory MB", 14),
    ("W", 6),
    ("time left", 13),
    ("run", 0),
)


def show(watcher: Watcher) -> None:
    """Print it: once, or on a terminal again and again until Ctrl-C."""
    while True:
        text = "\n".join(lines(watcher))
        if not sys.stdout.isatty():
            print(text)
            return
        height = os.get_terminal_size(sys.stdout.fileno()).lines or 1000  # 0: it does not tell
        shown = text.split("\n")[: max(1, height - 1)]  # what scrolled away could not be replaced
        print("\x1b[H\x1b[J" + "\n".join(shown), flush=True)
        time.sleep(REFRESH_SECONDS)


def lines(watcher: Watcher) -> Iterator[str]:
    """A line a run; of a single run also its losses, ledger and layers."""
    head, runs = watcher.facts()
    heat = f", {head['celsius']:.0f} degrees Celsius" if head["celsius"] is not None else ""
    running = sum(run["state"] == "running" for run in runs)
    yield f"{head['folder']}: {len(runs)} run{'s'[: len(runs) != 1]}, {running} running{heat}"
    yield from head["studies"]
    if not runs:
        yield "Nothing has been trained here yet. Begin with: edgedst train"
        return
    yield "  ".join(f"{title:<{width}}" for title, width in _COLUMNS)
    for run in runs:
        cells = zip(_cells(run), _COLUMNS, strict=True)
        yield "  ".join(f"{cell:<{width}}" for cell, (_, width) in cells)
        for note in [run["why"], *run["notes"]]:
            if note:
                yield f"          {note}"
    if len(runs) == 1:
        yield from _details(watcher, runs[0])


def _cells(run: dict[str, Any]) -> list[str]:
    budget = run["budget_bytes"]
    memory = f"{_number(run['peak_bytes'], 1e6)} / {_number(budget, 1e6)}" if budget else NOTHING
    steps = f"/{run['steps']:,}" if run["steps"] is not None else ""
    left = run["ends_at"] - time.time() if run["state"] == "running" and run["ends_at"] else None
    return [
        run["state"],
        f"{run['step']:,}{steps}",
        _number(run["return"]),
        _number(run["best"]),
        _number(run["steps_per_second"]),
        _number(run["updates_per_step"]),
        NOTHING if run["missed_periods"] is None else f"{run['missed_periods']:,.0f}",
        memory,
        _number(run["watts"]) + ("?" if run["watts"] is not None and run["watts_modelled"] else ""),
        NOTHING if left is None else duration(max(0.0, left)),
        run["name"],
    ]


def _details(watcher: Watcher, run: dict[str, Any]) -> Iterator[str]:
    yield from (f"{name.replace('_', ' '):<22}{value:,.4g}" for name, value in run["losses"].items())
    for watched in watcher.watched():
        yield from (f"{name:<34}{size / 1e6:>9.3f} MB" for name, size in watched.ledger())
        topology = watched.topology()
        for layer in topology["layers"]:
            places = layer["from"] * layer["to"]
            moved = f", {layer['new']:,} new since step {topology['since']:,}" if layer["new"] else ""
            share = f"{100 * layer['connections'] / places:.1f} %"
            yield f"{layer['name']:<12}{layer['connections']:>10,} of {places:,} connections ({share}){moved}"


def _number(value: float | None, unit: float = 1) -> str:
    return NOTHING if value is None else f"{value / unit:,.{0 if abs(value / unit) >= 1000 else 1}f}"
