"""A study's report, as far as its runs are: the comparison with the paper, what is missing, every run."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from edgedst import __version__, parse
from edgedst.errors import StudyError
from edgedst.files import folder_error, make_folder, remove, remove_made, write_together
from edgedst.logs.scalars import WINDOW
from edgedst.report.blocks import NOTHING, Block, Column, Heading, Items, Table, Text, markdown, page
from edgedst.report.numbers import SIZE, fixed
from edgedst.report.text import code, literal
from edgedst.runs.metrics import is_step
from edgedst.study.beside_logs import SECONDS, STEPS, Others, curves, read_others
from edgedst.study.beside_paper import BesidePaper
from edgedst.study.grid import read_study
from edgedst.study.over_costs import cost_sections
from edgedst.study.paper import paper
from edgedst.study.results import Result, Results

_REPORTED = "Reported by edgedst"
_PICTURE = re.compile(r"^!?\[.*\]\((film-[^/()\s]+|[^/()\s]+\.svg)\)$", re.MULTILINE)  # as `markdown` writes it

MOST_HOST_CHARACTERS = 400  # of a machine: host.json may hold any text


def write_report(study: Path, out: Path, beside: Sequence[str] = ()) -> list[Path]:
    """Write index.html, report.md and the SVGs; returns their paths, the page first. `beside`: logs, see `read_others`.

    Pictures of an earlier report there, which this one has not, are removed.

    Raises:
        StudyError: the folder is no study's, or a log cannot be read.
        ConfigError: its file has settings that this edgedst does not know.
        RunFolderError: the report cannot be written.
    """
    if not os.path.isfile(study / "study.toml"):  # noqa: PTH113  # false, too, where it may not be looked for
        raise StudyError(
            f"`{study}` is no study's folder: expected `{study / 'study.toml'}`. Name the folder that "
            "`edgedst study run` filled."
        )
    results = Results(read_study(study / "study.toml"), study)
    others = read_others(beside, results.tasks, [variant.name for variant in results.variants])
    over_steps, over_seconds = (curves(others, axis, len(results.variants)) for axis in (STEPS, SECONDS))
    beside_paper = BesidePaper(results, over_steps)
    over_costs, cost_pictures = cost_sections(results, over_seconds)
    blocks = [
        *_head(results, beside_paper.departures()),
        *beside_paper.blocks(),
        *over_costs,
        *_others(others),
        *_missing(results),
        *_runs(results),
        *_made(results, study),
    ]
    pictures = {**beside_paper.pictures, **cost_pictures}
    html = page(results.study.title, blocks, pictures)
    files = {"index.html": html.encode(), "report.md": markdown(blocks).encode(), **pictures}
    earlier = _pictures_of(out / "report.md")
    made: list[str] = []
    try:
        made = make_folder(str(out))
    except FileExistsError:
        pass
    except OSError as error:
        raise folder_error(error, str(out), "--out") from error
    try:
        write_together({str(out / name): content for name, content in files.items()}, "--out")
    finally:
        remove_made(made)
    for name in earlier - files.keys():
        remove(str(out / name))
    return [out / name for name in files]


def _pictures_of(report: Path) -> set[str]:
    """The files that a report.md of ours shows; of another's none."""
    try:
        text = parse.read(report).decode(errors="replace")
    except OSError:
        return set()
    return set(_PICTURE.findall(text)) if _REPORTED in text else set()


def _head(results: Results, departures: str) -> list[Block]:
    study, everything = results.study, results.all
    finished = sum(result.finished for result in everything)
    done = "All" if finished == len(everything) else f"{finished} of"
    about = (
        f"**{done} {len(everything)} runs are finished.** Columns and diamonds called “paper” are the figures of "
        f"{paper().source}: {paper().seeds} seeds of {paper().steps:,} steps, tasks of version 3. Everything else was "
        f"measured here. ± is the sample standard deviation over seeds; a table counts finished runs only, (2 of 5) "
        f"says that some seeds are not, and {NOTHING} that there is nothing to tell."
    )
    blocks: list[Block] = [Heading(study.title, 1)]
    blocks += [Text(literal(study.description))] if study.description else []
    blocks.append(Text(about))
    if departures:
        blocks.append(Text(f"This study departs from the paper's protocol: {departures}."))
    return blocks


def _others(others: Others) -> list[Block]:
    told = (
        f"No runs of this study. Training returns are means of {WINDOW} episodes with exploration: they do not compare "
        "with evaluations one to one."
    )
    items = []
    for (name, task), logs in others.items():
        paths = dict.fromkeys([code(path) for path, _ in logs])
        items.append(f"{literal(name)} on {literal(task)}: {len(logs)} logs, {', '.join(paths)}")
    return [Heading("Other libraries' logs"), Text(told), Items(items)] if items else []


def _missing(results: Results) -> list[Block]:
    missing = [result for result in results.all if not result.finished]
    blocks: list[Block] = []
    if missing:
        items = [f"{literal(result.point.told)}: {result.state}" for result in missing if result.run or result.failure]
        waiting: dict[str, list[str]] = {}
        for result in missing:
            if not (result.run or result.failure):
                told = f"{results.variant_of(result).name} on {result.point.config.env}"
                waiting.setdefault(told, []).append(str(result.point.config.seed))
        items += [f"{literal(told)}: not started: seed {', '.join(seeds)}" for told, seeds in waiting.items()]
        blocks += [
            Heading("What is missing"),
            Text(f"{len(missing)} of {len(results.all)} runs. `edgedst study run` goes on with those that have begun."),
            Items(items),
        ]
    if results.strangers:
        told = "Run folders in `runs/` that are not counted: their settings are not this study's, or cannot be read."
        blocks += [Heading("What is left out"), Text(told), Items([code(str(folder)) for folder in results.strangers])]
    unread = [
        f"{code(f'{result.run.folder}/metrics.jsonl')}: {result.unread} lines"
        for result in results.all
        if result.run and result.unread
    ]
    if unread:
        blocks += [Heading("What cannot be read"), Items(unread)]
    return blocks


def _runs(results: Results) -> list[Block]:
    def row(result: Result) -> list[str]:
        config, run = result.point.config, result.run
        cells = [config.env, results.variant_of(result).name, str(config.seed), result.short_state]
        if not (run and result.finished):
            return [*cells, *[NOTHING] * 4]
        peak, budget, seconds = run.peak_bytes, run.number("budget_bytes"), run.number("seconds")
        reason = run.summary.get("exit_reason", "finished")
        over = "" if reason == "finished" else f" ({reason})"
        memory = f"{fixed(peak / 1e6, 1)} of {budget / 1e6:g}{over}" if peak and budget else NOTHING
        hours = fixed(seconds / 3600, 2) if seconds is not None else NOTHING
        if not result.evaluations:
            return [*cells, NOTHING, NOTHING, memory, hours]
        return [*cells, fixed(result.metric("R"), 1), fixed(result.metric("LCA"), 4), memory, hours]

    names = ("task", "variant", "seed", "state", "R", "LCA", "peak MB of budget", "hours")
    columns = [Column(name, text=name in ("task", "variant", "state")) for name in names]
    return [Heading("Every run"), Table(columns, [row(r) for r in results.all], "Measured here.")]


def _made(results: Results, study: Path) -> list[Block]:
    hosts = []
    for result in results.all:
        host = result.run.file("host.json") if result.run else {}
        if host:
            size = host.get("memory_bytes")
            board = host.get("board") or host.get("cpu") or "unknown CPU"
            told = (
                f"{board}, {host.get('machine')}, {host.get('cores')} cores, "
                f"{SIZE(size) if is_step(size) else 'unknown memory'}, kernel path {host.get('isa')}, "
                f"edgedst {host.get('edgedst')}, Python {host.get('python')}"
            )
            hosts.append(literal(told[:MOST_HOST_CHARACTERS]))
    command = f"edgedst study run {shlex.quote(str(study / 'study.toml'))} --out {shlex.quote(str(study))}"
    items = [f"Trained on: {host}" for host in dict.fromkeys(hosts)]
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    items.append(f"With: {code(command)}, which goes on where it was")
    items.append(f"{_REPORTED} {__version__} on {now}")
    return [Heading("How this was made"), Items(items)]
