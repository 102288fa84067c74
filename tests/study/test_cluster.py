"""A study on a Dask cluster of real processes, one of which is killed."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from study_folder import numbers, summary, trainers, wait_until

# Not importorskip: what importing it warns of would be this process's error.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra `dask`")

GRID = 'env = ["HalfCheetah-v4", "Hopper-v4"]\nmethod = ["ds-td3", "td3"]'


def answers(port):
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


class LocalCluster:
    """A scheduler and workers, each a process."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.folder = folder
        self.processes = []
        self.start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        wait_until(lambda: answers(port))

    def start(self, *arguments):
        command = [sys.executable, "-m", "dask", *arguments]
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            options = {"cwd": self.folder, "stdout": log, "stderr": log, "start_new_session": True}
            self.processes.append(subprocess.Popen(command, **options))
        return self.processes[-1]

    def worker(self, name, *arguments):
        quiet = ("--no-nanny", "--no-dashboard", "--nthreads", "1", "--name", name, "--host", "127.0.0.1")
        return self.start("worker", self.address, *quiet, *arguments)


@pytest.fixture
def cluster(tmp_path):
    (tmp_path / "dask").mkdir()
    made = LocalCluster(tmp_path / "dask")
    yield made
    for process in reversed(made.processes):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def minder(folder):
    """Process id of whoever started a run that trains and has a checkpoint to go on from; None where there is none."""
    for pid in trainers(folder):
        process = Path(f"/proc/{pid}")
        with suppress(OSError):  # it has ended meanwhile
            command = (process / "cmdline").read_text(encoding="utf-8")
            runs = [state.parents[1].parts for state in folder.out.glob("runs/*/*/s*/checkpoint/state.json")]
            if any(f'"env": "{run[-3]}"' in command and f'"method": "{run[-2]}"' in command for run in runs):
                return int((process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return None


def test_a_worker_killed_mid_run_changes_no_number(cluster, folder):
    folder.write(GRID, steps=2000)
    folder.run()
    without = {name: numbers(run) for name, run in folder.runs().items()}
    folder.out = folder.out.rename(folder.path / "without-dask").parent / "out"

    workers = {process.pid: process for process in (cluster.worker("one"), cluster.worker("two"))}
    process = folder.start("--scheduler", cluster.address)
    minding = []
    wait_until(lambda: minding.append(minder(folder)) or minding[-1] in workers)
    os.kill(minding[-1], signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert workers[minding[-1]].wait(10) == -signal.SIGKILL
    assert "4 of 4 runs are finished" in out
    assert "FAILED" not in out
    assert all(summary(run)["finished"] for run in folder.runs().values())
    assert {name: numbers(run) for name, run in folder.runs().items()} == without
    # The run that lost its worker went on in its folder: none was begun twice.
    assert len(list(folder.out.glob("runs/*/*/s*"))) == 4

    # Stopped, the runs on the workers end with checkpoints too.
    folder.write(GRID, steps=200_000)
    process = folder.start("--scheduler", cluster.address)
    folder.wait_for_step(2250)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert not trainers(folder)
    (stopped,) = [run for run in folder.out.glob("runs/*/*/s*") if summary(run)["exit_reason"] == "interrupted"]
    assert summary(stopped)["step"] >= 2250


@pytest.mark.parametrize(
    ("preload", "words"),
    [
        (
            "import pathlib, edgedst.study.cluster as c; c.Path = lambda _: pathlib.Path('/nowhere')",
            r"StudyError: The worker on \S+ cannot see the study's folder `.*/out`",
        ),
        ("import sys; sys.modules['edgedst'] = None", r"StudyError: The worker tcp://\S+ cannot run edgedst \S+ \("),
        (
            "import edgedst.study.cluster as c; c.__version__ = '0.0.1'",
            r"StudyError: The worker tcp://\S+ has edgedst 0\.0\.1, and here is ",
        ),
    ],
)
def test_a_worker_that_cannot_help_is_told_of_before_anything_runs(preload, words, cluster, folder):
    (cluster.folder / "preload.py").write_text(preload, encoding="utf-8")
    cluster.worker("one", "--preload", "preload.py")
    folder.write("seed = 0", steps=300)
    _, err = folder.run("--scheduler", cluster.address, code=1)
    assert re.search(words, err), err
    assert not list(folder.out.glob("runs/*"))


@pytest.mark.parametrize("address", ["carrier-pigeon", "tcp://127.0.0.1:1", "tcp://[::1:1"])
def test_a_scheduler_that_is_not_there_is_a_sentence(address, folder):
    folder.write("seed = 0", steps=300)
    _, err = folder.run("--scheduler", address, code=1)
    assert err.startswith(f"StudyError: There is no Dask scheduler at `{address}`")
    assert len(err.strip().splitlines()) == 1
