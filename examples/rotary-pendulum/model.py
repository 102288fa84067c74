"""A rotary (Furuta) pendulum's equations of motion: a motor turns an arm, and a pendulum swings freely at its end.

What the simulator learns on and what the plant stands for share these lines; they differ in their `Parameters`. Needs
Python's standard library.
"""

import math
from dataclasses import dataclass, replace

GRAVITY = 9.81
STEP_SECONDS = 0.005  # of the integration, at most
SAMPLE_SECONDS = 0.005  # at which the machine reads its encoders
COUNT_RAD = math.tau / 4096  # an encoder's step
SLIDING = 0.05  # rad/s from which dry friction is nearly whole: a jump at 0 would stall the integration


@dataclass(frozen=True)
class Parameters:
    """Motor: about that of Quanser's QUBE-Servo 2. Arm and pendulum are longer, so that 50 Hz are enough."""

    arm_m: float = 0.12  # from the motor's axis to the pendulum's
    arm_inertia: float = 3.0e-4  # kg m², of arm and rotor about the motor's axis
    pendulum_kg: float = 0.024
    pendulum_m: float = 0.24  # its whole length: a uniform rod
    torque: float = 0.005  # Nm for a volt at rest: torque constant over resistance
    back_emf: float = 0.042  # V for a rad/s
    arm_viscous: float = 2.0e-4  # Nm for a rad/s
    arm_dry: float = 1.0e-3  # Nm
    pendulum_viscous: float = 3.0e-5
    pendulum_dry: float = 5.0e-5
    stop_rad: float = 2.4  # the arm's mechanical ends, either way

    def scaled(self, **factors):
        """The same machine with some of its parameters multiplied."""
        return replace(self, **{name: getattr(self, name) * factor for name, factor in factors.items()})


class Furuta:
    """The machine's state, (arm rad, pendulum rad, arm rad/s, pendulum rad/s), and how it moves.

    The pendulum's angle is 0 upright and pi hanging; at 0 of the arm both are in the middle.
    Source: Cazzolato and Prime 2011, "On the Dynamics of the Furuta Pendulum", with a slender rod, whose inertia about
    its own length is left out. Departs from it: dry friction, back-EMF, and ends that stop the arm.
    """

    def __init__(self, parameters):
        self.state = (0.0, math.pi, 0.0, 0.0)
        self.set_parameters(parameters)

    def set_parameters(self, parameters):
        """Be this machine from now on."""
        self.parameters = parameters
        self.rod = parameters.pendulum_kg * parameters.pendulum_m**2 / 3
        self.both = parameters.arm_inertia + parameters.pendulum_kg * parameters.arm_m**2
        self.coupling = parameters.pendulum_kg * parameters.arm_m * parameters.pendulum_m / 2
        self.weight = parameters.pendulum_kg * GRAVITY * parameters.pendulum_m / 2

    def advance(self, volts, seconds):
        """Move under a constant voltage, in steps of at most STEP_SECONDS."""
        steps = math.ceil(seconds / STEP_SECONDS - 1e-9)
        for _ in range(steps):
            self.step(volts, seconds / steps)

    def step(self, volts, h):
        """One step of the classic Runge-Kutta method, h seconds long."""
        arm, angle, arm_1, rate_1 = self.state
        a_1, b_1 = self.accelerations(angle, arm_1, rate_1, volts)
        arm_2, rate_2 = arm_1 + h / 2 * a_1, rate_1 + h / 2 * b_1
        a_2, b_2 = self.accelerations(angle + h / 2 * rate_1, arm_2, rate_2, volts)
        arm_3, rate_3 = arm_1 + h / 2 * a_2, rate_1 + h / 2 * b_2
        a_3, b_3 = self.accelerations(angle + h / 2 * rate_2, arm_3, rate_3, volts)
        arm_4, rate_4 = arm_1 + h * a_3, rate_1 + h * b_3
        a_4, b_4 = self.accelerations(angle + h * rate_3, arm_4, rate_4, volts)
        arm += h / 6 * (arm_1 + 2 * arm_2 + 2 * arm_3 + arm_4)
        angle += h / 6 * (rate_1 + 2 * rate_2 + 2 * rate_3 + rate_4)
        arm_rate = arm_1 + h / 6 * (a_1 + 2 * a_2 + 2 * a_3 + a_4)
        rate = rate_1 + h / 6 * (b_1 + 2 * b_2 + 2 * b_3 + b_4)
        stop = self.parameters.stop_rad
        if abs(arm) > stop:
            # The stop takes the arm's motion. The pendulum keeps its angular momentum about its own axis.
            rate += self.coupling * math.cos(angle) / self.rod * arm_rate
            arm, arm_rate = math.copysign(stop, arm), 0.0
        self.state = (arm, angle, arm_rate, rate)

    def accelerations(self, angle, arm_rate, rate, volts):
        """Of arm and pendulum, rad/s²."""
        p = self.parameters
        sine, cosine = math.sin(angle), math.cos(angle)
        # M(q) q'' = f(q, q'): M = [[j_1, k], [k, j_2]], both rows from the Lagrangian.
        j_1 = self.both + self.rod * sine * sine
        k = self.coupling * cosine
        f_1 = (
            p.torque * (volts - p.back_emf * arm_rate)
            - p.arm_viscous * arm_rate
            - p.arm_dry * math.tanh(arm_rate / SLIDING)
            - 2.0 * self.rod * sine * cosine * arm_rate * rate
            + self.coupling * sine * rate * rate
        )
        f_2 = (
            self.rod * sine * cosine * arm_rate * arm_rate
            + self.weight * sine
            - p.pendulum_viscous * rate
            - p.pendulum_dry * math.tanh(rate / SLIDING)
        )
        determinant = j_1 * self.rod - k * k
        return (self.rod * f_1 - k * f_2) / determinant, (j_1 * f_2 - k * f_1) / determinant


class Encoders:
    """What is known of the state: two angles in steps of COUNT_RAD, and rates from the last three of them.

    Args:
        arm, angle: rad, where they have stood still until now.
    """

    def __init__(self, arm, angle):
        self.samples = [(counted(arm), counted(angle))] * 3

    def read(self, arm, angle):
        """The next sample, SAMPLE_SECONDS after the one before."""
        self.samples = [*self.samples[1:], (counted(arm), counted(angle))]

    def sample(self):
        """(arm, pendulum, arm rate, pendulum rate), rad and rad/s: the rates are 5 ms old and come in 0.15 rad/s."""
        (old_arm, old_angle), _, (arm, angle) = self.samples
        seconds = 2 * SAMPLE_SECONDS
        return arm, angle, (arm - old_arm) / seconds, (angle - old_angle) / seconds


def counted(angle):
    """The angle to the encoder's nearest step."""
    return round(angle / COUNT_RAD) * COUNT_RAD
