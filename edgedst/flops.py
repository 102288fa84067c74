"""Floating-point operations of a TD3 or SAC training run: by the paper's convention, and all of the work really done.

Throughout edgedst 1 multiply-add = 2 FLOPs. A connection is a stored weight (the paper's word); biases are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgedst.config import TrainConfig
from edgedst.density import family, input_size, nnz_per_layer
from edgedst.updates import updates_for

MULTIPLY_ADD_FLOPS = 2

# Forward, gradient of the weights and gradient of the input: one multiply-add a connection each.
FORWARD_AND_BACKWARD_FLOPS = 3 * MULTIPLY_ADD_FLOPS

# A parameter's Adam step with weight decay: 2 for the decay, 3 for m, 4 for v, 5 for the step (sqrt and divide are 1
# each; the bias corrections are the same for all parameters). Its Polyak average: two products, one sum.
ADAM_FLOPS = 14
POLYAK_FLOPS = 3

NOT_OF_AN_UPDATE = ("acting", "evaluation")  # parts of `work_done` that belong to the environment's steps


@dataclass(frozen=True)
class Workload:
    """What the count depends on. The defaults are the paper's for TD3."""

    observation_size: int  # all that the networks take of a state
    action_size: int
    actor_nnz: Sequence[int]  # stored weights per layer
    critic_nnz: Sequence[int]  # the same, of one of the two critics
    actor_biases: int = 0  # biases of the actor; they matter to Adam and Polyak only
    critic_biases: int = 0  # of one critic
    steps: int = 1_000_000  # environment steps
    start_steps: int = 25_000  # uniformly random steps before the first update
    updates_per_step: float = 1  # for each of the others; 1/N: one at every Nth
    batch_size: int = 100
    policy_delay: int = 2  # updates for one of the actor
    actor_critics: int = 1  # critics that the actor's update asks: TD3 one, SAC both
    averaged: int = 3  # targets of each averaging: TD3 three, SAC two, none where they are copied (hard updates)
    halves: int = 1  # of the critics' mini-batch: 2 in CrossQ, where both states pass through them at once
    evaluation_steps: int = 0  # environment steps of all evaluations together
    evolve_every: int = 0  # updates between two evolutions of the hidden layers' topology; 0: it stays as it is
    eta: float = 0.0  # share of their weights that an evolution drops and grows anew

    @staticmethod
    def of(config: TrainConfig, observation_size: int, action_size: int, **rest: int) -> Workload:
        """What these settings come to; an evaluation is not counted unless `rest` says so."""
        of_sac = family(config.method) == "sac"
        features = input_size(observation_size, action_size, config.history)
        actor = [features, *config.hidden, 2 * action_size if of_sac else action_size]
        critic = [features + action_size, *config.hidden, 1]
        return Workload(
            features,
            action_size,
            nnz_per_layer("actor", actor, config),
            nnz_per_layer("critic", critic, config),
            actor_biases=sum(actor[1:]),
            critic_biases=sum(critic[1:]),
            steps=config.steps,
            start_steps=config.start_steps,
            updates_per_step=config.updates_per_step or config.max_updates_per_step,  # auto: at most
            batch_size=config.batch_size,
            policy_delay=1 if of_sac else config.policy_delay,
            actor_critics=2 if of_sac else 1,
            averaged=0 if config.batch_norm or config.target_update == "hard" else 2 if of_sac else 3,
            halves=2 if config.batch_norm else 1,
            evolve_every=config.evolve_every if config.method.startswith("ds-") else 0,
            eta=config.eta,
            **rest,
        )

    @property
    def connections(self) -> int:
        """The paper's network size S: connections of the actor and of both critics (Table 3)."""
        return sum(self.actor_nnz) + 2 * sum(self.critic_nnz)


def paper_flops(work: Workload) -> int:
    """FLOPs as Sokar et al. 2022 count them: updates * batch * (6 * critics' connections + 6 / 2 * actor's).

    Both critics are updated at every step, the actor at every second. This gives Table 3's 1.07e14 for dense TD3 on
    HalfCheetah, and 0.49 of it for DS-TD3. It lets the random first steps learn, too, and leaves out the
    target networks, the critic's pass in the actor's update, acting, Adam and Polyak; `work_done` has them. The paper
    has no such figure of SAC: it is the same convention, with the actor's update at every step.
    """
    critics, actor = 2 * sum(work.critic_nnz), sum(work.actor_nnz)
    a_sample = FORWARD_AND_BACKWARD_FLOPS * critics + FORWARD_AND_BACKWARD_FLOPS * actor // work.policy_delay
    return updates_for(work.steps, work.updates_per_step) * work.batch_size * a_sample


def work_done(work: Workload) -> dict[str, int]:
    """FLOPs of everything that edgedst computes in networks and optimisers, by part; the sum is the run's.

    No gradient is computed for an input that nobody needs: in a first layer only the actions' rows, and only in the
    actor's update. "topology" has a comparison for each hidden weight of a target that is averaged (Algorithm 3: what
    stays), and at an evolution one for each hidden weight and a draw for each that is grown (Algorithm 2); that finding
    the threshold looks at some weights twice is left out. Left out too, below a percent together: biases and activation
    functions, losses, noise, sampling, and that a target averages the union of two topologies.
    """
    actor, critic = sum(work.actor_nnz), sum(work.critic_nnz)
    actor_behind_first, critic_behind_first = actor - work.actor_nnz[0], critic - work.critic_nnz[0]
    # Stored positions are uniformly random, so the actions' columns hold their share of the first layer.
    action_columns = work.critic_nnz[0] * work.action_size // (work.observation_size + work.action_size)
    actor_parameters, critic_parameters = actor + work.actor_biases, critic + work.critic_biases

    averaged_parameters = {0: 0, 2: 2 * critic_parameters, 3: 2 * critic_parameters + actor_parameters}[work.averaged]
    hidden_critics, hidden_actor = 2 * sum(work.critic_nnz[:-1]), sum(work.actor_nnz[:-1])
    averaged_hidden = {0: 0, 2: hidden_critics, 3: hidden_critics + hidden_actor}[work.averaged]

    learning_steps = max(0, work.steps - work.start_steps)
    updates = updates_for(learning_steps, work.updates_per_step)
    actor_updates = updates // work.policy_delay
    evolutions = updates // work.evolve_every if work.evolve_every else 0
    moved = round((1 + work.eta) * (hidden_critics + hidden_actor))
    samples, actor_samples = updates * work.batch_size, actor_updates * work.batch_size
    return {
        "acting": MULTIPLY_ADD_FLOPS * learning_steps * actor,
        "evaluation": MULTIPLY_ADD_FLOPS * work.evaluation_steps * actor,
        "targets": MULTIPLY_ADD_FLOPS * samples * (actor + 2 * critic),
        "critics": MULTIPLY_ADD_FLOPS * samples * 2 * (critic + work.halves * (critic + critic_behind_first)),
        "actor": MULTIPLY_ADD_FLOPS * actor_samples * (actor + actor + actor_behind_first),
        "critic in the actor's update": MULTIPLY_ADD_FLOPS
        * actor_samples
        * work.actor_critics
        * (critic + critic_behind_first + action_columns),
        "adam": ADAM_FLOPS * (updates * 2 * critic_parameters + actor_updates * actor_parameters),
        "polyak": POLYAK_FLOPS * actor_updates * averaged_parameters,
        "topology": evolutions * moved + (actor_updates * averaged_hidden if work.evolve_every else 0),
    }


def an_update(work: Workload) -> tuple[int, dict[str, int]]:
    """(the paper's convention, all work by part) of one update, the delayed and the rare ones shared out."""
    updates = work.policy_delay * max(1, work.evolve_every)
    many = replace(work, steps=updates, start_steps=0, updates_per_step=1, evaluation_steps=0)
    parts = {name: round(flops / updates) for name, flops in work_done(many).items()}
    return round(paper_flops(many) / updates), {name: parts[name] for name in parts if name not in NOT_OF_AN_UPDATE}
