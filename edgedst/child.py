"""Command lines of child processes: edgedst's own modules, and any command tied to the life of this process."""

from __future__ import annotations

import os
import sys

# The kernel sends SIGTERM to the process when whoever started it is gone. Set by the process itself before it becomes
# what is asked for: between fork and exec, in a process with threads, no Python may run.
_TIED = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15, 0, 0, 0); "
    "sys.exit(143) if os.getppid() != int(sys.argv[1]) else os.execv(sys.argv[2], sys.argv[2:])"
)


# `python -m` looks for every module in the current folder first, for Python's own too: a types.py there would run. What
# a user has there, such as an environment, is found last.
_LAST = (
    "import sys; sys.path[:] = [*filter(None, sys.path), '']; sys.argv[0] = 'edgedst'; "
    "from {} import main; sys.exit(main())"
)


def python_of(module: str) -> list[str]:
    """The command line of a module's `main`, by the interpreter that runs this."""
    return [sys.executable, "-c", _LAST.format(module)]


def tied(command: list[str]) -> list[str]:
    """The same command, which ends when this process is gone."""
    return [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command]
