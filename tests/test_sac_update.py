"""Whole SAC updates of edgedst.agents.sac.SAC, against PyTorch's autograd, distributions and Adam under the same masks.

tests/golden/make_sac_update.py is the PyTorch side. Its files test the core where torch is missing; with torch the
script runs again, live. Three updates follow each other, the targets' among them.
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
    fill_batch,
    layers_of,
    masks_of,
    run,
    write_networks,
)

from edgedst import core
from edgedst.agents.actor_critic import NETWORKS
from edgedst.agents.sac import NAMES, SAC
from edgedst.errors import TrainingDiverged

GOLDEN = Path(__file__).parent / "golden"
# name: settings beside the defaults of `config`
CASES = {
    "first": {},
    "hard_update": {"target_update_every": 4},
    "soft_update": {"tau": 0.005, "target_update_every": 1},
    "automatic_alpha": {"tau": 0.005, "target_update_every": 1, "alpha_tuning": "automatic"},
    "dense": {"method": "sac"},
    "tails": {},
    "batch_norm": {"alpha_tuning": "automatic", "batch_norm": True},
}
UPDATES = 3

# Adam divides the error of m by sqrt(v): 1e-4 of a step of 3e-4, three times, and a rounding of a weight below 1.
WEIGHT_ERROR = 3 * 1e-4 * 3e-4 + 6e-8
# In the case `tails` the actor's last weights reach 7: three roundings of a weight below 8.
TAILS_WEIGHT_ERROR = 3 * 1e-4 * 3e-4 + 3 * 2.4e-7


def config(**settings):
    """The settings that the golden files were made with."""
    values = {
        "method": "ds-sac", "hidden": (24, 20), "lambda1": 3, "lambda2": 5, "batch_size": 10, "gamma": 0.99,
        "tau": 1.0, "target_update_every": 1000, "learning_rate": 3e-4, "weight_decay": 0.0, "alpha": 0.2,
        "alpha_tuning": "fixed", "eta": 0.1, "evolve_every": 1000, "seed": 0, "steps": 1_000_000,
        "start_steps": 10_000, "topology_stop_steps": 50_000, "updates_per_step": 1,
        "sparsity": None, "actor_sparsity": None, "critic_sparsity": None,
        "batch_norm": False, "history": 0, "normalize_observations": False, "demo_share": 0.0, "critic_warmup": 0,
    }  # fmt: skip
    return SimpleNamespace(**{**values, **settings})


def agent_of(case, arrays, **settings):
    """The agent, in the state that the file starts from."""
    agent = packed.on_arena(lambda arena: SAC(arena, config(**{**CASES[case], **settings}), 5, 2))
    write_networks(agent, arrays)
    agent.iteration = agent.actor_iteration = int(arrays["steps"])
    agent.log_alpha = [float(number) for number in arrays["log_alpha"]]
    return agent


def model_of(case, arrays):
    """The NumPy model in the same state, float64."""
    sizes = {name: [5, 24, 20, 4] if name == "actor" else [7, 24, 20, 1] for name in NAMES}
    networks = {name: layers_of(arrays, name, sizes[name], np.float64) for name in NAMES}
    settings = config(**CASES[case])
    return models.SAC(
        **networks,
        log_alpha=list(arrays["log_alpha"]),
        tau=settings.tau,
        target_update_every=settings.target_update_every,
        automatic=settings.alpha_tuning == "automatic",
        updates=int(arrays["steps"]),
    )


def use_noise_of(agent, arrays, update):
    """Let the agent draw the file's noise, the target's first; returns the log-probabilities as they come up."""
    noises, found = [arrays[f"batch.{update}.next_noise"], arrays[f"batch.{update}.noise"]], []

    def draw_noise():
        packed.array_of(agent.noise)[:] = noises.pop(0)

    def sample_actions(observation, action):
        type(agent).sample_actions(agent, observation, action)
        found.append(packed.array_of(agent.log_prob).copy())

    agent.draw_noise, agent.sample_actions = draw_noise, sample_actions
    return found


def check_updates(case, arrays, expected):
    """Run the updates and compare all that can be seen with `expected` (names as in the golden files)."""
    agent = agent_of(case, arrays)
    for update in range(UPDATES):
        log_probs = use_noise_of(agent, arrays, update)
        gradients = run(agent, arrays, update)
        assert set(gradients) == set(NETWORKS)
        for got, name in zip(log_probs, ("next", "new"), strict=True):
            # Of terms up to 25 (log sigma of -20, u of 12); u is a sum of 20 products.
            np.testing.assert_allclose(got, expected[f"log_prob.{update}.{name}"], rtol=1e-6, atol=1e-5)
        losses = agent.losses()
        both = 0.5 * (expected[f"loss.{update}.critic_1"] + expected[f"loss.{update}.critic_2"])
        assert losses["critic_loss"] == pytest.approx(both, rel=3e-6)  # a mean of 10 squares, each good to 1e-6
        assert losses["actor_loss"] == pytest.approx(expected[f"loss.{update}.actor"], rel=1e-6, abs=1e-6)
        assert losses["alpha"] == pytest.approx(float(expected[f"loss.{update}.alpha"]), rel=1e-6)
        entropy = -expected[f"log_prob.{update}.new"].mean()
        assert losses["entropy"] == pytest.approx(entropy, rel=1e-6, abs=1e-5)
        check_gradients(arrays, expected, update, gradients)
    check_networks(agent, arrays, expected, TAILS_WEIGHT_ERROR if case == "tails" else WEIGHT_ERROR)


def golden(case):
    with np.load(GOLDEN / f"sac_update_{case}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("case", CASES)
def test_updates_equal_pytorchs_golden_ones(isa, case):
    check_updates(case, golden(case), golden(case))


@pytest.mark.parametrize("evolve_every", [1, 1000])
@pytest.mark.parametrize("case", CASES)
def test_what_a_topology_s_scratch_holds_reaches_no_update(isa, case, evolve_every):
    arrays = golden(case)
    check_scratch_leaves_no_trace(lambda: agent_of(case, arrays, evolve_every=evolve_every), arrays, UPDATES)


@pytest.mark.parametrize("case", CASES)
def test_updates_equal_pytorchs_live(isa, case):
    pytest.importorskip("torch")
    from golden import make_sac_update

    arrays = make_sac_update.inputs(case)
    rng = np.random.default_rng(5)  # other batches and noise than the file's
    for update in range(UPDATES):
        for name in ("observation", "next_observation", "reward", "next_noise", "noise"):
            key = f"batch.{update}.{name}"
            arrays[key] = rng.normal(size=arrays[key].shape).astype(np.float32)
    check_updates(case, arrays, make_sac_update.train(case, arrays))


@pytest.mark.parametrize("case", [case for case in CASES if case != "batch_norm"])
def test_numpy_model_equals_pytorchs_golden_updates(case):
    arrays, model = golden(case), model_of(case, golden(case))
    for update in range(UPDATES):
        rows = (arrays[f"batch.{update}.{name}"].astype(np.float64) for name in (*BATCH_ROWS, "next_noise", "noise"))
        losses = model.update(*rows)
        for name, loss in losses.items():
            assert loss == pytest.approx(float(arrays[f"loss.{update}.{name}"]), rel=1e-6)  # the file's float32
    check_model(model, NAMES, arrays)


def test_noise_comes_from_the_agent_s_random_the_target_s_actions_first():
    """The core draws the noise; drawn again from the same counter it goes into the model."""
    arrays = golden("first")
    agent, model = agent_of("first", arrays), model_of("first", arrays)
    noises = []
    for _ in range(2):
        core.fill_normal(agent.noise, agent.random)
        noises.append(packed.array_of(agent.noise).astype(np.float64))
    assert not np.array_equal(*noises)

    agent.random.counter = 0
    run(agent, arrays, 0)
    losses = model.update(*(arrays[f"batch.0.{name}"].astype(np.float64) for name in BATCH_ROWS), *noises)
    assert agent.losses()["critic_loss"] == pytest.approx(0.5 * (losses["critic_1"] + losses["critic_2"]), rel=3e-6)
    assert agent.losses()["actor_loss"] == pytest.approx(losses["actor"], rel=1e-6, abs=1e-6)


def test_the_state_of_an_agent_is_all_that_its_next_updates_need():
    arrays = golden("automatic_alpha")
    agent, other = agent_of("automatic_alpha", arrays), agent_of("automatic_alpha", arrays)
    run(agent, arrays, 0)
    state = agent.state()
    for name, network in agent.networks.items():
        layers = packed.read(network, agent.workspace, moments=name in NETWORKS)
        packed.write(other.networks[name], layers, other.workspace, moments=name in NETWORKS)
    other.set_state(state)
    for one in (agent, other):
        run(one, arrays, 1)
        run(one, arrays, 2)
    assert agent.losses() == other.losses()
    assert agent.state() == other.state()


def test_losses_that_are_no_longer_finite_are_told_with_what_to_do():
    """In the core a NaN reward gives a NaN target, and that a NaN loss."""
    agent, arrays = agent_of("first", golden("first")), golden("first")
    arrays["batch.0.reward"][0, 3] = np.nan
    agent.sample = lambda: fill_batch(agent, arrays, 0)
    words = r"losses are nan of the critics and .* in gradient step 1; .* smaller `learning_rate` in .*: it is 0\.0003"
    with pytest.raises(TrainingDiverged, match=words):
        agent.update()


@pytest.mark.parametrize("case", ["first", "dense", "batch_norm"])
@pytest.mark.parametrize("name", ["actor", "critic_2"])
def test_a_nan_weight_in_a_hidden_layer_ends_training(isa, case, name):
    check_a_nan_ends_training(agent_of(case, golden(case)), golden(case), name)


@pytest.mark.parametrize(
    ("env", "method", "connections"),
    [
        # lambda_1 (17 + 256) or (23 + 256) of layer 1, lambda_2 (256 + 256) of layer 2, heads of 12 and 1 dense
        ("HalfCheetah", "ds-sac", (12 * 273 + 80 * 512 + 3072) + 2 * (12 * 279 + 80 * 512 + 256)),
        ("HalfCheetah", "sac", (17 * 256 + 65536 + 3072) + 2 * (23 * 256 + 65536 + 256)),
    ],
)
def test_connections_are_those_of_the_papers_table_4(env, method, connections):
    settings = config(method=method, hidden=(256, 256), lambda1=12, lambda2=80, batch_size=256)
    agent = packed.on_arena(lambda arena: SAC(arena, settings, 17, 6))
    agent.initialise()
    assert sum(sum(agent.networks[name].nnz) for name in NETWORKS) == agent.connections == connections


@pytest.mark.parametrize(("method", "moves"), [("ds-sac", True), ("static-sac", False), ("sac", False)])
@pytest.mark.parametrize("tau", [1.0, 0.005])
def test_topology_moves_every_e_updates_in_ds_sac_only_and_a_hard_update_copies_it(method, moves, tau):
    settings = config(method=method, evolve_every=2, eta=0.3, tau=tau, target_update_every=2)
    agent = packed.on_arena(lambda arena: SAC(arena, settings, 5, 2))
    agent.initialise()
    counts = {name: agent.networks[name].nnz for name in NETWORKS}
    before = {name: masks_of(agent, name) for name in NETWORKS}
    arrays = golden("first")
    run(agent, arrays, 0)
    for name in NETWORKS:
        np.testing.assert_array_equal(masks_of(agent, name), before[name])
    run(agent, arrays, 1)  # the second update: critics, then the actor, evolve; then the targets follow
    for name in NETWORKS:
        assert (masks_of(agent, name) != before[name]).any() == moves
        assert agent.networks[name].nnz == counts[name]
    for name, target in agent.targets.items():
        source = packed.read(agent.source_of(name), agent.workspace)
        for own, critic in zip(packed.read(target, agent.workspace, moments=False), source, strict=True):
            assert own.mask.sum() <= critic.mask.sum()
            if tau == 1:
                np.testing.assert_array_equal(own.weight, critic.weight)
                np.testing.assert_array_equal(own.bias, critic.bias)
    assert (agent.losses()["connections_moved"] > 0) == moves
