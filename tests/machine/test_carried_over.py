"""A simulator's run carried over to a machine, and a machine's run that gets more steps."""

import numpy as np
import pytest
from machine.runs import SMALL, Run, state_of
from training import run_in, summary, train

from edgedst.runs.actor import read_actor

SHAPES = ("--method", "ds-td3", "--hidden", "16", "--lambda1", "3", "--lambda2", "4", "--no-progress")
SIMULATOR = ("--env", "InvertedPendulum-v5", "--budget-mb", "40", *SHAPES, "--start-steps", "200", "--steps", "400")
FOUR_OBSERVATIONS = {"ROBOT_FILLERS": "1"}  # as that task has


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    """(the simulator's run, a run of 60 steps on the machine that began with it, which a run of 60 more extended)."""
    folder = tmp_path_factory.mktemp("carried")
    (folder / "simulator").mkdir()
    train(folder / "simulator", *SIMULATOR, "--eval-every", "0")
    simulated = run_in(folder / "simulator")
    arguments = [part for part in SMALL if part not in ("--start-steps", "40")]
    run = Run(folder, *arguments, *SHAPES, "--init-from", str(simulated), "--steps", "60", variables=FOUR_OBSERVATIONS)
    run.printed, _ = run.ended()
    run.actor, run.agent, run.step = read_actor(run.run), state_of(run.run)["agent"], state_of(run.run)["step"]
    again = Run(folder, "--resume", str(run.run), "--steps", "180", "--no-progress", variables=FOUR_OBSERVATIONS)
    again.printed, _ = again.ended()
    return simulated, run, again


def test_on_the_machine_it_acts_as_in_the_simulator_though_its_networks_see_other_units(carried):
    simulated, run, _ = carried
    observations = np.random.default_rng(0).uniform(-0.1, 0.1, (50, 4))
    before, now = (actions(actor, observations) for actor in (read_actor(simulated), run.actor))
    assert abs(before).max() > 0.05
    # Features are float32 of either units: weights of 2^20 times those of the simulator are rounded alike.
    assert now == pytest.approx(before, abs=2e-5)
    assert "Their first layers take observations in the units of this run now" in run.printed
    assert "Their actions from -1 to 1 meant [-3.0] to [3.0] there, and mean [-1.0] to [1.0] here." in run.printed


def actions(actor, observations):
    """From -1 to 1."""
    features = observations.T
    for number, layer in enumerate(actor.layers):
        features = layer.weight @ features + np.asarray(layer.bias)[:, None]
        features = np.tanh(features) if number == len(actor.layers) - 1 else np.maximum(0, features)
    return features


def test_nothing_is_learned_before_there_is_a_batch_nor_owed_then(carried):
    _, run, again = carried
    assert run.step == 60  # of a batch of 100
    assert run.agent["iteration"] == 200
    transitions = summary(again.run)["replay_transitions"]
    assert 200 < state_of(again.run)["agent"]["iteration"] <= 200 + transitions - 99


def test_a_machine_s_run_is_extended_and_says_where_evolution_ends(carried):
    _, _, again = carried
    assert "The run is extended from 60 to 180 steps. Evolution of its topology had ended at step 57" in again.printed
    assert ", from step 60" in again.printed
    assert (summary(again.run)["step"], summary(again.run)["finished"]) == (180, True)
    assert again.at_rest
