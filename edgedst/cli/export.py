"""`edgedst export`: write a run's actor as ONNX or as C, checked against the native one."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    path: Annotated[Path, typer.Argument(help="File to write, for example actor.onnx or actor.c.")],
    run: Annotated[
        Path | None, typer.Option(help="Run folder to take the actor from; by default the newest below --run-dir.")
    ] = None,
    run_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    dtype: Annotated[str, typer.Option(help="Weights in C: fp32, fp16, or int8 with a scale a row.")] = "fp32",
    golden: Annotated[
        Path | None,
        typer.Option(
            help="Also write 64 observations with their native actions, to test the device with: .npz beside ONNX, "
            ".csv beside C."
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write a trained actor as ONNX: `obs` (batch, n) to `actions` (batch, m) in the environment's units.

    The file is checked with onnx's full check and, through onnxruntime, against the native actor; a difference above
    1e-5 is an error and no file is written. A name that ends in .c gives C99 source and its header instead, compiled
    and checked the same way where there is a C compiler.
    """
    if path.suffix == ".c":
        _export_c(path, run or run_dir, run is None, dtype, golden)
        return
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


def _export_c(path: Path, folder: Path, newest: bool, dtype: str, golden: Path | None) -> None:
    from rich.console import Console

    from edgedst.deploy.agreement import RECORDED_ROWS
    from edgedst.deploy.c_source import check_name, export_c
    from edgedst.deploy.checkpoint import newest_run, read_actor, recorded_observations
    from edgedst.deploy.golden import write_golden
    from edgedst.deploy.packing import check_dtype

    check_name(path)
    check_dtype(dtype)
    folder = newest_run(folder) if newest else folder
    actor = read_actor(folder)
    recorded = recorded_observations(folder, RECORDED_ROWS, actor.sizes[0], actor.sizes[-1])
    exported = export_c(actor, path, recorded, dtype)
    sizes, nnz = "-".join(map(str, actor.sizes)), sum(layer.nnz for layer in actor.layers)
    lines = [
        f"{path}, {exported.header.name}: {actor.method} on {actor.environment}, step {actor.step:,}, from {folder}",
        f"  {sizes}, {nnz:,} connections, {dtype}; `edgedst_act(obs, action)`",
        *(f"  {line}" for line in exported.told),
    ]
    if golden is not None:
        lines.append(f"{golden}: {write_golden(actor, exported.reference, golden)} observations and actions")
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line, markup=False)
