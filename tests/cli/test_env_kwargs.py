"""Arguments of an environment, from the command line to every place that makes it."""

import json
import subprocess
from pathlib import Path

import pytest
from training import edgedst, run_in, summary, train

from edgedst import parse
from edgedst.config import TrainConfig
from edgedst.deploy.environment import chosen_arguments
from edgedst.envs import registry
from edgedst.errors import CheckpointError, EnvironmentFault

ENV = "scripted:Arm-v0"
KWARGS = {"port": "/dev/ttyUSB0", "gain": 2.5, "seconds": 0.05}
SHORT = (
    *("--env", ENV, "--env-kwargs", json.dumps(KWARGS), "--budget-mb", "80", "--hidden", "16", "--steps", "300"),
    *("--start-steps", "100", "--eval-every", "200", "--eval-episodes", "1", "--checkpoint-every", "100"),
    "--no-progress",
)


@pytest.fixture(scope="module", autouse=True)
def scripted_is_found(request):
    """By the processes that are started here, too."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a run in a process of its own, whose actor was exported."""
    folder = tmp_path_factory.mktemp("arm")
    train(folder, *SHORT, "--env-process")
    assert run("export", "actor.onnx", "--max-return-drop", "1%", "--episodes", "1", "--env", ENV, cwd=folder)
    return folder


def run(*arguments, cwd, code=0):
    done = subprocess.run(edgedst(*arguments), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_run_is_trained_with_them_and_writes_them_down(folder):
    made = run_in(folder)
    assert parse.toml((made / "config.toml").read_bytes())["env_kwargs"] == KWARGS
    assert summary(made)["R"] == 250
    again = folder / "again"
    again.mkdir()
    train(again, "--config", str(made / "config.toml"))
    assert summary(run_in(again))["R"] == 250


def test_a_run_goes_on_with_the_same_ones_only(folder):
    made = run_in(folder)
    _, told = train(folder, "--resume", str(made), "--env-kwargs", '{"port": "/dev/ttyUSB1"}', code=1)
    assert f"was started with env_kwargs = {dict(sorted(KWARGS.items()))} and cannot go on with" in told


def test_evaluate_plays_a_run_with_its_own_and_a_file_with_those_that_are_typed(folder):
    made = str(run_in(folder).relative_to(folder))
    assert "return 250.0" in run("evaluate", made, "--episodes", "1", cwd=folder)
    other = ("--env-kwargs", '{"port": "a", "gain": 1}')
    assert "return 100.0" in run("evaluate", made, "--episodes", "1", *other, cwd=folder)
    file = ("evaluate", "actor.onnx", "--env", ENV, "--episodes", "1")
    assert "return 100.0" in run(*file, *other, cwd=folder)
    assert """Give it `--env-kwargs '{"port": ...}'`""" in run(*file, cwd=folder, code=1)


def test_a_bundle_has_the_rate_of_the_environment_with_them(folder):
    assert "loop: 20 times a second, as in training" in run("export", "--bundle", "kit", cwd=folder)
    slower = ("--env-kwargs", '{"port": "a", "seconds": 0.1}')
    assert "loop: 10 times" in run("export", "--bundle", "kit-10", *slower, cwd=folder)


def test_a_file_needs_none(folder):
    assert "leave out `--env-kwargs`" in run("export", "a.onnx", "--env-kwargs", "{}", cwd=folder, code=1)


def test_plan_makes_the_environment_with_them(tmp_path):
    assert "Smallest budget" in run("plan", *SHORT[:6], cwd=tmp_path)
    assert "'port'" in run("plan", *SHORT[:2], *SHORT[4:6], cwd=tmp_path, code=1)


def test_a_study_has_them_too(tmp_path):
    study = f"[settings]\nbudget_mb = 80\nhidden = [16, 16]\nsteps = 100\neval_episodes = 1\n[[grid]]\nenv = '{ENV}'\n"
    study += "env_kwargs = [{port = 'a', gain = 1.0}, {port = 'a', gain = 2.0}]\n"
    (tmp_path / "s.toml").write_text(study, encoding="utf-8")
    run("study", "run", "s.toml", "--no-progress", cwd=tmp_path)
    runs = (tmp_path / "studies" / "s" / "runs").glob("*/*/s*")
    assert sorted(summary(made)["R"] for made in runs) == [100, 200]


def test_a_native_task_with_arguments_is_made_by_gymnasium():
    kwargs = {"include_cfrc_ext_in_observation": False}
    assert registry.locate("Ant-v5", kwargs={})["host"] == "mujoco"
    spec = registry.locate("Ant-v5", kwargs=kwargs)
    assert spec["host"] == "gymnasium"
    env = registry.make(spec)
    assert env.observation_size == 27
    env.close()
    assert registry.locate("Ant-v5", process=True, kwargs=kwargs)["kwargs"] == kwargs


@pytest.mark.parametrize("process", [False, True])
def test_an_argument_that_it_does_not_have_is_a_sentence(process):
    for kwargs in ({"port": "a", "where": 1}, {"port": "a", "max_episode_steps": 1}):
        with pytest.raises(EnvironmentFault, match=r"construction.* unexpected keyword argument"):
            registry.make(registry.locate(ENV, process, kwargs=kwargs))


def test_a_run_s_arguments_are_of_its_own_environment_only(tmp_path):
    assert chosen_arguments(tmp_path, ENV, None) == {}
    path = tmp_path / "config.toml"
    path.write_text(TrainConfig(env=ENV, env_kwargs='{"port": "a"}').toml(), encoding="utf-8")
    assert chosen_arguments(tmp_path, ENV, None) == {"port": "a"}
    assert chosen_arguments(tmp_path, ENV, {}) == {}
    assert chosen_arguments(tmp_path, "Pendulum-v1", None) == {}
    path.write_text("env_kwargs = 3", encoding="utf-8")
    assert chosen_arguments(tmp_path, ENV, None) == {}
    with pytest.raises(CheckpointError, match=r"must be an object.* `--env-kwargs '\{\}'` for nothing"):
        chosen_arguments(tmp_path, "HalfCheetah-v4", None)
