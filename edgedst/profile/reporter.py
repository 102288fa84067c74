"""What a person who waits for a profile sees: rich's bar on a terminal, a line a turn elsewhere; all on stderr.

It draws once a second at most and has no thread: on a board with few cores the watcher must not cost what it watches.
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from edgedst.progress import duration


class Reporter:
    """See `measure.Watch`.

    Args:
        shown: False tells nothing; None or True draws on a terminal and prints lines elsewhere.
        console: where to; stderr.
    """

    def __init__(self, shown: bool | None, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._silent = shown is False
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._total = self._done = 0.0  # seconds, as expected
        self._turn_seconds = self._turn_start = 0.0

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._silent:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, seconds: float) -> None:
        """The rounds begin, and should take so long."""
        self._total = seconds
        if self._silent or not self._console.is_terminal:
            return
        columns = (BarColumn(), TextColumn("{task.description}", markup=False))
        self._progress = Progress(*columns, console=self._console, auto_refresh=False, transient=True)
        self._bar = self._progress.add_task("", total=seconds)
        self._progress.start()

    def turn(self, told: str, seconds: float) -> None:
        """A contender's turn begins; it should take so long."""
        self._turn_seconds, self._turn_start = seconds, time.monotonic()
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, description=told)
        self._told = told
        self.tick()

    def tick(self) -> None:
        """Draw how far it is."""
        if self._progress is None or self._bar is None:
            return
        done = self._done + min(self._turn_seconds, time.monotonic() - self._turn_start)
        left = duration(max(0.0, self._total - done))
        self._progress.update(self._bar, completed=done, description=f"{self._told}; about {left} left", refresh=True)

    def turned(self, told: str) -> None:
        """The turn is over."""
        self._done += self._turn_seconds
        self.say(f"{told}; about {duration(max(0.0, self._total - self._done))} left")

    def end(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
