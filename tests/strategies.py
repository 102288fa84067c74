"""Hypothesis strategies: the sizes, densities and weights at which packed layers can break."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from models import Layer

SIZES = (1, 7, 8, 9, 15, 16, 17)  # one, and one below, at and above a vector of 8 and of 16 floats
BATCHES = (1, 2, 7, 100)

batches = st.sampled_from(BATCHES)
drop_fractions = st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.9, 1.0])
seeds = st.integers(0, 2**32 - 1)  # of NumPy's generator: Hypothesis shrinks the shape, not the single weight


@st.composite
def sizes(draw, layers=(1, 3)):
    """Features per boundary of a network of one to three layers."""
    return [draw(st.sampled_from(SIZES)) for _ in range(draw(st.integers(*layers)) + 1)]


@st.composite
def nnz(draw, rows, columns):
    """Stored weights of a layer: one, a few, half, all but one, all, or anything between."""
    everything = rows * columns
    near_an_end = st.sampled_from([1, 2, everything // 20, everything // 2, everything - 1, everything])
    return min(max(1, draw(near_an_end | st.integers(1, everything))), everything)


def lattice(rng, shape, step=0.5, largest=1.0):
    """Multiples of `step` up to `largest`, zero and ties included.

    Sums of products of these are exact in float32 in any order (they stay far below 2^24 steps of the finest lattice),
    so what is computed from them has to be equal to the bit, with no tolerance, for every kernel path.
    """
    count = round(largest / step)
    return (rng.integers(-count, count + 1, size=shape) * step).astype(np.float32)


def random_mask(rng, rows, columns, count):
    """A mask of exactly `count` stored positions."""
    mask = np.zeros(rows * columns, dtype=bool)
    mask[rng.choice(rows * columns, size=count, replace=False)] = True
    return mask.reshape(rows, columns)


@st.composite
def networks(draw, layers=(1, 3), moments=False, step=0.5, largest=1.0):
    """A network of lattice weights (stored zeros and ties occur): list of models.Layer, float32."""
    boundaries, rng = draw(sizes(layers)), np.random.default_rng(draw(seeds))
    result = []
    for columns, rows in zip(boundaries[:-1], boundaries[1:], strict=True):
        mask = random_mask(rng, rows, columns, draw(nnz(rows, columns)))
        layer = Layer(np.where(mask, lattice(rng, mask.shape, step, largest), np.float32(0)), mask, lattice(rng, rows))
        if moments:
            layer.adam_m = np.where(mask, lattice(rng, mask.shape), np.float32(0))
            layer.adam_v = np.where(mask, np.abs(lattice(rng, mask.shape)) + 1, 0).astype(np.float32)
        result.append(layer)
    return result
