"""Dense TD3 and SAC in plain PyTorch with a NumPy replay, as anyone would write them: what an update is held against.

They take edgedst's settings, so that batch, widths, threads and updates a step are the same. Whole trainings are held
against other projects' own (peers.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

Floats = NDArray[np.float32]

LOG_SIGMA = (-20.0, 2.0)  # bounds of SAC's log sigma, as edgedst has them


class Replay:
    """Transitions as float32, both observations whole; oldest out first. Memory is taken as rows fill.

    Args:
        rows: transitions that there is room for.
        observation_size: n.
        action_size: m.
    """

    def __init__(self, rows: int, observation_size: int, action_size: int) -> None:
        self.observation = np.zeros((rows, observation_size), np.float32)
        self.action = np.zeros((rows, action_size), np.float32)
        self.next_observation = np.zeros((rows, observation_size), np.float32)
        self.reward = np.zeros((rows, 1), np.float32)
        self.not_done = np.zeros((rows, 1), np.float32)
        self.added = 0

    @property
    def columns(self) -> tuple[Floats, ...]:
        """All that a row holds."""
        return self.observation, self.action, self.next_observation, self.reward, self.not_done

    @property
    def row_bytes(self) -> int:
        """What a transition takes."""
        return sum(column.nbytes for column in self.columns) // len(self.reward)

    def add(
        self, observation: Floats, action: Floats, next_observation: Floats, reward: float, terminated: bool
    ) -> None:
        """Store a transition; a time limit is no end of the task, so `terminated` alone counts."""
        row = self.added % len(self.reward)
        self.observation[row] = observation
        self.action[row] = action
        self.next_observation[row] = next_observation
        self.reward[row] = reward
        self.not_done[row] = not terminated
        self.added += 1

    def sample(self, batch_size: int, rng: np.random.Generator) -> list[torch.Tensor]:
        """The columns of a uniform mini-batch."""
        rows = rng.integers(0, min(self.added, len(self.reward)), batch_size)
        return [torch.from_numpy(column[rows]) for column in self.columns]


class Learner:
    """What both algorithms share. Actions are normalised to [-1, 1].

    Args:
        config: the settings of a TrainConfig.
        observation_size: n.
        action_size: m.
        replay: what `update` samples from.
    """

    actor: nn.Sequential

    def __init__(self, config: Any, observation_size: int, action_size: int, replay: Replay) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config, self.replay = config, replay
        self.rng = np.random.default_rng(config.seed)
        self.n, self.m, self.count = observation_size, action_size, 0
        self.critics, self.critic_targets = [self._critic(), self._critic()], [self._critic(), self._critic()]
        for network, target in zip(self.critics, self.critic_targets, strict=True):
            target.load_state_dict(network.state_dict())
        self.critic_adam = self._adam(*self.critics)

    @property
    def connections(self) -> int:
        """Weights of the actor and of both critics, biases left out."""
        networks = (self.actor, *self.critics)
        return sum(p.numel() for network in networks for p in network.parameters() if p.ndim == 2)

    def act(self, observation: NDArray[Any]) -> Floats:
        """The policy without noise: (n,) to (m,)."""
        raise NotImplementedError

    def explore(self, observation: NDArray[Any]) -> Floats:
        """The action to train with."""
        raise NotImplementedError

    def update(self) -> None:
        """One gradient step on a mini-batch of the replay."""
        raise NotImplementedError

    def _critic(self) -> nn.Sequential:
        return mlp([self.n + self.m, *self.config.hidden, 1])

    def _adam(self, *networks: nn.Sequential) -> torch.optim.Adam:
        parameters = [p for network in networks for p in network.parameters()]
        return torch.optim.Adam(parameters, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)

    def _update_critics(self, observation: torch.Tensor, action: torch.Tensor, y: torch.Tensor) -> None:
        critic_input = torch.cat([observation, action], 1)
        loss = sum(functional.mse_loss(critic(critic_input), y) for critic in self.critics)
        self.critic_adam.zero_grad()
        loss.backward()
        self.critic_adam.step()


class TD3(Learner):
    """Dense TD3, in the shape of its authors' code (Fujimoto et al. 2018)."""

    def __init__(self, config: Any, observation_size: int, action_size: int, replay: Replay) -> None:
        super().__init__(config, observation_size, action_size, replay)
        sizes = [observation_size, *config.hidden, action_size]
        self.actor, self.actor_target = mlp(sizes, nn.Tanh()), mlp(sizes, nn.Tanh())
        self.actor_target.load_state_dict(self.actor.state_dict())
        self.actor_adam = self._adam(self.actor)

    def act(self, observation: NDArray[Any]) -> Floats:
        """See `Learner.act`."""
        with torch.no_grad():
            action: Floats = self.actor(torch.from_numpy(observation).float()).numpy()
        return action

    def explore(self, observation: NDArray[Any]) -> Floats:
        """The policy's action with noise N(0, sigma), clipped to [-1, 1]."""
        with torch.no_grad():
            action = self.actor(torch.from_numpy(observation).float())
            noisy: Floats = (action + self.config.exploration_noise * torch.randn(self.m)).clamp(-1, 1).numpy()
        return noisy

    def update(self) -> None:
        """Critics; at every `policy_delay`-th update the actor and the targets."""
        config = self.config
        self.count += 1
        observation, action, next_observation, reward, not_done = self.replay.sample(config.batch_size, self.rng)
        with torch.no_grad():
            clip = config.target_noise_clip
            noise = (torch.randn_like(action) * config.target_policy_noise).clamp(-clip, clip)
            next_action = (self.actor_target(next_observation) + noise).clamp(-1, 1)
            next_input = torch.cat([next_observation, next_action], 1)
            least = torch.min(*(critic(next_input) for critic in self.critic_targets))
            y = reward + config.gamma * not_done * least
        self._update_critics(observation, action, y)
        if self.count % config.policy_delay == 0:
            loss = -self.critics[0](torch.cat([observation, self.actor(observation)], 1)).mean()
            self.actor_adam.zero_grad()
            loss.backward()
            self.actor_adam.step()
            pairs = zip([self.actor, *self.critics], [self.actor_target, *self.critic_targets], strict=True)
            for network, target in pairs:
                polyak_update(network, target, config.tau)


class SAC(Learner):
    """Dense SAC with fixed or automatic temperature, hard or soft targets (Haarnoja et al. 2018)."""

    def __init__(self, config: Any, observation_size: int, action_size: int, replay: Replay) -> None:
        super().__init__(config, observation_size, action_size, replay)
        self.actor = mlp([observation_size, *config.hidden, 2 * action_size])
        self.actor_adam = self._adam(self.actor)
        self.log_alpha = torch.full((), config.alpha).log().requires_grad_()
        self.alpha_adam = torch.optim.Adam([self.log_alpha], lr=config.learning_rate)

    def act(self, observation: NDArray[Any]) -> Floats:
        """The tanh of the mean. See `Learner.act`."""
        with torch.no_grad():
            action: Floats = self.actor(torch.from_numpy(observation).float())[: self.m].tanh().numpy()
        return action

    def explore(self, observation: NDArray[Any]) -> Floats:
        """An action from the policy."""
        with torch.no_grad():
            action: Floats = self._sample(torch.from_numpy(observation).float())[0].numpy()
        return action

    def update(self) -> None:
        """Critics, actor, temperature, and now and then the targets."""
        config = self.config
        self.count += 1
        observation, action, next_observation, reward, not_done = self.replay.sample(config.batch_size, self.rng)
        alpha = self.log_alpha.detach().exp()
        with torch.no_grad():
            next_action, log_prob = self._sample(next_observation)
            next_input = torch.cat([next_observation, next_action], 1)
            least = torch.min(*(critic(next_input) for critic in self.critic_targets))
            y = reward + config.gamma * not_done * (least - alpha * log_prob)
        self._update_critics(observation, action, y)
        action, log_prob = self._sample(observation)
        critic_input = torch.cat([observation, action], 1)
        loss = (alpha * log_prob - torch.min(*(critic(critic_input) for critic in self.critics))).mean()
        self.actor_adam.zero_grad()
        loss.backward()
        self.actor_adam.step()
        if config.alpha_tuning == "automatic":
            loss = -(self.log_alpha * (log_prob.detach() - self.m)).mean()  # towards an entropy of -m
            self.alpha_adam.zero_grad()
            loss.backward()
            self.alpha_adam.step()
        if self.count % config.target_update_every == 0:
            for network, target in zip(self.critics, self.critic_targets, strict=True):
                polyak_update(network, target, config.tau)

    def _sample(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reparameterised actions and log pi of them."""
        mean, log_sigma = self.actor(observation).split(self.m, -1)
        policy = torch.distributions.Normal(mean, log_sigma.clamp(*LOG_SIGMA).exp())
        raw = policy.rsample()
        # log(1 - tanh(x)^2), written so that it does not become log(0).
        squash = 2 * (0.693147180559945 - raw - functional.softplus(-2 * raw))
        return raw.tanh(), (policy.log_prob(raw) - squash).sum(-1, keepdim=True)


def mlp(sizes: Sequence[int], *behind: nn.Module) -> nn.Sequential:
    """Linear layers with ReLU between them, then `behind`."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1], *behind)


def polyak_update(network: nn.Sequential, target: nn.Sequential, tau: float) -> None:
    """target <- tau network + (1 - tau) target."""
    with torch.no_grad():
        for p, p_target in zip(network.parameters(), target.parameters(), strict=True):
            p_target.mul_(1 - tau).add_(tau * p)
