"""PyTorch's contender learns once a step, and acts in the environment's units."""

import numpy as np
import pytest

pytest.importorskip("torch")

from edgedst.config import TrainConfig  # behind importorskip
from edgedst.profile.versus_dense import Training  # likewise


def test_training_updates_once_a_step_behind_the_random_ones():
    config = TrainConfig(env="Pendulum-v1", method="td3", hidden=(8,), batch_size=4, start_steps=190)
    training = Training(config, rows=1000)
    ends = [step for step in range(1, 211) if training.step()]
    assert ends == [200]  # Pendulum's time limit
    assert training.update.count == 20
    assert training.replay.added == 210
    assert training.replay.not_done.min() == 0.0  # rows that are not filled yet
    assert training.replay.not_done[:210].min() == 1.0  # a time limit is no end of the task
    training.act()
    assert np.abs(training.action).max() <= 2.0  # Pendulum's units
