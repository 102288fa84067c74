"""What a few repeats say: mean, median and spread of a figure, and how far a ratio of two can be trusted.

A standard deviation is the sample's, over n - 1: repeats, seeds and samples stand for all that could have been drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

INTERVAL = "95 % t-interval of the mean log ratio over the repeats (paired by round)"

# Student's t, two-sided 95 %, for 1, 2, 3 ... degrees of freedom.
_T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); a single value has none."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def stat(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Median, least and greatest of one value a repeat; None where a repeat has none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return {"median": median(known), "low": min(known), "high": max(known), "values": known}


def ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> dict[str, Any] | None:
    """Median of the rounds' ratios, and the ends of its interval (`INTERVAL`); those are None below two rounds.

    None where a round lacks a value, or has one that is not above 0: then there is no ratio to speak of. Pairing by
    round takes out what slows a whole round down.
    """
    pairs = list(zip(ours, theirs, strict=True))
    ratios = [a / b for a, b in pairs if a is not None and b is not None and a > 0 and b > 0]
    if not ratios or len(ratios) < len(pairs):
        return None
    low, high = log_interval(ratios)
    return {"median": median(ratios), "low": low, "high": high}


def log_interval(ratios: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Ends of the 95 % t-interval of the mean log, as ratios again."""
    count = len(ratios)
    mean, sd = mean_and_sd([math.log(value) for value in ratios])
    if sd is None:
        return None, None
    half = t_95(count - 1) * sd / math.sqrt(count)
    return math.exp(mean - half), math.exp(mean + half)


def t_95(degrees: int) -> float:
    """The quantile of Student's t that a share of 0.975 stays below."""
    if degrees <= len(_T_95):
        return _T_95[degrees - 1]
    z = 1.959964
    # Cornish-Fisher: right to 1e-4 from 30 degrees on.
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
