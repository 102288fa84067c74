"""`edgedst export`: write a run's actor as ONNX, as C, or as a folder for a board, checked against the native one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgedst.cli.evaluate import EnvKwargs, tell
from edgedst.cli.options import Debug, RunDir
from edgedst.errors import ConfigError


def export(
    path: Annotated[
        Path | None, typer.Argument(help="File to write, for example actor.onnx or actor.c.", show_default=False)
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run folder to take the actor from; by default the newest below --run-dir.")
    ] = None,
    run_dir: RunDir = Path("runs"),
    checkpoint: Annotated[
        str, typer.Option(help="last: the actor as training left it. best: that of the best evaluation.")
    ] = "last",
    dtype: Annotated[
        str, typer.Option(help="Weights in the file: fp32 (float32), fp16 (float16), or int8 with a scale a row.")
    ] = "fp32",
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
        typer.Option(help="Also write 64 observations and native actions as text, to test the device with."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Folder to make instead of a file: both forms and all that a board needs to run them."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Board of devices/ that a bundle is for. [default: the one that this is]", show_default=False
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Steps a second that a bundle's loop takes. [default: what the environment takes]", show_default=False
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            help="Environment that tells a bundle's rate and that --max-return-drop plays. Needed where the run names "
            "one of a module that is not installed. [default: the one that it was trained in]",
            show_default=False,
        ),
    ] = None,
    env_kwargs: EnvKwargs = None,
    debug: Debug = False,
) -> None:
    """Write a trained actor for a device: as ONNX, as C, or as a kit.

    ONNX: `obs` (batch, n) to `actions` (batch, m) in the environment's units. onnx's full check is run, and onnxruntime
    and onnx's reference evaluator are compared with the native actor. A difference that rounding does not explain is an
    error, and no file is written. A name that ends in .c gives C99 source and its header, compiled and checked the same
    way where there is a C compiler. `--bundle DIR` makes a folder with both, golden pairs, runners, a loop at a fixed
    rate with its systemd unit, and notes on the board.
    """
    from edgedst.config import arguments
    from edgedst.deploy.exporting import export_bundle, export_file, request_for

    kwargs = None if env_kwargs is None else arguments(env_kwargs, "The command line")
    form = {"weights": weights, "dtype": dtype, "opset": opset, "stochastic": stochastic}
    request = request_for(run, run_dir, checkpoint, max_return_drop, episodes, env, kwargs, **form)
    if bundle is not None and path is None:
        if golden is not None:
            raise ConfigError("A bundle has its golden pairs already: leave out `--golden`.")
        lines = export_bundle(request, bundle, device, rate)
    elif path is not None and bundle is None:
        if (env is not None or kwargs is not None) and max_return_drop is None:
            option = "`--env`" if env is not None else "`--env-kwargs`"
            raise ConfigError(f"A file needs no environment: leave out {option}, or play it with `--max-return-drop`.")
        if device is not None or rate is not None:
            raise ConfigError("`--device` and `--rate` are of a bundle: `edgedst export --bundle DIR`.")
        lines = export_file(request, path, golden)
    else:
        raise ConfigError(
            "Expected one thing to write: a file, `edgedst export actor.onnx` or `actor.c`, or a folder for a board, "
            "`edgedst export --bundle DIR`."
        )
    for line in lines:
        tell(line)
