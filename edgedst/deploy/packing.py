"""The smallest plain form of a trained layer: where its weights lie, and what they are. ONNX and C are written from it.

Positions are gaps (a byte an entry) or a bitmask (a bit a place): below about 87.5 % sparsity the mask is smaller. What
a reader has to do stands in `PackedLayer.dense`, which is that reader in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgedst.envs import LARGEST_FLOAT16
from edgedst.errors import ConfigError, ExportError
from edgedst.runs.actor import ActorLayer, ActorWeights, FloatArray

DTYPES = ("fp32", "fp16", "int8")
ENCODINGS = ("gaps", "bitmask")
LARGEST_GAP = 255
Values = npt.NDArray[np.float32] | npt.NDArray[np.float16] | npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class PackedLayer:
    """One layer of I inputs and O outputs; flat positions are row * I + column, row = output feature.

    A weight that is 0, or becomes 0 in the layer's dtype, has no entry.
    """

    in_features: int
    out_features: int
    encoding: str  # one of ENCODINGS
    # gaps: one byte an entry, the distance from the previous entry's flat position, the first from -1 (so 1 is the next
    # place, and 0 does not occur); a distance over 255 is split by fillers: entries of distance 255 and value 0.
    # bitmask: I * O bits, row-major, least significant bit first, the last byte padded with zeros.
    positions: npt.NDArray[np.uint8]
    values: Values  # one an entry, fillers included
    scales: FloatArray | None  # int8 only, (O,): weight = value * scales[row]; 0 for a row without weights
    bias: FloatArray  # (O,) float32 in every dtype
    # (I,) powers of two, not with fp32: and then times input_scales[column], where columns have units of their own.
    input_scales: FloatArray | None = None

    @property
    def bytes(self) -> int:
        """All arrays together."""
        arrays = (self.positions, self.values, self.scales, self.bias, self.input_scales)
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def saves(self) -> bool:
        """Whether positions and values take less than a value for every place."""
        places = self.in_features * self.out_features
        return self.positions.nbytes + self.values.nbytes < places * self.values.itemsize

    def coded(self) -> Values:
        """(O, I) in the dtype of `values`: each value at its place, zero where there is none."""
        places = self.in_features * self.out_features
        if self.encoding == "gaps":
            flat_positions = np.cumsum(self.positions, dtype=np.int64) - 1
        else:
            flat_positions = np.flatnonzero(np.unpackbits(self.positions, count=places, bitorder="little"))
        coded = np.zeros((self.out_features, self.in_features), dtype=self.values.dtype)
        np.put(coded, flat_positions, self.values)
        return coded

    def dense(self) -> FloatArray:
        """(O, I) float32: the weights that every reader computes, to the bit."""
        dense: FloatArray = self.coded().astype(np.float32)
        if self.scales is not None:
            dense = dense * self.scales[:, None]
        return dense if self.input_scales is None else dense * self.input_scales


def pack_layer(layer: ActorLayer, dtype: str = "fp32", encoding: str | None = None) -> PackedLayer:
    """Pack a layer; without `encoding` in whichever is smaller, gaps where both are equal.

    Raises:
        ConfigError: when the dtype is unknown.
        ExportError: when a weight is too large for float16.
    """
    check_dtype(dtype)
    # In different units, weights of one importance differ by any factor; few bits would keep the largest alone.
    units = None if dtype == "fp32" else layer.units
    trained, input_scales = layer.values, None
    if units is not None:
        input_scales = units.scales
        layer = replace(layer, values=trained / input_scales[layer.columns])
    values, scales = _coded(layer, dtype)
    flat = np.zeros(layer.in_features * layer.out_features, dtype=values.dtype)
    flat[layer.indices] = values
    candidates = [
        PackedLayer(layer.in_features, layer.out_features, name, *encode(flat, name), scales, layer.bias, input_scales)
        for name in ENCODINGS
        if encoding in (None, name)
    ]
    packed = min(candidates, key=lambda candidate: candidate.bytes)
    if units is not None:
        # What rounding took from a weight counts from the middle of its input on, and not from 0.
        lost = trained.astype(np.float64) - packed.dense().ravel()[layer.indices]
        moved = np.bincount(layer.rows, lost * units.middle[layer.columns], minlength=layer.out_features)
        packed = replace(packed, bias=(layer.bias + moved).astype(np.float32))
    return packed


def encode(flat: Values, encoding: str) -> tuple[npt.NDArray[np.uint8], Values]:
    """Positions and values, as `PackedLayer` has them, of what is not 0 in `flat` (places,)."""
    places = np.flatnonzero(flat)
    if encoding == "bitmask":
        return np.packbits(flat != 0, bitorder="little"), flat[places]
    distances = np.diff(places, prepend=-1)
    fillers = (distances - 1) // LARGEST_GAP  # before each entry; what is left is 1 to 255
    own = np.arange(places.size) + np.cumsum(fillers)
    gaps = np.full(places.size + int(fillers.sum()), LARGEST_GAP, dtype=np.uint8)
    gaps[own] = distances - LARGEST_GAP * fillers
    values = np.zeros(gaps.size, dtype=flat.dtype)
    values[own] = flat[places]
    return gaps, values


def quantised(weights: ActorWeights, dtype: str) -> ActorWeights:
    """The actor with the weights that its packed form stands for; its connections stay, those that became 0 too.

    Raises:
        ConfigError: when the dtype is unknown.
        ExportError: when a weight is too large for float16.
    """

    def of(layer: ActorLayer) -> ActorLayer:
        packed = pack_layer(layer, dtype)
        return replace(layer, values=packed.dense().ravel()[layer.indices], bias=packed.bias)

    head = weights.log_std_head
    return replace(weights, layers=tuple(map(of, weights.layers)), log_std_head=None if head is None else of(head))


def check_dtype(dtype: str) -> None:
    """Refuse a dtype that is not in DTYPES with a ConfigError."""
    if dtype not in DTYPES:
        raise ConfigError(f"`--dtype {dtype}` is unknown. Expected one of {', '.join(DTYPES)}.")


def _coded(layer: ActorLayer, dtype: str) -> tuple[Values, FloatArray | None]:
    """The layer's values in the dtype of the file, and the scales of int8's rows."""
    if dtype == "fp32":
        return layer.values, None
    if dtype == "fp16":
        largest = float(np.max(np.abs(layer.values), initial=0.0))
        if largest > LARGEST_FLOAT16:
            raise ExportError(
                f"The actor has a weight of magnitude {largest:.4g} and float16 ends at {LARGEST_FLOAT16:.0f}. "
                "No file was written; export it with `--dtype fp32`."
            )
        return layer.values.astype(np.float16), None
    rows = layer.rows
    magnitudes = np.zeros(layer.out_features, dtype=np.float32)
    np.maximum.at(magnitudes, rows, np.abs(layer.values))
    scales: FloatArray = magnitudes / np.float32(127)
    steps = np.zeros(layer.nnz, dtype=np.float32)
    np.divide(layer.values, scales[rows], out=steps, where=scales[rows] > 0)
    # Symmetric, so that zero stays zero. Near 1e-44 a scale has lost digits: clipped, its row does not wrap around.
    return np.clip(np.rint(steps), -127, 127).astype(np.int8), scales
