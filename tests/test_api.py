"""From Python: the functions that the command line is made of."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training import TINY, until

import edgedst
from edgedst.errors import BudgetExceeded, CheckpointError, ConfigError, EnvironmentFault

PAGE = (Path(__file__).parents[1] / "docs/api.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
SETTINGS = {
    **{"env": "InvertedPendulum-v5", "budget_mb": 40, "hidden": [32, 32], "steps": 600, "start_steps": 200},
    **{"eval_every": 200, "eval_episodes": 1, "evolve_every": 100, "replay_rows": 400, "checkpoint_every": 70},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return edgedst.train(run_dir=tmp_path_factory.mktemp("api") / "runs", **SETTINGS)


def test_the_example_of_the_documentation_runs(tmp_path):
    done = subprocess.run([sys.executable, "-c", EXAMPLE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "transitions of replay" in done.stdout
    assert {"actor.onnx", "golden.csv", "runs"} <= set(os.listdir(tmp_path))  # noqa: PTH208  # names


def test_a_run_is_trained_and_read(run):
    assert run.finished
    assert run.settings.env == "InvertedPendulum-v5"
    assert [step for step, _ in run.evaluations()] == [0, 200, 400, 600]
    assert (run.step, run.state()["step"]) == (600, 600)
    assert run.peak_bytes < 40_000_000
    assert run.metrics()[-1]["evaluation_episodes"] == 1


def test_it_is_the_run_that_the_command_trains(run, tmp_path):
    command = [sys.executable, "-m", "edgedst.cli.main", "train", *TINY]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (other,) = tmp_path.glob("runs/*/*/s*")
    assert edgedst.Run(other).evaluations() == run.evaluations()


def test_names_of_other_libraries_are_understood_and_wrong_ones_told(tmp_path):
    with pytest.raises(ConfigError, match="learning_rate"):
        edgedst.train(run_dir=tmp_path, learning_rte=1e-3)
    for time in ("soon", "1h30", "90s5"):
        with pytest.raises(ConfigError, match="no time"):
            edgedst.train(run_dir=tmp_path, stop_after=time)
    with pytest.raises(ConfigError, match="`--stop-at-return` must be a finite number and is 'much'"):
        edgedst.train(run_dir=tmp_path, stop_at_return="much")
    plan = edgedst.plan(env="InvertedPendulum-v5", net_arch=[32, 32], buffer_size=1e4)
    assert plan["replay_rows"] == 10_000
    assert plan["notes"][0].startswith("ds-td3 leaves no weight out: lambda2 = 64 fills hidden layers of 32, 32. `--sp")
    assert list(tmp_path.iterdir()) == []


def test_values_of_numpy_and_paths_are_settings_too(run, tmp_path):
    given = {**SETTINGS, "steps": np.int64(210), "hidden": [np.int32(32), 32], "tau": np.float32(0.25)}
    given["learning_rate"] = np.float64(2e-3)
    other = edgedst.train(run_dir=tmp_path, init_from=run.folder, **given)
    assert (other.settings.learning_rate, other.settings.tau) == (2e-3, 0.25)
    assert other.settings.init_from == str(run.folder)
    assert edgedst.train(resume=other.folder, steps=220).step == 220


def test_what_goes_wrong_is_raised_by_its_class(tmp_path, capfd, monkeypatch):
    task = "import gymnasium\ngymnasium.register('Raises-v0', lambda: 1 / 0)"
    (tmp_path / "raises.py").write_text(task, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BudgetExceeded, match=r"needs at least .* Try `--budget-mb"):
        edgedst.train(run_dir=tmp_path, budget_mb=12)
    with pytest.raises(BudgetExceeded):
        edgedst.plan(budget_mb=12)
    with pytest.raises(CheckpointError, match="is no run folder"):
        edgedst.train(run_dir=tmp_path, resume=tmp_path)
    with pytest.raises(EnvironmentFault, match="raised ZeroDivisionError"):
        edgedst.train(run_dir=tmp_path, env="raises:Raises-v0", budget_mb=90)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "package", "extra"),
    [
        ("evaluate(run, episodes=1, video='a.mp4')", "imageio", "video"),
        ("export(run, 'a.onnx')", "onnx", "export"),
        ("log(run, transitions='a.parquet')", "pyarrow", "logs"),
        ("Actor.load('a.onnx')", "onnxruntime", "export"),
    ],
)
def test_a_missing_extra_is_raised_with_the_sentence_of_the_command(call, package, extra, run, tmp_path):
    (tmp_path / "a.onnx").touch()
    code = f"import sys; sys.modules[{package!r}] = None; import edgedst; run = {str(run.folder)!r}\n"
    code += f"try: edgedst.{call}\n"
    code += "except ModuleNotFoundError as error: print(isinstance(error, edgedst.errors.EdgedstError), error)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"True This needs {package}, which is not installed: `pip install 'edgedst[{extra}]'`.\n"


def test_a_run_goes_on(run, tmp_path):
    stopped = edgedst.train(run_dir=tmp_path, stop_at_return=-1e9, **SETTINGS)
    assert (stopped.finished, stopped.summary["exit_reason"], stopped.step) == (False, "stopped", 0)
    again = edgedst.train(resume=stopped.folder)
    assert again.folder == stopped.folder
    assert again.finished
    assert again.evaluations() == run.evaluations()
    with pytest.raises(BudgetExceeded, match=r"Try `edgedst train --resume .* --steps 700 --budget-mb [\d.]+`\.$"):
        edgedst.train(resume=again, steps=700, budget_mb=14)


def test_training_stops_after_a_time(tmp_path):
    stopped = edgedst.train(run_dir=tmp_path, stop_after=0.2, **{**SETTINGS, "steps": 10**9})
    assert stopped.summary["exit_reason"] == "stopped"
    assert stopped.state()["step"] == stopped.summary["step"] > 0


def test_ctrl_c_ends_a_training_with_a_checkpoint(tmp_path):
    code = f"import edgedst; edgedst.train(run_dir='runs', **{ {**SETTINGS, 'steps': 10**9}!r})"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    until(lambda: list(tmp_path.glob("runs/*/*/*/checkpoint/state.json")), process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in err
    (run,) = map(edgedst.Run, tmp_path.glob("runs/*/*/s*"))
    assert run.summary["exit_reason"] == "interrupted"


def test_an_actor_acts_as_the_exported_one_does(run, tmp_path):
    actor = edgedst.Actor.load(run.folder)
    edgedst.export(run.folder, tmp_path / "actor.onnx")
    exported = edgedst.Actor.load(tmp_path / "actor.onnx")
    assert (actor.source, exported.source) == ("native", "onnxruntime")
    assert (actor.observation_size, actor.action_size) == (exported.observation_size, exported.action_size) == (4, 1)
    for observation in np.random.default_rng(0).normal(size=(20, 4)):
        acted = actor.act(observation)
        assert acted.dtype == np.float32
        assert acted == pytest.approx(exported.act(observation), abs=3e-5)  # 1e-5 of a bound of 3
        assert actor.act(list(observation)) == acted
    for wrong, words in (([0.0] * 3, r"shape \(3,\)"), (np.zeros((1, 4)), r"shape \(1, 4\)"), ([0, 1e39, 0, 0], "1e")):
        for one in (actor, exported):
            with pytest.raises(
                ConfigError, match=f"`act` takes one observation of .*, 4 finite numbers, and got {words}"
            ):
                one.act(wrong)
    with pytest.raises(ConfigError, match="got nan at index 3"):
        actor.act([0, 0, 0, float("nan")])
    edgedst.export(run, tmp_path / "actor.c")
    with pytest.raises(CheckpointError, match=r"actor\.c` is an actor in C, which the `run_c`"):
        edgedst.Actor.load(tmp_path / "actor.c")
    assert edgedst.evaluate(run, episodes=2).returns == pytest.approx(
        edgedst.evaluate(tmp_path / "actor.onnx", episodes=2).returns
    )


def test_the_lean_trainer_loads_nothing_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEDST_MODULES", str(tmp_path / "modules.json"))
    edgedst.train(run_dir=tmp_path, **SETTINGS)
    loaded = json.loads((tmp_path / "modules.json").read_text(encoding="utf-8"))
    assert "edgedst.trainer" in loaded
    assert not [name for name in loaded if name.startswith(("edgedst.api", "edgedst.launch"))]
