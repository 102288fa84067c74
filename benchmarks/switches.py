"""What the switches between a simulator and a machine cost: bytes in the plan, microseconds a step and an episode.

    python benchmarks/switches.py                          Hopper-v5
    python benchmarks/switches.py --env Humanoid-v5 --plans 9

Bytes are those of all lines of `edgedst plan` but the replay's, against the same run without the switch: medians of
plans in turns, since what a process measures of itself differs by some ten thousand bytes. Microseconds a step are
measured around a simulator that does nothing, with the task's numbers of observations and actions: beside the
task's own step, they would drown in its spread. Those an episode are of the task's own reset. Both are medians of
differences, round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from typing import Any

import machine
from timing import Side, in_turns, progress

from edgedst.config import disturbing
from edgedst.disturbances import in_use
from edgedst.envs import Environment, registry
from edgedst.envs.disturbed import DisturbedEnvironment
from edgedst.launch.settings import flags, read_typed
from edgedst.stage import floats

# By the name of a row: settings, as they are typed.
SWITCHES: dict[str, dict[str, str]] = {
    "action delay": {"action_delay": "0..3"},
    "observation noise": {"observation_noise": "0.01"},
    "friction, gain": {"randomize": "friction=0.5..1.5,gain=0.9..1.1"},
    "mass": {"randomize": "mass=0.8..1.2"},
    "all of them": {
        "action_delay": "0..3",
        "observation_noise": "0.01",
        "randomize": "friction=0.5..1.5,mass=0.8..1.2,gain=0.9..1.1",
    },
}
NOTHING = "nothing"


class Still(Environment):
    """A simulator of another one's sizes whose step takes no time."""

    def __init__(self, like: Environment) -> None:
        self.name, self.native = like.name, like.native
        self.observation_size, self.action_size = like.observation_size, like.action_size
        self.action_low, self.action_high = like.action_low, like.action_high
        self.max_episode_steps, self.constants = like.max_episode_steps, like.constants
        self.observation = memoryview(bytearray(8 * like.observation_size)).cast("d")

    def reset(self, seed: int) -> None:
        """Nothing."""

    def step(self, action: memoryview[float]) -> tuple[float, bool, bool]:
        """Nothing."""
        return 0.0, False, False


def planned_bytes(env: str, switch: dict[str, str]) -> int:
    """All lines of a plan but the replay's."""
    options = [text for name, value in switch.items() for text in (flags(name)[0], value)]
    command = machine.edgedst_command("plan", "--env", env, *options, "--json")
    lines = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["lines"]
    return sum(line["bytes"] for line in lines if line["name"] != "replay")


def sides(env: str, switch: dict[str, str]) -> tuple[Side, Side]:
    """A step around a simulator that does nothing, and the task's own reset, with a switch."""
    disturbances = disturbing(read_typed(switch))
    task = registry.make(registry.locate(env, disturbances=disturbances))
    used = in_use(**disturbances)
    still: Environment = Still(task)
    if used.keys() & {"action_delay", "observation_noise"}:
        still = DisturbedEnvironment(still, used.get("action_delay", (0, 0)), used.get("observation_noise", ()))
    action = floats(task.action_size)
    still.reset(1)
    seeds = iter(range(10**9))
    return Side("step", lambda: still.step(action)), Side("episode", lambda: task.reset(next(seeds)))


def measured(env: str, plans: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Bytes, and microseconds a step and an episode, of each switch: what they take beyond none."""
    rows: dict[str, dict[str, str]] = {NOTHING: {}, **SWITCHES}
    planned: dict[str, list[int]] = {name: [] for name in rows}
    for turn in range(plans):
        progress(f"plans {turn + 1} of {plans}")
        for name, switch in rows.items():
            planned[name].append(planned_bytes(env, switch))
    made = {name: sides(env, switch) for name, switch in rows.items()}
    steps, episodes = (in_turns({name: both[kind] for name, both in made.items()}, rounds, 200) for kind in (0, 1))

    def beyond(values: dict[str, Any], name: str) -> float:
        return statistics.median(a - b for a, b in zip(values[name], values[NOTHING], strict=True))

    return {
        name: {
            "bytes": round(beyond(planned, name)),
            "step_us": 1e6 * beyond(steps, name),
            "episode_us": 1e6 * beyond(episodes, name),
        }
        for name in SWITCHES
    }


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Hopper-v5", help="a native task")
    parser.add_argument("--plans", type=int, default=5, help="of each switch")
    parser.add_argument("--rounds", type=int, default=15, help="of timing, 200 steps and 200 episodes each")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    costs = measured(args.env, args.plans, args.rounds)
    if args.json:
        print(json.dumps({"env": args.env, "switches": costs}))
        return
    print(f"{args.env}, beyond a run without the switch\n{'':20}{'plan, kB':>12}{'us a step':>12}{'us an episode':>15}")
    for name, cost in costs.items():
        print(f"{name:20}{cost['bytes'] / 1e3:>12,.0f}{cost['step_us']:>12.2f}{cost['episode_us']:>15.1f}")


if __name__ == "__main__":
    main()
