"""TD3 learners of one shape, each as a `Side` whose step is one update: edgedst's, and plain dense PyTorch's.

Both sample from a full replay and make the same update: twin critics, Adam with weight decay, and at every second
update the actor and the targets. PyTorch's side is torch_learners.py.
"""

from __future__ import annotations

import hashlib
import statistics
from array import array
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

from one_layer import on_arena
from timing import Side, block_seconds

if TYPE_CHECKING:
    from edgedst.agents.td3 import TD3

TRANSITIONS = 20_000
EVOLVE_EVERY = 1000  # updates between two evolutions in training

# Evolutions before the timing, and updates between them: an evolved topology's targets hold the union of old and new
# connections. Measured at density 0.5: a fresh target holds 32,768 weights, this leaves 36,900, training 36,200.
EVOLUTIONS, UPDATES_BETWEEN = 3, 200


@dataclass(frozen=True)
class Case:
    """What is learned, and how. The defaults are HalfCheetah's sizes and the paper's protocol."""

    observation: int = 17  # features of an observation
    action: int = 6  # components of an action
    hidden: int = 256  # width of both hidden layers
    batch: int = 100  # transitions a mini-batch
    density: float = 0.5  # stored share of each hidden layer; 1 is dense TD3
    threads: int = 1  # of edgedst and of PyTorch
    method: str = "ds-td3"  # edgedst's, where density < 1

    def __str__(self) -> str:
        return f"{self.observation}/{self.action}, hidden {[self.hidden] * 2}, batch {self.batch}"


def edgedst_learner(case: Case) -> Side:
    """edgedst's agent; hidden layers at the density, the output dense. Its topology has evolved, its replay is full."""
    from edgedst import core

    core.set_threads(case.threads)
    agent = edgedst_agent(case)
    fill_replay(agent, core)
    if case.density >= 1:
        label, rare_seconds = "edgedst dense", 0.0
    else:
        label = f"edgedst {case.method}, density {case.density:g}"
        rare_seconds = evolve_a_few_times(agent) / EVOLVE_EVERY if case.method.startswith("ds-") else 0.0
    if case.threads > 1:
        label += f", {case.threads} threads"
    pairs = [
        pair
        for network in (agent.actor, agent.critic_1, agent.critic_2)
        for pair in zip(network.sizes[:-1], network.sizes[1:], strict=True)
    ]
    return Side(
        label,
        agent.update,
        prepare=lambda: core.set_threads(case.threads),
        rare_seconds=rare_seconds,
        facts={
            "density": min(1.0, case.density),
            "connections": agent.connections,
            "dense_connections": sum(a * b for a, b in pairs),
            "threads": case.threads,
            "evolution_us_an_update": 1e6 * rare_seconds,
        },
        fingerprint=partial(fingerprint, agent),
    )


def edgedst_agent(case: Case) -> TD3:
    """A fresh agent with room for the replay."""
    from edgedst import core
    from edgedst.agents.td3 import TD3

    config = config_of(case)

    def build(arena):
        agent = TD3(arena, config, case.observation, case.action)
        agent.replay = core.Replay(arena, "replay", TRANSITIONS + 2, case.observation, case.action, "float16")
        return agent

    agent = on_arena(build)
    agent.initialise()
    return agent


def config_of(case: Case) -> SimpleNamespace:
    """The settings of both learners: the paper's protocol, and evolutions only when asked for."""
    from edgedst.config import TrainConfig

    # lambda = density * in * out / (in + out). Both networks share lambda1: the critic's input gives it.
    n_in, hidden = case.observation + case.action, case.hidden
    return SimpleNamespace(
        **{
            **TrainConfig().resolved().settings(),
            "method": "td3" if case.density >= 1 else case.method,
            "hidden": (hidden, hidden),
            "lambda1": case.density * n_in * hidden / (n_in + hidden),
            "lambda2": case.density * hidden / 2,
            "batch_size": case.batch,
            "evolve_every": 10**9,  # never inside a timed block; evolve_a_few_times says when
            "threads": case.threads,
        }
    )


def fill_replay(agent: TD3, core) -> None:
    """Transitions of normal observations and uniform actions; the reward is the observation's first feature."""
    random = core.Random(1)
    observation, action = array("f", bytes(4 * agent.observation_size)), array("f", bytes(4 * agent.action_size))
    random.normal(observation, 1.0)
    agent.begin_episode(array("d", observation))
    for _ in range(TRANSITIONS):
        random.normal(observation, 1.0)
        random.uniform(action, -1.0, 1.0)
        agent.remember(action, observation[0], array("d", observation), False, False)


def evolve_a_few_times(agent: TD3) -> float:
    """Train through some evolutions; returns the median seconds that one adds to the update it falls into."""
    config, never = agent.config, agent.config.evolve_every
    extra = []
    for _ in range(EVOLUTIONS):
        usual = []
        for _ in range(UPDATES_BETWEEN // 2 - 1):
            agent.update()
            usual.append(
                block_seconds(agent.update, 1)
            )  # of every second update, the one with the actor: evolution's is one
        agent.update()
        config.evolve_every = agent.iteration + 1
        extra.append(block_seconds(agent.update, 1) - statistics.median(usual))
        config.evolve_every = never
    return max(0.0, statistics.median(extra))


def fingerprint(agent: TD3) -> str:
    """SHA-256 of every position, weight, bias and moment of the six networks: equal means bitwise equal."""
    digest = hashlib.sha256()
    for name, network in agent.networks.items():
        for layer in range(len(network.sizes) - 1):
            digest.update(array("I", network.positions(layer)))
            parts = [network.values, network.bias]
            if not name.endswith("_target"):
                parts += [network.adam_m, network.adam_v, network.bias_adam_m, network.bias_adam_v]
            for part in parts:
                digest.update(part(layer))
    return digest.hexdigest()


def pytorch_learner(case: Case) -> Side | None:
    """PyTorch's update as a side; None where torch is missing."""
    try:
        import torch
    except ImportError:
        return None
    import numpy as np
    import torch_learners

    n, m, rng = case.observation, case.action, np.random.default_rng(0)
    replay = torch_learners.Replay(TRANSITIONS, n, m)
    for column in (replay.observation, replay.next_observation, replay.reward):
        column[:] = rng.standard_normal(column.shape)
    replay.action[:] = rng.uniform(-1, 1, replay.action.shape)
    replay.not_done[:] = 1
    replay.added = TRANSITIONS
    return Side(
        f"PyTorch {torch.__version__} dense",
        torch_learners.TD3(config_of(case), n, m, replay).update,
        prepare=lambda: torch.set_num_threads(case.threads),
        facts={"torch": torch.__version__, "threads": case.threads},
    )
