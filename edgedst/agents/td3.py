"""TD3 from packed sparse networks: DS-TD3, static-TD3 and dense TD3 are one algorithm at three topologies.

Source: Sokar et al. 2022, Algorithm 1 (DS-TD3), over Fujimoto et al. 2018, Algorithm 1 (TD3). Departs from them:
time limits bootstrap (Pardo et al. 2018); actions are normalised to [-1, 1] for the networks and the replay, so that
every noise is in units of half the action's range; the topology is frozen for the last `topology_stop_steps`.
"""

from edgedst import core
from edgedst.agents.actor_critic import NETWORKS, ActorCritic, Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgedst.config import TrainConfig

NAMES = (*NETWORKS, "actor_target", "critic_1_target", "critic_2_target")


class TD3Policy(Policy):
    """A deterministic actor, whose actions get Gaussian noise to explore."""

    HEAD = "tanh"

    def __init__(
        self, arena: core.Arena, config: "TrainConfig", actor: core.Network, action_size: int, random: core.Random
    ) -> None:
        super().__init__(arena, config, actor, action_size, random)
        self.noise = memoryview(bytearray(4 * action_size)).cast("f")  # not `array`: its import takes 0.4 MB

    def act(self, seen: core.History, action: "memoryview[float]") -> None:
        """The policy without noise: what was seen of an episode to `action` (m,) float32 in [-1, 1]."""
        self.actor.act_on(seen, self.normalizer, action, self.act_pass)

    def explore(self, seen: core.History, action: "memoryview[float]") -> None:
        """Lines 8-9: the policy's action with exploration noise N(0, sigma), clipped to [-1, 1]."""
        self.act(seen, action)
        self.random.normal(self.noise, self.config.exploration_noise)
        for i, noise in enumerate(self.noise):
            action[i] = max(min(action[i] + noise, 1.0), -1.0)  # in this order a NaN stays one, and is refused


class TD3(ActorCritic):
    """The agent: networks, one update, exploration.

    Args:
        arena: where everything lives; a measuring arena counts it.
        config: the run's settings.
        observation_size: n, features of an observation.
        action_size: m, components of an action.
    """

    POLICY = TD3Policy
    NAMES = NAMES
    METRICS = ("critic_loss", "actor_loss", "mean_q", "connections_moved")

    def __init__(self, arena: core.Arena, config: "TrainConfig", observation_size: int, action_size: int) -> None:
        super().__init__(arena, config, observation_size, action_size)
        self.actor_of_targets = self.networks.get("actor_target", self.actor)

    def learn(self) -> None:
        """Lines 12-29 on what the batch holds."""
        self.iteration += 1
        self.compute_target()
        self.update_critics()  # line 14
        if self.evolution_is_due():
            self.connections_moved = self.evolve(self.critic_1, self.critic_2)
        if self.iteration % self.config.policy_delay == 0:
            if not self.actor_waits:
                self.update_actor()
                if self.evolution_is_due(self.config.policy_delay):
                    self.connections_moved += self.evolve(self.actor)
            self.update_targets(self.config.tau)  # lines 25-28

    def compute_target(self) -> None:
        """Lines 12-13: y = r + gamma (1 - terminated) min_i Q'_i(s', pi'(s') + clipped noise).

        With `n_steps` r is the sum of n rewards, discounted, and s' the state behind them, with gamma^n (Sutton 1988).
        With `batch_norm` the networks themselves stand for their targets (CrossQ).
        """
        config, batch = self.config, self.batch
        self.actor_of_targets.forward(batch.next_observation, self.actor_pass, batch.next_action)
        core.smooth_actions(batch.next_action, self.random, config.target_policy_noise, config.target_noise_clip)
        q_1, q_2 = self.next_values()
        core.td_target(batch.reward, batch.discount, q_1, q_2, self.y)

    def update_actor(self) -> None:
        """Lines 19-20: a step up the deterministic policy gradient, through critic 1."""
        batch = self.batch
        self.actor_iteration += 1
        self.mean_q = core.mean(self.q_1)  # of the stored actions, whose rows are overwritten next
        self.actor.forward(batch.observation, self.actor_pass, batch.action)
        self.critic_1.forward(batch.critic_input, self.critic_pass, self.q_1)
        self.actor_loss = -core.mean(self.q_1)
        self.dq.fill(-1.0 / self.config.batch_size)
        self.critic_1.backward(
            batch.critic_input,
            self.critic_pass,
            self.q_1,
            self.dq,
            self.workspace,
            None,
            self.d_action,
            self.input_size,
        )
        self.actor.backward(
            batch.observation, self.actor_pass, batch.action, self.d_action, self.workspace, self.gradients
        )
        self.step(self.actor, self.actor_iteration)
