import pytest
from training import TINY, metrics, run_in, train

from edgedst import progress


def test_the_speed_that_is_shown_is_the_recent_one(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    shown = progress.Progress(steps=100_000, budget_bytes=50_000_000, shown=None)
    shown.start(0)
    step = 0
    for second in range(1, 101):  # 40 s of random steps, then learning at a tenth of the speed
        clock[0] = float(second)
        step += 1000 if second <= 40 else 100
        shown.show(step, 40_000_000)
    line = capsys.readouterr().out.splitlines()[-1]
    assert "  100 steps/s  ETA 9 min 00 s" in line  # 54,000 steps are left
    assert shown.speed(step) == 460  # over all: what the summary tells


@pytest.mark.parametrize("period", [1, 30])  # on a terminal, in a log file
def test_the_time_left_is_told_from_steps_that_learn_alone(period, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    shown = progress.Progress(steps=70_000, budget_bytes=1, shown=None, quick_steps=40_000)
    shown.start(0)
    for second in range(period, 300, period):  # 40 s of random steps, then 300 s of learning at a tenth of the speed
        clock[0] = float(second)
        shown.show(1000 * min(second, 40) + 100 * max(0, second - 40), 1)
        line = capsys.readouterr().out
        if second < 40:
            assert "  1,000 steps/s  ETA unknown before step 40,000  " in line
        elif "ETA unknown " in line:
            assert second <= 40 + period
        else:
            assert f"  ETA {progress.duration(340 - second)}  " in line
    assert second > 40 + 2 * period  # it was known for a while


@pytest.mark.parametrize("period", [1, 30])  # on a terminal, in a log file
@pytest.mark.parametrize("measured", [0.009, 0.012])  # seconds, of 0.009
def test_the_time_left_is_told_in_the_random_steps_where_it_was_measured_what_learning_takes(
    period, measured, monkeypatch, capsys
):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    shown = progress.Progress(70_000, 1, None, 40_000, measured)
    shown.start(0)
    told = 0
    for second in range(period, 300, period):  # 40 s of random steps, then 300 s of learning at a tenth of the speed
        clock[0] = float(second)
        shown.show(1000 * min(second, 40) + 100 * max(0, second - 40), 1)
        line = capsys.readouterr().out
        assert f"  {progress.duration(second)}  " in line
        if "ETA unknown  " in line:
            assert 40 <= second <= 40 + period  # where the shown speed is of both
            continue
        left = 340 - second + (30_000 * (measured - 0.009) if second < 40 else 0)  # what was measured counts
        assert f"  ETA {progress.duration(left + 1e-6)}  " in line
        told += second < 40
    assert told


def test_the_last_episode_s_return_is_told(capsys):
    shown = progress.Progress(steps=10, budget_bytes=1, shown=None)
    shown.show(0, 1)
    shown.episode = "1,234.6"
    shown.show(5, 1)
    first, second = capsys.readouterr().out.splitlines()
    assert "  episode none yet  " in first
    assert "  episode 1,234.6  " in second


def test_a_run_that_goes_on_behind_its_random_steps_tells_the_time_left_at_once(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    shown = progress.Progress(steps=70_000, budget_bytes=1, shown=None, quick_steps=40_000)
    shown.start(50_000)
    clock[0] = 1.0
    shown.show(50_100, 1)
    assert "  100 steps/s  ETA 3 min 19 s  " in capsys.readouterr().out


def test_no_progress_prints_none_but_says_what_is_said(capsys):
    shown = progress.Progress(steps=10, budget_bytes=1, shown=False)
    shown.start(0)
    shown.show(5, 1)
    shown.say("Finished")
    assert capsys.readouterr().out == "Finished\n"


def test_a_line_is_cut_to_the_terminal_s_width_for_a_wrapped_one_could_not_be_renewed(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(progress, "_columns", lambda: 20)
    shown = progress.Progress(steps=10, budget_bytes=1, shown=None)
    shown.renew("123456789 123456789 123456789")
    shown.renew("123")
    assert capsys.readouterr().out == "\r123456789 123456789\r123" + 16 * " "


def test_what_is_tried_for_the_time_left_changes_no_number(tmp_path):
    silent = ("--env", "Pendulum-v1", *TINY[2:])
    shown = [word for word in silent if word != "--no-progress"]
    for name, arguments in (("silent", silent), ("shown", shown)):
        (tmp_path / name).mkdir()
        train(tmp_path / name, *arguments, "--steps", "300", "--budget-mb", "120")
    before, after = (metrics(run_in(tmp_path / name)) for name in ("silent", "shown"))
    assert before == after
