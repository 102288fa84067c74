"""The learning curve of a run folder, and the joules that each point of it had taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

from edgedst import parse

LOGGED = "logged by train --energy"
BY_STEPS = "steps times this profile's joules a step"
MOST = 1e100  # of a number: its square, and a sum over seeds, are numbers too


def evaluations(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that are evaluations and can be read, each with a step and a return; see `unread`."""
    return [line for line in map(_evaluation, _lines(run)) if line]


def unread(run: Path) -> int:
    """How many lines of metrics.jsonl cannot be read: no JSON, or an evaluation without a step or a return.

    Half a line at the end, which a killed process leaves behind, is none.
    """
    whole = [line for line in _lines(run)[:-1] if line.strip()]
    return sum(not (_evaluation(line) if _EVALUATION in line else _looks_whole(line)) for line in whole)


_EVALUATION = b'"evaluation_return"'


def _lines(run: Path) -> list[bytes]:
    try:
        return parse.read(run / "metrics.jsonl").split(b"\n")
    except OSError:
        return []


def _looks_whole(line: bytes) -> bool:
    """An episode's line; there may be hundreds of thousands, which nobody reads."""
    return line.startswith(b"{") and line.rstrip().endswith(b"}")


def _evaluation(line: bytes) -> dict[str, Any]:
    """Empty where it is none."""
    found = parse.json_object(line) if _EVALUATION in line else {}
    return found if is_step(found.get("step")) and is_number(found.get("evaluation_return")) else {}


def is_number(value: object) -> TypeGuard[float]:
    """Whether a file's value is a number that one can count with."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -MOST < value < MOST


def is_step(value: object) -> TypeGuard[int]:
    """Whether a file's value can be a number of steps, or of bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def curve_with_joules(run: Path, joules_a_step: float | None) -> tuple[list[dict[str, Any]], str | None]:
    """Step, return and joules until then, and where the joules are from.

    The run's own joules where every evaluation has them, so that one curve never mixes two sources.

    Args:
        run: its folder.
        joules_a_step: of this profile; None where it has none.
    """
    lines = evaluations(run)
    logged = bool(lines) and all(is_number(line.get("energy_joules")) for line in lines)

    def joules(line: dict[str, Any]) -> float | None:
        if logged:
            return float(line["energy_joules"])
        return line["step"] * joules_a_step if joules_a_step is not None else None

    curve = [{"step": line["step"], "return": line["evaluation_return"], "joules": joules(line)} for line in lines]
    return curve, LOGGED if logged else BY_STEPS if joules_a_step is not None else None
