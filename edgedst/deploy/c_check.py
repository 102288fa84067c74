"""Proves with this machine's C compiler that an exported C file acts as the trained actor, and measures its code."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedst.deploy.agreement import Reference, check_agreement
from edgedst.errors import ExportError
from edgedst.runs.actor import ActorWeights, FloatArray

COMPILERS = ("cc", "gcc", "clang")
# The options that docs/export.md recommends where there is an operating system.
PACKED, UNPACKED = ("-O2",), ("-O3", "-DEDGEDST_UNPACK")
_FLOATS = ctypes.POINTER(ctypes.c_float)


@dataclass(frozen=True)
class Check:
    """Result of a passed check."""

    compiler: str  # one of COMPILERS
    largest_difference: float  # as a share of each action's largest magnitude
    code_bytes: int | None  # machine code for this machine, at -Os; None: no `size` here


def check_source(code: str, header: str, name: str, weights: ActorWeights, reference: Reference) -> Check | None:
    """Compile NAME.c in a temporary folder, load it, and compare its actions with the reference.

    Where it can unpack its weights, it is compared both ways. `weights` are those that the file stores, and the
    reference is of them.

    Returns:
        None where there is no C compiler.

    Raises:
        ExportError: when the temporary folder has no room, the file does not compile or load, or an action is outside
            its bounds or differs by more than the reference's tolerance.
    """
    compiler = next((name for name in COMPILERS if shutil.which(name)), None)
    if compiler is None:
        return None
    builds = (PACKED, UNPACKED) if "EDGEDST_UNPACK" in header else (PACKED,)
    with _temporary_folder() as folder:
        source, compiled = (folder / f"{name}{suffix}" for suffix in (".c", ".o"))
        source.write_text(code, encoding="ascii")
        source.with_suffix(".h").write_text(header, encoding="ascii")
        acted = {}
        for number, options in enumerate(builds):
            library = folder / f"{name}_{number}.so"
            _run([compiler, "-std=c99", *options, "-shared", "-fPIC", "-o", str(library), str(source), "-lm"])
            acted[" ".join([compiler, *options])] = _actions(library, reference.observations, weights)
        _run([compiler, "-std=c99", "-Os", "-c", "-o", str(compiled), str(source)])
        code_bytes = _code_bytes(compiled)
    low, high = np.array(weights.action_low), np.array(weights.action_high)
    largest = 0.0
    for how, actions in acted.items():
        if not ((actions >= low) & (actions <= high)).all():
            raise ExportError(
                f"The actor in C ({how}) gave an action outside its bounds {list(weights.action_low)} to "
                f"{list(weights.action_high)}. No file was written; please report this with the run folder."
            )
        largest = max(largest, check_agreement(actions, reference, weights, f"C ({how})", "compiler"))
    return Check(compiler, largest, code_bytes)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for the block; an OSError within is the sentence that nothing can be checked there."""
    try:
        with tempfile.TemporaryDirectory(prefix="edgedst-") as folder:
            yield Path(folder)
    except OSError as error:
        raise ExportError(
            f"The actor in C cannot be checked in the temporary folder `{tempfile.tempdir or '/tmp'}` "
            f"({error.strerror or error}). No file was written; set TMPDIR to a folder that is writable and has room."
        ) from error


def _actions(library: Path, features: FloatArray, weights: ActorWeights) -> FloatArray:
    """(rows, N) to (rows, m) by the library's edgedst_act; with a history each row is told it step by step."""
    try:
        loaded = ctypes.CDLL(str(library))
        act = loaded.edgedst_act
    except OSError as error:
        raise ExportError(
            f"The compiled actor cannot be loaded for its check ({error}). No file was written; where nothing in "
            f"`{library.parent.parent}` may be run, set TMPDIR to another folder."
        ) from error
    act.argtypes, act.restype = (_FLOATS, _FLOATS), None
    actions: FloatArray = np.empty((len(features), weights.sizes[-1]), dtype=np.float32)
    size, history = weights.observation_size, weights.history
    for row, action in zip(features, actions, strict=True):
        seen = row[: max(history, 1) * size].reshape(-1, size)[::-1].copy()  # the oldest one first
        done = row[history * size :].reshape(-1, weights.sizes[-1])[::-1].copy() if history else row[:0]
        if history:
            loaded.edgedst_reset()
            # The oldest action comes before the oldest observation: after one that is forgotten.
            act(seen[0].ctypes.data_as(_FLOATS), action.ctypes.data_as(_FLOATS))
            for applied, observation in zip(done[:-1], seen[:-1], strict=True):
                loaded.edgedst_applied(applied.ctypes.data_as(_FLOATS))
                act(observation.ctypes.data_as(_FLOATS), action.ctypes.data_as(_FLOATS))
            loaded.edgedst_applied(done[-1].ctypes.data_as(_FLOATS))
        act(seen[-1].ctypes.data_as(_FLOATS), action.ctypes.data_as(_FLOATS))
    return actions


def _code_bytes(compiled: Path) -> int | None:
    """Bytes of machine code in an object file, constants left out; None without `size` of the binutils."""
    if shutil.which("size") is None:
        return None
    lines = _run(["size", "-A", "-d", str(compiled)]).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(".text"))


def _run(command: list[str]) -> str:
    """Standard output of a command in plain English."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if result.returncode != 0:
        said = next((line for line in result.stderr.splitlines() if "error" in line), result.stderr.strip())
        raise ExportError(
            f"`{command[0]}` could not compile the actor for its check ({said}). No file was written; where "
            "there is no space left, set TMPDIR to another folder, else repair the compiler, or take it off PATH to "
            "export without this check."
        )
    return result.stdout
