"""PyTorch's contender, a process of its own: `torch_learners` on Gymnasium, as anyone would train them."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from edgedst.density import family
from edgedst.profile import window
from edgedst.torch_learners import LEARNERS, VERSION, Floats, Replay


class Training:
    """Trains on a Gymnasium environment, a step at a time.

    Args:
        config: the settings of a TrainConfig; `start_steps` are uniformly random, updates follow them.
        rows: of the replay.
    """

    def __init__(self, config: Any, rows: int) -> None:
        self.config = config
        self.env = gymnasium.make(config.env)
        space = self.env.action_space
        self.n, self.m = int(np.prod(self.env.observation_space.shape)), int(np.prod(space.shape))
        self.low, self.range = space.low.ravel(), (space.high - space.low).ravel()
        self.replay = Replay(rows, self.n, self.m)
        self.learner = LEARNERS[family(config.method)](config, self.n, self.m, self.replay)
        self.update = window.Timer(self.learner.update)
        self.steps_done = 0
        self.env.action_space.seed(config.seed)
        self.observation = self.env.reset(seed=config.seed)[0].ravel()

    def step(self) -> bool:
        """Act, remember, learn; whether an episode ended."""
        learns = self.steps_done >= self.config.start_steps
        if learns:
            action = self.learner.explore(self.observation)
        else:
            action = self.learner.rng.uniform(-1, 1, self.m).astype(np.float32)
        next_observation, reward, terminated, truncated, _ = self.env.step(self._scaled(action))
        next_observation = next_observation.ravel()
        self.replay.add(self.observation, action, next_observation, float(reward), terminated)
        ended = bool(terminated or truncated)
        self.observation = self.env.reset()[0].ravel() if ended else next_observation
        for _ in range(self.config.updates_per_step if learns else 0):
            self.update()
        self.steps_done += 1
        return ended

    def train(self, steps: int) -> None:
        """Go on by so many steps."""
        for _ in range(steps):
            self.step()

    def act(self) -> None:
        """One action without noise, in the environment's units."""
        self.action = self._scaled(self.learner.act(self.observation))

    def advance(self) -> None:
        """Take that action; nothing is remembered or learned."""
        observation, _, terminated, truncated, _ = self.env.step(self.action)
        self.observation = (self.env.reset()[0] if terminated or truncated else observation).ravel()

    def _scaled(self, action: Floats) -> NDArray[Any]:
        space = self.env.action_space
        scaled: NDArray[Any] = (self.low + (action + 1) / 2 * self.range).astype(space.dtype).reshape(space.shape)
        return scaled


def main() -> int:
    """Be the contender that the JSON in sys.argv[-1] asks for: `config`, `profile` (see `window.measure`)."""
    job = json.loads(sys.argv[-1])
    goal = job["profile"]
    training = Training(SimpleNamespace(**job["config"]), goal["replay_rows"])
    training.config.start_steps = window.RANDOM_STEPS
    training.train(window.RANDOM_STEPS + window.WARM_UP_STEPS)
    measured = window.measure(training, goal)
    window.tell(
        {
            **measured,
            "version": VERSION,
            "observation_size": training.n,
            "action_size": training.m,
            "connections": training.learner.connections,
            "replay_row_bytes": training.replay.row_bytes,
            "replay_rows": goal["replay_rows"],
            "filled_rows": min(training.replay.added, goal["replay_rows"]),
        }
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
