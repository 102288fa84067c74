"""Contenders that do not train: processes that tell what a test wants, or fail, and who watches and meters them."""

import json
import sys

from edgedst.config import TrainConfig
from edgedst.profile.contenders import Contender

FACTS = {
    "isa": "scalar",
    "observation_size": 17,
    "action_size": 6,
    "connections": 100,
    "ledger": [{"name": "interpreter and libraries", "bytes": 60}, {"name": "replay", "bytes": 40}],
    "planned_bytes": 100,
    "arena_bytes": 40,
    "replay_row_bytes": 51,
    "replay_rows": 1000,
}

# Speaks as `window.measure` does, of a window that ended now and took `took` seconds; then runs `then`.
SCRIPT = """
import json, sys, time
told = json.loads(sys.argv[1])
say = lambda line: print("edgedst-profile", json.dumps(line), flush=True)
print("what an environment prints")
goal, took = told["goal"], told["took"]
steps = goal["steps"] or round(told["rate"] * took)
say({"mark": "begin"})
exec(told["then"])
say({"mark": "end"})
end = time.monotonic()
actions = {"p50": told["p50"], "p99": 2.0, "max": 3.0, "count": 100}
say({"start": end - took, "end": end, "cpu_seconds": took / 2, "steps": steps, "updates": steps,
     "update_seconds": took / 4, "peak_bytes": told["peak"], "pss_bytes": None, "actions": actions, **told["facts"]})
"""


def contender(name, **settings):
    method = {"sparse": "ds-td3", "dense": "td3"}[name]
    return Contender(name, f"stand-in {name}", TrainConfig(method=method, **settings).resolved())


def starting(then="", log=None, **by_method):
    """A `Start`: each contender tells what stands under its method, for example td3={"took": 2.0}."""

    def start(config, goal, folder):
        told = {"took": 1.0, "rate": 100, "p50": 1.0, "peak": 1000, "facts": FACTS, "then": then, "goal": goal}
        told |= by_method.get(config.method.replace("-", "_"), {})
        if log is not None:
            log.append((config.method, goal["steps"]))
        return [sys.executable, "-I", "-S", "-c", SCRIPT, json.dumps(told)], {}

    return start


class Watcher:
    """See `measure.Watch`. `interrupt` names a turn in which Ctrl-C comes."""

    def __init__(self, interrupt=None):
        self.said, self.interrupt, self.now = [], interrupt, ""

    def say(self, text):
        self.said.append(text)

    def begin(self, seconds):
        self.total = seconds

    def turn(self, told, seconds):
        self.now = told

    def tick(self):
        if self.interrupt == self.now:
            raise KeyboardInterrupt

    def turned(self, told):
        self.said.append(told)


class SteadyMeter:
    """A meter of a host that always takes the same power."""

    def __init__(self, watts, measured=True, source="stand-in"):
        self.watts, self.measured = watts, measured
        self.spec = {"source": source, "scope": "wall", "measured": measured, "sample_hz": 100.0, "detail": "a test"}
        self.running = False

    def start(self):
        self.running = True

    def stop(self):
        self.running = False

    def energy(self, start, end, cpu_seconds=None):
        joules = None if self.watts is None else self.watts * (end - start)
        return {"joules": joules, **self.spec, "samples": 10, "gaps": 0, "gap_seconds": 0.0}

    def cost(self):
        return {"cpu_seconds": 0.5, "reads": 100}


def idle_of(watts):
    """A stand-in for `edgedst.energy.idle.measure`."""
    return lambda meter, seconds: {"watts": watts, "sd_watts": 0.1, "seconds": seconds}
