"""Which runs of a study are there, and how far they got: read from the run folders, whoever trained them.

A run is found by its settings, so a study may be extended, and a run made by hand may be moved into its `runs/`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from edgedst import parse
from edgedst.config import TrainConfig
from edgedst.errors import ConfigError, EdgedstError
from edgedst.runs.find import newest_first
from edgedst.runs.folder import ORDER, folder_name
from edgedst.runs.run import Run
from edgedst.study.grid import Point, identity


class RunIndex:
    """The run folders below `<out>/runs`, by what they were told; `out` is a study's folder."""

    def __init__(self, out: Path) -> None:
        self._runs = out / "runs"
        # By task and method: what changes with its folders or their order, and these by seed, the newest first.
        self._listed: dict[Path, tuple[object, dict[str, list[Path]]]] = {}
        self._told: dict[Path, tuple[str, int | None]] = {}  # identity but for the rows, and these; it never changes

    def find(self, point: Point) -> Run | None:
        """The point's finished run, or else the newest with a checkpoint, or else the newest."""
        unfinished: list[Run] = []
        wanted = _but_for_rows(point.config)
        for folder in self._newest_first(point):
            if not self._is_of(folder, wanted):
                continue
            run = Run(folder)
            if run.finished:
                return run
            unfinished.append(run)
        return next((run for run in unfinished if run.begun), next(iter(unfinished), None))

    def doubt(self, point: Point) -> str:
        """Why nobody can say that the point has no run yet: one has a checkpoint and damaged settings. Or nothing."""
        for folder in self._newest_first(point):
            told = self._settings_of(folder)
            if isinstance(told, str) and Run(folder).begun:
                return (
                    f"`{folder}` has a checkpoint, and whether it is of this run cannot be told: {told} Take its "
                    "config.toml from a backup, or move the folder away to train the run again."
                )
        return ""

    def _newest_first(self, point: Point) -> list[Path]:
        """Folders of the point's task, method and seed."""
        parent = self._parent(point)
        as_of = _as_of(parent), _as_of(self._runs / ORDER)
        if parent not in self._listed or self._listed[parent][0] != as_of:
            by_seed: dict[str, list[Path]] = {}
            for folder in newest_first(parent.glob("s*-*")):
                by_seed.setdefault(folder.name.partition("-")[0], []).append(folder)
            self._listed[parent] = as_of, by_seed
        return self._listed[parent][1].get(f"s{point.config.seed}", [])

    def _parent(self, point: Point) -> Path:
        """The folder of the runs of the point's task and method."""
        return self._runs / folder_name(point.config.env) / point.config.method

    def strangers(self, points: Iterable[Point]) -> list[Path]:
        """Run folders that belong to none of these points: other settings, or a config that cannot be read."""
        by_parent: dict[Path, list[tuple[str, int | None]]] = {}
        for point in points:
            by_parent.setdefault(self._parent(point), []).append(_but_for_rows(point.config))
        return [
            folder
            for folder in sorted(self._runs.glob("*/*/s*-*"))
            if not any(self._is_of(folder, wanted) for wanted in by_parent.get(folder.parent, []))
        ]

    def _is_of(self, folder: Path, wanted: tuple[str, int | None]) -> bool:
        """A run names the rows that it was given; a point that leaves them to the budget takes any number."""
        told = self._settings_of(folder)
        if isinstance(told, str):
            return False
        stored, rows = told
        return stored == wanted[0] and wanted[1] in (None, rows)

    def _settings_of(self, folder: Path) -> tuple[str, int | None] | str:
        """What a run was told; a sentence where that cannot be read: just being made, foreign or damaged."""
        if folder not in self._told:
            try:
                self._told[folder] = _but_for_rows(_whole_config(folder))
            except EdgedstError as error:
                return str(error)  # looked at again next time
        return self._told[folder]


def _as_of(path: Path) -> tuple[int, int, int] | None:
    """Another one when names came or went: in one tick of the clock the size or the number of folders is another."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_nlink


def failure_of(out: Path, point: Point) -> str:
    """Why the process of a study's point failed; empty when it did not."""
    try:
        return parse.read(out / "points" / point.name / "failed.txt").decode(errors="replace").strip()
    except OSError:
        return ""


def _whole_config(folder: Path) -> TrainConfig:
    """Of a run's config.toml, which ends with the rows that it was given, or else with the last setting that it has.

    Raises:
        ConfigError: it cannot be read, or lost its end, which would become defaults.
        CheckpointError: it is not that of the checkpoint.
    """
    path, config = folder / "config.toml", Run(folder).settings
    settings = TrainConfig.load(path, pipe=False)
    last = [name for name, value in config.settings().items() if value is not None][-1]
    if "replay_rows" not in settings or not (next(reversed(settings)) == "replay_rows" or last in settings):
        raise ConfigError(f"`{path}` has lost its end.")
    return config


@functools.cache
def _but_for_rows(config: TrainConfig) -> tuple[str, int | None]:
    return identity(replace(config, replay_rows=None)), config.replay_rows
