"""A profile's figures as a reader sees them: rounded, with a unit, each carrying where it stands in the JSON.

Nothing here invents a figure: what is null or missing is told in words, and a derived figure carries its formula.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgedst import plain_json
from edgedst.page import inline, tag

SAID = {"torch": "PyTorch"}  # names of contenders that a sentence spells otherwise
CONTENDER_COLOURS = 5  # c0 to c4 in page.css

MODELLED = "modelled, not measured"
NOT_MEASURED = "not measured"
NOT_PLANNED = "not planned"
NOT_KNOWN = "not known"

_SPACE = "\N{NO-BREAK SPACE}"  # a unit never stands alone on the next line


@dataclass(frozen=True)
class Unit:
    """How a quantity is written, and how it follows from the JSON's value."""

    text: Callable[[float], str]
    of: Callable[[float], float] = float

    def __call__(self, value: float) -> str:
        """Text of the JSON's value."""
        return self.text(self.of(value))


@dataclass(frozen=True)
class Spread:
    """The ends of a quantity's repeats, or of its interval, smaller one first, and the paths they come from."""

    low: float
    high: float
    paths: tuple[str, str]


@dataclass(frozen=True)
class Contender:
    """One of those compared."""

    path: str  # of its figures
    label: str  # plain text
    colour: str  # CSS class


@dataclass(frozen=True)
class Pair:
    """Two contenders and their ratios."""

    path: str  # of the ratios
    ours: str  # the contender's name
    theirs: str

    @staticmethod
    def at(path: str) -> Pair:
        """Of a path such as `ratios.sparse / dense`."""
        ours, _, theirs = path.partition(".")[2].partition(" / ")
        return Pair(path, ours, theirs)

    def said(self) -> tuple[str, str]:
        """Their names in a sentence, plain text."""
        ours, theirs = (SAID.get(name, name) for name in (self.ours, self.theirs))
        return ours, theirs


def significant(value: float, digits: int = 3) -> str:
    """Rounded to so many digits, never fewer than stand before the point: 0.0123, 1.23, 1,234."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _fixed(value, decimals)


def _fixed(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _in(unit: str) -> Unit:
    return Unit(lambda value: f"{significant(value)}{_SPACE}{unit}")


def _with(unit: str, scale: float, decimals: int, smaller: Callable[[float], str] | None = None) -> Unit:
    """So many decimals, that columns align; what would round to nothing is written as `smaller` says."""

    def text(value: float) -> str:
        if smaller and abs(value) < scale / 10**decimals:
            return smaller(value)
        return f"{_fixed(value / scale, decimals)}{_SPACE}{unit}"

    return Unit(text)


def _size(count: float) -> str:
    for scale, unit, decimals, least in ((1e9, "GB", 2, 1e9), (1e6, "MB", 1, 1e5)):
        if count >= least:
            return f"{_fixed(count / scale, decimals)}{_SPACE}{unit}"
    return f"{_fixed(count, 0)}{_SPACE}bytes"


def _joules(joules: float) -> str:
    scale, unit = (1e3, "kJ") if joules >= 10_000 else (1, "J")
    return f"{significant(joules / scale)}{_SPACE}{unit}"


SIZE = Unit(_size)
LINE_SIZE = _with("MB", 1e6, 3, _size)
FLOPS = _with("MFLOP", 1e6, 1, lambda value: f"{_fixed(value, 0)}{_SPACE}FLOP")
LOAD = Unit(lambda value: _fixed(value, 2))
COUNT = Unit(lambda value: _fixed(value, 0))
PLAIN = Unit(lambda value: f"{value:,}" if isinstance(value, int) else significant(value), lambda value: value)
RATIO = Unit(lambda value: significant(value, 2) if value < 0.1 else _fixed(value, 2))
MILLISECONDS_EACH = Unit(_in("ms").text, lambda per_second: 1000 / per_second)
PER_SECOND = _in("/s")
SECONDS = _in("s")
MICROSECONDS = _in("µs")
JOULES = Unit(_joules)
WATTS = _with("W", 1, 2)
HERTZ = _in("Hz")
MEGAHERTZ = _with("MHz", 1, 0)
CELSIUS = _with("°C", 1, 1)
MEGABYTES = Unit(lambda value: f"{value:g}{_SPACE}MB")  # a budget, given in MB


def _change(ratio: float) -> str:
    percent = f"{100 * abs(1 - ratio):.0f}"
    if percent == "0":
        return "as much"
    if ratio >= 2:
        return f"{significant(ratio, 2)} times as much"
    return f"{percent}{_SPACE}% {'less' if ratio < 1 else 'more'}"


CHANGE = Unit(_change)


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

    def pairs(self) -> list[Pair]:
        """Those that have ratios, sparse against dense first."""
        found = [Pair.at(path) for path in self.items("ratios")]
        return sorted(found, key=lambda pair: (pair.ours, pair.theirs) != ("sparse", "dense"))

    def contenders(self) -> list[Contender]:
        """All of them, in the profile's order."""
        paths = enumerate(self.items("contenders"))
        return [Contender(path, self._label(path), f"c{number % CONTENDER_COLOURS}") for number, path in paths]

    def named(self, name: str) -> str:
        """The path of the contender of this name; one that leads nowhere when there is none."""
        found = (path for path in self.items("contenders") if self.value(f"{path}.name") == name)
        return next(found, f"contenders.{name}")

    def _label(self, path: str) -> str:
        return self.text(f"{path}.label", self.text(f"{path}.name", "without a name"))

    def number(self, path: str, unit: Unit = PLAIN) -> float | None:
        """The quantity there, in what `unit` shows; None when it is no number, or a rate of 0 that has no duration."""
        value = self.value(path)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        try:
            return unit.of(value)
        except ZeroDivisionError:
            return None

    def figure(self, path: str, unit: Unit = PLAIN, absent: str = NOT_MEASURED) -> str:
        """HTML of the number there."""
        quantity = self.number(path, unit)
        if quantity is None:
            return tag("span", absent, class_="absent", data_path=path)
        return _figure(path, self.value(path), unit.text(quantity))

    def derived(self, formula: str, value: float, unit: Unit) -> str:
        """HTML of a number that follows from several; `formula` names them by their paths."""
        return _figure(formula, value, unit(value))

    def words(self, path: str, absent: str = NOT_KNOWN) -> str:
        """HTML of what stands there, whatever it is."""
        value = self.value(path)
        if value is None or value == "":
            return tag("span", absent, class_="absent", data_path=path)
        if isinstance(value, bool):
            return tag("span", "yes" if value else "no", data_path=path)
        if isinstance(value, (int, float)):
            return self.figure(path)
        if isinstance(value, list):
            return ", ".join(self.words(item) for item in self.items(path)) or "none"
        if isinstance(value, dict):
            return ", ".join(f"{html.escape(key)}: {self.words(f'{path}.{key}')}" for key in value)
        return tag("span", inline(str(value)), data_path=path)

    def text(self, path: str, absent: str) -> str:
        """Plain text, not escaped yet."""
        value = self.value(path)
        return absent if value is None or value == "" else str(value)

    @property
    def energy_caveat(self) -> str:
        """Plain words that have to stand beside every figure of energy; none when a sensor measured it."""
        measured = self.value("energy.measured")
        return "" if measured is True else MODELLED if measured is False else "not known whether measured or modelled"

    def called(self, name: str, path: str) -> str:
        """What the figure at `path` is called: with the caveat where it is one of energy."""
        of_energy = "energy" in path and not path.endswith((".samples", ".gaps"))
        if of_energy and self.value("energy") is not None and self.energy_caveat:
            return f"{name} ({self.energy_caveat})"
        return name

    def spread(self, path: str, unit: Unit = PLAIN) -> Spread | None:
        """Ends of a stat; None unless both are there."""
        ends = [(self.number(f"{path}.{end}", unit), f"{path}.{end}") for end in ("low", "high")]
        (low, low_path), (high, high_path) = sorted(ends, key=lambda end: (end[0] is None, end[0]))
        if low is None or high is None:
            return None
        return Spread(low, high, (low_path, high_path))

    def between(self, path: str, unit: Unit = PLAIN) -> str:
        """HTML of a stat's ends, or nothing: `2.41 to 2.60 ms`; the unit once where both have the same."""
        spread = self.spread(path, unit)
        if spread is None or spread.low == spread.high:  # one repeat has no spread
            return ""
        texts = [unit.text(end) for end in (spread.low, spread.high)]
        units = [text.partition(_SPACE)[2] for text in texts]
        if units[0] == units[1]:
            texts[0] = texts[0].partition(_SPACE)[0]
        low, high = (_figure(at, self.value(at), text) for at, text in zip(spread.paths, texts, strict=True))
        return tag("span", f"{low} to {high}", class_="sd")

    def repeats(self, path: str, unit: Unit = PLAIN) -> Sequence[float]:
        """Quantities of a stat's repeats."""
        found = (self.number(item, unit) for item in self.items(f"{path}.values"))
        return [quantity for quantity in found if quantity is not None]


def _figure(source: str, value: float, text: str) -> str:
    return tag("span", html.escape(text), class_="figure", data_path=source, data_value=plain_json.dumps(value))
