"""Between the dense models of models.py and the core's packed objects: build, write, read."""

from __future__ import annotations

import numpy as np
from models import Layer, Layers

from edgedst import core


def on_arena(make):
    """`make(arena)` on an arena of exactly the bytes that measuring it gave: the planner's own procedure."""
    measured = core.Arena()
    make(measured)
    return make(core.Arena(measured.used_bytes))


def sizes_of(layers: Layers) -> list[int]:
    """Features per boundary."""
    return [layers[0].weight.shape[1], *(layer.weight.shape[0] for layer in layers)]


def workspace_for(layers: Layers):
    """Scratch that any layer of this network fits, dense ones and unions of topologies too."""
    rows = max(layer.weight.shape[0] for layer in layers)
    columns = max(layer.weight.shape[1] for layer in layers)
    most = max(layer.weight.size for layer in layers)
    return on_arena(lambda arena: core.TopologyWorkspace(arena, "workspace", most, rows, columns))


def network_of(layers: Layers, output: str = "linear", target: bool = False, workspace=None):
    """A core network that holds these layers, moments too unless it is a target."""
    counts = [int(layer.mask.sum()) for layer in layers]
    made = on_arena(lambda arena: core.Network(arena, "network", sizes_of(layers), counts, output, target))
    write(made, layers, workspace or workspace_for(layers), moments=not target)
    return made


def write(network, layers: Layers, workspace, moments: bool = True) -> None:
    """Pack every layer into the network and fill in its biases."""
    for number, layer in enumerate(layers):
        indices = np.flatnonzero(layer.mask)
        np.asarray(workspace.indices)[: len(indices)] = indices
        np.asarray(workspace.values)[: len(indices)] = layer.weight.reshape(-1)[indices]
        if moments:
            np.asarray(workspace.adam_m)[: len(indices)] = layer.adam_m.reshape(-1)[indices]
            np.asarray(workspace.adam_v)[: len(indices)] = layer.adam_v.reshape(-1)[indices]
        network.pack(number, workspace, len(indices))
        np.asarray(network.bias(number))[:] = layer.bias
        if moments:
            np.asarray(network.bias_adam_m(number))[:] = layer.bias_adam_m
            np.asarray(network.bias_adam_v(number))[:] = layer.bias_adam_v


def read(network, workspace, moments: bool = True) -> Layers:
    """Unpack every layer into dense arrays. A target's mask is where its weights are not zero."""
    layers = []
    for number, (columns, rows) in enumerate(zip(network.sizes[:-1], network.sizes[1:], strict=True)):
        count = network.unpack(number, workspace)
        indices = np.array(workspace.indices[:count])
        assert (np.diff(indices.astype(np.int64)) > 0).all(), "indices ascend"

        def dense(values, dtype=np.float32, indices=indices, count=count, shape=(rows, columns)):
            flat = np.zeros(shape[0] * shape[1], dtype)
            flat[indices] = values[:count]
            return flat.reshape(shape)

        mask = dense(np.ones(count, dtype=bool), bool)
        layer = Layer(dense(workspace.values), mask, np.array(network.bias(number)))
        if moments:
            layer.adam_m, layer.adam_v = dense(workspace.adam_m), dense(workspace.adam_v)
            layer.bias_adam_m = np.array(network.bias_adam_m(number))
            layer.bias_adam_v = np.array(network.bias_adam_v(number))
        else:
            layer.mask = layer.weight != 0
        layers.append(layer)
    return layers


def batch_of(values, padding: float = 0.0):
    """A core Batch of these (rows, B) values; `padding` goes into the padded columns."""
    made = on_arena(lambda arena: core.Batch(arena, "batch", *values.shape))
    padded = np.asarray(made.memory).reshape(made.rows, made.stride)
    padded[:, : made.columns] = values
    padded[:, made.columns :] = padding
    return made


def array_of(batch):
    """The real columns of a Batch: a view, so it can be written too."""
    return np.asarray(batch.memory).reshape(batch.rows, batch.stride)[:, : batch.columns]


def gradients_of(network, gradients) -> list[tuple[np.ndarray, np.ndarray]]:
    """Dense (weight, bias) gradients per layer, zero where nothing is stored."""
    flat, start, result = np.asarray(gradients.memory), 0, []
    for number, (columns, rows) in enumerate(zip(network.sizes[:-1], network.sizes[1:], strict=True)):
        positions = np.array(network.positions(number), dtype=np.int64)
        weight = np.zeros(rows * columns, dtype=np.float32)
        weight[positions] = flat[start : start + len(positions)]
        start += len(positions)
        result.append((weight.reshape(rows, columns), flat[start : start + rows].copy()))
        start += rows
    assert start == network.parameter_count
    return result
