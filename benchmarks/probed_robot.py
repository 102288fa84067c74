"""examples/cartpole/robot.py, with the time of every apply_action: to PROBE, int64 nanoseconds; -1 begins an episode.

PROBE_HZ sets another rate. Times are kept in memory and written when the machine comes to rest.
"""

import importlib
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "cartpole"))  # noqa: PTH100, PTH118, PTH120  # as lean as the robot
sys.modules.pop("robot", None)  # this file, where it was imported under that name
cartpole = importlib.import_module("robot")
start, read_observation, reward, terminated = (
    getattr(cartpole, name) for name in ("start", "read_observation", "reward", "terminated")
)
OBSERVATION, ACTION, EPISODE_SECONDS = cartpole.OBSERVATION, cartpole.ACTION, cartpole.EPISODE_SECONDS
RATE_HZ = int(os.environ.get("PROBE_HZ", "50"))
_times = memoryview(bytearray(8 * 60_000)).cast("q")
_count = 0


def _note(value):
    global _count
    if _count < len(_times):
        _times[_count] = value
        _count += 1


def apply_action(action):
    """See examples/cartpole."""
    cartpole.apply_action(action)
    _note(time.monotonic_ns())


def reset():
    """See examples/cartpole."""
    cartpole.reset()
    _note(-1)


def stop():
    """See examples/cartpole."""
    global _count
    cartpole.stop()
    if _count and "PROBE" in os.environ:
        with open(os.environ["PROBE"], "ab") as file:  # noqa: PTH123  # likewise
            file.write(_times[:_count])
    _count = 0
