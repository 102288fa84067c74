"""A profile as one HTML page for a phone, a desktop and a printer: the answer in words, charts, every figure.

It is drawn from the profile's JSON alone (docs/formats.md) and holds it whole. `shown.py` reads the figures,
report/templates/profile.html lays them out; here are the words of the first screen and what the charts are made of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from edgedst.files import write_together
from edgedst.profile.shown import BESIDES_REPLAY, NOT_PLANNED, RATIOS, Pair, Shown, Stacks, begun, missing
from edgedst.report import numbers
from edgedst.report.charts import Bar, Line, Plot, ticks
from edgedst.report.html import render
from edgedst.report.numbers import CHANGE, JOULES, MICROSECONDS, short

# The ledger's lines as parts that a picture can hold, by how a line's name begins; what none of them begins is "other".
LEDGER_PARTS = {
    "interpreter, simulator": ("interpreter", "environment"),
    "networks": ("actor", "critic", "target"),
    "batch, workspace": ("batch", "topology"),
    "replay": ("replay",),
    "headroom": ("headroom", "not used"),
}
CURVE_HEIGHT = 232  # pixels


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
    # It is about sparse against dense, or the first pair where dense did not run.
    pair = next(iter(shown.pairs()), Pair.at("ratios.sparse / dense"))
    sides = shown.sides()
    return render(
        "profile.html",
        title=f"edgedst profile: {shown.text('task.env', 'a task that is not named')}",
        s=shown,
        units=numbers,
        pair=pair,
        answer=_answer(shown, pair),
        undecided=lambda path: _undecided(shown, path),
        doubts=_doubts(shown),
        memory=Stacks(shown, {side.path: _parts_of_ledger(shown, side.path) for side in sides}),
        flops=Stacks(
            shown,
            {s.path: {at.rpartition(".")[2]: [at] for at in shown.items(f"{s.path}.flops.parts")} for s in sides},
        ),
        ledger=_ledger(shown),
        actions=_actions(shown),
        curve=_curve(shown),
        ratio_names=RATIOS,
        begun=begun,
        missing=missing,
        # Within a script only "<" could end it, or begin a comment.
        source=Markup(shown.json.replace("<", "\\u003c")),
    )


def _answer(shown: Shown, pair: Pair) -> Markup:
    """The headline: what ours takes against theirs, and what of it was not measured."""
    energy = _clause(shown, f"{pair.path}.energy_total", "energy")
    if energy and shown.energy_caveat:
        energy += f" ({shown.energy_caveat})"
    besides = shown.bought(pair).get(BESIDES_REPLAY)
    memory = shown.derived(besides, CHANGE) + " memory besides its replay" if besides else ""
    clauses = {
        "Time": _clause(shown, f"{pair.path}.step_seconds", "time a step"),
        "Energy": energy,
        "Memory": memory or _clause(shown, f"{pair.path}.peak_bytes", "memory at its peak"),
    }
    ours, theirs = pair.said()
    told = [clause for clause in clauses.values() if clause]
    absent = [name for name, clause in clauses.items() if not clause]
    if not told:
        return Markup("Nothing was measured of {} against {}.").format(ours, theirs)
    first = Markup(" and ").join([Markup(", ").join(told[:-1]), told[-1]] if len(told) > 1 else told)
    rest = f" {' and '.join(absent).capitalize()} {'was' if len(absent) == 1 else 'were'} not measured."
    return Markup("Against {}, {} takes {}.{}").format(theirs, ours, first, rest if absent else "")


def _clause(shown: Shown, path: str, of_what: str) -> Markup:
    """For example 32 % less time a step; empty when there is no ratio."""
    if shown.number(f"{path}.median") is None:
        return Markup("")
    if _undecided(shown, path):
        return Markup("about as much {}").format(of_what)
    return shown.figure(f"{path}.median", CHANGE) + f" {of_what}"


def _undecided(shown: Shown, path: str) -> bool:
    """Whether 1 lies within the interval: these repeats show no difference."""
    spread = shown.spread(path)
    return spread is not None and spread.low <= 1 <= spread.high


def _doubts(shown: Shown) -> list[str] | None:
    """What a reader must know, before any chart; None: it was not looked for."""
    found = shown.value("doubts")
    return [str(doubt) for doubt in found if doubt] if isinstance(found, list) else None


def _parts_of_ledger(shown: Shown, path: str) -> dict[str, list[str]]:
    """Paths of the ledger's lines, by the part that they belong to."""
    parts: dict[str, list[str]] = {part: [] for part in (*LEDGER_PARTS, "other")}
    for line in shown.items(f"{path}.memory.ledger"):
        name = shown.text(f"{line}.name")
        part = next((part for part, begins in LEDGER_PARTS.items() if name.startswith(begins)), "other")
        parts[part].append(f"{line}.bytes")
    return parts


def _ledger(shown: Shown) -> dict[str, list[Markup]]:
    """The ledger's lines, those of the same name beside each other; the replay's line names its rows."""
    sides = shown.sides()
    lines: dict[str, dict[str, str]] = {}
    for side in sides:
        for line in shown.items(f"{side.path}.memory.ledger"):
            name = shown.text(f"{line}.name", "a line without a name")
            lines.setdefault("replay" if name.startswith("replay") else name, {})[side.path] = f"{line}.bytes"

    def cell(path: str, at: str | None) -> Markup:
        if at is not None:
            return shown.figure(at, numbers.LINE_SIZE)
        return missing("none" if shown.items(f"{path}.memory.ledger") else NOT_PLANNED)

    return {name: [cell(side.path, at.get(side.path)) for side in sides] for name, at in lines.items()}


def _actions(shown: Shown) -> list[Bar]:
    """The median as a bar, a line to the 99th percentile."""
    rows = []
    for path, label, colour in shown.sides():
        median, far = (f"{path}.action_microseconds.{key}" for key in ("p50", "p99"))
        figure, tail = shown.figure(median, MICROSECONDS), shown.number(far)
        if tail is not None:
            figure += Markup('<span class="sd">p99 {}</span>').format(shown.figure(far, MICROSECONDS))
        rows.append(Bar(label, figure, shown.number(median), colour, median, tail=tail))
    return rows


def _curve(shown: Shown) -> tuple[Plot, str] | None:
    """Return against energy, and in words: path of the last point; None with fewer than two points.

    The y axis reaches 0, so that a height can be read as a share.
    """
    points = {
        path: (joules, reward)
        for path in shown.items("run.curve")
        if (joules := shown.number(f"{path}.joules")) is not None
        and (reward := shown.number(f"{path}.return")) is not None
    }
    if len(points) < 2:
        return None
    right = max(x for x, _ in points.values()) or 1.0
    bottom, top = (end(0.0, *(y for _, y in points.values())) for end in (min, max))
    top += 0.12 * ((top - bottom) or 1)  # room for the highest number, which stands above its line
    x_ticks = [(tick, JOULES.text(tick) if tick else "0") for tick in ticks(0, right)]
    y_ticks = [(tick, short(tick)) for tick in ticks(bottom, top)]
    line = Line(list(points.values()), "")
    title = "Evaluation return against energy"
    return Plot((0, right), (bottom, top), x_ticks, y_ticks, [line], CURVE_HEIGHT, title=title), list(points)[-1]
