"""Mean and standard deviation of returns, from a run's checkpoint, or through onnxruntime from a file or a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedst.deploy.bundle import check_bundle, check_golden, is_bundle
from edgedst.deploy.checkpoint import ActorWeights, FloatArray, read_actor
from edgedst.envs import registry
from edgedst.errors import CheckpointError, ConfigError

Policy = Callable[["memoryview[float]"], FloatArray]  # (n,) float64 to (m,) float32 in the environment's units


@dataclass(frozen=True)
class Evaluation:
    """Returns of whole episodes without exploration noise."""

    environment: str
    source: str  # "native" or "onnxruntime"
    returns: tuple[float, ...]
    lengths: tuple[int, ...]  # steps of each episode

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def sd(self) -> float:
        """Standard deviation over the episodes (of these episodes: divided by N)."""
        return float(np.std(self.returns))


def evaluate(target: Path, episodes: int = 10, seed: int = 0, checkpoint: str = "last") -> Evaluation:
    """Play `episodes` episodes with the actor of a run folder, an .onnx file or a bundle.

    Episode i is reset with seed + i. A bundle's checksums and golden pairs have to come out first.

    Args:
        target: a run folder, an .onnx file, or a folder that `edgedst export --bundle` made.
        episodes: how many are played.
        seed: of the first one.
        checkpoint: of a run, which actor: "last" or "best"; a file has the one that it was exported from.

    Raises:
        ConfigError: when `checkpoint` is neither, or given for a file.
        CheckpointError: when the target is missing, damaged, foreign, or does not fit its environment.
        UnknownEnvironment: when its environment is not installed here.
        EnvironmentFault: when the environment fails.
    """
    bundle = is_bundle(target)
    exported = bundle or target.is_file() or target.suffix == ".onnx"
    if exported and checkpoint != "last":
        raise ConfigError(f"`--checkpoint` is of a run, and `{target}` holds one actor. Leave it out.")
    if bundle:
        environment, sizes, policy = _exported_policy(check_bundle(target), target)
    else:
        environment, sizes, policy = (
            _exported_policy(target) if exported else _native_policy(read_actor(target, checkpoint))
        )
    source = "onnxruntime" if exported else "native"
    return _play(f"`{target}`", source, environment, sizes, policy, episodes, seed)


def evaluate_actor(weights: ActorWeights, episodes: int = 10, seed: int = 0) -> Evaluation:
    """`evaluate` of an actor that was read already, by the native core.

    Raises:
        CheckpointError, UnknownEnvironment, EnvironmentFault: as `evaluate`.
    """
    return _play("this run", "native", *_native_policy(weights), episodes, seed)


def _play(
    named: str, source: str, environment: str, sizes: tuple[int, int], policy: Policy, episodes: int, seed: int
) -> Evaluation:
    if episodes < 1:
        raise ConfigError(f"`--episodes` is {episodes}. Expected 1 or more.")
    if seed < 0:
        raise ConfigError(f"`--seed` is {seed}. Expected 0 or more.")
    host = registry.make(registry.locate(environment))
    if (host.observation_size, host.action_size) != sizes:
        raise CheckpointError(
            f"The actor in {named} takes {sizes[0]} observations and gives {sizes[1]} actions; `{environment}` has "
            f"{host.observation_size} and {host.action_size} here. Install the version that it was trained with."
        )
    returns, lengths = [], []
    action_view = memoryview(bytearray(4 * sizes[1])).cast("f")
    action_values = np.asarray(action_view)
    for episode in range(episodes):
        host.reset(seed + episode)
        episode_return, steps, over = 0.0, 0, False
        while not over:
            action_values[:] = policy(host.observation)
            reward, terminated, truncated = host.step(action_view)
            episode_return += reward
            steps += 1
            over = terminated or truncated
        returns.append(episode_return)
        lengths.append(steps)
    return Evaluation(environment, source, tuple(returns), tuple(lengths))


def _native_policy(weights: ActorWeights) -> tuple[str, tuple[int, int], Policy]:
    from edgedst.deploy.native_actor import NativeActor  # the core is not needed to evaluate an exported file

    return weights.environment, (weights.sizes[0], weights.sizes[-1]), NativeActor(weights).act


def _exported_policy(path: Path, bundle: Path | None = None) -> tuple[str, tuple[int, int], Policy]:
    from edgedst.deploy.session import open_session, read_about, run

    if not path.is_file():
        raise CheckpointError(f"There is no file `{path}`. Make it with `edgedst export {path}`, or name a run folder.")
    session = open_session(path)
    about = read_about(session, path)
    if bundle:
        check_golden(bundle, lambda observations: run(session, observations)[0], about)

    def policy(observation: memoryview[float]) -> FloatArray:
        row = np.asarray(observation, dtype=np.float32)
        actions: FloatArray = run(session, row[None, :])[0][0]
        return actions

    return about["environment"], (about["observation_size"], about["action_size"]), policy
