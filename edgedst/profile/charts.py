"""Charts as inline SVG between lines of text: a name and a figure in HTML, below them the shape that is as long.

Lengths are percentages of the chart's width and text keeps its size, so that one page serves a phone, a desktop and
paper without a script. Nothing of a profile is known here; what has no number is not drawn.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgedst.page import tag
from edgedst.profile.shown import NOT_MEASURED, Spread, Unit

BAR_HEIGHT = 16  # pixels, as all heights here
STACK_HEIGHT = 30
INTERVAL_HEIGHT = 18
CURVE_HEIGHT = 260
CHARACTER_WIDTH = 6.4  # of a segment's label, generously; a chart is at least NARROWEST wide
NARROWEST = 300


@dataclass(frozen=True)
class Bar:
    """One row of a chart of bars."""

    name: str  # plain text
    figure: str  # HTML
    length: float | None  # None: not measured, no bar
    colour: str  # CSS class of the contender
    drawn: str  # where the length comes from
    spread: Spread | None = None
    repeats: Sequence[float] = ()
    tail: float | None = None  # a thin line goes on to here


@dataclass(frozen=True)
class Interval:
    """One row of a chart of ratios."""

    name: str  # plain text
    figure: str  # HTML
    ratio: float | None
    drawn: str
    spread: Spread | None = None


@dataclass(frozen=True)
class Segment:
    """A part of a stack."""

    name: str  # plain text
    length: float
    colour: str  # CSS class of the part
    drawn: str


@dataclass(frozen=True)
class Point:
    """A point of a curve."""

    x: float
    y: float


def chart(title: str, rows: Sequence[str], note: str = "") -> str:
    """A figure: title (plain text) and note (HTML) above its rows (HTML); without rows it says that there are none."""
    return tag(
        "figure",
        tag("figcaption", tag("strong", html.escape(title)), tag("span", note, class_="note") if note else ""),
        tag("ul", *(rows or [tag("li", NOT_MEASURED, class_="absent")]), class_="rows"),
        class_="chart",
    )


def bars(rows: Sequence[Bar]) -> list[str]:
    """Rows of bars from 0 on one scale; the repeats as dots and the line from the lowest to the highest."""
    drawn = [row for row in rows if row.length is not None]
    ends = [max(row.length or 0, row.tail or 0, row.spread.high if row.spread else 0) for row in drawn]
    longest = max(ends, default=0)
    return [_row(row.name, row.figure, _bar(row, longest)) for row in rows]


def _bar(row: Bar, longest: float) -> str:
    if row.length is None or longest <= 0:
        return ""
    middle = BAR_HEIGHT / 2
    shapes = [
        tag("rect", class_="track", width="100%", height=BAR_HEIGHT),
        tag("rect", class_="fill", width=_percent(row.length / longest), height=BAR_HEIGHT, data_drawn=row.drawn),
    ]
    told = ""
    if row.tail is not None:
        end = _percent(row.tail / longest)
        shapes.append(tag("line", class_="tail", x1=_percent(row.length / longest), x2=end, y1=middle, y2=middle))
        shapes.append(tag("line", class_="tail", x1=end, x2=end, y1=3, y2=BAR_HEIGHT - 3))
        told = f"The line goes on to {row.tail:.4g}."
    if row.spread and len(row.repeats) > 1:
        low, high = (_percent(end / longest) for end in (row.spread.low, row.spread.high))
        shapes.append(tag("line", class_="range", x1=low, x2=high, y1=middle, y2=middle))
        shapes += [tag("circle", cx=_percent(value / longest), cy=middle, r=2.5) for value in row.repeats]
        told = f"Repeats from {row.spread.low:.4g} to {row.spread.high:.4g}."
    return _svg(row.colour, BAR_HEIGHT, f"{row.name}: {row.length:.4g}", told, shapes)


def intervals(rows: Sequence[Interval], one: str) -> list[str]:
    """Rows of ratios on one scale from 0, each a dot within its interval, with a line at 1.

    Args:
        rows: ratios.
        one: plain text of what a ratio of 1 is.
    """
    drawn = [row for row in rows if row.ratio is not None]
    far = max([1.1, *(row.spread.high if row.spread else row.ratio or 0 for row in drawn)])
    lines = [_row(row.name, row.figure, _interval(row, far)) for row in rows]
    return [*lines, _scale(far, one)] if drawn else lines


def _interval(row: Interval, far: float) -> str:
    if row.ratio is None:
        return ""
    middle = INTERVAL_HEIGHT / 2
    one, at = _percent(1 / far), _percent(row.ratio / far)
    shapes = [
        tag("line", class_="track", x1="0", x2="100%", y1=middle, y2=middle),
        tag("line", class_="one", x1=one, x2=one, y1=0, y2=INTERVAL_HEIGHT),
        tag("line", class_="towards", x1=one, x2=at, y1=middle, y2=middle),
    ]
    told = "No interval."
    if row.spread:
        low, high = (row.spread.low / far, row.spread.high / far)
        shapes.append(
            tag("rect", class_="interval", x=_percent(low), y=middle - 5, width=_percent(high - low), height=10)
        )
        told = f"Interval from {row.spread.low:.3g} to {row.spread.high:.3g}."
    shapes.append(tag("circle", class_="at", cx=at, cy=middle, r=4.5, data_drawn=row.drawn))
    return _svg("ratio", INTERVAL_HEIGHT, f"{row.name}: {row.ratio:.3g}", told, shapes)


def _scale(far: float, one: str) -> str:
    """The axis under ratios: 0, what 1 is, and nothing that could come near it."""
    at = 1 / far
    # The label ends at its line where the line is far right, and stands around it otherwise.
    anchor = "end" if at > 0.75 else "middle" if at > 0.25 else "start"
    shapes = [
        tag("line", class_="axis", x1="0", x2="100%", y1=0.5, y2=0.5),
        tag("line", class_="one", x1=_percent(at), x2=_percent(at), y1=0, y2=5),
        tag("text", "0", x="0", y=18),
        tag("text", f"1 = {html.escape(one)}", x=_percent(at), y=18, text_anchor=anchor),
    ]
    return tag("li", _svg("scale", 22, "Scale", f"From 0 to {far:.3g}; {one} is 1.", shapes), aria_hidden="true")


def stack(name: str, figure: str, segments: Sequence[Segment], longest: float) -> str:
    """One row of segments end to end; those with room for their name carry it. Without segments nothing is drawn.

    Args:
        name: plain text.
        figure: HTML of the sum.
        segments: in order.
        longest: the sum that fills the width, the same for all rows of a chart.
    """
    if not segments:
        return _row(name, figure, "")
    shapes, start = [], 0.0
    for segment in segments:
        share = segment.length / longest
        x = _percent(start)
        shapes.append(
            tag(
                "rect",
                class_=segment.colour,
                x=x,
                width=_percent(share),
                height=STACK_HEIGHT,
                data_drawn=segment.drawn,
            )
        )
        if len(segment.name) * CHARACTER_WIDTH + 14 < share * NARROWEST:
            shapes.append(tag("text", html.escape(segment.name), x=x, dx=7, y=STACK_HEIGHT / 2 + 4))
        start += share
    told = ", ".join(f"{segment.name} {segment.length:.4g}" for segment in segments)
    return _row(name, figure, _svg("stack", STACK_HEIGHT, name, told, shapes))


def swatch(colour: str) -> str:
    """The colour of a part, for a key."""
    return tag(
        "svg", tag("rect", class_=colour, width="100%", height="100%"), class_="stack swatch", aria_hidden="true"
    )


def curve(points: Sequence[Point], title: str, x_unit: Unit) -> str:
    """A line through points over round numbers; the y axis reaches 0, so that a height can be read as a share.

    Args:
        points: at least two, in the order of x, from 0 on.
        title: plain text for those who do not see it.
        x_unit: how x is written.
    """
    right = max(point.x for point in points) or 1.0
    bottom, top = (end(0.0, *(point.y for point in points)) for end in (min, max))
    top += 0.12 * (top - bottom)  # room for the highest number, which stands above its line
    head, foot = 4, 24  # pixels above the curve, and below it for x
    tall = CURVE_HEIGHT - head - foot

    def across(x: float) -> str:
        return _percent(x / right)

    def down(y: float) -> float:
        return round(tall * (top - y) / ((top - bottom) or 1), 2)

    shapes, numbers = [], []
    for tick in _ticks(bottom, top):
        y = head + down(tick)
        shapes.append(tag("line", class_="axis" if tick == 0 else "grid", x1="0", x2="100%", y1=y, y2=y))
        numbers.append(tag("text", _short(tick), class_="halo", x="0", y=y - 4))
    for tick in _ticks(0, right):
        anchor = "start" if tick == 0 else "end" if tick > 0.9 * right else "middle"
        text = html.escape(x_unit.text(tick)) if tick else "0"
        numbers.append(tag("text", text, x=across(tick), y=CURVE_HEIGHT - 6, text_anchor=anchor))
    # Percentages cannot stand in a line's points: this inner drawing is stretched instead, its stroke is not.
    line = " ".join(f"{1000 * point.x / right:.2f},{down(point.y)}" for point in points)
    inside = tag("polyline", points=line, class_="line", vector_effect="non-scaling-stroke")
    stretched = {"viewBox": f"0 0 1000 {tall}", "preserveAspectRatio": "none"}
    shapes.append(tag("svg", inside, y=head, height=tall, width="100%", **stretched))
    first, last = points[0], points[-1]
    shapes.append(tag("circle", class_="end", cx=across(last.x), cy=head + down(last.y), r=4))
    told = f"From {first.y:.4g} at {first.x:.4g} to {last.y:.4g} at {last.x:.4g}."
    return _svg("curve", CURVE_HEIGHT, title, told, [*shapes, *numbers])


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within both ends, at most `count` steps."""
    span = high - low if high - low > 1e-300 else 1.0  # a smaller one has no power of ten
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= count)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _short(value: float) -> str:
    return f"{value:,.10g}".replace("-", "\N{MINUS SIGN}")


def _percent(share: float) -> str:
    return f"{100 * share:.3f}%"


def _row(name: str, figure: str, drawn: str) -> str:
    return tag("li", tag("span", html.escape(name), class_="name"), tag("span", figure, class_="told"), drawn)


def _svg(kind: str, height: int, title: str, told: str, shapes: Sequence[str]) -> str:
    """A drawing of full width that tells those who do not see it what it shows."""
    return tag(
        "svg",
        tag("title", html.escape(title)),
        tag("desc", html.escape(told)) if told else "",
        *shapes,
        class_=kind,
        role="img",
        width="100%",
        height=height,
    )
