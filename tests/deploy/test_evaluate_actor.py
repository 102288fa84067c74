"""Returns of a run and of its exported file, on an environment small enough to add up by hand."""

import numpy as np
import pytest

from edgedst.deploy.checkpoint import read_actor
from edgedst.deploy.evaluate import evaluate
from edgedst.deploy.onnx import build_model
from edgedst.errors import CheckpointError, ConfigError


class FakeEnvironment:
    """Reward = sum of the action; ends after 5 steps; the observation counts seed and steps."""

    def __init__(self, observation_size=3):
        self.observation_size, self.action_size = observation_size, 2
        self._buffer = np.zeros(observation_size)
        self.observation = memoryview(self._buffer)

    def reset(self, seed):
        self._buffer[:] = [seed, 0.0, 1.0]

    def step(self, action):
        self._buffer[1] += 1
        return float(sum(action)), False, self._buffer[1] == 5


@pytest.fixture
def registry(monkeypatch):
    environment = FakeEnvironment()
    monkeypatch.setattr("edgedst.envs.registry.locate", lambda env_id: {"env": env_id})
    monkeypatch.setattr("edgedst.envs.registry.make", lambda spec: environment)
    return environment


@pytest.mark.parametrize("source", ["native", "onnxruntime"])
def test_returns_add_up_from_a_run_and_from_an_exported_file(run, tmp_path, reference, registry, source):
    actor = read_actor(run)
    target = run
    if source == "onnxruntime":
        target = tmp_path / "actor.onnx"
        target.write_bytes(build_model(actor).SerializeToString())
    result = evaluate(target, episodes=3, seed=4)
    obs = np.array([[[seed, step, 1.0] for step in range(5)] for seed in (4, 5, 6)])
    expected = reference(actor, obs).sum(axis=(1, 2))
    assert result.source == source
    assert result.lengths == (5, 5, 5)
    np.testing.assert_allclose(result.returns, expected, atol=5e-5)  # 10 actions a return, each good to 4e-6
    assert result.mean == pytest.approx(np.mean(result.returns))
    assert result.sd == pytest.approx(np.std(result.returns))


def test_an_actor_that_does_not_fit_the_environment_is_refused(run, tmp_path, registry):
    target = tmp_path / "actor.onnx"
    target.write_bytes(build_model(read_actor(run)).SerializeToString())
    registry.observation_size = 11
    with pytest.raises(CheckpointError, match=r"takes 3 observations and gives 2 actions; .* has 11 and 2 here"):
        evaluate(target)


def test_a_foreign_onnx_file_is_refused(run, tmp_path):
    model = build_model(read_actor(run))
    del model.metadata_props[:]
    (tmp_path / "foreign.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="was not exported by edgedst"):
        evaluate(tmp_path / "foreign.onnx")


def test_bad_arguments_are_sentences(run, tmp_path):
    with pytest.raises(ConfigError, match="`--episodes` is 0"):
        evaluate(run, episodes=0)
    with pytest.raises(CheckpointError, match="There is no file"):
        evaluate(tmp_path / "missing.onnx")
