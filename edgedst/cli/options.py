"""The options that `train`, `plan` and `profile` share: settings of TrainConfig, each with its default in --help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgedst.cli.settings import OPTIONS, parse_hidden
from edgedst.config import TrainConfig

Progress = Annotated[
    bool | None,
    typer.Option(
        "--progress/--no-progress",
        help="Progress: a line that renews itself on a terminal, else a line every 30 s. [default: progress]",
        show_default=False,
    ),
]

Device = Annotated[
    str | None,
    typer.Option(
        help="Board of devices/ whose budget, threads and kernels hold unless told otherwise. [default: the board "
        "that this is; `edgedst devices` lists them]",
        show_default=False,
    ),
]

_DEFAULTS = TrainConfig().settings()
_SAC_DEFAULTS = TrainConfig(method="ds-sac", env="any task").settings()


def training_options(function: Callable[..., None], without: tuple[str, ...] = ()) -> Callable[..., None]:
    """Give a verb these options: it gets those that were typed as `typed`, a dict by name of setting.

    `--config` and `--env-process` are among them, the settings `without` are not; the verb's own parameters stay.
    """
    parameters = []
    options = [option for option in OPTIONS if option[0] not in without]
    for setting, kind, flags, told in options:
        text = told if "[default" in told else f"{told} {_shown_default(setting)}"
        wanted: Any = kind | None
        annotation = Annotated[wanted, typer.Option(*flags, help=text, show_default=False)]
        parameters.append(_parameter(setting, annotation))
    process = typer.Option("--env-process", help="Host the environment in a process of its own, outside the budget.")
    parameters.append(_parameter("env_process", Annotated[bool, process], False))
    config = typer.Option("--config", help="TOML file of settings, such as a run's config.toml; options override it.")
    parameters.append(_parameter("config", Annotated[Path | None, config]))
    debug = typer.Option("--debug", help="Show the traceback of an error.")
    parameters.append(_parameter("debug", Annotated[bool, debug], False))
    own = inspect.signature(function, eval_str=True).parameters.values()
    shared = ("typed", "config", "debug")
    parameters[-2:-2] = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if p.name not in shared]

    @functools.wraps(function)
    def verb(**values: Any) -> None:
        typed = {setting: values.pop(setting) for setting, *_ in options}
        if "hidden" in typed and typed["hidden"] is not None:
            typed["hidden"] = parse_hidden(typed["hidden"])
        typed["env_process"] = values.pop("env_process") or None
        function(typed={name: value for name, value in typed.items() if value is not None}, **values)

    verb.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return verb


def _shown_default(setting: str) -> str:
    default, of_sac = _DEFAULTS[setting], _SAC_DEFAULTS[setting]
    if setting in ("env", "method") or default == of_sac:
        of_sac = None
    if default is None:
        default, of_sac = of_sac, None
    shown = ",".join(map(str, default)) if isinstance(default, list) else f"{default}"
    return f"[default: {shown}]" + (f" [SAC: {of_sac}]" if of_sac is not None else "")


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
