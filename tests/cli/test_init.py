"""`edgedst init robot`: what it writes can be checked and trained on at once, and nothing is overwritten."""

import json
import subprocess

from training import edgedst, run_in, summary, train
from typer.testing import CliRunner

from edgedst.cli import verbs
from edgedst.envs.robot import Robot
from edgedst.errors import ConfigError, RunFolderError
from edgedst.folders import folder as folder_of

TEMPLATE = folder_of("export") / "robot" / "robot.py"


def run(folder, *arguments):
    return subprocess.run(
        edgedst(*arguments), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_a_robot_is_written_into_a_new_folder_with_what_to_type_next_and_never_over_one(tmp_path):
    done = run(tmp_path, "init", "robot", "my robot/arm")
    path = tmp_path / "my robot" / "arm" / "robot.py"
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_bytes() == TEMPLATE.read_bytes()
    for line in ("check 'my robot/arm/robot.py'", "train --env 'my robot/arm/robot.py'", "export --bundle kit"):
        assert f"\n    edgedst {line}" in done.stdout
    path.write_text("mine\n", encoding="utf-8")
    done = run(tmp_path, "init", "robot", "my robot/arm")
    assert done.returncode == 1
    assert done.stderr == (
        "ConfigError: `my robot/arm/robot.py` is there already, and is never overwritten. Go on with it (`edgedst "
        "check 'my robot/arm/robot.py'`), or name another folder: `edgedst init robot DIR`.\n"
    )
    assert path.read_text(encoding="utf-8") == "mine\n"
    assert [each.name for each in path.parent.iterdir()] == ["robot.py"]


def test_a_file_s_name_is_refused_with_the_folder_to_give(tmp_path):
    for name, folder in (("new arm/robot.py", "'new arm'"), ("robot.py", ".")):
        done = run(tmp_path, "init", "robot", name)
        assert done.returncode == 1
        assert done.stderr == (
            f"ConfigError: `{name}` is the name of a file, and a folder was expected, which gets a robot.py: `edgedst "
            f"init robot {folder}`.\n"
        )
    assert not list(tmp_path.iterdir())


def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path):
    (tmp_path / "robot.py").symlink_to("elsewhere.py")
    assert isinstance(CliRunner().invoke(verbs.app, ["init", "robot", str(tmp_path)]).exception, ConfigError)
    assert not (tmp_path / "elsewhere.py").exists()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "taken").touch()
    for folder, what in ((tmp_path / "taken", "another"), (tmp_path / "taken" / "deeper", "another folder")):
        error = CliRunner().invoke(verbs.app, ["init", "robot", str(folder)]).exception
        assert isinstance(error, RunFolderError)
        assert str(error).startswith(f"`{folder}` cannot be written: ")
        assert str(error).endswith(f"choose {what} with `edgedst init robot DIR`.")


def test_the_template_passes_its_check_and_trains(tmp_path):
    assert run(tmp_path, "init", "robot").returncode == 0
    for tries_left in (1, 0):  # a busy machine may miss periods
        done = run(tmp_path, "check", "--yes", "--json", "--seconds", "1.5")
        found = json.loads(done.stdout)
        if found["can_train"] or not tries_left:
            break
    assert (done.returncode, found["problems"]) == (0, [])
    assert not [name for name in found["warnings"] if "stop()" in name or "never changed" in name]
    assert found["resets"] >= 1
    assert found["applied_low"] < [0.0] < found["applied_high"]
    steps = ("--steps", "60", "--start-steps", "30", "--eval-every", "0", "--no-progress")
    train(tmp_path, "--env", "robot.py", *steps)
    told = summary(run_in(tmp_path))
    assert (told["finished"], told["step"]) == (True, 60)


def test_the_templates_words_are_a_contract_that_holds(tmp_path):
    path = tmp_path / "robot.py"
    path.write_bytes(TEMPLATE.read_bytes())
    robot = Robot(str(path))
    assert (robot.rate_hz, robot.episode_steps, robot.slew) == (50.0, 300, (0.5,))
    assert not robot.terminated([0.0, 0.0])
    assert robot.terminated([-0.96, 0.0])
    # A step that does not fail is worth something, so that failing early is no way out.
    worst = robot.reward([0.95, 0.0], [2.0], [0.95, 0.0])
    assert robot.reward([0.5, 0.0], [0.0], [0.0, 0.0]) == 1.0
    assert worst > 0
