"""Searches settings with Optuna: each trial trains a study's whole grid with settings of its own.

OUT is a study's folder (runner.py) with two files more. A run is known by its settings, so an interrupted trial begins
again with the same ones, and its runs go on from their checkpoints.

OUT/trials.log    the trials, as Optuna's journal has them
OUT/best.toml     the settings of the best one, for `edgedst train --config`
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

from edgedst import parse
from edgedst.config import SETTINGS, by_own_names
from edgedst.errors import ConfigError, StudyError
from edgedst.files import remove, write_whole
from edgedst.progress import Progress
from edgedst.report.text import one_line
from edgedst.setting import toml, typed
from edgedst.study import runner
from edgedst.study.found import RunIndex
from edgedst.study.grid import Study, grids_of, read_study, study_of
from edgedst.study.grid_progress import GridProgress


class Search:
    """A study's file and its table [search]: every value of its lists and both ends of its ranges are such settings.

    Raises:
        StudyError, ConfigError: it is no study, has no such table, or searches what cannot be.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.base = path, read_study(path)
        self._tables = parse.toml(self.base.text.encode())
        if not (table := self._tables.get("search")):
            example = "`learning_rate = {low = 1e-4, high = 1e-2, log = true}`"
            raise StudyError(f"`{path}` has no table [search]. Add one with what is searched, for example {example}.")
        where = f"`{path}`, [search]"
        # The names alone are looked at: a range is no setting's value.
        written = dict(zip(by_own_names(dict.fromkeys(table), where), table.values(), strict=True))
        for grid in grids_of(self._tables):
            listed = by_own_names({name: value for name, value in grid.items() if name != "label"}, where)
            if both := sorted(listed.keys() & written):
                raise StudyError(f"`{path}` has `{both[0]}` in its grid and in [search]. Leave one of them out.")
        self.space = {name: _distribution(name, value, where) for name, value in written.items()}
        # Optuna has no choice between lists: it is given their texts.
        self._choices = {n: {toml(v): v for v in values} for n, values in written.items() if isinstance(values, list)}
        ends = {name: self._choices.get(name) or (each.low, each.high) for name, each in self.space.items()}
        tried = [self.study({name: value}) for name, values in ends.items() for value in values]
        runner.check_tasks([point for study in tried for point in study.points])

    def study(self, params: dict[str, Any]) -> Study:
        """The grid with these parameters of a trial in every run."""
        chosen = {name: [self._choices.get(name, {}).get(value, value)] for name, value in params.items()}
        grids = [{**grid, **chosen} for grid in grids_of(self._tables)]
        return study_of({**self._tables, "grid": grids}, self.base.text, self.path)


def _distribution(name: str, written: Any, where: str) -> Any:
    """Optuna's, of a list's values or a range of numbers: whole ones, or any where the setting's type is float."""
    kind = str(SETTINGS[name].type).partition(" ")[0]
    if isinstance(written, list) and written:
        for value in written:
            typed(SETTINGS[name], value)  # a grid would take [64, 64] for one value of `hidden`, here it is two
        return CategoricalDistribution(list(dict.fromkeys(map(toml, written))))
    if isinstance(written, dict) and {"low", "high"} <= set(written) <= {"low", "high", "log"}:
        low, high = (typed(SETTINGS[name], written[end]) for end in ("low", "high"))
        log = written.get("log", False)
        whole = kind in ("int", "Rate") and isinstance(low, int) and isinstance(high, int)
        if (whole or kind == "float") and low < high and (log is False or (log is True and low > 0)):
            return (IntDistribution if whole else FloatDistribution)(low, high, log)
    raise StudyError(
        f"{where}: `{name}` must be a list of values or, of numbers, a range like {{low = 1, high = 8, log = true}}, "
        f"low below high, above 0 with log, whole where the setting is; it is {toml(written):.100}."
    )


def tune(search: Search, trials: int, out: Path, jobs: int | None, scheduler: str | None, shown: bool | None) -> int:
    """Search until this many trials have ended, with those that the folder has; returns the exit code.

    The rest is as in `runner.run_study`. The code is 1 when no trial has a value, 130 when it was stopped.

    Raises:
        StudyError: the folder is in use, of another file, or has a damaged trials.log; the cluster cannot be used.
        RunFolderError: the folder cannot be written.
    """
    out = out.absolute()
    if (out / "study.toml").exists() and read_study(out / "study.toml").text != search.base.text:
        hint = "Trials of both would not compare: choose another folder with `--out`."
        raise StudyError(f"`{out}` is the folder of another study, or `{search.path}` has changed. {hint}")
    at_once = runner.runs_at_once(search.base, jobs, scheduler)
    progress = Progress(0, 0, shown)
    with runner.executor_in(out, at_once, scheduler) as (executor, stop):
        stored = _stored(out / "trials.log", search.space)
        return _Tuning(search, out, stored, executor, stop, at_once, progress).run(trials)


def _stored(path: Path, space: dict[str, Any]) -> Any:
    """Optuna's study in that file, whose trials have parameters of this space."""
    remove(f"{path}.lock")  # Optuna's own, of a kill or a power cut: only who holds OUT/lock can have it
    # Half a line, of a power cut or a full disk: Optuna would append to it.
    if path.is_file() and not (content := parse.read(path)).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # trials are told here
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
        about = {"study_name": "tune", "direction": "maximize", "load_if_exists": True}
        stored = optuna.create_study(storage=storage, pruner=optuna.pruners.MedianPruner(), **about)
        for trial in stored.trials:
            if foreign := trial.params.keys() - space.keys():
                raise ValueError(f"trial {trial.number} has {foreign.pop()!a:.60}, which [search] has not")
        return stored
    # Whatever Optuna makes of its lines.
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        hint = "Move it away: trials begin anew then, and finished runs are not trained again."
        raise StudyError(f"`{path}` is damaged ({one_line(str(error))}). {hint}") from error


@dataclass
class _Tuning:
    """Trials, one after the other."""

    search: Search
    out: Path
    stored: Any  # optuna.Study
    executor: runner.Executor
    stop: runner.Stop
    at_once: int | None
    progress: Progress  # of the last trial: it clears its own line

    def run(self, trials: int) -> int:
        """See `tune`."""
        self.progress.say(f"{self.search.base.title}: {trials} trials; in {self.out}")
        for trial in self.stored.get_trials(states=[TrialState.RUNNING]):  # and interrupted
            self.stored.tell(trial.number, state=TrialState.FAIL)
            self.stored.enqueue_trial(trial.params, user_attrs={"resumes": trial.number})
        # A trial that was interrupted and the one that resumes it are one.
        while (ended := sum(t.state.is_finished() - ("resumes" in t.user_attrs) for t in self.stored.trials)) < trials:
            # A sampler of its own for each trial: one that began anew would repeat itself after an interruption.
            self.stored.sampler = optuna.samplers.TPESampler(seed=ended)
            trial = self.stored.ask(self.search.space)
            if told := self._train(trial):
                shown = ", ".join(f"{n} {f'{v:.4g}' if isinstance(v, float) else v}" for n, v in trial.params.items())
                self.progress.say(f"trial {trial.number}  {shown}: {told}; {self._write_best()}")
            if self.stop.requested:
                self.progress.say(
                    f"Stopped: {ended + bool(told)} of {trials} trials have ended. The same command goes on."
                )
                return runner.INTERRUPTED
        self.progress.say(f"{ended} of {trials} trials have ended; {self._write_best()}")
        if not self.stored.get_trials(states=[TrialState.COMPLETE]):  # a best.toml may be of trials moved away
            return 1
        self.progress.say(f"edgedst train --config {shlex.quote(str(self.out / 'best.toml'))}")
        return 0

    def _train(self, trial: Any) -> str:
        """Train the runs of a trial and tell Optuna; returns what became of it, nothing where it was interrupted."""
        try:
            study = self.search.study(trial.params)
        except (ConfigError, StudyError) as error:  # values that do not go together
            self.stored.tell(trial, state=TrialState.FAIL)
            return f"FAILED, {error}"
        index = RunIndex(self.out)
        reported: set[int] = set()  # steps
        self.progress = progress = GridProgress(study, index, self.at_once, not self.progress.silent)
        grid = runner.GridRunner(study, self.out, index, self.stop, progress, quiet=True)
        grid.run(self.executor, lambda: bool(grid.failed) or _is_behind(trial, study, index, reported))
        if _is_behind(trial, study, index, reported):  # or was, whatever its runs came to until they were stopped
            return f"pruned at step {self.stored.tell(trial, state=TrialState.PRUNED).last_step:,}"
        runs = [index.find(point) for point in study.points]
        returns = [r for run in runs if run and run.finished and (r := run.number("R")) is not None]
        if len(returns) == len(runs):
            return f"{self.stored.tell(trial, fmean(returns)).value:,.6g}"
        if self.stop.requested:  # a run may have failed by it
            return ""
        self.stored.tell(trial, state=TrialState.FAIL)  # a run failed, or its R is no number
        return "FAILED"

    def _write_best(self) -> str:
        """Write best.toml, if a trial has a value; returns which is the best."""
        complete = self.stored.get_trials(states=[TrialState.COMPLETE])
        if not (best := max(complete, key=lambda trial: trial.value, default=None)):
            return "none has a value"
        command = one_line(shlex.join(["edgedst", *sys.argv[1:]]))
        first = self.search.study(best.params).points[0].config.toml()
        content = f"# Trial {best.number}, value {best.value:.6g}, of: {command}\n{first}"
        write_whole(str(self.out / "best.toml"), content.encode(), "--out")
        return f"best {best.value:,.6g} (trial {best.number})"


def _is_behind(trial: Any, study: Study, index: RunIndex, reported: set[int]) -> bool:
    """Report new evaluations, as means over the runs of the first seed, which begin first; whether Optuna prunes.

    None is reported after the one at which it does: what becomes of a trial does not depend on when this is asked.
    """
    if trial.should_prune():
        return True
    curves = []
    for point in (point for point in study.points if point.config.seed == study.points[0].config.seed):
        run = index.find(point)
        made = run.evaluations() if run else []
        curves.append({step: value for step, value in made if step > point.config.start_steps})  # once it learns
    for step in sorted(set.intersection(*map(set, curves)) - reported):
        reported.add(step)
        trial.report(fmean(curve[step] for curve in curves), step)
        if trial.should_prune():
            return True
    return False
