"""Mean and standard deviation of returns, from a run's checkpoint, or through onnxruntime from a file or a bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgedst.deploy.actor import Actor
from edgedst.deploy.bundle import ROBOT
from edgedst.deploy.environment import (
    chosen_arguments,
    chosen_disturbances,
    chosen_environment,
    open_environment,
    trained_environment,
)
from edgedst.deploy.film import Film, showing, wanted
from edgedst.envs import EPISODE_STEPS
from edgedst.errors import CheckpointError, ConfigError
from edgedst.files import is_robot_file
from edgedst.runs.actor import ActorWeights

LARGEST_SEED = 2**31 - 1  # many simulators keep theirs in a C int


@dataclass(frozen=True)
class Evaluation:
    """Returns of whole episodes without exploration noise."""

    environment: str
    source: str  # "native" or "onnxruntime"
    returns: tuple[float, ...]
    lengths: tuple[int, ...]  # steps of each episode
    notes: tuple[str, ...] = ()  # what the user should know of it
    seed: int | None = None  # of the first episode; None: a machine's have none

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def sd(self) -> float:
        """Standard deviation over the episodes (of these episodes: divided by N)."""
        return float(np.std(self.returns))


def evaluate(
    target: Path,
    episodes: int = 10,
    seed: int = 0,
    checkpoint: str = "last",
    env: str | None = None,
    max_episode_steps: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    action_delay: str | int | None = None,
    observation_noise: float | Sequence[float] | None = None,
    randomize: str | None = None,
    render: bool = False,
    video: str | Path | None = None,
    camera: str | int | None = None,
    size: str | None = None,
) -> Evaluation:
    """Play `episodes` episodes with the actor of a run folder, an .onnx file or a bundle.

    Episode i is reset with seed + i. A file's checksum, a bundle's checksums and golden pairs have to come out first.

    Args:
        target: a run folder, an .onnx file, or a folder that `edgedst export --bundle` made.
        episodes: how many are played.
        seed: of the first one.
        checkpoint: of a run, which actor: "last" or "best"; a file has the one that it was exported from.
        env: the environment, instead of the one that the target names.
        max_episode_steps: replaces the task's own time limit.
        env_kwargs: arguments of the environment; None: those that a run was trained with, and none for a file.
        action_delay: as the setting; None: that of a run, and none for a file. So are the next two.
        observation_noise: as the setting; 0 is none.
        randomize: as the setting; "none" is none.
        render: show the episodes in a window, in real time. The returns are the same.
        video: a file to film them to; its ending decides: .mp4, .gif or .webp. The returns are the same.
        camera: of a film or window, where the task is MuJoCo's: one of its model's, by name or number.
        size: of a film or window, "640x480"; None: the task's own.

    Raises:
        ConfigError: when `checkpoint` is neither, or given for a file; or the target names a module or a robot.py, see
            `chosen_environment`; or a film is not to be had, see `edgedst.deploy.film.wanted` and `showing`.
        ExportError: when the film cannot be written.
        CheckpointError: when the target is missing, damaged, foreign, or does not fit its environment.
        UnknownEnvironment: when its environment is not installed here.
        EnvironmentFault: when the environment fails.
    """
    film = wanted(render, video, camera, size)
    actor = Actor.load(target, checkpoint)
    run = target if actor.source == "native" else None
    recorded = trained_environment(run, actor.environment) if run else _of_kit(target, actor.environment)
    if film and is_robot_file(env or recorded):
        raise ConfigError(
            f"`{env or recorded}` is a machine, which nobody can draw: leave `--video` and `--render` out. "
            "`edgedst log --transitions log.csv` writes down what it did in training."
        )
    environment = chosen_environment(recorded, env, of_run=run is not None)
    kwargs = chosen_arguments(run, environment, env_kwargs)
    typed = {"action_delay": action_delay, "observation_noise": observation_noise, "randomize": randomize}
    disturbed, notes = chosen_disturbances(run, environment, typed)
    played = play(f"`{target}`", actor, environment, episodes, seed, max_episode_steps, kwargs, disturbed, film)
    return replace(played, notes=(*notes, *played.notes))


def _of_kit(target: Path, recorded: str) -> str:
    """The environment of a file or a bundle; of a bundle that has the machine's robot.py, that file."""
    own = target / ROBOT
    return str(own) if is_robot_file(recorded) and os.path.isfile(own) else recorded  # noqa: PTH113  # pathlib may raise


def evaluate_actor(
    weights: ActorWeights,
    episodes: int = 10,
    seed: int = 0,
    environment: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
    disturbances: dict[str, Any] | None = None,
) -> Evaluation:
    """`evaluate` of an actor that was read already, by the native core.

    Raises:
        CheckpointError, UnknownEnvironment, EnvironmentFault: as `evaluate`.
    """
    played = environment or weights.environment
    return play("this run", Actor.of(weights), played, episodes, seed, None, env_kwargs, disturbances)


def play(
    named: str,
    actor: Actor,
    environment: str,
    episodes: int,
    seed: int,
    max_episode_steps: int | None,
    kwargs: dict[str, Any] | None,
    disturbances: dict[str, Any] | None = None,
    film: Film | None = None,
) -> Evaluation:
    """`evaluate` of any actor; `named` is where it comes from, for sentences.

    Raises:
        CheckpointError, UnknownEnvironment, EnvironmentFault: as `evaluate`.
    """
    if episodes < 1:
        raise ConfigError(f"`--episodes` is {episodes}. Expected 1 or more.")
    if not 0 <= seed <= LARGEST_SEED + 1 - episodes:
        raise ConfigError(
            f"`--seed` is {seed}, and episode i takes seed + i. Expected 0 to {LARGEST_SEED} for each of {episodes}."
        )
    if max_episode_steps is not None and not 1 <= max_episode_steps <= LARGEST_SEED:
        raise ConfigError(f"`--max-episode-steps` is {max_episode_steps}. Expected 1 to {LARGEST_SEED}.")
    sizes = (actor.observation_size, actor.action_size)
    returns, lengths, unfinished = [], [], 0
    mode = film.render_mode if film else None
    with (
        open_environment(environment, max_episode_steps, kwargs, disturbances, mode) as host,
        showing(film, host, episodes) as show,
    ):
        if (host.observation_size, host.action_size) != sizes:
            raise CheckpointError(
                f"The actor in {named} takes {sizes[0]} observations and gives {sizes[1]} actions; `{environment}` has "
                f"{host.observation_size} and {host.action_size} here. Install the version that it was trained "
                "with, or name another environment with `--env`."
            )
        limited = max_episode_steps or host.max_episode_steps
        most_steps = limited or EPISODE_STEPS
        action_view = memoryview(bytearray(4 * sizes[1])).cast("f")
        action_values = np.asarray(action_view)
        for episode in range(episodes):
            host.reset(seed + episode)
            actor.reset()
            episode_return, steps, over = 0.0, 0, False
            show(episode, 0, 0.0)
            while not over and steps < most_steps:
                action_values[:] = actor.act(host.observation)
                reward, terminated, truncated = host.step(action_view)
                if host.applied is not None:
                    actor.applied(host.applied)
                episode_return += reward
                steps += 1
                show(episode, steps, episode_return)
                over = terminated or truncated
            unfinished += not over
            returns.append(episode_return)
            lengths.append(steps)
    notes = actor.notes
    if host.hardware:
        notes += (f"`{environment}` is a machine: its episodes have no seeds, and no two evaluations are the same.",)
        if host.missed_periods:
            notes += (
                f"In {sum(lengths):,} steps {host.missed_periods:,} periods were missed: these returns are of a slower "
                "loop than RATE_HZ.",
            )
    if unfinished and not limited:
        notes += (
            f"Episodes of `{environment}` have no time limit: {unfinished} of {episodes} were cut after "
            f"{EPISODE_STEPS:,} steps. `--max-episode-steps N` sets another limit.",
        )
    first = None if host.hardware else seed
    return Evaluation(environment, actor.source, tuple(returns), tuple(lengths), notes, first)
