"""What a host takes before anything runs: the baseline that "above idle" is above."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from time import monotonic, sleep

from edgedst.energy.meter import Meter


def measure(
    meter: Meter, seconds: float, clock: Callable[[], float] = monotonic, wait: Callable[[float], None] = sleep
) -> dict[str, float | None]:
    """Mean power and its spread while this process sleeps.

    Args:
        meter: started.
        seconds: to wait.
        clock: the meter's.
        wait: sleeps.

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
    mean = sum(powers) / len(powers) if powers else 0.0
    sd = sqrt(sum((watts - mean) ** 2 for watts in powers) / (len(powers) - 1)) if len(powers) > 1 else None
    return {"watts": told["joules"] / (end - start) if known else None, "sd_watts": sd, "seconds": end - start}
