"""The native host against gymnasium, its own states, and what it refuses."""

import array
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedst import core
from edgedst.envs import Environment, registry
from edgedst.envs.tasks import NATIVE_TASKS
from edgedst.errors import CheckpointError, EnvironmentFault, SimulatorMismatch
from tools import require_tool

TASKS = sorted(NATIVE_TASKS)
NEVER_TERMINATE = ("HalfCheetah", "Swimmer", "Reacher", "Pusher")
# Observations that are sines and cosines: NumPy's and the C library's may differ in the last bit of numbers up to 1.
SINES = {"Reacher": slice(0, 4), "InvertedDoublePendulum": slice(1, 5)}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # gymnasium's own MuJoCo writes its MUJOCO_LOG.TXT where it runs


def make(task):
    return registry.make(registry.locate(task))


def actions(env, count, seed=0):
    noise = np.random.default_rng(seed).uniform(-1, 1, (count, env.action_size))
    return noise.astype(np.float32)


@pytest.mark.parametrize("task", TASKS)
def test_native_host_equals_gymnasium(task):
    reference = gymnasium.make(task).unwrapped
    spec = registry.locate(task)
    host = core.MujocoHost(spec["library"], spec["model_file"], task, spec["state_bits"])
    assert (host.observation_size, host.action_size) == (
        reference.observation_space.shape[0],
        reference.action_space.shape[0],
    )
    terminations = 0

    def begin(seed):
        reference.reset(seed=seed)
        qpos, qvel = reference.data.qpos.copy(), reference.data.qvel.copy()
        host.reset(seed)
        host.set_position_velocity(qpos, qvel)

    begin(0)
    largest = reference.action_space.high[0]
    for step, action in enumerate(actions(host, 1000)):
        # Beyond the bounds too: MuJoCo clips such a control, its cost is that of the unclipped one.
        action = action * np.float32(1.5) * largest
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
            terminations += 1
            begin(step + 1)
    assert (terminations > 0) == (not task.startswith(NEVER_TERMINATE))


@pytest.mark.parametrize("task", ["HalfCheetah-v4", "Ant-v5", "Humanoid-v4", "InvertedDoublePendulum-v5"])
def test_an_unstable_simulation_is_reset_as_gymnasiums_and_told(task):
    reference, env = gymnasium.make(task).unwrapped, make(task)
    reference.reset(seed=0)
    qpos, qvel = reference.data.qpos.copy(), np.full(reference.model.nv, 1e11)  # MuJoCo resets what is beyond 1e10
    reference.set_state(qpos, qvel)
    env._host.set_position_velocity(qpos, qvel)
    for step, action in enumerate(actions(env, 5) * np.float32(env.action_high)):
        observation, reward, terminated, _, _ = reference.step(action)
        native_reward, native_terminated, _ = env.step(memoryview(action))
        np.testing.assert_allclose(env.observation, observation, rtol=0, atol=3e-16)
        assert native_reward == pytest.approx(reward, abs=1e-6), f"step {step}"
        assert native_terminated == bool(terminated)
    assert any("unstable" in warning for warning in env.take_warnings())


# 13 masses; in v4 also the world body's inertia, velocity and force (10 + 6 + 6) and the forces of 6 absent actuators.
@pytest.mark.parametrize(("task", "count"), [("Humanoid-v4", 41), ("Humanoid-v5", 13), ("Ant-v5", 0), ("Hopper-v4", 0)])
def test_constants_of_a_task_never_move_in_gymnasium_either(task, count):
    env, reference = make(task), gymnasium.make(task).unwrapped
    assert len(env.constants) == count
    indices = [index for index, _ in env.constants]
    values = [value for _, value in env.constants]
    assert sum(value != 0 for value in values) == (13 if count else 0)
    assert indices == sorted(set(indices))
    observation, _ = reference.reset(seed=0)
    for step, action in enumerate(actions(env, 300)):
        assert observation[indices].tolist() == values, f"step {step}"
        observation, _, terminated, _, _ = reference.step(action * np.float32(0.4))
        if terminated and step % 3 == 0:  # mostly it goes on lying on the ground
            observation, _ = reference.reset()


@pytest.mark.parametrize("task", TASKS)
def test_bounds_time_limit_and_step_are_gymnasiums(task):
    env, reference = make(task), gymnasium.make(task)
    assert env.action_low == tuple(reference.action_space.low)
    assert env.action_high == tuple(reference.action_space.high)
    assert env.max_episode_steps == reference.spec.max_episode_steps
    assert env.step_seconds == reference.unwrapped.dt


@pytest.mark.parametrize("task", TASKS)
def test_state_goes_on_bit_for_bit_on_a_fresh_host(task):
    first = make(task)
    first.reset(7)
    for action in actions(first, 20):
        first.step(memoryview(action))
    fresh = make(task)
    fresh.set_state(first.state())
    assert bytes(fresh.observation) == bytes(first.observation)
    for action in actions(first, 30, seed=1):
        assert fresh.step(memoryview(action)) == first.step(memoryview(action))
        assert bytes(fresh.observation) == bytes(first.observation)
    assert fresh.state() == first.state()


def test_reset_repeats_by_seed_within_the_tasks_noise():
    env = make("HalfCheetah-v4")
    env.reset(3)
    first = bytes(env.observation)
    env.reset(4)
    assert bytes(env.observation) != first
    env.reset(3)
    assert bytes(env.observation) == first
    resets = []
    for seed in range(400):
        env.reset(seed)
        resets.append(list(env.observation))
    positions, velocities = np.array(resets)[:, :8], np.array(resets)[:, 8:]
    assert np.abs(positions).max() <= 0.1
    assert np.std(positions) == pytest.approx(0.1 / np.sqrt(3), rel=0.05)  # uniform; 3,200 draws
    assert np.std(velocities) == pytest.approx(0.1, rel=0.05)  # normal; 3,600 draws


@pytest.mark.parametrize("task", TASKS)
def test_resets_are_spread_as_gymnasiums(task):
    env, reference = make(task), gymnasium.make(task).unwrapped
    native, expected = [], []
    for seed in range(300):
        env.reset(seed)
        native.append(list(env.observation))
        expected.append(reference.reset(seed=seed)[0])
    native, expected = np.array(native), np.array(expected)
    spread = expected.std(axis=0)
    # Two times 300 draws: means differ by 0.082 spreads, spreads by 6 %; five times that, for up to 376 observations.
    assert (np.abs(native.mean(axis=0) - expected.mean(axis=0)) <= 5 * 0.082 * spread + 1e-9).all()
    np.testing.assert_allclose(native.std(axis=0), spread, rtol=5 * 0.06, atol=1e-9)


def test_time_limit_truncates():
    env = make("HalfCheetah-v4")
    env.reset(0)
    still = memoryview(array.array("f", [0] * 6))
    truncations = [env.step(still)[2] for _ in range(1000)]
    assert truncations == [False] * 999 + [True]


def test_a_time_limit_of_ones_own_replaces_the_tasks():
    env = registry.make(registry.locate("HalfCheetah-v4", max_episode_steps=3))
    assert env.max_episode_steps == 3
    still = memoryview(array.array("f", [0] * 6))
    for _ in range(2):
        env.reset(0)
        assert [env.step(still)[2] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("task", ["HalfCheetah-v4", "Humanoid-v5", "Pusher-v5"])  # bounds 1, float32's 0.4, 2
@given(shares=st.lists(st.floats(-1, 1, width=32) | st.sampled_from([-1.0, 1.0]), min_size=17, max_size=17))
def test_the_trainers_actions_are_inside_a_native_tasks_bounds_to_the_last_bit(task, shares):
    row, n = NATIVE_TASKS[task], len(NATIVE_TASKS[task].action_low)
    scaled = array.array("f", [0] * n)
    Environment.scale_action(row, array.array("f", shares[:n]), scaled)
    for low, high, a, given_action in zip(row.action_low, row.action_high, shares, scaled, strict=False):
        assert np.float32(low) <= given_action <= np.float32(high)
        assert abs(a) < 1 or given_action == np.float32(low if a < 0 else high)


def test_an_action_beyond_a_native_tasks_bounds_is_brought_inside():
    for factor in (1, np.float32(1.0000001), 50):
        env = make("Humanoid-v5")
        env.reset(0)
        action = np.array(env.action_high, np.float32) * np.float32([1, -1] * 8 + [1])
        reward, _, _ = env.step(memoryview(action * np.float32(factor)))
        if factor == 1:
            expected, observation = reward, bytes(env.observation)
        assert (reward, bytes(env.observation)) == (expected, observation)


def test_no_log_file_and_no_output_even_when_the_simulation_warns(tmp_path):
    code = (
        "import array\n"
        "from edgedst.envs import registry\n"
        "env = registry.make(registry.locate('HalfCheetah-v4'))\n"
        "env.reset(0)\n"
        "env._host.step(memoryview(array.array('f', [float('nan')] * 6)))\n"  # the environment refuses it
        "assert 'Nan' in env.take_warnings()[0]\n"
        "assert env.take_warnings() == []\n"
        "import sys\n"
        "assert not {'numpy', 'gymnasium', 'mujoco', 'dataclasses'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("QPOS", "QVEL"),  # nine numbers each: only the trial step tells
        ("QVEL", "WARMSTART"),
        ("QPOS", "QFRC_APPLIED"),
        ("TIME", "QPOS"),
        ("CTRL", "QVEL"),
    ],
)
def test_exchanged_state_bits_are_refused(one, other):
    spec = registry.locate("HalfCheetah-v4")
    bits = spec["state_bits"]
    bits[one], bits[other] = bits[other], bits[one]
    with pytest.raises(SimulatorMismatch, match=r"Self-check of HalfCheetah-v4.*expected.*Reinstall MuJoCo"):
        registry.make(spec)


def test_a_bit_that_mujoco_does_not_know_is_an_exception_and_not_the_end_of_the_process():
    spec = registry.locate("HalfCheetah-v4")
    spec["state_bits"]["CTRL"] = 1 << 29
    with pytest.raises(SimulatorMismatch, match=r"CTRL cannot be read.*invalid state"):
        registry.make(spec)


def test_headers_of_another_version_are_refused():
    spec = registry.locate("Hopper-v5")
    spec["state_bits"]["VERSION_HEADER"] = 210
    with pytest.raises(
        SimulatorMismatch, match=r"headers are of version 2\.1\.0, its library is of version \d+\.\d+\.\d+\. Reinstall"
    ):
        registry.make(spec)


def test_another_tasks_model_is_refused():
    spec = registry.locate("Hopper-v5")
    spec["model_file"] = registry.locate("Walker2d-v5")["model_file"]
    with pytest.raises(SimulatorMismatch, match="QPOS has 9 numbers in this MuJoCo and model, 6 were expected"):
        registry.make(spec)


SHIM = """
#include <stdio.h>
void mj_printFormattedData(const void* m, void* d, const char* path, const char* format) {
  FILE* file = fopen(path, "w");
  fputs("%s", file);
  fclose(file);
}
"""


# The library under a shim that prints mjData otherwise than the installed version does.
@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ("", "MuJoCo printed nothing into /proc/self/fd/\\d+"),  # no /proc
        (r"\nTIME = 0\n", "MuJoCo prints 0 numbers of XPOS, 42 were expected"),  # a field was renamed
        (r"\nXPOS\n" + " 1 2" * 20, "MuJoCo prints 40 numbers of XPOS, 42 were expected"),
        (r"\nXPOS\n" + " 0" * 42, "MuJoCo prints only zeros of XPOS in a state in which it moves"),
        (r"\nXPOS\n" + " 1 2" * 21, "no field of mjData holds what MuJoCo prints of XPOS"),
    ],
)
def test_fields_of_mjdata_that_cannot_be_told_are_refused(tmp_path, printed, sentence):
    spec = registry.locate("Ant-v4")
    (tmp_path / "shim.c").write_text(SHIM % printed)
    shim = tmp_path / "libmujoco.so"
    library = ["-Wl,--no-as-needed", spec["library"], f"-Wl,-rpath,{Path(spec['library']).parent}"]
    compiler = [require_tool("cc"), "-shared", "-fPIC", "-w"]
    subprocess.run([*compiler, "-o", shim, tmp_path / "shim.c", *library], check=True)
    with pytest.raises(SimulatorMismatch, match=rf"Self-check of Ant-v4: {sentence}\. Reinstall MuJoCo"):
        registry.make({**spec, "library": str(shim)})
    registry.make(registry.locate("Ant-v4"))  # the library itself is as good as before


def test_a_missing_library_another_library_and_a_missing_model_are_told(tmp_path):
    spec = registry.locate("Hopper-v5")
    with pytest.raises(SimulatorMismatch, match="library cannot be loaded"):
        registry.make({**spec, "library": str(tmp_path / "libmujoco.so")})
    with pytest.raises(SimulatorMismatch, match="cannot read"):
        registry.make({**spec, "model_file": str(tmp_path / "hopper.xml")})
    with pytest.raises(SimulatorMismatch, match=r"libc\.so\.6 has no `mj_loadXML`: edgedst needs MuJoCo 3\.2 or newer"):
        registry.make({**spec, "library": "libc.so.6"})


@pytest.mark.parametrize(("name", "size"), [("HalfCheetah-v4", 6), ("InvertedPendulum-v5", 1)])
def test_a_nan_action_is_told_with_its_step(name, size):
    """Also where neither observation nor reward would show it: of the pendulum MuJoCo acts 0 instead."""
    env = make(name)
    env.reset(0)
    with pytest.raises(EnvironmentFault, match=f"{name} was given an action of nan at index 0 in step 1 of an"):
        env.step(memoryview(array.array("f", [float("nan")] * size)))


def test_a_foreign_state_is_refused():
    env, other = make("HalfCheetah-v4"), make("Hopper-v4")
    with pytest.raises(CheckpointError, match="does not belong to HalfCheetah-v4"):
        env.set_state(other.state())
    with pytest.raises(CheckpointError, match="does not belong"):
        env.set_state(b"")
    # The episode's step count, then the host's own: a magic word, the version of MuJoCo.
    saved_by_3_3_7 = bytearray(other.state())  # of another size, too, as another version's mostly is
    saved_by_3_3_7[8:12] = (337).to_bytes(4, "little")
    with pytest.raises(CheckpointError, match=r"saved by MuJoCo 3\.3\.7 and this is .* `pip install mujoco==3\.3\.7`"):
        env.set_state(bytes(saved_by_3_3_7))


def test_wrong_buffers_are_refused():
    env = make("HalfCheetah-v4")
    env.reset(0)
    with pytest.raises(ValueError, match="step: `action` has 5 numbers, expected a buffer of 6 float32"):
        env.step(memoryview(array.array("f", [0] * 5)))
    with pytest.raises(ValueError, match="step: `action` has format 'd', expected a buffer of 6 float32"):
        env.step(memoryview(array.array("d", [0] * 3)))


def test_a_slice_of_the_observation_keeps_its_host_alive():
    host = make("Humanoid-v4")._host
    host.reset(0)
    expected, owners = list(host.observation[2:300]), sys.getrefcount(host)
    part = host.observation[2:300]
    assert sys.getrefcount(host) == owners + 1
    del host
    assert list(part) == expected
