"""What learning beside a machine leaves to the board: its share of time bends to heat, power and load.

The acting rate never does. A share of 0.5 means that the learning side rests as long as it works.
"""

import os
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgedst.energy.tally import Tally

THERMAL = "/sys/class/thermal"
LOOK_SECONDS = 2.0
LEAST_SHARE = 0.02
DOWN, UP = 0.8, 1.1  # what a look makes of the share
COOLER_BY = 2.0  # degrees Celsius below the limit before the share grows again
LIGHTER_BY = 0.95  # of the power's limit, likewise
TOLD_CHANGE = 1.5  # of the share, before it is told again


class Reserve:
    """Keeps the learning side inside `max_cpu`, `max_temperature` and `max_watts`.

    Args:
        config: the run's settings.
        tally: of the run's energy, where it is metered.
        thermal: folder of the thermal zones.
    """

    def __init__(self, config: "Any", tally: "Tally | None", thermal: str = THERMAL) -> None:
        self._max_temperature, self._max_watts, self._tally = config.max_temperature, config.max_watts, tally
        self._most = (config.max_cpu or 100.0) / 100.0
        self.share = self._told_share = self._most
        self._zones: list[str] = []
        if self._max_temperature is not None:
            names = os.listdir(thermal) if os.path.isdir(thermal) else []
            self._zones = [f"{thermal}/{name}/temp" for name in sorted(names) if name.startswith("thermal_zone")]
        self._reading = ""  # what was above its limit
        self._next = 0.0

    def rest(self, worked_since: float) -> None:
        """After work that began at this monotonic time: rest, so that work takes no more than the share."""
        if self.share < 1:
            sleep((monotonic() - worked_since) * (1 / self.share - 1))

    def look(self, now: float) -> None:
        """At the sensors, now and then: the share becomes smaller above a limit, and larger well below it."""
        if now < self._next or (self._max_temperature is None and self._max_watts is None):
            return
        self._next = now + LOOK_SECONDS
        above, below = "", True
        temperature = self.temperature()
        if self._max_temperature is not None and temperature is not None:
            if temperature > self._max_temperature:
                above = f"{temperature:.0f} degrees of {self._max_temperature:g}"
            below = below and temperature < self._max_temperature - COOLER_BY
        watts = self._tally.watts(2 * LOOK_SECONDS) if self._tally and self._max_watts is not None else None
        if self._max_watts is not None and watts is not None:
            if watts > self._max_watts:
                above = f"{watts:.1f} W of {self._max_watts:g}"
            below = below and watts < LIGHTER_BY * self._max_watts
        if above:
            self._reading = above
            self.share = max(LEAST_SHARE, self.share * DOWN)
        elif below:
            self.share = min(self._most, self.share * UP)

    def temperature(self) -> "float | None":
        """The hottest zone, in degrees Celsius; None: no zone can be read."""
        hottest = None
        for path in self._zones:
            try:
                with open(path, "rb") as file:  # the lean trainer does without pathlib
                    degrees = int(file.read()) / 1000
            except (OSError, ValueError):
                continue
            hottest = degrees if hottest is None else max(hottest, degrees)
        return hottest

    def missing(self) -> str:
        """What was to be limited and cannot be read, as a sentence, or ""."""
        if self._max_temperature is not None and self.temperature() is None:
            return f"No thermal zone of this board can be read ({THERMAL}): `max_temperature` has no effect."
        if self._max_watts is not None and self._tally is None:
            return "Power is not metered here: `max_watts` has no effect."
        return ""

    def word(self) -> str:
        """The share, where it has changed much since it was told; else ""."""
        change = self.share / self._told_share
        if 1 / TOLD_CHANGE < change < TOLD_CHANGE and not (self.share == self._most != self._told_share):
            return ""
        self._told_share = self.share
        if self.share == self._most:
            return "Learning has its full share again."
        return f"Learning takes {100 * self.share:.0f} % of its time: {self._reading}. Acting keeps its rate."
