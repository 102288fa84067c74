"""Reads `edgedst train`'s options without typer, from the same table, for the memory that this saves.

It understands plain options with plain values. Everything else, mistakes and --help included, is left to typer, whose
words the user then sees.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedst.config import SETTINGS
from edgedst.launch.job import start_training
from edgedst.launch.settings import flags, read_typed, seconds_of, switches


def train(arguments: list[str]) -> None:
    """Become the trainer, or return when these arguments are typer's to read."""
    values = parse(arguments)
    if values is not None:
        start_training(**values)


def parse(arguments: list[str]) -> dict[str, Any] | None:
    """The arguments of `start_training`, or None."""
    names = {flag: name for name in SETTINGS if SETTINGS[name].type != "bool" for flag in flags(name)}
    names["--preset"] = "preset"
    of_settings = {
        flag: (name, state)
        for name in SETTINGS
        if SETTINGS[name].type == "bool"
        for flag, state in zip(switches(name), (True, False), strict=True)
    }
    texts: dict[str, Any] = {}
    pairs: list[str] = []
    own: dict[str, Any] = {"config": None, "device": None, "run_dir": "runs", "resume": None}
    own |= {"progress": None, "debug": False, "stop_at_return": None, "stop_after_seconds": None}
    own_switches = {"--progress": ("progress", True), "--no-progress": ("progress", False), "--debug": ("debug", True)}
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        name = names.get(flag, "")
        if equals and not flag.startswith("--"):
            return None
        if flag in own_switches and not equals:
            own_name, state = own_switches[flag]
            own[own_name] = state
            continue
        if flag in of_settings and not equals:
            name, state = of_settings[flag]
            texts[name] = state
            continue
        if not equals:
            if not rest or rest[0].startswith("-"):
                return None
            value = rest.pop(0)
        if name:
            texts[name] = value
        elif flag == "--set":
            pairs.append(value)
        elif flag in ("--config", "--device", "--run-dir", "--resume"):
            own[flag[2:].replace("-", "_")] = value
        elif flag == "--stop-after":
            own["stop_after_seconds"] = seconds_of(value)
        elif flag == "--stop-at-return":
            try:
                own["stop_at_return"] = float(value)
            except ValueError:
                return None
        else:
            return None
    config = Path(own["config"]) if own["config"] is not None else None
    return {**own, "typed": read_typed(texts, pairs), "config": config, "run_dir": Path(own["run_dir"])}
