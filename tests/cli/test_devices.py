import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from edgedst import boards, core
from edgedst.boards import Fact
from edgedst.cli import verbs
from edgedst.cli.devices import _ram
from edgedst.energy import sources
from edgedst.energy.sources import Found

NARROW = {"COLUMNS": "80"}


def devices(*arguments):
    result = CliRunner().invoke(verbs.app, ["devices", *arguments], env=NARROW)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def power(monkeypatch):
    """Sets which sources are found, and records for which board they were looked for."""
    told = SimpleNamespace(asked=[], found=[])
    monkeypatch.setattr(sources, "find", lambda board: (told.asked.append(board.name), list(told.found))[1])
    return told


@pytest.mark.parametrize("name", boards.names())
def test_the_list_has_every_board_with_what_it_trains_with(name):
    lines = devices().splitlines()
    (row,) = [number for number, line in enumerate(lines) if line.startswith(f"{name} ")]
    board = boards.load(name)
    cells = lines[row].split()
    assert lines[row + 1].strip() == board.title
    assert cells[-5:-3] == [f"{board.train.budget_mb:g}", "MB"]
    assert cells[-3] == str(board.train.threads)
    assert cells[-1] == ("yes" if board.run_by_us else "no")


def test_the_list_tells_memory_kernels_and_power():
    rows = {line.split()[0]: line for line in devices().splitlines()[1:] if not line.startswith(" ") and line}
    assert "1 to 16 GiB   neon  100 MB" in rows["raspberry-pi-5"]
    assert "512 MiB       neon  50 MB" in rows["raspberry-pi-zero-2w"]
    assert "any           best  50 MB" in rows["generic-x86-64"]
    powers = {name: line.split()[-2] for name, line in rows.items() if name in boards.names()}
    assert (powers["jetson-orin-nx"], powers["raspberry-pi-4"], powers["raspberry-pi-zero-2w"]) == (
        "ina3221",
        "model",
        "none",
    )


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((2**29,), "512 MiB"),
        ((2**28, 2**29), "256 to 512 MiB"),
        ((2**29, 2**30), "0.5 to 1 GiB"),
        ((2**32,), "4 GiB"),
    ],
)
def test_memory_is_told_with_both_its_ends(sizes, told):
    assert _ram(Fact(sizes, "sheet", checked=True)) == told


def test_the_list_fits_eighty_columns():
    assert max(len(line) for line in devices().splitlines()) <= 80


@pytest.mark.parametrize("name", boards.names())
def test_one_board_shows_every_fact_with_its_source(name):
    told, board = devices(name), boards.load(name)
    whole = " ".join(told.split())
    for key, fact in board.facts.items():
        assert f"{key} = " in whole
        assert " ".join(fact.note.split()) in whole
        (number,) = [line.split("]")[0].strip(" [") for line in told.splitlines() if line.endswith(f"] {fact.source}")]
        line = whole.split(f"{key} = ")[1]
        assert line.split("[")[1].split("]")[0] == number + ("" if fact.checked else ", not checked")
    assert " ".join(board.train.reason.split()) in whole
    assert str(board.bringup) in whole
    assert ("Not yet run on a board by us." in told) == (not board.run_by_us)
    # An address stays whole, so that it can be opened.
    assert all(len(line) <= 80 or "://" in line or "/" in line.split()[-1] for line in told.splitlines())


def test_one_board_shows_its_sensor_and_its_model():
    assert "ina3221: VDD_IN (module input)" in devices("jetson-orin-nano")
    assert "pi5-pmic: all its rails (sum of rails)" in devices("raspberry-pi-5")
    told = " ".join(devices("raspberry-pi-4").split())
    assert "no sensor of its own model: 3.1 W + 0.75 W a busy core (board input); no measurement" in told


def test_json_of_the_list_is_json_of_every_board():
    every = json.loads(devices("--json"))["devices"]
    assert [each["name"] for each in every] == boards.names()
    for each in every:
        assert each == json.loads(devices(each["name"], "--json"))
    pi = every[boards.names().index("raspberry-pi-4")]
    fact = boards.load("raspberry-pi-4").facts["idle_watts"]
    assert pi["facts"]["idle_watts"] == {"value": 3.1, "source": fact.source, "checked": True, "note": fact.note}
    assert pi["power"] is None
    assert pi["power_model"]["core_watts"] == 0.75
    assert pi["train"]["isa"] == "neon"


def test_an_unknown_board_is_told_in_one_sentence():
    result = CliRunner().invoke(verbs.app, ["devices", "raspberry-pi-6"])
    assert type(result.exception).__name__ == "UnknownDevice"
    both = CliRunner().invoke(verbs.app, ["devices", "raspberry-pi-5", "--here"])
    assert "leave `raspberry-pi-5` out" in str(both.exception)


def test_here_says_which_board_this_is_and_what_it_has(power):
    here = devices("--here")
    found = boards.detect()
    assert here.startswith(f"{found.board.name}: {found.board.title}\n")
    assert found.why in " ".join(here.split())
    assert f"{core.isa()} (this CPU has {', '.join(core.isas)})" in here
    assert "cores online" in here
    assert "pages of " in here
    assert power.asked == [found.board.name]


def test_here_says_what_would_make_a_power_source_readable(power):
    rapl = ("/sys/class/powercap/intel-rapl:0: Permission denied", "A udev rule that opens it to a group.")
    power.found += [
        Found("hwmon", "board input", True, "power1_input of ina226", "", {"source": "hwmon"}),
        Found("rapl", "CPU package", False, *rapl, None),
    ]
    told = " ".join(devices("--here").split())
    assert "hwmon (board input): readable power1_input of ina226 rapl (CPU package): not readable" in told
    assert told.endswith(f"{rapl[0]} What helps: {rapl[1]}")


def test_here_without_any_power_source_says_not_measured(power):
    assert 'None found: energy is "not measured" here' in devices("--here")


def test_here_as_json_has_null_for_what_is_not_there(power):
    power.found.append(Found("model", "board input", True, "3.1 W and 0.75 W a core", "", {"source": "model"}))
    here = json.loads(devices("--here", "--json"))
    assert here["board"] == boards.detect().board.name
    assert (here["isa"], here["isas"]) == (core.isa(), list(core.isas))
    assert here["device_tree"] is None or isinstance(here["device_tree"], str)
    (source,) = here["power"]
    assert source == {
        "name": "model",
        "scope": "board input",
        "readable": True,
        "detail": "3.1 W and 0.75 W a core",
        "remedy": "",
    }
