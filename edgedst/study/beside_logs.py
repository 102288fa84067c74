"""Other libraries' curves beside a study's: reads logs of Stable-Baselines3 and CleanRL (`study report --beside`)."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from edgedst import parse
from edgedst.errors import StudyError
from edgedst.logs.scalars import WINDOW
from edgedst.logs.sinks import ELAPSED, STEP
from edgedst.runs.metrics import is_number
from edgedst.runs.reading import reason
from edgedst.study import figures
from edgedst.study.over_costs import PLACES, Curve, at_equal_cost

# Names of returns, best first; which of them are single episodes of training.
_EVALUATIONS = ("eval/mean_reward", "eval/episodic_return")
_TRAINING = ("rollout/ep_rew_mean", "charts/episodic_return")
_READABLE = (
    "Stable-Baselines3's evaluations.npz, monitor.csv and progress.csv, and folders of TensorBoard's event files or of "
    f"monitor.csv files; with {', '.join(_EVALUATIONS[:1] + _TRAINING[:1])} as in Stable-Baselines3, or "
    f"{_TRAINING[1]} as in CleanRL"
)


class Seed(NamedTuple):
    """What one run has logged."""

    steps: Curve  # (environment steps, return)
    seconds: Curve  # (seconds since its start, return); empty where the log has none
    evaluated: bool  # else returns of training episodes, means of the last WINDOW


@dataclass
class Other:
    """The seeds of one label on one task."""

    name: str
    task: str
    number: int  # its colour, behind those of the study's variants
    paths: list[str] = field(default_factory=list)
    seeds: list[Seed] = field(default_factory=list)


class Others:
    """What stands beside a study.

    Args:
        given: LABEL=PATH, or LABEL@TASK=PATH, which a study of several tasks needs. Several of one label are seeds.
        tasks: of the study.
        variants: the names of its own curves.

    Raises:
        StudyError: one is not written so, its task is not the study's, or its log cannot be read.
        ModuleNotFoundError: TensorBoard is not installed.
    """

    def __init__(self, given: Iterable[str], tasks: Sequence[str], variants: Sequence[str]) -> None:
        others: dict[tuple[str, str], Other] = {}
        numbers: dict[str, int] = {}
        for text in given:
            label, task, path = _parts(text, tasks)
            for seed in read_log(Path(path).expanduser()):
                name = label if seed.evaluated else f"{label} (training returns)"
                if name in variants:
                    raise StudyError(f"`--beside {text}`: the study has a curve `{name}` itself. Choose another label.")
                number = numbers.setdefault(name, len(variants) + len(numbers))
                other = others.setdefault((name, task), Other(name, task, number))
                other.seeds.append(seed)
                other.paths += [path] if path not in other.paths else []
        self.all = list(others.values())

    def over_steps(self, task: str) -> list[figures.Curve]:
        """Their curves of a task."""
        return [_curve(other, [seed.steps for seed in other.seeds]) for other in self.all if other.task == task]

    def over_seconds(self, task: str) -> list[figures.Curve]:
        """Likewise, of those whose logs all have seconds."""
        timed = [(other, [seed.seconds for seed in other.seeds]) for other in self.all if other.task == task]
        return [_curve(other, seeds) for other, seeds in timed if all(seeds)]


def _curve(other: Other, seeds: Sequence[Curve]) -> figures.Curve:
    """At places that all seeds have come to, unless they have the same ones."""
    if len({tuple(place for place, _ in seed) for seed in seeds}) > 1 or len(seeds[0]) > PLACES:
        seeds = at_equal_cost(seeds)
    if not seeds:
        raise StudyError(f"The logs of `--beside {other.name}` do not overlap: no mean over them can be drawn.")
    return figures.Curve(other.name, other.number, seeds, len(seeds))


def _parts(text: str, tasks: Sequence[str]) -> tuple[str, str, str]:
    """Label, task and path."""
    task = next((task for task in tasks if f"@{task}=" in text), "")
    label, sign, path = text.partition(f"@{task}=" if task else "=")
    if not (label and sign and path):
        raise StudyError(f"`--beside {text}`: expected LABEL=PATH, or LABEL@TASK=PATH.")
    if not task and ("@" in label or len(tasks) > 1):
        raise StudyError(
            f"`--beside {text}` names none of the study's tasks. Write LABEL@TASK=PATH with one of {', '.join(tasks)}."
        )
    return label, task or tasks[0], path


def read_log(path: Path) -> list[Seed]:
    """A log; a folder of TensorBoard's has a seed for each folder with event files in it.

    Raises:
        StudyError: it cannot be read, or has no return.
        ModuleNotFoundError: TensorBoard is not installed.
    """
    try:
        seeds = _read(path)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        RuntimeError,
        BadZipFile,
        zlib.error,
        csv.Error,
    ) as error:
        raise StudyError(f"`{path}` cannot be read: {reason(error)}. What can be read is {_READABLE}.") from error
    if not any(seed.steps for seed in seeds):
        raise StudyError(f"`{path}` has no return that can be read. What can be read is {_READABLE}.")
    return [seed for seed in seeds if seed.steps]


def _read(path: Path) -> list[Seed]:
    if path.is_dir():
        folders = sorted({file.parent for file in path.rglob("*tfevents*")})
        monitors = sorted(path.glob("*monitor.csv"))
        return [_tensorboard(folder) for folder in folders] or ([_monitor(monitors)] if monitors else [])
    content = parse.read(path)
    if path.suffix == ".npz":
        with np.load(io.BytesIO(content)) as file:
            steps = file["timesteps"].tolist()
            return [_seed(steps, np.mean(file["results"], axis=1), [-1.0] * len(steps), True)]
    if "tfevents" in path.name:
        return [_tensorboard(path)]
    return [_monitor([path]) if content.startswith(b"#{") else _progress(path)]


def _seed(steps: Sequence[float], returns: Sequence[float], seconds: Sequence[float], evaluated: bool) -> Seed:
    """In the order of steps, of equal ones the last. Seconds that are not known are below 0."""
    kept = [(float(s), float(r), t) for s, r, t in zip(steps, returns, seconds, strict=True) if is_number(float(r))]
    timed = {float(t): r for _, r, t in kept if t >= 0}
    return Seed(sorted({s: r for s, r, _ in kept}.items()), sorted(timed.items()), evaluated)


def _smooth(returns: Sequence[float]) -> list[float]:
    """The mean of the last WINDOW at each, as Stable-Baselines3's rollout/ep_rew_mean."""
    sums, ends = np.cumsum([0.0, *returns]), np.arange(1, len(returns) + 1)
    begins = np.maximum(0, ends - WINDOW)
    means: list[float] = ((sums[ends] - sums[begins]) / (ends - begins)).tolist()
    return means


def _table(path: Path, names: Sequence[str], head_lines: int = 0) -> list[dict[str, float]]:
    """Columns of a CSV, as far as they have numbers; half a line at the end, which is being written, is none."""
    content = parse.read(path)
    lines = content[: content.rfind(b"\n") + 1].decode(errors="replace").splitlines()[head_lines:]
    rows = [{name: float(row[name]) for name in names if row.get(name)} for row in csv.DictReader(lines)]
    return [{name: value for name, value in row.items() if is_number(value)} for row in rows]


def _monitor(paths: Sequence[Path]) -> Seed:
    """Monitor's files of one run's environments: episodes in the order of time, as Stable-Baselines3 reads them."""
    rows = [(row["t"], row["l"], row["r"]) for path in paths for row in _table(path, "rlt", 1) if len(row) == 3]
    rows.sort()
    steps = np.cumsum([length for _, length, _ in rows]).tolist()
    return _seed(steps, _smooth([value for _, _, value in rows]), [seconds for seconds, _, _ in rows], False)


def _progress(path: Path) -> Seed:
    names = (_EVALUATIONS[0], _TRAINING[0])
    rows = [row for row in _table(path, (STEP, ELAPSED, *names)) if STEP in row]
    for name in names:
        if told := [row for row in rows if name in row]:
            timed = [row for row in rows if ELAPSED in row]
            steps = [row[STEP] for row in told]
            # An evaluation's line has no time; those around it have, and the training began at 0.
            places, times = ([0.0, *(row[axis] for row in timed)] for axis in (STEP, ELAPSED))
            seconds = np.interp(steps, places, times, right=-1.0).tolist()
            return _seed(steps, [row[name] for row in told], seconds, name in _EVALUATIONS)
    return Seed([], [], False)


def _tensorboard(path: Path) -> Seed:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    for name in (*_EVALUATIONS, *_TRAINING):
        scalars = events.Scalars(name) if name in tags else []
        steps = [scalar.step for scalar in scalars]
        # CleanRL's test of a finished agent: its steps are the numbers of its episodes, not of the training.
        if scalars and not (name == "eval/episodic_return" and steps == list(range(len(steps)))):
            began = min(events.FirstEventTimestamp(), scalars[0].wall_time)
            scalars = [scalar for scalar in scalars if is_number(scalar.value)]
            steps, returns = [scalar.step for scalar in scalars], [scalar.value for scalar in scalars]
            if name == "charts/episodic_return":
                returns = _smooth(returns)
            return _seed(steps, returns, [scalar.wall_time - began for scalar in scalars], name in _EVALUATIONS)
    return Seed([], [], False)
