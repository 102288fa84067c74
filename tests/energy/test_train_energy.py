"""`edgedst train --energy`: whole processes, their sensors in a folder."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from power_tree import board, ina3221
from saved_runs import recommit
from training import modules, run_in

from edgedst import boards
from edgedst.config import TrainConfig
from edgedst.energy import sources
from edgedst.errors import ConfigError
from edgedst.launch import job as launch

SMALL = {"steps": 600, "hidden": (32,), "start_steps": 200, "eval_every": 300, "eval_episodes": 1, "evolve_every": 100}
SMALL["replay_rows"] = 5000
OPTIONS = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", f"{value}".strip("(,)"))]


def edgedst(folder, *arguments, code=0):
    command = [sys.executable, "-m", "edgedst.cli.main", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def read(run, name="summary.json"):
    return json.loads((run / name).read_text(encoding="utf-8"))


def evaluations(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "evaluation_return" in line]


def weights(run):
    (networks,) = (run / "checkpoint").glob("networks-*.safetensors")
    return networks.read_bytes()


@pytest.fixture(scope="module")
def metered(tmp_path_factory):
    """The same short run without a meter and with a Jetson's: (run, run, what the second printed)."""
    folder = tmp_path_factory.mktemp("metered")
    ina3221(folder, 3, [("VDD_IN", (5000, 1000))])
    spec = sources.choose("ina3221", board(("ina3221", "module input", "VDD_IN")), folder)
    runs, out = [], ""
    # Seldom, so that however busy this host is no two samples are so far apart that they have a gap between them.
    for energy in (None, {**spec, "sample_hz": 0.2}):
        where = folder / ("without" if energy is None else "with")
        where.mkdir()
        config = TrainConfig(**SMALL, budget_mb=30.0).resolved()
        job = {**launch.job_for(config, run_dir="runs"), "energy": energy}
        arguments, variables = launch.command(job)
        variables["EDGEDST_MODULES"] = str(where / "modules.json")
        done = subprocess.run(arguments, cwd=where, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        runs.append(run_in(where))
        out = done.stdout
    return *runs, out


def test_metering_does_not_change_a_bit_of_the_run(metered):
    without, with_meter, _ = metered
    assert weights(with_meter) == weights(without)
    returns = [[line["evaluation_return"] for line in evaluations(run)] for run in (without, with_meter)]
    assert returns[0] == returns[1]


def test_joules_grow_along_the_run_and_are_in_metrics_checkpoint_and_summary(metered):
    _, run, out = metered
    joules = [line["energy_joules"] for line in evaluations(run)]
    assert len(joules) == 3
    told = read(run)["energy"]
    in_checkpoint = read(run, "checkpoint/state.json")["energy"]
    assert 0 < joules[0] < joules[1] < joules[2] <= in_checkpoint["joules"] <= told["joules"]
    assert all(line["energy_gap_seconds"] >= 0 for line in evaluations(run))
    about = {name: told[name] for name in ("source", "scope", "measured", "sample_hz")}
    assert about == {"source": "ina3221", "scope": "module input", "measured": True, "sample_hz": 0.2}
    assert 0 < told["samples"] < told["meter_reads"]  # one was taken before the plan, so that its memory is planned
    assert out.count("energy: measured by ina3221 (module input): VDD_IN in ") == 1
    assert "Energy: " in out


def test_the_meter_is_a_line_of_the_ledger_and_stays_within_the_budget(metered):
    without, run, _ = metered
    lines = {line["name"]: line["bytes"] for line in read(run, "plan.json")["lines"]}
    assert 0 < lines["energy meter"] < 1_000_000
    assert "energy meter" not in {line["name"] for line in read(without, "plan.json")["lines"]}
    assert read(run)["peak_rss_bytes"] <= 30_000_000
    assert sum(lines.values()) == read(run, "plan.json")["planned_bytes"] <= 30_000_000


def test_a_run_without_a_meter_loads_nothing_of_it(metered):
    without, run, _ = metered
    assert read(without)["energy"] is None
    usual, metered = (modules(folder.parents[3]) for folder in (without, run))
    assert not [name for name in usual if name.startswith("edgedst.energy")]
    added = metered - usual
    assert {name for name in added if not name.startswith("edgedst.energy")} <= {"_collections", "_thread"}
    boot = (
        "import sys; from edgedst.cli import quick; from edgedst.launch import job as launch; "
        "from edgedst.config import TrainConfig; "
        "launch.job_for(TrainConfig().resolved()); print([m for m in sys.modules if m.startswith('edgedst.energy')])"
    )
    assert subprocess.run([sys.executable, "-c", boot], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.fixture
def logger(tmp_path):
    """An external meter's logger that writes twenty lines a second, until the test is over.

    Its first lines are further apart: they tell how often it samples, and so from when on a busy host has a gap.
    """
    path = tmp_path / "meter.csv"
    lines = "".join(f"{time.time() - ago},4\n" for ago in (20, 10))
    path.write_text("time,watts (wall)\n" + lines, encoding="ascii")
    loop = f"import time\nwhile True:\n open({str(path)!r}, 'a').write(f'{{time.time()}},4\\n'); time.sleep(0.05)"
    process = subprocess.Popen([sys.executable, "-c", loop])
    yield path
    process.kill()
    process.wait()


def go_on(run, steps):
    """Make a finished run one that has steps left to do."""
    text = (run / "config.toml").read_text(encoding="utf-8")
    before = next(line for line in text.splitlines() if line.startswith("steps = "))
    recommit(run, text.replace(before, f"steps = {steps}"))


def test_a_resumed_run_adds_to_the_joules_of_the_processes_before_it(tmp_path, logger):
    edgedst(tmp_path, "train", *OPTIONS, "--energy", f"csv:{logger.name}")
    run = run_in(tmp_path)
    assert f'energy = "csv:{logger}"' in (run / "config.toml").read_text(encoding="utf-8")
    first = read(run)["energy"]
    at_end = read(run, "checkpoint/state.json")["energy"]["joules"]
    go_on(run, 900)
    (tmp_path / "elsewhere").mkdir()
    out, _ = edgedst(tmp_path / "elsewhere", "train", "--resume", str(run))
    told = read(run)["energy"]
    assert "energy: measured by csv (wall)" in out
    assert evaluations(run)[-1]["step"] == 900
    assert evaluations(run)[-1]["energy_joules"] > at_end > 0
    assert told["meter_reads"] > first["meter_reads"]
    # Another source from here on: joules of two kinds are no sum.
    go_on(run, 1200)
    out, _ = edgedst(tmp_path, "train", "--resume", str(run), "--energy", "none")
    assert "energy" not in out
    assert read(run)["energy"] is None
    assert "energy_joules" not in evaluations(run)[-1]
    go_on(run, 1500)
    out, _ = edgedst(tmp_path, "train", "--resume", str(run))
    assert "earlier steps of this run were not metered" in out
    assert evaluations(run)[-1]["energy_joules"] is None


def test_the_plan_has_the_meter_in_it(tmp_path, logger):
    plan = json.loads(edgedst(tmp_path, "plan", "--json", "--energy", f"csv:{logger}")[0])
    assert "energy meter" in {line["name"] for line in plan["lines"]}


def test_a_source_that_cannot_be_read_is_one_sentence_and_leaves_nothing_behind(tmp_path):
    _, err = edgedst(tmp_path, "train", "--energy", "csv:nowhere.csv", code=1)
    assert err.startswith(
        f"EnergyUnavailable: The meter's file `{tmp_path / 'nowhere.csv'}` cannot be read: No such file"
    )
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_auto_on_a_host_with_nothing_says_aloud_that_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(sources, "find", lambda *_: [])
    job = launch.job_for(TrainConfig(energy="auto").resolved())
    assert job["energy"] is None
    assert "energy: not measured: " in job["note"]


def test_the_board_that_the_user_names_gives_the_model_where_this_machine_hides_its_own():
    named = boards.load("raspberry-pi-3b-plus")
    job = launch.job_for(TrainConfig(energy="model").resolved(), board=named)
    assert named.model is not None
    assert job["energy"]["idle_watts"] == named.model.idle_watts


def test_a_source_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"`energy` must be one of none, auto, rapl, .*Did you mean `rapl`"):
        TrainConfig(energy="rapi")
    for wanted in ("csv:/meter.csv", "hwmon:ina226", "auto"):
        assert TrainConfig(energy=wanted).energy == wanted
    assert TrainConfig(energy="csv:meter.csv").energy == f"csv:{Path.cwd() / 'meter.csv'}"
    with pytest.raises(ConfigError, match="csv:FILE"):
        TrainConfig(energy="csv:")
