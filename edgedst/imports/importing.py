"""From a model's file to a run folder: read, fitted to the environment, pruned, played, written. In that order."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgedst import __version__
from edgedst.agents import agent_class
from edgedst.config import METHODS, SETTINGS, TrainConfig
from edgedst.density import DENSE_METHODS, check_reachable, family, nnz_per_layer, sparsity_of
from edgedst.deploy.actor import Actor
from edgedst.deploy.environment import chosen_environment
from edgedst.deploy.evaluate import Evaluation, evaluate_actor, play
from edgedst.errors import ConfigError, ModelError
from edgedst.files import is_robot_file, told_name
from edgedst.imports.actions import fitted, meant
from edgedst.imports.model import Dense, Model, read_file, shown_name
from edgedst.imports.place import Place, place_of
from edgedst.imports.pruning import at, pruned
from edgedst.imports.writing import Networks, write_run
from edgedst.runs.actor import ActorLayer, ActorWeights
from edgedst.setting import check_choice, toml

FIRST_LOG_STD = -1.0  # of a SAC whose file has none: sigma 0.37 of a tanh's argument, less than a random network's 1

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Imported:
    """A model that became a run folder."""

    folder: Path
    original: Evaluation | None  # None: nothing was played
    dense: Evaluation | None
    pruned: Evaluation | None  # None likewise, and where nothing was pruned


def import_model(
    path: Path,
    env: str | None = None,
    sparsity: float | None = None,
    method: str | None = None,
    actions: str | None = None,
    run_dir: Path = Path("runs"),
    episodes: int = 10,
    seed: int = 0,
    env_kwargs: dict[str, Any] | None = None,
    tell: Tell = lambda line: None,
    actor_sparsity: float | None = None,
    critic_sparsity: float | None = None,
) -> Imported:
    """Make a run folder of a model that another tool trained, for `edgedst train --init-from`.

    Args:
        path: a zip of Stable-Baselines3, or an ONNX file.
        env: the environment that it was trained in; needed where the file names none.
        sparsity: share of its weights that each network leaves out, those of least magnitude; None: kept dense.
        method: by default that of the file, dense or with `ds-`; of ONNX from others `td3`.
        actions: "normalized" or "units", what -1 and 1 of its actions mean; None: by what stands behind its last layer.
        run_dir: folder that holds the runs.
        episodes: how many are played with the original, after import and after pruning; 0: none.
        seed: of the run; episode i is reset with seed + i.
        env_kwargs: arguments of the environment.
        tell: gets what there is to say, line by line.
        actor_sparsity: of the actor, instead of `sparsity`.
        critic_sparsity: of the critics, likewise.

    Raises:
        ModelError: the file is none that can be imported.
        ConfigError: a setting is wrong, or is none for this model.
        EdgedstError: what the environment or the run folder raises. Nothing is written then.
    """
    if episodes < 0:
        raise ConfigError(f"`--episodes` is {episodes}. Expected 0, which plays nothing, or more.")
    model = _read(path)
    model = replace(model, output=meant(model.output, actions))
    own = {"actor_sparsity": actor_sparsity, "critic_sparsity": critic_sparsity}
    sparsities = {name: share for name, share in {"sparsity": sparsity, **own}.items() if share is not None}
    if sparsities and sparsity is None:  # a network that nothing is said of keeps all of its weights
        sparsities = {**dict.fromkeys(own, 0.0), **sparsities}
    chosen = _chosen_method(model, method, bool(sparsities), actions)
    if env is None and model.environment is None:
        raise ConfigError(f"`{path}` does not name the environment that it was trained in. Add `--env`.")
    place = place_of(chosen_environment(model.environment or "", env), env_kwargs or {})
    place.check_fits(model)
    config, config_toml = _settings(model, place, chosen, sparsities, seed)
    dense, notes = _fitted(model, place, config)
    check_reachable({name: _sizes(layers) for name, layers in dense.items()}, config)
    networks = _pruned(dense, config)
    _tell_what_is_taken(tell, model, config, networks, [*model.notes, *notes])
    evaluations = _play(tell, model, place, config, dense, networks, episodes)
    best_known = evaluations[2] or evaluations[1]
    folder = write_run(
        run_dir,
        config,
        config_toml,
        place,
        networks,
        f"{shown_name(path)}, {model.told}",
        (best_known.mean, best_known.sd) if best_known else None,
    )
    tell(f"{folder}")
    config_path, run = shlex.quote(f"{folder}/config.toml"), shlex.quote(f"{folder}")
    tell(f"To go on: edgedst train --config {config_path} --init-from {run}")
    return Imported(folder, *evaluations)


def _read(path: Path) -> Model:
    """By what the file begins with; its name counts where it begins with nothing known."""
    begins = read_file(path)[:4]
    if begins[:2] == b"PK":
        from edgedst.imports.stable_baselines import read_stable_baselines  # torch is an extra, and so is onnx

        return read_stable_baselines(path)
    if path.suffix != ".onnx":
        raise ModelError(
            f"`{path}` is neither a zip nor named .onnx. Expected what `model.save` of Stable-Baselines3 writes, or an "
            "ONNX actor."
        )
    from edgedst.imports.onnx_chain import read_onnx

    return read_onnx(path)


def _chosen_method(model: Model, method: str | None, sparse: bool, actions: str | None) -> str:
    """The typed method where it fits, else the file's: dense without a sparsity, one that evolves with it."""
    check_choice(SETTINGS["method"], method)
    kind = family(method) if method else model.family or "td3"
    if len(model.networks) > 1 or model.log_std:
        if kind != model.family:
            fitting = ", ".join(other for other in METHODS if family(other) == model.family)
            raise ConfigError(
                f"`{model.path}` is a {str(model.family).upper()} and `--method` is {method}. Expected {fitting}."
            )
        if actions is not None:
            raise ConfigError(
                f"`--actions` is of ONNX, where the file does not say it: those of `{model.path}` are normalized. "
                "Leave it out."
            )
    if method is None:
        return f"ds-{kind}" if sparse else kind
    if method not in DENSE_METHODS and not sparse:
        raise ConfigError(
            f"`--method {method}` is sparse: say how much of the networks it leaves out, as `--sparsity 0.9`, or take "
            f"`--method {kind}`."
        )
    return method


def _settings(
    model: Model, place: Place, method: str, sparsities: dict[str, float], seed: int
) -> tuple[TrainConfig, str]:
    """Settings that give just these networks, and the config.toml that says them; all others stay whoever trains's."""
    given: dict[str, Any] = {"env": place.env, "method": method, "seed": seed, "hidden": model.hidden, **model.settings}
    given |= sparsities
    if place.env_kwargs:
        given["env_kwargs"] = place.env_kwargs
    if is_robot_file(place.env):
        given["normalize_observations"] = False  # the model did without
    config = TrainConfig.from_settings(given, "The import").resolved()
    values = config.settings()
    begin = (
        f"# Made by edgedst import {shown_name(model.path)}. To go on: edgedst train --config this-file --init-from "
    )
    return config, begin + "its-folder\n" + "".join(f"{name} = {toml(values[name])}\n" for name in given)


def _fitted(model: Model, place: Place, config: TrainConfig) -> tuple[dict[str, list[Dense]], list[str]]:
    """All of the networks as edgedst computes them, dense, in the order of its files; and what is to be said of it."""
    actor, note = fitted(model, place.low, place.high)
    notes = [note] if note else []
    if family(config.method) == "sac" and not model.log_std:
        m, last = model.action_size, actor[-1]
        weight = np.concatenate([last.weight, np.zeros_like(last.weight)])
        bias = np.concatenate([last.bias, np.full(m, FIRST_LOG_STD, np.float32)])
        actor = [*actor[:-1], Dense(weight, bias)]
        notes.append(f"It has no log sigma: SAC's begins at {FIRST_LOG_STD:g} everywhere.")
    if len(model.networks) == 1 and model.engine == "onnxruntime":
        notes.append("An ONNX file has the actor alone: the critics begin random.")
    networks = {**model.networks, "actor": actor}
    names = agent_class(config.method).names(config)
    return {name: place.normalised(networks[name]) for name in names if name in networks}, notes


def _pruned(dense: dict[str, list[Dense]], config: TrainConfig) -> Networks:
    """Each network's largest weights; a target keeps those that its network keeps."""
    networks: Networks = {}
    for name, layers in dense.items():
        source = networks.get(name.removesuffix("_target"))
        if source is None:
            networks[name] = pruned(layers, nnz_per_layer(name, _sizes(layers), config))
        else:
            networks[name] = at(layers, [layer.indices for layer in source])
    return networks


def _sizes(layers: list[Dense]) -> list[int]:
    return [layers[0].weight.shape[1], *(len(layer.bias) for layer in layers)]


def _tell_what_is_taken(tell: Tell, model: Model, config: TrainConfig, networks: Networks, notes: list[str]) -> None:
    hidden = ",".join(map(str, model.hidden))
    tell(
        f"{model.path}: {model.told}; {model.observation_size} observations, hidden layers of {hidden}, "
        f"{model.action_size} action{'s' if model.action_size > 1 else ''}"
    )
    for name, layers in networks.items():
        kept = sum(layer.nnz for layer in layers)
        places = sum(layer.in_features * layer.out_features for layer in layers)
        tell(f"  {name}: {kept:,} of {places:,} weights" + (f", {1 - kept / places:.1%} left out" * (kept < places)))
    if "alpha" in model.settings:
        tell(f"  alpha {config.alpha:.3g}, {config.alpha_tuning}")
    for note in notes:
        tell(note)


def _play(
    tell: Tell,
    model: Model,
    place: Place,
    config: TrainConfig,
    dense: dict[str, list[Dense]],
    networks: Networks,
    episodes: int,
) -> tuple[Evaluation | None, Evaluation | None, Evaluation | None]:
    """Returns of the original, of the dense native actor and of the pruned one, on the same seeds."""
    if place.not_played:
        tell(place.not_played)
    if place.not_played or not episodes:
        return None, None, None

    def native(layers: Sequence[ActorLayer]) -> Evaluation:
        return evaluate_actor(_weights(layers, place, config), episodes, config.seed, place.env, place.env_kwargs)

    policy = Actor(model.engine, place.env, model.observation_size, model.action_size, place.played(model))
    original = play(f"`{model.path}`", policy, place.env, episodes, config.seed, None, place.env_kwargs)
    imported = native(pruned(dense["actor"], [layer.weight.size for layer in dense["actor"]]))
    asked = sparsity_of("actor", config)
    sparse = native(networks["actor"]) if asked and asked[1] else None
    last = config.seed + episodes - 1
    tell(f"return on {place.env}, {episodes} episodes of seeds {config.seed} to {last} (± is the standard deviation):")
    for what, played in ((f"as it was, by {model.engine}", original), ("imported", imported), ("pruned", sparse)):
        if played:
            tell(f"  {what}: {played.mean:,.1f} ± {played.sd:,.1f}")
    for note in original.notes:
        tell(note)
    return original, imported, sparse


def _weights(layers: Sequence[ActorLayer], place: Place, config: TrainConfig) -> ActorWeights:
    """The actor for the native core, means alone: the last layer is dense, so its rows are cut off as they lie."""
    m, last = place.action_size, layers[-1]
    count = m * last.in_features
    means = replace(last, out_features=m, indices=last.indices[:count], values=last.values[:count], bias=last.bias[:m])
    return ActorWeights(
        environment=told_name(place.env),
        method=config.method,
        seed=config.seed,
        step=0,
        version=__version__,
        layers=(*layers[:-1], means),
        action_low=place.action_low,
        action_high=place.action_high,
        evaluation_return=None,
        evaluation_sd=None,
    )
