"""`edgedst study run` and `edgedst study report`: many runs, and what they show beside the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgedst.cli.options import Debug, Progress

Jobs = Annotated[
    int | None, typer.Option(min=1, help="Runs at once. [default: one for each core, by the threads of a run]")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="tcp://HOST:8786", help="Send the runs to this Dask cluster; --out must be shared."),
]

study = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train many runs, and report them beside the paper's results.",
)


@study.command("run")
def run(
    file: Annotated[
        str, typer.Argument(metavar="STUDY.toml", help="A study's file, or the name of one that comes with edgedst.")
    ],
    jobs: Jobs = None,
    out: Annotated[
        Path | None, typer.Option(help="The study's folder. [default: studies/<name of the file>]", show_default=False)
    ] = None,
    scheduler: Scheduler = None,
    progress: Progress = None,
    debug: Debug = False,
) -> None:
    """Train every run of a study, each within its own budget.

    A study is a grid of tasks, methods, seeds and settings; each run is a process of its own. Typed again it goes on
    where it was: finished runs stay, unfinished ones resume from their checkpoints. A run that fails is reported and
    does not stop the others. Ctrl-C ends all of them with a checkpoint.
    """
    from edgedst.study.grid import find_study, read_study
    from edgedst.study.runner import run_study

    chosen = read_study(find_study(file))
    code = run_study(chosen, out or Path("studies") / chosen.name, jobs, scheduler, progress)
    if code:
        raise typer.Exit(code)


@study.command("report")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder, as `study run` made it.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write the report to. [default: DIR/report]", show_default=False)
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL[@TASK]=PATH",
            help="A curve of Stable-Baselines3's or CleanRL's logs: evaluations.npz, monitor.csv, progress.csv, or a "
            "folder of TensorBoard's event files. Repeated with one label: seeds.",
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a page with a study's curves and tables.

    As HTML and as Markdown, beside the paper's. An unfinished study is reported as far as it is, with what is missing.
    """
    from edgedst.study.report import write_report

    for path in write_report(folder, out or folder / "report", beside or ()):
        typer.echo(path)
