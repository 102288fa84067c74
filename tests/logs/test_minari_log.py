"""A data set that Minari itself has made here, where minari is installed."""

import gymnasium
import numpy as np
import pytest
from logs_read import BEGINS, TERMINATED, TRUNCATED, records

from edgedst.errors import LogError
from edgedst.logs.columns import Task

h5py = pytest.importorskip("h5py", reason="h5py is not installed (the extra `minari`)")
minari = pytest.importorskip("minari", reason="minari is not installed (the extra `minari`)")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

TASK = Task("Arm-v0", 2, 1, (-2.0,), (2.0,))
ENDS = [(True, False), (False, True)]  # terminated, truncated: of two episodes


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a data set; returns its id and its episodes."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def make(observations, actions):
        from minari.data_collector import EpisodeBuffer

        buffers = []
        for terminated, truncated in ENDS:
            count = 3
            buffers.append(
                EpisodeBuffer(
                    observations=np.stack([observations.sample() for _ in range(count + 1)]),
                    actions=np.stack([actions.sample() for _ in range(count)]),
                    rewards=[1.0, 2.0, 3.0],
                    terminations=[False, False, terminated],
                    truncations=[False, False, truncated],
                )
            )
        minari.create_dataset_from_buffers(
            "edgedst/arm-v0", buffers, observation_space=observations, action_space=actions
        )
        return buffers

    return make


def test_its_episodes_are_transitions(made):
    low = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    episodes = made(low, gymnasium.spaces.Box(-2, 2, (1,), np.float32))
    found, told = records("minari:edgedst/arm-v0", TASK)
    expected = []
    for episode, (terminated, _) in zip(episodes, ENDS, strict=True):
        observations = np.asarray(episode.observations, np.float64).tolist()
        expected.append((BEGINS, 0.0, [0.0], observations[0]))
        last = TERMINATED if terminated else TRUNCATED
        for i, flags in enumerate((0, 0, last)):
            action = [float(np.float32(float(episode.actions[i][0]) / 2))]
            expected.append((flags, i + 1.0, action, observations[i + 1]))
    assert found == expected
    assert (told["transitions"], told["notes"]) == (6, [])


def test_discrete_actions_and_other_sizes_are_refused(made, tmp_path):
    box = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    made(box, gymnasium.spaces.Discrete(4))
    with pytest.raises(LogError, match=r"has actions of a Discrete space .* TD3 and SAC need continuous actions"):
        records("minari:edgedst/arm-v0", TASK)
    with pytest.raises(LogError, match=r"`minari:edgedst/none-v0` cannot be read .*`minari download edgedst/none-v0`"):
        records("minari:edgedst/none-v0", TASK)


def test_one_that_lacks_a_part_is_told(made, tmp_path):
    made(gymnasium.spaces.Box(-1, 1, (2,), np.float32), gymnasium.spaces.Box(-2, 2, (1,), np.float32))
    (data,) = tmp_path.rglob("*.hdf5")
    with h5py.File(data, "r+") as file:
        del file["episode_1"]["rewards"]
    with pytest.raises(LogError, match=r"`minari:edgedst/arm-v0` cannot be read .*`minari download edgedst/arm-v0`"):
        records("minari:edgedst/arm-v0", TASK)


def test_more_observations_than_the_task_has_are_refused(made):
    made(gymnasium.spaces.Box(-1, 1, (3,), np.float32), gymnasium.spaces.Box(-2, 2, (1,), np.float32))
    with pytest.raises(LogError, match="has a column `observation_2` and Arm-v0 has 2 observations"):
        records("minari:edgedst/arm-v0", TASK)
