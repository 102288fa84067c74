"""`edgedst tune`: the settings with which a study's runs learn best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgedst.cli.options import Debug, Progress
from edgedst.cli.study import Jobs, Scheduler


def tune(
    file: Annotated[str, typer.Argument(metavar="STUDY.toml", help="A study's file with a table [search].")],
    trials: Annotated[int, typer.Option(min=1, help="Search until so many have ended, earlier ones included.")],
    jobs: Jobs = None,
    out: Annotated[
        Path | None, typer.Option(help="The search's folder. [default: tunes/<name of the file>]", show_default=False)
    ] = None,
    scheduler: Scheduler = None,
    progress: Progress = None,
    debug: Debug = False,
) -> None:
    """Search the settings that a study learns best with.

    Each of Optuna's trials trains the study's whole grid, each run within its own budget, with settings from the
    table [search]. Trials that fall behind are pruned. Ctrl-C ends with checkpoints; typed again it goes on where it
    was. The best settings are in best.toml, for `edgedst train --config`.
    """
    from edgedst.study.grid import find_study
    from edgedst.study.tuning import Search, tune

    search = Search(find_study(file))
    code = tune(search, trials, out or Path("tunes") / search.path.stem, jobs, scheduler, progress)
    if code:
        raise typer.Exit(code)
