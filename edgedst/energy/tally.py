"""Joules of a training run over all of its processes: what the meter told, and what earlier processes had counted.

The sum is in the checkpoint. It is known only if the whole run was metered by one source: joules of two sources, or
with a stretch missing, are no sum.
"""

from time import monotonic, process_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgedst.energy.meter import Meter

_SUMMED = ("joules", "samples", "gaps", "gap_seconds", "meter_cpu_seconds", "meter_reads")
_SAME = ("source", "scope", "measured")


class Tally:
    """What a run has taken since its first step; its meter is not started yet."""

    def __init__(
        self, meter: "Meter", clock: "Callable[[], float]" = monotonic, cpu_clock: "Callable[[], float]" = process_time
    ) -> None:
        self._meter = meter
        self._clock, self._cpu_clock = clock, cpu_clock
        self._before: dict[str, Any] = dict.fromkeys(_SUMMED, 0)
        self._since = ""  # what to know of the sum
        self._start, self._cpu_start = clock(), cpu_clock()

    def take_over(self, before: "dict[str, Any] | None") -> None:
        """Earlier processes have trained a part of the run; `before` is their `total`, None when they had no meter.

        Raises:
            KeyError: it is no `total`.
        """
        if before is not None and [before[name] for name in _SAME] == [self._meter.spec[name] for name in _SAME]:
            self._before = {name: before[name] for name in _SUMMED}
            return
        self._before["joules"] = None
        was = "not metered" if before is None else f"metered by {before['source']} ({before['scope']})"
        self._since = f"; earlier steps of this run were {was}, so its joules as a whole are not known"

    def begin(self) -> None:
        """The first step of this process comes now."""
        # Before the first sample: a window may then be longer than the samples that are kept.
        self._start, self._cpu_start = self._clock(), self._cpu_clock()
        self._meter.start()

    def stop(self) -> None:
        """No more samples."""
        self._meter.stop()

    def total(self) -> "dict[str, Any]":
        """Joules since the run's first step, with source, scope, gaps and what metering took. JSON-able."""
        told = self._meter.energy(self._start, self._clock(), self._cpu_clock() - self._cpu_start)
        cost = self._meter.cost()
        told["meter_cpu_seconds"], told["meter_reads"] = cost["cpu_seconds"], cost["reads"]
        for name in _SUMMED:
            before = self._before[name]
            told[name] = None if before is None or told[name] is None else before + told[name]
        return told

    def watts(self, seconds: float) -> "float | None":
        """Mean power of the last seconds; None: there was no sample."""
        now = self._clock()
        powers = self._meter.powers(now - seconds, now)
        return sum(powers) / len(powers) if powers else None

    def logged(self) -> "dict[str, Any]":
        """For a line of metrics."""
        total = self.total()
        return {"energy_joules": total["joules"], "energy_gap_seconds": total["gap_seconds"]}

    def announced(self) -> str:
        """For people, before the first step."""
        spec = self._meter.spec
        if not spec["measured"]:
            return f"energy: modelled, not measured: {spec['detail']} ({spec['scope']}){self._since}"
        rate = f"{spec['sample_hz']:.3g} samples a second"
        return f"energy: measured by {spec['source']} ({spec['scope']}): {spec['detail']}, {rate}{self._since}"

    def summed_up(self) -> str:
        """For people, after the last step."""
        total = self.total()
        if total["joules"] is None:
            return f"Energy: not known{self._since or '; ' + total['detail'].partition('; ')[2]}."
        how = f"{total['source']}, {total['scope']}" if total["measured"] else "modelled, not measured"
        gaps = f", {total['gap_seconds']:.1f} s of gaps" if total["gaps"] else ""
        cost = f"; metering took {total['meter_cpu_seconds']:.2f} CPU-seconds" if total["measured"] else ""
        return f"Energy: {total['joules']:,.1f} J ({how}){gaps}{cost}."
