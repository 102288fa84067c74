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


@pytest.mark.slow
def test_a_cart_pole_learns_to_balance_in_minutes_in_25_mb(tmp_path, port):
    """No option but the budget and when to stop: three episodes without noise at 95 %.

    Most runs are there within three minutes (docs/robot.md); what no clock of a busy machine may decide has six, and
    need only stay up for some 4 s: a policy that has learnt nothing falls within one, and one that had luck in those
    episodes falls in some of ten others.
    """
    robot = EXAMPLE / "robot.py"
    options = ("--env", robot, "--budget-mb", "25", "--stop-after", "360s", "--stop-at-return", "475", "--no-progress")
    options += ("--eval-episodes", "3")
    command = edgedst("train", *options, "--run-dir", "runs")
    subprocess.run(command, cwd=tmp_path, env=port, check=True, timeout=500)
    run = run_in(tmp_path)
    told = summary(run)
    assert told["peak_rss_bytes"] <= 25_000_000
    assert told["real_time"]["brought_to_rest"] == "the run ended"
    evaluation = edgedst("evaluate", run, "--env", robot, "--episodes", "10", "--checkpoint", "best", "--json")
    played = subprocess.run(evaluation, cwd=tmp_path, env=port, check=True, timeout=300, capture_output=True, text=True)
    mean = json.loads(played.stdout.splitlines()[-1])["mean"]
    assert mean >= 0.4 * POSSIBLE, played.stdout
