"""What a person watching a run sees: one line that renews itself, or a line every so often without a terminal."""

import os
import sys
import time

TERMINAL_SECONDS = 1.0
LINE_SECONDS = 30.0
WINDOW_SECONDS = 20.0  # the shown speed is that of the last one or two: random first steps would promise too much


class Progress:
    """Steps, time, speed, time left, last returns of an episode and an evaluation, memory against the budget.

    Args:
        steps: of the whole run.
        budget_bytes: what memory is held against.
        shown: False prints no progress at all; None or True renew one line on a terminal and print lines elsewhere.
        quick_steps: the first so many steps are quicker than those behind them.
        learning_seconds: so much more does each of those behind them take, as was measured; 0: nobody knows.
    """

    def __init__(
        self, steps: int, budget_bytes: int, shown: "bool | None", quick_steps: int = 0, learning_seconds: float = 0.0
    ) -> None:
        self.steps = steps
        self.quick_steps, self.learning_seconds = quick_steps, learning_seconds
        self.budget_bytes = budget_bytes
        self.silent = shown is False
        if sys.stdout is None:  # closed before Python began
            self.silent = True
        self.terminal = not self.silent and sys.stdout.isatty()
        self.episode = self.evaluation = "none yet"  # the last one's return
        self._period = TERMINAL_SECONDS if self.terminal else LINE_SECONDS
        self._start = self.next_time = time.monotonic()
        self._start_step = 0
        self._marks = ((self._start, 0), (self._start, 0))  # (time, step) one to two windows ago, and at most one
        self._printed = 0  # characters of the line that renews itself

    def start(self, step: int) -> None:
        """Begin to count from this step, the first one of this process."""
        self._start = time.monotonic()
        self._start_step = step
        self._marks = ((self._start, step), (self._start, step))
        self.next_time = self._start + self._period

    @property
    def seconds(self) -> float:
        """Since `start`."""
        return time.monotonic() - self._start

    def speed(self, step: int) -> float:
        """Environment steps a second since `start`, evaluations included."""
        return (step - self._start_step) / max(1e-9, self.seconds)

    def recent_speed(self, step: int) -> float:
        """Environment steps a second in the last one or two windows."""
        now = time.monotonic()
        older, newer = self._marks
        if now - newer[0] >= WINDOW_SECONDS:
            self._marks = (newer, (now, step))
        return (step - older[1]) / max(1e-9, now - older[0])

    def show(self, step: int, rss_bytes: int, evaluating: str = "") -> None:
        """Print the line; the next one is due at `next_time`. `evaluating`: how far an evaluation under way is."""
        self.next_time = time.monotonic() + self._period
        if self.silent:
            return
        speed = self.recent_speed(step)
        self.renew(
            f"step {step:,}/{self.steps:,}  {duration(self.seconds)}  {speed:,.0f} steps/s  "
            f"ETA {self._time_left(step, speed)}  episode {self.episode}  evaluation {evaluating or self.evaluation}  "
            f"memory {rss_bytes / 1e6:.1f}/{self.budget_bytes / 1e6:g} MB"
        )

    def _time_left(self, step: int, speed: float) -> str:
        """The time left, in words, from the speed of quick steps alone or of those behind them alone."""
        early = step < self.quick_steps < self.steps
        if early and not self.learning_seconds:
            return f"unknown before step {self.quick_steps:,}"
        if self._marks[0][1] < self.quick_steps <= step:
            self._marks = ((time.monotonic(), step),) * 2
            return "unknown"
        more = (self.steps - self.quick_steps) * self.learning_seconds if early else 0.0
        return duration((self.steps - step) / speed + more) if speed > 0 else "unknown"

    def renew(self, line: str) -> None:
        """Print the line in place of the last one on a terminal, cut to its width; below it elsewhere."""
        if self.terminal:
            line = line[: _columns() - 1]  # a wrapped line could not be renewed
        self._print(f"\r{line:<{self._printed}}" if self.terminal else f"{line}\n")
        self._printed = len(line) if self.terminal else 0

    def say(self, text: str) -> None:
        """Print a line that stays."""
        blank = f"\r{'':<{self._printed}}\r" if self._printed else ""
        self._printed = 0
        self._print(f"{blank}{text}\n")

    def _print(self, text: str) -> None:
        if sys.stdout is None:
            return
        try:
            sys.stdout.write(text)
        except OSError:
            pass
        if not flush_output():  # training goes on
            self.silent, self.terminal = True, False


def flush_output() -> bool:
    """Flush standard output; False where that cannot be, after which all that is written goes nowhere.

    A reader went away, or a disk is full. What stays in the buffer would else be told as an error when Python ends.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return False
    return True


def _columns() -> int:
    """Of the terminal; 1000 where it does not tell."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 1000
    except (OSError, ValueError):
        return 1000


def duration(seconds: float) -> str:
    """For example 1 h 05 min, 3 min 20 s."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
