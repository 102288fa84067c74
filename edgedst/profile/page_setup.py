"""On what and how a profile was made: its task, its host, what measured the energy, the host before and after."""

from __future__ import annotations

import html
from collections.abc import Sequence

from edgedst.page import tag
from edgedst.profile.headline import why_no_energy
from edgedst.profile.page_tables import Row, section, table, titled
from edgedst.profile.shown import (
    CELSIUS,
    COUNT,
    HERTZ,
    JOULES,
    LOAD,
    MEGABYTES,
    MEGAHERTZ,
    NOT_KNOWN,
    NOT_MEASURED,
    PLAIN,
    SECONDS,
    SIZE,
    WATTS,
    Shown,
    Unit,
)

Field = tuple[str, str, Unit | None]  # what a reader calls it, its key, and its unit: None for words

TASK: Sequence[Field] = (
    ("Environment", "env", None),
    ("Method", "method", None),
    ("Hidden layers", "hidden", None),
    ("Batch", "batch_size", PLAIN),
    ("Threads", "threads", PLAIN),
    ("Observation", "observation_size", PLAIN),
    ("Action", "action_size", PLAIN),
    ("Seed", "seed", PLAIN),
    ("Steps of a repeat", "steps", PLAIN),
    ("Warm-up steps before them", "warm_up_steps", PLAIN),
    ("Random steps before those", "random_steps", PLAIN),
    ("Repeats", "repeats", PLAIN),
    ("Order of a round", "order", None),
    ("Budget", "budget_mb", MEGABYTES),
)
HOST: Sequence[Field] = (
    ("Board", "title", None),
    ("its folder in devices/", "board", None),
    ("recognised by", "why", None),
    ("CPU", "cpu", None),
    ("Cores", "cores", PLAIN),
    ("Kernel path", "isa", None),
    ("Memory", "ram_bytes", SIZE),
    ("Memory page", "page_bytes", SIZE),
    ("Linux", "kernel", None),
    ("Python", "python", None),
)
ENERGY: Sequence[Field] = (
    ("Source", "source", None),
    ("Scope", "scope", None),
    ("Measured", "measured", None),
    ("Detail", "detail", None),
    ("Sample rate", "sample_hz", HERTZ),
    ("Idle power", "idle_watts", WATTS),
    ("its standard deviation", "idle_sd_watts", WATTS),
    ("seen for", "idle_seconds", SECONDS),
    ("CPU time of the meter", "meter_cpu_seconds", SECONDS),
    ("Readings of the meter", "meter_reads", COUNT),
)
STATE: Sequence[Field] = (
    ("Temperature", "celsius", CELSIUS),
    ("Throttled", "throttled", None),
    ("Power mode", "power_mode", None),
    ("Load", "load", LOAD),
)
RUN = (("Folder", "path"), ("Environment", "env"), ("Method", "method"), ("Joules", "joules_from"))


def setup(shown: Shown) -> str:
    """The page's last section, and its colophon."""
    inside = (
        titled("Task", _fields(shown, "task", TASK)),
        titled("Host", _fields(shown, "host", HOST)),
        _energy(shown),
        _states(shown),
        _run(shown),
    )
    version, made = (shown.words(path) for path in ("edgedst", "made"))
    made_by = f"Made by edgedst {version} at {made} with <code>{shown.words('command')}</code>."
    whole = "This file holds the profile's whole JSON, in its element with the id <code>profile</code>."
    return section("How this was measured", tag("div", *inside, class_="tables")) + tag(
        "footer", tag("p", made_by), tag("p", whole)
    )


def energy_source(shown: Shown) -> str:
    """HTML: what measured the energy, of what, how often."""
    samples = []
    for one in shown.contenders():
        path = f"{one.path}.energy_joules_per_1000_steps"
        if shown.number(f"{path}.samples") is not None:
            told = f"{shown.figure(f'{path}.samples', COUNT)} samples, {shown.figure(f'{path}.gaps', COUNT)} gaps"
            samples.append(f"{html.escape(one.label)}: {told}")
    rate = shown.value("energy.sample_hz")
    read = f", read at {shown.figure('energy.sample_hz', HERTZ)}" if rate is not None else ""
    source = f"{shown.words('energy.source')}: {shown.words('energy.scope')}{read}."
    return " ".join((source, *(f"{told}." for told in samples)))


def _energy(shown: Shown) -> str:
    """What measured it, or why nothing did."""
    if shown.value("energy") is None:
        return titled("Energy", [(NOT_MEASURED, [why_no_energy(shown)])])
    rows = _fields(shown, "energy", ENERGY)
    return titled("Energy", [*rows, ("To know", [shown.words("energy_note", absent="nothing more")])])


def _fields(shown: Shown, path: str, fields: Sequence[Field]) -> list[Row]:
    return [(name, [_field(shown, f"{path}.{key}", unit)]) for name, key, unit in fields]


def _field(shown: Shown, path: str, unit: Unit | None) -> str:
    return shown.words(path) if unit is None else shown.figure(path, unit, NOT_KNOWN)


def _states(shown: Shown) -> str:
    """The host before and after, a line a core."""
    times = ("before", "after")
    rows: list[Row] = [(name, [_field(shown, f"{time}.{key}", unit) for time in times]) for name, key, unit in STATE]
    cores = max(len(shown.items(f"{time}.cores")) for time in times)
    rows += [(f"Core {core}", [_core(shown, f"{time}.cores.{core}") for time in times]) for core in range(cores)]
    return titled("The host, before and after", rows, ["", *times])


def _core(shown: Shown, path: str) -> str:
    """A core's clock, and below it what may be and who decides."""
    low, high = (shown.figure(f"{path}.{end}_mhz", MEGAHERTZ, NOT_KNOWN) for end in ("min", "max"))
    allowed = f"{low} to {high}, {shown.words(f'{path}.governor')}"
    return shown.figure(f"{path}.mhz", MEGAHERTZ, NOT_KNOWN) + tag("span", allowed, class_="sd")


def _run(shown: Shown) -> str:
    """The run whose curve is drawn, point by point."""
    if shown.value("run") is None:
        return ""
    about = [(name, [shown.words(f"run.{key}")]) for name, key in RUN]
    points: list[Row] = [
        (shown.figure(f"{path}.step"), [shown.figure(f"{path}.return"), shown.figure(f"{path}.joules", JOULES)])
        for path in shown.items("run.curve")
    ]
    curve = table(["step", "return", "energy so far"], points, "Evaluations of the run")
    folded = tag("details", tag("summary", f"{len(points)} evaluations"), curve)
    return tag("div", titled("Run", about), folded if points else "")
