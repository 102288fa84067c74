"""The report's section on all tasks together: interquartile means of scores, with intervals where seeds allow them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgedst.report.blocks import NOTHING, Block, Column, Heading, Picture, Table, Text
from edgedst.report.numbers import fixed
from edgedst.report.text import literal
from edgedst.study import figures
from edgedst.study.paper import METRICS, paper
from edgedst.study.results import Results, Variant
from edgedst.study.statistics import BOOTSTRAP_DRAWS, FEWEST_SEEDS, interquartile_mean, stratified_bootstrap

PICTURE = "interquartile-mean.svg"

# Where the study's variants are set beside its dense runs, as shares of its steps, and over how many evaluations.
PLACES = (1 / 6, 1 / 3, 2 / 3, 1)
EVALUATIONS = 3

Interval = tuple[float, float] | None


def over_tasks(
    results: Results, variants: Sequence[Variant], number: Mapping[str, int]
) -> tuple[list[Block], dict[str, bytes]]:
    """The section, and the picture that was drawn for it, by its name; `number` has each variant's colour, by name."""
    heading = Heading("Over all tasks")
    printed = [task for task in results.tasks if paper().value("R", task, "td3")]
    # A method that the study has on one task only would leave the others that one task.
    everywhere = [v for v in variants if all(results.of(task, v) for task in printed)] or variants
    able = [v for v in everywhere if any(results.metric("R", task, v) for task in printed)]
    tasks = [task for task in printed if able and all(results.metric("R", task, v) for v in able)]
    if not tasks:
        return [heading, Text("There is no task of the paper yet that every variant has finished a run on.")], {}

    panels, cells = [], {variant.name: [variant.name] for variant in able}
    for metric in METRICS:
        rows = []
        for variant in able:
            scores = _scores(results, metric, tasks, variant)
            middle = interquartile_mean([score for task in scores for score in task])
            interval = stratified_bootstrap(scores)
            rows.append((variant.name, number[variant.name], middle, interval))
            mean = fixed(_mean([_mean(task) for task in scores]), 3)
            cells[variant.name] += [_told(middle, interval), mean, _paper_mean(metric, tasks, variant)]
        panels.append((f"{metric}, interquartile mean", rows))
    picture = figures.draw_intervals(panels, "score: 1 is the paper's dense TD3")

    columns = [Column("variant", text=True)]
    for metric in METRICS:
        columns += [Column("IQM here", metric), Column("mean here", metric), Column("mean paper", metric, paper=True)]
    some = any(interval for _, rows in panels for *_, interval in rows)
    told = ("Bars: 95 % intervals. " if some else "") + "Broken line: the paper's dense TD3 after a million steps."
    left_out = [task for task in results.tasks if task not in tasks] + [v.name for v in variants if v not in able]
    caption = _caption(tasks, left_out, results.as_long_as_the_paper_s)
    table = Table(columns, list(cells.values()), caption)
    return [heading, Picture(PICTURE, "Interquartile means", told), table], {PICTURE: picture}


def beside_dense(results: Results, variants: Sequence[Variant]) -> list[Block]:
    """The section on equal steps: returns in units of the study's own dense runs; nothing where it has none."""
    dense = next((v for v in variants if v.dense), None)
    others = [v for v in variants if dense and v.family == dense.family]
    places = [round(share * min(result.point.config.steps for result in results.all)) for share in PLACES]
    if dense is None or len(others) < 2:
        return []
    units = {task: [_mean(_returns(results, task, dense, place)) for place in places] for task in results.tasks}
    known = [task for task in results.tasks if min(units[task]) > 0]  # a ratio to a return below 0 says nothing
    able = [v for v in others if known and all(results.metric("R", task, v) for task in known)]
    left_out = [task for task in results.tasks if task not in known] + [v.name for v in others if v not in able]
    rows = []
    for variant in able:
        cells = [variant.name]
        for number, place in enumerate(places):
            scores = [[r / units[task][number] for r in _returns(results, task, variant, place)] for task in known]
            middle = interquartile_mean([score for task in scores for score in task])
            cells.append(_told(middle, stratified_bootstrap(scores)))
        rows.append(cells)
    if len(rows) < 2:
        return []
    out = f" (left out: {literal('; '.join(left_out))})" if left_out else ""
    caption = (
        f"Over {literal(', '.join(known))}{out}. A run's score is the mean of its last {EVALUATIONS} evaluations up to "
        f"that step, divided by the mean of those of the runs “{literal(dense.name)}”. Interquartile means of all "
        f"runs, in brackets with {FEWEST_SEEDS} or more seeds on every task their 95 % intervals, drawn as above: the "
        "divisor's own uncertainty is that of the dense row."
    )
    columns = [Column("variant", text=True), *(Column(f"at {place:,}") for place in places)]
    return [Heading("Beside dense at equal steps"), Table(columns, rows, caption)]


def _returns(results: Results, task: str, variant: Variant, step: int) -> list[float]:
    """Of every finished seed: its last evaluations up to a step."""
    runs = [[value for at, value in r.evaluations if at <= step] for r in results.finished(task, variant)]
    return [_mean(values[-EVALUATIONS:]) for values in runs if values]


def _caption(tasks: Sequence[str], left_out: Sequence[str], as_long: bool) -> str:
    over, out = literal(", ".join(tasks)), literal("; ".join(left_out))
    out = f" (not on all of them, not finished or not in the paper: {out})" if left_out else ""
    caption = (
        f"Over {over}{out}. Each score is divided by the paper's dense TD3 on that task after a million "
        "steps (Tables 1 and 2). IQM: mean of the middle half of all runs' scores; in brackets its 95 % interval by "
        f"{BOOTSTRAP_DRAWS:,} draws of a bootstrap stratified by task (Agarwal et al. 2021, Deep Reinforcement "
        "Learning at the Edge of the Statistical Precipice). It is too narrow with few seeds: with 5 it holds the "
        f"truth nine times in ten, with fewer than {FEWEST_SEEDS} on some task there is none."
    )
    other = " These runs have another length or other evaluations than the paper's: LCA compares among them only."
    return caption if as_long else caption + other


def _told(middle: float, interval: Interval) -> str:
    return fixed(middle, 3) + (f" [{fixed(interval[0], 3)}, {fixed(interval[1], 3)}]" if interval else "")


def _paper_mean(metric: str, tasks: Sequence[str], variant: Variant) -> str:
    theirs = [(paper().value(metric, task, variant.paper_key), _unit(metric, task)) for task in tasks]
    known = [value.mean / unit for value, unit in theirs if value]
    return fixed(_mean(known), 3) if len(known) == len(tasks) else NOTHING


def _scores(results: Results, metric: str, tasks: Sequence[str], variant: Variant) -> list[list[float]]:
    """By task, then by seed, in units of the paper's dense TD3."""
    return [[value / _unit(metric, task) for value in results.metric(metric, task, variant)] for task in tasks]


def _unit(metric: str, task: str) -> float:
    value = paper().value(metric, task, "td3")
    assert value is not None
    return value.mean


def _mean(values: Sequence[float]) -> float:
    """NaN of none."""
    return sum(values) / len(values) if values else math.nan
