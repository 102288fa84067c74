"""The energy meter: samples one source in a thread of its own and tells the joules of any window since it started.

Every figure says its source, its scope and whether it was measured; what is not known is None, never 0. Lean: the
trainer runs it within its budget.
"""

from _thread import allocate_lock, stack_size, start_new_thread
from time import monotonic, thread_time, time

from edgedst.energy.readers import reader_of
from edgedst.energy.trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STACK_BYTES = 262_144  # of the thread; the usual 8 MB would count against RLIMIT_DATA
GAP_PERIODS = 5  # as many samples missed are a gap,
GAP_SECONDS = 2.0  # but not less than this: on a busy board a thread is late where its sensor is well
KEPT = 100_000  # samples remembered: almost three hours at 10 a second
STOP_SECONDS = 5.0  # a sensor that hangs is not waited for longer


class Meter:
    """One source of power.

    Args:
        spec: from `sources.choose`.
        clock: of the windows; CLOCK_MONOTONIC.
        unix: the clock of an external meter's file.
        kept: samples remembered, see `Trace`.
        threaded: False takes samples only when `sample` is called. An external meter's file needs no thread: it is
            read when a window is asked for.
    """

    def __init__(
        self,
        spec: "dict[str, Any]",
        clock: "Callable[[], float]" = monotonic,
        unix: "Callable[[], float]" = time,
        kept: int = KEPT,
        threaded: bool = True,
    ) -> None:
        self.spec = spec
        self.measured: bool = spec["measured"]
        self._clock = clock
        self._reader = reader_of(spec, clock, unix)
        self._threaded = threaded and self._reader is not None and self._reader.in_time
        self._period = 1 / spec["sample_hz"] if self._reader else 0.0
        self._trace = Trace(max(GAP_SECONDS, GAP_PERIODS * self._period), kept)
        self._stop, self._ready, self._ended = allocate_lock(), allocate_lock(), allocate_lock()
        self._running = False
        self._cpu_seconds, self._reads = 0.0, 0
        self._fault = ""  # what the last reading failed with

    def start(self) -> None:
        """Take a first sample, and go on in a thread until `stop`. Samples of an earlier start are forgotten."""
        self._trace.clear(self._clock())
        if not self._threaded:
            self.sample()
            return
        for lock in (self._stop, self._ready, self._ended):
            lock.acquire(blocking=False)
        before = stack_size(STACK_BYTES)
        try:
            start_new_thread(self._loop, ())
        finally:
            stack_size(before)
        self._running = True
        self._ready.acquire(timeout=STOP_SECONDS)

    def stop(self) -> None:
        """End the thread; windows up to now can still be asked for."""
        if self._running:
            self._running = False
            self._stop.release()
            self._ended.acquire(timeout=STOP_SECONDS)

    def _loop(self) -> None:
        self.sample()
        self._ready.release()
        due = self._clock() + self._period
        while not self._stop.acquire(timeout=max(0.0, due - self._clock())):
            self.sample()
            due = max(due + self._period, self._clock())  # samples that are late are not made up for
        self._ended.release()

    def sample(self) -> None:
        """Take one sample now. A reading that fails is a sample that is missing, not the end."""
        if self._reader is None:
            return
        before = thread_time()
        try:
            self._reader.sample(self._trace)
            self._fault = ""
        except (OSError, ValueError, MemoryError) as error:
            self._fault = str(error)
        self._reads += 1
        self._cpu_seconds += thread_time() - before

    def energy(self, start: float, end: float, cpu_seconds: "float | None" = None) -> "dict[str, Any]":
        """Joules from `start` to `end`, in seconds of the meter's clock.

        Args:
            start: not before the meter's own start.
            end: not after now.
            cpu_seconds: of the process within the window; what the model needs, and nothing else.

        Returns:
            joules (None where the window is not covered), source, scope, measured, sample_hz (asked for), samples,
            gaps, gap_seconds, and detail: what was read, and why joules is None.
        """
        spec = self.spec
        if self._reader is None:
            joules = None
            if cpu_seconds is not None:
                joules = spec["idle_watts"] * (end - start) + spec["core_watts"] * cpu_seconds
            window = {"joules": joules, "samples": 0, "gaps": 0, "gap_seconds": 0.0}
            window["why"] = "" if joules is not None else "the model needs the CPU-seconds of the window"
        else:
            if not self._reader.in_time:
                self.sample()
            window = self._trace.window(start, end)
        detail, why = spec["detail"], window.pop("why")
        if why:
            detail += f"; {why}" + (f" ({self._fault})" if self._fault else "")
        told = {name: spec[name] for name in ("source", "scope", "measured", "sample_hz")}
        return {"joules": window.pop("joules"), **told, **window, "detail": detail}

    def powers(self, start: float, end: float) -> "list[float]":
        """Watts of the samples in a window; none of a model."""
        return self._trace.powers(start, end)

    def cost(self) -> "dict[str, Any]":
        """What metering itself took: `cpu_seconds` (programs that it ran included) and `reads`."""
        children = self._reader.children_seconds if self._reader else 0.0
        return {"cpu_seconds": self._cpu_seconds + children, "reads": self._reads}
