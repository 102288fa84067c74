"""How quantities are written, on pages and in terminals: rounded, with a unit that never stands on a line alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Unit:
    """How a quantity is written, and how it follows from the value that a file has of it."""

    text: Callable[[float], str]
    of: Callable[[float], float] = float

    def __call__(self, value: float) -> str:
        """Text of the file's value."""
        return self.text(self.of(value))


def significant(value: float, digits: int = 3) -> str:
    """Rounded to so many digits, never fewer than stand before the point: 0.0123, 1.23, 1,234."""
    if value == 0:
        return "0"
    return fixed(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def fixed(value: float, decimals: int) -> str:
    """With so many decimals, and a real minus sign."""
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def with_sd(mean: float, sd: float | None, decimals: int) -> str:
    """A mean and its standard deviation, where there is one."""
    return fixed(mean, decimals) + (f" ± {fixed(sd, decimals)}" if sd is not None else "")


def short(value: float) -> str:
    """A round number, as an axis has it."""
    text = f"{value:,.10g}" if 1e-4 < abs(value) < 1e9 or value == 0 else f"{value:g}"
    return text.replace("-", "\N{MINUS SIGN}")


def thousands(count: float) -> str:
    """A round count, such as steps: 500, 20k, 1.5M."""
    if count >= 1_000_000:
        return f"{count / 1e6:g}M"
    return f"{count / 1000:g}k" if count >= 1000 else f"{count:g}"


def _in(unit: str) -> Unit:
    return Unit(lambda value: f"{significant(value)}{_SPACE}{unit}")


def _with(unit: str, scale: float, decimals: int, smaller: Callable[[float], str] | None = None) -> Unit:
    """So many decimals, that columns align; what would round to nothing is written as `smaller` says."""

    def text(value: float) -> str:
        if smaller and abs(value) < scale / 10**decimals:
            return smaller(value)
        return f"{fixed(value / scale, decimals)}{_SPACE}{unit}"

    return Unit(text)


def _size(count: float) -> str:
    for scale, unit, decimals, least in ((1e9, "GB", 2, 1e9), (1e6, "MB", 1, 1e5)):
        if count >= least:
            return f"{fixed(count / scale, decimals)}{_SPACE}{unit}"
    return f"{fixed(count, 0)}{_SPACE}bytes"


def _joules(joules: float) -> str:
    scale, unit = (1e3, "kJ") if joules >= 10_000 else (1, "J")
    return f"{significant(joules / scale)}{_SPACE}{unit}"


def _change(ratio: float) -> str:
    percent = f"{100 * abs(1 - ratio):.0f}"
    if percent == "0":
        return "as much"
    if ratio >= 2:
        return f"{significant(ratio, 2)} times as much"
    return f"{percent}{_SPACE}% {'less' if ratio < 1 else 'more'}"


PLAIN = Unit(lambda value: f"{value:,}" if isinstance(value, int) else significant(value), lambda value: value)
COUNT = Unit(lambda value: fixed(value, 0))
LOAD = Unit(lambda value: fixed(value, 2))
RATIO = Unit(lambda value: significant(value, 2) if value < 0.1 else fixed(value, 2))
CHANGE = Unit(_change)  # a ratio in words
SIZE = Unit(_size)  # of bytes
LINE_SIZE = _with("MB", 1e6, 3, _size)
BUDGET = Unit(lambda value: f"{value:g}{_SPACE}MB")  # given in MB
FLOPS = _with("MFLOP", 1e6, 1, lambda value: f"{fixed(value, 0)}{_SPACE}FLOP")
MILLISECONDS_EACH = Unit(_in("ms").text, lambda per_second: 1000 / per_second)
PER_SECOND, SECONDS, MICROSECONDS, HERTZ = _in("/s"), _in("s"), _in("µs"), _in("Hz")
JOULES, WATTS = Unit(_joules), _with("W", 1, 2)
MEGAHERTZ, CELSIUS = _with("MHz", 1, 0), _with("°C", 1, 1)
