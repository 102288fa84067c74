"""What disturbs a simulator, as numbers from the settings action_delay, observation_noise and randomize.

`envs/disturbed.py` delays and adds noise, the native host multiplies.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

from edgedst.errors import ConfigError
from edgedst.setting import one_line

NAMES = ("action_delay", "observation_noise", "randomize")  # the settings
FACTORS = ("friction", "mass", "gain", "damping")
MOST_DELAY = 1_000  # steps


def in_use(
    action_delay: str = "0", observation_noise: Sequence[float] = (0.0,), randomize: str | None = None
) -> dict[str, Any]:
    """Those that do something, by name of their setting, in values that JSON holds.

    Returns:
        action_delay: [lowest, highest] steps; observation_noise: sigmas, one for all or one an observation; randomize:
        {factor: [lowest, highest]}.

    Raises:
        ConfigError: a text cannot be read, or a range is none.
    """
    found: dict[str, Any] = {}
    delay = _delay(action_delay)
    if delay[1]:
        found["action_delay"] = delay
    if any(observation_noise):
        found["observation_noise"] = list(observation_noise)
    factors = {} if randomize is None or randomize.strip() == "none" else _factors(randomize)
    if factors:
        found["randomize"] = factors
    return found


def _delay(text: str) -> list[int]:
    try:
        low, high = _range(text, int)
        if not 0 <= low <= high <= MOST_DELAY:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"`action_delay` must be a number of steps, such as 2, or a range, such as 0..3, of 0 to {MOST_DELAY:,} "
            f"steps, the lower one first, and is `{one_line(text)}`."
        ) from None
    return [low, high]


def _factors(text: str) -> dict[str, list[float]]:
    ranges: dict[str, list[float]] = {}
    for part in text.split(","):
        name, equals, numbers = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ConfigError(
                f"`randomize` must be like friction=0.5..1.5,mass=0.8..1.2 and has `{one_line(part)}` in it."
            )
        if name not in FACTORS:
            near = difflib.get_close_matches(name, FACTORS, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"Expected one of {', '.join(FACTORS)}."
            raise ConfigError(f"`randomize` knows no `{one_line(name)}`. {hint}")
        if name in ranges:
            raise ConfigError(f"`randomize` has `{name}` twice. Leave one of them out.")
        try:
            low, high = _range(numbers, float)
            if not 0 < low <= high < math.inf:
                raise ValueError
        except ValueError:
            raise ConfigError(
                f"`randomize` must give {name} as a factor above 0, such as {name}=1.1, or as a range, such as "
                f"{name}=0.8..1.2, the lower one first, and has `{one_line(part)}`."
            ) from None
        ranges[name] = [low, high]
    return {name: ranges[name] for name in FACTORS if name in ranges}  # what is drawn does not depend on the order


def _range(text: str, number: type) -> tuple[Any, Any]:
    """`LO..HI`, or one number as both; ValueError where it is neither."""
    low, dots, high = text.partition("..")
    return number(low), number(high if dots else low)
