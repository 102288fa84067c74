"""Reads the actor out of RUN/checkpoint, checking every byte it uses.

`checkpoint.py` writes what is read here and resumes from it; here only the actor is wanted, in a process
that may import numpy.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from edgedst.config import METHODS
from edgedst.density import family
from edgedst.errors import CheckpointError, ConfigError, ExportError
from edgedst.runs import state as states
from edgedst.runs.find import elsewhere
from edgedst.runs.inputs import Bounds, Units, read_inputs
from edgedst.runs.reading import environment_id, finite, read_regular, reading, reason, version, whole

FloatArray = npt.NDArray[np.float32]
Result = TypeVar("Result")

_MOST_PLACES = 2**28  # of a layer; as a dense matrix they take 1 GB
# What reading a file that somebody made may raise.
_UNREADABLE = (ArithmeticError, KeyError, TypeError, ValueError, RecursionError)


@dataclass(frozen=True, eq=False)
class ActorLayer:
    """One layer as the checkpoint stores it: `values[k]` lies at flat position `indices[k]` = row * I + column."""

    in_features: int
    out_features: int
    indices: npt.NDArray[np.uint32]
    values: FloatArray
    bias: FloatArray
    units: Units | None = None  # None: one unit, around 0

    @property
    def nnz(self) -> int:
        """Stored weights."""
        return int(self.indices.size)

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """(nnz,): the output of each weight."""
        return self.indices.astype(np.intp) // self.in_features

    @property
    def columns(self) -> npt.NDArray[np.intp]:
        """(nnz,): its input."""
        return self.indices.astype(np.intp) % self.in_features

    @property
    def sparsity(self) -> float:
        """Share of the in * out connections that do not exist."""
        return 1.0 - self.nnz / (self.in_features * self.out_features)

    @property
    def weight(self) -> FloatArray:
        """(O, I): the dense matrix, zero where no connection exists."""
        dense: FloatArray = np.zeros((self.out_features, self.in_features), dtype=np.float32)
        np.put(dense, self.indices, self.values)
        return dense


@dataclass(frozen=True, eq=False)
class ActorWeights:
    """A trained actor: ReLU between the layers, tanh after the last, then scaled to the environment's units.

    Of SAC's it is the policy without noise: the last layer has only the rows of the means. Those of log sigma are a
    layer of their own beside it, which takes the same features.

    The first layer takes `inputs(features)`. Features are in the environment's units: with a history of K the last K
    observations, then the last K actions, each newest first; else the observation. What training made of them is in the
    first layer (`inputs.py`).
    """

    environment: str
    method: str
    seed: int
    step: int  # environment steps trained
    version: str  # of the edgedst that trained it
    layers: tuple[ActorLayer, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    evaluation_return: float | None  # mean return of the last evaluation before these weights were saved
    evaluation_sd: float | None
    log_std_head: ActorLayer | None = None  # SAC's: log sigma, m outputs, not yet clamped
    checkpoint: str = "last"  # or "best"
    observation_bounds: Bounds | None = None  # that training took for -1 and 1; None: it took observations as they are
    observation_clip: Bounds | None = None  # (n,) each, what a normaliser let through; None: there was none
    history: int = 0  # K: how many observations and actions it takes; 0: the observation alone
    centre: tuple[float, ...] | None = None  # (N,) float32 numbers, subtracted before the first layer; None: nothing

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features per layer boundary, for example (17, 256, 256, 6)."""
        return (self.layers[0].in_features, *(layer.out_features for layer in self.layers))

    @property
    def observation_size(self) -> int:
        """Of one observation: n. The first layer takes N features, which are n, or with a history K (n + m)."""
        features, actions = self.sizes[0], self.sizes[-1]
        return features // self.history - actions if self.history else features

    @property
    def start_action(self) -> FloatArray:
        """(m,): what stands for the actions before an episode: the middle of the bounds."""
        low, high = self.bounds_inside
        middle: FloatArray = (low.astype(np.float64) / 2 + high.astype(np.float64) / 2).astype(np.float32)
        return middle

    @cached_property
    def input_clip(self) -> tuple[FloatArray, FloatArray] | None:
        """(N,) each: lowest and highest input of the first layer, whose past actions have no limit; None: no clip."""
        if self.observation_clip is None:
            return None
        size, repeated = self.observation_size, max(self.history, 1)
        centre = np.array(self.centre or [0.0] * size)[:size]
        largest = np.full(self.history * self.sizes[-1], np.finfo(np.float32).max)
        low, high = (
            np.concatenate([np.tile(bound - centre, repeated), side * largest]).astype(np.float32)
            for bound, side in zip(map(np.array, self.observation_clip), (-1, 1), strict=True)
        )
        return low, high

    def inputs(self, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(..., N) features to what the first layer takes of them, in their own precision."""
        if self.centre is not None:
            features = features - np.array(self.centre, dtype=np.float32)
        if self.input_clip is not None:
            features = features.clip(*self.input_clip)
        return features

    @property
    def bounds_inside(self) -> tuple[FloatArray, FloatArray]:
        """(m,) float32 each: the bounds rounded inwards, so that a float32 within them is within the environment's.

        Raises:
            ExportError: float32 does not reach from one to the other.
        """
        low, high = np.array(self.action_low), np.array(self.action_high)
        largest = np.finfo(np.float32).max
        if max(np.abs(low).max(), np.abs(high).max()) > largest or (high / 2 - low / 2).max() > largest / 2:
            raise ExportError(
                f"The action bounds of {self.environment} lie farther apart than float32 can count ({largest:.2g}), "
                "and an exported actor computes in float32. Give the environment the bounds of its motors, and train "
                "anew."
            )
        nearest_low, nearest_high = low.astype(np.float32), high.astype(np.float32)
        inner_low = np.where(nearest_low < low, np.nextafter(nearest_low, np.float32(np.inf)), nearest_low)
        inner_high = np.where(nearest_high > high, np.nextafter(nearest_high, np.float32(-np.inf)), nearest_high)
        empty = inner_low > inner_high  # no float32 lies between them, as with 0.1 and 0.1
        return np.where(empty, nearest_low, inner_low), np.where(empty, nearest_high, inner_high)

    def to_environment_units(self, normalised: npt.ArrayLike) -> FloatArray:
        """Actions in [-1, 1] to actions in [low, high], per dimension: what the trainer does before every step."""
        low, high = np.array(self.action_low), np.array(self.action_high)
        scaled = low + (np.asarray(normalised, dtype=np.float64) + 1.0) / 2.0 * (high - low)
        actions: FloatArray = scaled.astype(np.float32)
        return actions


def read_actor(run: Path, checkpoint: str = "last") -> ActorWeights:
    """Read an actor of a run: that of its last checkpoint, or that of the best evaluation (`checkpoint="best"`).

    Raises:
        ConfigError: when `checkpoint` is neither.
        CheckpointError: when the checkpoint is missing, damaged, or was not written by edgedst.
    """
    if checkpoint not in ("last", "best"):
        raise ConfigError(f"`--checkpoint {checkpoint}` is unknown. Expected last or best.")
    return while_training(run, lambda state: _read_actor(run, state, checkpoint))


def best_evaluation(run: Path) -> tuple[int, float] | None:
    """Step and mean return of the evaluation that the best actor comes from; None where the run has none.

    Raises:
        CheckpointError: when the checkpoint is missing, damaged, or was not written by edgedst.
    """
    best = read_state(run).get("best")
    return None if best is None else (best["step"], best["evaluation_return"])


def read_state(run: Path) -> dict[str, Any]:
    """RUN/checkpoint/state.json, known to be edgedst's and of this format.

    Raises:
        CheckpointError: when it is missing, damaged, or somebody else's.
    """
    path = run / "checkpoint" / "state.json"
    with reading(run):
        if not run.is_dir():
            raise CheckpointError(f"Expected a run folder and `{run}` is not a folder. {elsewhere(run)}")
        if not path.is_file():
            what = "The run may have stopped before its first one; name another run, or train this one further."
            if not (run / "config.toml").is_file():
                what = f"It is no run folder, which has a config.toml. {elsewhere(run)}"
            raise CheckpointError(f"`{run}` has no checkpoint: expected `{path}`. {what}")
    return states.read_state(str(path.parent))


def while_training(run: Path, read: Callable[[dict[str, Any]], Result]) -> Result:
    """Read what state.json names; again when a training process replaced the checkpoint in the meantime."""
    while True:
        state = read_state(run)
        try:
            return read(state)
        except CheckpointError:
            if read_state(run) == state:
                raise


def read_connections(run: Path) -> tuple[int, dict[str, tuple[npt.NDArray[np.uint32], int, int]]]:
    """Which connections the networks of a run's last checkpoint have; targets, which follow, are left out.

    Returns:
        step; by network and layer, such as `actor 0`: flat positions (nnz,), ascending; in and out features.

    Raises:
        CheckpointError: when the checkpoint is missing, damaged, or was not written by edgedst.
    """
    return while_training(run, lambda state: (state["step"], _read_connections(run, state)))


def _read_connections(run: Path, state: dict[str, Any]) -> dict[str, tuple[npt.NDArray[np.uint32], int, int]]:
    path, record = _networks_file(run, state, "networks")
    tensors, about = _read_networks(path, record)
    try:
        return {
            f"{name} {layer}": (tensors[f"{name}.{layer}.indices"], whole(shape[0], 1), whole(shape[1], 1))
            for name, sizes in about["sizes"].items()
            if not name.endswith("_target")
            for layer, shape in enumerate(pairwise(sizes))
        }
    except _UNREADABLE as error:
        raise CheckpointError(f"`{path}` is not what edgedst writes: {reason(error)}.") from error


def _read_actor(run: Path, state: dict[str, Any], checkpoint: str) -> ActorWeights:
    if checkpoint == "best" and state.get("best") is None:
        raise CheckpointError(
            f"`{run}` has no best actor: no evaluation is done yet, or an edgedst trained it that kept only the last "
            "actor. Take that with `--checkpoint last`."
        )
    path, record = _networks_file(run, state, "best" if checkpoint == "best" else "networks")
    tensors, about = _read_networks(path, record)
    try:
        sizes = [whole(size, 1) for size in about["sizes"]["actor"]]
        layers = _actor_layers(tensors, sizes, path)
        if about["method"] not in METHODS:
            raise ValueError(f"{about['method']!a:.100} is no method of this edgedst")
        stochastic = family(about["method"]) == "sac"
        low, high = _action_bounds(about, sizes[-1] // 2 if stochastic else sizes[-1], path)
        inputs = read_inputs(about, sizes[0], (low, high), path)
        if inputs is not None:
            layers = (inputs.fold(layers[0]), *layers[1:])
        log_std_head = None
        if stochastic:
            layers, log_std_head = _split_head(layers)
        actor = ActorWeights(
            environment=environment_id(about["env"]),
            method=about["method"],
            seed=whole(about["seed"]),
            step=whole(about["step"]),
            version=version(state["edgedst"]),
            layers=layers,
            action_low=low,
            action_high=high,
            evaluation_return=_finite_or_none(about.get("evaluation_return")),
            evaluation_sd=_finite_or_none(about.get("evaluation_sd")),
            log_std_head=log_std_head,
            checkpoint=checkpoint,
            observation_bounds=inputs.observation_bounds if inputs else None,
            observation_clip=inputs.observation_clip if inputs else None,
            history=inputs.history if inputs else 0,
            centre=inputs.centre if inputs else None,
        )
    except _UNREADABLE as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"`{path}` is not what edgedst writes: {reason(error)}. Expected the actor's sizes and bounds in its "
            "metadata and one indices, values and bias tensor a layer."
        ) from error
    told = record.get("step") if checkpoint == "best" else state["step"]
    if actor.step != told:
        raise CheckpointError(
            f"`{path}` is from step {actor.step} and state.json from step {told}: files of two checkpoints "
            "got mixed. Copy the whole checkpoint folder again."
        )
    return actor


def _networks_file(run: Path, state: dict[str, Any], name: str) -> tuple[Path, dict[str, Any]]:
    record = state[name]
    path = run / "checkpoint" / record["file"]
    with reading(path):
        if not path.is_file():
            raise CheckpointError(
                f"state.json names `{path}` and there is no such file. Copy the whole checkpoint folder."
            )
    return path, record


def _read_networks(path: Path, record: dict[str, Any]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    try:
        content = read_regular(path)
    except OSError as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({reason(error)}). Copy the whole checkpoint folder."
        ) from error
    if len(content) != record["bytes"] or zlib.crc32(content) != record["crc32"]:
        raise CheckpointError(
            f"`{path}` is damaged: expected {record['bytes']} bytes with CRC-32 {record['crc32']}, got {len(content)} "
            f"bytes with {zlib.crc32(content)}. Copy it again, or take it from a backup."
        )
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # `load` drops the metadata
        about = json.loads(header["__metadata__"]["edgedst"])
        if not isinstance(about, dict):
            raise TypeError("its metadata is not an object")
    except (SafetensorError, *_UNREADABLE) as error:
        raise CheckpointError(
            f"`{path}` is not a safetensors file of edgedst ({reason(error)}). "
            "Name the folder that `edgedst train` made."
        ) from error
    return tensors, about


def _actor_layers(tensors: dict[str, npt.NDArray[Any]], sizes: list[int], path: Path) -> tuple[ActorLayer, ...]:
    if len(sizes) < 2 or max(map(math.prod, pairwise(sizes))) > _MOST_PLACES:
        raise CheckpointError(
            f"`{path}` has an actor of sizes {sizes!s:.100}. Expected at least an input and an output, and layers of "
            f"{_MOST_PLACES:,} places or less."
        )
    layers = []
    for number, (in_features, out_features) in enumerate(pairwise(sizes)):
        indices = tensors[f"actor.{number}.indices"]
        values = tensors[f"actor.{number}.values"]
        bias = tensors[f"actor.{number}.bias"]
        right_types = indices.dtype == np.uint32 and values.dtype == np.float32 and bias.dtype == np.float32
        right_shapes = indices.ndim == 1 and indices.shape == values.shape and bias.shape == (out_features,)
        if not (right_types and right_shapes):
            raise CheckpointError(
                f"`{path}`: layer {number} of the actor has indices {indices.dtype}{list(indices.shape)}, values "
                f"{values.dtype}{list(values.shape)} and bias {bias.dtype}{list(bias.shape)}. Expected uint32[nnz], "
                f"float32[nnz] and float32[{out_features}]: the file is foreign."
            )
        ascending = indices.size > 0 and bool(np.all(indices[1:] > indices[:-1]))
        if not ascending or int(indices[-1]) >= in_features * out_features:
            raise CheckpointError(
                f"`{path}`: the {indices.size} positions of layer {number} are not one or more, ascending below "
                f"{in_features * out_features}. The file is foreign."
            )
        if not (np.isfinite(values).all() and np.isfinite(bias).all()):
            raise CheckpointError(
                f"`{path}`: layer {number} of the actor holds weights that are not finite: the training diverged. "
                "Use an earlier run, or train with a smaller learning rate."
            )
        layers.append(ActorLayer(in_features, out_features, indices, values, bias))
    return tuple(layers)


def _action_bounds(about: dict[str, Any], action_size: int, path: Path) -> Bounds:
    low, high = (tuple(map(finite, about[f"action_{side}"])) for side in ("low", "high"))
    if not len(low) == len(high) == action_size > 0 or any(a > b for a, b in zip(low, high, strict=True)):
        raise CheckpointError(
            f"`{path}` has an actor of {action_size} outputs and the action bounds {list(low)} to {list(high)}. "
            "Expected one finite low <= high an output."
        )
    return low, high


def _split_head(layers: tuple[ActorLayer, ...]) -> tuple[tuple[ActorLayer, ...], ActorLayer]:
    """SAC's actor with the means alone, and its log sigma. Row-major, so the means' weights come first."""
    head = layers[-1]
    rows = head.out_features // 2
    first = rows * head.in_features  # flat position of log sigma's first row
    nnz = int(np.searchsorted(head.indices, first))
    if not 0 < nnz < head.nnz:
        raise ValueError(f"its means have {nnz} of the {head.nnz} weights of the last layer")
    means = replace(
        head, out_features=rows, indices=head.indices[:nnz], values=head.values[:nnz], bias=head.bias[:rows]
    )
    later = head.indices[nnz:] - np.uint32(first)
    log_std = replace(head, out_features=rows, indices=later, values=head.values[nnz:], bias=head.bias[rows:])
    return (*layers[:-1], means), log_std


def _finite_or_none(value: Any) -> float | None:
    return None if value is None else finite(value)
