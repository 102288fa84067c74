"""SAC from packed sparse networks: DS-SAC, static-SAC and dense SAC are one algorithm at three topologies.

Source: Sokar et al. 2022, Algorithm 4 (DS-SAC), over Haarnoja et al. 2018 (SAC), and Haarnoja et al. 2018b for the
automatic temperature. Departs from them: time limits bootstrap (Pardo et al. 2018); actions, and so the policy's
entropy, are those of actions normalised to [-1, 1]; the topology is frozen for the last `topology_stop_steps`.
"""

from math import exp, log

from edgedst import core
from edgedst.agents.actor_critic import NETWORKS, ActorCritic, Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgedst.config import TrainConfig

NAMES = (*NETWORKS, "critic_1_target", "critic_2_target")


class SACPolicy(Policy):
    """A Gaussian squashed by tanh: the actor's 2 m outputs are the means, then log sigma."""

    def __init__(
        self, arena: core.Arena, config: "TrainConfig", actor: core.Network, action_size: int, random: core.Random
    ) -> None:
        super().__init__(arena, config, actor, action_size, random)
        self.head = memoryview(bytearray(4 * 2 * action_size)).cast("f")  # not `array`: its import takes 0.4 MB

    @staticmethod
    def head_size(action_size: int) -> int:
        """Outputs of the actor for m actions."""
        return 2 * action_size

    def act(self, seen: core.History, action: "memoryview[float]") -> None:
        """The policy without noise, tanh of the mean: what was seen of an episode to `action` (m,) float32."""
        self.actor.act_on(seen, self.normalizer, self.head, self.act_pass)
        core.mean_action(self.head, action)

    def explore(self, seen: core.History, action: "memoryview[float]") -> None:
        """Line 8: an action from the policy."""
        self.actor.act_on(seen, self.normalizer, self.head, self.act_pass)
        core.sample_action(self.head, self.random, action)


class SAC(ActorCritic):
    """The agent: networks, one update, exploration.

    Args:
        arena: where everything lives; a measuring arena counts it.
        config: the run's settings.
        observation_size: n, features of an observation.
        action_size: m, components of an action.
    """

    POLICY = SACPolicy
    NAMES = NAMES
    METRICS = ("critic_loss", "actor_loss", "mean_q", "alpha", "entropy", "connections_moved")

    def __init__(self, arena: core.Arena, config: "TrainConfig", observation_size: int, action_size: int) -> None:
        super().__init__(arena, config, observation_size, action_size)
        m, size = action_size, config.batch_size
        # The gradient asks both critics, so each needs its activations: a pass of its own is dearer in memory, and
        # cheaper by a sixteenth of an update, than a second forward.
        self.critic_2_pass = core.Activations(arena, "activations.critic_2", self.critic_2.sizes, size)
        self.head = core.Batch(arena, "batch.head", 2 * m, size)
        self.d_head = core.Batch(arena, "batch.d_head", 2 * m, size)
        self.noise = core.Batch(arena, "batch.noise", m, size)
        self.log_prob = core.Batch(arena, "batch.log_prob", 1, size)
        self.dq_2 = core.Batch(arena, "batch.dq_2", 1, size)
        self.d_action_2 = core.Batch(arena, "batch.d_action_2", m, size)
        self.alpha = config.alpha  # temperature
        self.log_alpha = [log(config.alpha), 0.0, 0.0]  # and its Adam moments, for where it is automatic
        self.entropy = 0.0  # mean of -log pi over the last mini-batch

    @staticmethod
    def averages_targets(config: "TrainConfig") -> bool:
        """With tau = 1, the hard update, a target is its critic's copy and has the very same topology."""
        return config.tau < 1

    def learn(self) -> None:
        """Lines 13-22 on what the batch holds."""
        self.iteration += 1
        evolve = self.evolution_is_due()
        self.compute_target()
        self.update_critics()  # line 13
        if evolve:
            self.connections_moved = self.evolve(self.critic_1, self.critic_2)
        if not self.actor_waits:
            self.update_actor()
            if evolve:
                self.connections_moved += self.evolve(self.actor)
            if self.config.alpha_tuning == "automatic":
                self.update_alpha()
        if self.iteration % self.config.target_update_every == 0:
            self.update_targets(self.config.tau)  # lines 21-22

    def compute_target(self) -> None:
        """The target of J_Q: y = r + gamma (1 - terminated) (min_i Q'_i(s', a') - alpha log pi(a'|s')), a' ~ pi.

        With `n_steps` r is the sum of n rewards, discounted, and s' the state behind them, with gamma^n; the entropies
        of the states between are left out. With `batch_norm` the critics themselves stand for their targets (CrossQ).
        """
        batch = self.batch
        self.sample_actions(batch.next_observation, batch.next_action)
        q_1, q_2 = self.next_values()
        core.soft_td_target(batch.reward, batch.discount, q_1, q_2, self.log_prob, self.alpha, self.y)

    def sample_actions(self, observation: core.Batch, action: core.Batch) -> None:
        """a ~ pi(.|s), reparameterised: head, noise and log_prob say how."""
        self.actor.forward(observation, self.actor_pass, self.head)
        self.draw_noise()
        core.squashed_actions(self.head, self.noise, action, self.log_prob)

    def draw_noise(self) -> None:
        """The noise of one mini-batch of actions, N(0, 1)."""
        core.fill_normal(self.noise, self.random)

    def update_actor(self) -> None:
        """Line 17: a step down J_pi = mean(alpha log pi(a|s) - min_i Q_i(s, a)), a ~ pi, by way of a."""
        batch, size = self.batch, self.config.batch_size
        self.actor_iteration += 1
        self.mean_q = core.mean(self.q_1)  # of the stored actions, whose rows are overwritten next
        self.sample_actions(batch.observation, batch.action)
        self.critic_1.forward(batch.critic_input, self.critic_pass, self.q_1)
        self.critic_2.forward(batch.critic_input, self.critic_2_pass, self.q_2)
        least = core.least_q(self.q_1, self.q_2, -1.0 / size, self.dq, self.dq_2)
        self.entropy = -core.mean(self.log_prob)
        self.actor_loss = -self.alpha * self.entropy - least
        for critic, activations, q, dq, d_action in (
            (self.critic_1, self.critic_pass, self.q_1, self.dq, self.d_action),
            (self.critic_2, self.critic_2_pass, self.q_2, self.dq_2, self.d_action_2),
        ):
            critic.backward(batch.critic_input, activations, q, dq, self.workspace, None, d_action, self.input_size)
        core.squashed_gradient(
            self.head, self.noise, batch.action, self.d_action, self.d_action_2, self.alpha / size, self.d_head
        )
        self.actor.backward(batch.observation, self.actor_pass, self.head, self.d_head, self.workspace, self.gradients)
        self.step(self.actor, self.actor_iteration)

    def update_alpha(self) -> None:
        """A step on mean(-log alpha (log pi + target entropy)), target entropy -m (Haarnoja et al. 2018b, section 5).

        As usual the gradient is taken to log alpha, and the step is Adam's.
        """
        gradient = self.entropy + self.action_size
        value, m, v = self.log_alpha
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        m_hat, v_hat = m / (1 - 0.9**self.actor_iteration), v / (1 - 0.999**self.actor_iteration)
        value -= self.config.learning_rate * m_hat / (v_hat**0.5 + 1e-8)
        self.log_alpha = [max(-50.0, min(50.0, value)), m, v]  # beyond, nothing else counts in float32
        self.alpha = exp(self.log_alpha[0])

    def update_targets(self, tau: float) -> None:
        """Lines 21-22, or copies, whose topology is their critic's: there is nothing to prune."""
        if self.averages_targets(self.config):
            super().update_targets(tau)
            return
        for name, target in self.targets.items():
            target.copy_from(self.source_of(name), self.workspace)

    def take_over(self, state: "dict[str, object]", names: "Sequence[str]", moments: bool) -> None:
        """As every agent; an automatic temperature goes on from where it was, a fixed one is a setting."""
        super().take_over(state, names, moments)
        if self.config.alpha_tuning == "automatic" and "log_alpha" in state:
            self.log_alpha = state["log_alpha"]  # type: ignore[assignment]
            if not moments:
                self.log_alpha = [self.log_alpha[0], 0.0, 0.0]
            self.alpha = exp(self.log_alpha[0])

    def state(self) -> dict[str, object]:
        """What a checkpoint needs beside the networks' tensors and the replay; JSON-able."""
        return {**super().state(), "log_alpha": self.log_alpha}

    def set_state(self, state: "dict[str, object]") -> None:
        """The reverse of `state`, once every network has been packed; alpha is among the losses."""
        super().set_state(state)
        self.log_alpha = state["log_alpha"]  # type: ignore[assignment]
