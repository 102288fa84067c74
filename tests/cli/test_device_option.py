"""What a board gives to `train` and `plan`: below a config file and what was typed, never to a run that goes on."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from saved_runs import commit

from edgedst import boards, core
from edgedst.config import TrainConfig
from edgedst.errors import ConfigError, UnknownDevice
from edgedst.launch import board as board_of
from edgedst.launch import job as launch
from edgedst.launch.settings import configured

FOREIGN = "raspberry-pi-zero-2w" if "neon" not in core.isas else "generic-x86-64"


class Became(Exception):
    """Instead of exec: what the process would have become."""


@pytest.fixture(autouse=True)
def no_pinned_kernels(monkeypatch):
    monkeypatch.delenv("EDGEDST_ISA", raising=False)


@pytest.fixture
def start(monkeypatch, tmp_path):
    """`edgedst train`, up to its exec: (job, environment variables)."""

    def exec_instead(_path, arguments, variables):
        raise Became(json.loads(arguments[-1]), variables)

    monkeypatch.setattr(os, "execve", exec_instead)

    def run(typed=None, config=None, device=None, resume=None):
        with pytest.raises(Became) as became:
            launch.start_training(typed or {}, config, device, tmp_path / "runs", resume, False, False)
        return became.value.args

    return run


@pytest.fixture
def on_a_board(monkeypatch):
    """This machine is a Raspberry Pi 4 whose kernels every CPU has."""
    pi = boards.load("raspberry-pi-4")
    pi = replace(pi, train=replace(pi.train, isa="scalar"))
    monkeypatch.setattr(board_of, "detect", lambda: boards.Recognised(pi, "A test says so."))
    return pi


def a_run(folder, isa, **settings):
    """A run folder as the trainer leaves it."""
    config = TrainConfig(**{"env": "Hopper-v4", "budget_mb": 40.0, "threads": 2, **settings}).resolved()
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(config.toml(), encoding="utf-8")
    commit(folder, env=config.env, isa=isa)
    return folder


@pytest.mark.parametrize(
    ("typed", "in_file", "budget_mb", "threads"),
    [
        ({}, "", 100, 2),  # the board's
        ({"budget_mb": 30.0}, "", 30, 2),
        ({"threads": 3}, "", 100, 3),
        ({}, "budget_mb = 60.0", 60, 2),  # a file goes before the board
        ({"budget_mb": 30.0}, "budget_mb = 60.0\nthreads = 1", 30, 1),  # what is typed goes before the file
    ],
)
def test_the_recognised_board_gives_what_nobody_says(start, on_a_board, tmp_path, typed, in_file, budget_mb, threads):
    (tmp_path / "a.toml").write_text(in_file, encoding="utf-8")
    job, variables = start(typed, tmp_path / "a.toml")
    assert (job["config"]["budget_mb"], job["config"]["threads"]) == (budget_mb, threads)
    assert variables["EDGEDST_ISA"] == "scalar"


def test_the_user_s_own_choice_of_kernels_stays(start, on_a_board, monkeypatch):
    monkeypatch.setenv("EDGEDST_ISA", core.isas[-1])
    assert start()[1]["EDGEDST_ISA"] == core.isas[-1]


def test_config_toml_names_the_board_and_what_it_gave(start, on_a_board, tmp_path):
    text = start()[0]["config_toml"]
    assert text.startswith("# Board: raspberry-pi-4. A test says so.\n")
    assert "\nbudget_mb = 100.0\n" in text
    assert "\nthreads = 2\n" in text
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    assert configured({}, tmp_path / "config.toml") == TrainConfig(budget_mb=100.0, threads=2).resolved()


def test_the_user_is_told_what_the_board_gave(start, on_a_board):
    assert "100 MB and 2 threads by its defaults; `edgedst devices raspberry-pi-4`" in start()[0]["note"]
    assert ": 2 threads by its defaults" in start({"budget_mb": 30.0})[0]["note"]
    assert start({"budget_mb": 30.0, "threads": 1})[0]["note"] == ""


@pytest.mark.parametrize("name", ["generic", "generic-x86-64", "generic-aarch64"])
def test_on_a_generic_board_nothing_differs_from_the_settings_own_defaults(start, name, monkeypatch):
    monkeypatch.setattr(board_of, "detect", lambda: boards.Recognised(boards.load(name), "A test says so."))
    job, variables = start()
    assert job["config"] == TrainConfig().resolved().settings()
    assert "EDGEDST_ISA" not in variables
    assert job["note"] == ""


def test_device_names_another_board_than_the_recognised_one(start, on_a_board):
    job, variables = start(device="generic-aarch64")
    assert (job["config"]["budget_mb"], job["config"]["threads"]) == (50.0, 1)
    assert "EDGEDST_ISA" not in variables
    assert job["config_toml"].startswith("# Board: generic-aarch64. `--device` names it.\n")


@pytest.mark.skipif("neon" in core.isas, reason="this CPU has the kernels of every board")
def test_training_for_a_board_whose_kernels_this_cpu_lacks_is_refused(start):
    sentence = (
        r"`raspberry-pi-zero-2w` trains with `neon` kernels, and this CPU has scalar, .*`--budget-mb 50 --threads 1`"
    )
    with pytest.raises(ConfigError, match=sentence):
        launch.start_training({}, None, "raspberry-pi-zero-2w", Path("runs"), None, False, False)


def test_an_unknown_device_is_told(start):
    with pytest.raises(UnknownDevice, match=r"no device `rpi-5` .*Did you mean"):
        launch.start_training({}, None, "rpi-5", Path("runs"), None, False, False)


@pytest.mark.parametrize("resume", ["folder", "newest"])
def test_a_resumed_run_goes_on_with_what_it_had(start, on_a_board, tmp_path, resume):
    folder = a_run(tmp_path / "runs" / "Hopper-v4" / "ds-td3" / "s0-20260101-000000", core.isas[-1])
    typed = {} if resume == "folder" else {"env": "Hopper-v4", "budget_mb": 40.0}
    job, variables = start(typed, resume=str(folder) if resume == "folder" else resume)
    assert job["resume"] == str(folder)
    assert (job["config"]["budget_mb"], job["config"]["threads"]) == (40.0, 2)
    assert "EDGEDST_ISA" not in variables  # the trainer takes those of the checkpoint (tests/runs/test_find.py)


def test_threads_that_are_typed_or_in_a_file_hold_for_the_newest_run_too(start, on_a_board, tmp_path):
    a_run(tmp_path / "runs" / "Hopper-v4" / "ds-td3" / "s0-20260101-000000", "scalar")
    asked = {"env": "Hopper-v4", "budget_mb": 40.0}
    assert start({**asked, "threads": 5}, resume="newest")[0]["config"]["threads"] == 5
    (tmp_path / "a.toml").write_text("threads = 6", encoding="utf-8")
    assert start(asked, tmp_path / "a.toml", resume="newest")[0]["config"]["threads"] == 6


def test_newest_without_such_a_run_begins_one_of_the_board(start, on_a_board):
    job, variables = start(resume="newest")
    assert job["resume"] is None
    assert (job["config"]["budget_mb"], job["config"]["threads"]) == (100.0, 2)
    assert variables["EDGEDST_ISA"] == "scalar"


def test_device_gives_nothing_to_a_run_that_goes_on_and_says_so(start, on_a_board, tmp_path):
    folder = a_run(tmp_path / "run", "scalar")
    job, _ = start(device=FOREIGN, resume=str(folder))
    assert (job["config"]["budget_mb"], job["config"]["threads"]) == (40.0, 2)
    assert job["note"].startswith(f"`--device {FOREIGN}` gives no settings to a run that goes on")


def edgedst(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "edgedst.cli.main", *arguments], capture_output=True, text=True, check=False
    )


def test_plan_for_another_machine_s_board_says_what_it_cannot_know():
    done = edgedst("plan", "--device", FOREIGN, "--json")
    board = boards.load(FOREIGN)
    assert json.loads(done.stdout)["budget_bytes"] == board.train.budget_mb * 1e6
    assert done.stderr.startswith(f"{board.title} gives {' and '.join(board.train.words)} unless told otherwise.")
    assert "`interpreter and libraries` and `environments` are measured here" in done.stderr
    assert ("kernels cannot run here" in done.stderr) == (board.train.isa is not None)


def test_plan_for_a_board_says_when_the_budget_is_more_than_its_memory():
    board = boards.load("raspberry-pi-zero-2w")
    assert "memory" not in board_of.planning_note(board, 500.0)
    assert "It has 537 MB of memory, fewer than the 2,000 MB of this budget." in board_of.planning_note(board, 2000.0)
    assert "17,180 MB of memory" in board_of.planning_note(boards.load("raspberry-pi-5"), 20_000.0)  # the largest


def test_plan_for_this_very_board_needs_no_such_words(on_a_board):
    assert board_of.planning_note(on_a_board, 50.0) == ""


@pytest.mark.parametrize(("running", "told"), [("/usr/bin/qemu-aarch64-static", True), ("/usr/bin/python3.13", False)])
def test_a_plan_under_a_user_mode_emulator_says_why_it_counts_more(tmp_path, running, told):
    for process, program in (("self", "/usr/bin/python3.13"), ("thread-self", running)):
        (tmp_path / process).mkdir()
        (tmp_path / process / "exe").symlink_to(program)
    note = board_of.emulator_note(tmp_path)
    assert note.startswith("qemu-aarch64-static runs this interpreter") == told
    assert (note == "") != told
    assert board_of.emulator_note() == ""  # this machine's own
    assert board_of.emulator_note(tmp_path / "none") == ""


def test_the_trainer_runs_the_board_s_kernels(tmp_path):
    """The whole way, exec included: the process that trains is pinned, and host.json says so."""
    program = (
        "import sys; from dataclasses import replace; from edgedst import boards; from edgedst.launch import board; "
        "from edgedst.cli import main; "
        "pi = boards.load('raspberry-pi-4'); pi = replace(pi, train=replace(pi.train, isa='scalar')); "
        "board.detect = lambda: boards.Recognised(pi, 'A test.'); sys.argv[0] = 'edgedst'; main.main()"
    )
    options = "train --env InvertedPendulum-v4 --steps 20 --eval-every 20 --eval-episodes 1 --start-steps 10"
    arguments = [*options.split(), "--hidden", "16", "--run-dir", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("*/*/*")
    assert json.loads((run / "host.json").read_text(encoding="utf-8"))["isa"] == "scalar"
    settings = TrainConfig.load(run / "config.toml")
    assert (settings["budget_mb"], settings["threads"]) == (100.0, 2)
    assert json.loads((run / "plan.json").read_text(encoding="utf-8"))["budget_bytes"] == 100_000_000
