"""`edgedst export`: write a run's actor as ONNX, checked against the native one."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    path: Annotated[Path, typer.Argument(help="File to write, for example actor.onnx.")],
    run: Annotated[
        Path | None, typer.Option(help="Run folder to take the actor from; by default the newest below --run-dir.")
    ] = None,
    run_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    golden: Annotated[
        Path | None,
        typer.Option(help="Also write 64 observations with their native actions (.npz), to test the device with."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write a trained actor as ONNX: `obs` (batch, n) to `actions` (batch, m) in the environment's units.

    The file is checked with onnx's full check and, through onnxruntime, against the native actor; a difference above
    1e-5 is an error and no file is written.
    """
    from rich.console import Console

    from edgedst.deploy.checkpoint import newest_run, read_actor, recorded_observations
    from edgedst.deploy.onnx import export_actor, write_golden
    from edgedst.deploy.parity import RECORDED_ROWS, TOLERANCE

    console = Console(highlight=False, soft_wrap=True)
    folder = run or newest_run(run_dir)
    weights = read_actor(folder)
    recorded = recorded_observations(folder, RECORDED_ROWS, weights.sizes[0], weights.sizes[-1])
    exported = export_actor(weights, path, recorded)
    parity = exported.parity
    sizes = "-".join(str(size) for size in weights.sizes)
    nnz = sum(layer.nnz for layer in weights.layers)
    console.print(
        f"{path}: {weights.method} on {weights.environment}, step {weights.step:,}, from {folder}", markup=False
    )
    console.print(f"  {sizes}, {nnz:,} connections, {exported.file_bytes:,} bytes; `obs` -> `actions`", markup=False)
    console.print(
        f"  largest difference from the native actor: {parity.largest_difference:.1e} (limit {TOLERANCE:.0e}; "
        f"{parity.recorded} recorded and {parity.random} random observations, batch 1 and 64)",
        markup=False,
    )
    if golden is not None:
        pairs = write_golden(parity, golden)
        console.print(f"{golden}: {pairs} observations and actions", markup=False)
