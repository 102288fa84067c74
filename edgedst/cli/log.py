"""`edgedst log`: what a run has recorded, for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgedst.cli.options import Debug
from edgedst.errors import ConfigError


def log(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder; by default the newest run below --run-dir.", show_default=False)
    ] = None,
    transitions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the transitions in its replay: FILE.csv or FILE.parquet, which `train --prefill` reads.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write its evaluations and episodes as a table.", show_default=False),
    ] = None,
    parquet: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same as Parquet.", show_default=False)
    ] = None,
    tensorboard: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="The same for TensorBoard, in DIR/TASK/METHOD/RUN, by SB3's names.", show_default=False
        ),
    ] = None,
    wandb: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT",
            help="The same for a project of W&B; WANDB_MODE=offline needs no account.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on writing these four until the run ends, or Ctrl-C.")
    ] = False,
    run_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    env: Annotated[
        str | None,
        typer.Option(
            help="The robot.py that it was trained on, which is imported for the names of the columns; nothing moves. "
            "[default: observation_0, ..., action_0, ...]",
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write what a run has recorded, for other programs; a run that trains goes on meanwhile.

    Transitions are those of the newest checkpoint, in the environment's units. Evaluations and episodes have
    Stable-Baselines3's names, such as rollout/ep_rew_mean and eval/mean_reward (docs/formats.md).
    """
    kinds = {"csv": csv, "parquet": parquet, "tensorboard": tensorboard, "wandb": wandb}
    sinks = {kind: where for kind, where in kinds.items() if where is not None}
    if transitions is None and not sinks:
        raise ConfigError(
            "Say what to write: `edgedst log --transitions FILE.csv`, or evaluations and episodes with `--csv FILE`, "
            "`--parquet FILE`, `--tensorboard DIR` or `--wandb PROJECT`."
        )
    if follow and not sinks:
        raise ConfigError("`--follow` is for `--csv`, `--parquet`, `--tensorboard` and `--wandb`: name one of them.")
    from edgedst.runs.find import newest_run

    chosen = run or newest_run(run_dir)
    if transitions is not None:
        from edgedst.logs.transitions import write_transitions

        written = write_transitions(chosen, transitions, env)
        if written.of_robot and env is None:
            print("The columns are numbered: `--env robot.py` gives them the robot's names.", file=sys.stderr)
        print(f"{transitions}: {written.transitions:,} transitions of {written.episodes:,} episodes, of {chosen}")
    if sinks:
        from edgedst.logs.scalars import write_scalars

        told = write_scalars(chosen, sinks, follow)
        if told.unread:
            print(f"{told.unread:,} lines of {chosen / 'metrics.jsonl'} cannot be read: left out.", file=sys.stderr)
        print(f"{', '.join(sinks.values())}: {told.rows:,} rows of {chosen}")
