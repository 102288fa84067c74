"""Which run is meant: the newest one, the newest that has steps left to do; and with what it goes on.

Imported by the front end of `train`, which does without typer and whatever else is large.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedst import parse
from edgedst.config import TrainConfig
from edgedst.errors import CheckpointError, ConfigError, EdgedstError
from edgedst.files import quoted
from edgedst.runs.folder import ORDER, folder_name
from edgedst.runs.reading import reading
from edgedst.runs.state import extended_config, is_config_of, not_its_config, read_state

# What may differ from the run that is resumed: results do not depend on it.
CHANGEABLE = (
    *("threads", "checkpoint_every", "budget_mb", "energy"),
    *("max_missed", "max_temperature", "max_watts", "max_cpu", "max_updates_per_step"),
)
EXTENDED = ("steps", "topology_stop_steps")  # what may, beside, in a run that gets more steps
# What the first checkpoint writes before its state.json: a run that has no more than that has done nothing yet. Of a
# replay that was taken over, or filled from a log, it writes several segments.
_FIRST = ("networks-000000000.", "best-000000000.", "replay-", "episode-000000000.", ".")


_RUN_NAME = re.compile(r"s\d+-(\d{8}-\d{6}(?:-\d+)?)")


@dataclass(frozen=True)
class Resumed:
    """A run that goes on."""

    folder: Path
    settings: TrainConfig
    config_crc32: int  # of its config.toml: the trainer holds it against the checkpoint
    extended_toml: str | None = None  # its config.toml with more steps
    note: str = ""  # what that changes


def resume(folder: Path, given: dict[str, Any]) -> Resumed:
    """The run in a folder; what is given may differ from its settings only where results do not depend on it.

    More steps extend it. Where evolution ends may then be given, too.

    Raises:
        CheckpointError: there is no run, or its checkpoint or its settings are damaged.
        ConfigError: something else than CHANGEABLE is to differ.
    """
    config_of_run(folder, CheckpointError)
    state = read_state(str(folder / "checkpoint"))
    if "imported" in state:
        raise CheckpointError(told_import(folder, state))
    stored, content = _stored_settings(folder, state)
    began_with = stored.settings()
    asked = TrainConfig.from_settings({**began_with, **given}, "The settings")
    longer = asked.steps > stored.steps
    if longer and "topology_stop_steps" not in given:
        asked = replace(asked, topology_stop_steps=_extended(stored, asked.steps).topology_stop_steps)
    for name, value in asked.settings().items():
        before = began_with[name]
        if value != before and name not in CHANGEABLE and not (longer and name in EXTENDED):
            more = "Give more of them, leave" if name == "steps" else "Leave"
            raise ConfigError(
                f"`{folder}` was started with {name} = {before} and cannot go on with {value}. {more} that option "
                "out, or train a new run without `--resume`."
            )
    if not longer:
        return Resumed(folder, asked, zlib.crc32(content))
    lines = {name: f"{name} = {getattr(asked, name)}" for name in EXTENDED}
    toml = extended_config(content, lines).decode()
    return Resumed(folder, asked, zlib.crc32(content), toml, _told_extension(stored, asked, state["step"]))


def told_import(folder: Path, state: dict[str, Any]) -> str:
    """What a folder that `edgedst import` made is, and how to begin with it."""
    return (
        f"`{folder}` has the networks of {state['imported']}, as `edgedst import` took them, and no training to go on "
        f"with. Begin one with them: `edgedst train --config {quoted(f'{folder}/config.toml')} --init-from "
        f"{quoted(str(folder))}`."
    )


def _extended(stored: TrainConfig, steps: int) -> TrainConfig:
    """The settings of a run that gets more steps: a share of them without evolution stays that share."""
    stop = stored.topology_stop_steps
    return replace(stored, steps=steps, topology_stop_steps=steps // 20 if stop == stored.steps // 20 else stop)


def _told_extension(stored: TrainConfig, asked: TrainConfig, step: int) -> str:
    told = f"The run is extended from {stored.steps:,} to {asked.steps:,} steps."
    before, now = (config.steps - (config.topology_stop_steps or 0) for config in (stored, asked))
    if not asked.method.startswith("ds-") or before == now:
        return told
    if step > before:
        return f"{told} Evolution of its topology had ended at step {before:,} and goes on until step {now:,}."
    return f"{told} Evolution of its topology ends at step {now:,} instead of {before:,}."


def newest_shorter(run_dir: Path, settings: TrainConfig) -> Path | None:
    """The newest run with a checkpoint and these settings but fewer steps, finished or not: it could be extended."""
    for folder in _runs_of(run_dir, settings):
        try:
            state = _saved_state(folder)
            stored = _stored_settings(folder, state)[0] if state and "imported" not in state else settings
        except CheckpointError:  # `newest_unfinished` has refused what may not be passed over
            continue
        if stored.steps < settings.steps and _same(_extended(stored, settings.steps), settings):
            return folder
    return None


def newest_unfinished(run_dir: Path, settings: TrainConfig) -> Path | None:
    """The newest run with a checkpoint, these very settings, and steps left to do; of the same budget before others.

    Raises:
        CheckpointError: a newer one, which may have these settings, cannot be read.
    """
    found: Path | None = None
    for folder in _runs_of(run_dir, settings):
        state = None
        try:
            state = _saved_state(folder)
            if state is None or "imported" in state:
                continue
            stored, _ = _stored_settings(folder, state)
        except CheckpointError as error:
            if state is None and _is_of_others(folder, settings):
                continue
            raise CheckpointError(
                f"The newest run in `{folder.parent}` cannot be gone on with: {error} To train anew, move `{folder}` "
                "away, or leave out `--resume newest`."
            ) from error
        if _same(stored, settings) and not _is_finished(folder, state, stored):
            if stored.budget_mb == settings.budget_mb:
                return folder
            found = found or folder
    return found


def _runs_of(run_dir: Path, settings: TrainConfig) -> list[Path]:
    """The runs of this task, method and seed, the newest one first."""
    parent = run_dir / folder_name(settings.env) / settings.method
    return newest_first(folder for folder in _entries(parent) if folder.name.startswith(f"s{settings.seed}-"))


def newest_run(run_dir: Path) -> Path:
    """The newest run that has a checkpoint.

    Raises:
        CheckpointError: there is none below `run_dir`, or a folder there may not be searched.
    """
    with reading(run_dir):
        if run_dir.is_dir():
            next(run_dir.iterdir(), None)  # rglob is silent about what it may not list
        folders = [folder for folder in run_dir.rglob("s*-*") if _RUN_NAME.fullmatch(folder.name) and folder.is_dir()]
        for folder in newest_first(folders):
            with reading(folder):
                if (folder / "checkpoint" / "state.json").is_file():
                    return folder
    found = f"{len(folders)} runs and none has a checkpoint yet" if folders else "no runs"
    raise CheckpointError(
        f"Expected a run with a checkpoint below `{run_dir}` and found {found}. Train first with `edgedst train`, "
        "or say where the runs are with `--run-dir DIR`."
    )


def runs_within(folder: Path, with_file: str = "checkpoint/state.json") -> list[Path]:
    """The runs in a folder of runs, of a task, or of a method, the newest one first; those that have a file only."""
    # No deeper: it may be the user's whole home.
    files = (path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}s*-*/{with_file}"))
    found = (path.parents[with_file.count("/")] for path in files)
    return newest_first(run for run in found if _RUN_NAME.fullmatch(run.name))


def newest_first(folders: Iterable[Path]) -> list[Path]:
    """Run folders by the order in which they began (RUN_DIR/order), which no clock can turn.

    Those that are not noted there, because they were copied or are of an older edgedst, come behind those that are, by
    the time in their names; so do those of several folders of runs among each other.
    """
    orders: dict[Path, dict[str, int]] = {}

    def age(folder: Path) -> tuple[int, str, str]:
        runs = folder.parent.parent.parent
        if runs not in orders:
            try:
                lines = os.fsdecode(parse.read(runs / ORDER)).splitlines()
            except OSError:
                lines = []
            orders[runs] = {line: number for number, line in enumerate(lines)}
        place = orders[runs].get(os.path.relpath(folder, runs), -1)
        return place, folder.name.split("-", 1)[1], str(folder)

    folders = sorted(folders, key=age, reverse=True)
    if len(orders) > 1:
        folders.sort(key=lambda folder: age(folder)[1:], reverse=True)
    return folders


def config_of_run(folder: Path, error: type[EdgedstError]) -> Path:
    """Its config.toml; raises `error` where there is none."""
    path = folder / "config.toml"
    if not os.path.isfile(path):  # noqa: PTH113  # pathlib raises where a folder may not be searched
        with reading(folder):
            hint = elsewhere(folder)
        raise error(f"`{folder}` is no run folder: expected `{path}`. {hint}")
    return path


def elsewhere(folder: Path) -> str:
    """What to name instead of a folder that is no run's, as the end of an error."""
    if run := run_around(folder):
        return f"It is part of a run: name `{run}`."
    below = runs_within(folder)
    if below:
        return f"It holds runs: the newest is `{below[0]}`."
    return "Name a folder that `edgedst train` made, like runs/HalfCheetah-v4/ds-td3/s0-20260131-120000."


def run_around(path: Path) -> Path | None:
    """The run that a file or folder is part of."""
    for folder in path.absolute().parents[:2]:
        # Other folders have a config.toml, too. pathlib raises where a folder may not be searched.
        if os.path.isfile(folder / "config.toml") and os.path.isdir(folder / "checkpoint"):  # noqa: PTH112, PTH113
            return folder
    return None


def _stored_settings(folder: Path, state: dict[str, Any]) -> tuple[TrainConfig, bytes]:
    """A run's settings, and what their file holds, which is the one that its checkpoint was made with."""
    path = folder / "config.toml"
    try:
        content = parse.read(path)
        if not is_config_of(state, content):
            raise not_its_config(str(path))
        return TrainConfig.from_settings(TrainConfig.load(path, pipe=False), f"`{path}`").resolved(), content
    except OSError as error:
        raise CheckpointError(f"`{path}` cannot be read: {error.strerror}. Copy the whole run folder again.") from error
    except ConfigError as error:
        raise CheckpointError(f"{error} The run's settings are damaged: take the file from a backup.") from error


def _saved_state(folder: Path) -> dict[str, Any] | None:
    """The run's checkpoint, or None where the first one was never whole: such a run has done nothing."""
    names = [path.name for path in _entries(folder / "checkpoint")]
    if "state.json" not in names and all(name.startswith(_FIRST) for name in names):
        return None
    return read_state(str(folder / "checkpoint"))


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing when it is not there."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(
            f"`{folder}` cannot be read: {error.strerror}. Check its permissions, or choose another folder with "
            "`--run-dir`."
        ) from error


def _is_of_others(folder: Path, settings: TrainConfig) -> bool:
    """Whether a run, whose checkpoint cannot be read, has settings that can, and they are others."""
    try:
        stored = TrainConfig.from_settings(TrainConfig.load(folder / "config.toml", pipe=False)).resolved()
    except EdgedstError:
        return False
    return not _same(stored, settings)


def _same(stored: TrainConfig, settings: TrainConfig) -> bool:
    """Whether results would be the same."""
    free = {*CHANGEABLE}
    if settings.replay_rows is None:
        free.add("replay_rows")  # the run's own config names the rows that it was given
    began_with = stored.settings()
    return all(name in free or value == began_with[name] for name, value in settings.settings().items())


def _is_finished(folder: Path, state: dict[str, Any], stored: TrainConfig) -> bool:
    """Not so when it was stopped within its last evaluation, or between its last checkpoint and its summary."""
    try:
        summary = parse.json_object(parse.read(folder / "summary.json"))
    except OSError:
        return False
    return bool(state["step"] >= stored.steps and summary.get("finished"))
