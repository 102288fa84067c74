"""SIGKILL of each side of a machine that learns while it acts: it comes to rest, the run goes on, no step is torn.

An attack is two kills of one run. EDGEDST_FAULTS=50 pytest -s tests/faults/test_machine_kills.py makes 100 of each side
and ends with the table that docs/reliability.md shows.
"""

import os
import signal
import time

import pytest
from faults.campaign import campaign, no_leftovers, sentence
from machine.runs import Run, in_order, rested_ns, stored
from training import saved_step

RATE_HZ = 50
SETTINGS = (  # a checkpoint every fifth of a second, an episode every two of those
    *("--env", "robot.py", "--budget-mb", "25", "--hidden", "16", "--replay-rows", "5000", "--replay-dtype", "float32"),
    *("--start-steps", "10", "--checkpoint-every", "10", "--eval-every", "3", "--eval-episodes", "1"),
    *("--updates-per-step", "4", "--steps", "1000000", "--no-progress", "--resume", "newest"),
)
VARIABLES = {"ROBOT_RATE": str(RATE_HZ), "ROBOT_EPISODE": "20"}
# In the suite others may have the processor: what is held there is that it comes to rest at all.
MOST_PERIODS = 3 if os.environ.get("EDGEDST_FAULTS") else 250


def kill(rng, folder, side):
    """Train, and kill one side at a random moment; returns the periods until the machine was at rest, 0: it was."""
    run = Run(folder, *SETTINGS, variables=VARIABLES)
    try:
        run.until("start" if side == "warden" else "import")  # there is no warden before
        time.sleep(rng.uniform(0, 1.5))
        at_ns = run.send(signal.SIGKILL, getattr(run, side))
        _, err = run.process.communicate(timeout=60)
        run.wait_for_nobody()
    finally:
        run.kill_all()
    if side == "learner":
        assert (run.process.returncode, err) == (-9, "")
    else:
        assert run.process.returncode == 1, err
        sentence(err, "RobotFault")
    assert in_order(run.calls)
    return rested_ns(run.calls, at_ns) * RATE_HZ / 1e9


def train_on(folder):
    """Go on with what there is: it must move again, and come to rest when it is asked to."""
    run = Run(folder, *SETTINGS, variables=VARIABLES)
    try:
        run.until("apply", 25).send(signal.SIGTERM)
        _, err = run.ended()
    finally:
        run.kill_all()
    assert err == ""
    assert run.at_rest
    assert in_order(run.calls)
    return run


@pytest.fixture(scope="module")
def table():
    """Rows of it, which are printed at the end."""
    rows = [
        "| killed | kills | at rest before | periods until rest, of the others: p50 | p99 | max | steps stored |",
        "|---|---|---|---|---|---|---|",
    ]
    yield rows
    print("\n" + "\n".join(rows))


@pytest.mark.parametrize("side", ["learner", "acting", "warden"])
def test_when_a_side_is_killed_the_machine_comes_to_rest_and_the_run_goes_on_with_whole_steps(side, table, tmp_path):
    periods, steps = [], 0

    def attack(rng, folder):
        nonlocal steps
        told = [kill(rng, folder, side) for _ in range(2)]
        run = train_on(folder)
        for saved in (folder / "runs").glob("*/*/s*"):
            if saved_step(saved) >= 0:
                steps += len(stored(saved, run.all_calls))
                no_leftovers(saved)
        periods.extend(told)
        assert max(told) <= MOST_PERIODS, f"at rest {max(told):.1f} periods after the kill"
        return "went on"

    campaign(f"kills of the {side}", 1, tmp_path, attack)
    moving = sorted(number for number in periods if number)
    shares = [f"{moving[int(share * (len(moving) - 1))]:.2f}" for share in (0.5, 0.99, 1) if moving]
    cells = [side, len(periods), len(periods) - len(moving), *(shares or 3 * ["-"]), f"{steps:,}"]
    table.append(f"| {' | '.join(map(str, cells))} |")
