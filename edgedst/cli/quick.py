"""Reads `edgedst train`'s options without typer, from the same table, for the memory that this saves.

It understands plain options with plain values. Everything else, mistakes and --help included, is left to typer, whose
words the user then sees.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedst.cli.launch import start_training
from edgedst.cli.settings import OPTIONS, parse_hidden


def train(arguments: list[str]) -> None:
    """Become the trainer, or return when these arguments are typer's to read."""
    values = parse(arguments)
    if values is not None:
        start_training(**values)


def parse(arguments: list[str]) -> dict[str, Any] | None:
    """The arguments of `start_training`, or None."""
    kinds = {flag: (setting, kind) for setting, kind, flags, _ in OPTIONS for flag in flags}
    typed: dict[str, Any] = {}
    own: dict[str, Any] = {"config": None, "device": None, "run_dir": "runs", "resume": None}
    own |= {"progress": None, "debug": False}
    switches = {"--progress": ("progress", True), "--no-progress": ("progress", False), "--debug": ("debug", True)}
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if flag in switches and not equals:
            name, state = switches[flag]
            own[name] = state
            continue
        if flag == "--env-process" and not equals:
            typed["env_process"] = True
            continue
        if not equals:
            if not rest or rest[0].startswith("-"):
                return None
            value = rest.pop(0)
        if flag in kinds and flag.startswith("--") | (not equals):
            setting, kind = kinds[flag]
            try:
                typed[setting] = kind(value)
            except ValueError:
                return None
        elif flag in ("--config", "--device", "--run-dir", "--resume"):
            own[flag[2:].replace("-", "_")] = value
        else:
            return None
    if "hidden" in typed:
        typed["hidden"] = parse_hidden(typed["hidden"])
    config = Path(own["config"]) if own["config"] is not None else None
    return {**own, "typed": typed, "config": config, "run_dir": Path(own["run_dir"])}
