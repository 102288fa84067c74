"""Which steps make an update. It follows from a step's number alone, so a run that is killed or extended stays the run.

Next to no imports: the lean trainer uses it.
"""


def updates_for(steps: int, rate: float) -> int:
    """Updates that the first so many steps of learning make together.

    Args:
        steps: those behind `start_steps`; fewer than none make none.
        rate: `updates_per_step`: N for each of them, or 1/N, one at every Nth.
    """
    if steps <= 0:
        return 0
    return int(steps * rate) if rate >= 1 else steps // round(1 / rate)


def told_rate(rate: float) -> str:
    """For people: 4, or 1/4."""
    return f"1/{round(1 / rate)}" if 0 < rate < 1 else f"{rate}"
