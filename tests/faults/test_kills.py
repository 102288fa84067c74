"""SIGKILL at random moments, at temporary files, at system calls: what was saved is gone on with, to the same end."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import nullcontext

import pytest
from faults.campaign import campaign, no_leftovers, sentence
from faults.system_calls import killing_at, record, under
from study_folder import Folder, numbers, study_text
from training import (
    EXPORTS,
    TINY,
    contents,
    digest,
    edgedst,
    finished,
    goes_on,
    metrics,
    run_in,
    saved_step,
    start,
    until,
)

GRID = 'env = "InvertedPendulum-v5"\nmethod = "ds-td3"\nseed = [0, 1]'


def saved(folder):
    """{checkpoint: when it was made}"""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("checkpoint/state.json")}


def killed_within(rng, seconds, process, folder):
    """At a moment from its start, or from one of its checkpoints, which come when they come on a busy machine."""
    if rng.random() < 0.6:
        for _ in range(rng.randrange(1, 6)):
            before = saved(folder)
            until(lambda before=before: saved(folder) != before or process.poll() is not None)
        seconds = 0.05
    try:
        process.communicate(timeout=rng.uniform(0, seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def killed_at_a_moment(rng, folder, *arguments):
    killed_within(rng, 0.35, start(folder, *arguments), folder)


def killed_at_a_temporary_file(rng, folder, *arguments):
    """When a name ending in .tmp is seen for the n-th time; to the end where that never comes."""
    process, seen, wanted = start(folder, *arguments), set(), rng.randrange(1, 12)
    while process.poll() is None and len(seen) < wanted:
        for _, _, names in os.walk(folder):
            seen.update(name for name in names if name.endswith(".tmp"))
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Calls of a run that change its files."""
    folder = tmp_path_factory.mktemp("recorded")
    found = record(edgedst("train", "--run-dir", "runs", *TINY), folder, folder.parent / "kills.strace")
    return [call for call in found if call.changes(folder)]


def killed_at_a_call(call, folder, *arguments):
    start(folder, *arguments, under=killing_at(call)).communicate()


def until_the_end(rng, folder, whole, kill):
    for _ in range(rng.randrange(1, 4)):
        kill()
    how = goes_on(folder, whole)
    for run in (folder / "runs").glob("*/*/s*"):
        if finished(run):
            no_leftovers(run)
    return how


@pytest.mark.parametrize("kill", [killed_at_a_moment, killed_at_a_temporary_file])
def test_a_run_killed_at_any_moment_goes_on_to_the_same_end(kill, whole, tmp_path):
    def attack(rng, folder):
        return until_the_end(rng, folder, whole, lambda: kill(rng, folder, *TINY, "--resume", "newest"))

    campaign(f"runs {kill.__name__.replace('_', ' ')}", 4, tmp_path, attack, needs=("went on",))


def test_a_run_killed_at_any_system_call_goes_on_to_the_same_end(calls, whole, tmp_path):
    def attack(rng, folder):
        def kill():
            killed_at_a_call(rng.choice(calls), folder, *TINY, "--resume", "newest")

        return until_the_end(rng, folder, whole, kill)

    campaign("runs killed at a system call", 6, tmp_path, attack, needs=("went on",))


@pytest.fixture(scope="module")
def stopped(calls, tmp_path_factory):
    """The folder of a run that was killed at its fifth checkpoint."""
    folder = tmp_path_factory.mktemp("stopped")
    commits = [call for call in calls if call.name.startswith("rename") and call.paths[1].endswith("/state.json")]
    killed_at_a_call(commits[4], folder, *TINY)
    assert 0 < saved_step(run_in(folder)) < 600
    return folder


def test_of_two_that_resume_one_run_the_first_trains_and_the_other_is_refused(stopped, whole, tmp_path):
    def attack(rng, folder):
        shutil.copytree(stopped, folder, dirs_exist_ok=True)
        run, both = run_in(folder), []
        for _ in range(2):
            both.append(start(folder, "--resume", str(run), "--no-progress"))
            time.sleep(rng.uniform(0, 0.1))
        ends = [(*process.communicate(timeout=60), process.returncode) for process in both]
        assert sorted(code for *_, code in ends) == [0, 1], ends
        sentence(next(err for _, err, code in ends if code), "RunFolderError", "CheckpointError")
        assert metrics(run) == metrics(whole)
        assert digest(run) == digest(whole)
        return "trained by one"

    campaign("two resumes at once", 3, tmp_path, attack)


def resumed(run, rng):
    return ("--resume", str(run), "--no-progress") if rng.random() < 0.7 else ("--resume", "newest", *TINY)


def test_a_resume_that_overlaps_another_s_last_checkpoint_loses_nothing(stopped, whole, tmp_path):
    """One stands still where it reads the checkpoint, until the other has ended; soon after it is killed."""

    def attack(rng, folder):
        shutil.copytree(stopped, folder, dirs_exist_ok=True)
        run, log = run_in(folder), folder / "strace.log"
        files = [run / "metrics.jsonl", *(run / "checkpoint").iterdir()]
        stop = (rng.choice(("openat", "openat", "close")), f"signal=STOP:when={rng.randrange(1, 7)}")
        kill = ("write", f"signal=KILL:when={rng.randrange(1, 20)}")  # of a line of the metrics
        late = start(folder, *resumed(run, rng), under=under(stop, kill, log=log, paths=files))
        while late.poll() is None and not (log.exists() and "stopped by SIGSTOP" in log.read_text(encoding="utf-8")):
            time.sleep(0.01)
        early = start(folder, *resumed(run, rng))
        if rng.random() < 0.3:
            time.sleep(rng.uniform(0.1, 0.3))
            early.send_signal(rng.choice((signal.SIGTERM, signal.SIGKILL)))
        for process in (early, late):
            _, err = process.communicate(timeout=60)
            if process.returncode == 1:
                sentence(err, "RunFolderError", "CheckpointError")
            if process is early and late.poll() is None:
                os.killpg(late.pid, signal.SIGCONT)
        how = goes_on(folder, whole)
        no_leftovers(run)
        return how

    campaign("overlapping resumes", 6, tmp_path, attack)


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_killed_at_any_system_call_leaves_old_or_new_files_and_the_next_one_tidies_up(
    kind, exports, exported, recorded_export, tmp_path
):
    command, (old, new), (before, calls) = exports[kind][1], exported(kind), recorded_export(kind)
    calls = [call for call in calls if call.changes(before.root)]

    def attack(rng, folder):
        for name, content in old.items():
            (folder / name).write_bytes(content)
        subprocess.run([*killing_at(rng.choice(calls)), *command], cwd=folder, capture_output=True, check=False)
        left = {name: content for name, content in contents(folder).items() if not name.startswith(".")}
        for name, content in left.items():
            assert content in (old.get(name), new.get(name)), f"{name} is neither old nor new"
        assert left.keys() in (old.keys(), new.keys())
        if kind != "bundle" or not left:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        no_leftovers(folder)
        assert contents(folder) == new
        return "new" if left == new else "old" if left == old else "some new"

    campaign(f"exports killed at a system call ({kind})", 2, tmp_path, attack)


def test_a_study_killed_at_any_moment_goes_on_to_the_same_end(tmp_path):
    def study(folder):
        folder.mkdir(exist_ok=True)
        made = Folder(folder)
        text = study_text(GRID, steps=600).replace("checkpoint_every = 250", "checkpoint_every = 70")
        (folder / "study.toml").write_text(text, encoding="utf-8")
        return made

    undisturbed = study(tmp_path / "undisturbed")
    undisturbed.run("--jobs", "2")
    expected = {point: numbers(run) for point, run in undisturbed.runs().items()}

    def attack(rng, folder):
        made = study(folder)
        for _ in range(rng.randrange(1, 3)):
            killed_within(rng, 1.2, made.start("--jobs", str(rng.randrange(1, 3))), folder)
        begun = [path.parents[1] for path in saved(folder) if not finished(path.parents[1])]
        made.run("--jobs", "2")
        ended = {}
        for run in sorted(made.out.glob("runs/*/*/s*")):
            if finished(run):
                ended[run.parent.parent.name, run.parent.name, run.name.partition("-")[0]] = numbers(run)
                no_leftovers(run)
        assert ended == expected
        no_leftovers(made.out / "points")
        return "went on" if begun else "began anew"

    campaign("studies killed at a moment", 2, tmp_path, attack, needs=("went on",))


@pytest.mark.parametrize(("comes", "attacks"), [(0, 3), (7, 8), (19, 20), (20, 20)])
def test_a_campaign_goes_on_until_its_kills_have_met_something_and_fails_where_none_has(
    comes, attacks, tmp_path, monkeypatch
):
    for name in ("EDGEDST_FAULTS", "EDGEDST_FAULTS_SEED", "EDGEDST_FAULTS_ONLY"):
        monkeypatch.delenv(name, raising=False)
    made = []

    def attack(rng, folder):
        made.append(folder)
        return "went on" if len(made) > comes else "began anew"

    with pytest.raises(AssertionError, match="none of 20 attacks went on") if comes == 20 else nullcontext():
        campaign("nothing", 3, tmp_path, attack, needs=("went on",))
    assert len(made) == attacks
