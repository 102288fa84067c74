"""The algorithms again, in NumPy over dense arrays: slow, plain, and written from the paper rather than from the core.

A sparse layer is a full weight matrix beside a boolean mask of the stored positions. Weights are (out, in), so flat
position row * in + column; activations are feature-major, (features, B). Everything is computed in the dtype that
comes in: float64 for an oracle that rounds less than the core, float32 where a test wants its very numbers.

Source: Sokar et al. 2022, Algorithms 1 to 4; Fujimoto et al. 2018, Algorithm 1; Haarnoja et al. 2018, Algorithm 1;
Kingma and Ba 2015, Algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


# --- Algorithm 2: topological evolution -------------------------------------------------------------------------


def dropped_by_evolution(weight: Array, mask: Mask, drop_fraction: float) -> Mask:
    """Algorithm 2, lines 4 to 7: the stored positions that an evolution drops.

    Every stored zero goes first; then floor(eta * count) of the positive weights, those nearest zero, and likewise of
    the negative ones. Of equal weights the lower flat position is dropped first. A dense layer drops nothing.
    """
    dropped = np.zeros_like(mask)
    if mask.all():
        return dropped
    dropped |= mask & (weight == 0)
    flat = dropped.reshape(-1)
    for of_sign in (mask & (weight > 0), mask & (weight < 0)):
        positions = np.flatnonzero(of_sign)
        count = math.floor(drop_fraction * len(positions))
        nearest_zero_first = positions[np.argsort(np.abs(weight.reshape(-1)[positions]), kind="stable")]
        flat[nearest_zero_first[:count]] = True
    return dropped


def grow(empty: Mask, needed: int, rng: np.random.Generator) -> Mask:
    """Algorithm 2, lines 9 and 10: `needed` of the empty positions, every set of them equally likely."""
    grown = np.zeros_like(empty)
    grown.reshape(-1)[rng.choice(np.flatnonzero(empty), size=needed, replace=False)] = True
    return grown


# --- Algorithm 3: target networks -------------------------------------------------------------------------------


def maintain_sparsity(weight: Array, k: int) -> Array:
    """Algorithm 3: keep the k largest magnitudes, zero elsewhere. Of equal magnitudes the lower position stays."""
    largest_first = np.argsort(-np.abs(weight.reshape(-1)), kind="stable")
    kept = np.zeros(weight.size, dtype=weight.dtype)
    kept[largest_first[:k]] = weight.reshape(-1)[largest_first[:k]]
    return kept.reshape(weight.shape)


def polyak(source: Array, target: Array, tau: float) -> Array:
    """Algorithm 1, lines 25 and 26: theta' <- tau theta + (1 - tau) theta'."""
    return (tau * source + (1 - tau) * target).astype(target.dtype)


# --- Networks ---------------------------------------------------------------------------------------------------


@dataclass
class Layer:
    """One linear layer: a dense matrix that is zero outside `mask`, a bias, and their Adam moments."""

    weight: Array  # (out, in)
    mask: Mask  # (out, in)
    bias: Array  # (out,)
    adam_m: Array = field(default=None)  # type: ignore[assignment]  # zeros unless given
    adam_v: Array = field(default=None)  # type: ignore[assignment]
    bias_adam_m: Array = field(default=None)  # type: ignore[assignment]
    bias_adam_v: Array = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Moments start at zero."""
        for name in ("adam_m", "adam_v"):
            if getattr(self, name) is None:
                setattr(self, name, np.zeros_like(self.weight))
        for name in ("bias_adam_m", "bias_adam_v"):
            if getattr(self, name) is None:
                setattr(self, name, np.zeros_like(self.bias))

    def copy(self) -> Layer:
        """A layer of its own, array by array."""
        return Layer(**{name: getattr(self, name).copy() for name in self.__dataclass_fields__})


Layers = list[Layer]


def forward(layers: Layers, x: Array, output: str) -> list[Array]:
    """Activations at every boundary, input and output included: ReLU between layers, then linear or tanh."""
    boundaries = [x]
    for number, layer in enumerate(layers):
        z = layer.weight @ boundaries[-1] + layer.bias[:, None]
        if number < len(layers) - 1:
            z = np.maximum(z, 0)
        elif output == "tanh":
            z = np.tanh(z)
        boundaries.append(z)
    return boundaries


def backward(
    layers: Layers, boundaries: list[Array], dy: Array, output: str
) -> tuple[list[tuple[Array, Array]], Array]:
    """Gradients (weight at the stored positions, zero elsewhere; bias) per layer, and of the network's input."""
    gradients = []
    dz = dy * (1 - boundaries[-1] ** 2) if output == "tanh" else dy
    for number in reversed(range(len(layers))):
        layer, x = layers[number], boundaries[number]
        gradients.append((np.where(layer.mask, dz @ x.T, 0).astype(x.dtype), dz.sum(axis=1)))
        dx = layer.weight.T @ dz
        dz = dx * (x > 0)  # ReLU has derivative 0 at 0, as PyTorch has; at number 0 it is not used
    return gradients[::-1], dx


def adam_step(
    layers: Layers,
    gradients: list[tuple[Array, Array]],
    step: int,
    learning_rate: float,
    weight_decay: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> None:
    """Adam with weight decay added to the gradient, weights at their stored positions and biases alike, in place."""

    def updated(value: Array, m: Array, v: Array, gradient: Array) -> tuple[Array, Array, Array]:
        gradient = gradient + weight_decay * value
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        m_hat, v_hat = m / (1 - beta_1**step), v / (1 - beta_2**step)
        return value - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), m, v

    for layer, (weight_gradient, bias_gradient) in zip(layers, gradients, strict=True):
        # Outside the mask weight, gradient and moments are all 0, and Adam leaves 0 at 0.
        layer.weight, layer.adam_m, layer.adam_v = updated(layer.weight, layer.adam_m, layer.adam_v, weight_gradient)
        layer.bias, layer.bias_adam_m, layer.bias_adam_v = updated(
            layer.bias, layer.bias_adam_m, layer.bias_adam_v, bias_gradient
        )


def polyak_update(source: Layers, target: Layers, tau: float) -> None:
    """Polyak averaging, then Algorithm 3 with k = the source's stored weights, layer by layer, in place."""
    for s, t in zip(source, target, strict=True):
        t.weight = maintain_sparsity(polyak(s.weight, t.weight, tau), int(s.mask.sum()))
        t.mask = t.weight != 0
        t.bias = polyak(s.bias, t.bias, tau)


def update_critics(learner: TD3 | SAC, critic_input: Array, y: Array) -> dict[str, float]:
    """A step of each critic on mean((y - Q(s, a))^2), which it returns by name."""
    losses = {}
    for name in ("critic_1", "critic_2"):
        critic = getattr(learner, name)
        boundaries = forward(critic, critic_input, "linear")
        losses[name] = float(np.mean((boundaries[-1] - y) ** 2))
        gradients, _ = backward(critic, boundaries, 2 * (boundaries[-1] - y) / y.shape[1], "linear")
        adam_step(critic, gradients, learner.updates, learner.learning_rate, learner.weight_decay)
    return losses


# --- Algorithm 1: one TD3 update --------------------------------------------------------------------------------


@dataclass
class TD3:
    """State of a TD3 learner and its settings; `update` is lines 12 to 29 of Algorithm 1 without the evolution."""

    actor: Layers
    critic_1: Layers
    critic_2: Layers
    actor_target: Layers
    critic_1_target: Layers
    critic_2_target: Layers
    gamma: float = 0.99
    tau: float = 0.005
    policy_delay: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 2e-4
    updates: int = 0
    actor_updates: int = 0

    def update(
        self, observation: Array, action: Array, reward: Array, next_observation: Array, terminated: Array, noise: Array
    ) -> dict[str, float]:
        """One update. Arrays are (rows, B); `noise` is the clipped target noise. Returns the losses."""
        self.updates += 1
        B = observation.shape[1]

        next_action = np.clip(forward(self.actor_target, next_observation, "tanh")[-1] + noise, -1, 1)
        next_input = np.concatenate([next_observation, next_action])
        q_1 = forward(self.critic_1_target, next_input, "linear")[-1]
        q_2 = forward(self.critic_2_target, next_input, "linear")[-1]
        y = reward + self.gamma * (1 - terminated) * np.minimum(q_1, q_2)

        losses = update_critics(self, np.concatenate([observation, action]), y)

        if self.updates % self.policy_delay == 0:
            self.actor_updates += 1
            actor_boundaries = forward(self.actor, observation, "tanh")
            critic_boundaries = forward(self.critic_1, np.concatenate([observation, actor_boundaries[-1]]), "linear")
            losses["actor"] = float(-np.mean(critic_boundaries[-1]))
            _, dx = backward(self.critic_1, critic_boundaries, np.full((1, B), -1 / B), "linear")
            gradients, _ = backward(self.actor, actor_boundaries, dx[len(observation) :], "tanh")
            adam_step(self.actor, gradients, self.actor_updates, self.learning_rate, self.weight_decay)
            polyak_update(self.critic_1, self.critic_1_target, self.tau)
            polyak_update(self.critic_2, self.critic_2_target, self.tau)
            polyak_update(self.actor, self.actor_target, self.tau)
        return losses


# --- Algorithm 4: one SAC update ---------------------------------------------------------------------------------


def squashed(head: Array, noise: Array) -> tuple[Array, Array, Array]:
    """(u, action = tanh(u), log-probability (1, B)) of a Gaussian with this head, means above log sigma."""
    mean, log_sigma = np.split(head, 2)
    log_sigma = np.clip(log_sigma, -20, 2)
    u = mean + np.exp(log_sigma) * noise
    log_normal = -0.5 * noise**2 - log_sigma - 0.5 * math.log(2 * math.pi)
    # log(1 - tanh(u)^2) = log 4 - 2 u - 2 log(1 + exp(-2 u)), which keeps its digits where tanh(u) is 1.
    log_slope = 2 * (math.log(2) - u - np.logaddexp(0, -2 * u))
    return u, np.tanh(u), (log_normal - log_slope).sum(axis=0, keepdims=True)


def squashed_gradient(head: Array, noise: Array, dq: Array, weight: float) -> Array:
    """Gradient of sum(weight log_prob + q) at the head, dq/daction given, the noise held fixed."""
    u, action, _ = squashed(head, noise)
    log_sigma = head[len(head) // 2 :]
    du = dq / np.cosh(u) ** 2 + weight * 2 * action  # d log_prob / du = 2 tanh(u)
    d_log_sigma = du * np.exp(np.clip(log_sigma, -20, 2)) * noise - weight
    return np.concatenate([du, np.where((log_sigma >= -20) & (log_sigma <= 2), d_log_sigma, 0)])


@dataclass
class SAC:
    """State of a SAC learner and its settings; `update` is lines 13 to 22 of Algorithm 4 without the evolution."""

    actor: Layers
    critic_1: Layers
    critic_2: Layers
    critic_1_target: Layers
    critic_2_target: Layers
    log_alpha: list[float]  # the value, and its Adam moments
    gamma: float = 0.99
    tau: float = 1.0
    target_update_every: int = 1000
    automatic: bool = False
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    updates: int = 0

    def update(
        self,
        observation: Array,
        action: Array,
        reward: Array,
        next_observation: Array,
        terminated: Array,
        next_noise: Array,
        noise: Array,
    ) -> dict[str, float]:
        """One update. Arrays are (rows, B); the noises: of the target's actions, of the actor's. Returns the losses."""
        self.updates += 1
        B, alpha = observation.shape[1], math.exp(self.log_alpha[0])

        _, next_action, log_prob = squashed(forward(self.actor, next_observation, "linear")[-1], next_noise)
        next_input = np.concatenate([next_observation, next_action])
        q_1 = forward(self.critic_1_target, next_input, "linear")[-1]
        q_2 = forward(self.critic_2_target, next_input, "linear")[-1]
        y = reward + self.gamma * (1 - terminated) * (np.minimum(q_1, q_2) - alpha * log_prob)

        losses = update_critics(self, np.concatenate([observation, action]), y)

        actor_boundaries = forward(self.actor, observation, "linear")
        _, new_action, log_prob = squashed(actor_boundaries[-1], noise)
        new_input = np.concatenate([observation, new_action])
        passes = [forward(critic, new_input, "linear") for critic in (self.critic_1, self.critic_2)]
        q_1, q_2 = (boundaries[-1] for boundaries in passes)
        losses["actor"] = float(np.mean(alpha * log_prob - np.minimum(q_1, q_2)))
        dq = 0
        for critic, boundaries in zip((self.critic_1, self.critic_2), passes, strict=True):
            least = boundaries[-1] == np.minimum(q_1, q_2)
            dq = dq + backward(critic, boundaries, np.where(least, -1 / B, 0), "linear")[1][len(observation) :]
        d_head = squashed_gradient(actor_boundaries[-1], noise, dq, alpha / B)
        gradients, _ = backward(self.actor, actor_boundaries, d_head, "linear")
        adam_step(self.actor, gradients, self.updates, self.learning_rate, self.weight_decay)

        if self.automatic:
            value, m, v = self.log_alpha
            gradient = -float(np.mean(log_prob - len(action)))  # target entropy: -m
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            m_hat, v_hat = m / (1 - 0.9**self.updates), v / (1 - 0.999**self.updates)
            self.log_alpha = [value - self.learning_rate * m_hat / (math.sqrt(v_hat) + 1e-8), m, v]
        losses["alpha"] = math.exp(self.log_alpha[0])
        if self.updates % self.target_update_every == 0:
            polyak_update(self.critic_1, self.critic_1_target, self.tau)
            polyak_update(self.critic_2, self.critic_2_target, self.tau)
        return losses
