"""Dense SAC in PyTorch on a robot.py, in one process, in the two ways that people write it.

In turns it acts first, and begins an update only where the longest one of the last fifty would still fit before the
next period; where none ever fits, one each step, late. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque

import numpy as np
from torch_learners import SAC, Replay

from edgedst.envs.robot import Robot
from edgedst.launch.settings import combined


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("robot", help="its file")
    parser.add_argument("hidden", type=lambda text: tuple(map(int, text.split(","))), help="widths, as 256,256")
    parser.add_argument("seconds", type=float)
    parser.add_argument("seed", type=int)
    parser.add_argument("way", choices=("turns", "episodes"))
    told = parser.parse_args()
    config = combined({"env": told.robot, "method": "sac", "hidden": told.hidden, "seed": told.seed}, {}, "")
    robot = Robot(told.robot)
    low, high = np.array(robot.observation_low), np.array(robot.observation_high)
    a_low, a_high = np.array(robot.action_low), np.array(robot.action_high)
    n, m = len(low), len(a_low)
    replay = Replay(100_000, n, m)
    learner = SAC(config, n, m, replay)
    rng = np.random.default_rng(told.seed)
    raw = memoryview(bytearray(8 * n)).cast("d")
    period = 1 / robot.rate_hz

    def read() -> tuple[np.ndarray, list[float]]:
        robot.read(raw)
        values = np.array(raw)
        return ((values - (low + high) / 2) / ((high - low) / 2)).astype(np.float32), values.tolist()

    steps = updates = 0
    took: deque[float] = deque([0.0], 50)
    returns = []
    end = time.monotonic() + told.seconds
    robot.start()
    try:
        while time.monotonic() < end:
            robot.reset()
            due = time.monotonic()
            seen, values = read()
            total = 0.0
            for length in range(1, robot.episode_steps + 1):  # noqa: B007  # how long it was
                action = rng.uniform(-1, 1, m) if steps < config.start_steps else learner.explore(seen)
                scaled = (a_low + (np.asarray(action, float) + 1) / 2 * (a_high - a_low)).tolist()
                robot.apply(scaled)
                due += period
                learning = told.way == "turns" and steps >= config.start_steps
                while learning and time.monotonic() + max(took) < due:
                    began = time.monotonic()
                    learner.update()
                    took.append(time.monotonic() - began)
                    updates += 1
                if learning and max(took) >= period:
                    began = time.monotonic()
                    learner.update()  # none ever fits: late, or never to learn
                    took.append(time.monotonic() - began)
                    updates += 1
                late = time.monotonic() - due
                if late > 0:
                    due += -(-late // period) * period
                time.sleep(max(0.0, due - time.monotonic()))
                next_seen, next_values = read()
                reward = robot.reward(values, scaled, next_values)
                terminated = robot.terminated(next_values)
                replay.add(seen, np.asarray(action, np.float32), next_seen, reward, terminated)
                seen, values = next_seen, next_values
                total += reward
                steps += 1
                if terminated or time.monotonic() >= end:
                    break
            robot.stop()
            returns.append((steps, total))
            for _ in range(length if told.way == "episodes" and steps >= config.start_steps else 0):
                learner.update()
                updates += 1
    finally:
        robot.stop()
    learning = max(1, steps - config.start_steps)
    print(json.dumps({"returns": returns, "updates_per_step": round(updates / learning, 3)}))


if __name__ == "__main__":
    main()
