"""Who waits sees how far it is: lines with the time left where there is no terminal, a bar where there is one."""

import io

import pytest
from rich.console import Console

from edgedst.profile.reporter import Reporter


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
