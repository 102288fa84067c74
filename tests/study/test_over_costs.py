import json

import pytest
from study_folder import write_run

from edgedst.study import figures
from edgedst.study.grid import read_study
from edgedst.study.over_costs import cost_sections
from edgedst.study.report import write_report
from edgedst.study.results import Results

GRID = 'title = "By hand"\n[grid]\nenv = "Hopper-v4"\nmethod = ["td3", "ds-td3"]\nseed = [0, 1]\nsteps = 10_000\n'


@pytest.fixture
def study(tmp_path):
    """A study whose runs were metered by hand: `metered(method, seed, joules, ...)`, returns 0, 100, 200."""
    out = tmp_path / "study"
    out.mkdir()
    (out / "study.toml").write_text(GRID, encoding="utf-8")
    points = {(p.config.method, p.config.seed): p for p in read_study(out / "study.toml").points}

    def metered(method, seed, joules, source="rapl", scope="CPU package", measured=True):
        run = write_run(out, points[method, seed], [0, 100, 200])
        lines = [{"step": 5000 * i, "evaluation_return": 100 * i, "energy_joules": j} for i, j in enumerate(joules)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (run / "metrics.jsonl").write_text(text + '{"step": 10001, "energy_joules', encoding="utf-8")
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        summary["energy"] = {"source": source, "scope": scope, "measured": measured, "joules": joules[-1]}
        (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

    return out, metered


def drawn(out, monkeypatch):
    """Panels by picture, as they are handed to be drawn."""
    monkeypatch.setattr(figures, "draw_curves", lambda panels, across_label: panels)
    blocks, pictures = cost_sections(Results(read_study(out / "study.toml"), out), {})
    assert len(blocks) == (len(pictures) + 1 if pictures else 0)
    return pictures


def test_returns_are_averaged_over_seeds_at_equal_joules(study, monkeypatch):
    out, metered = study
    metered("td3", 0, [0, 100, 200])
    metered("td3", 1, [0, 50, 100])  # twice as fast
    ((task, (curve,)),) = drawn(out, monkeypatch)["energy-rapl-CPU-package.svg"]
    assert (task, curve.name) == ("Hopper-v4", "td3")
    slow, fast = (dict(seed) for seed in curve.seeds)
    assert slow[100] == pytest.approx(100)
    assert fast[100] == pytest.approx(200)
    assert max(slow) == max(fast) == 100  # no mean goes further than one of its seeds


def test_seeds_without_a_cost_in_common_have_no_mean(study, monkeypatch):
    out, metered = study
    metered("td3", 0, [0, 10, 20])
    metered("td3", 1, [30, 40, 50])
    assert drawn(out, monkeypatch) == {}
    metered("ds-td3", 0, [0, 10, 20])
    ((_, (curve,)),) = drawn(out, monkeypatch)["energy-rapl-CPU-package.svg"]
    assert curve.name == "ds-td3"


def test_joules_of_two_sources_or_scopes_never_share_a_picture(study, monkeypatch):
    out, metered = study
    metered("td3", 0, [0, 10, 20])
    metered("td3", 1, [0, 10, 20], scope="wall", source="csv")
    metered("ds-td3", 0, [0, 10, 20], scope="board input", source="csv")
    metered("ds-td3", 1, [0, 10, 20], source="model", measured=False)
    pictures = drawn(out, monkeypatch)
    names = {"energy-rapl-CPU-package.svg", "energy-csv-wall.svg", "energy-csv-board-input.svg"}
    assert set(pictures) == names  # and what a model says is in none
    assert all(sum(len(curve.seeds) for _, panel in panels for curve in panel) == 1 for panels in pictures.values())


def test_returns_over_flops_and_seconds_where_the_variants_differ_in_cost(study, monkeypatch):
    out, _ = study
    sizes = {"actor": [11, 256, 256, 3], "critic_1": [14, 256, 256, 1]}
    for point in read_study(out / "study.toml").points:
        run = write_run(out, point, [0, 100, 200], sizes=sizes)
        slow = 1 if point.config.method == "td3" else 0.5
        lines = [{"step": 5000 * i, "evaluation_return": 100 * i, "seconds": 10 * i * slow} for i in range(3)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    pictures = drawn(out, monkeypatch)
    assert set(pictures) == {"flops.svg", "seconds.svg"}
    connections = {"td3": 11 * 256 + 256**2 + 256 * 3, "critics": 2 * (14 * 256 + 256**2 + 256)}
    per_step = 100 * (6 * connections["critics"] + 3 * connections["td3"])
    ((_, (dense, sparse)),) = pictures["flops.svg"]
    assert [curve.name for curve in (dense, sparse)] == ["td3", "ds-td3"]
    assert dense.seeds[0][-1] == pytest.approx((10_000 * per_step / 1e9, 200))
    assert sparse.seeds[0][-1][0] == pytest.approx(0.5 * dense.seeds[0][-1][0], rel=0.05)
    ((_, (dense, sparse)),) = pictures["seconds.svg"]
    assert dense.seeds[0][-1] == (20, 200)
    assert sparse.seeds[0][-1] == (10, 200)


def test_variants_of_one_cost_have_no_curves_over_it(tmp_path, monkeypatch):
    grid = 'title = "T"\n[grid]\nenv = "Hopper-v4"\nmethod = "td3"\ntau = [0.005, 0.01]\nsteps = 10_000\n'
    (tmp_path / "study.toml").write_text(grid, encoding="utf-8")
    for point in read_study(tmp_path / "study.toml").points:
        write_run(tmp_path, point, [0, 100, 200], sizes={"actor": [11, 256, 256, 3], "critic_1": [14, 256, 256, 1]})
    assert drawn(tmp_path, monkeypatch) == {}


def test_a_run_whose_joules_are_not_known_is_left_out(study, monkeypatch):
    out, metered = study
    metered("td3", 0, [None, None, None])
    assert drawn(out, monkeypatch) == {}


def test_a_report_has_the_section_only_where_energy_was_measured(study):
    out, metered = study
    write_report(out, out / "report")
    assert "over joules" not in (out / "report" / "report.md").read_text(encoding="utf-8")
    metered("td3", 0, [0, 10, 20])
    assert out / "report" / "energy-rapl-CPU-package.svg" in write_report(out, out / "report")
    assert "measured by rapl (CPU package)" in (out / "report" / "report.md").read_text(encoding="utf-8")
