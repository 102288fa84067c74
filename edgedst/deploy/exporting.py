"""What `edgedst export` does: reads the actor of a run, writes a file or a bundle, tells what was checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgedst.deploy.agreement import RECORDED_ROWS, Reference, movements
from edgedst.deploy.bundle import C_SOURCE, GOLDEN, MODEL, add_kit, bundle_place, rate_for
from edgedst.deploy.c_source import export_c
from edgedst.deploy.environment import chosen_arguments, chosen_disturbances, chosen_environment
from edgedst.deploy.onnx import Format, export_actor
from edgedst.deploy.return_drop import ReturnDrop, check_return_drop, parse_share
from edgedst.deploy.robot_file import robot_file
from edgedst.deploy.writing import check_place, filling
from edgedst.errors import ConfigError
from edgedst.files import is_robot_file
from edgedst.launch.board import asked_board
from edgedst.runs.actor import ActorWeights, FloatArray, best_evaluation, read_actor
from edgedst.runs.find import newest_run
from edgedst.runs.recorded import recorded_features

_DTYPES = {"float32": "fp32", "float16": "fp16"}  # as the replay's are spelt, and as exported files name them


@dataclass(frozen=True)
class Request:
    """Which actor is wanted, and how."""

    run: Path | None
    run_dir: Path
    checkpoint: str
    format: Format
    max_return_drop: str | None
    episodes: int
    env: str | None = None
    env_kwargs: dict[str, Any] | None = None

    @cached_property
    def folder(self) -> Path:
        """The run."""
        return self.run or newest_run(self.run_dir)

    @cached_property
    def actor(self) -> ActorWeights:
        """Its actor."""
        return read_actor(self.folder, self.checkpoint)

    @cached_property
    def recorded(self) -> FloatArray:
        """What it would have taken at steps of its replay."""
        return recorded_features(self.folder, RECORDED_ROWS, self.actor)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the environment that is played."""
        return chosen_arguments(self.folder, self.env or self.actor.environment, self.env_kwargs)

    @property
    def told(self) -> str:
        """What the actor is, in half a sentence."""
        step = f"step {self.actor.step:,}" + (" of the best evaluation" if self.checkpoint == "best" else "")
        return f"{self.actor.method} on {self.actor.environment}, {step}, from {self.folder}"


@dataclass(frozen=True)
class Written:
    """One form of the actor."""

    lines: list[str]
    size: str
    pairs: int  # golden ones


def request_for(
    run: Path | None = None,
    run_dir: Path = Path("runs"),
    checkpoint: str = "last",
    max_return_drop: str | None = None,
    episodes: int = 20,
    env: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
    **form: Any,
) -> Request:
    """A request by its options; `form`: weights, dtype, opset and stochastic of `Format`."""
    if form.get("dtype") in _DTYPES:
        form["dtype"] = _DTYPES[form["dtype"]]
    return Request(run, run_dir, checkpoint, Format(**form), max_return_drop, episodes, env, env_kwargs)


def export_file(request: Request, path: Path, golden: Path | None) -> list[str]:
    """Write actor.onnx or actor.c, and its golden pairs where they are wanted; returns what to tell.

    Raises:
        ConfigError: the name or an option fits no form.
        CheckpointError: there is no such run, or its checkpoint cannot be used.
        ExportError: the file failed a check or cannot be written.
    """
    if path.suffix not in (".onnx", ".c"):
        raise ConfigError(f"`{path}` has no ending that tells a format. Expected a name such as actor.onnx or actor.c.")
    in_c = path.suffix == ".c"
    if in_c and (request.max_return_drop is not None or request.format != Format(dtype=request.format.dtype)):
        raise ConfigError(
            f"`{path}` is to be C, and `--weights`, `--opset`, `--stochastic` and `--max-return-drop` are of ONNX. "
            "Leave them out, or export to a name that ends in .onnx."
        )
    named = [path, *([path.with_suffix(".h")] if in_c else []), *([golden] if golden is not None else [])]
    if len({os.path.realpath(file) for file in named}) < len(named):
        raise ConfigError(f"`--golden {golden}` is a file of the actor's own. Give the golden pairs another name.")
    for file in named:
        check_place(file)
    written = _write_c(request, path, golden) if in_c else _write_onnx(request, path, golden)
    files = f"{path}, {path.with_suffix('.h').name}" if in_c else f"{path}"
    lines = [f"{files}: {request.told}", *(f"  {line}" for line in (*written.lines, *_better(request)))]
    if golden is not None:
        lines.append(f"{golden}: {written.pairs} observations and actions")
    return lines


def export_bundle(request: Request, path: Path, device: str | None, rate: float | None) -> list[str]:
    """Fill a folder for a board; returns what to tell.

    Raises:
        ConfigError: the rate is none, or not known and not said; an option fits no form.
        UnknownDevice: there is no such board.
        CheckpointError, ExportError: as `export_file`.
    """
    place = bundle_place(path)
    recognised = asked_board(device)
    robot = robot_file(request.folder, request.actor, request.env, request.arguments)
    loop = rate_for(request.actor.environment, rate, request.env, request.arguments, robot)
    with filling(place) as folder:
        onnx, c = _write_onnx(request, folder / MODEL, folder / GOLDEN), _write_c(request, folder / C_SOURCE, None)
        told = {"dtype": request.format.dtype, "onnx_size": onnx.size, "c_size": c.size, "pairs": onnx.pairs}
        add_kit(folder, place.name, request.actor, recognised.board, loop, told, robot)
        files = list(folder.iterdir())
        total_bytes = sum(file.stat().st_size for file in files)
    forms = ((MODEL, onnx), (f"{C_SOURCE}, {Path(C_SOURCE).with_suffix('.h')}", c))
    return [
        f"{path}: {len(files)} files, {total_bytes:,} bytes: {request.told}",
        *(f"  {line}" for line in _better(request)),
        *(line for name, form in forms for line in (f"  {name}", *(f"    {line}" for line in form.lines))),
        f"  {GOLDEN}: {onnx.pairs} observations and actions",
        f"  board: {recognised.board.title}. {recognised.why}",
        f"  loop: {loop.told}",
        *([f"  robot.py: {robot.told}"] if robot else []),
        f"  next: {path / 'README.md'}",
    ]


def _write_onnx(request: Request, path: Path, golden: Path | None) -> Written:
    actor, format = request.actor, request.format
    drops: list[ReturnDrop] = []
    told: list[str] = []  # of how they were played
    accept = None
    if request.max_return_drop is not None:
        limit = parse_share(request.max_return_drop)
        if is_robot_file(request.env or actor.environment):
            raise ConfigError(
                "`--max-return-drop` compares episodes of the same seeds, and a machine's have none. Leave it out, and "
                "play both on the machine: `edgedst evaluate RUN --env robot.py`, then the exported file."
            )
        played = chosen_environment(actor.environment, request.env, of_run=True)

        def accept(file: Path) -> None:
            disturbed, notes = chosen_disturbances(request.folder, played)
            drops.append(check_return_drop(actor, file, limit, request.episodes, played, request.arguments, disturbed))
            told.extend(notes)

    exported = export_actor(actor, path, request.recorded, format, accept, golden)
    encodings = ", ".join(layer["encoding"] for layer in exported.about["layers"])
    outputs = "`actions`, `log_std`" if format.stochastic else "`actions`"
    size = f"{exported.file_bytes:,} bytes"
    lines = [
        f"{_connections(actor)}, {size}; `obs` -> {outputs}",
        f"{format.weights} {format.dtype} ({encodings}), opset {format.opset}",
        *exported.parity.told,
        *_moved(actor, format.dtype, exported.parity.reference),
        *(line for drop in drops for line in (f"return: {drop.told}", *told, *drop.exported.notes)),
    ]
    return Written(lines, size, exported.pairs)


def _write_c(request: Request, path: Path, golden: Path | None) -> Written:
    actor, dtype = request.actor, request.format.dtype
    exported = export_c(actor, path, request.recorded, dtype, golden)
    also = ", `edgedst_reset()`, `edgedst_applied(action)`" if actor.history else ""
    lines = [
        f"{_connections(actor)}, {dtype}; `edgedst_act(obs, action)`{also}",
        *exported.told,
        *_moved(actor, dtype, exported.reference),
    ]
    source = exported.source
    size = f"{source.constant_bytes:,} bytes of constants and {source.ram_bytes:,} bytes of RAM"
    return Written(lines, size, exported.pairs)


def _better(request: Request) -> list[str]:
    """That another checkpoint of the run did better, where it did."""
    if request.checkpoint != "last":
        return []
    last, best = request.actor.evaluation_return, best_evaluation(request.folder)
    if best is None or last is None or best[1] <= last:
        return []
    return [
        f"its last evaluation gave {last:,.1f}, the best one {best[1]:,.1f} at step {best[0]:,}: `--checkpoint best` "
        "exports that actor"
    ]


def _connections(actor: ActorWeights) -> str:
    return f"{'-'.join(map(str, actor.sizes))}, {sum(layer.nnz for layer in actor.layers):,} connections"


def _moved(actor: ActorWeights, dtype: str, reference: Reference) -> list[str]:
    """How far the dtype's rounding moves the action; nothing of float32."""
    return [
        f"{dtype} moves the action by up to {moved.largest:.1e} of its bound, {moved.mean:.1e} on average "
        f"({where} observations)"
        for where, moved in movements(actor, dtype, reference).items()
    ]
