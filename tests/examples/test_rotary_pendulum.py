"""examples/rotary-pendulum: its equations, simulator, plant and robot.py. Nothing here waits for exact times.

What has to be exact is asked of objects in this process, whose clock is a number. What has to be true of a process is
asked of plant.py as a user starts it.
"""

import json
import math
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from training import edgedst

FOLDER = Path(__file__).parents[2] / "examples" / "rotary-pendulum"
MS = 1_000_000  # nanoseconds


@contextmanager
def imported_from(folder):
    """Let files there import each other, and leave Python as it was: other examples have a robot.py, too."""
    path, names = sys.path.copy(), ("model", "plant", "robot", "simulator")
    others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(others)


with imported_from(FOLDER):
    import model
    import plant
    import robot
    import simulator

RUBS = ("arm_viscous", "arm_dry", "pendulum_viscous", "pendulum_dry")
FREE = dict.fromkeys(("torque", "back_emf", *RUBS), 0.0)  # nothing gives or takes energy


def body(state, **factors):
    made = model.Furuta(model.Parameters(stop_rad=math.inf).scaled(**factors))
    made.state = state
    return made


# The physics.


def lagrangian(p, q, v):
    """Kinetic less potential energy of an arm and a rod, J, summed over the rod's pieces."""
    (_, angle), (arm_rate, rate) = q, v
    total, pieces = p.arm_inertia * arm_rate**2 / 2, 200
    for i in range(pieces):
        s, kg = (i + 0.5) / pieces * p.pendulum_m, p.pendulum_kg / pieces
        outward = -s * math.sin(angle) * arm_rate
        sideways = p.arm_m * arm_rate + s * math.cos(angle) * rate
        upward = -s * math.sin(angle) * rate
        total += kg * (outward**2 + sideways**2 + upward**2) / 2 - kg * model.GRAVITY * s * math.cos(angle)
    return total


@pytest.mark.parametrize("state", [(0.3, 2.0, 3.0, -4.0), (0.0, 0.4, 0.0, 0.0), (-1.0, -1.2, -5.0, 7.0)])
def test_the_pendulum_accelerates_as_its_lagrangian_says(state):
    """Euler and Lagrange by central differences: d/dt dL/dv = dL/dq, which is another road than model.py's."""
    machine = body(state, **FREE)
    p, h = machine.parameters, 1e-4
    q, v = np.array(state[:2]), np.array(state[2:])

    def momentum(q, v):
        return np.array([(lagrangian(p, q, v + h * e) - lagrangian(p, q, v - h * e)) / (2 * h) for e in np.eye(2)])

    acceleration = np.array(machine.accelerations(state[1], *state[2:], 0.0))
    change = (momentum(q + h * v, v + h * acceleration) - momentum(q - h * v, v - h * acceleration)) / (2 * h)
    force = np.array([(lagrangian(p, q + h * e, v) - lagrangian(p, q - h * e, v)) / (2 * h) for e in np.eye(2)])
    # Two hundred pieces of a rod have its inertia to 1 / (4 * 200²).
    np.testing.assert_allclose(change, force, rtol=1e-4, atol=1e-6)


def energy(machine):
    """Kinetic and potential, J."""
    _, angle, arm_rate, rate = machine.state
    moving = (machine.both + machine.rod * math.sin(angle) ** 2) * arm_rate**2 / 2 + machine.rod * rate**2 / 2
    return moving + machine.coupling * math.cos(angle) * arm_rate * rate + machine.weight * math.cos(angle)


def test_without_friction_and_motor_its_energy_stays():
    machine = body((0.0, 0.1, 1.0, 0.0), **FREE)
    before = energy(machine)
    machine.advance(0.0, 5.0)
    assert energy(machine) == pytest.approx(before, rel=1e-4)  # Runge-Kutta loses 1e-5 in these 1000 steps


def test_friction_back_emf_and_the_arms_ends_only_take_energy():
    machine = model.Furuta(model.Parameters())
    machine.state = (0.0, 1.0, 14.0, -6.0)
    hits = 0
    for _ in range(400):
        before = energy(machine)
        machine.advance(0.0, 0.005)
        assert energy(machine) <= before + 1e-9
        hits += abs(machine.state[0]) == machine.parameters.stop_rad
    assert hits


@pytest.mark.parametrize(("hanging", "sign"), [(True, -1), (False, 1)])
def test_small_angles_move_as_the_linear_equations_say(hanging, sign):
    """Swings about hanging as cos(w t), leaves upright as cosh(w t), each with a free arm."""
    middle = math.pi if hanging else 0.0
    machine = body((0.0, middle + 0.001, 0.0, 0.0), **FREE)
    w = math.sqrt(machine.both * machine.weight / (machine.both * machine.rod - machine.coupling**2))
    seconds = 0.35
    machine.advance(0.0, seconds)
    expected = 0.001 * (math.cos if hanging else math.cosh)(w * seconds)
    assert machine.state[1] - middle == pytest.approx(expected, rel=1e-3)


# The simulator, and what it shares with robot.py.


def test_the_simulator_is_a_gymnasium_task():
    from gymnasium.utils.env_checker import check_env

    with pytest.warns(UserWarning, match="symmetric and normalized"):  # its action has a unit: volts
        check_env(simulator.RotaryPendulum(), skip_render_check=True)


def played(task, seed, steps=60):
    observations = [task.reset(seed=seed)[0]]
    for i in range(steps):
        observations.append(task.step(np.array([robot.VOLTS * math.sin(i / 5)], np.float32))[0])
    return np.array(observations)


def test_the_simulator_repeats_itself_from_its_seed_also_where_it_draws_its_machine():
    usual = played(simulator.RotaryPendulum(), 1)
    np.testing.assert_array_equal(usual, played(simulator.RotaryPendulum(), 1))
    drawn = played(simulator.RotaryPendulum(randomize=0.3), 1)
    np.testing.assert_array_equal(drawn, played(simulator.RotaryPendulum(randomize=0.3), 1))
    assert np.abs(drawn - usual).max() > 0.01
    with pytest.raises(ValueError, match="`randomize` is -1"):
        simulator.RotaryPendulum(randomize=-1)


def test_simulator_and_robot_give_the_same_observation_and_reward_of_the_same_state(monkeypatch):
    task = simulator.RotaryPendulum()
    rows = np.array([row[1:3] for row in robot.OBSERVATION])
    np.testing.assert_array_equal(rows, np.stack([task.observation_space.low, task.observation_space.high], 1))
    assert robot.ACTION[0][1:] == (task.action_space.low[0], task.action_space.high[0])

    before = task.reset(seed=3)[0]
    for i in range(40):
        volts = robot.VOLTS * math.sin(i / 4)
        seen, reward, terminated, _, _ = task.step([volts])
        arm, angle, arm_rate, rate = task.encoders.sample()
        words = f"{arm:.5f} {math.remainder(angle, math.tau):.5f} {arm_rate:.5f} {rate:.5f}".split()  # the plant's
        monkeypatch.setattr(robot, "_ask", lambda *_, words=words: words)
        read = robot.read_observation(5)
        np.testing.assert_allclose(read, seen, atol=1e-5)  # five decimals on the wire
        assert robot.reward(before.tolist(), [volts], read) == pytest.approx(reward, abs=1e-4)
        assert robot.terminated(read) == terminated
        before = seen


def test_a_reward_is_one_at_best_about_zero_hanging_and_never_negative(rng):
    upright, hanging = robot.observed(0.0, 0.0, 0.0, 0.0), robot.observed(0.0, math.pi, 0.0, 0.0)
    assert robot.reward(hanging, [0.0], upright) == 1.0
    assert robot.reward(hanging, [0.0], hanging) == pytest.approx(0.0)
    for sample in rng.uniform(-1, 1, (200, 4)) * [2.4, 4.0, 20.0, 25.0]:
        seen = robot.observed(*sample.tolist())
        assert all(low <= value <= high for value, (_, low, high) in zip(seen, robot.OBSERVATION, strict=True))
        assert robot.terminated(seen) == (abs(sample[0]) > robot.FAILED_RAD)
        reward = robot.reward(hanging, rng.uniform(-robot.VOLTS, robot.VOLTS, 1).tolist(), seen)
        assert reward == 0.0 if robot.terminated(seen) else 0.0 <= reward <= 1.0


# The plant, on a clock that the test moves.


def made(**changes):
    usual = {"seed": 1, "speed": 1.0, "torque": 0.75, "friction": 2.0, "noise": 0.5}
    options = SimpleNamespace(**{**usual, "latency_ms": 25.0, "watchdog_ms": 200.0, **changes})
    return plant.Plant(options, 0, None)


def test_a_voltage_acts_after_the_latency_and_the_watchdog_ends_it():
    machine = made()
    machine.obey("V 3", 0)
    machine.advance(24 * MS)
    assert machine.volts == 0.0
    machine.advance(25 * MS)
    assert machine.volts == 3.0
    machine.advance(200 * MS)
    assert (machine.volts, machine.trips) == (0.0, 1)


def test_the_plant_comes_to_rest_when_nobody_commands():
    machine = made()
    machine.body.state = (0.0, 1.0, 5.0, -5.0)
    machine.obey("V 5", 0)
    machine.advance(60_000 * MS)
    _, angle, arm_rate, rate = machine.body.state
    assert machine.volts == 0.0
    assert math.cos(angle) < -0.999
    assert abs(arm_rate) + abs(rate) < 0.01


@pytest.mark.parametrize("state", [(2.0, 0.3, -8.0, 10.0), (-1.5, 2.0, 5.0, -12.0), (0.0, math.pi, 0.0, 0.0)])
def test_a_reset_brings_the_arm_to_the_middle_and_calms_the_pendulum(state):
    machine = made()
    machine.body.state = state
    machine.obey("V 5", 0)
    machine.obey("R", MS)
    machine.obey("V 5", 2 * MS)  # a reset drives by itself
    machine.advance(8000 * MS)
    assert machine.answers == ["OK"]
    assert machine.volts == 0.0
    machine.obey("?", 8000 * MS)
    arm, angle, _, _ = map(float, machine.answers[1].split()[1:])
    assert abs(arm) < plant.STILL_ARM
    assert math.cos(angle) < math.cos(plant.STILL_PENDULUM)  # and coasted since: hanging is stable


@pytest.mark.parametrize("line", ["V", "V x", "V nan", "V 1 2", "v 1", "?1"])
def test_a_line_that_is_no_command_is_answered_and_moves_nothing(line):
    machine = made()
    machine.obey(line, 0)
    assert machine.answers == [f"E {line}"]
    assert not machine.coming


# The process, its port, and learning on it.


@pytest.fixture
def port(tmp_path, monkeypatch):
    """A plant of its own, which robot.py finds; the path of its log."""
    path, log = tmp_path / "plant.tty", tmp_path / "plant.log"
    process = subprocess.Popen(
        [sys.executable, FOLDER / "plant.py", "--port", path, "--log", log, "--seed", "1"], stdout=subprocess.DEVNULL
    )
    monkeypatch.setenv("PENDULUM_PORT", str(path))
    try:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield log
    finally:
        robot.close()
        process.terminate()
        process.wait()


def test_robot_py_starts_reads_moves_stops_and_resets(port):
    robot.start()
    assert robot.read_observation(5) == pytest.approx([0.0, 0.0, -1.0, 0.0, 0.0], abs=0.05)
    robot.apply_action([3.0])
    limit = time.monotonic() + 10
    while "volts 3" not in port.read_text():
        assert time.monotonic() < limit
        time.sleep(0.01)
    robot.stop()
    robot.reset()
    assert "ready" in port.read_text()
    with pytest.raises(ValueError, match=r"the voltage is 4\.6 V"):
        robot.apply_action([4.6])


def test_robot_py_loads_nothing_but_small_modules():
    count = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True; "
        "import robot; print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-c", count, str(FOLDER)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {"errno", "fcntl", "math", "robot", "select", "termios", "time"}


def train(folder, *options, env=None, cwd=None):
    """A training as a user starts it; the run's folder."""
    usual = ("--hidden", "32", "--history", "2", "--checkpoint-every", "100", "--no-progress")
    command = edgedst("train", *usual, *options, "--run-dir", folder)
    subprocess.run(command, cwd=cwd, env=env, check=True, timeout=300, stdout=subprocess.DEVNULL)
    return next(folder.glob("*/*/*"))


def test_a_run_on_the_simulator_goes_on_on_the_plant_which_is_at_rest_at_the_end(tmp_path, port):
    simulated = train(
        tmp_path / "simulated",
        *("--env", "simulator:RotaryPendulum-v0", "--method", "ds-sac", "--alpha", "auto", "--target-update", "soft"),
        *("--normalize-observations", "--budget-mb", "80", "--eval-every", "0", "--lambda2", "16"),
        *("--steps", "600", "--start-steps", "300"),
        cwd=FOLDER,
    )
    options = ("--env", FOLDER / "robot.py", "--budget-mb", "30", "--steps", "250", "--eval-every", "0")
    run = train(tmp_path / "real", *options, "--init-from", simulated, "--updates-per-step", "1", env=dict(os.environ))
    told = json.loads((run / "summary.json").read_text())
    assert told["real_time"]["brought_to_rest"] == "the run ended"
    assert "volts" in port.read_text()
    robot.stop()
