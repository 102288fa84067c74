"""Short studies, as a user starts them: processes, so that they can be killed."""

import json
import struct
import subprocess
import sys
import time
from pathlib import Path

SMALL = """
hidden = [16]
start_steps = 200
eval_every = 1000
eval_episodes = 1
evolve_every = 100
checkpoint_every = 250
replay_rows = 3000
"""


def study_text(grid, steps=1000, settings=""):
    return f'title = "short"\n[settings]\nsteps = {steps}\n{SMALL}{settings}\n[[grid]]\n{grid}\n'


class Folder:
    """A study in a folder of its own."""

    def __init__(self, path):
        self.path = path
        self.out = path / "out"
        self.processes = []
        self.verb = ["study", "run"]

    def write(self, grid, **options):
        (self.path / "study.toml").write_text(study_text(grid, **options), encoding="utf-8")

    def start(self, *arguments):
        command = [sys.executable, "-m", "edgedst.cli.main", *self.verb, "study.toml", "--out", "out", *arguments]
        process = subprocess.Popen(
            command, cwd=self.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.processes.append(process)
        return process

    def run(self, *arguments, code=0):
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, out + err
        return out, err

    def wait_for_step(self, step):
        """Until some run has a checkpoint of that step; its folder."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for state in self.out.glob("runs/*/*/s*/checkpoint/state.json"):
                if json.loads(state.read_text(encoding="utf-8"))["step"] >= step:
                    return state.parent.parent
            time.sleep(0.02)
        raise AssertionError(f"no checkpoint of step {step} within a minute")

    def runs(self):
        """By env, method and seed."""
        return {
            (run.parent.parent.name, run.parent.name, run.name.partition("-")[0]): run
            for run in sorted(self.out.glob("runs/*/*/s*"))
        }


def trainers(folder):
    """Process ids of the study's runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if str(folder.out).encode() in command and b"edgedst.trainer" in command:
            found.append(int(path.parent.name))
    return found


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def summary(run):
    return json.loads((Path(run) / "summary.json").read_text(encoding="utf-8"))


def numbers(run):
    """Everything that does not depend on the clock."""
    timed = ("seconds", "steps_per_second", "rss_bytes", "peak_rss_bytes")
    lines = (Path(run) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in timed} for line in lines]


def write_run(out, point, returns, every=5000, finished=True, sizes=None, **about):
    """A run folder of a study's point, made by hand: these evaluations, and networks of these sizes."""
    config = point.config
    run = Path(out) / "runs" / config.env / config.method / f"s{config.seed}-{point.name[-8:]}"
    (run / "checkpoint").mkdir(parents=True)
    (run / "config.toml").write_text(config.toml() + "replay_rows = 4321\n", encoding="utf-8")
    lines = [json.dumps({"step": i * every, "evaluation_return": value}) for i, value in enumerate(returns)]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    host = {"edgedst": "0", "python": "3", "isa": "scalar", "machine": "x86_64", "board": None, "cpu": "A CPU"}
    (run / "host.json").write_text(json.dumps({**host, "cores": 2, "memory_bytes": 4_000_000_000}), encoding="utf-8")
    if sizes:
        header = json.dumps({"__metadata__": {"edgedst": json.dumps({"sizes": sizes, **about})}}).encode()
        (run / "checkpoint" / "n.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        state = {"step": every * (len(returns) - 1), "networks": {"file": "n.safetensors"}}
        (run / "checkpoint" / "state.json").write_text(json.dumps(state), encoding="utf-8")
    if finished:
        told = {"finished": True, "exit_reason": "finished", "step": config.steps, "R": 0.0, "seconds": 1200.0}
        told |= {"peak_rss_bytes": 49_000_000, "budget_bytes": 50_000_000, "steps_per_second": 800.0}
        told |= {"evaluations": len(returns), "replay_transitions": config.steps}
        (run / "summary.json").write_text(json.dumps(told), encoding="utf-8")
    return run
