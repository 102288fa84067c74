"""An exported file in onnxruntime; needs no compiled core, so that a file can be evaluated where none was built."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime

from edgedst.deploy.checkpoint import FloatArray
from edgedst.errors import CheckpointError, ExportError

FORMAT = 1  # of the metadata


class Runs(Protocol):
    """What onnxruntime's session and onnx's reference evaluator have in common."""

    def run(self, output_names: Any, feed_inputs: Any) -> Any:
        """Outputs of these names, in their order."""


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session on one CPU thread: for an actor of this size more only wait for each other.

    Raises:
        ExportError: when onnxruntime cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised: logged too, they would be told twice
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base but Exception
        raise ExportError(
            f"onnxruntime {onnxruntime.__version__} cannot load `{path.name}` ({first_line(error)}). Expected an ONNX "
            "file that `edgedst export` made: export it again, with a lower `--opset` for an older onnxruntime."
        ) from error


def read_about(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    """What the file says about itself: its metadata key `edgedst`, format 1 (export/ONNX.md).

    Raises:
        CheckpointError: there is none, or it is of another format or not whole.
    """
    try:
        about: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map["edgedst"])
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']}, and {FORMAT} is read here")
        about["environment"] = str(about["environment"])
        for key in ("observation_size", "action_size"):
            about[key] = int(about[key])
        for key in ("action_low", "action_high"):
            about[key] = [float(bound) for bound in about[key]]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"`{path}` was not exported by this edgedst: its metadata key `edgedst` cannot be used "
            f"({type(error).__name__}: {error}), so its environment is not known. Expected a file made by `edgedst "
            "export`."
        ) from error
    return about


def run_in_batches(
    runner: Runs, observations: FloatArray, batch_size: int, outputs: Sequence[str] = ("actions",)
) -> list[FloatArray]:
    """(rows, n) to (rows, m) of each output, `batch_size` rows a call."""
    parts = [run(runner, observations[i : i + batch_size], outputs) for i in range(0, len(observations), batch_size)]
    return [np.concatenate(rows) for rows in zip(*parts, strict=True)]


def run(runner: Runs, observations: FloatArray, outputs: Sequence[str] = ("actions",)) -> list[FloatArray]:
    """One call: (B, n) to (B, m) of each output.

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
    """What went wrong, without the stack that onnxruntime and protobuf append."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
