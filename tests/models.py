"""The algorithms again, in NumPy over dense arrays: slow, plain, and written from the paper rather than from the core.

A sparse layer is a full weight matrix beside a boolean mask of the stored positions. Weights are (out, in), so flat
position row * in + column; activations are feature-major, (features, B). Everything is computed in the dtype that
comes in: float64 for an oracle that rounds less than the core, float32 where a test wants its very numbers.

Source: Sokar et al. 2022, Algorithms 1 to 3; Fujimoto et al. 2018, Algorithm 1; Kingma and Ba 2015, Algorithm 1.
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

        losses = {}
        critic_input = np.concatenate([observation, action])
        for name, critic in (("critic_1", self.critic_1), ("critic_2", self.critic_2)):
            boundaries = forward(critic, critic_input, "linear")
            losses[name] = float(np.mean((boundaries[-1] - y) ** 2))
            gradients, _ = backward(critic, boundaries, 2 * (boundaries[-1] - y) / B, "linear")
            adam_step(critic, gradients, self.updates, self.learning_rate, self.weight_decay)

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
