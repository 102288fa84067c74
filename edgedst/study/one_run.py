"""One run of a study, from here or on a worker of a cluster: starts `edgedst train`, and stays until it has ended.

Everything is told through the study's folder: the settings in points/<name>/settings.toml, what the process printed in
points/<name>/log.txt, and a file `stop` that asks every run to checkpoint and end.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from edgedst.child import python_of, tied
from edgedst.config import TrainConfig
from edgedst.errors import StudyError
from edgedst.files import locked
from edgedst.study.found import RunIndex
from edgedst.study.grid import FREE_SETTINGS, Point

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Outcome:
    """How a run's process ended."""

    name: str  # of the point
    code: int  # of the process; negative: the signal that ended it
    told: str  # its last line


def run_point(out: str, name: str) -> Outcome:
    """Train a point's run to its end, going on where an unfinished one is. Blocks; call it in a thread.

    Raises:
        StudyError: the study's folder is not visible here.
    """
    study = Path(out)
    folder = study / "points" / name
    if not os.path.isfile(folder / "settings.toml"):  # noqa: PTH113  # false, too, where it may not be looked for
        raise StudyError(unseen(out))
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _locked(lock, study / "stop"):
            return Outcome(name, 0, "Not started: the study was stopped.")
        point = Point(TrainConfig.from_settings(TrainConfig.load(folder / "settings.toml", pipe=False)).resolved())
        index = RunIndex(study)
        run = index.find(point)
        if run and run.finished:
            return Outcome(name, 0, "Another process had finished it.")
        begun = run.folder if run and run.begun else None
        if begun is None and (doubt := index.doubt(point)):
            return Outcome(name, 1, doubt)
        return _train(study, folder, _training(study, folder, begun, point.config), lock)
    finally:
        os.close(lock)


def unseen(out: str) -> str:
    """A sentence for a worker that cannot see the study's folder."""
    return (
        f"The worker on {os.uname().nodename} cannot see the study's folder `{out}`. With --scheduler, --out must name "
        "a folder on a file system that every worker mounts under the same path."
    )


def _locked(lock: int, stop: Path) -> bool:
    """Wait until no process trains this run: one whose worker was lost still writes its checkpoint."""
    while not stop.exists():
        if locked(lock):
            return True
        time.sleep(POLL_SECONDS)
    return False


def _training(study: Path, folder: Path, begun: Path | None, config: TrainConfig) -> list[str]:
    """The command that begins a point's run, or goes on with the one that has begun, whose own settings hold."""
    if begun is None:
        told = ["--config", str(folder / "settings.toml"), "--run-dir", str(study / "runs")]
    else:
        told = ["--resume", str(begun)]
        for name in FREE_SETTINGS:
            told += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    return edgedst_command("train", *told, "--no-progress")


def _train(study: Path, folder: Path, train: list[str], lock: int) -> Outcome:
    log = folder / "log.txt"
    with log.open("ab") as file:
        begin = file.tell()
        process = subprocess.Popen(
            tied(train),  # gone with the study, however that ends: SIGTERM, at which it checkpoints
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is the study's to pass on
            pass_fds=(lock,),  # held for as long as the run lives, even where this process does not
        )
        asked = False
        while True:
            try:
                code = process.wait(POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if not asked and (study / "stop").exists():
                    process.terminate()
                    asked = True
    lines = log.read_bytes()[begin:].decode("utf-8", "replace").split("\n")
    return Outcome(folder.name, code, next((line.strip() for line in reversed(lines) if line.strip()), ""))


def edgedst_command(*arguments: str) -> list[str]:
    """The command line of `edgedst`, by the interpreter that runs this."""
    return [*python_of("edgedst.cli.main"), *arguments]
