"""The settings that can be typed for `train` and `plan`: flags, types, help; how a file and they make a TrainConfig.

No typer here: with what it loads, the front end alone would take more than a small budget (see `quick.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedst.config import TrainConfig
from edgedst.density import family
from edgedst.errors import ConfigError

# setting, type on the command line, flags, help
OPTIONS: list[tuple[str, type, list[str], str]] = [
    ("env", str, ["--env", "--env-id"], "Gymnasium id, or module:EnvId."),
    (
        "budget_mb",
        float,
        ["--budget-mb"],
        "Peak memory of the whole process in MB (1,000,000 bytes); see --device.",
    ),
    ("steps", int, ["--steps", "-n", "--total-timesteps"], "Environment steps."),
    ("seed", int, ["--seed"], "Seed of everything that is random."),
    (
        "method",
        str,
        ["--method"],
        "ds-td3, ds-sac (topology evolves), static-td3, static-sac (stays as drawn), td3 or sac (dense).",
    ),
    ("eval_every", int, ["--eval-every", "--eval-freq"], "Steps between evaluations; the first is at step 0."),
    ("eval_episodes", int, ["--eval-episodes"], "Episodes an evaluation, without noise."),
    (
        "max_episode_steps",
        int,
        ["--max-episode-steps"],
        "Steps after which an episode is cut off. [default: the task's own limit; without one, 1,000 in evaluations]",
    ),
    ("checkpoint_every", int, ["--checkpoint-every", "--save-freq"], "Steps between checkpoints."),
    ("replay_dtype", str, ["--replay-dtype"], "Precision of the replay: float16 or float32."),
    ("replay_rows", int, ["--replay-rows"], "Most rows of the replay. [default: what the budget leaves over]"),
    ("hidden", str, ["--hidden"], "Features of each hidden layer, as 256,256; one number stands for two layers."),
    (
        "lambda1",
        float,
        ["--lambda1"],
        "Density factor of layer 1. [default: the task's preset, else layer 2's density]",
    ),
    ("lambda2", float, ["--lambda2"], "Density factor of layer 2: it stores lambda2 * (in + out) weights."),
    ("eta", float, ["--eta"], "Share of the weights that an evolution drops and grows anew."),
    ("evolve_every", int, ["--evolve-every"], "Updates between two evolutions."),
    (
        "topology_stop_steps",
        int,
        ["--topology-stop-steps"],
        "Last steps without evolution. [default: 5 % of the steps]",
    ),
    ("start_steps", int, ["--start-steps"], "Uniformly random steps before the first update."),
    ("batch_size", int, ["--batch-size"], "Transitions an update."),
    ("alpha", float, ["--alpha"], "Of SAC: temperature, the weight of the entropy."),
    ("alpha_tuning", str, ["--alpha-tuning"], "Of SAC: fixed, or automatic, towards an entropy of -m."),
    ("target_update", str, ["--target-update"], "Of SAC: hard (a copy every 1,000 updates) or soft (Polyak)."),
    (
        "threads",
        int,
        ["--threads"],
        "Threads of the core; results are the same for every number; see --device.",
    ),
    (
        "energy",
        str,
        ["--energy"],
        "Meter the run's energy: auto, rapl, ina3221, ina238, pi5-pmic, hwmon, battery, csv:FILE, model or none.",
    ),
]


def parse_hidden(text: str) -> list[int]:
    """`256,256` or `256 256` to the widths; one number stands for two layers of it."""
    try:
        widths = [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        widths = []
    if not widths:
        raise ConfigError(f"`--hidden` must be widths like 256,256 and is `{text}`.")
    return widths * 2 if len(widths) == 1 else widths


def configured(typed: dict[str, Any], config: Path | None, usual: dict[str, Any] | None = None) -> TrainConfig:
    """Defaults, then `usual` (the board's), then the config file, then what was typed, resolved."""
    return combined(typed, TrainConfig.load(config) if config is not None else {}, f"`{config}`", usual)


def combined(
    typed: dict[str, Any], settings: dict[str, Any], source: str, usual: dict[str, Any] | None = None
) -> TrainConfig:
    """`configured` of the settings of a file, `source`, that was read already."""
    # What the file leaves open it does not speak of: task, method and length are then those that were typed.
    context: dict[str, Any] = {name: typed[name] for name in ("env", "method", "steps") if name in typed}
    base = TrainConfig.from_settings({**context, **settings}, source) if settings else TrainConfig()
    if settings:
        # What the file resolved for its own task, method and length is resolved anew for another's.
        stale = base.settings_by_default()
        if (typed.get("env", base.env), family(typed.get("method", base.method))) != (base.env, family(base.method)):
            stale.append("lambda1")
        if typed.get("steps", base.steps) != base.steps:
            stale.append("topology_stop_steps")
        settings = {name: value for name, value in settings.items() if name not in stale}
    return TrainConfig.from_settings({**(usual or {}), **settings, **typed}, "The command line").resolved()
