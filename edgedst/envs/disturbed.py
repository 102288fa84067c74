"""A simulator as a machine would be: actions arrive late, observations are noisy.

It stands around any host and is part of the task: who trains sees the noisy observation and remembers the action that
it chose. Rewards and ends of episodes are those of the simulator itself. Everything drawn comes from the episode's
seed.
"""

import struct

from edgedst import core
from edgedst.envs import Environment
from edgedst.errors import CheckpointError, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

STREAM = 2**32 - 1  # of the episode's seed: the host may draw from others
_STATE = struct.Struct("<4sIIQQ")  # "DIST", steps of the episode, its delay, its seed, counter of the noise
_MAGIC = b"DIST"


class DisturbedEnvironment(Environment):
    """`inner` with a delay of actions and noise on observations.

    Until the first action arrives, the middle of the bounds is acted: 0 where they are symmetric. Observations that are
    constants of the task stay what they are. A state is the inner one's with what was drawn; where the inner one has
    none, there is none: the episode is its seed and its actions.

    Args:
        inner: any simulator. From now on it is this one's, to be closed too.
        delay: lowest and highest number of steps that an action waits for; drawn uniformly an episode at a time.
        sigmas: of Gaussian noise in units of the observation: one for all, one an observation, or none.

    Raises:
        ConfigError: `inner` is a machine, or the number of sigmas is neither 1 nor that of the observations.
    """

    def __init__(self, inner: Environment, delay: "Sequence[int]" = (0, 0), sigmas: "Sequence[float]" = ()) -> None:
        n, m = inner.observation_size, inner.action_size
        if inner.hardware:
            raise ConfigError(
                f"{inner.name} is hardware, which has a delay and a noise of its own: leave `action_delay` and "
                "`observation_noise` out."
            )
        if len(sigmas) not in (0, 1, n):
            raise ConfigError(
                f"`observation_noise` has {len(sigmas)} numbers, and {inner.name} has {n} observations: give one "
                "number for all, or one for each."
            )
        self.inner = inner
        for name in (
            *("name", "native", "observation_size", "action_size", "action_low", "action_high", "max_episode_steps"),
            *("step_seconds", "largest_observation", "observation_low", "observation_high", "growth_beside"),
            "constants",
        ):
            setattr(self, name, getattr(inner, name))
        self._sigmas = memoryview(bytearray(8 * n)).cast("d")
        for i in range(n if sigmas else 0):
            self._sigmas[i] = sigmas[i if len(sigmas) == n else 0]
        for i, _ in self.constants:
            self._sigmas[i] = 0.0
        self._noisy = any(self._sigmas)
        self.observation = memoryview(bytearray(8 * n)).cast("d") if self._noisy else inner.observation
        self._low, self._high = delay
        # A ring of actions; one that arrives at once needs a place too.
        self._ring = memoryview(bytearray(4 * m * (self._high + 1))).cast("f")
        self._places = [self._ring[i * m : (i + 1) * m] for i in range(self._high + 1)]
        self._seed = self._step = self._delay = 0
        self._random = core.Random(0, STREAM)

    def reset(self, seed: int) -> None:
        """Begin an episode; its delay and its noise come from the same seed."""
        self.inner.reset(seed)
        self._seed, self._step = seed, 0
        self._random = core.Random(seed, STREAM)
        self._delay = self._low + self._random.integer() % (self._high - self._low + 1)
        for place in self._places:
            for i, (low, high) in enumerate(zip(self.action_low, self.action_high, strict=True)):
                place[i] = (low + high) / 2
        self._observe()

    def step(self, action: "memoryview[float]") -> tuple[float, bool, bool]:
        """See `Environment.step`: the action is taken later, an earlier one now."""
        places = self._places
        size = self._delay + 1
        places[self._step % size][:] = action
        self._step += 1
        result = self.inner.step(places[self._step % size])  # the oldest of them
        self._observe()
        return result

    def _observe(self) -> None:
        if self._noisy:
            self.observation[:] = self.inner.observation
            self._random.disturb(self.observation, self._sigmas)

    def state(self) -> "bytes | None":
        """What was drawn, the actions on their way, the noisy observation, then the inner state."""
        inner = self.inner.state()
        if inner is None:
            return None
        drawn = _STATE.pack(_MAGIC, self._step, self._delay, self._seed, self._random.counter)
        return drawn + bytes(self._ring) + bytes(self.observation) + inner

    def set_state(self, state: bytes) -> None:
        """See `Environment.set_state`."""
        actions = _STATE.size + self._ring.nbytes
        behind = actions + self.observation.nbytes
        if len(state) < behind or state[:4] != _MAGIC:
            raise CheckpointError(
                f"The saved simulation state does not belong to {self.name} with this action_delay and "
                "observation_noise. Take the run's folder from a backup, or train anew."
            )
        _, self._step, self._delay, self._seed, counter = _STATE.unpack_from(state)
        if not self._low <= self._delay <= self._high:
            raise CheckpointError(
                f"The saved simulation state of {self.name} has a delay of {self._delay} steps, and this run's is "
                f"{self._low} to {self._high}. Take the run's folder from a backup, or train anew."
            )
        self.inner.set_state(state[behind:])
        self._random = core.Random(self._seed, STREAM)
        self._random.counter = counter
        self._ring.cast("B")[:] = state[_STATE.size : actions]
        self.observation.cast("B")[:] = state[actions:behind]

    def take_warnings(self) -> list[str]:
        """The simulator's."""
        return self.inner.take_warnings()

    def memory_beside(self) -> int:
        """The simulator's."""
        return self.inner.memory_beside()

    def close(self) -> None:
        """Close the simulator."""
        self.inner.close()
