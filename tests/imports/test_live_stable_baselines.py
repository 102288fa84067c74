"""Against Stable-Baselines3 itself, where it is installed: models with its defaults, played by both."""

from pathlib import Path

import numpy as np
import pytest

stable_baselines3 = pytest.importorskip(
    "stable_baselines3", reason="Stable-Baselines3 is not installed: pip install stable-baselines3"
)

from edgedst.deploy.evaluate import evaluate  # noqa: E402
from edgedst.errors import ModelError  # noqa: E402
from edgedst.imports.importing import import_model  # noqa: E402


def played_by_it(model, env, episodes):
    """Returns of its own `predict`, episode i from seed i."""
    import gymnasium

    host = gymnasium.make(env)
    returns = []
    for seed in range(episodes):
        observation, _ = host.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = host.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return returns


@pytest.mark.parametrize("algorithm", ["TD3", "SAC"])
@pytest.mark.parametrize("env", ["Asymmetric-v0", "Pendulum-v1"])
def test_a_model_with_its_defaults_earns_the_same(tmp_path, algorithm, env):
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", env, seed=1, learning_starts=20)
    model.learn(60)
    model.save(tmp_path / "model.zip")
    result = import_model(tmp_path / "model.zip", env, run_dir=tmp_path, episodes=2)
    expected = played_by_it(model, env, 2)
    np.testing.assert_allclose(result.original.returns, expected, rtol=1e-3)  # Pendulum takes rounding further
    np.testing.assert_allclose(result.dense.returns, expected, rtol=1e-3)
    assert evaluate(Path(result.folder), 2).returns == result.dense.returns


@pytest.mark.parametrize(
    ("algorithm", "env", "kwargs", "words"),
    [
        ("PPO", "Pendulum-v1", {}, "is a model of PPO or A2C"),
        ("DQN", "CartPole-v1", {}, "is a model of DQN"),
        ("SAC", "Pendulum-v1", {"use_sde": True}, "was trained with use_sde"),
        ("DDPG", "Pendulum-v1", {}, None),
    ],
)
def test_other_models_are_refused_or_said_to_lack_a_critic(tmp_path, algorithm, env, kwargs, words):
    getattr(stable_baselines3, algorithm)("MlpPolicy", env, **kwargs).save(tmp_path / "model.zip")
    told = []

    def imported():
        return import_model(tmp_path / "model.zip", env, run_dir=tmp_path / "runs", episodes=0, tell=told.append)

    if words:
        with pytest.raises(ModelError, match=words):
            imported()
    else:
        assert imported().folder.is_dir()
        assert any(line.startswith("It has 1 critic") for line in told)


def test_another_activation_is_refused(tmp_path):
    import torch

    kwargs = {"policy_kwargs": {"activation_fn": torch.nn.Tanh}}
    stable_baselines3.TD3("MlpPolicy", "Pendulum-v1", **kwargs).save(tmp_path / "model.zip")
    with pytest.raises(ModelError, match="has the activation Tanh"):
        import_model(tmp_path / "model.zip", "Pendulum-v1", run_dir=tmp_path)
