"""The integrator against sums that can be worked out otherwise: NumPy, pencil and paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedst.energy.trace import Trace

NEVER = 1e9  # a limit that nothing exceeds

# Milliseconds, so that sums of times are as exact as can be.
steps = st.lists(st.integers(1, 500), min_size=1, max_size=30)
watts = st.floats(0, 200)


@st.composite
def sampled(draw):
    """Times and powers of two samples or more."""
    times = np.cumsum([draw(st.integers(0, 10_000)), *draw(steps)]) / 1000
    return times, np.array([draw(watts) for _ in times])


def trace_of(times, powers, limit=NEVER, kept=1000):
    trace = Trace(limit, kept)
    for time, power in zip(times, powers, strict=True):
        trace.add_power(time, power)
    return trace


def integral(times, powers, start, end):
    """Of the straight lines between the samples, by NumPy."""
    grid = np.unique([start, end, *[t for t in times if start < t < end]])
    values = np.interp(grid, times, powers)
    return float(((values[1:] + values[:-1]) / 2 * np.diff(grid)).sum())


@given(sampled(), st.floats(0, 1), st.floats(0, 1))
def test_a_window_has_the_integral_of_the_lines_between_samples(samples, one, other):
    times, powers = samples
    start, end = sorted(times[0] + share * (times[-1] - times[0]) for share in (one, other))
    joules = trace_of(times, powers).window(start, end)["joules"]
    assert joules == pytest.approx(integral(times, powers, start, end), rel=1e-9, abs=1e-6)  # 30 sums of 100 J


@given(sampled(), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_two_windows_side_by_side_have_together_what_one_over_both_has(samples, shares):
    times, powers = samples
    a, b, c = sorted(times[0] + share * (times[-1] - times[0]) for share in shares)
    trace = trace_of(times, powers)
    first, second, both = (trace.window(*ends)["joules"] for ends in ((a, b), (b, c), (a, c)))
    assert first + second == pytest.approx(both, rel=1e-9, abs=1e-6)
    assert first >= -1e-6  # power is never negative here


@given(sampled(), st.integers(1, 5))
def test_what_is_forgotten_stays_in_the_sum_since_the_first_sample(samples, kept):
    times, powers = samples
    whole, lean = trace_of(times, powers), trace_of(times, powers, kept=kept)
    for end in (times[-1], times[-1] + 0.01):
        assert lean.window(times[0] - 0.02, end) == whole.window(times[0] - 0.02, end)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 10**6)), min_size=1, max_size=30), st.floats(0, 1))
def test_a_counter_gives_joules_by_differences_spread_evenly_between_readings(readings, share):
    times = np.cumsum([0, *[step for step, _ in readings]]) / 1000
    totals = np.cumsum([0, *[joules / 1e6 for _, joules in readings]])
    trace = Trace(NEVER, 1000)
    for time, joules in zip(times, np.diff(totals, prepend=0), strict=True):
        trace.add_energy(time, joules)
    end = share * times[-1]
    assert trace.window(0, end)["joules"] == pytest.approx(np.interp(end, times, totals), rel=1e-9, abs=1e-9)
    assert trace.window(0, times[-1])["gaps"] == 0


def test_a_window_before_between_and_after_samples_has_no_joules():
    trace = trace_of([10, 11, 12], [5, 5, 5], limit=2)
    assert trace.window(10, 12)["joules"] == 10
    assert Trace(2, 10).window(0, 1) == {
        "joules": None,
        "samples": 0,
        "gaps": 1,
        "gap_seconds": 1,
        "why": "no sample was taken",
    }
    early, late = trace.window(7, 12), trace.window(10, 15)
    assert (early["joules"], late["joules"]) == (None, None)
    assert early["why"] == "the first sample came 3.0 s after its start"
    assert late["why"] == "the last sample came 3.0 s before its end"
    assert (late["gaps"], late["gap_seconds"]) == (1, 3)


def test_a_sample_stands_in_for_a_moment_beyond_the_ends():
    trace = trace_of([10, 11], [4, 8], limit=2)
    assert trace.window(9, 10)["joules"] == 4
    assert trace.window(9, 12)["joules"] == 4 + 6 + 8
    assert trace.window(9, 12)["samples"] == 2


# seconds  0   1   2   3   .   .   .   7   8        a limit of 2 s: the sensor was gone from 3 to 7
# watts    2   2   2   2               6   6
def test_a_gap_is_counted_and_bridged_and_too_much_of_it_leaves_no_joules():
    trace = trace_of([0, 1, 2, 3], [2, 2, 2, 2], limit=2)
    assert trace.window(0, 6)["joules"] is None  # while it lasts
    for time in range(7, 101):
        trace.add_power(time, 6)
    told = trace.window(0, 100)
    assert told["joules"] == 3 * 2 + 4 * (2 + 6) / 2 + 93 * 6
    assert (told["gaps"], told["gap_seconds"]) == (1, 4)
    mostly = trace.window(2, 8)
    assert (mostly["joules"], mostly["why"]) == (None, "4.0 of its 6.0 s are gaps")
    assert trace.window(4, 5)["gap_seconds"] == 1  # within it
    assert trace.window(0, 3)["gaps"] == trace.window(7, 100)["gaps"] == 0


def test_a_step_of_a_counter_that_is_not_known_is_a_gap_of_the_power_before():
    trace = Trace(NEVER, 1000)
    for time in range(101):
        trace.add_energy(time, None if time == 50 else 3.0)
    told = trace.window(0, 100)
    assert (told["joules"], told["gaps"], told["gap_seconds"]) == (300, 1, 1)
    assert trace.window(49, 51)["joules"] is None


def test_one_reading_of_a_counter_is_no_energy():
    trace = Trace(NEVER, 10)
    trace.add_energy(1, None)
    told = trace.window(1, 2)
    assert (told["joules"], told["why"]) == (None, "a counter was read only once")


def test_a_sample_from_the_past_is_left_out():
    trace = trace_of([0, 2, 1, 4], [3, 3, 99, 3])
    assert trace.window(0, 4)["joules"] == 12
    assert trace.window(0, 4)["samples"] == 3


def test_a_window_that_starts_among_forgotten_samples_says_so():
    trace = trace_of(range(10), [1] * 10, kept=3)
    told = trace.window(4, 9)
    assert (told["joules"], told["why"]) == (None, "its start is longer ago than the samples kept")


def test_a_window_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValueError, match="must end after it starts"):
        trace_of([0, 1], [1, 1]).window(1, 0)
