"""Whole training processes, as a user starts them, and what is left of them when they have ended."""

import hashlib
import json
import os
import subprocess
import sys
import time

# A run of a fifth of a second: eight checkpoints, four evaluations, and a ring that forgets rows.
TINY = (
    *("--env", "InvertedPendulum-v5", "--budget-mb", "40", "--hidden", "32", "--steps", "600", "--start-steps", "200"),
    *("--eval-every", "200", "--eval-episodes", "1", "--evolve-every", "100", "--replay-rows", "400"),
    *("--checkpoint-every", "70", "--no-progress"),
)
EXPORTS = {
    "onnx": ("actor.onnx", "--golden", "golden.csv"),
    "c": ("actor.c", "--golden", "golden.csv"),
    "bundle": ("--bundle", "kit"),
}
TIMED = ("seconds", "steps_per_second", "rss_bytes", "peak_rss_bytes")  # what differs between two equal runs


def until(condition, process=None, seconds=60):
    """Wait until `condition()` holds: not longer than `seconds`, nor than `process` lives."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None or condition(), process.communicate(timeout=10)
        assert time.monotonic() < deadline, f"it did not come within {seconds} s"
        time.sleep(0.005)


def edgedst(*arguments):
    return [sys.executable, "-m", "edgedst.cli.main", *map(str, arguments)]


def start(folder, *arguments, under=(), **options):
    """`edgedst train` in `folder`; `under`: what it is started by, as strace."""
    command = [*under, *edgedst("train", "--run-dir", "runs", *arguments)]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def telling(folder):
    """Environment variables for a trainer that tells what it has loaded, which `modules` reads."""
    return {**os.environ, "EDGEDST_MODULES": str(folder / "modules.json")}


def modules(folder):
    """What the trainer that ended last in `folder` had loaded."""
    return set(json.loads((folder / "modules.json").read_text(encoding="utf-8")))


def train(folder, *arguments, code=0, **options):
    process = start(folder, *arguments, **options)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, out + err
    return out, err


def contents(folder):
    """{path below it: bytes} of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_in(folder):
    (run,) = (folder / "runs").glob("*/*/s*")
    return run


def summary(run):
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def saved_step(run):
    """Of its checkpoint; -1 where it has none."""
    path = run / "checkpoint" / "state.json"
    return json.loads(path.read_text(encoding="utf-8"))["step"] if path.exists() else -1


def metrics(run):
    with (run / "metrics.jsonl").open(encoding="utf-8") as file:
        return [{name: value for name, value in json.loads(line).items() if name not in TIMED} for line in file]


def planned(folder, *arguments):
    """(exit code, ledger or sentence) of `edgedst plan`."""
    command = edgedst("plan", "--json", *arguments)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr


def stayed_within(run, budget_mb):
    """Hold trainer and front end to the budget, by the kernel's account of their peaks."""
    told = summary(run)
    peak = max(told["peak_rss_bytes"], told["front_end_peak_bytes"])
    assert peak <= budget_mb * 1e6, f"{peak:,} bytes of {budget_mb} MB"


def digest(run):
    """Of the checkpoint's networks and of the best actor, where there is one."""
    state = json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    names = [state[record]["file"] for record in ("networks", "best") if state[record]]
    return *names[1:], *(hashlib.sha256((run / "checkpoint" / name).read_bytes()).hexdigest() for name in names)


def goes_on(folder, whole, *arguments):
    """Train on in `folder`, and hold the end to be that of `whole`, to the bit; returns how it went on.

    A run that has a checkpoint is gone on with, from that very step; without one, or finished, a new one begins.

    Args:
        folder: where `runs` is.
        whole: the run folder of the same settings that was never disturbed.
        arguments: settings; TINY when there are none.
    """
    begun = {run: saved_step(run) for run in (folder / "runs").glob("*/*/s*")}
    unfinished = [run for run in begun if begun[run] >= 0 and not finished(run)]
    out, _ = train(folder, *(arguments or TINY), "--resume", "newest")
    after = [run for run in (folder / "runs").glob("*/*/s*") if finished(run)]
    for run in after:
        assert metrics(run) == metrics(whole)
        assert digest(run) == digest(whole)
    if not unfinished:
        return "began anew"
    assert f", from step {begun[unfinished[-1]]:,}" in out, out
    assert unfinished[-1] in after, out
    return "went on"


def finished(run):
    return (run / "summary.json").exists() and summary(run)["finished"]
