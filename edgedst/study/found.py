"""Which runs of a study are there, and how far they got: read from the run folders, whoever trained them.

A run is found by its settings, so a study may be extended, and a run made by hand may be moved into its `runs/`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgedst.config import TrainConfig
from edgedst.errors import EdgedstError
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
            return int(self.summary["step"])
        try:
            with (self.folder / "metrics.jsonl").open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
                lines = file.read().splitlines()
        except OSError:
            return 0
        for line in reversed(lines):
            step = _json(line).get("step")
            if isinstance(step, int):
                return step
        return 0

    def evaluations(self) -> list[tuple[int, float]]:
        """(step, mean return) of every evaluation so far."""
        try:
            lines = (self.folder / "metrics.jsonl").read_bytes().splitlines()
        except OSError:
            return []
        read = [_json(line) for line in lines if b'"evaluation_return"' in line]
        return [(line["step"], line["evaluation_return"]) for line in read if line]

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
        self._configs: dict[Path, TrainConfig | None] = {}  # a config never changes: each is read once

    def find(self, point: Point) -> Run | None:
        """The point's finished run, or else the newest unfinished one."""
        config = point.config
        wanted = identity(replace(config, replay_rows=None))
        parent = self._runs / folder_name(config.env) / config.method
        newest_first = sorted(
            parent.glob(f"s{config.seed}-*"), key=lambda f: (f.name.split("-", 1)[1], f.name), reverse=True
        )
        unfinished = None
        for folder in newest_first:
            stored = self._config(folder)
            # A run names the rows that it was given; a point that leaves them to the budget takes any number.
            if stored is None or identity(replace(stored, replay_rows=None)) != wanted:
                continue
            if config.replay_rows is not None and stored.replay_rows != config.replay_rows:
                continue
            run = Run(folder, _read_json(folder / "summary.json"))
            if run.finished:
                return run
            unfinished = unfinished or run
        return unfinished

    def _config(self, folder: Path) -> TrainConfig | None:
        if folder not in self._configs:
            try:
                settings = TrainConfig.load(folder / "config.toml")
                self._configs[folder] = TrainConfig.from_settings(settings).resolved()
            except EdgedstError:
                return None  # just being made, or foreign: looked at again next time
        return self._configs[folder]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return _json(path.read_bytes())
    except OSError:
        return {}


def _json(text: bytes) -> dict[str, Any]:
    """Empty for half a line, which a killed process leaves behind."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
