"""A profile as one HTML page for a phone, a desktop and a printer: the answer in words, charts, every figure.

It is drawn from the profile's JSON alone (docs/formats.md) and holds it whole. report/templates/profile.html lays it
out; here are the words of its first screen, and what the charts are made of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from edgedst.files import write_together
from edgedst.profile.contenders import PEERS
from edgedst.profile.document import RATIOS
from edgedst.report import numbers
from edgedst.report.charts import Bar, Interval, Line, Plot, ticks
from edgedst.report.figures import NOT_MEASURED, Derived, Figures, Stacks, missing
from edgedst.report.html import render
from edgedst.report.numbers import CHANGE, COUNT, JOULES, MICROSECONDS, PLAIN, RATIO, SIZE, Unit, short

# The ledger's lines as parts that a picture can hold, by how a line's name begins; what none of them begins is "other".
LEDGER_PARTS = {
    "interpreter, simulator": ("interpreter", "environment"),
    "networks": ("actor", "critic", "target"),
    "batch, workspace": ("batch", "topology"),
    "replay": ("replay",),
    "headroom": ("headroom", "not used"),
}
CURVE_HEIGHT = 232  # pixels

SAID = {name: peer.title for name, peer in PEERS.items()}  # names of contenders that a sentence spells otherwise
SIDE_COLOURS = 5  # c0 to c4 in profile.css

MODELLED = "modelled, not measured"
NOT_PLANNED = "not planned"
BESIDES_REPLAY, ROWS_KEPT = "memory besides the replay", "transitions kept"


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
        # Within a script only "<" could end it, or begin a comment.
        source=Markup(shown.json.replace("<", "\\u003c")),
    )


class Side(NamedTuple):
    """One of those compared, as the page shows it."""

    path: str  # of its figures
    label: str
    colour: str  # CSS class


class Pair(NamedTuple):
    """Two of them and their ratios."""

    path: str  # of the ratios
    ours: str  # the contender's name
    theirs: str

    @staticmethod
    def at(path: str) -> Pair:
        """Of a path such as `ratios.sparse / dense`."""
        ours, _, theirs = path.partition(".")[2].partition(" / ")
        return Pair(path, ours, theirs)

    def said(self) -> tuple[str, str]:
        """Their names in a sentence."""
        return SAID.get(self.ours, self.ours), SAID.get(self.theirs, self.theirs)


def begun(name: str) -> str:
    """The name as a line begins with it: FLOPs and CPU keep their letters."""
    return name[:1].upper() + name[1:]


class Shown(Figures):
    """A profile's document: its contenders, their ratios, and what is drawn of them."""

    def stat(self, path: str, unit: Unit = PLAIN) -> Markup:
        """HTML of a number, or of a stat's median above its ends."""
        if isinstance(self.value(path), dict):
            return self.figure(f"{path}.median", unit) + self.between(path, unit)
        return self.figure(path, unit, NOT_PLANNED if path.endswith(("planned_bytes", "arena_bytes")) else NOT_MEASURED)

    def sides(self) -> list[Side]:
        """All contenders, in the profile's order."""
        return [
            Side(path, self.text(f"{path}.label", self.text(f"{path}.name", "without a name")), f"c{n % SIDE_COLOURS}")
            for n, path in enumerate(self.items("contenders"))
        ]

    def named(self, name: str) -> str:
        """The path of the contender of this name; one that leads nowhere when there is none."""
        found = (path for path in self.items("contenders") if self.value(f"{path}.name") == name)
        return next(found, f"contenders.{name}")

    def pairs(self) -> list[Pair]:
        """Those that have ratios, sparse against dense first."""
        found = [Pair.at(path) for path in self.items("ratios")]
        return sorted(found, key=lambda pair: (pair.ours, pair.theirs) != ("sparse", "dense"))

    @property
    def energy_caveat(self) -> str:
        """What has to stand beside every figure of energy; nothing when a sensor measured it."""
        measured = self.value("energy.measured")
        return "" if measured is True else MODELLED if measured is False else "not known whether measured or modelled"

    def called(self, name: str, path: str) -> str:
        """What the figure at `path` is called: with the caveat where it is one of energy."""
        of_energy = "energy" in path and not path.endswith((".samples", ".gaps"))
        if of_energy and self.value("energy") is not None and self.energy_caveat:
            return f"{name} ({self.energy_caveat})"
        return name

    def besides_replay(self, path: str) -> Derived | None:
        """Bytes of what a contender's process takes besides its replay.

        None when it is not known, and where the replay is not planned: a peak then holds only what is filled of it.
        """
        peak, replay = f"{path}.memory.peak_bytes.median", f"{path}.memory.replay_bytes"
        peak_bytes, replay_bytes = self.number(peak), self.number(replay)
        planned = self.number(f"{path}.memory.planned_bytes") is not None
        if not planned or peak_bytes is None or replay_bytes is None or peak_bytes <= replay_bytes:
            return None
        return Derived(f"{peak} - {replay}", peak_bytes - replay_bytes)

    def bought(self, pair: Pair) -> dict[str, Derived]:
        """What the budget buys: ratios of the memory besides the replay and of the transitions that are kept.

        Where both fill one budget, a ratio of their peaks is 1 whatever they do. Nothing where a replay is not planned.
        """
        ours, theirs = self.named(pair.ours), self.named(pair.theirs)
        besides, they_take = self.besides_replay(ours), self.besides_replay(theirs)
        if besides is None or they_take is None:
            return {}
        formula = f"({besides.formula}) / ({they_take.formula})"
        found = {BESIDES_REPLAY: Derived(formula, besides.value / they_take.value)}
        our_rows, their_rows = (f"{path}.memory.replay_rows" for path in (ours, theirs))
        kept, they_keep = self.number(our_rows), self.number(their_rows)
        if kept is not None and they_keep:
            found[ROWS_KEPT] = Derived(f"{our_rows} / {their_rows}", kept / they_keep)
        return found

    def intervals(self, pair: Pair) -> list[Interval]:
        """A pair's ratios."""
        bought, rows = self.bought(pair), []
        for key, name in RATIOS.items():
            path = f"{pair.path}.{key}"
            if key == "peak_bytes" and bought:
                rows += [
                    Interval(begun(of), self.derived(one, RATIO), one.value, one.formula) for of, one in bought.items()
                ]
                continue
            # Counts are bare numbers, measured ratios have an interval.
            at = path if self.number(path) is not None else f"{path}.median"
            figure = self.figure(at, RATIO) + self.between(path, RATIO)
            spread = self.spread(path, RATIO)
            rows.append(Interval(self.called(begun(name), path), figure, self.number(at, RATIO), at, spread))
        return rows

    def bars(self, stat: str, unit: Unit) -> list[Bar]:
        """A stat of each contender: median as a bar, every repeat as a dot."""
        rows = []
        for path, label, colour in self.sides():
            at = f"{path}.{stat}"
            found = (self.number(item, unit) for item in self.items(f"{at}.values"))
            repeats = [quantity for quantity in found if quantity is not None]
            figure, median = self.figure(f"{at}.median", unit), self.number(f"{at}.median", unit)
            rows.append(Bar(label, figure, median, colour, f"{at}.median", self.spread(at, unit), repeats))
        return rows

    def bars_kept(self) -> list[Bar]:
        """Transitions that a plan has room for; one that is given its replay's size keeps what it is given."""
        rows = []
        for path, label, colour in self.sides():
            at, planned = f"{path}.memory.replay_rows", self.number(f"{path}.memory.planned_bytes") is not None
            figure = self.figure(at, COUNT) if planned else missing(NOT_PLANNED)
            rows.append(Bar(label, figure, self.number(at) if planned else None, colour, at))
        return rows

    def bars_besides_replay(self) -> list[Bar]:
        """Memory without the replay."""
        rows = []
        for path, label, colour in self.sides():
            found = self.besides_replay(path)
            figure = self.derived(found, SIZE)
            rows.append(Bar(label, figure, found and found.value, colour, found.formula if found else ""))
        return rows


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
