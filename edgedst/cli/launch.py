"""Starts the lean trainer: which run it is, its command line, its environment variables, what it is told as JSON."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import edgedst
from edgedst.boards import Board
from edgedst.budget.guard import memory
from edgedst.cli.board import asked_board, board_note, kernels_for, kernels_of_run, usual_settings
from edgedst.cli.settings import configured
from edgedst.config import DENSE_METHODS, TrainConfig
from edgedst.envs import registry
from edgedst.errors import CheckpointError, ConfigError, CoreNotBuilt, EdgedstError
from edgedst.runs import folder_name

# What may differ from the run that is resumed: results do not depend on it.
_CHANGEABLE = ("threads", "checkpoint_every", "budget_mb", "energy")

_BOOT = "import sys; sys.path[:0] = {path!r}; import edgedst; edgedst.__path__[:] = {package!r}; {rest}"
_MAIN = "from {module} import main; sys.exit(main())"


def start_training(
    typed: dict[str, Any],
    config: Path | None,
    device: str | None,
    run_dir: Path,
    resume: str | None,
    progress: bool | None,
    debug: bool,
) -> None:
    """Become the trainer: this does not return.

    Args:
        typed: settings from the command line.
        config: a TOML file of settings, which `typed` overrides.
        device: the board whose defaults hold where neither says anything; None: the one that this is.
        run_dir: folder that holds the runs.
        resume: a run folder, or "newest", or None.
        progress: see `Progress`.
        debug: whether an error shows its traceback.
    """
    asked = asked_board(device)
    board = asked.board
    given = {**(TrainConfig.load(config) if config is not None else {}), **typed}
    folder = Path(resume) if resume and resume != "newest" else None
    if folder:
        settings = resumed_settings(folder, given)
    else:
        settings = configured(typed, config, usual_settings(board))
        folder = newest_unfinished(run_dir, settings) if resume else None
        if folder:
            settings = resumed_settings(folder, {name: given[name] for name in ("threads", "energy") if name in given})
    if folder:
        isa, note = kernels_of_run(folder)
        if device:
            note = f"`--device {device}` gives no settings to a run that goes on: its own hold. {note}".strip()
    else:
        isa, note = kernels_for(board), board_note(board, given)
    job = job_for(
        settings,
        run_dir=str(run_dir),
        resume=str(folder) if folder else None,
        progress=progress,
        debug=debug,
        note=note,
        board=board,
        config_toml=f"# Board: {board.name}. {asked.why}\n{settings.toml()}",
    )
    arguments, variables = command(job, isa)
    sys.stdout.flush()
    os.execve(arguments[0], arguments, variables)


def job_for(config: TrainConfig, note: str = "", board: Board | None = None, **rest: Any) -> dict[str, Any]:
    """What the trainer is told.

    Args:
        config: the run's settings.
        note: for the user, who sees it at the start.
        board: whose power sensor is read; None: that of the one that this is.
        rest: what the job holds besides.

    Raises:
        EdgedstError: what `registry.locate` raises for an environment that cannot be.
        EnergyUnavailable: the energy source that was asked for cannot be read.
    """
    spec = registry.locate(config.env, config.env_process)
    energy, energy_note = energy_spec(config, board)
    notes = [text for text in (preset_note(config), note, energy_note) if text]
    job: dict[str, Any] = {"plan_only": False, "resume": None, "run_dir": "runs", "progress": None, "debug": False}
    # The kernel's ru_maxrss survives exec, VmHWM does not: the summary tells both processes' peaks.
    job |= {"note": "\n".join(notes), "front_end_peak_bytes": memory()[1], "config_toml": config.toml(), **rest}
    return {**job, "config": config.settings(), "spec": spec, "energy": energy}


def command(job: dict[str, Any], isa: str | None = None) -> tuple[list[str], dict[str, str]]:
    """(argv, environment variables) of the trainer.

    For a native task Python starts without `site` and user folders, which is memory for replay; a Python
    environment may need all of them, and is looked for in the current folder too.

    Args:
        job: see `job_for`.
        isa: the kernel path, unless the user's own EDGEDST_ISA names one; None: the CPU's best.
    """
    package = Path(edgedst.__file__).parent
    core = importlib.util.find_spec("edgedst._core")
    if core is None or core.origin is None:
        raise CoreNotBuilt("edgedst's compiled core is missing. In a checkout run `pip install .`, or `make train`.")
    # An editable install has its core in site-packages and its Python in the checkout.
    folders = list(dict.fromkeys([str(package), str(Path(core.origin).parent)]))
    native = job["spec"]["host"] == "mujoco"
    path = [str(package.parent)] if native else ["", *[entry for entry in sys.path if entry]]
    # A contender of `edgedst profile` is the trainer with a goal.
    module = "edgedst.profile.worker" if "profile" in job else "edgedst.trainer"
    boot = _BOOT.format(path=path, package=folders, rest=_MAIN.format(module=module))
    flags = ["-I", "-S"] if native else []
    # One heap: a second thread's own would be mapped and not used. One thread in NumPy's BLAS, whose buffers are large.
    variables = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    if isa:
        variables["EDGEDST_ISA"] = isa
    return [sys.executable, *flags, "-c", boot, json.dumps(job)], {**variables, **os.environ}


def energy_spec(config: TrainConfig, board: Board | None) -> tuple[dict[str, Any] | None, str]:
    """What the trainer's meter is told, and a sentence where nothing can be metered that was asked for."""
    if config.energy == "none":
        return None, ""
    from edgedst.energy import sources

    board = board or asked_board(None).board
    spec = sources.choose(config.energy, board)
    if spec is not None:
        return spec, ""
    return None, f"energy: not measured: {board.title} has no power sensor that can be read, and no model."


def preset_note(config: TrainConfig) -> str:
    """What a user should know when the task has no lambda1 of the paper's; empty when it has one."""
    if config.lambda1 is not None or config.method in DENSE_METHODS:
        return ""
    return (
        f"{config.env} has no lambda1 of the paper's: layer 1 takes the density of layer 2 (lambda2 = "
        f"{config.lambda2:g}). Set it with `--lambda1`."
    )


def config_of_run(folder: Path, error: type[EdgedstError]) -> Path:
    """Its config.toml; raises `error` where there is none."""
    path = folder / "config.toml"
    if not path.is_file():
        raise error(
            f"`{folder}` is no run folder: expected `{path}`. Name a folder that `edgedst train` made, like "
            "runs/HalfCheetah-v4/ds-td3/s0-20260131-120000."
        )
    return path


def resumed_settings(folder: Path, given: dict[str, Any]) -> TrainConfig:
    """The settings of the run that is resumed; what is given may differ only where results do not depend on it."""
    path = config_of_run(folder, CheckpointError)
    stored = TrainConfig.from_settings(TrainConfig.load(path), f"`{path}`").resolved()
    asked = TrainConfig.from_settings({**stored.settings(), **given}, "The command line")
    for name, value in asked.settings().items():
        before = stored.settings()[name]
        if value != before and name not in _CHANGEABLE:
            raise ConfigError(
                f"`{folder}` was started with {name} = {before} and cannot go on with {value}. Leave that option "
                "out, or train a new run without `--resume`."
            )
    return asked


def newest_unfinished(run_dir: Path, settings: TrainConfig) -> Path | None:
    """The newest run with a checkpoint, these very settings, and steps left to do."""
    parent = run_dir / folder_name(settings.env) / settings.method
    folders = sorted(parent.glob(f"s{settings.seed}-*"), key=lambda folder: (folder.name.split("-", 1)[1], folder.name))
    for folder in reversed(folders):
        try:
            state = json.loads((folder / "checkpoint" / "state.json").read_text(encoding="utf-8"))
            stored = TrainConfig.from_settings(TrainConfig.load(folder / "config.toml")).resolved()
            summary = folder / "summary.json"
            finished = summary.is_file() and json.loads(summary.read_text(encoding="utf-8"))["finished"]
            if finished and state["step"] >= stored.steps:
                continue
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no checkpoint yet, or not readable: not a run to go on with
        free = {"threads", "checkpoint_every", "energy"}
        if settings.replay_rows is None:
            free.add("replay_rows")  # the run's own config names the rows that it was given
        if all(n in free or v == stored.settings()[n] for n, v in settings.settings().items()):
            return folder
    return None
