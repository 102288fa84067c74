"""A native MuJoCo task: the core steps it, this class keeps the time limit and turns errors into edgedst's."""

from edgedst import core
from edgedst.envs import Environment, check_action, check_finite
from edgedst.envs.tasks import NATIVE_TASKS
from edgedst.errors import CheckpointError, ConfigError, EnvironmentFault, SimulatorMismatch

FACTOR_STREAM = 2**32 - 2  # of the episode's seed: the reset's noise and a disturbance draw from others


class MujocoEnvironment(Environment):
    """A task of `NATIVE_TASKS`, equal to gymnasium's bit for bit from the same state and actions.

    Only `reset` differs: its noise comes from the core's counter-based generator, not NumPy's. And where `randomize`
    says so, an episode has other frictions, masses, ...: `disturbances.in_use` tells what it holds.

    Raises:
        SimulatorMismatch: the installed MuJoCo cannot be loaded, or its self-check failed.
        ConfigError: `randomize` would multiply nothing.
    """

    native = True

    def __init__(
        self,
        env_id: str,
        library: str,
        model_file: str,
        state_bits: dict[str, int],
        max_episode_steps: int | None = None,
        randomize: "dict[str, list[float]] | None" = None,
    ) -> None:
        task = NATIVE_TASKS[env_id]
        factors = randomize or {}
        try:
            self._host = core.MujocoHost(library, model_file, env_id, state_bits, list(factors))
        except (OSError, ValueError, RuntimeError) as error:
            raise SimulatorMismatch(str(error)) from error
        if idle := self._host.idle_factors:
            raise ConfigError(
                f"`randomize` has {idle[0]}, and every number of {env_id}'s model that it would multiply is 0. Leave "
                "it out."
            )
        self._ranges = list(factors.values())
        self._draws = memoryview(bytearray(4 * len(factors))).cast("f")
        self._factors = memoryview(bytearray(8 * len(factors))).cast("d")
        self._host.take_warnings()  # what the XML loader says of gymnasium's files is not the user's to mend
        self.name = env_id
        self.observation_size = self._host.observation_size
        self.action_size = self._host.action_size
        self.action_low = task.action_low
        self.action_high = task.action_high
        self.max_episode_steps = self._time_limit = max_episode_steps or task.max_episode_steps
        self.step_seconds = self._host.step_seconds
        self.observation = self._host.observation
        self.position = self._host.position  # of each joint, for who draws it; overwritten as `observation` is
        self.constants = self._host.constants
        self._largest_action = max(task.action_high)
        self._episode_step = 0

    def reset(self, seed: int) -> None:
        """Begin an episode from the task's initial state and noise of this seed."""
        self._episode_step = 0
        try:
            if self._ranges:
                self._draw(seed)
            self._host.reset(seed)
        except RuntimeError as error:
            raise EnvironmentFault(f"{self.name}: {error} (reset).") from error
        check_finite(self.name, self.observation, 0.0, 0)

    def step(self, action: "memoryview[float]") -> tuple[float, bool, bool]:
        """See `Environment.step`."""
        check_action(self.name, action, self._episode_step + 1)  # MuJoCo would act 0, warn and go on
        largest = self._largest_action
        if max(action) > largest or min(action) < -largest:  # by a last bit, from an exported actor
            clipped = memoryview(bytearray(4 * len(action))).cast("f")
            for index, value in enumerate(action):
                clipped[index] = min(max(value, -largest), largest)
            action = clipped
        try:
            reward, terminated = self._host.step(action)
        except RuntimeError as error:
            raise EnvironmentFault(
                f"{self.name}: {error} (step {self._episode_step + 1} of an episode). Nothing of this step was stored."
            ) from error
        self._episode_step += 1
        check_finite(self.name, self.observation, reward, self._episode_step)
        return reward, terminated, self._episode_step >= self._time_limit

    def _draw(self, seed: int) -> None:
        """The factors of an episode, and the model that they make."""
        core.Random(seed, FACTOR_STREAM).uniform(self._draws, 0.0, 1.0)
        for i, (low, high) in enumerate(self._ranges):
            self._factors[i] = low + (high - low) * self._draws[i]
        self._host.multiply(self._factors)

    def state(self) -> bytes:
        """The episode's step count, its factors, then MuJoCo's whole integration state."""
        return self._episode_step.to_bytes(4, "little") + bytes(self._factors) + self._host.state()

    def set_state(self, state: bytes) -> None:
        """See `Environment.set_state`."""
        behind = 4 + self._factors.nbytes
        try:
            if self._ranges and len(state) > behind:  # else the host says that it is none
                self._factors.cast("B")[:] = state[4:behind]
                self._host.multiply(self._factors)
            self._host.set_state(state[behind:])
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        self._episode_step = int.from_bytes(state[:4], "little")

    def take_warnings(self) -> list[str]:
        """MuJoCo's own words, for example that the simulation became unstable."""
        return self._host.take_warnings()
