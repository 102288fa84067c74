"""A small run folder in the checkpoint's format, made by hand: an actor of 3-8-5-2 with asymmetric action bounds.

Its best actor is another one, of half as many steps.
"""

import json
import zlib
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from actors import change_state
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from saved_runs import STATE

from edgedst.runs.state import state_bytes

SIZES = (3, 8, 5, 2)
LOW, HIGH = (-1.0, -0.25), (1.0, 4.0)

# A robot.py that writes down what happens to it. It observes counts of an encoder, an angle, and a battery's volts.
ROBOT_LOW, ROBOT_HIGH = (0.0, -0.2, 10.0), (4096.0, 0.2, 12.6)
ROBOT = f"""
import os, time

RATE_HZ = 500
EPISODE_SECONDS = 0.02
OBSERVATION = {list(zip(("counts", "rad", "V"), ROBOT_LOW, ROBOT_HIGH, strict=True))}
ACTION = [("left", -1.0, 1.0, 0.25), ("right", -0.25, 4.0)]
_log = os.open(os.path.join(os.path.dirname(__file__), "robot.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

def _told(*words):
    os.write(_log, (" ".join(map(str, words)) + "\\n").encode())

_told("import")

def start():
    _told("start")

def read_observation(size):
    _told("read", time.monotonic())
    return [2048.0, 0.1, 11.0]

def apply_action(action):
    _told("apply", *action)

def stop():
    _told("stop")

def reset():
    _told("reset")

def reward(observation, action, next_observation):
    return 1.0

def terminated(observation):
    return False
"""


def write_run(
    run: Path,
    rng: np.random.Generator,
    step: int = 1000,
    rows: int = 40,
    method: str = "ds-td3",
    env: str = "Fake-v0",
    **about,
) -> Path:
    """Write RUN/checkpoint; returns RUN. SAC's actor has 4 outputs: two means, two log sigma.

    `about`: what else its networks' metadata has.
    """
    sizes = (about["history"] * (3 + 2), *SIZES[1:]) if "history" in about else SIZES
    if method.endswith("sac"):
        sizes = (*sizes[:-1], 4)
    folder = run / "checkpoint"
    folder.mkdir(parents=True)
    about = {"env": Path(env).name, "method": method, **about}
    networks = write_actor(folder / f"networks-{step:09d}.safetensors", rng, sizes, step, 12.345678901234567, about)
    best = write_actor(folder / f"best-{step // 2:09d}.safetensors", rng, sizes, step // 2, 23.4, about)
    record = np.dtype([("observation", "<f2", 3), ("action", "<f2", 2), ("reward", "<f4"), ("flags", "u1")])
    replay = np.zeros(rows, dtype=record)
    replay["observation"] = rng.standard_normal((rows, 3))
    segments = []
    for number, part in enumerate(np.array_split(replay, 2)):
        content, first = part.tobytes(), number * (rows // 2)
        (folder / f"replay-{number}.bin").write_bytes(content)
        segments.append(
            {"file": f"replay-{number}.bin", "first": first, "rows": len(part), "crc32": zlib.crc32(content)}
        )
    state = {
        **STATE,
        **{"step": step, "env": env, "method": method, "seed": 7, "environment": "", "networks": networks},
        "best": {**best, "step": step // 2, "evaluation_return": 23.4},
        "replay": {
            **STATE["replay"],
            **{"row_bytes": record.itemsize, "rows_closed": rows, "capacity": 1000, "segments": segments},
        },
    }
    (folder / "state.json").write_bytes(state_bytes(state))
    return run


def write_actor(path: Path, rng: np.random.Generator, sizes, step, evaluation_return, about) -> dict:
    """Write an actor's file; returns state.json's record of it."""
    tensors = {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        total = inputs * outputs
        nnz = total if layer == 2 else total // 2  # the output layer is dense
        positions = np.sort(rng.choice(total, nnz, replace=False)).astype(np.uint32)
        tensors[f"actor.{layer}.indices"] = positions
        tensors[f"actor.{layer}.values"] = rng.standard_normal(nnz).astype(np.float32)
        tensors[f"actor.{layer}.bias"] = rng.standard_normal(outputs).astype(np.float32)
    about = {
        **about,
        "seed": 7,
        "step": step,
        "sizes": {"actor": sizes},
        "action_low": LOW,
        "action_high": HIGH,
        "evaluation_return": evaluation_return,
        "evaluation_sd": 0.5,
    }
    save_file(tensors, path, metadata={"edgedst": json.dumps(about)})
    content = path.read_bytes()
    return {"file": path.name, "bytes": len(content), "crc32": zlib.crc32(content)}


@pytest.fixture
def make_run(rng):
    """`write_run` with the test's generator."""
    return lambda run, **changes: write_run(run, rng, **changes)


@pytest.fixture
def run(tmp_path, make_run):
    """One run folder."""
    return make_run(tmp_path / "runs" / "Fake-v0" / "ds-td3" / "s7-20260102-030405")


@pytest.fixture(scope="session")
def arm():
    """The robot of `robot_run`: its file's text, bounds of its observations and of its actions."""
    return SimpleNamespace(text=ROBOT, bounds=(ROBOT_LOW, ROBOT_HIGH), low=LOW, high=HIGH)


@pytest.fixture
def robot_run(tmp_path, make_run):
    """A run that tmp_path/arm.py trained. It was stopped, so its summary has the rate."""
    path = tmp_path / "arm.py"
    path.write_text(ROBOT)
    run = tmp_path / "runs" / "arm" / "ds-td3" / "s7-20260102-030405"
    make_run(run, env=str(path), observation_low=ROBOT_LOW, observation_high=ROBOT_HIGH)
    (run / "config.toml").write_text(f"env = {json.dumps(str(path))}\n")
    (run / "summary.json").write_text(json.dumps({"real_time": {"rate_hz": 500.0}}))
    return run


@pytest.fixture
def change_about():
    """Rewrite a run's last actor: its metadata, or `text` in its place, and `tensors`; sizes and checksums come out."""

    def change(run: Path, text: str | None = None, tensors=(), **changes) -> None:
        state = json.loads((run / "checkpoint" / "state.json").read_text())
        path = run / "checkpoint" / state["networks"]["file"]
        with safe_open(path, "np") as file:
            about = json.loads(file.metadata()["edgedst"])
        metadata = json.dumps({**about, **changes}) if text is None else text
        save_file({**load_file(path), **dict(tensors)}, path, metadata={"edgedst": metadata})
        content = path.read_bytes()
        record = {"file": path.name, "bytes": len(content), "crc32": zlib.crc32(content)}
        change_state(run, networks=record)

    return change


@pytest.fixture
def reference():
    """The actor in NumPy, float64: what every implementation approximates."""

    def act(weights, observations):
        x = np.asarray(observations, dtype=np.float64)
        for layer in weights.layers:
            x = x @ layer.weight.T.astype(np.float64) + layer.bias
            x = np.tanh(x) if layer is weights.layers[-1] else np.maximum(x, 0)
        low, high = np.array(weights.action_low), np.array(weights.action_high)
        return low + (x + 1) / 2 * (high - low)

    return act


class FakeEnvironment:
    """Reward = sum of the action; ends after 5 steps; the observation counts seed and steps."""

    hardware = False
    applied = None

    def __init__(self, observation_size=3):
        self.observation_size, self.action_size = observation_size, 2
        self.step_seconds, self.max_episode_steps = 0.02, 5
        self.closed = 0
        self._buffer = np.zeros(observation_size)
        self.observation = memoryview(self._buffer)

    def close(self):
        self.closed += 1

    def reset(self, seed):
        self._buffer[:] = [seed, 0.0, 1.0]

    def step(self, action):
        self._buffer[1] += 1
        return float(sum(action)), False, self._buffer[1] == 5


@pytest.fixture
def registry(monkeypatch):
    environment = FakeEnvironment()
    monkeypatch.setattr("edgedst.envs.registry.locate", lambda env_id, **_: {"env": env_id})
    monkeypatch.setattr("edgedst.envs.registry.make", lambda spec: environment)
    return environment
