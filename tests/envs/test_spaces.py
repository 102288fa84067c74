"""Spaces that cannot be used: the real reason, and advice that is followed here."""

import gymnasium
import numpy as np
import pytest
from scripted import Box, Scripted

from edgedst.envs.gymnasium_host import GymnasiumEnvironment
from edgedst.errors import UnsupportedSpace

LARGEST = float(np.finfo(np.float32).max)


@pytest.fixture(autouse=True)
def own_registry():
    before = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def bounds(low, high, dtype=np.float32):
    return Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)


def register(space, **keywords):
    gymnasium.register("Own-v0", Scripted, kwargs={"action_space": space, **keywords})
    return "Own-v0"


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (bounds([-1, -np.inf], [1, np.inf]), "from -inf to inf at index 1, and finite bounds were expected"),
        (bounds([[-1, 0]], [[1, np.inf]]), "from 0.0 to inf at index 1, and finite bounds"),
        (
            bounds([-LARGEST], [LARGEST]),
            r"from -3\.4028235e\+38 to 3\.4028235e\+38 at index 0, a range that float32 cannot hold",
        ),
        (bounds([0], [1e300], np.float64), "from 0.0 to 1e.300 at index 0, a range that float32 cannot hold"),
        (bounds([1e39], [2e39], np.float64), "a range that float32 cannot hold"),
    ],
)
def test_bounds_that_are_too_wide_are_told_and_can_be_given_as_is_advised(space, sentence):
    with pytest.raises(UnsupportedSpace, match=sentence) as caught:
        GymnasiumEnvironment(register(space))
    advice = str(caught.value).rpartition(" or with `")[2].removesuffix("`.")
    names = {"gymnasium": gymnasium, "env": Scripted(action_space=space)}
    wrapped = eval(advice, names)  # our own sentence, followed to the letter
    gymnasium.register("Wrapped-v0", lambda: wrapped)
    env = GymnasiumEnvironment("Wrapped-v0")
    assert set(env.action_low + env.action_high) == {-1.0, 1.0}
    env.reset(0)
    env.step(memoryview(np.full(env.action_size, 0.5, np.float32)))
    assert names["env"].actions[0].shape == space.shape


@pytest.mark.parametrize(
    "space",
    [
        bounds([-1, 0], [1, 0]),
        bounds([-1, 1], [1, 1 + 1e-9], np.float64),  # one number in float32
        bounds([-1, 1e-50], [1, 2e-50], np.float64),
    ],
)
def test_bounds_that_leave_nothing_to_choose_are_told_with_their_index(space):
    with pytest.raises(
        UnsupportedSpace, match=r"at index 1, and low < high was expected, in float32 too\. Leave that action"
    ):
        GymnasiumEnvironment(register(space))


def test_bounds_that_are_no_numbers_are_told():
    space = bounds([-1], [1])
    space.low[0] = np.nan
    with pytest.raises(UnsupportedSpace, match=r"from nan to 1\.0 at index 0, and finite bounds were expected"):
        GymnasiumEnvironment(register(space))


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (
            gymnasium.spaces.Discrete(3),
            r"from a Discrete space \(Discrete\(3\)\)\. TD3 and SAC need continuous actions",
        ),
        (gymnasium.spaces.MultiDiscrete([3, 2]), "from a MultiDiscrete space"),
        (gymnasium.spaces.MultiBinary(3), "from a MultiBinary space"),
        (gymnasium.spaces.Dict(a=Box(0, 1)), "from a Dict space"),
        (gymnasium.spaces.Tuple([Box(0, 1)]), "from a Tuple space"),
        (
            Box(0, 9, (2,), np.int32),
            "from a Box of int32, which are whole numbers.*Box of float32, and round in its step",
        ),
        (Box(-1, 1, (0,)), r"has no actions: its action_space has shape \(0,\)"),
    ],
)
def test_actions_that_are_no_box_of_floats_are_told(space, sentence):
    with pytest.raises(UnsupportedSpace, match=sentence):
        GymnasiumEnvironment(register(space))


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Dict(a=Box(0, 1, (2, 2)), b=gymnasium.spaces.Discrete(3)),
        gymnasium.spaces.Tuple([Box(0, 1), Box(0, 255, (3,), np.uint8)]),
        gymnasium.spaces.Discrete(5),
        gymnasium.spaces.MultiBinary(4),
        gymnasium.spaces.Text(5),
    ],
)
def test_observations_that_are_no_box_can_be_flattened_as_is_advised(space):
    def seen(env):
        return space.sample(), {}

    step = lambda env: (space.sample(), 1.0, False, False, {})  # noqa: E731
    with pytest.raises(UnsupportedSpace, match=f"observes a {type(space).__name__} space") as caught:
        GymnasiumEnvironment(register(None, observation_space=space, reset=seen, step=step))
    advice = str(caught.value).partition("flattened: `")[2].removesuffix("`.")
    exec(advice, {"gymnasium": gymnasium})  # our own sentence, followed to the letter
    env = GymnasiumEnvironment("Flat-v0")
    assert env.observation_size == gymnasium.spaces.flatdim(space)
    env.reset(0)
    assert env.step(memoryview(np.zeros(1, np.float32))) == (1.0, False, False)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (
            gymnasium.spaces.Graph(Box(0, 1), None),
            r"observes a Graph space \(.*Give it an observation_space that is a Box",
        ),
        (gymnasium.spaces.Sequence(Box(0, 1)), "observes a Sequence space.*Give it an observation_space that is a Box"),
        (Box(0, 1, (0, 3)), "observes nothing"),
    ],
)
def test_observations_that_cannot_be_flattened_are_told(space, sentence):
    with pytest.raises(UnsupportedSpace, match=sentence):
        GymnasiumEnvironment(register(None, observation_space=space))


@pytest.mark.parametrize("attribute", ["action_space", "observation_space"])
def test_spaces_of_the_old_gym_are_told(attribute):
    old_box = type("Box", (), {"__module__": "gym.spaces.box"})
    with pytest.raises(UnsupportedSpace, match=rf"{attribute} is a Box of `gym\.spaces\.box`.*old package gym"):
        GymnasiumEnvironment(register(None, **{attribute: old_box()}) if attribute[0] == "o" else register(old_box()))
