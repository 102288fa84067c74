"""The report's learning curves over what training costs: computation, time, and energy where it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgedst.report.blocks import Block, Heading, Picture
from edgedst.report.text import literal
from edgedst.runs.folder import folder_name
from edgedst.runs.metrics import is_number
from edgedst.runs.run import Run
from edgedst.study import figures
from edgedst.study.grid import Point
from edgedst.study.results import Results

PLACES = 101  # along the axis, where the seeds' curves are averaged

Curve = list[tuple[float, float]]  # (cost, mean return)
Beside = Mapping[str, Sequence[figures.Curve]]  # other libraries' curves, by task

_MEAN = (
    "Mean and standard deviation over finished seeds at equal {0}, interpolated between evaluations, up to where the "
    "first seed ended."
)


def cost_sections(results: Results, beside: Beside) -> tuple[list[Block], dict[str, bytes]]:
    """Curves over computation and time, where the variants' computation differs, and over joules, where measured.

    Over time, too, where curves of other libraries, `beside`, have it.

    Returns:
        the blocks, and the SVGs by name.
    """
    drawn: list[tuple[str, str, Mapping[Point, Curve], str]] = []  # name of the picture, label, curves, caption
    a_step = _gflops_a_step(results)
    finished = {result.point: result for result in results.all if result.finished}
    if any(len({cost for point, cost in a_step.items() if point.config.env == task}) > 1 for task in results.tasks):
        computed = {
            point: [(step * a_step[point], value) for step, value in result.evaluations]
            for point, result in finished.items()
            if point in a_step
        }
        counted = (
            "Evaluation returns over the floating-point operations of training, by the paper's convention "
            "(Sokar et al. 2022, Table 3; one multiply-add is two). " + _MEAN.format("operations")
        )
        drawn.append(("flops", "GFLOPs", computed, counted))
    if drawn or beside:
        timed = {point: _until(result.run, "seconds") for point, result in finished.items() if result.run}
        clocked = (
            "Evaluation returns over the seconds that a run's processes took, evaluations included. They tell of this "
            "machine, and of whatever else it did; those of other libraries' logs of theirs. " + _MEAN.format("seconds")
        )
        drawn.append(("seconds", "seconds", timed, clocked))
    for (source, scope), metered in _metered(results).items():
        meter = literal(f"{source} ({scope})")
        caption = (
            f"Evaluation returns over the energy since a run's first step, measured by {meter}: "
            "all that this meter counts, idle and evaluations included. " + _MEAN.format("joules")
        )
        drawn.append((f"energy-{folder_name(source)[:60]}-{folder_name(scope)[:60]}", "joules", metered, caption))
    blocks: list[Block] = []
    pictures: dict[str, bytes] = {}
    for name, label, curves, caption in drawn:
        if panels := _panels(results, curves, beside if name == "seconds" else {}):
            pictures[f"{name}.svg"] = figures.draw_curves(panels, across_label=label)
            blocks.append(Picture(f"{name}.svg", f"Learning curves over {label}", caption))
    return ([Heading("Learning curves over what they cost"), *blocks] if blocks else []), pictures


def _gflops_a_step(results: Results) -> dict[Point, float]:
    """Of every point whose networks' sizes are known."""
    a_step = {}
    for task in results.tasks:
        for variant in results.variants:
            if costs := results.costs(task, variant):
                for result in results.of(task, variant):
                    a_step[result.point] = costs.flops / 1e9 / result.point.config.steps
    return a_step


def _metered(results: Results) -> dict[tuple[str, str], dict[Point, Curve]]:
    """Curves over joules by source and scope: joules of two kinds never share an axis."""
    kinds: dict[tuple[str, str], dict[Point, Curve]] = {}
    for result in results.all:
        told = result.run.summary.get("energy") if result.run and result.finished else None
        if result.run and isinstance(told, dict) and told.get("measured") is True:
            curve = _until(result.run, "energy_joules")
            if len(curve) > 1:
                kinds.setdefault((str(told.get("source")), str(told.get("scope"))), {})[result.point] = curve
    return kinds


def _until(run: Run, cost: str) -> Curve:
    """Every evaluation whose cost is known; one with less than the one before it was not counted on."""
    curve: Curve = []
    for line in run.metrics():
        until = line.get(cost)
        if is_number(until) and (not curve or until > curve[-1][0]):
            curve.append((until, line["evaluation_return"]))
    return curve


def _panels(results: Results, curves: Mapping[Point, Curve], beside: Beside) -> list[tuple[str, list[figures.Curve]]]:
    panels = []
    for task in results.tasks:
        own = {point: curve for point, curve in curves.items() if point.config.env == task and curve}
        drawn = []
        for number, variant in enumerate(results.variants):
            seeds = [own[result.point] for result in results.of(task, variant) if result.point in own]
            if together := at_equal_cost(seeds):
                drawn.append(figures.Curve(variant.name, number, together, len(seeds)))
        drawn += beside.get(task, ())
        if drawn:
            panels.append((task, drawn))
    return panels


def at_equal_cost(seeds: list[Curve]) -> list[Curve]:
    """The curves at costs that all of them have come to; none where one seed began beyond the end of another."""
    if not (seeds and all(seeds)):
        return []
    columns = [tuple(zip(*seed, strict=True)) for seed in seeds]
    first, last = max(costs[0] for costs, _ in columns), min(costs[-1] for costs, _ in columns)
    if first >= last:
        return []
    places = np.linspace(first, last, PLACES)
    at_places = [np.interp(places, costs, returns) for costs, returns in columns]
    return [list(zip(places.tolist(), values.tolist(), strict=True)) for values in at_places]
