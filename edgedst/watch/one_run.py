"""One run that is watched: its metrics as they grow, and what its other files say now (docs/formats.md)."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedst import parse
from edgedst.config import TrainConfig
from edgedst.errors import EdgedstError
from edgedst.files import told_name
from edgedst.report.text import one_line
from edgedst.runs.metrics import is_number, is_step
from edgedst.runs.run import Run
from edgedst.watch.series import Series, thinned

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

EVALUATION = (
    *("step", "seconds", "evaluation_return", "evaluation_sd", "critic_loss", "actor_loss", "mean_q", "alpha"),
    *("entropy", "connections_moved", "rss_bytes", "energy_joules"),
)
EPISODE = ("step", "episode_return", "updates_per_step", "missed_periods", "rate_kept_hz", "jitter_p99_ms")
LOSSES = ("critic_loss", "actor_loss", "mean_q", "alpha", "entropy", "connections_moved")
TAIL_BYTES = 4096  # that have to be as they were, else the file is read anew
SPARK_POINTS = 60
PACE_EVALUATIONS = 5  # a run's pace, and its watts, are those of the last so many
LAST_EPISODES = 10  # whose mean is told where there are no evaluations


class Watched:
    """A run folder that is looked at again and again.

    Args:
        folder: of the run.
        name: as people see it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, one_line(name)
        self.generation = 0  # another one: rows that were told before do not count any more
        self._files: dict[str, tuple[object, Any]] = {}
        self._first_topology: tuple[int, dict[str, npt.NDArray[np.uint32]]] | None = None
        self._begin()

    def _begin(self) -> None:
        self.generation += 1
        self.evaluations, self.episodes = Series(EVALUATION), Series(EPISODE)
        self._at, self._tail = 0, b""  # how far metrics.jsonl was read, and what stood there
        self._newest: dict[str, Any] = {}  # the last value of each key
        self._evaluated: deque[dict[str, Any]] = deque(maxlen=PACE_EVALUATIONS)
        self._returns: deque[float] = deque(maxlen=LAST_EPISODES)
        self._best: tuple[float, int] | None = None
        self._missed: float | None = None
        self._unread = 0

    def read(self, most: int) -> int:
        """Read on in metrics.jsonl, at most so many bytes; returns how many that were.

        A run that is resumed cuts off what came after its checkpoint: then all is read anew. Half a line waits.
        """
        try:
            with parse.opened(self.folder / "metrics.jsonl") as file:
                file.seek(max(0, self._at - len(self._tail)))
                if file.read(len(self._tail)) != self._tail:
                    self._begin()
                    file.seek(0)
                content = file.read(most)
        except OSError:  # it is gone, or not there yet
            return 0
        end = content.rfind(b"\n") + 1
        if not end and len(content) < most:
            return len(content)
        whole = content[: end or None]  # a line that does not end is none of a run's
        before = self.evaluations.each, self.episodes.each
        for line in whole.splitlines():
            self._take(line)
        self.generation += (self.evaluations.each, self.episodes.each) != before
        self._at += len(whole)
        self._tail = (self._tail + whole)[-TAIL_BYTES:]
        return len(content)

    def _take(self, content: bytes) -> None:
        line = parse.json_object(content)
        step, value, earned = line.get("step"), line.get("evaluation_return"), line.get("episode_return")
        if not is_step(step):
            self._unread += bool(content.strip())
            return
        self._newest |= line
        if is_number(value):
            self.evaluations.add(line)
            self._evaluated.append(line)
            if self._best is None or value > self._best[0]:
                self._best = float(value), step
        elif is_number(earned):
            self.episodes.add(line)
            self._returns.append(float(earned))
            if is_number(line.get("missed_periods")):
                self._missed = (self._missed or 0) + line["missed_periods"]

    def facts(self, training: bool, failure: str = "") -> dict[str, Any]:
        """What there is to say of the run now: numbers in the units of their names, None where nothing tells them.

        Args:
            training: whether a process trains it.
            failure: why its study says that it failed.
        """
        run, notes = Run(self.folder), []
        settings, wrong = self._fresh("config.toml", lambda: _tried(lambda: run.settings)) or (None, "")
        checkpoint, damage = self._fresh("checkpoint/state.json", lambda: _tried(run.state)) or (None, "")
        notes += [text for text in (wrong, damage) if text]
        if self._unread:
            notes.append(f"{self._unread:,} lines of metrics.jsonl cannot be read.")
        summary, saved = self._json("summary.json"), checkpoint or {}
        metrics_step = self._newest.get("step", 0)
        step = max(metrics_step, _whole(saved.get("step")), _whole(summary.get("step")))
        if training or _whole(summary.get("step")) < metrics_step:
            summary = {}  # of an earlier process
        state, why = _state(training, summary, failure, self.folder)
        if (rest := self._newest.get("brought_to_rest")) and not training:
            why = f"The machine was brought to rest: {rest}. {why}"
        parent = self.folder.parent
        start = (settings.start_steps + settings.critic_warmup) if settings else 0
        return {
            "name": self.name,
            "env": one_line(told_name(settings.env) if settings else parent.parent.name),
            "method": settings.method if settings else one_line(parent.name),
            "seed": settings.seed if settings else None,
            "state": state,
            "why": one_line(why),
            "notes": [one_line(str(note)) for note in notes],
            "step": step,
            "steps": settings.steps if settings else None,
            **self._times(saved, start, settings.steps if settings else step),
            **self._returned(summary),
            "spark": [float(f"{value:.5g}") for value in self._spark()],
            **self._machine(saved, settings.start_steps if settings else 0),
            **self._memory(summary),
            **self._energy(saved),
            "losses": self._losses(settings, saved),
        }

    def _times(self, saved: dict[str, Any], start: int, steps: int) -> dict[str, Any]:
        """Seconds trained until `seconds_step`, steps a second as of late, and when the last one is expected."""
        told = [(line["step"], line["seconds"]) for line in self._evaluated if is_number(line.get("seconds"))]
        if _whole(saved.get("step")) > (told[-1][0] if told else 0) and is_number(saved.get("seconds")):
            told.append((saved["step"], saved["seconds"]))
        pace = None
        # Random first steps are several times faster than those that learn: they promise nothing.
        learning = [(step, seconds) for step, seconds in told if step >= start]
        if len(learning) > 1 and learning[-1][1] > learning[0][1]:
            pace = (learning[-1][0] - learning[0][0]) / (learning[-1][1] - learning[0][1])
        elif learning and learning[-1][0] > 2 * start and learning[-1][1] > 0:
            pace = learning[-1][0] / learning[-1][1]
        try:
            written = (self.folder / "metrics.jsonl").stat().st_mtime
        except OSError:
            written = 0.0
        known = self._newest.get("step", 0)
        return {
            "seconds_step": told[-1][0] if told else 0,
            "seconds": told[-1][1] if told else None,
            "steps_per_second": pace,
            "ends_at": round(written + (steps - known) / pace) if pace and steps > known else None,
        }

    def _returned(self, summary: dict[str, Any]) -> dict[str, Any]:
        """The newest return and its kind, and the best evaluation."""
        if self._evaluated:
            newest = self._evaluated[-1]
            value, sd, kind = newest["evaluation_return"], newest.get("evaluation_sd"), "evaluation"
        else:
            value = sum(self._returns) / len(self._returns) if self._returns else None
            sd, kind = None, "training"
        best, step = self._best or (None, None)
        return {
            "return": value,
            "return_sd": sd if is_number(sd) else None,
            "return_of": kind,
            "episodes": len(self._returns),
            "best": best,
            "best_step": step,
        }

    def _spark(self) -> list[float]:
        series, name = (self.evaluations, "evaluation_return") if self._evaluated else (self.episodes, "episode_return")
        return thinned(series.column(name), SPARK_POINTS)

    def _machine(self, saved: dict[str, Any], start: int) -> dict[str, Any]:
        """How time was kept, and updates a step; of a simulator the latter alone, from its checkpoint."""
        told = {f"newest_{name}": _number(self._newest, name) for name in EPISODE[3:]}
        updates = _number(self._newest, "updates_per_step")
        iteration, step = saved.get("agent", {}).get("iteration"), _whole(saved.get("step"))
        if updates is None and is_step(iteration) and step > start:
            updates = iteration / (step - start)
        return {"missed_periods": self._missed, **told, "updates_per_step": updates}

    def _memory(self, summary: dict[str, Any]) -> dict[str, Any]:
        plan = self._json("plan.json")
        peaks = [_number(part, "peak_rss_bytes") for part in (self._newest, summary)]
        return {
            "rss_bytes": _number(self._newest, "rss_bytes"),
            "peak_bytes": max((peak for peak in peaks if peak is not None), default=None),
            "budget_bytes": _number(summary, "budget_bytes") or _number(plan, "budget_bytes"),
        }

    def _energy(self, saved: dict[str, Any]) -> dict[str, Any]:
        """Watts between the last evaluations; before there are two, the mean since the first step."""
        energy = saved.get("energy") or {}
        pairs = [(line.get("energy_joules"), line.get("seconds")) for line in self._evaluated]
        told = [(joules, seconds) for joules, seconds in pairs if is_number(joules) and is_number(seconds)]
        if len(told) < 2 and is_number(energy.get("joules")) and is_number(saved.get("seconds")):
            told = [(0.0, 0.0), (energy["joules"], saved["seconds"])]
        seconds = told[-1][1] - told[0][1] if told else 0
        return {
            "watts": (told[-1][0] - told[0][0]) / seconds if seconds > 0 else None,
            "watts_modelled": energy.get("measured") is False,
        }

    def _losses(self, settings: TrainConfig | None, saved: dict[str, Any]) -> dict[str, float]:
        """Of the last evaluation's line, or of the checkpoint, whichever is newer."""
        told = self._evaluated[-1] if self._evaluated else {}
        losses = saved.get("agent", {}).get("losses")
        if settings and isinstance(losses, list) and _whole(saved.get("step")) > _whole(told.get("step")):
            from edgedst.agents import agent_class

            told = dict(zip(agent_class(settings.method).METRICS, losses, strict=False))
        return {name: told[name] for name in LOSSES if is_number(told.get(name))}

    def ledger(self) -> list[tuple[str, int]]:
        """What the budget is for, as it was planned: (line, bytes); those of one network together."""
        sizes: dict[str, int] = {}
        for line in self._json("plan.json").get("lines", []):
            if isinstance(line, dict) and is_step(line.get("bytes")):
                name = one_line(str(line.get("name", ""))).partition(":")[0]
                sizes[name] = sizes.get(name, 0) + line["bytes"]
        return list(sizes.items())

    def topology(self) -> dict[str, Any]:
        """Connections of each layer in the newest checkpoint, and how many of them the first one seen had not."""
        found: dict[str, Any] | None = self._fresh("checkpoint/state.json ", self._topology)
        return found or {"step": None, "since": None, "layers": []}

    def _topology(self) -> dict[str, Any]:
        import numpy as np  # beside a run on a small board it is loaded for whoever looks at this only

        from edgedst.runs.actor import read_connections

        try:
            step, layers = read_connections(self.folder)
        except EdgedstError:  # `facts` tells what is wrong with the checkpoint
            return {"step": None, "since": None, "layers": []}
        known = self._first_topology
        if known is None or known[0] > step or known[1].keys() != layers.keys():
            known = self._first_topology = step, {name: layer[0] for name, layer in layers.items()}
        told = [
            {
                "name": one_line(name.rpartition(" ")[0].replace("_", " ")),
                "from": shape[0],
                "to": shape[1],
                "connections": len(positions),
                "new": len(np.setdiff1d(positions, known[1][name], assume_unique=True)),
            }
            for name, (positions, *shape) in layers.items()
        ]
        return {"step": step, "since": known[0], "layers": told}

    def _json(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] | None = self._fresh(name, lambda: Run(self.folder).file(name))
        return found or {}

    def _fresh(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` makes of a file, made again when the file is another one; None where there is none."""
        try:
            about = (self.folder / name.strip()).stat()
        except OSError:
            return None
        is_now = about.st_mtime_ns, about.st_size, about.st_ino
        if name not in self._files or self._files[name][0] != is_now:
            self._files[name] = is_now, read()
        return self._files[name][1]


def _state(training: bool, summary: dict[str, Any], failure: str, folder: Path) -> tuple[str, str]:
    """running, finished, stopped or failed; and why, where there is more to say."""
    if training:
        return "running", ""
    reason = str(summary.get("exit_reason", ""))
    if summary.get("finished") is True:
        return "finished", "" if reason == "finished" else reason
    if failure:
        return "failed", failure
    go_on = f"Go on: edgedst train --resume {shlex.quote(str(folder))}"
    if reason in ("stopped", "interrupted"):
        return "stopped", go_on
    if reason:
        return "failed", reason
    return "failed", (
        "No process trains it here and it has no summary: it was killed, failed with words that its terminal has, or "
        f"trains on another machine. {go_on}"
    )


def _tried(read: Callable[[], Any]) -> tuple[Any, str]:
    try:
        return read(), ""
    except EdgedstError as error:
        return None, str(error)


def _number(line: dict[str, Any], name: str) -> float | None:
    value = line.get(name)
    return value if is_number(value) else None


def _whole(value: Any) -> int:
    return value if is_step(value) else 0
