"""Proves that an exported ONNX file acts as the trained actor, on recorded and on random observations.

The native actor is asked for each observation alone and in batches; so are onnxruntime and onnx's own reference
evaluator, two implementations that share no code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from edgedst.deploy.agreement import BATCH_SIZE, TOLERANCE, Reference, check_agreement, reference_actions
from edgedst.deploy.native_actor import native_log_std
from edgedst.deploy.session import Runs, first_line, open_session, run_in_batches
from edgedst.errors import ExportError
from edgedst.runs.actor import ActorWeights, FloatArray

LOG_STD_TOLERANCE = 1e-4  # no tanh makes the sum's rounding small; sigma is then good to as many parts
SINGLE_ROWS = 32  # that the reference evaluator gets one by one: it decodes the weights anew at every call


@dataclass(frozen=True, eq=False)
class Parity:
    """Result of a passed check, and what the file was compared with."""

    largest_difference: float  # as a share of each action's largest magnitude: of 1 where the bounds are -1 and 1
    log_std_difference: float | None  # absolute; None where the file has no such output
    checks: str  # what was asked, in words
    reference: Reference

    @property
    def told(self) -> tuple[str, ...]:
        """The check, a sentence a line."""
        lines = [self.reference.passed(self.largest_difference, f", batch 1 and {BATCH_SIZE}")]
        if self.log_std_difference is not None:
            difference = self.log_std_difference
            lines.append(f"largest difference of log_std: {difference:.1e} (limit {log_std_limit(self.reference):.2g})")
        return *lines, f"checked by {self.checks}"


def check_parity(path: Path, weights: ActorWeights, recorded: FloatArray, sparse: bool = False) -> Parity:
    """Check the file with onnx's checker, then its actions against the native actor's.

    Args:
        path: the ONNX file.
        weights: the actor with the weights that the file stands for; with a `log_std_head` that output is checked too.
        recorded: (rows, N) float32 features; the first rows are used.
        sparse: the file has sparse initialisers, which onnx's shape inference and reference evaluator cannot read:
            then the checker checks the structure alone and onnxruntime alone is asked.

    Raises:
        ExportError: when the file is not valid ONNX, cannot be loaded, or an output differs by more than its limit.
    """
    content = path.read_bytes()  # its path may be no text, which neither onnx nor onnxruntime takes
    _check_file(content, full=not sparse)
    reference = reference_actions(weights, recorded)
    runners: list[tuple[str, Runs, int]] = [
        (f"onnxruntime {onnxruntime.__version__}", open_session(path, content), len(reference.observations))
    ]
    checks = f"onnx's full check, onnxruntime {onnxruntime.__version__}, onnx's reference evaluator"
    if sparse:
        checks = (
            f"onnx's check, onnxruntime {onnxruntime.__version__}; onnx's full check and reference evaluator cannot "
            "read sparse initialisers"
        )
    else:
        runners.append(("onnx's reference evaluator", ReferenceEvaluator(content), SINGLE_ROWS))
    log_std = None
    if weights.log_std_head is not None:
        log_std = native_log_std(weights, weights.log_std_head, reference.observations)
    outputs = ["actions"] if log_std is None else ["actions", "log_std"]
    largest, log_std_largest = 0.0, None if log_std is None else 0.0
    for name, runner, single_rows in runners:
        for batch_size, rows in ((1, single_rows), (BATCH_SIZE, len(reference.observations))):
            where, observations = f", batch {batch_size}", reference.observations[:rows]
            actions, *rest = run_in_batches(runner, observations, batch_size, outputs)
            largest = max(largest, check_agreement(actions, reference, weights, name, "onnxruntime", where))
            if log_std is not None and log_std_largest is not None:
                limit = log_std_limit(reference)
                log_std_largest = max(log_std_largest, _check_log_std(rest[0], log_std[:rows], limit, f"{name}{where}"))
    return Parity(largest, log_std_largest, checks, reference)


def log_std_limit(reference: Reference) -> float:
    """LOG_STD_TOLERANCE, as many times over as the actions' limit is TOLERANCE: the layers before are the same."""
    return LOG_STD_TOLERANCE * reference.tolerance / TOLERANCE


def _check_file(content: bytes, full: bool) -> None:
    try:
        onnx.checker.check_model(content, full_check=full)
    except Exception as error:  # checker, shape inference and protobuf each have their own class
        raise ExportError(
            f"onnx {onnx.__version__} refuses the exported file ({first_line(error)}). No file was written; please "
            "report this with the run folder."
        ) from error


def _check_log_std(found: FloatArray, native: FloatArray, limit: float, where: str) -> float:
    """The largest difference."""
    difference = float(np.max(np.nan_to_num(np.abs(found - native), nan=np.inf)))
    if not difference <= limit:
        raise ExportError(
            f"The exported actor's log_std differs from the trained one's by {difference:.1e} (limit "
            f"{limit:.2g}) in {where}. No file was written; please report this with the run folder, or try "
            "another onnxruntime."
        )
    return difference
