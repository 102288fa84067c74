"""Where an export is written: files and folders that get their names at the end, and the sentence when they cannot.

How a file is written whole is `edgedst.files`'s; here its errors become an export's.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgedst.errors import ExportError
from edgedst.files import check_replaceable, locked, put_in_place, remove, sync, temporary, temporary_name


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make an OSError within the block the sentence that `path` cannot be written.

    Raises:
        ExportError: for any OSError.
    """
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"`{error.filename2 or path}` cannot be written ({error.strerror or error}). "
            "Choose a folder that exists, is writable and has room."
        ) from error


@contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Empty files beside `paths`, for the block to write.

    They get their names when it is through, all of them or none, and are on the disk then; they go when it raises.

    Raises:
        ExportError: when one cannot be made or cannot get its name.
    """
    made: list[tuple[int, str]] = []
    try:
        for path in paths:
            with writing(path):
                made.append(temporary(str(path)))
        yield tuple(Path(name) for _, name in made)
        with writing(paths[0]):
            put_in_place([(name, str(path)) for (_, name), path in zip(made, paths, strict=True)])
    finally:
        for descriptor, name in made:
            os.close(descriptor)
            remove(name)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which gets its name when the block is through, or goes when it raises.

    All its files are on the disk before it has its name. What killed exports to `folder` left behind is removed.

    Raises:
        ExportError: it cannot be written.
    """
    with writing(folder):
        made, lock = _temporary_folder(folder)
    try:
        yield made
        with writing(folder):
            made.chmod(0o755)  # the service is another user, whatever the umask here
            for file in made.iterdir():
                file.chmod(0o644)
                sync(str(file))
            put_in_place([(str(made), str(folder))])
    finally:
        os.close(lock)
        shutil.rmtree(made, ignore_errors=True)


def _temporary_folder(folder: Path) -> tuple[Path, int]:
    """A folder of a name that nobody can have foreseen, and the lock that says that its writer lives."""
    start = f".{folder.name[:60]}."
    for left in folder.parent.glob(f"{glob.escape(start)}????????.tmp"):
        if (lock := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    while True:
        made = Path(temporary_name(str(folder)))
        made.mkdir(0o700)
        if (lock := _lock(made)) is not None:
            if os.fstat(lock).st_nlink:  # else it was taken for a leftover before it had its lock
                return made, lock
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Its descriptor, locked; None of what is no folder, or is another writer's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    if locked(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def check_place(path: Path) -> None:
    """Find out before any work whether a file can be written.

    Raises:
        ExportError: when there is no such folder, it is not writable, or what has the file's name is no file.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has that name")
        check_replaceable(str(path))
        try_folder(path.parent)


def try_folder(folder: Path) -> None:
    """Make a file there that is gone at once.

    Raises:
        OSError: when that cannot be.
    """
    with tempfile.TemporaryFile(dir=folder):
        pass
