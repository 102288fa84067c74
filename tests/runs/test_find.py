"""Which run goes on, and with what: a run that cannot be read is never passed over."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from saved_runs import commit, recommit
from training import TINY, digest, edgedst, metrics, run_in, saved_step, start, summary, train

from edgedst import core
from edgedst.config import TrainConfig
from edgedst.errors import CheckpointError
from edgedst.runs import find
from edgedst.runs.folder import RunFolder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a finished run that nothing disturbed, of the settings of the one that was killed."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, *TINY[:-1], "--eval-episodes", "200")
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a run that was killed."""
    folder = tmp_path_factory.mktemp("begun")
    process = start(folder, *TINY[:-1], "--progress", "--steps", "600", "--eval-episodes", "200")
    run = None
    while run is None or saved_step(run) < 140:
        time.sleep(0.002)
        run = next((folder / "runs").glob("*/*/s*"), None)
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    return folder


@pytest.fixture
def folder(begun, tmp_path):
    """A copy of it, whose run can be damaged."""
    shutil.copytree(begun / "runs", tmp_path / "runs")
    return tmp_path


def damage(run, name, how):
    path = run / name
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1] if name == "config.toml" else content[:-40])
    else:
        place = content.index(b"seed") + 8 if name == "config.toml" else len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("asked", ["RUN", "newest"])
@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("checkpoint/state.json", "flip", "is damaged"),
        ("checkpoint/state.json", "cut", "is damaged"),
        ("checkpoint/state.json", "gone", "There is no checkpoint to resume: expected"),
        ("config.toml", "flip", "is not the file that its checkpoint was made with"),
        ("config.toml", "cut", "is not the file that its checkpoint was made with"),
        ("metrics.jsonl", "flip", "is not as its checkpoint says"),
        ("metrics.jsonl", "cut", "is (shorter than|not as) its checkpoint says"),
        ("metrics.jsonl", "gone", "has no metrics.jsonl"),
    ],
)
def test_a_damaged_run_is_a_checkpoint_error_and_never_trained_anew(asked, name, how, words, folder):
    run = run_in(folder)
    if name == "metrics.jsonl" and how == "cut":  # behind the checkpoint there may be more
        (run / name).write_bytes((run / name).read_bytes()[:30])
    else:
        damage(run, name, how)
    settings = (*TINY[:-1], "--eval-episodes", "200") if asked == "newest" else ()
    _, err = train(folder, "--resume", str(run) if asked == "RUN" else "newest", *settings, code=1)
    assert re.match(f"CheckpointError: .*{words}", err), err
    assert len(err.splitlines()) == 1
    assert list((folder / "runs").glob("*/*/*")) == [run]


def test_what_the_refusal_of_newest_advises_works(folder):
    run = run_in(folder)
    damage(run, "checkpoint/state.json", "cut")
    _, err = train(folder, *TINY, "--eval-episodes", "200", "--resume", "newest", code=1)
    assert f"move `{run.relative_to(folder)}` away" in err
    run.rename(folder / "away")
    out, _ = train(folder, *TINY, "--resume", "newest")
    assert "Finished 600 steps" in out


def test_a_run_that_never_made_a_checkpoint_is_not_in_the_way(folder):
    run = run_in(folder)
    for path in (run / "checkpoint").iterdir():
        path.unlink()
    (run / "checkpoint" / "networks-000000000.safetensors").touch()  # killed within the first one
    out, _ = train(folder, *TINY, "--eval-episodes", "1", "--resume", "newest")
    assert "Finished 600 steps" in out


def test_newest_finds_the_run_whatever_the_budget_says_but_one_of_this_budget_first(begun, tmp_path):
    parent = tmp_path / "InvertedPendulum-v5" / "ds-td3"
    run = run_in(begun)
    stored = TrainConfig.from_settings(TrainConfig.load(run / "config.toml")).resolved()
    settings = {**stored.settings(), "replay_rows": 400}
    for name, budget in (("s0-20260101-000000", 40.0), ("s0-20260102-000000", 41.5)):
        shutil.copytree(run, parent / name)
        text = (run / "config.toml").read_text(encoding="utf-8").replace("budget_mb = 40.0", f"budget_mb = {budget}")
        recommit(parent / name, text)
    found = {
        budget: find.newest_unfinished(tmp_path, TrainConfig(**{**settings, "budget_mb": budget}))
        for budget in (40.0, 41.5, 50.0)
    }
    assert found == {
        40.0: parent / "s0-20260101-000000",
        41.5: parent / "s0-20260102-000000",
        50.0: parent / "s0-20260102-000000",
    }


def test_a_larger_budget_goes_on_and_says_the_same_numbers(folder, whole):
    arguments = (*TINY[:-1], "--eval-episodes", "200", "--budget-mb", "44.5")
    out, _ = train(folder, *arguments, "--resume", "newest")
    assert "44.5 MB" in out
    assert summary(run_in(folder))["budget_bytes"] == 44_500_000
    assert summary(run_in(folder))["finished"]
    assert metrics(run_in(folder)) == metrics(run_in(whole))
    assert digest(run_in(folder)) == digest(run_in(whole))


def test_a_run_goes_on_with_the_kernels_of_its_checkpoint_whatever_host_json_says(folder):
    run = run_in(folder)
    recommit(run, (run / "config.toml").read_text(encoding="utf-8"), isa="scalar")
    (run / "host.json").write_text('{"isa": "' + core.isa() + '"}', encoding="utf-8")
    variables = {name: value for name, value in os.environ.items() if name != "EDGEDST_ISA"}
    out, _ = train(folder, "--resume", str(run), env=variables)
    assert "MB; scalar" in out
    assert "kernels" not in out
    assert json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))["isa"] == "scalar"


def test_other_kernels_than_the_checkpoint_s_are_told(folder):
    run = run_in(folder)
    recommit(run, (run / "config.toml").read_text(encoding="utf-8"), isa="vliw")
    variables = {name: value for name, value in os.environ.items() if name != "EDGEDST_ISA"}
    out, _ = train(folder, "--resume", str(run), env=variables)
    assert "The run began with `vliw` kernels, which this CPU lacks" in out


def test_a_run_that_another_process_trains_is_refused_and_what_it_reads_is_what_was_saved_last(folder):
    """The lock is taken before anything that it guards is read: a second one waits for no stale checkpoint."""
    run = run_in(folder)
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, 2); print(flush=True)\n"
         "input()", str(run / "metrics.jsonl")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with holder.stdin, holder.stdout:
        holder.stdout.readline()
        (run / "checkpoint" / "state.json").write_text("{", encoding="utf-8")  # whoever reads it now is wrong
        holder_state = trainer_error(folder, run)
        holder.communicate("\n")
    assert "RunFolderError" in holder_state
    assert "is being trained by another process" in holder_state


def trainer_error(folder, run):
    """What the trainer itself says of a run, past the front end's own look at it."""
    from edgedst.launch.job import command, job_for

    settings = TrainConfig.from_settings(TrainConfig.load(run / "config.toml")).resolved()
    job = job_for(settings, resume=str(run), config_crc32=0, progress=False)
    arguments, variables = command(job)
    done = subprocess.run(arguments, env=variables, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 1
    return done.stderr


def test_the_newest_is_an_unfinished_one_of_the_same_settings(tmp_path):
    settings = TrainConfig(steps=1000).resolved()

    def run(name, config, step, finished=None):
        folder = tmp_path / "HalfCheetah-v4" / "ds-td3" / name
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(config.toml(), encoding="utf-8")
        commit(folder, step=step)
        if finished is not None:
            (folder / "summary.json").write_text(json.dumps({"finished": finished}), encoding="utf-8")
        return folder

    assert find.newest_unfinished(tmp_path, settings) is None
    run("s0-20260101-000000", settings, 500)
    newest = run("s0-20260102-000000", settings, 500, finished=False)
    run("s0-20260103-000000", settings, 1000, finished=True)
    run("s0-20260104-000000", TrainConfig(steps=2000).resolved(), 500)
    (tmp_path / "HalfCheetah-v4" / "ds-td3" / "s0-20260105-000000").mkdir()
    assert find.newest_unfinished(tmp_path, settings) == newest
    assert find.newest_unfinished(Path(tmp_path / "nowhere"), settings) is None


@pytest.mark.parametrize("closed", ["runs", "checkpoint"])
def test_a_folder_that_may_not_be_searched_is_a_sentence(closed, folder):
    run = run_in(folder)
    settings = TrainConfig.from_settings(TrainConfig.load(run / "config.toml")).resolved()
    (folder / "runs" if closed == "runs" else run / "checkpoint").chmod(0)
    if os.geteuid() == 0:
        for path in (folder, *folder.parents[:2]):  # pytest makes them for its user alone
            path.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(CheckpointError, match=r"Permission denied|is no run folder"):
            find.resume(run, {})
        with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
            find.newest_unfinished(folder / "runs", settings)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        (folder / "runs").chmod(0o700)
        (run / "checkpoint").chmod(0o700)


@pytest.mark.parametrize("verb", ["evaluate", "log --csv a.csv", "profile", "watch --text", "train --resume"])
def test_a_folder_inside_a_run_and_one_around_runs_are_told_with_the_run(verb, whole):
    run = run_in(whole)
    places = [(run / "checkpoint", f"It is part of a run: name `{run}`."), (run.parents[2], f"the newest is `{run}`.")]
    for place, words in places[: 1 if verb == "watch --text" else 2]:
        done = subprocess.run(edgedst(*verb.split(), place), capture_output=True, text=True, cwd=whole, check=False)
        assert done.returncode == 1
        assert done.stderr.endswith(f"{words}\n")
        assert len(done.stderr.splitlines()) == 1


def test_a_config_toml_of_somebody_else_s_makes_no_run_of_its_folder(tmp_path):
    (tmp_path / "config.toml").write_text("seed = 1\n", encoding="utf-8")
    assert find.run_around(tmp_path / "runs") is None


def test_what_a_refused_resume_advises_works(folder):
    _, err = train(folder, "--resume", str(run_in(folder)), "--budget-mb", "12", code=1)
    advice = err.rpartition("Try `edgedst train ")[2].rstrip("`.\n").split()
    assert advice[:2] == ["--resume", str(run_in(folder))]
    assert "--hidden" not in err
    out, _ = train(folder, *advice)
    assert "Finished 600 steps" in out


def test_a_run_killed_and_gone_on_with_is_the_run_that_was_not(folder, whole):
    train(folder, "--resume", str(run_in(folder)))
    assert metrics(run_in(folder)) == metrics(run_in(whole))
    assert digest(run_in(folder)) == digest(run_in(whole))


@pytest.mark.parametrize("name", ["config.toml", "checkpoint/state.json"])
def test_settings_that_no_parser_can_read_are_a_checkpoint_error(name, folder):
    run = run_in(folder)
    nested = "a = " + "[" * 5000 if name == "config.toml" else "[" * 100_000
    (run / name).write_text(nested, encoding="utf-8")
    with pytest.raises(CheckpointError):
        find.resume(run, {})


def test_the_newest_run_is_the_one_that_began_last_whatever_the_clock_said(tmp_path, monkeypatch):
    """A board without a clock of its own begins in the past at each boot, until it hears the time."""
    for order, clock in enumerate(("20380119-031408", "19700101-000010", "20261126-120000", "19700101-000010")):
        monkeypatch.setattr(time, "strftime", lambda _, clock=clock: clock)
        run = Path(RunFolder.create(str(tmp_path), "Arm-v0", "ds-td3", order % 2).path)
        (run / "config.toml").write_text(TrainConfig(env="Arm-v0", seed=order % 2).resolved().toml(), encoding="utf-8")
        commit(run, seed=order % 2)
        assert find.newest_run(tmp_path) == run
        settings = TrainConfig(env="Arm-v0", seed=order % 2).resolved()
        assert find.newest_unfinished(tmp_path, settings) == run
    copied = shutil.copytree(run, run.parent / "s1-20991231-000000")
    assert find.newest_run(tmp_path) == run  # what was copied is not what was trained last
    (tmp_path / "order").unlink()
    assert find.newest_run(tmp_path) == copied


def test_runs_of_several_folders_are_ordered_by_their_names(tmp_path, monkeypatch):
    for place, clock in (("a", "20260102-000000"), ("b", "20260101-000000")):
        monkeypatch.setattr(time, "strftime", lambda _, clock=clock: clock)
        run = Path(RunFolder.create(str(tmp_path / place), "Arm-v0", "ds-td3", 0).path)
        (run / "config.toml").touch()
        commit(run)
    assert find.newest_run(tmp_path).parts[-1] == "s0-20260102-000000"


def test_newest_does_not_trust_changed_settings_that_make_a_run_another_s(folder):
    run = run_in(folder)
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.replace("eval_every = 200", "eval_every = 205"), encoding="utf-8")
    settings = (*TINY[:-1], "--eval-episodes", "200")
    _, err = train(folder, "--resume", "newest", *settings, code=1)
    assert "is not the file that its checkpoint was made with" in err
    assert list((folder / "runs").glob("*/*/*")) == [run]
