"""TD3 from packed sparse networks: DS-TD3, static-TD3 and dense TD3 are one algorithm at three topologies.

Source: Sokar et al. 2022, Algorithm 1 (DS-TD3), over Fujimoto et al. 2018, Algorithm 1 (TD3). Departs from them:
time limits bootstrap (Pardo et al. 2018); actions are normalised to [-1, 1] for the networks and the replay, so that
every noise is in units of half the action's range; the topology is frozen for the last `topology_stop_steps`.
"""

from edgedst import core
from edgedst.agents.networks import evolves, workspace_for
from edgedst.density import nnz_per_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer

    from edgedst.config import TrainConfig

NAMES = ("actor", "critic_1", "critic_2", "actor_target", "critic_1_target", "critic_2_target")


class Transitions:
    """A mini-batch, feature-major. Observation and action rows lie together: they are the critics' input as it is."""

    def __init__(self, arena: core.Arena, observation_size: int, action_size: int, batch_size: int) -> None:
        rows, n = observation_size + action_size, observation_size
        self.critic_input = core.Batch(arena, "batch.critic_input", rows, batch_size)
        self.observation = self.critic_input.slice(0, n)
        self.action = self.critic_input.slice(n, rows)
        self.next_critic_input = core.Batch(arena, "batch.next_critic_input", rows, batch_size)
        self.next_observation = self.next_critic_input.slice(0, n)
        self.next_action = self.next_critic_input.slice(n, rows)
        self.reward = core.Batch(arena, "batch.reward", 1, batch_size)
        self.terminated = core.Batch(arena, "batch.terminated", 1, batch_size)


class TD3:
    """The agent: networks, one update, exploration. The replay is given to it once the plan has sized it.

    Args:
        arena: where everything lives; a measuring arena counts it.
        config: the run's settings.
        observation_size: n, features of an observation.
        action_size: m, components of an action.
    """

    replay: core.Replay

    def __init__(self, arena: core.Arena, config: "TrainConfig", observation_size: int, action_size: int) -> None:
        self.config = config
        self.observation_size = observation_size
        self.action_size = action_size
        hidden = list(config.hidden)
        actor_sizes = [observation_size, *hidden, action_size]
        critic_sizes = [observation_size + action_size, *hidden, 1]
        actor_nnz = nnz_per_layer(actor_sizes, config)
        critic_nnz = nnz_per_layer(critic_sizes, config)

        def actor(name: str, target: bool = False) -> core.Network:
            return core.Network(arena, name, actor_sizes, actor_nnz, "tanh", target)

        def critic(name: str, target: bool = False) -> core.Network:
            return core.Network(arena, name, critic_sizes, critic_nnz, "linear", target)

        self.actor, self.actor_target = actor("actor"), actor("actor_target", target=True)
        self.critic_1, self.critic_1_target = critic("critic_1"), critic("critic_1_target", target=True)
        self.critic_2, self.critic_2_target = critic("critic_2"), critic("critic_2_target", target=True)
        self.networks = {name: getattr(self, name) for name in NAMES}
        self.connections = sum(actor_nnz) + 2 * sum(critic_nnz)

        size = config.batch_size
        self.batch = Transitions(arena, observation_size, action_size, size)
        self.actor_pass = core.Activations(arena, "activations.actor", actor_sizes, size)
        self.critic_pass = core.Activations(arena, "activations.critic", critic_sizes, size)
        self.act_pass = core.Activations(arena, "activations.act", actor_sizes, 1)
        self.q_1, self.q_2 = core.Batch(arena, "batch.q_1", 1, size), core.Batch(arena, "batch.q_2", 1, size)
        self.y, self.dq = core.Batch(arena, "batch.y", 1, size), core.Batch(arena, "batch.dq", 1, size)
        self.d_action = core.Batch(arena, "batch.d_action", action_size, size)
        parameters = max(self.actor.parameter_count, self.critic_1.parameter_count)
        self.gradients = core.Gradients(arena, "gradients", parameters)
        self.workspace = workspace_for(arena, [(actor_sizes, actor_nnz), (critic_sizes, critic_nnz)])

        self.random = core.Random(config.seed)
        self.noise = memoryview(bytearray(4 * action_size)).cast("f")  # not `array`: its import takes 0.4 MB
        self.iteration = 0  # gradient steps taken
        self.actor_iteration = 0
        self.critic_loss = self.actor_loss = self.mean_q = 0.0
        self.moved = 0  # connections that the last evolution moved

    def initialise(self) -> None:
        """Algorithm 1, lines 2-5: sparse topologies and weights; targets equal their networks."""
        for name in NAMES[:3]:
            self.networks[name].initialise(self.random, self.workspace)
        for name in NAMES[:3]:
            self.networks[name + "_target"].copy_from(self.networks[name], self.workspace)

    def act(self, observation: "Buffer", action: "Buffer") -> None:
        """The policy without noise: `observation` (n,) float64 to `action` (m,) float32 in [-1, 1]."""
        self.actor.act(observation, action, self.act_pass)

    def explore(self, observation: "Buffer", action: "memoryview[float]") -> None:
        """Lines 8-9: the policy's action with exploration noise N(0, sigma), clipped to [-1, 1]."""
        self.act(observation, action)
        self.random.normal(self.noise, self.config.exploration_noise)
        for i in range(self.action_size):
            action[i] = max(-1.0, min(1.0, action[i] + self.noise[i]))

    def random_action(self, action: "memoryview[float]") -> None:
        """The purely exploratory policy of the first steps."""
        self.random.uniform(action, -1.0, 1.0)

    def update(self) -> None:
        """One gradient step on a mini-batch of the replay (lines 11-29)."""
        self.sample()
        self.learn()

    def sample(self) -> None:
        """Line 11: a uniform mini-batch."""
        batch = self.batch
        self.replay.sample(self.random, batch.critic_input, batch.next_critic_input, batch.reward, batch.terminated)

    def learn(self) -> None:
        """Lines 12-29 on what the batch holds."""
        self.iteration += 1
        evolve = self.evolution_is_due()
        self.compute_target()
        losses = [self.update_critic(*pair) for pair in ((self.critic_1, self.q_1), (self.critic_2, self.q_2))]
        self.critic_loss = 0.5 * sum(losses)
        if evolve:
            self.moved = sum(self.evolve(critic) for critic in (self.critic_1, self.critic_2))
        if self.iteration % self.config.policy_delay == 0:
            self.update_actor()
            if evolve:
                self.moved += self.evolve(self.actor)
            for name in NAMES[:3]:
                # Lines 25-28: polyak averaging and Maintain_Sparsity, one call.
                network, target = self.networks[name], self.networks[name + "_target"]
                core.polyak_update(network, target, self.config.tau, self.workspace)

    def compute_target(self) -> None:
        """Lines 12-13: y = r + gamma (1 - terminated) min_i Q'_i(s', pi'(s') + clipped noise)."""
        config, batch = self.config, self.batch
        self.actor_target.forward(batch.next_observation, self.actor_pass, batch.next_action)
        core.smooth_actions(batch.next_action, self.random, config.target_policy_noise, config.target_noise_clip)
        self.critic_1_target.forward(batch.next_critic_input, self.critic_pass, self.q_1)
        self.critic_2_target.forward(batch.next_critic_input, self.critic_pass, self.q_2)
        core.td_target(batch.reward, batch.terminated, self.q_1, self.q_2, config.gamma, self.y)

    def update_critic(self, critic: core.Network, q: core.Batch) -> float:
        """Line 14: a step on mean((y - Q(s, a))^2), whose value it returns."""
        critic.forward(self.batch.critic_input, self.critic_pass, q)
        loss = core.mse_loss(q, self.y, self.dq)
        critic.backward(self.batch.critic_input, self.critic_pass, q, self.dq, self.workspace, self.gradients)
        self.step(critic, self.iteration)
        return loss

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
            self.observation_size,
        )
        self.actor.backward(
            batch.observation, self.actor_pass, batch.action, self.d_action, self.workspace, self.gradients
        )
        self.step(self.actor, self.actor_iteration)

    def step(self, network: core.Network, step: int) -> None:
        """Adam on the network's gradients."""
        network.adam_step(self.gradients, step, self.config.learning_rate, self.config.weight_decay)

    def evolution_is_due(self) -> bool:
        """Lines 15 and 21: every e gradient steps, until `topology_stop_steps` before the end."""
        config = self.config
        last = config.steps - config.start_steps - (config.topology_stop_steps or 0)
        return evolves(config) and self.iteration % config.evolve_every == 0 and self.iteration <= last

    def evolve(self, network: core.Network) -> int:
        """Algorithm 2: drop the weights nearest zero, grow as many at random; returns how many."""
        return network.evolve(self.random, self.config.eta, self.workspace)

    def losses(self) -> dict[str, float]:
        """Of the last update: critic_loss (mean of both), actor_loss, mean_q, moved connections."""
        return {
            "critic_loss": self.critic_loss,
            "actor_loss": self.actor_loss,
            "mean_q": self.mean_q,
            "connections_moved": self.moved,
        }

    def state(self) -> dict[str, object]:
        """What a checkpoint needs beside the networks' tensors and the replay; JSON-able."""
        return {
            "iteration": self.iteration,
            "actor_iteration": self.actor_iteration,
            "random_counter": self.random.counter,
            "linked": {name: self.networks[name].linked for name in NAMES[3:]},
            "losses": [self.critic_loss, self.actor_loss, self.mean_q, self.moved],
        }

    def set_state(self, state: "dict[str, object]") -> None:
        """The reverse of `state`, once every network has been packed."""
        self.iteration, self.actor_iteration = state["iteration"], state["actor_iteration"]  # type: ignore[assignment]
        self.random.counter = state["random_counter"]  # type: ignore[assignment]
        self.critic_loss, self.actor_loss, self.mean_q, self.moved = state["losses"]  # type: ignore[misc]
        for name in NAMES[3:]:
            source = self.networks[name.removesuffix("_target")]
            self.networks[name].link(source, state["linked"][name], self.workspace)  # type: ignore[index]
