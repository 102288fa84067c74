"""Studies interrupted in every way that occurs to us end with the numbers of one that was left alone."""

import os
import signal
import subprocess
import sys

import pytest
from study_folder import numbers, summary, trainers, wait_until

from edgedst.progress import Progress
from edgedst.study import runner
from edgedst.study.found import RunIndex
from edgedst.study.grid import read_study
from edgedst.study.process import Outcome
from edgedst.study.progress import GridProgress

FOUR = 'env = ["HalfCheetah-v4", "Hopper-v4"]\nmethod = ["ds-td3", "td3"]'


def alone(folder, grid_settings, tmp_path):
    """The numbers of `edgedst train` with the settings of a run of the study."""
    (settings,) = folder.out.glob(f"points/{grid_settings}/settings.toml")
    command = [sys.executable, "-m", "edgedst.cli.main", "train", "--config", str(settings), "--no-progress"]
    subprocess.run([*command, "--run-dir", "alone"], cwd=tmp_path, check=True, capture_output=True)
    (run,) = tmp_path.glob("alone/*/*/s*")
    return numbers(run)


def test_a_grid_is_trained_and_typed_again_left_alone(folder):
    folder.write(FOUR)
    out, _ = folder.run("--jobs", "2")
    assert "4 of 4 runs are finished" in out
    runs = folder.runs()
    assert len(runs) == 4
    assert all(summary(run)["finished"] for run in runs.values())
    before = {path: path.stat().st_mtime_ns for path in folder.out.rglob("runs/**/*")}
    out, _ = folder.run()
    assert "4 runs, 4 of them finished" in out
    assert {path: path.stat().st_mtime_ns for path in folder.out.rglob("runs/**/*")} == before
    folder.write(FOUR + "\nseed = [0, 1]")
    out, _ = folder.run()
    assert "8 runs, 4 of them finished" in out
    assert "8 of 8 runs are finished" in out
    assert len(folder.runs()) == 8


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_study_that_was_ended_goes_on_with_the_same_numbers(number, folder, tmp_path):
    folder.write('env = "HalfCheetah-v4"', steps=3000)
    process = folder.start()
    run = folder.wait_for_step(500)
    assert trainers(folder)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert "Stopped: 0 of 1 runs are finished. The same command goes on" in out
        assert not trainers(folder)
    # Killed, the study could tell its run nothing: the kernel does.
    wait_until(lambda: not trainers(folder))
    assert summary(run)["exit_reason"] == "interrupted"
    assert 0 < summary(run)["step"] < 3000
    folder.run()
    assert list(folder.runs().values()) == [run]  # the same folder
    assert summary(run)["finished"]
    assert numbers(run) == alone(folder, "HalfCheetah-v4-ds-td3-s0-*", tmp_path)


def test_a_killed_run_is_reported_and_goes_on_next_time(folder, tmp_path):
    folder.write('env = "HalfCheetah-v4"\nseed = [0, 1]', steps=3000)
    process = folder.start("--jobs", "1")
    run = folder.wait_for_step(250)
    os.kill(trainers(folder)[0], signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "FAILED    ds-td3 on HalfCheetah-v4, seed 0: Signal 9 (SIGKILL) ended its process." in out
    assert "1 of 2 runs are finished; 1 failed" in out
    failures = list(folder.out.glob("points/*/failed.txt"))
    assert len(failures) == 1
    folder.run()
    assert not failures[0].exists()
    assert summary(run)["finished"]
    assert numbers(run) == alone(folder, "HalfCheetah-v4-ds-td3-s0-*", tmp_path)


def test_a_run_that_cannot_be_does_not_stop_the_others(folder):
    folder.write('method = "td3"\nbudget_mb = [12, 50]', steps=300)
    out, _ = folder.run(code=1)
    assert "FAILED    td3 on HalfCheetah-v4, seed 0: BudgetExceeded: HalfCheetah-v4 needs at least" in out
    assert "1 of 2 runs are finished; 1 failed" in out


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ('env = ["Hopper-v4", "Hopper-v9"]', "UnknownEnvironment: There is no environment `Hopper-v9`"),
        ('env = ["Hopper-v4", "NoSuchThing-v0"]', "UnknownEnvironment: "),
        ('env = ["Hopper-v4", "CartPole-v1"]\nbudget_mb = 100', "UnsupportedSpace: "),
        ('method = "ds-td4"', "ConfigError: "),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(grid, words, folder):
    folder.write(grid)
    _, err = folder.run(code=1)
    assert words in err
    assert len(err.splitlines()) == 1
    assert not folder.out.exists()


def test_two_studies_do_not_share_a_folder(folder):
    folder.write("seed = 0", steps=100_000)
    process = folder.start()
    folder.wait_for_step(250)
    _, err = folder.run(code=1)
    assert err.startswith("StudyError: ")
    assert "is the folder of a study that runs already" in err
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


def test_a_run_that_stop_found_too_young_for_a_checkpoint_has_not_failed(tmp_path, capsys):
    (tmp_path / "s.toml").write_text("[grid]\nseed = 0", encoding="utf-8")
    study, index = read_study(tmp_path / "s.toml"), RunIndex(tmp_path)
    progress = GridProgress(study, index, 1, None)
    point, stop = study.points[0], runner.Stop(tmp_path / "stop")
    (tmp_path / "points" / point.name).mkdir(parents=True)
    ended = runner._Runner(study, tmp_path, index, stop, progress)._ended
    killed = Outcome(point.name, -signal.SIGTERM, "")
    stop.requested = True
    ended(point, killed)
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.glob("points/*/failed.txt"))
    stop.requested = False
    ended(point, killed)
    assert "Signal 15 (SIGTERM) ended its process." in capsys.readouterr().out
    assert len(list(tmp_path.glob("points/*/failed.txt"))) == 1


def test_an_error_of_the_study_s_own_ends_its_runs_and_begins_no_other(tmp_path):
    begun = []

    def run(name):
        begun.append(name)
        wait_until((tmp_path / "stop").exists)

    def ends():
        with runner._executor(None, 1, tmp_path) as executor:
            for name in ("first", "second"):
                executor.submit(run, name)
            wait_until(lambda: begun)
            raise RuntimeError("by itself")

    with pytest.raises(RuntimeError, match="by itself"):
        ends()
    assert begun == ["first"]
    assert not (tmp_path / "stop").exists()


def test_a_stop_that_cannot_be_written_ends_at_once(tmp_path, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(runner.os, "_exit", codes.append)
    stop = runner.Stop(tmp_path / "no folder" / "stop")
    stop.requested = True
    stop.check(Progress(1, 1, None))
    assert codes == [130]
    assert capsys.readouterr().out.startswith("Ends at once: `")


def test_run_folders_of_other_settings_are_told_of_at_the_start(folder):
    folder.write("seed = 0", steps=300)
    folder.run()
    folder.write("seed = 0\ngamma = 0.9", steps=300)
    out, _ = folder.run()
    assert "Not of this study, for their settings are others or cannot be read: 1 run folders in " in out
    assert "for example HalfCheetah-v4/ds-td3/s0-" in out


def test_a_study_s_folder_that_cannot_be_written_is_a_sentence(folder):
    folder.write("seed = 0", steps=300)
    (folder.out / "study.toml").mkdir(parents=True)
    _, err = folder.run(code=1)
    assert err.startswith("RunFolderError: `")
    assert "study.toml` cannot be written: Is a directory." in err
    assert "with `--out`" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--jobs", "0"], 2, "Invalid value for '--jobs'"),
        (["--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"], 1, "StudyError: --jobs is for runs on this machine."),
    ],
)
def test_a_number_of_jobs_that_means_nothing_is_refused(arguments, code, words, folder):
    folder.write("seed = 0", steps=300)
    _, err = folder.run(*arguments, code=code)
    assert words in err
    assert not folder.out.exists()
