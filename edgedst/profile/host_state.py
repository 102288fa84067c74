"""The state that the machine is in: frequencies, governors, temperature, throttling, load; and counters of a window.

Read from /proc and /sys under a `root`, and from the boards' own tools where they are: Raspberry Pi's vcgencmd,
NVIDIA's nvpmodel. What a machine does not tell is None.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TOOL_SECONDS = 5.0  # that a board's tool may take

# Bits of `vcgencmd get_throttled`: now, and 16 higher since the board was started.
_THROTTLED_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
# hwmon drivers of CPUs' own sensors, for machines without a thermal zone (AMD).
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower")


@dataclass(frozen=True)
class Core:
    """A core's clock, as cpufreq tells it."""

    mhz: float | None
    governor: str | None
    min_mhz: float | None
    max_mhz: float | None


@dataclass(frozen=True)
class State:
    """One look at the machine."""

    cores: list[Core]
    celsius: float | None  # of the CPU; of the hottest zone where none is named after it
    throttled: list[str] | None  # what held the clock back, in words; empty: nothing; None: it cannot be told
    power_mode: str | None  # of a Jetson
    load: float | None  # mean number of runnable processes over a minute

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class Counters:
    """What only grows; two of them tell what happened between."""

    busy_seconds: float | None  # CPU time of all processes, that taken by a hypervisor's other guests included
    swapped_pages: int | None  # in and out
    throttle_events: int | None  # of x86 cores
    fastest_mhz: float | None  # does not grow: the fastest core's clock at this moment


def read_state(root: Path = Path("/")) -> State:
    """The state now; on a Jetson or Raspberry Pi this runs the board's tool."""
    load = _text(root / "proc/loadavg").split()
    return State(_cores(root), _celsius(root), _throttled(root), _power_mode(root), float(load[0]) if load else None)


def read_counters(root: Path = Path("/")) -> Counters:
    """The counters now; some reads of small files."""
    fields = _text(root / "proc/stat").partition("\n")[0].split()[1:]
    busy = None
    if len(fields) >= 8:
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    swapped = [int(n) for n in re.findall(r"^pswp(?:in|out) (\d+)", _text(root / "proc/vmstat"), re.MULTILINE)]
    events = [_number(path) for path in _cpus(root, "thermal_throttle/core_throttle_count")]
    known_events = [int(value) for value in events if value is not None]
    clocks = [clock for path in _cpus(root, "cpufreq/scaling_cur_freq") if (clock := _mhz(path)) is not None]
    return Counters(
        busy, sum(swapped) if swapped else None, sum(known_events) if known_events else None, max(clocks, default=None)
    )


def _cpus(root: Path, below: str) -> list[Path]:
    """A file of each core, in the cores' order."""
    paths = (root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{below}")
    return sorted(paths, key=lambda path: int(re.findall(r"/cpu(\d+)/", str(path))[-1]))


def _cores(root: Path) -> list[Core]:
    return [
        Core(
            _mhz(folder / "scaling_cur_freq"),
            _text(folder / "scaling_governor") or None,
            _mhz(folder / "scaling_min_freq"),
            _mhz(folder / "scaling_max_freq"),
        )
        for folder in _cpus(root, "cpufreq")
    ]


def _celsius(root: Path) -> float | None:
    zones = [
        (_text(zone / "type").lower(), milli / 1000)
        for zone in (root / "sys/class/thermal").glob("thermal_zone*")
        if (milli := _number(zone / "temp")) is not None
    ]
    of_cpu = [celsius for name, celsius in zones if "cpu" in name or "pkg" in name]
    if of_cpu or zones:
        return max(of_cpu or [celsius for _, celsius in zones])
    sensors = [
        milli / 1000
        for chip in (root / "sys/class/hwmon").glob("hwmon*")
        if _text(chip / "name") in _CPU_SENSORS and (milli := _number(chip / "temp1_input")) is not None
    ]
    return max(sensors, default=None)


def _throttled(root: Path) -> list[str] | None:
    """The firmware's own bits, and cooling devices that hold a clock down at this moment."""
    words: list[str] = []
    told = False
    answer = _tool(root, "vcgencmd", "get_throttled")
    if bits := re.search(r"throttled=(0x[0-9a-fA-F]+)", answer):
        told = True
        for bit, name in enumerate(_THROTTLED_BITS):
            if int(bits[1], 16) >> bit & 1:
                words.append(f"{name} now")
            elif int(bits[1], 16) >> (16 + bit) & 1:
                words.append(f"{name} since the start of the board")
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        kind, state = _text(device / "type"), _number(device / "cur_state")
        if "cpufreq" in kind and state is not None:
            told = True
            if state > 0:
                words.append(f"{kind} at {state:.0f}")
    return words if told else None


def _power_mode(root: Path) -> str | None:
    mode = re.search(r"NV Power Mode:\s*(\S+)", _tool(root, "nvpmodel", "-q"))
    return mode[1] if mode else None


def _tool(root: Path, name: str, *arguments: str) -> str:
    """What a board's tool prints; empty where there is none, or it fails."""
    places = [root / folder / name for folder in ("usr/bin", "usr/sbin", "opt/vc/bin")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _mhz(path: Path) -> float | None:
    khz = _number(path)
    return khz / 1000 if khz is not None else None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    """A small file; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
