"""A profile's figures as a reader sees them: rounded, with a unit, each carrying where it stands in the JSON.

Nothing here invents a figure: what is null or missing is told in words, and a derived figure carries its formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from edgedst import plain_json
from edgedst.report.charts import Bar, Interval, Segment, Spread
from edgedst.report.html import marked
from edgedst.report.numbers import COUNT, PLAIN, RATIO, SIZE, Unit
from edgedst.report.text import one_line

SAID = {"torch": "PyTorch"}  # names of contenders that a sentence spells otherwise
SIDE_COLOURS = 5  # c0 to c4 in profile.css
PART_COLOURS = 8  # p0 to p7

MODELLED = "modelled, not measured"
NOT_MEASURED = "not measured"
NOT_PLANNED = "not planned"
NOT_KNOWN = "not known"

# A ratio's key in the JSON, and what it is the ratio of.
RATIOS = {
    "step_seconds": "time of a step",
    "update_seconds": "time of an update",
    "cpu_seconds": "CPU time",
    "energy_total": "energy",
    "energy_above_idle": "energy above idle",
    "action_p50": "time of an action",
    "peak_bytes": "peak memory",
    "connections": "connections",
    "flops_counted": "FLOPs, counted",
    "flops_paper": "FLOPs, the paper's way",
}
BESIDES_REPLAY, ROWS_KEPT = "memory besides the replay", "transitions kept"


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


class Derived(NamedTuple):
    """A number that follows from several."""

    formula: str  # names them by their paths
    value: float


def begun(name: str) -> str:
    """The name as a line begins with it: FLOPs and CPU keep their letters."""
    return name[:1].upper() + name[1:]


class Shown:
    """A profile's document, read by paths such as `contenders.0.steps_per_second.median`."""

    def __init__(self, document: dict[str, Any]) -> None:
        # NaN and infinity, which JSON does not have, become null: a page never shows what the file cannot hold.
        self.json = plain_json.dumps(document)
        self._document = plain_json.loads(self.json)

    def value(self, path: str) -> Any:
        """What stands there; None when it, or anything on the way, is null or missing."""
        found: Any = self._document
        for key in path.split("."):
            if isinstance(found, dict):
                found = found.get(key)
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                return None
        return found

    def items(self, path: str) -> list[str]:
        """Paths of a list's or an object's entries; none when it is null."""
        found = self.value(path)
        keys = list(found) if isinstance(found, dict) else range(len(found)) if isinstance(found, list) else ()
        return [f"{path}.{key}" for key in keys]

    def text(self, path: str, absent: str = "") -> str:
        """Plain text."""
        value = self.value(path)
        return absent if value is None or value == "" else one_line(str(value))

    def number(self, path: str, unit: Unit = PLAIN) -> float | None:
        """The quantity there, in what `unit` shows; None when it is no number, or a rate of 0 that has no duration."""
        value = self.value(path)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        try:
            return unit.of(value)
        except ZeroDivisionError:
            return None

    def figure(self, path: str, unit: Unit = PLAIN, absent: str = NOT_MEASURED) -> Markup:
        """HTML of the number there."""
        quantity = self.number(path, unit)
        return missing(absent, path) if quantity is None else _figure(path, self.value(path), unit.text(quantity))

    def derived(self, found: Derived | None, unit: Unit, absent: str = NOT_MEASURED) -> Markup:
        """HTML of a number that follows from several."""
        return missing(absent) if found is None else _figure(found.formula, found.value, unit(found.value))

    def words(self, path: str, absent: str = NOT_KNOWN) -> Markup:
        """HTML of what stands there, whatever it is."""
        value = self.value(path)
        if value is None or value == "":
            return missing(absent, path)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self.figure(path)
        if isinstance(value, list):
            return Markup(", ").join(map(self.words, self.items(path))) or Markup("none")
        if isinstance(value, dict):
            told = (Markup("{}: {}").format(key, self.words(f"{path}.{key}")) for key in value)
            return Markup(", ").join(told)
        said = ("yes" if value else "no") if isinstance(value, bool) else one_line(str(value))
        return Markup('<span data-path="{}">{}</span>').format(path, marked(said, escapes=False))

    def spread(self, path: str, unit: Unit = PLAIN) -> Spread | None:
        """Ends of a stat; None unless both are there."""
        ends = sorted(end for key in ("low", "high") if (end := self.number(f"{path}.{key}", unit)) is not None)
        return Spread(*ends) if len(ends) == 2 else None

    def between(self, path: str, unit: Unit = PLAIN) -> Markup:
        """HTML of a stat's ends, or nothing: `2.41 to 2.60 ms`; the unit once where both have the same."""
        keys = sorted(("low", "high"), key=lambda key: self.number(f"{path}.{key}", unit) or 0)
        spread = self.spread(path, unit)
        if spread is None or spread.low == spread.high:  # one repeat has no spread
            return Markup("")
        texts = [unit.text(end) for end in (spread.low, spread.high)]
        number, space, of_low = texts[0].partition("\N{NO-BREAK SPACE}")
        if space and texts[1].endswith(space + of_low):
            texts[0] = number
        paths = [f"{path}.{key}" for key in keys]
        low, high = (_figure(at, self.value(at), text) for at, text in zip(paths, texts, strict=True))
        return Markup('<span class="sd">{} to {}</span>').format(low, high)

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

    def total(self, paths: Sequence[str]) -> float | None:
        """The sum of figures; None where one is not known."""
        known = [number for path in paths if (number := self.number(path)) is not None]
        return sum(known) if len(known) == len(paths) else None


class Stacks:
    """One stack a contender on one scale, of parts that each are a sum of figures.

    Args:
        shown: the document.
        parts: path of the contender -> name of a part -> paths of its figures.
    """

    def __init__(self, shown: Shown, parts: dict[str, dict[str, list[str]]]) -> None:
        self._shown, self._parts = shown, parts
        names = dict.fromkeys(name for of_one in parts.values() for name, paths in of_one.items() if paths)
        self.colours = {name: f"p{number % PART_COLOURS}" for number, name in enumerate(names)}
        self.longest = max((sum(segment.length for segment in self.segments(path)) for path in parts), default=0)

    def segments(self, path: str) -> list[Segment]:
        """A contender's; none where a part is not known: its stack would look like a smaller one."""
        of_one = self._parts[path]
        lengths = {name: self._shown.total(paths) for name, paths in of_one.items()}
        if None in lengths.values():
            return []
        return [
            Segment(name, length, self.colours[name], " + ".join(of_one[name]))
            for name, length in lengths.items()
            if length
        ]

    def sum(self, path: str, name: str, unit: Unit) -> Markup:
        """HTML of a part; one that a contender does not have is no 0."""
        paths = self._parts[path].get(name, [])
        total = self._shown.total(paths) if paths else None
        return self._shown.derived(None if total is None else Derived(" + ".join(paths), total), unit, "none")


def missing(words: str, path: str | None = None) -> Markup:
    """HTML of what stands where a figure is missing."""
    if path is None:
        return Markup('<span class="absent">{}</span>').format(words)
    return Markup('<span class="absent" data-path="{}">{}</span>').format(path, words)


def _figure(source: str, value: float, text: str) -> Markup:
    told = Markup('<span class="figure" data-path="{}" data-value="{}">{}</span>')
    return told.format(source, plain_json.dumps(value), text)
