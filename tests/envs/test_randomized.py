"""A native task with other frictions, masses, gains and damping, against Gymnasium's with the same."""

import array
import subprocess
import sys
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest

from edgedst import core
from edgedst.disturbances import FACTORS
from edgedst.envs import registry
from edgedst.envs.tasks import NATIVE_TASKS
from edgedst.errors import CheckpointError, ConfigError, SimulatorMismatch
from tools import require_tool

TASKS = sorted(NATIVE_TASKS)
VALUES = {"friction": 0.7, "mass": 1.2, "gain": 0.9, "damping": 1.3}
SINES = {"Reacher": slice(0, 4), "InvertedDoublePendulum": slice(1, 5)}  # see test_mujoco


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # gymnasium's own MuJoCo writes its MUJOCO_LOG.TXT where it runs


def factors_of(task):
    """Those that multiply something: Swimmer's joints have no damping."""
    return [name for name in FACTORS if not (name == "damping" and task.startswith("Swimmer"))]


def host_of(task, factors):
    spec = registry.locate(task)
    return core.MujocoHost(spec["library"], spec["model_file"], task, spec["state_bits"], factors)


def make(task, randomize):
    return registry.make(registry.locate(task, disturbances={"randomize": randomize}))


def actions(env, count, seed=0):
    noise = np.random.default_rng(seed).uniform(env.action_low, env.action_high, (count, env.action_size))
    return [memoryview(action) for action in noise.astype(np.float32)]


def multiply(reference, factors):
    """What the factors mean, in MuJoCo's own Python."""
    model = reference.model
    model.geom_friction[:, 0] *= factors.get("friction", 1)
    model.body_mass *= factors.get("mass", 1)
    model.body_inertia *= factors.get("mass", 1)
    model.actuator_gainprm *= factors.get("gain", 1)
    model.actuator_biasprm *= factors.get("gain", 1)
    model.dof_damping *= factors.get("damping", 1)
    mujoco.mj_setConst(model, mujoco.MjData(model))


def assert_plays_as(host, reference, task, steps=200):
    def begin(seed):
        reference.reset(seed=seed)
        qpos, qvel = reference.data.qpos.copy(), reference.data.qvel.copy()
        host.set_position_velocity(qpos, qvel)

    begin(0)
    largest = reference.action_space.high[0]
    noise = np.random.default_rng(1).uniform(-1, 1, (steps, host.action_size)).astype(np.float32)
    for step, action in enumerate(noise * largest):
        observation, reward, terminated, _, _ = reference.step(action)
        native_reward, native_terminated = host.step(action)
        native = np.array(host.observation)
        if sines := SINES.get(task.partition("-")[0]):
            np.testing.assert_allclose(native[sines], observation[sines], rtol=0, atol=3e-16)
            native[sines] = observation[sines]
        assert native.tobytes() == observation.tobytes(), f"step {step}"
        assert native_reward == pytest.approx(reward, abs=1e-6)
        assert native_terminated == bool(terminated)
        if terminated:
            begin(step + 1)


@pytest.mark.parametrize("task", TASKS)
def test_a_randomised_task_equals_gymnasiums_with_the_same_numbers(task):
    names = factors_of(task)
    reference, host = gymnasium.make(task).unwrapped, host_of(task, names)
    multiply(reference, {name: VALUES[name] for name in names})
    host.multiply(array.array("d", [VALUES[name] for name in names]))
    assert_plays_as(host, reference, task)


@pytest.mark.parametrize("name", FACTORS)
def test_each_factor_multiplies_its_own_numbers(name):
    reference, host = gymnasium.make("Walker2d-v5").unwrapped, host_of("Walker2d-v5", [name])
    plain = gymnasium.make("Walker2d-v5").unwrapped
    multiply(reference, {name: 1.7})
    host.multiply(array.array("d", [1.7]))
    assert_plays_as(host, reference, "Walker2d-v5")
    with pytest.raises(AssertionError, match="step"):  # and it matters
        assert_plays_as(host, plain, "Walker2d-v5")


@pytest.mark.parametrize("task", TASKS)
def test_a_factor_of_1_is_the_task_itself_to_the_last_bit(task):
    names = factors_of(task)
    plain, one = host_of(task, []), host_of(task, names)
    one.multiply(array.array("d", [1.7] * len(names)))  # nothing of it is left
    one.multiply(array.array("d", [1.0] * len(names)))
    for host in (plain, one):
        host.reset(3)
    for action in np.random.default_rng(2).uniform(-1, 1, (100, plain.action_size)).astype(np.float32):
        assert plain.step(action) == one.step(action)
        assert bytes(plain.observation) == bytes(one.observation)
    assert plain.state() == one.state()


def test_factors_are_drawn_from_the_episodes_seed_within_their_ranges():
    env, other = (
        make("Hopper-v5", "friction=0.5..1.5,mass=0.8..1.2"),
        make("Hopper-v5", "friction=0.5..1.5,mass=0.8..1.2"),
    )
    drawn = []
    for seed in range(300):
        env.reset(seed)
        drawn.append(list(env._factors))
    friction, mass = np.array(drawn).T
    for values, (low, high) in ((friction, (0.5, 1.5)), (mass, (0.8, 1.2))):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high
        # Uniform, 300 draws: the mean's standard error is 1.7 % of the range; five times that.
        assert values.mean() == pytest.approx((low + high) / 2, abs=5 * 0.017 * (high - low))
    assert abs(np.corrcoef(friction, mass)[0, 1]) < 5 / 300**0.5
    other.reset(7)
    assert list(other._factors) == drawn[7]


def test_a_number_in_the_place_of_a_range_is_taken_to_the_last_bit():
    env = make("Hopper-v5", "mass=1.1")
    for seed in (0, 1):
        env.reset(seed)
        assert list(env._factors) == [1.1]


def test_two_environments_of_one_task_do_not_share_a_randomised_model():
    alone, env, other = make("Ant-v5", "mass=0.5..2"), make("Ant-v5", "mass=0.5..2"), make("Ant-v5", "mass=0.5..2")
    plain = registry.make(registry.locate("Ant-v5"))
    untouched = registry.make(registry.locate("Ant-v5"))
    for one in (alone, env, plain, untouched):
        one.reset(3)
    for step, action in enumerate(actions(env, 40)):
        other.reset(step)
        assert env.step(action) == alone.step(action)
        assert plain.step(action) == untouched.step(action)
    assert bytes(env.observation) == bytes(alone.observation) != bytes(plain.observation)


def test_a_state_has_the_factors_of_its_episode():
    first, fresh = make("HalfCheetah-v5", "mass=0.5..2,gain=0.5..2"), make("HalfCheetah-v5", "mass=0.5..2,gain=0.5..2")
    first.reset(3)
    fresh.reset(4)
    for action in actions(first, 20):
        first.step(action)
    fresh.set_state(first.state())
    for action in actions(first, 30, seed=1):
        assert fresh.step(action) == first.step(action)
        assert bytes(fresh.observation) == bytes(first.observation)
    assert fresh.state() == first.state()


def test_a_state_without_its_factors_is_refused():
    env, plain = make("Hopper-v5", "mass=0.5..2"), registry.make(registry.locate("Hopper-v5"))
    for state in (plain.state(), b"", env.state()[:-8]):
        with pytest.raises(CheckpointError, match="does not belong to Hopper-v5"):
            env.set_state(state)


@pytest.mark.parametrize("task", ["Humanoid-v4", "Humanoid-v5"])
def test_masses_that_change_are_no_constants_and_what_is_0_stays_one(task):
    env, plain = make(task, "mass=0.8..1.2"), registry.make(registry.locate(task))
    masses = {index for index, value in plain.constants if value}
    assert len(masses) == 13
    assert env.constants == [(index, value) for index, value in plain.constants if index not in masses]
    seen = []
    for seed in range(3):
        env.reset(seed)
        seen.append([env.observation[index] for index in sorted(masses)])
        assert all(env.observation[index] == 0 for index, _ in env.constants)
    assert len({tuple(values) for values in seen}) == 3
    assert make(task, "friction=0.8..1.2").constants == plain.constants


def test_what_would_multiply_nothing_is_one_sentence():
    with pytest.raises(
        ConfigError, match="`randomize` has damping, and every number of Swimmer-v5's model that it would"
    ):
        make("Swimmer-v5", "damping=0.5..2")


# It resets 100 times before it looks: what MuJoCo takes once is taken then.
def test_episodes_of_other_models_take_no_more_memory():
    code = (
        "from edgedst.budget.guard import memory\n"
        "from edgedst.envs import registry\n"
        "from edgedst.stage import floats\n"
        "spec = registry.locate('Humanoid-v5', disturbances={'randomize': 'friction=0.5..2,mass=0.5..2,gain=0.5..2'})\n"
        "env = registry.make(spec)\n"
        "action = floats(17)\n"
        "def play(seeds):\n"
        "    for seed in seeds:\n"
        "        env.reset(seed)\n"
        "        env.step(action)\n"
        "play(range(100))\n"
        "before = memory()\n"
        "play(range(100, 400))\n"
        "after = memory()\n"
        "print(after[0] - before[0], after[1] - before[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rss, peak = map(int, done.stdout.split())
    assert rss <= 65_536, "a page of Python's own, now and then"
    assert peak <= 65_536


SHIM = """
#include <stdio.h>
void mj_printFormattedModel(const void* m, const char* path, const char* format) {
  FILE* file = fopen(path, "w");
  fputs("%s", file);
  fclose(file);
}
"""


# The library under a shim that prints mjModel otherwise than the installed version does.
@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ("", "MuJoCo printed nothing into /proc/self/fd/\\d+"),
        (r"\nBODY 0:\n  mass   1 \n", "MuJoCo prints nothing of body_mass"),  # it was renamed
        (r"\n  body_mass   1 \n  body_mass 7\n", "0 fields of mjModel are what MuJoCo prints of body_mass"),
        # There is an array that begins so, but it is not printed any other when it is changed.
        (r"\n  body_mass  0 \n  body_mass  3.6651914291880923\n", "0 fields of mjModel are what MuJoCo prints of"),
    ],
)
def test_fields_of_mjmodel_that_cannot_be_told_are_refused(tmp_path, printed, sentence):
    spec = registry.locate("Hopper-v4", disturbances={"randomize": "mass=0.9..1.1"})
    (tmp_path / "shim.c").write_text(SHIM % printed)
    shim = tmp_path / "libmujoco.so"
    library = ["-Wl,--no-as-needed", spec["library"], f"-Wl,-rpath,{Path(spec['library']).parent}"]
    compiler = [require_tool("cc"), "-shared", "-fPIC", "-w"]
    subprocess.run([*compiler, "-o", shim, tmp_path / "shim.c", *library], check=True)
    with pytest.raises(SimulatorMismatch, match=rf"Self-check of Hopper-v4: {sentence}.*\. Reinstall MuJoCo"):
        registry.make({**spec, "library": str(shim)})
    registry.make(spec)  # the library itself is as good as before
