"""Starts the lean trainer: which run it is, its command line, its environment variables, what it is told as JSON."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import edgedst
from edgedst import errors, parse
from edgedst.boards import Board
from edgedst.budget.guard import memory
from edgedst.child import tied
from edgedst.config import TrainConfig, disturbing
from edgedst.density import DENSE_METHODS, uses_lambda
from edgedst.envs import registry
from edgedst.errors import ConfigError, CoreNotBuilt, EdgedstError, EnvironmentFault
from edgedst.files import quoted
from edgedst.launch.board import asked_board, board_note, kernels_for, usual_settings
from edgedst.launch.settings import combined, with_preset
from edgedst.runs import find
from edgedst.signals import signals_held_back

_BOOT = "import sys; sys.path[:] = {path}; import edgedst; edgedst.__path__[:] = {package!r}; {rest}"
_MAIN = "from {module} import main; sys.exit(main())"


def start_training(*arguments: Any, **named: Any) -> None:
    """Become the trainer: this does not return. Arguments and errors are those of `trainer_command`."""
    argv, variables = trainer_command(*arguments, **{**named, "becomes_it": True})
    for descriptor in inherited(argv):
        os.set_inheritable(descriptor, True)
    if sys.stdout is not None:
        sys.stdout.flush()
    with signals_held_back():
        os.execve(argv[0], argv, variables)


def trainer_command(
    typed: dict[str, Any],
    config: Path | None,
    device: str | None,
    run_dir: Path,
    resume: str | None,
    progress: bool | None,
    debug: bool,
    becomes_it: bool = False,
    **wishes: Any,
) -> tuple[list[str], dict[str, str]]:
    """(argv, environment variables) of the process that trains. It has to inherit what `inherited` names.

    Args:
        typed: settings by name.
        config: a TOML file of settings, which `typed` overrides.
        device: the board whose defaults hold where neither says anything; None: the one that this is.
        run_dir: folder that holds the runs.
        resume: a run folder, or "newest", or None.
        progress: see `Progress`.
        debug: whether an error shows its traceback.
        becomes_it: whether this process becomes the trainer: then its peak counts against the budget.
        wishes: `stop_at_return`, `stop_after_seconds`, `told_to`: see `trainer.main`.

    Raises:
        EdgedstError: a setting is wrong, or the run, the board or the environment cannot be.
    """
    goal = wishes.get("stop_at_return")
    if goal is not None and not (isinstance(goal, (int, float)) and abs(goal) < float("inf")):
        raise ConfigError(f"`--stop-at-return` must be a finite number and is {goal!r}.")
    if resume == "":
        raise ConfigError("`--resume` is empty. Name a run folder, or `newest`.")
    asked = asked_board(device)
    board = asked.board
    from_file = TrainConfig.load(config) if config is not None else {}  # once: it may be a pipe
    if resume and resume != "newest" and typed.get("preset") is not None:
        raise ConfigError("A run that goes on has its settings: leave `--preset` out beside `--resume`.")
    typed = with_preset(typed, from_file)
    given = {**from_file, **typed}
    run = find.resume(Path(resume), given) if resume and resume != "newest" else None
    if run is None:
        settings = combined(typed, from_file, f"`{config}`", usual_settings(board))
        folder = find.newest_unfinished(run_dir, settings) if resume else None
        shorter = find.newest_shorter(run_dir, settings) if resume and not folder else None
        if folder:
            run = find.resume(folder, {name: given[name] for name in find.CHANGEABLE if name in given})
    if run:
        settings, isa = run.settings, None
        notes = [
            f"`--device {device}` gives no settings to a run that goes on: its own hold." if device else "",
            run.note,
        ]
    else:
        isa, notes = kernels_for(board), [board_note(board, given)]
        if shorter:
            notes.append(
                f"A new run begins: `{shorter}` differs in its steps alone, and goes on to these with `edgedst train "
                f"--resume {quoted(str(shorter))} --steps {settings.steps}`."
            )
    job = job_for(
        settings,
        run_dir=str(run_dir),
        resume=str(run.folder) if run else None,
        config_crc32=run.config_crc32 if run else None,
        extended_toml=run.extended_toml if run else None,
        progress=progress,
        debug=debug,
        note="\n".join(note for note in notes if note),
        board=board,
        config_toml=f"# Board: {board.name}. {asked.why}\n{settings.toml()}",
        **wishes,
    )
    if settings.prefill and run is None:  # a run that goes on has those rows in its replay
        take_log(job, str(run_dir))
    # The kernel's ru_maxrss survives exec, VmHWM does not: the summary tells both peaks.
    job["front_end_peak_bytes"] = memory()[1] if becomes_it else 0
    return command(job, isa)


def make_plan(settings: TrainConfig, debug: bool = False) -> dict[str, Any]:
    """The ledger of a run, made by the trainer itself, which measures and does not train; see `Plan.as_dict`.

    Its `notes` are for the user.

    Raises:
        EdgedstError: what the trainer refuses, and an environment that ends its process.
    """
    job = job_for(settings, plan_only=True, debug=debug)
    if settings.prefill:
        take_log(job, os.environ.get("TMPDIR") or "/tmp", records=False)
    arguments, variables = command(job)
    code, printed, said = run_trainer(arguments, variables, printed=True)
    # A Python environment may print before and after.
    ledgers = [told for line in printed.splitlines() if "planned_bytes" in (told := parse.json_object(line))]
    if code > 0:
        raise error_of(said)
    if code < 0 or not ledgers:
        how = f"was ended by signal {-code}" if code else "ended before it had a plan"
        raise EnvironmentFault(f"The process that makes {settings.env} and plans {how}: there is no plan.")
    told = (job["prefill"] or {}).get("notes", [])
    return {**ledgers[-1], "notes": [*told, *ledgers[-1]["notes"]]}


def take_log(job: dict[str, Any], folder: str, records: bool = True) -> None:
    """Read the log that a job's settings name, for the trainer: the job's `prefill`, and a note. See `log.read_log`.

    Raises:
        EdgedstError: the log cannot be read, or is not what the task needs.
    """
    from edgedst.launch.log import read_log

    told = read_log(job, folder, records)
    if "error" in told:
        os.close(told["descriptor"])
        raise error_of(told["error"])
    job["prefill"] = told
    job["note"] = "\n".join(text for text in (job["note"], *told["notes"]) if text)


def inherited(arguments: list[str]) -> list[int]:
    """The descriptors that a trainer's command line counts on: the file of a log that was read."""
    prefill = json.loads(arguments[-1]).get("prefill")
    return [prefill["descriptor"]] if prefill else []


def run_trainer(
    arguments: list[str],
    variables: dict[str, str],
    printed: bool = False,
    pass_fds: tuple[int, ...] = (),
    **options: Any,
) -> tuple[int, bytes, str]:
    """Start the trainer as a child and wait for it: (exit code, standard output, its last line on standard error).

    Other lines that it writes there are passed on. It is ended when the wait is, and when this process is gone: by
    SIGTERM, at which it checkpoints. What is `inherited` is closed here when it has begun.

    Args:
        arguments: of `command`.
        variables: likewise.
        printed: whether standard output is wanted; else it is this process's.
        pass_fds: descriptors that it is to have, besides.
        options: of `subprocess.Popen`.
    """
    import tempfile  # it takes 0.7 MB, which the front end of `edgedst train` would count

    # Files, not pipes: a process that an environment leaves behind would hold a pipe's other end.
    with tempfile.TemporaryFile() as out_file, tempfile.TemporaryFile() as err_file:
        logs = inherited(arguments)
        try:
            with signals_held_back():
                process = subprocess.Popen(
                    tied(arguments),
                    env=variables,
                    stdout=out_file if printed else None,
                    stderr=err_file,
                    pass_fds=(*pass_fds, *logs),
                    **options,
                )
        finally:
            for descriptor in logs:
                os.close(descriptor)
        try:
            process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        out, err = (file.read() for file in (out_file, err_file) if file.seek(0) == 0)
    *lines, last = err.decode(errors="backslashreplace").rstrip().splitlines() or [""]
    if not process.returncode:
        lines, last = [*lines, last] if last else lines, ""
    for line in lines:
        print(line, file=sys.stderr)
    return process.returncode, out, last


def error_of(said: str) -> EdgedstError:
    """The error that a trainer's last words tell: `BudgetExceeded: HalfCheetah-v4 needs ...`."""
    name, _, sentence = said.partition(": ")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, EdgedstError):
        return kind(sentence)
    return EnvironmentFault(f"The trainer ended with `{said}`." if said else "The trainer ended without a word.")


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
    settings = config.settings()
    where = (config.env, config.env_process, config.max_episode_steps)
    spec = registry.locate(*where, settings["env_kwargs"], disturbing(settings))
    energy, energy_note = energy_spec(config, board)
    notes = [text for text in (preset_note(config), note, energy_note) if text]
    job: dict[str, Any] = {
        "plan_only": False,
        "resume": None,
        "extended_toml": None,
        "run_dir": "runs",
        "progress": None,
        "debug": False,
    }
    job |= {"stop_at_return": None, "stop_after_seconds": None, "told_to": None, "prefill": None}
    job |= {"note": "\n".join(notes), "front_end_peak_bytes": 0, "config_toml": config.toml(), **rest}
    return {**job, "config": settings, "spec": spec, "energy": energy}


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
    host = job["spec"]["host"]
    native = host in ("mujoco", "robot")
    # The current folder comes last: a random.py of the user's must not stand in for Python's own.
    # A robot.py may import what is installed, and finds it without `site` and what that takes.
    lean = f"[{str(package.parent)!r}, *sys.path]"
    path = lean if host == "mujoco" else f"{[*[entry for entry in sys.path if entry], '']!r}"
    # A contender of `edgedst profile` is the trainer with a goal.
    module = "edgedst.live" if host == "robot" else "edgedst.trainer"
    if "profile" in job:
        module = "edgedst.profile.worker"
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
    if config.lambda1 is not None or not uses_lambda(config) or config.method in DENSE_METHODS:
        return ""
    return (
        f"{config.env} has no lambda1 of the paper's: layer 1 takes the density of layer 2 (lambda2 = "
        f"{config.lambda2:g}). Set it with `--lambda1`."
    )
