"""What a person watching a study sees: one line for the whole grid, with a time left that the runs' own speeds give."""

from __future__ import annotations

import functools
import heapq
import json
import time
from collections.abc import Collection
from dataclasses import replace

from edgedst.density import nnz_per_layer
from edgedst.progress import Progress, duration
from edgedst.runs.run import Run
from edgedst.study.found import RunIndex
from edgedst.study.grid import Point, Study, identity
from edgedst.updates import updates_for

WINDOW_SECONDS = 120.0  # a run's pace is that of the last one or two windows
RANDOM_STEP = 25  # transitions: with its share of the evaluations a quarter of a step of TD3, whose batch is 100
FIRST_PACE_SECONDS = 15.0  # sooner, one evaluation more or less would decide


class GridProgress(Progress):
    """Runs and steps done, speed of all together, time left.

    `at_once` runs are trained side by side; None: as many as move (a cluster's own affair).
    """

    def __init__(self, study: Study, index: RunIndex, at_once: int | None, shown: bool | None) -> None:
        super().__init__(sum(point.config.steps for point in study.points), 0, shown)
        self._points = study.points
        self._index = index
        self._at_once = at_once
        self._done: dict[Point, int] = {}  # steps
        self._finished: set[Point] = set()
        self._left = TimeLeft()

    def begin(self) -> None:
        """Count from what is there."""
        self.start(self._look())

    def show_when_due(self, failed: Collection[Point]) -> None:
        """Print the line once a second on a terminal, every 30 s elsewhere; failed runs have no time left."""
        if time.monotonic() < self.next_time:
            return
        self.next_time = time.monotonic() + self._period
        if self.silent:
            return
        done = self._look()
        todo = {p: self._done[p] for p in self._points if p not in self._finished and p not in failed}
        left = self._left.seconds(todo, self._at_once)
        self.renew(
            f"{len(self._finished)}/{len(self._points)} runs  {100 * done / self.steps:.1f} % of {self.steps:,} steps  "
            f"{max(0.0, self.recent_speed(done)):,.0f} steps/s  ETA {'unknown' if left is None else duration(left)}"
            + (f"  {len(failed)} FAILED" if failed else "")
        )

    def _look(self) -> int:
        """Steps of all runs; finished ones are looked at once."""
        now = time.monotonic()
        for point in self._points:
            if point in self._finished:
                continue
            run = self._index.find(point)
            if run and run.finished:
                self._finished.add(point)
                self._done[point] = point.config.steps
                self._left.finished(point, run)
                continue
            self._done[point] = min(run.step, point.config.steps) if run else 0
            self._left.at(point, self._done[point], now)
        return sum(self._done.values())


class TimeLeft:
    """How long a grid still takes, by the pace of its updates: random first steps are several times faster.

    A pace is seconds for one transition at one connection, so that a run of another batch size or density can borrow
    it. A run without a pace of its own takes that of the nearest kind of run: the same but for the seed, the same
    method on the same task, the same method, any.
    """

    def __init__(self) -> None:
        self._steps: dict[Point, int] = {}
        self._moved: set[Point] = set()
        self._marks: dict[Point, list[tuple[float, int]]] = {}  # (time, step): one to two windows ago, and at most one
        self._paces: dict[Point, float] = {}

    def at(self, point: Point, step: int, now: float) -> None:
        """A run's step as it stands; seen often."""
        before = self._steps.setdefault(point, step)
        self._steps[point] = step
        if step != before:
            self._moved.add(point)
        if point not in self._moved or step < before or before <= point.config.start_steps:
            # It waits, went back to its checkpoint, or was not learning yet: the clock starts anew.
            self._marks[point] = [(now, step)]
            return
        marks = self._marks[point]
        seconds, work = now - marks[0][0], _work(point, step) - _work(point, marks[0][1])
        if work and seconds >= FIRST_PACE_SECONDS:
            self._paces[point] = seconds / work
        if now - marks[-1][0] >= WINDOW_SECONDS:
            marks.append((now, step))
            del marks[:-2]

    def finished(self, point: Point, run: Run) -> None:
        """A whole run is the best measure of its kind: its random steps are in it."""
        seconds = run.number("seconds")
        if seconds:
            self._paces[point] = seconds / _work(point, point.config.steps)

    def seconds(self, todo: dict[Point, int], at_once: int | None) -> float | None:
        """Until the last of these runs ends, each at its step now; None while no pace is known.

        Args:
            todo: runs that are not finished, with their steps, in the order in which they start.
            at_once: how many run side by side; None: as many as have moved.
        """
        if not todo:
            return 0.0
        if not self._paces:
            return None
        pace_of = self._by_kind()
        free = [0.0] * max(1, at_once or sum(point in self._moved for point in todo))  # when each place is free
        for point in sorted(todo, key=lambda p: p not in self._moved):  # those under way hold their places
            pace = self._paces.get(point) or next(pace_of[kind] for kind in _kinds(point) if kind in pace_of)
            heapq.heapreplace(free, free[0] + pace * (_work(point, point.config.steps) - _work(point, todo[point])))
        return max(free)

    def _by_kind(self) -> dict[str, float]:
        """Mean pace by kind of run."""
        paces: dict[str, list[float]] = {}
        for point, pace in self._paces.items():
            for kind in _kinds(point):
                paces.setdefault(kind, []).append(pace)
        return {kind: sum(values) / len(values) for kind, values in paces.items()}


@functools.cache
def _kinds(point: Point) -> tuple[str, ...]:
    """Names of what a run is, from narrow to wide."""
    config = point.config
    narrow = identity(replace(config, seed=0))
    return narrow, json.dumps([config.method, config.env]), config.method, "any"


def _work(point: Point, step: int) -> int:
    """Multiply-adds of the updates up to a step, in a unit of no matter; a step without one counts as RANDOM_STEP."""
    learning_steps = max(0, step - point.config.start_steps)
    updates = updates_for(learning_steps, point.config.updates_per_step)
    others = step - min(updates, learning_steps)
    return (others * RANDOM_STEP + updates * point.config.batch_size) * _connections(point)


@functools.cache
def _connections(point: Point) -> int:
    """Of networks as wide and as sparse as the run's, on a task like HalfCheetah."""
    actor, critic = [17, *point.config.hidden, 6], [23, *point.config.hidden, 1]
    return sum(nnz_per_layer("actor", actor, point.config)) + 2 * sum(nnz_per_layer("critic", critic, point.config))
