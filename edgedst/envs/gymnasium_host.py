"""Any gymnasium environment, in this process. Importing this imports gymnasium and numpy: the budget counts them."""

import dataclasses
import difflib
import importlib
import os
import random
import re
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np

from edgedst.budget.guard import memory
from edgedst.envs import Environment, check_action, check_finite
from edgedst.envs.spaces import check_actions, check_observations
from edgedst.errors import EXTRAS, EdgedstError, EnvironmentFault, UnknownEnvironment

_CONSTRUCTION = "construction"
_NO_BOUND = 1e30  # of an observation: classes without one write the largest float, or infinity
_LONGEST_WORDS = 500  # characters of an error's own text in a sentence


class GymnasiumEnvironment(Environment):
    """A continuous-control environment by its gymnasium id, or `module:EnvId` for one that `module` registers.

    It has no state that could be read: an episode is its seed and its actions. NumPy's and Python's global random
    numbers belong to one instance at a time: each episode seeds them, and another instance does not move them.

    Args:
        env_id: as above.
        max_episode_steps: replaces the task's own time limit.
        kwargs: arguments of the environment, beside those that it is registered with.

    Raises:
        UnknownEnvironment: gymnasium knows no such id, or its module or a package of its is missing.
        UnsupportedSpace: a space that these algorithms cannot use.
        EnvironmentFault: the environment raised while it was made.
    """

    native = False
    _drawing: "ClassVar[GymnasiumEnvironment | None]" = None  # whose the global random numbers are now

    def __init__(self, env_id: str, max_episode_steps: int | None = None, kwargs: dict[str, Any] | None = None) -> None:
        self.name = env_id
        self._global_random: tuple[Any, Any] | None = None  # NumPy's and Python's, while another instance draws
        spec = self._find()
        spec = dataclasses.replace(spec, kwargs={**spec.kwargs, **(kwargs or {})})
        # The checker warns about style at every step; what matters to training is checked here.
        self._env: gymnasium.Env[Any, Any] | None = self._call(
            _CONSTRUCTION, gymnasium.make, spec, max_episode_steps=max_episode_steps, disable_env_checker=True
        )
        try:
            self._describe(self._env, max_episode_steps)
        except BaseException:
            try:
                self.close()
            except EnvironmentFault:
                pass  # the first reason is the one to tell
            raise
        self.observation = memoryview(bytearray(8 * self.observation_size)).cast("d")
        self._observation = np.asarray(self.observation)
        self._episode_step = 0
        _take_blas_buffers()

    def reset(self, seed: int) -> None:
        """Begin an episode with a seed of its own."""
        self._episode_step = 0
        result = self._call("reset", self._seeded_reset, seed)
        if not (isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[1], Mapping | None)):
            raise EnvironmentFault(
                f"{self.name}'s reset gave {_kind(result)}, and (observation, info) was expected, with a dict as info. "
                "An observation alone is the old package gym's way: return `observation, {}`."
            )
        self._store(result[0], 0.0)

    def step(self, action: "memoryview[float]") -> tuple[float, bool, bool]:
        """See `Environment.step`. The action is a copy, inside the action space: the environment may keep it."""
        self._episode_step += 1
        check_action(self.name, action, self._episode_step)
        values = np.array(action, dtype=self._action_dtype).reshape(self._action_low.shape)
        np.maximum(values, self._action_low, out=values)  # another dtype's rounding may lead out by a last bit
        np.minimum(values, self._action_high, out=values)
        where = f"step {self._episode_step} of an episode"
        result = self._call(where, self._env.step, values)  # type: ignore[union-attr]  # None once it is closed
        if not (isinstance(result, tuple | list) and len(result) == 5):
            raise EnvironmentFault(_wrong_step(self.name, _kind(result)))
        reward = self._number("reward", result[1])
        terminated, truncated = self._number("terminated", result[2]), self._number("truncated", result[3])
        self._store(result[0], reward)
        return reward, bool(terminated), bool(truncated)

    def close(self) -> None:
        """Close the environment, once."""
        env, self._env = self._env, None
        if env is not None:
            try:
                self._call("close", env.close)
            finally:
                GymnasiumEnvironment._drawing = None

    @property
    def env(self) -> "gymnasium.Env[Any, Any]":
        """What Gymnasium made, for who draws it; not to be stepped beside this host."""
        assert self._env is not None, "it is closed"
        return self._env

    def render(self) -> Any:
        """What the environment draws, in the `render_mode` that it was made with; an episode goes on as without it.

        Raises:
            EnvironmentFault: it cannot.
        """
        drawn = np.random.get_state(), random.getstate()
        try:
            return self._call("render", self.env.render)
        finally:
            np.random.set_state(drawn[0])
            random.setstate(drawn[1])

    def _find(self) -> "gymnasium.envs.registration.EnvSpec":
        """What is registered under this id, once its module is imported."""
        module, _, name = self.name.rpartition(":")
        if module:
            _look_here_last()
            self._call(f"the import of `{module}`", importlib.import_module, module)
        try:
            return gymnasium.spec(name)
        except gymnasium.error.Error as error:
            near = difflib.get_close_matches(name, list(gymnasium.registry), n=2, cutoff=0.6)
            if module:
                place = getattr(sys.modules[module], "__file__", None) or "a folder"
                sentence, near = f"`{module}` ({place}) registers no `{name}`.", [f"{module}:{other}" for other in near]
            else:
                sentence, robot = f"There is no environment `{name}`.", os.path.join(name, "robot.py")
                near = [robot] if os.path.isfile(robot) else near
            hint = "An environment of your own or of another package is `module:EnvId`, where importing `module` "
            hint = f"Did you mean {' or '.join(f'`{other}`' for other in near)}?" if near else f"{hint}registers it."
            raise UnknownEnvironment(f"{sentence} {hint}") from error

    def _describe(self, env: "gymnasium.Env[Any, Any]", max_episode_steps: int | None) -> None:
        """What the trainer has to know: sizes, bounds, the time limit and the time that a step takes."""
        observations = self._call("its observation_space", getattr, env, "observation_space")
        actions = self._call("its action_space", getattr, env, "action_space")
        check_observations(self.name, observations)
        check_actions(self.name, actions)
        self._observation_shape = observations.shape
        self._action_dtype, self._action_low, self._action_high = actions.dtype, actions.low.copy(), actions.high.copy()
        self.observation_size, self.action_size = int(np.prod(observations.shape)), int(np.prod(actions.shape))
        self.largest_observation = _largest(observations)
        self.action_low = tuple(float(low) for low in np.ravel(actions.low))
        self.action_high = tuple(float(high) for high in np.ravel(actions.high))
        limits = []
        outer: Any = env
        while isinstance(outer, gymnasium.Wrapper):
            if isinstance(outer, gymnasium.wrappers.TimeLimit):
                # One that the task itself brought would hold beside gymnasium.make's.
                outer._max_episode_steps = max_episode_steps or outer._max_episode_steps
                limits.append(outer._max_episode_steps)
            outer = outer.env
        self.max_episode_steps = min(limits, default=None)
        self.hardware = self._call("its hardware", getattr, env.unwrapped, "hardware", False) is True
        # MuJoCo's tasks and Pendulum have it; render_fps is another thing.
        dt = self._call("its dt", getattr, env.unwrapped, "dt", None)
        try:
            seconds = _number(dt)
        except Exception:  # something else has that name
            seconds = 0.0
        self.step_seconds = seconds if 0 < seconds < float("inf") else None

    def _call(self, where: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call the user's code: what it raises becomes a sentence, its global random numbers are its own."""
        other = GymnasiumEnvironment._drawing
        if other is not self:
            if other is not None:
                other._global_random = np.random.get_state(), random.getstate()
            if self._global_random is not None:
                np.random.set_state(self._global_random[0])
                random.setstate(self._global_random[1])
            GymnasiumEnvironment._drawing = self
        try:
            return function(*arguments, **keywords)
        except (MemoryError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise _told(self.name, where, error) from error

    def _seeded_reset(self, seed: int) -> Any:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        return self._env.reset(seed=seed)  # type: ignore[union-attr]  # None once it is closed

    def _number(self, what: str, value: Any) -> float:
        try:
            return _number(value)
        except Exception as error:
            raise EnvironmentFault(
                f"{self.name} gave {_kind(value)} as {what} in step {self._episode_step} of an episode; one number was "
                "expected."
            ) from error

    def _store(self, observation: Any, reward: float) -> None:
        values: Any = None
        try:
            values = np.asarray(observation)
            if values.dtype.kind == "O" and not any(isinstance(value, str | bytes | None) for value in values.flat):
                values = values.astype(np.float64)
        except Exception:
            pass  # told below
        if values is None or values.dtype.kind not in "fiub":
            problem = "an array of numbers was expected"
        elif not _alike(values.shape, self._observation_shape):
            problem = f"its observation space has shape {self._observation_shape}"
        else:
            self._observation[:] = values.ravel()
            check_finite(self.name, self.observation, reward, self._episode_step)
            return
        where = f"in step {self._episode_step} of an episode" if self._episode_step else "from reset"
        raise EnvironmentFault(f"{self.name} gave {_kind(observation)} as observation {where}; {problem}.")


def _look_here_last() -> None:
    """The user's module most likely is in the current folder; a random.py there must not be taken for Python's."""
    sys.path[:] = [folder for folder in sys.path if folder]
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        return
    if here not in sys.path:
        sys.path.append(here)


def _largest(space: Any) -> tuple[int, float] | None:
    """Index and size of the largest bound of a Box; the largest floats mean that there is none."""
    bounds = np.maximum(np.abs(space.low.astype(np.float64)), np.abs(space.high.astype(np.float64))).ravel()
    bounds[bounds > _NO_BOUND] = 0.0
    index = int(bounds.argmax())
    return (index, float(bounds[index])) if bounds[index] > 0 else None


def _alike(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether shapes differ by nothing but sizes of 1."""
    return shape == other or [size for size in shape if size != 1] == [size for size in other if size != 1]


def _take_blas_buffers() -> None:
    """Have OpenBLAS map its buffers now: 32 MB of addresses, little of it memory.

    It maps them at the first product that is not small, and ends the process when a limit on its data forbids it. The
    limit, if there is one already, grows by what is mapped.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    before = memory()[2]
    matrix, vector = np.ones((2, 10_000)), np.ones(10_000)
    matrix @ vector
    scipy_blas = sys.modules.get("scipy.linalg.blas")  # SciPy brings an OpenBLAS of its own
    if scipy_blas is not None:
        scipy_blas.dgemv(1.0, matrix, vector)
    if soft != hard:
        soft += max(0, memory()[2] - before)
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _number(value: Any) -> float:
    """One number, an array of one as well; what float() raises for anything else, and for text."""
    if isinstance(value, np.ndarray | list | tuple):
        value = np.asarray(value).item()
    if isinstance(value, str | bytes):
        raise TypeError
    return float(value)


def _told(env_id: str, where: str, error: BaseException) -> EdgedstError:
    """The sentence for what the user's code raised."""
    words, missing = _words(error), None
    if isinstance(error, SystemExit):
        code = "" if error.code is None else error.code
        return EnvironmentFault(f"{env_id} called sys.exit({code}) in {where}. Nothing already saved is lost.")
    if isinstance(error, gymnasium.error.DependencyNotInstalled):
        missing = f"{env_id} needs a package that is not installed: {words}"
    elif isinstance(error, ModuleNotFoundError) and error.name:
        importer, package = _importer(error), error.name.partition(".")[0]
        known = f": `pip install {'pillow' if package == 'PIL' else package}`" if package in EXTRAS else ""
        missing = (
            f"`{env_id}`: `{importer}` imports `{error.name}`, and Python finds no such module. Install the package "
            f"that has it{known}."
            if importer
            else f"`{env_id}`: Python finds no module `{error.name}`. Start edgedst in the folder that holds it, or "
            "install it."
        )
    if missing:
        made = where != _CONSTRUCTION and not where.startswith("the import")
        return EnvironmentFault(missing) if made else UnknownEnvironment(missing)
    # The wrappers that take a step's result apart, gymnasium's and others, do not say what they expect.
    if "unpack" in words and ("expected 5" in words or _modules(error)[-1].startswith("gymnasium.wrappers")):
        return EnvironmentFault(_wrong_step(env_id, words.rstrip(".")))
    advice = ""
    if isinstance(error, TypeError) and where == "reset" and "unexpected keyword argument" in words:
        advice = (
            " Gymnasium's reset is `def reset(self, *, seed=None, options=None)`; the old package gym's had no seed."
        )
    elif isinstance(error, TypeError) and where == _CONSTRUCTION and "argument 'render_mode'" in words:
        advice = " So it cannot be drawn: leave `--video` and `--render` out, or give its class Gymnasium's render()."
    elif isinstance(error, TypeError) and where == _CONSTRUCTION and "required" in words:
        names = re.findall(r"'(\w+)'", words.partition(" was raised from ")[0])
        shown = ", ".join(f'"{name}": ...' for name in names) or "..."
        advice = f" Give it `--env-kwargs '{{{shown}}}'`, or register them: `gymnasium.register(..., kwargs={{...}})`."
    return EnvironmentFault(
        f"{env_id} raised {type(error).__name__} in {where}: {words}{advice} (`--debug` shows the traceback). Nothing "
        "already saved is lost."
    )


def _importer(error: ModuleNotFoundError) -> str:
    """The module whose import statement failed; nothing when the module that was asked for itself is missing."""
    passing_on = (__name__, "gymnasium.envs.registration", "importlib", "importlib._bootstrap")
    return next((name for name in reversed(_modules(error)) if name not in passing_on), "")


def _modules(error: BaseException) -> list[str]:
    """The modules through which an error came, the one that raised it last."""
    names, place = [], error.__traceback__
    while place is not None:
        names.append(str(place.tb_frame.f_globals.get("__name__", "")))
        place = place.tb_next
    return names


def _wrong_step(env_id: str, got: str) -> str:
    return (
        f"{env_id}'s step has to give (observation, reward, terminated, truncated, info): {got}. Four values are the "
        "old package gym's: give `terminated` and `truncated` in the place of `done`."
    )


def _kind(value: Any) -> str:
    """What a value is, in few words."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}" + ("" if value.dtype.kind in "fiub" else f" and dtype {value.dtype}")
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{_words(value)[:100].rstrip('.')} ({type(value).__name__})"


def _words(value: Any) -> str:
    try:
        text = str(value)
    except Exception:
        text = "no text"
    text = " ".join(text.encode(errors="backslashreplace").decode().split())
    return text[:_LONGEST_WORDS].rstrip(".") + "."
