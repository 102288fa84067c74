"""Writes an actor as ONNX: `obs` [batch, N] float32 in, `actions` [batch, m] float32 out, in the environment's units.

Only standard operators; how the weights are written is `onnx_weights`'s, and what is checked before the file gets its
name is `parity`'s. `export/ONNX.md` is the contract with whoever runs the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, defs, helper

from edgedst.deploy.golden import write_golden
from edgedst.deploy.native_actor import LOG_STD_BOUNDS
from edgedst.deploy.onnx_weights import FORMS, Graph, add_weights
from edgedst.deploy.packing import check_dtype, quantised
from edgedst.deploy.parity import Parity, check_parity
from edgedst.deploy.session import FORMAT, METADATA_KEY, sealed
from edgedst.deploy.writing import replacing, writing
from edgedst.errors import ConfigError
from edgedst.runs.actor import ActorWeights, FloatArray

OPSETS = range(11, 24)  # 11 brought BitShift and CumSum


@dataclass(frozen=True)
class Format:
    """How an actor is written."""

    weights: str = "compact"  # one of onnx_weights.FORMS
    dtype: str = "fp32"  # one of packing.DTYPES
    opset: int = 17  # the newest one that every onnxruntime and converter in use reads
    stochastic: bool = False  # with `log_std`, SAC only

    def check(self, method: str) -> None:
        """Refuse what cannot be written of an actor that this method trained.

        Raises:
            ConfigError: with one sentence.
        """
        if self.weights not in FORMS:
            raise ConfigError(f"`--weights {self.weights}` is unknown. Expected one of {', '.join(FORMS)}.")
        check_dtype(self.dtype)
        newest = min(OPSETS[-1], defs.onnx_opset_version())
        if not OPSETS[0] <= self.opset <= newest:
            raise ConfigError(
                f"`--opset {self.opset}` cannot be written. Expected {OPSETS[0]} to {newest} with the onnx that is "
                "installed here."
            )
        if self.stochastic and not method.endswith("sac"):
            raise ConfigError(
                f"`--stochastic` adds SAC's log_std, and {method} has a deterministic actor. Export it without."
            )


@dataclass(frozen=True)
class Exported:
    """What `export_actor` wrote, and what its checks found."""

    file_bytes: int
    parity: Parity
    about: dict[str, Any]  # its metadata
    pairs: int  # golden ones written


def export_actor(
    weights: ActorWeights,
    path: Path,
    recorded: FloatArray,
    format: Format = Format(),
    accept: Callable[[Path], None] | None = None,
    golden: Path | None = None,
) -> Exported:
    """Write the actor to `path`, after it passed every check under a temporary name beside it.

    Args:
        weights: the trained actor.
        path: the .onnx file to write; an older one there is replaced only by a file that passed.
        recorded: (rows, N) float32 features of the run, which the exported actor is checked on; may be empty.
        format: how it is written.
        accept: asked last, with the file under its temporary name; raises an EdgedstError to refuse it.
        golden: where golden pairs are to be; they are replaced together with the file.

    Raises:
        ConfigError: when the format is none for this actor.
        ExportError: when the file fails a check or cannot be written. Nothing new is left behind.
    """
    format.check(weights.method)
    if not format.stochastic:
        weights = replace(weights, log_std_head=None)
    written = quantised(weights, format.dtype)
    model = build_model(weights, format)
    about = json.loads(model.metadata_props[0].value)
    with replacing(*([path] if golden is None else [path, golden])) as temporary:
        with writing(path):
            file_bytes = temporary[0].write_bytes(sealed(model))
        parity = check_parity(temporary[0], written, recorded, sparse=bool(model.graph.sparse_initializer))
        pairs = write_golden(written, parity.reference, golden, temporary[1]) if golden is not None else 0
        if accept is not None:
            accept(temporary[0])
    return Exported(file_bytes, parity, about, pairs)


def build_model(weights: ActorWeights, format: Format = Format()) -> ModelProto:
    """The ONNX model of an actor, metadata included; the same actor always gives the same bytes."""
    graph = Graph(format.opset)
    layers = {str(number): layer for number, layer in enumerate(weights.layers)}
    head = weights.log_std_head if format.stochastic else None
    if head is not None:
        layers["log_std"] = head
    encodings = add_weights(graph, layers, format.weights, format.dtype)
    x = _inputs(graph, weights)
    for number in range(len(weights.layers)):
        last = number == len(weights.layers) - 1
        if last and head is not None:
            unclamped = _gemm(graph, x, "log_std", "log_std.unclamped")
            _clip(graph, unclamped, LOG_STD_BOUNDS, "log_std")
        y = _gemm(graph, x, str(number), f"{number}.linear")
        x = graph.node("Tanh" if last else "Relu", [y], f"{number}.activation")
    # onnxruntime's Tanh reaches 1.0000002 (measured, 1.32 on x86-64): clipped, so that no action passes its bound.
    clipped = _clip(graph, x, (-1.0, 1.0), "clipped")
    scale, offset = scale_and_offset(weights)
    scaled = graph.node("Mul", [clipped, graph.constant("action_scale", scale)], "scaled")
    graph.node("Add", [scaled, graph.constant("action_offset", offset)], "actions")
    inputs = [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["batch", weights.sizes[0]])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", weights.sizes[-1]])
        for name in ("actions", "log_std")[: 1 if head is None else 2]
    ]
    opset = helper.make_opsetid("", format.opset)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "actor",
            inputs,
            outputs,
            list(graph.initialisers.values()),
            value_info=graph.shapes,
            sparse_initializer=graph.sparse_initialisers,
        ),
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="edgedst",
        producer_version=weights.version,
    )
    about = metadata(weights, format, list(encodings.values()))
    helper.set_model_props(model, {METADATA_KEY: json.dumps(about, separators=(",", ":"))})
    return model


def _inputs(graph: Graph, weights: ActorWeights) -> str:
    """What the first layer takes: the features themselves, or less their centre, and clipped."""
    x = "obs"
    if weights.centre is not None:
        x = graph.node("Sub", [x, graph.constant("centre", np.array(weights.centre, np.float32))], "centred")
    if weights.input_clip is not None:
        low, high = weights.input_clip
        at_least = graph.node("Max", [x, graph.constant("inputs.low", low)], "at_least")
        x = graph.node("Min", [at_least, graph.constant("inputs.high", high)], "inputs")
    return x


def _gemm(graph: Graph, x: str, layer: str, output: str) -> str:
    return graph.node("Gemm", [x, f"{layer}.weight", f"{layer}.bias"], output, transB=1)


def _clip(graph: Graph, x: str, bounds: tuple[float, float], output: str) -> str:
    low, high = (np.float32(bound) for bound in bounds)
    return graph.node("Clip", [x, graph.constant(f"{output}.low", low), graph.constant(f"{output}.high", high)], output)


def metadata(weights: ActorWeights, format: Format, encodings: list[str]) -> dict[str, Any]:
    """What the file says about itself, under the key `edgedst`; numbers keep every digit.

    `encodings` are those of the layers, in their order; a head of log sigma comes last and is left out.
    """
    in_use: dict[str, Any] = {}
    if weights.observation_clip is not None:
        in_use["clip_low"], in_use["clip_high"] = map(list, weights.observation_clip)
    if weights.history:
        in_use |= {"history": weights.history, "start_action": weights.start_action.tolist()}
    return {
        "format": FORMAT,
        "edgedst": weights.version,
        "environment": weights.environment,
        "method": weights.method,
        "seed": weights.seed,
        "step": weights.step,
        "checkpoint": weights.checkpoint,
        "observation_size": weights.observation_size,
        **in_use,
        "action_size": weights.sizes[-1],
        "action_low": list(weights.action_low),
        "action_high": list(weights.action_high),
        "log_std": list(LOG_STD_BOUNDS) if format.stochastic else None,
        "weights": format.weights,
        "dtype": format.dtype,
        "layers": [
            {
                "in": layer.in_features,
                "out": layer.out_features,
                "nnz": layer.nnz,
                "sparsity": layer.sparsity,
                "encoding": encoding,
            }
            for layer, encoding in zip(weights.layers, encodings[: len(weights.layers)], strict=True)
        ],
        "evaluation_return": weights.evaluation_return,
        "evaluation_sd": weights.evaluation_sd,
    }


def scale_and_offset(weights: ActorWeights) -> tuple[FloatArray, FloatArray]:
    """float32 (m,) each: action = tanh * scale + offset, never outside [low, high], the last bit included.

    offset - scale and offset + scale lie within the bounds, and rounding to float32, also of one sum or of a fused
    multiply-add, leads no number over a float32.
    """
    low, high = (bound.astype(np.float64) for bound in weights.bounds_inside)
    offset = ((low + high) / 2).astype(np.float32).clip(low, high, dtype=np.float32, casting="same_kind")
    room = np.minimum(high - offset, offset - low)
    nearest = room.astype(np.float32)
    scale: FloatArray = np.where(nearest > room, np.nextafter(nearest, np.float32(0)), nearest)
    return scale, offset
