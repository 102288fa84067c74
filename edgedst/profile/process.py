"""One contender's process: started, listened to, and ended with its parent, however that ends."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from edgedst import errors
from edgedst.errors import EdgedstError, ProfileError
from edgedst.parse import json_object
from edgedst.profile.window import PREFIX

TICK_SECONDS = 1.0  # between two looks at the clock, for a person who watches

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


def run_contender(
    told: str,
    command: list[str],
    variables: dict[str, str],
    on_mark: Callable[[str], None],
    on_tick: Callable[[], None],
) -> dict[str, Any]:
    """Run a contender to its end; whatever is raised here meanwhile (Ctrl-C) ends it first.

    Args:
        told: what an error calls it.
        command: its command line.
        variables: its environment.
        on_mark: called with "begin" and "end" when its window does.
        on_tick: called about once a second.

    Returns:
        What it measured (`window.measure`), and its own facts.

    Raises:
        EdgedstError: what the contender said, of its own class.
        ProfileError: it failed in another way.
    """
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            tied(command),
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            start_new_session=True,  # a terminal's Ctrl-C is this process's to pass on
        )
        try:
            result = _listen(process, on_mark, on_tick)
            code = process.wait()
        finally:
            end(process)
        if code == 0 and result is not None:
            return result
        words.seek(0)
        raise failure(told, code, words.read().decode("utf-8", "replace"))


def _listen(
    process: subprocess.Popen[bytes], on_mark: Callable[[str], None], on_tick: Callable[[], None]
) -> dict[str, Any] | None:
    """Until its output ends; what it told last."""
    assert process.stdout is not None
    result: dict[str, Any] | None = None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(TICK_SECONDS):
                on_tick()
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return result
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                _, mine, said = line.decode("utf-8", "replace").partition(PREFIX)
                if not mine:
                    continue
                values = json_object(said)  # empty of what an environment prints that looks so
                if "mark" in values:
                    on_mark(str(values["mark"]))
                elif values:
                    result = values


def end(process: subprocess.Popen[bytes]) -> None:
    """Nothing where it has ended; its children, such as an environment's process, go with it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def failure(told: str, code: int, words: str) -> EdgedstError:
    """A contender's own sentence, as an error of its class; else its last line."""
    last = next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "")
    name, _, sentence = last.partition(": ")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, EdgedstError) and sentence:
        return kind(f"{sentence} That was said by {told}.")
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return ProfileError(f"{told[0].upper()}{told[1:]} {how}: {last or 'it said nothing'}")
