"""`edgedst log`: what a run has recorded, for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgedst.cli.options import Debug, RunDir, check_distinct
from edgedst.errors import ConfigError


def _place(metavar: str, told: str) -> Any:
    return typer.Option(metavar=metavar, help=told, show_default=False)


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
    csv: Annotated[str | None, _place("FILE.csv", "Write its evaluations and episodes as a table.")] = None,
    parquet: Annotated[str | None, _place("FILE.parquet", "The same as Parquet.")] = None,
    tensorboard: Annotated[str | None, _place("DIR", "The same for TensorBoard, in DIR/TASK/METHOD/RUN.")] = None,
    wandb: Annotated[
        str | None, _place("PROJECT", "The same for a project of W&B; WANDB_MODE=offline needs no account.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on writing these four until the run ends, or Ctrl-C.")
    ] = False,
    run_dir: RunDir = Path("runs"),
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
    """Write what a run has recorded, for other programs.

    A run that trains goes on meanwhile. Transitions are those of the newest checkpoint, in the environment's units.
    Evaluations and episodes have Stable-Baselines3's names, such as eval/mean_reward (docs/formats.md).
    """
    given = {"csv": csv, "parquet": parquet, "tensorboard": tensorboard, "wandb": wandb}
    places = {kind: where for kind, where in given.items() if where is not None}
    if not places and (transitions is None or follow):
        raise ConfigError(
            "Say what to write: `edgedst log --transitions FILE.csv`, or evaluations and episodes with `--csv "
            "FILE.csv`, `--parquet FILE.parquet`, `--tensorboard DIR` or `--wandb PROJECT`; `--follow` is for these "
            "four."
        )
    for kind in ("csv", "parquet"):  # a run's own file would be replaced
        if kind in places and Path(places[kind]).suffix.lower() != f".{kind}":
            raise ConfigError(f"`--{kind}` must be FILE.{kind} and is `{places[kind]}`.")
    check_distinct({"--transitions": transitions, "--csv": csv, "--parquet": parquet})
    if env is not None and transitions is None:
        raise ConfigError(f"`--env {env}` names the columns of `--transitions FILE`, which is not given: leave it out.")
    from edgedst.runs.find import newest_run

    chosen = run or newest_run(run_dir)
    if transitions is not None:
        from edgedst.logs.transitions import write_transitions

        written = write_transitions(chosen, transitions, env)
        if written.of_robot and env is None:
            print("The columns are numbered: `--env robot.py` gives them the robot's names.", file=sys.stderr)
        print(f"{transitions}: {written.transitions:,} transitions of {written.episodes:,} episodes, of {chosen}")
    if places:
        from edgedst.logs.scalars import write_scalars

        rows, unread = write_scalars(chosen, places, follow)
        if unread:
            print(f"{unread:,} lines of {chosen / 'metrics.jsonl'} cannot be read: left out.", file=sys.stderr)
        print(f"{', '.join(places.values())}: {rows:,} rows of {chosen}")
