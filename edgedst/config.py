"""What a training run is told: every setting with its meaning, unit and default, the paper's presets, and TOML files.

The lean trainer gets these settings as plain values; this module stays in the front end. How dense a layer gets is
`edgedst/density.py`'s.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgedst.density import DENSE_METHODS, nnz_per_layer
from edgedst.errors import ConfigError

__all__ = ["DENSE_METHODS", "LAMBDA1_PRESETS", "METHODS", "REPLAY_DTYPES", "TrainConfig", "nnz_per_layer"]

METHODS = ("ds-td3", "static-td3", "td3")
REPLAY_DTYPES = ("float16", "float32")

# Sokar et al. 2022, section 5 and appendix: lambda of the first layer, by task without its version.
LAMBDA1_PRESETS = {"HalfCheetah": 7.0, "Hopper": 7.0, "Walker2d": 7.0, "Ant": 40.0, "Humanoid": 61.0}


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the paper's protocol for TD3 (Fujimoto et al. 2018; Sokar et al. 2022)."""

    env: str = "HalfCheetah-v4"  # Gymnasium id, or module:EnvId
    method: str = "ds-td3"  # ds-td3: the topology evolves; static-td3: it stays as drawn; td3: dense
    seed: int = 0  # of networks, topology, exploration, replay sampling and environment resets
    steps: int = 1_000_000  # environment steps
    budget_mb: float = 50.0  # peak memory of the whole process (VmHWM), in MB of 1,000,000 bytes

    eval_every: int = 5_000  # environment steps between evaluations; the first is at step 0
    eval_episodes: int = 10  # episodes an evaluation, without exploration noise
    checkpoint_every: int = 10_000  # environment steps between checkpoints
    threads: int = 1  # of the core; results are the same for every number
    env_process: bool = False  # host the environment in a process of its own, outside the budget

    replay_dtype: str = "float16"  # of stored observations and actions
    replay_rows: int | None = None  # most rows of the replay; None: what the budget leaves over

    hidden: tuple[int, ...] = (256, 256)  # features of each hidden layer, of the actor and of both critics
    lambda1: float | None = None  # density factor of the first layer; None: the task's preset, else layer 2's density
    lambda2: float = 64.0  # density factor of the hidden layers behind it: nnz = lambda * (in + out)
    eta: float = 0.05  # share of a layer's weights that an evolution drops and grows anew
    evolve_every: int = 1_000  # updates between two evolutions of the topology
    topology_stop_steps: int | None = None  # steps before the end without evolution; None: 5 % (50,000 of 1,000,000)

    start_steps: int = 25_000  # uniformly random steps before the first update
    batch_size: int = 100  # transitions an update
    gamma: float = 0.99  # discount a step
    tau: float = 0.005  # share of the network that an update moves into its target
    policy_delay: int = 2  # critic updates for one of the actor and the targets
    learning_rate: float = 1e-3  # Adam's, actor and critics
    weight_decay: float = 2e-4  # L2, added to the gradient, all parameters
    exploration_noise: float = 0.1  # sigma, share of the largest action
    target_policy_noise: float = 0.2  # sigma, share of the largest action
    target_noise_clip: float = 0.5  # share of the largest action

    def __post_init__(self) -> None:
        """Check every value before anything is made from it."""
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name), str(field.type))
        object.__setattr__(self, "hidden", tuple(self.hidden))
        _check_ranges(self)

    @staticmethod
    def from_settings(settings: dict[str, Any], source: str = "the settings") -> TrainConfig:
        """A config from names and values; names that do not exist raise ConfigError with the nearest one.

        Args:
            settings: by field name; whatever is missing keeps its default.
            source: what the sentence names, for example a file.
        """
        known = [field.name for field in fields(TrainConfig)]
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
                hint = f"Did you mean `{near[0]}`?" if near else f"The settings are: {', '.join(known)}."
                raise ConfigError(f"{source} has an unknown setting `{name}`. {hint}")
        try:
            return TrainConfig(**settings)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @staticmethod
    def load(path: Path) -> dict[str, Any]:
        """The settings in a TOML file, by field name, for `from_settings`."""
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        try:
            with path.open("rb") as file:
                settings: dict[str, Any] = tomllib.load(file)
                return settings
        except OSError as error:
            raise ConfigError(f"The config file `{path}` cannot be read: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The config file `{path}` is not TOML: {error}. Expected lines like `steps = 30000`."
            ) from error

    def resolved(self) -> TrainConfig:
        """The same run with what depends on other settings filled in: a preset's lambda1, topology_stop_steps."""
        config = self
        if config.lambda1 is None and config.method not in DENSE_METHODS:
            config = replace(config, lambda1=LAMBDA1_PRESETS.get(re.sub(r"-v\d+$", "", config.env)))
        if config.topology_stop_steps is None:
            config = replace(config, topology_stop_steps=config.steps // 20)
        return config

    @property
    def budget_bytes(self) -> int:
        """The budget in bytes: 1 MB is 1,000,000."""
        return round(self.budget_mb * 1_000_000)

    def settings(self) -> dict[str, Any]:
        """Names and plain values, JSON-able; the lean trainer's `config`."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def toml(self) -> str:
        """The config as a flat TOML file, which `--config` reads back. A setting that is None is left out."""
        version = "# edgedst train --config this-file repeats the run.\n"
        return version + "".join(f"{k} = {_toml(v)}\n" for k, v in self.settings().items() if v is not None)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    """One TOML value. repr of a float is TOML unless it has an exponent without a point, which TOML allows too."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(c if c >= " " and c not in '\\"\x7f' else f"\\u{ord(c):04x}" for c in value)
        return f'"{escaped}"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)


def _check_type(name: str, value: Any, declared: str) -> None:
    """`declared` is the field's annotation as written: the defaults' own words decide what is accepted."""
    wanted = declared.split(" | ")
    if value is None and "None" in wanted:
        return
    right = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "tuple[int, ...]": isinstance(value, (list, tuple))
        and all(isinstance(item, int) and not isinstance(item, bool) for item in value),
    }[wanted[0]]
    if not right:
        words = {"int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "a text"}
        expected = words.get(wanted[0], "a list of whole numbers, for example [256, 256]")
        raise ConfigError(f"`{name}` must be {expected} and is {value!r}.")


# name: (lowest, is the lowest itself allowed, highest)
_RANGES: dict[str, tuple[float, bool, float]] = {
    "seed": (0, True, 2**31 - 1),
    "steps": (1, True, 10**12),
    "budget_mb": (0, False, 10**6),
    "eval_every": (1, True, math.inf),
    "eval_episodes": (1, True, 10_000),
    "checkpoint_every": (1, True, math.inf),
    "threads": (1, True, 256),
    "replay_rows": (2, True, 10**10),
    "lambda1": (0, False, math.inf),
    "lambda2": (0, False, math.inf),
    "eta": (0, True, 1),
    "evolve_every": (1, True, math.inf),
    "topology_stop_steps": (0, True, math.inf),
    "start_steps": (0, True, math.inf),
    "batch_size": (1, True, 100_000),
    "gamma": (0, True, 1),
    "tau": (0, True, 1),
    "policy_delay": (1, True, 10**6),
    "learning_rate": (0, False, 1e3),
    "weight_decay": (0, True, 1e3),
    "exploration_noise": (0, True, 10),
    "target_policy_noise": (0, True, 10),
    "target_noise_clip": (0, True, 10),
}


def _check_ranges(config: TrainConfig) -> None:
    for name, (low, inclusive, high) in _RANGES.items():
        value = getattr(config, name)
        if value is None or (low < value <= high) or (inclusive and value == low):
            continue
        lowest = f"at least {low:g}" if inclusive else f"above {low:g}"
        highest = f" and at most {high:,.0f}" if high < math.inf else ""
        raise ConfigError(f"`{name}` must be {lowest}{highest} and is {value}.")
    for name, choices in (("method", METHODS), ("replay_dtype", REPLAY_DTYPES)):
        value = getattr(config, name)
        if value not in choices:
            near = difflib.get_close_matches(value, choices, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise ConfigError(f"`{name}` must be one of {', '.join(choices)} and is `{value}`.{hint}")
    if not config.hidden or not all(1 <= width <= 65_536 for width in config.hidden):
        raise ConfigError(f"`hidden` must have one layer or more of 1 to 65,536 features and is {list(config.hidden)}.")
    if not config.env.strip():
        raise ConfigError("`env` must name an environment, for example HalfCheetah-v4, and is empty.")
