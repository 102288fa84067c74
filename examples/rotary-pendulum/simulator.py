"""The rotary pendulum as a Gymnasium task, `RotaryPendulum-v0`: to learn on before the machine is touched.

    edgedst train --env simulator:RotaryPendulum-v0      # in this folder

Observations, bounds, rate, reward and failure are robot.py's own. The encoders are those of the machine: their steps,
and rates by differences. Friction, gain and inertia are the data sheet's; `randomize` draws them anew for each episode.
"""

import math

import gymnasium
import numpy as np
import robot
from model import SAMPLE_SECONDS, Encoders, Furuta, Parameters

START_RAD = 0.1  # a reset ends at most so far from the middle, and from hanging


class RotaryPendulum(gymnasium.Env):
    """Arguments come by `--env-kwargs`.

    Args:
        randomize: 0.3 draws motor, masses and inertia from 1/1.3 to 1.3 times theirs, an episode at a time, and
            friction, which nobody knows well, from 1/1.9 to 1.9 times (three times as far).
    """

    dt = 1 / robot.RATE_HZ

    def __init__(self, randomize=0.0):
        if not 0.0 <= randomize <= 2.0:
            raise ValueError(f"`randomize` is {randomize}; 0 to 2 was expected.")
        lows, highs = (np.array([row[i] for row in robot.OBSERVATION], np.float32) for i in (1, 2))
        self.observation_space = gymnasium.spaces.Box(lows, highs, dtype=np.float32)
        self.action_space = gymnasium.spaces.Box(-robot.VOLTS, robot.VOLTS, (1,), np.float32)
        self.randomize = randomize
        self.body = Furuta(Parameters())

    def reset(self, *, seed=None, options=None):
        """Hanging at rest, nearly in the middle."""
        super().reset(seed=seed)
        if self.randomize:
            self.body.set_parameters(self.drawn())
        arm, angle = self.np_random.uniform(-START_RAD, START_RAD, 2).tolist()
        self.body.state = (arm, math.pi + angle, 0.0, 0.0)
        self.encoders = Encoders(arm, math.pi + angle)
        self.observation = robot.observed(*self.encoders.sample())
        return np.array(self.observation, np.float32), {}

    def step(self, action):
        """One period under a voltage."""
        volts = float(action[0])
        for _ in range(round(self.dt / SAMPLE_SECONDS)):
            self.body.advance(volts, SAMPLE_SECONDS)
            self.encoders.read(*self.body.state[:2])
        before, self.observation = self.observation, robot.observed(*self.encoders.sample())
        reward = robot.reward(before, [volts], self.observation)
        return np.array(self.observation, np.float32), reward, robot.terminated(self.observation), False, {}

    def drawn(self):
        """Parameters of an episode."""
        spread = math.log1p(self.randomize), math.log1p(3 * self.randomize)
        usual, friction = (np.exp(self.np_random.uniform(-width, width, 4)).tolist() for width in spread)
        names = ("torque", "back_emf", "arm_inertia", "pendulum_kg")
        rubs = ("arm_viscous", "arm_dry", "pendulum_viscous", "pendulum_dry")
        return Parameters().scaled(**dict(zip((*names, *rubs), (*usual, *friction), strict=True)))


gymnasium.register(
    "RotaryPendulum-v0",
    entry_point=RotaryPendulum,
    max_episode_steps=round(robot.RATE_HZ * robot.EPISODE_SECONDS),
)
