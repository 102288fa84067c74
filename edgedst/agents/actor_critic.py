"""What TD3 and SAC share: networks and buffers on the arena, sampling, the critics' step, evolution, state.

An agent is a subclass that fills in `learn` in its paper's order, and a Policy that fills in `act` and `explore`.
"""

from math import isfinite

from edgedst import core
from edgedst.agents.joint import BETA_1, JointPasses
from edgedst.agents.networks import evolves, workspace_for
from edgedst.density import input_size, nnz_per_layer
from edgedst.errors import TrainingDiverged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from edgedst.config import TrainConfig

NETWORKS = ("actor", "critic_1", "critic_2")  # that learn; a target follows one of them
CLIP = 10.0  # of normalised observations, in standard deviations


class Transitions:
    """A mini-batch, feature-major. Observation and action rows lie together: they are the critics' input as it is.

    An observation here is all that the networks take of one state: N features, `density.input_size`.
    """

    def __init__(self, arena: core.Arena, features: int, action_size: int, batch_size: int) -> None:
        rows, n = features + action_size, features
        self.critic_input = core.Batch(arena, "batch.critic_input", rows, batch_size)
        self.observation = self.critic_input.slice(0, n)
        self.action = self.critic_input.slice(n, rows)
        self.next_critic_input = core.Batch(arena, "batch.next_critic_input", rows, batch_size)
        self.next_observation = self.next_critic_input.slice(0, n)
        self.next_action = self.next_critic_input.slice(n, rows)
        self.reward = core.Batch(arena, "batch.reward", 1, batch_size)
        self.discount = core.Batch(arena, "batch.discount", 1, batch_size)  # of what comes next


class Policy:
    """What acts. An agent has one; the acting side of a machine has one of its own, with copies of the agent's actor.

    Args:
        arena: where its activations live.
        config: the run's settings.
        actor: whose actions they are; another one of the same shape may take its place.
        action_size: m.
        random: what exploration draws from.
    """

    HEAD = "linear"  # output of the actor

    def __init__(
        self, arena: core.Arena, config: "TrainConfig", actor: core.Network, action_size: int, random: core.Random
    ) -> None:
        self.config = config
        self.actor = actor
        self.random = random
        self.normalizer: core.Normalizer | None = None  # of what it sees
        self.act_pass = core.Activations(arena, "activations.act", actor.sizes, 1)

    @staticmethod
    def head_size(action_size: int) -> int:
        """Outputs of the actor for m actions."""
        return action_size

    def act(self, seen: core.History, action: "memoryview[float]") -> None:
        """The policy without noise: what was seen of an episode to `action` (m,) float32 in [-1, 1]."""
        raise NotImplementedError

    def explore(self, seen: core.History, action: "memoryview[float]") -> None:
        """The action to train with."""
        raise NotImplementedError

    def random_action(self, action: "memoryview[float]") -> None:
        """The purely exploratory policy of the first steps."""
        self.random.uniform(action, -1.0, 1.0)


class ActorCritic:
    """An actor and twin critics from packed sparse networks. The replay is given once the plan has sized it.

    Args:
        arena: where everything lives; a measuring arena counts it.
        config: the run's settings.
        observation_size: n, features of an observation.
        action_size: m, components of an action.
    """

    POLICY: type[Policy]
    NAMES: tuple[str, ...] = NETWORKS  # and the targets that a subclass has
    METRICS: tuple[str, ...] = ()  # attributes that describe the last update
    replay: core.Replay

    def __init__(self, arena: core.Arena, config: "TrainConfig", observation_size: int, action_size: int) -> None:
        self.config = config
        self.observation_size = observation_size
        self.action_size = action_size
        hidden = list(config.hidden)
        self.input_size = features = input_size(observation_size, action_size, config.history)
        actor_sizes = [features, *hidden, self.POLICY.head_size(action_size)]
        critic_sizes = [features + action_size, *hidden, 1]
        actor_nnz = nnz_per_layer("actor", actor_sizes, config)
        critic_nnz = nnz_per_layer("critic", critic_sizes, config)

        names = self.names(config)
        averaged = len(names) > len(NETWORKS) and self.averages_targets(config)
        made: dict[str, core.Network] = {}
        for name in NETWORKS:
            shape = (
                (actor_sizes, actor_nnz, self.POLICY.HEAD) if name == "actor" else (critic_sizes, critic_nnz, "linear")
            )
            made[name] = core.Network(arena, name, *shape, batch_norm=config.batch_norm and name != "actor")
            target = f"{name}_target"
            if target in names:
                made[target] = core.Network(arena, target, *shape, target=True, averaged=averaged)
        self.networks = {name: made[name] for name in names}
        self.actor, self.critic_1, self.critic_2 = (made[name] for name in NETWORKS)
        self.critics = (self.critic_1, self.critic_2)
        self.targets = {name: made[name] for name in names if name not in NETWORKS}
        self.connections = sum(actor_nnz) + 2 * sum(critic_nnz)

        size = config.batch_size
        self.batch = Transitions(arena, features, action_size, size)
        self.demonstrations = round(config.demo_share * size)  # of a mini-batch
        self.random = core.Random(config.seed)
        self.policy = self.POLICY(arena, config, self.actor, action_size, self.random)
        self.normalizer = None
        if config.normalize_observations:
            self.normalizer = self.policy.normalizer = core.Normalizer(arena, "normalizer", observation_size, CLIP)
        self.seen, self.seen_in_evaluation = [
            core.History(arena, f"history.{name}", observation_size, action_size, config.history)
            for name in ("training", "evaluation")
        ]
        self.act, self.explore = self.policy.act, self.policy.explore
        self.random_action = self.policy.random_action
        self.q_1, self.q_2 = core.Batch(arena, "batch.q_1", 1, size), core.Batch(arena, "batch.q_2", 1, size)
        self.y, self.dq = core.Batch(arena, "batch.y", 1, size), core.Batch(arena, "batch.dq", 1, size)
        self.d_action = core.Batch(arena, "batch.d_action", action_size, size)
        # A forward and a backward pass write all of what follows before they read it. Topologies change and are saved
        # between passes, so their scratch lies over it.
        passes = arena.used_bytes
        self.actor_pass = core.Activations(arena, "activations.actor", actor_sizes, size)
        self.critic_pass = core.Activations(arena, "activations.critic", critic_sizes, size)
        self.joint = JointPasses(arena, critic_sizes, size, passes) if config.batch_norm else None
        parameters = max(self.actor.parameter_count, self.critic_1.parameter_count)
        self.gradients = core.Gradients(arena, "gradients", parameters)
        shapes = [(actor_sizes, actor_nnz), (critic_sizes, critic_nnz)]
        self.workspace = workspace_for(arena, shapes, averaged, passes)

        self.iteration = 0  # gradient steps taken
        self.actor_iteration = 0  # of the actor: Adam corrects the bias of its moments by their own age
        self.frozen = False  # the topology stays
        self.actor_waits = False  # the critics learn alone
        self.critic_loss = self.actor_loss = self.mean_q = 0.0
        self.connections_moved = 0  # by the last evolution

    @classmethod
    def names(cls, config: "TrainConfig") -> tuple[str, ...]:
        """Of its networks, in the order of a checkpoint; with batch normalisation there are no targets."""
        return NETWORKS if config.batch_norm else cls.NAMES

    @staticmethod
    def averages_targets(config: "TrainConfig") -> bool:
        """Whether targets are averages of their networks, which takes the room of both topologies; else copies."""
        return True

    def initialise(self) -> None:
        """Sparse topologies and weights; targets equal their networks."""
        for name in NETWORKS:
            self.networks[name].initialise(self.random, self.workspace)
        for name, target in self.targets.items():
            target.copy_from(self.source_of(name), self.workspace)

    def source_of(self, target: str) -> core.Network:
        """The network that a target follows."""
        return self.networks[target.removesuffix("_target")]

    def begin_episode(self, observation: "Buffer") -> None:
        """Take note of the first observation of an episode to train with, (n,) float64.

        Raises:
            ValueError: the replay cannot hold it. Nothing is taken note of then.
        """
        if self.normalizer is not None and not self.replay.offset:
            # What float16 keeps is relative to the distance from 0: a reading of 300 would lose its hundredths.
            self.replay.set_offset(observation)
        self.replay.begin_episode(observation)
        self.seen.begin(observation)
        if self.normalizer is not None:
            self.normalizer.add(observation)

    def remember(
        self, action: "Buffer", reward: float, observation: "Buffer", terminated: bool, truncated: bool
    ) -> None:
        """Take note of a step: the action (m,) float32 in [-1, 1], and the observation that it led to, (n,) float64.

        Raises:
            ValueError: the replay cannot hold it. Nothing is taken note of then.
        """
        self.replay.add(action, reward, observation, terminated, truncated)
        self.seen.add(action, observation)
        if self.normalizer is not None:
            self.normalizer.add(observation)

    def update(self) -> None:
        """One gradient step on a mini-batch of the replay.

        Raises:
            TrainingDiverged: a loss is NaN or infinite. Acting would hide it: an action is clipped to [-1, 1].
        """
        self.sample()
        self.learn()
        if not isfinite(self.critic_loss + self.actor_loss):
            raise TrainingDiverged(
                f"The losses are {self.critic_loss:g} of the critics and {self.actor_loss:g} of the actor in gradient "
                f"step {self.iteration:,}; finite numbers were expected. Train anew with a smaller `learning_rate` in "
                f"the file of `--config`: it is {self.config.learning_rate:g}."
            )

    def sample(self) -> None:
        """A uniform mini-batch; a share of it from the demonstrations, where there are some."""
        batch = self.batch
        self.replay.sample(
            self.random,
            batch.critic_input,
            batch.next_critic_input,
            batch.reward,
            batch.discount,
            self.normalizer,
            self.demonstrations,
            self.config.n_steps,
            self.config.gamma,
        )

    def learn(self) -> None:
        """One gradient step on what the batch holds."""
        raise NotImplementedError

    def next_values(self) -> tuple[core.Batch, core.Batch]:
        """Q(s', a') of both critics' targets, (1, B) each; of the critics in CrossQ, whose pass gives Q(s, a), too."""
        batch, q_1, q_2 = self.batch, self.q_1, self.q_2
        if self.joint is not None:
            return self.joint.forward(self.critics, batch, (q_1, q_2))
        self.targets["critic_1_target"].forward(batch.next_critic_input, self.critic_pass, q_1)
        self.targets["critic_2_target"].forward(batch.next_critic_input, self.critic_pass, q_2)
        return q_1, q_2

    def update_critics(self) -> None:
        """A step of each critic on mean((y - Q(s, a))^2)."""
        losses = [self.update_critic(number, q) for number, q in enumerate((self.q_1, self.q_2))]
        self.critic_loss = 0.5 * sum(losses)

    def update_critic(self, number: int, q: core.Batch) -> float:
        """A step on the loss of critic 0 or 1, which it returns; `q` then holds Q(s, a) from before the step."""
        critic = self.critics[number]
        if self.joint is not None:
            loss = core.mse_loss(q, self.y, self.dq)
            self.joint.backward(number, critic, self.dq, self.workspace, self.gradients)
        else:
            critic.forward(self.batch.critic_input, self.critic_pass, q)
            loss = core.mse_loss(q, self.y, self.dq)
            critic.backward(self.batch.critic_input, self.critic_pass, q, self.dq, self.workspace, self.gradients)
        self.step(critic, self.iteration)
        return loss

    def step(self, network: core.Network, step: int) -> None:
        """Adam on the network's gradients."""
        config, beta_1 = self.config, BETA_1 if network.batch_norm else 0.9
        network.adam_step(self.gradients, step, config.learning_rate, config.weight_decay, beta_1)

    def at_step(self, step: int) -> None:
        """What the updates of this step of the run leave alone: the first ones the actor, the last ones topologies."""
        config = self.config
        self.frozen = step >= config.steps - (config.topology_stop_steps or 0)
        self.actor_waits = step < config.start_steps + config.critic_warmup

    def evolution_is_due(self, every: int = 1) -> bool:
        """Every e gradient steps, until `topology_stop_steps` before the end.

        Args:
            every: gradient steps between two at which it is asked: it is due at the first one that is e or more on.
        """
        now, e = self.iteration, self.config.evolve_every
        return evolves(self.config) and now // e > (now - every) // e and not self.frozen

    def evolve(self, *networks: core.Network) -> int:
        """Algorithm 2: drop the weights nearest zero, grow as many at random; returns how many."""
        return sum([network.evolve(self.random, self.config.eta, self.workspace) for network in networks])

    def update_targets(self, tau: float) -> None:
        """Polyak averaging and Maintain_Sparsity (Algorithm 3), one call a target; an actor that waits has its wait."""
        for name, target in self.targets.items():
            if not (self.actor_waits and name == "actor_target"):
                core.polyak_update(self.source_of(name), target, tau, self.workspace)

    def take_over(self, state: "dict[str, object]", names: "Sequence[str]", moments: bool) -> None:
        """Go on with networks that another run trained, once they have been packed, as a new run.

        Args:
            state: of that run's agent.
            names: of the networks that were packed; a target that is not among them becomes a copy.
            moments: whether they have Adam's. Without them the counts of updates, which tell their age, begin anew.
        """
        if moments:
            self.iteration = state["iteration"]  # type: ignore[assignment]
            self.actor_iteration = state.get("actor_iteration", self.iteration)  # type: ignore[assignment]
        for name, target in self.targets.items():
            if name in names:
                linked = state["linked"].get(name, False)  # type: ignore[attr-defined]
                target.link(self.source_of(name), linked, self.workspace)
            else:
                target.copy_from(self.source_of(name), self.workspace)

    def losses(self) -> dict[str, float]:
        """METRICS of the last update."""
        return {name: getattr(self, name) for name in self.METRICS}

    def state(self) -> dict[str, object]:
        """What a checkpoint needs beside the networks' tensors and the replay; JSON-able."""
        return {
            "iteration": self.iteration,
            "actor_iteration": self.actor_iteration,
            "random_counter": self.random.counter,
            "linked": {name: target.linked for name, target in self.targets.items()},
            "losses": list(self.losses().values()),
        }

    def set_state(self, state: "dict[str, object]") -> None:
        """The reverse of `state`, once every network has been packed."""
        self.iteration = state["iteration"]  # type: ignore[assignment]
        # SAC's actor of before it could wait was as old as its critics.
        self.actor_iteration = state.get("actor_iteration", self.iteration)  # type: ignore[assignment]
        self.random.counter = state["random_counter"]  # type: ignore[assignment]
        for name, value in zip(self.METRICS, state["losses"], strict=True):  # type: ignore[call-overload]
            setattr(self, name, value)
        for name, target in self.targets.items():
            target.link(self.source_of(name), state["linked"][name], self.workspace)  # type: ignore[index]
