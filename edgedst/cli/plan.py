"""`edgedst plan`: the ledger of a training run, made by the trainer itself, which measures and does not train."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

from edgedst.cli.options import AsJson, Debug, Device, training_options
from edgedst.config import ROBOT, TrainConfig
from edgedst.density import family
from edgedst.files import is_robot_file
from edgedst.launch.board import asked_board, emulator_note, planning_note, usual_settings
from edgedst.launch.job import make_plan, preset_note
from edgedst.launch.settings import configured
from edgedst.progress import duration
from edgedst.updates import told_rate

BUSY_SHARE = 0.2  # of the time that was measured: more is told


@training_options
def plan(
    typed: dict[str, Any],
    config: Path | None,
    device: Device = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what every byte of a run is for, and how long it takes.

    Nothing is trained or written, and no machine is moved. What the other lines leave over becomes replay. A run that
    cannot fit ends with exit code 1 and the smallest budget that works.
    """
    board = asked_board(device).board
    settings = configured(typed, config, usual_settings(board))
    for note in (device and planning_note(board, settings.budget_mb), emulator_note()):
        if note:
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
    budget, rows = ledger["budget_bytes"], ledger["replay_rows"]
    lines = [f"{settings.env} in {budget / 1e6:g} MB ({budget:,} bytes)", ""]
    for line in ledger["lines"]:
        name = line["name"]
        if name == "replay":
            name = f"replay of {rows:,} rows, {ledger['replay_row_bytes']} bytes each"
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
        told_times = robot_lines if is_robot_file(settings.env) else time_lines
        lines += ["", *told_times(settings, ledger)]
    if settings.env_process:
        lines.append("The environment runs in a process of its own, outside this budget.")
    return "\n".join(lines)


def time_lines(settings: TrainConfig, ledger: dict[str, Any]) -> list[str]:
    """How long a step and the whole run take on this machine."""
    rate, update_ms = settings.updates_per_step, 1e3 * ledger["update_seconds"]
    updates = "an update" if rate == 1 else f"its {rate:g} updates of {_shown(update_ms)}"
    if rate < 1:
        updates = f"an update of {_shown(update_ms)} every {round(1 / rate):,} steps"
    if "acting_seconds" not in ledger:  # hardware, which a plan does not move
        return [f"The updates of a step take about {_shown(rate * update_ms)} ms here ({updates}).", *_busy(ledger)]
    acting_ms = 1e3 * ledger["acting_seconds"]
    random = min(settings.start_steps, settings.steps)
    parts = [f"the first {random:,} are without updates"] if random else []
    if settings.eval_every:
        parts.append(
            f"{duration(ledger['evaluation_seconds'])} are evaluations, {settings.eval_episodes} episodes every "
            f"{settings.eval_every:,} steps, if each has its full length"
        )
    else:
        parts.append("there are no evaluations")
    return [
        f"A step takes about {_shown(acting_ms + rate * update_ms)} ms here: {_shown(acting_ms)} the simulator and "
        f"acting, {_shown(rate * update_ms)} {updates}.",
        f"{settings.steps:,} steps take about {duration(ledger['run_seconds'])}; {'; '.join(parts)}.",
        *_busy(ledger),
    ]


def _shown(milliseconds: float) -> str:
    return f"{milliseconds:.2g}" if milliseconds < 10 else f"{milliseconds:,.0f}"


def _busy(ledger: dict[str, Any]) -> list[str]:
    """A sentence where a run would have to wait for others, as the measuring had to."""
    share = ledger["waited_share"]
    told = f"Other work had the processor {100 * share:.0f} % of the time meanwhile: beside it a run takes longer."
    return [told] if share > BUSY_SHARE else []


def robot_lines(settings: TrainConfig, ledger: dict[str, Any]) -> list[str]:
    """What a machine's rate affords, and the settings that it is trained with where no others are typed."""
    step_seconds, update_seconds = ledger["step_seconds"], ledger["update_seconds"]
    fit = step_seconds / update_seconds
    asked, most = settings.updates_per_step, settings.max_updates_per_step
    wanted = f"{told_rate(asked)} a step are asked for" if asked else f"as many as fit, at most {most}, are asked for"
    if asked > fit:
        wanted += "; learning will fall behind, acting will not"
    told = {**vars(settings), "updates_per_step": told_rate(asked) if asked else "auto"}
    usual = ", ".join(
        f"{name} {','.join(map(str, told[name])) if isinstance(told[name], tuple) else told[name]}"
        for name in ("method", *ROBOT[family(settings.method)])
        if told[name] is not None
    )
    return [
        f"An update takes {1e3 * update_seconds:.2g} ms here: {fit:.3g} fit into a step of {1e3 * step_seconds:g} ms; "
        f"{wanted}.",
        *_busy(ledger),
        f"What has a default of its own for a robot.py, as it is now: {usual}.",
    ]
