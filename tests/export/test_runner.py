"""The runner that is copied onto a device, run as it is there: a script without edgedst."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from actors import difference_actor

from edgedst.deploy.onnx import build_model
from edgedst.deploy.session import sealed

DEEP = "[" * 100_000
RUNNER = Path(__file__).parents[2] / "export" / "runner" / "run_actor.py"


@pytest.fixture
def exported(tmp_path):
    """A 2-1 actor: action = 1 + 2 tanh(obs[0] - obs[1]), bounds -1 and 3."""
    (tmp_path / "actor.onnx").write_bytes(build_model(difference_actor()).SerializeToString())
    obs = np.linspace(-2, 2, 20, dtype=np.float32).reshape(10, 2)
    return tmp_path, obs, 1 + 2 * np.tanh(obs[:, :1] - obs[:, 1:])


def write_pairs(folder, obs, actions):
    lines = [f"{a:.9g},{b:.9g},{action:.9g}," for (a, b), (action,) in zip(obs, actions, strict=True)]
    (folder / "golden.csv").write_text("\n".join(["// a comment", *lines]) + "\n")
    return lines


def run(folder, *arguments):
    command = [sys.executable, "-I", str(RUNNER), "actor.onnx", "--steps", "20", *arguments]
    variables = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    home = {"HOME": str(folder / "home")}
    return subprocess.run(
        command, cwd=folder, env=variables | home, capture_output=True, text=True, timeout=120, check=False
    )


def test_runner_shows_metadata_checks_golden_pairs_and_times(exported):
    folder, obs, actions = exported
    write_pairs(folder, obs, actions)
    result = run(folder, "--golden", "golden.csv")
    assert result.returncode == 0, result.stderr
    assert 'environment          "Fake-v0"' in result.stdout
    assert "10 equal" in result.stdout
    assert "p99" in result.stdout
    assert "session              made in " in result.stdout
    assert "MB resident at the peak" in result.stdout
    assert not (folder / "home").exists()  # onnxruntime 1.32 would keep events there


def test_runner_fails_when_golden_pairs_differ(exported):
    folder, obs, actions = exported
    write_pairs(folder, obs, actions + np.float32(1e-3))
    result = run(folder, "--golden", "golden.csv")
    assert result.returncode == 1
    assert "an action differs by 3.3e-04, limit 1e-05" in result.stderr


def test_runner_refuses_golden_pairs_that_are_none(exported):
    folder, obs, actions = exported
    lines = write_pairs(folder, obs, actions)
    for spoiled, said in (("nan", "not finite"), ("x", "not convert"), ("0,1", "not of 2"), ("3", "differs by")):
        (folder / "golden.csv").write_text("\n".join([f"0,0,{spoiled},", *lines]) + "\n")
        result = run(folder, "--golden", "golden.csv")
        assert result.returncode == 1
        assert said in result.stderr


def test_runner_writes_the_actions_of_given_observations(exported):
    folder, obs, actions = exported
    np.save(folder / "observations.npy", obs)
    assert run(folder, "--observations", "observations.npy", "--actions", "actions.npy").returncode == 0
    np.testing.assert_allclose(np.load(folder / "actions.npy"), actions, atol=2e-6)
    np.save(folder / "observations.npy", obs[:, :1])
    assert "the actor wants (rows, 2)" in run(folder, "--observations", "observations.npy").stderr
    obs[3, 1] = np.nan
    np.save(folder / "observations.npy", obs)
    (folder / "actions.npy").unlink()
    refused = run(folder, "--observations", "observations.npy", "--actions", "actions.npy")
    assert refused.returncode == 1
    assert "has nan in row 3, place 1; nothing was run" in refused.stderr
    assert not (folder / "actions.npy").exists()


def test_runner_writes_actions_to_just_the_named_file_and_only_those_of_observations(exported):
    folder, obs, actions = exported
    np.save(folder / "observations.npy", obs)
    assert run(folder, "--observations", "observations.npy", "--actions", "actions.out").returncode == 0
    np.testing.assert_allclose(np.load(folder / "actions.out"), actions, atol=2e-6)
    assert not list(folder.glob("actions.out?*"))
    refused = run(folder, "--actions", "actions.npy")
    assert refused.returncode == 2
    assert "--actions is where the actions of --observations go" in refused.stderr


def test_runner_refuses_observations_that_are_no_npy(exported):
    folder, obs, _ = exported
    np.savez(folder / "several.npz", obs)
    np.save(folder / "objects.npy", np.array([{}]), allow_pickle=True)
    (folder / "empty.npy").touch()
    for name in ("several.npz", "objects.npy", "empty.npy"):
        result = run(folder, "--observations", name)
        assert result.returncode == 1
        assert result.stderr.startswith(f"run_actor: `{name}` is no .npy file of numbers (")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "the model has format 2; this runner reads 1"),
        ({"action_low": None}, "the model's metadata has no action_low"),
        ({"action_low": [-1, -1]}, "the model's metadata has other observation_size, action_size"),
        ({"action_high": ["3"]}, "the model's metadata has other observation_size, action_size"),
        ({"layers": DEEP}, "the model's metadata cannot be read: "),
    ],
)
def test_runner_refuses_a_model_that_it_does_not_know(change, said, exported):
    folder, _, _ = exported
    model = onnx.load(folder / "actor.onnx")
    about = {**json.loads(model.metadata_props[0].value), **change}
    text = json.dumps({key: value for key, value in about.items() if value is not None})
    model.metadata_props[0].value = text.replace(f'"{DEEP}"', DEEP)
    onnx.save(model, folder / "actor.onnx")
    result = run(folder)
    assert result.returncode == 1
    assert said in result.stderr


def test_runner_refuses_a_model_with_a_flipped_bit_before_it_is_loaded(exported, rng):
    folder, _, _ = exported
    content = sealed(build_model(difference_actor()))
    (folder / "actor.onnx").write_bytes(content)
    assert run(folder).returncode == 0
    place = content.index(b'"sha256":"')
    for bit in [*rng.choice(8 * place, 4), 8 * place + 8 * 12]:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / "actor.onnx").write_bytes(flipped)
        result = run(folder)
        assert result.returncode == 1
        assert (
            result.stderr
            == "run_actor: `actor.onnx` is not as it was exported: its checksum is another one; copy it again\n"
        )


def test_runner_refuses_a_model_of_another_width_than_it_says(exported):
    folder, _, _ = exported
    model = build_model(difference_actor())
    about = {
        **json.loads(model.metadata_props[0].value),
        "action_size": 2,
        "action_low": [-1, -1],
        "action_high": [3, 3],
    }
    model.metadata_props[0].value = json.dumps(about)
    onnx.save(model, folder / "actor.onnx")
    (folder / "golden.csv").write_text("0,0,1,1,\n")
    result = run(folder, "--golden", "golden.csv")
    assert result.returncode == 1
    assert "the model gives 1 actions and says 2; export it again" in result.stderr


def test_runner_refuses_golden_pairs_that_lost_some(exported):
    folder, obs, actions = exported
    lines = write_pairs(folder, obs, actions)
    (folder / "golden.csv").write_text("\n".join(["// seed 0, step 10; 10 pairs.", *lines[:9]]) + "\n")
    result = run(folder, "--golden", "golden.csv")
    assert result.returncode == 1
    assert "says that it has 10 pairs, and has 9" in result.stderr
