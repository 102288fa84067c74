"""Every setting of a training run, in one table: TrainConfig. From it come the options of the command line, their help,
what a TOML file may hold, what is checked, and docs/settings.md.

The lean trainer gets these settings as plain values; this module stays in the front end. How dense a layer gets is
`edgedst/density.py`'s.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgedst import disturbances, parse
from edgedst.density import DENSE_METHODS, MOST_FEATURES, OWN_SPARSITIES, family, uses_lambda
from edgedst.errors import ConfigError
from edgedst.files import absolute_log, is_robot_file, log_kind
from edgedst.setting import Json, Rate, check_choice, check_range, one_line, setting, toml, typed

METHODS = ("ds-td3", "static-td3", "td3", "ds-sac", "static-sac", "sac")
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


# What a robot.py gets where nothing else is said, by family of the method: learning in minutes (docs/robot.md).
ROBOT_METHOD = "ds-sac"
_ROBOT: dict[str, Any] = {
    "steps": 30_000,
    "eval_every": 5,
    "eval_episodes": 1,
    "checkpoint_every": 2_500,
    "hidden": (64, 64),
    "lambda2": 16.0,
    "start_steps": 500,
    "updates_per_step": 0,
    "normalize_observations": True,
}
ROBOT = {"td3": _ROBOT, "sac": {**_ROBOT, "target_update": "soft", "alpha_tuning": "automatic"}}


def preset(method: str, env: str) -> tuple[float, float] | None:
    """The paper's (lambda1, lambda2) for a method's family and a task of any version."""
    return PRESETS[family(method)].get(re.sub(r"-v\d+$", "", env))


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the paper's protocol (Sokar et al. 2022), for TD3 and for SAC."""

    # fmt: off
    env: str = setting("Gymnasium id, module:EnvId, or the path of a robot.py.", "HalfCheetah-v4", also="env_id")
    method: str = setting(
        "ds-td3, ds-sac (topology evolves), static-td3, static-sac (stays as drawn), td3 or sac (dense).",
        "ds-td3", one_of=METHODS, also="algo")
    env_kwargs: Json = setting(
        """Arguments of the environment, as in '{"port": "/dev/ttyUSB0"}'.""", "{}", unit="JSON", usual="none")
    seed: int = setting(
        "Seed of everything that is random.", 0, at_least=0, at_most=2**31 - 1)
    steps: int = setting(
        "Environment steps.", 1_000_000, unit="steps", at_least=1, at_most=10**12,
        also="-n total_timesteps n_timesteps max_timesteps")
    budget_mb: float = setting(
        "Peak memory of the whole process (VmHWM) in MB (1,000,000 bytes); see --device.",
        50.0, unit="MB", above=0, at_most=10**6)

    eval_every: int = setting(
        "Steps between evaluations, the first at step 0; with a robot.py training episodes between them. 0: none.",
        5_000, unit="steps", at_least=0, also="eval_freq")
    eval_episodes: int = setting(
        "Episodes an evaluation, without noise.", 10, unit="episodes", at_least=1, at_most=10_000,
        also="n_eval_episodes")
    max_episode_steps: int | None = setting(
        "Steps after which an episode is cut off.", unit="steps", at_least=1, at_most=2**31 - 1,
        usual="the task's own limit; without one, 1,000 in evaluations")
    checkpoint_every: int = setting(
        "Steps between checkpoints.", 10_000, unit="steps", at_least=1, also="save_freq")
    threads: int = setting(
        "Threads of the core; results are the same for every number; see --device.",
        1, unit="threads", at_least=1, at_most=256)
    env_process: bool = setting("Host the environment in a process of its own, outside the budget.", False)
    action_delay: str = setting(
        "Steps that an action waits for before a simulator gets it: 2, or 0..3, drawn an episode at a time.", "0",
        unit="STEPS")
    observation_noise: tuple[float, ...] = setting(
        "Sigma of the noise on a simulator's observations, in their units; one number stands for all.", (0.0,),
        at_least=0)
    randomize: str | None = setting(
        "What a native task multiplies, drawn an episode at a time: friction=0.5..1.5,mass=0.8..1.2,gain=0.9..1.1.",
        unit="RANGES", usual="nothing")
    hardware: bool = setting(
        "The environment stands for a machine: made once, never moved to be measured, nothing played again.", False)
    max_missed: int = setting(
        "Periods that a machine may miss in a row before its episode ends, at rest.", 5, unit="periods", at_least=1,
        at_most=10_000)
    max_temperature: float | None = setting(
        "Temperature of the board above which learning on a machine slows down.", unit="degrees Celsius", above=0,
        at_most=200, usual="no limit")
    max_watts: float | None = setting(
        "Power of the board, where it is metered, above which it slows down.", unit="W", above=0, at_most=10_000,
        usual="no limit")
    max_cpu: float | None = setting(
        "Most of a core that it may take.", unit="%", above=0, at_most=100, usual="no limit")
    energy: str = setting(
        "Meter the run's energy: auto, rapl, ina3221, ina238, pi5-pmic, hwmon, battery, csv:FILE, model or none.",
        "none", one_of=(*ENERGY_SOURCES, "hwmon:NAME", "csv:FILE"))

    init_from: str | None = setting(
        "Run, or checkpoint folder, whose networks it begins with.", unit="RUN", usual="random weights")
    with_replay: bool = setting("Take over that run's replay, too.", False)
    prefill: str | None = setting(
        "Log that fills the replay before the first step: FILE.csv, FILE.parquet, minari:ID or lerobot:FOLDER.",
        unit="LOG", usual="none")
    demo_share: float = setting(
        "Share of each batch that comes from that log, which then stays in the replay.", 0.0, at_least=0, at_most=1)

    normalize_observations: bool = setting(
        "Let the networks see observations less their running mean, divided by their standard deviation.", False)
    history: int = setting(
        "How many of the last observations and actions the networks see; 0: the last observation alone.", 0,
        unit="steps", at_least=0, at_most=64)
    replay_dtype: str = setting(
        "Precision of stored observations and actions: float16 or float32.", "float16", one_of=("float16", "float32"))
    # At least the open row, the last observation of an episode, and a transition to sample.
    replay_rows: int | None = setting(
        "Most rows of the replay.", unit="rows", at_least=3, at_most=2**31 - 1, also="buffer_size",
        usual="what the budget leaves over")

    hidden: tuple[int, ...] = setting(
        "Features of each hidden layer, of actor and critics, as 256,256; a number alone stands for two, 256, for one.",
        (256, 256), unit="features", also="net_arch")
    lambda1: float | None = setting(
        "Density factor of layer 1: it stores lambda1 * (in + out) weights.", above=0,
        usual="the task's preset, else layer 2's density")
    lambda2: float = setting("Density factor of the layers behind it, likewise.", above=0, td3=64.0, sac=64.0)
    sparsity: float | None = setting(
        "Share of the weights that each network leaves out, instead of lambda1 and lambda2.", at_least=0, below=1,
        usual="what lambda1 and lambda2 give")
    actor_sparsity: float | None = setting(
        "Share of its weights that the actor leaves out, whatever the critics do.", at_least=0, below=1,
        usual="what sparsity, or lambda1 and lambda2, give")
    critic_sparsity: float | None = setting(
        "Share of its weights that each critic leaves out, whatever the actor does.", at_least=0, below=1,
        usual="what sparsity, or lambda1 and lambda2, give")
    eta: float = setting(
        "Share of a layer's weights that an evolution drops and grows anew.", at_least=0, at_most=1, td3=0.05, sac=0.1)
    evolve_every: int = setting("Updates between two evolutions.", 1_000, unit="updates", at_least=1)
    topology_stop_steps: int | None = setting(
        "Last steps without evolution.", unit="steps", at_least=0, usual="5 % of the steps")

    start_steps: int = setting(
        "Uniformly random steps before the first update.", unit="steps", at_least=0, td3=25_000, sac=10_000,
        also="learning_starts start_timesteps")
    critic_warmup: int = setting(
        "Steps behind those in which the critics learn and the actor stays as it is.", 0, unit="steps", at_least=0)
    updates_per_step: Rate = setting(
        "Updates for each step behind those; 1/4: one every 4 steps; auto (0): on a machine, as many as fit.", 1,
        unit="updates", at_least=0, at_most=10_000, also="utd_ratio gradient_steps")
    max_updates_per_step: int = setting(
        "The most of them, where they are as many as fit.", 20, unit="updates", at_least=1, at_most=10_000)
    batch_size: int = setting(
        "Transitions an update.", unit="transitions", at_least=1, at_most=100_000, td3=100, sac=256)
    gamma: float = setting("Discount of a step.", 0.99, at_least=0, at_most=1, also="discount")
    n_steps: int = setting(
        "Steps whose rewards a target takes as they were; what the critics expect follows behind them.", 1,
        unit="steps", at_least=1, at_most=1_000, also="n_step nstep")
    learning_rate: float = setting(
        "Adam's step size, for actor, critics and an automatic alpha.", above=0, at_most=1e3, td3=1e-3, sac=3e-4,
        also="lr")
    weight_decay: float = setting(
        "L2 penalty of all parameters, added to the gradient.", at_least=0, at_most=1e3, td3=2e-4, sac=0.0)
    batch_norm: bool = setting(
        "Critics normalise their hidden layers over each mini-batch, and need no targets (CrossQ).", False)
    policy_delay: int = setting(
        "Critic updates for one of the actor and the targets.", unit="updates", at_least=1, at_most=10**6, td3=2,
        also="policy_freq policy_frequency")
    exploration_noise: float = setting(
        "Sigma of the noise that explores, a share of the largest action.", at_least=0, at_most=10, td3=0.1,
        also="expl_noise")
    target_policy_noise: float = setting(
        "Sigma of the noise on a target's action, a share of the largest action.", at_least=0, at_most=10, td3=0.2,
        also="policy_noise")
    target_noise_clip: float = setting(
        "Where that noise is cut, a share of the largest action.", at_least=0, at_most=10, td3=0.5, also="noise_clip")
    alpha: float = setting(
        "Temperature, the weight of the entropy; auto, or auto_0.2 with its start, means --alpha-tuning automatic.",
        above=0, at_most=1e6, sac=0.2, also="ent_coef")
    alpha_tuning: str = setting(
        "fixed, or automatic: towards an entropy of -m for m actions.", one_of=("fixed", "automatic"), sac="fixed")
    target_update: str = setting(
        "hard (targets are copies, taken now and then) or soft (Polyak averages).", one_of=("hard", "soft"), sac="hard")
    target_update_every: int = setting(
        "Updates between two of the targets.", unit="updates", at_least=1, sac={"hard": 1_000, "soft": 1},
        also="target_update_interval target_network_frequency")
    tau: float = setting(
        "Share of a network that goes into its target.", at_least=0, at_most=1, td3=0.005,
        sac={"hard": 1.0, "soft": 0.005})
    # fmt: on

    def __post_init__(self) -> None:
        """Fill in what depends on the method, and check every value before anything is made from it."""
        if is_robot_file(str(self.env)):  # a run is gone on with from any folder
            object.__setattr__(self, "env", os.path.abspath(self.env))  # noqa: PTH100  # links stay as they are
        if self.init_from and isinstance(self.init_from, str):  # and repeated from any folder
            object.__setattr__(self, "init_from", os.path.abspath(self.init_from))  # noqa: PTH100  # likewise
        if isinstance(self.energy, str) and re.match("csv:.", self.energy):
            object.__setattr__(self, "energy", f"csv:{os.path.abspath(self.energy[4:])}")  # noqa: PTH100  # likewise
        if isinstance(self.prefill, str):
            object.__setattr__(self, "prefill", absolute_log(self.prefill))
        check_choice(SETTINGS["method"], self.method)
        _check_density(self)
        _fill_in(self)
        for name, row in SETTINGS.items():
            value = typed(row, getattr(self, name))
            check_range(row, value)
            if row.metadata["one_of"] and not (name == "energy" and re.match(r"(csv|hwmon):.", value)):
                check_choice(row, value)
            object.__setattr__(self, name, value)
        _check_together(self)

    @staticmethod
    def from_settings(settings: Mapping[str, Any], source: str = "the settings") -> TrainConfig:
        """A config from names and values; names that do not exist raise ConfigError with the nearest one.

        Args:
            settings: by any name of a setting; whatever is missing keeps its default.
            source: what the sentence names, for example a file.
        """
        named = by_own_names(settings, source)
        try:
            return TrainConfig(**named)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @staticmethod
    def load(path: Path, pipe: bool = True) -> dict[str, Any]:
        """The settings in a TOML file, by their own names, for `from_settings`; `pipe`: whether it may be one."""
        try:
            return by_own_names(parse.toml(parse.read(path, pipe)), f"`{path}`")
        except OSError as error:
            raise ConfigError(f"The config file `{path}` cannot be read: {error.strerror}.") from error
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"The config file `{path}` is not TOML: {error}. Expected lines like `steps = 30000`."
            ) from error

    def resolved(self) -> TrainConfig:
        """The same run with what depends on other settings filled in: a preset's lambda1, topology_stop_steps."""
        config = self
        if config.lambda1 is None and uses_lambda(config) and config.method not in DENSE_METHODS:
            of_task = preset(config.method, config.env)
            config = replace(config, lambda1=of_task[0] if of_task else None)
        if config.topology_stop_steps is None:
            config = replace(config, topology_stop_steps=config.steps // 20)
        return config

    def settings(self) -> dict[str, Any]:
        """Names and plain values, JSON-able; the lean trainer's `config`."""
        values = {name: getattr(self, name) for name in SETTINGS}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {**values, "env_kwargs": json.loads(self.env_kwargs)}

    def settings_by_default(self) -> list[str]:
        """Names of the settings that depend on method or task and have the very values that these two give."""
        usual = TrainConfig(env=self.env, method=self.method)
        # What a soft update brings with it stays a default beside it.
        beside = replace(usual, target_update=self.target_update, target_update_every=None, tau=None)  # type: ignore[arg-type]
        names = [name for name, row in SETTINGS.items() if row.metadata["by_family"]]
        bases = {name: usual if name == "target_update" else beside for name in names}
        return [name for name, base in bases.items() if getattr(self, name) == getattr(base, name)]

    def toml(self) -> str:
        """The config as a flat TOML file, which `--config` reads back; what is None or has no argument is left out."""
        version = "# edgedst train --config this-file repeats the run.\n"
        return version + "".join(f"{k} = {toml(v)}\n" for k, v in self.settings().items() if v not in (None, {}))


SETTINGS: dict[str, Field[Any]] = {row.name: row for row in fields(TrainConfig)}  # the table, by name
ALIASES = {other: name for name, row in SETTINGS.items() for other in row.metadata["also"] if other[0] != "-"}


def by_own_names(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Settings under their own names: aliases are resolved, hyphens too, and an alpha that is to be tuned.

    Raises:
        ConfigError: a name is unknown, or stands there twice. `source` is what the sentence names.
    """
    named: dict[str, Any] = {}
    spelt: dict[str, str] = {}
    for written, value in settings.items():
        name = ALIASES.get(written.replace("-", "_"), written.replace("-", "_"))
        if name not in SETTINGS:
            near = difflib.get_close_matches(name, [*SETTINGS, *ALIASES], n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"The settings are: {', '.join(SETTINGS)}."
            if name == "preset":
                hint = "It is an option, `--preset board`, and no setting: what it stands for is in docs/sparsity.md."
            if isinstance(value, dict) and near != ["env_kwargs"]:
                hint = f"Settings stand at the top level: take the line `[{one_line(written)}]` out."
            raise ConfigError(f"{source} has an unknown setting `{one_line(written)}`. {hint}")
        if name in named:
            raise ConfigError(f"{source} has `{name}` twice, as `{spelt[name]}` and as `{written}`. Leave one out.")
        spelt[name] = written
        if name == "updates_per_step" and value == "auto":
            value = 0
        elif name == "action_delay" and type(value) is int:  # it is a text for the sake of ranges
            value = str(value)
        named[name] = value
    begin = re.fullmatch(r"auto(?:_(.+))?", named["alpha"]) if isinstance(named.get("alpha"), str) else None
    if begin:
        if named.setdefault("alpha_tuning", "automatic") != "automatic":
            alpha, tuning = one_line(named["alpha"]), one_line(named["alpha_tuning"])
            raise ConfigError(f"{source}: `alpha` is {alpha} and `alpha_tuning` is {tuning}. Leave one out.")
        if begin[1] is None:
            del named["alpha"]
        else:
            try:
                named["alpha"] = float(begin[1])
            except ValueError:
                pass  # told with its type
    return named


def arguments(value: Any, source: str) -> dict[str, Any]:
    """The arguments of an environment, from JSON's text or a table.

    Raises:
        ConfigError: it is neither, or holds what a run's config.toml cannot.
    """
    checked: dict[str, Any] = TrainConfig.from_settings({"env_kwargs": value}, source).settings()["env_kwargs"]
    return checked


def disturbing(settings: Mapping[str, Any], source: str = "the settings") -> dict[str, Any]:
    """Those of a run's settings that disturb a simulator, checked, as `registry.locate` takes them.

    Raises:
        ConfigError: one of them cannot be read. `source` is what the sentence names.
    """
    given = {name: settings[name] for name in disturbances.NAMES if settings.get(name) is not None}
    checked = TrainConfig.from_settings(given, source).settings()
    return {name: checked[name] for name in given}


def dense_of(config: TrainConfig) -> TrainConfig:
    """The same run by the dense method of its family."""
    kind = family(config.method)
    return replace(config, method=kind, sparsity=None, actor_sparsity=None, critic_sparsity=None)


def _check_density(config: TrainConfig) -> None:
    """A sparsity says alone how dense its networks are. To be called before defaults and presets are filled in."""
    given = {name: value for name in ("sparsity", *OWN_SPARSITIES) if (value := getattr(config, name)) is not None}
    for name in ("lambda1", "lambda2"):
        if getattr(config, name) is not None and not uses_lambda(config):
            which, values = (" and ".join(map(str, part)) for part in ([f"`{it}`" for it in given], given.values()))
            raise ConfigError(
                f"{which} and `{name}` both say how many weights the networks keep, and are {values} and "
                f"{getattr(config, name)}. Leave one out."
            )
    for name, value in given.items():
        if config.method in DENSE_METHODS and value:
            raise ConfigError(
                f"`{name}` is {value} and `method` is {config.method}, whose networks have all of their "
                f"weights. Leave it out, or choose ds-{config.method} or static-{config.method}."
            )


def _fill_in(config: TrainConfig) -> None:
    """Defaults of the method's family, in place; a setting of the other family is refused."""
    kind = family(config.method)
    if uses_lambda(config) and config.lambda2 is None and (of_task := preset(config.method, str(config.env))):
        object.__setattr__(config, "lambda2", of_task[1])
    for name, row in SETTINGS.items():
        by_family = row.metadata["by_family"]
        if name == "lambda2" and not uses_lambda(config):
            continue
        if kind in by_family:
            default = by_family[kind]
            if isinstance(default, dict):
                default = default.get(str(config.target_update))  # a wrong one is told soon
            if getattr(config, name) is None:
                object.__setattr__(config, name, default)
        elif by_family and getattr(config, name) is not None:
            (other,) = by_family
            methods = ", ".join(method for method in METHODS if family(method) == other)
            raise ConfigError(
                f"`{name}` is a setting of {other.upper()} and `method` is `{config.method}`. Leave it out, or choose "
                f"one of {methods}."
            )
    for name in ("alpha_tuning", "target_update"):  # before what depends on them is found wrong
        check_choice(SETTINGS[name], getattr(config, name))


def _check_together(config: TrainConfig) -> None:
    disturbed = disturbances.in_use(config.action_delay, config.observation_noise, config.randomize)
    if disturbed and config.hardware:
        raise ConfigError(
            f"`{next(iter(disturbed))}` is of simulators, and `hardware` says that `{config.env}` stands for a "
            "machine, which has a delay, a noise and a friction of its own. Leave one of the two out."
        )
    if not is_robot_file(config.env):
        if not config.updates_per_step:
            raise ConfigError(
                f"`updates_per_step` is auto, as many as fit into a machine's period, and `{config.env}` is no "
                "robot.py. Give a number, for example `--updates-per-step 4`."
            )
        for name in ("max_temperature", "max_watts", "max_cpu"):
            if getattr(config, name) is not None:
                raise ConfigError(
                    f"`{name}` slows down what learns beside a machine, and `{config.env}` is no robot.py. Leave it "
                    "out; `nice` and `cpulimit` slow any process down."
                )
    elif config.max_watts is not None and config.energy == "none":
        raise ConfigError("`max_watts` needs a meter: add `--energy auto`.")
    if config.prefill is not None and not log_kind(config.prefill)[0]:
        raise ConfigError(
            "`prefill` must be FILE.csv, FILE.parquet, minari:DATASET_ID or lerobot:FOLDER and is "
            f"`{one_line(config.prefill)}`."
        )
    if config.prefill is not None and config.hardware and not is_robot_file(config.env):
        raise ConfigError(
            f"`prefill` needs the sizes and bounds of `{config.env}`, and hardware is not made to be asked for them. "
            "Leave `prefill` out, or write a robot.py (`edgedst init robot`)."
        )
    if config.demo_share and config.prefill is None:
        raise ConfigError(
            f"`demo_share` is {config.demo_share:g}, a share of each batch that comes from a log, and there is no log. "
            "Add `--prefill FILE.csv`, or leave `demo_share` out."
        )
    if config.demo_share and not round(config.demo_share * config.batch_size):
        raise ConfigError(
            f"`demo_share` is {config.demo_share:g}, and of a batch of {config.batch_size} that is no transition. Give "
            f"{min(1, 1 / config.batch_size):.2g} or more, a larger `batch_size`, or leave `demo_share` out."
        )
    if config.demo_share and config.with_replay:
        raise ConfigError(
            "With `demo_share` all rows from before the first step are demonstrations, and `with_replay` takes others, "
            "too. Leave one of them out."
        )
    if config.target_update == "hard" and config.tau != 1:
        raise ConfigError(
            f"`tau` is {config.tau:g} and `target_update` is hard, which copies the whole network: tau = 1. Leave "
            "`tau` out, or choose `--target-update soft`."
        )
    if not 1 <= len(config.hidden) <= 100 or not all(1 <= width <= MOST_FEATURES for width in config.hidden):
        shown = ", ".join(map(str, config.hidden[:8])) + (", ..." if len(config.hidden) > 8 else "")
        raise ConfigError(f"`hidden` must have 1 to 100 layers of 1 to {MOST_FEATURES:,} features and is [{shown}].")
    if not config.env.strip():
        raise ConfigError("`env` must name an environment, for example HalfCheetah-v4, and is empty.")
    if len(config.env) > 1_000 or not config.env.isprintable():
        raise ConfigError(
            f"`env` must name an environment, for example HalfCheetah-v4, and is {config.env[:60]!r}: a line without "
            "control characters, at most 1,000 long, was expected."
        )
    if config.init_from is not None and not (config.init_from and config.init_from.isprintable()):
        raise ConfigError(
            f"`init_from` must be the path of a run folder, without control characters, and is {config.init_from!r}."
        )
    if config.with_replay and config.init_from is None:
        raise ConfigError(
            "`with_replay` takes over the replay of the run that `init_from` names, and it names none. Add "
            "`--init-from RUN`, or leave `--with-replay` out."
        )
