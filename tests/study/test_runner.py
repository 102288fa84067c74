"""Studies interrupted in every way that occurs to us end with the numbers of one that was left alone."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from study_folder import numbers, summary, trainers, wait_until, write_run

from edgedst.child import python_of
from edgedst.config import TrainConfig
from edgedst.errors import ConfigError, StudyError
from edgedst.progress import Progress
from edgedst.runs.find import newest_first
from edgedst.runs.folder import note_in_order
from edgedst.study import found, one_run, runner
from edgedst.study.found import RunIndex
from edgedst.study.grid import Point, find_study, read_study
from edgedst.study.grid_progress import GridProgress
from edgedst.study.one_run import Outcome
from edgedst.study.report import write_report

SIZES = {"actor": [17, 256, 256, 6], "critic_1": [23, 256, 256, 1]}
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
    assert "FAILED    td3, budget_mb 12 on HalfCheetah-v4, seed 0: BudgetExceeded: HalfCheetah-v4 " in out
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
    ended = runner.GridRunner(study, tmp_path, index, stop, progress)._ended
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


def test_a_run_that_cannot_be_read_fails_and_is_never_trained_anew(folder):
    """Of six runs that were killed after their last checkpoint five are damaged, each in another way."""
    folder.write("seed = [0, 1, 2, 3, 4, 5]", steps=300)
    folder.run()
    runs = {seed: run for (_, _, seed), run in folder.runs().items()}
    for run in runs.values():
        (run / "summary.json").unlink()
    state, configs = runs["s0"] / "checkpoint" / "state.json", {s: runs[s] / "config.toml" for s in runs}
    state.write_bytes(state.read_bytes()[:-20])
    configs["s1"].write_text(configs["s1"].read_text().partition("start_steps")[0])
    configs["s2"].write_text(configs["s2"].read_text().replace("gamma", "gamna"))
    configs["s3"].unlink()
    configs["s4"].write_text(configs["s4"].read_text().replace("gamma = 0.99", "gamma = 0.98"))
    out, _ = folder.run(code=1)
    failed = dict(re.findall(r"FAILED    ds-td3 on HalfCheetah-v4, seed (\d): (.*)", out))
    assert failed["0"].startswith(f"CheckpointError: `{state}` is damaged")
    assert f"`{runs['s1']}` has a checkpoint, and whether it is of this run cannot be told" in failed["1"]
    assert f"`{configs['s1']}` is not the file that its checkpoint was made with" in failed["1"]
    assert "unknown setting `gamna`. Did you mean `gamma`?" in failed["2"]
    assert f"`{configs['s3']}` cannot be read: No such file or directory." in failed["3"]
    assert f"`{configs['s4']}` is not the file that its checkpoint was made with" in failed["4"]
    assert "1 of 6 runs are finished; 5 failed" in out
    assert list(folder.runs().values()) == list(runs.values())
    assert len(list(folder.out.glob("runs/*/*/s*"))) == 6


def test_a_run_without_a_first_checkpoint_is_none(folder):
    folder.write("seed = 0", steps=300)
    folder.run()
    (run,) = folder.runs().values()
    (run / "summary.json").unlink()
    (run / "checkpoint" / "state.json").unlink()
    folder.run()
    assert sorted(summary(each)["finished"] for each in folder.out.glob("runs/*/*/s*") if each != run) == [True]


def test_points_that_differ_in_their_budget_alone_go_on_each_with_its_own_run(tmp_path):
    (tmp_path / "s.toml").write_text("[grid]\nbudget_mb = [50, 60]", encoding="utf-8")
    points = read_study(tmp_path / "s.toml").points
    runs = [write_run(tmp_path, point, [1.0], finished=False, sizes=SIZES) for point in points]
    index = RunIndex(tmp_path)
    assert [index.find(point).folder for point in points] == runs
    for point, run in zip(points, runs, strict=True):
        told = one_run._training(tmp_path, tmp_path, run, point.config)
        assert told[-9:] == [
            *("--resume", str(run), "--threads", "1", "--checkpoint-every", "10000", "--energy", "none"),
            "--no-progress",
        ]


def test_a_run_with_a_checkpoint_comes_before_a_newer_one_without(tmp_path):
    (tmp_path / "s.toml").write_text("[grid]\nseed = 0", encoding="utf-8")
    (point,) = read_study(tmp_path / "s.toml").points
    older = write_run(tmp_path, point, [1.0], finished=False, sizes=SIZES)
    newer = older.with_name("s0-" + "z" * 8)
    newer.mkdir()
    (newer / "config.toml").write_text((older / "config.toml").read_text(encoding="utf-8"), encoding="utf-8")
    assert RunIndex(tmp_path).find(point).folder == older


def test_a_kept_run_whose_settings_lost_their_end_is_no_run_of_the_defaults(tmp_path):
    (tmp_path / "s.toml").write_text("[grid]\nseed = 0", encoding="utf-8")
    (point,) = read_study(tmp_path / "s.toml").points
    run = write_run(tmp_path, point, [1.0])  # without a checkpoint there is no checksum
    assert RunIndex(tmp_path).find(point).folder == run
    path = run / "config.toml"
    path.write_text(path.read_text(encoding="utf-8").partition("start_steps")[0], encoding="utf-8")
    assert RunIndex(tmp_path).find(point) is None
    assert RunIndex(tmp_path).strangers([point]) == [run]


def test_points_are_told_apart_by_what_the_study_varies(tmp_path):
    (tmp_path / "s.toml").write_text(
        '[[grid]]\neta = [0.1, 0.2]\n[[grid]]\nlabel = "dense"\nmethod = "td3"', encoding="utf-8"
    )
    told = [point.told for point in read_study(tmp_path / "s.toml").points]
    assert told == [f"{name} on HalfCheetah-v4, seed 0" for name in ("ds-td3, eta 0.1", "ds-td3, eta 0.2", "dense")]


def test_folders_of_runs_are_listed_again_only_when_one_came_or_went_or_their_order_changed(tmp_path, monkeypatch):
    (tmp_path / "s.toml").write_text("[grid]\nseed = [0, 1, 2]", encoding="utf-8")
    points = read_study(tmp_path / "s.toml").points
    listed = []
    monkeypatch.setattr(found, "newest_first", lambda folders: newest_first(listed.append(0) or folders))
    index = RunIndex(tmp_path)

    def folders():
        return [run and run.folder for run in map(index.find, points)]

    first = write_run(tmp_path, points[0], [1.0], finished=False, sizes=SIZES)
    assert folders() == folders() == [first, None, None]
    assert len(listed) == 1
    tick = first.parent.stat().st_mtime_ns
    second = write_run(tmp_path, points[1], [1.0], finished=False, sizes=SIZES)
    os.utime(second.parent, ns=(tick, tick))  # a clock that ticks seldom
    assert folders() == folders() == [first, second, None]
    assert len(listed) == 2
    newer = shutil.copytree(first, first.with_name("s0-" + "z" * 8))
    assert folders() == [newer, second, None]
    note_in_order(str(tmp_path / "runs"), str(first))
    assert folders() == [first, second, None]
    shutil.rmtree(second)
    assert folders() == [first, None, None]
    assert len(listed) == 5


@pytest.fixture
def another_user():
    """A folder, and a function after which the test is of somebody who may search it as its modes say."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        was = os.geteuid()
        yield Path(folder), lambda: os.seteuid(65534) if was == 0 else None
        os.seteuid(was)


def test_what_may_not_be_searched_is_a_sentence_and_no_missing_run(another_user):
    out, become = another_user
    (out / "mine.toml").write_text("[grid]\nseed = 0", encoding="utf-8")
    (point,) = read_study(out / "mine.toml").points
    run = write_run(out, point, [1.0], finished=False, sizes=SIZES)
    (out / "locked").mkdir(mode=0)
    run.chmod(0)
    become()
    index = RunIndex(out)
    assert index.find(point) is None
    assert f"`{run}` has a checkpoint, and whether it is of this run cannot be told" in index.doubt(point)
    assert "cannot be read: Permission denied" in index.doubt(point)
    with pytest.raises(StudyError, match="cannot be read: Permission denied"):
        read_study(find_study(str(out / "locked" / "study.toml")))
    with pytest.raises(StudyError, match="is no study's folder"):
        write_report(out / "locked" / "study", out / "report")
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        TrainConfig.load(out / "locked" / "config.toml")


def test_modules_of_the_current_folder_are_not_taken_for_python_s_own(tmp_path):
    for name in ("types", "random", "copy", "enum", "signal", "typing"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the current folder')", encoding="utf-8")
    (tmp_path / "mine.py").write_text("def main():\n    print('mine')", encoding="utf-8")
    for command, told in (
        (one_run.edgedst_command("--version"), "edgedst 0"),
        (one_run.edgedst_command("study", "--help"), "Usage: edgedst study"),
        (python_of("mine"), "mine"),
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout.strip().startswith(told), done.stderr


def test_settings_larger_than_a_pipe_are_checked():
    point = Point(TrainConfig(env="Pendulum-v1", budget_mb=100, energy="csv:" + "x" * 100_000))
    with pytest.raises(StudyError, match=r"EnergyUnavailable: .* cannot be read: File name too long"):
        runner.check_tasks([point])


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
        (["--jobs", "0"], 2, "Invalid value for `--jobs`"),
        (["--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"], 1, "StudyError: --jobs is for runs on this machine."),
    ],
)
def test_a_number_of_jobs_that_means_nothing_is_refused(arguments, code, words, folder):
    folder.write("seed = 0", steps=300)
    _, err = folder.run(*arguments, code=code)
    assert words in err
    assert not folder.out.exists()
