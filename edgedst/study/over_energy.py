"""The report's section on energy: learning curves over joules, of the runs whose energy was measured."""

from __future__ import annotations

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

Curve = list[tuple[float, float]]  # (joules, mean return)


def energy_section(results: Results) -> tuple[list[Block], dict[str, bytes]]:
    """A picture for each source and scope, since joules of two kinds never share an axis; nothing without any.

    Returns:
        the blocks, and the SVGs by name.
    """
    kinds: dict[tuple[str, str], dict[Point, Curve]] = {}
    for result in results.all:
        told = result.run.summary.get("energy") if result.run and result.finished else None
        if result.run and isinstance(told, dict) and told.get("measured") is True:
            curve = joules_and_returns(result.run)
            if len(curve) > 1:
                kinds.setdefault((str(told.get("source")), str(told.get("scope"))), {})[result.point] = curve
    blocks: list[Block] = []
    pictures: dict[str, bytes] = {}
    for (source, scope), curves in kinds.items():
        name = f"energy-{folder_name(source)[:60]}-{folder_name(scope)[:60]}.svg"
        pictures[name] = figures.draw_curves(_panels(results, curves), across_label="joules")
        meter = literal(f"{source} ({scope})")
        caption = (
            f"Evaluation returns over the energy since a run's first step, measured by {meter}: all that this meter "
            "counts, idle and evaluations included. Mean and standard deviation over finished seeds at "
            "equal joules, interpolated between evaluations, up to where the first seed ended."
        )
        blocks.append(Picture(name, "Learning curves over joules", caption))
    return ([Heading("Learning curves over energy"), *blocks] if blocks else []), pictures


def joules_and_returns(run: Run) -> Curve:
    """Of every evaluation whose joules are known; what has fewer than the one before it was not counted on."""
    curve: Curve = []
    for line in run.metrics():
        joules = line.get("energy_joules")
        if is_number(joules) and (not curve or joules > curve[-1][0]):
            curve.append((joules, line["evaluation_return"]))
    return curve


def _panels(results: Results, curves: dict[Point, Curve]) -> list[tuple[str, list[figures.Curve]]]:
    panels = []
    for task in results.tasks:
        own = {point: curve for point, curve in curves.items() if point.config.env == task}
        if not own:
            continue
        drawn = []
        for number, variant in enumerate(results.variants):
            seeds = [own[result.point] for result in results.of(task, variant) if result.point in own]
            if seeds:
                drawn.append(figures.Curve(variant.name, number, _at_equal_joules(seeds), len(seeds)))
        panels.append((task, drawn))
    return panels


def _at_equal_joules(seeds: list[Curve]) -> list[Curve]:
    """The curves at joules that all of them have come to."""
    columns = [tuple(zip(*seed, strict=True)) for seed in seeds]
    places = np.linspace(max(joules[0] for joules, _ in columns), min(joules[-1] for joules, _ in columns), PLACES)
    at_places = [np.interp(places, joules, returns) for joules, returns in columns]
    return [list(zip(places.tolist(), values.tolist(), strict=True)) for values in at_places]
