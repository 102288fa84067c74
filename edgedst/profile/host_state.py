"""The state that the machine is in: frequencies, governors, temperature, throttling, load; and counters of a window.

psutil reads temperature, load and CPU time. By hand, under a `root`, and why:
- clocks: psutil has one for all cores that share a policy, and no governors;
- swapping: psutil says 0 where the kernel does not tell;
- throttling and power modes: psutil has none. The boards' own tools say it: vcgencmd, nvpmodel.
What a machine does not tell is None.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

TOOL_SECONDS = 5.0  # that a board's tool may take

# Bits of `vcgencmd get_throttled`: now, and 16 higher since the board was started.
_THROTTLED_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
_CPU_SENSORS = ("cpu", "pkg", "coretemp", "k10temp", "zenpower")  # what the names of CPUs' sensors hold


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


@dataclass(frozen=True)
class Counters:
    """What only grows; two of them tell what happened between."""

    busy_seconds: float | None  # CPU time of all processes, that taken by a hypervisor's other guests included
    swapped_pages: int | None  # in and out
    throttle_events: int | None  # of x86 cores
    fastest_mhz: float | None  # does not grow: the fastest core's clock at this moment
    at: float  # time.monotonic()


def read_state(root: Path = Path("/")) -> State:
    """The state now; on a Jetson or Raspberry Pi this runs the board's tool."""
    return State(_cores(root), _celsius(), _throttled(root), _power_mode(root), psutil.getloadavg()[0])


def read_counters(root: Path = Path("/")) -> Counters:
    """The counters now; some reads of small files."""
    times, now = psutil.cpu_times(), time.monotonic()
    busy = sum(getattr(times, name) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
    swapped = [int(n) for n in re.findall(r"^pswp(?:in|out) (\d+)", _text(root / "proc/vmstat"), re.MULTILINE)]
    counts = [_number(path) for path in _cpus(root, "thermal_throttle/core_throttle_count")]
    events = [int(count) for count in counts if count is not None]
    clocks = [clock for path in _cpus(root, "cpufreq/scaling_cur_freq") if (clock := _mhz(path)) is not None]
    swaps, throttles = sum(swapped) if swapped else None, sum(events) if events else None
    return Counters(busy, swaps, throttles, max(clocks, default=None), now)


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


def _celsius() -> float | None:
    sensors = [
        (f"{chip} {sensor.label}".lower(), float(sensor.current))
        for chip, of_chip in psutil.sensors_temperatures().items()
        for sensor in of_chip
    ]
    of_cpu = [celsius for name, celsius in sensors if any(word in name for word in _CPU_SENSORS)]
    return max(of_cpu or [celsius for _, celsius in sensors], default=None)


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
