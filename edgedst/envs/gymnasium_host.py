"""Any gymnasium environment, in this process. Importing this imports gymnasium and numpy: the budget counts them."""

import array
import difflib
import importlib
import os
import struct
import sys
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from edgedst.envs import Environment, check_finite
from edgedst.errors import CheckpointError, EnvironmentFault, UnknownEnvironment, UnsupportedSpace

_STATE = struct.Struct("<4sqII")  # "EDGY", episode seed (-1: no episode yet), actions, observation size


class GymnasiumEnvironment(Environment):
    """A continuous-control environment by its gymnasium id, or `module:EnvId` for one that `module` registers.

    An environment has no state that could be read, so the state of an episode is its seed and its actions: going on
    means playing them again. An environment that uses other randomness than its seed's is found out by that.

    Raises:
        UnknownEnvironment: gymnasium knows no such id, or its module or a package of its is missing.
        UnsupportedSpace: a space that these algorithms cannot use.
        EnvironmentFault: the environment raised while it was made.
    """

    native = False

    def __init__(self, env_id: str) -> None:
        self.name = env_id
        self._env = _make(env_id)
        observation_space, action_space = self._env.observation_space, self._env.action_space
        _check_spaces(env_id, observation_space, action_space)
        self._action_shape, self._action_dtype = action_space.shape, action_space.dtype
        self.observation_size = int(np.prod(observation_space.shape))
        self.action_size = int(np.prod(action_space.shape))
        self.action_low = tuple(float(low) for low in np.ravel(action_space.low))
        self.action_high = tuple(float(high) for high in np.ravel(action_space.high))
        self.max_episode_steps = self._env.spec.max_episode_steps if self._env.spec is not None else None
        dt = getattr(
            self._env.unwrapped, "dt", None
        )  # MuJoCo's tasks and Pendulum have it; render_fps is another thing
        self.step_seconds = float(dt) if isinstance(dt, int | float) and dt > 0 else None
        self.observation = memoryview(bytearray(8 * self.observation_size)).cast("d")
        self._observation = np.asarray(self.observation)
        self._episode_seed = -1
        self._actions = array.array("f")
        self._episode_step = 0

    def reset(self, seed: int) -> None:
        """Begin an episode with a seed of its own."""
        self._episode_seed = seed
        del self._actions[:]
        self._episode_step = 0
        try:
            observation, _ = self._env.reset(seed=seed)
        except MemoryError:
            raise
        except Exception as error:
            raise EnvironmentFault(_raised(self.name, "reset", error)) from error
        self._store(observation, 0.0)

    def step(self, action: "memoryview[float]") -> tuple[float, bool, bool]:
        """See `Environment.step`. The action is a copy: the environment may keep it."""
        self._actions.extend(action)
        self._episode_step += 1
        values = np.array(action, dtype=self._action_dtype).reshape(self._action_shape)
        try:
            observation, reward, terminated, truncated, _ = self._env.step(values)
            reward = float(reward)
        except MemoryError:
            raise
        except Exception as error:
            raise EnvironmentFault(_raised(self.name, f"step {self._episode_step} of an episode", error)) from error
        self._store(observation, reward, action)
        return reward, bool(terminated), bool(truncated)

    def state(self) -> bytes:
        """The episode's seed, its actions, and the observation they have to lead to."""
        header = _STATE.pack(b"EDGY", self._episode_seed, self._episode_step, self.observation_size)
        return header + self._actions.tobytes() + self.observation.tobytes()

    def set_state(self, state: bytes) -> None:
        """Play the episode again. See `Environment.set_state`."""
        magic, seed, steps, observation_size = (
            _STATE.unpack_from(state) if len(state) >= _STATE.size else (b"", 0, 0, 0)
        )
        actions_end = _STATE.size + 4 * steps * self.action_size
        if (
            magic != b"EDGY"
            or observation_size != self.observation_size
            or len(state) != actions_end + 8 * observation_size
        ):
            raise CheckpointError(
                f"The saved episode ({len(state)} bytes) does not belong to {self.name} with {self.observation_size} "
                f"observations and {self.action_size} actions."
            )
        if seed < 0:
            return
        played = memoryview(state)[_STATE.size : actions_end].cast("f")
        self.reset(seed)
        for start in range(0, len(played), self.action_size):
            self.step(played[start : start + self.action_size])
        if self.observation.tobytes() != state[actions_end:]:
            raise EnvironmentFault(
                f"{self.name} does not repeat itself: the {steps} actions of the saved episode, played again from its "
                f"seed {seed}, led to another observation, so training cannot go on bit for bit. Take all of the "
                "environment's randomness from `self.np_random`."
            )

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _store(self, observation: Any, reward: float, action: "Sequence[float]" = ()) -> None:
        try:
            flat = np.asarray(observation, dtype=np.float64).ravel()
        except (TypeError, ValueError) as error:
            raise EnvironmentFault(f"{self.name} gave an observation that is not an array of numbers.") from error
        if flat.size != self.observation_size:
            raise EnvironmentFault(
                f"{self.name} gave an observation of {flat.size} numbers in step {self._episode_step} of an episode; "
                f"its observation space has {self.observation_size}."
            )
        self._observation[:] = flat
        check_finite(self.name, self.observation, reward, self._episode_step, action)


def _make(env_id: str) -> "gymnasium.Env[Any, Any]":
    module, _, name = env_id.rpartition(":")
    if module:
        _import_module(module, env_id)
    try:
        # The checker warns about style at every step; what matters to training is checked here.
        return gymnasium.make(env_id, disable_env_checker=True)
    except gymnasium.error.DependencyNotInstalled as error:
        raise UnknownEnvironment(f"{env_id} needs a package that is not installed: {_words(error)}") from error
    except gymnasium.error.UnregisteredEnv as error:
        near = difflib.get_close_matches(name, list(gymnasium.registry), n=2, cutoff=0.6)
        hint = (
            f" Did you mean {' or '.join(f'`{candidate}`' for candidate in near)}?"
            if near
            else " An environment of your own is `module:EnvId`, where importing `module` registers it."
        )
        raise UnknownEnvironment(f"There is no environment `{env_id}`.{hint}") from error
    except gymnasium.error.Error as error:
        raise UnknownEnvironment(f"gymnasium cannot make `{env_id}`: {_words(error)}") from error
    except MemoryError:
        raise
    except Exception as error:
        raise EnvironmentFault(_raised(env_id, "construction", error)) from error


def _import_module(module: str, env_id: str) -> None:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # where the user's module most likely is
    try:
        importlib.import_module(module)
    except MemoryError:
        raise
    except ModuleNotFoundError as error:
        raise UnknownEnvironment(
            f"`{env_id}`: Python finds no module `{error.name}`. Start edgedst in the folder that holds it, or install "
            "it."
        ) from error
    except Exception as error:
        raise EnvironmentFault(_raised(env_id, f"the import of `{module}`", error)) from error


def _check_spaces(env_id: str, observations: Any, actions: Any) -> None:
    box = gymnasium.spaces.Box
    if not isinstance(observations, box):
        raise UnsupportedSpace(
            f"{env_id} observes a {type(observations).__name__} space ({observations}); a Box of numbers was expected. "
            "Register it with gymnasium.wrappers.FlattenObservation around it."
        )
    if not isinstance(actions, box) or actions.dtype.kind != "f":
        raise UnsupportedSpace(
            f"{env_id} takes actions from a {type(actions).__name__} space ({actions}); TD3 and SAC need continuous "
            "actions, a Box of floats. Choose an environment with one."
        )
    if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all() and (actions.low < actions.high).all()):
        raise UnsupportedSpace(
            f"{env_id} has actions without finite bounds ({actions}); the actor's output is scaled to them. Register "
            "it with gymnasium.wrappers.RescaleAction or with bounds of its own."
        )


def _raised(env_id: str, where: str, error: Exception) -> str:
    return (
        f"{env_id} raised {type(error).__name__} in {where}: {_words(error)} (`--debug` shows the traceback). Nothing "
        "already saved is lost."
    )


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") + "."
