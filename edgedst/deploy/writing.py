"""Files that are to be written: whether they can be, and the sentence when they cannot."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgedst.errors import ExportError


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
            f"`{path}` cannot be written ({error.strerror or error}). "
            "Choose a folder that exists, is writable and has room."
        ) from error


@contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Other names beside `paths`, whose files get theirs when the block is through, and are removed when it raises.

    Raises:
        ExportError: when a file cannot get its name.
    """
    temporary = tuple(path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in paths)
    try:
        yield temporary
        for made, path in zip(temporary, paths, strict=True):
            with writing(path):
                made.replace(path)
    finally:
        for left in temporary:
            left.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Find out before any work whether a file can be written.

    Raises:
        ExportError: when there is no such folder, it is not writable, or a folder has the file's name.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has that name")
        try_folder(path.parent)


def try_folder(folder: Path) -> None:
    """Make a file there that is gone at once.

    Raises:
        OSError: when that cannot be.
    """
    with tempfile.TemporaryFile(dir=folder):
        pass
