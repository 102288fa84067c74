"""Environments of a user's own, for both Python hosts: `scripted:Scripted-v0`, whose keywords say what goes wrong."""

import os
import random
import sys
import threading
import time
from pathlib import Path

import gymnasium
import numpy as np

Box = gymnasium.spaces.Box


class Scripted(gymnasium.Env):
    """Two numbers observed, one acted. `on` maps a place (construct, reset, step, close, dt) to what happens there."""

    def __init__(self, action_space=None, observation_space=None, seconds=None, **on):
        self.on = on
        self.action_space = action_space if action_space is not None else Box(-2, 3, (1,), np.float32)
        self.observation_space = observation_space if observation_space is not None else Box(-1, 1, (2,), np.float64)
        self._seconds = seconds
        self.actions = []
        self.happen("construct")

    def happen(self, where):
        what = self.on.get(where)
        return what(self) if what is not None else None

    @property
    def dt(self):
        self.happen("dt")
        return self._seconds

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        result = self.happen("reset")
        return (self.np_random.uniform(0, 1, 2), {}) if result is None else result

    def step(self, action):
        self.actions.append(action)
        result = self.happen("step")
        return (np.array([0.5, 0.25]), 1.0, False, False, {}) if result is None else result

    def close(self):
        self.happen("close")


class Arm(Scripted):
    """A robot at a port, which has to be named. Each step earns `gain`."""

    def __init__(self, port, gain=1.0, seconds=None):
        super().__init__(step=lambda env: (np.zeros(2), gain, False, False, {}), seconds=seconds)
        print(f"arm at {port}", file=sys.stderr)


class Draws(gymnasium.Env):
    """As many tutorials do it: all randomness from the global generators."""

    action_space = Box(-1, 1, (1,), np.float32)
    observation_space = Box(0, 1, (2,), np.float64)

    def __init__(self, seeds=False):
        self.seeds = seeds
        np.random.uniform(), random.random()

    def drawn(self):
        return np.array([np.random.uniform(), random.random()])

    def reset(self, *, seed=None, options=None):
        if self.seeds:
            np.random.seed(seed)
            random.seed(seed)
        return self.drawn(), {}

    def step(self, action):
        return self.drawn(), 0.0, False, False, {}


def raising(error):
    def happen(env):
        raise error

    return happen


def note_closed(env):
    with Path(os.environ["SCRIPTED_CLOSED"]).open("a") as file:
        file.write("closed\n")


def talk(env):
    print("a line of its own" * 1000, flush=True)
    os.write(1, b"and one past Python\n")


def leave(env):
    os._exit(3)


def fork_and_die(env):
    pid = os.fork()
    if pid == 0:
        time.sleep(20)
        os._exit(0)
    Path(os.environ["SCRIPTED_FORKED"]).write_text(str(pid))
    os.kill(os.getpid(), 9)


def give(value):
    return lambda env: value


REGISTERED = {
    "Scripted-v0": {},
    "Talks-v0": {"construct": talk, "reset": talk, "step": talk, "close": talk},
    "Closes-v0": {"step": raising(KeyError("wheel")), "close": note_closed},
    "Notes-v0": {"close": note_closed},
    "CloseRaises-v0": {"close": raising(ValueError("the arm is stuck"))},
    "CloseHangs-v0": {"close": lambda env: time.sleep(600)},
    "CloseLeaves-v0": {"close": leave},
    "Stays-v0": {"construct": lambda env: threading.Thread(target=time.sleep, args=(600,)).start()},
    "Leaves-v0": {"step": lambda env: sys.exit(3)},
    "Dies-v0": {"step": leave},
    "Forks-v0": {"step": fork_and_die},
    "Surrogate-v0": {"step": raising(ValueError("\udcff" + "x" * 100_000))},
    "OutOfMemory-v0": {"step": raising(MemoryError())},
    "Wide-v0": {"observation_space": Box(-1, 1, (200_000,), np.float64), "reset": give((np.ones(200_000), {}))},
    "Timed-v0": {"seconds": np.float32(0.25)},
    "Limits-v0": {"step": lambda env: (np.zeros(2), float(limit_of_data()), False, False, {})},
}


def limit_of_data():
    import resource

    return resource.getrlimit(resource.RLIMIT_DATA)[0]


for name, keywords in REGISTERED.items():
    gymnasium.register(name, Scripted, kwargs=keywords, max_episode_steps=100)
gymnasium.register("Endless-v0", Scripted)
gymnasium.register("Inner-v0", lambda: gymnasium.wrappers.TimeLimit(Scripted(), 7), max_episode_steps=50)
gymnasium.register("Draws-v0", Draws)
gymnasium.register("Reseeds-v0", Draws, kwargs={"seeds": True})
gymnasium.register("Arm-v0", Arm, max_episode_steps=100)
