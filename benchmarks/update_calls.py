"""Where one TD3 update of edgedst spends its time: its calls into the core, each alone, in turns and in one process.

    python benchmarks/update_calls.py --density 0.05

A call that is repeated finds in cache, and the branch predictor in memory, what it left there: an update takes about a
tenth more than the sum of its calls.
"""

from __future__ import annotations

import argparse
import sys

import machine  # first: it holds the BLAS to one thread before NumPy is loaded
from learners import Case, edgedst_agent, evolve_a_few_times, fill_replay
from timing import Side, in_turns, report, table


def calls(case: Case) -> dict[str, Side]:
    """The calls of an update in its order, and the update."""
    from edgedst import core

    core.set_threads(1)
    agent = edgedst_agent(case)
    fill_replay(agent, core)
    if case.density < 1:
        evolve_a_few_times(agent)
    batch, config = agent.batch, agent.config
    actor, critic, q, dq = agent.actor, agent.critic_1, agent.q_1, agent.dq
    into, scratch = agent.gradients, agent.workspace
    steps = {
        "sample": agent.sample,
        "forward of the target actor": lambda: agent.targets["actor_target"].forward(
            batch.next_observation, agent.actor_pass, batch.next_action
        ),
        "target noise": lambda: core.smooth_actions(
            batch.next_action, agent.random, config.target_policy_noise, config.target_noise_clip
        ),
        "forward of a target critic": lambda: agent.targets["critic_1_target"].forward(
            batch.next_critic_input, agent.critic_pass, q
        ),
        "forward of a critic": lambda: critic.forward(batch.critic_input, agent.critic_pass, q),
        "way back of a critic": lambda: critic.backward(batch.critic_input, agent.critic_pass, q, dq, scratch, into),
        "Adam of a critic": lambda: agent.step(critic, agent.iteration),
        "forward of the actor": lambda: actor.forward(batch.observation, agent.actor_pass, batch.action),
        "way back of a critic to the action": lambda: critic.backward(
            batch.critic_input, agent.critic_pass, q, dq, scratch, None, agent.d_action, agent.input_size
        ),
        "way back of the actor": lambda: actor.backward(
            batch.observation, agent.actor_pass, batch.action, agent.d_action, scratch, into
        ),
        "Polyak of a critic": lambda: core.polyak_update(critic, agent.targets["critic_1_target"], config.tau, scratch),
        "update": agent.update,
    }
    return {name: Side(name, step) for name, step in steps.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--density", type=float, default=0.05, help="stored share of each hidden layer (0.05)")
    parser.add_argument("--hidden", type=int, default=256, help="width of both hidden layers (256)")
    parser.add_argument("--batch", type=int, default=100, help="transitions a mini-batch (100)")
    parser.add_argument("--blocks", type=int, default=60, help="timed blocks of each call (60)")
    args = parser.parse_args()
    case = Case(density=args.density, hidden=args.hidden, batch=args.batch)
    sides = calls(case)
    seconds = in_turns(sides, args.blocks, 20)
    sys.stdout.write(f"{table(f'{case}, density {case.density:g}', report(sides, seconds))}\n")
    sys.stdout.write(machine.sentence(machine.facts()) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
