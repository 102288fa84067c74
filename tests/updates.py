"""What the tests of whole updates share: states of golden files into agents and models, gradients, comparisons.

Tolerances: the oracle computes in float64, the core in float32, whose unit in the last place is 6e-8 (relative).
"""

from __future__ import annotations

import models
import numpy as np
import packed
import pytest

from edgedst.agents.actor_critic import NETWORKS
from edgedst.errors import TrainingDiverged

BATCH_ROWS = ("observation", "action", "reward", "next_observation", "terminated")

# Of a sum of about 10 samples times 3 layers of up to 24 products, against the network's largest gradient.
GRADIENT_ERROR = 3e-6


def layers_of(arrays, name, sizes, dtype):
    """A network of the golden file as dense models.Layer."""
    layers = []
    for number, (columns, rows) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        indices = arrays[f"{name}.{number}.indices"]

        def dense(values, indices=indices, shape=(rows, columns), dtype=dtype):
            flat = np.zeros(shape[0] * shape[1], dtype)
            flat[indices] = values
            return flat.reshape(shape)

        layer = models.Layer(
            dense(arrays[f"{name}.{number}.values"]),
            dense(1).astype(bool),
            arrays[f"{name}.{number}.bias"].astype(dtype),
        )
        if name in NETWORKS:
            layer.adam_m = dense(arrays[f"{name}.{number}.adam_m"])
            layer.adam_v = dense(arrays[f"{name}.{number}.adam_v"])
            layer.bias_adam_m = arrays[f"{name}.{number}.bias_adam_m"].astype(dtype)
            layer.bias_adam_v = arrays[f"{name}.{number}.bias_adam_v"].astype(dtype)
        layers.append(layer)
    return layers


def write_networks(agent, arrays):
    """Put the file's networks into an agent; a target is linked where it has its network's topology."""
    for name, network in agent.networks.items():
        layers = layers_of(arrays, name, network.sizes, np.float32)
        packed.write(network, layers, agent.workspace, moments=name in NETWORKS)
        for number, statistic in statistics_of(network):
            memory = getattr(network, statistic)(number)
            memory[:] = memoryview(np.asarray(arrays[f"{name}.{number}.{statistic}"], np.float32))
    for name, target in agent.targets.items():
        source = name.removesuffix("_target")
        same = all(
            np.array_equal(arrays[f"{source}.{number}.indices"], arrays[f"{name}.{number}.indices"])
            for number in range(len(target.nnz))
        )
        target.link(agent.networks[source], same, agent.workspace)


def statistics_of(network):
    """(layer, name) of each array of running statistics."""
    hidden = range(len(network.nnz) - 1) if network.batch_norm else ()
    return [(number, statistic) for number in hidden for statistic in ("running_mean", "running_variance")]


def fill_batch(agent, arrays, update):
    """Put an update's mini-batch of the file into the agent's."""
    batch = agent.batch
    for rows in (batch.critic_input, batch.next_critic_input, batch.reward, batch.discount):
        padded = np.asarray(rows.memory).reshape(rows.rows, rows.stride)
        padded[:] = 1.0  # what lies in the padded columns must not matter
    for name in BATCH_ROWS[:-1]:
        packed.array_of(getattr(batch, name))[:] = arrays[f"batch.{update}.{name}"]
    packed.array_of(batch.discount)[:] = agent.config.gamma * (1 - arrays[f"batch.{update}.terminated"])


def check_a_nan_ends_training(agent, arrays, name):
    """One NaN weight in a hidden layer of the network `name`: within four updates, its target's among them."""
    agent.networks[name].values(0)[0] = np.nan
    agent.sample = lambda: fill_batch(agent, arrays, 0)

    def train():
        for _ in range(4):
            agent.update()

    with pytest.raises(TrainingDiverged, match=r"The losses are .*nan of the"):
        train()


def run(agent, arrays, update):
    """One update; returns the gradients that Adam got, by network, at the stored positions, row-major."""
    fill_batch(agent, arrays, update)
    gradients, take_step = {}, type(agent).step

    def record(network, step):
        name = next(name for name in NETWORKS if agent.networks[name] is network)
        gradients[name] = packed.gradients_of(network, agent.gradients)
        take_step(agent, network, step)

    agent.step = record
    agent.learn()
    return gradients


def check_scratch_leaves_no_trace(make_agent, arrays, updates):
    """A topology's scratch lies over activations and gradients: NaN in every byte of it changes no later bit."""
    trained = []
    for left in (0, 255):
        agent = make_agent()
        scratch = agent.workspace
        for update in range(updates):
            for array in (scratch.indices, scratch.values, scratch.adam_m, scratch.adam_v):
                array.cast("B")[:] = bytes([left]) * array.nbytes
            run(agent, arrays, update)
        trained.append([bytes(network.values(layer)) for network in agent.networks.values() for layer in range(3)])
    assert trained[0] == trained[1]


def check_gradients(arrays, expected, update, gradients):
    """Compare what `run` returned with the file's."""
    for name, layers in gradients.items():
        largest = largest_of(expected, f"gradient.{update}.{name}.")
        for number, (weight, bias) in enumerate(layers):
            indices = arrays[f"{name}.{number}.indices"]
            prefix = f"gradient.{update}.{name}.{number}"
            close(weight.reshape(-1)[indices], expected[f"{prefix}.values"], largest)
            close(bias, expected[f"{prefix}.bias"], largest)


def check_networks(agent, arrays, expected, weight_error):
    """Compare weights, moments, and the targets' topologies with the file's, after the last update."""
    for name, network in agent.networks.items():
        for number, statistic in statistics_of(network):
            found, wanted = getattr(network, statistic)(number), expected[f"after.{name}.{number}.{statistic}"]
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
        for number, layer in enumerate(packed.read(network, agent.workspace, moments=name in NETWORKS)):
            prefix = f"after.{name}.{number}"
            np.testing.assert_allclose(layer.bias, expected[f"{prefix}.bias"], rtol=0, atol=weight_error)
            if name not in NETWORKS:
                target = expected[f"{prefix}.weight"]
                np.testing.assert_array_equal(layer.weight != 0, target != 0, err_msg=f"topology of {prefix}")
                np.testing.assert_allclose(layer.weight, target, rtol=0, atol=weight_error, err_msg=prefix)
                continue
            indices = arrays[f"{name}.{number}.indices"]
            np.testing.assert_array_equal(np.flatnonzero(layer.mask), indices)
            stored = {"values": layer.weight, "adam_m": layer.adam_m, "adam_v": layer.adam_v}
            stored = {key: array.reshape(-1)[indices] for key, array in stored.items()}
            stored |= {"bias_adam_m": layer.bias_adam_m, "bias_adam_v": layer.bias_adam_v}
            np.testing.assert_allclose(stored.pop("values"), expected[f"{prefix}.values"], rtol=0, atol=weight_error)
            for key, array in stored.items():
                largest = largest_of(expected, f"after.{name}.", key.removeprefix("bias_"))
                close(array, expected[f"{prefix}.{key}"], largest)


def check_model(model, names, golden):
    """Compare a NumPy model's networks with the file's, both float64 but for the file's float32."""
    for name in names:
        for number, layer in enumerate(getattr(model, name)):
            if name in NETWORKS:
                weight = layer.weight.reshape(-1)[golden[f"{name}.{number}.indices"]]
                np.testing.assert_allclose(weight, golden[f"after.{name}.{number}.values"], rtol=1e-7, atol=1e-7)
            else:
                np.testing.assert_allclose(layer.weight, golden[f"after.{name}.{number}.weight"], rtol=1e-7, atol=1e-7)
            np.testing.assert_allclose(layer.bias, golden[f"after.{name}.{number}.bias"], rtol=1e-7, atol=1e-7)


def largest_of(arrays, start, end=""):
    """The largest magnitude among the arrays of these names."""
    return max(np.abs(array).max() for name, array in arrays.items() if name.startswith(start) and name.endswith(end))


def close(got, expected, largest):
    """Equal within rounding of the network's largest: a sum that cancels is no better than what was summed."""
    np.testing.assert_allclose(got, expected, rtol=0, atol=GRADIENT_ERROR * largest)


def masks_of(agent, name):
    """The stored positions of all layers, one after the other."""
    layers = packed.read(agent.networks[name], agent.workspace, moments=name in NETWORKS)
    return np.concatenate([layer.mask.reshape(-1) for layer in layers])
