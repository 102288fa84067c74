"""The example as a whole: from nothing to a pole that stays up, in real time, behind a pseudo-terminal."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training import edgedst, run_in, summary

EXAMPLE = Path(__file__).parents[2] / "examples" / "cartpole"
POSSIBLE = 500  # return of an episode of 10 s at 50 Hz, with the pole upright in the middle


@pytest.fixture
def port(tmp_path):
    """A plant of its own; the variables that lead robot.py to it."""
    path = tmp_path / "plant.tty"
    plant = subprocess.Popen([sys.executable, EXAMPLE / "plant.py", "--port", path], stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            assert plant.poll() is None
            time.sleep(0.02)
        yield {**os.environ, "CARTPOLE_PORT": str(path)}
    finally:
        plant.terminate()
        plant.wait()


WISHES = ("--stop-after", "360s", "--stop-at-return", "475", "--no-progress")


def told_by(folder, port, *arguments):
    """Standard output of a command. A plant that a busy machine keeps from answering for 0.15 s ends it, at rest; it
    goes on as the error says.
    """
    for _ in range(5):
        command = edgedst(*arguments)
        ended = subprocess.run(command, cwd=folder, env=port, check=False, timeout=500, capture_output=True, text=True)
        if ended.returncode == 0:
            return ended.stdout
        assert "did not answer" in ended.stderr, ended.stderr
        if arguments[0] == "train":
            run = run_in(folder).relative_to(folder)
            assert f"`edgedst train --resume {run}`" in ended.stderr
            arguments = ("train", "--resume", run, *WISHES)
    raise AssertionError(ended.stderr)


@pytest.mark.slow
def test_a_cart_pole_learns_to_balance_in_minutes_in_25_mb(tmp_path, port):
    """No option but the budget and when to stop: three episodes without noise at 95 %.

    Most runs are there within three minutes (docs/robot.md); what no clock of a busy machine may decide has six, and
    need only stay up for some 4 s: a policy that has learnt nothing falls within one, and one that had luck in those
    episodes falls in some of ten others.
    """
    robot = ("--env", EXAMPLE / "robot.py")
    told_by(tmp_path, port, "train", *robot, "--budget-mb", "25", "--eval-episodes", "3", "--run-dir", "runs", *WISHES)
    run = run_in(tmp_path)
    told = summary(run)
    assert told["peak_rss_bytes"] <= 25_000_000
    assert told["real_time"]["brought_to_rest"] == "the run ended"
    played = told_by(tmp_path, port, "evaluate", run, *robot, "--episodes", "10", "--checkpoint", "best", "--json")
    assert json.loads(played.splitlines()[-1])["mean"] >= 0.4 * POSSIBLE, played
