"""Golden TD3 updates: dense PyTorch networks under masks, autograd and torch.optim.Adam, in float64.

Written as one would write DS-TD3 in PyTorch, and after no line of edgedst. Run it where torch is installed; the files
then test the core where it is not:

    python tests/golden/make_td3_update.py        writes tests/golden/td3_update_<case>.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

FOLDER = Path(__file__).parent
OBSERVATION, ACTION, HIDDEN, BATCH, UPDATES = 5, 2, (24, 20), 10, 3
LAMBDAS = (3, 5)  # layer l stores lambda_l (in + out) weights; the output layer is dense
GAMMA, TAU, POLICY_DELAY, LEARNING_RATE, WEIGHT_DECAY = 0.99, 0.005, 2, 1e-3, 2e-4
NETWORKS = ("actor", "critic_1", "critic_2")
CASES = {
    # name: (seed, sparse, gradient steps before, topology of the targets)
    "first": (11, True, 0, "equal"),  # moments 0, targets equal to their networks
    "midway": (12, True, 5, "same"),  # moments and targets of a run under way
    "after_evolution": (13, True, 6, "other"),  # the targets still have another topology
    "dense": (14, False, 5, "same"),
    "batch_norm": (15, True, 5, "same"),  # CrossQ: its targets are not used
}


class Masked(nn.Module):
    """A multilayer perceptron of full matrices whose gradients are masked.

    Where the arrays have running statistics of its hidden layers, these have batch normalisation (Ioffe & Szegedy 2015)
    with a bias and no scale. The running variance is that of the batch as it is (biased), as in Flax.
    """

    def __init__(self, arrays: dict[str, np.ndarray], prefix: str, sizes: list[int], output: str) -> None:
        super().__init__()
        self.output, self.masks = output, []
        self.running = {
            number: [
                torch.from_numpy(arrays[f"{prefix}.{number}.running_{name}"]).double() for name in ("mean", "variance")
            ]
            for number in range(len(sizes) - 2)
            if f"{prefix}.{number}.running_mean" in arrays
        }
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for number, (columns, rows) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            indices = torch.from_numpy(arrays[f"{prefix}.{number}.indices"].astype(np.int64))
            weight, mask = (torch.zeros(rows * columns, dtype=torch.float64) for _ in range(2))
            weight[indices] = torch.from_numpy(arrays[f"{prefix}.{number}.values"]).double()
            mask[indices] = 1
            mask = mask.reshape(rows, columns)
            self.weights.append(nn.Parameter(weight.reshape(rows, columns)))
            self.weights[-1].register_hook(lambda gradient, mask=mask: gradient * mask)
            self.biases.append(nn.Parameter(torch.from_numpy(arrays[f"{prefix}.{number}.bias"]).double()))
            self.masks.append(mask)

    def forward(self, x: torch.Tensor, own_statistics: bool = False) -> torch.Tensor:
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if number in self.running:
                x = functional.linear(x, weight)
                if own_statistics:
                    mean, variance = x.mean(dim=0), x.var(dim=0, unbiased=False)
                    for running, now in zip(self.running[number], (mean, variance), strict=True):
                        running.mul_(0.99).add_(0.01 * now.detach())
                else:
                    mean, variance = self.running[number]
                x = (x - mean) / (variance + 1e-5).sqrt() + bias
            else:
                x = functional.linear(x, weight, bias)
            if number < len(self.weights) - 1:
                x = torch.relu(x)
        return torch.tanh(x) if self.output == "tanh" else x


def sizes_of(network: str) -> list[int]:
    if network.startswith("actor"):
        return [OBSERVATION, *HIDDEN, ACTION]
    return [OBSERVATION + ACTION, *HIDDEN, 1]


def inputs(case: str) -> dict[str, np.ndarray]:
    """Networks, moments and mini-batches to start from, float32."""
    seed, sparse, steps, targets = CASES[case]
    rng = np.random.default_rng(seed)
    arrays = {"steps": np.array(steps), "actor_steps": np.array(steps // POLICY_DELAY)}

    def positions(number: int, rows: int, columns: int) -> np.ndarray:
        everything = rows * columns
        is_sparse = sparse and number < len(LAMBDAS)
        count = min(everything, LAMBDAS[number] * (rows + columns)) if is_sparse else everything
        return np.sort(rng.choice(everything, count, replace=False)).astype(np.uint32)

    for network in NETWORKS:
        sizes = sizes_of(network)
        for number, (columns, rows) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            own, target = f"{network}.{number}", f"{network}_target.{number}"
            indices, bound = positions(number, rows, columns), 1 / np.sqrt(columns)
            count = len(indices)
            arrays[f"{own}.indices"] = arrays[f"{target}.indices"] = indices
            arrays[f"{own}.values"] = arrays[f"{target}.values"] = rng.uniform(-bound, bound, count)
            arrays[f"{own}.bias"] = arrays[f"{target}.bias"] = rng.uniform(-bound, bound, rows)
            if targets != "equal":
                arrays[f"{target}.values"] = rng.uniform(-bound, bound, count)
                arrays[f"{target}.bias"] = rng.uniform(-bound, bound, rows)
            if targets == "other":
                arrays[f"{target}.indices"] = positions(number, rows, columns)
            scale = 0.05 if steps else 0.0
            for name, length in (("", count), ("bias_", rows)):
                arrays[f"{own}.{name}adam_m"] = scale * rng.normal(size=length)
                arrays[f"{own}.{name}adam_v"] = scale**2 * rng.uniform(0.1, 1, length) * (1 - 0.999 ** max(steps, 1))
            if case == "batch_norm" and network != "actor" and number < len(HIDDEN):
                arrays[f"{own}.running_mean"] = rng.normal(size=rows)
                arrays[f"{own}.running_variance"] = rng.uniform(0.5, 2, rows)
    for update in range(UPDATES):
        arrays[f"batch.{update}.observation"] = rng.normal(size=(OBSERVATION, BATCH))
        arrays[f"batch.{update}.next_observation"] = rng.normal(size=(OBSERVATION, BATCH))
        arrays[f"batch.{update}.action"] = rng.uniform(-1, 1, (ACTION, BATCH))
        arrays[f"batch.{update}.reward"] = rng.normal(size=(1, BATCH))
        arrays[f"batch.{update}.terminated"] = rng.random((1, BATCH)) < 0.2
        arrays[f"batch.{update}.noise"] = np.zeros((ACTION, BATCH))  # of the target policy; clipped
    keep = ("indices", "steps")
    return {name: a if name.endswith(keep) else a.astype(np.float32) for name, a in arrays.items()}


def optimiser(
    arrays: dict[str, np.ndarray],
    networks: dict[str, Masked],
    steps: int,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = WEIGHT_DECAY,
    beta_1: float = 0.9,
) -> torch.optim.Adam:
    """Adam over these networks, its moments as given."""
    parameters = [p for network in networks.values() for p in network.parameters()]
    adam = torch.optim.Adam(parameters, lr=learning_rate, betas=(beta_1, 0.999), weight_decay=weight_decay)
    if steps == 0:
        return adam
    for name, network in networks.items():
        for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            indices = arrays[f"{name}.{number}.indices"].astype(np.int64)
            for parameter, kind in ((weight, ""), (bias, "bias_")):
                moments = {}
                for torch_name, ours in (("exp_avg", "adam_m"), ("exp_avg_sq", "adam_v")):
                    given = torch.from_numpy(arrays[f"{name}.{number}.{kind}{ours}"]).double()
                    if kind == "":
                        full = torch.zeros(weight.numel(), dtype=torch.float64)
                        full[indices] = given
                        given = full.reshape(weight.shape)
                    moments[torch_name] = given
                adam.state[parameter] = {"step": torch.tensor(float(steps)), **moments}
    return adam


@torch.no_grad()
def update_target(network: Masked, target: Masked) -> None:
    """Polyak averaging, then Algorithm 3 (Maintain_Sparsity) per weight matrix."""
    for parameter, averaged in zip(network.parameters(), target.parameters(), strict=True):
        averaged.mul_(1 - TAU).add_(TAU * parameter)
    for mask, weight in zip(network.masks, target.weights, strict=True):
        k = int(mask.sum())
        magnitudes, _ = torch.sort(weight.abs().flatten(), descending=True)
        weight.mul_(weight.abs() - magnitudes[k - 1] >= 0)


def train(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """UPDATES of TD3 (Fujimoto et al. 2018, Algorithm 1) from `arrays`: losses, gradients, and the state at the end.

    Weights and their gradients are given at the stored positions of the networks, row-major; targets as full matrices.
    """
    names = [*NETWORKS, *(f"{name}_target" for name in NETWORKS)]
    networks = {
        name: Masked(arrays, name, sizes_of(name), "tanh" if name.startswith("actor") else "linear") for name in names
    }
    actor, critic_1, critic_2 = (networks[name] for name in NETWORKS)
    steps, actor_steps = int(arrays["steps"]), int(arrays["actor_steps"])
    crossq = bool(critic_1.running)
    beta_1 = 0.5 if crossq else 0.9
    critic_adam = optimiser(arrays, {"critic_1": critic_1, "critic_2": critic_2}, steps, beta_1=beta_1)
    actor_adam = optimiser(arrays, {"actor": actor}, actor_steps)
    found: dict[str, np.ndarray] = {}

    def keep_gradients(update: int, name: str) -> None:
        network = networks[name]
        for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            indices = arrays[f"{name}.{number}.indices"].astype(np.int64)
            found[f"gradient.{update}.{name}.{number}.values"] = weight.grad.numpy().reshape(-1)[indices].copy()
            found[f"gradient.{update}.{name}.{number}.bias"] = bias.grad.numpy().copy()

    for update in range(UPDATES):
        # PyTorch is batch-major.
        observation, action, reward, next_observation, terminated, noise = (
            torch.from_numpy(arrays[f"batch.{update}.{name}"]).double().T
            for name in ("observation", "action", "reward", "next_observation", "terminated", "noise")
        )
        with torch.no_grad():
            next_action = ((actor if crossq else networks["actor_target"])(next_observation) + noise).clamp(-1, 1)
            next_input = torch.cat([next_observation, next_action], dim=1)
        critic_input = torch.cat([observation, action], dim=1)
        (q_1, next_1), (q_2, next_2) = values(networks, critic_input, next_input)
        y = reward + GAMMA * (1 - terminated) * torch.min(next_1, next_2)

        loss_1, loss_2 = functional.mse_loss(q_1, y), functional.mse_loss(q_2, y)
        critic_adam.zero_grad()
        (loss_1 + loss_2).backward()
        keep_gradients(update, "critic_1")
        keep_gradients(update, "critic_2")
        critic_adam.step()
        found[f"loss.{update}.critic_1"], found[f"loss.{update}.critic_2"] = loss_1.item(), loss_2.item()

        if (steps + update + 1) % POLICY_DELAY == 0:
            actor_loss = -critic_1(torch.cat([observation, actor(observation)], dim=1)).mean()
            actor_adam.zero_grad()
            actor_loss.backward()
            keep_gradients(update, "actor")
            actor_adam.step()
            found[f"loss.{update}.actor"] = actor_loss.item()
            for name in NETWORKS if not crossq else ():
                update_target(networks[name], networks[f"{name}_target"])

    found |= networks_after(arrays, networks, actor_adam, critic_adam)
    return {name: np.asarray(a, dtype=np.float64) for name, a in found.items()}


def values(
    networks: dict[str, Masked], critic_input: torch.Tensor, next_input: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of each critic Q(s, a), and Q(s', a') without gradient: its target's, or its own in one joint pass (CrossQ)."""
    found = []
    for name in NETWORKS[1:]:
        if networks[name].running:
            q, next_q = networks[name](torch.cat([critic_input, next_input]), own_statistics=True).chunk(2)
        else:
            q, next_q = networks[name](critic_input), networks[f"{name}_target"](next_input)
        found.append((q, next_q.detach()))
    return found


def networks_after(
    arrays: dict[str, np.ndarray],
    networks: dict[str, Masked],
    actor_adam: torch.optim.Adam,
    critic_adam: torch.optim.Adam,
) -> dict[str, np.ndarray]:
    """Weights, biases and moments at the stored positions; of targets whole weights."""
    found = {}
    for name, network in networks.items():
        adam = actor_adam if name == "actor" else critic_adam
        for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            prefix = f"after.{name}.{number}"
            found[f"{prefix}.bias"] = bias.detach().numpy()
            for statistic, running in zip(("mean", "variance"), network.running.get(number, ()), strict=False):
                found[f"{prefix}.running_{statistic}"] = running.numpy()
            if name.endswith("_target"):
                found[f"{prefix}.weight"] = weight.detach().numpy()
                continue
            indices = arrays[f"{name}.{number}.indices"].astype(np.int64)
            found[f"{prefix}.values"] = weight.detach().numpy().reshape(-1)[indices]
            for torch_name, ours in (("exp_avg", "adam_m"), ("exp_avg_sq", "adam_v")):
                found[f"{prefix}.{ours}"] = adam.state[weight][torch_name].numpy().reshape(-1)[indices]
                found[f"{prefix}.bias_{ours}"] = adam.state[bias][torch_name].numpy()
    return found


def write(path: Path, arrays: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """A golden file: what a case begins with, and float32 of what comes out."""
    np.savez_compressed(path, **arrays, **{name: a.astype(np.float32) for name, a in expected.items()})
    sys.stdout.write(f"{path.name}: {path.stat().st_size} bytes\n")


def make(folder: Path) -> None:
    for case in CASES:
        arrays = inputs(case)
        write(folder / f"td3_update_{case}.npz", arrays, train(arrays))


if __name__ == "__main__":
    make(FOLDER)
