"""A log as one of Minari's data sets on this machine. minari is named here only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import minari
import numpy as np

from edgedst.errors import LogError
from edgedst.logs.columns import OTHERS, Task, matched
from edgedst.logs.ticks import Ticks


class MinariLog:
    """Read episode by episode.

    Args:
        name: the data set's id.
        task: that it has to fit.

    Raises:
        LogError: it is not here, or its spaces are not those of the task.
    """

    def __init__(self, name: str, task: Task) -> None:
        self.source, self._name = f"`minari:{name}`", name
        self._starts: list[int] = []  # of each episode, in ticks of all
        with self._reading():
            self._data = minari.load_dataset(name)
        names = [f"{kind}_{i}" for kind in ("observation", "action") for i in range(self._size(kind, task))]
        self.columns = matched([*names, *OTHERS[:-1]], task, self.source)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except ModuleNotFoundError:
            raise
        except Exception as error:  # of another kind for each thing that may be wrong with it
            words = " ".join(str(error).split())[:200].rstrip(".")
            raise LogError(
                f"{self.source} cannot be read ({words}). `minari list local` shows what is here, `minari download "
                f"{self._name}` fetches it."
            ) from error

    def _episodes(self) -> Iterator[Any]:
        with self._reading():
            yield from self._data.iterate_episodes()

    def where(self, place: int) -> str:
        """Episode and step, from 0 on, as Minari counts."""
        episode = bisect_right(self._starts, place) - 1
        return f"step {place - self._starts[episode]:,} of episode {episode:,}"

    def ticks(self) -> Iterator[Ticks]:
        """See `Log.ticks`. An episode's last tick is an observation alone."""
        start = 0
        for episode in self._episodes():
            self._starts.append(start)
            observation = np.asarray(episode.observations, np.float64)
            observation = observation.reshape(len(observation), -1)
            count = len(observation)
            begins = np.zeros(count, bool)
            begins[:1] = True
            yield Ticks(
                np.arange(start, start + count),
                observation,
                _behind(episode.actions, count, np.nan),
                _behind(episode.rewards, count, np.nan)[:, 0],
                _behind(episode.terminations, count, 0)[:, 0] > 0,
                _behind(episode.truncations, count, 0)[:, 0] > 0,
                begins,
                np.full(count, np.nan),
            )
            start += count

    def _size(self, kind: str, task: Task) -> int:
        """Of its observations or actions.

        Raises:
            LogError: they are no Box of numbers.
        """
        space: Any = getattr(self._data, f"{kind}_space")
        if type(space).__name__ != "Box":
            advice = "Flatten it first." if kind == "observation" else "TD3 and SAC need continuous actions."
            raise LogError(
                f"{self.source} has {kind}s of a {type(space).__name__} space ({str(space)[:100]}), and a Box of "
                f"numbers was expected, as {task.name} has. {advice}"
            )
        return int(np.prod(space.shape))


def _behind(values: Any, count: int, fill: float) -> Any:
    """(count, size): what an episode has one less of than of observations, the last row filled."""
    given = np.asarray(values, np.float64)
    whole = np.full((count, int(np.prod(given.shape[1:]))), fill)
    whole[: len(given)] = given.reshape(len(given), -1)
    return whole
