"""Environments behind one interface. The hosts live beside this file; `registry` finds and makes them."""

import math

from edgedst.errors import EnvironmentFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


# The most that float16 and float32 hold, in which a replay keeps observations and rewards.
LARGEST_FLOAT16, LARGEST_FLOAT32 = 65_504.0, 3.4e38


class Environment:
    """What a host offers the trainer. `observation` is the host's own buffer: the next reset or step overwrites it."""

    name: str
    native: bool  # True: no gymnasium and no numpy in this process
    observation_size: int
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    max_episode_steps: int | None  # the limit that holds; None: episodes have none
    step_seconds: float | None = None  # of the robot's time that an action holds; None: the environment does not say
    # It stands for a machine: there is one of it, it is never moved to be measured, and nothing is played again on it.
    hardware: bool = False
    missed_periods = 0  # of a machine, in its steps so far
    # (index, bound) of the largest bound that an observation is declared to have; None: none has one.
    largest_observation: "tuple[int, float] | None" = None
    # Bounds of the observation that the networks see as -1 and 1; None: they see it as it is.
    observation_low: "tuple[float, ...] | None" = None
    observation_high: "tuple[float, ...] | None" = None
    growth_beside = 0  # bytes that `memory_beside` may grow by
    observation: "memoryview[float]"  # format 'd', (observation_size,)
    # (action_size,) what the last step did instead of the action that it was given; None: that action.
    applied: "Sequence[float] | None" = None
    # (index, value) of observations that never move, by the task's definition: the replay need not store them.
    constants: "list[tuple[int, float]]" = []  # noqa: RUF012  # the lean trainer does without typing.ClassVar

    def reset(self, seed: int) -> None:
        """Begin an episode; the same seed gives the same one.

        Raises:
            EnvironmentFault: the environment raised, or its observation is not finite.
        """
        raise NotImplementedError

    def step(self, action: "memoryview[float]") -> tuple[float, bool, bool]:
        """Act for one step.

        Args:
            action: (action_size,) float32 in the environment's units.

        Returns:
            reward, terminated, truncated (by the time limit, which is the host's to keep).

        Raises:
            EnvironmentFault: the environment raised, or its observation or reward is not finite.
        """
        raise NotImplementedError

    def scale_action(self, action: "memoryview[float]", scaled: "memoryview[float]") -> None:
        """The action in [-1, 1] to `scaled`, in the environment's units; (action_size,) float32 both."""
        low, high = self.action_low, self.action_high
        for i, a in enumerate(action):
            scaled[i] = low[i] + (a + 1.0) / 2.0 * (high[i] - low[i])

    def state(self) -> "bytes | None":
        """All that `set_state` of a fresh host needs to go on bit for bit, the episode's step count included.

        None: there is no state that can be read, the episode is its seed and its actions.
        """
        return None

    def set_state(self, state: bytes) -> None:
        """Go on from `state()`, where that is not None.

        Raises:
            CheckpointError: the state is of another environment or version.
        """
        raise NotImplementedError

    def take_warnings(self) -> list[str]:
        """The simulator's warnings since the last call."""
        return []

    def memory_beside(self) -> int:
        """Bytes that processes of its own take, beyond what they share with this one, and that the budget counts."""
        return 0

    def close(self) -> None:
        """Free what the host holds outside of this process's memory. Twice is harmless.

        Raises:
            EnvironmentFault: the environment raised, or did not close in time.
        """


# Steps after which an episode of an evaluation ends where neither the task nor `max_episode_steps` limits it: the usual
# limit of Gymnasium's own tasks.
EPISODE_STEPS = 1_000


def episode_limit(environment: Environment) -> int:
    """Steps after which an evaluation's episode ends at the latest."""
    return environment.max_episode_steps or EPISODE_STEPS


def check_finite(name: str, observation: "memoryview[float]", reward: float, episode_step: int) -> None:
    """Refuse what would spoil the replay for good.

    Raises:
        EnvironmentFault: a NaN or infinity, with its place.
    """
    if math.isfinite(sum(observation) + reward):  # one pass in C; only a fault looks closer
        return
    if not math.isfinite(reward):
        what = f"a reward of {reward}"
    else:
        faults = [(index, value) for index, value in enumerate(observation) if not math.isfinite(value)]
        if not faults:  # finite numbers whose sum overflows
            return
        what = f"{faults[0][1]} at index {faults[0][0]} of the observation"
    raise EnvironmentFault(
        f"{name} gave {what} in step {episode_step} of an episode; finite numbers were expected. Nothing of this step "
        "was stored: correct the environment."
    )


def check_action(name: str, action: "Sequence[float]", episode_step: int) -> None:
    """Refuse an action that is in no action space.

    Raises:
        EnvironmentFault: a NaN or infinity, with its place.
    """
    if math.isfinite(sum(action)):
        return
    for index, value in enumerate(action):
        if not math.isfinite(value):
            raise EnvironmentFault(
                f"{name} was given an action of {value} at index {index} in step {episode_step} of an episode; finite "
                "numbers were expected. Nothing of this step was stored: the actor is at fault, not the environment."
            )
