"""An export's files get their names together and on the disk, or nothing changes; what killed ones left is removed."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgedst.cli import verbs
from edgedst.deploy.writing import filling, replacing
from edgedst.errors import ConfigError, ExportError

# Begins to write to the path of argument 1, says so, and waits to be killed.
WRITER = """
import sys, time
from pathlib import Path
from edgedst.deploy.writing import filling, replacing
with (filling if "kit" in sys.argv[1] else replacing)(Path(sys.argv[1])) as made:
    if "kit" in sys.argv[1]:
        (made / "actor.onnx").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def export(*arguments):
    return CliRunner().invoke(verbs.app, ["export", *map(str, arguments)])


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def synced(monkeypatch):
    """Files and folders by the inode that was fsynced, and where each rename stands among them."""
    seen = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor):
        seen.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def record_replace(made, path):
        seen.append(str(path))
        replace(made, path)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    return seen


def test_golden_pairs_that_cannot_be_written_leave_the_actor_and_the_older_pairs(run, tmp_path):
    path, golden = tmp_path / "actor.onnx", tmp_path / "golden.csv"
    assert export(path, "--run", run, "--golden", golden).exit_code == 0
    before = {file: file.read_bytes() for file in (path, golden)}
    most_bytes = path.stat().st_size + 100  # room for the actor alone
    assert most_bytes < golden.stat().st_size - 100
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, limits[1]))
        done = export(path, "--run", run, "--checkpoint", "best", "--golden", golden)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(done.exception, ExportError), done.output
    assert f"`{golden}` cannot be written (File too large)" in str(done.exception)
    assert {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before


def test_a_name_that_cannot_be_had_takes_back_those_before_it(tmp_path):
    (tmp_path / "first").write_text("old")
    (tmp_path / "second").mkdir()
    files = replacing(tmp_path / "first", tmp_path / "second")
    for file in files.__enter__():
        file.write_text("new")
    with pytest.raises(ExportError, match="second` cannot be written"):
        files.__exit__(None, None, None)
    assert (tmp_path / "first").read_text() == "old"
    assert listed(tmp_path) == ["first", "second"]


@pytest.mark.parametrize("name", ["actor.onnx", "actor.c"])
def test_every_file_is_on_the_disk_before_it_has_its_name_and_the_names_are_at_the_end(name, run, tmp_path, synced):
    assert export(tmp_path / name, "--run", run, "--golden", tmp_path / "golden.csv").exit_code == 0
    written = [path for path in tmp_path.iterdir() if path.is_file()]
    for path in written:
        assert synced.index(path.stat().st_ino) < synced.index(str(path))
    assert len(written) == len(set(synced) & {str(path) for path in written})
    assert synced[-1] == tmp_path.stat().st_ino


def test_a_bundle_is_on_the_disk_before_it_has_its_name(run, tmp_path, synced):
    assert export("--bundle", tmp_path / "kit", "--run", run, "--rate", "50").exit_code == 0
    named = synced.index(str(tmp_path / "kit"))
    for path in [tmp_path / "kit", *(tmp_path / "kit").iterdir()]:
        assert path.stat().st_ino in synced[:named], path
    assert synced[named + 1] == tmp_path.stat().st_ino


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("name", ["actor.onnx", "kit", "k[it]"])
def test_what_a_killed_export_left_is_removed_by_the_next_one_and_what_a_living_one_writes_is_not(
    name, number, tmp_path
):
    path = tmp_path / name
    writer = [sys.executable, "-c", WRITER, path]
    with subprocess.Popen(writer, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout.readline() == "writing\n"
        left = listed(tmp_path)
        assert left
        make = filling if "kit" in name else replacing
        with make(path):
            assert set(left) < set(listed(tmp_path))
        assert set(left) <= set(listed(tmp_path))
        killed.send_signal(number)
        killed.wait()
    with make(path):
        assert not set(left) & set(listed(tmp_path))
    assert sum(file.startswith(".") for file in listed(tmp_path)) == 0


@pytest.mark.parametrize("option", ["--golden", "path"])
def test_what_is_no_regular_file_is_not_replaced(option, run, tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    arguments = (
        [tmp_path / "pipe.onnx"] if option == "path" else [tmp_path / "a.onnx", "--golden", tmp_path / "pipe.onnx"]
    )
    before = listed(tmp_path)
    done = export(*arguments, "--run", run)
    assert isinstance(done.exception, ExportError)
    assert "it is no regular file" in str(done.exception)
    assert listed(tmp_path) == before


@pytest.mark.parametrize(("name", "golden"), [("a.onnx", "a.onnx"), ("a.c", "a.h"), ("a.c", "link/../a.c")])
def test_golden_pairs_over_the_actor_are_refused(name, golden, run, tmp_path):
    (tmp_path / "link").mkdir()
    done = export(tmp_path / name, "--run", run, "--golden", f"{tmp_path}/{golden}")
    assert isinstance(done.exception, ConfigError)
    assert "is a file of the actor's own" in str(done.exception)
    assert not Path(tmp_path / name).exists()
