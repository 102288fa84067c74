"""An actor that acts: a run's by the native core, that of an .onnx file or a bundle through onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedst.deploy.agreement import TOLERANCE
from edgedst.deploy.bundle import check_bundle, check_golden, is_bundle
from edgedst.errors import CheckpointError, ConfigError
from edgedst.runs.actor import ActorWeights, FloatArray, read_actor
from edgedst.runs.reading import reading


class Actor:
    """A trained policy without exploration noise.

    Args:
        source: "native" or "onnxruntime".
        environment: the id that its run or file names.
        observation_size: n.
        action_size: m.
        policy: (n,) float64 to (m,) float32, as `act`.
        notes: what the user should know of it.
    """

    def __init__(
        self,
        source: str,
        environment: str,
        observation_size: int,
        action_size: int,
        policy: Callable[[Any], FloatArray],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.source = source
        self.environment = environment
        self.observation_size = observation_size
        self.action_size = action_size
        self.notes = notes
        self._policy = policy

    @staticmethod
    def load(target: str | Path, checkpoint: str = "last") -> Actor:
        """The actor of a run folder, an .onnx file or a bundle; checksums and golden pairs have to come out first.

        Args:
            target: a run folder, an .onnx file, or a folder that `edgedst export --bundle` made.
            checkpoint: of a run, which actor: "last" or "best"; a file has the one that it was exported from.

        Raises:
            ConfigError: `checkpoint` is neither, or given for a file.
            CheckpointError: the target is missing, damaged or foreign.
            ExportError: onnxruntime cannot load the file.
        """
        target = Path(target)
        with reading(target):
            bundle, exported = is_bundle(target), not target.is_dir()
            if exported and not target.exists():
                if target.suffix == ".onnx":
                    advice = f"Make it with `edgedst export {target}`, or name a run folder."
                else:
                    advice = "Name a run folder, an .onnx file or a bundle; without a name the newest run is played."
                raise CheckpointError(f"There is no file `{target}`. {advice}")
        if (bundle or exported) and checkpoint != "last":
            raise ConfigError(f"`--checkpoint` is of a run, and `{target}` holds one actor. Leave it out.")
        if bundle:
            return _exported(check_bundle(target), target)
        return _exported(target) if exported else Actor.of(read_actor(target, checkpoint))

    @staticmethod
    def of(weights: ActorWeights) -> Actor:
        """An actor that was read already, by the native core."""
        from edgedst.deploy.native_actor import NativeActor  # the core is not needed for an exported file

        return Actor("native", weights.environment, weights.sizes[0], weights.sizes[-1], NativeActor(weights).act)

    def act(self, observation: npt.ArrayLike) -> FloatArray:
        """The action for one observation.

        Args:
            observation: (n,) numbers; a float64 array is not copied.

        Returns:
            (m,) float32, in the environment's units.

        Raises:
            CheckpointError: an exported file gives something else than it says.
        """
        return self._policy(np.ascontiguousarray(observation, dtype=np.float64))


def _exported(path: Path, bundle: Path | None = None) -> Actor:
    from edgedst.deploy.session import CHECKSUM, open_checked, run

    session, about = open_checked(path)
    if bundle:
        check_golden(bundle, lambda observations: run(session, observations)[0], about)
    low, high = np.array(about["action_low"]), np.array(about["action_high"])
    slack = TOLERANCE * np.maximum(np.abs(low), np.abs(high))  # what a float32 next to a bound may be off
    action_size = about["action_size"]

    def policy(observation: npt.NDArray[np.float64]) -> FloatArray:
        row = np.asarray(observation, dtype=np.float32)
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
    return Actor("onnxruntime", about["environment"], about["observation_size"], action_size, policy, notes)
