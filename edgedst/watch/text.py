"""What a watcher knows as lines of text, for a terminal or a file."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from edgedst.progress import duration
from edgedst.report.numbers import significant
from edgedst.watch.one_run import Watched
from edgedst.watch.watcher import Watcher

REFRESH_SECONDS = 2.0
NOTHING = "-"
LOSSES = ("critic_loss", "actor_loss", "mean_q", "alpha", "entropy", "connections_moved")


def show(watcher: Watcher) -> None:
    """Print it: once, or on a terminal again and again until Ctrl-C."""
    while True:
        shown = list(lines(watcher))
        if not sys.stdout.isatty():
            print("\n".join(shown))
            return
        columns, height = shutil.get_terminal_size()
        rows = list(itertools.accumulate(max(1, -(-len(line) // columns)) for line in shown))
        fits = bisect_left(rows, height)  # less than the height: what scrolled away could not be replaced
        print("\x1b[H\x1b[J" + "\n".join(shown[:fits]), flush=True)
        time.sleep(REFRESH_SECONDS)


def lines(watcher: Watcher) -> Iterator[str]:
    """A line a run; of a single run also its losses, ledger and layers."""
    runs, head = watcher.runs(), watcher.head
    heat = f", {head['celsius']:.0f} degrees Celsius" if head["celsius"] is not None else ""
    running = sum(run.facts["state"] == "running" for run in runs)
    yield f"{head['folder']}: {len(runs)} run{'s'[: len(runs) != 1]}, {running} running{heat}"
    yield from head["studies"]
    if not runs:
        yield "Nothing has been trained here yet. Begin with: edgedst train"
        return
    cells = [_cells(run.facts) for run in runs]
    widths = {title: max(len(title), *(len(row[title]) for row in cells)) for title in cells[0]}
    yield "  ".join(f"{title:<{width}}" for title, width in widths.items()).rstrip()
    for run, row in zip(runs, cells, strict=True):
        yield "  ".join(f"{row[title]:<{width}}" for title, width in widths.items()).rstrip()
        yield from (f"          {note}" for note in (run.facts["why"], *run.facts["notes"]) if note)
    if len(runs) == 1:
        yield from _details(runs[0])


def _cells(run: dict[str, Any]) -> dict[str, str]:
    return {
        "state": run["state"],
        "step": f"{run['step']:,}" + (f"/{run['steps']:,}" if run["steps"] else ""),
        "return": _number(run["return"]),
        "best": _number(run["best"] and run["best"][0]),
        "steps/s": _number(run["steps_per_second"]),
        "updates": _number(run["newest"].get("updates_per_step")),
        "missed": _number(run["missed_periods"]),
        "memory MB": f"{_number(run['peak_bytes'], 1e6)} / {_number(run['budget_bytes'], 1e6)}",
        "W": _number(run["watts"]) + ("?" if run["watts"] is not None and run["watts_modelled"] else ""),
        "time left": duration(max(0.0, run["ends_at"] - time.time())) if run["ends_at"] else NOTHING,
        "run": run["name"],
    }


def _details(run: Watched) -> Iterator[str]:
    newest, topology = run.facts["newest"], run.topology()
    yield from (f"{name.replace('_', ' '):<22}{significant(newest[name])}" for name in LOSSES if name in newest)
    yield from (f"{name:<34}{size / 1e6:>9.3f} MB" for name, size in run.ledger())
    for name, inputs, outputs, there, new in topology["layers"]:
        moved = f", {new:,} new since step {topology['since']:,}" if new else ""
        places = inputs * outputs
        yield f"{name:<12}{there:>10,} of {places:,} connections ({100 * there / places:.1f} %){moved}"


def _number(value: float | None, unit: float = 1) -> str:
    return NOTHING if value is None else significant(value / unit)
