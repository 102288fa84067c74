"""Delay, noise and randomisation, from the command line to every place that plays a run's task."""

import json
import subprocess

import pytest
from training import edgedst, run_in, train

import edgedst as api
from edgedst import parse
from edgedst.errors import CheckpointError, ConfigError

TRAINED = ("--action-delay", "1..3", "--observation-noise", "0.05", "--randomize", "mass=0.7..1.4,friction=0.5..1.5")
SHORT = (
    *("--env", "Hopper-v5", "--budget-mb", "40", "--hidden", "16", "--steps", "400", "--start-steps", "200"),
    *("--eval-every", "200", "--eval-episodes", "1", "--no-progress"),
)
NONE = ("--action-delay", "0", "--observation-noise", "0", "--randomize", "none")


def run(*arguments, cwd, code=0):
    done = subprocess.run(edgedst(*arguments), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a run whose actor was exported."""
    folder = tmp_path_factory.mktemp("disturbed")
    train(folder, *SHORT, *TRAINED)
    run("export", "actor.onnx", cwd=folder)
    return folder


def returns(folder, *arguments):
    out, _ = run("evaluate", *arguments, "--episodes", "3", "--json", cwd=folder)
    return json.loads(out)["returns"]


def test_a_run_writes_them_down_and_goes_on_with_the_same_ones_only(folder):
    made = run_in(folder)
    written = parse.toml((made / "config.toml").read_bytes())
    assert (written["action_delay"], written["observation_noise"]) == ("1..3", [0.05])
    assert written["randomize"] == "mass=0.7..1.4,friction=0.5..1.5"
    _, told = run("train", "--resume", str(made), "--action-delay", "2", cwd=folder, code=1)
    assert "was started with action_delay = 1..3 and cannot go on with 2" in told


def test_evaluate_plays_a_run_as_it_was_trained_and_says_so(folder):
    made = str(run_in(folder))
    _, told = run("evaluate", made, "--episodes", "1", cwd=folder)
    assert told == f"Played as it was trained, with `{' '.join(TRAINED)}`; `{' '.join(NONE)}` plays without.\n"
    assert returns(folder, made) == pytest.approx(returns(folder, "actor.onnx", *TRAINED), rel=0.02)
    assert returns(folder, made, *TRAINED) == returns(folder, made) != returns(folder, made, *NONE)
    _, told = run("evaluate", made, "--episodes", "1", *TRAINED, cwd=folder)
    assert told == ""


def test_evaluate_overrides_one_of_them(folder):
    made = str(run_in(folder))
    _, told = run("evaluate", made, "--episodes", "1", *TRAINED[:4], "--randomize", "none", cwd=folder)
    assert told == ""
    _, told = run("evaluate", made, "--episodes", "1", *TRAINED[2:], cwd=folder)
    assert told == "Played as it was trained, with `--action-delay 1..3`; `--action-delay 0` plays without.\n"


def test_a_file_is_played_without_them_unless_they_are_typed(folder):
    made = str(run_in(folder))
    assert returns(folder, "actor.onnx") == pytest.approx(returns(folder, made, *NONE), rel=1e-3)


def test_another_task_is_played_without_a_runs_own(folder):
    out, told = run("evaluate", str(run_in(folder)), "--env", "Hopper-v4", "--episodes", "1", cwd=folder)
    assert "on Hopper-v4" in out
    assert told == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--action-delay", "3..1"), "`action_delay` must be a number of steps"),
        (("--observation-noise", "x"), "`observation_noise` must be a list of finite numbers"),
        (("--observation-noise", "-1"), "`observation_noise` must be at least 0"),
        (("--observation-noise", "1,2"), "`observation_noise` has 2 numbers, and Hopper-v5 has 11 observations"),
        (("--randomize", "weight=2"), "`randomize` knows no `weight`"),
        (("--env", "Pendulum-v1", "--randomize", "mass=2"), "Gymnasium makes this `Pendulum-v1`"),
    ],
)
def test_what_evaluate_and_train_cannot_do_is_one_sentence(folder, options, sentence):
    for command in (("evaluate", str(run_in(folder))), ("train", *SHORT), ("plan", *SHORT[:-1])):
        _, told = run(*command, *options, cwd=folder, code=1)
        assert sentence in told
        assert told.count("\n") == 1
    assert len(list((folder / "runs").glob("*/*/s*"))) == 1


def test_an_export_compares_returns_on_the_task_as_it_was_trained(folder):
    out, _ = run("export", "int8.onnx", "--dtype", "int8", "--max-return-drop", "90%", "--episodes", "2", cwd=folder)
    assert f"Played as it was trained, with `{' '.join(TRAINED)}`" in out
    assert "return: " in out


def test_from_python_they_are_arguments(folder):
    made = run_in(folder)
    plain = api.evaluate(made, episodes=2, action_delay=0, observation_noise=0.0, randomize="none")
    assert plain.notes == ()
    assert (
        plain.returns != api.evaluate(made, episodes=2, action_delay=2, observation_noise=0.0, randomize="none").returns
    )
    with pytest.raises(ConfigError, match="`action_delay` must be"):
        api.evaluate(made, action_delay="x")


def test_a_damaged_config_is_told_with_the_way_out(folder, tmp_path):
    made = tmp_path / "run"
    subprocess.run(["cp", "-r", run_in(folder), made], check=True)
    (made / "config.toml").write_text('env = "Hopper-v5"\naction_delay = "9..1"\n')
    with pytest.raises(CheckpointError, match="say it, `--action-delay 0 --observation-noise 0 --randomize none`"):
        api.evaluate(made)
    assert api.evaluate(made, episodes=1, action_delay=0, observation_noise=0, randomize="none").notes == ()


def test_the_plan_counts_the_model_of_each_environments_own(tmp_path):
    def environments_bytes(*options):
        out, _ = run("plan", *SHORT[:-1], *options, "--json", cwd=tmp_path)
        (size,) = [line["bytes"] for line in json.loads(out)["lines"] if line["name"] == "environments"]
        return size

    more = environments_bytes(*TRAINED) - environments_bytes()
    assert 250_000 < more < 1_500_000  # a second model of 0.5 MB, half of it a texture that is never looked at


def test_a_study_has_them_and_refuses_before_it_begins_what_cannot_be(tmp_path):
    study = "[settings]\nbudget_mb = 80\nhidden = [16, 16]\nsteps = 100\neval_episodes = 1\n[[grid]]\n"
    (tmp_path / "s.toml").write_text(f"{study}env = 'Hopper-v5'\naction_delay = [0, 2]\nrandomize = 'mass=0.7..1.4'\n")
    run("study", "run", "s.toml", "--no-progress", cwd=tmp_path)
    made = list((tmp_path / "studies" / "s" / "runs").glob("*/*/s*"))
    assert sorted(parse.toml((one / "config.toml").read_bytes())["action_delay"] for one in made) == ["0", "2"]
    (tmp_path / "t.toml").write_text(f"{study}env = ['Hopper-v5', 'Pendulum-v1']\nrandomize = 'mass=0.7..1.4'\n")
    _, told = run("study", "run", "t.toml", "--no-progress", cwd=tmp_path, code=1)
    assert "Gymnasium makes this `Pendulum-v1`" in told
    assert not list((tmp_path / "studies" / "t").glob("runs/*/*/s*"))
