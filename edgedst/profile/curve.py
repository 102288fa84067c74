"""The learning curve of a run folder, and the joules that each point of it had taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOGGED = "logged by train --energy"
BY_STEPS = "steps times this profile's joules a step"


def evaluations(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that are evaluations; half a line, which a killed process leaves behind, is none."""
    try:
        lines = (run / "metrics.jsonl").read_bytes().splitlines()
    except OSError:
        return []
    return [found for line in lines if b'"evaluation_return"' in line and (found := json_object(line))]


def json_object(text: bytes) -> dict[str, Any]:
    """Empty where it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def curve_with_joules(run: Path, joules_a_step: float | None) -> tuple[list[dict[str, Any]], str | None]:
    """Step, return and joules until then, and where the joules are from.

    The run's own joules where every evaluation has them, so that one curve never mixes two sources.

    Args:
        run: its folder.
        joules_a_step: of this profile; None where it has none.
    """
    lines = evaluations(run)
    logged = bool(lines) and all(line.get("energy_joules") is not None for line in lines)

    def joules(line: dict[str, Any]) -> float | None:
        if logged:
            return float(line["energy_joules"])
        return line["step"] * joules_a_step if joules_a_step is not None else None

    curve = [{"step": line["step"], "return": line["evaluation_return"], "joules": joules(line)} for line in lines]
    return curve, LOGGED if logged else BY_STEPS if joules_a_step is not None else None
