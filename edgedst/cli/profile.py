"""`edgedst profile`: what training and acting cost on this machine, sparse against dense. `edgedst/profile` does it."""

from __future__ import annotations

import functools
import json
import math
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgedst.cli.options import Debug, Progress, check_distinct, training_options
from edgedst.config import TrainConfig
from edgedst.errors import ConfigError, ProfileError
from edgedst.files import check_replaceable, write_together
from edgedst.launch.board import board_note, kernels_for, usual_settings
from edgedst.launch.job import command, job_for, preset_note
from edgedst.launch.settings import configured
from edgedst.runs.find import config_of_run

if TYPE_CHECKING:
    from edgedst.boards import Board
    from edgedst.energy.meter import Meter
    from edgedst.profile.contenders import Command

INTERRUPTED = 130  # exit code after Ctrl-C or SIGTERM, as a shell says it
AGAINST = "dense,sb3"

# Settings that a profile decides itself.
_NOT_HERE = (
    *("steps", "start_steps", "topology_stop_steps", "eval_every", "eval_episodes", "checkpoint_every"),
    *("energy", "prefill", "demo_share"),  # of a training run
)
_BESIDE_A_RUN = ("threads", "budget_mb", "updates_per_step")  # settings that may be typed beside RUN


@functools.partial(training_options, without=_NOT_HERE)
def profile(
    typed: dict[str, Any],
    config: Path | None,
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="A run folder: its settings are taken, and its curve told with joules."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="dense: the same algorithm at density 1; sb3, sbx, rltools: Stable-Baselines3, SBX, RLtools. "
            f"[default: {AGAINST}, the latter where it is installed]"
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Measured of edgedst's slowest contender in a repeat.")] = 20.0,
    repeats: Annotated[int, typer.Option(help="Rounds; in each, every contender is measured once.")] = 5,
    energy: Annotated[
        str,
        typer.Option(
            help="Source of the joules: auto, rapl, ina3221, ina238, pi5-pmic, hwmon, battery, csv:FILE (an external "
            "meter's), model (estimated), none."
        ),
    ] = "auto",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON (docs/formats.md).")
    ] = None,
    html_file: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with charts.")] = None,
    report_file: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write what to send of this board (docs/energy.md): text, nothing personal.",
        ),
    ] = None,
    progress: Progress = None,
    debug: Debug = False,
) -> None:
    """Measure what sparse training costs here, against dense.

    Each contender trains the same task for the same number of steps in a process of its own, in turns, and then acts.
    Time, memory, energy, CPU time and FLOPs come with their spread, and with what makes them doubtful. Ctrl-C ends
    it and tells what was measured until then.
    """
    from edgedst import boards
    from edgedst.cli.profile_terminal import Reporter, print_profile
    from edgedst.profile.contenders import contenders
    from edgedst.profile.document import document
    from edgedst.profile.measure import Goal, measure

    _check_numbers(seconds, repeats)
    recognised = boards.detect()
    board = recognised.board
    settings = _settings(typed, config, run, board)
    isa = kernels_for(board)
    names = [name.strip() for name in (AGAINST if against is None else against).split(",") if name.strip()]
    chosen, missing = contenders(settings, names)
    files = {"--json": json_file, "--html": html_file, "--report": report_file}
    check_distinct(files)
    wanted = {option: path for option, path in files.items() if path is not None}
    for option, path in wanted.items():
        check_writable(path, option)
    if html_file is not None:
        from edgedst.profile.page import write_page  # now: what is wrong with it is not to be found out in the end
    meter, energy_note = _meter(energy, board)
    if meter is not None:
        from edgedst.energy import idle
    reporter = Reporter(progress)
    # `--config` may be a pipe, which is read once: what differs from the board's defaults was given.
    usual = usual_settings(board)
    given = {**typed, **{name: value for name, value in usual.items() if getattr(settings, name) != value}}
    of_board = board_note(board, given) if run is None else ""
    for sentence in (preset_note(settings), of_board, *missing, energy_note):
        if sentence:
            reporter.say(sentence)

    def start(of: TrainConfig, goal: dict[str, Any], folder: str) -> Command:
        # This process does not become the contender: what it took is not the contender's.
        job = job_for(of, run_dir=folder, progress=False, debug=debug, front_end_peak_bytes=0)
        return command({**job, "profile": goal}, isa)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measured = measure(
            chosen,
            Goal(seconds, repeats),
            start,
            reporter,
            meter,
            idle.measure if meter is not None else None,
        )
    finally:
        reporter.end()
    measured.missing[:0] = missing
    if not measured.rounds:
        print("Interrupted before the first round was complete: there is nothing to tell.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    typed_command = shlex.join(["edgedst", *sys.argv[1:]])
    told = document(measured, board, recognised.why, typed_command, energy_note, run)
    print_profile(told)
    as_json = {}
    if json_file is not None:
        as_json[str(json_file)] = _json(told)
    if report_file is not None:
        from edgedst.cli.devices import this_machine
        from edgedst.profile.board_report import board_report

        as_json[str(report_file)] = _json(board_report(told, this_machine()))
    if html_file is not None:
        write_page(told, html_file, as_json)
    else:
        write_together(as_json, " and ".join(wanted))
    if report_file is not None:
        print(f"{report_file}: read it, and send it as docs/energy.md says.")
    if measured.interrupted:
        raise typer.Exit(INTERRUPTED)


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _check_numbers(seconds: float, repeats: int) -> None:
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ConfigError(f"`--seconds` must be above 0 and is {seconds:g}.")
    if repeats < 1:
        raise ConfigError(f"`--repeats` must be at least 1 and is {repeats}.")


def _settings(typed: dict[str, Any], config: Path | None, run: Path | None, board: Board) -> TrainConfig:
    """The board's defaults, then `--config`, then what was typed; or those of a run."""
    if run is None:
        return configured(typed, config, usual_settings(board))
    foreign = [f"`--{name.replace('_', '-')}`" for name in typed if name not in _BESIDE_A_RUN]
    if foreign or config is not None:
        raise ConfigError(
            f"`{run}` brings its own settings: leave out {', '.join(foreign) or '`--config`'}, or leave out the run."
        )
    path = config_of_run(run, ConfigError)
    settings = {name: value for name, value in TrainConfig.load(path).items() if name != "energy"}
    return TrainConfig.from_settings({**settings, **typed}, f"`{path}`").resolved()


def _meter(wanted: str, board: Board) -> tuple[Meter | None, str | None]:
    """The meter, and a sentence where there is none.

    Raises:
        ConfigError: there is no such source.
        EnergyUnavailable: a source that was asked for is not there or cannot be read.
    """
    if wanted == "none":
        return None, "Energy was not measured: `--energy none`."
    from edgedst.energy import sources
    from edgedst.energy.meter import Meter

    TrainConfig.from_settings({"energy": wanted}, "The command line")  # the same names as of `train --energy`
    spec = sources.choose(wanted, board)
    if spec is not None:
        return Meter(spec), None
    unread = [f"{found.name}: {found.detail}. {found.remedy}".rstrip() for found in sources.find(board)]
    return None, " ".join(["Energy was not measured: this host has no power source that can be read.", *unread])


def check_writable(path: Path, option: str) -> None:
    """Refuse a file that could not be written once minutes of measuring are over.

    Raises:
        ProfileError: it is a folder or a device, or its folder is not there or not writable.
    """
    folder = path.absolute().parent
    if os.path.isdir(path):  # noqa: PTH112  # false, too, where it may not be looked for
        raise ProfileError(f"`{option} {path}` is a folder and a file was expected: name a file in it.")
    try:
        check_replaceable(str(path))
    except FileExistsError as error:
        raise ProfileError(f"`{option} {path}` cannot be written: {error.strerror}. Choose another name.") from error
    if not os.path.isdir(folder):  # noqa: PTH112  # likewise
        raise ProfileError(f"`{option} {path}` cannot be written: there is no folder `{folder}`. Make it first.")
    if not os.access(folder, os.W_OK):
        raise ProfileError(f"`{option} {path}` cannot be written: no permission in `{folder}`. Choose another folder.")
