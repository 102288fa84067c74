"""`edgedst export`: write a run's actor as ONNX or as C, checked against the native one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgedst.deploy.agreement import Reference
    from edgedst.deploy.checkpoint import ActorWeights, FloatArray
    from edgedst.deploy.onnx import Format


def export(
    path: Annotated[Path, typer.Argument(help="File to write, for example actor.onnx or actor.c.")],
    run: Annotated[
        Path | None, typer.Option(help="Run folder to take the actor from; by default the newest below --run-dir.")
    ] = None,
    run_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    checkpoint: Annotated[
        str, typer.Option(help="last: the actor as training left it. best: that of the best evaluation.")
    ] = "last",
    dtype: Annotated[str, typer.Option(help="Weights in the file: fp32, fp16, or int8 with a scale a row.")] = "fp32",
    weights: Annotated[
        str,
        typer.Option(
            help="ONNX. compact: small, decoded when a session is made. dense: for tools that run nothing in advance. "
            "sparse-initializer: for tools that read those."
        ),
    ] = "compact",
    opset: Annotated[int, typer.Option(help="ONNX: version of the operators, 11 to 23.")] = 17,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="ONNX, SAC: also `log_std`, of the Gaussian before tanh.")
    ] = False,
    max_return_drop: Annotated[
        str | None,
        typer.Option(
            help="ONNX: play the trained and the exported actor, and refuse a loss above this share of the return, "
            "for example 2%."
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes that --max-return-drop plays with each.")] = 20,
    golden: Annotated[
        Path | None,
        typer.Option(help="Also write 64 observations and native actions, to test the device with: .csv or .npz."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write a trained actor as ONNX: `obs` (batch, n) to `actions` (batch, m) in the environment's units.

    The file is checked with onnx's full check and, through onnxruntime and onnx's reference evaluator, against the
    native actor; a difference above 1e-5 is an error and no file is written. A name that ends in .c gives C99 source
    and its header instead, compiled and checked the same way where there is a C compiler.
    """
    from rich.console import Console

    from edgedst.deploy.agreement import RECORDED_ROWS
    from edgedst.deploy.checkpoint import best_evaluation, newest_run, read_actor
    from edgedst.deploy.golden import write_golden
    from edgedst.deploy.onnx import Format
    from edgedst.deploy.recorded import recorded_observations
    from edgedst.deploy.writing import check_place
    from edgedst.errors import ConfigError

    format = Format(weights, dtype, opset, stochastic)
    if path.suffix not in (".onnx", ".c"):
        raise ConfigError(f"`{path}` has no ending that tells a format. Expected a name such as actor.onnx or actor.c.")
    if path.suffix == ".c" and (max_return_drop is not None or format != Format(dtype=dtype)):
        raise ConfigError(
            f"`{path}` is to be C, and `--weights`, `--opset`, `--stochastic` and `--max-return-drop` are of ONNX. "
            "Leave them out, or export to a name that ends in .onnx."
        )
    for file in (path, golden):
        if file is not None:
            check_place(file)
    folder = run or newest_run(run_dir)
    actor = read_actor(folder, checkpoint)
    recorded = recorded_observations(folder, RECORDED_ROWS, actor.sizes[0], actor.sizes[-1])
    if path.suffix == ".c":
        lines, reference = _export_c(actor, path, recorded, dtype)
    else:
        lines, reference = _export_onnx(actor, path, recorded, format, max_return_drop, episodes)
    best = best_evaluation(folder) if checkpoint == "last" else None
    if best is not None and actor.evaluation_return is not None and best[1] > actor.evaluation_return:
        lines.append(
            f"its last evaluation gave {actor.evaluation_return:,.1f}, the best one {best[1]:,.1f} at step "
            f"{best[0]:,}: `--checkpoint best` exports that actor"
        )
    step = f"step {actor.step:,}" + (" of the best evaluation" if checkpoint == "best" else "")
    files = f"{path}, {path.with_suffix('.h').name}" if path.suffix == ".c" else f"{path}"
    lines = [
        f"{files}: {actor.method} on {actor.environment}, {step}, from {folder}",
        *(f"  {line}" for line in lines),
    ]
    if golden is not None:
        lines.append(f"{golden}: {write_golden(actor, reference, golden)} observations and actions")
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line, markup=False)


def _export_onnx(
    actor: ActorWeights, path: Path, recorded: FloatArray, format: Format, max_return_drop: str | None, episodes: int
) -> tuple[list[str], Reference]:
    """Write the file; returns what to tell, and what it was compared with."""
    from edgedst.deploy.onnx import export_actor
    from edgedst.deploy.return_drop import ReturnDrop, check_return_drop, parse_share

    limit = None if max_return_drop is None else parse_share(max_return_drop)
    drops: list[ReturnDrop] = []

    def accept(file: Path) -> None:
        if limit is not None:
            drops.append(check_return_drop(actor, file, limit, episodes))

    exported = export_actor(actor, path, recorded, format, accept)
    encodings = ", ".join(layer["encoding"] for layer in exported.about["layers"])
    outputs = "`actions`, `log_std`" if format.stochastic else "`actions`"
    lines = [
        f"{_size(actor)}, {exported.file_bytes:,} bytes; `obs` -> {outputs}",
        f"{format.weights} {format.dtype} ({encodings}), opset {format.opset}",
        *exported.parity.told,
        *_moved(actor, format.dtype, exported.parity.reference),
        *(f"return: {drop.told}" for drop in drops),
    ]
    return lines, exported.parity.reference


def _export_c(actor: ActorWeights, path: Path, recorded: FloatArray, dtype: str) -> tuple[list[str], Reference]:
    """Write both files; returns what to tell, and what they were compared with."""
    from edgedst.deploy.c_source import export_c

    exported = export_c(actor, path, recorded, dtype)
    lines = [f"{_size(actor)}, {dtype}; `edgedst_act(obs, action)`", *exported.told]
    return [*lines, *_moved(actor, dtype, exported.reference)], exported.reference


def _size(actor: ActorWeights) -> str:
    return f"{'-'.join(map(str, actor.sizes))}, {sum(layer.nnz for layer in actor.layers):,} connections"


def _moved(actor: ActorWeights, dtype: str, reference: Reference) -> list[str]:
    """How far the dtype's rounding moves the action; nothing of float32."""
    from edgedst.deploy.agreement import movements

    return [
        f"{dtype} moves the action by up to {moved.largest:.1e} of its bound, {moved.mean:.1e} on average "
        f"({where} observations)"
        for where, moved in movements(actor, dtype, reference).items()
    ]
