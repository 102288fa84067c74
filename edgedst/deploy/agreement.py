"""What an exported actor has to agree with: the native actor's actions, on recorded and on random observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.deploy.checkpoint import ActorWeights, FloatArray
from edgedst.deploy.native_actor import NativeActor
from edgedst.errors import ExportError

TOLERANCE = 1e-5  # float32 sums of some hundred terms in another order stay near 1e-6, but not in every actor
OTHER_ORDERS = 8  # times the native actor's rounding that another order of sums may differ by: up to 3.2 was seen
RECORDED_ROWS = 512
RANDOM_ROWS = 512
BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Reference:
    """Observations, recorded ones first, and the native actor's actions for them."""

    observations: FloatArray  # (rows, n)
    actions: FloatArray  # (rows, m), one observation at a time, as on the device
    batched: FloatArray  # (rows, m), through the forward that training uses: sums in another order
    rounding: npt.NDArray[np.float64]  # (rows,) how far both are from float64 arithmetic, as a share of the bound
    recorded: int
    random: int

    @property
    def tolerance(self) -> float:
        """How far a right export may be from the native actor, as a share of the bound.

        Where large sums cancel, two orders of them differ by more than TOLERANCE: the trained actor's own two do.
        """
        return max(TOLERANCE, OTHER_ORDERS * float(np.max(self.rounding)))

    @property
    def limit_told(self) -> str:
        """The tolerance, and why it is above the usual one."""
        told = f"limit {self.tolerance:.2g}"
        return told if self.tolerance <= TOLERANCE else f"{told}, {OTHER_ORDERS} times the native actor's own rounding"


@dataclass(frozen=True)
class Difference:
    """The place where two actors differ most, as a share of the action's largest magnitude (its larger bound)."""

    share: float  # NaN counts as infinite
    row: int
    dimension: int
    action: float
    expected: float


@dataclass(frozen=True)
class Movement:
    """How far the rounding of the weights moves the actions, as a share of each action's largest magnitude."""

    largest: float
    mean: float


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
    batched = native.actions(observations)
    exact = _exact_actions(weights, observations)
    rounding = np.maximum(_shares(actions, exact, weights), _shares(batched, exact, weights)).max(axis=1)
    return Reference(observations, actions, batched, rounding, len(recorded), len(drawn))


def largest_difference(actions: FloatArray, expected: FloatArray, weights: ActorWeights) -> Difference:
    """Compare (rows, m) actions with the expected ones.

    An action of magnitude 100 has only 8e-6 between two float32, so a difference is a share of the bound.
    """
    differences = _shares(actions, expected, weights)
    row, dimension = np.unravel_index(int(np.argmax(np.nan_to_num(differences, nan=np.inf))), differences.shape)
    share = float(np.nan_to_num(differences[row, dimension], nan=np.inf))
    return Difference(share, int(row), int(dimension), float(actions[row, dimension]), float(expected[row, dimension]))


def check_agreement(
    actions: FloatArray, reference: Reference, weights: ActorWeights, what: str, other: str, where: str = ""
) -> float:
    """The largest difference from either of the native actor's, which may be the reference's tolerance.

    Args:
        actions: (rows, m) of the exported actor, for the first rows of the reference.
        reference: what the native one does.
        weights: whose bounds differences are shares of.
        what: computed the actions, for a sentence: "onnxruntime 1.32.0".
        other: what to try another one of, for that sentence: "onnxruntime".
        where: how it was asked, for that sentence.

    Raises:
        ExportError: when an action differs by more.
    """
    natives = (reference.actions[: len(actions)], reference.batched[: len(actions)])
    worst = max((largest_difference(actions, native, weights) for native in natives), key=lambda found: found.share)
    if not worst.share <= reference.tolerance:
        raise ExportError(
            f"The exported actor is not the trained one: action {worst.dimension} differs by {worst.share:.1e} "
            f"({reference.limit_told}) at observation {worst.row}{where}: {worst.action:.7g} from {what}, "
            f"{worst.expected:.7g} natively. No file was written; please report this with the run folder, or try "
            f"another {other}."
        )
    return worst.share


def movements(weights: ActorWeights, dtype: str, reference: Reference) -> dict[str, Movement]:
    """How far the weights in `dtype` move the actions, on "recorded" and "random" observations; float32: nowhere.

    Args:
        weights: the trained actor.
        dtype: one of packing.DTYPES.
        reference: of the actor in that dtype.
    """
    if dtype == "fp32":
        return {}
    trained = NativeActor(weights, BATCH_SIZE).actions(reference.observations)
    shares = _shares(reference.batched, trained, weights)
    parts = {"recorded": shares[: reference.recorded], "random": shares[reference.recorded :]}
    return {name: Movement(float(part.max()), float(part.mean())) for name, part in parts.items() if part.size}


def _exact_actions(weights: ActorWeights, observations: FloatArray) -> npt.NDArray[np.float64]:
    """(rows, n) float32 to (rows, m) actions in float64 arithmetic: float32's rounding is 9 digits coarser."""
    x = observations.astype(np.float64)
    for layer in weights.layers:
        x = x @ layer.weight.T.astype(np.float64) + layer.bias
        x = np.tanh(x) if layer is weights.layers[-1] else np.maximum(x, 0.0)
    low, high = np.array(weights.action_low), np.array(weights.action_high)
    exact: npt.NDArray[np.float64] = low + (x + 1.0) / 2.0 * (high - low)
    return exact


def _shares(actions: npt.NDArray[Any], expected: npt.NDArray[Any], weights: ActorWeights) -> npt.NDArray[np.float64]:
    """(rows, m) differences, each as a share of its action's larger bound."""
    magnitude = np.maximum(np.abs(weights.action_low), np.abs(weights.action_high))
    differences: npt.NDArray[np.float64] = np.abs(actions.astype(np.float64) - expected)
    return differences / np.where(magnitude > 0, magnitude, 1.0)
