"""Whole runs on a machine that writes down every call: what moves it, when, and that every way out ends at rest."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from machine.runs import ENDLESS, SMALL, TRUNCATED, Run, family, in_order, replay_rows, rested_ns, state_of, stored
from training import edgedst, metrics, run_in, saved_step, start, summary, train, until

from edgedst.deploy.actor import Actor
from edgedst.evaluation import Evaluations
from edgedst.launch.job import trainer_command
from edgedst.live import LiveTraining
from edgedst.machine import warden
from edgedst.machine.kept_time import KeptTime
from edgedst.machine.link import BEAT, CUT_OFF, END, EVALUATION, OVER, PHASE, RUNNING
from edgedst.machine.link import TRUNCATED as TRUNCATED_FLAG
from edgedst.runs.actor import read_actor

EPISODE = 40  # steps
LATE = 90  # calls of apply_action before something happens: a checkpoint was made at step 50


@pytest.fixture
def run(tmp_path):
    """Starts a run in an empty folder; what is left of it is killed."""
    made = []

    def begin(*arguments, fault="", code="", **options):
        variables = {"ROBOT_FAULT": fault, **options.pop("variables", {})}
        if code:
            robot = Path(__file__).with_name("robot.py").read_text(encoding="utf-8")
            (tmp_path / "robot.py").write_text(robot + code, encoding="utf-8")
        made.append(Run(tmp_path, *(arguments or ENDLESS), variables=variables, **options))
        return made[-1]

    yield begin
    for one in made:
        one.kill_all()


def goes_on(before):
    """Resume that run until it has moved a little, and stop it; its replay is the log's, old rows and new ones."""
    step = saved_step(before.run)
    variables = {**before.variables, "ROBOT_FAULT": ""}
    again = Run(before.folder, "--resume", str(before.run), "--no-progress", variables=variables)
    try:
        again.until("apply", EPISODE + 5).send(signal.SIGTERM)
        out, err = again.ended()
        assert f", from step {step:,}" in out
        assert "on which nothing is played again" in out
        assert err == ""
        assert again.count("start") == 1
        assert in_order(again.calls)
        assert saved_step(before.run) >= step + EPISODE
        assert stored(before.run, again.all_calls)
    finally:
        again.kill_all()


# A run from its first step to its last, for the tests below.


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("whole"), *SMALL, "--steps", "130", "--updates-per-step", "3")
    run.printed, _ = run.ended()
    return run


def test_a_run_starts_the_machine_once_and_leaves_it_at_rest(whole):
    assert whole.count("start") == 1
    assert in_order(whole.calls)
    assert whole.at_rest
    assert "The machine is at rest: the run ended." in whole.printed
    assert whole.summary["exit_reason"] == "finished"


def test_each_update_that_was_asked_for_is_made_when_learning_keeps_up(whole):
    state = state_of(whole.run)
    assert state["agent"]["iteration"] == 3 * (state["step"] - 40)
    assert whole.summary["real_time"]["updates_behind"] == 0


def test_the_replay_holds_what_was_done_and_seen(whole):
    told = whole.summary["real_time"]
    numbers = stored(whole.run, whole.calls)
    assert len(numbers) == whole.summary["step"] - told["steps_not_stored"] - told["records_dropped"]
    assert whole.summary["replay_transitions"] == len(numbers)
    rows = replay_rows(whole.run)
    assert sum(bool(row["flags"] & TRUNCATED) for row in rows) <= whole.count("reset")  # the episodes' ends


def test_without_evaluations_r_is_of_training_episodes_and_says_so(whole):
    returns = [line["episode_return"] for line in whole.metrics]
    assert len(returns) == 3
    assert whole.summary["returns_of"] == "training episodes"
    assert whole.summary["evaluations"] == 0
    assert whole.summary["R"] == pytest.approx(sum(returns) / 3)
    assert "(mean of the last 3 training episodes)" in whole.printed
    assert not [line for line in whole.metrics if "evaluation_return" in line]


def test_metrics_and_summary_tell_what_real_time_was_like(whole):
    told = whole.summary["real_time"]
    assert told["rate_hz"] == 200
    assert told["steps_acted"] == whole.summary["step"]
    assert told["updates_per_step"] == pytest.approx(3, abs=0.01)
    assert [told["brought_to_rest"]] == whole.reasons == ["the run ended"]
    times = ["jitter_p50_ms", "jitter_p99_ms", "jitter_max_ms"]
    for line in (told, *whole.metrics):
        assert 0 <= line[times[0]] <= line[times[1]] <= line[times[2]]
        assert 0 < line["observation_to_action_p50_ms"] <= line["observation_to_action_max_ms"]
    lines = (whole.run / "weights.csv").read_text(encoding="utf-8").split()
    steps, updates = zip(*(map(int, line.split(",")) for line in lines), strict=True)
    assert list(steps) == sorted(steps)
    assert list(updates) == sorted(set(updates))
    assert updates[-1] > 3 * (steps[-1] - 40) - 60


# Evaluations on the machine.


@pytest.fixture(scope="module", params=["0", "2"])
def evaluated(tmp_path_factory, request):
    arguments = ("--steps", "160", "--eval-every", "2", "--eval-episodes", "2", "--method", "ds-sac")
    arguments += ("--history", request.param)
    run = Run(tmp_path_factory.mktemp("evaluated"), *SMALL, *arguments)
    run.printed, _ = run.ended()
    return run


def episodes_of(run):
    """The calls of each episode."""
    found = []
    for call in run.calls:
        if call.name == "reset":
            found.append([])
        elif call.name in ("read", "apply") and found:
            found[-1].append(call)
    return found


def test_evaluations_come_behind_training_episodes_the_last_one_too_and_none_at_step_0(evaluated):
    lines = [
        ("evaluation" if "evaluation_return" in line else line["episode"], line["step"]) for line in evaluated.metrics
    ]
    assert lines == [(0, 40), (1, 80), ("evaluation", 80), (2, 120), (3, 160), ("evaluation", 160)]
    assert len(episodes_of(evaluated)) == 4 + 2 * 2
    assert evaluated.summary["evaluations"] == 2
    assert evaluated.summary["returns_of"] == "evaluations"
    assert "(mean of the last 2 evaluations)" in evaluated.printed


def test_evaluations_act_without_noise_with_the_actor_that_is_saved_as_the_best(evaluated):
    best = read_actor(evaluated.run, "best")
    returns = [line["evaluation_return"] for line in evaluated.metrics if "evaluation_return" in line]
    assert best.step == (80, 160)[int(np.argmax(returns))]
    first = {80: 2, 160: 6}[best.step]
    actor, largest = Actor.of(best), 0.0
    for episode in episodes_of(evaluated)[first : first + 2]:
        actor.reset()
        for read, apply in zip(episode[::2], episode[1::2], strict=False):
            largest = max(largest, abs(actor.act(np.array(read.numbers))[0] - apply.numbers[0]))
            actor.applied(np.array(apply.numbers, np.float32))
    assert largest < 1e-5  # float32's rounding through three layers; noise is 0.1 and more


def test_steps_of_an_evaluation_are_not_stored(evaluated):
    numbers = stored(evaluated.run, evaluated.calls)
    told = evaluated.summary["real_time"]
    assert len(numbers) == evaluated.summary["step"] - told["steps_not_stored"]
    episodes = episodes_of(evaluated)
    tried = {call.numbers[0] for number in (2, 3, 6, 7) for call in episodes[number] if call.name == "read"}
    assert not tried & set(numbers)
    assert told["steps_acted"] == evaluated.summary["step"] + 4 * EPISODE


def test_an_evaluation_s_return_is_the_mean_of_its_episodes(evaluated):
    for line, first in zip([line for line in evaluated.metrics if "evaluation_return" in line], (2, 6), strict=True):
        returns = []
        for episode in episodes_of(evaluated)[first : first + 2]:
            reads = [call.numbers[0] for call in episode if call.name == "read"]
            returns.append(sum(reads[1:]) + sum(call.numbers[0] for call in episode if call.name == "apply"))
        assert line["evaluation_return"] == pytest.approx(sum(returns) / 2)


# Nothing moves before the plan fits.


def test_a_plan_moves_nothing(tmp_path):
    shutil.copy(Path(__file__).with_name("robot.py"), tmp_path)
    command = edgedst("plan", "--env", "robot.py", "--budget-mb", "25", "--json")
    variables = {**os.environ, "ROBOT_LOG": str(tmp_path / "log")}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
    assert "acting side" in done.stdout
    told = json.loads(done.stdout)
    assert told["step_seconds"] == 1 / 200
    assert 0 < told["update_seconds"] < 1
    assert not {"acting_seconds", "run_seconds"} & told.keys()
    log = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [line.split()[2] for line in log] == ["import"]
    assert not family(tmp_path / "log")


def test_a_budget_that_is_too_small_moves_nothing(run):
    small = run(*SMALL, "--steps", "100", "--budget-mb", "12")
    assert small.sentence().startswith("BudgetExceeded: ")
    assert [call.name for call in small.calls] == ["import"]
    assert not (small.folder / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_file_that_hangs_while_it_is_imported_leaves_no_process(number, run):
    hanging = run(code="\ntime.sleep(1e6)\n")
    hanging.until("import").send(number)
    out, err = hanging.process.communicate(timeout=60)
    assert hanging.process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert out + err == ""
    hanging.wait_for_nobody()


# Ways out that somebody asks for.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_brings_the_machine_to_rest_and_makes_a_checkpoint(number, run):
    one = run().until("apply", LATE)
    one.send(number)
    out, err = one.ended()
    assert err == ""
    assert "The machine is at rest: the run ended." in out
    assert "Stopped at step" in out
    assert one.at_rest
    assert in_order(one.calls)
    assert one.summary["exit_reason"] == "interrupted"
    assert saved_step(one.run) == one.summary["step"] >= LATE - 3  # the last actions had no end
    if number == signal.SIGTERM:
        goes_on(one)


@pytest.mark.parametrize("sides", [("acting", "warden", "learner"), ("acting",)])  # the first as systemd does
def test_a_sigterm_to_any_process_is_a_checkpoint_too(sides, run):
    one = run().until("apply", LATE)
    one.send(signal.SIGTERM, *(getattr(one, side) for side in sides))
    out, err = one.ended()
    assert err == ""
    assert "The machine is at rest: its process got a SIGTERM." in out or len(sides) == 3
    assert "Stopped at step" in out
    assert one.at_rest


@pytest.mark.parametrize("seconds", [0.25, 0.4, 0.55, 0.7])
def test_ctrl_c_at_the_start_shows_no_traceback(seconds, run):
    one = run()
    time.sleep(seconds)
    one.send(signal.SIGINT)
    out, err = one.process.communicate(timeout=60)
    looking = "_run_module_as_main" in err or err.startswith(("Fatal Python error: init_", "Could not import runpy"))
    assert looking or ("Traceback" not in err and one.process.returncode in (0, 130)), (out, err)
    one.wait_for_nobody()
    assert one.at_rest


def test_ctrl_c_ends_a_reset_that_never_ends(run):
    one = run(fault="reset block 2").until("reset", 2)
    one.send(signal.SIGINT)
    out, err = one.ended()
    assert (err, one.at_rest) == ("", True)
    assert f"Stopped at step {EPISODE} with a checkpoint" in out


def test_two_of_them_change_nothing_about_how_a_run_ends(run):
    one = run(fault="stop sleep0.5 2").until("apply", LATE)
    for _ in range(3):
        one.send(signal.SIGINT)
        time.sleep(0.02)
    out, err = one.ended()
    assert (err, one.at_rest) == ("", True)
    assert "Stopped at step" in out


def test_a_slow_machine_comes_to_rest_before_its_period_is_over(run):
    one = run(variables={"ROBOT_RATE": "0.02"}).until("apply")
    asked_ns = one.send(signal.SIGINT)
    _, err = one.ended()
    assert err == ""
    assert rested_ns(one.calls, asked_ns) < 10e9  # a fifth of a period


# Ways out that nobody asks for: (fault, exit code, words of the sentence).

LATER = 70  # in the second episode
RAISED = {
    name: f"{name}() raised ZeroDivisionError: {name} fell off the table. The machine was brought to rest."
    for name in ("start", "read_observation", "apply_action", "reset", "reward", "terminated", "stop")
}
FAULTS = [
    ("start raise", 1, RAISED["start"]),
    ("start exit", 1, "start() raised SystemExit: 7. The machine was brought to rest."),
    (f"read_observation raise {LATER}", 1, RAISED["read_observation"]),
    (f"apply_action raise {LATER}", 1, RAISED["apply_action"]),
    ("reset raise 2", 1, RAISED["reset"]),
    (f"reward raise {LATER}", 1, RAISED["reward"]),
    (f"terminated raise {LATER}", 1, RAISED["terminated"]),
    ("stop raise 1", 1, RAISED["stop"]),
    (
        f"read_observation nan {LATER}",
        1,
        "read_observation gave nan as `reads` (index 0); a finite number was expected.",
    ),
    (f"reward nan {LATER}", 1, "reward() gave nan; a finite number was expected, at most 3.4e+38."),
    (f"read_observation size {LATER}", 1, "read_observation(3) gave 2 numbers and OBSERVATION names 3."),
    (f"read_observation block {LATER}", 1, "for 0.2 s nothing came back: a call that hangs was ended."),
    (f"read_observation swallow {LATER}", 1, "was ended by signal 9. The machine was brought to rest."),
    ("stop block 2", 1, "was ended by signal 9. The machine was brought to rest."),
    (f"apply_action leak {LATER}", 3, "wanted more memory than was left when it had been imported"),
]


@pytest.mark.parametrize(("fault", "code", "words"), FAULTS, ids=[fault for fault, *_ in FAULTS])
def test_whatever_robot_py_does_it_is_one_sentence_and_the_machine_is_at_rest(fault, code, words, run):
    one = run(*ENDLESS, "--max-missed", "20", fault=fault)
    sentence = one.sentence(code)
    assert words in sentence
    assert "The machine was brought to rest." in sentence
    assert one.at_rest
    assert in_order(one.calls)
    if not fault.startswith("start"):
        assert "is good: `edgedst train --resume" in sentence or "is good, and keeps" in sentence
        assert stored(one.run, one.calls)


def test_what_the_replay_cannot_hold_ends_at_rest(run):
    one = run(*SMALL, "--replay-dtype", "float16", "--steps", "200", fault=f"read_observation far {LATER}")
    assert "read_observation gave 1e+30 as `last action 0`, so far from its bounds -1 to 1 that the" in one.sentence()
    assert one.at_rest


def test_a_machine_that_cannot_be_stopped_is_told_and_leaves_no_process(run):
    one = run(*SMALL, "--steps", "200", fault="stop swallow")
    sentence = one.sentence()
    assert "THE MACHINE MAY STILL BE MOVING: switch it off by hand." in sentence
    assert "is good: `edgedst train --resume" in sentence
    assert stored(one.run, one.calls)


def test_stop_that_fails_at_the_end_of_a_run_is_told_once_all_is_saved(run):
    one = run(fault="stop raise 3").until("apply", LATE)
    one.send(signal.SIGTERM)
    sentence = one.sentence()
    assert RAISED["stop"] in sentence
    assert saved_step(one.run) >= LATE - 3
    assert one.at_rest  # by the warden


@pytest.mark.parametrize(("rate_hz", "seconds"), [(1000, 0.1), (200, 0.1), (10, 0.2), (0.1, 2.0)])
def test_what_was_interrupted_has_a_tenth_of_a_second_at_least_before_it_is_killed(rate_hz, seconds, monkeypatch):
    now, sent = 1000.0, []
    monkeypatch.setattr(warden, "monotonic", lambda: now)
    cells, robot = {END: 0, PHASE: RUNNING, BEAT: 0}, SimpleNamespace(period_ns=round(1e9 / rate_hz))
    guard = warden._Warden(cells, robot, None, -1, -1, -1, -1, 5)
    monkeypatch.setattr(guard, "kill", sent.append)
    guard.end(warden.ASKED)
    now += 2 / rate_hz + 2.001  # it has not ended
    guard.press()
    now += 0.99 * seconds
    guard.press()
    assert sent == [signal.SIGUSR1]
    now += 0.02 * seconds
    guard.press()
    assert sent == [signal.SIGUSR1, signal.SIGKILL]


KILLS = [
    ("learner", signal.SIGKILL, -9, ""),
    ("acting", signal.SIGKILL, 1, "was ended by signal 9. The machine was brought to rest."),
    ("warden", signal.SIGKILL, 1, "ended: the warden's process is gone. The machine was brought to rest."),
    ("acting", signal.SIGSTOP, 1, "The machine was brought to rest."),
    ("warden", signal.SIGSTOP, 1, "ended: the warden's process is gone. The machine was brought to rest."),
]


@pytest.mark.parametrize(("side", "number", "code", "words"), KILLS, ids=[f"{side} {n.name}" for side, n, *_ in KILLS])
def test_when_one_process_dies_or_stands_still_the_others_bring_the_machine_to_rest(side, number, code, words, run):
    one = run(*ENDLESS, "--max-missed", "20").until("apply", LATE)
    at_ns = one.send(number, getattr(one, side))
    if words:
        assert words in one.sentence(code)
    else:
        assert one.process.wait(timeout=60) == code
        one.wait_for_nobody()
    assert one.at_rest
    if number == signal.SIGKILL:
        assert rested_ns(one.calls, at_ns) < 3e9  # three periods are 15 ms; the machine that tests may be busy
        goes_on(one)


def test_when_both_processes_at_the_machine_die_that_is_told(run):
    one = run().until("apply", LATE)
    warden = one.warden
    one.send(signal.SIGSTOP, one.acting)  # else it is quick enough to see that the warden is gone
    one.send(signal.SIGKILL, warden, one.acting)
    assert "THE MACHINE MAY STILL BE MOVING: switch it off by hand." in one.sentence()
    assert not one.at_rest


def test_a_full_disk_ends_at_rest_with_a_sentence_and_the_run_goes_on(run):
    def little():
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    # Dense networks take more than that in a checkpoint, and less in the memory that both sides share.
    slower = {"ROBOT_RATE": "50"}
    one = run(*ENDLESS, "--method", "sac", "--hidden", "64,64", variables=slower).until("apply", 55)
    one.send(signal.SIGTERM)
    one.ended()
    step = saved_step(one.run)
    full = run("--resume", str(one.run), "--no-progress", variables=slower, preexec_fn=little)
    sentence = full.sentence()
    assert sentence.startswith("RunFolderError: ")
    assert "The file would be larger than is allowed here (`ulimit -f`)." in sentence
    assert f"The checkpoint of step {step} is good" in sentence
    assert full.count("apply") > 40
    assert full.at_rest
    assert saved_step(one.run) == step
    goes_on(one)


def test_memory_that_may_not_be_shared_is_a_sentence(run):
    def less():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))

    one = run(preexec_fn=less)
    assert one.sentence().startswith("RunFolderError: `the memory that acting and learning share` cannot be written")
    assert [call.name for call in one.calls] == ["import"]


# What robot.py may do.


def test_a_robot_may_start_threads_and_fork(run):
    one = run(*SMALL, "--steps", "60", code=THREADS)
    out, err = one.process.communicate(timeout=60)
    assert (one.process.returncode, err) == (0, ""), out
    assert "Finished" in out
    assert one.at_rest


THREADS = """
import threading

if os.fork() == 0:  # at its import
    os.close(1)
    os.close(2)
    time.sleep(60)
    os._exit(0)

started = start
def start():
    threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
    ready, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(say, b"!")
        time.sleep(1e6)
    os.read(ready, 1)
    os.kill(child, 15)
    os.waitpid(child, 0)
    started()
"""


# Acting never waits.


def test_acting_goes_on_while_the_learning_side_stands_still(run):
    one = run(*SMALL, "--steps", "500").until("apply", 60)
    one.send(signal.SIGSTOP)
    before = one.count("apply")
    time.sleep(2)
    after = one.count("apply")
    one.send(signal.SIGCONT)
    times = [call.ns for call in one.named("apply")[before:after]]
    assert max(b - a for a, b in zip(times, times[1:], strict=False)) < 1e9  # half of the time that it stood still
    assert after - before > 150  # of 400
    one.ended()
    told = one.summary["real_time"]
    assert told["records_dropped"] == 0
    assert len(stored(one.run, one.calls)) == one.summary["step"] - told["steps_not_stored"]
    assert in_order(one.calls)


def test_a_ring_that_overflows_loses_whole_steps_and_newer_actors_are_taken_afterwards(run):
    # With a thousand numbers an observation the ring has room for 256 records, 1.3 s.
    wide = {"ROBOT_FILLERS": "1000"}
    arguments = ("--budget-mb", "60", "--eval-every", "1", "--eval-episodes", "1", "--start-steps", "10")
    one = run(*ENDLESS, *arguments, variables=wide).until("apply", 100)
    one.send(signal.SIGSTOP)
    one.until("apply", one.count("apply") + 500)  # of two episodes in turns, one is not stored
    one.send(signal.SIGCONT)
    step = one.count("apply")
    one.until("apply", step + 250).send(signal.SIGTERM)
    one.ended()
    told = one.summary["real_time"]
    assert told["records_dropped"] > 100
    assert stored(one.run, one.calls, fillers=1000)
    lines = (one.run / "weights.csv").read_text(encoding="utf-8").split()
    changes = [int(line.split(",")[0]) for line in lines]
    assert sum(change > one.summary["step"] - 100 for change in changes) > 10


def test_a_run_whose_last_steps_found_no_room_ends_all_the_same(run):
    arguments = (*SMALL, "--steps", "400", "--budget-mb", "60")
    one = run(*arguments, variables={"ROBOT_FILLERS": "1000"}).until("apply", 20)
    one.send(signal.SIGSTOP)
    one.until("apply", 400).until("stop", 10)
    one.send(signal.SIGCONT)
    out, err = one.ended()
    assert err == ""
    assert one.summary["step"] < 400
    assert stored(one.run, one.calls, fillers=1000)
    assert "To go on: edgedst train --resume" in out


def test_a_limit_of_the_processor_slows_learning_and_not_acting(tmp_path):
    updates, seconds = [], []
    for name, limit in (("free", ()), ("limited", ("--max-cpu", "20"))):
        (tmp_path / name).mkdir()
        one = Run(
            tmp_path / name,
            *(*SMALL, "--steps", "150", "--updates-per-step", "auto", "--max-updates-per-step", "1000", *limit),
        )
        one.ended()
        told = one.summary["real_time"]
        updates.append(told["updates_per_step"])
        seconds.append(told["seconds_acted"])
    assert told["learning_share"] == 0.2
    assert updates[1] < updates[0] / 2  # a fifth, on a machine that does nothing else
    assert seconds[1] < 2 * max(seconds[0], 1.5)


# Actions and periods.


AWKWARD = ((0.1, 0.3, 0.03), (-1e-3, 7.0, 2.3), (-7.7, -0.7, 0.1))  # low, high, slew


def test_actions_stay_inside_awkward_bounds_to_the_last_bit_and_keep_the_slew(run):
    text = ",".join(f"{low} {high} {slew}" for low, high, slew in AWKWARD)
    one = run(*SMALL, "--steps", "150", variables={"ROBOT_ACTION": text})
    one.ended()
    last = rest = [max(low, min(high, 0.0)) for low, high, _ in AWKWARD]
    for call in one.named("apply", "stop"):
        if call.name == "stop":
            last = rest
            continue
        for action, before, (low, high, slew) in zip(call.numbers, last, AWKWARD, strict=True):
            assert low <= action <= high
            assert abs(action - before) <= slew * (1 + 1e-12)  # the sum `before + slew` is rounded, too
        last = call.numbers
    for column in zip(*(call.numbers for call in one.named("apply")), strict=True):
        assert len(set(column)) > 20
    assert len(stored(one.run, one.calls, [row[:2] for row in AWKWARD])) > 100


def test_a_step_whose_period_was_missed_is_counted_and_not_stored(run):
    one = run(*SMALL, "--steps", "120", fault="read_observation slow /10")
    one.ended()
    told = one.summary["real_time"]
    slow = range(10, one.count("read") + 1, 10)
    numbers = stored(one.run, one.calls)
    assert told["missed_periods"] >= len(slow) - 5  # none in an episode's first read
    assert sum(line["missed_periods"] for line in one.metrics) <= told["missed_periods"]
    assert len(numbers) == one.summary["step"] - told["steps_not_stored"]
    assert told["episodes_cut_off"] == 0
    firsts = {episode[0].numbers[0] for episode in episodes_of(one) if episode}
    for number in set(map(float, slow)) - firsts:
        assert number - 1 not in numbers  # its action was held for 2.6 periods


def test_the_periods_told_are_those_that_passed(run):
    # Each second step begins 0.6 of a period late, and the one behind it is on time again: none is left out.
    one = run(*SMALL, "--steps", "80", fault="apply_action slow /2", variables={"ROBOT_RATE": "50"})
    out, _ = one.ended()
    told, passed = one.summary["real_time"], 0.0
    for episode in episodes_of(one):
        reads = [call.ns for call in episode if call.name == "read"]
        passed += (reads[-1] - reads[0]) * 50 / 1e9
    assert told["missed_periods"] >= 30
    assert told["periods"] == pytest.approx(passed, abs=10)  # 40 more when the late ones count twice
    assert told["rate_kept_hz"] == round(50 * 80 / told["periods"], 3)
    assert f"{told['missed_periods']:,} of {told['periods']:,} periods missed;" in out


@pytest.mark.parametrize("name", ["read_observation", "apply_action"])
def test_after_too_many_missed_periods_in_a_row_the_machine_rests_and_a_new_episode_begins(name, run):
    one = run(*SMALL, "--steps", "30", "--max-missed", "4", fault=f"{name} slow")
    one.ended()
    told = one.summary["real_time"]
    assert told["episodes_cut_off"] >= 5
    assert told["missed_periods"] >= 4 * told["episodes_cut_off"]
    assert len(stored(one.run, one.calls)) == one.summary["step"] - told["steps_not_stored"]
    assert in_order(one.calls)
    assert one.count("stop") >= one.count("reset") > 5
    assert one.summary["R"] is None  # no return here is that of a whole episode


def learning_side(**settings):
    """One without a machine, to which records are given."""
    side = LiveTraining.__new__(LiveTraining)
    side.config, side.job = SimpleNamespace(**settings), {"stop_at_return": -20.0}
    side.cut_off = side.evaluated = side.step = side.episode = 0
    side.evaluating_at, side.returns, side.episode_began = -1, [], (0, 0)
    side.stop, side.evaluations, side.kept_of_episode = False, Evaluations(), KeptTime(50)
    side.agent, side.progress = SimpleNamespace(iteration=0), SimpleNamespace(evaluation="none yet")
    side.folder = SimpleNamespace(metric=lambda _line: None)
    side.environment = SimpleNamespace(link=None, acknowledge=lambda _count: None)
    return side


def test_an_evaluation_with_an_episode_cut_off_lends_no_return_to_the_next_one(monkeypatch):
    side, counted = learning_side(eval_every=1, eval_episodes=3), []

    def count_evaluation(buffer):
        counted.append((buffer, side.returns))
        side.returns = []

    monkeypatch.setattr(side, "count_evaluation", count_evaluation)
    for steps, flags in ((40, (0, 0, CUT_OFF)), (80, (0, 0, 0)), (120, (CUT_OFF, 0, 0)), (160, (0, 0, 0))):
        for i, flag in enumerate(flags):
            side.take(OVER, EVALUATION | flag, steps, 40, 0, 1, steps // 80, 0, steps + i, 0.0, 0.0, 0.0)
    assert counted == [(1, [80, 81, 82]), (2, [160, 161, 162])]


def test_without_evaluations_an_episode_cut_off_is_no_return_that_a_run_stops_at():
    side = learning_side(eval_every=0, eval_episodes=1)
    ends = ((-6.0, 6, TRUNCATED_FLAG | CUT_OFF), (-310.0, 300, TRUNCATED_FLAG), (-6.0, 6, TRUNCATED_FLAG | CUT_OFF))
    for (total, length, flags), told in zip(ends, ("none yet", *["-310.0 (training)"] * 2), strict=True):
        side.take(OVER, flags, length, length, 0, 1, 0, 0, total, 0.0, 0.0, 0.0)
        assert side.progress.evaluation == told
    assert (side.stop, side.evaluations.count, side.evaluations.total, side.episode) == (False, 1, -310.0, 3)


# A clock that jumps by a year, which at 200 Hz has more periods than a record's 32 bits can tell.
SUSPENDED = """
import sys, time
import edgedst.live as live
from edgedst.machine import link
calls = [0]
def after_sleep(clock, real=link.clock_gettime_ns):
    calls[0] += 1
    slept = calls[0] > 600 and clock == time.CLOCK_BOOTTIME
    return real(clock) + slept * 365 * 86400 * 10**9
link.clock_gettime_ns = after_sleep
sys.exit(live.main())
"""


def test_a_suspend_is_missed_periods_and_ends_the_episode(tmp_path):
    shutil.copy(Path(__file__).with_name("robot.py"), tmp_path)
    settings = {"env": str(tmp_path / "robot.py"), "budget_mb": 25, "hidden": (16,), "replay_rows": 5000, "steps": 300}
    one_episode = {"ROBOT_EPISODE": "1000000"}  # a sleep between two is not noticed, nor need it be
    options = with_another_main(SUSPENDED, tmp_path, one_episode, **settings, eval_every=0, max_missed=200)
    done = subprocess.run(**options, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = summary(run_in(tmp_path))["real_time"]
    assert told["missed_periods"] >= 2**32 - 1
    assert told["episodes_cut_off"] >= 1
    assert told["steps_not_stored"] >= 1


# Determinism, where there is any.

LOAD_AND_SAVE = """
import edgedst.live as live, sys
from edgedst.plain_json import loads
run = live.LiveTraining(loads(sys.argv[-1]))
try:
    run.save()
finally:
    run.close()
    live.core.set_last_words(b"")
"""
INTERRUPTED_SAVE = """
import os, sys
import edgedst.live as live
from edgedst.runs import networks_file
write_all = networks_file.write_all
def interrupted(descriptor, data):
    for _ in range(2):
        os.kill(os.getpid(), 2)
    write_all(descriptor, data)
networks_file.write_all = interrupted
close = live.Machine.close
def closed(machine):  # the next file that is opened has the number of the pipe that asks for the end
    close(machine)
    while (taken := os.open(os.devnull, os.O_RDONLY)) != machine._alive_end:
        pass
    os.close(taken)
live.Machine.close = closed
sys.exit(live.main())
"""
# As a write that hangs: no signal gets through to the process.
HANGING_DISK = """
import _signal, os, sys, time
import edgedst.live as live
from edgedst.runs import networks_file
write_all, signals = networks_file.write_all, (_signal.SIGINT, _signal.SIGTERM)
def hanging(descriptor, data):
    if b" apply " in open("log", "rb").read() and not os.path.exists("works"):
        _signal.pthread_sigmask(_signal.SIG_BLOCK, signals)
        open("hangs", "wb").close()
        while not os.path.exists("works"):
            time.sleep(0.01)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, signals)
    write_all(descriptor, data)
networks_file.write_all = hanging
sys.exit(live.main())
"""
IMPATIENT = "import edgedst.live as live, sys; live.TOLD_SECONDS = 0.1; sys.exit(live.main())"


def with_another_main(code, folder, variables=None, resume=None, **typed):
    """A trainer that runs this code in the place of its main."""
    argv, environment = trainer_command(typed, None, None, folder / "runs", resume, False, False)
    argv[-2] = argv[-2].partition("from edgedst.live import main")[0] + code
    return {"args": argv, "env": {**environment, "ROBOT_LOG": str(folder / "log"), **(variables or {})}, "cwd": folder}


def files_of(run):
    """Digests of the checkpoint's networks and replay, and all that state.json says beside the time."""
    state = state_of(run)
    for timed in ("seconds", "crc32", "metrics_bytes", "metrics_crc32"):
        del state[timed]
    names = [state["networks"].pop("file"), *(segment["file"] for segment in state["replay"]["segments"])]
    digests = [hashlib.sha256((run / "checkpoint" / name).read_bytes()).hexdigest() for name in names]
    return digests, json.dumps(state, sort_keys=True)


def test_a_run_that_comes_back_is_bit_for_bit_what_it_was(whole, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole.folder, folder)
    (folder / "robot.py").unlink()  # the run knows where its robot.py is
    run = run_in(folder)
    (run / "summary.json").unlink()  # a run that is finished is not gone on with
    before = files_of(run)
    done = subprocess.run(**with_another_main(LOAD_AND_SAVE, folder, resume=str(run)), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert state_of(run)["networks"]["file"].startswith("again-")
    assert files_of(run) == before


def test_ctrl_c_while_a_checkpoint_is_written_writes_into_no_file(tmp_path):
    shutil.copy(Path(__file__).with_name("robot.py"), tmp_path)
    robot = str(tmp_path / "robot.py")
    settings = {"env": robot, "budget_mb": 25, "hidden": (16,), "replay_rows": 5000, "start_steps": 20, "steps": 60}
    options = with_another_main(INTERRUPTED_SAVE, tmp_path, **settings)
    done = subprocess.run(**options, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    run = run_in(tmp_path)
    (run / "summary.json").unlink()  # a run that is finished is not gone on with
    options = with_another_main(LOAD_AND_SAVE, tmp_path, resume=str(run))
    done = subprocess.run(**options, capture_output=True, text=True, check=False)  # it reads what was written
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_brings_the_machine_to_rest_while_the_learning_side_cannot_take_it(number, tmp_path):
    shutil.copy(Path(__file__).with_name("robot.py"), tmp_path)
    robot, log = str(tmp_path / "robot.py"), tmp_path / "log"
    settings = {"env": robot, "budget_mb": 25, "hidden": (16,), "replay_rows": 5000, "eval_every": 0, "max_missed": 50}
    options = with_another_main(
        HANGING_DISK, tmp_path, {"ROBOT_EPISODE": "1000000"}, **settings, steps=1_000_000, checkpoint_every=20
    )
    process = subprocess.Popen(**options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    try:
        until((tmp_path / "hangs").exists, process)
        process.send_signal(number)
        until(lambda: " stop " in log.read_text(encoding="utf-8"), process)  # its episode has no end
        (tmp_path / "works").touch()
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert "The machine is at rest: the run ended." in out
        assert "Stopped at step" in out
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("fault", "updates", "told"),
    [
        ("reset block 2", 1, "Waiting for reset() for "),
        ("", 400, " updates behind 400 a step: "),  # fifty steps' updates and more
    ],
)
def test_who_watches_is_told_what_takes_its_time(fault, updates, told, tmp_path):
    shutil.copy(Path(__file__).with_name("robot.py"), tmp_path)
    robot = str(tmp_path / "robot.py")
    settings = {"env": robot, "budget_mb": 25, "hidden": (16,), "replay_rows": 5000, "start_steps": 20, "steps": 10_000}
    options = with_another_main(
        IMPATIENT, tmp_path, {"ROBOT_FAULT": fault}, **settings, updates_per_step=updates, eval_every=0
    )
    process = subprocess.Popen(**options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert next((line for line in process.stdout if told in line), "")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    finally:
        process.kill()


def test_a_machine_makes_an_update_at_every_nth_step_across_a_resume(tmp_path):
    # Fewer than 50 steps of learning each: what a busy machine leaves undone of them is made at the end.
    first = Run(tmp_path, *SMALL, "--steps", "83", "--updates-per-step", "1/4")
    first.ended()
    assert state_of(first.run)["agent"]["iteration"] == (83 - 40) // 4
    again = Run(tmp_path, "--resume", str(first.run), "--steps", "125", "--no-progress")
    again.ended()
    assert state_of(again.run)["agent"]["iteration"] == (125 - 40) // 4
    assert again.summary["real_time"]["updates_behind"] == 0


def test_a_machine_that_hardly_learns_makes_its_last_update_too(tmp_path):
    rare = Run(tmp_path, *SMALL, "--steps", "103", "--updates-per-step", "1/60")
    rare.ended()
    assert (state_of(rare.run)["agent"]["iteration"], rare.summary["real_time"]["updates_behind"]) == (1, 0)


SIMULATED = (
    *("--env", "HalfCheetah-v4", "--budget-mb", "40", "--hidden", "16", "--steps", "300", "--start-steps", "100"),
    *("--updates-per-step", "3", "--eval-every", "150", "--eval-episodes", "1", "--evolve-every", "50"),
    *("--checkpoint-every", "60", "--replay-rows", "400", "--no-progress"),
)


def test_in_a_simulator_n_updates_a_step_are_n_and_the_same_ones_every_time(tmp_path):
    for name in ("one", "killed"):
        (tmp_path / name).mkdir()
    train(tmp_path / "one", *SIMULATED)
    one = run_in(tmp_path / "one")
    assert state_of(one)["agent"]["iteration"] == 3 * (300 - 100)
    process = start(tmp_path / "killed", *SIMULATED)
    while process.poll() is None:
        found = list((tmp_path / "killed").glob("runs/*/*/s*"))
        if found and saved_step(found[0]) >= 120:  # in the middle of learning, or behind its end
            process.kill()
    process.communicate()
    killed = run_in(tmp_path / "killed")
    if not ((killed / "summary.json").exists() and summary(killed)["finished"]):
        train(tmp_path / "killed", "--resume", str(killed), "--no-progress")
    assert files_of(killed) == files_of(one)
    assert metrics(killed) == metrics(one)
