"""How well time was kept, in fixed memory: a long run cannot keep all of its times."""

from math import exp, log

STEP = 0.02  # two neighbouring bins differ by 2 %
SMALLEST = 1.0  # what is below counts as this
BINS = 1000  # up to 4.8e8: eight minutes in microseconds


class Histogram:
    """Counts values from 1 to 4.8e8 in bins of 2 %; larger ones in the last. The largest is kept as it is."""

    def __init__(self) -> None:
        self.count = 0
        self.largest = 0.0
        self._bins = memoryview(bytearray(4 * BINS)).cast("I")

    def add(self, value: float) -> None:
        """Count a value."""
        self.count += 1
        self.largest = max(self.largest, value)
        index = int(log(max(SMALLEST, value) / SMALLEST) / STEP)
        self._bins[min(index, BINS - 1)] += 1

    def quantile(self, share: float) -> float:
        """The value that this share of the counted ones does not exceed, to 2 %; 1: the largest; 0 of none."""
        if share >= 1 or not self.count:
            return self.largest
        left = share * self.count
        for index, counted in enumerate(self._bins):
            left -= counted
            if left <= 0:
                return min(self.largest, SMALLEST * exp((index + 1) * STEP))
        return self.largest

    def clear(self) -> None:
        """Count anew."""
        self.count, self.largest = 0, 0.0
        self._bins[:] = memoryview(bytearray(4 * BINS)).cast("I")


class KeptTime:
    """Of some periods: how many were missed, jitter, observation to action, the age of the weights that acted.

    Args:
        rate_hz: that is to be kept.
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz, self._period_ns = rate_hz, round(1e9 / rate_hz)
        self._jitter_us, self._latency_us, self._age_ms = Histogram(), Histogram(), Histogram()
        self.missed = self._late = 0  # _late: steps that began behind half of their period, which is in `missed`, too

    @property
    def steps(self) -> int:
        """That were counted."""
        return self._jitter_us.count

    @property
    def periods(self) -> int:
        """That have passed, kept and missed."""
        return self.steps - self._late + self.missed

    def add(self, missed: int, jitter_us: float, latency_us: float, age_ms: "float | None") -> None:
        """A step.

        Args:
            missed: periods since the one before, its own included where it began behind half of that.
            jitter_us: how late it began.
            latency_us: from the end of reading to the end of applying; 0: it ended an episode, nothing was applied.
            age_ms: since the weights that acted were handed over; None: they have learnt nothing yet.
        """
        self.missed += missed
        self._late += 2 * (round(1e3 * jitter_us) % self._period_ns) > self._period_ns
        self._jitter_us.add(jitter_us)
        if latency_us:
            self._latency_us.add(latency_us)
            if age_ms is not None:
                self._age_ms.add(age_ms)

    def told(self) -> "dict[str, float]":
        """For metrics.jsonl and summary.json, in ms."""
        told = {
            "rate_kept_hz": round(self._rate_hz * self.steps / max(1, self.periods), 3),
            "missed_periods": self.missed,
        }
        for name, histogram in (("jitter", self._jitter_us), ("observation_to_action", self._latency_us)):
            for share, of in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
                told[f"{name}_{share}_ms"] = round(histogram.quantile(of) / 1e3, 3)
        for share, of in (("p50", 0.5), ("max", 1.0)):
            told[f"weights_age_{share}_ms"] = round(self._age_ms.quantile(of), 1)
        return told

    def clear(self) -> None:
        """Count anew."""
        self.missed = self._late = 0
        for histogram in (self._jitter_us, self._latency_us, self._age_ms):
            histogram.clear()
