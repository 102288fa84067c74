"""The kit for a board: a folder with the actor as ONNX and as C, golden pairs, and what runs and explains them there.

What is copied stands in `export/`: the runners, the contracts, and in `export/bundle/` the texts that are filled in. A
bundle carries checksums, which `edgedst evaluate` and `sha256sum -c` read back.
"""

from __future__ import annotations

import errno
import hashlib
import math
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from edgedst.boards import Board
from edgedst.deploy.agreement import TOLERANCE, shares_of_bound
from edgedst.deploy.environment import chosen_environment, open_environment
from edgedst.deploy.golden import episode_rows, read_golden
from edgedst.deploy.history import History, play
from edgedst.deploy.robot_file import RobotFile
from edgedst.deploy.writing import try_folder, writing
from edgedst.errors import CheckpointError, ConfigError, EdgedstError, ExportError
from edgedst.folders import folder as folder_of
from edgedst.runs.actor import ActorWeights, FloatArray
from edgedst.runs.reading import read_regular, reason

MODEL, C_SOURCE, GOLDEN, CHECKSUMS = "actor.onnx", "actor.c", "golden.csv", "SHA256SUMS"
ROBOT = "robot.py"
YOURS = (ROBOT, "edgedst-actor.service")  # the owner writes them: they have no checksum
COPIED = (  # from export/
    *("runner/run_actor.py", "runner/control_loop.py", "runner/robot.py"),
    *("runner/main.c", "runner/run_actor.cpp", "runner/Makefile", "ONNX.md", "C.md"),
)
FILLED_IN = ("README.md", "edgedst-actor.service", "requirements.txt")  # from export/bundle/
SLOWEST, FASTEST = 0.01, 10_000.0  # steps a second that control_loop.py takes
LEAST_WATCHDOG_SECONDS = 5

# What a README says of robot.py.
_TO_WRITE = """\
Write `robot.py`: where observations come from, where actions go, how to come to rest. It reads zeros and moves nothing
as long as you have not. Then try 100 steps:"""
_REMEMBERS = """
It sees its last {} observations and actions. `control_loop.py` and `run_actor.py` keep them; a loop of your own around
the actor in C calls `edgedst_reset()` before it begins, and `edgedst_applied(action)` where it limited an action."""
_AS_TRAINED = """\
`robot.py` is the file that trained this actor. **The next command moves the machine.** The loop keeps the bounds and
the slew limits of its ACTION, as training did. In a loop of your own, around the actor in C, the slew limits are yours
to keep. Try 100 steps:"""


@dataclass(frozen=True)
class Rate:
    """Steps a second of a bundle's loop."""

    hz: float
    training_hz: float | None  # of the environment's own time; None: it does not say

    @property
    def told(self) -> str:
        """In words, for a README."""
        if self.hz == self.training_hz:
            return f"{self} times a second, as in training"
        trained = "is not known" if self.training_hz is None else f"was {self.training_hz:.6g}"
        return f"{self} times a second, because `--rate` said so; the rate of training {trained}"

    def __str__(self) -> str:
        """The number."""
        return f"{self.hz:.6g}"


def rate_for(
    environment: str,
    wanted: float | None,
    env: str | None = None,
    kwargs: dict[str, Any] | None = None,
    robot: RobotFile | None = None,
) -> Rate:
    """The rate that is wanted, or that of the environment's own time (six digits); where `env` is named, of that.

    A robot.py's is known already, or not at all: it is not asked.

    Raises:
        ConfigError: a rate that the loop does not take; or none is wanted, and the environment does not say, is not
            installed here, or may not be asked.
    """
    if wanted is not None and not SLOWEST <= wanted <= FASTEST:
        raise ConfigError(f"`--rate {wanted:g}` is no rate. Expected {SLOWEST:g} to {FASTEST:g} steps a second.")
    why = "it does not say"
    try:
        if robot is not None:
            seconds = 1 / robot.rate_hz if robot.rate_hz else None
            why = f"its run did not tell; with `--env {shlex.quote(robot.path)}` the file does"
        else:
            with open_environment(chosen_environment(environment, env, of_run=True), kwargs=kwargs) as host:
                seconds = host.step_seconds
    except (EdgedstError, OSError) as error:
        seconds, why = None, str(error).rstrip(".")
    training = float(f"{1 / seconds:.6g}") if seconds else None
    if training is not None and not SLOWEST <= training <= FASTEST:
        training, why = None, f"its steps take {seconds:g} s, which the loop cannot keep"
    if wanted is not None:
        return Rate(wanted, training)
    if training is None:
        raise ConfigError(
            f"How many steps a second `{environment}` takes is not known ({why}). Say it, for example `--rate 50`: an "
            "actor has to run at the rate that it was trained with."
        )
    return Rate(training, training)


def bundle_place(named: Path) -> Path:
    """Find out before any work whether a bundle can be written there; returns the path without links.

    Raises:
        ExportError: it cannot, or something is there already.
    """
    with writing(named):
        try:
            folder = named.resolve()
        except RuntimeError as error:  # Python 3.12 and older
            raise OSError(errno.ELOOP, "its links lead in a circle") from error
        if folder.is_file():
            raise FileExistsError(errno.EEXIST, "a file has that name")
        if folder.is_dir() and (any(folder.iterdir()) or folder.is_mount() or folder == Path.cwd()):
            what = "is not empty" if any(folder.iterdir()) else "is the current folder or a mount"
            raise ExportError(
                f"`{folder}` {what}. A bundle is never written over anything: name a folder that does not exist yet, "
                "or an empty one."
            )
        try_folder(folder.parent)
    return folder


def add_kit(
    folder: Path,
    name: str,
    weights: ActorWeights,
    board: Board,
    rate: Rate,
    told: dict[str, Any],
    robot: RobotFile | None = None,
) -> None:
    """Add to a folder with MODEL, C_SOURCE and GOLDEN all else that a bundle has; checksums come last.

    Args:
        folder: to fill.
        name: that it will have.
        weights: the trained actor.
        board: whose notes go with it.
        rate: of the loop.
        told: for the README: `dtype`, `onnx_size` and `c_size` (what the actor takes), `pairs` (how many golden ones).
        robot: the file that trained; None: the template goes with it.

    Raises:
        ExportError: a file cannot be written.
    """
    watchdog_seconds = max(LEAST_WATCHDOG_SECONDS, math.ceil(3.0 / rate.hz))
    values = {
        **told,
        "method": weights.method,
        "environment": weights.environment,
        "seed": weights.seed,
        "steps": f"{weights.step:,}",
        "version": weights.version,
        "evaluated": _evaluated(weights),
        "observation_size": weights.observation_size,
        "action_size": weights.sizes[-1],
        "bounds": _bounds(weights),
        "board": board.title,
        "rate": rate,
        "rate_told": rate.told,
        "remembers": _REMEMBERS.format(weights.history) if weights.history else "",
        "watchdog_seconds": watchdog_seconds,
        "start_limit_seconds": 240 + 6 * watchdog_seconds,  # three slow starts and hangs
        "folder": shlex.quote(name),
        "env_option": f" --env {weights.environment}" if ":" in weights.environment else "",
        "robot_told": _TO_WRITE,
        "kept": " ".join(f"newer/{file}" for file in YOURS),  # of a newer bundle what is not taken
    }
    if robot is not None:
        values |= {"robot_told": _AS_TRAINED, "env_option": f" --env {shlex.quote(f'{name}/{ROBOT}')}"}
        values["kept"] = f"newer/{YOURS[1]}"  # a newer actor brings the file that trained it
    kit = folder_of("export")
    with writing(folder):
        for source in COPIED:
            shutil.copyfile(kit / source, folder / Path(source).name)
        for source in FILLED_IN:
            text = Template((kit / "bundle" / source).read_text(encoding="utf-8")).substitute(values)
            (folder / source).write_text(text, encoding="utf-8")
        shutil.copyfile(board.bringup, folder / "BOARD.md")
        if robot is not None:
            (folder / ROBOT).write_bytes(robot.content)
        sums = [f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name not in YOURS]
        (folder / CHECKSUMS).write_text("".join(sums), encoding="utf-8")


def is_bundle(target: Path) -> bool:
    """Whether a folder is one that `add_kit` filled, whole or not, rather than a run's."""
    both = all((target / name).is_file() for name in (MODEL, GOLDEN)) and not (target / "config.toml").is_file()
    return both or (target / CHECKSUMS).is_file()


def check_bundle(folder: Path) -> Path:
    """The bundle's ONNX file, after the checksums have come out.

    Raises:
        CheckpointError: a file is missing, or not as it was exported.
    """
    try:
        lines = read_regular(folder / CHECKSUMS).decode().splitlines()
        sums = {name: expected for expected, name in (line.split("  ", 1) for line in lines)}
        if not all(re.fullmatch(r"[\w.-]{1,100}", name, re.ASCII) for name in sums):
            raise ValueError("a name that no file of a bundle has")
    except (OSError, ValueError) as error:
        raise _spoiled(folder / CHECKSUMS, "cannot be read") from error
    for name in (MODEL, GOLDEN):
        if name not in sums:
            raise _spoiled(folder / CHECKSUMS, f"does not name {name}")
    for name, expected in sums.items():
        path = folder / name
        try:
            found = _sha256(path)
        except FileNotFoundError as error:
            raise _spoiled(path, "is missing") from error
        except OSError as error:
            raise _spoiled(path, f"cannot be read ({reason(error)})") from error
        if found != expected:
            raise _spoiled(path, f"is not as it was exported ({CHECKSUMS})")
    return folder / MODEL


def check_golden(folder: Path, act: Callable[[FloatArray], FloatArray], about: dict[str, Any]) -> None:
    """Ask the bundle's actor, (rows, N) float32 to (rows, m), for the golden pairs; `about` is its checked metadata.

    Raises:
        CheckpointError: an action differs by more than the tolerance.
    """
    observations, expected = read_golden(folder / GOLDEN, about["observation_size"], about["action_size"])
    if about["history"]:
        history = History(about["history"], about["observation_size"], about["start_action"])

        def one(features: FloatArray) -> FloatArray:
            action = act(features[None, :])
            if action.shape != (1, expected.shape[1]):
                raise _spoiled(folder / MODEL, f"gives {action.shape[-1]} actions and says {about['action_size']}")
            row: FloatArray = action[0]
            return row

        _, actions = play(observations, episode_rows(about["history"]), history, one)
    else:
        actions = act(observations)
    if actions.shape != expected.shape:
        raise _spoiled(folder / MODEL, f"gives {actions.shape[-1]} actions and says {about['action_size']}")
    share = float(shares_of_bound(actions, expected, about["action_low"], about["action_high"]).max())
    if not share <= TOLERANCE:
        raise CheckpointError(
            f"The actor in `{folder}` differs from its golden pairs by {share:.1e} here (limit {TOLERANCE:.0e}). Try "
            "another onnxruntime."
        )


def _spoiled(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"`{path}` {what}. Copy the bundle again, or make it anew with `edgedst export --bundle`.")


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_regular(path)).hexdigest()


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
