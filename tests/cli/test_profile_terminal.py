"""Who waits sees how far it is, by a bar on a terminal and by lines elsewhere; the table says what it does not know."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console
from stand_in_contenders import SteadyMeter, Watcher, contender, idle_of, starting

from edgedst.cli.profile_terminal import Reporter, print_profile
from edgedst.profile.document import document
from edgedst.profile.measure import Goal, measure


def told(shown, terminal):
    text = io.StringIO()
    reporter = Reporter(shown, Console(file=text, force_terminal=terminal, width=100))
    reporter.say("400 steps of each [in] a repeat")
    reporter.begin(180.0)
    reporter.turn("round 1 of 1: sparse", 60.0)
    reporter.tick()
    reporter.turned("round 1 of 1: sparse, 400 steps/s")
    reporter.end()
    return text.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_turn_leaves_a_line_with_the_time_left(terminal):
    assert "round 1 of 1: sparse, 400 steps/s; about 2 min 00 s left\n" in told(None, terminal)
    assert "400 steps of each [in] a repeat\n" in told(True, terminal)


def test_a_terminal_has_a_bar_meanwhile():
    assert "round 1 of 1: sparse; about " in told(None, terminal=True)
    assert "round 1 of 1: sparse; about " not in told(None, terminal=False)


def test_nothing_is_said_where_nothing_is_wanted():
    assert told(False, terminal=True) == ""


BOARD = SimpleNamespace(name="generic", title="A board with a title that is rather long, like those that vendors give")


def printed(*contenders, note=None, meter=(), repeats=3, peak=1000):
    start = starting(ds_td3={"took": 4.0, "peak": peak}, td3={"took": 5.0, "peak": peak})
    measured = measure([contender(name) for name in contenders], Goal(5.0, repeats), start, Watcher(), *meter)
    text = io.StringIO()
    print_profile(document(measured, BOARD, "why", "edgedst profile", note, None), Console(file=text, width=200))
    return text.getvalue()


@pytest.fixture(scope="module")
def whole():
    return printed("sparse", "dense", meter=(SteadyMeter(10.0), idle_of(4.0)))


def test_no_line_is_wider_than_80_columns_and_there_are_no_escapes(whole):
    assert max(map(len, whole.splitlines())) <= 80
    assert "\x1b" not in whole


def test_it_has_figures_ratios_energy_and_doubts(whole):
    rows = {cells[0]: cells[1:] for line in whole.splitlines() if (cells := re.split(r"  +", line.strip()))}
    assert rows["steps a second"] == ["125 ±0%", "100 ±0%"]
    assert rows["J of 1,000 steps"] == ["80.0 ±0%", "100 ±0%"]
    assert rows["time of a step"] == ["0.80 (0.80-0.80)"]
    assert "Energy: measured by stand-in (a test) at 100 Hz, scope: wall; idle 4.00 W." in whole
    assert "To doubt:\n- " in whole


def test_without_energy_it_says_why_and_has_no_row_of_it():
    told = printed("sparse", note="Energy was not measured: `--energy none`.", repeats=1)
    assert "Energy was not measured: `--energy none`." in told
    assert "J of 1,000 steps" not in told
    assert "In parentheses" not in told  # there is nobody to be compared with


def test_two_that_fill_one_budget_are_not_compared_by_their_peaks(whole):
    assert "peak memory" not in whole
    assert re.search(r"MB at the peak +\S", whole)
    assert "besides the replay" not in whole  # these say that their peak is below their replay
    big = printed("sparse", "dense", peak=51_000 + 2_000_000)
    assert re.search(r"besides the replay +2\.00 +2\.00", big)
    assert re.search(r"transitions kept +1,000 +1,000", whole)
