"""Writes an actor as ONNX: `obs` [batch, n] float32 in, `actions` [batch, m] float32 out, in the environment's units.

Only standard operators (Gemm, Relu, Tanh, Clip, Mul, Add), weights as dense initialisers: sparse ones are made dense by
onnxruntime at load and refused by onnx's own checker. `export/ONNX.md` is the contract with whoever runs the file.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgedst.deploy.checkpoint import ActorWeights, FloatArray
from edgedst.deploy.parity import Parity, check_parity
from edgedst.errors import ExportError

OPSET = 17
IR_VERSION = 8  # what opset 17 came with; onnxruntime 1.20 reads up to 10
METADATA_KEY = "edgedst"


@dataclass(frozen=True)
class Exported:
    """What `export_actor` wrote, and what its check found."""

    path: Path
    file_bytes: int
    parity: Parity


def export_actor(weights: ActorWeights, path: Path, recorded: FloatArray) -> Exported:
    """Write the actor to `path`, after it passed every check under a temporary name beside it.

    Args:
        weights: the trained actor.
        path: the .onnx file to write; an older one there is replaced only by a file that passed.
        recorded: (rows, n) float32 observations of the run, which the exported actor is checked on; may be empty.

    Raises:
        ExportError: when the file fails a check or cannot be written. Nothing new is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(build_model(weights).SerializeToString())
        parity = check_parity(temporary, weights, recorded)
        file_bytes = temporary.stat().st_size
        temporary.replace(path)
    except OSError as error:
        raise ExportError(
            f"`{path}` cannot be written ({error.strerror or error}). "
            "Choose a folder that exists, is writable and has room."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(path, file_bytes, parity)


def write_golden(parity: Parity, path: Path, count: int = 64) -> int:
    """Write observations and native actions as `obs` and `actions` of an .npz: half recorded, half random.

    Returns:
        How many pairs were written: `count`, or fewer when the check had fewer.

    Raises:
        ExportError: when the file cannot be written.
    """
    recorded = min(parity.recorded, count // 2)
    rows = [*range(recorded), *range(parity.recorded, parity.recorded + min(parity.random, count - recorded))]
    try:
        with path.open("wb") as file:  # an open file keeps numpy from adding .npz to the name
            np.savez(file, obs=parity.observations[rows], actions=parity.actions[rows])
    except OSError as error:
        raise ExportError(
            f"`{path}` cannot be written ({error.strerror or error}). "
            "Choose a folder that exists, is writable and has room."
        ) from error
    return len(rows)


def build_model(weights: ActorWeights) -> ModelProto:
    """The ONNX model of an actor, metadata included; the same actor always gives the same bytes."""
    nodes, initialisers, x = [], [], "obs"
    for number, layer in enumerate(weights.layers):
        last = number == len(weights.layers) - 1
        initialisers += [
            numpy_helper.from_array(layer.weight, f"layer_{number}.weight"),
            numpy_helper.from_array(layer.bias, f"layer_{number}.bias"),
        ]
        inputs, y = [x, f"layer_{number}.weight", f"layer_{number}.bias"], f"layer_{number}"
        nodes.append(helper.make_node("Gemm", inputs, [y], name=f"layer_{number}.gemm", transB=1))
        x = f"{y}.activation"
        nodes.append(helper.make_node("Tanh" if last else "Relu", [y], [x], name=x))
    scale, offset = scale_and_offset(weights)
    one = np.float32(1)
    initialisers += [
        numpy_helper.from_array(np.array(-one), "minus_one"),
        numpy_helper.from_array(np.array(one), "one"),
    ]
    # onnxruntime's Tanh reaches 1.0000002 (measured, 1.32 on x86-64): clipped, so that no action passes its bound.
    nodes.append(helper.make_node("Clip", [x, "minus_one", "one"], ["normalised"], name="clip"))
    initialisers += [numpy_helper.from_array(scale, "action_scale"), numpy_helper.from_array(offset, "action_offset")]
    nodes += [
        helper.make_node("Mul", ["normalised", "action_scale"], ["scaled"], name="scale"),
        helper.make_node("Add", ["scaled", "action_offset"], ["actions"], name="offset"),
    ]
    sizes = weights.sizes
    graph = helper.make_graph(
        nodes,
        "actor",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["batch", sizes[0]])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["batch", sizes[-1]])],
        initialisers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edgedst",
        producer_version=weights.version,
    )
    helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata(weights))})
    return model


def metadata(weights: ActorWeights) -> dict[str, Any]:
    """What the file says about itself, under the key `edgedst`; numbers keep every digit."""
    return {
        "format": 1,
        "edgedst": weights.version,
        "environment": weights.environment,
        "method": weights.method,
        "seed": weights.seed,
        "step": weights.step,
        "observation_size": weights.sizes[0],
        "action_size": weights.sizes[-1],
        "action_low": list(weights.action_low),
        "action_high": list(weights.action_high),
        "layers": [
            {"in": layer.in_features, "out": layer.out_features, "nnz": layer.nnz, "sparsity": layer.sparsity}
            for layer in weights.layers
        ],
        "evaluation_return": weights.evaluation_return,
        "evaluation_sd": weights.evaluation_sd,
    }


def scale_and_offset(weights: ActorWeights) -> tuple[FloatArray, FloatArray]:
    """float32 (m,) each: action = tanh * scale + offset, never outside [low, high] even after rounding."""
    low, high = np.array(weights.action_low), np.array(weights.action_high)
    scale, offset = ((high - low) / 2).astype(np.float32), ((high + low) / 2).astype(np.float32)
    low_f32, high_f32 = low.astype(np.float32), high.astype(np.float32)
    # Rounded to float32, offset +- scale can pass a bound by one unit in the last place, and a strict environment or
    # motor driver refuses that. One unit less of scale is below what tanh itself rounds.
    for _ in range(8):
        outside = (offset + scale > high_f32) | (offset - scale < low_f32)
        scale = np.where(outside, np.nextafter(scale, np.float32(0)), scale)
    return scale, offset
