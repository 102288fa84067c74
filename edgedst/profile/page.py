"""A profile as one HTML page for a phone, a desktop and a printer: the answer in words, charts, every figure.

It is drawn from the profile's JSON alone (docs/formats.md) and holds it whole. `headline` has the words, `charts` the
shapes, `page_tables` the tables.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedst.files import write_together
from edgedst.page import shell, tag
from edgedst.profile import charts
from edgedst.profile.headline import besides_replay, caveat, headline, why_no_energy
from edgedst.profile.page_setup import energy_source, setup
from edgedst.profile.page_tables import RATIOS, every_figure, section, table
from edgedst.profile.shown import (
    FLOPS,
    JOULES,
    MICROSECONDS,
    MILLISECONDS_EACH,
    NOT_MEASURED,
    NOT_PLANNED,
    RATIO,
    SECONDS,
    SIZE,
    Contender,
    Pair,
    Shown,
    Unit,
)

PART_COLOURS = 8  # p0 to p7 in page.css

# The ledger's lines as parts that a picture can hold, by how a line's name begins; what none of them begins is "other".
LEDGER_PARTS = {
    "interpreter, simulator": ("interpreter", "environment"),
    "networks": ("actor", "critic", "target"),
    "batch, workspace": ("batch", "topology"),
    "replay": ("replay",),
    "headroom": ("headroom", "not used"),
}


def write_page(document: dict[str, Any], path: Path, beside: dict[str, bytes] | None = None) -> None:
    """Write the page of a profile.

    Args:
        document: the profile's JSON, format 1; any field may be null.
        path: of the file, whose folder exists.
        beside: other files of this profile, by path, which are replaced with it or not at all.

    Raises:
        RunFolderError: a file cannot be written.
    """
    # A path may hold what is no Unicode.
    write_together({**(beside or {}), str(path): page(document).encode(errors="replace")}, "--html")


def page(document: dict[str, Any]) -> str:
    """HTML of a profile."""
    shown = Shown(document)
    sections = (
        _ratios(shown),
        _memory(shown),
        _time(shown),
        _energy(shown),
        _actions_and_flops(shown),
        _run(shown),
        every_figure(shown),
        setup(shown),
    )
    # Within a script only "<" could end it, or begin a comment.
    source = tag("script", shown.json.replace("<", "\\u003c"), type="application/json", id="profile")
    title = f"edgedst profile: {shown.text('task.env', 'a task that is not named')}"
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return shell(title, "\n".join((headline(shown), *sections, source)), style)


def _ratios(shown: Shown) -> str:
    drawn = [_ratios_of(shown, pair) for pair in shown.pairs()]
    if not drawn:
        return section("Ratios", tag("p", NOT_MEASURED, class_="absent"))
    ends = shown.words("interval", absent="the profile does not say of what kind")
    note = f"Left of the line is less. A dot is the median of the repeats' ratios, the band its interval: {ends}."
    return section("Ratios", tag("p", note), tag("div", *drawn, class_="charts"))


def _ratios_of(shown: Shown, pair: Pair) -> str:
    """One chart."""
    ours, theirs = pair.said()
    rows = []
    for key, name in RATIOS.items():
        path = f"{pair.path}.{key}"
        # Counts are bare numbers, measured ratios have an interval.
        at = path if shown.number(path) is not None else f"{path}.median"
        figure = shown.figure(at, RATIO) + shown.between(path, RATIO)
        spread = shown.spread(path, RATIO)
        rows.append(charts.Interval(shown.called(name, path), figure, shown.number(at, RATIO), at, spread))
    labels = (html.escape(shown.text(f"{shown.named(name)}.label", name)) for name in (pair.ours, pair.theirs))
    return charts.chart(f"{ours} against {theirs}", charts.intervals(rows, theirs), " against ".join(labels))


def _memory(shown: Shown) -> str:
    parts = {one: _parts_of_ledger(shown, one.path) for one in shown.contenders()}
    note = "the plan before anything runs; line by line in the tables below"
    drawn = (
        _stacks(shown, "Where the memory goes", parts, "memory.planned_bytes", SIZE, NOT_PLANNED, note),
        _bars(shown, "Peak memory of the process", "memory.peak_bytes", SIZE, "the kernel's own account"),
        _besides_replay(shown),
    )
    return section("Memory", tag("div", *drawn, class_="charts memory"))


def _parts_of_ledger(shown: Shown, path: str) -> dict[str, list[str]]:
    """Paths of the ledger's lines, by the part that they belong to."""
    parts: dict[str, list[str]] = {part: [] for part in (*LEDGER_PARTS, "other")}
    for line in shown.items(f"{path}.memory.ledger"):
        name = shown.text(f"{line}.name", "")
        part = next((part for part, begins in LEDGER_PARTS.items() if name.startswith(begins)), "other")
        parts[part].append(f"{line}.bytes")
    return parts


def _stacks(
    shown: Shown,
    title: str,
    parts: dict[Contender, dict[str, list[str]]],
    total: str,
    unit: Unit,
    absent: str,
    note: str,
) -> str:
    """One stack a contender on one scale, and a table that is its key.

    Args:
        shown: the document.
        title: of the chart.
        parts: of each contender: a part's name -> paths of the figures that it is the sum of.
        total: path within a contender of the figure beside its name.
        unit: of all figures.
        absent: what is told of a contender without parts.
        note: HTML below the title.
    """
    names = list(dict.fromkeys(name for of_one in parts.values() for name, paths in of_one.items() if paths))
    colours = {name: f"p{number % PART_COLOURS}" for number, name in enumerate(names)}
    stacks: dict[Contender, list[charts.Segment]] = {}
    for one, of_one in parts.items():
        lengths = {name: _total(shown, paths) for name, paths in of_one.items()}
        # A stack that lacks a part would look like a smaller one.
        whole = None not in lengths.values()
        stacks[one] = [
            charts.Segment(name, length, colours[name], " + ".join(of_one[name]))
            for name, length in lengths.items()
            if whole and length
        ]
    longest = max((sum(segment.length for segment in segments) for segments in stacks.values()), default=0)
    rows = [
        charts.stack(one.label, shown.figure(f"{one.path}.{total}", unit, absent), segments, longest)
        for one, segments in stacks.items()
    ]
    told = [one for one, segments in stacks.items() if segments]
    key = [
        (
            charts.swatch(colours[name]) + html.escape(name),
            [_sum(shown, parts[one].get(name, []), unit) for one in told],
        )
        for name in names
    ]
    if told:
        rows.append(tag("li", table(["", *(one.label for one in told)], key, f"Key: {title}")))
    return charts.chart(title, rows, note)


def _total(shown: Shown, paths: Sequence[str]) -> float | None:
    """The sum of figures; None where one is not known."""
    numbers = [shown.number(path) for path in paths]
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _sum(shown: Shown, paths: Sequence[str], unit: Unit) -> str:
    """HTML of it; a part that a contender does not have is no 0."""
    total = _total(shown, paths)
    if not paths or total is None:
        return tag("span", "none", class_="absent")
    return shown.derived(" + ".join(paths), total, unit)


def _besides_replay(shown: Shown) -> str:
    rows = []
    for one in shown.contenders():
        found = besides_replay(shown, one.path)
        figure = shown.derived(*found, SIZE) if found else tag("span", NOT_MEASURED, class_="absent")
        rows.append(charts.Bar(one.label, figure, found and found[1], one.colour, found[0] if found else ""))
    note = "peak less the replay, where that is reserved whole"
    return charts.chart("Peak memory besides the replay", charts.bars(rows), note)


def _bars(shown: Shown, title: str, stat: str, unit: Unit, note: str) -> str:
    """A chart of a stat: median as a bar, every repeat as a dot."""
    rows = []
    for one in shown.contenders():
        path = f"{one.path}.{stat}"
        rows.append(
            charts.Bar(
                one.label,
                shown.figure(f"{path}.median", unit),
                shown.number(f"{path}.median", unit),
                one.colour,
                f"{path}.median",
                shown.spread(path, unit),
                shown.repeats(path, unit),
            )
        )
    return charts.chart(title, charts.bars(rows), note)


def _time(shown: Shown) -> str:
    drawn = (
        _bars(shown, "Time of a step", "steps_per_second", MILLISECONDS_EACH, "whole loop: simulator, action, update"),
        _bars(shown, "Time of an update", "updates_per_second", MILLISECONDS_EACH, "of all networks"),
        _bars(shown, "CPU time of 1,000 steps", "cpu_seconds_per_1000_steps", SECONDS, "of all threads together"),
    )
    note = tag("p", "Shorter is better. A bar is the median, a dot a repeat, the line from the lowest to the highest.")
    return section("Time", note, tag("div", *drawn, class_="charts"))


def _energy(shown: Shown) -> str:
    if shown.value("energy") is None:
        return section("Energy", tag("p", NOT_MEASURED, class_="absent big"), tag("p", why_no_energy(shown)))
    drawn = (
        _bars(shown, "Energy of 1,000 steps", "energy_joules_per_1000_steps.total", JOULES, "all that the source saw"),
        _bars(
            shown, "Above idle", "energy_joules_per_1000_steps.above_idle", JOULES, "less the idle power times the time"
        ),
    )
    source = tag("p", energy_source(shown))
    return section("Energy", caveat(shown), source, tag("div", *drawn, class_="charts"))


def _actions_and_flops(shown: Shown) -> str:
    rows = []
    for one in shown.contenders():
        path = f"{one.path}.action_microseconds"
        median, far = shown.number(f"{path}.p50"), shown.number(f"{path}.p99")
        figure = shown.figure(f"{path}.p50", MICROSECONDS)
        if far is not None:
            figure += tag("span", f"p99 {shown.figure(f'{path}.p99', MICROSECONDS)}", class_="sd")
        rows.append(charts.Bar(one.label, figure, median, one.colour, f"{path}.p50", tail=far))
    parts = {
        one: {path.rpartition(".")[2]: [path] for path in shown.items(f"{one.path}.flops.parts")}
        for one in shown.contenders()
    }
    latency = "one observation in, one action out: the median, and a line to the 99th percentile"
    counted = "counted, not measured; a multiply-add is 2"
    drawn = (
        charts.chart("Time of an action", charts.bars(rows), latency),
        _stacks(shown, "FLOPs of an update", parts, "flops.update_counted", FLOPS, NOT_MEASURED, counted),
    )
    return section("An action, and the work of an update", tag("div", *drawn, class_="charts"))


def _run(shown: Shown) -> str:
    """The curve of a run that the profile was given; nothing when it was given none."""
    if shown.value("run") is None:
        return ""
    points = {
        path: charts.Point(joules, reward)
        for path in shown.items("run.curve")
        if (joules := shown.number(f"{path}.joules")) is not None
        and (reward := shown.number(f"{path}.return")) is not None
    }
    title = "Return for energy"
    if len(points) < 2:
        why = tag("p", why_no_energy(shown)) if shown.value("energy") is None else ""
        return section(title, tag("p", NOT_MEASURED, class_="absent big"), why)
    last = list(points)[-1]
    end = f"{shown.figure(f'{last}.return')} after {shown.figure(f'{last}.joules', JOULES)}"
    note = f"against the energy that training took until then, at the end {end}; {shown.words('run.joules_from')}"
    drawn = charts.curve(list(points.values()), "Evaluation return against energy", JOULES)
    return section(title, caveat(shown), charts.chart("Evaluation return", [tag("li", drawn)], note))
