"""Which spaces TD3 and SAC can use. Each refusal gives the reason, and advice that works in Gymnasium 1."""

from typing import Any

import gymnasium
import numpy as np

from edgedst.errors import UnsupportedSpace


def check_observations(env_id: str, space: Any) -> None:
    """Observations are a Box of numbers.

    Raises:
        UnsupportedSpace: they are not.
    """
    _refuse_foreign(env_id, "observation_space", space)
    if not isinstance(space, gymnasium.spaces.Box):
        advice = "Give it an observation_space that is a Box."
        if space.is_np_flattenable:
            advice = (
                "Register it again, flattened: `gymnasium.register('Flat-v0', lambda: gymnasium.wrappers."
                f"FlattenObservation(gymnasium.make({env_id.rpartition(':')[2]!r})))`."
            )
        raise UnsupportedSpace(
            f"{env_id} observes a {type(space).__name__} space ({str(space)[:100]}), and a Box of numbers was "
            f"expected. {advice}"
        )
    if not np.prod(space.shape):
        raise UnsupportedSpace(f"{env_id} observes nothing: its observation_space has shape {space.shape}.")


def check_actions(env_id: str, space: Any) -> None:
    """Actions are a Box of floats, whose bounds leave float32 something to choose.

    Raises:
        UnsupportedSpace: they are not.
    """
    _refuse_foreign(env_id, "action_space", space)
    if not isinstance(space, gymnasium.spaces.Box):
        raise UnsupportedSpace(
            f"{env_id} takes actions from a {type(space).__name__} space ({str(space)[:100]}). TD3 and SAC need "
            "continuous actions, a Box of floats: choose an environment with one."
        )
    if space.dtype.kind != "f":
        raise UnsupportedSpace(
            f"{env_id} takes actions from a Box of {space.dtype}, which are whole numbers, and TD3 and SAC give "
            "fractions. Give it a Box of float32, and round in its step."
        )
    if not np.prod(space.shape):
        raise UnsupportedSpace(f"{env_id} has no actions: its action_space has shape {space.shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        ranges = np.subtract(space.high, space.low, dtype=np.float32, casting="same_kind").ravel()
    other_bounds = (
        "Give its action_space the bounds that are meant, in its class or with `gymnasium.wrappers.TransformAction("
        f"env, lambda action: action, gymnasium.spaces.Box(-1.0, 1.0, {space.shape}))`."
    )
    for index, (low, high) in enumerate(zip(space.low.ravel(), space.high.ravel(), strict=True)):
        bounds = f"{env_id} has actions from {low!s} to {high!s} at index {index}"
        if not (np.isfinite(low) and np.isfinite(high)):
            raise UnsupportedSpace(
                f"{bounds}, and finite bounds were expected: the actor's output is scaled to them. {other_bounds}"
            )
        if not np.isfinite(ranges[index]):
            raise UnsupportedSpace(
                f"{bounds}, a range that float32 cannot hold, in which actors compute. {other_bounds}"
            )
        if not ranges[index] > 0:
            raise UnsupportedSpace(
                f"{bounds}, and low < high was expected, in float32 too. Leave that action out of the action_space, or "
                "set its bounds apart."
            )


def _refuse_foreign(env_id: str, attribute: str, space: Any) -> None:
    if not isinstance(space, gymnasium.spaces.Space):
        raise UnsupportedSpace(
            f"{env_id}'s {attribute} is a {type(space).__name__} of `{type(space).__module__}`, and a space of "
            "`gymnasium.spaces` was expected. Spaces of the old package gym do not serve: import gymnasium's."
        )
