"""Other libraries' curves beside a study's: reads logs of Stable-Baselines3 and CleanRL (`study report --beside`)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgedst import parse
from edgedst.errors import StudyError
from edgedst.logs.scalars import ELAPSED, STEP, WINDOW
from edgedst.runs.metrics import is_number
from edgedst.runs.reading import reason
from edgedst.study import figures
from edgedst.study.over_costs import at_equal_cost

STEPS, SECONDS = 0, 1  # rows of a log's points
_EVALUATIONS = ("eval/mean_reward", "eval/episodic_return")
_EPISODES = "charts/episodic_return"  # single ones, of training
_NAMES = (*_EVALUATIONS, "rollout/ep_rew_mean", _EPISODES)  # of returns, best first
_READABLE = (
    "Stable-Baselines3's evaluations.npz, monitor.csv and progress.csv, and folders of TensorBoard's event files or of "
    f"monitor.csv files; with {_NAMES[0]} or {_NAMES[2]} as in Stable-Baselines3, or {_EPISODES} as in CleanRL"
)

# By name and task: path of each log, and its points, (3, n): environment steps, seconds since its start or NaN, return.
Others = dict[tuple[str, str], list[tuple[str, Any]]]


def read_others(given: Sequence[str], tasks: Sequence[str], variants: Sequence[str]) -> Others:
    """What stands beside a study.

    Args:
        given: LABEL=PATH, or LABEL@TASK=PATH, which a study of several tasks needs. Several of one label are seeds.
        tasks: of the study.
        variants: the names of its own curves.

    Raises:
        StudyError: one is not written so, its task is not the study's, or its log cannot be read.
        ModuleNotFoundError: TensorBoard is not installed.
    """
    others: Others = {}
    for text in given:
        head, _, path = text.partition("=")
        label, at, task = head.rpartition("@")
        if not at:
            label, task = head, tasks[0] if len(tasks) == 1 else ""
        if not (label and path):
            raise StudyError(f"`--beside {text}`: expected LABEL=PATH, or LABEL@TASK=PATH.")
        if task not in tasks:
            raise StudyError(
                f"`--beside {text}` names none of the study's tasks. Write LABEL@TASK=PATH with one of "
                f"{', '.join(tasks)}."
            )
        for evaluated, points in read_log(Path(path).expanduser()):
            name = label if evaluated else f"{label} (training returns)"
            if name in variants:
                raise StudyError(f"`--beside {text}`: the study has a curve `{name}` itself. Choose another label.")
            others.setdefault((name, task), []).append((path, points))
    return others


def curves(others: Others, axis: int, first: int) -> dict[str, list[figures.Curve]]:
    """By task, over STEPS or SECONDS, at places that all seeds have come to; the first colour is number `first`.

    Raises:
        StudyError: there are no such steps. Logs without seconds in common are left out over these.
    """
    names = list(dict.fromkeys([name for name, _ in others]))
    drawn: dict[str, list[figures.Curve]] = {}
    for (name, task), logs in others.items():
        known = [{p[axis]: p[-1] for p in points.T.tolist() if is_number(p[axis])} for _, points in logs]
        if seeds := at_equal_cost([sorted(seed.items()) for seed in known]):
            drawn.setdefault(task, []).append(figures.Curve(name, first + names.index(name), seeds, len(seeds)))
        elif axis == STEPS:
            raise StudyError(
                f"The logs of `--beside {name}` do not overlap: there are no two steps between which all of them have "
                "returns. Give longer ones, or each a label of its own."
            )
    return drawn


def read_log(path: Path) -> list[tuple[bool, Any]]:
    """Whether they are of evaluations, and points, of a log; of each folder with TensorBoard's event files in a folder.

    Raises:
        StudyError: it cannot be read, or has no return. ModuleNotFoundError goes through.
    """
    try:
        found = [best for series in _read(path) if (best := _best(series))]
    except ImportError:
        raise
    except Exception as error:  # numpy, zipfile, zlib and csv each have their own
        raise StudyError(f"`{path}` cannot be read: {reason(error)}. What can be read is {_READABLE}.") from error
    if not found:
        raise StudyError(f"`{path}` has no return that can be read. What can be read is {_READABLE}.")
    return found


def _best(series: dict[str, Any]) -> tuple[bool, Any] | None:
    for name in _NAMES:
        points = np.array(series.get(name, np.empty((3, 0))), float)
        points = points[:, np.isfinite(points[-1])]
        # CleanRL's test of a finished agent: its steps are the numbers of its episodes, not of the training.
        is_test = name == "eval/episodic_return" and np.array_equal(points[STEPS], np.arange(points.shape[1]))
        if points.size and not is_test:
            if name == _EPISODES:  # as Stable-Baselines3's rollout/ep_rew_mean
                returns = points[-1].copy()
                points[-1] = [np.mean(returns[max(0, end - WINDOW) : end]) for end in range(1, len(returns) + 1)]
            return name in _EVALUATIONS, points
    return None


def _read(path: Path) -> list[dict[str, Any]]:
    """Points by name, of each run in it."""
    if path.is_dir():
        folders = sorted({file.parent for file in path.rglob("*tfevents*")})
        return [_tensorboard(folder) for folder in folders] or [_monitor(sorted(path.glob("*monitor.csv")))]
    content = parse.read(path)
    if "tfevents" in path.name:
        return [_tensorboard(path)]
    if path.suffix == ".npz":
        with np.load(io.BytesIO(content)) as file:
            steps, returns = file["timesteps"], np.mean(file["results"], axis=1)
            return [{_NAMES[0]: (steps, np.full(len(steps), np.nan), returns)}]
    return [_monitor([path]) if content.startswith(b"#{") else _progress(path)]


def _columns(path: Path, names: Sequence[str], head_lines: int = 0) -> Any:
    """Of a CSV, (names, lines), NaN where there is no number. Half a line at the end, as of a run, is none."""
    content = parse.read(path)
    lines = content[: content.rfind(b"\n") + 1].decode(errors="replace").splitlines()[head_lines:]
    rows = [[_number(row.get(name)) for name in names] for row in csv.DictReader(lines)]
    return np.reshape(rows, (-1, len(names))).T


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _monitor(paths: Sequence[Path]) -> dict[str, Any]:
    """Of one run's environments: episodes in the order of time, as Stable-Baselines3 reads them."""
    columns = np.hstack([np.empty((3, 0)), *(_columns(path, "tlr", 1) for path in paths)])
    columns = columns[:, np.isfinite(columns).all(axis=0)]
    seconds, lengths, returns = columns[:, np.argsort(columns[0], kind="stable")]
    return {_EPISODES: (np.cumsum(lengths), seconds, returns)}


def _progress(path: Path) -> dict[str, Any]:
    names = (_NAMES[0], _NAMES[2])
    columns = _columns(path, (STEP, ELAPSED, *names))
    steps, seconds, *returns = columns[:, np.isfinite(columns[0])]
    # An evaluation's line has no time; those around it have, and the training began at 0.
    timed = np.isfinite(seconds)
    seconds = np.interp(steps, [0, *steps[timed]], [0, *seconds[timed]], right=np.nan)
    return {name: (steps, seconds, column) for name, column in zip(names, returns, strict=True)}


def _tensorboard(path: Path) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    series = {}
    for name in set(_NAMES).intersection(events.Tags()["scalars"]):
        steps, times, returns = np.array([(s.step, s.wall_time, s.value) for s in events.Scalars(name)]).T
        series[name] = steps, times - min(events.FirstEventTimestamp(), times[0]), returns
    return series
