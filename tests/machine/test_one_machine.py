"""A machine and those beside the run that trains it: a second one, an evaluation, a caller, a shell's Ctrl-Z."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from machine.runs import ENDLESS, LONGEST_SECONDS, Run, family
from training import edgedst, until


@pytest.fixture
def run(tmp_path):
    """Begins `edgedst train` of tests/machine/robot.py."""
    made = []

    def begin(*arguments, variables=None):
        made.append(Run(tmp_path, *(arguments or ENDLESS), variables=variables))
        return made[-1]

    yield begin
    for one in made:
        one.kill_all()


def rests(one):
    """Wait until the newest call is a stop and no process of the run is left."""
    one.wait_for_nobody()
    assert one.at_rest


@contextmanager
def beside(one, *arguments, **variables):
    """Another command on the machine of a run, in its folder and with its log."""
    environment = {**os.environ, "ROBOT_LOG": str(one.log_file), **variables}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(edgedst(*arguments), cwd=one.folder, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def trained(run):
    """A run that has ended: for its actor, robot.py and its log, which begins anew."""
    one = run().until("apply", 60)
    one.send(signal.SIGTERM)
    one.ended()
    one.before = len(one.log_bytes())
    return one


def test_ctrl_z_ends_a_run_instead_of_stopping_half_of_it(run):
    one = run().until("apply", 60)
    one.send(signal.SIGTSTP)
    out, _ = one.ended()
    assert "The machine is at rest" in out
    assert one.at_rest


def link(robot, other):
    """The same file, by another path."""
    os.link(robot.resolve(), other)
    return "robot.py"


def save(robot, _other):
    """The same path, another file, as editors leave it."""
    Path(shutil.copy(robot, f"{robot}.new")).replace(robot)
    return f"../{robot.name}"


@pytest.mark.parametrize(
    ("name", "by"), [("robot.py", link), ("robot.py", save), ("linked.py", link), ("linked.py", save)]
)
def test_a_second_run_on_the_same_machine_is_refused_and_the_first_goes_on(run, tmp_path, name, by):
    (tmp_path / "linked.py").symlink_to("robot.py")
    one = run(*ENDLESS, "--env", name).until("apply", 20)
    applied = one.count("apply")
    folder = one.folder / "other"
    folder.mkdir()
    other = Run(folder, *ENDLESS, "--env", by(one.folder / name, folder / "robot.py"))
    try:
        assert "is in use by another edgedst. Wait for it, or end it." in other.sentence()
        assert other.count("start") == 0
    finally:
        other.kill_all()
    one.until("apply", applied + 20).send(signal.SIGTERM)
    one.ended()


def test_a_check_beside_a_run_is_refused_before_it_touches_the_machine(run):
    one = run().until("apply", 20)
    applied = one.count("apply")
    with beside(one, "check", "robot.py", "--yes") as check:
        _, err = check.communicate(timeout=LONGEST_SECONDS)
    assert check.returncode == 1
    assert "is in use by another edgedst. Wait for it, or end it." in err
    one.until("apply", applied + 20)
    assert {call.pid for call in one.calls} == {one.acting}
    one.send(signal.SIGTERM)
    one.ended()


def test_a_run_beside_a_check_is_refused_and_the_check_goes_on(run):
    one = trained(run)
    with beside(one, "check", "robot.py", "--yes", "--seconds", "600") as check:
        until(lambda: one.count("read") >= 5)
        folder = one.folder / "other"
        folder.mkdir()
        other = Run(folder, *ENDLESS, "--env", "../robot.py")
        try:
            assert "is in use by another edgedst. Wait for it, or end it." in other.sentence()
            assert other.count("start") == 0
        finally:
            other.kill_all()
        seen = one.count("read")
        until(lambda: one.count("read") > seen)
        check.terminate()
        check.communicate(timeout=LONGEST_SECONDS)
    rests(one)


def test_a_run_does_not_go_on_at_another_rate(run):
    one = run().until("apply", 60)
    one.send(signal.SIGTERM)
    one.ended()
    again = run("--resume", str(one.run), variables={"ROBOT_RATE": "50"})
    assert "makes 50 steps a second, and the run was trained with 200" in again.sentence()
    assert again.count("start") == 0


def kill(playing):
    playing.kill()


def kill_behind_a_sigterm_to_its_guard(playing):
    """As systemd ends a service that hangs: SIGTERM to each of its processes, SIGKILL to those that are left."""
    children = Path(f"/proc/{playing.pid}/task/{playing.pid}/children").read_text(encoding="utf-8")
    os.kill(int(children.split()[0]), signal.SIGTERM)
    playing.kill()


FORKS = """
started = start
def start():
    if os.fork() == 0:
        os.close(_log)
        time.sleep(1e6)
    started()
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (kill, ""),
        (kill, FORKS),
        (kill_behind_a_sigterm_to_its_guard, ""),
        (lambda playing: playing.terminate(), ""),
        (lambda playing: playing.send_signal(signal.SIGTSTP), ""),
    ],
    ids=["SIGKILL", "SIGKILL, and robot.py has forked", "SIGKILL behind SIGTERM to all", "SIGTERM", "Ctrl-Z"],
)
def test_an_evaluation_that_is_killed_leaves_the_machine_at_rest(run, end, code):
    one = run().until("apply", 60)
    one.send(signal.SIGTERM)
    one.ended()
    one.before = len(one.log_bytes())
    with (one.folder / "robot.py").open("a", encoding="utf-8") as file:
        file.write(code)
    command = edgedst("evaluate", one.run, "--env", "robot.py", "--episodes", "1000")
    variables = {**os.environ, "ROBOT_LOG": str(one.log_file)}
    with subprocess.Popen(command, cwd=one.folder, env=variables, stdout=subprocess.DEVNULL) as playing:
        until(lambda: one.count("apply") >= 20, playing)
        end(playing)
        until(lambda: one.at_rest)
    if not code:  # what robot.py forked goes on
        rests(one)


IN_PLAYER = """
stopped, player = stop, os.getpid()
def stop():
    if os.getpid() == player:
        {}
    stopped()
"""
BLOCKS, RAISES = IN_PLAYER.format("time.sleep(1e6)"), IN_PLAYER.format("raise OSError('no bus')")
KILLED = "stop() did not return within 2 s, and its process was killed. "
ELSEWHERE = "Another process called stop(), and brought the machine to rest.\n"
MOVING = "THE MACHINE MAY STILL BE MOVING: switch it off by hand.\n"


def interrupt(playing, _guard):
    playing.send_signal(signal.SIGINT)


def kill_and_interrupt(playing, guard):
    os.kill(guard, signal.SIGKILL)
    playing.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("end", "fault", "code", "status", "said"),
    [
        (interrupt, "stop block", "", -9, KILLED + MOVING),
        (interrupt, "stop swallow", "", -9, KILLED + MOVING),
        (interrupt, "", BLOCKS, -9, KILLED + ELSEWHERE),
        (interrupt, "stop raise", "", 1, f"stop() raised ZeroDivisionError: stop fell off the table. {MOVING}"),
        (interrupt, "", RAISES, 1, f"stop() raised OSError: no bus. {ELSEWHERE}"),
        (kill_and_interrupt, "", "", 130, ""),
        (kill_and_interrupt, "stop raise", "", 1, MOVING),
        (lambda playing, _: playing.kill(), "stop block", "", -9, f"stop() failed in another one. {MOVING}"),
    ],
    ids=["blocks", "swallows", "blocks here", "raises", "raises here", "no guard", "neither", "killed, blocks"],
)
def test_an_evaluation_whose_stop_fails_is_told_and_lets_go_of_the_machine(run, end, fault, code, status, said):
    one = trained(run)
    with (one.folder / "robot.py").open("a", encoding="utf-8") as file:
        file.write(code)
    # One long episode: `stop` is called when the end is asked for.
    arguments = ("evaluate", one.run, "--env", "robot.py", "--episodes", "1")
    with beside(one, *arguments, ROBOT_FAULT=fault, ROBOT_EPISODE="1000000") as playing:
        until(lambda: one.count("apply") >= 20)
        (guard,) = [pid for pid, parent in family(one.log_file).items() if parent == playing.pid]
        end(playing, guard)
        _, err = playing.communicate(timeout=LONGEST_SECONDS)
    assert playing.returncode == status, err
    assert err.endswith(said)
    assert len(err.splitlines()) <= 1
    assert MOVING in said or one.at_rest
    one.wait_for_nobody()
    with beside(one, *arguments) as again:
        _, err = again.communicate(timeout=LONGEST_SECONDS)
    assert "in use" not in err


def test_an_evaluation_tells_the_periods_that_it_missed(run):
    one = trained(run)
    arguments = ("--env", "robot.py", "--episodes", "2", "--max-episode-steps", "20")
    with beside(one, "evaluate", one.run, *arguments, ROBOT_FAULT="apply_action slow") as playing:
        _, err = playing.communicate(timeout=LONGEST_SECONDS)
    missed = re.search(r"In 40 steps (\d+) periods were missed: these returns are of a slower loop than RATE_HZ\.", err)
    assert missed, err
    assert int(missed[1]) >= 40  # each step takes 1.6 periods at least


def test_a_program_may_evaluate_twice_on_a_machine(run):
    one = trained(run)
    program = f"import edgedst\nfor _ in '12': edgedst.evaluate({str(one.run)!r}, env='robot.py', episodes=1)"
    variables = {**os.environ, "ROBOT_LOG": str(one.log_file)}
    command = [sys.executable, "-c", program]
    subprocess.run(command, cwd=one.folder, env=variables, check=True, timeout=LONGEST_SECONDS)
    assert (one.count("start"), one.at_rest) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_that_trains_and_is_gone_leaves_the_machine_at_rest(run, number):
    one = run().until("apply", 5)  # only for robot.py and its log
    one.send(signal.SIGTERM)
    one.ended()
    one.before = len(one.log_bytes())
    settings = "env='robot.py', budget_mb=25, hidden=(16,), steps=1000000, eval_every=0, start_steps=40"
    program = f"import edgedst; edgedst.train({settings})"
    variables = {**os.environ, "ROBOT_LOG": str(one.log_file)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", program], cwd=one.folder, env=variables, **quiet) as caller:
        until(lambda: one.count("apply") >= 20, caller)
        caller.send_signal(number)
    one.wait_for_nobody()
    assert one.at_rest
