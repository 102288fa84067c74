"""The tasks that the native MuJoCo host knows: what Python has to know of them. Their rules are in mujoco_tasks.cpp."""


class NativeTask:
    """One row of the table.

    Args:
        model_file: MJCF file among gymnasium's assets.
        action_size: actuators; every one takes [-1, 1] in these tasks.
        max_episode_steps: gymnasium's TimeLimit.
    """

    def __init__(self, model_file: str, action_size: int, max_episode_steps: int = 1000) -> None:
        self.model_file = model_file
        self.action_low = (-1.0,) * action_size
        self.action_high = (1.0,) * action_size
        self.max_episode_steps = max_episode_steps


NATIVE_TASKS = {
    "HalfCheetah-v4": NativeTask("half_cheetah.xml", 6),
    "HalfCheetah-v5": NativeTask("half_cheetah.xml", 6),
    "Hopper-v4": NativeTask("hopper.xml", 3),
    "Hopper-v5": NativeTask("hopper.xml", 3),
    "Walker2d-v4": NativeTask("walker2d.xml", 6),
    "Walker2d-v5": NativeTask("walker2d_v5.xml", 6),  # other foot friction
}
