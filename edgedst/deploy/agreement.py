"""What an exported actor has to agree with: the native actor's actions, on recorded and on random observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.deploy.native_actor import NativeActor
from edgedst.errors import ExportError
from edgedst.runs.actor import ActorWeights, FloatArray
from edgedst.runs.inputs import FAR, middle_and_half

TOLERANCE = 1e-5  # float32 sums of some hundred terms in another order stay near 1e-6, but not in every actor
OTHER_ORDERS = 8  # times the rounding of two orders of sums that a third may have: 1.8 was the most seen of 19 actors
HALF_ULP = 2.0**-24  # the most that float32 rounds, as a share of the number
LARGEST_TOLERANCE = 1e-3  # beyond it a wrong weight would pass
OUTLIERS = 4  # of the random rows, one in so many has observations beyond what a normaliser clips at
RECORDED_ROWS = 512
RANDOM_ROWS = 512
BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Reference:
    """Observations, recorded ones first, and the native actor's actions for them.

    Of an actor with a history a row is all that it takes at a step: N features.
    """

    observations: FloatArray  # (rows, N)
    actions: FloatArray  # (rows, m), one row at a time, as on the device
    batched: FloatArray  # (rows, m), through the forward that training uses: sums in another order
    rounding: npt.NDArray[np.float64]  # (rows,) how far float32 is from float64, as a share of the bound
    recorded: int
    random: int

    @property
    def tolerance(self) -> float:
        """How far a right export may be from the native actor, as a share of the bound.

        Where large sums cancel, two orders of them differ by more than TOLERANCE, and every program has its own order.
        """
        return float(np.maximum(TOLERANCE, OTHER_ORDERS * np.max(self.rounding)))  # of NaN, NaN

    def passed(self, difference: float, how: str = "") -> str:
        """What a passed check says; `how` the exported actor was asked."""
        return (
            f"largest difference from the native actor: {difference:.1e} ({self.limit_told}; {self.recorded} recorded "
            f"and {self.random} random observations{how})"
        )

    @property
    def limit_told(self) -> str:
        """The tolerance, and why it is above the usual one."""
        told = f"limit {self.tolerance:.2g}"
        return told if self.tolerance <= TOLERANCE else f"{told}, {OTHER_ORDERS} times what float32 rounds here"


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
    """Ask the native actor, on the first RECORDED_ROWS of (rows, N) float32 `recorded` and on RANDOM_ROWS random ones.

    The random observations are the same at every export.

    Raises:
        ExportError: when float32 rounds so much that no check would find a wrong weight.
    """
    recorded = recorded[:RECORDED_ROWS]
    rng = np.random.Generator(np.random.Philox(0))
    drawn = _drawn(rng, weights, recorded)
    observations = np.ascontiguousarray(np.concatenate([recorded, drawn]), dtype=np.float32)
    native = NativeActor(weights, BATCH_SIZE)
    actions = np.stack([native.act(row.astype(np.float64).data) for row in observations])
    batched = native.actions(observations)
    reference = Reference(observations, actions, batched, rounding_of(weights, observations), len(recorded), len(drawn))
    if not reference.tolerance <= LARGEST_TOLERANCE:
        raise ExportError(
            f"Float32 rounding alone moves this actor's actions by {np.max(reference.rounding):.0e} of their bound, so "
            f"an export cannot be told from a wrong one. {why_it_rounds(weights)}"
        )
    return reference


def _drawn(rng: np.random.Generator, weights: ActorWeights, recorded: FloatArray) -> FloatArray:
    """(RANDOM_ROWS, N): observations as the environment may give them, each by itself, and actions within bounds."""
    size, history = weights.observation_size, max(weights.history, 1)
    shape = (RANDOM_ROWS, history * size)
    drawn: FloatArray
    if weights.observation_clip is not None:
        low, high = (np.tile(bound, history) for bound in weights.observation_clip)
        outlying = np.arange(RANDOM_ROWS)[:, None] % OUTLIERS == 0
        within = np.where(outlying, rng.uniform(-1.5, 1.5, shape), 0.1 * rng.standard_normal(shape))
        drawn = ((low + high) / 2 + within * (high - low) / 2).astype(np.float32)
    elif weights.observation_bounds is not None:  # all that the machine can give
        low, high = (np.tile(bound, history) for bound in weights.observation_bounds)
        drawn = rng.uniform(low, high, shape).astype(np.float32)
    else:
        drawn = rng.standard_normal(shape, dtype=np.float32)
        if len(recorded) > 1:  # spread as the environment's are
            seen = recorded[:, : history * size]
            drawn = drawn * seen.std(axis=0) + seen.mean(axis=0)
    if not weights.history:
        return drawn
    low, high = (np.tile(bound, history) for bound in weights.bounds_inside)
    done = rng.uniform(low, high, (RANDOM_ROWS, low.size)).astype(np.float32)
    features: FloatArray = np.concatenate([drawn, done], axis=1)
    return features


def why_it_rounds(weights: ActorWeights) -> str:
    """The probable reason for much rounding, and what helps against it: a sentence."""
    if weights.observation_bounds is not None and weights.centre is None:
        low, high = weights.observation_bounds
        middle, half = middle_and_half(weights.observation_bounds)
        index = int(np.argmax(np.abs(middle) / half))
        if abs(middle[index]) > FAR * half[index]:
            return (
                f"Observation {index} lies between {low[index]:g} and {high[index]:g}, far from 0 for its width: "
                "subtract its middle in `read_observation`, write the bounds of the difference into OBSERVATION, and "
                "train anew."
            )
    return "The weights have probably diverged: try `--checkpoint best`."


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

    The reference is of the actor in that dtype.
    """
    if dtype == "fp32":
        return {}
    trained = NativeActor(weights, BATCH_SIZE).actions(reference.observations)
    shares = _shares(reference.batched, trained, weights)
    parts = {"recorded": shares[: reference.recorded], "random": shares[reference.recorded :]}
    return {name: Movement(float(part.max()), float(part.mean())) for name, part in parts.items() if part.size}


def rounding_of(weights: ActorWeights, features: FloatArray) -> npt.NDArray[np.float64]:
    """(rows,) how far actions in float32, summed up forwards and backwards, are from those in float64.

    Nothing of the native core is used, whose errors are to be found, not allowed for.
    """
    with np.errstate(all="ignore"):  # what overflows is found by its NaN
        exact = exact_actions(weights, features)
        sums = [_actions(weights, features, step) for step in (1, -1)]
        rounding: npt.NDArray[np.float64] = np.max([_shares(actions, exact, weights) for actions in sums], axis=(0, 2))
        if weights.layers[0].units is not None:
            rounding = np.maximum(rounding, _first_rounding(weights, features.astype(np.float64)))
    return rounding


def exact_actions(weights: ActorWeights, features: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(rows, N) to (rows, m), in float64, where the order of sums is of no account."""
    x = weights.inputs(features.astype(np.float64))
    for layer in weights.layers:
        y = x @ layer.weight.T.astype(np.float64) + layer.bias
        x = np.tanh(y) if layer is weights.layers[-1] else np.maximum(y, 0)
    low, high = np.array(weights.action_low), np.array(weights.action_high)
    actions: npt.NDArray[np.float64] = low + (x + 1) / 2 * (high - low)
    return actions


def _first_rounding(weights: ActorWeights, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(rows,) how far one rounding of each sum of the first layer moves an action, at the size of the sum's terms.

    Where normalisation is folded into that layer, its terms are as large as an observation is far from 0, and cancel.
    What that rounds to in two orders may be little by luck; this is what it may be in any. The terms are |w x| and
    |bias|, the sums' errors add up as independent ones do, and each goes through the derivative of the action.
    """
    layers = weights.layers
    x = weights.inputs(x)
    hidden = []  # each layer's output but the last one's, with the derivative of its ReLU
    terms = np.abs(x) @ np.abs(layers[0].weight.T.astype(np.float64)) + np.abs(layers[0].bias)
    for layer in layers[:-1]:
        x = np.maximum(x @ layer.weight.T.astype(np.float64) + layer.bias, 0)
        hidden.append(x > 0)
    last = layers[-1].weight.astype(np.float64)
    slopes = 1 - np.tanh(x @ last.T + layers[-1].bias) ** 2
    low, high = np.array(weights.action_low), np.array(weights.action_high)
    moved = []
    for row, half in enumerate((high - low) / 2 / _magnitude(low, high)):
        back = half * slopes[:, row : row + 1]  # derivative by the sums of the layer, from the last to the first
        if hidden:
            back = back * last[row] * hidden[-1]
            for layer, on in zip(layers[-2:0:-1], hidden[-2::-1], strict=True):
                back = back @ layer.weight.astype(np.float64) * on
            moved.append(np.sqrt(np.square(back * terms).sum(axis=1)))
        else:
            moved.append(back[:, 0] * terms[:, row])
    rounding: npt.NDArray[np.float64] = np.max(moved, axis=0) * HALF_ULP
    return rounding


def _actions(weights: ActorWeights, x: npt.NDArray[Any], step: int) -> npt.NDArray[Any]:
    """(rows, N) to (rows, m) in the arithmetic of x, each sum taken input by input: `step` 1 forwards, -1 backwards."""
    dtype = x.dtype
    x = weights.inputs(x)
    for layer in weights.layers:
        columns = layer.weight.T.astype(dtype)
        y = np.zeros((len(x), layer.out_features), dtype)
        for i in range(layer.in_features)[::step]:
            y += x[:, i : i + 1] * columns[i]
        y += layer.bias
        x = np.tanh(y) if layer is weights.layers[-1] else np.maximum(y, 0)
    low, high = np.array(weights.action_low, dtype), np.array(weights.action_high, dtype)
    actions: npt.NDArray[Any] = low + (x + 1) / 2 * (high - low)
    return actions


def _shares(actions: npt.NDArray[Any], expected: npt.NDArray[Any], weights: ActorWeights) -> npt.NDArray[np.float64]:
    return shares_of_bound(actions, expected, weights.action_low, weights.action_high)


def shares_of_bound(
    actions: npt.NDArray[Any], expected: npt.NDArray[Any], low: Sequence[float], high: Sequence[float]
) -> npt.NDArray[np.float64]:
    """(rows, m) differences, each as a share of its action's larger bound."""
    differences: npt.NDArray[np.float64] = np.abs(actions.astype(np.float64) - expected)
    return differences / _magnitude(low, high)


def _magnitude(low: npt.ArrayLike, high: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(m,) the larger bound; 1 where both are 0."""
    magnitude = np.maximum(np.abs(low), np.abs(high))
    return np.where(magnitude > 0, magnitude, 1.0)
