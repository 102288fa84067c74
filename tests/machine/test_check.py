"""`edgedst check`: each fault of a robot.py has its sentence, and stop() is called on every way out.

The robots here write down what is called. Limits are shortened where a test waits for them; the process that tries a
robot.py is forked, and so has the short ones.
"""

import json
import os
import signal
import subprocess

import pytest
from study_folder import wait_until
from training import edgedst

from edgedst.envs.robot import Robot
from edgedst.errors import ConfigError, RobotFault
from edgedst.machine import check as checking
from edgedst.machine import seen, trial

# A cart whose speed is the action, per step. It leaves its rail at 10, which ends an episode.
ROBOT = {
    "head": """
import os, signal, time
def log(*words):
    with open(os.path.join(os.path.dirname(__file__), "calls"), "a") as file:
        print(*words, file=file)
log("import")
x = speed = 0.0
reads = 0
RATE_HZ = 100
EPISODE_SECONDS = 0.15
OBSERVATION = [("place", -10.0, 10.0), ("speed", -1.0, 1.0)]
ACTION = [("drive", -0.5, 1.0, 0.2), ("lamp", 0.0, 1.0)]
""",
    "start": "log('start')",
    "read_observation": "x += speed\n    reads += 1\n    return [x + reads % 2 * 1e-6, speed]",
    "apply_action": "log('act', *action)\n    speed = action[0]",
    "stop": "log('stop')\n    speed = 0.0",
    "reset": "log('reset')\n    x = 0.0",
    "reward": "return 1.0 - abs(next_observation[0]) / 10",
    "terminated": "return abs(observation[0]) > 9",
}
ARGUMENTS = {
    **{"read_observation": "size", "apply_action": "action", "terminated": "observation"},
    "reward": "observation, action, next_observation",
}


CATCHES_ALL = "while True:\n        try: time.sleep(60)\n        except BaseException: pass"


def write(folder, head="", **bodies):
    """A robot.py with other bodies of functions, and more at its head; a body of None leaves the function out."""
    code = ROBOT["head"] + head
    for name in trial.FUNCTIONS:
        body = bodies.get(name, ROBOT[name])
        if body is not None:
            code += f"\ndef {name}({ARGUMENTS.get(name, '')}):\n    global x, speed, reads\n    {body}\n"
    path = folder / "robot.py"
    path.write_text(code, encoding="utf-8")
    return str(path)


def calls(folder):
    path = folder / "calls"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def actions(folder):
    """Each action, and whether it is the first behind a rest."""
    found, rested = [], True
    for name, *words in map(str.split, calls(folder)):
        if name == "act":
            found.append(([float(word) for word in words], rested))
        rested = name != "act"
    return found


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr(trial, "REST_SECONDS", 0.08)
    monkeypatch.setattr(seen, "MOST_MISSED", 0.5)  # this machine is not the test's subject
    monkeypatch.setattr(trial, "HANG_SECONDS", 0.3)
    monkeypatch.setattr(trial, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(checking, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(checking, "GRACE_SECONDS", 0.1)


def tried(path, seconds=0.22, move=True):
    with checking.Check(path, seconds, move) as check:
        return check.run()


def test_a_robot_without_a_fault_can_train_and_what_was_seen_of_it_is_told(tmp_path):
    phases = []
    with checking.Check(write(tmp_path), 0.6) as check:
        assert calls(tmp_path) == ["import"]
        found = check.run(phases.append)
    assert (found["problems"], found["can_train"], found["at_rest"]) == ([], True, True)
    assert list(dict.fromkeys(phases)) == ["start()", "reading", "reset()", "small actions", "full range", "rest"]
    assert sum(found["steps"].values()) + found["missed_periods"] >= 60
    assert found["observed_low"][1] < 0 < found["observed_high"][1] <= 1.0
    assert set(found["ms"]) >= {*trial.FUNCTIONS, "step", "late"}
    assert all(0 < times["p50"] <= times["p99"] <= times["max"] for times in found["ms"].values())
    assert found["reward_low"] < found["reward_high"] <= 1.0
    assert found["resets"] > 1  # an episode has 0.15 s
    json.dumps(found, allow_nan=False)


def test_no_action_leaves_its_bounds_or_its_slew_and_all_of_the_range_is_used(tmp_path):
    path = write(tmp_path, "EPISODE_SECONDS = 10.0\n", terminated="return False")
    found = tried(path, 1.5)
    last = [0.0, 0.0]
    for action, first in actions(tmp_path):
        assert -0.5 <= action[0] <= 1.0
        assert 0.0 <= action[1] <= 1.0
        assert abs(action[0] - (0.0 if first else last[0])) <= 0.2 + 1e-12  # the difference is rounded
        last = action
    assert found["applied_low"] == pytest.approx([-0.5, 0.0], abs=0.05)  # a step misses a sine's top
    assert found["applied_high"] == pytest.approx([1.0, 1.0], abs=0.05)


def test_the_first_actions_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "SHARES", {seen.READING: 0.1, seen.SMALL: 0.9, seen.FULL: 0.0})
    tried(write(tmp_path, "EPISODE_SECONDS = 10.0\n"), 1.0)
    assert 0.05 < max(abs(value) for action, _ in actions(tmp_path) for value in action) <= 0.1


def test_each_episode_ends_in_stop_and_begins_with_reset_as_in_training(tmp_path):
    tried(write(tmp_path, "EPISODE_SECONDS = 0.1\n"))
    names = [line.split()[0] for line in calls(tmp_path)]
    assert names[:3] == ["import", "start", "reset"]
    assert [b for a, b in zip(names, names[1:], strict=False) if a == "reset"] == ["act"] * names.count("reset")
    assert "stop" in names[: names.index("reset", 3)]
    assert names[-3:] == ["stop", "import", "stop"]  # once more, where start() was not called


def test_without_movement_it_is_started_read_and_stopped(tmp_path):
    found = tried(write(tmp_path), move=False)
    assert calls(tmp_path) == ["import", "start", "stop", "import", "stop"]
    assert (found["can_train"], found["moved"], found["steps"].keys()) == (True, False, {"reading"})
    assert found["notes"] == ["`speed` never changed; nothing was moved."]


@pytest.mark.parametrize(
    ("head", "bodies", "said"),
    [
        ("", {"stop": None, "reward": None}, "has no `stop`, `reward`. A robot.py needs the functions"),
        ("RATE_HZ = 0", {}, "RATE_HZ is int 0; a number of steps a second above 0.01"),
        ("OBSERVATION = [('a', 0, float('inf'))]", {}, "row 0 of OBSERVATION, `a`, has float inf as high; a finite"),
        ("ACTION = []", {}, "ACTION is list []; a list like"),
        ("raise OSError('no bus')", {}, "cannot be imported: OSError: no bus."),
        ("os._exit(3)", {}, "The process that loads"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_before_anything_starts(tmp_path, head, bodies, said):
    with pytest.raises(RobotFault) as fault:
        checking.Check(write(tmp_path, head, **bodies))
    assert said in str(fault.value)
    assert calls(tmp_path) in (["import"], [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x = 1\nprint(", r"SyntaxError: '\(' was never closed \(robot\.py, line 2\)\."),
        (b"x = 1\n\0", r"(Syntax|Value)Error: source code .* null bytes\."),  # the class is Python's, by its version
    ],
)
def test_a_syntax_error_tells_its_line_once_where_it_has_one(tmp_path, content, said):
    (tmp_path / "robot.py").write_bytes(content)
    with pytest.raises(RobotFault, match=rf"robot\.py` cannot be imported: {said}$"):
        Robot(str(tmp_path / "robot.py"))


@pytest.mark.parametrize("name", trial.FUNCTIONS)
def test_an_exception_in_a_function_is_told_with_its_name_and_the_machine_is_stopped(tmp_path, name):
    body = f"log('{name}')\n    raise OSError('no {name}')"
    found = tried(write(tmp_path, **{name: body}))
    (problem,) = found["problems"]
    assert problem.startswith(f"`{tmp_path}/robot.py`: {name}() raised OSError: no {name}.")
    assert not found["can_train"]
    assert calls(tmp_path)[-1] == "stop"
    assert found["at_rest"] == (name != "stop")
    assert problem.endswith("THE MACHINE MAY STILL BE MOVING: switch it off by hand.") == (name == "stop")


@pytest.mark.parametrize(
    ("bodies", "said"),
    [
        ({"read_observation": "return [1.0] * 3"}, "read_observation(2) gave 3 numbers and OBSERVATION names 2."),
        (
            {"read_observation": "return [0.0, float('nan')]"},
            "read_observation gave nan as `speed` (index 1); a finite",
        ),
        ({"read_observation": "return 'no'"}, "read_observation(2) gave what is no list of numbers"),
        ({"reward": "return float('inf')"}, "reward() gave inf; a finite number was expected"),
        ({"reward": "pass"}, "reward() gave NoneType None; one number was expected."),
        ({"terminated": "pass"}, "terminated() gave NoneType None; True or False was expected."),
        (
            {"terminated": "return log('reset') or 'reset' in open(__file__[:-8] + 'calls').read()"},
            "terminated() was True",
        ),
        ({"apply_action": "raise KeyboardInterrupt"}, "apply_action() raised KeyboardInterrupt."),
        ({"reset": "raise SystemExit(3)"}, "reset() raised SystemExit: 3."),
    ],
)
def test_what_a_function_gives_is_checked(tmp_path, bodies, said):
    found = tried(write(tmp_path, **bodies))
    assert not found["can_train"]
    assert [problem for problem in found["problems"] if said in problem]
    assert calls(tmp_path)[-1] == "stop"


def test_a_read_that_is_slower_than_the_loop_is_told_with_a_rate_that_could_be_kept(tmp_path):
    found = tried(write(tmp_path, read_observation="time.sleep(0.03)\n    x += 1e-3\n    return [x, speed]"))
    (problem,) = found["problems"]
    assert "robot.py` cannot keep RATE_HZ = 100: the calls of a step take" in problem
    assert "or make read_observation() faster." in problem
    could = float(problem.partition("Write RATE_HZ = ")[2].split(",")[0])
    assert 1 <= could < 30
    assert found["kept_hz"] < 50


def test_channels_are_held_against_their_bounds_and_against_the_loop(tmp_path):
    found = tried(
        write(
            tmp_path,
            "OBSERVATION += [('dead', 0, 1), ('far', -0.1, 0.1), ('fine', -1e6, 1e6)]\n",
            read_observation="x += speed\n    reads += 1\n    k = reads // 3\n    return [k % 7, k % 2, 0.5, k % 5, k]",
            terminated="return False",
            reward="return 0.0",
        )
    )
    assert found["can_train"]
    told = " ".join(found["warnings"])
    assert "`far` was seen from 0 to 4, outside of its bounds -0.1 to 0.1, which the networks see as -1 and 1." in told
    assert "`dead` never changed: a dead sensor" in told
    assert "steps the whole observation was the one before: new samples come about " in told
    assert 20 <= float(told.partition("or write RATE_HZ = ")[2].split(".")[0]) <= 50  # every third read has a new one
    assert any(note.startswith("`fine` used") for note in found["notes"])
    assert any(note.startswith("reward() gave 0 in every step") for note in found["notes"])


def test_a_machine_that_moves_on_after_stop_is_told(tmp_path):
    found = tried(write(tmp_path, stop="log('stop')", terminated="return False", reset="speed = 0.3"))
    assert [said for said in found["warnings"] if "`place` still changed by" in said and "after stop()" in said]
    calm = tried(write(tmp_path, terminated="return False"))
    assert not [said for said in calm["warnings"] if "after stop()" in said]


def test_a_stop_that_needs_start_is_a_problem_for_whoever_stops_a_killed_one(tmp_path):
    found = tried(write(tmp_path, "port = None\n", start="globals()['port'] = 1", stop="log('stop', 1 / (port or 0))"))
    (problem,) = found["problems"]
    assert "In a process that had not called start() stop() failed" in problem
    assert found["at_rest"]


# Ways out.


def test_a_read_that_hangs_is_ended_and_the_machine_stopped(tmp_path):
    body = "reads += 1\n    time.sleep(60 if reads > 20 else 0)\n    return [reads, 0.0]"
    found = tried(write(tmp_path, read_observation=body))
    (problem,) = found["problems"]
    assert "read_observation() did not return within 0.3 s, and was ended." in problem
    assert calls(tmp_path)[-3:] == ["stop", "import", "stop"]
    assert not found["stop_elsewhere"]["needed"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        # A driver that catches everything, one that no signal reaches, one that crashes.
        (CATCHES_ALL, "could not be ended: its process"),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); time.sleep(60)", "could not be ended: its process"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by signal 9, last in apply_action()."),
    ],
)
def test_where_the_process_cannot_go_on_another_one_stops_the_machine(tmp_path, body, said):
    found = tried(write(tmp_path, apply_action=body))
    (problem,) = found["problems"]
    assert said in problem
    assert found["notes"] == ["Another process called stop(), and brought the machine to rest."]
    assert calls(tmp_path) == ["import", "start", "reset", "import", "stop"]


def test_a_stop_that_hangs_is_tried_elsewhere_and_then_told_loudly(tmp_path):
    found = tried(write(tmp_path, stop="log('stop')\n    time.sleep(60)"))
    assert [problem for problem in found["problems"] if "stop() did not return within 0.3 s." in problem]
    assert found["problems"][-1].endswith("THE MACHINE MAY STILL BE MOVING: switch it off by hand.")
    assert calls(tmp_path)[-1] == "stop"
    assert not found["at_rest"]


def test_a_robot_py_that_hangs_where_only_stop_is_called_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "IMPORT_SECONDS", 0.1)
    found = tried(write(tmp_path, f"if 'start' in open('{tmp_path}/calls').read(): time.sleep(60)\n"), move=False)
    (problem,) = found["problems"]
    assert "stop() failed: " in problem
    assert "stop() was not over after 0.3 s." in problem


@pytest.mark.parametrize("number", trial.ENDED_BY)
def test_each_signal_ends_it_early(tmp_path, number):
    found = tried(write(tmp_path, apply_action=f"log('act')\n    os.kill(os.getppid(), {number})\n    time.sleep(0.1)"))
    assert (found["signal"], found["at_rest"], found["can_train"]) == (number, True, False)
    assert calls(tmp_path)[-2:] == ["act", "stop"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # what holds afterwards is as before


def test_a_reset_that_does_not_let_itself_be_ended_is_killed(tmp_path):
    found = tried(write(tmp_path, reset=f"os.kill(os.getppid(), signal.SIGTERM)\n    {CATCHES_ALL}"))
    assert "reset() did not return in time and could not be ended: its process was killed." in found["problems"][0]
    assert calls(tmp_path)[-2:] == ["import", "stop"]
    assert found["at_rest"]


def test_resets_that_take_too_long_cut_the_movement_short(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "RESETTING_SECONDS", 0.04)
    found = tried(write(tmp_path, "EPISODE_SECONDS = 0.05\n", reset="log('reset')\n    time.sleep(0.03)"))
    assert "The resets took so long that the movement was cut short." in found["notes"]
    assert calls(tmp_path).count("reset") in (3, 4)  # the first, and two more in each of two phases at most


def test_too_few_seconds_are_refused_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match=r"`--seconds 0\.1`: at least 20 periods of .* which are 0\.2 s at RATE_HZ"):
        checking.Check(write(tmp_path), 0.1)
    assert calls(tmp_path) == ["import"]


def begin(folder, *arguments, **options):
    command = edgedst("check", "robot.py", *arguments)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, text=True, **{**pipes, **options})


def test_without_yes_and_a_terminal_it_refuses(tmp_path):
    write(tmp_path)
    process = begin(tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ConfigError: `edgedst check` asks before it starts a machine, and there is no terminal to answer at." in err
    assert len(err.splitlines()) == 1
    assert calls(tmp_path) == ["import"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_and_a_second_one_bring_the_machine_to_rest(tmp_path, number):
    write(tmp_path, stop="log('stop'); time.sleep(0.3); log('stopped')", terminated="return False")
    process = begin(tmp_path, "--yes", "--seconds", "60")
    wait_until(lambda: "start" in calls(tmp_path))
    process.send_signal(number)
    wait_until(lambda: "stop" in calls(tmp_path))
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert out.endswith("Ended early. The machine was brought to rest.\n")
    assert calls(tmp_path)[-2:] == ["stop", "stopped"]
    assert calls(tmp_path).count("stop") == 1


def test_ctrl_c_ends_a_reset_that_waits_for_somebody(tmp_path):
    write(tmp_path, "RATE_HZ = 1000\n", reset="log('reset')\n    time.sleep(600)")
    process = begin(tmp_path, "--yes", "--seconds", "0.1")
    wait_until(lambda: "reset" in calls(tmp_path))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert calls(tmp_path)[-1] == "stop"


def test_a_killed_check_leaves_no_machine_moving(tmp_path):
    write(tmp_path, terminated="return False")
    process = begin(tmp_path, "--yes", "--seconds", "60", stderr=subprocess.DEVNULL)
    wait_until(lambda: "start" in calls(tmp_path))
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: calls(tmp_path)[-1] == "stop")


def test_one_object_is_printed_whatever_robot_py_prints(tmp_path):
    write(tmp_path, "RATE_HZ = 1000\nprint('imported')\n", start="print('started')")
    process = begin(tmp_path, "--yes", "--json", "--seconds", "0.1", "--no-move")
    out, err = process.communicate(timeout=60)
    found = json.loads(out)
    assert process.returncode == (0 if found["can_train"] else 1)
    assert found["robot"] == "robot.py"
    assert all(words in err for words in ("imported", "started", "Reading only."))


def test_whoever_reads_the_progress_may_go(tmp_path):
    write(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    process = begin(tmp_path, "--yes", "--json", "--seconds", "0.2", "--no-move", stderr=writer)
    os.close(writer)
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["at_rest"]
    assert calls(tmp_path)[-3:] == ["stop", "import", "stop"]
