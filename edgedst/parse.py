"""Reads TOML and JSON that anybody may have written: whatever a parser fails with is one error, or nothing.

For the front end; the lean trainer has `plain_json`.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any, BinaryIO

MOST_BYTES = 4_000_000  # of a file that people write: a device such as /dev/zero never ends


def toml(content: bytes) -> dict[str, Any]:
    """The tables of a TOML file; a byte order mark, which some editors write, is skipped.

    Raises:
        ValueError: it is none, and why; whole numbers have to fit 64 bits, as TOML says.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"it is no UTF-8 text (at line {line})") from None
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(
            str(error).replace("at end of document", f"at line {len(text.splitlines())}, the end")
        ) from None
    except RecursionError:
        raise ValueError("its lists or tables are nested too deeply") from None
    except ValueError:  # more digits than Python reads
        raise ValueError("a number in it has too many digits") from None
    values: list[Any] = [tables]
    while values:
        value = values.pop()
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("a whole number in it does not fit 64 bits")
        if isinstance(value, (dict, list)):
            values += value.values() if isinstance(value, dict) else value
    return tables


def json_object(content: bytes | str) -> dict[str, Any]:
    """A JSON object; empty where it is none. Numbers in it may be infinite, and texts no Unicode."""
    import json

    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read(path: Path, pipe: bool = False) -> bytes:
    """A whole file.

    Args:
        path: of the file.
        pipe: whether it may be a pipe or a terminal, which is read to its end; then MOST_BYTES are the most.

    Raises:
        OSError: it cannot be read, or is no such file. Without `pipe` nothing is waited for.
    """
    with opened(path, pipe) as file:
        content = file.read(MOST_BYTES + 1 if pipe else -1)
    if pipe and len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MOST_BYTES:,} bytes")
    return content


def opened(path: Path, pipe: bool = False) -> BinaryIO:
    """The file, to be read in parts. Arguments and errors are those of `read`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if pipe else os.O_NONBLOCK))
    except ValueError:
        raise OSError(errno.EINVAL, "its name has a NUL") from None
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(kind) or not (pipe or stat.S_ISREG(kind)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a folder" if stat.S_ISDIR(kind) else "it is no regular file")
    return os.fdopen(descriptor, "rb")
