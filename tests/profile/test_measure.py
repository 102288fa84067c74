"""Turns, rounds, calibration, energy, interruption and failure, with contenders that only pretend to train."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from stand_in_contenders import SteadyMeter, Watcher, contender, idle_of, starting

from edgedst.errors import BudgetExceeded, ProfileError
from edgedst.profile.contenders import Contender, failure
from edgedst.profile.host_state import Counters
from edgedst.profile.measure import Goal, Turn, measure, whole_steps

BOTH = [contender("sparse"), contender("dense")]


def children():
    """Processes that this one has started and that are still there."""
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii").split())


@pytest.fixture
def no_child_stays():
    """Other tests' may."""
    before = children()
    yield
    assert children() <= before


def test_contenders_take_turns_after_a_short_one_each():
    log = []
    measured = measure(BOTH, Goal(seconds=4.0, repeats=2), starting(log=log), Watcher())
    steps = measured.steps
    assert log == [("ds-td3", None), ("td3", None), *[("ds-td3", steps), ("td3", steps)] * 2]
    assert [list(turns) for turns in measured.rounds] == [["sparse", "dense"]] * 2
    assert not measured.interrupted


def test_the_slowest_of_edgedst_decides_how_many_steps():
    slow_dense = starting(td3={"rate": 50}, ds_td3={"rate": 90})
    assert measure(BOTH, Goal(seconds=10.0, repeats=1), slow_dense, Watcher()).steps == 500


def test_the_whole_time_is_told_before_the_rounds_begin():
    watcher = Watcher()
    measure(BOTH, Goal(seconds=4.0, repeats=3), starting(td3={"rate": 200}), watcher)
    assert watcher.said[2].startswith(
        "400 steps of each in a repeat (sparse 4 s, dense 2 s); with start and warm-up, 3 "
    )
    assert watcher.said[3].startswith("round 1 of 3: sparse, 400 steps/s")


@pytest.mark.parametrize(
    ("steps", "whole"),
    [
        (8020.7, 8000),  # whole periods of the evolution, each with one in it
        (1999, 1000),
        (999, 990),  # two digits
        (123, 120),
        (3, 20),
    ],
)
def test_a_window_has_its_share_of_evolutions_or_a_round_number_of_steps(steps, whole):
    assert whole_steps(steps, evolve_every=1000) == whole


def test_energy_is_the_meter_s_of_the_windows_and_the_idle_power_is_measured_first():
    meter = SteadyMeter(5.0)
    measured = measure(BOTH, Goal(4.0, 2), starting(td3={"took": 2.0}), Watcher(), meter, idle_of(2.0))
    assert not meter.running
    assert measured.idle == {"watts": 2.0, "sd_watts": 0.1, "seconds": 2.0}
    joules = [[turn.energy["joules"] for turn in measured.turns(name)] for name in ("sparse", "dense")]
    assert joules == [pytest.approx([5.0, 5.0]), pytest.approx([10.0, 10.0])]


def test_what_others_take_is_what_is_busy_without_the_contender():
    (turns,) = measure(BOTH[:1], Goal(1.0, 1), starting(then="time.sleep(0.05)"), Watcher()).rounds
    turn = turns["sparse"]
    busy = (turn.end.busy_seconds - turn.begin.busy_seconds) / (turn.end.at - turn.begin.at)
    assert turn.other_cores == pytest.approx(busy - 0.5)  # half of the window on the CPU


def test_counters_that_were_read_late_tell_of_no_more_cores_than_there_are():
    begin = Counters(100.0, 0, 0, 1800.0, at=10.0)
    window = {"start": 10.5, "end": 10.75, "cpu_seconds": 0.25}  # read a second apart, with 2 cores busy
    assert Turn(window, begin, replace(begin, busy_seconds=102.0, at=11.0)).other_cores == 1.0


def test_ctrl_c_ends_the_child_and_keeps_the_complete_rounds(no_child_stays):
    endless = "time.sleep(600) if goal['steps'] else 0"
    sleeping_dense = starting(ds_td3={"then": ""}, td3={"then": endless})
    measured = measure(BOTH, Goal(1.0, 3), sleeping_dense, Watcher(interrupt="round 1 of 3: dense"))
    assert measured.rounds == []
    assert measured.interrupted

    measured = measure(BOTH[:1], Goal(1.0, 3), interrupted_in_round_2(), Watcher(interrupt="round 2 of 3: sparse"))
    assert len(measured.rounds) == 1
    assert measured.interrupted


class WhenReady(Watcher):
    """Ctrl-C comes once a file is there."""

    def __init__(self, ready):
        super().__init__()
        self.ready = ready

    def tick(self):
        if self.ready.exists():
            raise KeyboardInterrupt


@pytest.mark.parametrize(("at_sigterm", "closes"), [("(closed.touch(), sys.exit(0))", True), ("None", False)])
def test_an_interrupted_contender_is_asked_to_leave_and_killed_where_it_stays(
    at_sigterm, closes, tmp_path, monkeypatch, no_child_stays
):
    monkeypatch.setattr("edgedst.profile.contenders.CLOSE_SECONDS", 60.0 if closes else 0.1)
    then = f"""if goal["steps"]:
    import pathlib, signal
    closed = pathlib.Path({str(tmp_path / "closed")!r})
    signal.signal(signal.SIGTERM, lambda *_: {at_sigterm})
    pathlib.Path({str(tmp_path / "ready")!r}).touch()
    while True:
        time.sleep(600)
"""
    measured = measure(BOTH[:1], Goal(1.0, 1), starting(then=then), WhenReady(tmp_path / "ready"))
    assert measured.interrupted
    assert (tmp_path / "closed").exists() == closes


def interrupted_in_round_2():
    """A `Start` whose third process, after calibration and round 1, does not end."""
    started = []

    def start(config, goal, folder):
        started.append(goal)
        return starting(then="time.sleep(600)" if len(started) == 3 else "")(config, goal, folder)

    return start


def test_a_contender_s_own_sentence_is_the_error(no_child_stays):
    saying = starting(then="sys.stderr.write('BudgetExceeded: needs 21.3 MB.\\n'); sys.exit(1)")
    with pytest.raises(BudgetExceeded, match=r"^needs 21\.3 MB\. That was said by the sparse contender"):
        measure(BOTH, Goal(1.0, 1), saying, Watcher())


def test_a_contender_that_fails_is_reported_with_its_last_words():
    with pytest.raises(
        ProfileError, match=r"^The sparse contender \(stand-in sparse\) ended with exit code 1: ValueEr"
    ):
        measure(BOTH, Goal(1.0, 1), starting(then="raise ValueError('out of luck')"), Watcher())


def test_a_contender_that_a_signal_ended_is_told_by_the_signal():
    told = failure("the sb3 contender", -4, "")
    assert str(told) == "The sb3 contender was ended by SIGILL: it said nothing"


def test_a_failure_in_a_later_round_ends_the_meter_too():
    meter = SteadyMeter(5.0)
    with pytest.raises(ProfileError):
        measure(BOTH, Goal(1.0, 1), starting(then="1 / 0 if goal['steps'] else 0"), Watcher(), meter, idle_of(1.0))
    assert not meter.running


@pytest.fixture
def broken_peer(monkeypatch):
    """A peer whose process ends at once, as on a CPU that it is not built for."""
    broken = ["/bin/sh", "-c", "echo Illegal instruction >&2; exit 132"]
    monkeypatch.setattr("edgedst.profile.contenders.peer_command", lambda name, config, goal: (broken, {}))
    return Contender("sb3", "Stable-Baselines3 TD3", contender("dense").config)


def test_a_peer_that_cannot_run_is_left_out_and_told(broken_peer):
    measured = measure([*BOTH, broken_peer], Goal(1.0, 1), starting(), Watcher())
    assert [list(turns) for turns in measured.rounds] == [["sparse", "dense"]]
    assert measured.missing[0].startswith(
        "Stable-Baselines3 is left out: The sb3 contender (Stable-Baselines3 TD3) ended with exit"
    )
    assert measured.missing[0].endswith("Illegal instruction")


def test_a_peer_that_cannot_run_is_an_error_where_nobody_else_is_left(broken_peer):
    with pytest.raises(ProfileError, match=r"Stable-Baselines3 is left out.*Illegal instruction"):
        measure([contender("sparse"), broken_peer], Goal(1.0, 1), starting(), Watcher())
