"""The meter on boards laid out in a folder, its samples and its clock driven by hand."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from power_tree import GENCMD, Clock, battery, board, drive, ina3221, ina3221x, locked, rapl, write
from training import until

import edgedst
from edgedst.energy import idle, readers, sources
from edgedst.energy.meter import Meter


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metered(tmp_path, clock):
    """A meter of what `sources` finds for a board, driven by hand."""

    def made(wanted, of=None):
        return Meter(sources.choose(wanted, of or board(), tmp_path), clock=clock, threaded=False)

    return made


def test_a_jetson_s_input_rail_is_volts_times_amperes(tmp_path, clock, metered):
    rails = [("VDD_IN", (5000, 0)), ("VDD_CPU_GPU_CV", (5000, 9999)), ("VDD_SOC", (5000, 9999))]
    folder = ina3221(tmp_path, 3, rails)
    orin = metered("auto", board(("ina3221", "module input", "VDD_IN")))
    # 600 mA and 20 mA more each tenth of a second: 3 W + 1 W/s * t.
    window = drive(orin, clock, 10, before=lambda t: write(folder / "curr1_input", round(600 + 200 * t)))
    told = orin.energy(*window)
    assert told["joules"] == pytest.approx(3 * 10 + 10**2 / 2, rel=1e-12)
    assert (told["source"], told["scope"], told["measured"]) == ("ina3221", "module input", True)
    assert (told["samples"], told["gaps"], told["sample_hz"]) == (101, 0, 10)


def test_an_agx_orin_is_the_sum_of_rails_on_two_chips_without_those_that_are_not_connected(tmp_path, clock, metered):
    ina3221(tmp_path, 3, [("VDD_GPU_SOC", (20000, 100)), ("VDD_CPU_CV", (20000, 50)), ("VIN_SYS_5V0", (5000, 400))])
    ina3221(tmp_path, 4, [("NC", (0, 0)), ("VDDQ_VDD2_1V8AO", (5000, 100)), ("NC", (0, 0))])
    rails = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")
    agx = metered("ina3221", board(("ina3221", "sum of rails", *rails)))
    told = agx.energy(*drive(agx, clock, 4))
    assert told["joules"] == pytest.approx(4 * (2 + 1 + 2 + 0.5), rel=1e-12)
    assert told["scope"] == "sum of rails"


def test_the_nano_s_old_driver_tells_milliwatts(tmp_path, clock, metered):
    rails = [("POM_5V_IN", 2875), ("POM_5V_GPU", 40), ("POM_5V_CPU", 900)]
    ina3221x(tmp_path, "6-0040", 0, rails)
    nano = metered("auto", board(("ina3221", "module input", "POM_5V_IN")))
    assert nano.energy(*drive(nano, clock, 8))["joules"] == pytest.approx(8 * 2.875, rel=1e-12)


def test_thor_s_monitor_tells_microwatts(tmp_path, clock, metered):
    folder = tmp_path / "sys/class/hwmon/hwmon5"
    write(folder / "name", "ina238")
    write(folder / "power1_label", "VIN")
    write(folder / "power1_input", 42_500_000)
    thor = metered("auto", board(("ina238", "board input", "VIN")))
    assert thor.energy(*drive(thor, clock, 2))["joules"] == pytest.approx(85, rel=1e-12)


def test_the_number_of_a_hwmon_folder_does_not_matter(tmp_path, clock, metered):
    for number in (0, 9):
        ina3221(tmp_path / str(number), number, [("VDD_IN", (5000, 1000))])
        spec = sources.choose("ina3221", board(("ina3221", "module input", "VDD_IN")), tmp_path / str(number))
        one = Meter(spec, clock=clock, threaded=False)
        assert one.energy(*drive(one, clock, 1))["joules"] == pytest.approx(5)


def test_a_pi_5_is_the_sum_of_the_rails_that_have_volts_and_amperes():
    assert readers.pmic_watts(GENCMD.format(core_amperes=2.5)) == pytest.approx(0.37 + 0.1 + 2.0)
    with pytest.raises(ValueError, match="no rail's volts and amperes: 'error=1 error_msg"):
        readers.pmic_watts('error=1 error_msg="Command not registered"\n')


def test_a_pi_5_is_asked_by_ioctl_through_the_device_that_vcgencmd_s_users_may_open(tmp_path, clock, monkeypatch):
    for name in ("vcio", "vcio_gencmd"):
        write(tmp_path / "dev" / name, "")
    asked = []

    def firmware(descriptor, request, buffer, mutate):
        words = memoryview(buffer).cast("I")
        asked.append((request, [words[i] for i in range(6)], buffer[24:].partition(b"\0")[0]))
        words[1] = 0x80000000
        answer = GENCMD.format(core_amperes=1.0).encode() + b"\0"
        buffer[24 : 24 + len(answer)] = answer

    monkeypatch.setattr("fcntl.ioctl", firmware)
    spec = sources.choose("auto", board(("pi5-pmic", "sum of rails")), tmp_path)
    assert spec["device"] == str(tmp_path / "dev" / "vcio_gencmd")
    pi = Meter(spec, clock=clock, threaded=False)
    assert pi.energy(*drive(pi, clock, 3))["joules"] == pytest.approx(3 * (0.37 + 0.1 + 0.8))
    # vcgencmd.c: size, request 0, tag GET_GENCMD_RESULT, its buffer, 0, 0, the text, 0; _IOWR(100, 0, char *).
    assert asked[0] == (0xC0086400, [4 * 7 + 4096, 0, 0x30080, 4096, 0, 0], b"pmic_read_adc")


def test_without_a_device_vcgencmd_is_run_at_two_samples_a_second_at_most(tmp_path, clock):
    program = tmp_path / "usr/bin/vcgencmd"
    script = f'#!/bin/sh\n[ "$1" = pmic_read_adc ] && cat <<EOF\n{GENCMD.format(core_amperes=1.0)}EOF'
    write(program, script).chmod(stat.S_IRWXU)
    spec = sources.choose("pi5-pmic", board(("pi5-pmic", "sum of rails")), tmp_path)
    assert (spec["sample_hz"], spec["device"]) == (2, None)
    pi = Meter(spec, clock=clock, threaded=False)
    told = pi.energy(*drive(pi, clock, 1, step=0.5))
    assert told["joules"] == pytest.approx(1.27)
    assert pi.cost()["reads"] == 3
    write(program, "#!/bin/sh\nexit 255")
    pi.sample()
    clock.now += 60
    assert "vcgencmd pmic_read_adc failed" in pi.energy(clock.now - 60, clock.now)["detail"]


def test_rapl_is_the_packages_without_their_parts_and_without_what_counts_them_again(tmp_path, clock, metered):
    packages = [rapl(tmp_path), rapl(tmp_path, "intel-rapl:1", "package-1")]
    others = [
        rapl(tmp_path, "intel-rapl:0:0", "core"),
        rapl(tmp_path, "intel-rapl:0:1", "dram"),
        rapl(tmp_path, "intel-rapl:2", "psys"),
        rapl(tmp_path, "intel-rapl-mmio:0", "package-0"),
    ]

    def counters(t):
        for folder in packages:
            write(folder / "energy_uj", 10_000 + round(t * 30e6))
        for folder in others:
            write(folder / "energy_uj", round(t * 999e6))

    x86 = metered("auto")
    told = x86.energy(*drive(x86, clock, 5, before=counters))
    assert told["joules"] == pytest.approx(2 * 5 * 30, rel=1e-9)
    assert told["scope"] == "CPU package"


@pytest.mark.parametrize("most", [1_000_000, None])
def test_a_counter_that_wraps_is_unwrapped_or_that_sample_is_a_gap(tmp_path, clock, metered, most):
    folder = rapl(tmp_path, most=most)

    def counter(t):  # 2 W, wraps every half second
        write(folder / "energy_uj", round(t * 2e6) % 1_000_000)

    x86 = metered("rapl")
    told = x86.energy(*drive(x86, clock, 10, step=0.02, before=counter))
    assert told["joules"] == pytest.approx(20, rel=1e-9)
    assert told["gaps"] == (0 if most else 20)
    assert told["gap_seconds"] == pytest.approx(0 if most else 20 * 0.02)


def test_a_counter_not_read_for_so_long_that_it_may_have_wrapped_twice_has_a_gap(tmp_path, clock, metered):
    folder = rapl(tmp_path)
    x86 = metered("rapl")
    start, _ = drive(x86, clock, 600, step=1, before=lambda t: write(folder / "energy_uj", round(t * 5e6)))
    clock.now += 40
    x86.sample()
    told = x86.energy(start, clock.now)
    assert (told["gaps"], told["gap_seconds"]) == (1, 40)
    assert told["joules"] == pytest.approx(640 * 5)


def test_a_power_monitor_on_the_supply_is_read_in_microwatts(tmp_path, clock, metered):
    write(tmp_path / "sys/class/hwmon/hwmon2/name", "ina226")
    write(tmp_path / "sys/class/hwmon/hwmon2/power1_input", 3_200_000)
    write(tmp_path / "sys/class/hwmon/hwmon1/name", "amdgpu")  # a part of the host: not what is asked
    write(tmp_path / "sys/class/hwmon/hwmon1/power1_average", 9_000_000)
    told = (one := metered("auto")).energy(*drive(one, clock, 10))
    assert (told["joules"], told["source"], told["scope"]) == (pytest.approx(32), "hwmon", "line of ina226")


def test_the_energy_counter_of_a_power_monitor_is_preferred(tmp_path, clock, metered):
    folder = tmp_path / "sys/class/hwmon/hwmon2"
    write(folder / "name", "ina228")
    write(folder / "power1_input", 1)
    counter = write(folder / "energy1_input", 0)
    one = metered("hwmon")
    told = one.energy(*drive(one, clock, 10, before=lambda t: write(counter, round(t * 4e6))))
    assert told["joules"] == pytest.approx(40)


def test_a_battery_counts_only_while_it_discharges(tmp_path, clock, metered):
    folder = battery(tmp_path, power_now=12_000_000)
    battery(tmp_path, "hid-mouse", scope="Device", power_now=7_000_000)
    laptop = metered("auto")
    assert laptop.energy(*drive(laptop, clock, 20, step=1))["joules"] == pytest.approx(240)
    write(folder / "status", "Charging")
    told = laptop.energy(*drive(laptop, clock, 20, step=1))
    assert told["joules"] is None
    assert "the battery is not discharging (Charging)" in told["detail"]


def test_a_battery_that_tells_amperes_only_is_multiplied_whatever_their_sign(tmp_path, clock, metered):
    battery(tmp_path, voltage_now=8_000_000, current_now=-500_000)
    one = metered("battery")
    assert one.energy(*drive(one, clock, 10, step=1))["joules"] == pytest.approx(40)


def test_a_sensor_that_vanishes_leaves_no_joules_and_one_that_comes_back_a_gap(tmp_path, clock, metered):
    folder = ina3221(tmp_path, 3, [("VDD_IN", (5000, 1000))])
    orin = metered("ina3221", board(("ina3221", "module input", "VDD_IN")))
    start, _ = drive(orin, clock, 10)
    (folder / "in1_input").unlink()
    drive(orin, clock, 5)
    gone = orin.energy(start, clock.now)
    assert gone["joules"] is None
    assert "the last sample came 5.0 s before its end (" in gone["detail"]
    assert "No such file" in gone["detail"]
    assert orin.energy(start, start + 10)["joules"] == pytest.approx(50)  # before it went
    write(folder / "in1_input", 5000)
    drive(orin, clock, 50)
    back = orin.energy(start, clock.now)
    assert back["joules"] == pytest.approx(65 * 5)
    assert (back["gaps"], back["gap_seconds"]) == (1, pytest.approx(5))


def csv(path, samples, head="time,watts"):
    path.write_text("\n".join([head, *[f"{time},{watts}" for time, watts in samples]]) + "\n", encoding="ascii")
    return path


def test_an_external_meter_s_file_is_read_as_it_grows(tmp_path, clock):
    unix = Clock(1_760_000_000.0)
    path = csv(tmp_path / "meter.csv", [(unix.now + i, 4.0) for i in range(-3, 1)], "time,watts (wall)")
    spec = sources.choose(f"csv:{path}", board(), tmp_path)
    assert (spec["scope"], spec["sample_hz"]) == ("wall", 1)
    one = Meter(spec, clock=clock, unix=unix, threaded=False)
    one.sample()
    start = clock.now
    for second in range(1, 11):
        clock.now += 1
        unix.now += 1
        with path.open("a", encoding="ascii") as file:
            file.write(f"{unix.now},{4 + second}\n{unix.now + 0.5},")  # a line half written
        one.sample()
        with path.open("a", encoding="ascii") as file:
            file.write(f"{4.5 + second}\n")
    one.sample()
    assert one.energy(start, start + 10)["joules"] == pytest.approx(
        4 * 10 + 10**2 / 2, abs=1e-4
    )  # a double of Unix seconds
    assert one.energy(start, start + 10)["samples"] == 20  # 0, 1, 1.5, ... 10
    late = one.energy(start, start + 100)
    assert late["joules"] is None
    assert "meter.csv; the last sample came" in late["detail"]


def test_an_external_meter_s_file_that_begins_anew_is_read_from_its_start(tmp_path, clock):
    unix = Clock(1_760_000_000.0)
    path = csv(tmp_path / "meter.csv", [(unix.now + i, 4.0) for i in range(-9, 1)])
    one = Meter(sources.choose(f"csv:{path}", board(), tmp_path), clock=clock, unix=unix, threaded=False)
    one.sample()
    start = clock.now
    for _ in range(5):
        clock.now += 1
        unix.now += 1
        csv(path, [(unix.now - 1, 4.0), (unix.now, 4.0)])
        one.sample()
    assert one.energy(start, start + 5)["joules"] == pytest.approx(20, abs=1e-4)


def test_the_model_is_watts_at_idle_and_watts_of_a_busy_core_and_says_that_it_measured_nothing(clock, metered):
    one = metered("auto", board(model=(3.1, 0.75)))
    told = one.energy(clock.now, clock.now + 10, cpu_seconds=8)
    assert told["joules"] == pytest.approx(31 + 6)
    assert (told["source"], told["measured"], told["samples"]) == ("model", False, 0)
    assert one.energy(clock.now, clock.now + 10)["joules"] is None


def test_idle_is_the_mean_power_and_the_spread_of_its_samples(tmp_path, clock, metered):
    folder = ina3221(tmp_path, 3, [("VDD_IN", (1000, 0))])
    orin = metered("ina3221", board(("ina3221", "module input", "VDD_IN")))
    values = [2000, 4000, 2000, 4000, 2000]

    def wait(seconds):
        drive(orin, clock, seconds, step=0.5, before=lambda t: write(folder / "curr1_input", values[int(t * 2)]))

    told = idle.measure(orin, 2, clock, wait)
    assert told["watts"] == pytest.approx(3)
    assert told["sd_watts"] == pytest.approx(((3 * 0.8**2 + 2 * 1.2**2) / 4) ** 0.5)  # about their mean, 2.8 W
    assert told["seconds"] == 2


def test_idle_of_a_sensor_that_cannot_be_read_is_not_known(tmp_path, clock, metered):
    folder = rapl(tmp_path)
    x86 = metered("rapl")
    locked(folder / "energy_uj")
    assert idle.measure(x86, 5, clock, lambda s: drive(x86, clock, s))["watts"] is None


def test_idle_of_a_model_is_its_idle_power(clock, metered):
    told = idle.measure(metered("model", board(model=(3.1, 0.75))), 10, clock, lambda s: setattr(clock, "now", 1010.0))
    assert told == {"watts": pytest.approx(3.1), "sd_watts": None, "seconds": 10}


def test_the_thread_samples_until_it_is_stopped_and_costs_what_it_says(tmp_path):
    ina3221(tmp_path, 3, [("VDD_IN", (5000, 1000))])
    spec = sources.choose("auto", board(("ina3221", "module input", "VDD_IN")), tmp_path)
    one = Meter({**spec, "sample_hz": 200.0})
    for _ in range(2):  # a meter may be started again
        one.start()
        before = one.cost()["reads"]
        assert before >= 1  # a first sample is there at once
        until(lambda before=before: one.cost()["reads"] >= before + 3)
        one.stop()
        reads = one.cost()["reads"]
        assert not one._running
    assert one.cost()["cpu_seconds"] > 0
    assert one.cost()["reads"] == reads


def test_the_part_that_the_trainer_loads_brings_nothing_else_along():
    boot = f"import os, sys; sys.path[:0] = {[str(Path(edgedst.__file__).parents[1])]}; before = set(sys.modules); "
    boot += "import edgedst.energy.meter, edgedst.energy.tally; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", boot], capture_output=True, text=True, check=True)
    own = {"edgedst", "edgedst.energy", *[f"edgedst.energy.{m}" for m in ("meter", "readers", "tally", "trace")]}
    built_in = {"_collections", "time"}  # compiled into the interpreter
    assert set(done.stdout.split()) - own <= built_in
