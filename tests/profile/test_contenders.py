"""Who is measured against whom, and what is refused before anything is measured."""

import importlib.util
import json

import pytest

from edgedst.config import TrainConfig
from edgedst.errors import ConfigError, ProfileError
from edgedst.profile.contenders import contenders, torch_command


def resolved(method, **settings):
    return TrainConfig(method=method, **settings).resolved()


@pytest.fixture
def without_torch(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else find(name))


@pytest.mark.parametrize(("method", "dense"), [("ds-td3", "td3"), ("static-sac", "sac")])
def test_dense_is_the_same_family_with_the_same_settings(method, dense):
    made, missing = contenders(resolved(method, seed=3, threads=2, hidden=(64, 32)), ["dense"], named=True)
    assert [(each.name, each.engine, each.config.method) for each in made] == [
        ("sparse", "edgedst", method),
        ("dense", "edgedst", dense),
    ]
    sparse, other = (each.config.settings() for each in made)
    assert {name for name in sparse if sparse[name] != other[name]} == {"method"}
    assert not missing


def test_a_missing_pytorch_is_told(without_torch):
    made, missing = contenders(resolved("ds-td3"), ["dense", "torch"], named=False)
    assert [each.name for each in made] == ["sparse", "dense"]
    assert missing == ["PyTorch is not installed, so nothing is compared with it: `pip install 'edgedst[torch]'`."]


def test_a_missing_pytorch_is_an_error_where_it_was_named(without_torch):
    with pytest.raises(ProfileError, match="PyTorch is not installed"):
        contenders(resolved("ds-td3"), ["torch"], named=True)


@pytest.mark.parametrize(
    ("method", "against", "words"),
    [
        ("td3", ["dense"], r"`method` is td3, which is dense.*Choose `--method ds-td3` or `--method static-td3`"),
        ("sac", ["torch"], r"Choose `--method ds-sac` or `--method static-sac`"),
        ("ds-td3", ["sparse"], r"`--against sparse` is the contender itself: name .* of dense, torch\."),
        ("ds-td3", ["dense", "ds-td3"], r"`--against ds-td3` is the contender itself"),
        ("ds-td3", ["jax"], r"`--against` must be of dense, torch and has `jax`\."),
        ("ds-td3", [], r"names nobody"),
    ],
)
def test_contenders_that_make_no_comparison_are_refused(method, against, words):
    with pytest.raises(ConfigError, match=words):
        contenders(resolved(method), against, named=True)


def test_pytorch_gets_the_threads_and_settings_of_the_others():
    command, variables = torch_command(resolved("td3", threads=2), {"steps": 10})
    assert "from edgedst.profile.versus_dense import main" in command[-2]
    assert json.loads(command[-1])["config"]["threads"] == 2
    assert (variables["OMP_NUM_THREADS"], variables["MKL_NUM_THREADS"]) == ("2", "2")
