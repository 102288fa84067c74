import os
import re
from types import SimpleNamespace

import pytest
from board_trees import PI_3B_PLUS, STRANGERS, TREES, ZERO_2W, lay_out

from edgedst import boards, parse
from edgedst.errors import BoardFileError, UnknownDevice

GENERIC_OF = {"x86_64": "generic-x86-64", "aarch64": "generic-aarch64", "riscv64": "generic"}
# The last lines of a Raspberry Pi's /proc/cpuinfo; `Hardware` is wrong on purpose, and a container sees all of it.
CPUINFO = "processor\t: 0\nCPU part\t: 0xd03\n\nHardware\t: BCM2835\nRevision\t: 902120\nModel\t\t: {}\n"
KERNEL_PATHS = {"scalar", "sse2", "avx2", "avx512", "neon", "generic"}  # the names in edgedst/csrc/kernels/isa.cpp
UNITS = {"bytes", "hz", "watts", "amperes", "celsius", "second"}
SCOPES = ("wall", "board input", "module input", "sum of rails", "CPU package")
SECTIONS = ("Image", "Packages", "First run", "Memory", "Power and heat", "Energy", "Storage")
TABLES = {
    "": {"title", "run_by_us", "recognise", "train", "power", "sources", "facts"},
    "recognise": {"model", "compatible", "machine"},
    "train": {"budget_mb", "threads", "isa", "reason"},
    "power": {"source", "scope", "rails", "reference", "checked", "note", "model"},
    "power.model": {"idle_watts", "core_watts", "scope", "reference", "checked", "note"},
    "fact": {"value", "source", "checked", "note"},
}


@pytest.fixture
def machine(monkeypatch):
    """Sets what os.uname() says that the machine is."""
    return lambda kind: monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=kind))


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """An empty folder of boards, and a function that puts one into it."""
    monkeypatch.setattr(boards, "devices_folder", lambda: tmp_path)

    def add(name, text):
        (tmp_path / name).mkdir()
        (tmp_path / name / "board.toml").write_text(text, encoding="utf-8")

    return add


def board_toml(recognise="", train='budget_mb = 50\nthreads = 1\nreason = "a test"', rest=""):
    return f'title = "A board"\nrun_by_us = false\n[recognise]\n{recognise}\n[train]\n{train}\n{rest}'


@pytest.mark.parametrize(("name", "model", "compatible"), [(n, m, c) for n, m, *c in TREES])
def test_a_device_tree_names_its_board_and_why(tmp_path, name, model, compatible):
    found = boards.detect(lay_out(tmp_path, model, compatible))
    assert found.board.name == name
    assert re.fullmatch(r"/proc/device-tree/compatible has `([^`\0]+)`\.", found.why)[1] in compatible


@pytest.mark.parametrize(("name", "model"), [(name, model) for name, model, *_ in TREES if model != "A carrier board"])
def test_the_model_alone_names_the_board_too(tmp_path, name, model):
    found = boards.detect(lay_out(tmp_path, model))
    assert (found.board.name, found.why) == (name, f"/proc/device-tree/model is `{model}`.")


@pytest.mark.parametrize(("name", "model", "compatible"), [("", m, c) for m, *c in STRANGERS])
def test_a_board_like_one_of_ours_is_not_taken_for_it(tmp_path, name, model, compatible, machine):
    machine("aarch64")
    found = boards.detect(lay_out(tmp_path, model, compatible))
    assert found.board.name == "generic-aarch64"
    assert found.why == f"No folder of devices/ knows `{model}`; the machine is aarch64."


@pytest.mark.parametrize(("name", "model", "compatible"), [(n, m, c) for n, m, *c in TREES])
def test_no_rule_of_another_board_holds_for_a_sample(name, model, compatible):
    for other in map(boards.load, boards.names()):
        rules = {rule for rule in other.models if rule in model}
        rules |= {rule for rule in other.compatibles if rule in "\n".join(compatible)}
        assert other.name == name or not rules, f"{other.name} has {rules}"


def test_a_module_number_counts_more_than_the_name_of_its_kit(tmp_path):
    found = boards.detect(lay_out(tmp_path, "NVIDIA Orin Nano Developer Kit", ["nvidia,p3768-0000+p3767-0001"]))
    assert found.board.name == "jetson-orin-nx"


def test_the_longer_of_two_rules_is_the_more_specific_one(tmp_path, devices):
    devices("a-family", board_toml('compatible = ["maker,model-b"]'))
    devices("b-plus", board_toml('compatible = ["maker,model-b-plus"]'))
    devices("c-family", board_toml('compatible = ["maker,model"]'))
    assert boards.detect(lay_out(tmp_path / "plus", "", ["maker,model-b-plus"])).board.name == "b-plus"
    assert boards.detect(lay_out(tmp_path / "b", "", ["maker,model-b"])).board.name == "a-family"


@pytest.mark.parametrize(
    ("name", "model"), [("raspberry-pi-zero-2w", ZERO_2W[0]), ("raspberry-pi-3b-plus", PI_3B_PLUS[0])]
)
def test_in_a_container_cpuinfo_names_a_raspberry_pi(tmp_path, name, model):
    found = boards.detect(lay_out(tmp_path, cpuinfo=CPUINFO.format(model)))
    assert found.board.name == name
    assert found.why == f"/proc/cpuinfo names `{model}`; there is no device tree to read, as in a container."


@pytest.mark.parametrize(("kind", "name"), GENERIC_OF.items())
def test_without_a_device_tree_the_kind_of_machine_decides(tmp_path, kind, name, machine):
    machine(kind)
    found = boards.detect(lay_out(tmp_path, cpuinfo="processor\t: 0\nmodel name\t: A CPU\n"))
    assert found.board.name == name
    assert found.why.startswith("There is no device tree to read")
    assert kind in found.why


def test_a_board_tells_its_power_sensor_and_its_model(devices):
    sensor = 'source = "ina3221"\nscope = "module input"\nrails = ["VDD_IN"]\nreference = "sheet"\nchecked = true'
    model = 'idle_watts = 3\ncore_watts = 0.75\nscope = "board input"\nreference = "sheet"\nchecked = false\nnote = "n"'
    sheet = '[sources]\nsheet = "https://example.org/sheet"'
    devices("both", board_toml(rest=f"[power]\n{sensor}\n[power.model]\n{model}\n{sheet}"))
    devices("model", board_toml(rest=f"[power.model]\n{model}\n{sheet}"))
    both, only = boards.load("both"), boards.load("model")
    assert both.power == boards.PowerSensor("ina3221", "module input", ("VDD_IN",), "https://example.org/sheet", True)
    assert both.model == only.model == boards.PowerModel(3.0, 0.75, "board input", both.power.reference, False, "n")
    assert only.power is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pi5", "`raspberry-pi-5`"),
        ("Raspberry Pi 4", "`raspberry-pi-4`"),
        ("zero2w", "`raspberry-pi-zero-2w`"),
        ("orin", "`jetson-agx-orin` or `jetson-orin-nano` or `jetson-orin-nx`"),
    ],
)
def test_a_shortened_name_gets_those_that_it_can_stand_for(name, told):
    with pytest.raises(UnknownDevice, match=rf"Did you mean {told}\?"):
        boards.load(name)


def test_an_unknown_device_gets_a_near_name():
    sentence = rf"no device `raspbery-pi4` .*Did you mean `raspberry-pi-4`\? .* lists all {len(boards.names())}\."
    with pytest.raises(UnknownDevice, match=sentence):
        boards.load("raspbery-pi4")
    with pytest.raises(LookupError, match=r"no device `\.\./runs` in devices/\. `edgedst devices` lists"):
        boards.load("../runs")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = ", "is not TOML: "),
        ('title = "A"\nrun_by_us = false\n', r"expected a table \[recognise\] before \[sources\]\."),
        (board_toml(train='threads = 1\nreason = ""'), r"\[train\] has no `budget_mb`\."),
        (
            board_toml(train='budget_mb = 50\nthreads = true\nreason = ""'),
            "`threads` .* must be a whole number above 0 and is True",
        ),
        (board_toml(train='budget_mb = 50\nthreads = 0\nreason = ""'), "`threads` .* above 0 and is 0"),
        (board_toml(train='budget_mb = -5\nthreads = 1\nreason = ""'), "`budget_mb` .* above 0 and is -5"),
        (board_toml(rest='[power]\nsource = "ina3212"'), r"`source` of \[power\] must be one of ina3221, .* 'ina3212'"),
        (board_toml(recognise='model = "A Pi"'), r"`model` of \[recognise\] must be a list and is 'A Pi'"),
        (board_toml(recognise='model = [""]'), r"`model` of \[recognise\] must be a list of texts"),
        (
            board_toml(rest='[facts.cores]\nvalue = 4\nsource = "hearsay"\nchecked = false'),
            r"\[facts\.cores\] names the source `hearsay`, which is not in \[sources\]\.",
        ),
        (board_toml(rest="[facts.cores]\nvalue = 4\nchecked = true"), r"\[facts\.cores\] has no `source`"),
        (board_toml(rest="[[power]]"), r"expected a table \[power\]"),
        ('facts = "many"\n' + board_toml(), r"expected a table \[facts\]"),
        ("sources = [3]\n" + board_toml(), r"expected a table \[sources\]"),
        (board_toml(train='budget_mb = inf\nthreads = 1\nreason = ""'), "`budget_mb` .* must be a finite number"),
        (board_toml(rest="[facts.ram_bytes]\nvalue = [[1]]"), r"`value` .* a list of whole numbers and is \[\[1\]\]"),
        ("a = " + "[" * 9_999, "is not TOML: .* nested too deeply"),
        (board_toml(rest='[power]\nsource = "ina3221"'), r"\[power\] has no `scope`"),
    ],
)
def test_a_wrong_board_file_is_one_sentence(devices, text, words):
    devices("wrong", text)
    with pytest.raises(BoardFileError, match=rf"wrong/board\.toml`:? ?{words}.*devices/README\.md"):
        boards.load("wrong")


def test_a_board_file_that_is_no_file_is_one_sentence(devices, tmp_path):
    (tmp_path / "wrong" / "board.toml").mkdir(parents=True)
    with pytest.raises(BoardFileError, match=r"wrong/board\.toml` cannot be read: it is a folder\."):
        boards.load("wrong")


def test_facts_of_other_boards_are_not_read_to_know_this_one(tmp_path, devices):
    devices("mine", board_toml('compatible = ["maker,mine"]'))
    devices("other", board_toml('compatible = ["maker,other"]', rest='[sources]\na = "b"\n[facts.cores]\nvalue = 4'))
    assert boards.detect(lay_out(tmp_path / "root", "", ["maker,mine"])).board.name == "mine"


# What follows holds for every folder of devices/: a new board is tested without a new test.


def raw(name):
    return parse.toml(parse.read(boards.devices_folder() / name / "board.toml"))


@pytest.mark.parametrize("name", boards.names())
def test_a_board_file_has_no_key_that_nobody_reads(name):
    data = raw(name)
    power = data.get("power", {})
    tables = {"": data, "recognise": data["recognise"], "train": data["train"], "power": power}
    tables["power.model"] = power.get("model", {})
    for table, content in tables.items():
        assert set(content) <= TABLES[table], table
    for key, fact in data.get("facts", {}).items():
        assert set(fact) <= TABLES["fact"], key


@pytest.mark.parametrize("name", boards.names())
def test_every_fact_names_its_source_and_its_unit(name):
    board = boards.load(name)
    for key, fact in board.facts.items():
        assert fact.source.startswith("https://"), key
        numbers = fact.value if isinstance(fact.value, tuple) else (fact.value,)
        if isinstance(numbers[0], int | float) and key != "cores":
            assert key.rsplit("_", 1)[-1] in UNITS, f"{key} has no unit in its name"
        if key.endswith("_watts"):
            assert fact.note.lower().startswith(tuple(scope.lower() for scope in SCOPES)), f"{key}: measured where?"


@pytest.mark.parametrize("name", boards.names())
def test_every_source_is_used(name):
    data, board = raw(name), boards.load(name)
    used = {fact["source"] for fact in data.get("facts", {}).values()}
    power = data.get("power", {})
    used |= {table["reference"] for table in (power, power.get("model", {})) if "reference" in table}
    assert used == set(data.get("sources", {}))
    assert all(source.startswith("https://") for source in [fact.source for fact in board.facts.values()])


@pytest.mark.parametrize("name", boards.names())
def test_defaults_fit_the_smallest_board_of_that_name(name):
    board = boards.load(name)
    assert board.train.isa in {None, *KERNEL_PATHS}
    assert board.train.reason
    if ram := board.facts.get("ram_bytes"):
        smallest = min(ram.value) if isinstance(ram.value, tuple) else ram.value
        assert board.train.budget_mb * 1e6 <= smallest / 4, "the system and the simulator's files want memory too"
    if cores := board.facts.get("cores"):
        assert 1 <= board.train.threads < cores.value, "the system wants a core"


@pytest.mark.parametrize("name", ["generic", "generic-aarch64", "generic-x86-64"])
def test_of_an_unknown_machine_the_defaults_are_those_of_every_run(name):
    train = boards.load(name).train
    assert (train.budget_mb, train.threads, train.isa) == (50.0, 1, None)


@pytest.mark.parametrize("name", boards.names())
def test_power_says_where_it_is_measured(name):
    board = boards.load(name)
    if board.power:
        assert board.power.source in {"ina3221", "ina238", "pi5-pmic", "rapl"}
        assert board.power.scope in SCOPES
        assert board.power.reference.startswith("https://")
        assert bool(board.power.rails) == (board.power.source in {"ina3221", "ina238"})
    if board.model:
        assert board.model.scope in SCOPES
        assert 0 < board.model.core_watts < board.model.idle_watts
        assert re.search(r"\d", board.model.note), "how does core_watts follow?"


@pytest.mark.parametrize("name", boards.names())
def test_a_bring_up_has_every_section(name):
    text = boards.load(name).bringup.read_text(encoding="utf-8")
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == SECTIONS
    assert all(text.split(f"## {section}\n")[1].split("\n## ")[0].strip() for section in SECTIONS)
    assert ".venv/bin/edgedst" in text
    assert max(map(len, text.splitlines())) <= 125


@pytest.mark.parametrize("name", boards.names())
def test_a_board_that_we_have_not_run_says_so_to_its_reader(name):
    board = boards.load(name)
    said = "Not yet run on a board by us" in board.bringup.read_text(encoding="utf-8")
    assert said == (not board.run_by_us)


def test_every_board_of_a_name_has_a_sample_that_it_is_recognised_by():
    assert {name for name, *_ in TREES} == {name for name in boards.names() if not name.startswith("generic")}
