"""What an exported actor has to agree with: the native actor's actions, on recorded and on random observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedst.deploy.checkpoint import ActorWeights, FloatArray
from edgedst.deploy.native_actor import NativeActor

RECORDED_ROWS = 512
RANDOM_ROWS = 512
BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Reference:
    """Observations, recorded ones first, and the native actor's actions for them."""

    observations: FloatArray  # (rows, n)
    actions: FloatArray  # (rows, m), one observation at a time, as on the device
    batched: FloatArray  # (rows, m), through the forward that training uses: sums in another order
    recorded: int
    random: int


@dataclass(frozen=True)
class Difference:
    """The place where two actors differ most, as a share of the action's largest magnitude (its larger bound)."""

    share: float  # NaN counts as infinite
    row: int
    dimension: int
    action: float
    expected: float


def reference_actions(weights: ActorWeights, recorded: FloatArray) -> Reference:
    """Ask the native actor, on the first RECORDED_ROWS of (rows, n) float32 `recorded` and on RANDOM_ROWS random ones.

    The random observations are the same at every export.
    """
    recorded = recorded[:RECORDED_ROWS]
    rng = np.random.Generator(np.random.Philox(0))
    drawn = rng.standard_normal((RANDOM_ROWS, weights.sizes[0]), dtype=np.float32)
    if len(recorded) > 1:  # spread as the environment's are
        drawn = drawn * recorded.std(axis=0) + recorded.mean(axis=0)
    observations = np.ascontiguousarray(np.concatenate([recorded, drawn]), dtype=np.float32)
    native = NativeActor(weights, BATCH_SIZE)
    actions = np.stack([native.act(row.astype(np.float64).data) for row in observations])
    return Reference(observations, actions, native.actions(observations), len(recorded), len(drawn))


def largest_difference(actions: FloatArray, expected: FloatArray, weights: ActorWeights) -> Difference:
    """Compare (rows, m) actions with the expected ones.

    An action of magnitude 100 has only 8e-6 between two float32, so a difference is a share of the bound.
    """
    magnitude = np.maximum(np.abs(weights.action_low), np.abs(weights.action_high))
    magnitude = np.where(magnitude > 0, magnitude, 1.0)
    differences = np.abs(actions.astype(np.float64) - expected) / magnitude
    row, dimension = np.unravel_index(int(np.argmax(np.nan_to_num(differences, nan=np.inf))), differences.shape)
    share = float(np.nan_to_num(differences[row, dimension], nan=np.inf))
    return Difference(share, int(row), int(dimension), float(actions[row, dimension]), float(expected[row, dimension]))
