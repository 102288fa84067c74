"""What other tools mean by an action, put into edgedst's: tanh of the last layer, whose -1 and 1 are the bounds.

Three conventions are in use. A tanh alone is in [-1, 1] (Stable-Baselines3). A tanh with a scale and an offset behind
it, or nothing at all behind the last layer (rsl_rl), is in the environment's units and is cut at its bounds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgedst.errors import ConfigError, ModelError
from edgedst.imports.model import NORMALISED, UNITS, Dense, DoubleArray, Model, Output
from edgedst.runs.actor import FloatArray

MEANINGS = (NORMALISED, UNITS)
SAME = 1e-5  # a share of the half range: float32's scale and offset of a file that edgedst exported differ by less


def in_units(raw: FloatArray, meaning: str, low: DoubleArray, high: DoubleArray) -> FloatArray:
    """A model's own output as an action in [low, high]: as its tool would play it."""
    actions = np.asarray(raw, dtype=np.float64)
    if meaning == NORMALISED:
        actions = low + (actions.clip(-1, 1) + 1) / 2 * (high - low)
    clipped: FloatArray = actions.clip(low, high).astype(np.float32)
    return clipped


def fitted(model: Model, low: DoubleArray, high: DoubleArray) -> tuple[list[Dense], str]:
    """The actor's layers for edgedst's convention, and how its actions differ then; "" where they do not.

    Raises:
        ModelError: the middle of its actions lies outside the bounds, or a Clip cuts them within.
    """
    layers, output = model.networks["actor"], model.output
    middle, half = (low + high) / 2, (high - low) / 2
    scale, offset = output.scale, output.offset
    if output.meaning == UNITS:
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(half > 0, scale / half, 0.0)
            offset = np.where(half > 0, (offset - middle) / half, 0.0)
    if not output.tanh:
        _check_limits(model, low, high)
        # tanh(x) is x near 0: the same action and slope there.
        return _rescaled(model, layers, scale, offset), (
            "Its output is linear, cut at the bounds, and edgedst's actor ends in tanh. Its last layer is counted in "
            "half ranges now: around the middle of the bounds it acts the same, where it asked for a bound it goes "
            "76 % of the way, and nearer only as it asks for more."
        )
    if np.allclose(np.abs(scale), 1, rtol=0, atol=SAME) and np.allclose(offset, 0, rtol=0, atol=SAME):
        return _rescaled(model, layers, np.sign(scale), np.zeros_like(offset)), ""
    outside = np.flatnonzero(np.abs(offset) >= 1)
    if outside.size:
        index = int(outside[0])
        raise ModelError(
            f"`{model.path}`: the middle of its action {index} is {output.offset[index]:g}, and the bounds are "
            f"{low[index]:g} and {high[index]:g}. Name the environment that it was trained in with `--env`, or say "
            "`--actions normalized` where its -1 and 1 mean the bounds."
        )
    # tanh(arctanh(B) + A z / (1 - B^2)) and A tanh(z) + B have the same value and slope at z = 0.
    slope = scale / (1 - offset**2)
    worst = int(np.argmax(np.abs(scale - 1) + np.abs(offset)))
    reach = abs(output.scale[worst])
    return _rescaled(model, layers, slope, np.arctanh(offset)), (
        f"Its action {worst} goes from {output.offset[worst] - reach:g} to {output.offset[worst] + reach:g}, and the "
        f"bounds are {low[worst]:g} and {high[worst]:g}. Its last layer has the same action and slope in the middle "
        "now; towards the ends its actions differ."
    )


def _check_limits(model: Model, low: DoubleArray, high: DoubleArray) -> None:
    """Refuse a linear output that its own Clip keeps from a bound, which edgedst's actor reaches."""
    if model.output.meaning == NORMALISED:
        low, high = -np.ones_like(low), np.ones_like(high)
    least, most = model.output.limits
    slack = SAME * (high - low) / 2
    for index in np.flatnonzero(~((least <= low + slack) & (most >= high - slack))):
        raise ModelError(
            f"`{model.path}` cuts its action {index} at {least[index]:g} and {most[index]:g}, and the bounds are "
            f"{low[index]:g} and {high[index]:g}, which edgedst's actor reaches. Name the environment that it was "
            "trained in with `--env`, say `--actions normalized` where its -1 and 1 mean the bounds, or export it "
            "without its Clip."
        )


def meant(output: Output, typed: str | None) -> Output:
    """The output as the user says that it is meant.

    Raises:
        ConfigError: `typed` is no meaning.
    """
    if typed is not None and typed not in MEANINGS:
        raise ConfigError(f"`--actions {typed}` is unknown. Expected {' or '.join(MEANINGS)}.")
    return output if typed is None else replace(output, meaning=typed)


def _rescaled(model: Model, layers: list[Dense], scale: DoubleArray, offset: DoubleArray) -> list[Dense]:
    """The same network with `scale * z + offset` for its z; log sigma, of the actions' own scale, stays."""
    last, m = layers[-1], model.action_size
    weight, bias = last.weight.astype(np.float64), last.bias.astype(np.float64)
    weight[:m] *= scale[:, None]
    bias[:m] = bias[:m] * scale + offset
    return [*layers[:-1], Dense(weight.astype(np.float32), bias.astype(np.float32))]
