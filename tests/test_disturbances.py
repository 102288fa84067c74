"""What the settings of a disturbed simulator may say."""

import pytest

from edgedst.config import TrainConfig, disturbing
from edgedst.disturbances import FACTORS, in_use
from edgedst.errors import ConfigError


def test_what_does_nothing_is_not_in_use():
    assert in_use() == in_use("0", (0.0, 0.0), "none") == in_use("0..0", (0.0,), " none ") == {}


def test_numbers_and_ranges_are_read():
    assert in_use("2") == {"action_delay": [2, 2]}
    assert in_use(" 0..3 ") == {"action_delay": [0, 3]}
    assert in_use(observation_noise=(0.0, 0.5)) == {"observation_noise": [0.0, 0.5]}
    assert in_use(randomize="mass=1.1") == {"randomize": {"mass": [1.1, 1.1]}}


def test_what_is_drawn_does_not_depend_on_the_order_of_the_factors():
    written = in_use(randomize="damping=.5..2, gain = 0.9..1.1 ,mass=0.8..1.2,friction=0.5..1.5")["randomize"]
    assert tuple(written) == FACTORS
    assert written["gain"] == [0.9, 1.1]


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "3..1", "1..", "..2", "1..2..3", "0..1001", "1e3", "0-2"])
def test_a_delay_that_is_none_is_one_sentence(text):
    sentence = r"`action_delay` must be a number of steps, such as 2, or a range, such as 0\.\.3, of 0 to 1,000 steps"
    with pytest.raises(ConfigError, match=sentence):
        in_use(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be like friction=0.5..1.5,mass=0.8..1.2 and has `` in it"),
        ("mass", "must be like friction=0.5..1.5,mass=0.8..1.2 and has `mass` in it"),
        ("mass=0.9,", "and has `` in it"),
        ("frction=1..2", "`randomize` knows no `frction`. Did you mean `friction`"),
        ("gravity=1", "`randomize` knows no `gravity`. Expected one of friction, mass, gain, damping."),
        ("mass=1,mass=2", "`randomize` has `mass` twice"),
        *[(f"mass={numbers}", "must give mass as a factor above 0") for numbers in ("0", "0..1", "-1..2", "2..1", "")],
        *[(f"gain={numbers}", "must give gain as a factor above 0") for numbers in ("nan", "1..inf", "1-2", "x")],
    ],
)
def test_factors_that_are_none_are_one_sentence(text, sentence):
    with pytest.raises(ConfigError) as told:
        in_use(randomize=text)
    assert sentence in str(told.value)
    with pytest.raises(ConfigError, match="`randomize`"):
        TrainConfig(randomize=text)


def test_a_delay_may_be_written_as_a_number():
    assert TrainConfig.from_settings({"action_delay": 2}).action_delay == "2"
    assert disturbing({"action_delay": 2, "observation_noise": 0.1, "randomize": None, "seed": 3}) == {
        "action_delay": "2",
        "observation_noise": [0.1],
    }


@pytest.mark.parametrize(
    "settings", [{"action_delay": "1"}, {"observation_noise": (0.1,)}, {"randomize": "mass=0.9..1.1"}]
)
def test_what_stands_for_a_machine_is_not_disturbed(settings):
    (name,) = settings
    with pytest.raises(ConfigError, match=f"`{name}` is of simulators, and `hardware` says that `Pendulum-v1` stands"):
        TrainConfig(env="Pendulum-v1", hardware=True, **settings)
