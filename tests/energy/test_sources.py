"""What `find` and `choose` say of hosts laid out in a folder, and what is refused in words that help."""

import pytest
from power_tree import battery, board, ina3221, ina3221x, locked, rapl, write

from edgedst.energy import sources
from edgedst.errors import EnergyUnavailable

JETSON = ("ina3221", "module input", "VDD_IN")


def names(found):
    return [(source.name, source.readable) for source in found]


def test_auto_prefers_the_board_s_own_sensor_then_monitors_then_packages_then_the_battery_then_the_model(tmp_path):
    of = board(JETSON, model=(3.1, 0.75))
    everything = ["ina3221", "hwmon", "rapl", "battery", "model"]
    chip = ina3221(tmp_path, 0, [("VDD_IN", (5000, 100))])
    monitor = tmp_path / "sys/class/hwmon/hwmon1"
    write(monitor / "name", "ina219")
    write(monitor / "power1_input", 5)
    package = rapl(tmp_path)
    supply = battery(tmp_path, power_now=5)
    assert names(sources.find(of, tmp_path)) == [(name, True) for name in everything]
    gone = [chip / "in1_input", monitor / "power1_input", package / "energy_uj", supply / "status"]
    for name, file in zip(everything, gone, strict=False):
        assert sources.choose("auto", of, tmp_path)["source"] == name
        locked(file)
    spec = sources.choose("auto", of, tmp_path)
    assert (spec["source"], spec["measured"], spec["scope"]) == ("model", False, "board input")
    assert sources.choose("auto", board(), tmp_path) is None
    assert sources.choose("none", of, tmp_path) is None


def test_rapl_that_only_root_may_read_says_how_it_is_granted(tmp_path):
    locked(rapl(tmp_path) / "energy_uj")
    (found,) = sources.find(board(), tmp_path)
    assert (found.name, found.readable, found.spec) == ("rapl", False, None)
    assert "docs/energy.md has the udev rule" in found.remedy
    with pytest.raises(EnergyUnavailable, match=r"rapl cannot be read: package-0 at .*CVE-2020-8694"):
        sources.choose("rapl", board(), tmp_path)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("rapl", r"no energy source rapl on this host \(A test board; looked for packages in /sys/class/powercap\)"),
        ("ina3221", r"no energy source ina3221 on this host"),
        ("pi5-pmic", r"looked for /dev/vcio_gencmd, /dev/vcio and vcgencmd"),
        ("hwmon", r"looked for power monitors in /sys/class/hwmon"),
        ("battery", r"looked for /sys/class/power_supply"),
        ("model", r"looked for \[power.model\] in the board's file"),
    ],
)
def test_a_source_that_is_asked_for_by_name_is_never_replaced_by_another(tmp_path, wanted, words):
    with pytest.raises(EnergyUnavailable, match=words):
        sources.choose(wanted, board(), tmp_path)


def test_a_rail_that_the_board_should_have_is_named_with_those_that_are_there(tmp_path):
    ina3221(tmp_path, 3, [("VDD_GPU_SOC", (5000, 1)), ("NC", (0, 0)), ("VDD_CPU_CV", (5000, 1))])
    with pytest.raises(EnergyUnavailable, match="no rail VDD_IN; there are VDD_GPU_SOC, VDD_CPU_CV"):
        sources.choose("ina3221", board(JETSON), tmp_path)


def test_rails_of_a_board_that_nobody_described_are_not_guessed_at(tmp_path):
    ina3221x(tmp_path, "1-0040", 0, [("CPU", 400), ("GPU", 300), ("SOC", 200)])
    (found,) = sources.find(board(), tmp_path)
    assert not found.readable
    assert "which of its rails (CPU, GPU, SOC) are the total" in found.detail
    assert sources.choose("auto", board(), tmp_path) is None


def test_a_pi_5_whose_pmic_cannot_be_asked_names_the_group(tmp_path):
    locked(tmp_path / "dev/vcio_gencmd")
    with pytest.raises(EnergyUnavailable, match=r"pi5-pmic cannot be read: .*group `video`"):
        sources.choose("pi5-pmic", board(("pi5-pmic", "sum of rails")), tmp_path)


def test_a_pi_4_whose_firmware_knows_no_pmic_has_no_such_source(tmp_path):
    write(tmp_path / "dev/vcio_gencmd", "a file, which no ioctl understands")
    assert sources.find(board(), tmp_path) == []


def test_several_power_monitors_are_never_added_up_or_chosen_from(tmp_path):
    for number, (chip, label) in enumerate((("ina226", "SUPPLY"), ("ina226", "MOTOR"), ("ina219", "LAMP"))):
        folder = tmp_path / f"sys/class/hwmon/hwmon{number}"
        write(folder / "name", chip)
        write(folder / "power1_label", label)
        write(folder / "power1_input", 1_000_000)
    with pytest.raises(EnergyUnavailable, match=r"has 3 power monitors .*`--energy hwmon:NAME`"):
        sources.choose("hwmon", board(), tmp_path)
    assert sources.choose("auto", board(), tmp_path) is None
    assert "SUPPLY" in sources.choose("hwmon:SUPPLY", board(), tmp_path)["detail"]
    assert "LAMP" in sources.choose("hwmon:ina219", board(), tmp_path)["detail"]
    with pytest.raises(EnergyUnavailable, match="no energy source hwmon with `PUMP` in its name"):
        sources.choose("hwmon:PUMP", board(), tmp_path)


def test_a_battery_that_charges_is_told_and_not_read(tmp_path):
    battery(tmp_path, state="Charging", power_now=9_000_000)
    (found,) = sources.find(board(), tmp_path)
    assert (found.readable, found.remedy) == (False, "Unplug the charger.")


def test_a_meter_s_file_says_in_its_lines_how_often_it_samples(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("".join(f"{1_760_000_000 + i / 4},3.5\n" for i in range(9)), encoding="ascii")
    spec = sources.choose(f"csv:{path}", board(), tmp_path)
    assert (spec["sample_hz"], spec["scope"]) == (4, "external meter")
    path.write_text("1760000000,3\n1759000000,3\n1760000001,3\n", encoding="ascii")  # it was begun twice
    assert sources.choose(f"csv:{path}", board(), tmp_path)["sample_hz"] >= 1 / 60
    path.write_text("", encoding="ascii")  # a logger that has just begun
    assert sources.choose(f"csv:{path}", board(), tmp_path)["sample_hz"] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file or directory. It has to be there, and to grow"),
        (
            "time,watts\n1760000000,3\n1760000001,n/a\n",
            r"line 3: expected `Unix seconds,watts` .* got `1760000001,n/a`",
        ),
        ("time;watts\n1760000000;3\n", "line 2: expected"),
        ("1760000000000,3\n", "must be Unix seconds and begin with 1.76e[+]12: divide them by 1000"),
        ("0.5,3\n1.5,3\n", "must be Unix seconds and begin with 0.5: add the time"),
    ],
)
def test_a_meter_s_file_that_is_none_is_refused_with_its_line(tmp_path, text, words):
    path = tmp_path / "m.csv"
    if text is not None:
        path.write_text(text, encoding="ascii")
    with pytest.raises(EnergyUnavailable, match=words):
        sources.choose(f"csv:{path}", board(), tmp_path)
