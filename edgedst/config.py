"""What a training run is told: every setting with its meaning, unit and default, the paper's presets, and TOML files.

The lean trainer gets these settings as plain values; this module stays in the front end. How dense a layer gets is
`edgedst/density.py`'s.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgedst import parse
from edgedst.density import DENSE_METHODS, family, nnz_per_layer
from edgedst.errors import ConfigError

__all__ = [
    "DENSE_METHODS",
    "ENERGY_SOURCES",
    "METHODS",
    "PRESETS",
    "REPLAY_DTYPES",
    "TrainConfig",
    "nnz_per_layer",
    "preset",
]

METHODS = ("ds-td3", "static-td3", "td3", "ds-sac", "static-sac", "sac")
REPLAY_DTYPES = ("float16", "float32")
# What can meter energy, besides hwmon:NAME and csv:FILE (docs/energy.md).
ENERGY_SOURCES = ("none", "auto", "rapl", "ina3221", "ina238", "pi5-pmic", "hwmon", "battery", "model")

# (lambda1, lambda2) by family and task without its version. Sokar et al. 2022: section 4.4 for TD3, Table 4 for SAC.
PRESETS: dict[str, dict[str, tuple[float, float]]] = {
    "td3": {
        "HalfCheetah": (7.0, 64.0),
        "Hopper": (7.0, 64.0),
        "Walker2d": (7.0, 64.0),
        "Ant": (40.0, 64.0),
        "Humanoid": (61.0, 64.0),
    },
    "sac": {
        "HalfCheetah": (12.0, 80.0),
        "Hopper": (7.0, 20.0),
        "Walker2d": (12.0, 80.0),
        "Ant": (30.0, 64.0),
        "Humanoid": (61.0, 64.0),
    },
}


def preset(method: str, env: str) -> tuple[float, float] | None:
    """The paper's (lambda1, lambda2) for a method's family and a task of any version."""
    return PRESETS[family(method)].get(re.sub(r"-v\d+$", "", env))


def _of_family(**defaults: Any) -> Any:
    """A setting whose default depends on the family, `td3=` or `sac=`; a family that is not named has no such setting.

    None until it is known. A TrainConfig fills it in; in the other family it stays None.
    """
    return field(default=None, metadata=defaults)


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the paper's protocol (Sokar et al. 2022), for TD3 and for SAC."""

    env: str = "HalfCheetah-v4"  # Gymnasium id, or module:EnvId
    method: str = "ds-td3"  # ds-*: the topology evolves; static-*: it stays as drawn; td3, sac: dense
    seed: int = 0  # of networks, topology, exploration, replay sampling and environment resets
    steps: int = 1_000_000  # environment steps
    budget_mb: float = 50.0  # peak memory of the whole process (VmHWM), in MB of 1,000,000 bytes

    eval_every: int = 5_000  # environment steps between evaluations; the first is at step 0
    eval_episodes: int = 10  # episodes an evaluation, without exploration noise
    max_episode_steps: int | None = None  # after which an episode is cut off; None: the task's own limit
    checkpoint_every: int = 10_000  # environment steps between checkpoints
    threads: int = 1  # of the core; results are the same for every number
    env_process: bool = False  # host the environment in a process of its own, outside the budget
    energy: str = "none"  # what meters the run's energy; results do not depend on it

    replay_dtype: str = "float16"  # of stored observations and actions
    replay_rows: int | None = None  # most rows of the replay; None: what the budget leaves over

    hidden: tuple[int, ...] = (256, 256)  # features of each hidden layer, of the actor and of both critics
    # Density factors: a layer stores lambda * (in + out) weights.
    lambda1: float | None = None  # of the first layer; None: the task's preset, else layer 2's density
    lambda2: float = _of_family(td3=64.0, sac=64.0)  # of the layers behind it, unless the task has a preset
    eta: float = _of_family(td3=0.05, sac=0.1)  # share of a layer's weights that an evolution drops and grows anew
    evolve_every: int = 1_000  # updates between two evolutions of the topology
    topology_stop_steps: int | None = None  # steps before the end without evolution; None: 5 % (50,000 of 1,000,000)

    start_steps: int = _of_family(td3=25_000, sac=10_000)  # uniformly random steps before the first update
    batch_size: int = _of_family(td3=100, sac=256)  # transitions an update
    gamma: float = 0.99  # discount a step
    learning_rate: float = _of_family(td3=1e-3, sac=3e-4)  # Adam's: actor, critics, automatic alpha
    weight_decay: float = _of_family(td3=2e-4, sac=0.0)  # L2, added to the gradient, all parameters
    policy_delay: int = _of_family(td3=2)  # critic updates for one of the actor and the targets
    exploration_noise: float = _of_family(td3=0.1)  # sigma, share of the largest action
    target_policy_noise: float = _of_family(td3=0.2)  # sigma, share of the largest action
    target_noise_clip: float = _of_family(td3=0.5)  # share of the largest action
    alpha: float = _of_family(sac=0.2)  # temperature, the weight of the entropy; an automatic one begins there
    alpha_tuning: str = _of_family(sac="fixed")  # fixed, or automatic: towards an entropy of -m
    target_update: str = _of_family(sac="hard")  # hard: targets are copies, taken now and then; soft: Polyak averages
    target_update_every: int = _of_family(sac={"hard": 1_000, "soft": 1})  # updates between two of the targets
    tau: float = _of_family(td3=0.005, sac={"hard": 1.0, "soft": 0.005})  # share of a network that goes into its target

    def __post_init__(self) -> None:
        """Fill in what depends on the method, and check every value before anything is made from it."""
        _check_choice(self, "method", METHODS)
        _fill_in(self)
        for setting in fields(self):
            if getattr(self, setting.name) is not None or not setting.metadata:
                _check_type(setting.name, getattr(self, setting.name), str(setting.type))
        object.__setattr__(self, "hidden", tuple(self.hidden))
        _check_ranges(self)

    @staticmethod
    def from_settings(settings: dict[str, Any], source: str = "the settings") -> TrainConfig:
        """A config from names and values; names that do not exist raise ConfigError with the nearest one.

        Args:
            settings: by field name; whatever is missing keeps its default.
            source: what the sentence names, for example a file.
        """
        known = [setting.name for setting in fields(TrainConfig)]
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
    def load(path: Path, pipe: bool = True) -> dict[str, Any]:
        """The settings in a TOML file, by field name, for `from_settings`; `pipe`: whether it may be one."""
        try:
            return parse.toml(parse.read(path, pipe))
        except OSError as error:
            raise ConfigError(f"The config file `{path}` cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise ConfigError(
                f"The config file `{path}` is not TOML: {error}. Expected lines like `steps = 30000`."
            ) from error

    def resolved(self) -> TrainConfig:
        """The same run with what depends on other settings filled in: a preset's lambda1, topology_stop_steps."""
        config = self
        if config.lambda1 is None and config.method not in DENSE_METHODS:
            of_task = preset(config.method, config.env)
            config = replace(config, lambda1=of_task[0] if of_task else None)
        if config.topology_stop_steps is None:
            config = replace(config, topology_stop_steps=config.steps // 20)
        return config

    @property
    def budget_bytes(self) -> int:
        """The budget in bytes: 1 MB is 1,000,000."""
        return round(self.budget_mb * 1_000_000)

    def settings(self) -> dict[str, Any]:
        """Names and plain values, JSON-able; the lean trainer's `config`."""
        return {setting.name: _plain(getattr(self, setting.name)) for setting in fields(self)}

    def settings_by_default(self) -> list[str]:
        """Names of the settings that depend on method or task and have the very values that these two give."""
        usual = TrainConfig(env=self.env, method=self.method)
        # What a soft update brings with it stays a default beside it.
        beside = replace(usual, target_update=self.target_update, target_update_every=None, tau=None)  # type: ignore[arg-type]
        names = [setting.name for setting in fields(self) if setting.metadata]
        bases = {name: usual if name == "target_update" else beside for name in names}
        return [name for name, base in bases.items() if getattr(self, name) == getattr(base, name)]

    def toml(self) -> str:
        """The config as a flat TOML file, which `--config` reads back. A setting that is None is left out."""
        version = "# edgedst train --config this-file repeats the run.\n"
        return version + "".join(f"{k} = {_toml(v)}\n" for k, v in self.settings().items() if v is not None)


def _fill_in(config: TrainConfig) -> None:
    """Defaults of the method's family, in place; a setting of the other family is refused."""
    kind = family(config.method)
    if config.lambda2 is None and (of_task := preset(config.method, str(config.env))):
        object.__setattr__(config, "lambda2", of_task[1])
    for setting in fields(config):
        if not setting.metadata:
            continue
        if kind in setting.metadata:
            default = setting.metadata[kind]
            if isinstance(default, dict):
                default = default.get(str(config.target_update))  # a wrong one is told soon
            if getattr(config, setting.name) is None:
                object.__setattr__(config, setting.name, default)
        elif getattr(config, setting.name) is not None:
            (other,) = setting.metadata
            methods = ", ".join(method for method in METHODS if family(method) == other)
            raise ConfigError(
                f"`{setting.name}` is a setting of {other.upper()} and `method` is `{config.method}`. Leave it out, or "
                f"choose one of {methods}."
            )
    _check_choice(config, "alpha_tuning", ("fixed", "automatic"))
    _check_choice(config, "target_update", ("hard", "soft"))


def _check_choice(config: TrainConfig, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(config, name)
    if value is None or value in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    raise ConfigError(f"`{name}` must be one of {', '.join(choices)} and is `{value}`.{hint}")


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
    "max_episode_steps": (1, True, 2**31 - 1),
    "checkpoint_every": (1, True, math.inf),
    "threads": (1, True, 256),
    # The open row, the last observation of an episode, and a transition to sample.
    "replay_rows": (3, True, 2**31 - 1),
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
    "alpha": (0, False, 1e6),
    "target_update_every": (1, True, math.inf),
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
    _check_choice(config, "replay_dtype", REPLAY_DTYPES)
    if not re.match(r"(csv|hwmon):.", config.energy):
        _check_choice(config, "energy", (*ENERGY_SOURCES, "hwmon:NAME", "csv:FILE"))
    if config.target_update == "hard" and config.tau != 1:
        raise ConfigError(
            f"`tau` is {config.tau:g} and `target_update` is hard, which copies the whole network: tau = 1. Leave "
            "`tau` out, or choose `--target-update soft`."
        )
    if not 1 <= len(config.hidden) <= 100 or not all(1 <= width <= 65_536 for width in config.hidden):
        shown = ", ".join(map(str, config.hidden[:8])) + (", ..." if len(config.hidden) > 8 else "")
        raise ConfigError(f"`hidden` must have 1 to 100 layers of 1 to 65,536 features and is [{shown}].")
    if not config.env.strip():
        raise ConfigError("`env` must name an environment, for example HalfCheetah-v4, and is empty.")
    if len(config.env) > 1_000 or not config.env.isprintable():
        raise ConfigError(
            f"`env` must name an environment, for example HalfCheetah-v4, and is {config.env[:60]!r}: a line without "
            "control characters, at most 1,000 long, was expected."
        )
