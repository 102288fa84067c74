"""The report's sections that stand beside the paper: curves, R, LCA, sweeps, costs, and the mean over tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import median
from typing import Any

from edgedst.config import SETTINGS, TrainConfig
from edgedst.report.blocks import FILMS, NOTHING, Block, Column, Heading, Picture, Table, Text
from edgedst.report.numbers import fixed, with_sd
from edgedst.report.text import code
from edgedst.runs.folder import folder_name
from edgedst.runs.reading import reading
from edgedst.spread import mean_and_sd
from edgedst.study import figures
from edgedst.study.over_costs import Beside
from edgedst.study.over_tasks import beside_dense, over_tasks
from edgedst.study.paper import METRICS, Value, paper, task_of
from edgedst.study.results import SCHEDULE, SPARSITY, Results, Variant

SPARSITY_TOLERANCE = 2.5  # percent points: the paper's "50 %" is 50.6


class BesidePaper:
    """What a study shows, each method beside the paper's figures of it."""

    def __init__(self, results: Results, beside: Beside) -> None:
        self.results = results
        self._beside = beside  # over steps
        self.pictures: dict[str, bytes] = {}  # SVGs by name, once `blocks` has drawn them
        self._number = {variant.name: number for number, variant in enumerate(results.variants)}
        self._protocol = {key: variant for key in paper().methods if (variant := self._variant_like_the_paper_s(key))}
        protocol = {variant.name for variant in self._protocol.values()}
        swept = {v.name for v in results.variants if _in_sweep(v, SCHEDULE) or _in_sweep(v, SPARSITY)}
        self._main = [v for v in results.variants if v.name in protocol or v.name not in swept]

    def blocks(self) -> list[Block]:
        """All sections, in the page's order."""
        return [
            *self._curves(),
            *self._films(),
            *self._metric("R"),
            *self._metric("LCA"),
            *self._sweep(0, SCHEDULE),
            *self._sweep(1, SPARSITY),
            *self._costs(),
            *self._over_tasks(),
        ]

    def departures(self) -> str:
        """For people: settings that some or all variants have otherwise than the paper, steps first; or nothing."""
        told: dict[str, list[str]] = {}
        for variant in self._main:
            point = next(r.point for task in self.results.tasks for r in self.results.of(task, variant))
            settings = point.config.settings()
            for name in variant.departures:
                if name not in dict(variant.varied) and settings[name] is not None:  # a sparsity leaves lambdas out
                    told.setdefault(name, []).append(_setting(settings[name]))
        default = TrainConfig().settings()
        words = [
            f"`{name}` is {' or '.join(dict.fromkeys(values))} instead of "
            + (SETTINGS[name].metadata["usual"] if default[name] is None else _setting(default[name]))
            for name, values in told.items()
        ]
        words.sort(key=lambda word: not word.startswith("`steps`"))
        if short := [rows for result in self.results.all if (rows := result.short_replay)]:
            words.append(
                f"the replay of {len(short)} finished runs forgot the oldest of their transitions, and held "
                f"{min(short):,} at the least"
            )
        return "; ".join(words)

    def _variant_like_the_paper_s(self, key: str) -> Variant | None:
        like = [
            variant
            for variant in self.results.variants
            if variant.paper_key == key and not {*SCHEDULE, *SPARSITY, "eta", "hidden"} & set(variant.departures)
        ]
        return min(like, key=lambda variant: len(variant.departures)) if like else None

    def _curves(self) -> list[Block]:
        numbers = {"td3": 2, "sac": 5}
        shown = [str(numbers[f]) for f in ("td3", "sac") if any(v.family == f for v in self._main)]
        figure = f"Figure{'s' if len(shown) > 1 else ''} {' and '.join(shown)}"
        panels = [
            (task, [*self._task_curves(task, self._main), *self._beside.get(task, ())]) for task in self.results.tasks
        ]
        return [
            Heading("Learning curves"),
            self._figure(
                "learning-curves",
                panels,
                f"Evaluation returns, mean and standard deviation over seeds, as the paper's {figure}; a line is thin "
                "where not all seeds have come so far. Diamonds at the right edge: the paper's R and its standard "
                "deviation at 1,000,000 steps.",
            ),
        ]

    def _films(self) -> list[Block]:
        """What somebody has put into the study's folder `films`, by the task's name."""
        blocks: list[Block] = []
        for task in self.results.tasks:
            for ending in FILMS:
                path = self.results.folder / "films" / f"{folder_name(task)}{ending}"
                if os.path.isfile(path):  # noqa: PTH113  # false, too, where it may not be looked for
                    name = f"film-{path.name}"
                    with reading(path):
                        self.pictures[name] = path.read_bytes()
                    blocks.append(Picture(name, f"An episode of {task}", code(f"films/{path.name}")))
        return blocks

    def _metric(self, metric: str) -> list[Block]:
        blocks: list[Block] = [Heading(METRICS[metric])]
        for family, key in (("td3", "td3"), ("sac", "ds-sac")):
            variants = [variant for variant in self._main if variant.family == family]
            tasks = [task for task in self.results.tasks if any(self.results.of(task, v) for v in variants)]
            if tasks:
                (source,) = [table for table in paper().tables if table.metric == metric and key in table.methods]
                known = any(task_of(task) in source.rows for task in tasks)
                keys, where = source.methods if known else (), f"Table {source.number}"
                if keys and family == "sac" and "sac-soft" in self._protocol:
                    keys = (*keys, "sac-soft")
                    where += f", for soft targets Table {'2' if metric == 'R' else '1'}"
                blocks.append(self._metric_table(metric, where, keys, variants, tasks))
        return blocks

    def _metric_table(
        self, metric: str, where: str, keys: Sequence[str], variants: Sequence[Variant], tasks: Sequence[str]
    ) -> Block:
        columns = [Column("task", text=True)]
        cells: list[tuple[Variant | None, str]] = []  # ours, or the paper's of that method
        for key in keys:
            variant = self._protocol.get(key)
            if variant and variant in variants:
                columns += [Column("here", variant.name), Column("paper", variant.name, paper=True)]
                cells += [(variant, ""), (None, key)]
        for variant in variants:
            if not keys or variant.paper_key not in keys or variant != self._protocol.get(variant.paper_key):
                columns.append(Column("here", variant.name))
                cells.append((variant, ""))
        rows = []
        for task in tasks:
            row = [
                self._here(metric, task, v) if v else _paper(metric, paper().value(metric, task, key))
                for v, key in cells
            ]
            rows.append([task, *row])
        what = {
            "R": "R: mean return over the last 10 evaluations",
            "LCA": "LCA: sum of all evaluations / 10⁶, so only runs of equal length compare",
        }[metric]
        seeds = sorted({len(of) for task in tasks for v in variants if (of := self.results.of(task, v))})
        over = " to ".join(map(str, seeds[:: max(1, len(seeds) - 1)])) + (" seeds" if seeds[-1] > 1 else " seed")
        told = f"{what}; over {over}. " + (f"The paper's: its {where}." if keys else "Not in the paper.")
        if metric == "LCA" and keys and not self.results.as_long_as_the_paper_s:
            told += (
                " These runs have another length or other evaluations than the paper's: its column does not compare."
            )
        return Table(columns, rows, told)

    def _sweep(self, which: int, names: frozenset[str]) -> list[Block]:
        """Figure 3 or 4: variants of one method by one setting, dense training beside them."""
        sweep = paper().sweeps[which]
        other = SPARSITY if names is SCHEDULE else SCHEDULE
        members = [v for v in self.results.variants if _in_sweep(v, names) and not set(v.departures) & other]
        if len(members) < 2:
            return []
        variants = [*members, *(v for v in self._main if v.dense and v.family == members[0].family)]
        tasks = [task for task in self.results.tasks if any(self.results.of(task, v) for v in members)]
        panels = [(task, self._task_curves(task, variants, sweep)) for task in tasks]
        rows = []
        for task in tasks:
            for variant in variants:
                value, words = self._said(sweep, task, variant)
                row = [self._here("R", task, variant), self._here("LCA", task, variant)]
                rows.append([task, variant.name, *row, _paper("R", value), words])
        columns = [
            Column("task", text=True),
            Column("variant", text=True),
            Column("R here"),
            Column("LCA here"),
            Column("R paper", paper=True),
            Column("the paper says", paper=True, text=True),
        ]
        caption = (
            f"The paper prints Figure {sweep['figure']} without numbers: R from its tables and text, and its words."
        )
        return [
            Heading(sweep["title"]),
            self._figure(
                f"figure-{sweep['figure']}",
                panels,
                f"As the paper's Figure {sweep['figure']}: mean and standard deviation over seeds; diamonds: R as the "
                "paper prints it, or as it follows from the text.",
            ),
            Table(columns, rows, caption),
        ]

    def _said(self, sweep: dict[str, Any], task: str, variant: Variant) -> tuple[Value | None, str]:
        """R and words of the paper on one value of a sweep."""
        if variant.dense:
            return paper().value("R", task, variant.paper_key), "dense training"
        if task_of(task) != "HalfCheetah" or variant.paper_key != "ds-td3":
            return None, NOTHING
        if sweep["setting"] == "sparsity":
            costs = self.results.costs(task, variant)
            at = [s for s in sweep["say"] if costs and abs(s["at"] - costs.sparsity_percent) < SPARSITY_TOLERANCE]
        else:
            at = [s for s in sweep["say"] if str(s["at"]) == dict(variant.varied).get(sweep["setting"])]
        if not at:
            return None, NOTHING
        return (Value.of(at[0]["R"]) if "R" in at[0] else None), at[0]["words"]

    def _costs(self) -> list[Block]:
        printed = paper().costs
        rows = []
        for task in self.results.tasks:
            for variant in self.results.variants:
                costs, runs = self.results.costs(task, variant), self.results.finished(task, variant)
                if costs is None:
                    continue
                here = [
                    f"{costs.flops:.2e}".replace("e+", "e"),
                    f"{costs.flops / costs.dense_flops:.2f} ×",
                    f"{costs.connections:,}",
                ]
                same = variant == self._protocol.get(variant.paper_key) and task_of(task) == printed["task"]
                key = variant.paper_key if same and variant.paper_key in printed["flops_ratio"] else None
                theirs = [
                    f"{printed['flops_ratio'][key]:g} ×" if key else NOTHING,
                    f"{printed['connections'][key]:,}" if key else NOTHING,
                ]
                found = [r.run for r in runs if r.run]
                peaks = [value for run in found if (value := run.peak_bytes) is not None]
                speeds = [value for run in found if (value := run.number("steps_per_second")) is not None]
                peak = fixed(max(peaks) / 1e6, 1) if peaks else NOTHING
                speed = fixed(median(speeds), 0) if speeds else NOTHING
                rows.append([task, variant.name, here[0], here[1], theirs[0], here[2], theirs[1], peak, speed])
        if not rows:
            return []
        columns = [
            Column("task", text=True),
            Column("variant", text=True),
            Column("here", "FLOPs"),
            Column("of dense", "FLOPs"),
            Column("paper", "FLOPs", paper=True),
            Column("here", "connections"),
            Column("paper", "connections", paper=True),
            Column("peak MB"),
            Column("steps/s"),
        ]
        caption = (
            "The paper's: its Table 3 (HalfCheetah; dense is 1.07e14). FLOPs by the paper's convention: steps · "
            "batch · (6 · critics' connections + 6 · actor's / actor's delay), for the steps of this study. Peak: the "
            "largest of the finished runs' whole processes. Steps/s: the median run, beside whatever else ran."
        )
        return [Heading("FLOPs and connections"), Table(columns, rows, caption)]

    def _over_tasks(self) -> list[Block]:
        blocks, pictures = over_tasks(self.results, self._main, self._number)
        self.pictures |= pictures
        return [*blocks, *beside_dense(self.results, self._main)]

    def _task_curves(
        self, task: str, variants: Sequence[Variant], sweep: dict[str, Any] | None = None
    ) -> list[figures.Curve]:
        """Curves of a task, with the paper's R of the protocol, or of the values of a sweep."""
        curves = []
        for variant in variants:
            results = self.results.of(task, variant)
            seeds = [result.evaluations for result in results if result.evaluations]
            if sweep:
                told, _ = self._said(sweep, task, variant)
            else:
                like = variant == self._protocol.get(variant.paper_key)
                told = paper().value("R", task, variant.paper_key) if like else None
            if seeds:
                curves.append(figures.Curve(variant.name, self._number[variant.name], seeds, len(results), told))
        return curves

    def _figure(self, name: str, panels: Sequence[tuple[str, Sequence[figures.Curve]]], caption: str) -> Block:
        if not (panels := [panel for panel in panels if panel[1]]):  # a curve has seeds
            return Text("There is no evaluation.")
        self.pictures[f"{name}.svg"] = figures.draw_curves(panels, paper().steps)
        return Picture(f"{name}.svg", caption.partition(",")[0], caption)

    def _here(self, metric: str, task: str, variant: Variant) -> str:
        """Mean, standard deviation, and how many seeds where some are missing."""
        values, planned = self.results.metric(metric, task, variant), len(self.results.of(task, variant))
        if not values:
            return NOTHING
        told = with_sd(*mean_and_sd(values), 1 if metric == "R" else 4)
        return told if len(values) == planned else f"{told} ({len(values)} of {planned})"


def _in_sweep(variant: Variant, names: frozenset[str]) -> bool:
    """Whether it belongs to a sweep of these; where a study varies still other settings there is none."""
    varied = {name for name, _ in variant.varied}
    return not variant.dense and bool(varied & names) and varied <= SCHEDULE | SPARSITY


def _paper(metric: str, value: Value | None) -> str:
    """As printed: R with two digits or, here and there, three; an R that was worked out is a whole number."""
    if value is None:
        return NOTHING

    def printed(number: float) -> str:
        if isinstance(number, int):
            return f"{number:,}"
        digits = len(repr(number).partition(".")[2])
        return fixed(number, max(digits, 2 if metric == "R" else 4))

    return printed(value.mean) + (f" ± {printed(value.sd)}" if value.sd is not None else "")


def _setting(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
