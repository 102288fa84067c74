"""An exported file in onnxruntime; needs no compiled core, so that a file can be evaluated where none was built.

What a file says of itself is held against what it is before onnxruntime gets it: checksum, operators, sizes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime

from edgedst.errors import CheckpointError, ExportError
from edgedst.runs.actor import FloatArray
from edgedst.runs.reading import LARGEST_BYTES, environment_id, finite, read_regular, reason, whole

FORMAT = 1  # of the metadata
METADATA_KEY, CHECKSUM = "edgedst", "sha256"
UNSEALED = "0" * 64  # the checksum is of the file with these digits in its place
# What `onnx` and `onnx_weights` write, and nothing that could loop, read another file or go on for ever.
OPERATORS = {
    *("Gemm", "Relu", "Tanh", "Clip", "Mul", "Add", "Sub", "Max", "Min", "Cast", "CumSum", "BitShift", "Reshape"),
    *("NonZero", "ConstantOfShape", "ScatterElements", "Split"),
}
# Of the files that were written before there was a checksum. Any other key beside a missing one: the key is damaged.
KEYS_BEFORE = {
    *("format", "edgedst", "environment", "method", "seed", "step", "checkpoint", "observation_size", "action_size"),
    *("action_low", "action_high", "log_std", "weights", "dtype", "layers", "evaluation_return", "evaluation_sd"),
}

# Only where the actor has a normaliser, or a history.
KEYS_IN_USE = {"clip_low", "clip_high", "history", "start_action"}


class Runs(Protocol):
    """What onnxruntime's session and onnx's reference evaluator have in common."""

    def run(self, output_names: Any, feed_inputs: Any) -> Any:
        """Outputs of these names, in their order."""


def open_session(path: Path, content: bytes) -> onnxruntime.InferenceSession:
    """An onnxruntime session on one CPU thread: for an actor of this size more only wait for each other.

    `content` is the file's; `path` is for errors.

    Raises:
        ExportError: when onnxruntime cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised: logged too, they would be told twice
    try:
        # Without a fallback, which is the same provider once more and prints that it is tried.
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's own exceptions share no base but Exception
        raise _cannot_load(f"onnxruntime {onnxruntime.__version__}", path, error) from error


def open_checked(path: Path) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """A session with a file that somebody may have damaged or made, and what it says about itself.

    That is its metadata key `edgedst`, format 1 (export/ONNX.md). Without a `sha256` it is of an older edgedst, and
    damage cannot be told.

    Raises:
        CheckpointError: it cannot be read, was not made by edgedst, or is not as it was exported.
        ExportError: it cannot be loaded.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({reason(error)}). Name an .onnx file that `edgedst export` made."
        ) from error
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own
        raise _cannot_load(f"onnx {onnx.__version__}", path, error) from error
    about = _about(model, path)
    if CHECKSUM in about:
        checksum = str(about[CHECKSUM])
        if len(checksum) != len(UNSEALED) or not checksum.isalnum() or _digest(content, checksum) != checksum:
            raise _changed(path, "its checksum is another one")
    elif unknown := about.keys() - KEYS_BEFORE - KEYS_IN_USE:
        raise _changed(path, f"it has no checksum, and its metadata has {', '.join(map(repr, sorted(unknown)))}")
    _check_graph(model.graph, about, path)
    if model.functions:
        raise _changed(path, "it has functions of its own")
    return open_session(path, content), about


def sealed(model: onnx.ModelProto) -> bytes:
    """A model as the bytes of its file, with their checksum in its metadata."""
    (entry,) = model.metadata_props
    entry.value = json.dumps({**json.loads(entry.value), CHECKSUM: UNSEALED}, separators=(",", ":"))
    content: bytes = model.SerializeToString()
    before, key, after = content.rpartition(f'"{CHECKSUM}":"'.encode())
    return before + key + _digest(content, UNSEALED).encode() + after[len(UNSEALED) :]


def _digest(content: bytes, checksum: str) -> str:
    return hashlib.sha256(content.replace(checksum.encode(), UNSEALED.encode())).hexdigest()


def _about(model: onnx.ModelProto, path: Path) -> dict[str, Any]:
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if not texts:
        raise CheckpointError(
            f"`{path}` was not exported by this edgedst: it has no metadata key `edgedst`, so its environment is not "
            "known. Expected a file made by `edgedst export`."
        )
    try:
        (text,) = texts
        about: dict[str, Any] = json.loads(text)
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']}, and {FORMAT} is read here")
        about["environment"] = environment_id(about["environment"])
        for key in ("observation_size", "action_size"):
            about[key] = whole(about[key], 1)
        about["history"] = whole(about["history"], 1) if "history" in about else 0
        for key in ("action_low", "action_high", *(["start_action"] if about["history"] else [])):
            about[key] = [finite(bound) for bound in about[key]]
            if len(about[key]) != about["action_size"]:
                raise ValueError(f"{key} has {len(about[key])} numbers for {about['action_size']} actions")
    except (ArithmeticError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"`{path}` was not exported by this edgedst: its metadata key `edgedst` cannot be used "
            f"({type(error).__name__}: {first_line(error)}), so its environment is not known. Expected a file made by "
            "`edgedst export`."
        ) from error
    return about


def features_of(about: dict[str, Any]) -> int:
    """How many numbers a file takes at a step, by its metadata: N."""
    size: int = about["observation_size"]
    return about["history"] * (size + about["action_size"]) if about["history"] else size


def _check_graph(graph: onnx.GraphProto, about: dict[str, Any], path: Path) -> None:
    """Refuse what edgedst does not write, since a checksum proves no origin."""
    foreign = {node.op_type for node in graph.node if node.domain or node.op_type not in OPERATORS}
    if foreign:
        raise _changed(path, f"it has the operators {', '.join(map(repr, sorted(foreign)))}")
    tensors = [*graph.initializer, *(part for s in graph.sparse_initializer for part in (s.values, s.indices))]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        raise _changed(path, "its weights are in another file")
    try:
        constants = {tensor.name: tensor for tensor in graph.initializer}
        shapes = [constants[node.input[0]] for node in graph.node if node.op_type == "ConstantOfShape"]
        places = sum(math.prod(map(int, onnx.numpy_helper.to_array(shape).ravel())) for shape in shapes)
        wide = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise _changed(path, f"its graph is none of an actor's: {first_line(error)}") from error
    if not 0 <= places <= LARGEST_BYTES // 4:
        raise _changed(path, f"its weights unpack to {places:,} numbers")
    if wide != features_of(about):
        raise _changed(path, f"it says that it takes {features_of(about)} observations, and takes {wide}")


def _cannot_load(what: str, path: Path, error: Exception) -> ExportError:
    return ExportError(
        f"{what} cannot load `{path.name}` ({first_line(error)}). Expected an ONNX file that `edgedst export` made: "
        "export it again, with a lower `--opset` for an older onnxruntime."
    )


def _changed(path: Path, how: str) -> CheckpointError:
    return CheckpointError(f"`{path}` is not as `edgedst export` wrote it: {how}. Copy it again, or export it anew.")


def run_in_batches(
    runner: Runs, observations: FloatArray, batch_size: int, outputs: Sequence[str] = ("actions",)
) -> list[FloatArray]:
    """(rows, N) to (rows, m) of each output, `batch_size` rows a call."""
    parts = [run(runner, observations[i : i + batch_size], outputs) for i in range(0, len(observations), batch_size)]
    return [np.concatenate(rows) for rows in zip(*parts, strict=True)]


def run(runner: Runs, observations: FloatArray, outputs: Sequence[str] = ("actions",)) -> list[FloatArray]:
    """One call: (B, N) to (B, m) of each output.

    Raises:
        ExportError: when the file cannot be run.
    """
    try:
        found: list[FloatArray] = runner.run(list(outputs), {"obs": observations})
        return found
    except Exception as error:  # as in open_session; what is decoded at load may fail only here
        raise ExportError(
            f"The exported actor cannot be run ({first_line(error)}). Its file is damaged or not from `edgedst "
            "export`: export it again, or report this with the run folder."
        ) from error


def first_line(error: Exception) -> str:
    """What went wrong, without the stack that onnxruntime and protobuf append; a file's own names may be in it."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return "".join(character if character.isprintable() else "?" for character in line)
