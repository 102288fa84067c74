"""The JSON of a profile: as docs/formats.md describes it, its figures right where the measured values are known."""

import json
from types import SimpleNamespace

import pytest
from described_json import faults
from stand_in_contenders import FACTS, SteadyMeter, Watcher, contender, idle_of, starting

from edgedst.profile.document import document
from edgedst.profile.measure import Goal, measure
from edgedst.runs.metrics import BY_STEPS, LOGGED

BOARD = SimpleNamespace(name="generic", title="Any Linux machine")
TITLE = "A profile's JSON"


@pytest.fixture(scope="module")
def measured():
    """Windows of 4 s and 5 s at 100 steps/s, 10 W, of them 4 W idle."""
    start = starting(ds_td3={"took": 4.0, "p50": 2.0, "peak": 900}, td3={"took": 5.0, "p50": 4.0, "peak": 1000})
    both = [contender("sparse"), contender("dense")]
    return measure(both, Goal(5.0, 3), start, Watcher(), SteadyMeter(10.0), idle_of(4.0))


@pytest.fixture
def run(tmp_path):
    """A run folder with two evaluations; `logged` joules or none."""

    def make(*joules):
        lines = [{"step": 1000, "episode_return": 5.0}]
        for i, each in enumerate(joules):
            line = {"step": 5000 * i, "evaluation_return": 10.0 * i}
            lines.append(line if each is None else {**line, "energy_joules": each})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "metrics.jsonl").write_text(text + '{"step": 9, "evaluation_re', encoding="utf-8")
        return tmp_path

    return make


def of(measured, run=None, note=None):
    return document(measured, BOARD, "There is no device tree.", "edgedst profile", note, run)


def test_everything_that_is_written_is_described_and_nothing_else(measured, run):
    told = json.loads(json.dumps(of(measured, run(1.0, 2.0)), allow_nan=False))
    wrong, unmet = faults(told, TITLE)
    assert not wrong
    # What this machine and these contenders do not have.
    assert {key.partition(".cores")[2] or key for key in unmet} <= {
        *(rf"\[\]\.{key}" for key in ("mhz", "min_mhz", "max_mhz", "governor")),
        r"[^.\[]+\.throttled\[\]",
    }


def test_a_wrong_type_and_an_unknown_key_are_found(measured):
    told = of(measured)
    told["task"]["steps"], told["contenders"][0]["colour"] = "many", "red"
    assert faults(told, TITLE)[0] == [
        "task.steps is 'many', not integer",
        "contenders[].colour is not described",
    ]


def test_figures_follow_from_the_windows(measured):
    told = of(measured)
    assert told["task"]["steps"] == 500
    sparse, dense = told["contenders"]
    assert sparse["steps_per_second"]["values"] == pytest.approx([125.0] * 3)
    assert dense["updates_per_second"]["median"] == pytest.approx(400.0)  # a quarter of the window, by the stand-in
    assert dense["cpu_seconds_per_1000_steps"]["median"] == pytest.approx(5.0)
    assert sparse["memory"]["replay_bytes"] == FACTS["replay_row_bytes"] * FACTS["replay_rows"]
    assert sparse["memory"]["pss_bytes"] is None


def test_energy_is_told_in_total_and_above_idle(measured):
    told = of(measured)
    assert told["energy"]["source"] == "stand-in"
    assert (told["energy"]["idle_watts"], told["energy"]["meter_reads"]) == (4.0, 100)
    joules = told["contenders"][1]["energy_joules_per_1000_steps"]
    assert joules["total"]["median"] == pytest.approx(10 * 5 / 500 * 1000)
    assert joules["above_idle"]["median"] == pytest.approx((10 - 4) * 5 / 500 * 1000)
    assert joules["samples"] == 30


def test_ratios_are_ours_to_theirs(measured):
    (pair,) = of(measured)["ratios"].values()
    for key, value in (("step_seconds", 0.8), ("cpu_seconds", 0.8), ("energy_total", 0.8), ("action_p50", 0.5)):
        assert pair[key]["median"] == pytest.approx(value), key
        assert pair[key]["low"] == pytest.approx(value), key
    assert pair["peak_bytes"]["median"] == 0.9
    assert pair["flops_paper"] == pytest.approx(0.49, abs=0.005)  # Table 3


def test_flops_of_an_update_are_the_sum_of_their_parts(measured):
    flops = of(measured)["contenders"][0]["flops"]
    assert flops["update_counted"] == sum(flops["parts"].values()) > flops["update_paper"]
    assert "acting" not in flops["parts"]
    assert flops["parts"]["topology"] > 0


def test_without_a_meter_energy_is_null_everywhere():
    told = of(measure([contender("sparse"), contender("dense")], Goal(1.0, 1), starting(), Watcher()), note="none")
    assert told["energy"] is None
    assert told["energy_note"] == "none"
    assert [each["energy_joules_per_1000_steps"] for each in told["contenders"]] == [None, None]
    assert told["ratios"]["sparse / dense"]["energy_total"] is None


def test_a_window_without_joules_leaves_no_median_of_the_others():
    meter = SteadyMeter(None)
    both = [contender("sparse"), contender("dense")]
    told = of(measure(both, Goal(1.0, 1), starting(), Watcher(), meter, idle_of(None)))
    joules = told["contenders"][0]["energy_joules_per_1000_steps"]
    assert (joules["total"], joules["above_idle"]) == (None, None)
    assert any(doubt.startswith("The energy of 2 of 2 windows is not known") for doubt in told["doubts"])


@pytest.mark.parametrize(
    ("joules", "expected", "source"),
    [
        ((1.0, 400.0), [1.0, 400.0], LOGGED),
        ((None, None), [0.0, 5000 * 0.08], BY_STEPS),  # 40 J in 500 steps
        ((1.0, None), [0.0, 5000 * 0.08], BY_STEPS),  # a curve never mixes two sources
    ],
)
def test_a_run_s_curve_has_its_own_joules_or_this_profile_s(measured, run, joules, expected, source):
    told = of(measured, run(*joules))["run"]
    assert [point["joules"] for point in told["curve"]] == pytest.approx(expected)
    assert [point["return"] for point in told["curve"]] == [0.0, 10.0]
    assert told["joules_from"] == source


def test_a_run_s_curve_without_any_energy_has_none(run):
    told = of(measure([contender("sparse")], Goal(1.0, 1), starting(), Watcher()), run(None, None))["run"]
    assert [point["joules"] for point in told["curve"]] == [None, None]
    assert told["joules_from"] is None
