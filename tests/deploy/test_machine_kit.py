"""What trained is what serves: the kit of a machine's run, and its actor played on the machine."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from study_folder import wait_until
from typer.testing import CliRunner

from edgedst.cli import verbs
from edgedst.deploy.environment import open_environment
from edgedst.deploy.evaluate import evaluate
from edgedst.errors import CheckpointError, ConfigError, RobotFault, UnknownEnvironment


def typed(*arguments):
    return CliRunner().invoke(verbs.app, list(map(str, arguments)))


def bundle(run, folder, *arguments):
    return typed("export", "--bundle", folder, "--run", run, *arguments)


def log(folder):
    """The first word of each line that the robot.py there wrote."""
    path = folder / "robot.log"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def file(robot_run, tmp_path):
    """The robot.py that trained the run."""
    return tmp_path / "arm.py"


@pytest.fixture(autouse=True)
def own_path(monkeypatch):
    """What imports a robot.py puts its folder first."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "robot", raising=False)


# --- The kit ---------------------------------------------------------------------------------------------------------


def test_the_kit_of_a_machine_s_run_has_the_file_that_trained_and_its_rate(robot_run, file, tmp_path):
    done = bundle(robot_run, tmp_path / "kit")
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "kit" / "robot.py").read_bytes() == file.read_bytes()
    assert "loop: 500 times a second, as in training" in done.stdout
    assert f"robot.py: {file}\n" in done.stdout
    assert "--rate 500\n" in (tmp_path / "kit" / "edgedst-actor.service").read_text()
    readme = (tmp_path / "kit" / "README.md").read_text()
    assert "`robot.py` is the file that trained this actor. **The next command moves the machine.**" in readme
    assert "It reads zeros" not in readme
    assert "    rm newer/edgedst-actor.service && cp newer/* " in readme  # a newer actor brings its own robot.py
    assert "`edgedst evaluate kit --env kit/robot.py` plays" in readme
    assert "$" not in readme
    assert log(tmp_path) == []  # nobody's code ran


def test_the_file_that_is_typed_tells_its_rate_and_moves_nothing(robot_run, file, tmp_path):
    (robot_run / "summary.json").unlink()
    done = bundle(robot_run, tmp_path / "kit")
    assert isinstance(done.exception, ConfigError)
    advice = re.search(
        r"`arm\.py` takes is not known \(its run did not tell; with `(.*?)` the file does\)", str(done.exception)
    )
    done = bundle(robot_run, tmp_path / "kit", *shlex.split(advice[1]))
    assert done.exit_code == 0, done.exception
    assert "loop: 500 times a second, as in training" in done.stdout
    assert log(tmp_path) == ["import"]
    done = bundle(robot_run, tmp_path / "other", "--rate", "20")
    assert "20 times a second, because `--rate` said so; the rate of training is not known" in done.stdout
    assert (tmp_path / "other" / "robot.py").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("summary", ["[]", '{"real_time": 3}', '{"real_time": {"rate_hz": -1}}', "spoiled"])
def test_a_summary_that_says_no_rate_says_none(summary, robot_run, tmp_path):
    (robot_run / "summary.json").write_text(summary)
    done = bundle(robot_run, tmp_path / "kit")
    assert isinstance(done.exception, ConfigError)
    assert "its run did not tell" in str(done.exception)


def test_a_file_that_is_gone_is_asked_for(robot_run, file, tmp_path):
    file.rename(tmp_path / "moved.py")
    done = bundle(robot_run, tmp_path / "kit")
    assert isinstance(done.exception, ConfigError)
    assert f"`{file}` cannot be read (No such file or directory). Say where it is: `--env PATH/robot.py`." in str(
        done.exception
    )
    assert not (tmp_path / "kit").exists()
    assert bundle(robot_run, tmp_path / "kit", "--env", tmp_path / "moved.py").exit_code == 0


@pytest.mark.parametrize(
    ("before", "after", "error", "words"),
    [
        ("(-0.25, 4.0)", "", RobotFault, "cannot be imported"),
        (
            '"left", -1.0, 1.0',
            '"left", -1.0, 2.0',
            ConfigError,
            r"row 0 of ACTION goes from -1 to 2, .* with -1 to 1\.",
        ),
        ("-0.2, 0.2", "-0.3, 0.2", ConfigError, r"row 1 of OBSERVATION goes from -0\.3 to 0\.2, .* with -0\.2 to 0\.2"),
        ("('counts', 0.0, 4096.0), ", "", ConfigError, r"takes 3 observations and gives 2 actions; .* has 2 and 2\."),
        ("def stop", "def halt", RobotFault, "has no `stop`"),
    ],
)
def test_another_robot_than_the_one_that_trained_is_refused(before, after, error, words, robot_run, file, tmp_path):
    if error is RobotFault and not after:
        before, after = "import os, time", "import os, time,"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    done = bundle(robot_run, tmp_path / "kit", "--env", file)
    assert isinstance(done.exception, error), done.exception
    assert re.search(words, str(done.exception))
    assert not (tmp_path / "kit").exists()


def test_another_task_or_no_file_is_one_sentence(robot_run, tmp_path):
    done = bundle(robot_run, tmp_path / "kit", "--env", "HalfCheetah-v4")
    assert isinstance(done.exception, ConfigError)
    assert "on the machine of `arm.py`, and `--env HalfCheetah-v4` is another task" in str(done.exception)
    done = bundle(robot_run, tmp_path / "kit", "--env", tmp_path / "none.py")
    assert isinstance(done.exception, UnknownEnvironment)


def test_what_the_user_should_see_to_is_told(robot_run, file, tmp_path):
    (tmp_path / "motors.py").write_text("")
    (tmp_path / "driver").mkdir()
    file.write_text(file.read_text() + "\ndef _late():\n    import motors, json\n    from driver.bus import Bus\n")
    later = (robot_run / "checkpoint" / "state.json").stat().st_mtime + 10
    os.utime(file, (later, later))
    done = bundle(robot_run, tmp_path / "kit")
    assert (
        f"robot.py: {file}. It is newer than the checkpoint: see that it still is what trained the actor. It imports "
        "driver/, motors.py from beside it: copy that into the folder, too\n"
    ) in done.stdout
    file.write_text("def start(:\n")
    done = bundle(robot_run, tmp_path / "other")
    assert isinstance(done.exception, ConfigError)
    assert "is no Python (invalid syntax" in str(done.exception)


def test_a_simulator_s_actor_goes_to_the_robot_that_is_typed(run, arm, tmp_path):
    (tmp_path / "mine.py").write_text(arm.text)
    done = bundle(run, tmp_path / "kit", "--env", tmp_path / "mine.py")
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "kit" / "robot.py").read_text() == arm.text


def test_episodes_of_a_machine_are_not_compared_seed_by_seed(robot_run, file, tmp_path):
    for env in ([], ["--env", file]):
        done = typed("export", tmp_path / "actor.onnx", "--run", robot_run, "--max-return-drop", "2%", *env)
        assert isinstance(done.exception, ConfigError)
        assert "compares episodes of the same seeds, and a machine's have none" in str(done.exception)
    assert log(tmp_path) == []


def test_a_machine_s_actor_is_exported_as_any_other(robot_run, tmp_path):
    for name in ("actor.onnx", "actor.c"):
        done = typed("export", tmp_path / name, "--run", robot_run, "--golden", tmp_path / f"{name}.csv")
        assert done.exit_code == 0, done.exception
        assert "40 recorded and 512 random observations" in done.stdout
    assert (tmp_path / "actor.onnx.csv").read_text() == (tmp_path / "actor.c.csv").read_text()
    assert log(tmp_path) == []


# --- On the machine --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["run", "file", "kit"])
def target(request, robot_run, tmp_path):
    """What is evaluated."""
    if request.param == "run":
        return robot_run
    path = tmp_path / ("kit" if request.param == "kit" else "actor.onnx")
    done = typed("export", *(["--bundle"] if request.param == "kit" else []), path, "--run", robot_run)
    assert done.exit_code == 0, done.exception
    return path


def test_no_machine_is_moved_because_a_file_names_it_and_the_advice_works(target, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a file has but the name of the robot.py
    with pytest.raises(
        ConfigError, match=r"The actor was trained on a machine, and .* would run and move it"
    ) as refusal:
        evaluate(target)
    assert log(tmp_path) == log(tmp_path / "kit") == []
    advice = shlex.split(re.search(r"add `(.*)`", str(refusal.value))[1])
    done = typed("evaluate", target, "--episodes", "2", *advice)
    assert done.exit_code == 0, done.exception
    assert "return 10.0 \u00b1 0.0 over 2 episodes (10 steps each; " in done.stdout
    assert "is a machine: its episodes have no seeds, and no two evaluations are the same." in done.stderr
    told = log(Path(advice[1]).parent)
    episode = ["reset", "read", *["apply", "read"] * 10]
    assert told == ["import", "start", *episode, "stop", *episode, "stop"]


def test_it_is_played_in_real_time_and_within_bounds_and_slew(robot_run, file, tmp_path):
    evaluate(robot_run, 1, env=str(file))
    lines = [line.split() for line in (tmp_path / "robot.log").read_text().splitlines()]
    reads = [float(line[1]) for line in lines if line[0] == "read"]
    assert reads[-1] - reads[0] >= 9.5 / 500
    before = 0.0
    for left, right in [map(float, line[1:]) for line in lines if line[0] == "apply"]:
        assert abs(left - before) <= 0.25
        assert -1.0 <= left <= 1.0
        assert -0.25 <= right <= 4.0
        before = left


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("return [2048.0, 0.1, 11.0]", "return [2048.0, float('nan'), 11.0]", "gave nan as `rad`"),
        ('_told("apply", *action)', "raise OSError('the bus is gone')", "the bus is gone"),
        ('_told("start")', "raise OSError('no bus')", "no bus"),
        ('_told("reset")', "raise SystemExit('stuck')", "stuck"),
    ],
)
def test_whatever_fails_the_machine_is_stopped(before, after, words, robot_run, file, tmp_path):
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    with pytest.raises(RobotFault, match=words):
        evaluate(robot_run, 1, env=str(file))
    assert log(tmp_path)[-1] == "stop"


def test_a_robot_of_another_size_is_refused_before_it_starts(robot_run, file, tmp_path):
    file.write_text(file.read_text().replace("('counts', 0.0, 4096.0), ", ""))
    with pytest.raises(CheckpointError, match="takes 3 observations and gives 2 actions"):
        evaluate(robot_run, 1, env=str(file))
    assert log(tmp_path) == ["import"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_no_second_signal_interrupts_the_stop(number, code, robot_run, file, tmp_path):
    file.write_text(file.read_text().replace('_told("stop")', '_told("stop")\n    time.sleep(0.5)\n    _told("rests")'))
    arguments = ["evaluate", robot_run, "--env", file, "--max-episode-steps", "1000000"]
    program = ["sh", "-c", 'exec env --default-signal "$@"', "sh", sys.executable, "-c"]
    program += ["from edgedst.cli.main import main; main()", *map(str, arguments)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: "apply" in log(tmp_path))
            process.send_signal(number)
            wait_until(lambda: "stop" in log(tmp_path))
            process.send_signal(number)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in out + err
    assert log(tmp_path)[-2:] == ["stop", "rests"]


def test_signals_are_given_back(file):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with open_environment(str(file)) as host:
        assert host.hardware
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_damaged_settings_are_one_sentence(robot_run):
    (robot_run / "config.toml").write_text("env = [")
    with pytest.raises(
        CheckpointError, match=r"is not TOML.* The run's settings are damaged: take the file from a backup"
    ):
        evaluate(robot_run)


# --- From training on ------------------------------------------------------------------------------------------------


def test_from_training_to_the_kit(arm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("arm.py").write_text(arm.text)
    train = ["train", "--env", "arm.py", "--budget-mb", "40", "--steps", "60", "--start-steps", "30", "--no-progress"]
    program = [sys.executable, "-c", "from edgedst.cli.main import main; main()"]
    subprocess.run([*program, *train], check=True, capture_output=True, timeout=60)
    Path("robot.log").unlink()
    done = typed("export", "--bundle", "kit")
    assert done.exit_code == 0, done.exception
    assert "loop: 500 times a second, as in training" in done.stdout
    assert log(tmp_path) == []
    done = typed("evaluate", "--env", "arm.py", "--episodes", "1", "--json")
    told = json.loads(done.stdout)
    assert (told["lengths"], told["seed"]) == ([10], None)
    loop = [sys.executable, "control_loop.py", "actor.onnx", "--golden", "golden.csv", "--rate", "500", "--steps", "20"]
    subprocess.run(loop, cwd="kit", check=True, capture_output=True, timeout=60)
    assert log(tmp_path / "kit") == ["import", "start", *["read", "apply"] * 20, "stop"]
