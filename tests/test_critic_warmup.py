"""The critics' warm-up: for some steps the actor, its target and its temperature stay as they are."""

from types import SimpleNamespace

import numpy as np
import pytest
from training import TINY, digest, metrics, run_in, saved_step, start, train

from edgedst import core
from edgedst.agents import agent_class
from edgedst.config import TrainConfig
from edgedst.runs.state import read_state

N, M = 3, 2
WARM_UP = {"start_steps": 10, "critic_warmup": 20, "steps": 100, "topology_stop_steps": 0}
SAC = {"method": "ds-sac", "alpha_tuning": "automatic", "target_update": "soft"}
LEARNS = ("critic_1", "critic_2", "critic_1_target", "critic_2_target")


def new_agent(**settings):
    """A small agent with a few random transitions."""
    usual = {"hidden": (16, 16), "lambda1": 3.0, "lambda2": 4.0, "batch_size": 8, "evolve_every": 4, **WARM_UP}
    config = SimpleNamespace(**TrainConfig(**{**usual, **settings}).resolved().settings())
    arena = core.Arena(4_000_000)
    agent = agent_class(config.method)(arena, config, N, M)
    agent.replay = core.Replay(arena, "replay", 64, N, M, "float32")
    agent.initialise()
    rng = np.random.default_rng(1)
    agent.replay.begin_episode(rng.normal(size=N))
    for _ in range(30):
        agent.replay.add(
            rng.uniform(-1, 1, M).astype(np.float32), float(rng.normal()), rng.normal(size=N), False, False
        )
    return agent


def weights(agent):
    """(values, moments) of each network as bytes."""
    return {
        name: b"".join(bytes(getattr(network, part)(layer)) for layer in range(3) for part in ("values", "bias"))
        for name, network in agent.networks.items()
    }


def update(agent, step):
    agent.at_step(step)
    agent.update()


@pytest.mark.parametrize("settings", [{}, SAC, {"method": "ds-sac", "target_update_every": 2}])
def test_the_critics_and_their_targets_learn_while_the_actor_its_target_and_alpha_stay(settings):
    agent = new_agent(**settings)
    before, alpha = weights(agent), getattr(agent, "alpha", None)
    for step in range(10, 30):
        update(agent, step)
    during = weights(agent)
    assert {name for name in before if during[name] != before[name]} == set(LEARNS)
    assert getattr(agent, "alpha", None) == alpha
    assert (agent.iteration, agent.actor_iteration) == (20, 0)
    for step in range(30, 34):
        update(agent, step)
    after = weights(agent)
    assert {name for name in before if after[name] != during[name]} == set(before)
    assert (agent.iteration, agent.actor_iteration) == (24, 4 if settings else 2)


@pytest.mark.parametrize("settings", [{}, SAC])
def test_the_actor_s_first_step_is_that_of_a_new_adam_however_long_it_waited(settings):
    agent = new_agent(**settings, weight_decay=0.0, evolve_every=10**6)
    for step in range(10, 30):
        update(agent, step)
    before = [np.array(agent.actor.values(layer)) for layer in range(3)]
    log_alpha = agent.log_alpha[0] if settings else 0.0
    for step in (30, 31)[: 1 if settings else 2]:
        update(agent, step)
    moved = np.concatenate([abs(np.array(agent.actor.values(layer)) - before[layer]) for layer in range(3)])
    rate = agent.config.learning_rate  # |m / sqrt(v)| = 1 where the bias of both is corrected by one update
    assert moved[moved > 0.5 * rate].size > 10
    assert moved.max() == pytest.approx(rate, rel=1e-3)  # float32 weights of about 0.5
    if settings:
        assert abs(agent.log_alpha[0] - log_alpha) == pytest.approx(rate, rel=1e-3)


def test_a_checkpoint_of_sac_from_before_the_actor_could_wait_goes_on():
    agent = new_agent(**SAC)
    for step in range(30, 40):
        update(agent, step)
    state = agent.state()
    del state["actor_iteration"]
    other = new_agent(**SAC)
    other.set_state(state)
    assert other.actor_iteration == agent.actor_iteration == 10


@pytest.mark.parametrize("method", ["ds-td3", "ds-sac"])
def test_evolution_ends_at_its_step_whatever_the_count_of_updates(method):
    agent = new_agent(method=method, evolve_every=1, topology_stop_steps=30)
    agent.iteration = 1_000_000  # of the run that it began from
    for step, due in ((29, True), (69, True), (70, False), (99, False)):
        agent.at_step(step)
        assert agent.evolution_is_due() == due


@pytest.mark.parametrize(("delay", "every", "of_actor"), [(2, 100, 60), (3, 100, 60), (2, 101, 59), (7, 5, 857)])
def test_the_actor_evolves_as_often_as_its_own_updates_allow(delay, every, of_actor):
    agent = new_agent(method="ds-td3", evolve_every=every, policy_delay=delay, topology_stop_steps=0)
    agent.at_step(50)
    due = {1: [], delay: []}
    for agent.iteration in range(1, 6_001):
        for asked, updates in due.items():
            if agent.iteration % asked == 0 and agent.evolution_is_due(asked):
                updates.append(agent.iteration)
    assert due[1] == list(range(every, 6_001, every))
    assert len(due[delay]) == of_actor
    assert due[delay][:2] == sorted({-(-critic // delay) * delay for critic in due[1]})[:2]


@pytest.mark.parametrize(
    "method", [("--method", "ds-td3"), ("--method", "ds-sac", "--batch-size", "32", "--alpha-tuning", "automatic")]
)
def test_a_run_killed_within_its_warm_up_and_resumed_is_the_same_run(method, tmp_path):
    arguments = (*TINY, *method, "--critic-warmup", "200", "--checkpoint-every", "30", "--eval-episodes", "50")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    train(tmp_path / "whole", *arguments)
    process = start(tmp_path / "killed", *arguments)
    while process.poll() is None:
        runs = list((tmp_path / "killed").glob("runs/*/*/s*"))
        if runs and saved_step(runs[0]) >= 240:
            process.kill()
    process.communicate()
    run, whole = run_in(tmp_path / "killed"), run_in(tmp_path / "whole")
    at = saved_step(run)
    assert at < 400, "it was killed behind the warm-up"
    train(tmp_path / "killed", "--resume", str(run), "--no-progress")
    assert metrics(run) == metrics(whole)
    assert digest(run) == digest(whole)
    agent = read_state(str(run / "checkpoint"))["agent"]
    assert (agent["iteration"], agent["actor_iteration"]) == (400, 200 if "ds-sac" in method else 100)
