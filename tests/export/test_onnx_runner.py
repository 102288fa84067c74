"""run_actor.cpp, built against onnxruntime's C headers and run with the library that onnxruntime's wheel brings."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from actors import overflowing_actor, random_actor

from edgedst.deploy.agreement import largest_difference, reference_actions
from edgedst.deploy.golden import write_golden
from edgedst.deploy.onnx import build_model
from tools import require_tool

RUNNER = Path(__file__).parents[2] / "export" / "runner"
# No wheel has the headers: a release archive, a distribution's package, or the folder that the variable names.
HEADERS = [os.environ.get("EDGEDST_ONNXRUNTIME_INCLUDE", ""), "/usr/local/include", "/usr/include/onnxruntime"]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """The program, built once."""
    found = [folder for folder in HEADERS if folder and (Path(folder) / "onnxruntime_c_api.h").is_file()]
    if not found:
        pytest.skip("needs onnxruntime_c_api.h; EDGEDST_ONNXRUNTIME_INCLUDE names its folder")
    folder = tmp_path_factory.mktemp("onnx-runner")
    (folder / "lib").mkdir()
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # as in a release archive
        (folder / "lib" / name).symlink_to(library)
    places = [f"ORT_INCLUDE={found[0]}", "ORT_LIB=lib", f"CXX={require_tool('c++', 'g++')}", "CXXFLAGS=-O1 -Werror"]
    command = [require_tool("make"), "-f", RUNNER / "Makefile", "run_onnx", *places]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "run_onnx"


@pytest.fixture
def exported(tmp_path, rng):
    """actor.onnx and golden.csv of a 17-32-6 actor, the actor, and what the native actor does."""
    actor = random_actor(rng, (17, 32, 6), (0.5, 1.0))
    (tmp_path / "actor.onnx").write_bytes(build_model(actor).SerializeToString())
    reference = reference_actions(actor, np.zeros((0, 17), dtype=np.float32))
    write_golden(actor, reference, tmp_path / "golden.csv")
    return tmp_path, actor, reference


def run(runner, folder, *arguments, text=""):
    command = [runner, *arguments]
    return subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)


def test_the_runner_shows_the_metadata_checks_the_pairs_and_times_a_step(runner, exported):
    folder, _, _ = exported
    result = run(runner, folder, "actor.onnx", "golden.csv")
    assert result.returncode == 0, result.stderr
    assert "golden pairs  64 equal" in result.stderr
    (about, times) = result.stdout.splitlines()
    assert json.loads(about.removeprefix("actor"))["environment"] == "Fake-v0"
    assert "p50" in times
    assert "p99" in times


def test_the_runner_acts_as_the_native_actor(runner, exported):
    folder, actor, reference = exported
    rows = "".join(" ".join(map(repr, map(float, row))) + "\n" for row in reference.observations)
    result = run(runner, folder, "actor.onnx", "golden.csv", "-", text=rows)
    assert result.returncode == 0, result.stderr
    actions = np.array([line.split(",") for line in result.stdout.splitlines()], dtype=np.float32)
    assert largest_difference(actions, reference.actions, actor).share <= 2e-6  # onnxruntime's tanh is good to 3e-7


def test_the_runner_refuses_to_run_when_golden_pairs_differ(runner, exported):
    folder, _, _ = exported
    comments, pairs = [], []
    for line in (folder / "golden.csv").read_text().splitlines():
        (comments if line.startswith("//") else pairs).append(line)
    numbers = pairs[9].split(",")
    numbers[17 + 1] = repr(float(numbers[17 + 1]) + 4 * 2e-5)  # action 1, whose larger bound is 4
    pairs[9] = ",".join(numbers)
    (folder / "golden.csv").write_text("\n".join([*comments, *pairs]) + "\n")
    for arguments in ((), ("-",)):
        result = run(runner, folder, "actor.onnx", "golden.csv", *arguments, text="0 " * 17)
        assert result.returncode == 1
        assert "an action differs by 2.0e-05, limit 1e-05" in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize(
    ("golden", "said"),
    [
        ("0,0,0,\n", "line 1 has 3 numbers; expected 23"),
        ("// a comment\n" + "0," * 16 + "nan," + "0," * 6 + "\n", "line 2: number 17 is not a finite number"),
        ("// nothing\n", "has no pairs"),
        (None, "cannot be read. Make it with `edgedst export --golden`"),
    ],
)
def test_the_runner_refuses_pairs_that_it_cannot_use(golden, said, runner, exported):
    folder, _, _ = exported
    (folder / "golden.csv").unlink()
    if golden is not None:
        (folder / "golden.csv").write_text(golden)
    result = run(runner, folder, "actor.onnx", "golden.csv")
    assert result.returncode == 1
    assert said in result.stderr


def test_the_runner_refuses_observations_and_files_that_it_cannot_use(runner, exported):
    folder, _, _ = exported
    result = run(runner, folder, "actor.onnx", "golden.csv", "-", text="0 " * 17 + "\n" + "0 " * 16 + "inf\n")
    assert result.returncode == 1
    assert "row 2: number 17 is not a finite number" in result.stderr
    assert len(result.stdout.splitlines()) == 1
    (folder / "other.onnx").write_bytes(b"not ONNX")
    result = run(runner, folder, "other.onnx", "golden.csv")
    assert result.returncode == 1
    assert f"onnxruntime {onnxruntime.__version__}:" in result.stderr
    assert run(runner, folder, "actor.onnx").returncode == 2


def test_the_runner_passes_on_no_action_that_is_not_finite(runner, tmp_path):
    (tmp_path / "actor.onnx").write_bytes(build_model(overflowing_actor()).SerializeToString())
    (tmp_path / "golden.csv").write_text("0,0,1,\n")
    result = run(runner, tmp_path, "actor.onnx", "golden.csv", "-", text="0 0\n3e38 -3e38\n")
    assert result.returncode == 1
    assert "row 2: an action is not finite" in result.stderr
    assert result.stdout == "1\n"


def test_the_runner_refuses_another_format(runner, exported):
    folder, _, _ = exported
    model = onnx.load(folder / "actor.onnx")
    about = json.loads(model.metadata_props[0].value)
    model.metadata_props[0].value = json.dumps({**about, "format": 2}, separators=(",", ":"))
    onnx.save(model, folder / "actor.onnx")
    result = run(runner, folder, "actor.onnx", "golden.csv")
    assert result.returncode == 1
    assert "has a format that this runner does not read" in result.stderr
