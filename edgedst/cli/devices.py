"""`edgedst devices`: the boards of devices/, one board with its facts and their sources, or this machine."""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import asdict
from typing import Annotated, Any

import typer

from edgedst import boards
from edgedst.boards import Board, Fact
from edgedst.cli.options import AsJson, Debug
from edgedst.errors import ConfigError
from edgedst.profile import board_report

HEADINGS = ("name", "RAM", "ISA", "budget", "threads", "power", "run by us")


def devices(
    name: Annotated[str | None, typer.Argument(help="Show this board: every fact, and where it is written.")] = None,
    here: Annotated[bool, typer.Option("--here", help="Show which board this is, and its power sources.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the boards, and what `edgedst train` takes on each.

    How to add one stands in devices/README.md.
    """
    if name and here:
        raise ConfigError(f"`--here` shows this machine: leave `{name}` out, or leave `--here` out.")
    if here:
        found = this_machine()
        typer.echo(json.dumps(found) if as_json else here_text(found))
    elif name:
        board = boards.load(name)
        typer.echo(json.dumps(as_object(board)) if as_json else board_text(board))
    else:
        known = [boards.load(each) for each in boards.names()]
        typer.echo(json.dumps({"devices": [as_object(board) for board in known]}) if as_json else list_text(known))


def as_object(board: Board) -> dict[str, Any]:
    """Everything in a board's folder, JSON-able; what is not known is null."""
    return {
        "name": board.name,
        "title": board.title,
        "run_by_us": board.run_by_us,
        "bringup": str(board.bringup),
        "recognise": {"model": board.models, "compatible": board.compatibles, "machine": board.machines},
        "train": asdict(board.train),
        "power": asdict(board.power) if board.power else None,
        "power_model": asdict(board.model) if board.model else None,
        "facts": {name: asdict(fact) for name, fact in board.facts.items()},
    }


def list_text(known: list[Board]) -> str:
    """Two lines a board: its columns, and its title below the name."""
    rows = [_row(board) for board in known]
    widths = [max(len(row[column]) for row in [HEADINGS, *rows]) for column in range(len(HEADINGS))]

    def line(cells: tuple[str, ...]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    lines = [line(HEADINGS)]
    for board, row in zip(known, rows, strict=True):
        lines += [line(row), f"  {board.title}"]
    end = (
        "ISA (of the kernels), budget and threads are what `edgedst train` takes there unless told otherwise. Power: "
        "the sensor of the board itself; `model`: none, but an estimate. `edgedst devices NAME` says why, and where it "
        "is written; `edgedst devices --here` says which board this is."
    )
    return "\n".join([*lines, "", *_wrapped(end)])


def _row(board: Board) -> tuple[str, ...]:
    train = board.train
    ram = board.facts.get("ram_bytes")
    power = board.power.source if board.power else "model" if board.model else "none"
    return (
        *(board.name, _ram(ram) if ram else "any", train.isa or "best", f"{train.budget_mb:g} MB"),
        *(str(train.threads), power, "yes" if board.run_by_us else "no"),
    )


def _ram(fact: Fact) -> str:
    """`512 MiB`, or `1 to 8 GiB` of a board that is sold in several sizes."""
    sizes = fact.numbers
    if not sizes:
        return str(fact.value)
    unit, name = (2**30, "GiB") if max(sizes) >= 2**30 else (2**20, "MiB")
    ends = [f"{size / unit:g}" for size in (min(sizes), max(sizes))]
    return f"{' to '.join(dict.fromkeys(ends))} {name}"


def board_text(board: Board) -> str:
    """One board: defaults, power, facts, each with the number of its source."""
    sensor, model = board.power, board.model
    told = [fact.source for fact in board.facts.values()]
    told += [power.reference for power in (sensor, model) if power]
    numbers = {source: number for number, source in enumerate(dict.fromkeys(told), start=1)}

    def entry(text: str, source: str, checked: bool, note: str) -> list[str]:
        doubt = "" if checked else ", not checked"
        return [*_wrapped(f"{text}  [{numbers[source]}{doubt}]", "  ", "      "), *_wrapped(note, "      ")]

    lines = [f"{board.name}: {board.title}", "Run by us." if board.run_by_us else "Not yet run on a board by us."]
    lines += [*_wrapped(f"Bring-up: {board.bringup}"), "", "Recognised"]
    for where, texts in (
        ("/proc/device-tree/compatible has", board.compatibles),
        ("/proc/device-tree/model has", board.models),
        ("nothing else does, and the machine is", board.machines),
    ):
        lines += _wrapped(f"when {where} {' or '.join(f'`{text}`' for text in texts)}", "  ", "    ") if texts else []
    if not (board.compatibles or board.models or board.machines):
        lines.append("  when no other board is")
    lines += ["", "Training, unless told otherwise"]
    lines += _wrapped(f"{', '.join(board.train.words)}, {board.train.isa or 'the best'} kernels", "  ")
    lines += [*_wrapped(board.train.reason, "      "), "", "Power"]
    if sensor:
        what = f"{sensor.source}: {' + '.join(sensor.rails) or 'all its rails'} ({sensor.scope})"
        lines += entry(what, sensor.reference, sensor.checked, sensor.note)
    else:
        lines.append("  no sensor of its own")
    if model:
        what = f"model: {model.idle_watts:g} W + {model.core_watts:g} W a busy core ({model.scope}); no measurement"
        lines += entry(what, model.reference, model.checked, model.note)
    lines += ["", "Facts"] if board.facts else ["", "No facts: nothing is claimed about it."]
    for name, fact in board.facts.items():
        lines += entry(f"{name} = {_value(fact)}", fact.source, fact.checked, fact.note)
    for name, report in board_report.measured(board.name):
        summary = "; ".join(f"{head}: {text}" for head, text in board_report.summary(report))
        lines += ["", f"Measured there ({name})", *_wrapped(summary, "  ")]
    if numbers:
        lines += ["", 'Sources ("not checked": where to look; we have it from elsewhere)']
        lines += [f"  [{number}] {source}" for source, number in numbers.items()]
    return "\n".join(lines)


def _value(fact: Fact) -> str:
    values = fact.value if isinstance(fact.value, tuple) else (fact.value,)
    return " or ".join(f"{value:,}" if isinstance(value, int) else f"{value}" for value in values)


def this_machine() -> dict[str, Any]:
    """Which board this is and why, its CPU and kernels, and every power source; JSON-able."""
    from edgedst import capabilities
    from edgedst.energy import sources
    from edgedst.runs.folder import host_facts

    recognised = boards.detect()
    power = [
        {key: getattr(found, key) for key in ("name", "scope", "readable", "detail", "remedy")}
        for found in sources.find(recognised.board)
    ]
    host = host_facts()
    host["device_tree"] = host.pop("board")
    about = {"board": recognised.board.name, "title": recognised.board.title, "why": recognised.why}
    return {**about, **capabilities(), **host, "train": asdict(recognised.board.train), "power": power}


def here_text(found: dict[str, Any]) -> str:
    """What `--here` shows."""
    board = boards.load(found["board"])
    train = board.train
    memory = f"{found['memory_bytes'] / 1e6:,.0f} MB, pages of {found['page_bytes']:,} bytes"
    cores = f"{found['cores']} cores online" + (f", {found['cpu']}" if found["cpu"] else "")
    has = ", ".join(found["isas"])
    lines = [f"{found['board']}: {found['title']}"]
    lines += [*_wrapped(found["why"]), ""]
    taken = ", ".join([*train.words, f"{train.isa or found['isa']} kernels"])
    for label, text in (
        ("CPU", cores),
        ("kernels", f"{found['isa']} (this CPU has {has})"),
        ("memory", memory),
        ("system", f"{found['kernel']}, {found['machine']}"),
        ("train", f"{taken}, unless told otherwise"),
    ):
        lines += _wrapped(f"{label:<9}{text}", "", " " * 9)
    lines += ["", "Power sources"]
    for source in found["power"]:
        state = "readable" if source["readable"] else "not readable"
        lines += _wrapped(f"{source['name']} ({source['scope']}): {state}", "  ")
        lines += _wrapped(source["detail"], "    ")
        lines += _wrapped(f"What helps: {source['remedy']}", "    ") if source["remedy"] else []
    if not found["power"]:
        lines += _wrapped('None found: energy is "not measured" here, unless a meter\'s file is named.', "  ")
    return "\n".join(lines)


def _wrapped(text: str, indent: str = "", further: str | None = None) -> list[str]:
    """Lines for this terminal; an address or a path stays whole."""
    return textwrap.wrap(
        text,
        min(shutil.get_terminal_size().columns, 100),
        initial_indent=indent,
        subsequent_indent=indent if further is None else further,
        break_long_words=False,
        break_on_hyphens=False,
    )
