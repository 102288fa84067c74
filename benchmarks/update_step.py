"""One TD3 update: edgedst's packed sparse one against three baselines, in turns and in one process.

    python benchmarks/update_step.py                            17/6, [256, 256], batch 100, density 0.5
    python benchmarks/update_step.py --density 0.2 --batch 256 --json
    python benchmarks/update_step.py --goals high-sparsity      every goal in docs/performance.md
    python benchmarks/update_step.py --goals                    the first goals, docs/decisions/0007

The baselines: edgedst at density 1; the BLAS floor, that is only the matrix products of a dense update through
NumPy's sgemm; and a plain dense PyTorch update (`pip install torch`). An update is timed as the mean of a block, so
that the delayed actor counts half; the blocks alternate A B C A B C, and a ratio is the median of the rounds' ratios.
Of edgedst everything counts: what evolving the topology takes, once in 1,000 updates, is timed apart and added.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, fields, replace

import machine  # first: it holds the BLAS to one thread before NumPy is loaded
from blas_floor import blas_floor
from goals import TABLES, measure, table_of
from learners import Case, edgedst_learner, pytorch_learner
from timing import in_turns, progress, ratio, report, table

HELP = {
    "observation": "features of an observation",
    "action": "components of an action",
    "hidden": "width of both hidden layers",
    "batch": "transitions a mini-batch",
    "density": "stored share of each hidden layer; 1 is dense TD3",
    "threads": "of edgedst and PyTorch; the BLAS floor has one",
    "method": "edgedst's method where density < 1",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for setting in fields(Case):
        name, default = setting.name, setting.default
        parser.add_argument(f"--{name}", type=type(default), default=default, help=HELP[name])
    parser.add_argument("--blocks", type=int, default=15, help="timed blocks of each side")
    parser.add_argument("--updates", type=even, default=60, help="updates a block, even")
    parser.add_argument(
        "--goals", nargs="?", const="all", choices=TABLES, help="measure a table of goals instead of one case; minutes"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    args = parser.parse_args()
    case = Case(**{setting.name: getattr(args, setting.name) for setting in fields(Case)})
    if args.goals and case != Case():
        parser.error("--goals has cases of its own: it takes only --blocks, --updates and --json.")

    warning = machine.forcing(machine.forced_kernels())
    if args.goals and warning:
        parser.error(f"{warning} A goal that is met against a crippled baseline is not met.")

    facts = machine.facts()
    result = (
        measure(args.goals, args.blocks, args.updates) if args.goals else measure_case(case, args.blocks, args.updates)
    )
    result = {"machine": facts, **result}
    if args.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        text = table_of(result) if args.goals else table(title(case), result["sides"], result["ratios"])
        sys.stdout.write("\n".join([text, machine.sentence(facts), *([warning] if warning else [])]) + "\n")
    if warning:
        progress(warning)
    timed = {name for run in result["runs"] for name in run["sides"]} if args.goals else result["sides"]
    if "pytorch_dense" not in timed:
        progress("PyTorch is not installed, so nothing is compared with it. Install it with `pip install torch`.")
    return 0


def measure_case(case: Case, blocks: int, updates: int) -> dict[str, object]:
    """One case: each side's times, and edgedst's ratio to each baseline."""
    makers = {
        "edgedst": lambda: edgedst_learner(case),
        "edgedst_dense": lambda: edgedst_learner(replace(case, density=1.0)) if case.density < 1 else None,
        "blas_floor": lambda: blas_floor(case),
        "pytorch_dense": lambda: pytorch_learner(case),
    }
    sides = {}
    for name, make in makers.items():
        progress(f"{name}: fill the replay, warm up")
        if side := make():
            sides[name] = side
    progress(f"time {blocks} blocks of {updates} updates of each")
    seconds = in_turns(sides, blocks, updates)
    return {
        "case": asdict(case),
        "blocks": blocks,
        "updates_a_block": updates,
        "sides": report(sides, seconds),
        "ratios": {name: ratio(seconds["edgedst"], seconds[name]) for name in sides if name != "edgedst"},
    }


def title(case: Case) -> str:
    """The table's first line."""
    threads = "one thread" if case.threads == 1 else f"{case.threads} threads (the BLAS floor: one)"
    return f"One TD3 update: {case}, {threads}; ratio: edgedst's time to that side's"


def even(text: str) -> int:
    """A positive even number: the actor is updated at every second update."""
    count = int(text)
    if count < 2 or count % 2:
        raise argparse.ArgumentTypeError(f"{text} is not a positive even number of updates")
    return count


if __name__ == "__main__":
    raise SystemExit(main())
