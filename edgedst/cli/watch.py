"""`edgedst watch`: runs as they go on, on a page or in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgedst.cli.options import Debug

RUNS = Path("runs")  # may not be there yet


def watch(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN|STUDY|FOLDER", help="A run, a study, or a folder of runs or studies.")
    ] = RUNS,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: any that is free.")] = 8321,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. 0.0.0.0: whoever has the address that is printed sees the page."),
    ] = "127.0.0.1",
    text: Annotated[
        bool, typer.Option("--text", help="Print lines instead: on a terminal until Ctrl-C, elsewhere once.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Watch runs on a page, made for a phone beside the robot.

    Returns, speed, missed periods, memory, temperature, losses and topology of every run in a folder, as they go on.
    It reads run folders alone: training pays nothing. Ctrl-C ends it.
    """
    from edgedst.watch.server import Server
    from edgedst.watch.text import show
    from edgedst.watch.watcher import Watcher

    watcher = Watcher(folder, has_to_be=folder != RUNS)
    try:
        if text:
            show(watcher)
            return
        with Server(watcher, host, port) as server:
            print(f"{server.address}   (Ctrl-C ends it)", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:  # as it is meant to end
        print()
