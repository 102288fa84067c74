"""Columns of metrics.jsonl in bounded memory: what a board that trains can spare, and more than a screen has pixels."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from edgedst.runs.metrics import is_number

MOST_ROWS = 2000  # of a series; when there are so many, neighbours become one

_SUMS = ("missed_periods",)
_MEANS = ("evaluation_return", "episode_return", "updates_per_step", "rate_kept_hz")  # of others the last one counts


class Series:
    """Rows of some columns. Where there are too many, each stands for `each` lines: their mean, sum or last value.

    Args:
        columns: keys of a line.
    """

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.each = 1
        self.rows: list[array[float]] = []
        self._open: list[array[float]] = []  # lines of a row that is not whole yet

    def add(self, line: dict[str, Any]) -> None:
        """Take a line of metrics.jsonl; what is no number in it is left out."""
        values = (line.get(name) for name in self.columns)
        self._open.append(array("d", (float(value) if is_number(value) else math.nan for value in values)))
        if len(self._open) < self.each:
            return
        self.rows.append(self._one(self._open))
        self._open = []
        if len(self.rows) == MOST_ROWS:
            self.rows = [self._one(pair) for pair in zip(self.rows[::2], self.rows[1::2], strict=True)]
            self.each *= 2

    def _one(self, rows: Sequence[array[float]]) -> array[float]:
        if len(rows) == 1:
            return rows[0]
        return array("d", (_joined(name, [row[at] for row in rows]) for at, name in enumerate(self.columns)))

    def column(self, name: str) -> list[float]:
        """One column, NaN where a line did not have it."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]


def _joined(name: str, values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return math.nan
    if name in _SUMS:
        return sum(known)
    return sum(known) / len(known) if name in _MEANS else known[-1]


def thinned(values: Sequence[float], most: int) -> list[float]:
    """Means of neighbours, so that no more than `most` are left."""
    each = -(-len(values) // most) or 1
    parts = (values[at : at + each] for at in range(0, len(values), each))
    return [sum(part) / len(part) for part in parts]
