"""What a profile says on a terminal: how far it is (stderr), and in the end figures, ratios and doubts (stdout).

While it measures it draws once a second at most and has no thread: on a board with few cores the watcher must not cost
what it watches. The table fits 80 columns, and is plain text where it is piped.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from edgedst.profile.document import RATIOS
from edgedst.progress import duration
from edgedst.report.numbers import COUNT, RATIO, Unit, significant

NOT_MEASURED = "-"
PIPED_WIDTH = 80

# A line of the table: its name, where its figure stands within a contender, and how it is written.
PLAIN = Unit(significant)
MEGA, EACH_MS = Unit(lambda value: significant(value / 1e6)), Unit(lambda rate: significant(1000 / rate))
FIGURES: Sequence[tuple[str, str, Unit]] = (
    ("steps a second", "steps_per_second", PLAIN),
    ("ms of an update", "updates_per_second", EACH_MS),
    ("CPU-s of 1,000 steps", "cpu_seconds_per_1000_steps", PLAIN),
    ("J of 1,000 steps", "energy_joules_per_1000_steps.total", PLAIN),
    ("J above idle", "energy_joules_per_1000_steps.above_idle", PLAIN),
    ("us of an action: p50", "action_microseconds.p50", PLAIN),
    ("  p99", "action_microseconds.p99", PLAIN),
    ("  longest", "action_microseconds.max", PLAIN),
    ("MB at the peak", "memory.peak_bytes", MEGA),
    ("  planned", "memory.planned_bytes", MEGA),
    ("  proportional (PSS)", "memory.pss_bytes", MEGA),
    ("  replay, when full", "memory.replay_bytes", MEGA),
    ("  besides the replay", "memory.besides_replay_bytes", MEGA),
    ("bytes of a transition", "memory.replay_row_bytes", COUNT),
    ("transitions kept", "memory.replay_rows", COUNT),
    ("connections", "connections", COUNT),
    ("MFLOP an update, paper's", "flops.update_paper", MEGA),
    ("  all counted", "flops.update_counted", MEGA),
)


class Reporter:
    """See `measure.Watch`. `shown` False tells nothing; else it draws on a terminal and prints lines elsewhere."""

    def __init__(self, shown: bool | None, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._silent = shown is False
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._total = self._done = 0.0  # seconds, as expected
        self._turn_seconds = self._turn_start = 0.0
        self._told = ""

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._silent:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, seconds: float) -> None:
        """The rounds begin, and should take so long."""
        self._total = seconds
        if self._silent or not self._console.is_terminal:
            return
        columns = (BarColumn(), TextColumn("{task.description}", markup=False))
        self._progress = Progress(*columns, console=self._console, auto_refresh=False, transient=True)
        self._bar = self._progress.add_task("", total=seconds)
        self._progress.start()

    def turn(self, told: str, seconds: float) -> None:
        """A contender's turn begins; it should take so long."""
        self._turn_seconds, self._turn_start = seconds, time.monotonic()
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, description=told)
        self._told = told
        self.tick()

    def tick(self) -> None:
        """Draw how far it is."""
        if self._progress is None or self._bar is None:
            return
        done = self._done + min(self._turn_seconds, time.monotonic() - self._turn_start)
        left = duration(max(0.0, self._total - done))
        self._progress.update(self._bar, completed=done, description=f"{self._told}; about {left} left", refresh=True)

    def turned(self, told: str) -> None:
        """The turn is over."""
        self._done += self._turn_seconds
        self.say(f"{told}; about {duration(max(0.0, self._total - self._done))} left")

    def end(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def print_profile(document: dict[str, Any], console: Console | None = None) -> None:
    """Print a profile's document to stdout, or to a console."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH

    def say(text: str, indent: str = "") -> None:
        lines = textwrap.wrap(text, console.width, subsequent_indent=indent, break_on_hyphens=False)
        console.print(Text("\n".join(lines)))  # not rich's markup

    contenders, ratios = [_with_rest(contender) for contender in document["contenders"]], document["ratios"]
    say(_title(document))
    console.print(
        _table(
            [contender["label"] for contender in contenders],
            ((name, [_figure(_at(contender, path), unit) for contender in contenders]) for name, path, unit in FIGURES),
        )
    )
    if ratios:
        planned = {each["name"] for each in contenders if each["memory"]["planned_bytes"] is not None}
        rows = []
        for key, name in RATIOS.items():
            # Those that fill one budget have one peak, whatever they do.
            shown = [
                None if key == "peak_bytes" and planned.issuperset(pair.split(" / ")) else of[key]
                for pair, of in ratios.items()
            ]
            rows.append((name, [_ratio(value) for value in shown]))
        console.print(_table(list(ratios), rows))
        if document["task"]["repeats"] > 1:
            say(f"In parentheses: {document['interval']}.")
    say(_energy(document))
    if document["doubts"]:
        console.print()
        say("To doubt:")
        for doubt in document["doubts"]:
            say(f"- {doubt}", indent="  ")


def _title(document: dict[str, Any]) -> str:
    task, host = document["task"], document["host"]
    threads = "1 thread" if task["threads"] == 1 else f"{task['threads']} threads"
    return (
        f"{task['env']}, {task['method']}, hidden {task['hidden']}, batch {task['batch_size']}, {threads}, "
        f"{task['budget_mb']:g} MB: {task['steps']:,} steps, {task['repeats']} repeats on {host['title']} "
        f"({host['isa']})"
    )


def _table(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> Table:
    """Without the rows that nobody has a figure for."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", overflow="fold")  # of long names nothing is cut off
    for name, cells in rows:
        if any(cell != NOT_MEASURED for cell in cells):
            table.add_row(name, *cells)
    return table


def _with_rest(contender: dict[str, Any]) -> dict[str, Any]:
    """The contender with its peak less its replay, where that is reserved whole."""
    memory = contender["memory"]
    rest = memory["peak_bytes"]["median"] - memory["replay_bytes"] if memory["peak_bytes"] else 0
    known = memory["planned_bytes"] is not None and rest > 0
    return {**contender, "memory": {**memory, "besides_replay_bytes": rest if known else None}}


def _at(contender: dict[str, Any], path: str) -> Any:
    found: Any = contender
    for key in path.split("."):
        found = found[key] if found is not None else None
    return found


def _figure(value: Any, unit: Unit) -> str:
    """A number; of a stat the median, and half the range in percent of it where there are repeats."""
    if value is None:
        return NOT_MEASURED
    if not isinstance(value, dict):
        return unit(value)
    middle = value["median"]
    half = f" ±{50 * (value['high'] - value['low']) / abs(middle):.0f}%" if len(value["values"]) > 1 and middle else ""
    return unit(middle) + half


def _ratio(value: dict[str, Any] | float | None) -> str:
    if value is None:
        return NOT_MEASURED
    if not isinstance(value, dict):
        return RATIO(value)
    ends = "" if value["low"] is None else f" ({RATIO(value['low'])}-{RATIO(value['high'])})"
    return RATIO(value["median"]) + ends


def _energy(document: dict[str, Any]) -> str:
    energy, note = document["energy"], document["energy_note"]
    if energy is None:
        return note or "Energy was not measured."
    how = "measured by" if energy["measured"] else "modelled, not measured:"
    rate = f" at {energy['sample_hz']:.3g} Hz" if energy["sample_hz"] else ""
    idle = f"; idle {energy['idle_watts']:.2f} W" if energy["idle_watts"] is not None else ""
    told = f"{how} {energy['source']} ({energy['detail']}){rate}, scope: {energy['scope']}{idle}"
    return f"Energy: {told}. {note or ''}".rstrip()
