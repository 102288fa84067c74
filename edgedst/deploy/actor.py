"""An actor that acts: a run's by the native core, that of an .onnx file or a bundle through onnxruntime."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.deploy.agreement import TOLERANCE
from edgedst.deploy.bundle import check_bundle, check_golden, is_bundle
from edgedst.deploy.history import History
from edgedst.envs import LARGEST_FLOAT32
from edgedst.errors import CheckpointError, ConfigError, missing_extra
from edgedst.runs.actor import ActorWeights, FloatArray, read_actor
from edgedst.runs.reading import reading


class Actor:
    """A trained policy without exploration noise.

    One with a history remembers what it observed and did: `reset` it before each episode.

    Args:
        source: "native" or "onnxruntime".
        environment: the id that its run or file names.
        observation_size: n.
        action_size: m.
        policy: (N,) float64 to (m,) float32: what `act` gives for an observation, and its history where it has one.
        notes: what the user should know of it.
        history: what it remembers; None: nothing.
    """

    def __init__(
        self,
        source: str,
        environment: str,
        observation_size: int,
        action_size: int,
        policy: Callable[[Any], FloatArray],
        notes: tuple[str, ...] = (),
        history: History | None = None,
    ) -> None:
        self.source = source
        self.environment = environment
        self.observation_size = observation_size
        self.action_size = action_size
        self.notes = notes
        self._policy = policy
        self._history = history

    @staticmethod
    def load(target: str | os.PathLike[str], checkpoint: str = "last") -> Actor:
        """The actor of a run folder, an .onnx file or a bundle; checksums and golden pairs have to come out first.

        Args:
            target: a run folder, an .onnx file, or a folder that `edgedst export --bundle` made.
            checkpoint: of a run, which actor: "last" or "best"; a file has the one that it was exported from.

        Raises:
            ConfigError: `checkpoint` is neither, or given for a file.
            CheckpointError: the target is missing, damaged or foreign.
            ExportError: onnxruntime cannot load the file.
            MissingExtra: it is not installed, and the target is no run.
        """
        target = Path(target)
        with reading(target):
            bundle, exported = is_bundle(target), not target.is_dir()
            if exported and not target.exists():
                if target.suffix == ".onnx":
                    advice = f"Make it with `edgedst export {shlex.quote(str(target))}`, or name a run folder."
                else:
                    advice = "Name a run folder, an .onnx file or a bundle; without a name the newest run is played."
                raise CheckpointError(f"There is no file `{target}`. {advice}")
            if exported and target.suffix == ".c":
                raise CheckpointError(
                    f"`{target}` is an actor in C, which the `run_c` of its bundle plays. Name a run folder, an .onnx "
                    "file or a bundle."
                )
        if (bundle or exported) and checkpoint != "last":
            raise ConfigError(f"`--checkpoint` is of a run, and `{target}` holds one actor. Leave it out.")
        try:
            if bundle:
                return _exported(check_bundle(target), target)
            return _exported(target) if exported else Actor.of(read_actor(target, checkpoint))
        except ModuleNotFoundError as error:
            raise missing_extra(error) from None

    @staticmethod
    def of(weights: ActorWeights) -> Actor:
        """An actor that was read already, by the native core."""
        from edgedst.deploy.native_actor import NativeActor  # the core is not needed for an exported file

        policy, sizes = NativeActor(weights).act, (weights.observation_size, weights.sizes[-1])
        return Actor("native", weights.environment, *sizes, policy, history=History.of(weights))

    def reset(self) -> None:
        """Forget what was observed and done: the next observation is an episode's first."""
        if self._history:
            self._history.reset()

    def applied(self, action: npt.ArrayLike) -> None:
        """Say what was done instead of the last action, where a limit changed it: (m,) in the environment's units."""
        if self._history:
            self._history.applied(action)

    def act(self, observation: npt.ArrayLike) -> FloatArray:
        """The action for one observation, the next one of its episode.

        Args:
            observation: (n,) numbers; a float64 array is not copied.

        Returns:
            (m,) float32, in the environment's units.

        Raises:
            ConfigError: it is not n numbers that float32 holds.
            CheckpointError: an exported file gives something else than it says.
        """
        row = np.ascontiguousarray(observation, dtype=np.float64)
        if row.shape != (self.observation_size,) or not (np.abs(row) <= LARGEST_FLOAT32).all():
            raise _no_observation(row, self.observation_size, self.environment)
        if self._history is None:
            return self._policy(row)
        action = self._policy(self._history.push(row))
        self._history.acted(action)
        return action


def _no_observation(row: npt.NDArray[np.float64], size: int, environment: str) -> ConfigError:
    """What is wrong with it: its shape, or its first number that float32 does not hold."""
    got = f"shape {row.shape}"
    if row.shape == (size,):
        place = int(np.argmin(np.abs(row) <= LARGEST_FLOAT32))
        got = f"{row[place]:g} at index {place}"
    return ConfigError(f"`act` takes one observation of {environment}, {size} finite numbers, and got {got}.")


def _exported(path: Path, bundle: Path | None = None) -> Actor:
    from edgedst.deploy.session import CHECKSUM, open_checked, run

    session, about = open_checked(path)
    if bundle:
        check_golden(bundle, lambda observations: run(session, observations)[0], about)
    history = None
    if about["history"]:
        history = History(about["history"], about["observation_size"], about["start_action"])
    low, high = np.array(about["action_low"]), np.array(about["action_high"])
    slack = TOLERANCE * np.maximum(np.abs(low), np.abs(high))  # what a float32 next to a bound may be off
    action_size = about["action_size"]

    def policy(features: npt.NDArray[np.float64]) -> FloatArray:
        row = np.asarray(features, dtype=np.float32)
        action: FloatArray = run(session, row[None, :])[0]
        if action.shape != (1, action_size) or action.dtype != np.float32:
            raise CheckpointError(
                f"`{path}` says that it gives {action_size} actions, and gives an array of shape {action.shape} and "
                f"{action.dtype}. It is damaged or foreign: export it again."
            )
        outside = np.flatnonzero((action[0] < low - slack) | (action[0] > high + slack))  # a NaN is the host's to tell
        if outside.size:
            place = int(outside[0])
            raise CheckpointError(
                f"`{path}` gave an action of {action[0, place]:g} at index {place}, and says that it lies between "
                f"{low[place]:g} and {high[place]:g}. It is damaged or foreign: export it again."
            )
        row_of_actions: FloatArray = action[0]
        return row_of_actions

    notes: tuple[str, ...] = ()
    if CHECKSUM not in about:
        notes = (f"`{path}` is from an older edgedst and has no checksum: damage to it could not be told.",)
    return Actor("onnxruntime", about["environment"], about["observation_size"], action_size, policy, notes, history)
