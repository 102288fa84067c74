"""A native MuJoCo task: the core steps it, this class keeps the time limit and turns errors into edgedst's."""

from edgedst import core
from edgedst.envs import Environment, check_finite
from edgedst.envs.tasks import NATIVE_TASKS
from edgedst.errors import CheckpointError, EnvironmentFault, SimulatorMismatch


class MujocoEnvironment(Environment):
    """A task of `NATIVE_TASKS`, equal to gymnasium's bit for bit from the same state and actions.

    Only `reset` differs: its noise comes from the core's counter-based generator, not NumPy's.

    Raises:
        SimulatorMismatch: the installed MuJoCo cannot be loaded, or its self-check failed.
    """

    native = True

    def __init__(
        self,
        env_id: str,
        library: str,
        model_file: str,
        state_bits: dict[str, int],
        max_episode_steps: int | None = None,
    ) -> None:
        task = NATIVE_TASKS[env_id]
        try:
            self._host = core.MujocoHost(library, model_file, env_id, state_bits)
        except (OSError, ValueError, RuntimeError) as error:
            raise SimulatorMismatch(str(error)) from error
        self._host.take_warnings()  # what the XML loader says of gymnasium's files is not the user's to mend
        self.name = env_id
        self.observation_size = self._host.observation_size
        self.action_size = self._host.action_size
        self.action_low = task.action_low
        self.action_high = task.action_high
        self.max_episode_steps = self._time_limit = max_episode_steps or task.max_episode_steps
        self.step_seconds = self._host.step_seconds
        self.observation = self._host.observation
        self.constants = self._host.constants
        self._largest_action = max(task.action_high)
        self._episode_step = 0

    def reset(self, seed: int) -> None:
        """Begin an episode from the task's initial state and noise of this seed."""
        self._episode_step = 0
        try:
            self._host.reset(seed)
        except RuntimeError as error:
            raise EnvironmentFault(f"{self.name}: {error} (reset).") from error
        check_finite(self.name, self.observation, 0.0, 0)

    def step(self, action: "memoryview[float]") -> tuple[float, bool, bool]:
        """See `Environment.step`."""
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
        check_finite(self.name, self.observation, reward, self._episode_step, action)
        return reward, terminated, self._episode_step >= self._time_limit

    def state(self) -> bytes:
        """The episode's step count, then MuJoCo's whole integration state."""
        return self._episode_step.to_bytes(4, "little") + self._host.state()

    def set_state(self, state: bytes) -> None:
        """See `Environment.set_state`."""
        try:
            self._host.set_state(state[4:])
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        self._episode_step = int.from_bytes(state[:4], "little")

    def take_warnings(self) -> list[str]:
        """MuJoCo's own words, for example that the simulation became unstable."""
        return self._host.take_warnings()
