"""The kit for a board: a folder with the actor as ONNX and as C, golden pairs, and what runs and explains them there.

What is copied stands in `export/`: the runners, the contracts, and in `export/bundle/` the texts that are filled in. A
bundle carries checksums, which `edgedst evaluate` and `sha256sum -c` read back.
"""

from __future__ import annotations

import errno
import hashlib
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from edgedst.boards import Board
from edgedst.deploy.agreement import TOLERANCE
from edgedst.deploy.checkpoint import ActorWeights, FloatArray
from edgedst.deploy.golden import read_golden
from edgedst.deploy.writing import check_place, writing
from edgedst.envs import registry
from edgedst.errors import CheckpointError, ConfigError, EdgedstError, ExportError
from edgedst.folders import folder as folder_of

MODEL, C_SOURCE, GOLDEN, CHECKSUMS = "actor.onnx", "actor.c", "golden.csv", "SHA256SUMS"
YOURS = "robot.py"  # the owner writes it: it has no checksum
LEAST_WATCHDOG_SECONDS = 5


def training_rate(environment: str) -> float:
    """Steps a second of the robot's time in this environment, to four decimals.

    Raises:
        ConfigError: the environment does not say, or is not installed here.
    """
    try:
        host = registry.make(registry.locate(environment))
        seconds = host.step_seconds
        host.close()
        why = "it does not say"
    except EdgedstError as error:
        seconds, why = None, str(error)
    if seconds is None:
        raise ConfigError(
            f"How many steps a second `{environment}` takes is not known ({why}). Say it, for example `--rate 50`: an "
            "actor has to run at the rate that it was trained with."
        )
    return round(1.0 / seconds, 4)


def check_bundle_place(folder: Path) -> None:
    """Find out before any work whether a bundle can be written there.

    Raises:
        ExportError: it cannot, or something is there already.
    """
    with writing(folder):
        if folder.is_file():
            raise FileExistsError(errno.EEXIST, "a file has that name")
        if folder.is_dir() and any(folder.iterdir()):
            raise ExportError(
                f"`{folder}` is not empty, and a bundle is never written over one, whose robot.py is yours. Name a "
                "folder that does not exist yet, or an empty one."
            )
    check_place(folder.parent / f".{folder.name}.tmp")


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which gets its name when the block is through, or goes when it raises.

    Raises:
        ExportError: it cannot be written.
    """
    with writing(folder):
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    try:
        yield made
        with writing(folder):
            made.chmod(0o755)  # mkdtemp's is closed to others, and the service is another user
            made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def add_kit(
    folder: Path,
    name: str,
    weights: ActorWeights,
    board: Board,
    rate: float,
    told: dict[str, Any],
) -> None:
    """Add to a folder with MODEL, C_SOURCE and GOLDEN all else that a bundle has; checksums come last.

    Args:
        folder: to fill.
        name: that it will have.
        weights: the trained actor.
        board: whose notes go with it.
        rate: steps a second.
        told: for the README: `onnx_size` and `c_size`, what the actor takes, and `pairs`, how many golden ones.

    Raises:
        ExportError: a file cannot be written.
    """
    kit = folder_of("export")
    rate_text = f"{rate:.10g}"
    values = {
        **told,
        "method": weights.method,
        "environment": weights.environment,
        "seed": weights.seed,
        "steps": f"{weights.step:,}",
        "version": weights.version,
        "evaluated": _evaluated(weights),
        "observation_size": weights.sizes[0],
        "action_size": weights.sizes[-1],
        "bounds": _bounds(weights),
        "board": board.title,
        "rate": rate_text,
        "watchdog_seconds": max(LEAST_WATCHDOG_SECONDS, math.ceil(3.0 / rate)),
        "folder": name,
    }
    with writing(folder):
        for source in (*sorted((kit / "runner").iterdir()), kit / "ONNX.md", kit / "C.md"):
            if source.is_file():
                shutil.copyfile(source, folder / source.name)
        for source in sorted((kit / "bundle").iterdir()):
            text = Template(source.read_text(encoding="utf-8")).substitute(values)
            (folder / source.name).write_text(text, encoding="utf-8")
        shutil.copyfile(board.bringup, folder / "BOARD.md")
        (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in _requirements()), encoding="utf-8")
        sums = [f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != YOURS]
        (folder / CHECKSUMS).write_text("".join(sums), encoding="utf-8")


def is_bundle(target: Path) -> bool:
    """Whether a folder is one that `add_kit` filled."""
    return (target / CHECKSUMS).is_file() and (target / GOLDEN).is_file()


def check_bundle(folder: Path) -> Path:
    """The bundle's ONNX file, after checksums and golden pairs have come out.

    Raises:
        CheckpointError: a file is missing or not as it was exported, or the actor acts otherwise here.
    """
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: expected for expected, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise _spoiled(folder / CHECKSUMS, "cannot be read") from error
    for name in (MODEL, GOLDEN):
        if name not in sums:
            raise _spoiled(folder / CHECKSUMS, f"does not name {name}")
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise _spoiled(path, "is missing")
        if _sha256(path) != expected:
            raise _spoiled(path, f"is not as it was exported ({CHECKSUMS})")
    return folder / MODEL


def check_golden(folder: Path, actions_of: Any, about: dict[str, Any]) -> None:
    """Ask the bundle's actor for the golden pairs.

    Args:
        folder: the bundle.
        actions_of: (rows, n) float32 to (rows, m).
        about: the model's metadata.

    Raises:
        CheckpointError: an action differs by more than the tolerance.
    """
    observations, expected = read_golden(folder / GOLDEN, about["observation_size"], about["action_size"])
    magnitude = np.maximum(np.abs(about["action_low"]), np.abs(about["action_high"]))
    actions: FloatArray = actions_of(observations)
    share = float(np.max(np.abs(actions - expected) / np.where(magnitude > 0, magnitude, 1.0)))
    if not share <= TOLERANCE:
        raise CheckpointError(
            f"The actor in `{folder}` differs from its golden pairs by {share:.1e} here (limit {TOLERANCE:.0e}). Try "
            "another onnxruntime."
        )


def _spoiled(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"`{path}` {what}. Copy the bundle again, or make it anew with `edgedst export --bundle`.")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _requirements() -> list[str]:
    """What `run_actor.py` needs, as this edgedst needs it."""
    wanted = [line for line in requires("edgedst") or [] if ";" not in line]
    return [line for line in wanted if line.startswith(("numpy", "onnxruntime"))]


def _evaluated(weights: ActorWeights) -> str:
    if weights.evaluation_return is None:
        return "never evaluated"
    spread = f" \u00b1 {weights.evaluation_sd:,.1f}" if weights.evaluation_sd is not None else ""
    return f"an evaluation return of {weights.evaluation_return:,.1f}{spread}"


def _bounds(weights: ActorWeights) -> str:
    bounds = list(zip(weights.action_low, weights.action_high, strict=True))
    if len(set(bounds)) == 1:
        return f"each from {bounds[0][0]:g} to {bounds[0][1]:g}"
    return "from " + ", ".join(f"{low:g} to {high:g}" for low, high in bounds)
