"""All runs of a folder as they are now, and what of that a page has not seen yet."""

from __future__ import annotations

import functools
import math
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgedst.errors import ConfigError, EdgedstError
from edgedst.report.text import one_line
from edgedst.reserve import Reserve
from edgedst.runs.find import run_around, runs_within
from edgedst.runs.reading import locked_inodes, reading
from edgedst.study.found import RunIndex, failure_of
from edgedst.study.grid import Study, read_study
from edgedst.watch.one_run import Watched, version


class Watcher:
    """A run, a study, a folder of runs or of studies.

    Args:
        folder: which.
        has_to_be: whether it has to be there already.

    Raises:
        ConfigError: it is no folder, or a folder inside a run.
        CheckpointError: it may not be read.
    """

    def __init__(self, folder: Path, has_to_be: bool = True) -> None:
        around = run_around(folder)
        inside = f"It is part of a run: name `{around}`." if around else ""
        if folder.is_dir():
            with reading(folder):
                next(folder.iterdir(), None)  # glob is silent about what it may not list
        elif has_to_be or folder.exists():
            hint = inside or "Name a run, a study or a folder of runs, such as `edgedst watch runs`."
            raise ConfigError(f"`{folder}` is not a folder. {hint}")
        self.folder = folder
        self.head: dict[str, Any] = {}  # what there is to say of the folder
        self._lock = threading.Lock()
        # From a time on, in microseconds, which scripts can hold: no page has a greater count from a watcher before.
        self._count = time.time_ns() // 1000
        self._runs: dict[Path, Watched] = {}
        # Its limits are of no matter here: it is asked for the temperature alone.
        self._board = Reserve(SimpleNamespace(max_temperature=math.inf, max_watts=None, max_cpu=None), None)
        if inside and not self.runs():
            raise ConfigError(f"`{folder}` holds no run. {inside}")

    def news(self, seen: int = 0, name: str = "", began: int = 0, at: int = 0) -> dict[str, Any]:
        """All runs in order, facts of those that changed since `seen`; of the run `name` new lines, ledger, layers.

        `seen` is the `count` of the last answer, `began` and `at` are that run's in it; 0 where there was none.
        """
        with self._lock:
            runs = self.runs()
            seen = seen if seen <= self._count else 0
            told = {"count": self._count, "now": time.time(), "head": self.head, "order": [run.name for run in runs]}
            told["runs"] = {run.name: run.facts for run in runs if run.changed > seen}
            for run in runs:
                if run.name == name:
                    told["run"] = {**run.lines(began, at), "ledger": run.ledger(), "topology": run.topology()}
            return told

    def runs(self) -> list[Watched]:
        """The runs as they are now, the newest first."""
        self._count += 1
        own = self.folder / "study.toml"
        studies = [path.parent for path in ([own] if own.is_file() else sorted(self.folder.glob("*/study.toml")))]
        failures: dict[Path, str] = {}
        told = [_study(study, failures) for study in studies]
        roots = [self.folder, *(study / "runs" for study in studies)]
        folders = [run for root in roots for run in runs_within(root, "metrics.jsonl")]
        if (self.folder / "config.toml").is_file():
            folders = [self.folder]
        known, self._runs, locked = self._runs, {}, locked_inodes()
        for run in folders:
            name = run.resolve().name if run == self.folder else str(run.relative_to(self.folder))
            self._runs[run] = known.get(run) or Watched(run, name, self._count)
            self._runs[run].look(locked, failures.get(run, ""), self._count)
        running = any(run.facts["state"] == "running" for run in self._runs.values())
        celsius = self._board.temperature() if running else None  # of this board, where they train
        self.head = {"folder": one_line(str(self.folder)), "studies": told, "celsius": celsius}
        return list(self._runs.values())


def _study(out: Path, failures: dict[Path, str]) -> str:
    """What a study plans, as a sentence; why its runs failed goes into `failures`."""
    study = _planned(out / "study.toml", version(out / "study.toml"))
    if isinstance(study, str):
        return one_line(study)
    index, without = RunIndex(out), []
    failed = {path.parent.name for path in out.glob("points/*/failed.txt")}
    for point in [point for point in study.points if point.name in failed]:
        text = failure_of(out, point)
        if run := index.find(point):
            failures[run.folder] = text
        else:
            without.append(f" {point.told} failed before it had a run: {text}")
    return one_line(f"{study.title}: {len(study.points):,} runs are planned.{''.join(without[:5])}")


@functools.lru_cache(maxsize=100)
def _planned(path: Path, _version: object) -> Study | str:
    """A study's file, read again when it is another one; or why it cannot be read."""
    try:
        return read_study(path)
    except EdgedstError as error:
        return str(error)
