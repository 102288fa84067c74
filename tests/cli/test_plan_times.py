"""What `edgedst plan` tells of time: measured with the agent itself, in the plan's memory, and never on a machine."""

import json
import re
import subprocess
import time
from types import SimpleNamespace

import pytest
from training import edgedst

from edgedst import timing
from edgedst.cli.plan import ledger_text, robot_lines, time_lines
from edgedst.config import TrainConfig
from edgedst.envs import Environment
from edgedst.launch.job import command, job_for, make_plan
from edgedst.timing import expected_times

MS = 1e-3
SHORT = {"steps": 300_000, "start_steps": 10_000, "eval_every": 5_000, "eval_episodes": 2}


class Slow(Environment):
    """A step of 3 ms, episodes of 7 steps; it counts both."""

    name, native, observation_size, action_size = "Slow-v0", True, 3, 1
    action_low, action_high, max_episode_steps = (-2.0,), (2.0,), 7

    def __init__(self, hardware=False):
        self.hardware, self.step_seconds = hardware, None
        self.observation = memoryview(bytearray(24)).cast("d")
        self.steps = self.episodes = self.length = 0

    def reset(self, seed):
        self.episodes += 1
        self.length = 0

    def step(self, action):
        assert -2 <= action[0] <= 2
        time.sleep(3 * MS)
        self.steps += 1
        self.length += 1
        return 1.0, False, self.length == 7


def measured(environment, rows=1000, **settings):
    config = TrainConfig(**{**SHORT, "hidden": (16,), "batch_size": 8, **settings}).resolved()
    return expected_times(SimpleNamespace(**config.settings()), environment, rows)


@pytest.mark.parametrize("method", ["ds-td3", "static-td3", "sac"])
@pytest.mark.parametrize("rate", [1, 3, 1 / 4])
def test_the_run_s_time_is_that_of_its_steps_updates_and_evaluations(method, rate):
    slow = Slow()
    told = measured(slow, method=method, updates_per_step=rate)
    assert 3 * MS <= told["acting_seconds"] < 30 * MS
    assert slow.steps > 3
    assert slow.episodes == 1 + slow.steps // 7
    assert told["evaluation_seconds"] == pytest.approx(61 * 2 * 7 * told["acting_seconds"])  # the first at step 0
    steps, updates = 300_000 * told["acting_seconds"], 290_000 * rate * told["update_seconds"]
    assert told["run_seconds"] == pytest.approx(steps + updates + told["evaluation_seconds"])
    assert 0 <= told["waited_share"] <= 1


def test_hardware_is_neither_reset_nor_moved():
    machine = Slow(hardware=True)
    assert measured(machine).keys() == {"update_seconds", "waited_share"}
    assert (machine.steps, machine.episodes) == (0, 0)


def test_what_is_slow_is_called_once_and_an_actor_s_rare_update_is_shared_out(monkeypatch):
    monkeypatch.setattr(timing, "TIMED_SECONDS", 0.05)
    calls = []
    assert timing._usual_seconds(lambda: calls.append(time.sleep(0.06)), turns=2) >= 0.06
    assert len(calls) == 1
    monkeypatch.setattr(timing, "TIMED_SECONDS", 100.0)
    clock, count = [0.0], [0]

    def call():  # every second one takes 3 s instead of 1, and one is interrupted for 50
        count[0] += 1
        clock[0] += (3.0 if count[0] % 2 == 0 else 1.0) + (50.0 if count[0] == 4 else 0.0)

    monkeypatch.setattr(timing, "monotonic", lambda: clock[0])
    assert timing._usual_seconds(call, turns=2) == 2.0


@pytest.mark.parametrize(
    ("settings", "acting", "lines"),
    [
        (
            {"updates_per_step": 2},
            0.11,
            [
                "A step takes about 0.61 ms here: 0.11 the simulator and acting, 0.5 its 2 updates of 0.25.",
                "300,000 steps take about 3 min 20 s; the first 10,000 are without updates; 0 min 20 s are "
                "evaluations, 2 episodes every 5,000 steps, if each has its full length.",
            ],
        ),
        (
            {"updates_per_step": 1 / 4, "start_steps": 0, "eval_every": 0},
            20,
            [
                "A step takes about 20 ms here: 20 the simulator and acting, 0.062 an update of 0.25 every 4 steps.",
                "300,000 steps take about 3 min 20 s; there are no evaluations.",
            ],
        ),
        ({}, None, ["The updates of a step take about 0.25 ms here (an update)."]),
    ],
)
def test_the_sentences(settings, acting, lines):
    config = TrainConfig(**{**SHORT, **settings})
    ledger = {"update_seconds": 0.25 * MS, "waited_share": 0.1, "evaluation_seconds": 20.0, "run_seconds": 200.0}
    if acting:
        ledger["acting_seconds"] = acting * MS
    assert time_lines(config, ledger) == lines
    busy = "Other work had the processor 60 % of the time meanwhile: beside it a run takes longer."
    assert time_lines(config, {**ledger, "waited_share": 0.6}) == [*lines, busy]


def test_a_robot_s_rate_affords_a_fraction_where_an_update_takes_longer_than_a_step():
    config = TrainConfig(env="arm/robot.py", method="ds-sac", updates_per_step=1 / 3)
    ledger = {"update_seconds": 40 * MS, "step_seconds": 20 * MS, "waited_share": 0.0}
    told = "An update takes 40 ms here: 0.5 fit into a step of 20 ms; 1/3 a step are asked for."
    assert robot_lines(config, ledger)[0] == told
    slower = TrainConfig(env="arm/robot.py", method="ds-sac")
    assert robot_lines(slower, ledger)[0].endswith(
        "1 a step are asked for; learning will fall behind, acting will not."
    )


@pytest.mark.parametrize(("rate", "told"), [(0, "auto"), (1 / 3, "1/3"), (2, "2")])
def test_a_robot_s_defaults_are_told_as_they_would_be_typed(rate, told):
    config = TrainConfig(env="arm/robot.py", method="ds-sac", updates_per_step=rate)
    last = robot_lines(config, {"update_seconds": MS, "step_seconds": 20 * MS, "waited_share": 0.0})[-1]
    assert f" updates_per_step {told}, normalize_observations " in last


def test_where_nothing_could_be_timed_a_robot_has_its_bytes_all_the_same():
    config = TrainConfig(env="arm/robot.py", method="ds-sac")
    ledger = {"budget_bytes": 50_000_000, "planned_bytes": 40_000_000, "smallest_budget_mb": 30.0, "lines": []}
    ledger |= {"replay_rows": 10, "replay_row_bytes": 9, "constant_observations": 0}
    assert ledger_text(config, ledger).endswith("Smallest budget that works: 30.0 MB")


@pytest.mark.parametrize(
    "settings", [{}, {"method": "ds-sac", "env": "Hopper-v4"}, {"env": "Pendulum-v1"}], ids=["td3", "sac", "gymnasium"]
)
def test_measuring_stays_in_the_smallest_budget_that_the_plan_names(settings):
    smallest = make_plan(TrainConfig(**settings, budget_mb=90).resolved())["smallest_budget_mb"]
    config = TrainConfig(**settings, budget_mb=smallest + 0.5).resolved()  # two starts differ by so much
    argv, variables = command(job_for(config, plan_only=True))
    told = "status = open('/proc/self/status').read(); print(status.split('VmHWM:')[1].split()[0])"
    code = argv[-2].replace("sys.exit(main())", f"main(); {told}")
    assert code != argv[-2]
    done = subprocess.run([*argv[:-2], code, argv[-1]], env=variables, capture_output=True, text=True, check=True)
    ledger, peak_kb = done.stdout.splitlines()
    assert json.loads(ledger)["run_seconds"] > 0
    assert 1024 * int(peak_kb) <= config.budget_mb * 1e6


FAILS = """
import gymnasium, numpy

class Env(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), numpy.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), numpy.float32)

    def reset(self, seed=None, options=None):
        return numpy.zeros(2, numpy.float32), {}

    def step(self, action):
        if action[0]:  # which the middle of the bounds is not
            raise RuntimeError("the belt is off")
        return numpy.zeros(2, numpy.float32), 0.0, False, False, {}

gymnasium.register("Fails-v0", Env, max_episode_steps=100)
"""


def test_an_environment_that_fails_meanwhile_has_its_ledger_and_a_note(tmp_path):
    (tmp_path / "fails.py").write_text(FAILS, encoding="utf-8")
    arguments = ("plan", "--env", "fails:Fails-v0", "--budget-mb", "90", "--hidden", "16")
    done = subprocess.run(edgedst(*arguments), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Smallest budget that works" in done.stdout
    assert re.search(r"^How long a step takes could not be measured: .*the belt is off", done.stderr, re.M)
    assert "ms here" not in done.stdout
