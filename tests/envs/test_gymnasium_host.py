"""The gymnasium host and the process host: exact resume, and users' mistakes by their words."""

import os
import signal
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from edgedst.envs import registry
from edgedst.envs.gymnasium_host import GymnasiumEnvironment
from edgedst.envs.process_host import ProcessEnvironment
from edgedst.errors import CheckpointError, EnvironmentFault, UnknownEnvironment, UnsupportedSpace

Box = gymnasium.spaces.Box


class Scripted(gymnasium.Env):
    """Two numbers observed, one acted; a keyword says what goes wrong."""

    def __init__(self, fault="", action_space=None, observation_space=None):
        self.fault = fault
        self.action_space = action_space or Box(-2, 3, (1,), np.float32)
        self.observation_space = observation_space or Box(-1, 1, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        low, high = self.np_random.uniform(0, 1, 2) if self.fault != "random" else np.random.uniform(0, 1, 2)
        return np.array([low, high]), {}

    def step(self, action):
        if self.fault == "raise":
            raise KeyError("wheel")
        observation = np.array([0.5, np.inf if self.fault == "infinite" else 0.25])
        if self.fault == "shape":
            observation = np.zeros(3)
        return observation, np.nan if self.fault == "reward" else 1.0, False, False, {}


@pytest.fixture(autouse=True)
def scripted():
    gymnasium.register("Scripted-v0", Scripted)
    yield
    del gymnasium.registry["Scripted-v0"]


def register(**keywords):
    gymnasium.registry["Scripted-v0"].kwargs.update(keywords)
    return "Scripted-v0"


@pytest.fixture(params=[GymnasiumEnvironment, ProcessEnvironment])
def host(request):
    return request.param


def act(env, rng):
    return memoryview(rng.uniform(env.action_low, env.action_high).astype(np.float32))


@pytest.mark.parametrize(("env", "seconds"), [("Pendulum-v1", 0.05), ("MountainCarContinuous-v0", None)])
def test_a_step_takes_what_the_environment_says_and_nothing_where_it_says_nothing(env, seconds):
    assert GymnasiumEnvironment(env).step_seconds == seconds  # Pendulum's render_fps says 30


def test_pendulum_resumes_exactly(host):
    rng = np.random.default_rng(0)
    first, fresh = host("Pendulum-v1"), host("Pendulum-v1")
    assert (first.observation_size, first.action_size, first.max_episode_steps) == (3, 1, 200)
    assert (first.action_low, first.action_high) == ((-2.0,), (2.0,))
    first.reset(5)
    for _ in range(150):
        first.step(act(first, rng))
    fresh.set_state(first.state())
    assert bytes(fresh.observation) == bytes(first.observation)
    for step in range(150, 200):
        action = act(first, rng)
        result = first.step(action)
        assert fresh.step(action) == result
        assert bytes(fresh.observation) == bytes(first.observation)
        assert result[1:] == (False, step == 199)
    first.close()
    fresh.close()


def test_pendulum_equals_gymnasium(host):
    env, reference = host("Pendulum-v1"), gymnasium.make("Pendulum-v1")
    rng = np.random.default_rng(0)
    env.reset(1)
    observation, _ = reference.reset(seed=1)
    for _ in range(20):
        assert list(env.observation) == list(observation.astype(np.float64))
        action = act(env, rng)
        observation, reward, *_ = reference.step(np.array(action))
        assert env.step(action)[0] == reward
    env.close()


def test_a_state_before_the_first_reset_is_one_too():
    first, fresh = GymnasiumEnvironment("Pendulum-v1"), GymnasiumEnvironment("Pendulum-v1")
    fresh.set_state(first.state())
    assert fresh.state() == first.state()


def test_a_foreign_state_is_refused(host):
    env = host("Pendulum-v1")
    with pytest.raises(CheckpointError, match="does not belong to Pendulum-v1 with 3 observations and 1 actions"):
        env.set_state(b"EDGY and nothing else")
    env.close()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("raise", "Scripted-v0 raised KeyError in step 1 of an episode: 'wheel'"),
        ("infinite", "Scripted-v0 gave inf at index 1 of the observation in step 1"),
        ("reward", "Scripted-v0 gave a reward of nan in step 1"),
        ("shape", "Scripted-v0 gave an observation of 3 numbers in step 1 of an episode; its observation space has 2"),
    ],
)
def test_faults_of_an_environment_are_told(fault, sentence):
    env = registry.make(registry.locate(register(fault=fault)))
    env.reset(0)
    with pytest.raises(EnvironmentFault, match=sentence):
        env.step(memoryview(np.zeros(1, np.float32)))


def test_an_environment_that_does_not_repeat_itself_is_told():
    first, fresh = (GymnasiumEnvironment(register(fault="random")) for _ in range(2))
    first.reset(0)
    with pytest.raises(EnvironmentFault, match=r"does not repeat itself.*self\.np_random"):
        fresh.set_state(first.state())


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"action_space": gymnasium.spaces.Discrete(3)}, "takes actions from a Discrete space.*continuous actions"),
        ({"action_space": Box(-np.inf, np.inf, (1,))}, "actions without finite bounds"),
        ({"observation_space": gymnasium.spaces.Dict(a=Box(0, 1))}, "observes a Dict space.*FlattenObservation"),
    ],
)
def test_unsupported_spaces_are_told(keywords, sentence):
    with pytest.raises(UnsupportedSpace, match=sentence):
        GymnasiumEnvironment(register(**keywords))


@pytest.mark.parametrize(
    ("env_id", "sentence"),
    [
        ("Pendulun-v1", "no environment `Pendulun-v1`. Did you mean `Pendulum-v1`"),
        ("Zzzzzzz-v0", "no environment `Zzzzzzz-v0`. An environment of your own is `module:EnvId`"),
        ("Pendulum-v77", "gymnasium cannot make `Pendulum-v77`|no environment `Pendulum-v77`"),
        ("no_such_module:Thing-v0", "Python finds no module `no_such_module`"),
    ],
)
def test_unknown_ids_are_told(host, env_id, sentence):
    with pytest.raises(UnknownEnvironment, match=sentence):
        host(env_id)


def test_the_end_of_the_environments_process_is_told():
    env = ProcessEnvironment("Pendulum-v1")
    env.reset(0)
    os.kill(env._pid, signal.SIGKILL)
    with pytest.raises(EnvironmentFault, match="process of Pendulum-v1 was ended by signal 9"):
        env.step(memoryview(np.zeros(1, np.float32)))
    env.close()


def test_an_environments_process_leaves_nothing_behind_however_it_ends():
    def open_files():
        return sorted(path.name for path in Path("/proc/self/fd").iterdir())

    before = open_files()
    with pytest.raises(UnknownEnvironment):
        ProcessEnvironment("Pendulun-v1")
    killed, closed = ProcessEnvironment("Pendulum-v1"), ProcessEnvironment("Pendulum-v1")
    os.kill(killed._pid, signal.SIGKILL)
    with pytest.raises(EnvironmentFault):
        killed.reset(0)
    for env in (killed, closed):
        env.close()
        env.close()
    assert open_files() == before
    with pytest.raises(ChildProcessError):  # no process that nobody waited for
        os.waitpid(-1, os.WNOHANG)


def test_an_action_that_is_not_finite_is_not_blamed_on_the_environment():
    env = registry.make(registry.locate(register(fault="reward")))
    env.reset(0)
    with pytest.raises(
        EnvironmentFault, match=r"was given an action of nan at index 0 in step 1 .* the actor is at fault"
    ):
        env.step(memoryview(np.full(1, np.nan, np.float32)))
