"""The layers of an actor as C reads them: which order their units come in, and where and how their weights lie.

Hidden units may come in any order, as long as the next layer's columns come in the same one. Here they come by their
number of weights: rows of one length follow each other, so that neither their lengths take memory nor their loops'
ends surprise a processor. actor_in_c/sum_*.c has the readers, one a form.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.deploy.packing import PackedLayer, Values, encode, pack_layer
from edgedst.runs.actor import ActorWeights, FloatArray

LANES = 16  # unpack.c's kLanes
_LARGEST_BYTE = 255


@dataclass(frozen=True, eq=False)
class CLayer:
    """A layer's constants: positions as sum_WALK.c reads them, one value an entry, a scale and a bias a row."""

    in_features: int
    out_features: int
    walk: str  # gaps, bitmask or full
    positions: npt.NDArray[np.uint8]  # none where every place has a value
    values: Values
    scales: FloatArray | None  # int8 only
    bias: FloatArray

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """By field of layer_t, in its order."""
        arrays: dict[str, npt.NDArray[Any]] = {"positions": self.positions, "values": self.values}
        if self.scales is not None:
            arrays["scales"] = self.scales
        arrays["bias"] = self.bias
        return arrays

    @property
    def unpacked_floats(self) -> int:
        """RAM that its weights take where the file is compiled with EDGEDST_UNPACK; 0: gaps are read as they are."""
        return 0 if self.walk == "gaps" else -(-self.out_features // LANES) * LANES * self.in_features


def layers_in_c(weights: ActorWeights, dtype: str) -> tuple[list[CLayer], FloatArray | None]:
    """All layers, each in its smallest form, and the first one's `input_scales`."""
    packed = [pack_layer(layer, dtype) for layer in weights.layers]
    columns = np.arange(packed[0].in_features)
    layers = []
    for layer in packed:
        coded = layer.coded()[:, columns]
        rows = np.arange(layer.out_features)
        if layer is not packed[-1]:  # actions have their order
            rows = np.argsort(np.count_nonzero(coded, axis=1), kind="stable")
        layers.append(_smallest(layer, coded[rows], rows))
        columns = rows
    return layers, packed[0].input_scales


def _smallest(packed: PackedLayer, coded: Values, rows: npt.NDArray[np.intp]) -> CLayer:
    """The layer with `coded` (O, I), which has its rows in another order, in the form of the fewest bytes."""
    empty = np.zeros(0, dtype=np.uint8)
    mask, values = encode(coded.ravel(), "bitmask")
    whole_words = np.pad(mask, (0, -len(mask) % 4))
    forms = [("bitmask", whole_words, values), ("full", empty, coded.ravel())]
    gaps = runs_of_gaps(coded)
    if gaps is not None:
        forms.insert(0, ("gaps", *gaps))
    walk, positions, values = min(forms, key=lambda form: form[1].nbytes + form[2].nbytes)
    scales = None if packed.scales is None else packed.scales[rows]
    return CLayer(packed.in_features, packed.out_features, walk, positions, values, scales, packed.bias[rows])


def runs_of_gaps(coded: Values) -> tuple[npt.NDArray[np.uint8], Values] | None:
    """Positions and values of (O, I) `coded`, row by row, as sum_gaps.c has them; None where a length is no byte."""
    encoded = [encode(row, "gaps") for row in coded]
    positions: list[npt.NDArray[np.uint8]] = []
    for entries, same in groupby(encoded, key=lambda row: len(row[0])):
        if entries > _LARGEST_BYTE:
            return None
        run = [gaps for gaps, _ in same]
        for first in range(0, len(run), _LARGEST_BYTE):
            part = run[first : first + _LARGEST_BYTE]
            positions += [np.array([len(part), entries], dtype=np.uint8), *part]
    return np.concatenate(positions), np.concatenate([values for _, values in encoded])
