"""The paper's own figures, from `paper.toml`, where each names its table."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedst import parse

METRICS = {"R": "Return over the last 10 evaluations", "LCA": "Learning curve area"}


@dataclass(frozen=True)
class Value:
    """A figure, with its standard deviation over 5 seeds where the paper prints one."""

    mean: float
    sd: float | None = None

    @staticmethod
    def of(written: float | list[float]) -> Value:
        """From a mean, or a mean and standard deviation, as paper.toml has them."""
        return Value(*written) if isinstance(written, list) else Value(written)


@dataclass(frozen=True)
class PaperTable:
    """Table 1, 2, 5 or 6: one metric by task and method."""

    number: int
    metric: str  # R or LCA
    methods: tuple[str, ...]  # in the paper's order
    rows: dict[str, dict[str, Value]]  # by task without its version, then by method


@dataclass(frozen=True)
class Paper:
    """Everything that a study is set beside."""

    source: str
    steps: int
    seeds: int
    methods: dict[str, str]  # the paper's own names
    tables: tuple[PaperTable, ...]
    costs: dict[str, Any]  # Table 3
    sweeps: tuple[dict[str, Any], ...]  # Figures 3 and 4

    def value(self, metric: str, env: str, method: str) -> Value | None:
        """What the paper prints for a task and a method, or None."""
        for table in self.tables:
            if table.metric == metric and method in table.methods:
                return table.rows.get(task_of(env), {}).get(method)
        return None


def task_of(env: str) -> str:
    """HalfCheetah-v4 -> HalfCheetah."""
    return re.sub(r"-v\d+$", "", env)


@functools.cache
def paper() -> Paper:
    """The figures of Sokar et al. 2022."""
    content = parse.toml(parse.read(Path(__file__).with_name("paper.toml")))
    tables = []
    for table in content["table"]:
        methods = tuple(table["methods"])
        rows = {
            task: {m: Value.of(v) for m, v in zip(methods, row, strict=True)} for task, row in table["rows"].items()
        }
        tables.append(PaperTable(table["number"], table["metric"], methods, rows))
    return Paper(
        content["source"],
        content["steps"],
        content["seeds"],
        content["methods"],
        tuple(tables),
        content["costs"],
        tuple(content["sweep"]),
    )
