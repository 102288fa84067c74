"""Charts as SVG. Python says what is drawn; templates/charts.html and templates/plot.html have the shapes.

Bars, ratios and stacks stand in a page: lengths are percentages of its width and text keeps its size, so that one page
serves a phone, a desktop and paper without a script. A `Plot` has axes and stands in a page, or with others in a
picture, which is a file of its own. What has no number is not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgedst.report.html import render
from edgedst.report.text import one_line

Points = Sequence[tuple[float, float]]
Ticks = Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Spread:
    """The ends of a quantity's repeats, or of its interval, smaller one first."""

    low: float
    high: float


@dataclass(frozen=True)
class Bar:
    """One row of a chart of bars."""

    name: str
    figure: Markup
    length: float | None  # None: not measured, no bar
    colour: str  # CSS class of the contender
    drawn: str  # where the length comes from
    spread: Spread | None = None
    repeats: Sequence[float] = ()
    tail: float | None = None  # a thin line goes on to here


@dataclass(frozen=True)
class Interval:
    """One row of a chart of ratios."""

    name: str
    figure: Markup
    ratio: float | None
    drawn: str
    spread: Spread | None = None


@dataclass(frozen=True)
class Segment:
    """A part of a stack."""

    name: str
    length: float
    colour: str  # CSS class of the part
    drawn: str


@dataclass(frozen=True)
class Line:
    """A line through points, or the area that it surrounds."""

    points: Points
    style: str  # CSS classes
    filled: bool = False


@dataclass(frozen=True)
class Mark:
    """A diamond with an error bar."""

    x: float
    y: float
    half: float  # of the bar
    style: str


@dataclass(frozen=True)
class Plot:
    """A drawing with axes; x and y grow to the right and up from the first end of their range to the second."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_ticks: Ticks
    y_ticks: Ticks
    lines: Sequence[Line]
    height: int  # pixels
    marks: Sequence[Mark] = ()
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    strip: tuple[float, Sequence[str]] | None = None  # a band from here to the right end, and the words in it
    upright: bool = False  # grid lines at the ticks of x instead of y

    def across(self, x: float) -> float:
        """Its place, as a share of the width."""
        return (x - self.x[0]) / (self.x[1] - self.x[0])

    def down(self, y: float) -> float:
        """Its place, in pixels from the top."""
        return round(self.height * (self.y[1] - y) / (self.y[1] - self.y[0]), 2)

    def polyline(self, points: Points) -> str:
        """Points of a drawing that is 1000 wide and stretched: percentages cannot stand in them."""
        return " ".join(f"{1000 * self.across(x):.2f},{self.down(y)}" for x, y in points)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within both ends, at most `count` steps."""
    span = high - low if high - low > 1e-300 else 1.0  # a smaller one has no power of ten
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= count)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def picture(
    title: str, plots: Sequence[Plot], names: Sequence[tuple[str, str]], columns: int, width: int, left: int
) -> bytes:
    """An SVG file of plots beside and below each other, with a key.

    Its background is transparent and its text a middle grey, so that one file serves a light and a dark page.

    Args:
        title: for those who do not see it.
        plots: all of one height.
        names: of the key: the CSS class of a line and what it stands for.
        columns: plots in a row.
        width: of each, in pixels.
        left: room left of each for the labels of its y axis.
    """
    longest = max((columns_of(name) for _, name in names), default=1)
    slot = 50 + 7 * longest  # of a name in the key
    whole = columns * (left + width + 20)
    across = max(1, whole // slot)
    rows = -(-len(plots) // columns)
    tall = plots[0].height + 74  # with title, ticks and label
    text = render(
        "picture.html",
        title=one_line(title),
        plots=plots,
        names=names,
        columns=columns,
        width=width,
        left=left,
        tall=tall,
        slot=slot,
        across=across,
        whole=max(whole, min(len(names), across) * slot),
        height=rows * tall + 20 * -(-len(names) // across) + 8,
    )
    return text.encode()


def columns_of(text: str) -> int:
    """Its width in Latin characters: those of other scripts may be twice as wide."""
    return sum(1 if ord(character) < 0x1100 else 2 for character in text)
