"""Which runs of a study are there, and how far they got: read from the run folders, whoever trained them.

A run is found by its settings, so a study may be extended, and a run made by hand may be moved into its `runs/`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from edgedst.config import TrainConfig
from edgedst.errors import EdgedstError
from edgedst.profile.curve import evaluations, json_object
from edgedst.runs import folder_name
from edgedst.study.grid import Point, identity

TAIL_BYTES = 8192  # of metrics.jsonl: its last whole line is in there


@dataclass(frozen=True)
class Run:
    """A run folder of a point."""

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)  # empty while it runs, or when it was killed

    @property
    def finished(self) -> bool:
        """All steps and the last evaluation are done."""
        return bool(self.summary.get("finished"))

    @property
    def step(self) -> int:
        """Of the last line of its metrics; 0 when there is none."""
        if self.finished:
            return int(self.number("step") or 0)
        try:
            with (self.folder / "metrics.jsonl").open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
                lines = file.read().splitlines()
        except OSError:
            return 0
        for line in reversed(lines):
            step = json_object(line).get("step")
            if isinstance(step, int):
                return step
        return 0

    def number(self, name: str) -> float | None:
        """A number of its summary; None when it is not there, as in one that another edgedst wrote."""
        value = self.summary.get(name)
        return value if _is_number(value) else None

    @property
    def peak_bytes(self) -> float | None:
        """The largest of its processes' peaks: it may have gone on several times, and its summary knows the last."""
        told = [line.get("peak_rss_bytes") for line in evaluations(self.folder)]
        peaks = [float(peak) for peak in (self.summary.get("peak_rss_bytes"), *told) if _is_number(peak)]
        return max(peaks, default=None)

    def evaluations(self) -> list[tuple[int, float]]:
        """(step, mean return) of every evaluation that can be read."""
        found = []
        for line in evaluations(self.folder):
            step, value = line.get("step"), line.get("evaluation_return")
            if isinstance(step, int) and _is_number(value):
                found.append((step, float(value)))
        return found

    def file(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files; empty when it is not there."""
        return _read_json(self.folder / name)


class RunIndex:
    """The run folders below `<out>/runs`, by what they were told.

    Args:
        out: the study's folder.
    """

    def __init__(self, out: Path) -> None:
        self._runs = out / "runs"
        self._told: dict[Path, tuple[str, int | None]] = {}  # identity but for the rows, and these; it never changes

    def find(self, point: Point) -> Run | None:
        """The point's finished run, or else the newest unfinished one."""
        config = point.config
        parent = self._runs / folder_name(config.env) / config.method
        newest_first = sorted(
            parent.glob(f"s{config.seed}-*"), key=lambda f: (f.name.split("-", 1)[1], f.name), reverse=True
        )
        unfinished = None
        for folder in newest_first:
            if not self._is_of(folder, point):
                continue
            run = Run(folder, _read_json(folder / "summary.json"))
            if run.finished:
                return run
            unfinished = unfinished or run
        return unfinished

    def strangers(self, points: Iterable[Point]) -> list[Path]:
        """Run folders that belong to none of these points: other settings, or a config that cannot be read."""
        by_parent: dict[Path, list[Point]] = {}
        for point in points:
            by_parent.setdefault(self._runs / folder_name(point.config.env) / point.config.method, []).append(point)
        return [
            folder
            for folder in sorted(self._runs.glob("*/*/s*-*"))
            if not any(self._is_of(folder, point) for point in by_parent.get(folder.parent, []))
        ]

    def _is_of(self, folder: Path, point: Point) -> bool:
        """A run names the rows that it was given; a point that leaves them to the budget takes any number."""
        wanted, wanted_rows = _but_for_rows(point.config)
        if folder not in self._told:
            try:
                settings = TrainConfig.load(folder / "config.toml")
                self._told[folder] = _but_for_rows(TrainConfig.from_settings(settings).resolved())
            except EdgedstError:
                return False  # just being made, or foreign: looked at again next time
        stored, rows = self._told[folder]
        return stored == wanted and (wanted_rows is None or rows == wanted_rows)


@functools.cache
def _but_for_rows(config: TrainConfig) -> tuple[str, int | None]:
    return identity(replace(config, replay_rows=None)), config.replay_rows


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json_object(path.read_bytes())
    except OSError:
        return {}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
