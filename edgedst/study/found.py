"""Which runs of a study are there, and how far they got: read from the run folders, whoever trained them.

A run is found by its settings, so a study may be extended, and a run made by hand may be moved into its `runs/`.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgedst import parse
from edgedst.config import TrainConfig
from edgedst.errors import CheckpointError, ConfigError, EdgedstError
from edgedst.runs.find import newest_first
from edgedst.runs.folder import folder_name
from edgedst.runs.metrics import evaluations, is_number, is_step
from edgedst.runs.state import read_state
from edgedst.study.grid import Point, identity

TAIL_BYTES = 8192  # of metrics.jsonl: its last whole line is in there


@dataclass(frozen=True)
class FoundRun:
    """A run folder of a point."""

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)  # empty while it runs, or when it was killed

    @property
    def finished(self) -> bool:
        """All steps and the last evaluation are done."""
        return self.summary.get("finished") is True

    @property
    def begun(self) -> bool:
        """Whether it has a checkpoint, readable or not; one that was killed before its first one has none."""
        return _is_there(self.folder / "checkpoint" / "state.json")

    @property
    def step(self) -> int:
        """Of the last line of its metrics; 0 when there is none."""
        if self.finished:
            return int(self.number("step") or 0)
        try:
            with parse.opened(self.folder / "metrics.jsonl") as file:
                file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
                lines = file.read().splitlines()
        except OSError:
            return 0
        steps = (parse.json_object(line).get("step") for line in reversed(lines))
        return next((step for step in steps if is_step(step)), 0)

    def number(self, name: str) -> float | None:
        """A number of its summary; None when it is not there, as in one that another edgedst wrote."""
        value = self.summary.get(name)
        return value if is_number(value) else None

    @property
    def peak_bytes(self) -> float | None:
        """The largest of its processes' peaks: it may have gone on several times, and its summary knows the last."""
        told = [line.get("peak_rss_bytes") for line in evaluations(self.folder)]
        peaks = [float(peak) for peak in (self.summary.get("peak_rss_bytes"), *told) if is_number(peak)]
        return max(peaks, default=None)

    def evaluations(self) -> list[tuple[int, float]]:
        """(step, mean return) of every evaluation that can be read."""
        return [(line["step"], float(line["evaluation_return"])) for line in evaluations(self.folder)]

    def file(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files; empty when it is not there."""
        return _read_json(self.folder / name)


class RunIndex:
    """The run folders below `<out>/runs`, by what they were told; `out` is a study's folder."""

    def __init__(self, out: Path) -> None:
        self._runs = out / "runs"
        self._told: dict[Path, tuple[str, int | None]] = {}  # identity but for the rows, and these; it never changes

    def find(self, point: Point) -> FoundRun | None:
        """The point's finished run, or else the newest with a checkpoint, or else the newest."""
        unfinished: list[FoundRun] = []
        for folder in self._newest_first(point):
            if not self._is_of(folder, point):
                continue
            run = FoundRun(folder, _read_json(folder / "summary.json"))
            if run.finished:
                return run
            unfinished.append(run)
        return next((run for run in unfinished if run.begun), next(iter(unfinished), None))

    def doubt(self, point: Point) -> str:
        """Why nobody can say that the point has no run yet: one has a checkpoint and damaged settings. Or nothing."""
        for folder in self._newest_first(point):
            told = self._settings_of(folder)
            if isinstance(told, str) and FoundRun(folder).begun:
                return (
                    f"`{folder}` has a checkpoint, and whether it is of this run cannot be told: {told} Take its "
                    "config.toml from a backup, or move the folder away to train the run again."
                )
        return ""

    def _newest_first(self, point: Point) -> list[Path]:
        """Folders of the point's task, method and seed."""
        config = point.config
        parent = self._runs / folder_name(config.env) / config.method
        return newest_first(parent.glob(f"s{config.seed}-*"))

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
        told = self._settings_of(folder)
        if isinstance(told, str):
            return False
        stored, rows = told
        return stored == wanted and (wanted_rows is None or rows == wanted_rows)

    def _settings_of(self, folder: Path) -> tuple[str, int | None] | str:
        """What a run was told; a sentence where that cannot be read: just being made, foreign or damaged."""
        if folder not in self._told:
            try:
                self._told[folder] = _but_for_rows(_whole_config(folder))
            except EdgedstError as error:
                return str(error)  # looked at again next time
        return self._told[folder]


def _whole_config(folder: Path) -> TrainConfig:
    """Of a run's config.toml, which ends with the rows that it was given, or else with the last setting that it has.

    Raises:
        ConfigError: it cannot be read, is not that of the checkpoint, or lost its end, which would become defaults.
    """
    path = folder / "config.toml"
    settings = TrainConfig.load(path, pipe=False)
    config = TrainConfig.from_settings(settings, f"`{path}`").resolved()
    last = [name for name, value in config.settings().items() if value is not None][-1]
    if "replay_rows" not in settings or not (next(reversed(settings)) == "replay_rows" or last in settings):
        raise ConfigError(f"`{path}` has lost its end.")
    try:
        expected = read_state(str(folder / "checkpoint")).get("config_crc32")
    except CheckpointError:  # there is none yet; or it is damaged, as the trainer will say
        expected = None
    if expected is not None and zlib.crc32(parse.read(path)) != expected:
        raise ConfigError(f"`{path}` is not the file that its checkpoint was made with.")
    return config


@functools.cache
def _but_for_rows(config: TrainConfig) -> tuple[str, int | None]:
    return identity(replace(config, replay_rows=None)), config.replay_rows


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parse.json_object(parse.read(path))
    except OSError:
        return {}


def _is_there(path: Path) -> bool:
    """Where a folder may not be searched nobody can say that it is not."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True
