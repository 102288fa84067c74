"""A study's runs as they stand, by task and variant. A variant is a method with the settings that the study varies."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from edgedst import flops, parse
from edgedst.config import TrainConfig, dense_of
from edgedst.density import DENSE_METHODS, OWN_SPARSITIES, family
from edgedst.report.text import code, literal
from edgedst.runs.metrics import is_step, unread
from edgedst.runs.run import Run
from edgedst.study.found import RunIndex, failure_of
from edgedst.study.grid import FREE_SETTINGS, Point, Study, idle_settings, shown, varied
from edgedst.study.statistics import last_return, learning_curve_area

# Settings that Figures 3 and 4 vary.
SCHEDULE = frozenset({"evolve_every"})
SPARSITY = frozenset({"lambda1", "lambda2", "sparsity", *OWN_SPARSITIES})

MOST_FEATURES = 10_000_000  # of a layer: a damaged checkpoint may name any number

# Which machine and how much memory: not the protocol.
_NOT_PROTOCOL = {*FREE_SETTINGS, "env", "method", "seed", "budget_mb", "replay_rows", "env_process"}


@dataclass(frozen=True)
class Result:
    """One point, and what there is of it."""

    point: Point
    run: Run | None
    evaluations: tuple[tuple[int, float], ...]  # (step, mean return)
    failure: str  # why its process failed; empty when it did not
    unread: int  # lines of its metrics that cannot be read

    @property
    def finished(self) -> bool:
        """Only finished runs with all of their evaluations enter the tables."""
        return self.run is not None and self.run.finished and not self.damage

    @property
    def damage(self) -> str:
        """What a finished run has lost; empty when it is whole."""
        if self.run is None or not self.run.finished or not self.point.config.eval_every:
            return ""
        made = max(1, int(self.run.number("evaluations") or 1))
        if len(self.evaluations) >= made:
            return ""
        metrics = code(f"{self.run.folder}/metrics.jsonl")
        return (
            f"finished, but {len(self.evaluations)} of its {made} evaluations can be read from "
            f"{metrics}. Restore that file, or remove the folder to train the run again."
        )

    @property
    def state(self) -> str:
        """For people: finished, failed, at which step, or not started; marked up."""
        if self.finished or self.damage:
            return self.damage or "finished"
        return f"failed, {self._at}: {literal(self.failure)}" if self.failure else self._at

    @property
    def short_state(self) -> str:
        """The same for a table."""
        if self.finished or self.damage:
            whole = "finished" if self.evaluations else "finished without an evaluation (eval_every = 0)"
            return "damaged" if self.damage else whole
        return f"failed, {self._at}" if self.failure else self._at

    @property
    def _at(self) -> str:
        return f"at step {self.run.step:,} of {self.point.config.steps:,}" if self.run else "not started"

    @property
    def short_replay(self) -> int | None:
        """Transitions in its replay at the end, where it forgot some; None: it has all, or is not finished."""
        rows = self.run.number("replay_transitions") if self.run else None
        return int(rows) if rows is not None and rows < self.point.config.steps else None

    def metric(self, name: str) -> float:
        """R or LCA."""
        returns = [value for _, value in self.evaluations]
        return last_return(returns) if name == "R" else learning_curve_area(returns)


@dataclass(frozen=True)
class Variant:
    """What is compared: one colour in a figure, one column in a table."""

    method: str
    name: str
    varied: tuple[tuple[str, str], ...]  # settings that the study varies for this method, with this variant's values
    departures: tuple[str, ...]  # settings that are not the method's defaults, which are the paper's protocol

    paper_key: str  # whose figures it is set beside: a method in paper.toml

    @property
    def dense(self) -> bool:
        """Whether no connection is missing."""
        return self.method in DENSE_METHODS

    @property
    def family(self) -> str:
        """Td3 or sac: which of the paper's tables it belongs to."""
        return family(self.method)


class Results:
    """All results of a study, from its folder."""

    def __init__(self, study: Study, out: Path) -> None:
        self.study, self.folder = study, out
        index = RunIndex(out)
        self.all = [_result(point, index.find(point), out) for point in study.points]
        self.strangers = [folder.relative_to(out) for folder in index.strangers(study.points)]
        self.tasks = list(dict.fromkeys(result.point.config.env for result in self.all))
        points = [result.point for result in self.all]
        several = varied(points, lambda point: point.config.method)
        self.variants = _joined([_variant(point, several[point.config.method]) for point in points])

    @property
    def as_long_as_the_paper_s(self) -> bool:
        """Whether all runs have the paper's steps and evaluations: only then is their LCA of its kind."""
        usual = TrainConfig()
        made = {(result.point.config.steps, result.point.config.eval_every) for result in self.all}
        return made == {(usual.steps, usual.eval_every)}

    def variant_of(self, result: Result) -> Variant:
        """The variant that a result counts for."""
        return next(v for v in self.variants if v.name == result.point.variant)

    def of(self, task: str, variant: Variant) -> list[Result]:
        """Every seed of a task and variant."""
        return [
            result for result in self.all if result.point.config.env == task and result.point.variant == variant.name
        ]

    def finished(self, task: str, variant: Variant) -> list[Result]:
        """The seeds that are finished."""
        return [result for result in self.of(task, variant) if result.finished]

    def metric(self, name: str, task: str, variant: Variant) -> list[float]:
        """R or LCA of every finished seed that has evaluations."""
        return [result.metric(name) for result in self.finished(task, variant) if result.evaluations]

    def costs(self, task: str, variant: Variant) -> Costs | None:
        """Connections and FLOPs, from the networks of any run of the task; None when none has a checkpoint."""
        config = next((result.point.config for result in self.of(task, variant)), None)
        sizes = self._sizes.get((task, variant.family))
        return Costs.of(config, *sizes) if config and sizes else None

    @functools.cached_property
    def _sizes(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Observations and actions by task and family, as the first run tells whose checkpoint can be read."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for result in self.all:
            kind = family(result.point.config.method)
            key = result.point.config.env, kind
            heads = 2 if kind == "sac" else 1
            if key not in found and result.run and (sizes := _task_sizes(result.run.folder, heads)):
                found[key] = sizes
        return found


@dataclass(frozen=True)
class Costs:
    """Table 3's: FLOPs of the whole training by the paper's convention, connections of the actor and both critics."""

    flops: int
    dense_flops: int
    connections: int
    dense_connections: int

    @staticmethod
    def of(config: TrainConfig, observation_size: int, action_size: int) -> Costs:
        """Of these settings, and of the dense method of the same family."""
        stored, full = (flops.Workload.of(each, observation_size, action_size) for each in (config, dense_of(config)))
        return Costs(flops.paper_flops(stored), flops.paper_flops(full), stored.connections, full.connections)

    @property
    def sparsity_percent(self) -> float:
        """Share of the connections that are missing, of all networks together."""
        return 100 * (1 - self.connections / self.dense_connections)


def _task_sizes(run: Path, heads: int) -> tuple[int, int] | None:
    """Observations and actions, from the checkpoint's header (docs/formats.md): an action has so many `heads`.

    None where there is no checkpoint, or one that cannot be read.
    """
    folder = run / "checkpoint"
    try:
        state = parse.json_object(parse.read(folder / "state.json"))
        path = folder / Path(state["networks"]["file"]).name
        parse.opened(path).close()  # a pipe, which safetensors would wait for, is refused here
        with safe_open(path, "numpy") as file:
            about = parse.json_object(file.metadata()["edgedst"])
        features, *_, outputs = about["sizes"]["actor"]
    except (OSError, KeyError, TypeError, ValueError, SafetensorError):
        return None
    observations = about.get("observation_size", features)  # of a history the actor takes more
    if not all(is_step(size) and 1 <= size <= MOST_FEATURES for size in (observations, outputs)):
        return None
    return observations, max(1, outputs // heads)


def _result(point: Point, run: Run | None, out: Path) -> Result:
    evaluations, lost = (tuple(run.evaluations()), unread(run.folder)) if run else ((), 0)
    return Result(point, run, evaluations, failure_of(out, point), lost)


def _variant(point: Point, several: set[str]) -> Variant:
    config = point.config
    settings = config.settings()
    own = tuple((setting, shown(value)) for setting, value in settings.items() if setting in several)
    default = TrainConfig(env=config.env, method=config.method, steps=config.steps).resolved().settings()
    default["steps"] = TrainConfig().steps
    unused = {*_NOT_PROTOCOL, *idle_settings(config.method)}
    departures = [n for n, value in settings.items() if n not in unused and value != default[n]]
    # SAC with soft targets has a column of its own in Tables 1 and 2.
    key = "sac-soft" if config.method == "sac" and config.tau < 1 else config.method
    return Variant(config.method, point.variant, own, tuple(departures), key)


def _joined(variants: Sequence[Variant]) -> list[Variant]:
    """One of each name: on some task it may depart from the protocol more than on others."""
    by_name: dict[str, Variant] = {}
    for variant in variants:
        before = by_name.setdefault(variant.name, variant)
        together = tuple(dict.fromkeys([*before.departures, *variant.departures]))
        by_name[variant.name] = replace(before, departures=together)
    return list(by_name.values())
