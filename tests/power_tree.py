"""Boards as they look in sysfs, laid out in a folder, and a clock that tests move by hand.

Permission denied cannot be shown to root by file modes, and tests may run as root: a folder stands where the file
would be, which no reading survives either (`locked`).
"""

from dataclasses import replace

from edgedst import boards

GENCMD = """\
 3V7_WL_SW_A current(0)=0.10000000A
  VDD_CORE_A current(7)={core_amperes:.8f}A
    HDMI_A current(22)=0.02000000A
 3V7_WL_SW_V volt(8)=3.70000000V
  VDD_CORE_V volt(15)=0.80000000V
    HDMI_V volt(23)=5.00000000V
   EXT5V_V volt(24)=5.10000000V
    BATT_V volt(25)=0.00000000V
     NEW_A current(26)=9.00000000A
"""  # shortened; 0.1 A x 3.7 V + 0.02 A x 5 V + core_amperes x 0.8 V


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def board(power=None, model=None):
    """Some board with this sensor and this model."""
    sensor = None
    if power:
        source, scope, *rails = power
        sensor = boards.PowerSensor(source, scope, tuple(rails), "https://example.org", True)
    watts = boards.PowerModel(*model, "board input", "https://example.org", False, "") if model else None
    return replace(boards.load(boards.names()[0]), title="A test board", power=sensor, model=watts)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="ascii")
    return path


def locked(path):
    """Nobody can read it, not even root."""
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def ina3221(root, number, rails):
    """A chip of JetPack 5 and later: label -> (millivolts, milliamperes). Its hwmon number is any."""
    folder = root / f"sys/class/hwmon/hwmon{number}"
    write(folder / "name", "ina3221")
    for channel, (label, (volts, amperes)) in enumerate(rails, 1):
        write(folder / f"in{channel}_label", label)
        write(folder / f"in{channel}_input", volts)
        write(folder / f"curr{channel}_input", amperes)
    write(folder / "in7_label", "sum of shunt voltages")
    write(folder / "in7_input", 123456)
    return folder


def ina3221x(root, address, device, rails):
    """A chip of JetPack 4: label -> milliwatts."""
    folder = root / f"sys/bus/i2c/drivers/ina3221x/{address}/iio:device{device}"
    for channel, (label, milliwatts) in enumerate(rails):
        write(folder / f"rail_name_{channel}", label)
        write(folder / f"in_power{channel}_input", milliwatts)
        write(folder / f"in_voltage{channel}_input", 5000)
        write(folder / f"in_current{channel}_input", milliwatts // 5)
    return folder


def rapl(root, name="intel-rapl:0", domain="package-0", microjoules=0, most=262143328850):
    folder = root / "sys/class/powercap" / name
    write(folder / "name", domain)
    write(folder / "energy_uj", microjoules)
    if most is not None:
        write(folder / "max_energy_range_uj", most)
    return folder


def battery(root, name="BAT0", state="Discharging", **values):
    folder = root / "sys/class/power_supply" / name
    write(folder / "type", "Battery")
    write(folder / "status", state)
    for key, value in values.items():
        write(folder / key, value)
    return folder


def drive(meter, clock, seconds, step=0.1, before=None):
    """Let the meter sample every `step` seconds; `before(t)` is called first, with the seconds since the start.

    Returns the window: (start, end).
    """
    start = clock.now
    for number in range(round(seconds / step) + 1):
        clock.now = start + number * step
        if before:
            before(number * step)
        meter.sample()
    return start, clock.now
