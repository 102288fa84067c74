"""Medians, ranges and intervals of ratios, against values worked out by hand and printed tables."""

import math

import pytest

from edgedst.spread import mean_and_sd, ratio, stat, t_95


def test_the_spread_is_that_of_a_sample_and_one_seed_has_none():
    assert mean_and_sd([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_and_sd([5.0]) == (5.0, None)


def test_a_stat_is_median_and_range():
    assert stat([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0, "values": [3.0, 1.0, 2.0]}


def test_a_stat_lacks_nothing_or_is_none():
    assert stat([1.0, None]) is None
    assert stat([]) is None


def test_the_interval_of_a_ratio_is_that_of_its_mean_log():
    # Logs 0.1, 0.2, 0.3: mean 0.2, sd 0.1, t(2) = 4.303, so +- 4.303 * 0.1 / sqrt(3) = 0.24843.
    found = ratio([math.exp(log) for log in (0.1, 0.2, 0.3)], [1.0, 1.0, 1.0])
    assert found["median"] == pytest.approx(math.exp(0.2))
    assert found["low"] == pytest.approx(math.exp(0.2 - 0.24843), rel=1e-5)
    assert found["high"] == pytest.approx(math.exp(0.2 + 0.24843), rel=1e-5)


def test_pairs_take_out_what_slows_a_whole_round():
    found = ratio([1.0, 2.0, 8.0], [2.0, 4.0, 16.0])
    assert (found["median"], found["low"], found["high"]) == pytest.approx((0.5, 0.5, 0.5))


def test_one_round_gives_a_ratio_without_an_interval():
    assert ratio([1.0], [2.0]) == {"median": 0.5, "low": None, "high": None}


@pytest.mark.parametrize(("ours", "theirs"), [([1.0, None], [1.0, 1.0]), ([1.0, -0.1], [1.0, 1.0]), ([0.0], [1.0])])
def test_there_is_no_ratio_where_a_round_has_none(ours, theirs):
    assert ratio(ours, theirs) is None


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (4, 2.776), (30, 2.042), (60, 2.0003), (120, 1.9799)])
def test_t_is_that_of_printed_tables(degrees, quantile):
    assert t_95(degrees) == pytest.approx(quantile, abs=1e-4)
