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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from edgedst import disturbances
from edgedst.config import disturbing
from edgedst.envs import registry
from edgedst.errors import RunFolderError, StudyError
from edgedst.files import folder_error, locked, make_folder, write_whole
from edgedst.progress import Progress, duration
from edgedst.runs.run import Run
from edgedst.study.found import RunIndex
from edgedst.study.grid import Point, Study
from edgedst.study.grid_progress import GridProgress
from edgedst.study.one_run import POLL_SECONDS, Outcome, edgedst_command, run_point

INTERRUPTED = 130  # exit code after Ctrl-C or SIGTERM, as a shell says it
ENDED_BY_STOP = (-signal.SIGTERM, 128 + signal.SIGTERM)  # a run that was too young to have a checkpoint


class Executor(Protocol):
    """Threads here, or a cluster: both give a future for a call."""

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        """Call `function` somewhere; the future has `done` and `result`."""


def run_study(study: Study, out: Path, jobs: int, scheduler: str | None, shown: bool | None) -> int:
    """Train every run of the study that is not finished; returns the exit code.

    Args:
        study: from `grid.read_study`.
        out: the study's folder; what is in it is gone on with.
        jobs: runs at once on this machine; of no account with a scheduler, whose workers decide.
        scheduler: address of a Dask scheduler, or None.
        shown: see `Progress`.

    Returns:
        0 when all runs are finished, 1 when one failed, 130 when it was stopped.

    Raises:
        StudyError: a task cannot be, the folder is in use, the cluster cannot be used.
        RunFolderError: the folder cannot be written.
    """
    out = out.absolute()
    index = RunIndex(out)
    waiting = [point for point in study.points if not _finished(index.find(point))]
    check_tasks(waiting)
    # The cluster is reached before signals are held back: Ctrl-C need not wait for workers that do not come.
    with _folder_of_one(out), _executor(scheduler, jobs, out) as executor, Stop(out / "stop") as stop:
        _write(out, study, waiting)
        progress = GridProgress(study, index, None if scheduler else jobs, shown)
        progress.say(
            f"{study.title}: {len(study.points):,} runs, {len(study.points) - len(waiting)} of them finished; in {out}"
        )
        if strangers := index.strangers(study.points):
            progress.say(
                f"Not of this study, for their settings are others or cannot be read: {len(strangers)} run folders in "
                f"{out / 'runs'}, for example {strangers[0].relative_to(out / 'runs')}"
            )
        return _Runner(study, out, index, stop, progress).run(waiting, executor)


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


class _Runner:
    """Hands the runs to an executor, and tells what became of them."""

    def __init__(self, study: Study, out: Path, index: RunIndex, stop: Stop, progress: GridProgress) -> None:
        self._study, self._out, self._index, self._stop, self._progress = study, out, index, stop, progress
        self._failed: list[Point] = []

    def run(self, waiting: list[Point], executor: Executor) -> int:
        """Until all have ended; see `run_study`."""
        futures = {executor.submit(run_point, str(self._out), point.name): point for point in waiting}
        self._progress.begin()
        while futures:
            for future in [future for future in futures if future.done()]:
                point = futures.pop(future)
                self._ended(point, _outcome(future, point))
            self._stop.check(self._progress)
            self._progress.show_when_due(self._failed)
            time.sleep(POLL_SECONDS / 2)
        return self._last_words()

    def _ended(self, point: Point, outcome: Outcome) -> None:
        run = self._index.find(point)
        if run and run.finished:
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
        self._failed.append(point)
        folder = self._out / "points" / point.name
        with suppress(RunFolderError):  # a full disk is what failed the run: the others are still to be told of
            write_whole(str(folder / "failed.txt"), f"{reason}\n".encode())
        self._progress.say(f"FAILED    {point.told}: {reason} (all it printed: {folder / 'log.txt'})")

    def _last_words(self) -> int:
        points = self._study.points
        finished = sum(_finished(self._index.find(point)) for point in points)
        left = f"{finished} of {len(points)} runs are finished"
        if self._stop.requested and finished < len(points):
            self._progress.say(f"Stopped: {left}. The same command goes on from the checkpoints.")
            return INTERRUPTED
        if self._failed:
            names = ", ".join(point.told for point in self._failed)
            self._progress.say(f"{left}; {len(self._failed)} failed: {names}. The same command tries them again.")
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


def _finished(run: Run | None) -> bool:
    return run is not None and run.finished


def _outcome(future: Any, point: Point) -> Outcome:
    """A future that raised did not get as far as a process."""
    try:
        outcome: Outcome = future.result()
        return outcome
    except Exception as error:  # whatever a cluster raises: it is reported, the other runs go on
        return Outcome(point.name, 1, f"{type(error).__name__}: {' '.join(str(error).split())}")


@contextmanager
def _executor(scheduler: str | None, jobs: int, out: Path) -> Iterator[Executor]:
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
    """Make the study's folder; two that ran one study would train each run twice."""
    try:
        for name in ("points", "runs"):
            with suppress(FileExistsError):
                make_folder(str(out / name))
        lock = os.open(out / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise folder_error(error, str(out), "--out") from error
    if not locked(lock):
        os.close(lock)
        raise StudyError(
            f"`{out}` is the folder of a study that runs already. Wait for it, end it with Ctrl-C, or choose another "
            "folder with `--out`."
        )
    try:
        yield
    finally:
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
