"""Quantiles of many times, in fixed memory: a long run cannot keep them all."""

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
