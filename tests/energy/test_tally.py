"""Joules of a run over several processes, the clock and the samples driven by hand."""

import pytest
from power_tree import Clock, board, drive, ina3221

from edgedst.energy import sources
from edgedst.energy.meter import Meter
from edgedst.energy.tally import Tally
from edgedst.plain_json import dumps, loads

ORIN = board(("ina3221", "module input", "VDD_IN"), model=(3.0, 2.0))


@pytest.fixture
def tallied(tmp_path):
    """A process that trains for so many seconds at 5 W, half of them busy; returns its tally."""
    ina3221(tmp_path, 3, [("VDD_IN", (5000, 1000))])
    clock, cpu = Clock(), Clock(50.0)

    def process(seconds, before=None, resumes=False, wanted="ina3221", kept=4):
        clock.now += 1000  # between two processes
        meter = Meter(sources.choose(wanted, ORIN, tmp_path), clock=clock, kept=kept, threaded=False)
        tally = Tally(meter, clock, cpu)
        if resumes:
            tally.take_over(loads(dumps(before)))  # as the checkpoint keeps it
        tally.begin()
        drive(meter, clock, seconds)
        cpu.now += seconds / 2
        return tally

    return process


def test_joules_are_those_since_the_run_s_first_step_however_few_samples_are_kept(tallied):
    first = tallied(20)
    assert first.total()["joules"] == pytest.approx(100)
    assert first.logged() == {"energy_joules": pytest.approx(100), "energy_gap_seconds": 0}
    second = tallied(10, first.total(), resumes=True)
    told = second.total()
    assert told["joules"] == pytest.approx(150)
    assert told["samples"] == 201 + 101  # one more each time, at the very start, is at the same moment as the first
    assert told["meter_reads"] == 202 + 102
    assert second.announced() == (f"energy: measured by ina3221 (module input): {told['detail']}, 10 samples a second")
    assert second.summed_up().startswith("Energy: 150.0 J (ina3221, module input); metering took ")


def test_a_model_is_announced_as_modelled_and_summed_by_seconds_and_cpu_seconds(tallied):
    model = tallied(20, wanted="model")
    assert model.total()["joules"] == pytest.approx(20 * 3 + 10 * 2)
    assert model.announced().startswith("energy: modelled, not measured: 3 W x seconds + 2 W x CPU-seconds")
    assert model.summed_up() == "Energy: 80.0 J (modelled, not measured)."


@pytest.mark.parametrize("before", ["nothing", "model"])
def test_a_run_that_was_not_metered_all_along_by_one_source_has_no_sum(tallied, before):
    earlier = None if before == "nothing" else tallied(20, wanted="model").total()
    later = tallied(10, earlier, resumes=True)
    assert later.total()["joules"] is None
    was = "not metered" if before == "nothing" else r"metered by model (board input)"
    assert f"earlier steps of this run were {was}, so its joules as a whole are not known" in later.announced()
    assert later.summed_up().startswith("Energy: not known; earlier steps")
    again = tallied(10, later.total(), resumes=True)
    assert again.total()["joules"] is None  # once unknown, unknown it stays
