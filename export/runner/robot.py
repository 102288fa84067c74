"""The robot that the actor moves: where observations come from and where actions go. Yours to write.

As it stands it reads zeros and moves nothing, so that the loop can be tried on a bare board. `control_loop.py` imports
this file, also where it only wants `stop`: what stands outside of the functions must not move anything. An exception
in a function ends the loop, and `stop` is called.
"""


def start():
    """Make the robot ready. Called once, after the actor has passed its check."""


def read_observation(size):
    """`size` numbers, in the order and the units that the actor was trained with; called at the start of each step.

    Return the newest sample at once. To wait for the next one costs its time: with a sensor that is a little slower
    than the loop every second period would be missed. Read it in a `threading.Thread(..., daemon=True)` and give its
    last value here; a thread that is no daemon would keep the loop from ending.
    """
    return [0.0] * size


def apply_action(action):
    """Give the actions, floats in the environment's units and within its bounds, to the motors; must not block."""


def stop():
    """Bring the robot to rest, from any state, also before `start`: when the loop ends, and by systemd once more."""
