"""Golden SAC updates: dense PyTorch networks under masks, autograd, torch.distributions and Adam, in float64.

Written as one would write DS-SAC in PyTorch, and after no line of edgedst. Run it where torch is installed; the files
then test the core where it is not:

    python tests/golden/make_sac_update.py        writes tests/golden/sac_update_<case>.npz
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.distributions import Normal, TanhTransform
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from make_td3_update import Masked, networks_after, optimiser, values, write

FOLDER = Path(__file__).parent
OBSERVATION, ACTION, HIDDEN, BATCH, UPDATES = 5, 2, (24, 20), 10, 3
LAMBDAS = (3, 5)  # layer l stores lambda_l (in + out) weights; the output layers are dense
GAMMA, LEARNING_RATE, ALPHA = 0.99, 3e-4, 0.2
NETWORKS = ("actor", "critic_1", "critic_2")
TARGETS = ("critic_1_target", "critic_2_target")


@dataclass(frozen=True)
class Case:
    """How a case starts, and its settings."""

    seed: int
    steps: int = 0  # gradient steps before
    targets: str = "equal"  # to their critics; "same" topology, other weights; "other" topology
    tau: float = 1.0
    target_update_every: int = 1000
    automatic: bool = False
    sparse: bool = True
    batch_norm: bool = False  # CrossQ: its targets are not used
    tails: bool = False  # large means, and log sigma on both sides of its clamp


CASES = {
    "first": Case(21),
    "hard_update": Case(22, steps=5, targets="other", target_update_every=4),  # within the three updates
    "soft_update": Case(23, steps=6, targets="other", tau=0.005, target_update_every=1),
    "automatic_alpha": Case(24, steps=5, targets="same", tau=0.005, target_update_every=1, automatic=True),
    "dense": Case(25, steps=5, targets="same", sparse=False),
    "tails": Case(26, steps=5, targets="same", tails=True),
    "batch_norm": Case(27, steps=5, targets="same", automatic=True, batch_norm=True),
}


def sizes_of(network: str) -> list[int]:
    return [OBSERVATION, *HIDDEN, 2 * ACTION] if network == "actor" else [OBSERVATION + ACTION, *HIDDEN, 1]


def inputs(name: str) -> dict[str, np.ndarray]:
    """Networks, moments, mini-batches and noise to start from, float32."""
    case = CASES[name]
    rng = np.random.default_rng(case.seed)
    scale = 0.05 if case.steps else 0.0
    arrays = {"steps": np.array(case.steps), "log_alpha": np.array([np.log(ALPHA), 4 * scale, scale**2])}

    def positions(number: int, rows: int, columns: int) -> np.ndarray:
        everything = rows * columns
        is_sparse = case.sparse and number < len(LAMBDAS)
        count = min(everything, LAMBDAS[number] * (rows + columns)) if is_sparse else everything
        return np.sort(rng.choice(everything, count, replace=False)).astype(np.uint32)

    for network in NETWORKS:
        sizes = sizes_of(network)
        for number, (columns, rows) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            own, target = f"{network}.{number}", f"{network}_target.{number}"
            indices, bound = positions(number, rows, columns), 1 / np.sqrt(columns)
            count = len(indices)
            arrays[f"{own}.indices"] = indices
            arrays[f"{own}.values"] = rng.uniform(-bound, bound, count)
            arrays[f"{own}.bias"] = rng.uniform(-bound, bound, rows)
            for prefix, length in (("", count), ("bias_", rows)):
                arrays[f"{own}.{prefix}adam_m"] = scale * rng.normal(size=length)
                arrays[f"{own}.{prefix}adam_v"] = (
                    scale**2 * rng.uniform(0.1, 1, length) * (1 - 0.999 ** max(case.steps, 1))
                )
            if network == "actor":
                continue
            if case.batch_norm and number < len(HIDDEN):
                arrays[f"{own}.running_mean"] = rng.normal(size=rows)
                arrays[f"{own}.running_variance"] = rng.uniform(0.5, 2, rows)
            for key in ("indices", "values", "bias"):
                arrays[f"{target}.{key}"] = arrays[f"{own}.{key}"]
            if case.targets != "equal":
                arrays[f"{target}.values"] = rng.uniform(-bound, bound, count)
                arrays[f"{target}.bias"] = rng.uniform(-bound, bound, rows)
            if case.targets == "other":
                arrays[f"{target}.indices"] = positions(number, rows, columns)
    if case.tails:
        # u up to 12: 1 - tanh(u)^2 is 2e-10. log sigma: one component mostly above 2, one mostly below -20.
        arrays["actor.2.values"] *= 30
        arrays["actor.2.bias"] = np.array([4.0, -5.0, 2.0, -20.0])
    for update in range(UPDATES):
        for batch_name, shape in (("observation", OBSERVATION), ("next_observation", OBSERVATION), ("reward", 1)):
            arrays[f"batch.{update}.{batch_name}"] = rng.normal(size=(shape, BATCH))
        arrays[f"batch.{update}.action"] = rng.uniform(-1, 1, (ACTION, BATCH))
        arrays[f"batch.{update}.terminated"] = rng.random((1, BATCH)) < 0.2
        arrays[f"batch.{update}.next_noise"] = rng.normal(size=(ACTION, BATCH))  # of the target's actions
        arrays[f"batch.{update}.noise"] = rng.normal(size=(ACTION, BATCH))  # of the actor's
    kept = ("indices", "steps", "log_alpha")
    return {key: array if key.endswith(kept) else array.astype(np.float32) for key, array in arrays.items()}


def sample(actor: Masked, observation: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Reparameterised actions (B, m) of the squashed Gaussian, and their log-probabilities (B, 1)."""
    mean, log_sigma = actor(observation).chunk(2, dim=1)
    gaussian, squash = Normal(mean, log_sigma.clamp(-20, 2).exp()), TanhTransform()
    u = gaussian.mean + gaussian.stddev * noise
    action = squash(u)
    log_prob = gaussian.log_prob(u) - squash.log_abs_det_jacobian(u, action)
    return action, log_prob.sum(dim=1, keepdim=True)


@torch.no_grad()
def update_target(network: Masked, target: Masked, tau: float) -> None:
    """Polyak averaging, then Algorithm 3 (Maintain_Sparsity) per weight matrix."""
    for parameter, averaged in zip(network.parameters(), target.parameters(), strict=True):
        averaged.mul_(1 - tau).add_(tau * parameter)
    for mask, weight in zip(network.masks, target.weights, strict=True):
        k = int(mask.sum())
        magnitudes, _ = torch.sort(weight.abs().flatten(), descending=True)
        weight.mul_(weight.abs() - magnitudes[k - 1] >= 0)


def train(name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """UPDATES of SAC (Haarnoja et al. 2018) from `arrays`: losses, log-probabilities, gradients, the state at the end.

    Weights and their gradients are given at the stored positions of the networks, row-major; targets as full matrices.
    """
    case = CASES[name]
    networks = {network: Masked(arrays, network, sizes_of(network), "linear") for network in (*NETWORKS, *TARGETS)}
    actor, critic_1, critic_2 = (networks[network] for network in NETWORKS)
    beta_1 = 0.5 if case.batch_norm else 0.9
    both_critics = {"critic_1": critic_1, "critic_2": critic_2}
    critic_adam = optimiser(arrays, both_critics, case.steps, LEARNING_RATE, 0.0, beta_1)
    actor_adam = optimiser(arrays, {"actor": actor}, case.steps, LEARNING_RATE, 0.0)
    log_alpha = torch.tensor(arrays["log_alpha"][0], dtype=torch.float64, requires_grad=True)
    alpha_adam = torch.optim.Adam([log_alpha], lr=LEARNING_RATE)
    if case.steps:
        m, v = (torch.tensor(moment, dtype=torch.float64) for moment in arrays["log_alpha"][1:])
        alpha_adam.state[log_alpha] = {"step": torch.tensor(float(case.steps)), "exp_avg": m, "exp_avg_sq": v}
    found: dict[str, np.ndarray] = {}

    def keep_gradients(update: int, network: str) -> None:
        layers = zip(networks[network].weights, networks[network].biases, strict=True)
        for number, (weight, bias) in enumerate(layers):
            indices = arrays[f"{network}.{number}.indices"].astype(np.int64)
            found[f"gradient.{update}.{network}.{number}.values"] = weight.grad.numpy().reshape(-1)[indices].copy()
            found[f"gradient.{update}.{network}.{number}.bias"] = bias.grad.numpy().copy()

    for update in range(UPDATES):
        # PyTorch is batch-major.
        observation, action, reward, next_observation, terminated, next_noise, noise = (
            torch.from_numpy(arrays[f"batch.{update}.{key}"]).double().T
            for key in ("observation", "action", "reward", "next_observation", "terminated", "next_noise", "noise")
        )
        alpha = log_alpha.exp().detach()
        with torch.no_grad():
            next_action, next_log_prob = sample(actor, next_observation, next_noise)
            next_input = torch.cat([next_observation, next_action], dim=1)
        critic_input = torch.cat([observation, action], dim=1)
        (q_1, next_1), (q_2, next_2) = values(networks, critic_input, next_input)
        y = reward + GAMMA * (1 - terminated) * (torch.min(next_1, next_2) - alpha * next_log_prob)

        loss_1, loss_2 = functional.mse_loss(q_1, y), functional.mse_loss(q_2, y)
        critic_adam.zero_grad()
        (loss_1 + loss_2).backward()
        keep_gradients(update, "critic_1")
        keep_gradients(update, "critic_2")
        critic_adam.step()

        new_action, log_prob = sample(actor, observation, noise)
        new_input = torch.cat([observation, new_action], dim=1)
        actor_loss = (alpha * log_prob - torch.min(critic_1(new_input), critic_2(new_input))).mean()
        actor_adam.zero_grad()
        actor_loss.backward()
        keep_gradients(update, "actor")
        actor_adam.step()

        if case.automatic:
            alpha_loss = -(log_alpha * (log_prob.detach() - ACTION)).mean()  # target entropy: -m
            alpha_adam.zero_grad()
            alpha_loss.backward()
            alpha_adam.step()
        if (case.steps + update + 1) % case.target_update_every == 0:
            for network in NETWORKS[1:]:
                update_target(networks[network], networks[f"{network}_target"], case.tau)

        losses = {"critic_1": loss_1, "critic_2": loss_2, "actor": actor_loss, "alpha": log_alpha.exp()}
        found |= {f"loss.{update}.{key}": loss.item() for key, loss in losses.items()}
        found[f"log_prob.{update}.next"] = next_log_prob.T.numpy()
        found[f"log_prob.{update}.new"] = log_prob.detach().T.numpy()

    found |= networks_after(arrays, networks, actor_adam, critic_adam)
    return {key: np.asarray(array, dtype=np.float64) for key, array in found.items()}


def make(folder: Path) -> None:
    for name in CASES:
        arrays = inputs(name)
        write(folder / f"sac_update_{name}.npz", arrays, train(name, arrays))


if __name__ == "__main__":
    make(FOLDER)
