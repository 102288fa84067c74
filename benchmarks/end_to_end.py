"""Environment steps a second of the whole loop on one core: `edgedst train` against plain dense PyTorch TD3, in turns.

    python benchmarks/end_to_end.py                              HalfCheetah-v4: ds-td3, dense td3, and PyTorch
    python benchmarks/end_to_end.py --env Hopper-v4 --batch 256 --steps 3000 --json

A step is everything: the actor's action with noise, the simulator, the replay, one update. Each side is a process of
its own. edgedst's is the command that a user types, into a temporary run folder; PyTorch's is the baseline of
`edgedst profile`. Both are timed alike, from the end of an episode to the end of a later one:
start-up, random steps, warm-up, evaluations and checkpoints lie outside. The peak is the kernel's VmHWM. "Cores" is
CPU time over time: well below 1, something else had the core meanwhile, and the ratio by CPU time is the one to trust.

A run is short here, and its transitions few: both sides sample what the caches hold.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import machine
from timing import progress, ratio

WARM_UP_STEPS = 200  # with updates, before the clock may start
POLL_SECONDS = 0.01
REPLAY_ROWS = 20_000  # of PyTorch's side
MEDIANS = ("steps_per_second", "steps_per_cpu_second", "cores")  # over the rounds

Marks = list[tuple[int, float, float]]  # ends of episodes: the step, the time, and the CPU time, in seconds


def edgedst_run(method: str, args: Namespace) -> dict[str, Any]:
    """Rate and peak of a real `edgedst train`; what it says itself where it cannot be."""
    steps = last_step(args)
    with tempfile.TemporaryDirectory(prefix="edgedst-end-to-end-") as folder:
        command = machine.edgedst_command(
            *("train", "--env", args.env, "--method", method),
            *("--budget-mb", str(args.budget_mb), "--threads", "1", "--batch-size", str(args.batch)),
            *("--steps", str(steps), "--start-steps", str(args.start_steps), "--run-dir", folder, "--no-progress"),
            *("--eval-every", str(2 * steps), "--eval-episodes", "1", "--checkpoint-every", str(2 * steps)),
        )
        trainer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            marks = watch(trainer, Path(folder))
        finally:
            trainer.kill()  # nothing where it has ended
            words = trainer.communicate()[1]
        if trainer.returncode:
            raise SystemExit(
                f"`edgedst train` could not run {method}.\n{words.strip() or f'It ended with {trainer.returncode}.'}"
            )
        (run,) = [path.parent for path in Path(folder).rglob("summary.json")]
        summary, plan, host = (json.loads((run / f"{name}.json").read_text()) for name in ("summary", "plan", "host"))
    return {
        "label": f"edgedst {method}, {host['isa']}",
        **timed(marks, args),
        "peak_rss_bytes": summary["peak_rss_bytes"],
        "replay_rows": summary["replay_rows"],
        "replay_bytes": summary["replay_rows"] * plan["replay_row_bytes"],
        "connections": summary["connections"],
    }


def watch(trainer: subprocess.Popen[str], run_dir: Path) -> Marks:
    """Read metrics.jsonl as it grows, until the trainer ends: it gets a line at the end of each episode.

    When that was is the kernel's to say, as the file's time of modification. So this process can look seldom and
    leaves the CPU to the trainer.
    """
    marks: Marks = []
    ticks_a_second = os.sysconf("SC_CLK_TCK")
    metrics, known_bytes, running = None, 0, True
    while running:
        time.sleep(POLL_SECONDS)
        # Before the poll, which takes an ended process away. Behind its name's parenthesis, utime is field 11.
        utime, stime = Path(f"/proc/{trainer.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        running = trainer.poll() is None
        metrics = metrics or next(run_dir.rglob("metrics.jsonl"), None)
        if metrics is None or (status := metrics.stat()).st_size == known_bytes:
            continue
        lines = metrics.read_bytes()[: status.st_size]  # up to that time: a later line will have a time of its own
        if lines.endswith(b"\n"):
            known_bytes = status.st_size
            last = json.loads(lines.splitlines()[-1])
            if "episode" in last:
                marks.append((last["step"], status.st_mtime_ns / 1e9, (int(utime) + int(stime)) / ticks_a_second))
    return marks


def pytorch_run(args: Namespace) -> dict[str, Any]:
    """Rate and peak of `pytorch_role` in a process of its own."""
    command = [
        *(sys.executable, "-W", "ignore", __file__, "--role", "pytorch", "--env", args.env),
        *("--batch", str(args.batch), "--steps", str(args.steps), "--start-steps", str(args.start_steps)),
    ]
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    child = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **one_thread})
    if child.returncode:
        raise SystemExit(f"PyTorch's side could not run.\n{child.stderr.strip()}")
    facts = json.loads(child.stdout.splitlines()[-1])
    return {"label": facts.pop("label"), **timed(facts.pop("marks"), args), **facts}


def pytorch_role(args: Namespace) -> None:
    """Train dense TD3 with PyTorch on Gymnasium's environment; print what was seen as one line of JSON."""
    import gymnasium
    import torch

    from edgedst.budget.guard import memory
    from edgedst.config import TrainConfig
    from edgedst.profile.versus_dense import Training

    config = TrainConfig(env=args.env, method="td3", batch_size=args.batch, start_steps=args.start_steps)
    try:
        training = Training(config, REPLAY_ROWS)
    except gymnasium.error.Error as error:
        raise SystemExit(f"Gymnasium cannot make {args.env}: {error}") from None
    marks: Marks = []
    for step in range(1, last_step(args) + 1):
        if training.step():
            marks.append((step, time.perf_counter(), time.process_time()))

    facts = {
        "label": f"PyTorch {torch.__version__} dense",
        "marks": marks,
        "peak_rss_bytes": memory()[1],
        "replay_rows": REPLAY_ROWS,
        "replay_bytes": REPLAY_ROWS * training.replay.row_bytes,
        "torch": torch.__version__,
    }
    print(json.dumps(facts))


def last_step(args: Namespace) -> int:
    """Where a run ends: `--steps` after its warm-up."""
    return args.start_steps + WARM_UP_STEPS + args.steps


def timed(marks: Marks, args: Namespace) -> dict[str, Any]:
    """Steps a second, from the first end of an episode after the warm-up to the last one."""
    marks = [mark for mark in marks if mark[0] >= args.start_steps + WARM_UP_STEPS]
    if len(marks) < 2:
        raise SystemExit(
            f"{args.env} ended fewer than two episodes in {args.steps:,} steps after the warm-up, and the time between "
            f"such ends is what is measured. Try `--steps {2 * args.steps}`."
        )
    steps, seconds, cpu_seconds = (end - start for start, end in zip(marks[0], marks[-1], strict=True))
    return {
        "timed_steps": steps,
        "steps_per_second": steps / seconds,
        "steps_per_cpu_second": steps / cpu_seconds,
        "cores": cpu_seconds / seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--env", default="HalfCheetah-v4", help="Gymnasium id")
    add("--method", default="ds-td3", choices=["ds-td3", "static-td3", "td3"], help="edgedst's; td3 always runs too")
    add("--batch", type=int, default=100, help="transitions a mini-batch")
    add("--budget-mb", type=float, default=50.0, help="edgedst's budget; what it leaves over becomes replay")
    add("--steps", type=int, default=1000, help="steps after the warm-up; the whole episodes among them are timed")
    add("--start-steps", type=int, default=800, help="random steps before the first update")
    add("--rounds", type=int, default=3, help="runs of each side")
    add("--json", action="store_true", help="print JSON instead of the table")
    add("--role", choices=["pytorch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.steps, args.start_steps, args.rounds, args.batch) < 1:
        parser.error("--steps, --start-steps, --rounds and --batch must be at least 1.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: temporary folders are removed
    if args.role:
        pytorch_role(args)
        return 0

    for package in ("edgedst", "gymnasium"):
        if importlib.util.find_spec(package) is None:
            raise SystemExit(
                f"{package} is not installed. In a checkout run `pip install .`, which brings what it needs."
            )
    sides = {method: lambda method=method: edgedst_run(method, args) for method in (args.method, "td3")}
    if importlib.util.find_spec("torch"):
        sides["pytorch"] = lambda: pytorch_run(args)
    else:
        progress("PyTorch is not installed, so edgedst runs alone. Install it with `pip install torch`.")
    facts = machine.facts()
    if warning := machine.forcing(facts["forced_kernels"]):
        progress(warning)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number in range(1, args.rounds + 1):
        for name, side in sides.items():
            runs[name].append(side())
            rate, cores = runs[name][-1]["steps_per_second"], runs[name][-1]["cores"]
            progress(f"round {number} of {args.rounds}: {name} {rate:,.0f} steps/s on {cores:.2f} cores")

    result = {"machine": facts, **summary_of(runs, args)}
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if args.json else table(result))
    return 0


def summary_of(runs: dict[str, list[dict[str, Any]]], args: Namespace) -> dict[str, Any]:
    """Medians over the rounds; a ratio is the median of the rounds' ratios."""

    def each(name: str, key: str) -> list[float]:
        return [run[key] for run in runs[name]]

    def times(name: str, baseline: str, key: str = "steps_per_second") -> float | None:
        return ratio(each(name, key), each(baseline, key)) if baseline in runs else None

    return {
        "env": args.env,
        "batch": args.batch,
        "budget_mb": args.budget_mb,
        "rounds": args.rounds,
        "sides": {
            name: {
                **those[-1],
                **{key: statistics.median(each(name, key)) for key in MEDIANS},
                "slowest": min(each(name, "steps_per_second")),
                "fastest": max(each(name, "steps_per_second")),
                "peak_rss_bytes": max(each(name, "peak_rss_bytes")),
                "times_td3": times(name, "td3"),
                "times_pytorch": times(name, "pytorch"),
                "times_pytorch_cpu": times(name, "pytorch", "steps_per_cpu_second"),
            }
            for name, those in runs.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """The same for reading."""
    sides = result["sides"]
    lines = [
        f"Steps of the whole loop on {result['env']}: hidden [256, 256], batch {result['batch']}, one thread, "
        f"{result['rounds']} rounds",
        f"{'':26}{'steps/s':>9}{'slowest':>9}{'fastest':>9}{'x td3':>8}{'x PyTorch':>11}{'by CPU time':>13}{'cores':>7}"
        f"{'peak':>11}{'of it replay':>14}",
    ]
    for side in sides.values():
        by_time, by_cpu = (f"{side[key]:.2f}" if side[key] else "-" for key in ("times_pytorch", "times_pytorch_cpu"))
        lines.append(
            f"{side['label']:26}{side['steps_per_second']:>9,.0f}{side['slowest']:>9,.0f}{side['fastest']:>9,.0f}"
            f"{side['times_td3']:>8.2f}{by_time:>11}{by_cpu:>13}{side['cores']:>7.2f}"
            f"{side['peak_rss_bytes'] / 1e6:>8.1f} MB{side['replay_bytes'] / 1e6:>11.1f} MB"
        )
    rows = [f"{side['replay_rows']:,} ({name})" for name, side in sides.items()]
    lines += [f"Transitions that the replay has room for: {', '.join(rows)}.", machine.sentence(result["machine"])]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
