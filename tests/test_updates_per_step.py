"""Less than an update a step: which steps have one follows from their number alone, whatever happens to the run."""

import signal

import pytest
from training import TINY, digest, metrics, run_in, saved_step, start, train

from edgedst.runs.state import read_state
from edgedst.updates import updates_for


@pytest.mark.parametrize(
    ("rate", "made"),
    #        behind 0, 1, 2, ... steps of learning
    [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6, 9, 12, 15, 18]), (1 / 3, [0, 0, 0, 1, 1, 1, 2]), (1 / 7, [0] * 7)],
)
def test_updates_come_at_every_nth_step_or_n_at_each(rate, made):
    assert [updates_for(steps, rate) for steps in range(7)] == made
    assert updates_for(-5, rate) == 0


def test_no_rate_that_can_be_set_is_off_by_one():
    for n in range(2, 10_001):
        assert [updates_for(steps, 1 / n) for steps in (n - 1, n, 10**6 * n - 1, 10**6 * n)] == [0, 1, 10**6 - 1, 10**6]


RARE = (
    *(*TINY, "--sparsity", "0.5", "--updates-per-step", "1/7", "--evolve-every", "20"),
    *("--steps", "900", "--topology-stop-steps", "200"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 900 steps, 700 of them behind the random ones, that was never disturbed; it evolves until step 700."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, *RARE)
    return run_in(folder)


def test_the_run_makes_so_many_updates_and_evolves_by_their_number(whole):
    agent = read_state(str(whole / "checkpoint"))["agent"]
    assert (agent["iteration"], agent["actor_iteration"]) == (100, 50)
    moved = {line["step"]: line["connections_moved"] for line in metrics(whole) if "connections_moved" in line}
    assert moved[200] == 0  # learning begins; the first evolution is at step 200 + 20 * 7
    assert moved[400] > 0


@pytest.mark.parametrize("every", [1, 69])  # checkpoints at every step, and at steps of no multiple of 7
def test_a_run_that_is_extended_makes_the_updates_of_one_that_began_so_long(every, whole, tmp_path):
    train(tmp_path, *RARE, "--steps", "655", "--topology-stop-steps", "0", "--checkpoint-every", every)
    run = run_in(tmp_path)
    train(tmp_path, "--resume", str(run), "--steps", "900", "--topology-stop-steps", "200", "--no-progress")
    assert metrics(run) == metrics(whole)
    assert digest(run) == digest(whole)


def test_a_run_that_is_killed_between_two_updates_goes_on_bit_for_bit(whole, tmp_path):
    for at in (262, 471):  # neither is an update's, and there is a checkpoint at every step
        process = start(tmp_path, *RARE, "--checkpoint-every", "1", "--resume", "newest")
        while process.poll() is None:
            if any(saved_step(run) >= at for run in (tmp_path / "runs").glob("*/*/s*")):
                process.send_signal(signal.SIGKILL)
        process.communicate()
    run = run_in(tmp_path)
    assert 471 <= saved_step(run) < 900
    train(tmp_path, "--resume", str(run), "--no-progress")
    assert metrics(run) == metrics(whole)
    assert digest(run) == digest(whole)
