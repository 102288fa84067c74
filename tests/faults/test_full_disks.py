"""Disks that take no more: a sentence, the files from before, nothing left behind, and a way on once there is room.

The disk is a small tmpfs where root may mount one, and everywhere a limit on the size of a file.
"""

import os
import resource
import subprocess
from contextlib import contextmanager

import pytest
from faults.campaign import campaign, no_leftovers, sentence
from study_folder import study_text
from training import EXPORTS, TINY, contents, edgedst, goes_on, start

GRID = 'env = "InvertedPendulum-v5"\nmethod = "ds-td3"\nseed = 0'
CANNOT_WRITE = ("RunFolderError", "ExportError", "StudyError")


@contextmanager
def small_tmpfs(folder):
    """A disk of some MB, of which a large file takes all but a command's room."""
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6000k", "edgedst-full-disk", place]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs to mount a tmpfs: {done.stderr.strip()}")
    large, out = place / "large", place / "out"
    out.mkdir()

    @contextmanager
    def only(room):
        free = os.statvfs(place)
        large.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - room)))
        yield {}
        large.unlink()

    try:
        yield out, only
    finally:
        subprocess.run(["umount", "--lazy", place], check=False)


@contextmanager
def small_files(folder):
    """A disk that takes no file above a command's room (`ulimit -f`)."""

    @contextmanager
    def only(room):
        yield {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))}

    yield folder, only


@pytest.fixture(params=[small_tmpfs, small_files])
def disk(request):
    """Makes a disk in a folder: (where to work, a context that gives options of a command with so many bytes left)."""
    if request.param is small_tmpfs and os.geteuid():
        pytest.skip("needs root, to mount a tmpfs")
    return request.param


def ended(command, folder, **options):
    """(exit code, what it printed as errors) of a command."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120, **options)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr[-1500:]
    return done.returncode, done.stderr


def test_a_run_ends_with_a_sentence_and_goes_on_when_there_is_room(disk, whole, tmp_path):
    def attack(rng, folder):
        with disk(folder) as (place, only):
            with only(round(10 ** rng.uniform(2, 5.8))) as options:
                process = start(place, *TINY, **options)
                _, err = process.communicate(timeout=60)
            for run in place.glob("runs/*/*/s*"):
                no_leftovers(run)
            if process.returncode == 0:
                return "had room"
            assert process.returncode == 1, err
            sentence(err, *CANNOT_WRITE)
            return goes_on(place, whole)

    campaign("runs on a full disk", 6, tmp_path, attack)


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_ends_with_a_sentence_and_leaves_the_files_from_before(kind, disk, exports, exported, tmp_path):
    new_export, (old, new) = exports[kind][1], exported(kind)
    largest = max(map(len, new.values()))

    def attack(rng, folder):
        with disk(folder) as (place, only):
            for name, content in old.items():
                (place / name).write_bytes(content)
            with only(rng.randrange(round(1.5 * largest))) as options:
                code, err = ended(new_export, place, **options)
            if code:
                sentence(err, *CANNOT_WRITE)
            assert contents(place) == (old if code else new)
            no_leftovers(place)
            if code or kind != "bundle":
                assert ended(new_export, place) == (0, "")
                assert contents(place) == new
        return "had no room" if code else "had room"

    campaign(f"exports on a full disk ({kind})", 2, tmp_path, attack)


def test_a_study_and_its_report_end_with_a_sentence_and_go_on_when_there_is_room(disk, tmp_path):
    run, report = (
        edgedst("study", "run", "study.toml", "--out", "out", "--jobs", "1"),
        edgedst("study", "report", "out"),
    )
    pages = ("out/report/index.html", "out/report/report.md")

    def attack(rng, folder):
        with disk(folder) as (place, only):
            (place / "study.toml").write_text(study_text(GRID, steps=300), encoding="utf-8")
            with only(round(10 ** rng.uniform(2, 5.5))) as options:
                code, err = ended(run, place, **options)
            assert code in (0, 1)
            if err:
                sentence(err, *CANNOT_WRITE)
            assert ended(run, place) == (0, "")
            assert ended(report, place) == (0, "")
            before = [(place / page).read_bytes() for page in pages]
            with only(round(10 ** rng.uniform(2, 5))) as options:
                code, err = ended(report, place, **options)
            if code:
                sentence(err, *CANNOT_WRITE)
                assert before == [(place / page).read_bytes() for page in pages]
            for folder in ("out/points", "out/report"):
                no_leftovers(place / folder)
        return "had no room" if code else "had room"

    campaign("studies on a full disk", 1, tmp_path, attack)


@pytest.mark.parametrize(
    "arguments",
    [
        ("import", "../actor.onnx", "--env", "HalfCheetah-v5", "--episodes", "0", "--run-dir", "new/runs"),
        ("study", "run", "../study.toml", "--out", "new/out", "--jobs", "1"),
        ("study", "run", "../study.toml", "--out", "new/out", "--scheduler", "nobody"),
        ("study", "report", "../study", "--out", "new/report"),
    ],
    ids=lambda words: " ".join(words[: 2 + ("--scheduler" in words)]),
)
def test_a_command_that_finds_no_room_leaves_no_folder(arguments, disk, exported, tmp_path):
    with disk(tmp_path) as (place, only):
        work = place / "work"
        (place / "study").mkdir()
        work.mkdir()
        (place / "actor.onnx").write_bytes(exported("onnx")[1]["actor.onnx"])
        for path in (place / "study.toml", place / "study" / "study.toml"):
            path.write_text(study_text(GRID, steps=300), encoding="utf-8")
        with only(0) as options:
            code, err = ended(edgedst(*arguments), work, **options)
        assert code == 1
        sentence(err, *CANNOT_WRITE)
        assert "tmp`" not in err  # what is named is not hidden, and gone
        assert not list(work.iterdir())
