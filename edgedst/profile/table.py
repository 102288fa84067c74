"""A profile for reading in a terminal of 80 columns, or piped as plain text: figures, ratios, doubts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

NOT_MEASURED = "-"
PIPED_WIDTH = 80

RATIOS = {
    "step_seconds": "time of a step",
    "update_seconds": "time of an update",
    "cpu_seconds": "CPU time",
    "energy_total": "energy",
    "energy_above_idle": "energy above idle",
    "peak_bytes": "peak memory",
    "action_p50": "time of an action",
    "connections": "connections",
    "flops_paper": "FLOPs, paper's count",
    "flops_counted": "FLOPs, all counted",
}


def print_profile(document: dict[str, Any], console: Console | None = None) -> None:
    """Print it to stdout.

    Args:
        document: format 1.
        console: where to instead.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH

    def say(text: str, indent: str = "") -> None:
        lines = textwrap.wrap(text, console.width, subsequent_indent=indent, break_on_hyphens=False)
        console.print(Text("\n".join(lines)))  # not rich's markup

    say(_title(document))
    console.print(_figures(document))
    if document["ratios"]:
        console.print(_ratios(document))
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
        f"{task['env']}, {task['method']}, hidden {task['hidden']}, batch {task['batch_size']}, {threads}: "
        f"{task['steps']:,} steps, {task['repeats']} repeats on {host['title']} ({host['isa']})"
    )


def _table(heads: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right")
    return table


def _figures(document: dict[str, Any]) -> Table:
    contenders = document["contenders"]
    table = _table([contender["label"] for contender in contenders])

    def row(name: str, *cells: str) -> None:
        table.add_row(name, *cells)

    def stat(name: str, key: str, scale: float = 1.0) -> None:
        row(name, *(_stat(contender[key], scale) for contender in contenders))

    stat("steps a second", "steps_per_second")
    row("ms of an update", *(_update_ms(contender["updates_per_second"]) for contender in contenders))
    stat("CPU-s of 1,000 steps", "cpu_seconds_per_1000_steps")
    for name, key in (("J of 1,000 steps", "total"), ("J above idle", "above_idle")):
        joules = [contender["energy_joules_per_1000_steps"] for contender in contenders]
        if any(joules):
            row(name, *(_stat(each[key] if each else None) for each in joules))
    actions = [contender["action_microseconds"] for contender in contenders]
    row("us of an action: p50", *(_number(action["p50"]) for action in actions))
    row("  p99", *(_number(action["p99"]) for action in actions))
    row("  longest", *(_number(action["max"]) for action in actions))
    memory = [contender["memory"] for contender in contenders]
    row("MB at the peak", *(_stat(each["peak_bytes"], 1e-6) for each in memory))
    row("  planned", *(_mega(each["planned_bytes"]) for each in memory))
    row("  proportional (PSS)", *(_stat(each["pss_bytes"], 1e-6) for each in memory))
    row("  replay, when full", *(_mega(each["replay_bytes"]) for each in memory))
    row("bytes of a transition", *(f"{each['replay_row_bytes']:,}" for each in memory))
    row("transitions kept", *(f"{each['replay_rows']:,}" for each in memory))
    row("connections", *(f"{contender['connections']:,}" for contender in contenders))
    flops = [contender["flops"] for contender in contenders]
    row("MFLOP an update, paper's", *(_mega(each["update_paper"]) for each in flops))
    row("  all counted", *(_mega(each["update_counted"]) for each in flops))
    return table


def _ratios(document: dict[str, Any]) -> Table:
    table = _table(list(document["ratios"]))
    for key, name in RATIOS.items():
        cells = [_ratio(pair[key]) for pair in document["ratios"].values()]
        if any(cell != NOT_MEASURED for cell in cells):
            table.add_row(name, *cells)
    return table


def _energy(document: dict[str, Any]) -> str:
    energy, note = document["energy"], document["energy_note"]
    if energy is None:
        return note or "Energy was not measured."
    how = "measured by" if energy["measured"] else "modelled, not measured:"
    rate = f" at {energy['sample_hz']:.3g} Hz" if energy["sample_hz"] else ""
    idle = f"; idle {energy['idle_watts']:.2f} W" if energy["idle_watts"] is not None else ""
    told = f"{how} {energy['source']} ({energy['detail']}){rate}, scope: {energy['scope']}{idle}"
    return f"Energy: {told}. {note or ''}".rstrip()


def _stat(stat: dict[str, Any] | None, scale: float = 1.0) -> str:
    """The median, and half the range in percent of it where there are repeats."""
    if stat is None:
        return NOT_MEASURED
    middle = stat["median"]
    half = f" ±{50 * (stat['high'] - stat['low']) / abs(middle):.0f}%" if len(stat["values"]) > 1 and middle else ""
    return _number(middle * scale) + half


def _update_ms(updates_per_second: dict[str, Any] | None) -> str:
    return _number(1000 / updates_per_second["median"]) if updates_per_second else NOT_MEASURED


def _ratio(value: dict[str, Any] | float | None) -> str:
    if value is None:
        return NOT_MEASURED
    if not isinstance(value, dict):
        return _number(value)
    ends = "" if value["low"] is None else f" ({_number(value['low'])}-{_number(value['high'])})"
    return _number(value["median"]) + ends


def _mega(count: int | None) -> str:
    return NOT_MEASURED if count is None else _number(count / 1e6)


def _number(value: float) -> str:
    """Three digits or so."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.{2 if size >= 0.1 else 3}f}"
