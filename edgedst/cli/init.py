"""`edgedst init`: files to begin with."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgedst.cli.options import Debug
from edgedst.errors import ConfigError
from edgedst.files import folder_error, write_whole
from edgedst.folders import folder as folder_of

ROBOT = "robot.py"

init = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write a file to begin with.",
)


@init.callback()
def initialise() -> None:
    """Write a file to begin with."""


@init.command("robot")
def robot(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to, made if missing. [default: .]", show_default=False)
    ] = Path(),
    debug: Debug = False,
) -> None:
    """Write a robot.py that runs at once.

    It is what stands between a machine and what learns on it: where observations come from, where actions go, what is
    good. A simulated cart stands in until you put in your own machine. A file that is there is never overwritten.
    """
    if folder.suffix == ".py":
        raise ConfigError(
            f"`{folder}` is the name of a file, and a folder was expected, which gets a {ROBOT}: `edgedst init robot "
            f"{_typed(folder.parent)}`."
        )
    path = folder / ROBOT
    if os.path.lexists(path):
        raise ConfigError(
            f"`{path}` is there already, and is never overwritten. Go on with it (`edgedst check {_typed(path)}`), or "
            "name another folder: `edgedst init robot DIR`."
        )
    template = folder_of("export") / "robot" / ROBOT
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise folder_error(error, str(folder), "edgedst init robot DIR") from error
    write_whole(str(path), template.read_bytes(), "edgedst init robot DIR")
    typer.echo(
        f"`{path}` is written. A simulated cart stands in until you put in your own machine. What to type next:\n\n"
        f"    edgedst check {_typed(path)}          # does it keep its rate and its bounds, does it come to rest?\n"
        f"    edgedst train --env {_typed(path)}    # learns on it\n"
        "    edgedst export --bundle kit     # makes what acts from then on"
    )


def _typed(path: Path) -> str:
    return shlex.quote(str(path))
