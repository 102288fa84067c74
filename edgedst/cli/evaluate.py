"""`edgedst evaluate`: returns of a trained or exported actor."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    target: Annotated[
        Path | None, typer.Argument(help="Run folder, .onnx file or bundle; by default the newest run below --run-dir.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to play.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Episode i is reset with seed + i.")] = 0,
    checkpoint: Annotated[
        str, typer.Option(help="Of a run. last: the actor as training left it. best: that of the best evaluation.")
    ] = "last",
    run_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Play whole episodes without exploration noise; print mean and standard deviation of their returns.

    A run folder is played by the native actor, an .onnx file by onnxruntime. Of a bundle, the folder that
    `edgedst export --bundle` makes, the .onnx file is played, after its checksums and golden pairs have come out.
    """
    import json

    from rich.console import Console

    from edgedst.deploy.checkpoint import newest_run
    from edgedst.deploy.evaluate import evaluate as play

    chosen = target or newest_run(run_dir)
    result = play(chosen, episodes, seed, checkpoint)
    if as_json:
        about = {"target": str(chosen), "environment": result.environment, "actor": result.source, "seed": seed}
        numbers = {"mean": result.mean, "sd": result.sd, "returns": result.returns, "lengths": result.lengths}
        typer.echo(json.dumps({**about, **numbers}))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{chosen} ({result.source} actor) on {result.environment}", markup=False)
    shortest, longest = min(result.lengths), max(result.lengths)
    steps = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
    console.print(
        f"return {result.mean:.1f} \u00b1 {result.sd:.1f} over {episodes} episodes (seeds {seed} to "
        f"{seed + episodes - 1}; {steps} steps each; \u00b1 is the standard deviation)",
        markup=False,
    )
