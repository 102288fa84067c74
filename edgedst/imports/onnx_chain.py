"""Reads an actor from ONNX: one that edgedst exported, or a plain chain of layers as rsl_rl, mjlab and torch write it.

The graph is walked from its output back to its input: at each node one tensor depends on the observation, all others
are constants. What is none such chain is refused with the node's name, before onnxruntime sees it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgedst.config import METHODS
from edgedst.density import family
from edgedst.deploy.session import METADATA_KEY, first_line, open_checked, open_session
from edgedst.errors import EdgedstError, ModelError
from edgedst.imports.model import (
    MOST_PLACES,
    NORMALISED,
    UNITS,
    Dense,
    DoubleArray,
    Model,
    Output,
    check_layers,
    read_file,
)
from edgedst.runs.actor import FloatArray

PASSING = {"Identity", "Flatten", "Cast", "Dropout"}  # of a chain, what leaves its numbers as they are
AFFINE = {"Add", "Sub", "Mul", "Div"}
ACTIVATIONS = {
    *("Elu", "Selu", "Celu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Gelu"),
    *("Softplus", "Softsign", "Mish", "Swish", "Softmax", "Erf", "Sin"),
}
# Of files that edgedst did not write: nothing that could loop, read another file or grow.
OPERATORS = {*PASSING, *AFFINE, *ACTIVATIONS, "Gemm", "MatMul", "Relu", "Tanh", "Clip", "Constant", "Transpose"}
MOST_NODES = 5_000
MOST_ROWS = 2**16  # of a fixed batch
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}

Constants = dict[str, Any]


def read_onnx(path: Path) -> Model:
    """The actor of an ONNX file.

    Raises:
        ModelError: it is no chain that edgedst's actor can be; the sentence says which node.
        CheckpointError: edgedst exported it, and it is not as it was written.
    """
    content = read_file(path)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own
        raise ModelError(f"`{path}` is no ONNX file ({first_line(error)}). Export the model again.") from error
    if not model.graph.node:
        what = "has no layer in it" if content else "is empty"
        raise ModelError(f"`{path}` is no ONNX file: it {what}. Export the model again.")
    ours = any(entry.key == METADATA_KEY for entry in model.metadata_props)
    session, about = None, dict[str, Any]()
    if ours:
        session, about = open_checked(path)
        more = "a normaliser" if "clip_low" in about else ""
        more = f"a history of {about['history']} observations" if about.get("history") else more
        if more:
            raise ModelError(
                f"`{path}` is an actor with {more}, which is not imported. Begin from the run that it was exported "
                "from: `edgedst train --init-from RUN`."
            )
    else:
        _check(model, path)
    try:
        graph = _Graph(model, path)
        if not ours:
            graph.check_constants()
        chain = _Chain(path)
        steps = graph.steps()
        constants = graph.constants([name for node, x in steps for name in node.input if name and name != x])
        for node, x in steps:
            chain.take(node, x, constants)
        layers, output = chain.end()
        check_layers(path, "actor", layers)
        session = session or open_session(path, content)
        dtype, shape = _taken(session, layers[0].weight.shape[1], path)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, EdgedstError):
            raise
        raise ModelError(f"`{path}` is damaged: {first_line(error)}. Export the model again.") from error
    notes = list(chain.notes)
    stored, places = (sum(count(layer.weight) for layer in layers) for count in (np.count_nonzero, np.size))
    if stored < places:
        notes.append(
            f"It has {stored:,} of {places:,} weights that are not 0. Without `--sparsity` all are kept, and the zeros "
            "learn like any other."
        )

    m = len(layers[-1].bias)

    def policy(observation: DoubleArray) -> FloatArray:
        rows = np.broadcast_to(observation, shape).astype(dtype)
        (actions,) = _run(session, [graph.output], {graph.input: rows}, path)
        if actions.size != math.prod(shape[:-1]) * m:
            raise ModelError(f"`{path}` gives an array of shape {actions.shape} for one of {shape}. It is damaged.")
        first: FloatArray = actions.reshape(-1, m)[0].astype(np.float32)
        return first

    return Model(
        path,
        f"ONNX actor of edgedst, {about.get('method')!s:.20}" if ours else f"ONNX actor of {_producer(model)}",
        {"actor": layers},
        output,
        policy,
        "onnxruntime",
        family(about["method"]) if about.get("method") in METHODS else None,
        environment=about["environment"] if ours else None,
        notes=tuple(notes),
    )


def _taken(session: Any, features: int, path: Path) -> tuple[Any, tuple[int, ...]]:
    """Type and shape of what the session takes: (features,), or (B, features), where B is 1 if it may be any.

    Raises:
        ModelError: it takes something else.
        UnicodeDecodeError: a size has a name that is no text.
    """
    (told,) = session.get_inputs()
    *batch, wide = told.shape or [1, features]  # none is said: any
    shape = (*(size if isinstance(size, int) else 1 for size in batch), features)
    fits = len(batch) < 2 and all(0 < rows <= MOST_ROWS for rows in shape[:-1]) and wide in (features, str(wide), None)
    if not fits or told.type not in DTYPES:
        raise ModelError(
            f"`{path}` takes `{told.type:.40}` of shape {told.shape!a:.80}, and its first layer {features} features. "
            f"Expected floats of shape [batch, {features}]. Export it with such an input."
        )
    return DTYPES[told.type], shape


def _producer(model: onnx.ModelProto) -> str:
    name = str(model.producer_name)[:40]
    return name if name.isprintable() and name.strip() else "another tool"


def _check(model: onnx.ModelProto, path: Path) -> None:
    """Refuse what is no chain of layers, before anything of it is run."""
    graph = model.graph
    if model.functions or len(graph.node) > MOST_NODES:
        raise ModelError(f"`{path}` has functions of its own or more than {MOST_NODES:,} nodes. {_EXPECTED}")
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise ModelError(f"`{path}` has the operator {node.op_type!a:.60}. {_EXPECTED}")
    tensors = [*graph.initializer, *(part for s in graph.sparse_initializer for part in (s.values, s.indices))]
    tensors += [entry.t for node in graph.node for entry in node.attribute]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        raise ModelError(f"`{path}` has its weights in another file. Export it with its weights inside.")


_EXPECTED = "Expected a chain of Gemm, or MatMul and Add, with Relu between them, and Tanh or nothing at the end."


class _Graph:
    """The names of a graph: who makes a tensor, and whether it depends on the observation."""

    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        self._model, self._path, graph = model, path, model.graph
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._sparse = {tensor.values.name: tensor for tensor in graph.sparse_initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        inputs = [value.name for value in graph.input if value.name not in self._stored]
        outputs = [value.name for value in graph.output]
        if len(inputs) != 1:
            raise ModelError(f"`{path}` has {len(inputs)} inputs: {', '.join(inputs)[:80]}. Expected the observation.")
        chosen = [name for name in outputs if name in ("actions", "action")] or outputs
        if len(chosen) != 1:
            raise ModelError(f"`{path}` has the outputs {', '.join(outputs)[:80]!r}. Expected the actions alone.")
        self.input, self.output = inputs[0], chosen[0]
        self._varies = {self.input}
        for node in graph.node:  # a graph's nodes stand in the order in which they are run
            if self._varies & {*node.input}:
                self._varies |= {*node.output}

    def check_constants(self) -> None:
        """Refuse what could make a large tensor of small ones.

        Raises:
            ModelError: with the node's operator.
        """
        sizes = {name: math.prod(tensor.dims) for name, tensor in self._stored.items()}
        for node in self._model.graph.node:
            if self._varies & {*node.input}:
                continue
            if node.op_type == "Constant":
                values = [entry.t for entry in node.attribute if entry.name == "value"]
                sizes |= {name: math.prod(value.dims) for name, value in zip(node.output, values, strict=False)}
            elif not (
                node.op_type in ("Identity", "Cast", "Transpose")
                or (node.op_type in AFFINE and 1 in [sizes.get(name) for name in node.input])
            ):
                raise ModelError(f"`{self._path}` computes its weights by {node.op_type}. {_EXPECTED}")

    def steps(self) -> list[tuple[onnx.NodeProto, str]]:
        """(node, the input of it that depends on the observation), from the observation to the actions."""
        steps: list[tuple[onnx.NodeProto, str]] = []
        name = self.output
        while name != self.input:
            node = self._makers.get(name)
            before = [other for other in node.input if other in self._varies] if node else []
            if node is None or len(before) != 1 or len(steps) > MOST_NODES:
                what = f"{node.op_type} makes `{name}` of {len(before)}" if node else f"no node makes `{name}` of its"
                raise ModelError(
                    f"`{self._path}` is no chain: {what} tensors that depend on the observation. {_EXPECTED}"
                )
            name = before[0]
            steps.append((node, name))
        return steps[::-1]

    def constants(self, names: list[str]) -> Constants:
        """Arrays by name; what constants are decoded to is computed by onnxruntime."""
        found: Constants = {}
        decoded = []
        for name in dict.fromkeys(names):
            if name in self._stored:
                found[name] = numpy_helper.to_array(self._stored[name])
            elif name in self._sparse:
                found[name] = _dense(self._sparse[name])
            else:
                decoded.append(name)
        if decoded:
            found |= zip(decoded, self._decode(decoded), strict=True)
        return found

    def _decode(self, names: list[str]) -> list[Any]:
        """Tensors that the graph makes of constants, as outputs of it."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.output[:]
        for name in names:
            model.graph.output.add().CopyFrom(onnx.ValueInfoProto(name=name))
        extracted = [node for node in model.graph.node if not self._varies & {*node.input}]
        del model.graph.node[:]
        model.graph.node.extend(extracted)
        del model.graph.input[:]
        return _run(open_session(self._path, model.SerializeToString()), names, {}, self._path)


def _run(session: Any, names: list[str], inputs: dict[str, Any], path: Path) -> list[Any]:
    """Outputs of these names."""
    try:
        found: list[Any] = session.run(names, inputs)
        return found
    except Exception as error:  # onnxruntime's own share no base but Exception
        raise ModelError(f"`{path}` cannot be run ({first_line(error)}). It is damaged: export it again.") from error


def _dense(tensor: onnx.SparseTensorProto) -> Any:
    shape = tuple(tensor.dims)
    if len(shape) != 2 or not 0 < math.prod(shape) <= MOST_PLACES:
        raise ValueError(f"a sparse one of shape {shape}")
    values, where = numpy_helper.to_array(tensor.values), numpy_helper.to_array(tensor.indices)
    dense = np.zeros(shape, values.dtype)
    dense[tuple(where.T) if where.ndim == 2 else np.unravel_index(where, shape)] = values
    return dense


class _Chain:
    """What the nodes come to, taken one after the other: layers, and what stands before and behind them."""

    def __init__(self, path: Path) -> None:
        self.notes: list[str] = []
        self._path = path
        self._weights: list[DoubleArray] = []
        self._biases: list[DoubleArray] = []
        self._behind = "input"  # the last thing: input, linear, Relu, Tanh
        self._scale: Any = np.float64(1)  # of what stands before the first layer, or behind tanh
        self._offset: Any = np.float64(0)
        self._cut = False
        self._low: Any = np.float64(-np.inf)  # where a linear output is cut
        self._high: Any = np.float64(np.inf)

    def take(self, node: onnx.NodeProto, x: str, constants: Constants) -> None:
        """The next node, whose input `x` depends on the observation."""
        kind = node.op_type
        if kind in PASSING:
            to = [entry.i for entry in node.attribute if entry.name == "to"]
            if kind == "Cast" and to not in ([onnx.TensorProto.FLOAT], [onnx.TensorProto.DOUBLE]):
                raise self._refused("Cast rounds its numbers")
            return
        if self._cut and kind != "Clip":
            raise self._refused(f"{kind} stands behind a Clip")
        if kind in ACTIVATIONS:
            raise ModelError(
                f"`{self._path}` has the activation {kind}, and edgedst's networks have ReLU. Train it with ReLU "
                '(rsl_rl and mjlab: `activation = "relu"`).'
            )
        if kind in ("Gemm", "MatMul"):
            self._layer(node, x, constants)
        elif kind in AFFINE:
            self._affine(node, x, constants)
        elif kind in ("Relu", "Tanh") and self._behind == "linear":
            self._behind = kind
        elif kind == "Clip":
            self._clip(node, constants)
        else:
            raise self._refused(f"{kind} stands behind {self._behind}")

    def _layer(self, node: onnx.NodeProto, x: str, constants: Constants) -> None:
        about = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if self._behind not in ("input", "Relu"):
            if self._behind == "linear":
                raise self._refused("a layer stands behind another without an activation")
            raise self._refused("it has the activation Tanh between its layers, and edgedst's networks have ReLU")
        weight = self._array(node.input[1], constants) if node.input[0] == x else np.zeros(0)
        if weight.ndim != 2 or about.get("transA"):
            raise self._refused(f"{node.op_type} does not multiply the features by a matrix")
        weight = (weight if about.get("transB") else weight.T) * about.get("alpha", 1.0)
        bias = np.zeros(len(weight))
        if len(node.input) > 2 and node.input[2]:
            bias = bias + self._per_feature(node.input[2], constants, len(weight)) * about.get("beta", 1.0)
        if self._behind == "input":  # a normaliser is folded into the first layer
            scale, offset = (np.broadcast_to(part, weight.shape[1]) for part in (self._scale, self._offset))
            weight, bias = weight * scale, bias + weight @ offset
            self._scale, self._offset = np.float64(1), np.float64(0)
        self._weights.append(weight)
        self._biases.append(bias)
        self._behind = "linear"

    def _affine(self, node: onnx.NodeProto, x: str, constants: Constants) -> None:
        """x + c, x - c, c - x, x * c and x / c: into the layer before, or kept for the first layer or the actions."""
        first = node.input[0] == x
        width = len(self._biases[-1]) if self._biases else None  # of what stands behind a layer
        c = self._per_feature(node.input[1] if first else node.input[0], constants, width)
        if node.op_type == "Div" and (not first or not np.all(c)):
            raise self._refused("Div divides by what is no constant, or by 0")
        sign = -1.0 if node.op_type == "Sub" and not first else 1.0
        scale = {"Mul": c, "Div": 1 / c if node.op_type == "Div" else 1.0}.get(node.op_type, sign)
        offset = {"Add": c, "Sub": -sign * c}.get(node.op_type, 0.0)
        if self._behind == "linear":
            self._weights[-1] = self._weights[-1] * np.reshape(scale, (-1, 1))
            self._biases[-1] = self._biases[-1] * scale + offset
        elif self._behind == "Relu":
            raise self._refused(f"{node.op_type} stands behind a Relu")
        else:
            self._scale, self._offset = self._scale * scale, self._offset * scale + offset

    def _clip(self, node: onnx.NodeProto, constants: Constants) -> None:
        """Of observations it is dropped and told; of actions it may do nothing that the bounds do not do (`fitted`)."""
        about = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        low, high = (
            self._array(node.input[place], constants)
            if len(node.input) > place and node.input[place]
            else np.float64(about.get(name, other))
            for place, name, other in ((1, "min", -np.inf), (2, "max", np.inf))
        )
        if self._behind == "input":
            self.notes.append("It cut its observations; edgedst's networks take them as they are.")
        elif self._behind == "linear":
            self._cut = True
            self._low, self._high = np.maximum(self._low, low), np.minimum(self._high, high)
        elif self._behind == "Tanh":
            reach = np.abs(self._scale) * (1 - 1e-6)
            if np.any(low > self._offset - reach) or np.any(high < self._offset + reach):
                raise self._refused("Clip cuts what its Tanh gives")
        else:
            raise self._refused("Clip stands behind a Relu")

    def end(self) -> tuple[list[Dense], Output]:
        """All of the layers, and what is behind them."""
        if self._behind not in ("linear", "Tanh"):
            raise self._refused(f"it ends with {self._behind}")
        m, tanh = len(self._biases[-1]), self._behind == "Tanh"
        behind = (self._scale, self._offset, self._low, self._high)
        scale, offset, *limits = (np.broadcast_to(part, m).astype(np.float64) for part in behind)
        alone = tanh and np.all(scale == 1) and np.all(offset == 0)
        with np.errstate(over="ignore"):  # `check_layers` tells
            layers = [
                Dense(weight.astype(np.float32), bias.astype(np.float32))
                for weight, bias in zip(self._weights, self._biases, strict=True)
            ]
        return layers, Output(tanh, scale, offset, NORMALISED if alone else UNITS, () if tanh else tuple(limits))

    def _per_feature(self, name: str, constants: Constants, width: int | None) -> DoubleArray:
        """(), (1,) or (width,): a constant that has one number for each feature, or one for all."""
        value = self._array(name, constants)
        value = value.reshape(value.shape[-1:]) if value.size == math.prod(value.shape[-1:]) else value
        if value.ndim > 1 or (width is not None and value.size not in (1, width)):
            raise self._refused(f"`{name}` of shape {list(value.shape)} is not one number a feature")
        return value

    def _array(self, name: str, constants: Constants) -> DoubleArray:
        value = np.asarray(constants[name])
        if value.dtype.kind not in "fiu":
            raise self._refused(f"`{name}` holds no numbers")
        return value.astype(np.float64)

    def _refused(self, what: str) -> ModelError:
        return ModelError(f"`{self._path}` is no chain that edgedst's actor can be: {what}. {_EXPECTED}")
