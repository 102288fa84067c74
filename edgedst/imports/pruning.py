"""Dense layers as edgedst stores them: the largest weights of each layer, or all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgedst.imports.model import Dense
from edgedst.runs.actor import ActorLayer, FloatArray

Positions = npt.NDArray[np.uint32]


def largest(weight: FloatArray, nnz: int) -> Positions:
    """Flat positions, ascending, of the weights of largest magnitude; of equal ones the first.

    Source: Sokar et al. 2022, Algorithm 3, which keeps the k largest of a target so.
    """
    order = np.argsort(-np.abs(weight.ravel()), kind="stable")[:nnz]
    return np.sort(order).astype(np.uint32)


def pruned(layers: Sequence[Dense], nnz: Sequence[int]) -> list[ActorLayer]:
    """The layers with so many weights each."""
    return at(layers, [largest(layer.weight, count) for layer, count in zip(layers, nnz, strict=True)])


def at(layers: Sequence[Dense], positions: Sequence[Positions]) -> list[ActorLayer]:
    """The layers with the weights at these positions: a target that has its network's topology."""
    return [
        ActorLayer(layer.weight.shape[1], layer.weight.shape[0], where, layer.weight.ravel()[where], layer.bias)
        for layer, where in zip(layers, positions, strict=True)
    ]
