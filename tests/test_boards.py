import re

import pytest

from edgedst import boards
from edgedst.errors import UnknownDevice

DEVICE_TREES = [
    # model, compatible (NUL-ended, as the kernel writes them), board
    ("Raspberry Pi 4 Model B Rev 1.2\0", "raspberrypi,4-model-b\0brcm,bcm2711\0", "raspberry-pi-4"),
    ("Raspberry Pi 4 Model B Rev 1.5\0", "", "raspberry-pi-4"),
    ("", "raspberrypi,4-model-b\0brcm,bcm2711\0", "raspberry-pi-4"),
    # The same chip in another housing draws other watts: not this board.
    ("Raspberry Pi 400 Rev 1.0\0", "raspberrypi,400\0brcm,bcm2711\0", "generic"),
    ("Raspberry Pi Compute Module 4 Rev 1.0\0", "raspberrypi,4-compute-module\0brcm,bcm2711\0", "generic"),
    ("A board of tomorrow\0", "tomorrow,board\0", "generic"),
]


@pytest.mark.parametrize(("model", "compatible", "name"), DEVICE_TREES)
def test_a_device_tree_names_its_board(tmp_path, model, compatible, name):
    (tmp_path / "model").write_text(model)
    (tmp_path / "compatible").write_text(compatible)
    assert boards.detect(tmp_path).name == name


def test_without_a_device_tree_the_board_is_generic(tmp_path):
    assert boards.detect(tmp_path).name == boards.GENERIC


def test_an_unknown_device_gets_a_near_name_and_all_that_there_are():
    sentence = rf"no device `raspbery-pi4` .*Did you mean `raspberry-pi-4`\? It holds: {', '.join(boards.names())}"
    with pytest.raises(UnknownDevice, match=sentence):
        boards.load("raspbery-pi4")
    with pytest.raises(LookupError, match=r"no device `\.\./runs` in devices/\. It holds:"):
        boards.load("../runs")


@pytest.mark.parametrize("name", boards.names())
def test_every_fact_names_its_source_and_its_unit(name):
    board = boards.load(name)
    assert board.title
    assert board.bringup.is_file()
    for key, fact in board.facts.items():
        assert re.match(r"https://\S+", fact.source), key
        if isinstance(fact.value, int | float) and key != "cores":
            assert key.rsplit("_", 1)[-1] in {"bytes", "hz", "watts", "celsius"}, f"{key} has no unit in its name"
        if key.endswith("_watts"):
            assert re.match(r"(Wall|Board input|Module input|Sum of rails)\b", fact.note), f"{key}: measured where?"


def test_a_board_that_we_have_not_run_says_so_to_its_reader():
    for name in boards.names():
        board = boards.load(name)
        if not board.run_by_us:
            assert "Not yet run on a board by us" in board.bringup.read_text(encoding="utf-8")
