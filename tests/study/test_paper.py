import pytest

from edgedst.study.paper import Value, paper, task_of

TASKS = {"HalfCheetah", "Walker2d", "Hopper", "Ant", "Humanoid"}


def test_every_table_has_every_task_and_method():
    assert {table.number for table in paper().tables} == {1, 2, 5, 6}
    for table in paper().tables:
        assert set(table.rows) == TASKS
        assert all(set(row) == set(table.methods) <= set(paper().methods) for row in table.rows.values())
        assert all((v.sd is not None) == (table.metric == "R") for row in table.rows.values() for v in row.values())


def test_the_figures_are_found_by_task_and_method():
    assert paper().value("R", "Hopper-v5", "ds-td3") == Value(3587.17, 70.62)
    assert paper().value("LCA", "Ant-v4", "ds-sac") == Value(0.8229)
    assert paper().value("R", "Pendulum-v1", "ds-td3") is None
    assert task_of("Walker2d-v4") == "Walker2d"


# Section 4.5: "it improves TD3 performance by 2.75%, 20.48%, 64.18%, 16.88%, and 37.51%".
@pytest.mark.parametrize(
    ("task", "percent"),
    [("HalfCheetah", 2.75), ("Walker2d", 20.48), ("Hopper", 64.18), ("Ant", 16.88), ("Humanoid", 37.51)],
)
def test_the_figures_give_the_improvements_that_the_text_names(task, percent):
    better = paper().value("R", task, "ds-td3").mean / paper().value("R", task, "td3").mean
    assert 100 * (better - 1) == pytest.approx(percent, abs=0.015)  # the paper cuts some digits and rounds others


# Section 4.6: "a performance increase of 2.11%" with 25 % of the connections removed; e = 1000 and 50 % are Table 2's.
def test_what_the_sweeps_say_of_r_follows_from_table_2():
    dense, sparse = (paper().value("R", "HalfCheetah", method) for method in ("td3", "ds-td3"))
    said = {
        (sweep["figure"], say["at"]): Value.of(say["R"])
        for sweep in paper().sweeps
        for say in sweep["say"]
        if "R" in say
    }
    assert said.pop((4, 25)).mean == pytest.approx(1.0211 * dense.mean, abs=0.5)
    assert said == {(3, 1000): sparse, (4, 50): sparse}
