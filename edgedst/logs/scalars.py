"""A run's evaluations and episodes under Stable-Baselines3's names, where its user's other numbers are: `edgedst log`.

A table as CSV or Parquet, TensorBoard, W&B, each by that project's own writer. docs/formats.md has the names.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from edgedst import parse
from edgedst.errors import ConfigError, LogError
from edgedst.files import folder_error, is_robot_file, remove, write_all, write_whole
from edgedst.runs.find import config_of_run
from edgedst.runs.folder import folder_name
from edgedst.runs.metrics import is_number, is_step
from edgedst.runs.reading import locked_inodes, reading
from edgedst.runs.run import Run
from edgedst.signals import signals_held_back
from edgedst.updates import updates_for

STEP, ELAPSED = "time/total_timesteps", "time/time_elapsed"
WINDOW = 100  # episodes that Stable-Baselines3's rollout/ep_rew_mean is the mean of
POLL_SECONDS = 2.0
_NAMES = {
    **{"evaluation_return": "eval/mean_reward", "evaluation_sd": "eval/std_reward"},
    **{"evaluation_episodes": "eval/episodes", "critic_loss": "train/critic_loss", "actor_loss": "train/actor_loss"},
    **{"mean_q": "train/mean_q", "alpha": "train/ent_coef", "entropy": "train/entropy"},
    **{"connections_moved": "topology/connections_moved", "steps_per_second": "time/fps", "seconds": ELAPSED},
    **{"energy_joules": "energy/joules", "energy_gap_seconds": "energy/gap_seconds"},
    **{"rss_bytes": "memory/rss_bytes", "peak_rss_bytes": "memory/peak_rss_bytes"},
    **{"episode": "rollout/episode", "episode_return": "rollout/ep_rew", "episode_length": "rollout/ep_len"},
    "terminated": "rollout/terminated",
}  # what else a line has is of a machine
_OURS = ".edgedst"  # ends the names of our TensorBoard files

Row = dict[str, float]  # of a line of metrics.jsonl: its step as STEP, and the rest by name
Write = Callable[[list[Row]], None]  # takes all rows that there are, each time


def write_scalars(folder: Path, places: Mapping[str, str], follow: bool = False) -> tuple[int, int]:
    """Write what a run's metrics.jsonl holds, as it is or, to `follow`, until the run ends or Ctrl-C is typed.

    `places`: a file, a folder or a project, by `csv`, `parquet`, `tensorboard`, `wandb`.

    Returns:
        how many rows were written, and how many lines are none, as they are damaged.

    Raises:
        ConfigError: `folder` is no run's, or its settings are damaged.
        LogError: nothing is recorded yet, or W&B refuses.
        CheckpointError, RunFolderError: metrics.jsonl cannot be read, a file not be written.
    """
    config_of_run(folder, ConfigError)
    run = Run(folder)
    rows, unread = read_rows(run)
    if not (rows or follow):
        raise LogError(f"`{folder}` has recorded no evaluation and no episode yet. Try later, or wait with `--follow`.")
    told: list[Row] = []
    with ExitStack() as opened:
        writers = [_PLACES[kind](run, where, opened) for kind, where in places.items()]
        try:
            while True:
                began, ended = time.monotonic(), not follow or has_ended(folder)
                rows, unread = read_rows(run)
                with signals_held_back():  # what is told at Ctrl-C is what was written
                    if rows and (ended or rows != told):
                        for write in writers:
                            write(rows)
                    told = rows
                if ended:
                    break
                # All is read, and tables are written, anew: that is to be a small part of a board's time.
                time.sleep(max(POLL_SECONDS, 20 * (time.monotonic() - began)))
        except KeyboardInterrupt:
            if not follow:
                raise
    return len(told), unread


def read_rows(run: Run) -> tuple[list[Row], int]:
    """The rows of metrics.jsonl, and how many of its lines are none. Half a line at the end is not counted."""
    path, settings = run.folder / "metrics.jsonl", run.settings
    with reading(path):
        content = parse.read(path) if path.exists() else b""
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    # A machine, and networks that another run has trained, may wait with their updates.
    may_wait = settings.hardware or is_robot_file(settings.env) or settings.init_from
    last: dict[str, deque[float]] = {name: deque(maxlen=WINDOW) for name in ("rollout/ep_rew", "rollout/ep_len")}
    rows: list[Row] = []
    for line in map(parse.json_object, lines):
        if not is_step(step := line.pop("step", None)):
            continue
        row: Row = {STEP: step}
        for name, value in line.items():
            if isinstance(value, bool) or is_number(value):  # else a text, or what was not finite
                row[_NAMES.get(name, f"machine/{name}")] = +value
        for name, values in last.items():
            if name in row:
                values.append(row[name])
                row[f"{name}_mean"] = sum(values) / len(values)
        if "train/critic_loss" in row and not may_wait:
            row["train/n_updates"] = updates_for(step - settings.start_steps, float(settings.updates_per_step))
        rows.append(row)
    return rows, len(lines) - len(rows)


def has_ended(folder: Path) -> bool:
    """Whether a run has ended by itself, with a summary of its last step. One that was killed may go on."""
    now = Run(folder)
    step = now.number("step")
    if step is None or step < now.step:
        return False
    path = folder / "metrics.jsonl"
    with reading(path):
        return path.stat().st_ino not in locked_inodes()  # a process that trains it, as one that is resumed, has a lock


def _csv(run: Run, where: str, opened: ExitStack) -> Write:
    """A line a row, as Stable-Baselines3's progress.csv. The file is whole at any time."""

    def write(rows: list[Row]) -> None:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, dict.fromkeys(chain.from_iterable(rows)), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        write_whole(where, text.getvalue().encode(), "--csv")

    return write


def _parquet(run: Run, where: str, opened: ExitStack) -> Write:
    """The same: steps are int64, all else float64, null where a row has no such number."""
    import pyarrow.parquet

    def write(rows: list[Row]) -> None:
        kinds = {STEP: pyarrow.int64()} | {name: pyarrow.float64() for row in rows for name in row if name != STEP}
        numbers = [{name: value if name == STEP else float(value) for name, value in row.items()} for row in rows]
        file = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(numbers, pyarrow.schema(kinds)), file)
        write_whole(where, file.getvalue(), "--parquet")

    return write


def _tensorboard(run: Run, where: str, opened: ExitStack) -> Write:
    """An event file in a folder of the run's own. What an earlier call left there is replaced."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder = Path(where, *_place(run))
    began = (run.folder / "config.toml").stat().st_mtime  # times are the run's, not those of writing
    told: list[Row] = []
    file: Any = None

    def write(rows: list[Row]) -> None:
        nonlocal told, file
        content = io.BytesIO()
        records = RecordWriter(content)

        def add(seconds: float, **what: Any) -> None:
            records.write(Event(wall_time=seconds, **what).SerializeToString())

        try:
            if file is None or rows[: len(told)] != told:
                for path in folder.glob(f"events.out.tfevents.*{_OURS}"):
                    remove(str(path))
                folder.mkdir(parents=True, exist_ok=True)
                name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}{_OURS}"
                file, told = opened.enter_context((folder / name).open("xb", buffering=0)), []
                add(time.time(), file_version="brain.Event:2")
                # A TensorBoard that is open forgets what it has read of the run.
                add(began, step=0, session_log=SessionLog(status=SessionLog.START))
            elapsed = 0.0
            for number, row in enumerate(rows):
                elapsed = row.get(ELAPSED, elapsed)
                if number >= len(told):
                    values = [{"tag": name, "simple_value": float(v)} for name, v in row.items() if name != STEP]
                    add(began + elapsed, step=int(row[STEP]), summary={"value": values})
            write_all(file.fileno(), content.getbuffer())
            replaced = not os.fstat(file.fileno()).st_nlink
        except OSError as error:
            raise folder_error(error, str(folder), "--tensorboard") from error
        if replaced:
            raise LogError(
                f"The event file in `{folder}` was removed while it was written, as a second `edgedst log "
                "--tensorboard` into one folder does: end one of them, or give each its own folder."
            )
        told = rows

    return write


def _wandb(run: Run, where: str, opened: ExitStack) -> Write:
    """A run of W&B, of the same id each time: rows at steps that it has are left out. `where` is the project."""
    import wandb

    name = "-".join(_place(run))
    identity = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
    about: dict[str, Any] = {"id": identity, "name": name, "config": run.settings.settings()}
    try:
        kept = opened.enter_context(wandb.init(project=where, resume="allow", **about))
    except (wandb.Error, OSError, ValueError) as error:
        told = f"W&B does not take the run: {str(error).rstrip('.')}."
        raise LogError(f"{told} Without an account, WANDB_MODE=offline keeps it here.") from error

    def write(rows: list[Row]) -> None:
        for row in rows:
            if row[STEP] >= kept.step:
                kept.log(row, step=int(row[STEP]))

    return write


def _place(run: Run) -> tuple[str, str, str]:
    """Task, method and folder."""
    return folder_name(run.settings.env), run.settings.method, run.folder.resolve().name


_PLACES = {"csv": _csv, "parquet": _parquet, "tensorboard": _tensorboard, "wandb": _wandb}
