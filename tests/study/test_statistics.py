import numpy as np
import pytest

from edgedst.study.statistics import (
    interquartile_mean,
    last_return,
    learning_curve_area,
    stratified_bootstrap,
)


def test_r_is_the_mean_of_the_last_ten_evaluations():
    assert last_return([1000.0, *range(10)]) == 4.5  # the first of eleven is left out
    assert last_return([1.0, 2.0]) == 1.5


def test_lca_is_the_sum_of_all_evaluations_in_millions():
    assert learning_curve_area([9_000.0] * 201) == pytest.approx(1.809)  # of a dense TD3, in the paper's Table 1


@pytest.mark.parametrize(
    ("scores", "middle"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 6.0], 3.0),  # a quarter of three is none
        ([100.0, 2.0, 4.0, -50.0], 3.0),
        ([0, 1, 2, 3, 4, 5, 6, 100], 3.5),  # 2, 3, 4, 5
        ([0, 1, 2, 3, 4, 5, 6, 7, 100], 4.0),  # of nine, two go at either end
    ],
)
def test_the_interquartile_mean_leaves_a_quarter_out_at_either_end(scores, middle):
    assert interquartile_mean(scores) == middle


def test_a_draw_takes_each_task_s_seeds_from_that_task():
    # Within a task all seeds are equal, so every draw is the study itself, which mixing the tasks would not be.
    assert stratified_bootstrap([[1.0] * 3, [4.0] * 5], draws=50) == (3.25, 3.25)  # of 1, 1, 1, 4 ...: 1, 4, 4, 4


@pytest.mark.parametrize("scores", [[[1.0, 2.0]], [[1.0], [5.0]], [[1.0, 2.0, 3.0], [5.0, 6.0]]])
def test_fewer_than_three_seeds_on_any_task_give_no_interval(scores):
    assert stratified_bootstrap(scores) is None


def test_an_interval_of_two_seeds_would_hold_the_truth_half_the_time_and_one_of_five_does_nine_times_in_ten(
    rng, monkeypatch
):
    monkeypatch.setattr("edgedst.study.statistics.FEWEST_SEEDS", 2)

    def held(seeds, studies=300):
        intervals = [stratified_bootstrap([rng.normal(size=seeds)], draws=300) for _ in range(studies)]
        return sum(low <= 0 <= high for low, high in intervals) / studies

    assert held(2) == pytest.approx(0.50, abs=0.1)  # three standard errors of 300 studies
    assert held(5) == pytest.approx(0.89, abs=0.06)


def test_the_interval_is_that_of_a_bootstrap_written_out():
    tasks, draws = [[0.1, 0.5, 0.9, 0.8], [1.0, 1.3, 1.2]], 400
    rng = np.random.default_rng(7)
    first = rng.integers(0, 4, (draws, 4))
    second = rng.integers(0, 3, (draws, 3))
    means = []
    for a, b in zip(first, second, strict=True):
        seven = sorted([tasks[0][i] for i in a] + [tasks[1][i] for i in b])
        means.append(sum(seven[1:6]) / 5)  # of seven, one goes at either end
    interval = stratified_bootstrap(tasks, draws=draws, seed=7)
    assert interval == pytest.approx((np.percentile(means, 2.5), np.percentile(means, 97.5)))
    assert interval == stratified_bootstrap(tasks, draws=draws, seed=7)
    assert interval[0] < interquartile_mean(np.concatenate(tasks)) < interval[1]
