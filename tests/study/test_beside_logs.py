"""`edgedst study report --beside`: curves of other libraries' logs, which their own tools made (other_logs/make.py)."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from study_folder import write_run
from training import edgedst

from edgedst.errors import StudyError
from edgedst.study.beside_logs import SECONDS, STEPS, curves, read_log, read_others
from edgedst.study.grid import read_study
from edgedst.study.report import write_report

LOGS = Path(__file__).with_name("other_logs")
SB3, CLEANRL = LOGS / "sb3-s0", LOGS / "cleanrl"
ONE, TWO = ["Pendulum-v1"], ["HalfCheetah-v4", "Hopper-v4"]


def study(folder, env="HalfCheetah-v4"):
    folder.mkdir()
    text = f'title = "a"\nsettings.steps = 2000\n[[grid]]\nenv = {[env, "Hopper-v4"]}\nseed = [0, 1]\n'
    (folder / "study.toml").write_text(text, encoding="utf-8")
    for point in read_study(folder / "study.toml").points:
        write_run(folder, point, [0, 100, 200], every=1000)
    return folder


def event_file(folder):
    return next(folder.rglob("*tfevents*"))


def log_of(path):
    """Whether the one log there is of evaluations, its steps, seconds and returns."""
    ((evaluated, points),) = read_log(path)
    return evaluated, *points.tolist()


def test_each_of_stable_baselines3_s_logs_tells_the_same_evaluations():
    evaluated, steps, seconds, returns = log_of(SB3 / "evaluations.npz")
    with np.load(SB3 / "evaluations.npz") as file:
        assert returns == pytest.approx(file["results"].mean(axis=1))
    assert (evaluated, steps) == (True, [500, 1000, 1500, 2000])
    assert np.isnan(seconds).all()
    for path in (SB3 / "progress.csv", SB3, event_file(SB3)):
        assert log_of(path)[:2] == (evaluated, steps), path
        assert log_of(path)[3] == pytest.approx(returns), path  # float32 in some
    assert np.isfinite(log_of(SB3)[2]).all()


def test_seconds_of_an_evaluation_in_progress_csv_lie_between_those_of_the_lines_around_it():
    _, steps, seconds, _ = log_of(SB3 / "progress.csv")
    with (SB3 / "progress.csv").open(encoding="utf-8", newline="") as file:
        timed = [
            (float(row["time/total_timesteps"]), float(row["time/time_elapsed"]))
            for row in csv.DictReader(file)
            if row["time/time_elapsed"]
        ]
    (first, elapsed), *_ = timed
    assert first > 500
    assert seconds[0] == pytest.approx(500 / first * elapsed)
    assert np.isfinite(seconds).tolist() == [step <= timed[-1][0] for step in steps]


def test_episodes_of_training_are_told_as_such_and_smoothed(tmp_path):
    evaluated, steps, seconds, means = log_of(SB3 / "monitor.csv")
    assert not evaluated
    rows = list(csv.DictReader((SB3 / "monitor.csv").read_text(encoding="utf-8").splitlines()[1:]))
    returns = [float(row["r"]) for row in rows]
    assert steps == np.cumsum([int(row["l"]) for row in rows]).tolist()
    assert means == [pytest.approx(np.mean(returns[: n + 1])) for n in range(len(rows))]
    assert seconds == [float(row["t"]) for row in rows]
    long = ["#{}", "r,l,t", *(f"{n},2,{n}" for n in range(150))]
    (tmp_path / "monitor.csv").write_text("\n".join(long) + "\n9", encoding="utf-8")  # and a line that is being written
    _, steps, _, means = log_of(tmp_path / "monitor.csv")
    assert (steps[-1], means[-1]) == (300, pytest.approx(np.mean(range(50, 150))))


def test_monitors_of_several_environments_are_one_run_in_the_order_of_time(tmp_path):
    (tmp_path / "0.monitor.csv").write_text("#{}\nr,l,t\n1,10,1\n3,10,3\n", encoding="utf-8")
    (tmp_path / "1.monitor.csv").write_text("#{}\nr,l,t\n2,10,2\n", encoding="utf-8")
    assert log_of(tmp_path) == (False, [10, 20, 30], [1, 2, 3], [1, 1.5, 2])


def test_cleanrl_s_test_of_a_finished_agent_is_no_curve_over_steps():
    evaluated, steps, _, returns = log_of(CLEANRL)
    assert not evaluated
    assert steps == list(range(200, 2001, 200))
    assert returns == pytest.approx([-1500 + 50 * n for n in range(10)])


def test_what_is_no_number_is_left_out_and_of_a_step_told_twice_the_last_counts(tmp_path):
    head = "time/total_timesteps,time/time_elapsed,rollout/ep_rew_mean\n"
    (tmp_path / "p.csv").write_text(head + "1,1,5\n2,2,nan\n3,3,inf\n4,4,6\n,5,7\n4,6,8\n", encoding="utf-8")
    others = read_others([f"x={tmp_path / 'p.csv'}"], ONE, [])
    ((curve,),) = curves(others, STEPS, 0).values()
    assert (curve.name, curve.seeds[0][0], curve.seeds[0][-1]) == ("x (training returns)", (1, 5), (4, 8))
    ((curve,),) = curves(others, SECONDS, 0).values()
    assert (curve.seeds[0][0], curve.seeds[0][-1]) == ((1, 5), (6, 8))


def test_the_report_draws_them_with_honest_names(tmp_path):
    out = study(tmp_path / "ä b")
    unicode = shutil.copytree(SB3, tmp_path / "s=0 é")
    options = [f"SB3 TD3 <b>@HalfCheetah-v4={unicode / 'evaluations.npz'}"]
    options += [f"SB3 TD3 <b>@HalfCheetah-v4={LOGS / 'sb3-s1' / 'evaluations.npz'}"]
    options += [f"monitored@Hopper-v4={LOGS / f'sb3-s{seed}' / 'monitor.csv'}" for seed in (0, 1)]
    options += [f"CleanRL@Hopper-v4={CLEANRL}"]
    typed = [word for option in options for word in ("--beside", option)]
    done = subprocess.run(edgedst("study", "report", out, *typed), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    drawn = (out / "report" / "learning-curves.svg").read_text(encoding="utf-8")
    for name in ("SB3 TD3 &lt;b&gt;<", "monitored (training returns)<", "CleanRL (training returns)<"):
        assert drawn.count(f">{name}") == 1
    seconds = (out / "report" / "seconds.svg").read_text(encoding="utf-8")
    assert ">CleanRL (training returns)<" in seconds
    assert "SB3 TD3" not in seconds  # evaluations.npz has none
    text = (out / "report" / "report.md").read_text(encoding="utf-8")
    assert "monitored (training returns) on Hopper-v4: 2 logs" in text
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "<b>@" not in page
    assert "TD3 <b>" not in page


def test_a_mean_over_seeds_is_of_places_that_all_of_them_have(tmp_path):
    for name, steps in (("a", (100, 300)), ("b", (200, 400)), ("c", (900, 1000))):
        np.savez(tmp_path / f"{name}.npz", timesteps=np.array(steps), results=np.array([[float(s)] for s in steps]))
    given = [f"x={tmp_path / name}.npz" for name in "abc"]
    drawn = curves(read_others(given[:2], ONE, ["td3"]), STEPS, 1)
    (curve,) = drawn["Pendulum-v1"]
    assert curve.number == 1  # behind the study's own
    for seed in curve.seeds:
        assert (seed[0][0], seed[-1][0]) == (200, 300)
        assert [value for _, value in seed] == pytest.approx([step for step, _ in seed])
    apart = read_others([given[0], given[2]], ONE, ["td3"])
    with pytest.raises(StudyError, match="do not overlap"):
        curves(apart, STEPS, 1)
    assert curves(apart, SECONDS, 1) == {}


@pytest.mark.parametrize(
    ("text", "tasks", "sentence"),
    [
        ("x", ONE, "expected LABEL=PATH"),
        ("=x", ONE, "expected LABEL=PATH"),
        ("x=", ONE, "expected LABEL=PATH"),
        (f"x={SB3}", TWO, "names none of the study's tasks. .* HalfCheetah-v4, Hopper-v4"),
        (f"x@Ant-v4={SB3}", ONE, "names none of the study's tasks"),
        (f"td3={SB3}", ONE, "has a curve `td3` itself"),
        (f"x={SB3}/none.csv", ONE, "cannot be read: No such file .*evaluations.npz, monitor.csv"),
        (f"x={__file__}", ONE, "has no return .*evaluations.npz, monitor.csv"),
    ],
)
def test_what_is_not_understood_is_a_sentence(text, tasks, sentence):
    with pytest.raises(StudyError, match=sentence):
        read_others([text], tasks, ["td3"])


@pytest.mark.parametrize("name", ["evaluations.npz", "monitor.csv", "progress.csv", "tfevents"])
def test_a_log_cut_anywhere_is_read_so_far_or_is_a_sentence(name, tmp_path):
    whole = event_file(SB3) if name == "tfevents" else SB3 / name
    content = whole.read_bytes()
    for size in range(0, len(content), 61):
        cut = tmp_path / whole.name
        cut.write_bytes(content[:size])
        try:
            logs = read_log(cut)
        except StudyError:
            continue
        assert {step for _, points in logs for step in points[STEPS].tolist()} <= set(range(0, 2001, 100))


def test_an_empty_folder_or_one_of_other_tags_is_a_sentence(tmp_path):
    with pytest.raises(StudyError, match="has no return"):
        read_log(tmp_path)
    (tmp_path / "events.out.tfevents.1.a").touch()
    with pytest.raises(StudyError, match="has no return"):
        read_log(tmp_path)


def test_nothing_is_written_where_a_log_cannot_be_read(tmp_path):
    out = study(tmp_path / "study")
    with pytest.raises(StudyError, match="cannot be read"):
        write_report(out, out / "report", [f"x@Hopper-v4={tmp_path / 'none'}"])
    assert not (out / "report").exists()
