"""What a contender's process measures of itself: a window of steps, its memory, single actions. Lean: see `worker.py`.

Both engines' processes go through `measure`, so that the same is measured of them.
The parent (`contenders.py`) listens.
"""

import os
import sys
from time import monotonic, perf_counter, perf_counter_ns, process_time

from edgedst.budget.guard import memory
from edgedst.plain_json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Trainee(Protocol):
        """What is measured."""

        update: "Timer"

        def train(self, steps: int) -> None:
            """Go on by so many environment steps, each with an update."""

        def act(self) -> None:
            """One action from the observation at hand, in the environment's units."""

        def advance(self) -> None:
            """Take that action in the environment."""


RANDOM_STEPS = 1_000  # uniformly random ones, without updates, that the first mini-batches are drawn from
WARM_UP_STEPS = 600  # with updates, before the window begins
CALIBRATION_STEPS = 20  # between two looks at the clock

MOST_ACTIONS = 10_000
LEAST_ACTIONS = 100  # however long they take
WARM_UP_ACTIONS = 20

PREFIX = "edgedst-profile "  # of what is for the parent: an environment may print too


class Timer:
    """Calls something, and sums up how long that takes."""

    def __init__(self, call: "Callable[..., object]") -> None:
        self._call = call
        self.seconds = 0.0
        self.count = 0

    def __call__(self, **arguments: "Any") -> None:
        """Call it."""
        start = perf_counter()
        self._call(**arguments)
        self.seconds += perf_counter() - start
        self.count += 1


def measure(trainee: "Trainee", goal: "dict[str, Any]") -> "dict[str, Any]":
    """Measure a trainee that is warm.

    Args:
        trainee: see `Trainee`.
        goal: `steps` of the window, or None and then its `seconds`; `act_seconds`: at most so long for the actions.

    Returns:
        `start` and `end` of the window on CLOCK_MONOTONIC, what it took, memory at its end, and single actions.
    """
    steps = 0
    update = trainee.update
    tell({"mark": "begin"})
    updates, update_seconds = update.count, update.seconds
    cpu, start = process_time(), monotonic()
    if goal["steps"]:
        trainee.train(goal["steps"])
        steps = goal["steps"]
    while not goal["steps"] and (steps == 0 or monotonic() - start < goal["seconds"]):
        trainee.train(CALIBRATION_STEPS)
        steps += CALIBRATION_STEPS
    end, cpu = monotonic(), process_time() - cpu
    updates, update_seconds = update.count - updates, update.seconds - update_seconds
    tell({"mark": "end"})
    return {
        "start": start,
        "end": end,
        "cpu_seconds": cpu,
        "steps": steps,
        "updates": updates,
        "update_seconds": update_seconds,
        "peak_bytes": memory()[1],
        "pss_bytes": pss_bytes(),
        "actions": single_actions(trainee, goal["act_seconds"]),
    }


def single_actions(trainee: "Trainee", seconds: float) -> "dict[str, float]":
    """p50, p99 and max of the microseconds of one action, and the count; the environment moves on between two."""
    taken = memoryview(bytearray(8 * MOST_ACTIONS)).cast("q")  # nanoseconds
    for _ in range(WARM_UP_ACTIONS):
        trainee.act()
        trainee.advance()
    count, end = 0, monotonic() + seconds
    while count < MOST_ACTIONS and (count < LEAST_ACTIONS or monotonic() < end):
        start = perf_counter_ns()
        trainee.act()
        taken[count] = perf_counter_ns() - start
        trainee.advance()
        count += 1
    ordered = sorted(taken[:count])
    # Nearest rank: the least one that a share of at least p does not exceed.
    p50, p99 = (ordered[-(-count * percent // 100) - 1] / 1000 for percent in (50, 99))
    return {"p50": p50, "p99": p99, "max": ordered[-1] / 1000, "count": count}


def pss_bytes() -> "int | None":
    """Resident memory with each shared page divided among its users; None where the kernel does not tell."""
    try:
        descriptor = os.open("/proc/self/smaps_rollup", os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    start = text.find(b"\nPss:")
    return int(text[start + 5 : text.index(b"kB", start)]) * 1024 if start >= 0 else None


def tell(line: "dict[str, Any]") -> None:
    """A line for the parent."""
    sys.stdout.write(f"{PREFIX}{dumps(line)}\n")
    sys.stdout.flush()
