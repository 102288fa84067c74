"""The report's pictures: learning curves with the paper's end points, and intervals of the interquartile mean.

Backgrounds are transparent and lines of text a middle grey, so that one file serves a light and a dark page.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedst.errors import StudyError
from edgedst.study.paper import Value

# Okabe and Ito's colours, which the colour-blind can tell apart; each has a line style of its own besides.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
GREY = "#808080"
MOST_CHARACTERS = 60  # of a name in a picture


@dataclass(frozen=True)
class Curve:
    """One variant on one task."""

    name: str
    number: int  # among the study's variants: its colour everywhere
    seeds: Sequence[Sequence[tuple[float, float]]]  # evaluations of each seed that has some: (step, mean return)
    planned: int  # seeds in the study
    paper: Value | None = None  # the paper's R, at its last step


def draw_curves(
    panels: Sequence[tuple[str, Sequence[Curve]]],
    paper_steps: int = 0,
    across_label: str = "environment steps",
) -> bytes:
    """A PNG: mean over seeds with a band of one standard deviation, a panel a task; the paper's R at the right edge.

    Where not all of the study's seeds have come so far, the line is thin.
    """
    pyplot = _pyplot()
    columns = min(3, len(panels)) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    size = (max(6.4, 4.6 * columns), 3.5 * rows + 0.5)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, dpi=120, squeeze=False)
    handles: dict[str, Any] = {}
    for axis, (title, curves) in zip(axes.flat, panels, strict=False):
        last = max((step for curve in curves for seed in curve.seeds for step, _ in seed), default=0) or 1
        for curve in curves:
            handles.setdefault(curve.name, _draw_curve(axis, curve))
        _draw_paper(axis, curves, last, paper_steps)
        axis.set_title(_cut(title), fontsize=11)
        axis.set_xlabel(across_label)
        axis.set_ylabel("evaluation return")
        axis.set_xticks([tick for tick in axis.get_xticks() if 0 <= tick <= last])
        axis.xaxis.set_major_formatter(lambda step, _: _steps(step))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:,g}" if abs(value) < 1e6 else f"{value:g}")
        _neutral(axis)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    longest = max((len(_cut(name)) for name in handles), default=1)
    across = max(1, min(len(handles), int(size[0] * 11 / (longest + 8))))
    below = 0.27 * -(-len(handles) // across) + 0.1  # inches
    # Names come afterwards: a legend leaves out what begins with an underscore.
    numbers = map(str, range(len(handles)))
    legend = figure.legend(handles.values(), numbers, loc="lower center", ncol=across, frameon=False)
    for text, name in zip(legend.get_texts(), handles, strict=True):
        text.set(text=_cut(name), color=GREY)
    return _png(figure, (0, below / size[1], 1, 1))


def _draw_curve(axis: Any, curve: Curve) -> Any:
    seeds = [dict(seed) for seed in curve.seeds]
    steps = sorted({step for seed in seeds for step in seed})
    values = [[seed[step] for seed in seeds if step in seed] for step in steps]
    mean = np.array([np.mean(v) for v in values])
    sd = np.array([np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in values])
    whole = np.array([len(v) == curve.planned for v in values])
    part = ~whole
    part[:-1] |= ~whole[1:]  # the thin piece begins where the thick one ends
    part[1:] |= ~whole[:-1]
    colour, style = COLOURS[curve.number % len(COLOURS)], STYLES[_style(curve.number)]
    axis.plot(steps, np.where(part, mean, np.nan), color=colour, linestyle=style, linewidth=0.9)
    (line,) = axis.plot(steps, np.where(whole, mean, np.nan), color=colour, linestyle=style, linewidth=1.8)
    axis.fill_between(steps, mean - sd, mean + sd, color=colour, alpha=0.18, linewidth=0)
    return line


def _style(number: int) -> int:
    """Another one with every round of the colours."""
    return (number + number // len(COLOURS)) % len(STYLES)


def _draw_paper(axis: Any, curves: Sequence[Curve], last: float, paper_steps: int) -> None:
    """A strip behind the last step: diamonds with a standard deviation, in the curves' colours."""
    told = [curve for curve in curves if curve.paper]
    if not told:
        return
    width = last * (0.08 + 0.05 * len(told))
    begin = last * 1.03
    axis.set_xlim(-0.03 * last, begin + width)
    axis.axvspan(begin, begin + width, color=GREY, alpha=0.10, linewidth=0)
    # Runs of another length than the paper's: the strip says that it is not at their last step.
    words = "paper" if last == paper_steps else f"paper,\n{_steps(paper_steps)}"
    where = axis.get_xaxis_transform()
    axis.text(begin + width / 2, 0.02, words, ha="center", va="bottom", fontsize=8, color=GREY, transform=where)
    for place, curve in enumerate(told):
        assert curve.paper is not None
        x = begin + width * (place + 0.5) / len(told)
        colour = COLOURS[curve.number % len(COLOURS)]
        axis.errorbar(
            x, curve.paper.mean, yerr=curve.paper.sd, fmt="D", markersize=5, color=colour, capsize=2, linewidth=1.2
        )


def draw_intervals(panels: Sequence[tuple[str, Sequence[tuple[str, int, float, Any]]]], unit: str) -> bytes:
    """A PNG: points with intervals, a panel a metric: (name, number of the variant, value, (low, high) or None)."""
    pyplot = _pyplot()
    most = max(len(rows) for _, rows in panels)
    figure, axes = pyplot.subplots(1, len(panels), figsize=(9, 1.2 + 0.42 * most), dpi=120, squeeze=False, sharey=True)
    for axis, (title, rows) in zip(axes.flat, panels, strict=True):
        axis.use_sticky_edges = False  # bars would touch the axis
        for place, (_, number, value, interval) in enumerate(rows):
            colour = COLOURS[number % len(COLOURS)]
            if interval:
                axis.barh(place, interval[1] - interval[0], left=interval[0], height=0.5, color=colour, alpha=0.35)
            axis.plot([value, value], [place - 0.28, place + 0.28], color=colour, linewidth=2.4)
        axis.axvline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axis.locator_params(axis="x", nbins=6)
        axis.set_xlabel(unit)
        axis.set_yticks(range(len(rows)), [_cut(name) for name, *_ in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_title(title, fontsize=11)
        _neutral(axis)
        axis.grid(visible=False, axis="y")
    return _png(figure)


def _png(figure: Any, within: tuple[float, float, float, float] = (0, 0, 1, 1)) -> bytes:
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a script that its font does not have, and of names with little room
        figure.tight_layout(rect=within)
        figure.savefig(picture, transparent=True)
    _pyplot().close(figure)
    return picture.getvalue()


def _cut(name: str) -> str:
    """A name that a study's file gave, with room for it in a picture."""
    return name if len(name) <= MOST_CHARACTERS else name[: MOST_CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _neutral(axis: Any) -> None:
    axis.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(colors=GREY, labelsize=9)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
    for text in (axis.title, axis.xaxis.label, axis.yaxis.label):
        text.set_color(GREY)


def _steps(step: float) -> str:
    if step >= 1_000_000:
        return f"{step / 1e6:g}M"
    return f"{step / 1000:g}k" if step >= 1000 else f"{step:g}"


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise StudyError("The report's pictures need matplotlib: pip install 'edgedst[plot]'.") from None
    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # a dollar in a name is a dollar
    from matplotlib import pyplot

    return pyplot
