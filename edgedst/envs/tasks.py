"""The tasks that the native MuJoCo host knows: what Python has to know of them.

Their rules are in csrc/mujoco/locomotion.cpp and csrc/mujoco/control.cpp.
"""


class NativeTask:
    """One row of the table.

    Args:
        model_file: MJCF file among gymnasium's assets.
        action_size: actuators.
        max_episode_steps: gymnasium's TimeLimit.
        largest_action: every actuator takes [-largest_action, largest_action].
    """

    def __init__(
        self, model_file: str, action_size: int, max_episode_steps: int = 1000, largest_action: float = 1.0
    ) -> None:
        self.model_file = model_file
        self.action_low = (-largest_action,) * action_size
        self.action_high = (largest_action,) * action_size
        self.max_episode_steps = max_episode_steps


_FLOAT32_04 = 0.4000000059604645  # gymnasium's bounds are float32

NATIVE_TASKS = {
    "HalfCheetah-v4": NativeTask("half_cheetah.xml", 6),
    "HalfCheetah-v5": NativeTask("half_cheetah.xml", 6),
    "Hopper-v4": NativeTask("hopper.xml", 3),
    "Hopper-v5": NativeTask("hopper.xml", 3),
    "Walker2d-v4": NativeTask("walker2d.xml", 6),
    "Walker2d-v5": NativeTask("walker2d_v5.xml", 6),  # other foot friction
    "Ant-v4": NativeTask("ant.xml", 8),
    "Ant-v5": NativeTask("ant.xml", 8),
    "Humanoid-v4": NativeTask("humanoid.xml", 17, largest_action=_FLOAT32_04),
    "Humanoid-v5": NativeTask("humanoid.xml", 17, largest_action=_FLOAT32_04),
    "Swimmer-v4": NativeTask("swimmer.xml", 2),
    "Swimmer-v5": NativeTask("swimmer.xml", 2),
    "InvertedPendulum-v4": NativeTask("inverted_pendulum.xml", 1, largest_action=3.0),
    "InvertedPendulum-v5": NativeTask("inverted_pendulum.xml", 1, largest_action=3.0),
    "InvertedDoublePendulum-v4": NativeTask("inverted_double_pendulum.xml", 1),
    "InvertedDoublePendulum-v5": NativeTask("inverted_double_pendulum.xml", 1),
    "Reacher-v4": NativeTask("reacher.xml", 2, max_episode_steps=50),
    "Reacher-v5": NativeTask("reacher.xml", 2, max_episode_steps=50),
    "Pusher-v5": NativeTask("pusher_v5.xml", 7, max_episode_steps=100, largest_action=2.0),
}
