import numpy as np
import pytest

from edgedst.machine.kept_time import STEP, Histogram, KeptTime


def test_quantiles_are_those_of_the_values_to_a_bin(rng):
    values = np.exp(rng.normal(5, 2, 5000)) + 1
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for share in (0.01, 0.5, 0.9, 0.99, 0.999):
        exact = np.sort(values)[int(np.ceil(share * len(values))) - 1]
        assert histogram.quantile(share) == pytest.approx(exact, rel=np.expm1(STEP))
    assert histogram.quantile(1) == values.max()


def test_what_is_too_small_or_too_large_is_counted():
    histogram = Histogram()
    for value in (0.0, -3.0, 1e30):
        histogram.add(value)
    assert histogram.count == 3
    assert histogram.quantile(0.5) == pytest.approx(1, rel=np.expm1(STEP))
    assert histogram.quantile(1) == 1e30


def test_of_nothing_there_is_nothing_and_it_can_begin_anew():
    histogram = Histogram()
    assert histogram.quantile(0.5) == histogram.quantile(1) == 0
    histogram.add(7)
    histogram.clear()
    assert (histogram.count, histogram.quantile(0.5), histogram.quantile(1)) == (0, 0, 0)


def test_what_is_told_of_some_periods():
    kept = KeptTime(50.0)
    assert kept.told()["rate_kept_hz"] == 0
    for number in range(98):
        kept.add(0, 100.0, 50.0, 20.0 if number else None)
    kept.add(1, 3000.0, 0.0, 20.0)  # the last of an episode: nothing was applied
    told = kept.told()
    assert (kept.steps, kept.periods, told["missed_periods"], told["rate_kept_hz"]) == (99, 100, 1, 49.5)
    assert told["jitter_p50_ms"] == pytest.approx(0.1, rel=0.03)
    assert (told["jitter_max_ms"], told["observation_to_action_max_ms"]) == (3.0, 0.05)
    assert told["weights_age_max_ms"] == 20.0
    kept.clear()
    assert kept.told() == KeptTime(50.0).told()


@pytest.mark.parametrize(
    ("steps", "periods", "missed"),  # of a step: late (periods), missed since the one before
    [
        ([(0.0, 0), (0.0, 0), (0.6, 1), (0.0, 0)], 4, 1),  # the third was missed, and had its step
        ([(0.0, 0), (0.4, 0), (1.4, 1), (0.0, 0)], 5, 1),  # the one before the third was, and had none
        ([(0.6, 1), (1.6, 2), (0.6, 1)], 4, 4),  # not one was kept
        ([(0.0, 2), (0.0, 0)], 4, 2),  # records before it found no room
    ],
)
def test_a_period_is_either_kept_or_missed_and_never_both(steps, periods, missed):
    kept = KeptTime(30.0)
    for late, since in steps:
        kept.add(since, late * 1e6 / 30, 50.0, None)
    assert (kept.steps, kept.periods, kept.missed) == (len(steps), periods, missed)
    assert kept.told()["rate_kept_hz"] == round(30 * len(steps) / periods, 3)
    kept.clear()
    assert kept.periods == 0
