"""Budgets at random: what the plan lets in stays below them, and the advice of what it refuses works when followed."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import training
from faults.campaign import campaign, sentence
from training import finished, run_in, saved_step, start, stayed_within, summary, train

ENVS = ("InvertedPendulum-v5", "HalfCheetah-v4", "Hopper-v5", "Ant-v5", "Humanoid-v4", "Pendulum-v1")
METHODS = ("ds-td3", "static-td3", "td3", "ds-sac", "sac")
SHORT = (
    *("--steps", "700", "--start-steps", "300", "--eval-every", "350", "--eval-episodes", "1", "--evolve-every", "50"),
    *("--checkpoint-every", "200", "--batch-size", "32", "--no-progress"),
)


def settings(rng):
    hidden = ",".join(str(round(2 ** rng.uniform(3, 8.5))) for _ in range(rng.randrange(1, 4)))
    if "," not in hidden:
        hidden += f",{hidden}"
    seen = rng.choice(((), (), ("--normalize-observations",), ("--history", "12")))
    return ("--env", rng.choice(ENVS), "--method", rng.choice(METHODS), "--hidden", hidden, *seen)


def planned(folder, *arguments):
    """(exit code, ledger or sentence)."""
    return training.planned(folder, *arguments, *SHORT[:-1])


def trained(folder, budget_mb, *arguments):
    """Train to the end within the budget; returns what it said."""
    folder.mkdir()
    out, _ = train(folder, *SHORT, *arguments)
    stayed_within(run_in(folder), budget_mb)
    return out


def test_a_run_stays_below_the_budget_that_fits_and_the_advice_of_one_that_does_not_works(tmp_path):
    def attack(rng, folder):
        asked = settings(rng)
        _, refusal = planned(folder, *asked, "--budget-mb", "1")
        needed = float(re.search(r"`--budget-mb ([\d.]+)`", refusal)[1])
        budget = round(needed * rng.choice((rng.uniform(0.7, 0.999), 1, rng.uniform(1, 1.2))), 2)
        code, told = planned(folder, *asked, "--budget-mb", str(budget))
        if code == 0:
            trained(folder / "fits", budget, *asked, "--budget-mb", str(budget))
            return "fits"
        assert code == 1, told
        sentence(told, "BudgetExceeded")
        if advised := re.search(r"`--budget-mb ([\d.]+)`", told):
            trained(folder / "larger", float(advised[1]), *asked, "--budget-mb", advised[1])
        if advised := re.search(r"`--hidden (\d+)`", told):
            trained(folder / "narrower", budget, *asked, "--hidden", advised[1], "--budget-mb", str(budget))
        return "advised"

    campaign("budgets", 5, tmp_path, attack)


WIDE = """
import gymnasium, numpy as np
class Wide(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (12_000,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}
    def step(self, action):
        self.steps += 1
        return self.observation_space.sample(), 0.0, False, self.steps >= 50, {}
gymnasium.register("Wide-v0", entry_point=Wide)
"""


@pytest.mark.parametrize(
    "asked",
    [
        ("Humanoid-v4", "--history", "64", "--max-episode-steps", "100"),
        ("wide:Wide-v0", "--normalize-observations"),
        ("wide:Wide-v0", "--history", "3"),
        ("Humanoid-v4", "--max-episode-steps", "100", "--action-delay", "1000"),
    ],
    ids=["history", "statistics", "history of a wide one", "delayed actions"],
)
def test_the_numbers_that_a_checkpoint_tells_as_text_are_in_the_plan(tmp_path, asked):
    (tmp_path / "wide.py").write_text(WIDE, encoding="utf-8")
    asked = ("--env", *asked, "--hidden", "16")
    _, refusal = planned(tmp_path, *asked, "--budget-mb", "1")
    budget = re.search(r"`--budget-mb ([\d.]+)`", refusal)[1]
    train(tmp_path, *asked, "--budget-mb", budget, *SHORT)
    train(tmp_path, "--resume", str(run_in(tmp_path)), "--steps", "750", "--no-progress")
    told = summary(run_in(tmp_path))
    assert told["step"] == 750
    assert told["peak_rss_bytes"] <= float(budget) * 1e6


def test_what_many_threads_take_is_in_the_plan(tmp_path):
    asked = ("--env", "InvertedPendulum-v5", "--hidden", "16", "--budget-mb")
    few, many = (
        planned(tmp_path, *asked, "100", "--threads", threads)[1]["smallest_budget_mb"] for threads in ("1", "128")
    )
    assert many > few
    asked += (str(many), "--threads", "128", "--eval-every", "0", "--steps", "310")  # ten updates: so many take turns
    told = trained(tmp_path / "run", many, *asked)
    cores = len(os.sched_getaffinity(0))
    assert (f"128 threads share {cores} core" in told) == (cores < 128)


def warmed():
    """Have the kernel keep the files of the libraries whole, as after a copy or a backup."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    for path in {*re.findall(r"/\S+\.so\S*", maps), sys.executable, *map(str, library_files())}:
        if Path(path).is_file():
            Path(path).read_bytes()


def library_files():
    import mujoco

    import edgedst._core

    return [Path(edgedst._core.__file__), *Path(mujoco.__file__).parent.glob("*.so*")]


def dropped():
    """Have the kernel forget every file."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


def test_a_run_goes_on_in_the_budget_that_it_began_with(tmp_path):
    """Libraries count more, or less, once the kernel has their files: dropping them is left to long campaigns of root.

    Another's work on this machine would suffer by it.
    """
    may_drop = os.geteuid() == 0 and bool(os.environ.get("EDGEDST_FAULTS"))

    def attack(rng, folder):
        asked = settings(rng)
        _, refusal = planned(folder, *asked, "--budget-mb", "1")
        budget = re.search(r"`--budget-mb ([\d.]+)`", refusal)[1]
        before, after = rng.sample((warmed, dropped), 2) if may_drop else (warmed, warmed)
        before()
        process = start(folder, *asked, "--budget-mb", budget, *SHORT)
        while process.poll() is None and not any(saved_step(run) >= 200 for run in folder.glob("runs/*/*/s*")):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        run = run_in(folder)
        if finished(run):
            return "was done before it was stopped"
        after()
        process = start(folder, "--resume", "newest", *asked, "--budget-mb", budget, *SHORT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        assert run_in(folder) == run, "it was trained anew"
        assert summary(run)["peak_rss_bytes"] <= float(budget) * 1e6
        return f"went on, {'cache dropped' if after is dropped else 'cache warm'}"

    campaign("budgets of runs that go on", 3, tmp_path, attack)
