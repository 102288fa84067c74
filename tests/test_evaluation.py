from types import SimpleNamespace

import pytest

from edgedst.envs import episode_limit
from edgedst.evaluation import Evaluations
from edgedst.plain_json import dumps, loads
from edgedst.runs.state import state_bytes


def after(count):
    """That many evaluations of two episodes, the one at step 5 i of mean i."""
    evaluations = Evaluations()
    for i in range(count):
        evaluations.add(5 * i, [i - 1.0, i + 1.0])
    return evaluations


def test_r_is_the_mean_of_the_last_ten_and_lca_the_sum_of_all():
    evaluations = after(25)
    assert evaluations.final_performance == sum(range(15, 25)) / 10
    assert evaluations.learning_curve_area == sum(range(25)) / 1e6
    assert (evaluations.count, evaluations.newest) == (25, (24.0, 1.0))


def test_before_the_first_one_there_is_nothing_to_tell():
    evaluations = Evaluations()
    assert (evaluations.final_performance, evaluations.newest) == (None, (None, None))
    again = Evaluations()
    again.set_state(loads(dumps(evaluations.state())))
    assert again.add(0, [-1e9]) == (-1e9, 0.0)


def test_ten_thousand_of_them_take_the_memory_of_ten():
    few, many = (len(state_bytes(after(count).state())) for count in (10, 10_000))
    assert many < few + 100  # longer numbers


@pytest.mark.parametrize("count", [0, 3, 10, 11, 40])
def test_a_run_that_goes_on_knows_what_it_knew(count):
    evaluations, again = after(count), Evaluations()
    again.set_state(loads(dumps(evaluations.state())))
    assert vars(again) == vars(evaluations)


def test_the_list_of_a_checkpoint_of_format_1_is_understood():
    again = Evaluations()
    again.set_state([[5 * i, float(i), 1.0] for i in range(25)])
    assert vars(again) == vars(after(25))


def test_an_evaluation_s_episode_ends_where_the_task_has_no_limit():
    assert episode_limit(SimpleNamespace(max_episode_steps=None)) == 1_000
    assert episode_limit(SimpleNamespace(max_episode_steps=70)) == 70
