"""Reading what anyone may have made or damaged: sentences for what cannot be read, and values that are what they say.

What a file says ends up in other files and programs, so nothing of it is taken as it is.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgedst.errors import CheckpointError

LARGEST_BYTES = 2**30  # of a file that holds an actor
# All that gymnasium registers. No white space, quotes, `*`, `%`, `$`, `<`: such a text is one in every file that it
# gets into: a C comment, a unit of systemd, a shell's command, a page.
_ENVIRONMENT = re.compile(r"\w[\w.:/-]{0,199}")
_VERSION = re.compile(r"[\w.+-]{1,60}", re.ASCII)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make an OSError within the block the sentence that `path` cannot be read.

    Raises:
        CheckpointError: for any OSError.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({reason(error)}). Check its permissions and those of the folders above it."
        ) from error


def read_regular(path: Path) -> bytes:
    """All of a file of LARGEST_BYTES or less. A pipe or a device might never end.

    Raises:
        OSError: it is none, or cannot be read.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError("it is no regular file")
        if about.st_size > LARGEST_BYTES:
            raise OSError(f"it has {about.st_size:,} bytes, and no actor more than {LARGEST_BYTES:,}")
        return file.read(about.st_size)  # Python takes as much memory as is asked for, whatever there is to read


def locked_inodes() -> set[int]:
    """Files that a process of this machine, no other, holds a lock of, as a trainer does its metrics.jsonl's.

    To ask by locking would refuse a trainer that begins in that moment. The device is not compared: overlays and btrfs
    tell two of them. One who waits for a lock has -> before FLOCK.
    """
    locks = b""
    with suppress(OSError):
        locks = Path("/proc/locks").read_bytes()
    return {int(inode) for inode in re.findall(rb"^\d+: FLOCK .*:(\d+) 0 EOF$", locks, re.MULTILINE)}


def environment_id(value: Any) -> str:
    """What a file says that its environment is.

    Raises:
        ValueError: no environment can have that id.
    """
    if not isinstance(value, str) or not _ENVIRONMENT.fullmatch(value):
        raise ValueError(f"{value!a:.100} is no environment's id")
    return value


def version(value: Any) -> str:
    """What a file says is a version of edgedst.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise ValueError(f"{value!a:.100} is no version of edgedst")
    return value


def whole(value: Any, least: int = 0) -> int:
    """What a file says is a whole number.

    Raises:
        ValueError: it is none, is less than `least`, or has more than 63 bits.
    """
    if type(value) is not int or not least <= value < 2**63:
        raise ValueError(f"{value!a:.100} is no whole number of {least} or more")
    return value


def finite(value: Any) -> float:
    """What a file says is a number.

    Raises:
        ValueError: it is none, or not finite.
    """
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!a:.100} is no finite number")
    return float(value)


def reason(error: Exception) -> str:
    """What an error says, for brackets in a sentence."""
    if isinstance(error, KeyError):
        return f"no {error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
