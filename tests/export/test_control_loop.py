"""The loop at a fixed rate, run as it is on a board: between a robot.py of its owner's and the exported actor."""

import contextlib
import os
import pty
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from actors import difference_actor, overflowing_actor
from study_folder import wait_until

from edgedst.deploy.onnx import build_model
from edgedst.envs.robot import Robot

RUNNER = Path(__file__).parents[2] / "export" / "runner"

# Writes down what happens to it; `observe` is the body of read_observation.
ROBOT = """
import time
log = open("robot.log", "a", buffering=1)
print("import", file=log)
steps = 0

def start():
    print(f"start {{time.monotonic()}}", file=log)

def read_observation(size):
    global steps
    steps += 1
    print(f"read {{time.monotonic()}}", file=log)
    {observe}

def apply_action(action):
    print("act", *action, file=log)

def stop():
    print("stop", file=log)
"""


STARTED = []  # that no failed test leaves a loop behind


@pytest.fixture
def board(tmp_path):
    """A folder as it is on a board: action = 1 + 2 tanh(obs[0] - obs[1])."""
    (tmp_path / "actor.onnx").write_bytes(build_model(difference_actor()).SerializeToString())
    (tmp_path / "golden.csv").write_text("0,0,1,\n1,0,2.52318831,\n")
    for name in ("run_actor.py", "control_loop.py", "robot.py"):
        shutil.copy(RUNNER / name, tmp_path)
    yield tmp_path
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
        with process:  # closes its pipes, waits
            pass


def robot(board, observe="return [1.0, 0.0]"):
    (board / "robot.py").write_text(ROBOT.format(observe=observe))


def begin(board, *arguments, notify=None, **files):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if notify:
        environment["NOTIFY_SOCKET"] = str(notify)
    command = [sys.executable, "-I", "control_loop.py", "actor.onnx", "--golden", "golden.csv", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **files}
    # Whatever started the tests may ignore signals, as nohup does, and the loop would, too.
    process = subprocess.Popen(
        ["sh", "-c", 'exec env --default-signal "$@"', "sh", *command], cwd=board, env=environment, **pipes
    )
    STARTED.append(process)
    return process


def run(board, *arguments):
    process = begin(board, *arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def wait_for(board, word):
    wait_until(lambda: any(line.startswith(word) for line in log(board)))


def log(board):
    path = board / "robot.log"
    return path.read_text().splitlines() if path.exists() else []


def test_the_robot_as_it_is_shipped_tries_the_loop_and_moves_nothing(board):
    code, out, err = run(board, "--rate", "200", "--steps", "10")
    assert (code, err) == (0, "")
    assert "2 equal" in out
    assert "step 10: p50 " in out


def test_each_step_reads_acts_and_keeps_to_the_rate(board):
    robot(board)
    code, _, err = run(board, "--rate", "50", "--steps", "20")
    assert (code, err) == (0, "")
    lines = log(board)
    assert [line.split()[0] for line in lines[:2]] == ["import", "start"]
    assert [line.split()[0] for line in lines[2:]] == [*["read", "act"] * 20, "stop"]
    assert all(float(line.split()[1]) == pytest.approx(1 + 2 * np.tanh(1), rel=1e-6) for line in lines[3:-1:2])
    # However late this machine's steps are, none comes before its time: the 20th is due 19 periods after the start.
    assert float(lines[-3].split()[1]) - float(lines[1].split()[1]) >= 19 / 50


def test_a_late_step_is_told_and_its_periods_are_left_out(board):
    robot(board, "time.sleep(0.6 if steps == 2 else 0); return [0.0, 0.0]")
    code, out, _ = run(board, "--rate", "2", "--steps", "4")
    assert code == 0
    assert int(out.rpartition("steps, ")[2].split()[0]) >= 1
    times = [float(line.split()[1]) for line in log(board) if line.startswith(("start", "read"))]
    assert times[4] - times[0] >= 2  # due at 0, 0.5, 1.5, 2; caught up with, the fourth would come at 1.5


@pytest.mark.parametrize(
    ("observe", "said"),
    [
        ("return [1.0]", "gave an array of shape (1,); expected (2,)."),
        ("return [1.0, float('nan')]", "gave nan at index 1."),
        ("return [1e39, 0.0]", "gave inf at index 0."),  # too large for float32
        ("return ['fast', 0.0]", "gave what is no list of numbers (could not convert string to float: 'fast')."),
        ("return [[1.0], [1.0, 2.0]]", "gave what is no list of numbers"),
        ("return None", "gave an array of shape (); expected (2,)."),
    ],
)
def test_an_observation_that_is_none_gets_no_action_and_stops_the_robot(observe, said, board):
    robot(board, f"if steps < 3: return [0.0, 0.0]\n    {observe}")
    code, _, err = run(board, "--rate", "100")
    assert code == 1
    assert f"control_loop: robot.read_observation() {said}" in err
    assert err.endswith(" No action was given; the robot was stopped.\n")
    assert "Traceback" not in err
    lines = log(board)
    assert sum(line.startswith("act") for line in lines) == 2
    assert lines[-1] == "stop"


def test_an_action_that_is_not_finite_reaches_no_motor(board):
    robot(board, "return [3e38, -3e38]")  # finite, and their difference is not
    (board / "actor.onnx").write_bytes(build_model(overflowing_actor()).SerializeToString())
    (board / "golden.csv").write_text("0,0,1,\n")
    code, _, err = run(board, "--rate", "100")
    assert code == 1
    assert "control_loop: The actor gave [nan]: the observation is far outside of what it was trained with." in err
    assert not [line for line in log(board) if line.startswith("act")]
    assert log(board)[-1] == "stop"


def test_an_action_outside_of_what_the_file_says_reaches_no_motor(board):
    robot(board)
    model = build_model(difference_actor())
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"action_high":[3.0]', '"action_high":[2.5]')
    (board / "actor.onnx").write_bytes(model.SerializeToString())
    code, _, err = run(board, "--rate", "100")
    assert code == 1
    assert "control_loop: The actor gave 2.52319, and its file says -1 to 2.5: copy the bundle again. No action" in err
    assert not [line for line in log(board) if line.startswith("act")]
    assert log(board)[-1] == "stop"


def test_a_robot_without_its_functions_is_told_before_it_starts(board):
    (board / "robot.py").write_text("def start():\n    raise SystemExit('started')\n")
    code, _, err = run(board, "--rate", "100")
    assert code == 1
    assert err == (
        "control_loop: robot.py has no function read_observation, apply_action, stop. Nothing was started.\n"
    )


# What a robot.py has beside that for training; nothing of it is called.
FOR_TRAINING = """
RATE_HZ = 50
EPISODE_SECONDS = 10.0
OBSERVATION = [("angle, rad", -0.2, 0.2), ("rate, rad/s", -3.0, 3.0)]
ACTION = {table}

def reset():
    raise SystemExit("reset was called")

def reward(observation, action, next_observation):
    raise SystemExit("reward was called")

def terminated(observation):
    raise SystemExit("terminated was called")
"""


def trained_robot(board, table):
    robot(board)
    with (board / "robot.py").open("a") as file:
        file.write(FOR_TRAINING.format(table=table))


@pytest.mark.parametrize(
    ("table", "applied"),
    [
        ("None", [2.523188] * 5),  # 1 + 2 tanh(1)
        ('[("force, N", -1.0, 3.0)]', [2.523188] * 5),
        ('[("force, N", -1, 2)]', [2.0] * 5),
        ('[("force, N", -1.0, 2.0, 0.75)]', [0.75, 1.5, 2.0, 2.0, 2.0]),  # from rest on
        (
            '(["force, N", 1.0, 3.0, 1],)',
            [2.0, 2.523188, 2.523188, 2.523188, 2.523188],
        ),  # rest is the bound nearest to 0
    ],
)
def test_a_robot_that_was_written_for_training_serves_with_its_bounds_and_its_slew(table, applied, board):
    trained_robot(board, table)
    code, _, err = run(board, "--rate", "200", "--steps", "5")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in log(board)] == ["import", "start", *["read", "act"] * 5, "stop"]
    assert [float(line.split()[1]) for line in log(board) if line.startswith("act")] == pytest.approx(applied, rel=1e-6)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[]", "ACTION is []; a list of 1 rows was expected, one for each action"),
        ("{1: 2}", "ACTION is {1: 2}; a list of 1 rows was expected"),
        ("0.5", "ACTION is 0.5; a list of 1 rows was expected"),
        ('[("a", -1.0, 1.0), ("b", -1.0, 1.0)]', "a list of 1 rows was expected"),
        *(
            (f"[{row}]", "ACTION has the row")
            for row in (
                *('"abc"', '("a", -1.0)', '("a", -1.0, 1.0, 0.1, 0.1)', '("a", 1.0, 1.0)', '("a", "-1", 1.0)', "3"),
                *('("a", -1.0, 1.0, 0.0)', '("a", -1.0, float("inf"))', '("a", float("nan"), 1.0)', '("a", None, 1.0)'),
            )
        ),
    ],
)
def test_limits_that_are_none_start_nothing(table, said, board):
    trained_robot(board, table)
    code, _, err = run(board, "--rate", "100")
    assert code == 1
    assert err.startswith("control_loop: robot.py: ")
    assert said in err
    assert err.endswith(" Nothing was started.\n")
    assert log(board) == ["import"]


def test_actions_are_limited_as_in_training_to_the_bit(board, rng, monkeypatch):
    low, high = np.sort(rng.uniform(-2, 2, (2, 3)), axis=0)
    rows = [("a", low[0], high[0]), ("b", low[1], high[1], 0.1), ("c", low[2], high[2], 1e-9)]
    trained_robot(board, [(name, *map(float, numbers)) for name, *numbers in rows])
    monkeypatch.chdir(board)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "robot", raising=False)
    training = Robot(str(board / "robot.py"))
    loop = runpy.run_path(str(RUNNER / "control_loop.py"))
    limits = loop["Limits"](sys.modules["robot"].ACTION, 3)
    sys.modules["robot"].log.close()
    last = training.rest()
    for wanted in rng.uniform(-3, 3, (100, 3)).tolist():
        taken = [*wanted]
        training.limit(taken, last)
        last = taken
        assert limits.keep(wanted) == taken


def test_a_robot_that_raises_is_stopped_and_shows_where(board):
    robot(board, "raise OSError('the bus is gone')")
    code, _, err = run(board, "--rate", "100")
    assert code == 1
    assert "robot.py" in err
    assert "the bus is gone" in err
    assert log(board)[-1] == "stop"


def test_nothing_moves_when_the_golden_pairs_differ_or_the_model_is_none(board):
    robot(board)
    (board / "golden.csv").write_text("0,0,1.1,\n")
    code, _, err = run(board, "--rate", "100")
    assert code == 1
    assert "an action differs by 3.3e-02, limit 1e-05" in err
    (board / "actor.onnx").write_bytes(b"truncated")
    code, _, err = run(board, "--rate", "100")
    assert code == 1
    assert "cannot load `actor.onnx`" in err
    assert log(board) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP])
def test_a_signal_ends_the_loop_after_its_step_and_the_service_is_told_it_lives(number, board):
    robot(board)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(board / "notify"))
        service.settimeout(60)
        process = begin(board, "--rate", "50", notify=board / "notify")
        assert [service.recv(100), service.recv(100)] == [b"READY=1", b"WATCHDOG=1"]
        assert service.recv(100) == b"WATCHDOG=1"  # a second later
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "periods missed" in out
    assert [line.split()[0] for line in log(board)][-2:] == ["act", "stop"]


def test_a_signal_is_seen_within_a_long_period(board):
    robot(board)
    process = begin(board, "--rate", "0.01")
    wait_for(board, "act")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)  # of the 100 s until the next step
    assert process.returncode == 0
    assert log(board)[-1] == "stop"


def test_a_second_signal_ends_a_read_that_blocks(board):
    robot(board, "import socket; a, b = socket.socketpair(); a.recv(1)")
    process = begin(board, "--rate", "10")
    wait_for(board, "read")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert log(board)[-1] == "stop"


def test_signals_in_the_moment_of_the_end_do_not_skip_stop(board):
    robot(board, "steps == 3 and signal.raise_signal(signal.SIGTERM); return [1.0, 0.0]")
    third = "def stop():\n    signal.raise_signal(signal.SIGINT)"
    text = (board / "robot.py").read_text().replace("def stop():", third)
    (board / "robot.py").write_text(f"import signal\n{text}")
    program = board / "control_loop.py"
    handle = '"""Let the signals do something else."""'  # its first words; then the second signal comes
    assert handle in program.read_text()
    second = "handler is signal.SIG_IGN and signal.raise_signal(signal.SIGHUP)"
    program.write_text(program.read_text().replace(handle, second))
    code, _, err = run(board, "--rate", "100")
    assert (code, err) == (128 + signal.SIGHUP, "")
    assert [line.split()[0] for line in log(board)][-2:] == ["act", "stop"]


def report_often(board):
    program = board / "control_loop.py"
    program.write_text(program.read_text().replace("REPORT_SECONDS = 10.0", "REPORT_SECONDS = 0.05"))


def test_whoever_read_its_reports_may_go_and_the_loop_goes_on(board):
    robot(board)
    report_often(board)
    process = begin(board, "--rate", "100")
    assert "equal" in process.stdout.readline()
    assert "periods missed" in process.stdout.readline()
    process.stdout.close()
    seen = len(log(board))
    wait_until(lambda: len(log(board)) > seen + 100)  # fifty steps, ten reports that nobody reads
    process.send_signal(signal.SIGTERM)
    assert (process.wait(60), process.stderr.read()) == (0, "")
    assert log(board)[-1] == "stop"


def fill(file):
    """Write until there is no more room, by an opening of its own: that it does not block is no other's business."""
    own = os.open(f"/proc/self/fd/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    for _ in range(5):  # what was written to a terminal moves on to its other end, and leaves room
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(own, b"x" * 1000)
        time.sleep(0.1)
    os.close(own)


@pytest.mark.parametrize(
    ("open_both", "stand_still"),
    [
        (pty.openpty, lambda file: termios.tcflow(file, termios.TCOOFF)),  # Ctrl-S was typed
        (pty.openpty, fill),  # a connection that stands still: the terminal has room for a part of a line, then none
        (os.pipe, fill),  # `less` that was left at its first page
    ],
)
@pytest.mark.parametrize("end", ["SIGTERM", "NaN"])
def test_output_that_stands_still_keeps_neither_the_robot_nor_its_end(open_both, stand_still, end, board):
    robot(board, "import os.path; return [1.0, float('nan') if os.path.exists('end') else 0.0]")
    report_often(board)
    reader, writer = open_both()
    try:
        process = begin(board, "--rate", "100", stdout=writer, stderr=writer)
        wait_for(board, "act")
        stand_still(writer)
        seen = len(log(board))
        wait_until(lambda: len(log(board)) > seen + 200)  # a hundred steps, twenty reports
        if end == "NaN":  # at rest it has to say what was wrong with the observation; a signal ends that
            (board / "end").touch()
            wait_for(board, "stop")
            wait_until(lambda: process.send_signal(signal.SIGTERM) or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == (-signal.SIGTERM if end == "NaN" else 0)
        assert log(board)[-1] == "stop"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_systemd_that_does_not_read_keeps_neither_the_robot_nor_its_end(board):
    robot(board)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(board / "notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full, contextlib.suppress(BlockingIOError):
            full.setblocking(False)
            while True:
                full.sendto(b"x", str(board / "notify"))
        process = begin(board, "--rate", "100", notify=board / "notify")
        wait_for(board, "act")
        service.settimeout(60)
        while (told := service.recv(100)) == b"x":
            pass
        assert told == b"READY=1"  # it is tried until it has arrived
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "periods missed" in out
    assert log(board)[-1] == "stop"


def test_a_signal_before_the_start_starts_nothing(board):
    robot(board)
    text = (board / "robot.py").read_text()
    (board / "robot.py").write_text(f"{text}\nimport os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    code, _, err = run(board, "--rate", "100")
    assert (code, err) == (0, "")
    assert log(board) == ["import"]


def test_a_thread_that_keeps_the_process_can_be_ended(board):
    robot(board)
    with (board / "robot.py").open("a") as file:
        file.write("\nimport threading\nthreading.Thread(target=time.sleep, args=(600,)).start()\n")
    process = begin(board, "--rate", "100", "--steps", "2")
    wait_for(board, "stop")
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert process.returncode == -signal.SIGTERM


def test_stop_alone_stops_the_robot_without_a_model(board):
    robot(board)
    (board / "actor.onnx").unlink()
    done = subprocess.run([sys.executable, "-I", "control_loop.py", "--stop"], cwd=board, timeout=60, check=True)
    assert done.returncode == 0
    assert log(board) == ["import", "stop"]


@pytest.mark.parametrize("arguments", [(), *(("--rate", rate) for rate in ("0", "-5", "1e-300", "inf", "nan", "1e12"))])
def test_without_a_rate_the_usage_is_shown(arguments, board):
    code, _, err = run(board, *arguments)
    assert code == 2
    assert "expected a model, --golden, and a --rate from 0.01 to 10000" in err


def test_what_runs_on_the_board_imports_nothing_of_edgedst():
    for path in RUNNER.glob("*.py"):
        assert not re.search(r"^\s*(import|from)\s+edgedst\b", path.read_text(encoding="utf-8"), re.MULTILINE)
