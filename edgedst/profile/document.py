"""A profile's JSON, format 1, from what was measured. docs/formats.md describes it; what is absent is null, never 0."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from edgedst import __version__, flops
from edgedst.boards import Board
from edgedst.profile import window
from edgedst.profile.contenders import SPARSE, Contender
from edgedst.profile.doubts import doubts
from edgedst.profile.measure import Measured, Turn
from edgedst.runs.folder import host_facts
from edgedst.runs.metrics import curve_with_joules
from edgedst.spread import INTERVAL, ratio, stat

FORMAT = 1

# A ratio's key, and what it is the ratio of.
RATIOS = {
    "step_seconds": "time of a step",
    "update_seconds": "time of an update",
    "cpu_seconds": "CPU time",
    "energy_total": "energy",
    "energy_above_idle": "energy above idle",
    "action_p50": "time of an action",
    "peak_bytes": "peak memory",
    "connections": "connections",
    "flops_counted": "FLOPs, counted",
    "flops_paper": "FLOPs, the paper's way",
}


def document(
    measured: Measured, board: Board, why: str, command: str, energy_note: str | None, run: Path | None
) -> dict[str, Any]:
    """The whole JSON, of at least one complete round; `why` says how the board was found, `run` gave the settings."""
    told = {contender.name: _contender(contender, measured) for contender in measured.contenders}
    return {
        "format": FORMAT,
        "edgedst": __version__,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": command,
        "host": _host(board, why, measured),
        "task": _task(measured),
        "energy": _energy(measured),
        "energy_note": energy_note,
        "before": asdict(measured.before) if measured.before else None,
        "after": asdict(measured.after) if measured.after else None,
        "doubts": doubts(measured),
        "contenders": list(told.values()),
        "ratios": _ratios(measured, told),
        "interval": INTERVAL,
        "run": _run(run, measured, told[SPARSE]) if run is not None else None,
    }


def _host(board: Board, why: str, measured: Measured) -> dict[str, Any]:
    facts = host_facts()
    sparse = measured.turns(SPARSE)[0].facts
    return {
        "board": board.name,
        "title": board.title,
        "why": why,
        "cpu": facts["cpu"],
        "cores": facts["cores"],
        "isa": sparse["isa"],
        "ram_bytes": facts["memory_bytes"],
        "python": sys.version.split()[0],
        "kernel": os.uname().release,
        "page_bytes": facts["page_bytes"],
    }


def _task(measured: Measured) -> dict[str, Any]:
    first = measured.contenders[0]
    config, facts = first.config, measured.turns(first.name)[0].facts
    return {
        "env": config.env,
        "method": config.method,
        "hidden": list(config.hidden),
        "batch_size": config.batch_size,
        "threads": config.threads,
        "observation_size": facts["observation_size"],
        "action_size": facts["action_size"],
        "seed": config.seed,
        "steps": measured.steps,
        "random_steps": window.RANDOM_STEPS,
        "warm_up_steps": window.WARM_UP_STEPS,
        "repeats": len(measured.rounds),
        "order": [contender.name for contender in measured.contenders],
        "budget_mb": config.budget_mb,
    }


def _energy(measured: Measured) -> dict[str, Any] | None:
    """Null where nothing metered."""
    if measured.meter_cost is None:
        return None
    some = next(turn.energy for turn in measured.all_turns if turn.energy is not None)
    idle = measured.idle or {"watts": None, "sd_watts": None, "seconds": None}
    return {
        **{key: some[key] for key in ("source", "scope", "measured", "detail")},
        "sample_hz": some["sample_hz"] or None,  # a model has none
        "idle_watts": idle["watts"],
        "idle_sd_watts": idle["sd_watts"],
        "idle_seconds": idle["seconds"],
        "meter_cpu_seconds": measured.meter_cost["cpu_seconds"],
        "meter_reads": measured.meter_cost["reads"],
    }


def _contender(contender: Contender, measured: Measured) -> dict[str, Any]:
    turns = measured.turns(contender.name)
    facts = turns[0].facts
    workload = flops.Workload.of(contender.config, facts["observation_size"], facts["action_size"])
    paper, parts = flops.an_update(workload)
    actions = [turn.facts["actions"] for turn in turns]
    label = contender.label
    if contender.peer:
        label = label.replace(contender.peer.title, f"{contender.peer.title} {facts['version']}")
    return {
        "name": contender.name,
        "label": label,
        "engine": contender.engine,
        "method": contender.config.method,
        "connections": facts.get("connections", workload.connections),
        "memory": {
            "ledger": facts.get("ledger", []),
            "planned_bytes": facts.get("planned_bytes"),
            "arena_bytes": facts.get("arena_bytes"),
            "peak_bytes": stat([turn.facts["peak_bytes"] for turn in turns]),
            "pss_bytes": stat([turn.facts["pss_bytes"] for turn in turns]),
            "replay_row_bytes": facts["replay_row_bytes"],
            "replay_rows": facts["replay_rows"],
            "replay_bytes": facts["replay_row_bytes"] * facts["replay_rows"],
        },
        "flops": {"update_paper": paper, "update_counted": sum(parts.values()), "parts": parts},
        "updates_per_second": stat([turn.update_seconds and 1 / turn.update_seconds for turn in turns]),
        "steps_per_second": stat([turn.steps_per_second for turn in turns]),
        "cpu_seconds_per_1000_steps": stat([1000 * turn.cpu_seconds for turn in turns]),
        "energy_joules_per_1000_steps": _joules_per_1000_steps(turns, measured),
        "action_microseconds": {
            **{key: median(action[key] for action in actions) for key in ("p50", "p99", "max")},
            "count": min(action["count"] for action in actions),
        },
    }


def _joules_per_1000_steps(turns: Sequence[Turn], measured: Measured) -> dict[str, Any] | None:
    told = [turn.energy for turn in turns if turn.energy is not None]
    if not told:
        return None

    def thousands(values: list[float | None]) -> dict[str, Any] | None:
        return stat([None if value is None else 1000 * value for value in values])

    return {
        "total": thousands([turn.joules for turn in turns]),
        "above_idle": thousands([turn.joules_above(measured.idle) for turn in turns]),
        "samples": sum(energy["samples"] for energy in told),
        "gaps": sum(energy["gaps"] for energy in told),
    }


def _ratios(measured: Measured, told: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The first contender to each of the others, the measured ones paired by round."""
    figures: dict[str, Callable[[Turn], float | None]] = {
        "step_seconds": lambda turn: 1 / turn.steps_per_second,
        "update_seconds": lambda turn: turn.update_seconds,
        "cpu_seconds": lambda turn: turn.cpu_seconds,
        "energy_total": lambda turn: turn.joules,
        "energy_above_idle": lambda turn: turn.joules_above(measured.idle),
        "peak_bytes": lambda turn: turn.facts["peak_bytes"],
        "action_p50": lambda turn: turn.facts["actions"]["p50"],
    }
    ours, *others = told
    ratios = {}
    for theirs in others:
        pair: dict[str, Any] = {
            name: ratio(
                [figure(turn) for turn in measured.turns(ours)], [figure(turn) for turn in measured.turns(theirs)]
            )
            for name, figure in figures.items()
        }
        our_flops, their_flops = told[ours]["flops"], told[theirs]["flops"]
        pair["connections"] = told[ours]["connections"] / told[theirs]["connections"]
        pair["flops_paper"] = our_flops["update_paper"] / their_flops["update_paper"]
        pair["flops_counted"] = our_flops["update_counted"] / their_flops["update_counted"]
        ratios[f"{ours} / {theirs}"] = pair
    return ratios


def _run(folder: Path, measured: Measured, sparse: dict[str, Any]) -> dict[str, Any]:
    energy = sparse["energy_joules_per_1000_steps"]
    a_step = energy["total"]["median"] / 1000 if energy is not None and energy["total"] is not None else None
    config = measured.contenders[0].config
    curve, source = curve_with_joules(folder, a_step)
    return {
        "path": str(folder),
        "env": config.env,
        "method": config.method,
        "curve": curve,
        "joules_from": source,
    }
