"""What a reader of a benchmark's numbers wants to know of the machine, and the one thread that NumPy's BLAS gets."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

# OpenBLAS reads it when NumPy loads it; a NumPy that was loaded before is told by `one_blas_thread`.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

PACKAGES = ("edgedst", "numpy", "torch", "onnxruntime")
OPENBLAS_FUNCTIONS = ("get_config", "get_corename", "get_num_threads", "set_num_threads")
# Each holds a library to kernels that may be slower than the CPU's best.
FORCING = (
    *("OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"),
    *("DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"),
)


def edgedst_command(*arguments: str) -> list[str]:
    """The command line of `edgedst`, by the interpreter that runs this."""
    return [sys.executable, "-m", "edgedst.cli.main", *arguments]


def facts() -> dict[str, object]:
    """CPU, kernel path, versions, commit, and how busy the machine was."""
    from edgedst import core

    return {
        "cpu": cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "isa": core.isa(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "commit": commit(),
        "load_average": os.getloadavg()[0],
        "forced_kernels": forced_kernels(),
    }


def forced_kernels() -> dict[str, str]:
    """What in the environment forces a kernel on a baseline, by variable."""
    return {name: os.environ[name] for name in FORCING if os.environ.get(name)}


def forcing(forced: dict[str, str]) -> str:
    """A sentence where that is so: a baseline may then be crippled. Else nothing."""
    named = " ".join(f"{name}={value}" for name, value in forced.items())
    return f"{named} forces kernels on a baseline, maybe slow ones: unset it." if named else ""


def pyplot() -> Any:
    """matplotlib's, which draws into files only; ends with a sentence where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("The picture needs matplotlib: pip install matplotlib.") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def sentence(machine: dict[str, object]) -> str:
    """The same for reading."""
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", *PACKAGES) if machine[name])
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['isa']}, load {machine['load_average']:.1f}; "
        f"commit {machine['commit'] or 'unknown'}; {versions}"
    )


def cpu() -> str:
    """The CPU's name; on a board without one in /proc/cpuinfo the board's."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    model = Path("/proc/device-tree/model")
    return model.read_text(encoding="utf-8").strip("\0\n ") if model.exists() else platform.machine()


def version(package: str) -> str | None:
    """The installed version, found without importing the package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The checkout's commit, `-dirty` where files differ from it; None outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def one_blas_thread() -> dict[str, object]:
    """Hold NumPy's BLAS to one thread; returns its version (`blas`), `kernel` and `blas_threads`, None where unknown.

    OpenBLAS is asked itself, as threadpoolctl does: NumPy's wheels give its functions a prefix and a suffix.
    """
    import numpy  # noqa: F401  # loads the BLAS

    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    paths = {line.split(maxsplit=5)[5] for line in maps if "openblas" in line.rpartition("/")[2]}
    for path in sorted(paths, key=lambda path: "numpy" not in path):  # PyTorch may have loaded one of its own
        library = ctypes.CDLL(path)
        for prefix, suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
            if not hasattr(library, f"{prefix}openblas_get_corename{suffix}"):
                continue
            ask = {name: getattr(library, f"{prefix}openblas_{name}{suffix}") for name in OPENBLAS_FUNCTIONS}
            ask["get_corename"].restype = ask["get_config"].restype = ctypes.c_char_p
            ask["set_num_threads"](1)
            return {
                "blas": " ".join(ask["get_config"]().decode().split()[:2]),
                "kernel": ask["get_corename"]().decode(),
                "blas_threads": ask["get_num_threads"](),
            }
    return {"blas": None, "kernel": None, "blas_threads": None}
