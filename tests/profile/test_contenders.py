"""Who is measured against whom, and what is refused before anything is measured."""

import importlib.util
import json
import re

import pytest
from typer.testing import CliRunner

from edgedst.cli import verbs
from edgedst.config import TrainConfig
from edgedst.errors import ConfigError, ProfileError
from edgedst.profile.contenders import contenders, peer_command


def resolved(method, **settings):
    return TrainConfig(method=method, **settings).resolved()


@pytest.fixture
def without_peers(monkeypatch):
    """None is installed but SBX."""
    there = {"stable_baselines3": None, "rltools": None, "sbx": "found"}
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: there[name] if name in there else find(name))


@pytest.mark.parametrize(("method", "dense"), [("ds-td3", "td3"), ("static-sac", "sac")])
def test_dense_is_the_same_family_with_the_same_settings(method, dense):
    made, missing = contenders(resolved(method, seed=3, threads=2, hidden=(64, 32)), ["dense"])
    assert [(each.name, each.engine, each.config.method) for each in made] == [
        ("sparse", "edgedst", method),
        ("dense", "edgedst", dense),
    ]
    sparse, other = (each.config.settings() for each in made)
    assert {name for name in sparse if sparse[name] != other[name]} == {"method"}
    assert not missing


def test_peers_that_are_not_installed_are_told_and_the_others_go_on(without_peers):
    made, missing = contenders(resolved("ds-sac"), ["sb3", "sbx", "rltools"])
    assert [(each.name, each.label, each.config.method) for each in made] == [
        ("sparse", "edgedst DS-SAC", "ds-sac"),
        ("sbx", "SBX SAC", "sac"),
    ]
    assert missing == [
        "Stable-Baselines3 is not installed, so nothing is compared with it: `pip install 'edgedst[sb3]'`.",
        "RLtools is not installed, so nothing is compared with it: `pip install 'edgedst[rltools]'`.",
    ]


def test_missing_peers_are_an_error_where_nobody_else_was_named(without_peers):
    with pytest.raises(ProfileError, match=r"Stable-Baselines3 is not installed.*RLtools is not installed"):
        contenders(resolved("ds-td3"), ["sb3", "rltools"])


@pytest.mark.parametrize(
    ("method", "against", "words"),
    [
        ("td3", ["dense"], r"`method` is td3, which is dense.*Choose `--method ds-td3` or `--method static-td3`"),
        ("sac", ["sb3"], r"Choose `--method ds-sac` or `--method static-sac`"),
        ("ds-td3", ["sparse"], r"`--against sparse` is the contender itself: name .* of dense, sb3, sbx, rltools\."),
        ("ds-td3", ["dense", "ds-td3"], r"`--against ds-td3` is the contender itself"),
        ("ds-td3", ["jax"], r"`--against` must be of dense, sb3, sbx, rltools and has `jax`\."),
        ("ds-td3", [], r"names nobody.*: name some of dense, sb3, sbx, rltools\."),
    ],
)
def test_contenders_that_make_no_comparison_are_refused(method, against, words):
    with pytest.raises(ConfigError, match=words):
        contenders(resolved(method), against)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"init_from": "runs/x"}, "trains from nothing: leave `init_from` out"),
        ({"critic_warmup": 100}, "trains from nothing: leave `critic_warmup` out"),
        ({"updates_per_step": 0.25}, "`updates_per_step` is 1/4: most steps have none. Give `--updates-per-step 1`"),
        ({"action_delay": "1"}, "`action_delay` is edgedst's own"),
        ({"n_steps": 3}, "`n_steps` is edgedst's own"),
        ({"batch_norm": True}, "`batch_norm` is edgedst's own"),
        ({"history": 2}, "`history` is edgedst's own.*`--against dense`"),
        ({"normalize_observations": True}, "`normalize_observations` is edgedst's own"),
    ],
)
def test_what_a_contender_does_without_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        contenders(resolved("ds-td3", **settings), ["dense", "sbx"])


@pytest.mark.parametrize("settings", [{"env": "arm.py"}, {"env": "arm:Arm-v0", "hardware": True}])
def test_a_machine_is_not_moved_contender_by_contender(settings):
    config = resolved("ds-sac", hidden=(64, 32), lambda2=16.0, **settings)
    with pytest.raises(ConfigError, match=r"each would move the machine of `.*arm") as refusal:
        contenders(config, ["dense"])
    advice = re.search(r"for example `edgedst profile (.*)` \(4 observations, 1 action\)", str(refusal.value))[1]
    assert advice == "--env InvertedPendulum-v4 --method ds-sac --hidden 64,32 --lambda2 16"


def test_the_command_refuses_a_machine_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arm.py").write_text("raise SystemExit('imported')\n")
    config = TrainConfig(env="arm.py", method="ds-sac").resolved().toml()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(config)
    before = sorted(tmp_path.rglob("*"))
    for typed in (["--env", "arm.py", "--json", "told.json"], ["run"]):
        done = CliRunner().invoke(verbs.app, ["profile", *typed])
        assert isinstance(done.exception, ConfigError)
        assert f"would move the machine of `{tmp_path / 'arm.py'}`" in str(done.exception)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("threads", [1, 2])
def test_a_peer_gets_the_threads_and_settings_of_the_others(threads):
    command, variables = peer_command("sbx", resolved("td3", threads=threads), {"steps": 10})
    assert "from edgedst.profile.peers import main" in command[-2]
    assert json.loads(command[-1])["config"]["threads"] == threads
    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == str(threads)
    assert ("xla_cpu_multi_thread_eigen=false" in variables.get("XLA_FLAGS", "")) == (threads == 1)
