"""How settings that are typed, a file of them, and the board's make a TrainConfig. The table of them is `config.py`.

No typer here: with what it loads, the front end alone would take more than a small budget (see `quick.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgedst.config import ROBOT, ROBOT_METHOD, SETTINGS, TrainConfig, by_own_names
from edgedst.density import DENSE_METHODS, OWN_SPARSITIES, family, uses_lambda
from edgedst.errors import ConfigError
from edgedst.files import is_robot_file
from edgedst.setting import one_line

# Settings that go together, by the name that `--preset` takes and the family of the method: docs/sparsity.md.
NAMED_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "board": {"td3": {"sparsity": 0.95, "hidden": (512, 512), "updates_per_step": 2, "start_steps": 10_000}}
}


def flags(name: str) -> list[str]:
    """The options of a setting, its own name first: `--batch-size`."""
    names = [name, *SETTINGS[name].metadata["also"]]
    return [other if other[0] == "-" else "--" + other.replace("_", "-") for other in names]


def switches(name: str) -> tuple[str, str]:
    """The options that turn a setting on and off: `--hardware`, `--no-hardware`."""
    on = flags(name)[0]
    return on, f"--no-{on[2:]}"


def read_typed(options: dict[str, Any], pairs: Iterable[str] = ()) -> dict[str, Any]:
    """What was typed, by name of setting: options, then `--set name=value`, which override them.

    Args:
        options: texts by name of setting; a `preset` stays as it is.
        pairs: `name=value`, under any of its names.

    Raises:
        ConfigError: a pair is none, or its name is unknown.
    """
    setting_pairs: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"`--set {one_line(pair)}` must be like `--set gamma=0.98`.")
        setting_pairs |= by_own_names({name.strip(): text.strip()}, "`--set`")
    preset = {"preset": options["preset"]} if "preset" in options else {}
    options = {name: text for name, text in options.items() if name != "preset"}
    typed = by_own_names({**options, **setting_pairs}, "The command line")
    return preset | {name: _value(name, text) for name, text in typed.items()}


def _value(name: str, text: Any) -> Any:
    """A text as a value of its setting; where it is none, the text itself, which TrainConfig refuses."""
    kind = str(SETTINGS[name].type).split(" | ")[0]
    try:
        if kind in ("int", "Rate"):
            return _number(text)
        if kind == "float":
            return float(text)
        if kind == "tuple[float, ...]":
            return [float(part) for part in text.split(",")]
        if kind == "tuple[int, ...]":
            widths = [_number(part) for part in text.strip("[]() ").replace(",", " ").split()]
            return (widths * 2 if not set(text) & set("[](),") else widths) or text
    except ValueError:
        return text
    return {"true": True, "false": False}.get(str(text).lower(), text) if kind == "bool" else text


def _number(text: Any) -> int | float:
    """`30000`, `30_000` or `3e4`."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def seconds_of(text: str) -> float:
    """`90`, `90s`, `30min`, `2h` or `1h30min` in seconds.

    Raises:
        ConfigError: it is none of them.
    """
    found = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m(?:in)?)?(?:([\d.]+)s)?|([\d.]+)", text.replace(" ", ""))
    try:
        parts = [float(part) for part in found.groups(default="0")] if found and text.strip() else []
    except ValueError:
        parts = []
    seconds = sum(part * size for part, size in zip(parts, (3600, 60, 1, 1), strict=False))
    if not 0 < seconds < 1e9:
        raise ConfigError(f"`{text}` is no time. Expected one like 2h, 30min, 1h30min or 90s.")
    return seconds


def configured(typed: dict[str, Any], config: Path | None, usual: dict[str, Any] | None = None) -> TrainConfig:
    """Defaults, then `usual` (the board's), then the config file, a typed preset, what else was typed; resolved."""
    from_file = TrainConfig.load(config) if config is not None else {}
    return combined(with_preset(typed, from_file), from_file, f"`{config}`", usual)


def combined(
    typed: dict[str, Any], settings: dict[str, Any], source: str, usual: dict[str, Any] | None = None
) -> TrainConfig:
    """`configured` of the settings of a file, `source`, that was read already."""
    # What the file leaves open it does not speak of: task, method and length are then those that were typed.
    context: dict[str, Any] = {name: typed[name] for name in ("env", "method", "steps", "init_from") if name in typed}
    TrainConfig.from_settings(context, "The settings")
    base = TrainConfig.from_settings({**context, **settings}, source) if settings else TrainConfig()
    if settings:
        # What the file resolved for its own task, method and length is resolved anew for another's.
        stale = base.settings_by_default()
        if (typed.get("env", base.env), family(typed.get("method", base.method))) != (base.env, family(base.method)):
            stale.append("lambda1")
        if typed.get("steps", base.steps) != base.steps:
            stale.append("topology_stop_steps")
        stale += _replaced(typed, settings)
        settings = {name: value for name, value in settings.items() if name not in stale}
    usual = dict(usual or {})
    given = {**settings, **typed}
    of_source = _shapes(str(given["init_from"])) if given.get("init_from") is not None else {}
    if is_robot_file(str(given.get("env", ""))):
        usual["method"] = given.get("method", of_source.get("method", ROBOT_METHOD))
        usual |= ROBOT.get(family(str(usual["method"])), {})
    if given.get("init_from") is not None:
        usual |= {**of_source, "start_steps": 0}  # its actor explores better than random actions do
    replaced = _replaced(given, usual)
    usual = {name: value for name, value in usual.items() if name not in replaced}
    return TrainConfig.from_settings({**usual, **given}, "The settings").resolved()


def with_preset(typed: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What was typed, and what a typed `preset` stands for where nothing else that was typed says it.

    Args:
        typed: settings by name, and maybe `preset`.
        settings: of the file, which may say the method.

    Raises:
        ConfigError: there is no such preset, or it is not for the method, for a machine or for a beginning.
    """
    typed = dict(typed)
    name = typed.pop("preset", None)
    if name is None:
        return typed
    given = {**settings, **typed}
    for other, told in (("init_from", "begins with the shapes of another run"), ("env", "trains a machine")):
        text = given.get(other)
        if text is not None and (other != "env" or is_robot_file(str(text))):
            raise ConfigError(
                f"`--preset {one_line(str(name))}` is for a run that learns from nothing in a simulator, and `{other}` "
                f"is {one_line(str(text))}, which {told} and has defaults of its own. Leave `--preset` out."
            )
    if not isinstance(name, str) or name not in NAMED_PRESETS:
        raise ConfigError(
            f"`--preset {one_line(str(name))}` is none: there is {', '.join(NAMED_PRESETS)}. Leave it out."
        )
    method = str(given.get("method", TrainConfig.method))
    of_family = NAMED_PRESETS[name].get(family(method))
    if of_family is None or method in DENSE_METHODS:
        methods = ", ".join(f"{kind}-{known}" for known in NAMED_PRESETS[name] for kind in ("ds", "static"))
        raise ConfigError(f"`--preset {name}` is for {methods}, and `method` is {method}. Choose one of these.")
    replaced = _replaced(typed, of_family)
    return {**{name: value for name, value in of_family.items() if name not in replaced}, **typed}


def _replaced(given: dict[str, Any], others: dict[str, Any]) -> list[str]:
    """What other settings say of the networks' density, and does not hold beside what is given of it."""
    lambdas = ["lambda1", "lambda2"]
    if given.get("sparsity") is not None:
        return [*lambdas, *OWN_SPARSITIES]
    names, left = [], {**others, **given}
    if given.keys() & {*lambdas}:
        names, left = ["sparsity"], {**left, "sparsity": None}
    whole = SimpleNamespace(**{name: left.get(name) for name in ("sparsity", *OWN_SPARSITIES)})
    if uses_lambda(whole):
        return names
    return [*names, *OWN_SPARSITIES] if names else lambdas


# Settings that decide what networks take, and how many connections each layer has.
_SHAPES = (
    *("method", "hidden", "lambda1", "lambda2", "sparsity", *OWN_SPARSITIES),
    *("history", "normalize_observations", "batch_norm"),
)


def _shapes(init_from: str) -> dict[str, Any]:
    """Those of the run that another one begins with, where it has a config.toml: the usual ones then.

    Args:
        init_from: the run's folder, or its checkpoint's.
    """
    for folder in (Path(init_from), Path(init_from).parent):
        if (folder / "checkpoint" / "state.json").is_file() and (folder / "config.toml").is_file():
            path = folder / "config.toml"
            source = TrainConfig.from_settings(TrainConfig.load(path, pipe=False), f"`{path}`").resolved().settings()
            return {name: source[name] for name in _SHAPES if source[name] is not None}
    return {}
