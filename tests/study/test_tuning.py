"""Searches of settings, as a user starts them: real trials, real Optuna."""

import json
import shutil
import signal
import subprocess
import sys

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState
from study_folder import study_text, summary, trainers, wait_until

from edgedst.config import TrainConfig
from edgedst.errors import ConfigError, StudyError
from edgedst.study.grid import read_study
from edgedst.study.tuning import Search, tune

GRID = 'env = "InvertedPendulum-v5"'
SEARCH = "[search]\nlr = {low = 1e-4, high = 1e-2, log = true}\nhidden = [[16], [8, 8]]\n"


@pytest.fixture
def tuning(folder):
    folder.verb = ["tune"]
    return folder


def write(folder, search=SEARCH, grid=GRID, steps=300):
    text = study_text(grid, steps=steps).replace("eval_every = 1000\n", "eval_every = 100\n")
    (folder.path / "study.toml").write_text(f"{text}{search}", encoding="utf-8")


def stored(folder):
    storage = JournalStorage(JournalFileBackend(str(folder.out / "trials.log")))
    return optuna.load_study(study_name="tune", storage=storage)


def add_five_trials(folder, params, value):
    """So many are seen to their end before Optuna prunes."""
    folder.out.mkdir(exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder.out / "trials.log")))
    found = optuna.create_study(storage=storage, study_name="tune", direction="maximize")
    space = Search(folder.path / "study.toml").space
    for _ in range(5):
        values = {"value": value, "intermediate_values": {300: value}}
        found.add_trial(optuna.create_trial(params=params, distributions=space, **values))


def runs_of(folder, setting):
    """Run folders by a setting of theirs."""
    return {TrainConfig.load(run / "config.toml")[setting]: run for run in folder.out.glob("runs/*/*/s*")}


def test_trials_give_a_best_toml_that_trains_and_more_trials_go_on_from_them(tuning):
    write(tuning)
    out, err = tuning.run("--trials", "2")
    assert not err
    trials = stored(tuning).trials
    runs = runs_of(tuning, "learning_rate")
    assert {trial.params["learning_rate"]: trial.value for trial in trials} == {
        rate: summary(run)["R"] for rate, run in runs.items()
    }
    for trial in trials:
        assert f"trial {trial.number}  learning_rate {trial.params['learning_rate']:.4g}, hidden [" in out
        assert list(trial.intermediate_values) == [300]  # start_steps is 200
    best = max(trials, key=lambda trial: trial.value)
    file = tuning.out / "best.toml"
    head = file.read_text(encoding="utf-8").splitlines()[0]
    assert head == f"# Trial {best.number}, value {best.value:.6g}, of: edgedst tune study.toml --out out --trials 2"
    command = [sys.executable, "-m", "edgedst.cli.main", "train", "--config", str(file), "--no-progress"]
    subprocess.run([*command, "--run-dir", "alone"], cwd=tuning.path, check=True, capture_output=True)
    (alone,) = tuning.path.glob("alone/*/*/s*")
    assert summary(alone)["R"] == best.value

    tuning.run("--trials", "3")
    assert [trial.params for trial in stored(tuning).trials[:2]] == [trial.params for trial in trials]
    assert len(runs_of(tuning, "learning_rate")) == 3


def test_a_trial_s_value_is_the_mean_over_the_grid(tuning):
    write(tuning, grid=f"{GRID}\nseed = [0, 1]")
    out, _ = tuning.run("--trials", "1", "--jobs", "2")
    runs = runs_of(tuning, "seed")
    (trial,) = stored(tuning).trials
    assert trial.value == pytest.approx((summary(runs[0])["R"] + summary(runs[1])["R"]) / 2)
    assert len(out.splitlines()) == 4  # what begins, the trial, how many there are, what to type next


def test_an_interrupted_trial_goes_on_from_its_checkpoint(tuning):
    write(tuning, steps=20_000)  # that it ends of itself before a signal is taken would need a very slow tuner
    step = 250
    for number in (signal.SIGKILL, signal.SIGINT):
        process = tuning.start("--trials", "1")
        run = tuning.wait_for_step(step)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        wait_until(lambda: not trainers(tuning))
        assert summary(run)["exit_reason"] == "interrupted"
        assert step <= summary(run)["step"] < 20_000
        step = summary(run)["step"] + 1
    assert process.returncode == 130
    assert "Stopped: 0 of 1 trials have ended. The same command goes on" in out
    out, _ = tuning.run("--trials", "1")
    assert list(tuning.out.glob("runs/*/*/s*")) == [run]
    assert summary(run)["finished"]
    first, second, third = stored(tuning).trials
    assert first.params == second.params == third.params
    assert third.value == summary(run)["R"]
    assert "1 of 1 trials have ended; best" in out


def test_a_trial_behind_the_others_is_pruned_and_its_process_ends_with_a_checkpoint(tuning):
    write(tuning, steps=2_000_000)
    add_five_trials(tuning, {"learning_rate": 1e-3, "hidden": "[16]"}, 1e6)
    out, _ = tuning.run("--trials", "6")
    assert "pruned at step 300; best 1e+06 (trial 0)" in out
    assert stored(tuning).trials[5].state == TrialState.PRUNED
    (run,) = tuning.out.glob("runs/*/*/s*")
    assert summary(run)["exit_reason"] == "interrupted"
    assert (run / "checkpoint" / "state.json").exists()
    assert not trainers(tuning)


@pytest.mark.parametrize(
    ("others", "state", "steps"),
    [
        (1e6, TrialState.PRUNED, [300]),  # behind at its first evaluation: those after it do not count
        (-1e6, TrialState.COMPLETE, [300, 400, 500, 600]),
    ],
)
def test_what_becomes_of_a_trial_does_not_depend_on_when_its_run_is_looked_at(others, state, steps, tuning):
    write(tuning, search="[search]\nlr = [1e-3]\n", steps=600)
    tuning.verb = ["study", "run"]
    tuning.run()
    tuning.verb = ["tune"]
    add_five_trials(tuning, {"learning_rate": "0.001"}, others)
    tuning.run("--trials", "6")  # its run has ended before the first look
    shutil.rmtree(tuning.out / "runs")
    tuning.run("--trials", "7")  # and trains between two looks
    *_, ended, trained = stored(tuning).trials
    assert (ended.state, list(ended.intermediate_values)) == (state, steps)
    assert (trained.state, trained.intermediate_values) == (state, ended.intermediate_values)
    assert trained.value == ended.value


def test_a_failed_trial_is_told_and_counts(tuning):
    write(tuning, search="[search]\nbudget_mb = [11]\n")
    tuning.out.mkdir()
    (tuning.out / "best.toml").write_text("# of trials that were moved away\n", encoding="utf-8")
    out, _ = tuning.run("--trials", "1", code=1)
    assert "BudgetExceeded: " in out
    assert "trial 0  budget_mb 11: FAILED; none has a value" in out
    assert "1 of 1 trials have ended; none has a value" in out
    assert "best.toml" not in out


def test_a_folder_of_another_search_or_with_damaged_trials_is_refused(tmp_path):
    (tmp_path / "s.toml").write_text(f"[grid]\nseed = 0\n{SEARCH}", encoding="utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.toml").write_text("[grid]\nseed = 1\n", encoding="utf-8")
    search = Search(tmp_path / "s.toml")
    with pytest.raises(StudyError, match=r"is the folder of another study, or `.*s\.toml` has changed"):
        tune(search, 1, tmp_path / "out", None, None, None)
    (tmp_path / "out" / "study.toml").unlink()
    (tmp_path / "out" / "trials.log").write_bytes(b"torn\n" * 5)
    with pytest.raises(StudyError, match=r"trials\.log` is damaged \(.*\)\. Move it away"):
        tune(search, 1, tmp_path / "out", None, None, None)


def test_a_search_goes_on_from_trials_that_a_power_cut_left_in_the_middle_of_a_line(tuning):
    write(tuning)
    tuning.run("--trials", "2")
    path = tuning.out / "trials.log"
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 20, len(whole) // 2, 20):
        path.write_bytes(whole[:cut])
        for _ in range(2):
            out, err = tuning.run("--trials", "2")
            assert "2 of 2 trials have ended; best " in out
            assert not err
        assert all(map(json.loads, path.read_bytes().splitlines()))


@pytest.mark.parametrize("leads_to", ["trials.log", "nothing"])
def test_a_lock_that_a_kill_left_behind_keeps_no_search_waiting(leads_to, tuning):
    write(tuning)
    tuning.out.mkdir()
    (tuning.out / "trials.log.lock").symlink_to(tuning.out / leads_to)  # as Optuna makes it
    process = tuning.start("--trials", "1")
    out, err = process.communicate(timeout=25)  # Optuna waits for 30 s, and where the link leads to nothing for ever
    assert "1 of 1 trials have ended; best " in out
    assert not err


@pytest.mark.parametrize("name", ['"learninB_rate"', "7"])
def test_trials_with_a_parameter_that_is_not_searched_are_refused(name, tuning):
    write(tuning)
    tuning.out.mkdir()
    path = tuning.out / "trials.log"
    found = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="tune")
    found.ask(Search(tuning.path / "study.toml").space)
    path.write_text(path.read_text(encoding="utf-8").replace('"learning_rate"', name), encoding="utf-8")
    _, err = tuning.run("--trials", "1", code=1)
    told = name.replace('"', "'")
    assert f"trials.log` is damaged (trial 0 has {told}, which [search] has not). Move it away" in err


@pytest.mark.parametrize(
    ("search", "error", "words"),
    [
        ("", StudyError, r"has no table \[search\]\. Add one"),
        ("[search]", StudyError, r"has no table \[search\]\. Add one"),
        ("[search]\nlerning_rate = {low = 1, high = 2}", ConfigError, "`lerning_rate`. Did you mean `learning_rate`"),
        ("[search]\ngamma = {low = 0.9, high = 1.5}", ConfigError, "`gamma` must be .* at most 1 and is 1.5"),
        ("[search]\nbatch_size = {low = 1.5, high = 9}", ConfigError, "`batch_size` must be a whole number and is 1.5"),
        ("[search]\nmethod = ['td3', 'td4']", ConfigError, "Did you mean `td3`"),
        ("[search]\nmethod = {low = 'a', high = 'b'}", StudyError, "`method` must be a list of values"),
        ("[search]\ngamma = 0.9", StudyError, "`gamma` must be a list of values or.*it is 0.9"),
        ("[search]\ngamma = []", StudyError, "`gamma` must be a list of values"),
        ("[search]\ngamma = {low = 0.9, high = 0.1}", StudyError, "low below high"),
        ("[search]\ngamma = {low = 0.0, high = 0.1, log = true}", StudyError, "above 0 with log"),
        ("[search]\ngamma = {low = 0.0, high = 0.1, step = 1}", StudyError, "a range like {low = 1, high = 8, log"),
        ("[search]\nupdates_per_step = {low = 0.25, high = 4}", StudyError, "whole where the setting is"),
        ("[search]\nhidden = [64, 128]", ConfigError, "`hidden` must be a list of whole numbers"),
        ("[search]\nenv = ['Hopper-v4', 'Hopper-v9']", Exception, "Hopper-v9"),
        ("[search]\nseed = [0, 1]\n[[grid]]\nseed = 3", StudyError, r"has `seed` in its grid and in \[search\]"),
        ("[search]\nlr = [1, 2]\n[[grid]]\nlearning_rate = 3", StudyError, r"`learning_rate` in its grid and in"),
    ],
)
def test_what_cannot_be_searched_is_said(search, error, words, tmp_path):
    grid = "" if "[[grid]]" in search else "[[grid]]\neval_episodes = 1"
    (tmp_path / "s.toml").write_text(f"{grid}\n{search}\n", encoding="utf-8")
    with pytest.raises(error, match=words):
        Search(tmp_path / "s.toml")


def test_no_trials_are_refused_before_anything_is_written(tuning):
    write(tuning)
    _, err = tuning.run("--trials", "0", code=2)
    assert "Invalid value for `--trials`: " in err
    assert not tuning.out.exists()


def test_ranges_are_whole_where_the_setting_is_and_a_study_reads_past_them(tmp_path):
    ranges = (
        "lambda2 = {low = 1, high = 9}\nbatch_size = {low = 1e1, high = 2e1}\nupdates_per_step = {low = 1, high = 4}"
    )
    (tmp_path / "s.toml").write_text(f"[grid]\nseed = 0\n[search]\n{ranges}\n", encoding="utf-8")
    params = optuna.create_study().ask(Search(tmp_path / "s.toml").space).params
    assert [type(value) for value in params.values()] == [float, int, int]
    assert len(read_study(tmp_path / "s.toml").points) == 1
