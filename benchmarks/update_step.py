"""One TD3 update: edgedst's packed sparse one against a plain dense PyTorch one, in turns, each on one thread.

    python benchmarks/update_step.py                            17/6, [256, 256], batch 100, density 0.5
    python benchmarks/update_step.py --density 0.2 --batch 256 --json

Both sides sample from a full replay and make the same update: twin critics, Adam with weight decay, and at every
second update the actor and the targets. PyTorch's side is dense TD3 as anyone would write it. An update is timed as
the mean of a block, so that the delayed actor counts half; the blocks alternate A B A B, and medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from array import array
from types import SimpleNamespace

OBSERVATION, ACTION, TRANSITIONS = 17, 6, 20_000


def edgedst_learner(args: argparse.Namespace):
    """`update()` of edgedst's agent; hidden layers at `--density`, the output dense."""
    from edgedst import core
    from edgedst.agents.td3 import TD3

    core.set_threads(1)
    # lambda = density * in * out / (in + out). Both networks share lambda1: the critic's input gives it.
    n_in, hidden = OBSERVATION + ACTION, args.hidden
    config = SimpleNamespace(
        method="td3" if args.density >= 1 else args.method,
        hidden=(hidden, hidden),
        lambda1=args.density * n_in * hidden / (n_in + hidden),
        lambda2=args.density * hidden / 2,
        batch_size=args.batch,
        gamma=0.99,
        tau=0.005,
        policy_delay=2,
        learning_rate=1e-3,
        weight_decay=2e-4,
        exploration_noise=0.1,
        target_policy_noise=0.2,
        target_noise_clip=0.5,
        eta=0.05,
        evolve_every=1000,
        seed=0,
        steps=1_000_000,
        start_steps=25_000,
        topology_stop_steps=50_000,
    )

    def build(arena):
        agent = TD3(arena, config, OBSERVATION, ACTION)
        agent.replay = core.Replay(arena, "replay", TRANSITIONS + 2, OBSERVATION, ACTION, "float16")
        return agent

    measured = core.Arena()
    build(measured)
    agent = build(core.Arena(measured.used_bytes))
    agent.initialise()
    random = core.Random(1)
    observation, action = array("f", bytes(4 * OBSERVATION)), array("f", bytes(4 * ACTION))
    random.normal(observation, 1.0)
    agent.replay.begin_episode(array("d", observation))
    for _ in range(TRANSITIONS):
        random.normal(observation, 1.0)
        random.uniform(action, -1.0, 1.0)
        agent.replay.add(action, observation[0], array("d", observation), False, False)
    stored = agent.connections
    dense = sum(
        a * b
        for sizes in (agent.actor.sizes, agent.critic_1.sizes, agent.critic_2.sizes)
        for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    )
    return agent.update, {"isa": core.isa(), "connections": stored, "dense_connections": dense}


def pytorch_learner(args: argparse.Namespace):
    """Dense TD3 in PyTorch, in the shape of its authors' code; None with a sentence where torch is missing."""
    try:
        import torch
        from torch import nn
        from torch.nn import functional
    except ImportError:
        return None, {}
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def mlp(n_in, n_out):
        hidden = args.hidden
        layers = [nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, n_out)]
        return nn.Sequential(*layers)

    def adam(*networks):
        parameters = [p for network in networks for p in network.parameters()]
        return torch.optim.Adam(parameters, lr=1e-3, weight_decay=2e-4)

    actor, actor_target = (nn.Sequential(mlp(OBSERVATION, ACTION), nn.Tanh()) for _ in range(2))
    critic_1, critic_2, critic_1_target, critic_2_target = (mlp(OBSERVATION + ACTION, 1) for _ in range(4))
    pairs = ((actor, actor_target), (critic_1, critic_1_target), (critic_2, critic_2_target))
    for network, target in pairs:
        target.load_state_dict(network.state_dict())
    actor_adam, critic_adam = adam(actor), adam(critic_1, critic_2)
    replay = {
        "observation": torch.randn(TRANSITIONS, OBSERVATION),
        "action": torch.rand(TRANSITIONS, ACTION) * 2 - 1,
        "next_observation": torch.randn(TRANSITIONS, OBSERVATION),
        "reward": torch.randn(TRANSITIONS, 1),
        "not_done": torch.ones(TRANSITIONS, 1),
    }
    count = 0

    def update():
        nonlocal count
        count += 1
        rows = torch.randint(0, TRANSITIONS, (args.batch,))
        observation, action, next_observation, reward, not_done = (column[rows] for column in replay.values())
        with torch.no_grad():
            noise = (torch.randn_like(action) * 0.2).clamp(-0.5, 0.5)
            next_action = (actor_target(next_observation) + noise).clamp(-1, 1)
            next_input = torch.cat([next_observation, next_action], 1)
            y = reward + 0.99 * not_done * torch.min(critic_1_target(next_input), critic_2_target(next_input))
        critic_input = torch.cat([observation, action], 1)
        loss = functional.mse_loss(critic_1(critic_input), y) + functional.mse_loss(critic_2(critic_input), y)
        critic_adam.zero_grad()
        loss.backward()
        critic_adam.step()
        if count % 2 == 0:
            actor_loss = -critic_1(torch.cat([observation, actor(observation)], 1)).mean()
            actor_adam.zero_grad()
            actor_loss.backward()
            actor_adam.step()
            with torch.no_grad():
                for network, target in pairs:
                    for p, p_target in zip(network.parameters(), target.parameters(), strict=True):
                        p_target.mul_(1 - 0.005).add_(0.005 * p)

    return update, {"torch": torch.__version__}


def block_seconds(update, updates: int) -> float:
    """Mean seconds an update of one block."""
    start = time.perf_counter()
    for _ in range(updates):
        update()
    return (time.perf_counter() - start) / updates


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and the fastest and slowest block, in microseconds."""
    micro = [1e6 * s for s in seconds]
    return {"median_us": statistics.median(micro), "fastest_us": min(micro), "slowest_us": max(micro)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=100, help="transitions a mini-batch")
    parser.add_argument("--density", type=float, default=0.5, help="stored share of each hidden layer; 1 is dense TD3")
    parser.add_argument("--hidden", type=int, default=256, help="width of both hidden layers")
    parser.add_argument("--method", default="ds-td3", help="edgedst's method where density < 1")
    parser.add_argument("--blocks", type=int, default=15, help="timed blocks of each side")
    parser.add_argument("--updates", type=int, default=60, help="updates a block, even")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    args = parser.parse_args()

    ours, our_facts = edgedst_learner(args)
    theirs, their_facts = pytorch_learner(args)
    sides = {"edgedst": ours} | ({"pytorch": theirs} if theirs else {})
    for update in sides.values():
        block_seconds(update, 2 * args.updates)  # warm-up
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.blocks):
        for name, update in sides.items():
            seconds[name].append(block_seconds(update, args.updates))

    result: dict[str, object] = {
        "batch": args.batch,
        "hidden": [args.hidden, args.hidden],
        "density": args.density,
        "blocks": args.blocks,
        "updates_per_block": args.updates,
        "cpus": os.cpu_count(),
        **our_facts,
        **their_facts,
        **{name: spread(times) for name, times in seconds.items()},
    }
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    result["ratio"] = medians["edgedst"] / medians["pytorch"] if theirs else None
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if args.json else table(result))
    if not theirs:
        sys.stderr.write("PyTorch is not installed, so there is no ratio. Install it with `pip install torch`.\n")
    return 0


def table(result: dict) -> str:
    """The same for reading."""
    lines = [
        f"One TD3 update: {OBSERVATION}/{ACTION}, hidden {result['hidden']}, batch {result['batch']}, one thread",
        f"{'':22}{'median':>10}{'fastest':>10}{'slowest':>10}   updates/s",
    ]
    stored = result["connections"] / result["dense_connections"]
    labels = {"edgedst": f"edgedst {result['isa']} {stored:.0%}", "pytorch": f"PyTorch {result.get('torch')} dense"}
    for name, label in labels.items():
        if name in result:
            us = result[name]
            lines.append(
                f"{label:22}{us['median_us']:>7.0f} us{us['fastest_us']:>7.0f} us{us['slowest_us']:>7.0f} us"
                f"{1e6 / us['median_us']:>12.0f}"
            )
    if result["ratio"] is not None:
        lines.append(f"edgedst takes {result['ratio']:.2f} of PyTorch's time.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
