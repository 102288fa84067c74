"""`edgedst train`: its options. What they start is in `launch/job.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgedst.cli.options import Debug, Device, Progress, training_options
from edgedst.launch.job import start_training
from edgedst.launch.settings import seconds_of


@training_options
def train(
    typed: dict[str, Any],
    config: Path | None,
    device: Device = None,
    run_dir: Annotated[
        Path, typer.Option(help="Folder that holds the runs. [default: runs]", show_default=False)
    ] = Path("runs"),
    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on with this run folder, and with a larger --steps beyond its end; `newest`: with the newest "
            "unfinished run of these settings, or afresh."
        ),
    ] = None,
    stop_at_return: Annotated[
        float | None, typer.Option(help="Stop, with a checkpoint, at the first evaluation whose mean return is this.")
    ] = None,
    stop_after: Annotated[
        str | None, typer.Option(help="Stop, with a checkpoint, after so much training: 2h, 30min, 90s.")
    ] = None,
    progress: Progress = None,
    debug: Debug = False,
) -> None:
    """Train a sparse agent inside a memory budget.

    The process stays below --budget-mb, Python, simulator and replay included; what cannot fit is refused before
    anything is written. Ctrl-C checkpoints; --resume goes on as if never stopped.
    """
    wishes = {"stop_at_return": stop_at_return, "stop_after_seconds": stop_after and seconds_of(stop_after)}
    start_training(typed, config, device, run_dir, resume, progress, debug, **wishes)
