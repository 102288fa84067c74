"""examples/cartpole: the plant's physics and port, and the robot.py that drives it. Nothing here waits for exact times.

What has to be exact is asked of a `Plant` in this process, whose clock is a number. What has to be true of a process
is asked of plant.py as a user starts it, and of its log, which says when forces changed on the clock that all share.
"""

import fcntl
import importlib.util
import math
import os
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from training import until

FOLDER = Path(__file__).parents[2] / "examples" / "cartpole"
MS = 1_000_000  # nanoseconds
TIOCGEXCL = 0x80045440  # Linux's, on x86 and Arm: whether a terminal is exclusive


def load(name):
    """A module of the example, new each time: one is one user of the port."""
    spec = importlib.util.spec_from_file_location(f"cartpole_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plant = load("plant")


# The physics, against the Lagrangian of a cart and a uniform rod.


def lagrange(state, force):
    """d(state)/dt from M(q) q'' = f(q, q'): another road to the equations than plant.py's."""
    _, v, angle, rate = state
    lever = plant.POLE_KG * plant.HALF_POLE_M
    mass = [
        [plant.CART_KG + plant.POLE_KG, lever * math.cos(angle)],
        [lever * math.cos(angle), 4 / 3 * lever * plant.HALF_POLE_M],
    ]
    push = [force + lever * rate**2 * math.sin(angle), lever * plant.GRAVITY * math.sin(angle)]
    cart, pole = np.linalg.solve(mass, push)
    return np.array([v, cart, rate, pole])


def energy(state):
    """Kinetic and potential, J; 0 where the pole lies level."""
    _, v, angle, rate = state
    lever = plant.POLE_KG * plant.HALF_POLE_M
    moving = (plant.CART_KG + plant.POLE_KG) * v**2 / 2 + lever * v * rate * math.cos(angle)
    return moving + 2 / 3 * lever * plant.HALF_POLE_M * rate**2 + lever * plant.GRAVITY * math.cos(angle)


def body(*state):
    made = plant.CartPole()
    made.state = state
    return made


@pytest.mark.parametrize(
    ("state", "force"),
    [
        ((0.0, 0.0, 0.1, 0.0), 0.0),  # falls from rest
        ((0.0, 0.0, 0.0, 0.0), 3.0),  # pushed to the right, tips to the left
        ((0.5, -1.0, 3.0, 2.0), -2.0),  # swings while the cart moves
    ],
)
def test_the_cart_pole_moves_as_its_lagrangian_says(state, force):
    pole, oracle, h = body(*state), np.array(state), 0.0005
    for _ in range(10):
        pole.advance(force, 0.1)
        for _ in range(200):
            oracle = oracle + h * lagrange(oracle + h / 2 * lagrange(oracle, force), force)
        # The oracle's midpoint rule is off by about h² a second; a falling pole multiplies that by e^4 in a second.
        np.testing.assert_allclose(pole.state, oracle, rtol=1e-4, atol=1e-4)


def test_a_small_lean_grows_as_the_linear_equations_say():
    both_kg = plant.CART_KG + plant.POLE_KG
    growth = math.sqrt(plant.GRAVITY / (plant.HALF_POLE_M * (4 / 3 - plant.POLE_KG / both_kg)))  # 1/s
    pole = body(0.0, 0.0, 0.001, 0.0)
    pole.advance(0.0, 0.5)
    assert pole.state[2] == pytest.approx(0.001 * math.cosh(0.5 * growth), rel=1e-4)


def test_a_free_swing_keeps_its_energy_and_the_ends_of_the_rail_only_take_some():
    pole = body(0.0, 0.0, 0.1, 0.0)
    before = energy(pole.state)
    pole.advance(0.0, 5.0)
    assert energy(pole.state) == pytest.approx(before, abs=1e-7)

    pole, hits = body(0.0, 4.0, 2.0, -3.0), 0
    for _ in range(5000):
        before = energy(pole.state)
        pole.advance(0.0, 0.001)
        assert energy(pole.state) <= before + 1e-9
        hits += energy(pole.state) < before - 1e-3
        assert abs(pole.state[0]) <= plant.RAIL_M
    assert hits


def test_a_cart_at_the_end_of_its_rail_rests_while_it_is_pushed_there_and_comes_back():
    pole = body(2.39, 1.0, math.pi, 0.0)
    pole.advance(10.0, 0.1)
    assert pole.state[:2] == (plant.RAIL_M, 0.0)
    assert pole.state[3] != 0.0  # the pole swings on
    pole.advance(-10.0, 0.1)
    assert pole.state[0] < plant.RAIL_M


# Drive, sensors and reset, on a clock that the test moves.


def events(path):
    """A log's lines as (ns, what happened)."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(ns), what) for ns, what in (line.split(maxsplit=1) for line in lines)]


def made(now_ns=0, log=None, **changes):
    """A Plant without a process."""
    usual = {"seed": 1, "speed": 1.0, "noise": 0.0, "latency_ms": 2.0, "watchdog_ms": 100.0, "reset_ms": 500.0}
    return plant.Plant(SimpleNamespace(**{**usual, "start": "up", **changes}), now_ns, log)


def numbers(line):
    """Those of an answer to `?`."""
    name, *words = line.split()
    assert name == "S"
    return [float(word) for word in words]


def answers(machine, line, now_ns):
    machine.advance(now_ns)
    machine.obey(line, now_ns)
    given = machine.answers.copy()
    machine.answers.clear()
    return given


@pytest.mark.parametrize(("speed", "scale"), [(1.0, 1.0), (4.0, 0.25)])  # four times as fast: a quarter of the time
def test_a_force_acts_after_the_latency_and_ends_when_the_watchdog_trips(tmp_path, speed, scale):
    path = tmp_path / "log"
    with path.open("w") as log:
        machine = made(log=log, speed=speed)
        answers(machine, "F 3", 10 * MS)
        answers(machine, "F 4.5", 20 * MS)
        machine.advance(1000 * MS)
    assert events(path) == [
        (0, "begin"),
        (10 * MS + round(2 * MS * scale), "force 3"),
        (20 * MS + round(2 * MS * scale), "force 4.5"),
        (20 * MS + round(100 * MS * scale), "watchdog 1"),
        (20 * MS + round(100 * MS * scale), "force 0"),
    ]


def test_z_ends_a_force_at_once_and_those_on_their_way():
    machine = made()
    answers(machine, "F 3", 0)
    machine.advance(5 * MS)
    answers(machine, "F 4", 6 * MS)
    answers(machine, "Z", 7 * MS)
    assert machine.force == 0.0
    machine.advance(1000 * MS)
    assert (machine.force, machine.trips) == (0.0, 0)  # nothing is left that the watchdog would watch


@pytest.mark.parametrize("line", ["F", "F x", "F nan", "F inf", "F 1 2", "f 1", "S 1", "?1"])
def test_a_line_that_is_no_command_is_answered_and_moves_nothing(line):
    machine = made()
    assert answers(machine, line, 0) == [f"E {line}"]
    machine.advance(50 * MS)
    assert machine.force == 0.0


def test_a_force_beyond_the_drives_is_its_largest():
    machine = made()
    answers(machine, "F -1e9", 0)
    machine.advance(50 * MS)
    assert machine.force == -10.0


def test_a_reset_takes_its_time_with_the_drive_off_and_then_lets_go():
    machine = made()
    answers(machine, "F 5", 0)
    assert answers(machine, "R", 50 * MS) == []
    assert answers(machine, "F 5", 100 * MS) == []
    assert answers(machine, "?", 549 * MS)[0].endswith(" 0.00000")  # held still
    assert machine.force == 0.0
    ready, sample = answers(machine, "?", 550 * MS)
    assert ready == "OK"
    x, v, angle, rate = numbers(sample)
    assert 0 < abs(x) <= plant.START_M
    assert 0 < abs(angle) <= plant.START_RAD
    assert (v, rate) == (0.0, 0.0)
    machine.advance(1550 * MS)
    assert abs(machine.body.state[2]) > 2 * abs(angle)
    assert machine.trips == 0


def test_with_start_down_a_reset_leaves_the_pole_hanging():
    machine = made(start="down")
    answers(machine, "R", 0)
    ready, sample = answers(machine, "?", 600 * MS)
    assert ready == "OK"
    assert abs(numbers(sample)[2]) == pytest.approx(math.pi, abs=plant.START_RAD + 1e-5)


def test_sensors_are_as_noisy_as_they_were_asked_to_be():
    exact, noisy = made(noise=0.0), made(noise=2.0)
    for machine in (exact, noisy):
        machine.body.state = (0.0, 0.0, 0.0, 0.0)  # nothing moves: only noise can change a sample
    assert answers(exact, "?", MS) == answers(exact, "?", 900 * MS)
    samples = [numbers(*answers(noisy, "?", i * MS)) for i in range(500)]
    np.testing.assert_allclose(np.std(samples, axis=0), 2 * np.array(plant.NOISE), rtol=0.2)  # of 500: 3 % is usual


@pytest.mark.parametrize(("line", "trips"), [("F 2", 0), ("Z", 0), ("?", 1)])
def test_a_command_that_came_while_the_plant_had_no_processor_came_in_time(line, trips):
    machine = made(now_ns=time.monotonic_ns() - 1000 * MS)
    machine.obey("F 1", machine.at_ns)
    port = SimpleNamespace(read_lines=lambda _: [line], write_lines=lambda _: None)
    plant.serve(port, machine)
    assert machine.trips == trips


# The process and its port.


@pytest.fixture
def run_plant(tmp_path, monkeypatch):
    """Starts plant.py at a port that robot.py finds, and ends it; `.log()` is what it wrote."""
    started = []
    port = tmp_path / "plant.tty"
    monkeypatch.setenv("CARTPOLE_PORT", str(port))

    def run(*options):
        command = [sys.executable, str(FOLDER / "plant.py"), "--port", str(port), "--log", str(tmp_path / "plant.log")]
        process = subprocess.Popen([*command, "--seed", "1", "--reset-ms", "20", *options], stdout=subprocess.DEVNULL)
        started.append(process)
        until(lambda: terminal_of(port) not in {None, *run.terminals} or process.poll() is not None)
        run.terminals.append(terminal_of(port))
        return process

    run.port, run.terminals, run.log = port, [], lambda: events(tmp_path / "plant.log")
    yield run
    for process in started:
        process.kill()
        process.wait()


def terminal_of(port):
    return str(port.readlink()) if port.is_symlink() else None


@pytest.fixture
def new_robot():
    """Makes robots of robot.py, each as a process of its own would have it, and closes their ports."""
    robots = []

    def new():
        robots.append(load("robot"))
        return robots[-1]

    yield new
    for robot in robots:
        robot.close()


def ask(terminal, text):
    """Write to a terminal as anyone can, and return the next line."""
    os.write(terminal, text.encode())
    answer = b""
    while not answer.endswith(b"\n"):
        assert select.select([terminal], [], [], 10)[0]
        answer += os.read(terminal, 1)
    return answer.decode().strip()


def happened(run, what):
    return [ns for ns, event in run.log() if event == what]


def test_anyone_can_talk_to_the_plant_by_hand_again_and_again(run_plant):
    run_plant("--noise", "0", "--watchdog-ms", "60000")
    for _ in range(3):
        terminal = os.open(run_plant.port, os.O_RDWR | os.O_NOCTTY)
        sample = [abs(number) for number in numbers(ask(terminal, "\n\n?\n"))]
        assert sample == pytest.approx([0.0, 0.0, math.pi, 0.0], abs=1e-5)  # it hangs at rest
        assert ask(terminal, "jump\n") == "E jump"
        os.close(terminal)
    terminal = os.open(run_plant.port, os.O_RDWR | os.O_NOCTTY)
    os.write(terminal, b"F 1")  # a line may come in pieces
    time.sleep(0.02)
    os.write(terminal, b"0\n")
    until(lambda: happened(run_plant, "force 10"))
    os.close(terminal)


def test_answers_that_nobody_reads_do_not_hold_up_the_plant(run_plant, new_robot):
    run_plant()
    terminal = os.open(run_plant.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    for _ in range(500):
        try:
            os.write(terminal, b"?\n" * 20)
        except BlockingIOError:
            time.sleep(0.001)
    os.close(terminal)
    robot = new_robot()
    until(lambda: answered(robot.start))
    assert len(robot.read_observation(4)) == 4


def answered(call):
    try:
        call()
    except TimeoutError:
        return False
    return True


def test_without_commands_the_watchdog_ends_the_force(run_plant, new_robot):
    run_plant("--watchdog-ms", "50")
    robot = new_robot()
    robot.start()
    before_ns = time.monotonic_ns()
    robot.apply_action([5.0])
    until(lambda: happened(run_plant, "watchdog 1"))
    until(lambda: happened(run_plant, "force 0"))
    acted_ns, rested_ns = happened(run_plant, "force 5")[0], happened(run_plant, "force 0")[0]
    assert acted_ns >= before_ns + 2 * MS  # the latency
    assert rested_ns - acted_ns == 48 * MS  # the watchdog counts from the command, 2 ms before its force
    assert len(robot.read_observation(4)) == 4  # and the port goes on


def test_one_process_at_a_time_has_the_port(run_plant, new_robot):
    run_plant()
    first, second = new_robot(), new_robot()
    first.start()
    second.OPEN_SECONDS = 0.05
    for call in (second.start, second.stop, second.reset):
        with pytest.raises(OSError, match="open in another process"):
            call()
    assert len(first.read_observation(4)) == 4  # undisturbed
    first.stop()
    with pytest.raises(OSError, match="open in another process"):  # opened once: at rest it is still its robot
        second.start()
    first.close()
    second.start()


def test_a_reset_through_robot_py_ends_near_upright(run_plant, new_robot):
    # A hundredth of the speed: however late this process is, the pole has hardly begun to fall.
    run_plant("--speed", "0.01", "--reset-ms", "1", "--noise", "0")
    robot = new_robot()
    robot.start()
    assert robot.terminated(robot.read_observation(4))  # it hangs
    for _ in range(2):
        robot.stop()
        robot.reset()
        x, v, angle, rate = robot.read_observation(4)
        assert not robot.terminated([x, v, angle, rate])
        assert abs(x) < 0.06
        assert abs(angle) < 0.06
    assert [what for _, what in run_plant.log()] == ["begin", "reset", "ready", "reset", "ready"]


KILLED = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("robot", sys.argv[1])
robot = importlib.util.module_from_spec(spec)
spec.loader.exec_module(robot)
robot.start()
robot.apply_action([5.0])
time.sleep(60)
"""


def test_stop_works_in_another_process_after_the_first_was_killed(run_plant, new_robot):
    run_plant("--watchdog-ms", "60000")
    first = subprocess.Popen([sys.executable, "-c", KILLED, str(FOLDER / "robot.py")])
    until(lambda: happened(run_plant, "force 5"))
    first.kill()
    first.wait()
    before_ns = time.monotonic_ns()
    robot = new_robot()
    robot.stop()
    assert happened(run_plant, "force 0")[0] >= before_ns
    assert not happened(run_plant, "watchdog 1")
    new_robot().start()  # a stop that had to open the port has let go of it


def test_a_killed_user_leaves_the_port_open_to_everyone(run_plant):
    run_plant()
    first = subprocess.Popen([sys.executable, "-c", KILLED, str(FOLDER / "robot.py")])
    until(lambda: happened(run_plant, "force 5"))
    terminal = os.open(run_plant.terminals[0], os.O_RDWR | os.O_NOCTTY) if os.getuid() == 0 else None
    if terminal is not None:
        assert exclusive(terminal)
    first.kill()
    first.wait()
    if terminal is not None:
        until(lambda: not exclusive(terminal))
        os.close(terminal)
    until(lambda: opens(run_plant.port))


def exclusive(terminal):
    return struct.unpack("i", fcntl.ioctl(terminal, TIOCGEXCL, bytes(4)))[0] == 1


def opens(port):
    try:
        os.close(os.open(port, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def test_a_plant_that_hangs_costs_its_limit_and_its_late_answers_are_dropped(run_plant, new_robot):
    process = run_plant("--noise", "0")
    robot = new_robot()
    robot.REST_TRIES = 2
    robot.start()
    process.send_signal(signal.SIGSTOP)
    for call in (lambda: robot.read_observation(4), robot.stop):
        with pytest.raises(TimeoutError, match=r"did not answer .* within 0\.15 s"):
            call()
    process.send_signal(signal.SIGCONT)
    until(lambda: answered(lambda: robot.read_observation(4)))
    assert [abs(number) for number in robot.read_observation(4)] == [0.0, 0.0, 0.3, 0.0]  # hangs: beyond the bound
    robot.stop()


def test_stop_reaches_a_plant_that_was_started_again(run_plant, new_robot):
    process = run_plant()
    robot = new_robot()
    robot.start()
    process.kill()
    process.wait()
    with pytest.raises(OSError, match=r"is gone .*plant\.py"):
        robot.read_observation(4)
    held = os.openpty()  # so that the new terminal gets another number
    run_plant()
    robot.stop()
    assert len(robot.read_observation(4)) == 4
    for end in held:
        os.close(end)


def test_without_a_plant_start_says_how_to_start_one(tmp_path, monkeypatch, new_robot):
    monkeypatch.setenv("CARTPOLE_PORT", str(tmp_path / "none.tty"))
    for call in (new_robot().start, new_robot().stop):
        with pytest.raises(FileNotFoundError, match=r"no port .*none\.tty.*python examples/cartpole/plant\.py"):
            call()
    with pytest.raises(OSError, match="start"):
        new_robot().apply_action([0.0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_plant_that_is_asked_to_end_takes_its_link_away(run_plant, number):
    process = run_plant()
    process.send_signal(number)
    assert process.wait(10) == 0
    assert not run_plant.port.is_symlink()


def test_a_dead_plants_link_is_replaced_a_living_ones_and_a_file_are_not(run_plant, tmp_path):
    run_plant.port.symlink_to("/dev/pts/no-such-terminal")
    run_plant.terminals.append(terminal_of(run_plant.port))
    run_plant()
    command = [sys.executable, str(FOLDER / "plant.py"), "--port"]
    second = subprocess.run([*command, run_plant.port], capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "A plant is running at" in second.stderr
    (tmp_path / "file").write_text("mine")
    second = subprocess.run([*command, tmp_path / "file"], capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert opens(run_plant.port)


def test_with_parent_a_plant_ends_with_whoever_started_it(tmp_path):
    port = tmp_path / "plant.tty"
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[1:]]); sys.stdin.read()  # {port}"
    command = [sys.executable, "-c", start, str(FOLDER / "plant.py"), "--with-parent", "--port", str(port)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    until(port.is_symlink)
    time.sleep(0.1)
    assert port.is_symlink()
    parent.kill()
    parent.communicate()
    until(lambda: not port.is_symlink())


def test_speed_makes_the_pole_fall_sooner(run_plant, new_robot):
    run_plant("--speed", "20", "--noise", "0")
    robot = new_robot()
    robot.start()
    seconds = []
    for _ in range(3):  # a busy machine may be late
        robot.reset()
        began = time.monotonic()
        until(lambda: robot.terminated(robot.read_observation(4)))
        seconds.append(time.monotonic() - began)
    # From START_RAD at most it would take half a second at its own speed, by the linear equations.
    assert min(seconds) < 0.5


# robot.py as the learner uses it.


def test_robot_py_loads_nothing_but_small_modules():
    count = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True; "
        "import robot; print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-c", count, str(FOLDER)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {"errno", "fcntl", "robot", "select", "termios", "time"}


def test_a_reward_is_one_at_best_above_zero_while_it_lasts_and_zero_when_it_fails(new_robot, rng):
    robot = new_robot()
    assert robot.reward([0.0] * 4, [0.0], [0.0] * 4) == 1.0
    assert robot.RATE_HZ * robot.EPISODE_SECONDS == 500
    lows, highs = (np.array([row[i] for row in robot.OBSERVATION]) for i in (1, 2))
    for observation in rng.uniform(lows, highs, (200, 4)).tolist():
        reward = robot.reward([0.0] * 4, rng.uniform(-10, 10, 1).tolist(), observation)
        assert reward == 0.0 if robot.terminated(observation) else 0.0 < reward <= 1.0
    assert robot.terminated([2.35, 0.0, 0.0, 0.0])
    assert robot.terminated([0.0, 0.0, -0.22, 0.0])
    assert not robot.terminated([2.2, 3.0, 0.2, -3.0])


@pytest.mark.parametrize("force", [10.1, -10.1, math.nan, math.inf])
def test_a_force_out_of_bounds_never_leaves(run_plant, new_robot, force):
    run_plant()
    robot = new_robot()
    robot.start()
    with pytest.raises(ValueError, match="apply_action: the force is"):
        robot.apply_action([force])
    robot.stop()
    assert [what for _, what in run_plant.log()] == ["begin"]


def upright_steps(robot, gains, most):
    """Steps at RATE_HZ until the episode fails, under force = gains · observation; `most` if it does not."""
    robot.reset()
    observation, due = robot.read_observation(4), time.monotonic()
    for step in range(most):
        force = sum(gain * value for gain, value in zip(gains, observation, strict=True))
        robot.apply_action([max(-10.0, min(10.0, force))])
        due += 1 / robot.RATE_HZ
        time.sleep(max(0.0, due - time.monotonic()))
        observation = robot.read_observation(4)
        if robot.terminated(observation):
            return step + 1
    return most


def test_a_linear_controller_at_50_hz_keeps_the_pole_up_longer_than_none(run_plant, new_robot):
    run_plant()
    robot = new_robot()
    robot.start()
    for tries_left in (2, 1, 0):  # a busy machine may miss the moment
        free = upright_steps(robot, (0.0, 0.0, 0.0, 0.0), 150)
        held = upright_steps(robot, (1.0, 1.7, 35.0, 8.0), 150)
        robot.stop()
        if held > 1.3 * free or not tries_left:
            break
    assert held > 1.3 * free
