"""An exported file in onnxruntime; needs no compiled core, so that a file can be evaluated where none was built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from edgedst.deploy.checkpoint import FloatArray
from edgedst.errors import ExportError


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session on one CPU thread: for an actor of this size more only wait for each other.

    Raises:
        ExportError: when onnxruntime cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only; they are raised as well
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base but Exception
        raise ExportError(
            f"onnxruntime {onnxruntime.__version__} cannot load `{path.name}` ({first_line(error)}). Expected an ONNX "
            "file of opset 17: export it again, or install onnxruntime 1.20 or newer."
        ) from error


def run_in_batches(session: onnxruntime.InferenceSession, observations: FloatArray, batch_size: int) -> FloatArray:
    """(rows, n) to (rows, m), `batch_size` rows a call."""
    parts = [
        session.run(["actions"], {"obs": observations[i : i + batch_size]})[0]
        for i in range(0, len(observations), batch_size)
    ]
    actions: FloatArray = np.concatenate(parts)
    return actions


def first_line(error: Exception) -> str:
    """What went wrong, without the stack that onnxruntime and protobuf append."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
