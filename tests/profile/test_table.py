"""The table is plain text of 80 columns where it is piped, and says what it does not know."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console
from stand_in_contenders import SteadyMeter, Watcher, contender, idle_of, starting

from edgedst.profile.document import document
from edgedst.profile.measure import Goal, measure
from edgedst.profile.table import print_profile

BOARD = SimpleNamespace(name="generic", title="A board with a title that is rather long, like those that vendors give")


def printed(*contenders, note=None, meter=(), repeats=3):
    start = starting(ds_td3={"took": 4.0}, td3={"took": 5.0})
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
