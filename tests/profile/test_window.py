"""What a contender's process measures of itself: the window's marks, single actions, memory."""

import json
import time

import pytest

from edgedst.budget.guard import memory
from edgedst.profile import window


class Counting:
    """A contender that only counts."""

    def __init__(self):
        self.update = window.Timer(lambda: None)
        self.trained, self.acted, self.advanced = [], 0, 0

    def train(self, steps):
        self.trained.append(steps)
        for _ in range(steps):
            self.update()

    def act(self):
        self.acted += 1

    def advance(self):
        self.advanced += 1


def goal(**wanted):
    return {"steps": None, "seconds": None, "act_seconds": 0.0, **wanted}


def test_a_window_is_so_many_steps_between_two_marks(capsys):
    contender = Counting()
    contender.train(7)  # of the warm-up: not in the window
    before = time.monotonic()
    told = window.measure(contender, goal(steps=30))
    assert contender.trained == [7, 30]
    assert (told["steps"], told["updates"]) == (30, 30)
    assert before <= told["start"] <= told["end"] <= time.monotonic()
    lines = [line.removeprefix(window.PREFIX) for line in capsys.readouterr().out.splitlines()]
    assert [json.loads(line) for line in lines] == [{"mark": "begin"}, {"mark": "end"}]


def test_a_window_of_seconds_has_at_least_one_look_at_the_clock():
    contender = Counting()
    assert window.measure(contender, goal(seconds=0.0))["steps"] == sum(contender.trained) == window.CALIBRATION_STEPS


def test_the_environment_moves_on_between_two_actions():
    contender = Counting()
    actions = window.single_actions(contender, seconds=0.0)
    assert actions["count"] == window.LEAST_ACTIONS
    assert contender.acted == contender.advanced == window.LEAST_ACTIONS + window.WARM_UP_ACTIONS


def test_percentiles_are_nearest_ranks(monkeypatch):
    # Call i, after those of the warm-up, takes i microseconds: 1 to 200 in an order that is not theirs.
    calls = [(7 * i) % 200 + 1 for i in range(200)]
    clock = iter([tick for taken in calls for tick in (0, 1000 * taken)])
    monkeypatch.setattr(window, "perf_counter_ns", lambda: next(clock))
    monkeypatch.setattr(window, "MOST_ACTIONS", 200)
    actions = window.single_actions(Counting(), seconds=1e9)
    assert actions == {"p50": 100.0, "p99": 198.0, "max": 200.0, "count": 200}


def test_a_timer_sums_up_its_calls(monkeypatch):
    clock = iter([0.0, 1.0, 5.0, 7.0])
    monkeypatch.setattr(window, "perf_counter", lambda: next(clock))
    timer = window.Timer(lambda: None)
    timer()
    timer()
    assert (timer.seconds, timer.count) == (3.0, 2)


def test_pss_is_part_of_what_is_resident():
    pss = window.pss_bytes()
    if pss is None:
        pytest.skip("this kernel does not tell")
    assert 1_000_000 < pss <= memory()[1]
