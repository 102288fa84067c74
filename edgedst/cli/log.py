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
    """Write what a run has recorded, as a table for other programs.

    Of the newest checkpoint; a run that trains goes on meanwhile. Numbers are in the environment's units.
    """
    if transitions is None:
        raise ConfigError("Say what to write: `edgedst log --transitions FILE.csv`.")
    from edgedst.logs.transitions import write_transitions
    from edgedst.runs.find import newest_run

    chosen = run or newest_run(run_dir)
    written = write_transitions(chosen, transitions, env)
    if written.of_robot and env is None:
        print("The columns are numbered: `--env robot.py` gives them the robot's names.", file=sys.stderr)
    print(f"{transitions}: {written.transitions:,} transitions of {written.episodes:,} episodes, of {chosen}")
