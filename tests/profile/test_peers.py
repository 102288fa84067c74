"""Peers get the task and the settings of edgedst's contenders, and learn as often."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from edgedst.config import TrainConfig
from edgedst.errors import ProfileError
from edgedst.profile.contenders import failure
from edgedst.profile.peers import RLtools, Sbx, StableBaselines3, environment, main


def settings(method, **values):
    config = TrainConfig(env="Pendulum-v1", method=method, batch_size=4, **{"hidden": (8, 8), **values}).resolved()
    return SimpleNamespace(**config.settings())


def test_a_peer_has_the_task_with_its_arguments_and_its_time_limit():
    env = environment(settings("td3", env_kwargs={"g": 5.0}, max_episode_steps=50))
    assert (env.unwrapped.g, env.spec.max_episode_steps) == (5.0, 50)


@pytest.mark.parametrize("peer", [StableBaselines3, Sbx])
def test_stable_baselines_learns_with_the_settings_of_the_others(peer):
    pytest.importorskip(peer.package, reason="an extra")
    own = {"learning_rate": 2e-3, "gamma": 0.9, "tau": 0.01, "exploration_noise": 0.3, "policy_delay": 3}
    noises = {"target_policy_noise": 0.4, "target_noise_clip": 0.7}
    config = settings("td3", hidden=(8, 4), start_steps=190, updates_per_step=3, seed=7, **own, **noises)
    trained = peer(config, 1000, lambda: environment(config))
    trained.train(190)
    assert trained.update.count == 0
    trained.train(20)
    assert (trained.update.count, trained.model._n_updates) == (20, 60)  # three in a call
    model = trained.model
    asked = {**own, **noises, "batch_size": 4, "learning_starts": 190, "seed": 7, "buffer_size": 1000}
    del asked["exploration_noise"]
    assert {name: getattr(model, name) for name in asked} == asked
    assert model.action_noise._sigma == pytest.approx([0.3])
    assert model.policy_kwargs["net_arch"] == [8, 4]
    assert model.replay_buffer.pos == 210
    trained.act()
    assert np.abs(trained.action).max() <= 2.0  # Pendulum's units


@pytest.mark.parametrize(("tuning", "ent_coef"), [("automatic", "auto"), ("fixed", 0.3)])
def test_stable_baselines_has_the_temperature_of_the_others(tuning, ent_coef):
    pytest.importorskip("stable_baselines3", reason="an extra")
    config = settings("sac", alpha=0.3, alpha_tuning=tuning)
    assert StableBaselines3(config, 1000, lambda: environment(config)).model.ent_coef == ent_coef


def test_rltools_has_layers_of_one_width_and_an_update_a_step():
    pytest.importorskip("rltools", reason="an extra")
    for wrong, words in (
        ({"hidden": (8, 4)}, "layers have one width"),
        ({"updates_per_step": 2}, "updates once a step"),
    ):
        config = settings("td3", **wrong)
        with pytest.raises(ProfileError, match=words):
            RLtools(config, 1000, lambda config=config: environment(config))


def test_a_peer_that_lacks_a_package_is_told_with_its_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    job = {"peer": "sb3", "config": vars(settings("sac")), "profile": {"replay_rows": 1000}}
    monkeypatch.setattr(sys, "argv", [json.dumps(job)])
    error = failure("the sb3 contender", main(), capsys.readouterr().err)
    assert isinstance(error, ProfileError)
    assert "stable_baselines3" in str(error)
    assert str(error).endswith(": `pip install 'edgedst[sb3]'`. That was said by the sb3 contender.")
