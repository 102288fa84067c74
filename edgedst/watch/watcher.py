"""All runs of a folder as they are now, and what of that somebody who looked before has not seen yet."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from array import array
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgedst import parse
from edgedst.errors import ConfigError, EdgedstError
from edgedst.report.text import one_line
from edgedst.reserve import Reserve
from edgedst.runs.find import runs_within
from edgedst.runs.reading import reading
from edgedst.study.found import RunIndex
from edgedst.study.grid import Study, read_study
from edgedst.watch.one_run import Watched

LOOK_SECONDS = 1.0  # between two looks, however many pages ask
READ_BYTES = 16_000_000  # of all metrics a look: the next one reads on


class Watcher:
    """A run, a study, a folder of runs or of studies.

    Args:
        folder: which.
        has_to_be: whether it has to be there already.

    Raises:
        ConfigError: it is no folder.
        CheckpointError: it may not be read.
    """

    def __init__(self, folder: Path, has_to_be: bool = True) -> None:
        if (has_to_be or folder.exists()) and not folder.is_dir():
            raise ConfigError(
                f"`{folder}` is not a folder. Name a run, a study or a folder of runs, such as `edgedst watch runs`."
            )
        if folder.is_dir():
            with reading(folder):
                next(folder.iterdir(), None)  # glob is silent about what it may not list
        self.folder = folder
        self.began = f"{time.time_ns():x}"  # ids and counters are of this watcher: a page of another one starts anew
        self._lock = threading.Lock()
        self._next = -math.inf
        self._count = 0  # of changes
        self._runs: dict[str, tuple[Watched, dict[str, Any], int]] = {}  # by id: facts, and the count of their change
        self._order: tuple[list[str], int] = [], 0
        self._head: tuple[dict[str, Any], int] = {}, 0
        self._studies: dict[Path, tuple[object, Study | None, RunIndex, str]] = {}
        # Its limits are of no matter here: it is asked for the temperature alone.
        self._board = Reserve(SimpleNamespace(max_temperature=math.inf, max_watts=None, max_cpu=None), None)

    def changes(self, began: str, seen: int) -> dict[str, Any]:
        """What of all runs has changed since a count; all of it where `began` is another watcher's."""
        with self._lock:
            self._look()
            seen = seen if began == self.began else -1
            told: dict[str, Any] = {"began": self.began, "count": self._count, "now": time.time()}
            if self._order[1] > seen:
                told["order"] = self._order[0]
            if self._head[1] > seen:
                told["head"] = self._head[0]
            told["runs"] = {name: facts for name, (_, facts, changed) in self._runs.items() if changed > seen}
            return told

    def facts(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Of the folder, and of each run, the newest first."""
        with self._lock:
            self._look()
            return self._head[0], [self._runs[name][1] for name in self._order[0]]

    def details(self, name: str, have: str) -> dict[str, Any] | None:
        """Rows of a run beyond those that somebody has, its ledger and its layers; None: there is no such run.

        Args:
            name: its id.
            have: `generation.evaluations.episodes.step of the layers`, as the last answer ended; else all is told.
        """
        with self._lock:
            self._look()
            if name not in self._runs:
                return None
            run = self._runs[name][0]
            seen = [int(part) if part.isdecimal() else -1 for part in have.split(".")[:4]]
            same = len(seen) == 4 and seen[0] == run.generation
            series = {"evaluations": run.evaluations, "episodes": run.episodes}
            told: dict[str, Any] = {"generation": run.generation, "now": time.time()}
            for (key, rows), at in zip(series.items(), seen[1:3] if same else (0, 0), strict=True):
                told[key] = {"from": max(0, at), "rows": [_numbers(row) for row in rows.rows[max(0, at) :]]}
                told[key] |= {"columns": rows.columns, "each": rows.each}
            topology = run.topology()
            if not same or seen[3] != (topology["step"] or 0):
                told["topology"] = topology
            if not same:
                told["ledger"] = run.ledger()
            counts = (run.generation, len(run.evaluations.rows), len(run.episodes.rows), topology["step"] or 0)
            return {**told, "have": ".".join(map(str, counts))}

    def watched(self) -> list[Watched]:
        """The runs, in the order of `facts`."""
        return [self._runs[name][0] for name in self._order[0]]

    def _look(self) -> None:
        if time.monotonic() < self._next:
            return
        studies = [self.folder] if (self.folder / "study.toml").is_file() else _parents(self.folder, "*/study.toml")
        failures: dict[Path, str] = {}
        told = [self._study(study, failures) for study in studies]
        folders = self._folders(studies)
        held, left, self._count = _locked_inodes(), READ_BYTES, self._count + 1
        order = []
        for folder in folders:
            name = hashlib.sha1(os.fsencode(folder), usedforsecurity=False).hexdigest()[:12]
            order.append(name)
            run, before, changed = self._runs.get(name) or (Watched(folder, self._name(folder)), {}, 0)
            left -= run.read(left) if left > 0 else 0
            facts = run.facts(_inode(folder / "metrics.jsonl") in held, failures.get(folder, ""))
            self._runs[name] = run, facts, changed if facts == before else self._count
        for name in [name for name in self._runs if name not in order]:
            del self._runs[name]
        if order != self._order[0]:
            self._order = order, self._count
        running = any(facts["state"] == "running" for _, facts, _ in self._runs.values())
        head = {
            "folder": one_line(str(self.folder)),
            "studies": [line for line in told if line],
            "celsius": self._board.temperature() if running else None,  # of this board, where they train
        }
        if head != self._head[0]:
            self._head = head, self._count
        self._next = time.monotonic() + LOOK_SECONDS

    def _folders(self, studies: list[Path]) -> list[Path]:
        if (self.folder / "config.toml").is_file():
            return [self.folder]
        within = [] if studies == [self.folder] else runs_within(self.folder, "metrics.jsonl")
        for study in studies:
            within += runs_within(study / "runs", "metrics.jsonl")
        return within

    def _name(self, folder: Path) -> str:
        return folder.name if folder == self.folder else str(folder.relative_to(self.folder))

    def _study(self, out: Path, failures: dict[Path, str]) -> str:
        """What a study plans, as a sentence; why its runs failed goes into `failures`."""
        try:
            is_now = (out / "study.toml").stat().st_mtime_ns
            if out not in self._studies or self._studies[out][0] != is_now:
                study, wrong = None, ""
                try:
                    study = read_study(out / "study.toml")
                except EdgedstError as error:
                    wrong = str(error)
                self._studies[out] = is_now, study, RunIndex(out), wrong
        except OSError:
            return ""
        _, study, index, wrong = self._studies[out]
        if study is None:
            return wrong
        points = {point.name: point for point in study.points}
        without = []
        for path in (out / "points").glob("*/failed.txt"):
            if path.parent.name in points and (text := _text(path)):
                point = points[path.parent.name]
                if run := index.find(point):
                    failures[run.folder] = text
                else:
                    without.append(f" {point.told} failed before it had a run: {text}")
        return one_line(f"{study.title}: {len(points):,} runs are planned.{''.join(sorted(without)[:5])}")


def _parents(folder: Path, pattern: str) -> list[Path]:
    return sorted(path.parent for path in folder.glob(pattern))


def _text(path: Path) -> str:
    with suppress(OSError):
        return parse.read(path).decode(errors="replace").strip()
    return ""


def _numbers(row: array[float]) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.9g}") for value in row]


def _inode(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_ino
    return 0


def _locked_inodes() -> set[int]:
    """Files that a process of this machine holds a lock of, as a trainer does its metrics.jsonl's.

    To ask by locking would refuse a trainer that begins in that moment. The device is not compared: overlays and btrfs
    tell two of them.
    """
    held = set()
    with suppress(OSError, ValueError, IndexError):
        for line in parse.read(Path("/proc/locks")).decode().splitlines():
            words = line.split()
            if words[1] == "FLOCK":  # one who waits has -> there
                held.add(int(words[5].rpartition(":")[2]))
    return held
