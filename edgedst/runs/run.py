"""A run folder to read: its settings, how far it got, its evaluations. `folder.py` and `checkpoint.py` write it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from edgedst import parse
from edgedst.config import TrainConfig
from edgedst.errors import CheckpointError
from edgedst.runs.metrics import evaluations, is_number, is_step
from edgedst.runs.reading import reading
from edgedst.runs.state import is_config_of, not_its_config, read_state

TAIL_BYTES = 8192  # of metrics.jsonl: its last whole line is in there


class Run:
    """A run, while it trains or afterwards. What is read anew each time is told below.

    Args:
        folder: as `edgedst train` names it: runs/ENV/METHOD/sSEED-TIME.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json (docs/formats.md) of its last process that ended by itself; empty before there was one."""
        return self.file("summary.json")

    @cached_property
    def settings(self) -> TrainConfig:
        """The settings of its config.toml.

        Raises:
            ConfigError: there is none, or it is damaged.
            CheckpointError: it is not the one that the run's checkpoint was made with, or is gone in the moment that it
                is read.
        """
        try:
            state = self.state()  # before the file: the trainer extends that one first
        except CheckpointError:  # there is none yet; or it is damaged, as will say who needs it
            state = {}
        path = self.folder / "config.toml"
        settings = TrainConfig.from_settings(TrainConfig.load(path, pipe=False), f"`{path}`").resolved()
        with reading(path):
            content = parse.read(path)
        if not is_config_of(state, content):
            raise not_its_config(str(path))
        return settings

    def state(self) -> dict[str, Any]:
        """The newest checkpoint's state.json, read anew (docs/formats.md).

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        return read_state(str(self.folder / "checkpoint"))

    @property
    def finished(self) -> bool:
        """All steps and the last evaluation are done."""
        return self.summary.get("finished") is True

    @property
    def begun(self) -> bool:
        """Whether it has a checkpoint, readable or not; one that was killed before its first one has none."""
        try:
            (self.folder / "checkpoint" / "state.json").lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # where a folder may not be searched nobody can say that it is not there
            pass
        return True

    @property
    def step(self) -> int:
        """Of the last line of its metrics, read anew; 0 when there is none."""
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
        told = [line.get("peak_rss_bytes") for line in self.metrics()]
        peaks = [float(peak) for peak in (self.summary.get("peak_rss_bytes"), *told) if is_number(peak)]
        return max(peaks, default=None)

    def metrics(self) -> list[dict[str, Any]]:
        """The evaluations in its metrics.jsonl with all that stands beside them, read anew (docs/formats.md)."""
        return evaluations(self.folder)

    def evaluations(self) -> list[tuple[int, float]]:
        """(step, mean return) of every evaluation that can be read, read anew."""
        return [(line["step"], float(line["evaluation_return"])) for line in self.metrics()]

    def file(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files; empty when it is not there."""
        try:
            return parse.json_object(parse.read(self.folder / name))
        except OSError:
            return {}
