"""Trains a study: its runs side by side, each a process of its own; what is finished stays, what is not goes on.

OUT/study.toml              the study
OUT/points/<name>/          a run's settings.toml, log.txt and, when its process failed, failed.txt
OUT/runs/<task>/<method>/   the run folders, as `edgedst train` writes them
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from edgedst import disturbances
from edgedst.config import disturbing
from edgedst.envs import registry
from edgedst.errors import RunFolderError, StudyError
from edgedst.files import folder_error, locked, make_folder, remove, remove_made, write_whole
from edgedst.progress import Progress, duration
from edgedst.study.found import RunIndex
from edgedst.study.grid import Point, Study
from edgedst.study.grid_progress import GridProgress
from edgedst.study.one_run import POLL_SECONDS, Outcome, edgedst_command, run_point

INTERRUPTED = 130  # exit code after Ctrl-C or SIGTERM, as a shell says it
LOOK_SECONDS = 1.0  # how often it is asked whether enough was seen
ENDED_BY_STOP = (-signal.SIGTERM, 128 + signal.SIGTERM)  # a run that was too young to have a checkpoint


class Executor(Protocol):
    """Threads here, or a cluster: both give a future for a call."""

    def submit(self, function: Any, /, *arguments: Any) -> Any:
        """Call `function` somewhere; the future has `done` and `result`."""


def run_study(study: Study, out: Path, jobs: int | None, scheduler: str | None, shown: bool | None) -> int:
    """Train every run of the study that is not finished; returns the exit code.

    Args:
        study: from `grid.read_study`.
        out: the study's folder; what is in it is gone on with.
        jobs: see `runs_at_once`.
        scheduler: address of a Dask scheduler, or None.
        shown: see `Progress`.

    Returns:
        0 when all runs are finished, 1 when one failed, 130 when it was stopped.

    Raises:
        StudyError: a task cannot be, the folder is in use, the cluster cannot be used.
        RunFolderError: the folder cannot be written.
    """
    out = out.absolute()
    at_once = runs_at_once(study, jobs, scheduler)
    index = RunIndex(out)
    waiting = unfinished(study, index)
    check_tasks(waiting)
    with executor_in(out, at_once, scheduler) as (executor, stop):
        progress = GridProgress(study, index, at_once, shown)
        progress.say(
            f"{study.title}: {len(study.points):,} runs, {len(study.points) - len(waiting)} of them finished; in {out}"
        )
        if strangers := index.strangers(study.points):
            progress.say(
                f"Not of this study, for their settings are others or cannot be read: {len(strangers)} run folders in "
                f"{out / 'runs'}, for example {strangers[0].relative_to(out / 'runs')}"
            )
        runner = GridRunner(study, out, index, stop, progress)
        runner.run(executor)
        return runner.last_words()


def runs_at_once(study: Study, jobs: int | None, scheduler: str | None) -> int | None:
    """How many runs go side by side here: `jobs`, or one for each core; None with a scheduler, whose workers decide.

    Raises:
        StudyError: there are jobs and a scheduler.
    """
    if scheduler and jobs:
        raise StudyError("--jobs is for runs on this machine. With --scheduler give each worker its --nthreads.")
    threads = max(point.config.threads for point in study.points)
    return None if scheduler else jobs or max(1, (os.cpu_count() or 1) // threads)


def check_tasks(points: list[Point]) -> None:
    """Refuse tasks that cannot be. Those of other packages are planned once, which makes one and measures it.

    Raises:
        UnknownEnvironment, SimulatorMismatch: what `registry.locate` says.
        StudyError: what `edgedst plan` says.
    """
    names = ("env", "env_process", "env_kwargs", *disturbances.NAMES)
    first = {tuple([getattr(point.config, name) for name in names]): point for point in reversed(points)}
    for point in first.values():
        settings = point.config.settings()
        where = (point.config.env, point.config.env_process, None, settings["env_kwargs"], disturbing(settings))
        if registry.locate(*where)["host"] == "mujoco":
            continue
        plan = edgedst_command("plan", "--config", "/dev/stdin", "--json")
        done = subprocess.run(plan, input=point.config.toml().encode(), capture_output=True, check=False)
        if done.returncode:
            told = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise StudyError(f"{point.told}: {told[-1] if told else f'`edgedst plan` ended with {done.returncode}.'}")


class GridRunner:
    """Hands the runs to an executor, and tells what became of them; `quiet`: of those that failed."""

    def __init__(
        self, study: Study, out: Path, index: RunIndex, stop: Stop, progress: GridProgress, quiet: bool = False
    ) -> None:
        self._study, self._out, self._index, self._stop, self._progress = study, out, index, stop, progress
        self._quiet = quiet
        self.failed: list[Point] = []

    def run(self, executor: Executor, enough: Callable[[], bool] = lambda: False) -> None:
        """Train what is not finished until all have ended, or it is `enough`: the others end with checkpoints then."""
        waiting = unfinished(self._study, self._index)
        _write(self._out, self._study, waiting)
        futures = {executor.submit(run_point, str(self._out), point.name): point for point in waiting}
        self._progress.begin()
        next_look = 0.0
        while futures:
            ended = [future for future in futures if future.done()]
            for future in ended:
                point = futures.pop(future)
                self._ended(point, _outcome(future, point))
            self._stop.check(self._progress)
            self._progress.show_when_due(self.failed)
            if ended or time.monotonic() >= next_look:
                if enough():
                    break
                next_look = time.monotonic() + LOOK_SECONDS
            time.sleep(POLL_SECONDS / 2)
        if futures:
            with _stopped(self._out / "stop"):
                while not all(future.done() for future in futures):
                    time.sleep(POLL_SECONDS / 2)

    def _ended(self, point: Point, outcome: Outcome) -> None:
        run = self._index.find(point)
        if run and run.finished:
            if self._quiet:
                return
            returned, seconds, reason = run.number("R"), run.number("seconds"), run.summary.get("exit_reason")
            told = f", R {returned:,.1f}" if returned is not None else ""
            told += f", {duration(seconds)} of training" if seconds is not None else ""
            self._progress.say(f"finished  {point.told}{told}" + ("" if reason == "finished" else f" ({reason})"))
            return
        if self._stop.requested and outcome.code in (0, *ENDED_BY_STOP):
            return
        if outcome.code < 0:
            reason = f"Signal {-outcome.code} ({signal.Signals(-outcome.code).name}) ended its process."
        elif outcome.code == 0:
            reason = f"Its process ended before its last step. {outcome.told}"
        else:
            reason = outcome.told or f"Its process ended with exit code {outcome.code} and no word."
        self.failed.append(point)
        folder = self._out / "points" / point.name
        with suppress(RunFolderError):  # a full disk is what failed the run: the others are still to be told of
            write_whole(str(folder / "failed.txt"), f"{reason}\n".encode())
        self._progress.say(f"FAILED    {point.told}: {reason} (all it printed: {folder / 'log.txt'})")

    def last_words(self) -> int:
        """Say how far the study is; returns the exit code of `run_study`."""
        points = self._study.points
        finished = len(points) - len(unfinished(self._study, self._index))
        left = f"{finished} of {len(points)} runs are finished"
        if self._stop.requested and finished < len(points):
            self._progress.say(f"Stopped: {left}. The same command goes on from the checkpoints.")
            return INTERRUPTED
        if self.failed:
            names = ", ".join(point.told for point in self.failed)
            self._progress.say(f"{left}; {len(self.failed)} failed: {names}. The same command tries them again.")
            return 1
        self._progress.say(f"{left}. edgedst study report {shlex.quote(str(self._out))}")
        return 0


class Stop:
    """Ctrl-C and SIGTERM become a file that every run's minder looks for, wherever it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.requested = False
        self._told = False
        self._before: list[Any] = []

    def __enter__(self) -> Stop:
        """Take the signals."""
        self._path.unlink(missing_ok=True)
        self._before = [signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)]
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), self._before, strict=True):
            signal.signal(number, handler)
        self._path.unlink(missing_ok=True)

    def _request(self, _number: int, _frame: object) -> None:
        if self.requested:
            os._exit(INTERRUPTED)  # the runs' processes are told by the kernel
        self.requested = True

    def check(self, progress: Progress) -> None:
        """Pass a request on, once; somebody else may have made the file."""
        if self._told:
            return
        if self.requested:
            try:
                self._path.touch()
            except OSError as error:  # a full disk
                progress.say(f"Ends at once: `{self._path}` cannot be written ({error.strerror}).")
                os._exit(INTERRUPTED)  # the runs' processes are told by the kernel
        elif not self._path.exists():
            return
        self.requested = self._told = True
        progress.say("Stopping: every run writes its checkpoint. Once more ends at once.")


def unfinished(study: Study, index: RunIndex) -> list[Point]:
    """What is left to train of a study."""
    return [point for point in study.points if not ((run := index.find(point)) and run.finished)]


def _outcome(future: Any, point: Point) -> Outcome:
    """A future that raised did not get as far as a process."""
    try:
        outcome: Outcome = future.result()
        return outcome
    except Exception as error:  # whatever a cluster raises: it is reported, the other runs go on
        return Outcome(point.name, 1, f"{type(error).__name__}: {' '.join(str(error).split())}")


@contextmanager
def executor_in(out: Path, at_once: int | None, scheduler: str | None) -> Iterator[tuple[Executor, Stop]]:
    """Make the folder, and what runs are handed to and stopped with; see `run_study`."""
    # The cluster is reached before signals are held back: Ctrl-C need not wait for workers that do not come.
    with _folder_of_one(out), _executor(scheduler, at_once, out) as executor, Stop(out / "stop") as stop:
        yield executor, stop


@contextmanager
def _executor(scheduler: str | None, jobs: int | None, out: Path) -> Iterator[Executor]:
    if scheduler is None:
        with ThreadPoolExecutor(jobs) as threads:
            try:
                yield threads
            except BaseException:  # its threads would train all that waits before this is told
                threads.shutdown(wait=False, cancel_futures=True)
                with _stopped(out / "stop"):
                    threads.shutdown()
                raise
        return
    from edgedst.study.cluster import Cluster

    with Cluster(scheduler, out) as cluster:
        yield cluster


@contextmanager
def _stopped(path: Path) -> Iterator[None]:
    """While this lasts, every run is asked to end."""
    with suppress(OSError):
        path.touch()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _folder_of_one(out: Path) -> Iterator[None]:
    """Make the study's folder; two that ran one study would train each run twice. It goes where nothing came of it."""
    made: list[str] = []
    try:
        for name in ("points", "runs"):
            with suppress(FileExistsError):
                made += make_folder(str(out / name))
        lock = os.open(out / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        remove_made(made)
        raise folder_error(error, str(out), "--out") from error
    if not (locked(lock) and os.fstat(lock).st_nlink):  # without a name it is that of one that removes the folder
        os.close(lock)
        raise StudyError(
            f"`{out}` is the folder of a study that runs already. Wait for it, end it with Ctrl-C, or choose another "
            "folder with `--out`."
        )
    try:
        yield
    finally:
        if made and not (out / "study.toml").exists():
            remove(str(out / "lock"))
            remove_made(made)
        os.close(lock)


def _write(out: Path, study: Study, waiting: list[Point]) -> None:
    write_whole(str(out / "study.toml"), study.text.encode(), "--out")
    for point in waiting:
        folder = out / "points" / point.name
        try:
            with suppress(FileExistsError):
                make_folder(str(folder))
            (folder / "failed.txt").unlink(missing_ok=True)
        except OSError as error:
            raise folder_error(error, str(folder), "--out") from error
        write_whole(str(folder / "settings.toml"), point.config.toml().encode(), "--out")
