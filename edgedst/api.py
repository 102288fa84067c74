"""edgedst from Python: what its command line does, as functions. `import edgedst; edgedst.train(env="Hopper-v4")`.

Training is a lean process of its own, as on the command line: nothing of the caller counts against the budget, and
nothing of the caller runs in it. docs/api.md has an example.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedst.config import by_own_names
from edgedst.deploy.actor import Actor
from edgedst.errors import missing_extra
from edgedst.launch.board import asked_board, usual_settings
from edgedst.launch.job import error_of, make_plan, run_trainer, trainer_command
from edgedst.launch.settings import configured, seconds_of
from edgedst.runs.run import Run

if TYPE_CHECKING:
    from edgedst.deploy.evaluate import Evaluation
    from edgedst.logs.transitions import Written

__all__ = ["Actor", "Run", "evaluate", "export", "import_model", "log", "plan", "train"]


@contextmanager
def _naming_extras() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None


@_naming_extras()
def train(
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    device: str | None = None,
    run_dir: str | Path = "runs",
    resume: str | Path | Run | None = None,
    progress: bool = False,
    stop_at_return: float | None = None,
    stop_after: str | float | None = None,
    **settings: Any,
) -> Run:
    """Train a sparse agent inside a memory budget, in a process of its own, and wait for it.

    Ctrl-C ends it with a checkpoint and is passed on.

    Args:
        preset: the name of settings that go together, which `settings` override: "board" (docs/sparsity.md).
        config: a TOML file of settings, which `preset` and `settings` override.
        device: the board whose budget, threads and kernels hold where nothing else is said.
        run_dir: folder that holds the runs.
        resume: a run folder to go on with, beyond its end where `steps` are more than it had; or "newest".
        progress: whether standard output shows what `edgedst train` shows.
        stop_at_return: an evaluation whose mean return is this much or more ends the run, with a checkpoint.
        stop_after: so do so many seconds, or a time such as "2h".
        settings: by any of their names (docs/settings.md): `env="Hopper-v4", budget_mb=50, lr=3e-4`.

    Returns:
        The run, finished or stopped as was wished (`run.finished`, `run.summary["exit_reason"]`).

    Raises:
        EdgedstError: what the command would have told, by its class: BudgetExceeded, EnvironmentFault, ...
    """
    typed = _typed(settings, preset)
    seconds = seconds_of(str(stop_after)) if stop_after is not None else None
    reading, writing = os.pipe()
    try:
        arguments, variables = trainer_command(
            typed=typed,
            config=Path(config) if config is not None else None,
            device=device,
            run_dir=Path(run_dir),
            resume=os.fspath(resume) if resume is not None else None,
            progress=None if progress else False,
            debug=False,
            stop_at_return=stop_at_return,
            stop_after_seconds=seconds,
            told_to=writing,
        )
        code, _, said = run_trainer(arguments, variables, printed=not progress, pass_fds=(writing,))
    finally:
        os.close(writing)
        os.set_blocking(reading, False)  # a process that the environment left behind may hold the other end
        with os.fdopen(reading, "rb") as told:
            path = os.fsdecode((told.read() or b"").rstrip(b"\n"))
    if code:
        raise error_of(said)
    return Run(path)


@_naming_extras()
def plan(
    *, preset: str | None = None, config: str | Path | None = None, device: str | None = None, **settings: Any
) -> dict[str, Any]:
    """What every byte of a run will be for, measured by the trainer itself; nothing is trained or written.

    Args:
        preset: as in `train`.
        config: a TOML file of settings, which `preset` and `settings` override.
        device: the board whose settings hold where nothing else is said.
        settings: as in `train`.

    Returns:
        plan.json (docs/formats.md), with `notes` for the user.

    Raises:
        BudgetExceeded: it does not fit; the sentence names the smallest budget that works.
        EdgedstError: what else the command would have told, by its class.
    """
    usual = usual_settings(asked_board(device).board)
    return make_plan(configured(_typed(settings, preset), Path(config) if config is not None else None, usual))


def _typed(settings: dict[str, Any], preset: str | None) -> dict[str, Any]:
    plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in settings.items()}
    return ({} if preset is None else {"preset": preset}) | by_own_names(plain, "The call")


@_naming_extras()
def evaluate(target: str | Path | Run, **options: Any) -> Evaluation:
    """Play whole episodes without noise: see `edgedst.deploy.evaluate.evaluate`, which has the options and the errors.

    Args:
        target: a run folder, an .onnx file or a bundle.
        options: episodes, seed, checkpoint, env, max_episode_steps, env_kwargs; action_delay, observation_noise and
            randomize, in the place of those of a run's settings; `video="walk.mp4"` or `render=True`, with camera and
            size, to see the episodes.
    """
    from edgedst.deploy.evaluate import evaluate as play

    return play(Path(target), **options)


@_naming_extras()
def import_model(model: str | Path, **options: Any) -> Run:
    """Make a run to begin from of a model that another tool trained: `train(init_from=run.folder)` goes on from it.

    Args:
        model: a zip of Stable-Baselines3, or an ONNX actor.
        options: env, sparsity, actor_sparsity, critic_sparsity, method, actions, run_dir, episodes, seed, env_kwargs,
            as `edgedst import --help` says; `tell` gets what the command prints, line by line.

    Raises:
        ModelError: the file is none that can be imported; the sentence says why.
        EdgedstError: what else the command would have told, by its class.
    """
    from edgedst.imports.importing import import_model as run_of

    return Run(run_of(Path(model), **options).folder)


@_naming_extras()
def export(run: str | Path | Run, path: str | Path, *, golden: str | Path | None = None, **options: Any) -> list[str]:
    """Write a run's actor as ONNX or C, checked against the trained one.

    Args:
        run: a run, or its folder.
        path: a name that ends in .onnx or .c.
        golden: where 64 pairs to test a device with are written too.
        options: checkpoint ("last", "best"), dtype ("fp32", "fp16", "int8"), and of ONNX weights, opset, stochastic,
            max_return_drop ("2%") and episodes: as `edgedst export --help` says.

    Returns:
        What the command prints.

    Raises:
        ConfigError, CheckpointError, ExportError: as the command.
    """
    from edgedst.deploy.exporting import export_file, request_for

    return export_file(request_for(Path(run), **options), Path(path), Path(golden) if golden is not None else None)


@_naming_extras()
def log(run: str | Path | Run, *, transitions: str | Path, env: str | Path | None = None) -> Written:
    """Write what a run has recorded, as a table for other programs.

    Args:
        run: a run, or its folder.
        transitions: a name that ends in .csv or .parquet, which gets the transitions in its replay.
        env: the robot.py that it was trained on, for the names of the columns.

    Returns:
        How many `transitions` and `episodes` that is.

    Raises:
        ConfigError, CheckpointError, LogError, RunFolderError: as the command.
    """
    from edgedst.logs.transitions import write_transitions

    return write_transitions(Path(run), Path(transitions), str(env) if env is not None else None)
