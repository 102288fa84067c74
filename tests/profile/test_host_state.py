"""The machine's state, from trees of /proc and /sys as boards have them."""

import os
from types import SimpleNamespace

import psutil
import pytest

from edgedst.profile.host_state import Core, read_counters, read_state


@pytest.fixture
def lay_out(tmp_path):
    """Writes files by path below the root; `executable` ones say their text."""

    def write(files, executable=()):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        for path in executable:
            (tmp_path / path).chmod(0o755)
        return tmp_path

    return write


def cpufreq(core, khz, governor="ondemand"):
    folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
    values = {"cur_freq": khz, "governor": governor, "min_freq": 600000, "max_freq": 1800000}
    return {f"{folder}/scaling_{name}": f"{value}\n" for name, value in values.items()}


def vcgencmd(bits):
    return {"usr/bin/vcgencmd": f'#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled={bits}\n'}


def test_a_raspberry_pi_tells_clocks_and_throttling(lay_out):
    root = lay_out(
        {
            **cpufreq(0, 1500000),
            **cpufreq(10, 600000),
            **cpufreq(2, 1800000, "performance"),
            **vcgencmd("0x50005"),
        },
        executable=["usr/bin/vcgencmd"],
    )
    state = read_state(root)
    assert state.cores == [
        Core(1500.0, "ondemand", 600.0, 1800.0),
        Core(1800.0, "performance", 600.0, 1800.0),
        Core(600.0, "ondemand", 600.0, 1800.0),  # cpu10 comes behind cpu2
    ]
    assert state.throttled == ["under-voltage now", "throttled now"]
    assert state.power_mode is None


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ("0x0", []),
        ("0x20000", ["frequency capped since the start of the board"]),
        ("0x80008", ["soft temperature limit now"]),
    ],
)
def test_throttled_bits_are_words(lay_out, bits, words):
    assert read_state(lay_out(vcgencmd(bits), ["usr/bin/vcgencmd"])).throttled == words


def test_a_jetson_tells_its_power_mode(lay_out):
    script = "#!/bin/sh\n[ $1 = -q ] && printf 'NV Power Mode: MODE_15W\\n0\\n'\n"
    assert read_state(lay_out({"usr/sbin/nvpmodel": script}, ["usr/sbin/nvpmodel"])).power_mode == "MODE_15W"


def test_a_cooling_device_that_is_at_work_is_told(lay_out):
    device = "sys/class/thermal/cooling_device0"
    root = lay_out({f"{device}/type": "cpufreq-cpu0\n", f"{device}/cur_state": "0\n"})
    assert read_state(root).throttled == []
    (root / device / "cur_state").write_text("2\n", encoding="utf-8")
    assert read_state(root).throttled == ["cpufreq-cpu0 at 2"]


@pytest.mark.parametrize(
    ("sensors", "celsius"),
    [
        ({"cpu_thermal": [("", 51.234)], "gpu_thermal": [("", 60.0)]}, 51.234),  # a Raspberry Pi
        ({"nvme": [("Composite", 70.0)], "k10temp": [("Tctl", 40.5)]}, 40.5),  # a PC
        ({"acpitz": [("", 27.8)], "coretemp": [("Package id 0", 55.0), ("Core 0", 53.0)]}, 55.0),
        ({"thermal-fan-est": [("", 30.0)], "AO-therm": [("", 41.5)]}, 41.5),  # the hottest where none is the CPU's
        ({}, None),
    ],
)
def test_the_temperature_is_that_of_the_cpu_where_a_sensor_is_named_after_it(sensors, celsius, tmp_path, monkeypatch):
    found = {
        chip: [SimpleNamespace(label=label, current=current) for label, current in of_chip]
        for chip, of_chip in sensors.items()
    }
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: found)
    assert read_state(tmp_path).celsius == celsius


def test_what_a_machine_does_not_tell_is_none(tmp_path):
    state = read_state(tmp_path)
    assert (state.cores, state.throttled, state.power_mode) == ([], None, None)
    counters = read_counters(tmp_path)
    assert (counters.swapped_pages, counters.throttle_events, counters.fastest_mhz) == (None,) * 3


def test_a_tool_that_fails_says_nothing(lay_out):
    root = lay_out({"usr/bin/vcgencmd": "#!/bin/sh\necho throttled=0x1\nexit 1\n"}, ["usr/bin/vcgencmd"])
    assert read_state(root).throttled is None


def test_counters_are_summed_over_what_is_busy(lay_out, monkeypatch):
    throttled = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    root = lay_out(
        {
            # user nice system idle iowait irq softirq steal guest guest_nice: a guest is in user already
            "proc/stat": "cpu  100 20 30 9000 800 4 5 6 70 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n",
            "proc/vmstat": "nr_free_pages 5\npswpin 7\npswpout 8\n",
            throttled.format(0): "3\n",
            throttled.format(1): "4\n",
            **cpufreq(0, 600000),
            **cpufreq(1, 1200000),
        }
    )
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(root / "proc"))
    counters = read_counters(root)
    assert counters.busy_seconds == pytest.approx(165 / os.sysconf("SC_CLK_TCK"))
    assert counters.swapped_pages == 15
    assert counters.throttle_events == 7
    assert counters.fastest_mhz == 1200.0
