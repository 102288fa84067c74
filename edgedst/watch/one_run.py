"""One run that is watched: its metrics as they grow, and what its other files say now (docs/formats.md)."""

from __future__ import annotations

import shlex
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from edgedst import parse
from edgedst.agents import agent_class
from edgedst.budget.plan import budget_bytes_of
from edgedst.errors import EdgedstError
from edgedst.files import told_name
from edgedst.report.text import one_line
from edgedst.runs.find import told_import
from edgedst.runs.metrics import is_number, is_step
from edgedst.runs.run import Run

FILES = ("metrics.jsonl", "config.toml", "summary.json", "checkpoint/state.json")
READ_BYTES = 2_000_000  # of metrics.jsonl for one answer to a page
SPARK_POINTS = 60
PACE_EVALUATIONS = 5  # a run's pace, and its watts, are those of the last so many
LAST_EPISODES = 10  # whose mean is told where there are no evaluations
NO_TOPOLOGY: dict[str, Any] = {"step": None, "since": None, "layers": []}


class Watched:
    """A run folder that is looked at again and again: from look `count` on. `facts` has what there is to say of it."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self.folder, self.name = folder, one_line(name)
        self.facts: dict[str, Any] = {}
        self.changed = 0  # the look that found the last change
        self._seen: object = None
        self._saved_step: int | None = None
        self._topology = NO_TOPOLOGY
        self._first: tuple[int, dict[str, Any]] = 2**63, {}  # of the checkpoints that were read: step, connections
        self._begin(count)

    def _begin(self, count: int) -> None:
        self.began, self._at, self._last = count, 0, b""  # how far metrics.jsonl was read, and the line before that
        self._newest: dict[str, Any] = {"step": 0}  # the last value of each key
        self._points: deque[tuple[int, Any, Any]] = deque(maxlen=PACE_EVALUATIONS)  # step, seconds, joules
        self._best: tuple[float, int] | None = None  # evaluation, and its step
        self._returns = array("d")  # of all evaluations; where there are none, of all episodes
        self._missed: float | None = None

    def look(self, locked: set[int], failure: str, count: int) -> None:
        """Read what is new; `changed` becomes `count`, the look's number, where anything is.

        `locked`: inodes of the files that processes of this machine lock; `failure`: why its study says that it failed.
        """
        files = [version(self.folder / name) for name in FILES]
        training = files[0][2] in locked
        if self._seen != (files, training, failure):
            self._seen, self.changed = (files, training, failure), count
            self._read_metrics(count)
            self.facts = self._facts(training, failure, written=files[0][0] / 1e9)

    def _read_metrics(self, count: int) -> None:
        try:
            with parse.opened(self.folder / "metrics.jsonl") as file:
                file.seek(self._at - len(self._last))
                if file.read(len(self._last)) != self._last:  # resuming cuts what came after the checkpoint
                    self._begin(count)
                    file.seek(0)
                for line in file:
                    if not line.endswith(b"\n"):  # half of it, as yet
                        break
                    self._take(parse.json_object(line))
                    self._at, self._last = self._at + len(line), line
        except OSError:  # it is gone
            pass

    def _take(self, line: dict[str, Any]) -> None:
        step, value, earned = line.get("step"), line.get("evaluation_return"), line.get("episode_return")
        if not is_step(step):
            return
        self._newest |= line
        if is_number(value):
            if self._best is None:
                self._returns = array("d")
            if self._best is None or value > self._best[0]:
                self._best = value, step
            self._points.append((step, line.get("seconds"), line.get("energy_joules")))
        elif is_number(earned) and is_number(missed := line.get("missed_periods")):
            self._missed = (self._missed or 0) + missed
        if is_number(shown := value if self._best else earned):
            self._returns.append(shown)

    def _facts(self, training: bool, failure: str, written: float) -> dict[str, Any]:
        """Numbers in the units of their names; None where nothing tells them. `written`: metrics.jsonl, unix time."""
        run, notes = Run(self.folder), list[str]()
        settings = _tried(lambda: run.settings, notes)
        saved = (_tried(run.state, notes) if run.begun else None) or {}
        energy, told_step = saved.get("energy") or {}, self._newest["step"]
        self._saved_step = saved.get("step")
        if training or (run.number("step") or 0) < told_step:
            run.summary = {}  # of an earlier process
        state, why = _state(run, training, failure, saved)
        if (rest := self._newest.get("brought_to_rest")) and not training:
            why = f"The machine was brought to rest: {rest}. {why}"
        points, newest = [*self._points], {}
        if saved and (not points or saved["step"] > points[-1][0]):
            points.append((saved["step"], saved["seconds"], energy.get("joules")))
        points = [point for point in points if is_number(point[1])]
        if settings and saved:  # tells what no line does
            agent, learned = saved["agent"], saved["step"] - settings.start_steps
            counts = settings.init_from is None  # its own updates, and not another run's before
            newest = dict(zip(agent_class(settings.method).METRICS, agent["losses"], strict=False))
            newest["updates_per_step"] = agent["iteration"] / learned if counts and learned > 0 else None
        newest = {name: value for name, value in (newest | self._newest).items() if is_number(value)}
        # Random first steps are several times faster than those that learn: they promise nothing.
        start = settings.start_steps + settings.critic_warmup if settings else 0
        learning = [point[:2] for point in points if point[0] >= start]
        last = self._returns[-1 if self._best else -LAST_EPISODES :]
        pace = _rate(learning) if len(learning) > 1 or (learning and learning[0][0] > 2 * start) else None
        return {
            "name": self.name,
            "env": one_line(told_name(settings.env)) if settings else self.name,
            **{name: getattr(settings, name, None) for name in ("method", "seed", "steps")},
            **{"state": state, "why": one_line(why), "notes": [one_line(note) for note in notes]},
            "step": max(told_step, saved.get("step", 0)),
            "clock": points[-1][:2] if points else None,  # a step, and the seconds trained until then
            "steps_per_second": pace,
            "ends_at": round(written + (settings.steps - told_step) / pace) if training and settings and pace else None,
            "return": fmean(last) if last else None,  # the newest evaluation, or a mean of episodes without `best`
            "best": self._best,
            "spark": self._returns[:: -(len(self._returns) // SPARK_POINTS + 1)].tolist()[::-1],
            "newest": newest,  # the last value of each number in metrics.jsonl
            "missed_periods": self._missed,
            "peak_bytes": run.number("peak_rss_bytes") or newest.get("peak_rss_bytes"),
            "budget_bytes": run.number("budget_bytes") or (budget_bytes_of(settings) if settings else None),
            "watts": _rate([(joules, seconds) for _, seconds, joules in points if is_number(joules)]),
            "watts_modelled": energy.get("measured") is False,
        }

    def lines(self, began: int, at: int) -> dict[str, Any]:
        """Lines of metrics.jsonl behind the byte `at`; from the first on where a page `began` to read another file."""
        at, content = at if began == self.began and at <= self._at else 0, b""
        with suppress(OSError), parse.opened(self.folder / "metrics.jsonl") as file:
            file.seek(at)
            content = file.read(min(READ_BYTES, self._at - at))
        content = content[: content.rfind(b"\n") + 1] or content
        lines = content.decode(errors="replace").split("\n")
        return {"began": self.began, "at": at + len(content), "more": at + len(content) < self._at, "lines": lines}

    def ledger(self) -> list[tuple[str, int]]:
        """What the budget is for, as it was planned: (line, bytes); those of one network together."""
        sizes: dict[str, int] = {}
        lines = Run(self.folder).file("plan.json").get("lines")
        for line in lines if isinstance(lines, list) else []:
            if isinstance(line, dict) and is_step(line.get("bytes")):
                name = one_line(str(line.get("name"))).partition(":")[0]
                sizes[name] = sizes.get(name, 0) + line["bytes"]
        return list(sizes.items())

    def topology(self) -> dict[str, Any]:
        """Connections of each layer in the newest checkpoint, and how many of them the first one read had not."""
        if self._topology["step"] == self._saved_step:
            return self._topology
        import numpy as np  # beside a run on a small board it is loaded for whoever looks at this only

        from edgedst.runs.actor import read_connections

        try:
            step, layers = read_connections(self.folder)
        except EdgedstError:  # `facts` tells what is wrong with the checkpoint
            return NO_TOPOLOGY
        since, first = self._first
        if since > step or first.keys() != layers.keys():
            self._first = since, first = step, {name: positions for name, (positions, *_) in layers.items()}
        told = []  # network, in and out features, connections, and those that are new
        for name, (positions, *shape) in layers.items():
            new = len(np.setdiff1d(positions, first[name], assume_unique=True))
            told.append((one_line(name.rpartition(" ")[0].replace("_", " ")), *shape, len(positions), new))
        self._topology = {"step": step, "since": since, "layers": told}
        return self._topology


def version(path: Path) -> tuple[int, int, int]:
    """Another one where a file is another: when it was written, its size and inode; zeros where there is none."""
    try:
        about = path.stat()
    except OSError:
        return 0, 0, 0
    return about.st_mtime_ns, about.st_size, about.st_ino


def _state(run: Run, training: bool, failure: str, saved: dict[str, Any]) -> tuple[str, str]:
    """running, finished, stopped, imported or failed; and why, where there is more to say."""
    reason = str(run.summary.get("exit_reason", ""))
    go_on = f"Go on: edgedst train --resume {shlex.quote(str(run.folder))}"
    if training:
        return "running", ""
    if run.finished:
        return "finished", "" if reason == "finished" else reason
    if not failure and reason in ("stopped", "interrupted"):
        return "stopped", go_on
    if "imported" in saved:
        return "imported", told_import(run.folder, saved)
    return "failed", failure or reason or (
        "No process trains it here and it has no summary: it was killed, failed with words that its terminal has, or "
        f"trains on another machine. {go_on}"
    )


def _tried(read: Callable[[], Any], notes: list[str]) -> Any:
    """What is read, or None and a note that says why it cannot be."""
    try:
        return read()
    except EdgedstError as error:
        return notes.append(str(error))


def _rate(amounts: Sequence[tuple[float, float]]) -> float | None:
    """Of (amount, seconds) from the first to the last; of one alone since the run began."""
    if not amounts:
        return None
    (before, since), (amount, seconds) = amounts[0] if len(amounts) > 1 else (0.0, 0.0), amounts[-1]
    return (amount - before) / (seconds - since) if seconds > since else None
