"""Settings at random, all at once: in the smallest budget that `plan` tells, killed and gone on with, on one thread and
on two, a run comes to one end.
"""

from faults.campaign import campaign, sentence
from faults.test_kills import killed_at_a_moment
from training import finished, goes_on, planned, run_in, stayed_within, summary, train

ENVS = ("InvertedPendulum-v5", "InvertedPendulum-v5", "HalfCheetah-v4", "Hopper-v4", "Pendulum-v1")
METHODS = ("ds-td3", "static-td3", "td3", "ds-sac", "static-sac", "sac")
WIDTHS = (1, 3, 8, 16, 33, 64, 130)
# How often an option is given, and as what. None: it stands alone.
EACH = {
    "--updates-per-step": (0.5, ("3", "1/4", "1/7")),
    "--n-steps": (0.4, ("2", "5", "1000")),
    "--batch-norm": (0.35, (None,)),
    "--batch-size": (0.7, ("1", "7", "33", "257")),
    "--critic-warmup": (0.3, ("1", "100")),
    "--history": (0.4, ("1", "5", "17")),
    "--normalize-observations": (0.4, (None,)),
    "--observation-noise": (0.3, ("0.01", "0.5")),
    "--action-delay": (0.3, ("1", "0..4", "7")),
    "--max-episode-steps": (0.4, ("1", "7", "50")),
    "--replay-dtype": (0.4, ("float32",)),
    "--replay-rows": (0.5, ("3", "30", "101", "5000")),
    "--gamma": (0.3, ("0", "0.5", "1")),
    "--checkpoint-every": (0.8, ("13", "40", "100")),
    "--eval-every": (0.8, ("0", "50", "97")),
}
EACH_NATIVE = {"--randomize": (0.35, ("friction=0.5..1.5,mass=0.8..1.2", "mass=1.1", "damping=0.5..2"))}
EACH_SPARSE = {"--sparsity": (0.3, ("0.1", "0.5")), "--lambda1": (0.2, ("1e-6", "7")), "--lambda2": (0.2, ("1", "1e9"))}
EACH_DYNAMIC = {"--evolve-every": (0.8, ("1", "7", "50")), "--eta": (0.5, ("0", "0.5", "1"))}
EACH_TD3 = {"--policy-delay": (0.5, ("1", "3")), "--tau": (0.3, ("0", "1"))}
EACH_SAC = {"--target-update-every": (0.5, ("1", "13")), "--alpha": (0.5, ("auto", "auto_0.5", "0.01"))}


def drawn(rng):
    env, method = rng.choice(ENVS), rng.choice(METHODS)
    hidden = ",".join(str(rng.choice(WIDTHS)) for _ in range(rng.randrange(2, 5)))
    steps = rng.choice((200, 333, 500))
    asked = ["--env", env, "--method", method, "--hidden", hidden, "--steps", str(steps)]
    asked += ["--start-steps", str(rng.choice((0, 20, 99, steps))), "--seed", str(rng.randrange(2**31))]
    families = [EACH, EACH_TD3 if method.endswith("td3") else EACH_SAC]
    families += [EACH_NATIVE] * (env != "Pendulum-v1")
    families += [EACH_SPARSE] * ("-" in method) + [EACH_DYNAMIC] * method.startswith("ds")
    for option, (often, values) in (pair for family in families for pair in family.items()):
        if rng.random() < often:
            value = rng.choice(values)
            asked += [option] if value is None else [option, value]
    return asked


def test_any_settings_in_their_smallest_budget_come_to_one_end_after_kills_and_on_two_threads(tmp_path):
    def attack(rng, folder):
        asked, ways = drawn(rng), {}
        for threads in ("1", "2"):
            code, told = planned(folder, *asked, "--threads", threads, "--budget-mb", "200")
            if code:
                sentence(told, "ConfigError", "BudgetExceeded", "UnsupportedSpace")
                return "refused"
            budget = str(told["smallest_budget_mb"])
            ways[threads] = (*asked, "--threads", threads, "--budget-mb", budget, "--no-progress")
            (folder / threads).mkdir()
        train(folder / "1", *ways["1"])
        for _ in range(rng.randrange(1, 4)):
            killed_at_a_moment(rng, folder / "2", *ways["2"], "--resume", "newest")
        goes_on(folder / "2", run_in(folder / "1"), *ways["2"])
        for run in filter(finished, folder.glob("*/runs/*/*/s*")):
            stayed_within(run, summary(run)["budget_bytes"] / 1e6)
        return "one end"

    campaign("combinations", 4, tmp_path, attack, needs=("one end",))
