"""A document's figures as a reader sees them: rounded, with a unit, each carrying where it stands in the JSON.

Nothing here invents a figure: what is null or missing is told in words, and a derived figure carries its formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from edgedst import plain_json
from edgedst.report.charts import Segment, Spread
from edgedst.report.html import marked
from edgedst.report.numbers import PLAIN, Unit
from edgedst.report.text import one_line

NOT_MEASURED = "not measured"
NOT_KNOWN = "not known"

PART_COLOURS = 8  # p0 to p7 in profile.css


class Derived(NamedTuple):
    """A number that follows from several."""

    formula: str  # names them by their paths
    value: float


class Figures:
    """A document, read by paths such as `contenders.0.steps_per_second.median`."""

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

    def total(self, paths: Sequence[str]) -> float | None:
        """The sum of figures; None where one is not known."""
        known = [number for path in paths if (number := self.number(path)) is not None]
        return sum(known) if len(known) == len(paths) else None


class Stacks:
    """Stacks on one scale, of parts that each are a sum of figures.

    `parts`: path of what a stack is of -> name of a part -> paths of its figures.
    """

    def __init__(self, figures: Figures, parts: dict[str, dict[str, list[str]]]) -> None:
        self._figures, self._parts = figures, parts
        names = dict.fromkeys(name for of_one in parts.values() for name, paths in of_one.items() if paths)
        self.colours = {name: f"p{number % PART_COLOURS}" for number, name in enumerate(names)}
        self.longest = max((sum(segment.length for segment in self.segments(path)) for path in parts), default=0)

    def segments(self, path: str) -> list[Segment]:
        """Those of one stack; none where a part is not known: its stack would look like a smaller one."""
        of_one = self._parts[path]
        lengths = {name: self._figures.total(paths) for name, paths in of_one.items()}
        if None in lengths.values():
            return []
        return [
            Segment(name, length, self.colours[name], " + ".join(of_one[name]))
            for name, length in lengths.items()
            if length
        ]

    def sum(self, path: str, name: str, unit: Unit) -> Markup:
        """HTML of a part; one that is not there is no 0."""
        paths = self._parts[path].get(name, [])
        total = self._figures.total(paths) if paths else None
        return self._figures.derived(None if total is None else Derived(" + ".join(paths), total), unit, "none")


def missing(words: str, path: str | None = None) -> Markup:
    """HTML of what stands where a figure is missing."""
    if path is None:
        return Markup('<span class="absent">{}</span>').format(words)
    return Markup('<span class="absent" data-path="{}">{}</span>').format(path, words)


def _figure(source: str, value: float, text: str) -> Markup:
    told = Markup('<span class="figure" data-path="{}" data-value="{}">{}</span>')
    return told.format(source, plain_json.dumps(value), text)
