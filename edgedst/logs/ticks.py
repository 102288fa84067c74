"""What every kind of log is read as: ticks, some thousand at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgedst.logs.columns import Columns

BLOCK = 2_048  # ticks in memory at a time

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


class Ticks(NamedTuple):
    """k ticks: what was observed, the action that was then given, what came of it. NaN where a log has no number."""

    place: npt.NDArray[np.int64]  # (k,): where each stands, for `Log.where`
    observation: Floats  # (k, n), in the task's units
    action: Floats  # (k, m), likewise
    reward: Floats  # (k,)
    terminated: Truths  # (k,)
    truncated: Truths  # (k,)
    begins: Truths  # (k,): is of another episode than the tick before
    time: Floats  # (k,), seconds

    def part(self, start: int, stop: int | None = None) -> Ticks:
        """Some of them."""
        return Ticks._make(values[start:stop] for values in self)

    def then(self, other: Ticks) -> Ticks:
        """These and others behind them."""
        return Ticks._make(np.concatenate(pair) for pair in zip(self, other, strict=True))


class Log(Protocol):
    """A log of some kind."""

    source: str  # it, for sentences
    columns: Columns  # which of the optional ones it has

    def ticks(self) -> Iterator[Ticks]:
        """All of them in their order, at most some BLOCK at a time."""

    def where(self, place: int) -> str:
        """A tick's place, for sentences."""


def split(columns: Columns, place: Any, values: Floats, terminated: Truths, truncated: Truths, begins: Truths) -> Ticks:
    """Ticks from a table's numbers: (k, columns) observations, actions, reward and time, in this order.

    The last two are there only where `columns` has them.
    """
    n, m = len(columns.observation), len(columns.action)
    absent = np.full(len(values), np.nan)
    reward = absent if columns.reward is None else values[:, n + m]
    time = absent if columns.time is None else values[:, -1]
    place = np.asarray(place, np.int64)
    return Ticks(place, values[:, :n], values[:, n : n + m], reward, terminated, truncated, begins, time)
