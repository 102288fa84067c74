"""The robot that the actor moves: where observations come from and where actions go. Yours to write.

As it stands it reads zeros and moves nothing, so that the loop can be tried on a bare board. `control_loop.py` imports
this file: what stands outside of the functions runs once, before the first step. An exception in any of them ends the
loop, and `stop` is called.
"""


def read_observation(size):
    """`size` numbers, in the order and the units that the actor was trained with; called at the start of each step."""
    return [0.0] * size


def apply_action(action):
    """Give the actions, floats in the environment's units and within its bounds, to the motors; must not block."""


def stop():
    """Bring the robot to rest, from any state. Called when the loop ends, and by systemd after a crash."""
