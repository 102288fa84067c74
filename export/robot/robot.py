"""The robot that learns and acts: where observations come from, where actions go, and what is good. Yours to write.

    edgedst check robot.py          tries this file: rate, bounds, and whether stop() brings the robot to rest
    edgedst train --env robot.py    learns on it
    edgedst export --bundle kit     makes what acts from then on: the actor, and this file

As it stands it drives a simulated cart, so that all three can be tried at a desk. Put your robot in function by
function, and delete the cart. It is plain Python, gives and takes plain numbers, and may import what it needs.

Importing this file must not move anything: it is imported to be checked, too. An exception in a function ends the run,
and `stop` is called. Whatever waits needs a limit of its own.
"""

import math
import random
import time

RATE_HZ = 50  # steps a second, in training and afterwards. Motors and sensors rarely gain from more than 100
EPISODE_SECONDS = 6.0  # of an attempt; then stop() and reset()

# (name and unit, lowest, highest) of each number that is observed. The networks see these two as -1 and 1: say what
# the robot reaches when it does its task, not what the sensor could show.
OBSERVATION = [
    ("cart position, m", -1.0, 1.0),  # 0 is where it is to go
    ("cart velocity, m/s", -2.0, 2.0),
]

# (name and unit, lowest, highest) of each number that is acted with. No action is ever outside. A fourth number is
# the most that an action may change in one step: it spares gears what random actions do to them.
ACTION = [("force, N", -2.0, 2.0, 0.5)]


def start():
    """Make the robot ready: open ports, switch motors on. Called once, first."""
    cart.advance()


def read_observation(size):
    """The newest sample, `size` numbers in the order and the units of OBSERVATION; called at the start of each step.

    Return at once. To wait for the next sample costs its time: with a sensor that is a little slower than the loop
    every second period would be missed. Read it in a `threading.Thread(..., daemon=True)` and give its last value here.
    """
    cart.advance()
    sample = [random.gauss(cart.position, 0.001), random.gauss(cart.velocity, 0.005)]
    # A sensor may show more than its bounds once in a while; the networks should not see it.
    return [max(low, min(high, value)) for value, (_, low, high) in zip(sample, OBSERVATION)]  # noqa: B905  # Python 3.9


def apply_action(action):
    """Give the action, floats within the bounds of ACTION, to the motors; must not block. It holds until the next."""
    cart.advance()
    cart.force, cart.braking = action[0], False


def stop():
    """Bring the robot to rest, from any state, within 2 s.

    When an episode or the run ends, after an exception, after Ctrl-C. Should the process that acts be killed, another
    one calls it, which never called `start`: open what is needed here.
    """
    cart.advance()
    cart.force, cart.braking = 0.0, True


def reset():
    """Bring the robot to where an episode begins, and return when it is there and still. May take its time.

    Drive there slowly, or ask somebody to put it there. Where it begins should differ a little each time.
    """
    cart.advance()
    cart.position, cart.velocity = random.uniform(-0.6, 0.6), 0.0


def reward(observation, action, next_observation):
    """How good a step was: one number, of order 1. Learning makes the sum over an episode as large as it can.

    Where terminated() ends a failure, keep a step's reward above 0: else the best that an actor can do is to fail soon.
    """
    distance = abs(next_observation[0])
    return 1.0 - distance - 0.01 * action[0] ** 2


def terminated(observation):
    """Whether this observation ends the episode: it failed, it is done, or it gets dangerous. True or False.

    The time limit is not for here: EPISODE_SECONDS says it.
    """
    return abs(observation[0]) > 0.95


class Cart:
    """Stands in for a robot: a cart on a rail of 2 m, on this computer's clock. Delete it when yours is there."""

    kg, friction, brake, rail_end = 0.5, 1.0, 20.0, 1.0  # kg, N s/m, N s/m, m

    def __init__(self):
        self.position, self.velocity, self.force, self.braking = 0.5, 0.0, 0.0, True
        self.time = time.monotonic()

    def advance(self):
        """Let the time pass since it was called last: force and friction have an exact solution."""
        now = time.monotonic()
        seconds, self.time = now - self.time, now
        friction = self.brake if self.braking else self.friction
        final = self.force / friction  # the velocity that it tends to
        left = math.exp(-seconds * friction / self.kg)
        self.position += final * seconds + (self.velocity - final) * (1 - left) * self.kg / friction
        self.velocity = final + (self.velocity - final) * left
        if abs(self.position) >= self.rail_end:
            self.position, self.velocity = math.copysign(self.rail_end, self.position), 0.0


cart = Cart()
