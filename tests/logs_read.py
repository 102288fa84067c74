"""Reads logs in this process, as `logs/convert.py` does in its own, and takes its records apart."""

import numpy as np

from edgedst.envs.robot import Robot
from edgedst.logs.columns import Task
from edgedst.logs.convert import converted, opened

TASK = Task("Arm-v0", 2, 1, (-2.0,), (2.0,))
BEGINS, TERMINATED, TRUNCATED = 1, 2, 4
# A cart of 10 Hz; it says itself what a step is worth, and that it is over beyond 0.9.
ROBOT = """
RATE_HZ, EPISODE_SECONDS = 10, 5
OBSERVATION = [("angle, rad", -1.0, 3.0), ("speed", -2.0, 2.0)]
ACTION = [("force", -2.0, 4.0)]
def start(): raise AssertionError("nothing may move")
read_observation = apply_action = stop = reset = start
def reward(observation, action, next_observation): return action[0] + 10 * next_observation[0]
def terminated(observation): return observation[0] > 0.9
"""


def robot_task(folder):
    path = folder / "robot.py"
    path.write_text(ROBOT, encoding="utf-8")
    return Task.of_robot(Robot(str(path)), largest=65_504.0)


def csv_file(folder, text, name="log.csv"):
    """A file of these lines; spaces in them are there for the reader."""
    path = folder / name
    lines = [line.replace(" ", "") for line in text.strip().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def records(log, task=TASK):
    """[(flags, reward, action, next observation)] of each record, and what is told of them."""
    parts = []
    told = converted(task, opened(str(log), task), parts.append)
    n, m = task.observation_size, task.action_size
    fields = [("flags", "u1"), ("reward", "<f8"), ("action", "<f4", (m,)), ("observation", "<f8", (n,))]
    found = np.frombuffer(b"".join(parts), np.dtype(fields))
    assert told["rows"] == len(found)
    return [
        (int(row["flags"]), float(row["reward"]), row["action"].tolist(), row["observation"].tolist()) for row in found
    ], told


def steps(log, task=TASK):
    """Records in short: (flags, first number of the next observation)."""
    return [(flags, observation[0]) for flags, _, _, observation in records(log, task)[0]]


__all__ = ["BEGINS", "TASK", "TERMINATED", "TRUNCATED", "csv_file", "records", "robot_task", "steps"]
