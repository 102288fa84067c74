"""How the layers' weights are written into an ONNX graph: compact, dense, or as sparse initialisers.

Compact is the packing of `packing`, all layers of one encoding in a row, and standard operators that decode it.
onnxruntime runs what depends on constants alone when the session is made and keeps the result, so a step costs what it
costs with dense weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, SparseTensorProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgedst.deploy.packing import ENCODINGS, PackedLayer, Values, encode, pack_layer
from edgedst.runs.actor import ActorLayer, FloatArray

FORMS = ("compact", "dense", "sparse-initializer")


class Graph:
    """Nodes, constants and told shapes of a graph of this opset, in the order in which they are added."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.initialisers: dict[str, TensorProto] = {}
        self.sparse_initialisers: list[SparseTensorProto] = []
        self.shapes: list[ValueInfoProto] = []

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """Add a constant, once for all who use the name; returns the name."""
        self.initialisers.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def floats(self, name: str, values: Values) -> str:
        """Add values as the float32 tensor `name`; in the file they keep their own dtype."""
        if values.dtype == np.float32:
            return self.constant(name, values)
        return self.node("Cast", [self.constant(f"{name}.{values.dtype}", values)], name, to=TensorProto.FLOAT)

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add an operator of one output; returns the output's name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def split(self, flat: str, parts: Mapping[str, int]) -> None:
        """Cut the tensor `flat` (1, places) into tensors (1, places of it), by name."""
        names, places = list(parts), list(parts.values())
        if self.opset < 13:
            self.nodes.append(helper.make_node("Split", [flat], names, axis=1, split=places))
        else:
            self.nodes.append(helper.make_node("Split", [flat, self.constant(f"{flat}.places", places)], names, axis=1))


def add_weights(graph: Graph, layers: Mapping[str, ActorLayer], form: str, dtype: str) -> dict[str, str]:
    """Add what makes the float32 tensors NAME.weight (O, I) and NAME.bias (O,) of each layer.

    Compact takes the smallest of gaps, bitmask and dense for each layer; a layer with every connection is dense in any
    form.

    Returns:
        The encoding of each: gaps, bitmask, dense or sparse.
    """
    packed = {name: pack_layer(layer, dtype) for name, layer in layers.items()}
    encodings = {name: _encoding(layer, packed[name], form) for name, layer in layers.items()}
    # int8 counts steps of the row's scale, which is put to them afterwards; so is a column's unit.
    stored = {name: "steps" if _factors(layer) else "weight" for name, layer in packed.items()}
    for encoding in ENCODINGS:
        chosen = {name: layer for name, layer in packed.items() if encodings[name] == encoding}
        if chosen:
            _add_encoded(graph, encoding, chosen, stored)
    for name, layer in packed.items():
        graph.constant(f"{name}.bias", layer.bias)
        if encodings[name] == "dense":
            graph.floats(f"{name}.{stored[name]}", layer.coded())
        if encodings[name] == "sparse":
            _add_sparse(graph, f"{name}.{stored[name]}", layer.coded())
        made, factors = f"{name}.steps", _factors(layer)
        for number, (kind, factor) in enumerate(factors.items(), 1):
            # DequantizeLinear would say it in one node, but onnxruntime does not run that in advance.
            product = f"{name}.weight" if number == len(factors) else f"{name}.scaled"
            made = graph.node("Mul", [made, graph.constant(f"{name}.{kind}", factor)], product)
    return encodings


def _factors(layer: PackedLayer) -> dict[str, FloatArray]:
    """What the stored values are multiplied by, in this order: (O, 1) and (1, I)."""
    factors = {}
    if layer.scales is not None:
        factors["scales"] = layer.scales[:, None]
    if layer.input_scales is not None:
        factors["input_scales"] = layer.input_scales[None, :]
    return factors


def _encoding(layer: ActorLayer, packed: PackedLayer, form: str) -> str:
    if form == "compact" and packed.saves:
        return packed.encoding
    places = layer.in_features * layer.out_features
    return "sparse" if form == "sparse-initializer" and layer.nnz < places else "dense"


def _add_encoded(graph: Graph, encoding: str, layers: Mapping[str, PackedLayer], stored: Mapping[str, str]) -> None:
    """Decode the layers, NAME.`stored` each, as one row of places: a few operators for all of them."""
    positions, values = encode(np.concatenate([layer.coded().ravel() for layer in layers.values()]), encoding)
    add_positions = _add_gaps if encoding == "gaps" else _add_bitmask
    where = add_positions(graph, positions, values.size)
    places = {name: layer.in_features * layer.out_features for name, layer in layers.items()}
    size = graph.constant(f"{encoding}.size", [1, sum(places.values())])
    zeros = graph.node("ConstantOfShape", [size], f"{encoding}.zeros")
    entries = graph.floats(f"{encoding}.values", values[None, :])
    flat = graph.node("ScatterElements", [zeros, where, entries], f"{encoding}.flat", axis=1)
    if len(layers) > 1:
        graph.split(flat, {f"{name}.flat": count for name, count in places.items()})
    for name, layer in layers.items():
        shape = graph.constant(f"{name}.shape", [layer.out_features, layer.in_features])
        graph.node("Reshape", [f"{name}.flat" if len(layers) > 1 else flat, shape], f"{name}.{stored[name]}")


def _add_gaps(graph: Graph, gaps: npt.NDArray[np.uint8], entries: int) -> str:
    """Positions (1, entries) int64."""
    from_zero = gaps[None, :].copy()
    from_zero[:, :1] -= 1  # the first counts from place 0 here, so that the sums are the positions
    distances = graph.node("Cast", [graph.constant("gaps", from_zero)], "gaps.wide", to=TensorProto.INT64)
    return graph.node("CumSum", [distances, graph.constant("gaps.axis", 1)], "gaps.positions")


def _add_bitmask(graph: Graph, bitmask: npt.NDArray[np.uint8], entries: int) -> str:
    """Positions (1, entries) int64."""
    # Bit k of a byte: shifted left by 7 - k it is the highest one, and then right by 7 the only one.
    lefts = graph.constant("bitmask.lefts", np.arange(7, -1, -1, dtype=np.uint8))
    highest = graph.node(
        "BitShift", [graph.constant("bitmask", bitmask[:, None]), lefts], "bitmask.highest", direction="LEFT"
    )
    right = graph.constant("bitmask.right", np.uint8(7))
    bits = graph.node("BitShift", [highest, right], "bitmask.bits", direction="RIGHT")
    in_a_row = graph.node("Reshape", [bits, graph.constant("bitmask.row", [-1])], "bitmask.bit_row")
    positions = graph.node("NonZero", [in_a_row], "bitmask.positions")
    # onnxruntime runs in advance only what has a known shape, and how many bits are set it cannot know by itself.
    graph.shapes.append(helper.make_tensor_value_info(positions, TensorProto.INT64, [1, entries]))
    return positions


def _add_sparse(graph: Graph, name: str, coded: Values) -> None:
    """A sparse initialiser; like `Graph.floats` it keeps its dtype in the file."""
    positions = np.flatnonzero(coded)
    stored = name if coded.dtype == np.float32 else f"{name}.{coded.dtype}"
    values = numpy_helper.from_array(coded.ravel()[positions], stored)
    indices = numpy_helper.from_array(positions.astype(np.int64), f"{stored}.positions")
    graph.sparse_initialisers.append(helper.make_sparse_tensor(values, indices, coded.shape))
    if stored != name:
        graph.node("Cast", [stored], name, to=TensorProto.FLOAT)
