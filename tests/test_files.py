"""Files are written whole or not at all, under names that nobody foresees, and on the disk before they have theirs."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgedst import files
from edgedst.errors import RunFolderError
from edgedst.files import make_folder, put_in_place, quoted, remove_leftovers, temporary, write_whole


@pytest.fixture
def calls(monkeypatch):
    """The calls that durability is made of, in their order: (name, file)."""
    seen = []

    def record(name, path_of):
        real = getattr(os, name)

        def recorded(*arguments, **named):
            seen.append((name, path_of(*arguments)))
            return real(*arguments, **named)

        monkeypatch.setattr(os, name, recorded)

    record("fsync", lambda descriptor: str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    record("replace", lambda _, path: str(path))
    record("mkdir", lambda path, *_: str(path))
    return seen


def make(path, text):
    """A written temporary of `path`; returns its name."""
    descriptor, name = temporary(str(path))
    os.write(descriptor, text.encode())
    os.close(descriptor)
    return name


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_of_one_result_are_all_written_or_none_is(tmp_path):
    (tmp_path / "first").write_bytes(b"old")
    files.write_together({f"{tmp_path}/{name}": b"new" for name in ("first", "second")})
    assert [(tmp_path / name).read_bytes() for name in ("first", "second")] == [b"new", b"new"]
    (tmp_path / "third").mkdir()
    with pytest.raises(RunFolderError, match=r"third` cannot be written: Is a directory"):
        files.write_together({f"{tmp_path}/{name}": b"newer" for name in ("first", "fresh", "third")})
    assert (tmp_path / "first").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second", "third"]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_anything_else(tmp_path, calls):
    write_whole(str(tmp_path / "state.json"), b"new")
    (first, made), *rest = calls
    assert first == "fsync"
    assert made.endswith(".tmp")
    assert rest == [("replace", str(tmp_path / "state.json")), ("fsync", str(tmp_path))]
    assert (tmp_path / "state.json").read_bytes() == b"new"


def test_every_folder_that_is_made_is_on_the_disk(tmp_path, calls):
    make_folder(str(tmp_path / "a" / "b"))
    made = [("mkdir", str(tmp_path / "a")), ("fsync", str(tmp_path))]
    assert calls == [*made, ("mkdir", str(tmp_path / "a" / "b")), ("fsync", str(tmp_path / "a"))]


def test_folders_that_nothing_came_of_go_and_no_other(tmp_path):
    (tmp_path / "mine").mkdir()
    made = make_folder(str(tmp_path / "mine" / "a" / "b"))
    assert made == [str(tmp_path / "mine" / "a"), str(tmp_path / "mine" / "a" / "b")]
    (tmp_path / "mine" / "a" / "file").touch()
    files.remove_made(made)
    assert names(tmp_path / "mine" / "a") == ["file"]
    (tmp_path / "mine" / "a" / "file").unlink()
    files.remove_made(made)
    assert names(tmp_path) == ["mine"]
    with pytest.raises(OSError, match="too long"):
        make_folder(str(tmp_path / "c" / "d" / ("e" * 256)))
    assert names(tmp_path) == ["mine"]


def test_no_link_is_followed_and_no_file_of_another_is_written(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    foreseen = iter([b"\0\0\0\0", b"\1\0\0\0"])
    monkeypatch.setattr(os, "urandom", lambda count: next(foreseen))
    (tmp_path / ".actor.onnx.00000000.tmp").symlink_to(victim)
    with pytest.raises(RunFolderError, match=r"actor\.onnx` cannot be written: File exists"):
        write_whole(str(tmp_path / "actor.onnx"), b"model")
    assert victim.read_text(encoding="utf-8") == "mine"


def test_a_link_is_replaced_and_what_it_points_at_stays(tmp_path):
    (tmp_path / "victim").write_text("mine", encoding="utf-8")
    (tmp_path / "actor.onnx").symlink_to(tmp_path / "victim")
    write_whole(str(tmp_path / "actor.onnx"), b"model")
    assert not (tmp_path / "actor.onnx").is_symlink()
    assert (tmp_path / "victim").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("path", ["pipe", "to_pipe", "stdout"])
def test_a_pipe_and_a_link_into_a_process_stay_what_they_are(path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")  # as /dev/stdout, which a shell may have led to a file
    before = names(tmp_path)
    code = f"from edgedst.files import write_whole; write_whole({path!r}, b'x', '--csv')"
    with (tmp_path.parent / "printed").open("wb") as printed:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, stdout=printed, stderr=subprocess.PIPE, text=True, check=False)
    said = f"`{path}` cannot be written: it is no regular file. Something else has that name: choose another with"
    assert said in done.stderr
    assert names(tmp_path) == before
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / path).is_symlink() == (path != "pipe")


@pytest.mark.parametrize("last_is_new", [False, True])
def test_files_of_one_result_are_replaced_together_or_not_at_all(tmp_path, last_is_new):
    (tmp_path / "a").write_text("old", encoding="utf-8")
    last = tmp_path / ("new" if last_is_new else "c")
    if not last_is_new:
        last.write_text("old", encoding="utf-8")
    (tmp_path / "folder").mkdir()  # a file cannot take its name
    (tmp_path / "folder" / "file").touch()
    before = names(tmp_path)
    made = [(make(path, "new"), str(path)) for path in (tmp_path / "a", last, tmp_path / "folder")]
    with pytest.raises(IsADirectoryError):
        put_in_place(made)
    for name, _ in made:
        files.remove(name)
    assert names(tmp_path) == before
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"

    put_in_place([(make(path, "new"), str(path)) for path in (tmp_path / "a", last)])
    assert {path.read_text(encoding="utf-8") for path in (tmp_path / "a", last)} == {"new"}
    assert not list(tmp_path.glob("*.tmp"))


@pytest.fixture
def no_links(monkeypatch):
    """A file system without hard links, as FAT and exFAT of SD cards."""

    def link(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("which", ["a", "b", "c"])
def test_without_links_too_files_are_replaced_together_or_not_at_all(which, error, tmp_path, monkeypatch, no_links):
    for name in ("a", "b"):
        (tmp_path / name).write_text("old", encoding="utf-8")
    made = [(make(tmp_path / name, "new"), str(tmp_path / name)) for name in ("a", "fresh", "b", "c")]
    replace, failing = os.replace, dict(map(reversed, made))[str(tmp_path / which)]

    def replace_but_one(source, path):
        if source == failing:
            raise error
        replace(source, path)

    monkeypatch.setattr(os, "replace", replace_but_one)
    with pytest.raises(type(error)):
        put_in_place(made)
    for name, _ in made:
        files.remove(name)
    assert names(tmp_path) == ["a", "b"]
    assert {(tmp_path / name).read_text(encoding="utf-8") for name in ("a", "b")} == {"old"}

    monkeypatch.setattr(os, "replace", replace)
    put_in_place([(make(tmp_path / name, "new"), str(tmp_path / name)) for name in ("a", "b")])
    assert names(tmp_path) == ["a", "b"]
    assert {(tmp_path / name).read_text(encoding="utf-8") for name in ("a", "b")} == {"new"}


def test_without_links_the_old_file_outlives_a_kill_and_the_next_writer(tmp_path, no_links):
    path = tmp_path / "a"
    path.write_text("old", encoding="utf-8")
    files._keep(str(path), [])  # killed here
    write_whole(str(path), b"new")
    (old,) = tmp_path.glob(".a.????????.old")
    assert old.read_text(encoding="utf-8") == "old"


def test_what_a_killed_writer_left_behind_goes_with_the_next_one(tmp_path):
    path = tmp_path / "actor.onnx"
    code = f"import os; from edgedst.files import temporary; temporary({str(path)!r}); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(tmp_path.glob(".actor.onnx.*.tmp"))) == 1
    (tmp_path / ".actor.onnx.notours.tmp").touch()
    descriptor, writing = temporary(str(path))
    assert [str(left) for left in tmp_path.glob(".actor.onnx.????????.tmp")] == [writing]
    remove_leftovers(str(path))  # its writer lives
    assert Path(writing).exists()
    os.close(descriptor)
    remove_leftovers(str(path))
    assert names(tmp_path) == [".actor.onnx.notours.tmp"]


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    path = tmp_path / ("\u00e9" * 127)
    write_whole(str(path), b"1")
    assert path.read_bytes() == b"1"


@pytest.mark.parametrize("word", ["", "runs/s0-2", "a b", "it's", "dü", "a\nb", "$(x)", "-x", "\udcff"])
def test_a_path_is_one_word_of_a_command(word):
    assert quoted(word) == shlex.quote(word)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none/a", "Its folder is not there: make it"),
        ("folder", "It is a folder: choose another name"),
        (".", "It is a folder, or something is mounted there: choose another name"),
    ],
)
def test_a_name_that_is_a_folder_s_or_in_none_is_told(path, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunFolderError, match=f"{said}.* with `--csv`"):
        write_whole(path, b"x", "--csv")
