"""Which power sources a host has, whether they can be read, and what the meter has to be told to read one.

The front end looks for them, so that the lean trainer gets paths and scales only. docs/energy.md says what each source
counts, and where it is written that its files and units are such.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from typing import Any

from edgedst import parse
from edgedst.boards import Board
from edgedst.energy.readers import csv_sample, read_text, reader_of
from edgedst.energy.trace import Trace
from edgedst.errors import EnergyUnavailable

SYSFS_HZ = 10.0
COMMAND_HZ = 2.0  # of a process a sample: the meter is not to burn what it measures
CSV_HZ = 1.0  # of a file that has no two lines yet
CSV_SLOWEST_HZ = 1 / 60  # its first times may be far apart: the logger was started before, too

# Power monitors that stand in a supply line, by the name of their hwmon driver. Others (graphics cards, drives) meter a
# part of the host, which is not what is asked here.
MONITORS = (
    *("ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina237", "ina238", "ina260", "ina780"),
    *("ltc2945", "ltc2947", "sq52206"),
)
ACPI_METER = "power_meter"  # what the firmware says that the whole machine takes

LOOKED_FOR = {
    "ina3221": "its rails in /sys/class/hwmon and /sys/bus/i2c/drivers/ina3221x",
    "ina238": "its power1_input in /sys/class/hwmon",
    "pi5-pmic": "/dev/vcio_gencmd, /dev/vcio and vcgencmd",
    "hwmon": "power monitors in /sys/class/hwmon",
    "rapl": "packages in /sys/class/powercap",
    "battery": "/sys/class/power_supply",
    "model": "[power.model] in the board's file",
}


@dataclass(frozen=True)
class Found:
    """A power source of this host."""

    name: str  # ina3221, ina238, pi5-pmic, hwmon, rapl, battery or model
    scope: str  # what it counts
    readable: bool
    detail: str  # files and rails, and why it cannot be read
    remedy: str  # what would make it readable; empty when it is
    spec: dict[str, Any] | None  # for the meter; None when it cannot be read


def find(board: Board, root: Path = Path("/")) -> list[Found]:
    """Every power source of this host, readable or not, the one that `auto` would take first."""
    return [*_of_board(board, root), *_hwmon(board, root), *_rapl(root), *_battery(root), *_model(board)]


def choose(wanted: str, board: Board, root: Path = Path("/")) -> dict[str, Any] | None:
    """The spec of the source that is wanted; None for `none`, and for `auto` on a host that has nothing.

    Args:
        wanted: one of `config.ENERGY_SOURCES`, `hwmon:NAME` (of the chip, or of a label), `csv:FILE`.
        board: see `find`.
        root: of the file system.

    Raises:
        EnergyUnavailable: a source that was asked for by name is not there or cannot be read.
    """
    if wanted == "none":
        return None
    name, _, which = wanted.partition(":")
    if name == "csv":
        return _csv(Path(which))
    found = find(board, root)
    if name == "auto":
        return next((source.spec for source in _certain(found) if source.readable), None)
    found = [source for source in found if source.name == name and which in source.detail]
    if not found:
        told = f" with `{which}` in its name" if which else ""
        raise EnergyUnavailable(
            f"There is no energy source {name}{told} on this host ({board.title}; looked for {LOOKED_FOR[name]}). "
            "`--energy auto` takes what there is, `--energy csv:FILE` an external meter."
        )
    readable = [source for source in found if source.readable]
    if len(readable) > 1:
        several = ", ".join(source.detail for source in readable)
        raise EnergyUnavailable(
            f"This host has {len(readable)} power monitors ({several}) and nothing says which is the total. Name one "
            "as `--energy hwmon:NAME`, by its chip or label."
        )
    if not readable:
        raise EnergyUnavailable(f"{name} cannot be read: {found[0].detail}. {found[0].remedy}")
    return readable[0].spec


def _certain(found: list[Found]) -> Iterator[Found]:
    """Without power monitors where there are several: `auto` does not guess which is the total."""
    monitors = sum(source.name == "hwmon" and source.readable for source in found)
    return (source for source in found if source.name != "hwmon" or monitors == 1)


def _tried(name: str, scope: str, detail: str, remedy: str, hz: float = SYSFS_HZ, **reading: Any) -> Found:
    """The source, after one reading of it."""
    spec = {"source": name, "scope": scope, "measured": True, "sample_hz": hz, "detail": detail, **reading}
    reader = reader_of(spec, monotonic, time)
    assert reader is not None
    try:
        reader.sample(Trace(1.0, 2))
    except (OSError, ValueError) as error:
        return Found(name, scope, False, f"{detail}: {_reason(error)}", remedy, None)
    return Found(name, scope, True, detail, "", spec)


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _of_board(board: Board, root: Path) -> list[Found]:
    """The board's own sensor; of a board that nobody described yet, that it may have one."""
    sensor = board.power
    source = sensor.source if sensor else ""
    if sensor and source in ("ina3221", "ina238"):
        rails = {**_hwmon_rails(root, source), **_iio_rails(root)}
        missing = [rail for rail in sensor.rails if rail not in rails]
        if missing:
            there = ", ".join(rails) or "none at all"
            detail = f"no rail {', '.join(missing)}; there are {there}"
            return [Found(source, sensor.scope, False, detail, "Is its driver loaded?", None)]
        terms = [rails[rail] for rail in sensor.rails]
        detail = f"{' + '.join(sensor.rails)} in {Path(terms[0][0][0]).parent}"
        return [_tried(source, sensor.scope, detail, "Its files are world-readable.", kind="power", terms=terms)]
    if source == "rapl":
        return []
    return [*_pmic(sensor.scope if sensor else "sum of rails", root, source == "pi5-pmic"), *_unknown_rails(root)]


def _hwmon_rails(root: Path, chip: str) -> dict[str, list[Any]]:
    """Rails by label of JetPack 5 and later: millivolts times milliamperes, or microwatts of chips that multiply."""
    rails: dict[str, list[Any]] = {}
    for folder in _chips(root, {chip}):
        if chip == "ina238":
            label = _text(folder / "power1_label") or _text(folder / "in1_label") or "VIN"
            rails[label] = [[str(folder / "power1_input")], 1e-6]
            continue
        for label_file in sorted(folder.glob("in[1-3]_label")):
            label, channel = _text(label_file), label_file.name[2]
            if label and label != "NC":  # not connected
                rails[label] = [[str(folder / f"in{channel}_input"), str(folder / f"curr{channel}_input")], 1e-6]
    return rails


def _iio_rails(root: Path) -> dict[str, list[Any]]:
    """Rails by label of JetPack 4, in milliwatts."""
    rails: dict[str, list[Any]] = {}
    for label_file in sorted((root / "sys/bus/i2c/drivers/ina3221x").glob("*/iio[:_]device*/rail_name_[0-2]")):
        label, channel = _text(label_file), label_file.name[-1]
        if label and label != "NC":
            rails[label] = [[str(label_file.parent / f"in_power{channel}_input")], 1e-3]
    return rails


def _unknown_rails(root: Path) -> list[Found]:
    rails = [*_hwmon_rails(root, "ina3221"), *_iio_rails(root)]
    if not rails:
        return []
    detail = f"nothing says which of its rails ({', '.join(rails)}) are the total of this board"
    return [Found("ina3221", "", False, detail, "Describe the board in devices/, with [power].", None)]


def _pmic(scope: str, root: Path, expected: bool) -> list[Found]:
    """The PMIC of a Raspberry Pi 5: by ioctl where a device can be opened, else by running vcgencmd.

    /dev/vcio_gencmd may be used by the group `video`, and passes on nothing but vcgencmd's commands; /dev/vcio is
    root's where both exist.
    """
    remedy = "Let your user into the group `video` (`sudo usermod -aG video $USER`) and log in again."
    detail = "V x A of the PMIC's rails"
    ways: list[tuple[Path, dict[str, Any], float]] = [
        *((place, {"device": str(place)}, SYSFS_HZ) for place in (root / "dev/vcio_gencmd", root / "dev/vcio")),
        *(
            (place, {"device": None, "program": str(place)}, COMMAND_HZ)
            for place in (root / "usr/bin/vcgencmd", root / "opt/vc/bin/vcgencmd")
        ),
    ]
    tries: list[Found] = []
    for place, reading, hz in ways:
        if place.exists() and not any(found.readable for found in tries):
            told = f"{detail} through {place}"
            tries.append(_tried("pi5-pmic", scope, told, remedy, hz, kind="pmic", **reading))
    readable = [found for found in tries if found.readable]
    if readable or not expected:  # other boards have the devices and no such PMIC
        return readable[:1]
    absent = Found("pi5-pmic", scope, False, f"{detail}: there is no {LOOKED_FOR['pi5-pmic']}", remedy, None)
    return tries[:1] or [absent]


def _hwmon(board: Board, root: Path) -> Iterator[Found]:
    """Power monitors other than the board's own. An energy counter is read where the chip has one."""
    own = board.power.source if board.power else ""
    for folder in _chips(root, {*MONITORS, ACPI_METER} - {own}):
        chip = _text(folder / "name")
        scope = "board input" if chip == ACPI_METER else f"line of {chip}"
        counters = sorted(folder.glob("energy*_input"))
        for path in counters or sorted({*folder.glob("power*_input"), *folder.glob("power*_average")}):
            channel = re.match(r"[a-z]+\d+", path.name)
            label = _text(folder / f"{channel[0]}_label") if channel else ""
            detail = f"{chip} {label}".strip() + f" at {path}"
            remedy = "Ask whoever administers this host to let you read that file."
            if counters:
                reading: dict[str, Any] = {"kind": "counters", "counters": [[str(path), None]]}
            else:
                reading = {"kind": "power", "terms": [[[str(path)], 1e-6]]}
            yield _tried("hwmon", scope, detail, remedy, **reading)


def _rapl(root: Path) -> Iterator[Found]:
    """CPU packages. Their parts are in them already, `psys` has them in it, `intel-rapl-mmio` counts them again."""
    zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
    packages = [zone for zone in zones if _text(zone / "name").startswith("package")]
    if not packages:
        return
    counters = [[str(zone / "energy_uj"), _whole_number(zone / "max_energy_range_uj")] for zone in packages]
    detail = " + ".join(f"{_text(zone / 'name')} at {zone}" for zone in packages)
    remedy = "energy_uj is root's alone since CVE-2020-8694: docs/energy.md has the udev rule that opens it to a group."
    yield _tried("rapl", "CPU package", detail, remedy, kind="counters", counters=counters)


def _battery(root: Path) -> Iterator[Found]:
    """What the batteries of the machine give, while they discharge; not those of a mouse."""
    batteries = [
        supply
        for supply in sorted((root / "sys/class/power_supply").glob("*"))
        if _text(supply / "type") == "Battery" and _text(supply / "scope") != "Device"
    ]
    if not batteries:
        return
    terms: list[Any] = []
    for supply in batteries:
        if (supply / "power_now").exists():
            terms.append([[str(supply / "power_now")], 1e-6])
        else:
            terms.append([[str(supply / "voltage_now"), str(supply / "current_now")], 1e-12])
    states = [str(supply / "status") for supply in batteries]
    detail = " + ".join(str(supply) for supply in batteries)
    reading = {"kind": "battery", "terms": terms, "states": states}
    yield _tried("battery", "board input", detail, "Unplug the charger.", 1.0, **reading)


def _model(board: Board) -> Iterator[Found]:
    model = board.model
    if model is None:
        return
    detail = f"{model.idle_watts:g} W x seconds + {model.core_watts:g} W x CPU-seconds, {board.title}"
    spec = {"kind": "model", "source": "model", "scope": model.scope, "measured": False, "sample_hz": 0.0}
    spec |= {"detail": detail, "idle_watts": model.idle_watts, "core_watts": model.core_watts}
    yield Found("model", model.scope, True, detail, "", spec)


def _csv(path: Path) -> dict[str, Any]:
    """The spec of an external meter's file, whose first lines tell how often it samples."""
    try:
        with parse.opened(path) as file:
            lines = file.read(65_536).split(b"\n")[:-1]
    except OSError as error:
        raise EnergyUnavailable(
            f"The meter's file `{path}` cannot be read: {_reason(error)}. It has to be there, and to grow, while the "
            "run runs: start the meter's logger first."
        ) from error
    samples = [sample for line in lines if (sample := csv_sample(line)) is not None]
    if len(samples) < len([line for line in lines if line.strip()]) - 1:
        wrong = next(number for number, line in enumerate(lines[1:], 2) if line.strip() and csv_sample(line) is None)
        raise EnergyUnavailable(
            f"`{path}`, line {wrong}: expected `Unix seconds,watts` such as 1767225600.5,4.31 and got "
            f"`{lines[wrong - 1].decode('utf-8', 'replace').strip()}`."
        )
    if samples and not 1e9 < samples[0][0] < 1e10:
        raise EnergyUnavailable(
            f"The times in `{path}` must be Unix seconds and begin with {samples[0][0]:g}: "
            + ("divide them by 1000." if samples[0][0] > 1e10 else "add the time when the meter was started.")
        )
    steps = sorted(late[0] - early[0] for early, late in zip(samples, samples[1:], strict=False))
    hz = 1 / steps[len(steps) // 2] if steps and steps[len(steps) // 2] > 0 else CSV_HZ
    hz = min(max(hz, CSV_SLOWEST_HZ), SYSFS_HZ)
    # A header may say where the meter stands: `time,watts (wall)`.
    head = re.search(rb"\(([^)]+)\)", lines[0]) if lines else None
    scope = head[1].decode("utf-8", "replace").strip() if head else "external meter"
    spec = {"kind": "csv", "source": "csv", "scope": scope, "measured": True}
    return {**spec, "sample_hz": hz, "detail": str(path), "file": str(path.absolute())}


def _chips(root: Path, names: Iterable[str]) -> list[Path]:
    """Folders of these hwmon chips; their numbers change from boot to boot."""
    folders = sorted((root / "sys/class/hwmon").glob("hwmon*"))
    return [folder for folder in folders if _text(folder / "name") in names]


def _text(path: Path) -> str:
    """Empty where there is no such file, or it cannot be read."""
    try:
        return read_text(str(path))
    except OSError:
        return ""


def _whole_number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
