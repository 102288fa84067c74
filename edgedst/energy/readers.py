"""Reads a power source: files of sysfs, energy counters, the Raspberry Pi 5's PMIC, an external meter's CSV.

Each reader is made from the JSON spec that `sources.py` found in the front end, and puts its samples into a trace.
What cannot be read raises OSError or ValueError; the meter counts that as a missing sample. Lean: the trainer runs it.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgedst.energy.trace import Trace

    Clock = Callable[[], float]

# A counter may wrap about every minute under load: after this long without a reading it may have done so twice.
COUNTER_SECONDS = 30.0
CSV_CHUNK_BYTES = 8_192  # its lines, as Python keeps them, take eight times as much of the trainer's budget

# The property interface of the firmware, as `vcgencmd` uses it: a request of words around a text.
# Source: github.com/raspberrypi/utils vcgencmd.c, and drivers/char/broadcom/vcio.c in github.com/raspberrypi/linux.
_GET_GENCMD_RESULT = 0x00030080
_GENCMD_TEXT_BYTES = 4096  # the longest answer of the firmware (raspberrypi/utils pull request 187)
_POINTER_BYTES = 8 if sys.maxsize > 2**32 else 4
_IOCTL_MBOX_PROPERTY = 3 << 30 | _POINTER_BYTES << 16 | 100 << 8  # _IOWR(100, 0, char *)
_SUCCESS = 0x80000000


def read_text(path: str) -> str:
    """A small file of sysfs, without its newline or NUL."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).decode("utf-8", "replace").strip("\0 \n")
    finally:
        os.close(descriptor)


class Reader:
    """What all readers have: a spec, the clock of the samples' times, and the clock of an external meter's file."""

    in_time = True  # it has to be read when the sample is due; a file of another's samples can be read later
    children_seconds = 0.0  # CPU time of processes that reading takes, beside this one's

    def __init__(self, spec: "dict[str, Any]", clock: "Clock", unix: "Clock") -> None:
        self._spec = spec
        self._clock, self._unix = clock, unix

    def sample(self, trace: "Trace") -> None:
        """Put what is read now into the trace."""
        raise NotImplementedError


class PowerFiles(Reader):
    """Power from files: the sum over `terms`, [[paths, scale], ...], of the files' product times the scale to watts."""

    def watts(self) -> float:
        """One reading."""
        total = 0.0
        for paths, scale in self._spec["terms"]:
            product: float = scale
            for path in paths:
                product *= int(read_text(path))
            total += product
        return total

    def sample(self, trace: "Trace") -> None:
        """A reading, at the middle of the time that it takes: a register behind I2C needs half a millisecond."""
        before = self._clock()
        watts = self.watts()
        trace.add_power((before + self._clock()) / 2, watts)


class Battery(PowerFiles):
    """What flows out of the batteries; while one of them charges, or none discharges, there is no reading.

    The spec has `states` beside its `terms`: paths of the batteries' `status`.
    """

    def watts(self) -> float:
        """One reading. Drivers differ in the sign of what flows out."""
        states = [read_text(path) for path in self._spec["states"]]
        if "Discharging" not in states or "Charging" in states:
            raise ValueError(f"the battery is not discharging ({', '.join(states)})")
        return abs(super().watts())


class Counters(Reader):
    """Energy counters in microjoules that wrap, summed: the spec's `counters`, [[path, largest value or None], ...]."""

    def __init__(self, spec: "dict[str, Any]", clock: "Clock", unix: "Clock") -> None:
        super().__init__(spec, clock, unix)
        self._last: list[int] = []
        self._last_time = 0.0

    def sample(self, trace: "Trace") -> None:
        """The joules since the last reading; not known where a counter wrapped whose largest value is not."""
        now = self._clock()
        counters = self._spec["counters"]
        values = [int(read_text(path)) for path, _ in counters]
        joules: float | None = 0.0
        for value, last, (_, most) in zip(values, self._last, counters):  # noqa: B905  # no last ones at first
            step = value - last
            if step < 0 and most is not None:
                step += most
            joules = None if step < 0 or joules is None else joules + step / 1e6
        if now - self._last_time > COUNTER_SECONDS:
            joules = None
        self._last, self._last_time = values, now
        trace.add_energy(now, joules)


class Pmic(PowerFiles):
    """The sum of volts times amperes over the rails of the Raspberry Pi 5's PMIC.

    The spec has the `device` to ask by ioctl, or None and the `program`, which is a vcgencmd to run.
    """

    def watts(self) -> float:
        """One reading of all rails."""
        if self._spec["device"] is not None:
            return pmic_watts(gencmd(self._spec["device"], "pmic_read_adc"))
        text, seconds = run_program(self._spec["program"], "pmic_read_adc")
        self.children_seconds += seconds
        return pmic_watts(text)


def pmic_watts(text: str) -> float:
    """Watts in an answer to `pmic_read_adc`: lines like `VDD_CORE_A current(7)=0.5A` and `VDD_CORE_V volt(15)=0.7V`.

    A rail that has only volts (EXT5V, BATT) says nothing of power.

    Raises:
        ValueError: there is no rail with both.
    """
    amperes: dict[str, float] = {}
    volts: dict[str, float] = {}
    for line in text.split("\n"):
        name, _, value = line.strip().partition("=")
        name = name.partition(" ")[0]
        if name[-2:] == "_A" and value[-1:] == "A":
            amperes[name[:-2]] = float(value[:-1])
        elif name[-2:] == "_V" and value[-1:] == "V":
            volts[name[:-2]] = float(value[:-1])
    rails = [rail for rail in amperes if rail in volts]
    if not rails:
        raise ValueError(f"the firmware told no rail's volts and amperes: {text.strip()[:80]!r}")
    return sum([amperes[rail] * volts[rail] for rail in rails])


def gencmd(device: str, command: str) -> str:
    """What the firmware answers to a command of `vcgencmd`, asked by ioctl: no process, no root.

    Raises:
        OSError: the device cannot be opened or does not understand.
        ValueError: the firmware refuses.
    """
    import fcntl

    request = bytearray(4 * 7 + _GENCMD_TEXT_BYTES)  # six words, the text, and a last word of 0
    words = memoryview(request).cast("I")
    words[0], words[2], words[3] = len(request), _GET_GENCMD_RESULT, _GENCMD_TEXT_BYTES
    request[24 : 24 + len(command)] = command.encode()
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _IOCTL_MBOX_PROPERTY, request, True)
    finally:
        os.close(descriptor)
    if words[1] != _SUCCESS or words[5]:
        raise ValueError(f"the firmware refuses {command} ({words[1]:#x}, {words[5]})")
    return request[24:].partition(b"\0")[0].decode("ascii", "replace")


def run_program(program: str, argument: str) -> "tuple[str, float]":
    """What a program prints, and the CPU-seconds that it took. Not `subprocess`, which imports a great deal."""
    reading, writing = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writing, 1)]
        pid = os.posix_spawn(program, [program, argument], os.environ, file_actions=actions)
        os.close(writing)
        writing = -1
        text = b""
        while part := os.read(reading, 4096):
            text += part
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise ValueError(f"{program} {argument} failed with status {status}")
    return text.decode("ascii", "replace"), used.ru_utime + used.ru_stime


class CsvFile(Reader):
    """An external meter's `file`, which grows while it is read: lines of Unix seconds and watts."""

    in_time = False

    def __init__(self, spec: "dict[str, Any]", clock: "Clock", unix: "Clock") -> None:
        super().__init__(spec, clock, unix)
        self._read_bytes = 0

    def sample(self, trace: "Trace") -> None:
        """All lines that are new and whole. What is no number is left out, and misses as a sample."""
        # Taken anew each time: the host's Unix clock is set now and then, and the meter's is assumed to be right.
        ahead = self._clock() - self._unix()
        descriptor = os.open(self._spec["file"], os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size < self._read_bytes:  # the meter's logger began it anew
                self._read_bytes = 0
            while True:
                whole, newline, _ = os.pread(descriptor, CSV_CHUNK_BYTES, self._read_bytes).rpartition(b"\n")
                if not newline:
                    return
                self._read_bytes += len(whole) + 1
                for line in whole.split(b"\n"):
                    sample = csv_sample(line)
                    if sample is not None:
                        trace.add_power(sample[0] + ahead, sample[1])
        finally:
            os.close(descriptor)


def csv_sample(line: bytes) -> "tuple[float, float] | None":
    """(Unix seconds, watts), or None for a line that does not begin with two numbers, such as a header."""
    cells = line.split(b",")
    try:
        seconds, watts = float(cells[0]), float(cells[1])
    except (ValueError, IndexError):
        return None
    finite = seconds - seconds == 0 and watts - watts == 0
    return (seconds, watts) if finite else None


_READERS: "dict[str, type[Reader]]" = {
    "power": PowerFiles,
    "battery": Battery,
    "pmic": Pmic,
    "counters": Counters,
    "csv": CsvFile,
}


def reader_of(spec: "dict[str, Any]", clock: "Clock", unix: "Clock") -> "Reader | None":
    """The reader that a spec asks for; None for a model, which reads nothing."""
    return None if spec["kind"] == "model" else _READERS[spec["kind"]](spec, clock, unix)
