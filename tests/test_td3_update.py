"""Whole TD3 updates of edgedst.agents.td3.TD3, against PyTorch's autograd and Adam under the same masks.

tests/golden/make_td3_update.py is the PyTorch side. Its files test the core where torch is missing; with torch the
script runs again, live. Three updates follow each other, with one or two actor and target updates among them.
"""

from pathlib import Path
from types import SimpleNamespace

import models
import numpy as np
import packed
import pytest
from updates import (
    BATCH_ROWS,
    check_a_nan_ends_training,
    check_gradients,
    check_model,
    check_networks,
    check_scratch_leaves_no_trace,
    layers_of,
    masks_of,
    run,
    write_networks,
)

from edgedst import core
from edgedst.agents.actor_critic import NETWORKS
from edgedst.agents.td3 import NAMES, TD3

GOLDEN = Path(__file__).parent / "golden"
OF_TARGETS = ("first", "midway", "after_evolution", "dense")
CASES = (*OF_TARGETS, "batch_norm")
UPDATES = 3
# Adam divides the error of m by sqrt(v): 1e-4 of a step of 1e-3, three times, and a rounding of a weight below 1.
WEIGHT_ERROR = 3 * 1e-4 * 1e-3 + 6e-8


def config(**settings):
    """The settings that the golden files were made with."""
    values = {
        "method": "ds-td3", "hidden": (24, 20), "lambda1": 3, "lambda2": 5, "batch_size": 10, "gamma": 0.99,
        "tau": 0.005, "policy_delay": 2, "learning_rate": 1e-3, "weight_decay": 2e-4, "exploration_noise": 0.1,
        "target_policy_noise": 0.0, "target_noise_clip": 0.5, "eta": 0.05, "evolve_every": 1000, "seed": 0,
        "steps": 1_000_000, "start_steps": 25_000, "topology_stop_steps": 50_000, "updates_per_step": 1,
        "sparsity": None, "actor_sparsity": None, "critic_sparsity": None,
        "batch_norm": False, "history": 0, "normalize_observations": False, "demo_share": 0.0, "critic_warmup": 0,
    }  # fmt: skip
    return SimpleNamespace(**{**values, **settings})


def agent_of(arrays, **settings):
    """The agent, in the state that the file starts from."""
    dense = all(len(arrays[f"actor.{number}.indices"]) == size for number, size in enumerate((120, 480, 40)))
    settings = {"method": "td3" if dense else "ds-td3", "batch_norm": "critic_1.0.running_mean" in arrays, **settings}
    agent = packed.on_arena(lambda arena: TD3(arena, config(**settings), 5, 2))
    write_networks(agent, arrays)
    agent.iteration, agent.actor_iteration = int(arrays["steps"]), int(arrays["actor_steps"])
    return agent


def model_of(arrays):
    """The NumPy model in the same state, float64."""
    sizes = {name: [5, 24, 20, 2] if name.startswith("actor") else [7, 24, 20, 1] for name in NAMES}
    networks = {name: layers_of(arrays, name, sizes[name], np.float64) for name in NAMES}
    return models.TD3(**networks, updates=int(arrays["steps"]), actor_updates=int(arrays["actor_steps"]))


def check_updates(agent, arrays, expected):
    """Run the updates and compare all that can be seen with `expected` (names as in the golden files)."""
    for update in range(UPDATES):
        gradients = run(agent, arrays, update)
        losses = agent.losses()
        both = 0.5 * (expected[f"loss.{update}.critic_1"] + expected[f"loss.{update}.critic_2"])
        assert losses["critic_loss"] == pytest.approx(both, rel=3e-6)  # a mean of 10 squares, each good to 1e-6
        if f"loss.{update}.actor" in expected:
            assert losses["actor_loss"] == pytest.approx(
                expected[f"loss.{update}.actor"], abs=1e-6
            )  # mean of Q below 1
        assert ("actor" in gradients) == (f"loss.{update}.actor" in expected)
        check_gradients(arrays, expected, update, gradients)
    check_networks(agent, arrays, expected, WEIGHT_ERROR)


@pytest.fixture(params=CASES)
def golden(request):
    with np.load(GOLDEN / f"td3_update_{request.param}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("evolve_every", [1, 1000])
def test_what_a_topology_s_scratch_holds_reaches_no_update(isa, golden, evolve_every):
    check_scratch_leaves_no_trace(lambda: agent_of(golden, evolve_every=evolve_every), golden, UPDATES)


def test_updates_equal_pytorchs_golden_ones(isa, golden):
    check_updates(agent_of(golden), golden, golden)


@pytest.mark.parametrize("golden", OF_TARGETS, indirect=True)
def test_numpy_model_equals_pytorchs_golden_updates(golden):
    model = model_of(golden)
    for update in range(UPDATES):
        losses = model.update(*(golden[f"batch.{update}.{name}"].astype(np.float64) for name in (*BATCH_ROWS, "noise")))
        for name, loss in losses.items():
            assert loss == pytest.approx(float(golden[f"loss.{update}.{name}"]), rel=1e-6)  # the file's float32
    check_model(model, NAMES, golden)


@pytest.mark.parametrize("case", CASES)
def test_updates_equal_pytorchs_live(case):
    pytest.importorskip("torch")
    from golden import make_td3_update

    arrays = make_td3_update.inputs(case)
    rng = np.random.default_rng(5)  # other batches than the file's
    for update in range(UPDATES):
        for name in ("observation", "next_observation", "reward"):
            key = f"batch.{update}.{name}"
            arrays[key] = rng.normal(size=arrays[key].shape).astype(np.float32)
    check_updates(agent_of(arrays), arrays, make_td3_update.train(arrays))


@pytest.mark.parametrize("golden", OF_TARGETS, indirect=True)
def test_target_policy_noise_is_clipped_and_added(golden):
    """The core draws the noise; drawn again from the same counter it goes into the model."""
    agent, model = agent_of(golden, target_policy_noise=0.2, target_noise_clip=0.3), model_of(golden)
    counter = agent.random.counter
    drawn = packed.batch_of(np.zeros((2, 10), np.float32))
    core.smooth_actions(drawn, agent.random, 0.2, 0.3)
    noise = packed.array_of(drawn).astype(np.float64)
    assert 0.05 < noise.std() < 0.3
    assert np.abs(noise).max() <= np.float32(0.3)

    agent.random.counter = counter
    run(agent, golden, 0)
    losses = model.update(*(golden[f"batch.0.{name}"].astype(np.float64) for name in BATCH_ROWS), noise)
    expected = 0.5 * (losses["critic_1"] + losses["critic_2"])
    assert agent.losses()["critic_loss"] == pytest.approx(expected, rel=3e-6)
    without = 0.5 * float(golden["loss.0.critic_1"] + golden["loss.0.critic_2"])
    assert abs(expected - without) > 1e-4 * without, "the noise is seen in the loss"


@pytest.mark.parametrize("golden", ["first"], indirect=True)
def test_an_action_that_is_no_number_is_not_explored_as_the_largest_one(golden):
    """Losses need not show it: a ReLU makes 0 of a NaN. Whoever gets the action refuses it."""
    agent = agent_of(golden)
    agent.actor.bias(2)[0] = float("nan")
    action = np.zeros(2, np.float32)
    agent.explore(agent.seen, action)
    assert np.isnan(action).tolist() == [True, False]


@pytest.mark.parametrize("golden", ["first", "dense", "batch_norm"], indirect=True)
@pytest.mark.parametrize("name", ["actor", "critic_2"])
def test_a_nan_weight_in_a_hidden_layer_ends_training(isa, golden, name):
    check_a_nan_ends_training(agent_of(golden), golden, name)


@pytest.mark.parametrize(("method", "connections"), [("ds-td3", 106_169), ("static-td3", 106_169), ("td3", 214_784)])
def test_connections_of_the_papers_table_3(method, connections):
    settings = config(method=method, hidden=(256, 256), lambda1=7, lambda2=64, batch_size=100)
    agent = packed.on_arena(lambda arena: TD3(arena, settings, 17, 6))
    agent.initialise()
    assert sum(sum(agent.networks[name].nnz) for name in NETWORKS) == connections


@pytest.mark.parametrize(("method", "moves"), [("ds-td3", True), ("static-td3", False), ("td3", False)])
def test_topology_moves_every_e_updates_in_ds_td3_only(rng, method, moves):
    agent = packed.on_arena(lambda arena: TD3(arena, config(method=method, evolve_every=2, eta=0.3), 5, 2))
    agent.initialise()
    counts = {name: agent.networks[name].nnz for name in NETWORKS}
    before = {name: masks_of(agent, name) for name in NETWORKS}
    with np.load(GOLDEN / "td3_update_first.npz") as file:
        golden = dict(file)
    run(agent, golden, 0)
    for name in NETWORKS:
        np.testing.assert_array_equal(masks_of(agent, name), before[name])
    run(agent, golden, 1)  # the second update: critics, then the actor, evolve
    for name in NETWORKS:
        assert (masks_of(agent, name) != before[name]).any() == moves
        assert agent.networks[name].nnz == counts[name]
        target = packed.read(agent.networks[f"{name}_target"], agent.workspace, moments=False)
        for layer, k in zip(target, counts[name], strict=True):
            assert layer.mask.sum() <= k
    assert (agent.losses()["connections_moved"] > 0) == moves
