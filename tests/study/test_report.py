"""Reports of studies whose runs are written by hand, so that every number can be worked out on paper."""

import base64
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html import escape

import pytest
from chromium import NAMES, Browser
from PIL import Image
from study_folder import write_run

from edgedst.errors import RunFolderError, StudyError
from edgedst.flops import Workload
from edgedst.study.grid import read_study
from edgedst.study.report import write_report
from tools import require_tool

SIZES = {"actor": [17, 256, 256, 6], "critic_1": [23, 256, 256, 1]}
HOPPER = {"actor": [11, 256, 256, 3], "critic_1": [14, 256, 256, 1]}


@pytest.fixture
def study(tmp_path):
    def made(grid):
        out = tmp_path / "study"
        out.mkdir()
        (out / "study.toml").write_text('title = "By hand"\n' + grid, encoding="utf-8")
        return out, {
            (p.config.env, p.config.method, p.config.seed, p.config.evolve_every): p
            for p in read_study(out / "study.toml").points
        }

    return made


def written(out):
    """The Markdown's text, and its tables by heading: rows of cells."""
    write_report(out, out / "report")
    text = (out / "report" / "report.md").read_text(encoding="utf-8")
    tables = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        heading, _, body = section.partition("\n")
        rows = [[c.strip() for c in line.strip("|").split("|")] for line in body.splitlines() if line.startswith("|")]
        tables[heading] = [row for row in rows if row[0] != "---"]
    return text, tables


def ramp(end, count=21):
    """Evaluations 0, end / 20, ..., end: R is the mean of the last ten of 21."""
    return [end * i / (count - 1) for i in range(count)]


def test_what_a_sparsity_leaves_open_is_no_departure_from_the_paper(study):
    out, points = study('[grid]\nenv = "Hopper-v4"\nsparsity = 0.9\n')
    for point in points.values():
        write_run(out, point, ramp(1000), sizes=HOPPER)
    text, _ = written(out)
    assert "departs from the paper's protocol: `sparsity` is 0.9 instead of what lambda1 and lambda2 give." in text
    assert "None" not in text


def test_the_numbers_are_those_worked_out_by_hand(study):
    grid = '[grid]\nenv = ["HalfCheetah-v4", "Hopper-v4"]\nmethod = ["td3", "ds-td3"]\nseed = [0, 1]\n'
    out, points = study(grid + "steps = 100_000\n")
    ends = {
        ("HalfCheetah-v4", "td3"): (8000, 10000),
        ("HalfCheetah-v4", "ds-td3"): (9000, 12000),
        ("Hopper-v4", "td3"): (2000, 2000),
        ("Hopper-v4", "ds-td3"): (3000, 3400),
    }
    for (env, method, seed, _), point in points.items():
        write_run(out, point, ramp(ends[env, method][seed]), sizes=SIZES if env[0:2] == "Ha" else HOPPER)
    text, tables = written(out)
    assert "**All 4 runs" not in text
    assert "**All 8 runs are finished.**" in text
    assert "`steps` is 100,000 instead of 1,000,000" in text
    # R of a ramp to 8000: mean of 4400 ... 8000 = 6200 = 0.775 * 8000. Two seeds: 6200 and 7750.
    head, cheetah, hopper = tables["Return over the last 10 evaluations"]
    assert head == ["task", "td3, here", "td3, paper", "ds-td3, here", "ds-td3, paper"]
    assert cheetah[1:3] == ["6,975.0 ± 1,096.0", "11,153.48 ± 473.29"]
    assert cheetah[3:] == ["8,137.5 ± 1,644.0", "11,459.88 ± 482.55"]
    assert hopper == ["Hopper-v4", "1,550.0 ± 0.0", "2,184.78 ± 1,224.14", "2,480.0 ± 219.2", "3,587.17 ± 70.62"]
    # LCA of a ramp to 8000: 10.5 * 8000 / 10^6 = 0.084.
    _, cheetah, _ = tables["Learning curve area"]
    assert cheetah == ["HalfCheetah-v4", "0.0945 ± 0.0148", "1.8008", "0.1103 ± 0.0223", "1.8947"]
    # 100,000 steps are a tenth of the paper's 1.07e14 FLOPs.
    rows = tables["FLOPs and connections"][1:]
    assert rows[0][:7] == ["HalfCheetah-v4", "td3", "1.07e13", "1.00 ×", "1 ×", "214,784", "214,784"]
    assert rows[1][2:7] == ["5.28e12", "0.49 ×", "0.49 ×", "106,169", "106,169"]
    # IQM of td3: scores 6200 / 11153.48, 7750 / 11153.48, and 1550 / 2184.78 twice; the middle two of four.
    dense = tables["Over all tasks"][1]
    assert dense[1] == f"{(7750 / 11153.48 + 1550 / 2184.78) / 2:.3f}"  # two seeds give no interval
    assert dense[2:4] == [f"{(6975 / 11153.48 + 1550 / 2184.78) / 2:.3f}", "1.000"]
    # At 33,333 steps the last three evaluations are those at 20,000 to 30,000: a quarter of the ramp's end.
    head, dense, sparse = tables["Beside dense at equal steps"]
    assert head == ["variant", "at 16,667", "at 33,333", "at 66,667", "at 100,000"]
    assert dense == ["td3", *["1.000"] * 4]
    # Scores 9000 / 9000, 12000 / 9000 and, on Hopper, 3000 / 2000 and the like: the middle two of four.
    scores = sorted(
        end / {"HalfCheetah-v4": 9000, "Hopper-v4": 2000}[env]
        for (env, method), two in ends.items()
        for end in two
        if method == "ds-td3"
    )
    assert sparse == ["ds-td3", *[f"{(scores[1] + scores[2]) / 2:.3f}"] * 4]
    assert "What is missing" not in tables


def test_sparsities_that_differ_in_width_too_are_no_sweep_of_the_paper_s(study):
    wide = '[[grid]]\nlabel = "wide"\nsparsity = 0.95\nhidden = [[512, 512]]\n'
    out, _ = study("[settings]\nsteps = 100_000\n" + wide + '[[grid]]\nlabel = "half"\n')
    for point in read_study(out / "study.toml").points:
        write_run(out, point, ramp(8000))
    _, tables = written(out)
    assert "How sparse the networks are" not in tables
    head = tables["Return over the last 10 evaluations"][0]
    assert head == ["task", "half, here", "half, paper", "wide, here"]


def test_a_task_of_negative_returns_is_left_out_beside_dense(study):
    out, points = study(
        '[grid]\nenv = ["HalfCheetah-v4", "Hopper-v4"]\nmethod = ["td3", "ds-td3"]\nsteps = 100_000\nseed = [0, 1, 2]\n'
    )
    for (env, _, seed, _), point in points.items():
        write_run(out, point, ramp(1000 + seed if env == "HalfCheetah-v4" else -500))
    text, tables = written(out)
    assert "Over HalfCheetah-v4 (left out: Hopper-v4)." in text
    assert re.fullmatch(r"1\.000 \[0\.999, 1\.001\]", tables["Beside dense at equal steps"][1][4])


def test_an_unfinished_study_reports_what_is_there_and_says_what_is_not(study):
    out, points = study('[grid]\nenv = ["HalfCheetah-v4", "Hopper-v4"]\nseed = [0, 1, 2, 3]\nsteps = 100_000\n')
    point = {(env, seed): p for (env, _, seed, _), p in points.items()}
    write_run(out, point["HalfCheetah-v4", 0], ramp(8000), sizes=SIZES)
    write_run(out, point["HalfCheetah-v4", 1], ramp(8000)[:7], finished=False)
    failed = out / "points" / point["HalfCheetah-v4", 2].name
    failed.mkdir(parents=True)
    (failed / "failed.txt").write_text("BudgetExceeded: too small.\n", encoding="utf-8")
    text, tables = written(out)
    assert "**1 of 8 runs are finished.**" in text
    _, cheetah, hopper = tables["Return over the last 10 evaluations"]
    assert cheetah[1] == "6,200.0 (1 of 4)"
    assert hopper[1:] == ["–", "3,587.17 ± 70.62"]
    missing = text.partition("## What is missing")[2].partition("##")[0]
    assert "- ds-td3 on HalfCheetah-v4, seed 1: at step 30,000 of 100,000\n" in missing
    assert "- ds-td3 on HalfCheetah-v4, seed 2: failed, not started: BudgetExceeded: too small.\n" in missing
    assert "- ds-td3 on Hopper-v4: not started: seed 0, 1, 2, 3\n" in missing
    assert (out / "report" / "learning-curves.svg").read_bytes().startswith(b"<svg ")


def test_a_study_without_any_run_is_reported(study):
    out, _ = study('[grid]\nenv = ["Pendulum-v1", "HalfCheetah-v4"]\n')
    text, _ = written(out)
    assert "**0 of 2 runs are finished.**" in text
    assert "There is no evaluation." in text


def test_the_schedule_stands_beside_figure_3(study):
    out, points = study(
        '[[grid]]\nevolve_every = [200, 1000]\n[[grid]]\nmethod = "td3"\n',
    )
    for point in points.values():
        write_run(out, point, ramp(8000), sizes=SIZES)
    _, tables = written(out)
    rows = tables["How often the topology evolves"][1:]
    assert [row[1] for row in rows] == ["ds-td3, evolve_every 200", "ds-td3, evolve_every 1000", "td3"]
    assert rows[0][4:] == ["–", "too often for new connections to grow and learn"]
    assert rows[1][4:] == ["11,459.88 ± 482.55", "learns faster and ends higher than all others (R: Table 2)"]
    assert rows[2][4:] == ["11,153.48 ± 473.29", "dense training"]
    # Only the paper's own setting enters the comparison of methods.
    head, _ = tables["Return over the last 10 evaluations"]
    assert head[-1] == "ds-td3, evolve_every 1000, paper"
    assert "How sparse the networks are" not in tables


def test_sparsity_stands_beside_figure_4(study):
    from edgedst.study.grid import find_study

    out, _ = study("[grid]\nseed = 0\n")
    text = find_study("paper-sparsity").read_text(encoding="utf-8")
    (out / "study.toml").write_text(text, encoding="utf-8")
    for point in read_study(out / "study.toml").points:
        write_run(out, point, ramp(8000, 201), sizes=SIZES)
    _, tables = written(out)
    rows = tables["How sparse the networks are"][1:]
    said = {row[1]: row[4:] for row in rows}
    assert said["ds-td3, 25 % sparse"][0] == "11,389"
    assert said["ds-td3, 25 % sparse"][1].startswith("faster than dense TD3, and 2.11 % higher")
    assert said["ds-td3, 50 % sparse"][0] == "11,459.88 ± 482.55"
    assert said["ds-td3, 80 % sparse"] == ["–", "fails to learn effective representations"]


def test_one_label_never_makes_seeds_of_different_settings_or_methods(study):
    out, _ = study(
        '[[grid]]\nlabel = "small"\nhidden = [[64, 64], [32, 32]]\nsteps = 100_000\n'
        '[[grid]]\nlabel = "long"\nmethod = ["ds-td3", "td3"]\nsteps = 100_000\n'
    )
    for number, point in enumerate(read_study(out / "study.toml").points):
        write_run(out, point, ramp(8000 + number * 1000), sizes=SIZES)
    _, tables = written(out)
    names = {row[1]: row[5] for row in tables["FLOPs and connections"][1:]}
    assert set(names) == {"small, hidden [64, 64]", "small, hidden [32, 32]", "long, ds-td3", "long, td3"}
    (cheetah,) = tables["Return over the last 10 evaluations"][1:]
    assert not any(
        "±" in cell and "paper" not in title
        for title, cell in zip(tables["Return over the last 10 evaluations"][0], cheetah, strict=True)
    )


def test_connections_are_those_of_a_variant_s_own_width(study):
    out, _ = study('[[grid]]\nseed = 0\n[[grid]]\nmethod = "td3"\nhidden = [64, 32]\n')
    dense, wide = read_study(out / "study.toml").points[::-1]
    write_run(out, wide, ramp(8000), sizes=SIZES)
    _, tables = written(out)
    connections = {row[1]: row[5] for row in tables["FLOPs and connections"][1:]}
    # Nobody has trained the small one yet: 17 -> 64 -> 32 -> 6, and twice 23 -> 64 -> 32 -> 1.
    assert dense.config.hidden == (64, 32)
    assert connections["td3"] == f"{17 * 64 + 64 * 32 + 32 * 6 + 2 * (23 * 64 + 64 * 32 + 32):,}"


def test_a_history_is_counted_once(study):
    out, points = study("[grid]\nseed = 0\nhistory = 3\n")
    features = 3 * (17 + 6)
    sizes = {"actor": [features, 256, 256, 6], "critic_1": [features + 6, 256, 256, 1]}
    (point,) = points.values()
    write_run(out, point, ramp(8000), sizes=sizes, history=3, observation_size=17)
    _, tables = written(out)
    assert tables["FLOPs and connections"][1][5] == f"{Workload.of(point.config, 17, 6).connections:,}"


def test_three_seeds_have_an_interval_over_tasks_and_two_have_none(study):
    out, points = study('[grid]\nmethod = ["td3", "ds-td3"]\nseed = [0, 1, 2]\nsteps = 100_000\n')
    for (_, method, seed, _), point in points.items():
        if not (method == "td3" and seed == 2):
            write_run(out, point, ramp(8000 + 500 * seed), sizes=SIZES)
    _, tables = written(out)
    middle = {row[0]: row[1] for row in tables["Over all tasks"][1:]}
    assert re.fullmatch(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", middle["ds-td3"])
    assert re.fullmatch(r"0\.\d{3}", middle["td3"])


def test_a_method_on_one_task_does_not_take_the_other_tasks_from_the_rest(study):
    out, _ = study(
        '[settings]\nsteps = 100_000\n[[grid]]\nenv = ["HalfCheetah-v4", "Hopper-v4"]\nmethod = ["td3", "ds-td3"]\n'
        '[[grid]]\nmethod = "ds-sac"\n'
    )
    for point in read_study(out / "study.toml").points:
        write_run(out, point, ramp(8000), sizes=SIZES)
    text, tables = written(out)
    assert [row[0] for row in tables["Over all tasks"][1:]] == ["td3", "ds-td3"]
    assert "Over HalfCheetah-v4, Hopper-v4 (not on all of them, not finished or not in the paper: ds-sac)." in text


def test_a_replay_that_forgot_departs_from_the_paper_s_protocol(study):
    out, points = study("[grid]\nseed = [0, 1]\n")
    for (_, _, seed, _), point in points.items():
        run = write_run(out, point, ramp(8000, 201), sizes=SIZES)
        told = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        (run / "summary.json").write_text(json.dumps({**told, "replay_transitions": 400_000 + seed * 600_000}))
    text, _ = written(out)
    assert "the replay of 1 finished runs forgot the oldest of their transitions, and held 400,000 at the least" in text


def test_the_paper_s_digits_are_as_it_prints_them(study):
    out, _ = study('[grid]\nmethod = ["sac", "ds-sac"]\n')
    _, tables = written(out)
    (cheetah,) = tables["Return over the last 10 evaluations"][1:]
    assert cheetah[1:] == ["–", "11,645.12 ± 425.585", "–", "11,084.39 ± 445.15"]


def damage_none(run):
    """The run as it was written."""


def damage_metrics(run):
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-12])  # within the last evaluation


def damage_summary(run):
    (run / "summary.json").write_text('{"finished": tr', encoding="utf-8")


def damage_summary_of_another_version(run):
    (run / "summary.json").write_text('{"finished": true, "peak": 3}', encoding="utf-8")


def damage_checkpoint(run):
    (run / "checkpoint" / "n.safetensors").write_bytes(b"\xff" * 64)


def damage_config(run):
    with (run / "config.toml").open("a", encoding="utf-8") as file:
        file.write("of_another_edgedst = 1\n")


def remove_everything(run):
    for path in run.iterdir():
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize(
    ("damage", "here", "words"),
    [
        (damage_none, "6,200.0 ± 0.0", "All 2 runs are finished"),
        (damage_metrics, "6,200.0 (1 of 2)", "seed 1: finished, but 20 of its 21 evaluations can be read from `"),
        (damage_summary, "6,200.0 (1 of 2)", "seed 1: at step 100,000 of 100,000"),
        (damage_summary_of_another_version, "6,200.0 ± 0.0", "All 2 runs are finished"),
        (damage_checkpoint, "6,200.0 ± 0.0", "All 2 runs are finished"),
        (damage_config, "6,200.0 (1 of 2)", "not counted: their settings are not this study's, or cannot be read."),
        (remove_everything, "6,200.0 (1 of 2)", "ds-td3 on HalfCheetah-v4: not started: seed 1"),
    ],
)
def test_a_damaged_run_is_told_of_and_counted_only_where_it_is_whole(damage, here, words, study):
    out, points = study("[grid]\nseed = [0, 1]\nsteps = 100_000\n")
    runs = [write_run(out, point, ramp(8000), sizes=SIZES) for point in points.values()]
    damage(runs[1])
    text, tables = written(out)
    assert tables["Return over the last 10 evaluations"][1][1] == here
    assert words in text


def test_runs_without_evaluations_are_finished_and_damaged_is_none(study):
    out, _ = study('[grid]\nmethod = ["td3", "ds-td3"]\neval_every = [5000, 0]\nsteps = 100_000\n')
    for point in read_study(out / "study.toml").points:
        write_run(out, point, ramp(8000) if point.config.eval_every else [], sizes=SIZES)
    text, tables = written(out)
    assert "**All 4 runs are finished.**" in text
    assert "can be read from" not in text
    rows = {row[1]: row[3:] for row in tables["Every run"][1:]}
    told = "finished without an evaluation (eval_every = 0)"
    assert rows["td3, eval_every 0"] == [told, "–", "–", "49.0 of 50", "0.33"]
    assert rows["td3, eval_every 5000"] == ["finished", "6,200.0", "0.0840", "49.0 of 50", "0.33"]
    head, cheetah = tables["Return over the last 10 evaluations"]
    assert cheetah[head.index("ds-td3, eval_every 0, here")] == "–"
    for section in ("Over all tasks", "Beside dense at equal steps"):  # which are of those with evaluations
        assert [row[0] for row in tables[section][1:]] == ["td3, eval_every 5000", "ds-td3, eval_every 5000"]


def test_a_run_of_other_settings_is_named_and_not_counted(study):
    out, points = study("[grid]\nsteps = 100_000\n")
    (point,) = points.values()
    run = write_run(out, point, ramp(8000), sizes=SIZES)
    config = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(config.replace("gamma = 0.99", "gamma = 0.9"), encoding="utf-8")
    text, _ = written(out)
    assert "**0 of 1 runs are finished.**" in text
    assert f"- `runs/HalfCheetah-v4/ds-td3/{run.name}`" in text


def test_a_run_made_by_hand_is_found_where_its_budget_has_a_point(study):
    out, points = study("[grid]\nbudget_mb = 50\nsteps = 100_000\n")
    (point,) = points.values()
    run = write_run(out, point, ramp(8000), sizes=SIZES)
    config = (run / "config.toml").read_text(encoding="utf-8")
    assert "budget_mb = 50\n" in config
    (run / "config.toml").write_text(config.replace("budget_mb = 50\n", "budget_mb = 50.0\n"), encoding="utf-8")
    assert "**All 1 runs are finished.**" in written(out)[0]


@pytest.mark.parametrize("name", ["index.html", "learning-curves.svg"])
def test_a_report_that_cannot_be_written_is_a_sentence(name, study):
    out, points = study("[grid]\nsteps = 100_000\n")
    write_run(out, next(iter(points.values())), ramp(8000), sizes=SIZES)
    (out / "report" / name).mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"cannot be written: Is a directory. .* with `--out`"):
        write_report(out, out / "report")


def test_the_page_needs_no_other_file_and_shows_what_the_markdown_shows(study):
    out, points = study("[grid]\nsteps = 100_000\nseed = [0, 1]\n")
    for point in points.values():
        write_run(out, point, ramp(8000), sizes=SIZES)
    paths = write_report(out, out / "report")
    assert [path.name for path in paths][:2] == ["index.html", "report.md"]
    page = paths[0].read_text(encoding="utf-8")
    sources = re.findall(r"(?:src|href)=\"([^\"]{0,30})", page)
    assert len(sources) == len(paths) - 2 > 0
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not re.search(r"https?://|@import|url\(|<script|<link", page)
    assert "color-scheme: light dark" in page
    # What is wider than a phone scrolls by itself; what is told of it does not scroll away.
    wide = re.findall(r'<div class="wide">(.*?)</div>', page, flags=re.S)
    assert len(wide) == page.count("<table") + page.count("<img")
    assert not any("caption" in part for part in wide)
    markdown = paths[1].read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\S+\.svg)\)", markdown)) == {path.name for path in paths[2:]}
    for number in ("6,200.0", "11,459.88", "1.8947", "106,169"):
        assert number in page
        assert number in markdown


def test_films_of_a_study_s_tasks_are_shown_in_the_page_and_named_in_the_markdown(study, tmp_path):
    out, _ = study('[grid]\nenv = ["Hopper-v4", "my_robot:Arm-v0"]\nseed = 0\n')
    films = out / "films"
    films.mkdir()
    for name in ("Hopper-v4.mp4", "my_robot-Arm-v0.webp", "Hopper-v4.avi", "Other-v0.gif"):
        (films / name).write_bytes(b"\0" + name.encode())
    picture = Image.new("RGB", (8, 6), "red")
    picture.save(films / "my_robot-Arm-v0.webp")
    picture.save(films / "Hopper-v4.png")
    paths = write_report(out, out / "report")
    shown = {path.name: path.read_bytes() for path in paths if path.name.startswith("film-")}
    assert shown == {
        f"film-{name}": (films / name).read_bytes()
        for name in ("Hopper-v4.mp4", "Hopper-v4.png", "my_robot-Arm-v0.webp")
    }
    markdown = paths[1].read_text(encoding="utf-8")
    assert "[An episode of Hopper-v4](film-Hopper-v4.mp4)\n\n`films/Hopper-v4.mp4`" in markdown
    assert "![An episode of Hopper-v4](film-Hopper-v4.png)" in markdown
    assert "Other-v0" not in markdown
    browser = Browser(require_tool(*NAMES), tmp_path)
    try:
        assert not [told for told in browser.show(paths[0]) if not told.startswith("fetches data:")]
        assert browser.run("[...document.images].filter(i => i.naturalWidth == 8 && i.naturalHeight == 6).length") == 2
        source = browser.run("document.querySelector('video[controls]').src")
    finally:
        browser.close()
    assert base64.b64decode(source.removeprefix("data:video/mp4;base64,")) == shown["film-Hopper-v4.mp4"]


def test_text_of_a_study_is_text_in_the_page(study):
    out, _ = study("[grid]\nseed = 0\n")
    (out / "study.toml").write_text('title = "<script>a & b"\n[grid]\nseed = 0\n', encoding="utf-8")
    write_report(out, out / "report")
    assert "<h1>&lt;script&gt;a &amp; b</h1>" in (out / "report" / "index.html").read_text(encoding="utf-8")


NASTY = [
    "</script><script>alert(1)</script>",
    "a | b || c",
    "one\ntwo\r\n\n# three",
    "$x^2 $ and $\\frac{1$",
    "`code` and **strong** and ![i](http://x/y.png) [l](javascript:x)",
    "\u202eright\u202c \u05d0\u05d1 \x1b[2J",
    "&lt; &amp; _under_ ~~gone~~ <b>",
    "_begins",
    "\ufffe\uffff forbidden in XML",
    "long " * 5_000,
]


@pytest.mark.parametrize("nasty", NASTY, ids=lambda text: text[:8])
def test_text_of_a_file_stands_in_both_pages_as_it_is(nasty, study):
    """As title, description, label, task, machine, failure and meter."""
    text = json.dumps(nasty)  # a basic string of TOML, too
    task = "".join(filter(str.isprintable, nasty[:20]))  # an environment's name has no others
    grid = f"[[grid]]\nlabel = {text}\nseed = [0, 1]\n[[grid]]\nenv = {json.dumps(task)}\n"
    out, points = study(f"description = {text}\n{grid}")
    (out / "study.toml").write_text((out / "study.toml").read_text().replace('"By hand"', text), encoding="utf-8")
    first, second, _ = points.values()
    run = write_run(out, first, ramp(8000), sizes=SIZES)
    (run / "host.json").write_text(json.dumps({"board": nasty, "cores": [nasty], "isa": nasty}), encoding="utf-8")
    lines = [json.dumps({"step": i, "evaluation_return": i, "energy_joules": i}) + "\n" for i in range(21)]
    (run / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    summary |= {"energy": {"measured": True, "source": nasty, "scope": nasty}, "exit_reason": nasty}
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    failed = out / "points" / second.name
    failed.mkdir(parents=True)
    (failed / "failed.txt").write_text(nasty, encoding="utf-8")
    markdown, tables = written(out)
    html = (out / "report" / "index.html").read_text(encoding="utf-8")
    pictures = [ElementTree.fromstring(path.read_bytes()) for path in (out / "report").glob("*.svg")]  # or it raises
    drawn = [text for picture in pictures for text in picture.itertext()]
    assert not re.search(r"<script|<b>|<img alt=\"[^\"]*\" src=\"http|javascript:x\"|[\u202e\x1b]", html)
    shown = " ".join(nasty.split()).replace("\u202e", "\ufffd").replace("\u202c", "\ufffd").replace("\x1b", "\ufffd")
    shown = shown.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
    assert html.count(escape(shown)) >= 4
    assert any(text.startswith(shown[:40]) for text in drawn)
    assert not re.search(r"(?<!\\)<[a-z/]|(?<!\\)\]\((?!\S+\.svg\))|[\u202e\x1b]", markdown)
    for title, rows in tables.items():
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in section_of(markdown, title) if line.startswith("|")}
        assert len(widths) <= 1, rows


def section_of(markdown, title):
    return markdown.partition(f"\n## {title}\n")[2].partition("\n## ")[0].splitlines()


UNREADABLE = [
    *('{"step": 1, "evaluation_return": ', "[" * 99_999, "\0", '{"evaluation_return": ' + "9" * 5_000 + "}", "[]"),
    *('{"step": -5, "evaluation_return": 1}', '{"step": 1e3, "evaluation_return": 1}', '{"evaluation_return": 1}'),
    '{"step": ' + "9" * 400 + ', "evaluation_return": 1}',
    *(f'{{"step": 5, "evaluation_return": {n}}}' for n in ("NaN", "-Infinity", "1e999", "1e300", "null", '""')),
]


def test_lines_that_cannot_be_read_are_counted_and_end_nothing(study):
    out, points = study("[grid]\nseed = [0, 1]\nsteps = 100_000\n")
    first, *_ = [write_run(out, point, ramp(8000), sizes=SIZES) for point in points.values()]
    with (first / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n".join([*UNREADABLE, '{"step": 1, "evalu']))
    text, tables = written(out)
    assert "All 2 runs are finished" in text
    assert f"- `{first}/metrics.jsonl`: {len(UNREADABLE)} lines" in section_of(text, "What cannot be read")
    assert tables["Return over the last 10 evaluations"][1][1] == "6,200.0 ± 0.0"


@pytest.mark.parametrize("value", [None, "x", [], {}, True, -1, 1e300, 10**400, float("nan"), float("-inf")])
def test_a_summary_a_host_and_a_checkpoint_of_any_values_are_reported(value, study):
    out, points = study("[grid]\nseed = [0, 1]\nsteps = 100_000\n")
    runs = [write_run(out, point, ramp(8000), sizes=SIZES) for point in points.values()]
    names = ("exit_reason", "step", "R", "seconds", "peak_rss_bytes", "budget_bytes", "steps_per_second", "evaluations")
    for path in (runs[0] / "summary.json", runs[0] / "host.json"):
        told = dict.fromkeys((*names, "memory_bytes", "cores", "board", "replay_transitions", "energy"), value)
        path.write_text(json.dumps({**told, "finished": True}), encoding="utf-8")
    write_run(out / "odd", next(iter(points.values())), ramp(8000), sizes={"actor": value, "critic_1": [value, 1]})
    (runs[1] / "checkpoint" / "state.json").write_text(json.dumps({"networks": {"file": value}}), encoding="utf-8")
    text, _ = written(out)
    assert "## Every run" in text


def test_pictures_that_a_new_report_has_not_go_with_the_earlier_one(study, tmp_path):
    out, points = study('description = "![a](of_text.svg)"\n[grid]\nsteps = 100_000\n')
    write_run(out, next(iter(points.values())), ramp(8000), sizes=SIZES)
    log = tmp_path / "progress.csv"
    log.write_text("time/total_timesteps,rollout/ep_rew_mean,time/time_elapsed\n1,1,1\n99,2,60\n", encoding="utf-8")
    film = out / "films" / "HalfCheetah-v4.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film")
    paths = write_report(out, out / "report", [f"SB3={log}"])
    gone = {"seconds.svg", "film-HalfCheetah-v4.mp4"}
    assert gone < {path.name for path in paths}
    mine = {"of_text.svg", "mine.svg", "film-mine.mp4"}
    for name in mine:
        (out / "report" / name).touch()
    film.unlink()
    paths = write_report(out, out / "report")
    assert {path.name for path in (out / "report").iterdir()} == {path.name for path in paths} | mine
    assert not gone & {path.name for path in paths}
    (out / "report" / "report.md").write_text("![of somebody else](mine.svg)\n", encoding="utf-8")
    write_report(out, out / "report")
    assert (out / "report" / "mine.svg").exists()


def test_a_report_is_replaced_whole_or_not_at_all(study):
    out, points = study("[grid]\nsteps = 100_000\n")
    write_run(out, next(iter(points.values())), ramp(8000), sizes=SIZES)
    paths = write_report(out, out / "report")
    before = {path: path.read_bytes() for path in paths}
    paths[-1].unlink()
    paths[-1].mkdir()
    (paths[-1] / "in the way").touch()
    (out / "study.toml").write_text('title = "Another"\n[grid]\nsteps = 100_000\n', encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"cannot be written"):
        write_report(out, out / "report")
    assert {path: path.read_bytes() for path in paths[:-1]} == {path: before[path] for path in paths[:-1]}
    assert sorted(path.name for path in (out / "report").iterdir()) == sorted(path.name for path in paths)


def test_a_folder_that_is_no_study_is_a_sentence(tmp_path):
    with pytest.raises(StudyError, match=r"is no study's folder: expected `.*study\.toml`"):
        write_report(tmp_path, tmp_path / "report")


def test_the_command_writes_the_report_and_names_its_files(study):
    out, points = study("[grid]\nsteps = 100_000\n")
    write_run(out, next(iter(points.values())), ramp(8000), sizes=SIZES)
    command = [sys.executable, "-m", "edgedst.cli.main", "study", "report", str(out), "--out", str(out / "page")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == str(out / "page" / "index.html")


def test_a_run_s_peak_is_the_largest_of_all_its_processes(study):
    out, points = study('[[grid]]\nenv = "Hopper-v4"\nmethod = "td3"\nseed = [0, 1]')
    runs = [write_run(out, point, [1.0, 2.0], sizes=HOPPER) for point in points.values()]
    metrics = runs[0] / "metrics.jsonl"  # its first process took more than the one that went on and wrote the summary
    first, second = metrics.read_text(encoding="utf-8").splitlines()
    first = json.dumps({**json.loads(first), "peak_rss_bytes": 49_600_000})
    metrics.write_text(f"{first}\n{second}\n", encoding="utf-8")
    _, tables = written(out)
    peaks = [row[6] for row in tables["Every run"] if row[0] == "Hopper-v4"]
    assert peaks == ["49.6 of 50", "49.0 of 50"]
