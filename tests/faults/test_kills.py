"""SIGKILL at random moments, at temporary files, at system calls: what was saved is gone on with, to the same end."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from faults.campaign import campaign, no_leftovers, sentence
from faults.system_calls import killing_at, record, under
from study_folder import Folder, numbers, study_text
from training import EXPORTS, TINY, digest, edgedst, finished, goes_on, metrics, run_in, saved_step, start

GRID = 'env = "InvertedPendulum-v5"\nmethod = "ds-td3"\nseed = [0, 1]'
LOCKING = "flock"  # the system call that takes a run's lock


def killed_at_a_moment(rng, folder, *arguments):
    process = start(folder, *arguments)
    try:
        process.communicate(timeout=rng.uniform(0.0, 0.35))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


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

    campaign(f"runs {kill.__name__.replace('_', ' ')}", 8, tmp_path, attack)


def test_a_run_killed_at_any_system_call_goes_on_to_the_same_end(calls, whole, tmp_path):
    def attack(rng, folder):
        def kill():
            killed_at_a_call(rng.choice(calls), folder, *TINY, "--resume", "newest")

        return until_the_end(rng, folder, whole, kill)

    campaign("runs killed at a system call", 12, tmp_path, attack)


@pytest.fixture(scope="module")
def stopped(calls, tmp_path_factory):
    """The folder of a run that has a checkpoint of step 210."""
    folder = tmp_path_factory.mktemp("stopped")
    commits = [call for call in calls if call.name.startswith("rename") and call.paths[1].endswith("/state.json")]
    killed_at_a_call(commits[4], folder, *TINY)
    assert saved_step(run_in(folder)) == 210
    return folder


def resumed(folder, *options):
    return ("--resume", "newest", *TINY) if options else ("--resume", str(run_in(folder)), "--no-progress")


def test_of_two_that_resume_one_run_the_first_trains_and_the_other_is_refused(stopped, whole, tmp_path):
    def attack(rng, folder):
        shutil.copytree(stopped, folder, dirs_exist_ok=True)
        both = []
        for _ in range(2):
            both.append(start(folder, *resumed(folder)))
            time.sleep(rng.uniform(0, 0.1))
        ends = [(*process.communicate(timeout=60), process.returncode) for process in both]
        assert sorted(code for *_, code in ends) == [0, 1], ends
        sentence(next(err for _, err, code in ends if code), "RunFolderError", "CheckpointError")
        assert metrics(run_in(folder)) == metrics(whole)
        assert digest(run_in(folder)) == digest(whole)
        return "trained by one"

    campaign("two resumes at once", 4, tmp_path, attack)


def test_a_resume_that_overlaps_another_s_last_checkpoint_loses_nothing(stopped, whole, tmp_path):
    """The late one is held up where it takes the lock, and killed soon after."""

    def attack(rng, folder):
        shutil.copytree(stopped, folder, dirs_exist_ok=True)
        killed = (
            rng.choice(("fsync", "rename", "unlink", "write", "ftruncate")),
            f"signal=KILL:when={rng.randrange(1, 9)}",
        )
        late = start(folder, *resumed(folder), under=under((LOCKING, "delay_enter=600000:when=1"), killed))
        time.sleep(rng.uniform(0, 0.2))
        early = start(folder, *resumed(folder))
        if rng.random() < 0.5:
            time.sleep(rng.uniform(0.1, 0.3))
            early.send_signal(rng.choice((signal.SIGTERM, signal.SIGKILL)))
        for process in (early, late):
            _, err = process.communicate(timeout=60)
            if process.returncode == 1:
                sentence(err, "RunFolderError", "CheckpointError")
        how = goes_on(folder, whole)
        no_leftovers(run_in(folder) if how == "went on" else folder)
        return how

    campaign("overlapping resumes", 6, tmp_path, attack)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_killed_at_any_system_call_leaves_old_or_new_files_and_the_next_one_tidies_up(
    kind, two_runs, tmp_path
):
    old, new = (edgedst("export", *EXPORTS[kind], "--run", run) for run in two_runs)
    made = {}
    for name, command in (("old", old), ("new", new)):
        (tmp_path / name).mkdir()
        found = record(command, tmp_path / name, tmp_path / f"{name}.strace")
        made[name] = contents(tmp_path / name)
    calls = [call for call in found if call.changes(tmp_path / "new")]
    if kind == "bundle":  # which is never written over anything
        made["old"] = {}

    def attack(rng, folder):
        for name, content in made["old"].items():
            (folder / name).write_bytes(content)
        subprocess.run([*killing_at(rng.choice(calls)), *new], cwd=folder, capture_output=True, check=False)
        left = {name: content for name, content in contents(folder).items() if not name.startswith(".")}
        for name, content in left.items():
            assert content in (made["old"].get(name), made["new"].get(name)), f"{name} is neither old nor new"
        assert left.keys() in (made["old"].keys(), made["new"].keys())
        if kind != "bundle" or not left:
            done = subprocess.run(new, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        no_leftovers(folder)
        assert contents(folder) == made["new"]
        return "new" if left == made["new"] else "old" if left == made["old"] else "some new"

    campaign(f"exports killed at a system call ({kind})", 3, tmp_path, attack)


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
            process = made.start("--jobs", str(rng.randrange(1, 3)))
            try:
                process.communicate(timeout=rng.uniform(0.1, 1.2))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        made.run("--jobs", "2")
        ended = {}
        for run in sorted(made.out.glob("runs/*/*/s*")):
            if finished(run):
                ended[run.parent.parent.name, run.parent.name, run.name.partition("-")[0]] = numbers(run)
                no_leftovers(run)
        assert ended == expected
        no_leftovers(made.out / "points")
        return "went on"

    campaign("studies killed at a moment", 3, tmp_path, attack)
