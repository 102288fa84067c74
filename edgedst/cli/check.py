"""`edgedst check`: tries a robot.py without learning, and shows what was seen."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
from typing import Annotated, Any

import typer

from edgedst.cli.options import AsJson, Debug
from edgedst.envs.robot import MOVING
from edgedst.errors import ConfigError
from edgedst.machine.check import Check
from edgedst.machine.seen import FULL, READING, SMALL

PHASES = {
    READING: "Reading only.",
    SMALL: "Moving: small actions.",
    FULL: "Moving: up to the bounds.",
    "reset()": "Waiting for reset().",
    "start()": "Calling start().",
    "rest": "stop() was called; reading whether it is at rest.",
}
TIMES = {
    **{name: f"{name}()" for name in ("read_observation", "apply_action", "reward", "terminated")},
    **{"step": "all calls of a step", "late": "how late it began"},
}


def check(
    path: Annotated[str, typer.Argument(metavar="robot.py", help="The file.", show_default=True)] = "robot.py",
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Of reading and moving. [default: 10, or 20 periods where these are longer]",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the machine is started.")] = False,
    move: Annotated[
        bool, typer.Option("--move/--no-move", help="Give it actions, small ones first; or only start, read and stop.")
    ] = True,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Try a robot.py without learning.

    It is loaded and shown; then it asks, and only then starts the machine, reads, moves it within its bounds, and stops
    it. Says whether the machine keeps its rate, what it saw of each observation, and whether stop() brings it to rest.
    stop() is called on every way out. Exit code 1: a problem would stop a training.
    """
    with Check(path, seconds, move) as trial:
        if not as_json:
            typer.echo(f"{about(path, trial.robot)}\n")
        if not yes and not _asked(path, trial):
            typer.echo("Nothing was started.", err=True)
            raise typer.Exit(1)
        found = trial.run(_Progress().show)
    typer.echo(json.dumps(found) if as_json else result(found))
    if not found["at_rest"]:
        typer.echo(MOVING, err=True)
    if found["signal"] and found["at_rest"]:
        raise typer.Exit(128 + found["signal"])
    if not found["can_train"]:
        raise typer.Exit(1)


class _Progress:
    """A line for each phase; short episodes repeat none."""

    last = ""

    def show(self, phase: str) -> None:
        if phase != self.last:
            self.last = phase
            typer.echo(PHASES[phase], err=True)


def _asked(path: str, trial: Check) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"`edgedst check` asks before it starts a machine, and there is no terminal to answer at. When nothing is "
            f"in the way of the machine of `{path}`, say `--yes`."
        )
    what = f"moved within its bounds for about {trial.seconds:g} s, small actions first," if trial.move else "read"
    return typer.confirm(f"The machine of {path} will be started, {what} and stopped. Is nothing in its way?", err=True)


def about(path: str, robot: dict[str, Any]) -> str:
    """What the file says of itself."""
    rows: list[tuple[str, ...]] = [("", "low", "high", "most a step")]
    for what in ("observation", "action"):
        bounds = zip(*(robot[f"{what}_{part}"] for part in ("names", "low", "high")), strict=True)
        for i, (name, low, high) in enumerate(bounds):
            slew = robot["slew"][i] if what == "action" else high - low
            rows.append((f"{what}  {name}", f"{low:g}", f"{high:g}", f"{slew:g}" if slew < high - low else ""))
    rate, steps = robot["rate_hz"], robot["episode_steps"]
    seconds = steps / rate
    return f"{path}: {rate:g} steps a second, episodes of {seconds:g} s ({steps:,} steps).\n\n{_table(rows)}"


def result(found: dict[str, Any]) -> str:
    """Figures, what is to be said of them, and the verdict."""
    parts = []
    if "observed_low" in found:
        rows: list[tuple[str, ...]] = [("", "seen low", "seen high", "of its range")]
        for i, name in enumerate(found["observation_names"]):
            low, high = found["observed_low"][i], found["observed_high"][i]
            share = (high - low) / (found["observation_high"][i] - found["observation_low"][i])
            rows.append((name, f"{low:.4g}", f"{high:.4g}", f"{100 * share:.0f} %"))
        parts.append(_table(rows))
    times = found.get("ms", {})
    if "read_observation" in times:
        rows = [("ms", "p50", "p99", "max")]
        for name, shown in TIMES.items():
            if name in times:
                rows.append((shown, *(f"{times[name][share]:.3f}" for share in ("p50", "p99", "max"))))
        parts.append(_table(rows))
    parts.append("\n".join(_lines(found)))
    for kind in ("problem", "warning", "note"):
        for sentence in found[f"{kind}s"]:
            parts.append(_wrapped(f"{kind.capitalize()}: {sentence}"))
    parts.append(_verdict(found))
    return "\n\n".join(part for part in parts if part)


def _lines(found: dict[str, Any]) -> list[str]:
    """A figure a line."""
    rows = []
    times = found.get("ms", {})
    if "kept_hz" in found:
        periods = sum(found["steps"].values()) + found["missed_periods"]
        missed = f"{found['missed_periods']:,} of {periods:,} periods missed"
        rows.append(("rate", f"{found['kept_hz']:.4g} of {found['rate_hz']:g} steps a second, {missed}"))
    if "reset" in times:
        rows.append(("reset()", f"called {found['resets']:,} x, {times['reset']['max']:.3g} ms at most"))
    if "reward_low" in found:
        rows.append(("reward()", f"{found['reward_low']:.4g} to {found['reward_high']:.4g}"))
    if "terminated" in times:
        count = found["episodes_terminated"]
        rows.append(("terminated()", f"ended {count:,} episode{'' if count == 1 else 's'}"))
    if "stop" in times:
        after = found.get("rest_s")
        rest = "" if after is None else f"; at rest after {after:.2g} s" if after else "; at rest at once"
        rows.append(("stop()", f"{times['stop']['max']:.3g} ms{rest}"))
    return [f"  {name:<12}  {text}" for name, text in rows]


def _verdict(found: dict[str, Any]) -> str:
    path = found["robot"]
    if found["signal"]:
        return "Ended early." + (" The machine was brought to rest." if found["at_rest"] else "")
    if found["problems"]:
        count = len(found["problems"])
        return f"{path} cannot train yet: {count} problem{'s' if count > 1 else ''}."
    if not found["moved"]:
        return f"{path} reads well. Nothing was moved: `edgedst check {shlex.quote(path)}` tries that, too."
    return f"{path} can train: `edgedst train --env {shlex.quote(path)}`"


def _table(rows: list[tuple[str, ...]]) -> str:
    """Texts on the left, figures on the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"  {first.ljust(widths[0])}", *cells]).rstrip())
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    """Lines for this terminal; a path or an option stays whole."""
    width = min(shutil.get_terminal_size().columns, 100)
    return textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
