"""The page's tables of figures: every one that a profile measured or counted, beside the other contenders'."""

from __future__ import annotations

import html
from collections.abc import Sequence

from edgedst.page import tag
from edgedst.profile.shown import (
    COUNT,
    FLOPS,
    JOULES,
    LINE_SIZE,
    MICROSECONDS,
    NOT_MEASURED,
    NOT_PLANNED,
    PER_SECOND,
    RATIO,
    SECONDS,
    SIZE,
    Contender,
    Shown,
    Unit,
)

Row = tuple[str, Sequence[str]]  # HTML of the title and of the cells

# A ratio's key in the JSON, and what it is the ratio of.
RATIOS = {
    "step_seconds": "Time of a step",
    "update_seconds": "Time of an update",
    "cpu_seconds": "CPU time",
    "energy_total": "Energy",
    "energy_above_idle": "Energy above idle",
    "action_p50": "Time of an action",
    "peak_bytes": "Peak memory",
    "connections": "Connections",
    "flops_counted": "FLOPs, counted",
    "flops_paper": "FLOPs, the paper's way",
}

# What a profile measures once a repeat.
REPEATED = (
    ("Steps of the whole loop", "steps_per_second", PER_SECOND),
    ("Updates", "updates_per_second", PER_SECOND),
    ("CPU time of 1,000 steps", "cpu_seconds_per_1000_steps", SECONDS),
    ("Energy of 1,000 steps", "energy_joules_per_1000_steps.total", JOULES),
    ("Energy above idle", "energy_joules_per_1000_steps.above_idle", JOULES),
    ("Peak memory", "memory.peak_bytes", LINE_SIZE),
    ("Proportional memory (PSS)", "memory.pss_bytes", LINE_SIZE),
)


def section(title: str, *inside: str) -> str:
    """A part of the page under its title."""
    return tag("section", tag("h2", title), *inside)


def table(head: Sequence[str], rows: Sequence[Row], name: str) -> str:
    """A table whose first column names the rows; wider than the page it scrolls by itself.

    Args:
        head: plain texts; none leaves the head out.
        rows: HTML; a row without cells is a title of those below it.
        name: plain text, for those who do not see what stands above.
    """
    width = max(len(cells) for _, cells in rows) + 1 if rows else 1
    lines = []
    for title, cells in rows:
        if cells:
            lines.append(tag("tr", tag("th", title, scope="row"), *(tag("td", cell) for cell in cells)))
        else:
            lines.append(tag("tr", tag("th", title, scope="rowgroup", colspan=width), class_="group"))
    titles = tag("thead", tag("tr", *(tag("th", html.escape(title), scope="col") for title in head))) if head else ""
    inside = tag("table", titles, tag("tbody", *lines), aria_label=name)
    return tag("div", inside, class_="wide", tabindex="0", role="region", aria_label=f"{name}: scrolls")


def titled(title: str, rows: Sequence[Row], head: Sequence[str] = ()) -> str:
    """A table under its title; nothing without rows. One without a head tells facts, not numbers to compare."""
    kind = None if head else "facts"
    return tag("div", tag("h3", title), table(head, rows, title), class_=kind) if rows else ""


def _by_contender(shown: Shown, title: str, rows: Sequence[tuple[str, str, Unit]], more: Sequence[Row] = ()) -> str:
    """A table with a column a contender; `more` stands above the rows."""
    of = shown.contenders()
    told = [
        (shown.called(name, path), [_stat(shown, f"{one.path}.{path}", unit) for one in of])
        for name, path, unit in rows
    ]
    return titled(title, [*more, *told], ["", *(one.label for one in of)]) if of else ""


def _stat(shown: Shown, path: str, unit: Unit) -> str:
    """A number, or a stat's median above its ends."""
    absent = NOT_PLANNED if path.endswith(("planned_bytes", "arena_bytes")) else NOT_MEASURED
    if isinstance(shown.value(path), dict):
        return shown.figure(f"{path}.median", unit) + shown.between(path, unit)
    return shown.figure(path, unit, absent)


def every_figure(shown: Shown) -> str:
    """All that was measured and counted, line by line."""
    inside = (
        _by_contender(
            shown,
            "Time, energy, actions",
            [
                *REPEATED[:5],
                ("Samples of energy", "energy_joules_per_1000_steps.samples", COUNT),
                ("Gaps between them", "energy_joules_per_1000_steps.gaps", COUNT),
                ("Action, median", "action_microseconds.p50", MICROSECONDS),
                ("Action, 99th percentile", "action_microseconds.p99", MICROSECONDS),
                ("Action, longest", "action_microseconds.max", MICROSECONDS),
                ("Actions timed", "action_microseconds.count", COUNT),
            ],
        ),
        _by_contender(
            shown,
            "Memory as planned",
            [
                ("Together", "memory.planned_bytes", LINE_SIZE),
                ("of it in one arena", "memory.arena_bytes", LINE_SIZE),
            ],
            _ledger(shown),
        ),
        _by_contender(
            shown,
            "Memory of the process",
            [
                *REPEATED[5:],
                ("Transitions that the replay holds", "memory.replay_rows", COUNT),
                ("each of", "memory.replay_row_bytes", SIZE),
                ("together", "memory.replay_bytes", LINE_SIZE),
            ],
        ),
        _by_contender(
            shown,
            "Connections and FLOPs of an update",
            [
                ("All, counted", "flops.update_counted", FLOPS),
                ("By the paper's convention", "flops.update_paper", FLOPS),
                ("Connections", "connections", COUNT),
            ],
            _flops(shown),
        ),
        _ratios(shown),
        _repeats(shown),
    )
    absent = tag("p", NOT_MEASURED, class_="absent")
    return section("Every figure", tag("div", *inside, class_="tables") if any(inside) else absent)


def _ledger(shown: Shown) -> list[Row]:
    """The ledger's lines, those of the same name beside each other; the replay's line names its rows."""
    of = shown.contenders()
    lines: dict[str, dict[str, str]] = {}
    for one in of:
        for line in shown.items(f"{one.path}.memory.ledger"):
            name = shown.text(f"{line}.name", "a line without a name")
            name = "replay" if name.startswith("replay") else name
            lines.setdefault(name, {})[one.path] = f"{line}.bytes"

    def cell(one: Contender, at: str | None) -> str:
        if at is not None:
            return shown.figure(at, LINE_SIZE)
        planned = bool(shown.items(f"{one.path}.memory.ledger"))
        return tag("span", "none" if planned else NOT_PLANNED, class_="absent")

    return [(html.escape(name), [cell(one, at.get(one.path)) for one in of]) for name, at in lines.items()]


def _flops(shown: Shown) -> list[Row]:
    of = shown.contenders()
    names = dict.fromkeys(path.rpartition(".")[2] for one in of for path in shown.items(f"{one.path}.flops.parts"))
    return [
        (html.escape(name), [shown.figure(f"{one.path}.flops.parts.{name}", FLOPS) for one in of]) for name in names
    ]


def _ratios(shown: Shown) -> str:
    pairs = shown.pairs()
    if not pairs:
        return ""
    rows = [
        (shown.called(name, key), [_stat(shown, f"{pair.path}.{key}", RATIO) for pair in pairs])
        for key, name in RATIOS.items()
    ]
    return titled("Ratios, and the ends of their intervals", rows, ["", *(" / ".join(pair.said()) for pair in pairs)])


def _repeats(shown: Shown) -> str:
    """Every repeat of everything that was repeated, a line a repeat."""
    of = shown.contenders()
    rows: list[Row] = []
    for name, path, unit in REPEATED:
        many = max((len(shown.items(f"{one.path}.{path}.values")) for one in of), default=0)
        rows += [(shown.called(name, path), [])] if many else []
        rows += [
            (str(number + 1), [shown.figure(f"{one.path}.{path}.values.{number}", unit) for one in of])
            for number in range(many)
        ]
    return titled("Every repeat", rows, ["", *(one.label for one in of)])
