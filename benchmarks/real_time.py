"""Acting in real time: how well a rate is kept while a machine learns, and what a slow board leaves of its return.

    python benchmarks/real_time.py jitter --minutes 30 --rates 50 200     # beside a loop that acts and learns in turns
    python benchmarks/real_time.py disturbed --seconds 60                 # learner stopped or killed, disk slow or full
    python benchmarks/real_time.py board --shares 10 25 --minutes 5       # a CPU quota: sparse, dense, PyTorch
    python benchmarks/real_time.py memory --budget-mb 25                  # in a memory cgroup of that size
    python benchmarks/real_time.py draw --read board.json --plot real-time.png

The machine is examples/cartpole: a plant in a process of its own, on a wall clock, behind a pseudo-terminal. What is
measured is taken at the robot's own calls (`probed_robot.py`), alike for every contender. `disturbed`, `board` and
`memory` need root, for loop devices and cgroups. `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine
from machine import edgedst_command, facts

HERE = Path(__file__).resolve().parent
PLANT = HERE.parent / "examples" / "cartpole" / "plant.py"
ROBOT = HERE / "probed_robot.py"
UPDATES = {50: 40, 200: 10}  # a step: some 60 % of a period, on the machine that this was written on
# Acts and learns in turns, in one process: the trainer of simulators, on the robot.
IN_TURNS = (
    "import sys; from edgedst import stage, trainer; from edgedst.envs import registry; "
    "stage._make_machine = lambda spec, config: registry.make(spec); sys.exit(trainer.main())"
)


@contextmanager
def plant(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """A cart-pole; what a robot.py needs to find it, and to log its calls, as environment variables."""
    port = folder / "plant.tty"
    process = subprocess.Popen([sys.executable, str(PLANT), "--port", str(port), *options], stdout=subprocess.DEVNULL)
    try:
        while not port.exists():
            time.sleep(0.02)
        yield {**os.environ, "CARTPOLE_PORT": str(port), "PROBE": str(folder / "calls")}
    finally:
        process.terminate()
        process.wait()


def calls(folder: Path) -> list[list[int]]:
    """Times of apply_action, in ns, an episode a list."""
    times = array("q")
    times.frombytes((folder / "calls").read_bytes())
    episodes: list[list[int]] = []
    for value in times:
        if value < 0:
            episodes.append([])
        elif episodes:
            episodes[-1].append(value)
    return [episode for episode in episodes if len(episode) > 1]


def kept(episodes: list[list[int]], rate: float) -> dict[str, Any]:
    """How well a rate was kept: periods, the share of missed ones, and the jitter of the intervals between actions."""
    period = 1e9 / rate
    intervals = [b - a for episode in episodes for a, b in zip(episode, episode[1:], strict=False)]
    jitter = sorted(abs(interval - period) for interval in intervals)
    missed = sum(max(0, round(interval / period) - 1) for interval in intervals)
    if not jitter:
        return {"periods": 0}
    return {
        "periods": len(jitter),
        "missed": missed,
        "missed_share": missed / (len(jitter) + missed),
        **{
            f"jitter_{name}_ms": round(jitter[min(len(jitter) - 1, int(share * len(jitter)))] / 1e6, 3)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
        },
    }


def train(folder: Path, rate: int, seconds: float, env: dict[str, str], *options: str, in_turns: bool = False) -> Any:
    """Start a training of so many seconds; the process."""
    steps = str(10_000_000)
    arguments = ["train", "--env", str(ROBOT), "--budget-mb", "40", "--steps", steps, "--run-dir", str(folder / "runs")]
    arguments += ["--stop-after", f"{seconds:g}s", "--no-progress", *options]
    env = {**env, "PROBE_HZ": str(rate)}
    command = edgedst_command(*arguments)
    if in_turns:
        from edgedst.config import TrainConfig
        from edgedst.launch.job import job_for
        from edgedst.launch.settings import combined, read_typed

        texts = dict(zip([o[2:].replace("-", "_") for o in options[::2]], options[1::2], strict=True))
        typed = read_typed({"env": str(ROBOT), "budget_mb": "40", "steps": steps, **texts})
        settings: TrainConfig = combined(typed, {}, "")
        job = job_for(settings, run_dir=str(folder / "runs"), stop_after_seconds=seconds, progress=False)
        command = [sys.executable, "-c", IN_TURNS, json.dumps(job)]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ended(process: Any) -> None:
    """Wait for it; its words when it failed."""
    _, said = process.communicate()
    if process.returncode:
        print(said.decode()[-500:], file=sys.stderr)


def jitter(minutes: float, rates: list[int], block_seconds: float) -> list[dict[str, Any]]:
    """Both loops, a block of the one and a quarter of the other at a time, so that both see the same hour."""
    rows = []
    for rate in rates:
        episodes: dict[str, list[list[int]]] = {"beside": [], "in turns": []}
        for number in range(max(1, round(60 * minutes / block_seconds))):
            for name, logged in episodes.items():
                with tempfile.TemporaryDirectory() as temporary, plant(Path(temporary)) as env:
                    options = ("--updates-per-step", str(UPDATES[rate]), "--start-steps", "500", "--seed", str(number))
                    in_turns = name != "beside"
                    seconds = block_seconds / 4 if in_turns else block_seconds
                    ended(train(Path(temporary), rate, seconds, env, *options, in_turns=in_turns))
                    logged.extend(calls(Path(temporary)))
                print(f"{rate} Hz, block {number + 1}, {name}: {kept(logged, rate)}", file=sys.stderr, flush=True)
        for name, logged in episodes.items():
            rows.append({"rate_hz": rate, "learning": name, "updates_per_step": UPDATES[rate], **kept(logged, rate)})
    return rows


def disturbed(seconds: float) -> list[dict[str, Any]]:
    """50 Hz while something happens to the learning side."""
    rows = []
    for what in ("nothing", "learner stopped", "learner killed", "disk slow", "disk full"):
        with tempfile.TemporaryDirectory() as temporary, plant(Path(temporary)) as env:
            folder = Path(temporary)
            disk = contextmanager(small_disk)(folder, slow="slow" in what) if "disk" in what else None
            runs = disk.__enter__() if disk else folder
            process = train(
                folder, 50, seconds, env, "--checkpoint-every", "50" if disk else "500", "--run-dir", str(runs)
            )
            time.sleep(seconds / 2)
            at = time.monotonic_ns()
            if what == "learner stopped":
                process.send_signal(signal.SIGSTOP)
                time.sleep(seconds / 4)
                process.send_signal(signal.SIGCONT)
            elif what == "learner killed":
                process.kill()
            elif what == "disk full":
                fill(runs)
            ended(process)
            time.sleep(0.5)
            log = calls(folder)
            last = max(episode[-1] for episode in log)
            row = {"what": what, "exit_code": process.returncode, **kept(log, 50)}
            if what == "learner killed":
                row["acted_on_ms"] = round((last - at) / 1e6, 1)
            rows.append(row)
            if disk:
                disk.__exit__(None, None, None)
        print(row, file=sys.stderr, flush=True)
    return rows


def small_disk(folder: Path, slow: bool) -> Iterator[Path]:
    """An ext4 image of 16 MB on a loop device; `slow`: 64 KB a second."""
    image, mounted = folder / "image", folder / "disk"
    image.write_bytes(bytes(16_000_000))
    mounted.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    loop = subprocess.run(["losetup", "-f", "--show", str(image)], check=True, capture_output=True, text=True)
    device = loop.stdout.strip()
    try:
        subprocess.run(["mount", device, str(mounted)], check=True)
        throttle(device, 65_536 if slow else 0)
        yield mounted
    finally:
        throttle(device, 0)
        subprocess.run(["umount", "-l", str(mounted)], check=False)
        subprocess.run(["losetup", "-d", device], check=False)


def throttle(device: str, bytes_a_second: int) -> None:
    """Limit what a device writes; 0: no limit."""
    number = Path(device).stat().st_rdev
    limit = f"{os.major(number)}:{os.minor(number)} {bytes_a_second}"
    Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device").write_text(limit)


def fill(folder: Path) -> None:
    """Leave no room on a disk."""
    try:
        with (folder / "fill").open("wb") as file:
            while True:
                file.write(bytes(100_000))
    except OSError:
        pass


@contextmanager
def cgroup(kind: str, limits: dict[str, str]) -> Iterator[Path]:
    """A group of version 1 with these limits; processes join it by `joined`."""
    path = Path("/sys/fs/cgroup") / kind / f"edgedst-{os.getpid()}-{time.monotonic_ns()}"
    path.mkdir()
    try:
        for name, value in limits.items():
            (path / name).write_text(value)
        yield path
    finally:
        time.sleep(0.2)
        path.rmdir()


def joined(group: Path, command: list[str]) -> list[str]:
    """The same command, in a group from its first instruction."""
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *command]


_TOLD = ("updates_per_step", "missed_share")
CONTENDERS = {
    "sparse 90 %": ("--method", "ds-sac", "--lambda1", "2.2", "--lambda2", "12.8"),
    "sparse 50 %": ("--method", "ds-sac", "--lambda1", "2.2", "--lambda2", "64"),
    "our dense": ("--method", "sac"),
    "PyTorch, in turns": ("turns",),
    "PyTorch, between episodes": ("episodes",),
}


def board(shares: list[int], minutes: float, seeds: list[int], hidden: str, only: str) -> list[dict[str, Any]]:
    """A slow board, imitated by a share of one core in slices of 10 ms; the plant has all of its own.

    Real-time scheduling is allowed up to 5 %: the acting side takes some 1 % of a core by it.
    """
    rows = []
    for share in shares:
        for name, options in [pair for pair in CONTENDERS.items() if only in pair[0]]:
            for seed in seeds:
                rows.append(on_board(share, name, options, minutes, seed, hidden))
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def board_options(folder: Path, options: tuple[str, ...], minutes: float, seed: int, hidden: str) -> list[str]:
    """Of edgedst's training on a board, which sees what PyTorch's sees: observations scaled by their bounds alone."""
    told = ["--env", str(ROBOT), "--budget-mb", "60", "--steps", "10000000", "--no-normalize-observations"]
    told += ["--run-dir", str(folder / "runs"), "--stop-after", f"{60 * minutes:g}s", "--no-progress"]
    return [*told, "--hidden", hidden, "--seed", str(seed), "--eval-every", "0", *options]


def on_board(share: int, name: str, options: tuple[str, ...], minutes: float, seed: int, hidden: str) -> dict[str, Any]:
    """One contender on one board."""
    quota = {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": str(100 * share)}
    quota |= {"cpu.rt_period_us": "1000000", "cpu.rt_runtime_us": "50000"}
    with tempfile.TemporaryDirectory() as temporary, plant(Path(temporary)) as env, cgroup("cpu", quota) as group:
        folder = Path(temporary)
        env |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PROBE_HZ": "50"}
        if "PyTorch" in name:
            command = [sys.executable, str(HERE / "torch_on_robot.py"), str(ROBOT), hidden]
            command += [str(60 * minutes), str(seed), *options]
        else:
            command = edgedst_command("train", *board_options(folder, options, minutes, seed, hidden))
        process = subprocess.Popen(joined(group, command), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, said = process.communicate()
        if process.returncode:
            print(said.decode()[-500:], file=sys.stderr)
        if "PyTorch" in name:
            told = json.loads(out.decode().splitlines()[-1])
        else:
            run = next((folder / "runs").glob("*/*/*"))
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            returns = [(line["step"], line["episode_return"]) for line in lines if "episode_return" in line]
            path = run / "summary.json"  # a run that ended by a fault has none
            in_time = json.loads(path.read_text())["real_time"] if path.exists() else {}
            told = {"returns": returns, "updates_per_step": in_time.get("updates_per_step")}
        last = [value for _, value in told["returns"][-5:]]
        return {
            "share": share,
            "minutes": minutes,
            "contender": name,
            "seed": seed,
            "return_of_last_5": round(sum(last) / max(1, len(last)), 1),
            "updates_per_step": told["updates_per_step"],
            **kept(calls(folder), 50),
            "returns": told["returns"],
        }


def memory(budget_mb: float, seconds: float) -> list[dict[str, Any]]:
    """A run in a memory cgroup of its budget: what the kernel counts for all processes together."""
    limits = {"memory.limit_in_bytes": str(round(budget_mb * 1e6))}
    with tempfile.TemporaryDirectory() as temporary, plant(Path(temporary)) as env, cgroup("memory", limits) as group:
        folder = Path(temporary)
        command = edgedst_command("train", "--env", str(ROBOT), "--budget-mb", f"{budget_mb:g}", "--steps", "10000000")
        command += ["--run-dir", str(folder / "runs"), "--stop-after", f"{seconds:g}s", "--no-progress"]
        process = subprocess.run(joined(group, command), env=env, capture_output=True, check=False)
        run = next((folder / "runs").glob("*/*/*"))
        summary = json.loads((run / "summary.json").read_text())
        status = (group / "memory.stat").read_text().splitlines()
        told = dict(line.split() for line in status)
        return [
            {
                "exit_code": process.returncode,
                "limit": round(budget_mb * 1e6),
                "peak_told": summary["peak_rss_bytes"],
                "cgroup_peak": int((group / "memory.max_usage_in_bytes").read_text()),
                "oom_kills": (group / "memory.oom_control").read_text().split()[-1],
                "failcnt": int((group / "memory.failcnt").read_text()),
                "cache_left": int(told["total_cache"]),
            }
        ]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Returns of `board` over wall-clock, a panel a share: each episode, and the mean of five."""
    pyplot = machine.pyplot()
    shares = sorted({row["share"] for row in rows})
    figure, panels = pyplot.subplots(1, len(shares), figsize=(5.2 * len(shares), 4.9), dpi=130, sharey=True)
    colours = dict(zip(CONTENDERS, ("#0b6e4f", "#3fa34d", "#d17a22", "#7a4fa3", "#c04a6b"), strict=True))
    for panel, share in zip(panels if len(shares) > 1 else [panels], shares, strict=True):
        for name, colour in colours.items():
            runs = [row for row in rows if row["share"] == share and row["contender"] == name and row["returns"]]
            for row in runs:
                last = row["returns"][-1][0]
                minutes = [row["minutes"] * step / last for step, _ in row["returns"]]
                values = [value for _, value in row["returns"]]
                fives = [values[max(0, i - 4) : i + 1] for i in range(len(values))]
                label = None
                if row is runs[0]:
                    updates, missed = (statistics.mean(run[key] for run in runs) for key in _TOLD)
                    label = f"{name}: {updates:.2g} updates a step, {100 * missed:.2g} % missed"
                panel.plot(minutes, values, ".", color=colour, markersize=2.5, alpha=0.3)
                panel.plot(minutes, [sum(five) / len(five) for five in fives], color=colour, linewidth=1.5, label=label)
        panel.set_title(f"{share} % of one core", fontsize=10)
        panel.set_xlabel("minutes of wall-clock at 50 Hz")
        panel.set_ylim(0, 510)
        panel.grid(color="#e4e4e4", linewidth=0.6)
        panel.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.15), frameon=False)
    figure.axes[0].set_ylabel("return of a training episode (500: perfect)")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("jitter", "disturbed", "board", "memory", "draw"))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--block-seconds", type=float, default=300.0)
    parser.add_argument("--rates", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--shares", type=int, nargs="+", default=[10, 25])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--hidden", default="256,256")
    parser.add_argument("--only", default="", help="of `board`: contenders with this in their names")
    parser.add_argument("--budget-mb", type=float, default=25.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, nargs="+", help="figures that --json kept")
    parser.add_argument("--plot", type=Path, help="the picture that `draw` makes of them")
    told = parser.parse_args()
    if told.what == "draw":
        draw([row for path in told.read for row in json.loads(path.read_text())["rows"]], told.plot)
        return
    if told.what == "jitter":
        rows = jitter(told.minutes, told.rates, told.block_seconds)
    elif told.what == "disturbed":
        rows = disturbed(told.seconds)
    elif told.what == "board":
        rows = board(told.shares, told.minutes, told.seeds, told.hidden, told.only)
    else:
        rows = memory(told.budget_mb, told.seconds)
    if told.json:
        told.json.write_text(json.dumps({"facts": facts(), "rows": rows}, indent=1))
    for row in rows:
        print({key: value for key, value in row.items() if key != "returns"})


if __name__ == "__main__":
    main()
