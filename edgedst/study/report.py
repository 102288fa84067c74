"""A study's report, as far as its runs are: the comparison with the paper, what is missing, every run."""

from __future__ import annotations

import shlex
from pathlib import Path

from edgedst import __version__
from edgedst.errors import StudyError
from edgedst.runs import write_whole
from edgedst.study.comparison import NOTHING, Comparison
from edgedst.study.grid import read_study
from edgedst.study.page import Block, Column, Heading, Items, Table, Text, markdown, page
from edgedst.study.paper import paper
from edgedst.study.results import Result, Results


def write_report(study: Path, out: Path) -> list[Path]:
    """Write index.html, report.md and the PNGs; returns their paths, the page first.

    Raises:
        StudyError: the folder is no study's, or matplotlib is missing.
        RunFolderError: the report cannot be written.
    """
    if not (study / "study.toml").is_file():
        raise StudyError(
            f"`{study}` is no study's folder: expected `{study / 'study.toml'}`. Name the folder that "
            "`edgedst study run` filled."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"`{out}` cannot be written: {error.strerror}. Choose another folder with `--out`.") from error
    results = Results(read_study(study / "study.toml"), study)
    comparison = Comparison(results, out)
    blocks = [
        *_head(results, comparison.departures()),
        *comparison.blocks(),
        *_missing(results),
        *_runs(results),
        *_made(results, study),
    ]
    title = results.study.title
    write_whole(str(out / "index.html"), page(title, blocks, out).encode())
    write_whole(str(out / "report.md"), markdown(blocks).encode())
    return [out / "index.html", out / "report.md", *comparison.pictures]


def _head(results: Results, departures: str) -> list[Block]:
    study, everything = results.study, results.all
    finished = sum(result.finished for result in everything)
    done = "All" if finished == len(everything) else f"{finished} of"
    about = (
        f"**{done} {len(everything)} runs are finished.** Columns and diamonds called “paper” are the figures of "
        f"{paper().source}: {paper().seeds} seeds of {paper().steps:,} steps, tasks of version 3. Everything else was "
        f"measured here. ± is the standard deviation over seeds; a table counts finished runs only, (2 of 5) says that "
        f"some seeds are not, and {NOTHING} that there is nothing to tell."
    )
    blocks: list[Block] = [Heading(study.title, 1)]
    blocks += [Text(study.description)] if study.description else []
    blocks.append(Text(about))
    if departures:
        blocks.append(Text(f"This study departs from the paper's protocol: {departures}."))
    return blocks


def _missing(results: Results) -> list[Block]:
    missing = [result for result in results.all if not result.finished]
    if not missing:
        return []
    items = [f"{result.point.told}: {result.state}" for result in missing if result.run or result.failure]
    waiting: dict[str, list[str]] = {}
    for result in missing:
        if not (result.run or result.failure):
            told = f"{results.variant_of(result).name} on {result.point.config.env}"
            waiting.setdefault(told, []).append(str(result.point.config.seed))
    items += [f"{told}: not started: seed {', '.join(seeds)}" for told, seeds in waiting.items()]
    return [
        Heading("What is missing"),
        Text(f"{len(missing)} of {len(results.all)} runs. `edgedst study run` goes on with them."),
        Items(items),
    ]


def _runs(results: Results) -> list[Block]:
    def row(result: Result) -> list[str]:
        config, run = result.point.config, result.run
        summary = run.summary if run and run.finished else {}
        name = result.point.label or results.variant_of(result).name
        cells = [config.env, name, str(config.seed), "finished" if summary else "not finished"]
        if not summary:
            return [*cells, *[NOTHING] * 4]
        over = "" if summary["exit_reason"] == "finished" else f" ({summary['exit_reason']})"
        memory = f"{summary['peak_rss_bytes'] / 1e6:.1f} of {summary['budget_bytes'] / 1e6:g}{over}"
        hours = f"{summary['seconds'] / 3600:.2f}"
        return [*cells, f"{result.metric('R'):,.1f}", f"{result.metric('LCA'):.4f}", memory, hours]

    names = ("task", "variant", "seed", "state", "R", "LCA", "peak MB of budget", "hours")
    columns = [Column(name, text=name in ("task", "variant", "state")) for name in names]
    return [Heading("Every run"), Table(columns, [row(r) for r in results.all], "Measured here.")]


def _made(results: Results, study: Path) -> list[Block]:
    hosts = []
    for result in results.all:
        host = result.run.file("host.json") if result.run else {}
        if host:
            board = host.get("board") or host.get("cpu") or "unknown CPU"
            hosts.append(
                f"{board}, {host.get('machine')}, {host.get('cores')} cores, "
                f"{host.get('memory_bytes', 0) / 1e9:.1f} GB, kernel path {host.get('isa')}, "
                f"edgedst {host.get('edgedst')}, Python {host.get('python')}"
            )
    command = f"edgedst study run {shlex.quote(str(study / 'study.toml'))} --out {shlex.quote(str(study))}"
    items = [f"Trained on: {host}" for host in dict.fromkeys(hosts)]
    items.append(f"With: `{command}`, which goes on where it was; reported by edgedst {__version__}")
    return [Heading("How this was made"), Items(items)]
