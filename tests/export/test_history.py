"""An actor with a normaliser and a history, run on a device: each runner keeps the memory, and clips, as it should."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from actors import normalizer, random_actor, seeing

from edgedst.deploy.actor import Actor
from edgedst.deploy.c_source import build_source
from edgedst.deploy.onnx import build_model, export_actor
from edgedst.deploy.packing import DTYPES, quantised
from edgedst.deploy.session import sealed
from tools import require_tool

RUNNER = Path(__file__).parents[2] / "export" / "runner"
HEADERS = [os.environ.get("EDGEDST_ONNXRUNTIME_INCLUDE", ""), "/usr/local/include", "/usr/include/onnxruntime"]
FLOATS = ctypes.POINTER(ctypes.c_float)
SEEN = {"history": 4, "observation_size": 3, "normalizer": normalizer([300.0, -0.2, 0.5], [0.01, 0.7, 1.3])}
MACHINES = {
    "x86-64": ("cc", None),
    "AArch64": ("aarch64-linux-gnu-gcc", "qemu-aarch64-static"),
    "32-bit ARM": ("arm-linux-gnueabihf-gcc", "qemu-arm-static"),
}


@pytest.fixture
def actor(rng):
    """20-32-16-2: four observations of three numbers, four actions of two."""
    return seeing(random_actor(rng, (20, 32, 16, 2), (0.3, 0.5, 1.0)), **SEEN)


@pytest.fixture
def board(actor, tmp_path):
    """A folder with every form of it."""
    export_actor(actor, tmp_path / "actor.onnx", np.zeros((0, 20), np.float32), golden=tmp_path / "golden.csv")
    write_c(actor, tmp_path)
    for name in ("run_actor.py", "control_loop.py"):
        shutil.copy(RUNNER / name, tmp_path)
    return tmp_path


def write_c(actor, folder, dtype="fp32"):
    source = build_source(actor, "actor", dtype)
    (folder / "actor.c").write_text(source.code)
    (folder / "actor.h").write_text(source.header)
    return source


def observed(rng, rows=24):
    """(rows, 3) float32, some of them beyond the clip."""
    told = SEEN["normalizer"]
    z = rng.standard_normal((rows, 3))
    z[::8] *= 20
    return (np.array(told["mean"]) + z * told["scale"]).astype(np.float32)


def played(actor, observations, *resets):
    """What the native actor does."""
    player, actions = Actor.of(actor), []
    for row, observation in enumerate(observations):
        if row in resets:
            player.reset()
        actions.append(player.act(observation))
    return np.array(actions)


def as_text(observations, *resets):
    lines = [",".join(f"{number:.9g}" for number in observation) + "\n" for observation in observations]
    return "".join(("reset\n" if row in resets else "") + line for row, line in enumerate(lines))


def run(folder, *command, text=""):
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def rows_of(text):
    return np.array([line.split(",") for line in text.splitlines()], dtype=np.float32)


# --- C ---------------------------------------------------------------------------------------------------------------


def make(folder, compiler, *options):
    flags = " ".join(["-O2", "-Werror", *options])
    run(folder, require_tool("make"), "-f", RUNNER / "Makefile", "run_c", f"CC={compiler}", f"CFLAGS={flags}")


@pytest.mark.parametrize("machine", MACHINES)
def test_the_runner_in_c_plays_episodes(machine, board, actor, rng):
    compiler, emulator = MACHINES[machine]
    require_tool(compiler)
    emulator = [require_tool(emulator)] if emulator else []
    make(board, compiler, "-static")
    shown, said = run(board, *emulator, "./run_c")
    assert "golden pairs  64 equal" in said
    assert "p50" in shown
    observations = observed(rng)
    acted, _ = run(board, *emulator, "./run_c", "-", text=as_text(observations, 10))
    np.testing.assert_allclose(rows_of(acted), played(actor, observations, 10), atol=4e-5)  # 1e-5 of a bound of 4


def test_the_runner_in_c_refuses_episodes_in_another_order(board):
    lines = (board / "golden.csv").read_text().splitlines()
    lines[-1], lines[-2] = lines[-2], lines[-1]
    (board / "golden.csv").write_text("\n".join(lines) + "\n")
    make(board, require_tool("cc"))
    refused = subprocess.run(["./run_c"], cwd=board, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "an action differs from its golden pair" in refused.stderr


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compiler", ["cc", "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc", "arm-none-eabi-gcc"])
def test_the_file_compiles_without_a_warning(compiler, dtype, actor, tmp_path, rng):
    alone = {"normalizer": SEEN["normalizer"]}
    one_step = {"history": 1, "observation_size": 3}
    others = [seeing(random_actor(rng, (3, 8, 2), (0.5, 1.0)), **alone)]
    others.append(seeing(random_actor(rng, (5, 8, 2), (0.5, 1.0)), **one_step))
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion"]
    for one in (actor, *others):
        write_c(one, tmp_path, dtype)
        for level in ("-O0", "-Os", "-O3"):
            run(tmp_path, require_tool(compiler), *strict, level, "-c", "actor.c")


class Library:
    """The actor in C, by its three functions."""

    def __init__(self, folder):
        command = [require_tool("cc", "gcc", "clang"), "-std=c99", "-O2", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", "actor.so", "actor.c", "-lm"], cwd=folder, check=True)
        self.loaded = ctypes.CDLL(str(folder / "actor.so"))

    def act(self, observation):
        observation, action = np.ascontiguousarray(observation, dtype=np.float32), np.zeros(2, np.float32)
        self.loaded.edgedst_act(observation.ctypes.data_as(FLOATS), action.ctypes.data_as(FLOATS))
        return action

    def applied(self, action):
        action = np.ascontiguousarray(action, dtype=np.float32)
        self.loaded.edgedst_applied(action.ctypes.data_as(FLOATS))

    def reset(self):
        self.loaded.edgedst_reset()


@pytest.mark.parametrize("dtype", DTYPES)
def test_c_remembers_forgets_and_is_told_of_limits_as_the_native_actor(dtype, actor, tmp_path, rng):
    write_c(actor, tmp_path, dtype)
    library, native = Library(tmp_path), Actor.of(quantised(actor, dtype))
    for row, observation in enumerate(observed(rng, 40)):
        if row % 15 == 0:
            library.reset()
            native.reset()
        expected, action = native.act(observation), library.act(observation)
        np.testing.assert_allclose(action, expected, atol=4e-5)
        if row % 3:
            library.applied(expected / 2)
            native.applied(expected / 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_observation_that_is_not_finite_is_not_remembered_by_c(bad, actor, tmp_path, rng):
    write_c(actor, tmp_path)
    library, observations = Library(tmp_path), observed(rng, 6)
    expected = [library.act(row) for row in observations]
    library.reset()
    for row, before in zip(observations, expected, strict=True):
        for place in range(3):
            spoiled = row.copy()
            spoiled[place] = bad
            assert np.isnan(library.act(spoiled)).all()
        assert (library.act(row) == before).all()


def test_a_normaliser_alone_takes_no_nan_for_a_number(tmp_path, rng):
    actor = seeing(random_actor(rng, (3, 8, 2), (0.5, 1.0)), normalizer=SEEN["normalizer"])
    write_c(actor, tmp_path)
    library = Library(tmp_path)
    good = observed(rng, 2)[1]
    before = library.act(good)
    for bad in (np.nan, np.inf, -np.inf):
        for place in range(3):
            spoiled = good.copy()
            spoiled[place] = bad
            assert np.isnan(library.act(spoiled)).all()
    assert (library.act(good) == before).all()


# --- ONNX ------------------------------------------------------------------------------------------------------------


def test_run_actor_py_plays_episodes(board, actor, rng):
    observations = observed(rng)
    np.save(board / "observations.npy", observations)
    command = [sys.executable, "-I", "run_actor.py", "actor.onnx", "--golden", "golden.csv", "--steps", "20"]
    shown, _ = run(board, *command, "--observations", "observations.npy", "--actions", "actions.npy")
    assert "golden pairs         64 equal" in shown
    assert "history              4" in shown
    assert "step microseconds    p50" in shown
    np.testing.assert_allclose(np.load(board / "actions.npy"), played(actor, observations), atol=4e-5)
    lines = (board / "golden.csv").read_text().splitlines()
    lines[-1], lines[-2] = lines[-2], lines[-1]
    (board / "golden.csv").write_text("\n".join(lines) + "\n")
    refused = subprocess.run(command, cwd=board, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "an action differs by" in refused.stderr


@pytest.mark.parametrize("change", [{"history": -1}, {"history": "4"}, {"start_action": [0.0]}, {"start_action": 1}])
def test_run_actor_py_refuses_a_history_that_is_none(change, board, actor):
    model = build_model(actor)
    entry = model.metadata_props[0]
    entry.value = json.dumps(json.loads(entry.value) | change)
    (board / "actor.onnx").write_bytes(sealed(model))
    command = [sys.executable, "-I", "run_actor.py", "actor.onnx", "--golden", "golden.csv"]
    refused = subprocess.run(command, cwd=board, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr == "run_actor: the model's metadata has another history than an actor; export it again\n"


def test_run_actor_cpp_plays_episodes(board, actor, rng):
    found = [folder for folder in HEADERS if folder and (Path(folder) / "onnxruntime_c_api.h").is_file()]
    if not found:
        pytest.skip("needs onnxruntime_c_api.h; EDGEDST_ONNXRUNTIME_INCLUDE names its folder")
    (board / "lib").mkdir()
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (board / "lib" / name).symlink_to(library)
    places = [f"ORT_INCLUDE={found[0]}", "ORT_LIB=lib", f"CXX={require_tool('c++', 'g++')}", "CXXFLAGS=-O1 -Werror"]
    run(board, require_tool("make"), "-f", RUNNER / "Makefile", "run_onnx", *places)
    shown, said = run(board, "./run_onnx", "actor.onnx", "golden.csv")
    assert "golden pairs  64 equal" in said
    assert "p50" in shown
    observations = observed(rng)
    acted, _ = run(board, "./run_onnx", "actor.onnx", "golden.csv", "-", text=as_text(observations, 10))
    np.testing.assert_allclose(rows_of(acted), played(actor, observations, 10), atol=4e-5)
    lines = (board / "golden.csv").read_text().splitlines()
    lines[-1], lines[-2] = lines[-2], lines[-1]
    (board / "golden.csv").write_text("\n".join(lines) + "\n")
    refused = subprocess.run(
        ["./run_onnx", "actor.onnx", "golden.csv"], cwd=board, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "an action differs by" in refused.stderr


ROBOT = """
ACTION = [("left", -1.0, 1.0, 0.25), ("right", -0.25, 4.0)]
observations = iter({observations})

def start():
    pass

def read_observation(size):
    return next(observations)

def apply_action(action):
    print("act", *action, flush=True)

def stop():
    pass
"""


def test_the_loop_remembers_the_action_that_its_limits_allowed(board, actor, rng):
    observations = observed(rng, 12)
    (board / "robot.py").write_text(ROBOT.format(observations=observations.tolist()))
    loop = [sys.executable, "-I", "control_loop.py", "actor.onnx", "--golden", "golden.csv"]
    shown, _ = run(board, *loop, "--rate", "200", "--steps", "12")
    applied = [[float(n) for n in line.split()[1:]] for line in shown.splitlines() if line.startswith("act ")]
    player, last, limited = Actor.of(actor), 0.0, 0
    for observation, action in zip(observations, applied, strict=True):
        wanted = player.act(observation)
        allowed = max(last - 0.25, min(last + 0.25, float(wanted[0])))
        limited += allowed != wanted[0]
        np.testing.assert_allclose(action, [allowed, wanted[1]], atol=4e-5)
        player.applied(action)
        last = action[0]
    assert limited >= 2
