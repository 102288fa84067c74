"""What training made of observations and actions before the actor's first layer saw them, and how the layer undoes it.

Bounds, a normaliser and a history are all one affine map of each feature, (x - middle) / half, and a clip. The map goes
into the first layer's weights, so that it takes observations and past actions as the environment has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgedst.errors import CheckpointError
from edgedst.runs.reading import finite, whole

if TYPE_CHECKING:
    from edgedst.runs.actor import ActorLayer

Bounds = tuple[tuple[float, ...], tuple[float, ...]]  # low, high
Doubles = npt.NDArray[np.float64]

# Times its half: how far a feature's middle may be from 0 without being a reason of rounding. A folded sum has terms of
# |w| (|z| + |middle| / half) where the network in training had |w z|, and a clip lets |z| be 10.
FAR = 8.0
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Units:
    """What a layer's inputs are counted in, where that differs from one to the other."""

    middle: Doubles  # (I,): where a weight's rounding should do nothing
    scales: npt.NDArray[np.float32]  # (I,): powers of two; weights divided by them are of one size: what few bits store


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the networks saw in training, feature by feature: z = (x - middle) / half.

    With a normaliser, |z| of an observation is at most its clip: x is clipped to `observation_clip` first.
    """

    middle: Doubles  # (N,)
    half: Doubles  # (N,)
    history: int
    observation_bounds: Bounds | None  # a machine's
    observation_clip: Bounds | None  # (n,) each

    @property
    def centre(self) -> tuple[float, ...] | None:
        """(N,) float32 numbers to subtract from the features before the first layer; None: nothing.

        That difference is rounded once, and near the centre not at all (Sterbenz 1974); so it is taken where the
        rounding of sums of undiminished terms would be felt. Elsewhere it is 0, and the weights do it.
        """
        far = np.abs(self.middle) > FAR * self.half
        # A machine without a normaliser has no step before its first layer, and its export names what is too far.
        if not far.any() or (self.observation_clip is None and not self.history):
            return None
        return tuple(np.where(far, self.middle, 0.0).astype(np.float32).tolist())

    def fold(self, layer: ActorLayer) -> ActorLayer:
        """The layer that gives for x - centre what `layer` gives for z.

        Raises:
            ValueError: float32 does not reach as far as its weights.
        """
        centre = self.centre
        middle = self.middle if centre is None else self.middle - centre
        with np.errstate(over="ignore", invalid="ignore"):  # told below
            values = (layer.values / self.half[layer.columns]).astype(np.float32)
            # Of the rounded weights: so their rounding counts from the middle on, and not from 0.
            shift = np.bincount(layer.rows, values * middle[layer.columns], minlength=layer.out_features)
            bias = (layer.bias - shift).astype(np.float32)
        if not (np.isfinite(values).all() and np.isfinite(bias).all()):
            index = int(np.argmin(self.half))
            raise ValueError(
                f"feature {index}, around {self.middle[index]:g}, has a unit of {self.half[index]:g}, in which float32 "
                "does not reach as far as the actor's weights"
            )
        exponents = np.clip(-np.rint(np.log2(self.half)), -126, 126)  # what float32 has without losing digits
        return replace(layer, values=values, bias=bias, units=Units(middle, np.exp2(exponents).astype(np.float32)))


def read_inputs(about: dict[str, Any], features: int, action_bounds: Bounds, path: object) -> Inputs | None:
    """By the metadata of a networks' file; None: the networks took observations as they are.

    Args:
        about: the metadata.
        features: N, that the first layer takes.
        action_bounds: (m,) low and high, finite.
        path: of the file, for a sentence.

    Raises:
        CheckpointError: the normaliser has seen no step.
        KeyError, TypeError, ValueError: what the metadata says is not what edgedst writes.
    """
    history, size, actions = 0, features, len(action_bounds[0])
    if "history" in about:
        history, size = whole(about["history"], 1), whole(about["observation_size"], 1)
        if features != history * (size + actions):
            raise ValueError(
                f"its actor takes {features} features, and of a history of {history} of {size} observations and "
                f"{actions} actions it has {history * (size + actions)}"
            )
    elif whole(about.get("observation_size", size)) != size:
        raise ValueError(f"its actor takes {features} observations, and {about['observation_size']} are said")
    bounds = _bounds(about, size)
    normalizer = _normalizer(about["normalizer"], size, path) if "normalizer" in about else None
    if not history and bounds is None and normalizer is None:
        return None
    middle, half = middle_and_half(bounds) if bounds is not None else (np.zeros(size), np.ones(size))
    clip = None
    if normalizer is not None:
        mean, scale, most = normalizer
        with np.errstate(over="ignore", invalid="ignore"):  # told below
            middle, half = middle + half * mean, half * scale
            low, high = middle - most * half, middle + most * half
        reach = np.maximum(np.abs(low), np.abs(high))
        if not ((reach <= _LARGEST).all() and (half > 0).all()):
            raise ValueError("its normaliser has observations that float32 does not reach")
        clip = (tuple(low.tolist()), tuple(high.tolist()))
    if history:
        action_middle, action_half = middle_and_half(action_bounds)
        if not (action_half > 0).all():
            raise ValueError(
                f"action {int(np.argmin(action_half))} has one value alone, and what it was is not to be told from a "
                "history of it"
            )
        middle, half = (
            np.concatenate([np.tile(of_observation, history), np.tile(of_action, history)])
            for of_observation, of_action in ((middle, action_middle), (half, action_half))
        )
    return Inputs(middle, half, history, bounds, clip)


def middle_and_half(bounds: Bounds) -> tuple[Doubles, Doubles]:
    """(n,) each: what training subtracted, and what it then divided by."""
    low, high = (np.array(bound, dtype=np.float64) for bound in bounds)
    return (low + high) / 2, (high - low) / 2


def _bounds(about: dict[str, Any], observation_size: int) -> Bounds | None:
    """Those of a machine's observations; None: the metadata has none.

    Raises:
        ValueError: they are no bounds of so many observations.
    """
    if "observation_low" not in about and "observation_high" not in about:
        return None
    low, high = (tuple(map(finite, about[f"observation_{side}"])) for side in ("low", "high"))
    if not len(low) == len(high) == observation_size:
        raise ValueError(
            f"observation_low has {len(low)} numbers and observation_high {len(high)} for {observation_size} "
            "observations"
        )
    for index, (one, other) in enumerate(zip(low, high, strict=True)):
        if not (-_LARGEST <= one < other <= _LARGEST and np.float32(one) < np.float32(other)):
            raise ValueError(
                f"observation {index} lies between {one:g} and {other:g}; low < high, that float32 tells apart, was "
                "expected"
            )
    return low, high


def _normalizer(told: dict[str, Any], observation_size: int, path: object) -> tuple[Doubles, Doubles, float]:
    """Mean and scale, (n,) each, and clip.

    Raises:
        CheckpointError: it has seen no step.
        ValueError: it is none of so many observations.
    """
    if whole(told["count"]) == 0:
        raise CheckpointError(
            f"`{path}` has a normaliser without a single step: what its actor takes observations for is not known. "
            "Train on, or take another run."
        )
    mean, scale = (_numbers(told[name], name, observation_size) for name in ("mean", "scale"))
    clip = finite(told["clip"])
    if not clip > 0:
        raise ValueError(f"its normaliser clips at {clip:g}; a number above 0 was expected")
    for index, one in enumerate(scale):
        if not one > 0:
            raise ValueError(f"its normaliser has the scale {one:g} at index {index}; a number above 0 was expected")
    return np.array(mean), np.array(scale), clip


def _numbers(told: Sequence[Any], name: str, size: int) -> list[float]:
    numbers = [finite(number) for number in told]
    if len(numbers) != size:
        raise ValueError(f"its normaliser has {len(numbers)} numbers as {name} for {size} observations")
    return numbers
