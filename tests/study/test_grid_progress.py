"""A study's line of progress, with a clock that the tests move."""

import itertools

import pytest

from edgedst import progress as base
from edgedst.config import TrainConfig
from edgedst.runs.run import Run
from edgedst.study.found import RunIndex
from edgedst.study.grid import Point, read_study
from edgedst.study.grid_progress import FIRST_PACE_SECONDS, GridProgress, TimeLeft


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(base.time, "monotonic", lambda: now[0])
    return now


def point(method, seed, steps=10_000, env="HalfCheetah-v4"):
    return Point(TrainConfig(env=env, method=method, seed=seed, steps=steps, start_steps=2_000).resolved())


class Machine:
    """Trains points side by side: a random step takes 5 ms, one with an update as long as its method says."""

    def __init__(self, points, update_seconds, at_once):
        self.waiting = list(points)
        self.points, self.update_seconds, self.at_once = points, update_seconds, at_once
        self.steps = dict.fromkeys(points, 0.0)
        self.running, self.spent, self.done = [], dict.fromkeys(points, 0.0), []

    def second(self):
        while len(self.running) < self.at_once and self.waiting:
            self.running.append(self.waiting.pop(0))
        for point in list(self.running):
            learning = self.steps[point] >= point.config.start_steps
            self.steps[point] += 1 / (self.update_seconds[point.config.method] if learning else 0.005)
            self.spent[point] += 1
            if self.steps[point] >= point.config.steps:
                self.steps[point] = point.config.steps
                self.running.remove(point)
                self.done.append(point)


def ended(seconds):
    run = Run("")
    run.summary = {"finished": True, "seconds": seconds}
    return run


def estimates(machine, every=1):
    """(second, estimate) until the last run ends, looked at every so many seconds; and that second."""
    left, found, told = TimeLeft(), [], 0
    for second in itertools.count(1):
        machine.second()
        if second % every and len(machine.done) < len(machine.points):
            continue
        for point in machine.done[told:]:
            left.finished(point, ended(machine.spent[point]))
        told = len(machine.done)
        todo = {p: int(machine.steps[p]) for p in machine.points if p not in machine.done}
        for point, step in todo.items():
            left.at(point, step, float(second))
        if not todo:
            return found, second
        found.append((second, left.seconds(todo, machine.at_once)))


@pytest.mark.parametrize("every", [1, 30])  # on a terminal, in a log file
def test_the_time_left_of_a_grid_is_right_from_the_first_updates_on(every):
    # 8,000 updates of 20 ms are 160 s; the 2,000 random steps, 10 s, would have promised 50.
    points = [point("ds-td3", seed) for seed in range(5)]
    found, end = estimates(Machine(points, {"ds-td3": 0.02}, at_once=2), every)
    assert end == pytest.approx(3 * 170, abs=5)  # five runs, two at a time
    known = [(second, left) for second, left in found if left is not None]
    assert 10 + FIRST_PACE_SECONDS <= known[0][0] <= 90
    assert all(left == pytest.approx(end - second, rel=0.05, abs=15) for second, left in known)


def test_a_method_that_has_not_run_is_expected_to_take_longer_by_its_batch_and_density():
    # SAC's batch is 2.56 times as large as TD3's. Its networks are dense: 214,784 connections; DS-TD3's have 106,169.
    seconds = {"ds-td3": 0.02, "sac": 0.02 * 2.56 * 214_784 / 106_169}
    points = [point("ds-td3", 0), point("sac", 0)]
    found, end = estimates(Machine(points, seconds, at_once=1))
    known = [(second, left) for second, left in found if left is not None]
    assert known
    assert all(left == pytest.approx(end - second, rel=0.05, abs=15) for second, left in known)


def test_a_run_takes_the_pace_of_the_nearest_kind_of_run():
    hopper, cheetah, other = (point("td3", 0, env=env) for env in ("Hopper-v4", "HalfCheetah-v4", "Ant-v4"))
    left = TimeLeft()
    left.finished(hopper, ended(80.0))
    left.finished(cheetah, ended(160.0))
    assert left.seconds({point("td3", 1, env="Hopper-v4"): 0}, 1) == pytest.approx(80)
    assert left.seconds({point("td3", 1): 0}, 1) == pytest.approx(160)
    assert left.seconds({other: 0}, 1) == pytest.approx(120)  # no Ant yet: the mean of td3's
    # 850,000 transitions in all, 400,000 of them left.
    assert left.seconds({point("td3", 1): 6_000}, 1) == pytest.approx(160 * 400 / 850)
    # The last run alone decides, however many could run at once.
    assert left.seconds({point("td3", 1): 9_900, point("td3", 2): 0}, 2) == pytest.approx(160)


def test_a_run_that_waits_for_its_turn_has_no_pace():
    waits, left = point("ds-td3", 0), TimeLeft()
    for second in range(0, 4000, 100):
        left.at(waits, 5_000, float(second))  # an earlier session's steps
    for second in range(4000, 4100):
        left.at(waits, 5_000 + 50 * (second - 4000), float(second))
    assert left.seconds({waits: 9_950}, 1) == pytest.approx(1.0, rel=0.1)  # 50 steps at 50 a second


def study_of_four(tmp_path):
    (tmp_path / "s.toml").write_text("[settings]\nsteps = 1000\n[grid]\nseed = [0, 1, 2, 3]", encoding="utf-8")
    study = read_study(tmp_path / "s.toml")
    for seed, last in ((0, '{"finished": true, "step": 1000}'), (1, None)):
        run = tmp_path / f"runs/HalfCheetah-v4/ds-td3/s{seed}-20260101-000000"
        run.mkdir(parents=True)
        (run / "config.toml").write_text(study.points[seed].config.toml() + "replay_rows = 77\n", encoding="utf-8")
        (run / "metrics.jsonl").write_text('{"step": 200}\n{"step": 500}\n{"step": 50', encoding="utf-8")
        if last:
            (run / "summary.json").write_text(last, encoding="utf-8")
    return study


def test_progress_counts_the_steps_of_finished_and_unfinished_runs(tmp_path, clock, capsys):
    study = study_of_four(tmp_path)
    progress = GridProgress(study, RunIndex(tmp_path), 1, None)
    progress.begin()
    clock[0] = 30.0
    progress.show_when_due([study.points[3]])
    assert capsys.readouterr().out == "1/4 runs  37.5 % of 4,000 steps  0 steps/s  ETA unknown  1 FAILED\n"


def test_a_log_file_gets_a_line_every_half_minute_and_no_carriage_return(tmp_path, clock, capsys):
    progress = GridProgress(study_of_four(tmp_path), RunIndex(tmp_path), 1, None)
    progress.begin()
    for tenth in range(1000):
        clock[0] = tenth / 10
        progress.show_when_due([])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert "\r" not in out
