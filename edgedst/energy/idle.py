"""What a host takes before anything runs: the baseline that "above idle" is above."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

from edgedst.energy.meter import Meter
from edgedst.spread import mean_and_sd


def measure(
    meter: Meter, seconds: float, clock: Callable[[], float] = monotonic, wait: Callable[[float], None] = sleep
) -> dict[str, float | None]:
    """Mean power and its spread while this process sleeps; the meter is started.

    Returns:
        watts and sd_watts (sample standard deviation of the samples; None where not known: no samples, a model),
        and the seconds that it took.
    """
    start = clock()
    wait(seconds)
    end = clock()
    told = meter.energy(start, end, cpu_seconds=0.0)
    known = told["joules"] is not None and end > start
    powers = meter.powers(start, end) if known else []
    sd = mean_and_sd(powers)[1] if powers else None
    return {"watts": told["joules"] / (end - start) if known else None, "sd_watts": sd, "seconds": end - start}
