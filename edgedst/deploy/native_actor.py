"""The actor of a checkpoint, run by the compiled core: what an exported file is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgedst import core
from edgedst.errors import CheckpointError
from edgedst.runs.actor import ActorLayer, ActorWeights, FloatArray

if TYPE_CHECKING:
    from typing_extensions import Buffer

LOG_STD_BOUNDS = (-20.0, 2.0)  # SAC's log sigma is clamped to these in training (csrc/rl/gaussian.h)


class NativeActor:
    """Packed sparse actor; features come and actions go in the environment's units. It remembers nothing."""

    def __init__(self, weights: ActorWeights, batch_size: int = 64) -> None:
        """Pack the checkpoint's actor. `batch_size` is how many rows `actions` takes at once."""
        self.weights = weights
        self._network = _Network(weights.layers, "tanh", batch_size)

    def act(self, features: Buffer) -> FloatArray:
        """(N,) float64 features to (m,) float32, an action: batch size 1, as on the device."""
        if self.weights.centre is not None or self.weights.observation_clip is not None:
            features = self.weights.inputs(np.asarray(features)).data
        return self.weights.to_environment_units(self._network.act(features))

    def actions(self, features: FloatArray) -> FloatArray:
        """(B, N) to (B, m), through the batched forward that training uses; any B."""
        return self.weights.to_environment_units(self._network.forward(self.weights.inputs(features)))


def native_log_std(weights: ActorWeights, head: ActorLayer, features: FloatArray) -> FloatArray:
    """(B, N) to (B, m): log sigma of SAC's Gaussian before tanh, by its `log_std_head`, clamped as in training."""
    network = _Network((*weights.layers[:-1], head), "linear", 64)
    return network.forward(weights.inputs(features)).clip(*LOG_STD_BOUNDS)


class _Network:
    """Layers on an arena of their own; outputs as they are."""

    def __init__(self, layers: tuple[ActorLayer, ...], output: str, batch_size: int) -> None:
        self._layers = layers
        self._sizes = [layers[0].in_features, *(layer.out_features for layer in layers)]
        self._batch_size = batch_size
        measured = core.Arena(None)
        self._allocate(measured, output)
        self._allocate(core.Arena(measured.used_bytes), output)
        self._pack()

    def act(self, observation: Buffer) -> FloatArray:
        self._network.act(observation, self._action.data, self._activations)
        return self._action

    def forward(self, observations: FloatArray) -> FloatArray:
        parts = [
            self._forward(observations[i : i + self._batch_size]) for i in range(0, len(observations), self._batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self._sizes[-1]), dtype=np.float32)

    def _forward(self, observations: FloatArray) -> FloatArray:
        self._x.fill(0.0)
        x = np.asarray(self._x.memory).reshape(self._x.rows, self._x.stride)
        x[:, : len(observations)] = observations.T
        self._network.forward(self._x, self._batch_activations, self._y)
        y = np.asarray(self._y.memory).reshape(self._y.rows, self._y.stride)
        outputs: FloatArray = y[:, : len(observations)].T.copy()
        return outputs

    def _allocate(self, arena: core.Arena, output: str) -> None:
        sizes, layers = self._sizes, self._layers
        nnz = [layer.nnz for layer in layers]
        self._network = core.Network(arena, "actor", sizes, nnz, output)
        self._workspace = core.TopologyWorkspace(
            arena,
            "topology",
            max(nnz),
            max(layer.out_features for layer in layers),
            max(layer.in_features for layer in layers),
        )
        self._activations = core.Activations(arena, "activations 1", sizes, 1)
        self._batch_activations = core.Activations(arena, "activations", sizes, self._batch_size)
        self._x = core.Batch(arena, "observations", sizes[0], self._batch_size)
        self._y = core.Batch(arena, "actions", sizes[-1], self._batch_size)
        self._action = np.zeros(sizes[-1], dtype=np.float32)

    def _pack(self) -> None:
        moments = [np.asarray(m) for m in (self._workspace.adam_m, self._workspace.adam_v)]
        for number, layer in enumerate(self._layers):
            np.asarray(self._workspace.indices)[: layer.nnz] = layer.indices
            np.asarray(self._workspace.values)[: layer.nnz] = layer.values
            for moment in moments:
                moment[: layer.nnz] = 0.0
            try:
                self._network.pack(number, self._workspace, layer.nnz)
            except ValueError as error:
                raise CheckpointError(
                    f"Layer {number} of the actor cannot be packed ({error}). The checkpoint is damaged or foreign: "
                    "take it from a backup."
                ) from error
            np.asarray(self._network.bias(number))[:] = layer.bias
