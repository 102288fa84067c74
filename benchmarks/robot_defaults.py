"""Which settings learn on a machine: examples/cartpole's equations, noise and latency, without its clock.

    python benchmarks/robot_defaults.py --steps 8000 --seeds 0 1 2 3
    python benchmarks/robot_defaults.py --only "4 updates"

Steps come as fast as updates allow, N updates each; what depends on a clock (missed periods, the age of the weights) is
not here. Prints each run's returns without noise (mean of five episodes of 10 s; 500 is perfect) every 1,000 steps,
then each case's mean over seeds in the second half. Minutes for each case.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
from array import array
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from edgedst import core
from edgedst.agents import agent_class
from edgedst.launch.settings import combined

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "cartpole"
NOISE = (0.002, 0.02, 0.002, 0.03)  # of each observation, about the plant's
LATENCY_SECONDS = 0.002
EPISODES = 5  # an evaluation

CASES: dict[str, dict[str, Any]] = {
    "the defaults, 20 updates": {"updates_per_step": 20},
    "10 updates": {"updates_per_step": 10},
    "4 updates": {"updates_per_step": 4},
    "1 update": {"updates_per_step": 1},
    "ds-td3, 10 updates": {"updates_per_step": 10, "method": "ds-td3"},
    "static": {"updates_per_step": 20, "method": "static-sac"},
    "dense": {"updates_per_step": 20, "method": "sac"},
    "evolution every 20,000 updates": {"updates_per_step": 20, "evolve_every": 20_000},
    "learning rate 1e-3, batch 100, 10 updates": {"updates_per_step": 10, "learning_rate": 1e-3, "batch_size": 100},
    "normalised by bounds alone, 20 updates": {"updates_per_step": 20, "normalize_observations": False},
    "normalised by bounds alone, 4 updates": {"updates_per_step": 4, "normalize_observations": False},
    "a history of 2, 4 updates": {"updates_per_step": 4, "history": 2},
    "gamma 0.98": {"updates_per_step": 20, "gamma": 0.98},
    "hidden 128,128": {"updates_per_step": 20, "hidden": (128, 128)},
}


def example(name: str) -> ModuleType:
    """A file of the example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{EXAMPLE}/{name}.py is missing.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Task:
    """The example's robot over its equations: observations normalised as training does it."""

    def __init__(self, seed: int) -> None:
        self.robot, self.equations = example("robot"), example("plant").CartPole()
        self.random = random.Random(seed)
        self.steps = round(self.robot.RATE_HZ * self.robot.EPISODE_SECONDS)
        self.raw: list[float] = []

    def reset(self) -> memoryview:
        """Nearly upright, at rest."""
        self.equations.state = tuple(self.random.uniform(-0.05, 0.05) for _ in range(4))
        self.force, self.length = 0.0, 0
        return self.seen()

    def seen(self) -> memoryview:
        """(4,) float64."""
        self.raw = [value + self.random.gauss(0, sd) for value, sd in zip(self.equations.state, NOISE, strict=True)]
        bounds = self.robot.OBSERVATION
        self.raw = [max(low, min(high, value)) for value, (_, low, high) in zip(self.raw, bounds, strict=True)]
        return memoryview(array("d", [value / high for value, (_, _, high) in zip(self.raw, bounds, strict=True)]))

    def step(self, action: float) -> tuple[memoryview, float, bool, bool]:
        """One period with an action in [-1, 1]."""
        before, period = self.raw, 1 / self.robot.RATE_HZ
        self.equations.advance(self.force, LATENCY_SECONDS)
        self.force = 10.0 * action
        self.equations.advance(self.force, period - LATENCY_SECONDS)
        seen = self.seen()
        self.length += 1
        reward = self.robot.reward(before, [self.force], self.raw)
        return seen, reward, self.robot.terminated(self.raw), self.length >= self.steps


def learn(settings: dict[str, Any], seed: int, steps: int) -> list[int]:
    """Returns without noise, every 1,000 steps."""
    path = str(EXAMPLE / "robot.py")
    config = SimpleNamespace(**combined({"env": path, "seed": seed, "steps": steps, **settings}, {}, "").settings())
    task, judge = Task(seed), Task(1000 + seed)

    def make(arena: core.Arena) -> Any:
        agent = agent_class(config.method)(arena, config, 4, 1)
        agent.replay = core.Replay(arena, "replay", steps + steps // 5, 4, 1, "float16", [])
        return agent

    measured = core.Arena(None)
    make(measured)
    agent = make(core.Arena(measured.used_bytes))
    agent.initialise()
    action = memoryview(array("f", [0.0]))
    seen = task.reset()
    agent.begin_episode(seen)
    returns = []
    for step in range(1, steps + 1):
        choose = agent.explore if step > config.start_steps else lambda _, a: agent.random_action(a)
        choose(agent.seen, action)
        seen, reward, terminated, truncated = task.step(action[0])
        agent.remember(action, reward, seen, terminated, truncated)
        if terminated or truncated:
            seen = task.reset()
            agent.begin_episode(seen)
        for _ in range(config.updates_per_step if step > config.start_steps else 0):
            agent.update()
        if step % 1000 == 0:
            returns.append(round(sum(episode(judge, agent, action) for _ in range(EPISODES)) / EPISODES))
    return returns


def episode(task: Task, agent: Any, action: memoryview) -> float:
    """Return of an episode without noise."""
    seen, total, over = agent.seen_in_evaluation, 0.0, False
    seen.begin(task.reset())
    while not over:
        agent.act(seen, action)
        observation, reward, terminated, truncated = task.step(action[0])
        seen.add(action, observation)
        total += reward
        over = terminated or truncated
    return total


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--only", default="", help="cases with this in their names")
    told = parser.parse_args()
    for name, settings in CASES.items():
        if told.only not in name:
            continue
        later = []
        for seed in told.seeds:
            returns = learn(settings, seed, told.steps)
            later += returns[len(returns) // 2 :]
            print(f"{name}, seed {seed}: {returns}", flush=True)
        good = sum(value >= 450 for value in later)
        print(f"{name}: mean {sum(later) / len(later):.0f}, {good} of {len(later)} at 450 or more", flush=True)


if __name__ == "__main__":
    sys.exit(main())
