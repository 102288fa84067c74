"""The actor of a checkpoint, run by the compiled core: what an exported file is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgedst import core
from edgedst.deploy.checkpoint import ActorWeights, FloatArray
from edgedst.errors import CheckpointError

if TYPE_CHECKING:
    from typing_extensions import Buffer


class NativeActor:
    """Packed sparse actor on an arena of its own; actions come in the environment's units."""

    def __init__(self, weights: ActorWeights, batch_size: int = 64) -> None:
        """Pack the checkpoint's actor. `batch_size` is how many observations `actions` takes at once."""
        self.weights = weights
        self.batch_size = batch_size
        measured = core.Arena(None)
        self._allocate(measured)
        self._allocate(core.Arena(measured.used_bytes))
        self._pack()

    def act(self, observation: Buffer) -> FloatArray:
        """One observation, (n,) float64, to one action, (m,) float32: batch size 1, as on the device."""
        self._network.act(observation, self._action.data, self._activations)
        return self.weights.to_environment_units(self._action)

    def actions(self, observations: FloatArray) -> FloatArray:
        """(B, n) to (B, m), through the batched forward that training uses; any B."""
        parts = [
            self._forward(observations[i : i + self.batch_size]) for i in range(0, len(observations), self.batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.weights.sizes[-1]), dtype=np.float32)

    def _forward(self, observations: FloatArray) -> FloatArray:
        self._x.fill(0.0)
        x = np.asarray(self._x.memory).reshape(self._x.rows, self._x.stride)
        x[:, : len(observations)] = observations.T
        self._network.forward(self._x, self._batch_activations, self._y)
        y = np.asarray(self._y.memory).reshape(self._y.rows, self._y.stride)
        return self.weights.to_environment_units(y[:, : len(observations)].T)

    def _allocate(self, arena: core.Arena) -> None:
        sizes, layers = self.weights.sizes, self.weights.layers
        nnz = [layer.nnz for layer in layers]
        self._network = core.Network(arena, "actor", sizes, nnz, "tanh")
        self._workspace = core.TopologyWorkspace(
            arena,
            "topology",
            max(nnz),
            max(layer.out_features for layer in layers),
            max(layer.in_features for layer in layers),
        )
        self._activations = core.Activations(arena, "activations 1", sizes, 1)
        self._batch_activations = core.Activations(arena, "activations", sizes, self.batch_size)
        self._x = core.Batch(arena, "observations", sizes[0], self.batch_size)
        self._y = core.Batch(arena, "actions", sizes[-1], self.batch_size)
        self._action = np.zeros(sizes[-1], dtype=np.float32)

    def _pack(self) -> None:
        moments = [np.asarray(m) for m in (self._workspace.adam_m, self._workspace.adam_v)]
        for number, layer in enumerate(self.weights.layers):
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
