"""A simulator as a machine sees it: what is delayed, what is noise, what stays, and how it goes on."""

import array
import struct

import numpy as np
import pytest

from edgedst import core
from edgedst.envs import Environment, disturbed, registry
from edgedst.envs.disturbed import DisturbedEnvironment
from edgedst.errors import CheckpointError, ConfigError, UnknownEnvironment
from edgedst.runs.episode import Episode

SLOW = {"action_delay": "0..3", "observation_noise": [0.05], "randomize": "mass=0.8..1.2,friction=0.5..1.5"}


class Echo(Environment):
    """Observes its seed, its last action and its steps; ends after 100 steps. Its bounds are 0 and 2, and -1 and 1."""

    name, native, observation_size, action_size = "Echo-v0", True, 4, 2
    action_low, action_high, max_episode_steps = (0.0, -1.0), (2.0, 1.0), 100
    step_seconds, growth_beside, largest_observation = 0.02, 5, (2, 7.0)
    constants = [(3, 0.5)]  # noqa: RUF012  # as the class above

    def __init__(self):
        self.observation = memoryview(array.array("d", [0.0, 0.0, 0.0, 0.5]))
        self.closed, self.steps = 0, 0

    def reset(self, seed):
        self.observation[0], self.steps = float(seed), 0

    def step(self, action):
        self.observation[1], self.observation[2] = action
        self.steps += 1
        return float(action[0]), False, self.steps >= 100

    def state(self):
        return struct.pack("<4d", *self.observation) + bytes([self.steps])

    def set_state(self, state):
        self.steps = state[32]
        self.observation[:] = memoryview(state[:32]).cast("d")

    def take_warnings(self):
        return ["slipped"]

    def memory_beside(self):
        return 7

    def close(self):
        self.closed += 1


def floats(*values):
    return memoryview(array.array("f", values))


def make(env="Hopper-v5", **disturbances):
    return registry.make(registry.locate(env, disturbances=disturbances or SLOW))


def actions(env, count, seed=0):
    noise = np.random.default_rng(seed).uniform(env.action_low, env.action_high, (count, env.action_size))
    return [memoryview(action) for action in noise.astype(np.float32)]


@pytest.mark.parametrize("delay", [0, 1, 2, 7])
def test_an_action_arrives_after_so_many_steps_and_the_middle_of_the_bounds_before(delay):
    env = DisturbedEnvironment(Echo(), (delay, delay))
    for seed in (5, 6):  # nothing of an episode is left to the next
        env.reset(seed)
        seen = []
        for step in range(10):
            reward, _, _ = env.step(floats(0.1 * step, 0.5))
            assert reward == env.observation[1]  # the reward is that of the action that arrived
            seen.append(list(env.observation[1:3]))
        sent = [[np.float32(0.1 * step), 0.5] for step in range(10)]
        assert seen == ([[1.0, 0.0]] * delay + sent)[:10]


def test_a_delay_from_a_range_is_drawn_evenly_an_episode_at_a_time():
    env = DisturbedEnvironment(Echo(), (1, 3))
    drawn = []
    for seed in range(600):
        env.reset(seed)
        drawn.append(env._delay)
    counts = [drawn.count(delay) for delay in range(5)]
    assert counts[0] == counts[4] == 0
    assert min(counts[1:4]) > 200 - 5 * 12  # 600 draws of a third: a standard deviation of 11.5, five times that


def test_the_callers_action_may_be_overwritten_while_it_waits():
    env = DisturbedEnvironment(Echo(), (1, 1))
    env.reset(0)
    action = floats(0.25, 0.5)
    env.step(action)
    action[0] = 9.0
    env.step(action)
    assert list(env.observation[1:3]) == [0.25, 0.5]


def test_noise_is_gaussian_of_the_sigma_and_leaves_the_simulator_alone():
    inner = Echo()
    env = DisturbedEnvironment(inner, sigmas=(0.5, 0.0, 2.0, 0.25))
    env.reset(3)
    seen = []
    for _ in range(3000):
        env.step(floats(1.0, -1.0))
        seen.append(list(env.observation))
        assert list(inner.observation) == [3.0, 1.0, -1.0, 0.5]
    errors = np.array(seen) - [3.0, 1.0, -1.0, 0.5]
    # 3,000 draws: the mean's standard error is sigma / 55, the spread's 1.3 %; five times that.
    np.testing.assert_allclose(errors.mean(axis=0), 0, atol=5 * 2 / 55)
    np.testing.assert_allclose(errors.std(axis=0)[[0, 2]], [0.5, 2.0], rtol=5 * 0.013)
    assert not errors[:, 1].any()  # its sigma is 0
    assert not errors[:, 3].any()  # a constant of the task stays one


def test_the_first_observation_is_noisy_too():
    env = DisturbedEnvironment(Echo(), sigmas=(0.1,))
    env.reset(3)
    assert env.observation[0] != 3.0
    assert abs(env.observation[0] - 3.0) < 1


def test_an_episode_is_drawn_from_its_seed_and_from_nothing_else():
    env, other = make(), make()
    env.reset(11)
    other.reset(12)
    different = bytes(other.observation)
    for action in actions(env, 7):
        other.step(action)
    other.reset(11)
    assert bytes(other.observation) == bytes(env.observation) != different
    for action in actions(env, 20):
        assert env.step(action) == other.step(action)
        assert bytes(env.observation) == bytes(other.observation)


def test_noise_does_not_depend_on_what_the_simulator_draws():
    env, plain = make(observation_noise=[0.1]), registry.make(registry.locate("Hopper-v5"))
    env.reset(5)
    plain.reset(5)
    noise = floats(*[0.0] * env.observation_size)
    random = core.Random(5, disturbed.STREAM)
    random.integer()  # the delay
    random.normal(noise, 1.0)
    expected = [x + 0.1 * z for x, z in zip(plain.observation, noise, strict=True)]  # z is float32, all else float64
    assert list(env.observation) == expected


def test_what_the_simulator_says_of_itself_is_passed_on():
    inner = Echo()
    env = DisturbedEnvironment(inner, (1, 1), (0.1,))
    for name in ("name", "native", "action_low", "max_episode_steps", "step_seconds", "growth_beside", "constants"):
        assert getattr(env, name) == getattr(inner, name)
    assert env.largest_observation == (2, 7.0)
    assert (env.take_warnings(), env.memory_beside(), env.hardware) == (["slipped"], 7, False)
    env.close()
    assert inner.closed == 1


def test_an_undisturbed_task_has_no_wrapper_and_a_delay_alone_copies_no_observation():
    assert type(registry.make(registry.locate("Hopper-v5", disturbances={"action_delay": "0"}))).__name__ == (
        "MujocoEnvironment"
    )
    inner = Echo()
    assert DisturbedEnvironment(inner, (2, 2)).observation is inner.observation


def test_without_delay_and_sigma_nothing_changes():
    env, plain = DisturbedEnvironment(registry.make(registry.locate("Hopper-v5"))), make("Hopper-v5", action_delay="0")
    env.reset(1)
    plain.reset(1)
    for action in actions(env, 30):
        assert env.step(action) == plain.step(action)
        assert bytes(env.observation) == bytes(plain.observation)


@pytest.mark.parametrize("task", ["Hopper-v5", "Humanoid-v4", "Reacher-v5"])
def test_a_state_goes_on_bit_for_bit_on_a_fresh_host(task):
    first = make(task)
    first.reset(7)
    for action in actions(first, 20):
        first.step(action)
    fresh = make(task)
    fresh.reset(1)  # another model, another delay
    fresh.set_state(first.state())
    assert bytes(fresh.observation) == bytes(first.observation)
    for action in actions(first, 30, seed=1):
        assert fresh.step(action) == first.step(action)
        assert bytes(fresh.observation) == bytes(first.observation)
    assert fresh.state() == first.state()


@pytest.mark.parametrize("process", [False, True])
def test_an_episode_of_a_host_without_a_state_is_played_again(tmp_path, process):
    spec = registry.locate("Pendulum-v1", process, disturbances={"action_delay": "1..3", "observation_noise": [0.1]})
    first, fresh = registry.make(spec), registry.make(spec)
    try:
        assert first.state() is None
        record = Episode(str(tmp_path), first)
        record.begin(0, 123)
        for action in actions(first, 25):
            record.record(action)
            first.step(action)
        again = Episode(str(tmp_path), fresh)
        assert again.restore(record.saved(), lambda: False) == ""
        assert bytes(fresh.observation) == bytes(first.observation)
        for action in actions(first, 25, seed=1):
            assert fresh.step(action) == first.step(action)
            assert bytes(fresh.observation) == bytes(first.observation)
    finally:
        first.close()
        fresh.close()


def test_a_state_of_another_task_is_refused():
    env, other = make(action_delay="2", observation_noise=[0.1]), make(action_delay="3", observation_noise=[0.1])
    env.reset(0)
    plain = registry.make(registry.locate("Hopper-v5"))
    for state in (b"", plain.state(), env.state()[:60]):
        with pytest.raises(CheckpointError, match="does not belong to Hopper-v5 with this action_delay"):
            env.set_state(state)
    with pytest.raises(CheckpointError, match="has a delay of 2 steps, and this run's is 3 to 3"):
        other.set_state(env.state())


def test_another_number_of_sigmas_is_one_sentence_and_closes_the_simulator():
    with pytest.raises(ConfigError, match="`observation_noise` has 2 numbers, and Pendulum-v1 has 3 observations"):
        make("Pendulum-v1", observation_noise=[0.1, 0.2])
    inner = Echo()
    with pytest.raises(ConfigError, match="has 3 numbers, and Echo-v0 has 4 observations: give one number for all"):
        DisturbedEnvironment(inner, (0, 0), (0.1, 0.2, 0.3))


def test_a_class_that_is_hardware_is_not_disturbed():
    inner = Echo()
    inner.hardware = True
    with pytest.raises(ConfigError, match="Echo-v0 is hardware, which has a delay and a noise of its own"):
        DisturbedEnvironment(inner, (1, 1))


@pytest.mark.parametrize("disturbances", [{"action_delay": "1"}, {"observation_noise": [1]}, {"randomize": "mass=2"}])
def test_a_robot_is_not_disturbed(tmp_path, disturbances):
    (tmp_path / "robot.py").write_text("")
    (name,) = disturbances
    with pytest.raises(ConfigError, match=rf"`{name}` is of simulators, and `.*robot\.py` is a machine, which has a"):
        registry.locate(str(tmp_path / "robot.py"), disturbances=disturbances)
    assert registry.locate(str(tmp_path / "robot.py"), disturbances={"action_delay": "0", "observation_noise": [0.0]})


def test_only_a_native_task_is_randomised():
    factors = {"randomize": "mass=0.9..1.1"}
    with pytest.raises(ConfigError, match=r"Gymnasium makes this `Pendulum-v1`: give it other numbers with `--env-kw"):
        registry.locate("Pendulum-v1", disturbances=factors)
    for options in ({"process": True}, {"kwargs": {"frame_skip": 2}}):
        with pytest.raises(ConfigError, match="makes this `Hopper-v5`: leave `--env-process` and `--env-kwargs` out"):
            registry.locate("Hopper-v5", **options, disturbances=factors)
    with pytest.raises(UnknownEnvironment):
        registry.locate("Hopper-v9", disturbances=factors)
