"""The report's pictures: learning curves with the paper's end points, and intervals of the interquartile mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedst.report.charts import Line, Mark, Plot, Points, columns_of, picture, ticks
from edgedst.report.numbers import short, thousands
from edgedst.report.text import one_line
from edgedst.spread import mean_and_sd
from edgedst.study.paper import Value

# s0 to s5 and d0 to d5 in picture.css: Okabe and Ito's colours, which the colour-blind can tell apart, and dashes.
COLOURS = DASHES = 6
WIDTHS = {1: 640, 2: 440, 3: 290}  # of a plot in pixels, by plots in a row
HEIGHT = 240
ROW_HEIGHT = 36  # of an interval
LEFT = 84
MOST_CHARACTERS = 60  # of a name in a picture


@dataclass(frozen=True)
class Curve:
    """One variant on one task."""

    name: str
    number: int  # among the study's variants: its colour everywhere
    seeds: Sequence[Points]  # evaluations of each seed that has some: (step, mean return)
    planned: int  # seeds in the study
    paper: Value | None = None  # the paper's R, at its last step


def draw_curves(
    panels: Sequence[tuple[str, Sequence[Curve]]], paper_steps: int = 0, across_label: str = "environment steps"
) -> bytes:
    """An SVG: mean over seeds with a band of one standard deviation, a plot a task; the paper's R at the right edge.

    Where not all of the study's seeds have come so far, the line is thin.
    """
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    names = {curve.name: curve.number for _, curves in panels for curve in curves}
    key = [(_style(number), _cut(name)) for name, number in names.items()]
    plots = [_curves(title, curves, paper_steps, across_label) for title, curves in panels]
    return picture(f"Evaluation returns over {across_label}", plots, key, columns, WIDTHS[columns], LEFT)


def _curves(title: str, curves: Sequence[Curve], paper_steps: int, across_label: str) -> Plot:
    places = [step for curve in curves for seed in curve.seeds for step, _ in seed]
    first, last = min(places, default=0), max(places, default=0)
    first = min(first, 0)  # where a run starts, unless its joules begin below
    whole = last - first or 1
    shapes: list[Line] = []
    for curve in curves:
        shapes += _lines(curve)
    # A strip behind the last step: the paper's.
    told = [(curve, curve.paper) for curve in curves if curve.paper]
    begin, width = last + 0.03 * whole, whole * (0.08 + 0.05 * len(told))
    marks = [
        Mark(begin + width * (place + 0.5) / len(told), value.mean, value.sd or 0.0, f"s{curve.number % COLOURS}")
        for place, (curve, value) in enumerate(told)
    ]
    # Runs of another length than the paper's: the strip says that it is not at their last step.
    words = ["paper"] if last == paper_steps else ["paper,", thousands(paper_steps)]
    heights = [y for shape in shapes for _, y in shape.points]
    heights += [mark.y + half for mark in marks for half in (-mark.half, mark.half)]
    low, high = min(heights, default=0.0), max(heights, default=1.0)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - room, high + room
    return Plot(
        (first - 0.03 * whole, begin + width if told else begin),
        (low, high),
        [(tick, thousands(tick)) for tick in ticks(first, last, 5)],
        [(tick, short(tick)) for tick in ticks(low, high, 7)],
        shapes,
        HEIGHT,
        marks,
        _cut(title),
        across_label,
        "evaluation return",
        (begin, words) if told else None,
    )


def _lines(curve: Curve) -> list[Line]:
    """The band, then the line in pieces that are thick where all seeds have come so far."""
    seeds = [dict(seed) for seed in curve.seeds]
    steps = sorted({step for seed in seeds for step in seed})
    values = [[seed[step] for seed in seeds if step in seed] for step in steps]
    middle = [(step, *mean_and_sd(of)) for step, of in zip(steps, values, strict=True)]
    above = [(step, mean + (sd or 0.0)) for step, mean, sd in middle]
    below = [(step, mean - (sd or 0.0)) for step, mean, sd in reversed(middle)]
    style = _style(curve.number)
    lines = [Line([*above, *below], style, filled=True)]
    whole = [len(of) == curve.planned for of in values]
    first = 0
    while first < len(steps):
        # A piece ends where the next one begins; a single evaluation is a dot.
        last = first + 1
        thick = whole[first] and whole[min(last, len(steps) - 1)]
        while last < len(steps) - 1 and (whole[last] and whole[last + 1]) == thick:
            last += 1
        piece = [(step, mean) for step, mean, _ in middle[first : last + 1]]
        drawn = "" if thick else " thin"
        lines.append(Line(piece if len(piece) > 1 else piece * 2, style + (drawn if len(piece) > 1 else " dot")))
        first = last if last < len(steps) - 1 else len(steps)
    return lines


def draw_intervals(
    panels: Sequence[tuple[str, Sequence[tuple[str, int, float, tuple[float, float] | None]]]], unit: str
) -> bytes:
    """An SVG: values with intervals, a plot a metric: (name, number of the variant, value, (low, high) or None)."""
    plots = []
    for title, rows in panels:
        ends = [end for _, _, value, interval in rows for end in (value, *(interval or ()))]
        low, high = min(1.0, *ends), max(1.0, *ends)
        room = 0.06 * (high - low) or 0.06
        low, high = low - room, high + room
        shapes = [Line([(1, -0.5), (1, len(rows) - 0.5)], "reference")]
        for place, (_, number, value, interval) in enumerate(rows):
            style = f"s{number % COLOURS}"
            if interval:
                corners = [
                    (x, place + y) for x, y in zip((*interval, *interval[::-1]), (-0.3, -0.3, 0.3, 0.3), strict=True)
                ]
                shapes.append(Line(corners, f"{style} bar", filled=True))
            shapes.append(Line([(value, place - 0.3), (value, place + 0.3)], f"{style} value"))
        names = [(place, _cut(name)) for place, (name, *_) in enumerate(rows)]
        plots.append(
            Plot(
                (low, high),
                (len(rows) - 0.5, -0.5),
                [(tick, short(tick)) for tick in ticks(low, high, 7)],
                names,
                shapes,
                ROW_HEIGHT * len(rows),
                title=_cut(title),
                x_label=unit,
                upright=True,
            )
        )
    return picture(
        "Interquartile means", plots, [], len(plots), 340, 24 + 7 * max(columns_of(name) for _, name in names)
    )


def _style(number: int) -> str:
    """Colour and dashes: another pair with every round of the colours."""
    return f"s{number % COLOURS} d{(number + number // COLOURS) % DASHES}"


def _cut(name: str) -> str:
    """A name that a study's file gave, with room for it in a picture."""
    name = one_line(name)
    return name if len(name) <= MOST_CHARACTERS else name[: MOST_CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
