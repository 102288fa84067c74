"""A study's runs as they stand, by task and variant. A variant is a method with the settings that the study varies."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedst.config import TrainConfig
from edgedst.density import DENSE_METHODS, family, nnz_per_layer
from edgedst.profile import flops
from edgedst.study.found import Run, RunIndex
from edgedst.study.grid import FREE_SETTINGS, Point, Study
from edgedst.study.statistics import last_return, learning_curve_area

# Settings that Figures 3 and 4 vary.
SCHEDULE = frozenset({"evolve_every"})
SPARSITY = frozenset({"lambda1", "lambda2"})

# Which machine and how much memory: not the protocol.
_NOT_PROTOCOL = {*FREE_SETTINGS, "env", "method", "seed", "budget_mb", "replay_rows", "env_process"}


@dataclass(frozen=True)
class Result:
    """One point, and what there is of it."""

    point: Point
    run: Run | None
    evaluations: tuple[tuple[int, float], ...]  # (step, mean return)
    failure: str  # why its process failed; empty when it did not

    @property
    def finished(self) -> bool:
        """Only finished runs enter the tables."""
        return self.run is not None and self.run.finished

    @property
    def state(self) -> str:
        """For people: finished, failed, at which step, or not started."""
        if self.finished:
            return "finished"
        at = f"at step {self.run.step:,} of {self.point.config.steps:,}" if self.run else "not started"
        return f"failed, {at}: {self.failure}" if self.failure else at

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
    """All results of a study.

    Args:
        study: from `grid.read_study`.
        out: its folder.
    """

    def __init__(self, study: Study, out: Path) -> None:
        self.study = study
        index = RunIndex(out)
        self.all = [_result(point, index.find(point), out) for point in study.points]
        self.tasks = list(dict.fromkeys(result.point.config.env for result in self.all))
        varied = _varied([result.point for result in self.all])
        told = _varied([result.point for result in self.all if not result.point.label])
        self._variant_of = {result.point: _variant(result.point, varied, told) for result in self.all}
        self.variants = _joined(list(self._variant_of.values()))

    def variant_of(self, result: Result) -> Variant:
        """The variant that a result counts for."""
        return next(v for v in self.variants if v.name == self._variant_of[result.point].name)

    def of(self, task: str, variant: Variant) -> list[Result]:
        """Every seed of a task and variant."""
        return [
            result
            for result in self.all
            if result.point.config.env == task and self._variant_of[result.point].name == variant.name
        ]

    def finished(self, task: str, variant: Variant) -> list[Result]:
        """The seeds that are finished."""
        return [result for result in self.of(task, variant) if result.finished]

    def metric(self, name: str, task: str, variant: Variant) -> list[float]:
        """R or LCA of every finished seed."""
        return [result.metric(name) for result in self.finished(task, variant)]

    def costs(self, task: str, variant: Variant) -> Costs | None:
        """Connections and FLOPs, from the networks of any run of the task; None when none has a checkpoint."""
        results = self.of(task, variant)
        for result in [*results, *(other for other in self.all if other.point.config.env == task)]:
            sizes = network_sizes(result.run.folder) if result.run else None
            # SAC's actor has other heads than TD3's.
            if results and sizes and family(result.point.config.method) == variant.family:
                return Costs.of(sizes["actor"], sizes["critic_1"], results[0].point.config)
        return None


@dataclass(frozen=True)
class Costs:
    """Table 3's: FLOPs of the whole training by the paper's convention, connections of the actor and both critics."""

    flops: int
    dense_flops: int
    connections: int
    dense_connections: int

    @staticmethod
    def of(actor: Sequence[int], critic: Sequence[int], config: TrainConfig) -> Costs:
        """From features at the layer boundaries of an actor and a critic."""

        def run(actor_nnz: Sequence[int], critic_nnz: Sequence[int]) -> flops.Run:
            return flops.Run(
                observation_size=actor[0],
                action_size=critic[0] - actor[0],
                actor_nnz=actor_nnz,
                critic_nnz=critic_nnz,
                steps=config.steps,
                batch_size=config.batch_size,
                policy_delay=config.policy_delay or 1,  # SAC has none
            )

        def dense(sizes: Sequence[int]) -> list[int]:
            return [a * b for a, b in zip(sizes, sizes[1:], strict=False)]

        stored = run(nnz_per_layer(actor, config), nnz_per_layer(critic, config))
        full = run(dense(actor), dense(critic))
        return Costs(flops.paper_flops(stored), flops.paper_flops(full), stored.connections, full.connections)

    @property
    def sparsity_percent(self) -> float:
        """Share of the connections that are missing, of all networks together."""
        return 100 * (1 - self.connections / self.dense_connections)


def network_sizes(run: Path) -> dict[str, list[int]] | None:
    """Features at the layer boundaries of each network, from the checkpoint's header (docs/formats.md)."""
    try:
        state = json.loads((run / "checkpoint" / "state.json").read_bytes())
        with (run / "checkpoint" / state["networks"]["file"]).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        sizes: dict[str, list[int]] = json.loads(header["__metadata__"]["edgedst"])["sizes"]
        return sizes
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _result(point: Point, run: Run | None, out: Path) -> Result:
    failed = out / "points" / point.name / "failed.txt"
    failure = failed.read_text(encoding="utf-8").strip() if failed.is_file() else ""
    return Result(point, run, tuple(run.evaluations()) if run else (), failure)


def _varied(points: Sequence[Point]) -> dict[str, set[str]]:
    """By method, settings that have several values within a task; a preset that differs by task is none."""
    found: dict[str, set[str]] = {}
    values: dict[tuple[str, str, str], set[str]] = {}
    for point in points:
        for name, value in point.config.settings().items():
            values.setdefault((point.config.method, point.config.env, name), set()).add(repr(value))
    for (method, _, name), several in values.items():
        if len(several) > 1 and name != "seed" and name not in FREE_SETTINGS:
            found.setdefault(method, set()).add(name)
    return found


def _variant(point: Point, varied: dict[str, set[str]], told: dict[str, set[str]]) -> Variant:
    """Named by its label, or by its method and the settings that vary among those without one."""
    config = point.config
    settings = config.settings()
    names = varied.get(config.method, set())
    if "steps" in names:
        names = names - {"topology_stop_steps"}  # follows from the steps
    own = tuple((name, _shown(value)) for name, value in settings.items() if name in names)
    shown = [f"{setting} {value}" for setting, value in own if setting in told.get(config.method, ())]
    name = point.label or ", ".join([config.method, *shown])
    default = TrainConfig(env=config.env, method=config.method, steps=config.steps).resolved().settings()
    default["steps"] = TrainConfig().steps
    departures = [n for n, value in settings.items() if n not in _NOT_PROTOCOL and value != default[n]]
    # SAC with soft targets has a column of its own in Tables 1 and 2.
    key = "sac-soft" if config.method == "sac" and config.tau < 1 else config.method
    return Variant(config.method, name, own, tuple(departures), key)


def _joined(variants: Sequence[Variant]) -> list[Variant]:
    """One of each name: on some task it may depart from the protocol more than on others."""
    by_name: dict[str, Variant] = {}
    for variant in variants:
        before = by_name.setdefault(variant.name, variant)
        together = tuple(dict.fromkeys([*before.departures, *variant.departures]))
        by_name[variant.name] = replace(before, departures=together)
    return list(by_name.values())


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
