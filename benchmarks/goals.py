"""The goals of an update's time: which runs measure them, and what was measured beside what was wanted.

A goal compares two sides of one run, which times them in turns. There are two tables: the first goals, and those of
high sparsity.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from actors import edgedst_actor, onnxruntime_actors
from blas_floor import blas_floor
from learners import Case, edgedst_learner, pytorch_learner
from timing import Side, in_turns, progress, ratio, report, table

BASE = Case()  # 17/6, [256, 256], batch 100, density 0.5
HUMANOID = Case(observation=376, action=17)
WIDE = Case(hidden=1024, density=0.05)
ACTIONS = 30  # actions timed where an update is: they take that much less


@dataclass(frozen=True)
class Goal:
    """`side` takes at most `limit` of the time of `against`."""

    text: str
    limit: float
    side: str
    against: str


@dataclass(frozen=True)
class Comparison:
    """Sides that are timed in turns, and the goals that they answer."""

    title: str
    make: Callable[[], dict[str, Side | None]]  # None: its package is not installed
    goals: tuple[Goal, ...]
    scale: float = 1.0  # of the steps a block
    same_result: bool = False  # the sides must end with bitwise the same parameters


def dense(case: Case) -> Case:
    """The same at density 1."""
    return replace(case, density=1.0)


def base_sides() -> dict[str, Side | None]:
    """Ours against all three baselines."""
    return {
        "edgedst": edgedst_learner(BASE),
        "edgedst_dense": edgedst_learner(dense(BASE)),
        "blas_floor": blas_floor(BASE),
        "pytorch_dense": pytorch_learner(BASE),
    }


def against_pytorch(case: Case) -> dict[str, Side | None]:
    """Ours against PyTorch."""
    return {"edgedst": edgedst_learner(case), "pytorch_dense": pytorch_learner(case)}


def against_own_dense(case: Case, *densities: float) -> dict[str, Side | None]:
    """Ours at each density against ours at density 1."""
    sides = {f"edgedst_{density:g}": edgedst_learner(replace(case, density=density)) for density in densities}
    return {**sides, "edgedst_dense": edgedst_learner(dense(case))}


def by_threads() -> dict[str, Side | None]:
    """The same learner twice, on one thread and on two; the second is None where there is one CPU."""
    case = replace(BASE, batch=256)
    second = edgedst_learner(replace(case, threads=2)) if len(os.sched_getaffinity(0)) > 1 else None
    return {"one_thread": edgedst_learner(case), "two_threads": second}


def wide(limit: float) -> Comparison:
    """Wide and very sparse layers; `limit` of our dense ones' time."""
    goal = Goal("[1024, 1024], 95 % sparsity, against our dense", limit, "edgedst_0.05", "edgedst_dense")
    return Comparison(f"wide: {WIDE}", lambda: against_own_dense(WIDE, WIDE.density), (goal,), scale=0.2)


def two_threads(half: str) -> Comparison:
    """Two threads against one; `half` says the density of BASE in a table's words."""
    goal = Goal(f"two threads against one, batch 256, {half}", 0.60, "two_threads", "one_thread")
    return Comparison("two threads against one, batch 256", by_threads, (goal,), same_result=True)


def one_action(half: str) -> Comparison:
    """An action of ours against onnxruntime's; `half` as in `two_threads`."""
    goal = Goal(f"one action, {half}, against onnxruntime's dense", 0.50, "edgedst", "onnxruntime_dense")
    return Comparison(
        "one action", lambda: {"edgedst": edgedst_actor(BASE), **onnxruntime_actors(BASE)}, (goal,), scale=ACTIONS
    )


RUNS = (
    Comparison(
        f"{BASE}, density {BASE.density:g}",
        base_sides,
        (
            Goal("batch 100, density 0.5, against the BLAS floor", 0.70, "edgedst", "blas_floor"),
            Goal("batch 100, density 0.5, against PyTorch dense", 0.22, "edgedst", "pytorch_dense"),
            Goal("batch 100, density 0.5, against our dense", 0.62, "edgedst", "edgedst_dense"),
            Goal("batch 100, our dense against PyTorch dense", 0.40, "edgedst_dense", "pytorch_dense"),
        ),
    ),
    Comparison(
        "the same at batch 256",
        lambda: against_pytorch(replace(BASE, batch=256)),
        (Goal("batch 256, density 0.5, against PyTorch dense", 0.30, "edgedst", "pytorch_dense"),),
    ),
    Comparison(
        f"{BASE}, at more sparsity",
        lambda: against_own_dense(BASE, 0.2, 0.1, 0.05),
        (
            Goal("80 % sparsity against our dense", 0.35, "edgedst_0.2", "edgedst_dense"),
            Goal("90 % sparsity against our dense", 0.22, "edgedst_0.1", "edgedst_dense"),
            Goal("95 % sparsity against our dense", 0.16, "edgedst_0.05", "edgedst_dense"),
        ),
    ),
    Comparison(
        f"Humanoid's sizes: {HUMANOID}",
        lambda: against_pytorch(HUMANOID),
        (Goal("376/17, density 0.5, against PyTorch dense", 0.35, "edgedst", "pytorch_dense"),),
    ),
    wide(0.10),
    two_threads("density 0.5"),
    one_action("density 0.5"),
)

HIGH_SPARSITY = (
    Comparison(
        f"{BASE}, at every sparsity",
        lambda: against_own_dense(BASE, 0.5, 0.2, 0.1, 0.05),
        (
            Goal("95 % sparsity against our dense", 0.08, "edgedst_0.05", "edgedst_dense"),
            Goal("90 % sparsity against our dense", 0.14, "edgedst_0.1", "edgedst_dense"),
            Goal("80 % sparsity against our dense", 0.28, "edgedst_0.2", "edgedst_dense"),
            Goal("50 % sparsity against our dense", 0.60, "edgedst_0.5", "edgedst_dense"),
        ),
    ),
    wide(0.08),
    Comparison(
        "batch 256",
        lambda: against_pytorch(replace(BASE, batch=256)),
        (Goal("batch 256, 50 % sparsity, against PyTorch dense", 0.28, "edgedst", "pytorch_dense"),),
    ),
    two_threads("50 % sparsity"),
    one_action("50 % sparsity"),
)
TABLES = {"all": RUNS, "high-sparsity": HIGH_SPARSITY}


def measure(table: str, blocks: int, updates: int) -> dict[str, list[dict[str, Any]]]:
    """Every run of one of TABLES: the goals with what was measured, and the times behind them."""
    goals, runs = [], []
    start = time.perf_counter()
    for number, run in enumerate(TABLES[table], 1):
        progress(f"[{number}/{len(TABLES[table])}, {time.perf_counter() - start:.0f} s] {run.title}")
        sides = {name: side for name, side in run.make().items() if side}
        steps = 2 * max(1, round(run.scale * updates / 2))
        seconds = in_turns(sides, blocks, steps)
        same = len({side.fingerprint() for side in sides.values()}) == 1 if run.same_result else None
        goals += [outcome(goal, seconds, same) for goal in run.goals]
        runs.append({"title": run.title, "blocks": blocks, "steps_a_block": steps, "sides": report(sides, seconds)})
    return {"goals": goals, "runs": runs}


def outcome(goal: Goal, seconds: dict[str, list[float]], same: bool | None) -> dict[str, Any]:
    """What was measured of a goal; None where a side is missing."""
    measured = ratio(seconds[goal.side], seconds[goal.against]) if {goal.side, goal.against} <= seconds.keys() else None
    return {
        "goal": goal.text,
        "limit": goal.limit,
        "measured": measured,
        "same_result": same if measured is not None else None,
        "met": None if measured is None else measured <= goal.limit and same is not False,
    }


def table_of(results: dict[str, Any]) -> str:
    """The goals as a table for docs/performance.md, and the times behind them."""
    lines = ["| case | goal | measured ratio | |", "|---|---|---|---|"]
    for goal in results["goals"]:
        verdict = {True: "met", False: "**missed**", None: "not measured: no PyTorch, or one CPU"}[goal["met"]]
        same = {True: ", bitwise the same", False: ", **another result**", None: ""}[goal["same_result"]]
        measured = "-" if goal["measured"] is None else f"{goal['measured']:.3f}{same}"
        lines.append(f"| {goal['goal']} | {goal['limit']:.2f} | {measured} | {verdict} |")
    tables = [table(run["title"], run["sides"]) for run in results["runs"]]
    return "\n".join(lines) + "\n\n" + "\n".join(tables)
