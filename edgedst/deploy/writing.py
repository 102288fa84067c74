"""Files that are to be written: whether they can be, and the sentence when they cannot."""

from __future__ import annotations

import errno
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


def check_place(path: Path) -> None:
    """Find out before any work whether a file can be written.

    Raises:
        ExportError: when there is no such folder, it is not writable, or a folder has the file's name.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has that name")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
