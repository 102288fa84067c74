"""The environment that an actor is played in: whose code runs, how long an episode lasts, and that it is closed."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from study_folder import wait_until
from typer.testing import CliRunner

from edgedst.cli import verbs
from edgedst.deploy.bundle import rate_for
from edgedst.deploy.environment import chosen_environment, open_environment
from edgedst.deploy.evaluate import evaluate, evaluate_actor
from edgedst.deploy.onnx import export_actor
from edgedst.deploy.return_drop import check_return_drop
from edgedst.errors import ConfigError, EdgedstError, EnvironmentFault
from edgedst.runs.actor import read_actor

NOTHING_RECORDED = np.zeros((0, 3), dtype=np.float32)

# Three observations, two actions, no end of its own. It writes down that it was imported, stepped and closed.
MODULE = """
import pathlib
import gymnasium, numpy
from gymnasium import spaces

here = pathlib.Path(__file__).parent
(here / "imported").touch()

class Slide(gymnasium.Env):
    action_space = spaces.Box(-1, 1, (2,), numpy.float32)
    observation_space = spaces.Box(-9, 9, (3,), numpy.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return numpy.zeros(3, numpy.float32), {}

    def step(self, action):
        (here / "stepped").touch()
        return numpy.zeros(3, numpy.float32), 1.0, False, False, {}

    def close(self):
        with (here / "closed").open("a") as file:
            file.write("closed\\n")

gymnasium.register("Slide-v0", Slide)
"""


@pytest.fixture
def named(run, tmp_path, change_about, monkeypatch):
    """A run, and a file of it, whose environment is in a module of the current folder."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "foreign_task.py").write_text(MODULE)
    change_about(run, env="foreign_task:Slide-v0")
    export_actor(read_actor(run), folder / "actor.onnx", NOTHING_RECORDED)
    monkeypatch.chdir(folder)
    return folder


def command(*arguments, **environment):
    """`edgedst` as it is typed, in the current folder."""
    variables = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ORT_DISABLE_TELEMETRY")
    }
    typed = [sys.executable, "-c", "from edgedst.cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(
        typed, capture_output=True, env={**variables, "PYTHONSAFEPATH": "1", **environment}, check=False, timeout=120
    )


# --- Whose code runs -------------------------------------------------------------------------------------------------


def test_no_module_is_imported_because_a_file_names_it(named, run):
    bundle = ["export", "--run", str(run), "--bundle", "kit"]
    assert CliRunner().invoke(verbs.app, [*bundle, "--rate", "50"]).exit_code == 0
    actor = ["export", "--run", str(run), "other.onnx", "--max-return-drop", "2%"]
    targets = [["evaluate", target] for target in ("actor.onnx", "kit", str(run))]
    for typed in (
        *targets,
        ["evaluate", "--run-dir", str(run.parents[2])],
        ["export", "--bundle", "a", *bundle[1:3]],
        actor,
    ):
        done = CliRunner().invoke(verbs.app, typed)
        assert isinstance(done.exception, ConfigError), typed
        assert "If you trust that module, add `--env foreign_task:Slide-v0`" in str(done.exception)
    assert not (named / "imported").exists()
    assert not (named / "other.onnx").exists()


def test_the_advice_works_and_the_module_runs_for_whoever_types_it(named, run):
    for target in ("actor.onnx", str(run)):
        with pytest.raises(ConfigError) as refusal:
            evaluate(Path(target))
        advice = re.search(r"add `(.*)`", str(refusal.value))[1].split()
        done = CliRunner().invoke(
            verbs.app, ["evaluate", target, "--episodes", "1", "--max-episode-steps", "3", *advice]
        )
        assert done.exit_code == 0, done.exception
        assert "on foreign_task:Slide-v0" in done.stdout
        assert "return 3.0" in done.stdout


def test_a_run_s_module_is_imported_where_the_user_put_it_on_pythonpath(named, run):
    short = ["--episodes", "1", "--max-episode-steps", "3"]
    assert b"add `--env foreign_task:Slide-v0`" in command("evaluate", run, *short).stderr
    assert b"add `--env" in command("evaluate", run, *short, PYTHONPATH=":/nowhere").stderr  # an accident, no wish
    done = command("evaluate", run, *short, PYTHONPATH=str(named))
    assert done.returncode == 0, done.stderr
    assert b"add `--env" in command("evaluate", "actor.onnx", *short, PYTHONPATH=str(named)).stderr


@pytest.mark.parametrize(
    "recorded", ["this:Zen-v0", "sys:A-v0", "antigravity:A-v0", "nowhere:A-v0", ":A-v0", "a:b:C-v0"]
)
def test_neither_python_s_own_modules_nor_missing_ones_are_imported_for_a_run(recorded):
    with pytest.raises(ConfigError, match="If you trust that module"):
        chosen_environment(recorded, None, of_run=True)
    assert chosen_environment(recorded, "Pendulum-v1", of_run=True) == "Pendulum-v1"


def test_an_installed_module_that_the_current_folder_hides_is_not_imported(named, monkeypatch):
    assert chosen_environment("gymnasium:A-v0", None, of_run=True) == "gymnasium:A-v0"
    with pytest.raises(ConfigError):
        chosen_environment("gymnasium:A-v0", None)
    (named / "gymnasium.py").write_text("")
    monkeypatch.syspath_prepend(str(named))
    with pytest.raises(ConfigError):
        chosen_environment("gymnasium:A-v0", None, of_run=True)


def test_a_rate_is_asked_of_the_environment_that_was_typed():
    with pytest.raises(ConfigError, match=r"is not known \(A file names .* add `--env elsewhere:A-v0`\)\. Say it"):
        rate_for("elsewhere:A-v0", None)
    assert rate_for("elsewhere:A-v0", None, "HalfCheetah-v4").hz == 20
    told = rate_for("elsewhere:A-v0", 50).told
    assert told == "50 times a second, because `--rate` said so; the rate of training is not known"


def test_onnxruntime_keeps_no_events_of_the_user_s(named):
    home = named / "home"
    home.mkdir()
    typed = ["evaluate", "actor.onnx", "--env", "foreign_task:Slide-v0", "--max-episode-steps", "3"]
    assert command(*typed, HOME=str(home)).returncode == 0
    assert list(home.rglob("*")) == []


# --- How long an episode lasts ---------------------------------------------------------------------------------------


def test_an_episode_without_an_end_is_cut_and_a_note_says_so(run, registry):
    registry.max_episode_steps = None
    registry.step = lambda action: (1.0, False, False)
    played = evaluate(run, 2)
    assert played.lengths == (1000, 1000)
    assert "have no time limit: 2 of 2 were cut after 1,000 steps. `--max-episode-steps N` sets" in played.notes[0]
    played = evaluate(run, 2, max_episode_steps=7)
    assert (played.lengths, played.notes) == ((7, 7), ())
    assert evaluate_actor(read_actor(run), 1).lengths == (1000,)
    with pytest.raises(ConfigError, match="`--max-episode-steps` is 0"):
        evaluate(run, 2, max_episode_steps=0)


def test_an_episode_that_ends_by_itself_needs_no_note(run, registry):
    registry.max_episode_steps = None
    assert evaluate(run, 2).notes == ()


@pytest.mark.usefixtures("registry")
def test_the_command_tells_notes_on_standard_error_alone(run, registry):
    registry.max_episode_steps = None
    registry.step = lambda action: (1.0, False, False)
    done = CliRunner().invoke(verbs.app, ["evaluate", str(run), "--episodes", "1", "--json"])
    assert "have no time limit" in done.stderr
    assert done.stdout.startswith("{")
    assert len(done.stdout.splitlines()) == 1


# --- It is closed ----------------------------------------------------------------------------------------------------


def test_the_environment_is_closed_once_however_the_evaluation_ends(run, tmp_path, registry):
    evaluate(run, 2)
    assert registry.closed == 1
    path = tmp_path / "actor.onnx"
    export_actor(read_actor(run), path, NOTHING_RECORDED)
    check_return_drop(read_actor(run), path, 1.0, 2)
    assert registry.closed == 3  # the trained actor's and the file's
    rate_for("Fake-v0", None)
    assert registry.closed == 4
    registry.observation_size = 11
    with pytest.raises(EdgedstError):
        evaluate(run)
    registry.observation_size = 3
    assert registry.closed == 5
    for error in (EnvironmentFault("fell over"), KeyboardInterrupt(), SystemExit(3)):

        def fail(action, error=error):
            raise error

        registry.step = fail
        before = registry.closed
        with pytest.raises(type(error)):
            evaluate(run)
        assert registry.closed == before + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_the_environment_first(number, run, registry):
    registry.step = lambda action: os.kill(os.getpid(), number)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            evaluate(run)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert ended.value.code == 128 + number
    assert registry.closed == 1


def test_signals_that_are_ignored_or_handled_stay_so_and_other_threads_play_too(registry):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with open_environment("Fake-v0"):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        thread = threading.Thread(target=rate_for, args=("Fake-v0", None))
        thread.start()
        thread.join()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert registry.closed == 2


@pytest.mark.parametrize("verb", ["evaluate", "export"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_command_that_is_ended_closes_a_real_environment_and_leaves_nothing(number, code, verb, named, run):
    typed = ["evaluate", "actor.onnx", "--max-episode-steps", "1000000000"]
    if verb == "export":
        typed = ["export", "new.onnx", "--run", str(run), "--max-return-drop", "2%", "--episodes", "1000000"]
    program = ["sh", "-c", 'exec env --default-signal "$@"', "sh", sys.executable, "-c"]
    program += ["from edgedst.cli.main import main; main()", *typed, "--env", "foreign_task:Slide-v0"]
    before = {path.name for path in named.iterdir()}
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until((named / "stepped").exists)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in out + err
    assert (named / "closed").read_text() == "closed\n"
    made = {path.name for path in named.iterdir()} - before
    assert made - {"__pycache__"} == {"imported", "stepped", "closed"}


# --- What a terminal takes -------------------------------------------------------------------------------------------

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("variables", [ASCII, {"PYTHONIOENCODING": "ascii"}], ids=["locale", "encoding"])
def test_an_ascii_terminal_gets_plus_minus_and_escapes(variables, named, run):
    accented = b"k\xc3\xbcche-\xff.onnx"  # neither ASCII nor, at its end, UTF-8
    Path("actor.onnx").rename(os.fsdecode(accented))
    typed = [accented, "--env", "foreign_task:Slide-v0", "--max-episode-steps", "3", "--episodes", "2"]
    program = [sys.executable, "-c", "from edgedst.cli.main import main; main()", "evaluate"]
    done = subprocess.run([*program, *typed], capture_output=True, env={**os.environ, **variables}, check=False)
    assert done.returncode == 0, done.stderr
    assert b"return 3.0 +- 0.0 over 2 episodes" in done.stdout
    assert done.stdout.isascii()
    done = command(
        "export", "b.onnx", "--run", run, "--max-return-drop", "2%", "--env", "foreign_task:Slide-v0", **variables
    )
    assert done.returncode == 0, done.stderr
    assert b"+- 0.0 exported" in done.stdout
    missing = subprocess.run([*program, b"no-\xff\xc3\xbc"], capture_output=True, env={**os.environ, **variables})
    assert missing.returncode == 1
    assert b"There is no file" in missing.stderr
    assert b"Traceback" not in missing.stderr
