"""Who is measured against whom: the sparse method, the dense one of its family, and PyTorch where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgedst.config import METHODS, TrainConfig
from edgedst.density import DENSE_METHODS, family
from edgedst.errors import ConfigError, ProfileError
from edgedst.profile.process import python_of

SPARSE, DENSE, TORCH = "sparse", "dense", "torch"
BASELINES = (DENSE, TORCH)

Command = tuple[list[str], dict[str, str]]  # argv, environment variables

# The lean process of edgedst's contenders: how it is started is the front end's to say, as for `edgedst train`.
# (settings, goal of `window.measure`, folder for its run folder) -> its command.
Start = Callable[[TrainConfig, dict[str, Any], str], Command]


@dataclass(frozen=True)
class Contender:
    """One side of the comparison."""

    name: str  # sparse, dense or torch
    label: str
    config: TrainConfig

    @property
    def engine(self) -> str:
        """edgedst or torch."""
        return "torch" if self.name == TORCH else "edgedst"

    @property
    def told(self) -> str:
        """For a sentence."""
        return f"the {self.name} contender ({self.label})"

    def command(self, goal: dict[str, Any], folder: str, start: Start) -> Command:
        """Its process."""
        return torch_command(self.config, goal) if self.name == TORCH else start(self.config, goal, folder)


def contenders(config: TrainConfig, against: Sequence[str], named: bool) -> tuple[list[Contender], list[str]]:
    """The contenders in their order, and sentences on those that are missing.

    Args:
        config: of the sparse method, resolved.
        against: of "dense" and "torch".
        named: whether the user wrote `against`; then a missing PyTorch is an error.

    Raises:
        ConfigError: the method is dense, or `against` names something else.
        ProfileError: PyTorch was asked for and is not installed.
    """
    kind = family(config.method)
    if config.method in DENSE_METHODS:
        sparse = [method for method in METHODS if method not in DENSE_METHODS and family(method) == kind]
        raise ConfigError(
            f"`method` is {config.method}, which is dense, and a profile holds a sparse method against dense. Choose "
            f"`--method {sparse[0]}` or `--method {sparse[1]}`."
        )
    for name in against:
        if name in (SPARSE, config.method):
            raise ConfigError(
                f"`--against {name}` is the contender itself: name what it is held against, of {', '.join(BASELINES)}."
            )
        if name not in BASELINES:
            raise ConfigError(f"`--against` must be of {', '.join(BASELINES)} and has `{name}`.")
    if not against:
        raise ConfigError(f"`--against` names nobody to be measured against: name {' or '.join(BASELINES)}, or both.")
    dense = replace(config, method=kind)
    made = [Contender(SPARSE, f"edgedst {_upper(config.method)}", config)]
    missing = []
    if DENSE in against:
        made.append(Contender(DENSE, f"edgedst dense {kind.upper()}", dense))
    if TORCH in against:
        if importlib.util.find_spec("torch"):
            made.append(Contender(TORCH, f"PyTorch dense {kind.upper()}", dense))
        else:
            sentence = "PyTorch is not installed, so nothing is compared with it: `pip install 'edgedst[torch]'`."
            if named:
                raise ProfileError(sentence)
            missing.append(sentence)
    return made, missing


def _upper(method: str) -> str:
    """ds-td3 as people write it."""
    topology, _, algorithm = method.rpartition("-")
    return f"{'DS' if topology == 'ds' else topology}-{algorithm.upper()}"


def torch_command(config: TrainConfig, goal: dict[str, Any]) -> Command:
    """PyTorch's process: any Python with its site-packages, as its users start it."""
    job = json.dumps({"config": config.settings(), "profile": goal})
    threads = str(config.threads)
    variables = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    variables["PYTHONWARNINGS"] = "ignore"
    return [*python_of("edgedst.profile.versus_dense"), job], variables
