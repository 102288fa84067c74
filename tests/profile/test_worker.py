"""edgedst's contender is the trainer itself: its modules, its plan and budget, its loop, evolutions in its window."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import scripted as scripted_environments

from edgedst.config import TrainConfig
from edgedst.launch.job import command, job_for

SMALL = {"hidden": (16, 16), "batch_size": 8, "threads": 1, "budget_mb": 40.0}


def run(config, steps=None, replacing=None, budget_mb=None):
    """The worker's output; `replacing` puts other code behind the boot."""
    with tempfile.TemporaryDirectory() as folder:
        job = job_for(config.resolved(), run_dir=folder, progress=False)
        job["profile"] = {"steps": steps, "seconds": None, "act_seconds": 0.0, "replay_rows": None}
        arguments, variables = command(job)
        if replacing is not None:
            boot, _, _ = arguments[-2].rpartition("; from ")
            arguments[-2] = f"{boot}\n{replacing}"
        return subprocess.run(arguments, env=variables, capture_output=True, text=True, check=False)


def result(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1].partition(" ")[2])


@pytest.mark.parametrize("method", ["ds-td3", "sac"])
def test_a_window_is_the_trainer_s_loop_within_the_trainer_s_plan(method):
    told = result(run(TrainConfig(method=method, **SMALL), steps=40))
    assert (told["steps"], told["updates"]) == (40, 40)
    assert sum(line["bytes"] for line in told["ledger"]) == told["planned_bytes"] <= 40_000_000
    assert told["planned_bytes"] * 0.9 < told["peak_bytes"] <= 40_000_000  # the replay is reserved whole
    assert 0 < told["update_seconds"] <= told["end"] - told["start"]
    assert told["actions"]["count"] >= 100
    assert (told["observation_size"], told["action_size"]) == (17, 6)


def test_it_loads_no_more_than_the_trainer():
    config = TrainConfig(**SMALL)
    script = "import {}, json; print(json.dumps(sorted(sys.modules)))"
    trainer, worker = (
        set(json.loads(run(config, replacing=script.format(module)).stdout))
        for module in ("edgedst.trainer", "edgedst.profile.worker")
    )
    assert worker - trainer == {"edgedst.profile", "edgedst.profile.window", "edgedst.profile.worker"}


def test_a_window_of_whole_periods_has_its_share_of_evolutions():
    count = """
from edgedst.profile import window, worker
from edgedst.plain_json import loads
contender = worker.LeanTrainee(worker.MeasuredRun(loads(sys.argv[-1])))
agent, evolved = contender.run.agent, []
evolve = agent.evolve
agent.evolve = lambda *networks: evolved.append(agent.iteration) or evolve(*networks)
contender.warm_up()
contender.train(1000)
print([(step, evolved.count(step)) for step in sorted(set(evolved))])
"""
    # Critics and actor at each, the last one of the warm-up at its end.
    done = run(TrainConfig(**SMALL, evolve_every=500), replacing=count)
    assert done.stdout.strip() == str([(step, 2) for step in (200, 400, 600, 1000, 1500)]), done.stderr


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """A job on an environment of tests/scripted.py, and how many of its environments were closed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(scripted_environments.__file__).parent))
    monkeypatch.setenv("SCRIPTED_CLOSED", str(tmp_path / "closed"))

    def closed():
        path = tmp_path / "closed"
        return path.read_text(encoding="utf-8").count("closed") if path.exists() else 0

    return closed


@pytest.mark.usefixtures("scripted")
def test_other_people_s_environments_get_seeds_that_a_c_int_holds():
    advancing = """
from edgedst.profile import worker
from edgedst.plain_json import loads
contender = worker.LeanTrainee(worker.MeasuredRun(loads(sys.argv[-1])))
environment, seeds = contender.run.environment, []
reset = environment.reset
environment.reset = lambda seed: seeds.append(seed) or reset(seed)
contender.warm_up()
for _ in range(2_000):
    contender.act()
    contender.advance()
print(len(seeds) >= 20, max(seeds) < 2**31)
"""
    config = TrainConfig(env="scripted:Notes-v0", **{**SMALL, "budget_mb": 80.0})
    done = run(config, replacing=advancing)
    assert done.stdout.strip() == "True True", done.stderr


def test_the_environments_are_closed_when_the_measuring_fails(scripted):
    failing = """
from edgedst.errors import EnvironmentFault
from edgedst.profile import worker
def advance(self):
    raise EnvironmentFault("The wheel is stuck.")
worker.LeanTrainee.advance = advance
sys.exit(worker.main())
"""
    config = TrainConfig(env="scripted:Notes-v0", **{**SMALL, "budget_mb": 80.0})
    done = run(config, steps=40, replacing=failing)
    assert (done.returncode, done.stderr) == (1, "EnvironmentFault: The wheel is stuck.\n")
    assert scripted() == 2  # the second is for evaluations


def test_a_contender_that_is_asked_to_leave_takes_no_further_step_and_closes_its_environments(scripted):
    asked = """
import os, signal
from edgedst.profile import worker
advance = worker.LeanTrainee.advance
def asked(self):
    os.kill(os.getpid(), signal.SIGTERM)
    advance(self)
worker.LeanTrainee.advance = asked
sys.exit(worker.main())
"""
    config = TrainConfig(env="scripted:Notes-v0", **{**SMALL, "budget_mb": 80.0})
    done = run(config, steps=40, replacing=asked)
    assert (done.returncode, done.stderr) == (143, "")
    assert scripted() == 2


def test_a_budget_that_is_too_small_is_the_trainer_s_own_sentence():
    done = run(TrainConfig(**{**SMALL, "budget_mb": 12.0}))
    assert done.returncode == 1
    # Of the plan, or before it where this machine's libraries alone take more.
    assert re.match(r"BudgetExceeded: HalfCheetah-v4 (needs at least|takes) .*Try `--budget-mb", done.stderr)
