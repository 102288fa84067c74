"""`edgedst plan`: the ledger of a training run, made by the trainer itself, which measures and does not train."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgedst.cli.options import Debug, Device, training_options
from edgedst.config import ROBOT, TrainConfig
from edgedst.density import family
from edgedst.launch.board import asked_board, planning_note, usual_settings
from edgedst.launch.job import make_plan, preset_note
from edgedst.launch.settings import configured


@training_options
def plan(
    typed: dict[str, Any],
    config: Path | None,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> None:
    """Show what every byte of a training run will be for.

    Nothing is trained. What the other lines leave over becomes replay. A run that cannot fit ends with exit code 1 and
    the smallest budget that works.
    """
    board = asked_board(device).board
    settings = configured(typed, config, usual_settings(board))
    if device and (note := planning_note(board)):
        print(note, file=sys.stderr)
    ledger = make_plan(settings, debug)
    if as_json:
        typer.echo(json.dumps(ledger))
        return
    for note in (preset_note(settings), *ledger["notes"]):
        if note:
            print(note, file=sys.stderr)
    typer.echo(ledger_text(settings, ledger))


def ledger_text(settings: TrainConfig, ledger: dict[str, Any]) -> str:
    """The ledger as a table: bytes, share of the budget, line."""
    env, outside = settings.env, settings.env_process
    budget = ledger["budget_bytes"]
    rows = ledger["replay_rows"]
    lines = [f"{env} in {budget / 1e6:g} MB ({budget:,} bytes)", ""]
    for line in ledger["lines"]:
        name = (
            f"replay of {rows:,} rows, {ledger['replay_row_bytes']} bytes each"
            if line["name"] == "replay"
            else line["name"]
        )
        lines.append(f"{line['bytes']:>13,}  {100 * line['bytes'] / budget:5.1f} %  {name}")
    left = budget - ledger["planned_bytes"]
    lines += [
        f"{left:>13,}  {100 * left / budget:5.1f} %  not used",
        "",
        f"Smallest budget that works: {ledger['smallest_budget_mb']:.1f} MB",
    ]
    if ledger["constant_observations"]:
        lines.append(
            f"{ledger['constant_observations']} of {ledger['observation_size']} observations never move in this task: "
            "the replay does not store them, the networks see them."
        )
    if "update_seconds" in ledger:
        lines += ["", *robot_lines(settings, ledger["step_seconds"], ledger["update_seconds"])]
    if outside:
        lines.append("The environment runs in a process of its own, outside this budget.")
    return "\n".join(lines)


def robot_lines(settings: TrainConfig, step_seconds: float, update_seconds: float) -> list[str]:
    """What a machine's rate affords, and the settings that it is trained with where no others are typed."""
    fit = step_seconds / update_seconds
    asked, most = settings.updates_per_step, settings.max_updates_per_step
    wanted = f"{asked} a step are asked for" if asked else f"as many as fit, at most {most}, are asked for"
    if asked > fit:
        wanted += "; learning will fall behind, acting will not"
    usual = ", ".join(
        f"{name} {','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name in ("method", *ROBOT[family(settings.method)])
        if (value := getattr(settings, name)) is not None
    )
    return [
        f"An update takes {1e3 * update_seconds:.2g} ms here: {fit:.3g} fit into a step of {1e3 * step_seconds:g} ms; "
        f"{wanted}.",
        f"A robot.py's own defaults, as they are now: {usual}.",
    ]
