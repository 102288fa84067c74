"""A run's evaluations and episodes under Stable-Baselines3's names, where its user's other numbers are.

`edgedst log` writes them once, or with --follow until the run ends. docs/formats.md has the names; `sinks.py` writes.
"""

from __future__ import annotations

import fcntl
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgedst import parse
from edgedst.errors import ConfigError, LogError
from edgedst.files import is_robot_file
from edgedst.logs.sinks import ELAPSED, SINKS, STEP, Row, Sink
from edgedst.runs.find import config_of_run
from edgedst.runs.metrics import is_number, is_step
from edgedst.runs.reading import reading
from edgedst.runs.run import Run
from edgedst.updates import updates_for

WINDOW = 100  # episodes that Stable-Baselines3's rollout/ep_rew_mean is the mean of
POLL_SECONDS = 2.0

_NAMES = {
    "evaluation_return": "eval/mean_reward",
    "evaluation_sd": "eval/std_reward",
    "evaluation_episodes": "eval/episodes",
    "critic_loss": "train/critic_loss",
    "actor_loss": "train/actor_loss",
    "mean_q": "train/mean_q",
    "alpha": "train/ent_coef",
    "entropy": "train/entropy",
    "connections_moved": "topology/connections_moved",
    "steps_per_second": "time/fps",
    "seconds": ELAPSED,
    "energy_joules": "energy/joules",
    "energy_gap_seconds": "energy/gap_seconds",
    "rss_bytes": "memory/rss_bytes",
    "peak_rss_bytes": "memory/peak_rss_bytes",
    "episode": "rollout/episode",
    "episode_return": "rollout/ep_rew",
    "episode_length": "rollout/ep_len",
    "terminated": "rollout/terminated",
}  # what else a line has is of a machine


class Told(NamedTuple):
    """What was written."""

    rows: int
    unread: int  # lines that are no rows, as they are damaged


def write_scalars(run: Path, sinks: Mapping[str, str], follow: bool = False) -> Told:
    """Write what a run's metrics.jsonl holds, as it is or, to `follow`, until the run ends or Ctrl-C is typed.

    A run that was killed has not ended: when it goes on from its checkpoint, what it does again replaces what was lost.

    Args:
        run: its folder.
        sinks: a file, a folder or a project, by `csv`, `parquet`, `tensorboard`, `wandb`.
        follow: wait for more.

    Raises:
        ConfigError: `run` is no run folder, or its settings are damaged.
        LogError: nothing is recorded yet, or W&B refuses.
        RunFolderError: a file cannot be written.
    """
    config_of_run(run, ConfigError)
    metrics, end = Metrics(run), _End(run)
    rows, anew = metrics.look()
    if not (rows or follow):
        raise LogError(f"`{run}` has recorded no evaluation and no episode yet. Try later, or wait with `--follow`.")
    opened: list[Sink] = []
    ended = False
    try:
        opened += [SINKS[kind](run, where) for kind, where in sinks.items()]
        while True:
            began = time.monotonic()
            for sink in opened if rows or anew else ():
                sink.write(rows, anew)
            if ended or not follow:
                break
            ended = end.came(metrics.last_step)
            if not ended:
                # A table is written whole each time: that is to be a small part of a board's time.
                time.sleep(max(POLL_SECONDS, 20 * (time.monotonic() - began)))
            rows, anew = metrics.look()  # once more behind the end
    except KeyboardInterrupt:
        if not follow:
            raise
    finally:
        for sink in opened:
            sink.close()
    return Told(metrics.count, metrics.unread)


class Metrics:
    """The rows of metrics.jsonl, as they come."""

    def __init__(self, run: Path) -> None:
        self._path = run / "metrics.jsonl"
        config = Run(run).settings
        # A machine, and networks that another run has trained, may wait with their updates.
        free = config.hardware or is_robot_file(config.env) or bool(config.init_from)
        self._learning = None if free else (config.start_steps, float(config.updates_per_step))
        self._before = b""  # lines that were told
        self._begin()

    def _begin(self) -> None:
        self.count = self.unread = self.last_step = 0
        self._returns: deque[float] = deque(maxlen=WINDOW)
        self._lengths: deque[float] = deque(maxlen=WINDOW)

    def look(self) -> tuple[list[Row], bool]:
        """The rows that have come, and whether they are all there are: the first, or others than before.

        Half a line at the end is none yet.
        """
        content = b""
        if self._path.exists():
            with reading(self._path):
                content = parse.read(self._path)
        content = content[: content.rfind(b"\n") + 1]
        anew = not self._before or not content.startswith(self._before)
        lines = content if anew else content[len(self._before) :]
        self._before = content
        if anew:
            self._begin()
        rows = [row for line in lines.splitlines() if (row := self._row(parse.json_object(line)))]
        self.count += len(rows)
        return rows, anew and bool(rows)

    def _row(self, line: dict[str, Any]) -> Row | None:
        step = line.pop("step", None)
        if not is_step(step):
            self.unread += 1
            return None
        self.last_step = step
        row: Row = {}
        for name, value in line.items():
            if isinstance(value, bool) or is_number(value):  # else a text, or what was not finite
                row[_NAMES.get(name, f"machine/{name}")] = int(value) if isinstance(value, bool) else value
        for name, mean, last in (("ep_rew", "ep_rew_mean", self._returns), ("ep_len", "ep_len_mean", self._lengths)):
            if (value := row.get(f"rollout/{name}")) is not None:
                last.append(value)
                row[f"rollout/{mean}"] = sum(last) / len(last)
        if self._learning and "train/critic_loss" in row:
            row["train/n_updates"] = updates_for(step - self._learning[0], self._learning[1])
        return {STEP: step, **row} if row else None


class _End:
    """Whether a run has ended by itself, with a summary. One that was killed has that of an earlier end, or none."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._before = self._summary()
        self._trained = _is_trained(run)

    def came(self, last_step: int) -> bool:
        """Whether it did, since or before; `last_step`: of its metrics."""
        now, before = self._summary(), self._before
        if now is None or now != before:
            self._before = now  # None: the run is extended
            return now is not None
        return not self._trained and (Run(self._run).number("step") or 0) >= last_step

    def _summary(self) -> tuple[int, int] | None:
        try:
            about = (self._run / "summary.json").stat()
        except OSError:
            return None
        return about.st_ino, about.st_mtime_ns


def _is_trained(run: Path) -> bool:
    """Whether a process trains it, which then holds the lock of its metrics. The trainer's own lock is exclusive."""
    try:
        with parse.opened(run / "metrics.jsonl") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # not there yet, or a file system without locks
        pass
    return False
