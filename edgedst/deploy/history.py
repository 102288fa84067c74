"""What an actor with a history remembers between two steps; `export/runner/` and the exported C have the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.runs.actor import ActorWeights, FloatArray


class History:
    """The last K observations, then the last K actions, each newest first, in the environment's units.

    Before an episode there were its first observation, again and again, and the start action.

    Args:
        steps: K, at least 1.
        observation_size: n.
        start_action: (m,) the middle of the actions' bounds.
    """

    def __init__(self, steps: int, observation_size: int, start_action: npt.ArrayLike) -> None:
        start = np.asarray(start_action, dtype=np.float32)
        self._observations = np.zeros((steps, observation_size))
        self._start = np.tile(start, (steps, 1)).astype(np.float64)
        self._actions = self._start.copy()
        self._begun = False

    @staticmethod
    def of(weights: ActorWeights) -> History | None:
        """That of an actor; None: it has none."""
        if not weights.history:
            return None
        return History(weights.history, weights.observation_size, weights.start_action)

    def reset(self) -> None:
        """Forget all: the next observation is an episode's first."""
        self._begun = False

    def push(self, observation: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Remember an observation, (n,); returns the (N,) features for the actor."""
        row = np.asarray(observation, dtype=np.float64)
        if not self._begun:
            self._observations[:] = row
            self._actions[:] = self._start
            self._begun = True
        self._observations[1:] = self._observations[:-1].copy()
        self._observations[0] = row
        return np.concatenate([self._observations.ravel(), self._actions.ravel()])

    def acted(self, action: npt.ArrayLike) -> None:
        """Remember the action for the observation that came last."""
        self._actions[1:] = self._actions[:-1].copy()
        self._actions[0] = action

    def applied(self, action: npt.ArrayLike) -> None:
        """The action that came last was not applied, but this one."""
        self._actions[0] = action


def play(
    observations: FloatArray, episode: int, history: History, act: Callable[[FloatArray], FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Act on observations one after the other, of which every `episode` ones are an episode.

    Args:
        observations: (rows, n).
        episode: rows of one.
        history: that of the actor.
        act: (N,) features to (m,) an action.

    Returns:
        (rows, N) features and (rows, m) actions.
    """
    features, actions = [], []
    for row, observation in enumerate(observations):
        if row % episode == 0:
            history.reset()
        features.append(history.push(observation).astype(np.float32))
        actions.append(act(features[-1]))
        history.acted(actions[-1])
    stacked: tuple[Any, Any] = np.array(features, dtype=np.float32), np.array(actions, dtype=np.float32)
    return stacked
