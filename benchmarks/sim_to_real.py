"""From simulation to the machine: after how many minutes of wall clock a rotary pendulum balances, begun in four ways.

    python benchmarks/sim_to_real.py                        # two cores: four ways, 3 seeds, 16 minutes at most each
    python benchmarks/sim_to_real.py --share 25 --jobs 4    # each run under 25 % of a core, four at once
    python benchmarks/sim_to_real.py --draw                 # table and figure of what is there

The machine is examples/rotary-pendulum: a plant in a process of its own, on a wall clock, which differs from the
simulator. The four ways: from nothing; a simulator's policy as it is, never trained on the plant; the same policy
carried over by --init-from; carried over from a simulator with delay, noise and randomisation. Simulators learn first,
once for each seed and kind, without a clock: some minutes each.

It goes on where it was stopped: a run that is done is kept in --folder, one JSON file each, and `results.json` holds
all. By default 3 seeds take about an hour and a half: 3 x (16 from nothing, 1 as it is, 4 and 4 carried over) plus
learning in simulators. --share needs root and cgroups (version 1 or 2).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import machine
from machine import edgedst_command, facts
from real_time import joined

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
FIGURE = ROOT / "docs" / "figures" / "sim-to-real.png"
# Of 400 possible. On the plant's equations 327 of 332 episodes at 200 or more ended upright for 3 s; of those from 180
# to 199 it were 31 of 58, below that 1 of 352.
BALANCED = 200.0
TRIES = 3  # of a run that a fault ends
NEEDED = 5  # episodes of training in a row whose median is so high

NETWORKS = ("--hidden", "64,64", "--lambda2", "16", "--history", "3", "--normalize-observations")
LEARNER = ("--method", "ds-sac", "--alpha", "auto", "--target-update", "soft")
DISTURBED = (
    *("--env-kwargs", '{"randomize": 0.3}', "--action-delay", "0..2"),
    *("--observation-noise", "0.0005,0.001,0.001,0.007,0.0055"),  # half a step of the encoders, as observed
)
CARRIED = ("--critic-warmup", "500", "--learning-rate", "1e-4")  # what was learned is to be kept at first
SIMULATORS: dict[str, tuple[str, ...]] = {
    "plain": ("--steps", "60000"),
    "disturbed": ("--steps", "100000", *DISTURBED),
}
# Way, the simulator that it begins with, minutes on the plant at most, and whether it learns there.
WAYS: dict[str, tuple[str | None, float, bool]] = {
    "from nothing": (None, 16.0, True),
    "simulator's, as it is": ("plain", 1.0, False),
    "carried over": ("plain", 4.0, True),
    "carried over, disturbed simulator": ("disturbed", 4.0, True),
}
COLOURS = dict(zip(WAYS, ("#7a4fa3", "#c04a6b", "#d17a22", "#0b6e4f"), strict=True))


class Fault(Exception):
    """A run ended before its time: on a busy machine a plant may not answer for longer than robot.py waits."""


@contextmanager
def plant(folder: Path, seed: int) -> Iterator[Path]:
    """A pendulum of this run's own, with its copy of robot.py, which is the machine's lock; the robot.py."""
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("plant.tty", "runs", "__pycache__")
    for name in ("cartpole", "rotary-pendulum"):
        shutil.copytree(EXAMPLES / name, folder / name, ignore=ignored, symlinks=True)
    own = folder / "rotary-pendulum"
    command = [sys.executable, str(own / "plant.py"), "--seed", str(seed), "--with-parent"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not (own / "plant.tty").is_symlink():
            if process.poll() is not None:
                raise SystemExit(f"{own}/plant.py ended at once, with exit code {process.returncode}.")
            time.sleep(0.02)
        yield own / "robot.py"
    finally:
        process.terminate()
        process.wait()


def quota(share: int) -> Any:
    """A context: a cgroup of `share` % of one core, in slices of 10 ms, or None where there is no limit (0)."""
    if not share:
        return nullcontext()
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        # Real-time scheduling up to 5 %: the acting side takes some 1 % of a core by it.
        limits = {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": str(100 * share)}
        limits |= {"cpu.rt_period_us": "1000000", "cpu.rt_runtime_us": "50000"}
        return group(Path("/sys/fs/cgroup/cpu"), limits)
    return group(Path("/sys/fs/cgroup"), {"cpu.max": f"{100 * share} 10000"})


@contextmanager
def group(root: Path, limits: dict[str, str]) -> Iterator[Path]:
    """A cgroup with these limits."""
    path = root / f"edgedst-{os.getpid()}-{time.monotonic_ns()}"
    path.mkdir()
    try:
        for name, value in limits.items():
            try:
                (path / name).write_text(value)
            except OSError as error:
                raise SystemExit(f"{path}/{name} does not take {value}: groups of runs that were killed?") from error
        yield path
    finally:
        time.sleep(0.2)
        path.rmdir()


def simulated(folder: Path, kind: str, seed: int) -> tuple[Path, dict[str, Any]]:
    """A run that has learned on the simulator: made, or found, and what it took."""
    home = folder / f"simulator-{kind}-{seed}"
    found = next(home.glob("runs/*/*/*/summary.json"), None)
    if not found:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        command = edgedst_command("train", "--env", "simulator:RotaryPendulum-v0", "--budget-mb", "100", *LEARNER)
        command += [*NETWORKS, *SIMULATORS[kind], "--start-steps", "500", "--seed", str(seed), "--no-progress"]
        command += ["--eval-every", "10000", "--eval-episodes", "5", "--run-dir", str(home / "runs")]
        run_quietly(command, cwd=EXAMPLES / "rotary-pendulum")
        found = next(home.glob("runs/*/*/*/summary.json"))
    run = found.parent
    evaluations = [line for line in metrics(run) if "evaluation_return" in line]
    last = evaluations[-1]
    return run, {
        "return": round(last["evaluation_return"], 1),
        "steps": last["step"],
        "minutes": round(last["seconds"] / 60, 1),
    }


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def run_quietly(command: list[str], **options: Any) -> str:
    """What a command prints; ends with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with exit code {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout


def played(folder: Path, way: str, seed: int, share: int, updates: str, minutes: float) -> dict[str, Any]:
    """One way with one seed on a plant of its own: each training episode's return, and its minute."""
    kind, _, learns = WAYS[way]
    source, told = simulated(folder, kind, seed) if kind else (None, None)
    home = folder / f"{way.replace(' ', '-').replace(',', '').replace(chr(39), '')}-{seed}-{share}"
    with plant(home, seed) as robot, quota(share) as limit:
        if learns:
            command = edgedst_command("train", "--env", str(robot), "--budget-mb", "40", *LEARNER, *NETWORKS)
            command += ["--steps", "10000000", "--stop-after", f"{60 * minutes:g}s", "--eval-every", "0"]
            command += ["--run-dir", str(home / "runs"), "--seed", str(seed), "--no-progress"]
            command += ["--updates-per-step", updates]
            if source:
                command += ["--init-from", str(source), *CARRIED]
        else:
            episodes = max(1, round(60 * minutes / 11))  # 8 s, and 3 of coming to rest
            command = edgedst_command("evaluate", str(source), "--env", str(robot), "--episodes", str(episodes))
            command.append("--json")
        out = run_timed(joined(limit, command) if limit else command, home)
    row = {"way": way, "seed": seed, "share": share, "minutes": minutes, "simulator": told}
    if not learns:
        returns = json.loads(out.splitlines()[-1])["returns"]
        return row | {"returns": [[11 / 60 * (i + 1), value] for i, value in enumerate(returns)]}
    run = next((home / "runs").glob("*/*/*"))
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    kept = [json.loads(line) for line in (home / "minutes.jsonl").read_text(encoding="utf-8").splitlines()]
    real_time = summary["real_time"]
    return row | {
        "returns": kept,
        "updates_per_step": real_time["updates_per_step"],
        "missed_share": real_time["missed_periods"] / max(1, real_time["periods"]),
    }


def run_timed(command: list[str], home: Path) -> str:
    """Run a command; meanwhile note in minutes.jsonl when each episode was told: metrics.jsonl has steps, no clock."""
    began, known = time.monotonic(), 0
    with (home / "out").open("w") as out, (home / "err").open("w") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=alone())
    try:
        with (home / "minutes.jsonl").open("w", buffering=1) as noted:
            while True:
                over = process.poll() is not None
                for run in (home / "runs").glob("*/*/*/metrics.jsonl"):
                    episodes = [line["episode_return"] for line in metrics(run.parent) if "episode_return" in line]
                    for value in episodes[known:]:
                        noted.write(json.dumps([(time.monotonic() - began) / 60, value]) + "\n")
                    known = len(episodes)
                if over:
                    break
                time.sleep(1.0)
    finally:
        process.terminate()
        process.wait()
    if process.returncode:
        raise Fault(f"exit code {process.returncode}: {(home / 'err').read_text().splitlines()[-1]}")
    return (home / "out").read_text()


def alone() -> dict[str, str]:
    """The environment, with no port of a pendulum that somebody else runs."""
    return {name: value for name, value in os.environ.items() if name != "PENDULUM_PORT"}


def balances_after(row: dict[str, Any]) -> float | None:
    """Minutes until NEEDED training episodes in a row have a median of BALANCED; None: they never do."""
    returns = row["returns"]
    for i in range(NEEDED, len(returns) + 1):
        window = returns[i - NEEDED : i]
        if statistics.median(value for _, value in window) >= BALANCED:
            return float(window[-1][0])
    return None


def table(rows: list[dict[str, Any]]) -> str:
    """What was measured, a line each way and share: minutes until it balances, and the last episodes' return."""
    lines = [f"{'':36}share  seeds  balances after, min    return of the last 5"]
    for way in WAYS:
        for share in sorted({row["share"] for row in rows}):
            own = [row for row in rows if row["way"] == way and row["share"] == share and row["returns"]]
            if own:
                after = ", ".join("never" if (m := balances_after(row)) is None else f"{m:.1f}" for row in own)
                last = ", ".join(f"{statistics.mean(value for _, value in row['returns'][-5:]):.0f}" for row in own)
                lines.append(f"{way:36}{share or 'all':>5}{len(own):7}  {after:22} {last}")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Returns over minutes of wall clock, a panel a share: the median over seeds, and their spread."""
    pyplot = machine.pyplot()
    shares = sorted({row["share"] for row in rows})
    figure, panels = pyplot.subplots(1, len(shares), figsize=(6.4 * len(shares), 4.6), dpi=130, sharey=True)
    for panel, share in zip(panels if len(shares) > 1 else [panels], shares, strict=True):
        for way, colour in COLOURS.items():
            own = [row for row in rows if row["way"] == way and row["share"] == share and row["returns"]]
            if not own:
                continue
            longest = max(row["returns"][-1][0] for row in own)
            grid = [longest * i / 200 for i in range(1, 201)]
            curves = [[smoothed(row["returns"], minute) for row in own] for minute in grid]
            kept = [(minute, [v for v in values if v is not None]) for minute, values in zip(grid, curves, strict=True)]
            kept = [(minute, values) for minute, values in kept if values]
            minutes = [minute for minute, _ in kept]
            panel.fill_between(
                minutes, [min(v) for _, v in kept], [max(v) for _, v in kept], color=colour, alpha=0.15, linewidth=0
            )
            panel.plot(minutes, [statistics.median(v) for _, v in kept], color=colour, linewidth=1.6, label=way)
        panel.axhline(BALANCED, color="#888888", linewidth=0.8, linestyle="--")
        panel.set_title(f"{share} % of one core" if share else "two cores", fontsize=10)
        panel.set_xlabel("minutes of wall clock on the plant")
        panel.set_ylim(0, 345)
        panel.grid(color="#e4e4e4", linewidth=0.6)
    figure.axes[0].set_ylabel(f"return, mean of {NEEDED} episodes (dashed: balances)")
    figure.axes[0].legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.15), frameon=False, ncols=2)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def smoothed(returns: list[list[float]], minute: float) -> float | None:
    """Mean of the NEEDED episodes up to a minute; None before the first and after the last."""
    before = [value for at, value in returns if at <= minute]
    return statistics.mean(before[-NEEDED:]) if before and minute <= returns[-1][0] + 0.5 else None


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "sim-to-real", help="of all that is kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=int, default=0, help="%% of one core for each run on the plant; 0: no limit")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once; more than one needs --share")
    parser.add_argument("--updates", default="10", help="a step; on the plant")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--scale", type=float, default=1.0, help="of the minutes on the plant, to try it quickly")
    parser.add_argument("--draw", action="store_true", help="run nothing")
    parser.add_argument("--plot", type=Path, default=FIGURE)
    told = parser.parse_args()
    if told.jobs > 1 and not told.share:
        parser.error("--jobs above 1 needs --share: runs that share the cores would measure each other")
    results = told.folder / "results"
    if not told.draw:
        results.mkdir(parents=True, exist_ok=True)

        def measure(way: str, seed: int) -> None:
            path = results / f"{list(WAYS).index(way)}-{seed}-{told.share}.json"
            if path.exists():
                return
            for tries_left in reversed(range(TRIES)):
                try:
                    row = played(told.folder, way, seed, told.share, told.updates, told.scale * WAYS[way][1])
                    break
                except Fault as fault:
                    print(f"{way}, seed {seed}, begins anew: {fault}", file=sys.stderr, flush=True)
                    if not tries_left:
                        raise SystemExit(f"{way}, seed {seed}: {TRIES} runs ended by a fault.") from fault
            path.write_text(json.dumps({"facts": facts(), **row}, indent=1))
            print(f"{way}, seed {seed}: balances after {balances_after(row)} min", file=sys.stderr, flush=True)

        for kind in {kind for way in told.ways if (kind := WAYS[way][0])}:
            for seed in told.seeds:
                simulated(told.folder, kind, seed)
        with ThreadPoolExecutor(told.jobs) as pool:
            waiting = [pool.submit(measure, way, seed) for seed in told.seeds for way in told.ways]
            for each in waiting:
                each.result()
    rows = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    if not rows:
        parser.error(f"{results} holds no run yet: leave --draw out")
    (told.folder / "results.json").write_text(json.dumps(rows, indent=1))
    draw(rows, told.plot)
    print(table(rows))


if __name__ == "__main__":
    main()
