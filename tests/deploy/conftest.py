"""A small run folder in the checkpoint's format, made by hand: an actor of 3-8-5-2 with asymmetric action bounds."""

import json
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

SIZES = (3, 8, 5, 2)
LOW, HIGH = (-1.0, -0.25), (1.0, 4.0)


def write_run(run: Path, rng: np.random.Generator, step: int = 1000, rows: int = 40, method: str = "ds-td3") -> Path:
    """Write RUN/checkpoint; returns RUN. SAC's actor has 4 outputs: two means, two log sigma."""
    sizes = (*SIZES[:-1], 4) if method.endswith("sac") else SIZES
    folder = run / "checkpoint"
    folder.mkdir(parents=True)
    tensors = {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        total = inputs * outputs
        nnz = total if layer == 2 else total // 2  # the output layer is dense
        positions = np.sort(rng.choice(total, nnz, replace=False)).astype(np.uint32)
        tensors[f"actor.{layer}.indices"] = positions
        tensors[f"actor.{layer}.values"] = rng.standard_normal(nnz).astype(np.float32)
        tensors[f"actor.{layer}.bias"] = rng.standard_normal(outputs).astype(np.float32)
    about = {
        "env": "Fake-v0",
        "method": method,
        "seed": 7,
        "step": step,
        "sizes": {"actor": sizes},
        "action_low": LOW,
        "action_high": HIGH,
        "evaluation_return": 12.345678901234567,
        "evaluation_sd": 0.5,
    }
    name = f"networks-{step:09d}.safetensors"
    save_file(tensors, folder / name, metadata={"edgedst": json.dumps(about)})
    record = np.dtype([("observation", "<f2", 3), ("action", "<f2", 2), ("reward", "<f4"), ("flags", "u1")])
    replay = np.zeros(rows, dtype=record)
    replay["observation"] = rng.standard_normal((rows, 3))
    segments = []
    for number, part in enumerate(np.array_split(replay, 2)):
        content = part.tobytes()
        (folder / f"replay-{number}.bin").write_bytes(content)
        segments.append({"file": f"replay-{number}.bin", "rows": len(part), "crc32": zlib.crc32(content)})
    content = (folder / name).read_bytes()
    state = {
        "format": 1,
        "edgedst": "0.1.0",
        "step": step,
        "env": "Fake-v0",
        "method": method,
        "seed": 7,
        "networks": {"file": name, "bytes": len(content), "crc32": zlib.crc32(content)},
        "replay": {"dtype": "float16", "row_bytes": record.itemsize, "rows_closed": rows, "segments": segments},
    }
    (folder / "state.json").write_text(json.dumps(state))
    return run


@pytest.fixture
def make_run(rng):
    """`write_run` with the test's generator."""
    return lambda run, **changes: write_run(run, rng, **changes)


@pytest.fixture
def run(tmp_path, make_run):
    """One run folder."""
    return make_run(tmp_path / "runs" / "Fake-v0" / "ds-td3" / "s7-20260102-030405")


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
