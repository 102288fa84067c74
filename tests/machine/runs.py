"""Runs of `edgedst train` on tests/machine/robot.py: its log, the three processes, and what the replay holds of it."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from training import run_in, start, until

ROBOT = Path(__file__).with_name("robot.py")
# Small and quick: 200 Hz, episodes of 40 steps, float32 rows, so that a row is compared with the log to the bit.
SMALL = (
    *("--env", "robot.py", "--budget-mb", "25", "--hidden", "16", "--replay-rows", "5000", "--replay-dtype", "float32"),
    *("--start-steps", "40", "--checkpoint-every", "50", "--eval-every", "0", "--max-missed", "50", "--no-progress"),
    *("--updates-per-step", "1"),
)
ENDLESS = (*SMALL, "--steps", "1000000")
LONGEST_SECONDS = 60  # that a test waits for anything: the machine that tests may be busy
READS = 2.0**20  # the bound of robot.py's first observation
TRANSITION, TRUNCATED = 1, 4  # flags of a row


class Run:
    """One `edgedst train` in a folder.

    Args:
        folder: of the run; robot.py is copied into it, unless it has one.
        arguments: of the command.
        variables: of its environment: ROBOT_FAULT and others of robot.py's.
        options: of Popen.
    """

    def __init__(self, folder, *arguments, variables=None, **options):
        self.folder, self.log_file = folder, folder / "log"
        if not (folder / "robot.py").exists():
            shutil.copy(ROBOT, folder / "robot.py")
        self.before = len(self.log_bytes())
        self.variables = variables or {}
        environment = {**os.environ, "ROBOT_LOG": str(self.log_file), **self.variables}
        self.process = start(folder, *arguments, env=environment, **options)

    def log_bytes(self):
        return self.log_file.read_bytes() if self.log_file.exists() else b""

    @property
    def calls(self):
        """What this run called: each with ns, pid, name, numbers."""
        lines = self.log_bytes()[self.before :].decode().splitlines()
        found = []
        for ns, pid, name, *words in (line.split() for line in lines):
            numbers = tuple(map(float, words))
            found.append(SimpleNamespace(ns=int(ns), pid=int(pid), name=name, numbers=numbers))
        return found

    @property
    def all_calls(self):
        """Those of the runs before, too."""
        before, self.before = self.before, 0
        try:
            return self.calls
        finally:
            self.before = before

    @property
    def at_rest(self):
        """Whether the newest call that matters is stop(), or there was none."""
        moves = self.named("start", "reset", "apply", "stop")
        return not moves or moves[-1].name == "stop"

    def count(self, name):
        return self.log_bytes()[self.before :].count(f" {name} ".encode())

    def named(self, *names):
        return [call for call in self.calls if call.name in names]

    def until(self, name, count=1):
        """Wait until robot.py has seen so many calls of this name."""
        self.wait_for(lambda: self.count(name) >= count)
        return self

    def wait_for(self, happened):
        until(happened, self.process, LONGEST_SECONDS)

    @property
    def learner(self):
        return self.process.pid

    @property
    def acting(self):
        return self.named("import")[0].pid

    @property
    def warden(self):
        """The acting side's child."""
        return next(pid for pid, parent in family(self.log_file).items() if parent == self.acting)

    def send(self, number, *pids):
        """Send a signal; returns when: before it, since whoever gets it may run at once."""
        at_ns = time.monotonic_ns()
        for pid in pids or (self.learner,):
            os.kill(pid, number)
        return at_ns

    def ended(self, code=0):
        """Wait for the end; returns what it printed, and what it printed as errors. All its processes are gone."""
        out, err = self.process.communicate(timeout=LONGEST_SECONDS)
        assert self.process.returncode == code, (self.process.returncode, out, err)
        assert "Traceback" not in out + err
        self.wait_for_nobody()
        return out, err

    def wait_for_nobody(self):
        """Until no process of the run is left."""
        until(lambda: not family(self.log_file), seconds=LONGEST_SECONDS)

    def sentence(self, code=1):
        """The one sentence that it ended with."""
        _, err = self.ended(code)
        assert len(err.splitlines()) == 1, err
        return err.strip()

    def kill_all(self):
        for pid in family(self.log_file):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.communicate()

    @property
    def run(self):
        return run_in(self.folder)

    @property
    def summary(self):
        return json.loads((self.run / "summary.json").read_text(encoding="utf-8"))

    @property
    def lines(self):
        return [json.loads(line) for line in (self.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]

    @property
    def metrics(self):
        """Of episodes and evaluations."""
        return [line for line in self.lines if "brought_to_rest" not in line]

    @property
    def reasons(self):
        """Why the machine was brought to rest, by each process that trained the run."""
        return [line["brought_to_rest"] for line in self.lines if "brought_to_rest" in line]


def family(log_file):
    """{process id: its parent's} of all processes of the runs that write this log, zombies left out."""
    wanted, found = f"ROBOT_LOG={log_file}\0".encode(), {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes():
                found[int(entry.name)] = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            pass
    return found


LETTERS = {"import": "I", "start": "S", "reset": "R", "read": "o", "apply": "a", "stop": "x"}


def in_order(calls):
    """Whether one process called as it should: import, start, episodes, each from its reset to its stop."""
    word = "".join(LETTERS[call.name] for call in calls)
    return re.fullmatch("I(Sx*(R(oa)*o?x+)*)?", word) is not None


def rested_ns(calls, since_ns):
    """How long after that moment the machine came to rest, by its newest call that matters; 0: it was at rest."""
    moves = [call for call in calls if call.name in ("start", "reset", "apply", "stop")]
    if not moves:
        return 0
    assert moves[-1].name == "stop", f"the machine was left moving: {moves[-3:]}"
    while len(moves) > 1 and moves[-2].name == "stop":
        moves.pop()
    return max(0, moves[-1].ns - since_ns)


def state_of(run):
    return json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))


def replay_rows(run, observation_size=3, action_size=1):
    """The rows of a checkpoint's replay, in order: observation, action, reward, flags; the open row last."""
    replay = state_of(run)["replay"]
    assert replay["dtype"] == "float32"
    shape = [("observation", "<f4", observation_size), ("action", "<f4", (action_size,))]
    shape += [("reward", "<f4"), ("flags", "u1")]
    record = np.dtype(shape)
    assert record.itemsize == replay["row_bytes"]
    content = b"".join(
        (run / "checkpoint" / segment["file"]).read_bytes()[: segment["rows"] * record.itemsize]
        for segment in replay["segments"]
    )
    return np.frombuffer(content + bytes.fromhex(replay["open_row"]), record)


def stored(run, calls, bounds=((-1.0, 1.0),), fillers=0):
    """Numbers of the reads that the stored transitions begin with, each transition held to be that of the log.

    Its parts must be one step's: what was read, what was done then, what was read next; to the last bit of float32.
    """
    m = len(bounds)
    low, high = np.array(bounds).T
    rows = replay_rows(run, 2 + m + fillers, m)
    # What rows hold observations less of; as long as there is none, there is no row.
    offset = np.array(state_of(run)["replay"].get("offset", np.zeros(2 + m)))[: 2 + m]
    log = [call for call in calls if call.name in ("read", "apply")]
    place = {call.numbers[0]: index for index, call in enumerate(log) if call.name == "read"}
    found = []

    def seen(read):
        number, episodes, *last = read.numbers
        scaled = (np.array(last) - (low + high) / 2) / ((high - low) / 2)
        return (np.array([number / READS, episodes / READS, *scaled]) - offset).astype(np.float32).tolist()

    for row, after in zip(rows, rows[1:], strict=False):
        if not row["flags"] & TRANSITION:
            continue
        number = round((float(row["observation"][0]) + offset[0]) * READS)
        before, apply, behind = log[place[number] : place[number] + 3]
        assert (before.name, apply.name, behind.name) == ("read", "apply", "read"), number
        assert behind.numbers[0] == number + 1
        assert before.numbers[1] == behind.numbers[1], "a transition across two episodes"
        assert row["observation"][: 2 + m].tolist() == seen(before)
        assert after["observation"][: 2 + m].tolist() == seen(behind)
        assert behind.numbers[2:] == apply.numbers
        # Float32's rounding of numbers in [-1, 1], once there and once back.
        done = low + (row["action"].astype(np.float64) + 1) / 2 * (high - low)
        assert (np.abs(done - apply.numbers) <= 1e-7 * (high - low)).all()
        assert row["reward"] == np.float32(behind.numbers[0] + sum(apply.numbers))
        found.append(number)
    assert len(set(found)) == len(found), "a transition is stored twice"
    return found
