"""The options that `train`, `plan` and `profile` share: one for each row of the settings' table."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgedst.config import SETTINGS
from edgedst.errors import ConfigError
from edgedst.launch.settings import NAMED_PRESETS, flags, read_typed, switches

Progress = Annotated[
    bool | None,
    typer.Option(
        "--progress/--no-progress",
        help="Progress: a line that renews itself on a terminal, else a line every 30 s. [default: progress]",
        show_default=False,
    ),
]

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RunDir = Annotated[Path, typer.Option(help="Folder that holds the runs.")]

Device = Annotated[
    str | None,
    typer.Option(
        help="Board of devices/ whose budget, threads and kernels hold unless told otherwise. [default: the board "
        "that this is; `edgedst devices` lists them]",
        show_default=False,
    ),
]

# What help shows where no unit does.
_KINDS = {"int": "N", "float": "X", "Rate": "N", "str": "TEXT", "tuple[int, ...]": "N,N", "tuple[float, ...]": "X,X"}

# Headings of help, each above the setting that begins it.
_HEADINGS = {
    "env": "Task",
    "eval_every": "Run",
    "action_delay": "Disturbances of a simulator",
    "hardware": "Machines and energy",
    "init_from": "What it begins with",
    "normalize_observations": "Observations and replay",
    "hidden": "Networks",
    "start_steps": "Learning",
}


def check_distinct(files: Mapping[str, str | Path | None]) -> None:
    """Refuse two options that name one file, which only one of them would keep. `files`: by option, None if not given.

    Raises:
        ConfigError: two name one, however they spell it.
    """
    named: dict[str, str] = {}
    for option, path in files.items():
        if path is not None:
            other = named.setdefault(os.path.realpath(path), option)
            if other != option:
                raise ConfigError(f"`{other}` and `{option}` both name `{path}`: name two files.")


def training_options(function: Callable[..., None], without: tuple[str, ...] = ()) -> Callable[..., None]:
    """Give a verb an option for each setting: it gets those that were typed as `typed`, a dict by name of setting.

    `--set`, `--preset` and `--config` are among them, the settings `without` are not; the verb's own parameters stay.
    """
    names = [name for name in SETTINGS if name not in without]
    heading = ""
    below: dict[str, list[inspect.Parameter]] = {name: [] for name in _HEADINGS.values()}
    for name in SETTINGS:
        heading = _HEADINGS.get(name, heading)
        if name in names:
            below[heading].append(_parameter(name, *_option(name, heading)))
    several = typer.Option("--set", metavar="NAME=VALUE", help="Any setting, by any of its names; may be repeated.")
    preset = typer.Option("--preset", help=f"Settings that go together: {', '.join(NAMED_PRESETS)} (docs/sparsity.md).")
    config = typer.Option("--config", help="TOML file of settings, such as a run's config.toml; options override it.")
    task, *rest = below.values()
    options = [
        *task,
        _parameter("several", Annotated[list[str] | None, several]),
        _parameter("preset", Annotated[str | None, preset]),
        _parameter("config", Annotated[Path | None, config]),
        *(
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.name not in ("typed", "config")
        ),
        *itertools.chain(*rest),
    ]

    @functools.wraps(function)
    def verb(several: list[str] | None, **values: Any) -> None:
        given = {name: value for name in [*names, "preset"] if (value := values.pop(name)) is not None}
        typed = read_typed(given, several or ())
        for name in typed:
            if name in without:
                raise ConfigError(f"`{name}` is not for `edgedst {function.__name__}`, which decides it itself.")
        function(typed=typed, **values)

    verb.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # what typer reads
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in options}
    return verb


def _option(name: str, heading: str) -> tuple[Any, Any]:
    """(annotation, default) for typer: texts, which `read_typed` reads, and one switch."""
    about, kind = SETTINGS[name].metadata, str(SETTINGS[name].type).split(" | ")[0]
    owners = [owner.upper() for owner in about["by_family"]]
    told = about["told"]
    if len(owners) == 1:
        told = f"Of {owners[0]}: {told[0].lower()}{told[1:]}"
    text = f"{told} {shown_default(name)}".strip()
    if kind == "bool":
        option = typer.Option("/".join(switches(name)), help=text, show_default=False, rich_help_panel=heading)
        return Annotated[bool | None, option], None
    metavar = about["unit"].upper() or _KINDS[kind]
    option = typer.Option(*flags(name), metavar=metavar, help=text, show_default=False, rich_help_panel=heading)
    return Annotated[str | None, option], None


def shown_default(name: str) -> str:
    """`[default: 100] [SAC: 256]`, or in words."""
    row = SETTINGS[name]
    values = [v.get("hard") if isinstance(v, dict) else v for v in row.metadata["by_family"].values()] or [row.default]
    shown = [",".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]
    of_sac = f" [SAC: {shown[1]}]" if len(set(shown)) > 1 else ""
    return "" if row.default is False else f"[default: {row.metadata['usual'] or shown[0]}]{of_sac}"


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
