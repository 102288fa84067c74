"""Whether an exported file earns what the trained actor earns, in the environment itself.

Both play the same episodes: those of seeds 0, 1, ... Compared are the means over all of them. A tiny change of an
action can turn a chaotic task's episode into another one, so single episodes differ more than the actors do; the
uncertainty that is told beside the difference is the standard error of the mean of the paired differences.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedst.deploy.evaluate import Evaluation, evaluate, evaluate_actor
from edgedst.errors import ConfigError, ExportError
from edgedst.runs.actor import ActorWeights


@dataclass(frozen=True)
class ReturnDrop:
    """Returns of the trained actor and of the exported file, episode by episode on the same seeds."""

    trained: Evaluation
    exported: Evaluation

    @property
    def lost(self) -> float:
        """How much lower the exported file's mean return is; negative where it is higher."""
        return self.trained.mean - self.exported.mean

    @property
    def uncertainty(self) -> float:
        """Standard error of `lost`; 0 of a single episode, which tells nothing about it."""
        differences = np.subtract(self.trained.returns, self.exported.returns)
        return float(np.std(differences, ddof=1) / math.sqrt(len(differences))) if len(differences) > 1 else 0.0

    @property
    def told(self) -> str:
        """Both returns with their spread, over how many episodes."""
        exported, trained = (f"{played.mean:,.1f} ± {played.sd:,.1f}" for played in (self.exported, self.trained))
        return (
            f"{exported} exported and {trained} trained, {len(self.trained.returns)} episodes of the same seeds (± is "
            f"their standard deviation; the mean loses {self.lost:,.1f} ± {self.uncertainty:,.1f} standard error)"
        )


def check_return_drop(
    weights: ActorWeights,
    path: Path,
    limit: float,
    episodes: int,
    environment: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
    disturbances: dict[str, Any] | None = None,
) -> ReturnDrop:
    """Play the float32 actor natively and the ONNX file made from it through onnxruntime, so many episodes each.

    `limit` is the largest loss allowed, as a share of the trained actor's mean return (of its magnitude).

    Raises:
        ExportError: when the file loses more.
        ConfigError: when `episodes` is less than 1.
        UnknownEnvironment, EnvironmentFault, CheckpointError: as `evaluate`.
    """
    played = environment or weights.environment
    drop = ReturnDrop(
        evaluate_actor(weights, episodes, environment=played, env_kwargs=env_kwargs, disturbances=disturbances),
        evaluate(path, episodes, env=played, env_kwargs=env_kwargs, **(disturbances or {})),
    )
    if not drop.lost <= limit * abs(drop.trained.mean):
        raise ExportError(
            f"The exported actor loses more than {100 * limit:.4g} % of the return: {drop.told}. No file was "
            "written; export a finer `--dtype`, play more `--episodes`, or allow a larger `--max-return-drop`."
        )
    return drop


def parse_share(text: str) -> float:
    """`2%` or `0.02` as 0.02.

    Raises:
        ConfigError: when it is neither, or not between 0 and 1.
    """
    number = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*", text)
    share = float(number[1]) / (100 if number[2] else 1) if number else math.nan
    if not 0 <= share <= 1:
        raise ConfigError(f"`--max-return-drop {text}` is no share. Expected 0% to 100%, for example 2% or 0.02.")
    return share
