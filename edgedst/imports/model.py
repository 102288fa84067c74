"""What a model's file is read into, whatever wrote it: dense layers, and what its actor's output means."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.errors import ModelError
from edgedst.runs.actor import FloatArray
from edgedst.runs.reading import read_regular, reason

DoubleArray = npt.NDArray[np.float64]
MOST_PLACES = 2**28  # of a layer, as `runs/actor.py` reads them
NORMALISED, UNITS = "normalized", "units"


@dataclass(frozen=True, eq=False)
class Dense:
    """A layer: `weight @ x + bias`."""

    weight: FloatArray  # (O, I)
    bias: FloatArray  # (O,)


@dataclass(frozen=True, eq=False)
class Output:
    """What stands behind an actor's last layer, whose output is z: `scale * tanh(z) + offset`, or z itself."""

    tanh: bool
    scale: DoubleArray  # (m,)
    offset: DoubleArray  # (m,)
    meaning: str  # NORMALISED: -1 and 1 are the environment's bounds. UNITS: the environment's units
    limits: tuple[DoubleArray, ...] = ()  # (m,) each, lowest and highest: where z is cut itself


@dataclass(frozen=True, eq=False)
class Model:
    """A model as its file holds it."""

    path: Path
    told: str  # what it is, for people: `TD3 of Stable-Baselines3`
    networks: dict[str, list[Dense]]  # by edgedst's names; the actor is always there
    output: Output
    run: Callable[[DoubleArray], FloatArray]  # the model itself: (n,) to (m,), before `output.meaning` is applied
    engine: str  # what runs it
    family: str | None = None  # "td3" or "sac"; None: the file does not say
    log_std: bool = False  # whether the actor's last layer has log sigma behind the means
    environment: str | None = None  # None: the file does not say
    bounds: tuple[DoubleArray, DoubleArray] | None = None  # of its actions, where the file says them
    settings: dict[str, Any] = field(default_factory=dict)  # that the training had, as edgedst calls them
    notes: tuple[str, ...] = ()  # what the user should know of it

    @property
    def observation_size(self) -> int:
        """n."""
        return int(self.networks["actor"][0].weight.shape[1])

    @property
    def action_size(self) -> int:
        """m."""
        outputs = len(self.networks["actor"][-1].bias)
        return outputs // 2 if self.log_std else outputs

    @property
    def hidden(self) -> tuple[int, ...]:
        """Features of the actor's hidden layers."""
        return tuple(len(layer.bias) for layer in self.networks["actor"][:-1])


def read_file(path: Path) -> bytes:
    """All of a model's file.

    Raises:
        ModelError: it cannot be read, is no file, or is larger than any actor.
    """
    try:
        if path.is_dir():
            raise ModelError(
                f"`{path}` is a folder. Expected a model's file, .zip or .onnx; a run folder is begun from with "
                f"`edgedst train --init-from {shlex.quote(str(path))}`."
            )
        return read_regular(path)
    except OSError as error:
        raise ModelError(f"`{path}` cannot be read: {reason(error)}. Name a .zip or .onnx file.") from error


def check_layers(path: Path, name: str, layers: list[Dense]) -> None:
    """Refuse a network that edgedst cannot have.

    Raises:
        ModelError: its layers do not fit each other, are too large or hold numbers that are not finite.
    """
    if len(layers) < 2:
        raise ModelError(f"`{path}`: the {name} has no hidden layer, and edgedst's networks have one or more.")
    for number, layer in enumerate(layers):
        rows, columns = layer.weight.shape
        before = len(layers[number - 1].bias) if number else columns
        if layer.bias.shape != (rows,) or before != columns or not 0 < rows * columns <= MOST_PLACES:
            raise ModelError(
                f"`{path}`: layer {number} of the {name} has weights {list(layer.weight.shape)} and biases "
                f"{list(layer.bias.shape)} behind {before} features. Its layers do not fit each other: save it again."
            )
        if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
            raise ModelError(
                f"`{path}`: layer {number} of the {name} holds weights that are not finite: its training diverged. "
                "Take an earlier model of it."
            )


def shown_name(path: Path) -> str:
    """Its name for files and pages, whatever characters it has."""
    name = os.path.basename(path)  # noqa: PTH119  # as bytes may have it
    return name if name.isprintable() else ascii(name)[1:-1]
