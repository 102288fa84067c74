"""Proves that an exported file acts as the checkpoint does, on recorded and on random observations.

Four ways to compute the same action are compared: onnxruntime at batch 1 and 64, the native actor at batch 1 and 64.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgedst.deploy.checkpoint import ActorWeights, FloatArray
from edgedst.deploy.native_actor import NativeActor
from edgedst.deploy.session import first_line, open_session, run_in_batches
from edgedst.errors import ExportError

TOLERANCE = 1e-5  # float32 sums of some hundred terms in another order stay near 1e-6
RECORDED_ROWS = 512
RANDOM_ROWS = 512
BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Parity:
    """Result of a passed check, and the observations and native actions that it used (recorded ones first)."""

    largest_difference: float  # as a share of each action's largest magnitude: of 1 where the bounds are -1 and 1
    recorded: int
    random: int
    observations: FloatArray
    actions: FloatArray


def check_parity(path: Path, weights: ActorWeights, recorded: FloatArray) -> Parity:
    """Check the file with onnx's full check, then its actions against the native actor's.

    Args:
        path: the ONNX file.
        weights: the actor that it was made from.
        recorded: (rows, n) float32; the first `RECORDED_ROWS` are used.

    Raises:
        ExportError: when the file is not valid ONNX, onnxruntime cannot load it, or an action differs by more than
            `TOLERANCE`.
    """
    _check_file(path)
    recorded = recorded[:RECORDED_ROWS]
    drawn = _random_observations(weights.sizes[0], recorded)
    observations = np.ascontiguousarray(np.concatenate([recorded, drawn]), dtype=np.float32)
    native = NativeActor(weights, BATCH_SIZE)
    expected = {
        1: np.stack([native.act(row.astype(np.float64).data) for row in observations]),
        BATCH_SIZE: native.actions(observations),
    }
    session = open_session(path)
    # An action of magnitude 100 has only 8e-6 between two float32: the difference is taken as a share of the bound.
    magnitude = np.maximum(np.abs(weights.action_low), np.abs(weights.action_high))
    magnitude = np.where(magnitude > 0, magnitude, 1.0)
    largest = 0.0
    for batch_size in (1, BATCH_SIZE):
        exported = run_in_batches(session, observations, batch_size)
        for actions in expected.values():
            differences = np.abs(exported.astype(np.float64) - actions) / magnitude
            row, dimension = np.unravel_index(int(np.argmax(np.nan_to_num(differences, nan=np.inf))), differences.shape)
            difference = float(differences[row, dimension])
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"The exported actor is not the trained one: action {dimension} differs by {difference:.1e} (limit "
                    f"{TOLERANCE:.0e}) at observation {row}, batch {batch_size}: {exported[row, dimension]:.7g} from "
                    f"onnxruntime {onnxruntime.__version__}, {actions[row, dimension]:.7g} natively. No file was "
                    "written; please report this with the run folder, or try another onnxruntime."
                )
            largest = max(largest, difference)
    return Parity(largest, len(recorded), len(drawn), observations, expected[1])


def _check_file(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # checker, shape inference and protobuf each have their own class
        raise ExportError(
            f"onnx {onnx.__version__} refuses the exported file ({first_line(error)}). No file was written; please "
            "report this with the run folder."
        ) from error


def _random_observations(observation_size: int, recorded: FloatArray) -> FloatArray:
    rng = np.random.Generator(np.random.Philox(0))  # the same observations at every export
    drawn = rng.standard_normal((RANDOM_ROWS, observation_size), dtype=np.float32)
    if len(recorded) > 1:  # spread as the environment's are
        drawn = drawn * recorded.std(axis=0) + recorded.mean(axis=0)
    return drawn.astype(np.float32)
