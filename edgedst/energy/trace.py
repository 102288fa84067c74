"""The integrator: samples of power or energy on one clock, and the joules of any window between them.

Power is integrated by the trapezoid rule, interpolated at the window's ends. Counters give joules by differences. Where
no sample came for long there is a gap: it is counted, bridged from the samples beside it, and a window that has too
much of it, or ends in one, has no joules. Nothing here reads a sensor.
"""

# `collections` itself imports operator, keyword and reprlib.
from _collections import deque  # type: ignore[import-not-found]  # typeshed has only collections
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_GAP_SHARE = 0.1  # of a window: above this its joules would be more guessed than measured


class Point:
    """A sample, and the sums from the first one to it."""

    __slots__ = ("gap_seconds", "gaps", "joules", "number", "time", "watts")

    def __init__(
        self,
        time: float,
        watts: "float | None",
        joules: float = 0.0,
        gap_seconds: float = 0.0,
        gaps: int = 0,
        number: int = 1,
    ) -> None:
        self.time = time
        self.watts = watts  # at this time; of a counter the mean since the sample before, None at the first
        self.joules = joules
        self.gap_seconds = gap_seconds
        self.gaps = gaps
        self.number = number  # of samples, this one included


class Trace:
    """Samples in the order of their times. One thread may add while another asks.

    Args:
        limit_seconds: two samples further apart have a gap between them; at a window's ends a sample stands in for
            as long.
        kept: samples remembered. A window begins at one of them, or where the first ever was.
    """

    def __init__(self, limit_seconds: float, kept: int) -> None:
        self.limit_seconds = limit_seconds
        self._points: deque[Point] = deque(maxlen=kept)
        self._first = 0.0  # time of the first sample
        self._first_watts: float | None = None
        self._counts = False  # samples are of energy, not of power
        self._since: float | None = None
        self._lock = allocate_lock()

    def clear(self, since: float) -> None:
        """Forget every sample, and leave out those of before `since` that a file still holds."""
        with self._lock:
            self._points.clear()
            self._since = since

    def add_power(self, time: float, watts: float) -> None:
        """A sample of power. One that is not later than the last is left out."""
        with self._lock:
            if self._since is not None and time < self._since:
                return
            if not self._points:
                self._begin(time, watts)
                return
            last = self._points[-1]
            seconds = time - last.time
            if seconds > 0 and last.watts is not None:
                self._append(time, (last.watts + watts) / 2 * seconds, watts, seconds > self.limit_seconds)

    def add_energy(self, time: float, joules: "float | None") -> None:
        """Joules since the sample before (of the first one they do not count); None: not known, which is a gap."""
        self._counts = True
        with self._lock:
            if not self._points:
                self._begin(time, None)
                return
            last = self._points[-1]
            seconds = time - last.time
            if seconds <= 0:
                return
            if joules is not None:
                self._append(time, joules, joules / seconds, gap=False)
            elif last.watts is not None:
                self._append(time, last.watts * seconds, last.watts, gap=True)
            else:  # nothing yet to bridge it from
                self._points.clear()
                self._begin(time, None)

    def _begin(self, time: float, watts: "float | None") -> None:
        self._first, self._first_watts = time, watts
        self._points.append(Point(time, watts))

    def _append(self, time: float, joules: float, watts: float, gap: bool) -> None:
        last = self._points[-1]
        if self._first_watts is None:
            self._first_watts = watts
        gap_seconds = last.gap_seconds + (time - last.time if gap else 0.0)
        self._points.append(Point(time, watts, last.joules + joules, gap_seconds, last.gaps + gap, last.number + 1))

    def window(self, start: float, end: float) -> "dict[str, Any]":
        """What a window held: `joules` (None when it is not covered), `samples`, `gaps`, `gap_seconds`, `why` not.

        Raises:
            ValueError: it ends before it starts.
        """
        if end < start:
            raise ValueError(f"an energy window must end after it starts: {start} to {end}")
        with self._lock:
            return self._window(start, end)

    def _window(self, start: float, end: float) -> "dict[str, Any]":
        if not self._points:
            return {"joules": None, "samples": 0, "gaps": 1, "gap_seconds": end - start, "why": "no sample was taken"}
        lead, tail = self._first - start, end - self._points[-1].time
        opening, closing = self._at(start, False), self._at(end, True)
        samples, gaps = closing.number - opening.number, closing.gaps - opening.gaps
        gap_seconds = closing.gap_seconds - opening.gap_seconds
        why = ""
        if opening.watts is None or closing.watts is None:
            forgotten = start > self._first and self._points[0].number > 1
            why = "its start is longer ago than the samples kept" if forgotten else "a counter was read only once"
        if lead > self.limit_seconds:
            gaps, gap_seconds = gaps + 1, gap_seconds + min(lead, end - start)
            why = f"the first sample came {lead:.1f} s after its start"
        if tail > self.limit_seconds:
            gaps, gap_seconds = gaps + 1, gap_seconds + min(tail, end - start)
            why = f"the last sample came {tail:.1f} s before its end"
        if not why and gap_seconds > MOST_GAP_SHARE * (end - start):
            why = f"{gap_seconds:.1f} of its {end - start:.1f} s are gaps"
        joules = None if why else closing.joules - opening.joules
        return {"joules": joules, "samples": samples, "gaps": gaps, "gap_seconds": gap_seconds, "why": why}

    def powers(self, start: float, end: float) -> "list[float]":
        """Watts of the samples in a window, for their spread; of a counter the mean between two readings."""
        with self._lock:
            return [p.watts for p in self._points if p.watts is not None and start <= p.time <= end]

    def _at(self, time: float, closing: bool) -> Point:
        """The sums from the first sample to a moment; `watts` None: not known.

        A gap that the moment lies in counts for a window that closes there, not for one that opens there; a sample at
        the moment itself counts for both.
        """
        if time < self._first or (time == self._first and not closing):  # the first power known stands in
            watts = self._first_watts
            return Point(time, watts, (watts or 0.0) * (time - self._first), number=0)
        later: Point | None = None
        for point in reversed(self._points):
            if point.time <= time:
                break
            later = point
        else:  # forgotten
            oldest = self._points[0]
            return Point(time, None, 0.0, oldest.gap_seconds, oldest.gaps, oldest.number - 1)
        passed = time - point.time
        number = point.number - (passed == 0 and not closing)
        if later is None or passed == 0:
            watts = point.watts if passed else self._first_watts
            held = point.joules + (watts or 0.0) * passed
            return Point(time, watts, held, point.gap_seconds, point.gaps, number)
        seconds = later.time - point.time
        in_gap = later.gaps > point.gaps
        if self._counts or point.watts is None or later.watts is None:
            joules = (later.joules - point.joules) * passed / seconds
        else:
            joules = (point.watts + (later.watts - point.watts) * passed / seconds / 2) * passed
        return Point(
            time,
            later.watts,
            point.joules + joules,
            point.gap_seconds + (passed if in_gap else 0.0),
            later.gaps if in_gap and closing else point.gaps,
            number,
        )
