"""Every way in which a run can end is a good one: a checkpoint, the right exit code, environments closed."""

import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training import edgedst, run_in, saved_step, start, summary, train, until

OWN = '''
import mmap, os, sys, threading, time
import gymnasium, numpy

class Arm(gymnasium.Env):
    """Three numbers that drift; `fault` says what happens in its 500th step."""
    observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    action_space = gymnasium.spaces.Box(-2, 2, (2,))

    def __init__(self, fault=""):
        self.fault, self.steps, self.kept = fault, 0, None
        if fault == "thread":
            threading.Thread(target=time.sleep, args=(1e6,)).start()
        if fault == "huge":
            self.kept = numpy.ones(60_000_000)
        if fault == "huge file":
            self.kept = mmap.mmap(-1, 200_000_000)  # shared: no limit counts it
            self.kept[::4096] = bytes(len(range(0, 200_000_000, 4096)))

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return numpy.zeros(3, numpy.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == 500:
            if self.fault == "exit":
                sys.exit(3)
            if self.fault == "raise":
                raise ZeroDivisionError("the arm fell off")
            if self.fault == "library":
                import ctypes
                ctypes.CDLL(None).exit(1)
        if self.fault == "shared" and self.steps > 500:
            if self.kept is None:
                self.kept = mmap.mmap(-1, 60_000_000)
                self.kept[::4096] = bytes(len(range(0, 60_000_000, 4096)))
            time.sleep(0.001)
        return self.np_random.normal(size=3).astype(numpy.float32), 0.0, False, False, {}

    def close(self):
        with open("closed", "a") as file:
            file.write("closed\\n")

for fault in ("", "exit", "raise", "library", "shared", "thread", "huge", "huge file"):
    gymnasium.register(f"Arm{fault.replace(' ', '')}-v0", Arm, max_episode_steps=70, kwargs={"fault": fault})
gymnasium.register("Endless-v0", Arm)

class Robot(Arm):
    """There is one of it, and it says where it was moved."""
    hardware = True

    def __init__(self, hardware=True):
        super().__init__()
        self.hardware = hardware
        self.port = os.open("port", os.O_RDWR | os.O_CREAT)
        import fcntl
        fcntl.flock(self.port, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def reset(self, seed=None, options=None):
        with open("moves", "a") as file:
            file.write("reset\\n")
        return super().reset(seed=seed)

    def close(self):
        super().close()
        os.close(self.port)

class Counts(Arm):
    """Encoder counts, as it says itself."""
    observation_space = gymnasium.spaces.Box(numpy.float32([0, 0, 0]), numpy.float32([1, 1e5, 1]))

gymnasium.register("Robot-v0", Robot, max_episode_steps=70)
gymnasium.register("TwoRobots-v0", Robot, max_episode_steps=70, kwargs={"hardware": False})
gymnasium.register("Counts-v0", Counts, max_episode_steps=70)
'''
QUIET = ("--hidden", "16", "--start-steps", "100", "--eval-every", "300", "--eval-episodes", "1", "--no-progress")
LONG = (*QUIET, "--steps", "1000000", "--checkpoint-every", "1000000")


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    return tmp_path


def arm(fault="", budget="80"):
    return ("--env", f"own:Arm{fault}-v0", "--budget-mb", budget)


def under_way(folder, process, evaluations=2):
    """Wait until the run has made so many evaluations."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for path in folder.glob("runs/*/*/*/metrics.jsonl"):
            if path.read_text(encoding="utf-8").count("evaluation_return") >= evaluations:
                return
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def closed(folder):
    """How many environments were closed."""
    path = folder / "closed"
    return path.read_text(encoding="utf-8").count("closed") if path.exists() else 0


def assert_stopped(folder, process, steps=300):
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "Stopped at step" in out
    run = run_in(folder)
    assert summary(run)["exit_reason"] == "interrupted"
    assert saved_step(run) == summary(run)["step"] > steps


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("process_of_its_own", [False, True])
def test_a_signal_to_the_whole_group_is_a_checkpoint(number, process_of_its_own, own):
    process = start(own, *arm(), *LONG, *(["--env-process"] if process_of_its_own else []))
    under_way(own, process)
    os.killpg(process.pid, number)
    assert_stopped(own, process)
    assert closed(own) == 2


def test_a_hang_up_that_nohup_ignores_stays_ignored(tmp_path):
    process = start(tmp_path, *LONG, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    under_way(tmp_path, process)
    process.send_signal(signal.SIGHUP)
    under_way(tmp_path, process, evaluations=5)
    process.terminate()
    assert_stopped(tmp_path, process)


def test_further_signals_do_not_change_how_a_run_ends(tmp_path):
    process = start(tmp_path, *LONG)
    under_way(tmp_path, process)
    process.terminate()
    with process.stdout, process.stderr:
        assert next((line for line in process.stdout if line.startswith("Stopped at")), None)
        while process.poll() is None:
            for number in (signal.SIGTERM, signal.SIGHUP):
                process.send_signal(number)
            time.sleep(0.0005)
    assert process.returncode == 0


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_ctrl_c_at_the_start_shows_no_traceback(seconds, tmp_path):
    process = start(tmp_path, *LONG)
    time.sleep(seconds)
    if seconds == 0.0:
        until(lambda: b"edgedst" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), process)
        time.sleep(0.03)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    looking = "_run_module_as_main" in err and "_run_code" not in err  # for the module of `-m`: none of ours has run
    if not looking and not err.startswith(("Fatal Python error: init_", "Could not import runpy module")):
        assert "Traceback" not in err
        early = (process.returncode, err) == (-signal.SIGINT, "")  # Python had not begun
        assert early or process.returncode in (0, 130)


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("raise", 1, "EnvironmentFault: own:Armraise-v0 raised ZeroDivisionError"),
        ("exit", 1, "EnvironmentFault: own:Armexit-v0 called sys.exit(3) in step"),
        ("shared", 3, "BudgetBroken: own:Armshared-v0 does not stay within"),
        ("library", 3, "BudgetBroken: a library ended the process of own:Armlibrary-v0 by itself"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_environments_are_closed(fault, code, words, own):
    _, err = train(own, *arm(fault), *LONG, "--checkpoint-every", "100", code=code)
    assert err.startswith(words), err
    assert len(err.splitlines()) == 1
    assert "is good" in err
    assert closed(own) == (0 if fault == "library" else 2)  # a process that ends itself closes nothing


def test_memory_that_no_limit_counts_is_seen_within_a_second(own):
    begin = time.monotonic()
    train(own, *arm("shared"), *LONG, code=3)
    told = summary(run_in(own))
    assert told["step"] < 500 + 1500  # a millisecond each since the 500th of the first environment that gets there
    assert time.monotonic() - begin < 60


def test_what_over_budget_advises_can_be_followed(own):
    _, err = train(own, *arm("shared"), *QUIET, "--steps", "900", "--checkpoint-every", "100", code=3)
    advice = err.rpartition("`edgedst train ")[2].partition("`")[0].split()
    assert advice[0] == "--resume"
    out, _ = train(own, *advice[:-1], "200", "--no-progress")
    assert "Finished 900 steps" in out


@pytest.mark.parametrize("fault", ["huge", "hugefile"])
def test_an_environment_far_larger_than_the_budget_is_refused_before_it_takes_the_board_s_memory(fault, own):
    _, err = train(own, *arm(fault), *LONG, code=1)
    assert err.startswith(f"BudgetExceeded: own:Arm{fault}-v0 takes more than 144 MB while it is made"), err
    assert not (own / "runs").exists()


def test_a_thread_of_an_environment_is_not_waited_for(own):
    out, _ = train(own, *arm("thread"), *QUIET, "--steps", "300")
    assert "Finished 300 steps" in out
    assert closed(own) == 2
    done = subprocess.run(
        edgedst("plan", *arm("thread"), "--json"), cwd=own, capture_output=True, check=True, timeout=60
    )
    assert json.loads(done.stdout)["replay_rows"] > 0


def test_an_episode_without_an_end_hangs_nothing(own):
    out, _ = train(own, "--env", "own:Endless-v0", "--budget-mb", "80", *QUIET, "--steps", "600")
    assert "own:Endless-v0 has no time limit: an evaluation's episode ends after 1,000 steps" in out
    out, _ = train(
        own, "--env", "own:Endless-v0", *QUIET, "--steps", "600", "--max-episode-steps", "50", "--budget-mb", "80"
    )
    assert "has no time limit" not in out


@pytest.mark.parametrize("process_of_its_own", [False, True])
def test_hardware_is_opened_once_never_moved_to_be_measured_and_nothing_is_played_on_it_again(process_of_its_own, own):
    arguments = ("--env", "own:Robot-v0", "--budget-mb", "80", *(["--env-process"] if process_of_its_own else []))
    process = start(own, *arguments, *LONG, "--eval-every", "150", "--checkpoint-every", "100")
    under_way(own, process)
    os.killpg(process.pid, signal.SIGTSTP)  # Ctrl-Z: a machine must not go on behind the word "Stopped"
    assert_stopped(own, process, steps=200)
    run = run_in(own)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    evaluations = [line["step"] for line in lines if "evaluation_return" in line]
    assert evaluations[:2] == [210, 350]  # at the end of the episode of 70 steps in which one was due
    assert closed(own) == 1
    resets = (own / "moves").read_text(encoding="utf-8").count("reset")
    episodes = sum("episode_return" in line for line in lines)
    # One an episode, one an evaluation and one after it, one of an evaluation that was stopped.
    assert episodes + 2 * len(evaluations) <= resets <= episodes + 2 * len(evaluations) + 2

    (own / "moves").unlink()
    step = summary(run)["step"]
    process = start(own, "--resume", str(run))
    out = ""
    while "from step" not in out:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=60)
        out += line
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "own:Robot-v0 is hardware, on which nothing is played again" in out
    assert f"from step {step:,}" in out
    assert (own / "moves").read_text(encoding="utf-8").startswith("reset")


def test_what_cannot_be_made_twice_is_told_how_to_say_so(own):
    _, err = train(own, "--env", "own:TwoRobots-v0", "--budget-mb", "80", *QUIET, code=1)
    assert "It was the second one of two: one trains, the other evaluates" in err
    assert "`hardware = True`" in err


@pytest.mark.parametrize("process_of_its_own", [[], ["--env-process"]])
def test_observations_that_half_precision_cannot_hold_are_refused_at_the_start(process_of_its_own, own):
    arguments = ("--env", "own:Counts-v0", "--budget-mb", "80", *QUIET, *process_of_its_own, "--steps", "300")
    _, err = train(own, *arguments, code=1)
    assert err.startswith("UnsupportedSpace: own:Counts-v0 says that observation 1 goes up to 100000, and float16"), err
    assert not (own / "runs").exists()
    train(own, *arguments, "--replay-dtype", "float32")


def test_a_first_observation_that_half_precision_cannot_hold_is_a_sentence(tmp_path):
    _, err = train(tmp_path, *QUIET, "--observation-noise", "1e10", code=1)
    assert re.match(r"EnvironmentFault: \S+: observation 0 is \S+ and float16 holds at most 65504\. .*float32`", err), (
        err
    )
    assert not (tmp_path / "runs").exists()


def test_what_to_type_next_works_with_a_folder_of_any_name(tmp_path):
    out, _ = train(tmp_path, *QUIET, "--run-dir", "it's $HOME", "--stop-at-return", "-1e9")
    *_, option, folder = shlex.split(out.rpartition("To go on: ")[2])
    assert option == "--resume"
    assert (tmp_path / folder / "config.toml").exists()


@pytest.mark.parametrize("closing", ["exec 1>&-", "exec 2>&-", "exec 1>&- 2>&-", "exec >/dev/full"])
def test_a_run_without_standard_output_trains_in_silence(closing, tmp_path):
    command = " ".join(edgedst("train", "--run-dir", "runs", *QUIET, "--steps", "400"))
    done = subprocess.run(["sh", "-c", f"{closing}; exec {command}"], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert summary(run_in(tmp_path))["finished"]


def test_a_folder_whose_name_is_no_text_is_trained_in(tmp_path):
    folder = os.fsencode(tmp_path) + b"/r\xc3\xa9sultats \xff"
    variables = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [*map(os.fsencode, edgedst("train", *QUIET, "--steps", "400", "--run-dir")), folder]
    done = subprocess.run(command, capture_output=True, check=False, env=variables, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Finished 400 steps" in done.stdout
    assert os.listdir(folder)  # noqa: PTH208  # pathlib takes no bytes


def test_a_module_of_the_current_folder_does_not_stand_in_for_python_s_own(own):
    for name in ("random", "types", "copy", "enum", "array", "numpy"):
        (own / f"{name}.py").write_text("raise SystemExit('the wrong module')", encoding="utf-8")
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-E", "-m", "edgedst.cli.main", "train"]
    done = subprocess.run(
        [*command, *arm(), *QUIET, "--steps", "200"], cwd=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Finished 200 steps" in done.stdout


def test_a_budget_that_this_machine_has_no_room_for_is_a_sentence(tmp_path):
    def little():
        resource.setrlimit(resource.RLIMIT_AS, (400_000_000, 400_000_000))

    _, err = train(
        tmp_path, "--budget-mb", "900", *QUIET, "--steps", "300", "--replay-rows", "15000000", code=1, preexec_fn=little
    )
    assert err.startswith("BudgetExceeded: This machine, or a limit on this process (`ulimit -v`), has no room"), err
    assert len(err.splitlines()) == 1
