"""Whole training processes, as a user starts them: lean, inside their budget, killed and resumed."""

import fcntl
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from training import digest, edgedst, metrics, modules, run_in, start, summary, telling, train

from edgedst.config import TrainConfig
from edgedst.launch import job as launch
from edgedst.training import Training

SMALL = (
    "--hidden",
    "32",
    "--start-steps",
    "200",
    "--eval-every",
    "500",
    "--eval-episodes",
    "1",
    "--evolve-every",
    "100",
)
LATE_AND_NOISY = ("--action-delay", "0..3", "--observation-noise", "0.02")
HEAVY = {
    "numpy",
    "torch",
    "gymnasium",
    "mujoco",
    "typer",
    "rich",
    "dataclasses",
    "typing",
    "pathlib",
    "argparse",
    "json",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run of the main task as it comes."""
    folder = tmp_path_factory.mktemp("finished")
    arguments = ("--steps", "1500", "--start-steps", "500", "--eval-every", "500", "--eval-episodes", "1")
    out, _ = train(folder, *arguments, env=telling(folder))
    return run_in(folder), out


def test_the_process_stays_below_50_mb_with_400_000_transitions_of_replay(finished):
    run, out = finished
    told = summary(run)
    assert told["exit_reason"] == "finished"
    assert told["front_end_peak_bytes"] < told["peak_rss_bytes"] <= 50_000_000
    assert told["planned_bytes"] <= 50_000_000
    assert told["replay_rows"] >= 400_000
    assert "peak" in out


@pytest.fixture(scope="module")
def finished_sac(tmp_path_factory):
    """The same by DS-SAC, exported."""
    folder = tmp_path_factory.mktemp("finished_sac")
    arguments = ("--method", "ds-sac", "--steps", "1500", "--start-steps", "1000", "--eval-every", "500")
    train(folder, *arguments, "--eval-episodes", "1", env=telling(folder))
    return run_in(folder)


def test_ds_sac_stays_below_50_mb_with_400_000_transitions_of_replay(finished_sac):
    told = summary(finished_sac)
    assert told["exit_reason"] == "finished"
    assert told["front_end_peak_bytes"] < told["peak_rss_bytes"] <= 50_000_000
    assert told["replay_rows"] >= 400_000
    assert told["connections"] == (12 * 273 + 80 * 512 + 256 * 12) + 2 * (12 * 279 + 80 * 512 + 256)


def test_ds_sac_stays_within_its_budget_on_a_gymnasium_task(tmp_path):
    # NumPy and Gymnasium take 40 to 47 MB here, by how the kernel cached their files (docs/performance.md).
    arguments = (
        "--env",
        "Pendulum-v1",
        "--method",
        "ds-sac",
        "--budget-mb",
        "60",
        "--steps",
        "1200",
        "--hidden",
        "128",
    )
    train(tmp_path, *arguments, "--start-steps", "1000", "--eval-every", "600", "--eval-episodes", "1")
    assert summary(run_in(tmp_path))["peak_rss_bytes"] <= 60_000_000


def test_the_actor_that_ds_sac_trained_is_exported_as_it_acts(finished_sac, tmp_path):
    command = [sys.executable, "-m", "edgedst.cli.main", "export", "actor.onnx", "--run", str(finished_sac)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "17-256-256-6" in done.stdout
    assert "largest difference from the native actor" in done.stdout


def test_every_metric_of_sac_is_logged(finished_sac):
    last = metrics(finished_sac)[-1]
    assert last["alpha"] == 0.2
    assert {"critic_loss", "actor_loss", "mean_q", "entropy", "connections_moved"} <= last.keys()
    assert last["critic_loss"] > 0


@pytest.mark.parametrize(
    ("env", "rows"),
    [
        ("Hopper-v4", 600_000),
        ("Walker2d-v4", 400_000),
        ("Ant-v4", 300_000),
        ("Ant-v5", 90_000),
        ("Humanoid-v4", 25_000),
    ],
)
def test_every_task_of_the_paper_stays_below_50_mb(env, rows, tmp_path):
    arguments = ("--steps", "900", "--start-steps", "500", "--eval-every", "900", "--evolve-every", "100")
    train(tmp_path, "--env", env, *arguments, env=telling(tmp_path))
    told = summary(run_in(tmp_path))
    assert told["front_end_peak_bytes"] < told["peak_rss_bytes"] <= 50_000_000
    assert told["planned_bytes"] <= 50_000_000
    assert told["replay_rows"] >= rows
    assert not {name.split(".")[0] for name in modules(tmp_path)} & HEAVY


@pytest.mark.parametrize(("env", "budget_mb"), [("HalfCheetah-v4", "24"), ("Hopper-v5", "22"), ("Humanoid-v5", "40")])
def test_a_disturbed_task_stays_within_a_small_budget_and_is_lean(env, budget_mb, tmp_path):
    randomize = ("--randomize", "friction=0.5..1.5,mass=0.8..1.2,gain=0.9..1.1,damping=0.5..2")
    arguments = (
        "--env",
        env,
        "--budget-mb",
        budget_mb,
        "--steps",
        "1500",
        "--eval-every",
        "500",
        "--start-steps",
        "500",
    )
    train(tmp_path, *arguments, *LATE_AND_NOISY, *randomize, "--max-episode-steps", "20", env=telling(tmp_path))
    told = summary(run_in(tmp_path))
    budget_bytes = 1_000_000 * int(budget_mb)
    assert told["front_end_peak_bytes"] < told["peak_rss_bytes"] <= budget_bytes
    assert told["planned_bytes"] <= budget_bytes
    assert not {name.split(".")[0] for name in modules(tmp_path)} & HEAVY


def test_disturbances_are_the_same_for_any_number_of_threads(tmp_path):
    arguments = ("--env", "Hopper-v5", "--steps", "700", *SMALL, *LATE_AND_NOISY, "--randomize", "mass=0.8..1.2")
    runs = []
    for threads in ("1", "2"):
        (tmp_path / threads).mkdir()
        train(tmp_path / threads, *arguments, "--replay-rows", "800", "--threads", threads)
        runs.append(run_in(tmp_path / threads))
    assert metrics(runs[0]) == metrics(runs[1])


def test_the_trainer_of_a_native_task_is_lean(finished, finished_sac):
    for run in (finished[0], finished_sac):
        assert not {name.split(".")[0] for name in modules(run.parents[3])} & HEAVY


def test_plan_allocation_and_limit_agree(finished):
    run, _ = finished
    plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    assert plan["arena_bytes"] == summary(run)["arena_bytes"]
    assert sum(line["bytes"] for line in plan["lines"]) == plan["planned_bytes"]
    assert summary(run)["data_limit_bytes"] > plan["arena_bytes"]


def test_every_evaluation_and_episode_is_in_the_metrics(finished):
    lines = metrics(finished[0])
    assert [line["step"] for line in lines if "evaluation_return" in line] == [0, 500, 1000, 1500]
    assert [line["episode_length"] for line in lines if "episode_return" in line] == [1000]
    assert {"critic_loss", "actor_loss", "mean_q"} <= lines[-1].keys()
    told = summary(finished[0])
    returns = [line["evaluation_return"] for line in lines if "evaluation_return" in line]
    assert told["R"] == pytest.approx(sum(returns) / 4)
    assert told["LCA"] == pytest.approx(sum(returns) / 1e6)


def test_the_best_actor_is_that_of_the_highest_evaluation(finished):
    run, _ = finished
    state = json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    step, highest, _ = max(state["evaluations"]["last"], key=lambda evaluation: evaluation[1])
    assert (state["best"]["step"], state["best"]["evaluation_return"]) == (step, highest)
    assert [path.name for path in (run / "checkpoint").glob("best-*")] == [state["best"]["file"]]


def test_a_finished_run_is_not_gone_on_from(finished):
    run, _ = finished
    _, err = train(run.parent, "--resume", str(run), code=1)
    assert err.startswith("CheckpointError: ")
    assert "is finished: all 1,500 steps are done" in err


def test_a_run_killed_between_its_last_checkpoint_and_its_summary_gets_the_summary(finished, tmp_path):
    run = Path(shutil.copytree(finished[0], tmp_path / "run"))
    told = summary(run)
    (run / "summary.json").unlink()
    out, _ = train(tmp_path, "--resume", "run")
    assert "Finished 1,500 steps" in out
    same = ("exit_reason", "finished", "step", "R", "LCA", "replay_rows", "replay_transitions", "evaluations")
    assert {name: summary(run)[name] for name in same} == {name: told[name] for name in same}
    assert metrics(run) == metrics(finished[0])


def test_a_run_that_goes_on_keeps_its_settings(finished):
    run, _ = finished
    _, err = train(run.parent, "--resume", str(run), "--seed", "3", code=1)
    assert "was started with seed = 0 and cannot go on with 3" in err


def test_the_config_of_a_run_repeats_it(finished, tmp_path):
    run, _ = finished
    train(tmp_path, "--config", str(run / "config.toml"))
    assert summary(run_in(tmp_path))["replay_rows"] == summary(run)["replay_rows"]
    assert digest(run_in(tmp_path)) == digest(run)
    assert metrics(run_in(tmp_path)) == metrics(run)


@pytest.mark.parametrize(
    ("env", "method"),
    [
        ("HalfCheetah-v4", ()),
        ("Hopper-v5", ()),
        ("Humanoid-v4", ()),
        ("Pendulum-v1", ()),
        # A target is a copy of long ago, its critic has evolved since.
        ("HalfCheetah-v4", ("--method", "ds-sac", "--batch-size", "64")),
        # A target is on the union; the temperature has its moments.
        ("Hopper-v5", ("--method", "ds-sac", "--target-update", "soft", "--alpha-tuning", "automatic")),
        # Targets of several steps, which a resumed ring has to give alike.
        ("Hopper-v5", ("--n-steps", "3", "--method", "ds-sac", "--batch-size", "64")),
        # Running statistics of the critics.
        ("Hopper-v5", ("--batch-norm",)),
        # What was seen of the episode under way, and the statistics of observations.
        ("Hopper-v4", ("--history", "3", "--normalize-observations")),
        ("Pendulum-v1", ("--history", "2", "--normalize-observations", "--replay-dtype", "float32")),
        # A state with factors, delay and noise; and one that is played again.
        ("Hopper-v5", (*LATE_AND_NOISY, "--randomize", "friction=0.5..1.5,mass=0.8..1.2,gain=0.9..1.1")),
        ("Pendulum-v1", LATE_AND_NOISY),
    ],
)
def test_a_run_killed_at_random_moments_and_resumed_is_the_same_run(env, method, tmp_path, rng):
    # The ring is full after 800 steps, so rows are forgotten too; checkpoints fall inside episodes.
    arguments = (
        "--env",
        env,
        "--budget-mb",
        "90",
        "--steps",
        "2500",
        "--replay-rows",
        "800",
        "--checkpoint-every",
        "130",
    )
    arguments = (*arguments, *SMALL, "--no-progress", *method)
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    begin = time.monotonic()
    train(tmp_path / "whole", *arguments)
    seconds = time.monotonic() - begin
    for kill in range(20):
        process = start(tmp_path / "killed", *arguments, "--resume", "newest")
        try:
            # Often enough too early for a first checkpoint: then `newest` begins afresh.
            _, err = process.communicate(timeout=rng.uniform(0.3, 0.9) * seconds if kill < 5 else None)
            assert process.returncode == 0, err
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM if kill == 2 else signal.SIGKILL)
            process.communicate()
    runs = [run for run in (tmp_path / "killed" / "runs").glob("*/*/s*") if (run / "summary.json").exists()]
    done = [run for run in runs if summary(run)["finished"]]
    whole = run_in(tmp_path / "whole")
    assert done
    for run in done:  # one that was killed after its last word is followed by another
        assert metrics(run) == metrics(whole)
        assert digest(run) == digest(whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_names_the_command_that_goes_on(number, tmp_path):
    process = start(tmp_path, "--steps", "1000000", "--checkpoint-every", "1000000", *SMALL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/*/*/checkpoint/state.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    run = run_in(tmp_path)
    assert f"edgedst train --resume {run.relative_to(tmp_path)}" in out
    assert summary(run)["exit_reason"] == "interrupted"
    assert (
        json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))["step"] == summary(run)["step"] > 0
    )


def test_only_ctrl_c_ends_a_run_that_stops_already():
    # A parent of several threads that is killed sends SIGTERM for each of them.
    run = types.SimpleNamespace(stop=False, signalled=False)
    for _ in range(3):
        Training.request_stop(run, signal.SIGTERM, None)
        assert run.stop
    with pytest.raises(KeyboardInterrupt):
        Training.request_stop(run, signal.SIGINT, None)


def test_a_file_system_that_takes_no_more_is_a_sentence_and_the_last_checkpoint_is_good(tmp_path):
    def small_files():
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (40_000, 40_000)
        )  # the replay's segment outgrows it, the rest does not

    arguments = ("--steps", "3000", "--checkpoint-every", "100", "--hidden", "4", *SMALL[2:])
    _, err = train(tmp_path, *arguments, code=1, preexec_fn=small_files)
    assert err.startswith("RunFolderError: ")
    assert "cannot be written: File too large" in err
    assert "is good: `edgedst train --resume" in err
    out, _ = train(tmp_path, "--resume", str(run_in(tmp_path)))
    assert "Finished 3,000 steps" in out


def test_an_unwritable_folder_is_a_sentence(tmp_path):
    (tmp_path / "runs").write_text("in the way", encoding="utf-8")
    _, err = train(tmp_path, "--steps", "10", code=1)
    assert err.startswith("RunFolderError: ")
    assert len(err.splitlines()) == 1


ENVIRONMENTS = '''
import gymnasium, numpy, os, signal, time

class Point(gymnasium.Env):
    """Two numbers that drift; `fault` says what goes wrong after 600 steps, or that it is stopped after 190."""
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-2, 2, (1,))

    def __init__(self, fault=None):
        self.fault, self.steps, self.kept = fault, 0, []

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return numpy.zeros(2, numpy.float32), {}

    def step(self, action):
        self.steps += 1
        reward = 0.0
        if self.steps > 600:
            if self.fault == "memory":
                self.kept.append(numpy.ones(20_000))
            if self.fault == "raise":
                raise ZeroDivisionError("the arm fell off")
            if self.fault == "nan":
                reward = float("nan")
            if self.fault == "large":
                return numpy.full(2, 1e6, numpy.float32), reward, False, False, {}
            if self.fault == "much":
                reward = -1e39
        if self.fault == "stop":
            reward = self.np_random.normal()
            if self.steps == 190:
                os.kill(os.getpid(), signal.SIGTERM)
        return self.np_random.normal(size=2).astype(numpy.float32), reward, False, self.steps % 50 == 0, {}

class Forks(Point):
    """Leaves a process behind that outlives it."""
    def __init__(self):
        super().__init__()
        if os.fork() == 0:
            for _ in range(600):
                if os.path.exists("done"):
                    break
                time.sleep(0.2)
            os._exit(0)

gymnasium.register("forks-v0", entry_point=Forks)
for fault in ("memory", "raise", "nan", "much", "large", "stop"):
    gymnasium.register(f"{fault}-v0", entry_point=Point, kwargs={"fault": fault})
'''


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("memory", 3, r"BudgetBroken: points:memory-v0 does not stay within 90 MB"),
        ("raise", 1, r"EnvironmentFault: .*ZeroDivisionError.*the arm fell off"),
        ("nan", 1, r"EnvironmentFault: .*reward of nan"),
    ],
)
def test_what_an_environment_does_wrong_is_a_sentence_and_the_last_checkpoint_is_good(fault, code, words, tmp_path):
    (tmp_path / "points.py").write_text(ENVIRONMENTS, encoding="utf-8")
    arguments = ("--env", f"points:{fault}-v0", "--budget-mb", "90", "--steps", "5000", "--replay-rows", "10000")
    quiet = ("--hidden", "8", "--eval-every", "10000", "--eval-episodes", "1", "--checkpoint-every", "100")
    _, err = train(tmp_path, *arguments, *quiet, "--start-steps", "5000", code=code)
    assert len(err.strip().splitlines()) == 1
    assert re.search(words, err), err
    assert re.search("is good.*: `edgedst train --resume", err)
    if fault == "memory":  # a leak is stopped below the budget, not above it
        assert summary(run_in(tmp_path))["peak_rss_bytes"] <= 90_000_000
    assert json.loads((run_in(tmp_path) / "checkpoint" / "state.json").read_text(encoding="utf-8"))["step"] >= 400


QUIET = ("--hidden", "8", "--eval-every", "10000", "--eval-episodes", "1", "--no-progress")


def test_a_reward_that_the_replay_cannot_hold_is_a_sentence(tmp_path):
    (tmp_path / "points.py").write_text(ENVIRONMENTS, encoding="utf-8")
    arguments = ("--env", "points:much-v0", "--budget-mb", "90", "--steps", "5000", "--start-steps", "5000")
    _, err = train(tmp_path, *arguments, *QUIET, code=1)
    assert err.startswith("EnvironmentFault: points:much-v0 gave a reward of -1e+39, and the replay keeps")


def test_a_process_that_an_environment_leaves_behind_holds_nothing_up(tmp_path):
    (tmp_path / "points.py").write_text(ENVIRONMENTS, encoding="utf-8")
    arguments = ("--env", "points:forks-v0", "--budget-mb", "90", "--steps", "300", "--start-steps", "300")

    def done(*command):
        """Its output; TimeoutExpired when it waits for the process that was left behind."""
        with (tmp_path / "out").open("w+b") as out:
            subprocess.run(edgedst(*command), cwd=tmp_path, stdout=out, stderr=out, timeout=60, check=True)
        return (tmp_path / "out").read_text(encoding="utf-8")

    try:
        assert "headroom" in done("plan", *arguments)
        done("train", "--run-dir", "runs", *arguments, *QUIET)
        with (run_in(tmp_path) / "metrics.jsonl").open("rb") as locked:  # not by the other process
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        (tmp_path / "done").touch()


def test_a_simulation_that_mujoco_had_to_reset_is_told(tmp_path):
    config = TrainConfig(steps=1000, hidden=(8, 8), eval_every=500, eval_episodes=1, replay_dtype="float32").resolved()
    job = launch.job_for(config, run_dir=str(tmp_path), progress=False)
    model = Path(job["spec"]["model_file"]).read_text(encoding="utf-8")
    strong = tmp_path / "half_cheetah.xml"
    strong.write_text(re.sub(r'gear="\d+"', 'gear="1e15"', model), encoding="utf-8")
    job["spec"]["model_file"] = str(strong)
    arguments, variables = launch.command(job)
    done = subprocess.run(arguments, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"HalfCheetah-v4 warned before step [\d,]+: .*unstable", done.stdout), done.stdout


def test_a_run_that_diverges_ends_with_a_sentence_that_does_not_send_it_there_again(tmp_path):
    deep = "hidden = [32, 32, 32, 32, 32, 32, 32, 32]\nlearning_rate = 1000.0\n"
    (tmp_path / "deep.toml").write_text(deep, encoding="utf-8")
    _, err = train(tmp_path, "--steps", "5000", "--config", "deep.toml", *SMALL[2:], code=1)
    assert re.match(r"TrainingDiverged: The losses are .* smaller `learning_rate` in .*: it is 1000\.$", err.strip()), (
        err
    )
    assert "--resume" not in err


def test_the_best_actor_of_an_evaluation_that_was_stopped_and_made_again_is_in_the_checkpoint(tmp_path):
    # Each environment has done 100 steps when it begins, the training one 20 more at the end, and an evaluation takes
    # 50: the signal comes within the second one, after all training.
    (tmp_path / "points.py").write_text(ENVIRONMENTS, encoding="utf-8")
    arguments = (
        "--env",
        "points:stop-v0",
        "--budget-mb",
        "90",
        "--steps",
        "20",
        "--replay-rows",
        "1000",
        "--seed",
        "1",
    )
    out, _ = train(tmp_path, *arguments, "--hidden", "8", "--eval-every", "20", "--eval-episodes", "1")
    run = run_in(tmp_path)
    state = json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    assert "Stopped at step 20" in out
    assert (state["step"], state["best"]["step"], state["evaluations"]["count"]) == (20, 0, 1)
    train(tmp_path, "--resume", str(run))
    state = json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    first, second = state["evaluations"]["last"]
    assert second[1] > first[1] == state["evaluations"]["sum"] - second[1]
    assert (state["step"], state["best"]["step"]) == (20, 20)
    assert (run / "checkpoint" / state["best"]["file"]).is_file()


def test_debug_shows_the_traceback(tmp_path):
    _, err = train(tmp_path, "--env", "HalfCheetah-v9", "--debug", code=1)
    assert "Traceback" in err
    assert "UnknownEnvironment" in err


def test_a_budget_that_does_not_fit_leaves_nothing_behind(tmp_path):
    _, err = train(tmp_path, "--budget-mb", "12", code=1)
    assert err.startswith("BudgetExceeded: HalfCheetah-v4 needs at least")
    assert list(tmp_path.iterdir()) == []


def test_what_the_rehearsal_has_no_room_for_is_refused_by_the_plan(tmp_path):
    large = ("--env", "Humanoid-v4", "--history", "64", "--batch-size", "512")
    _, err = train(tmp_path, *large, "--budget-mb", "40", code=1)
    assert err.startswith("BudgetExceeded: Humanoid-v4 needs at least")
    assert "ulimit" not in err


def test_the_rehearsal_takes_no_more_than_a_narrow_network_itself(tmp_path):
    narrow = ("--budget-mb", "60", "--hidden", "8,8", "--batch-size", "100000")
    planned = subprocess.run(edgedst("plan", *narrow, "--json"), capture_output=True, text=True, check=True)
    assert json.loads(planned.stdout)["smallest_budget_mb"] < 55  # with layers of 32 it was 87.4


def test_more_features_than_a_layer_can_have_are_a_sentence(tmp_path):
    (tmp_path / "wide.py").write_text(
        "import gymnasium, numpy as np\n"
        "class Wide(gymnasium.Env):\n"
        "    action_space = gymnasium.spaces.Box(-1, 1, (2,))\n"
        "    def __init__(self, size): self.observation_space = gymnasium.spaces.Box(-1, 1, (size,))\n"
        "    def reset(self, seed=None, options=None): return np.zeros(self.observation_space.shape), {}\n"
        "    def step(self, action): return self.reset()[0], 0.0, False, False, {}\n"
        "gymnasium.register('Wide-v0', Wide)\n"
    )
    for size, more, widest in ((70_000, (), "70,002"), (1_100, ("--history", "64"), "70,530")):
        wide = ("--env", "wide:Wide-v0", "--env-kwargs", json.dumps({"size": size}), *more)
        _, err = train(tmp_path, *wide, code=1)
        assert re.match(rf"UnsupportedSpace: wide:Wide-v0 has {size:,} .* {widest} features, of at most 65,535\.", err)
        assert ("--history" in err) == bool(more)


def test_the_smallest_budget_that_is_named_works(tmp_path):
    _, err = train(tmp_path, "--budget-mb", "12", code=1)
    smallest = err.split("`--budget-mb ")[1].split("`")[0]
    train(tmp_path, "--budget-mb", smallest, "--steps", "800", "--start-steps", "500", "--eval-episodes", "1")
    told = summary(run_in(tmp_path))
    assert max(told["peak_rss_bytes"], told["front_end_peak_bytes"]) <= float(smallest) * 1_000_000


@pytest.mark.parametrize(
    ("method", "threads"),
    [("ds-td3", "2"), ("ds-td3", "3"), ("ds-sac", "2"), ("ds-sac", "3"), ("ds-td3 --batch-norm", "2")],
)
def test_threads_do_not_change_a_run(method, threads, tmp_path):
    arguments = ("--method", *method.split(), "--steps", "600", "--replay-rows", "10000", *SMALL)
    for folder, count in (("one", "1"), ("many", threads)):
        (tmp_path / folder).mkdir()
        train(tmp_path / folder, *arguments, "--threads", count)
    assert digest(run_in(tmp_path / "one")) == digest(run_in(tmp_path / "many"))
