"""PyTorch's contender learns as often as edgedst's, and acts in the environment's units."""

import numpy as np
import pytest

pytest.importorskip("torch")

from edgedst.config import TrainConfig  # behind importorskip
from edgedst.profile.versus_dense import Training  # likewise


@pytest.mark.parametrize("updates", [1, 3])
def test_training_updates_at_each_step_behind_the_random_ones(updates):
    settings = {"hidden": (8,), "batch_size": 4, "start_steps": 190, "updates_per_step": updates}
    config = TrainConfig(env="Pendulum-v1", method="td3", **settings)
    training = Training(config, rows=1000)
    ends = [step for step in range(1, 211) if training.step()]
    assert ends == [200]  # Pendulum's time limit
    assert training.update.count == 20 * updates
    assert training.replay.added == 210
    assert training.replay.not_done.min() == 0.0  # rows that are not filled yet
    assert training.replay.not_done[:210].min() == 1.0  # a time limit is no end of the task
    training.act()
    assert np.abs(training.action).max() <= 2.0  # Pendulum's units
