"""Short studies, as a user starts them: processes, so that they can be killed."""

import json
import subprocess
import sys
import time
from pathlib import Path

SMALL = """
hidden = [16]
start_steps = 200
eval_every = 500
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

    def write(self, grid, **options):
        (self.path / "study.toml").write_text(study_text(grid, **options), encoding="utf-8")

    def start(self, *arguments):
        command = [sys.executable, "-m", "edgedst.cli.main", "study", "run", "study.toml", "--out", "out", *arguments]
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


def summary(run):
    return json.loads((Path(run) / "summary.json").read_text(encoding="utf-8"))


def numbers(run):
    """Everything that does not depend on the clock."""
    timed = ("seconds", "steps_per_second", "rss_bytes", "peak_rss_bytes")
    lines = (Path(run) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in timed} for line in lines]
