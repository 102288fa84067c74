"""Golden pairs: observations with the trained actor's actions, as the text that every runner in `export/` reads.

A line is a pair: n observations, then m actions, each number followed by a comma; lines that begin with `//` are
comments. So a C file takes the pairs in with `#include` (a microcontroller has no files), and others split lines.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from edgedst.deploy.agreement import OTHER_ORDERS, TOLERANCE, Reference, why_it_rounds
from edgedst.deploy.writing import writing
from edgedst.errors import CheckpointError, ExportError
from edgedst.runs.actor import ActorWeights, FloatArray
from edgedst.runs.reading import read_regular

PAIRS = 64


def write_golden(weights: ActorWeights, reference: Reference, path: Path, temporary: Path | None = None) -> int:
    """Write PAIRS pairs of the actor that `reference` was asked of: half recorded observations, half random ones.

    Left out are observations where rounding alone could pass the runners' limit, TOLERANCE.

    Args:
        weights: the trained actor.
        reference: its observations and actions.
        path: of the file.
        temporary: the name that it has until it gets that one.

    Returns:
        How many pairs: fewer when the reference has fewer.

    Raises:
        ExportError: when the file cannot be written, or rounding spoils every pair.
    """
    calm = np.flatnonzero(OTHER_ORDERS * reference.rounding <= TOLERANCE)
    recorded, random = calm[calm < reference.recorded], calm[calm >= reference.recorded]
    recorded = recorded[: PAIRS // 2]
    rows = [*recorded, *random[: PAIRS - len(recorded)]]
    if not rows:
        raise ExportError(
            f"No golden pairs can be written: in float32 every action is off by {reference.rounding.min():.0e} of its "
            f"bound or more, and runners allow {TOLERANCE:.0e}. {why_it_rounds(weights)}"
        )
    lines = [
        f"// Golden pairs of edgedst {weights.version}, format 1: {weights.sizes[0]} observations, then "
        f"{weights.sizes[-1]} actions, a line a pair.",
        f"// {weights.method} on {weights.environment}, seed {weights.seed}, step {weights.step}; {len(rows)} pairs.",
    ]
    for row in rows:
        numbers = [*reference.observations[row], *reference.actions[row]]
        lines.append(",".join(f"{number:.9g}" for number in numbers) + ",")  # nine digits bring a float32 back
    with writing(path):
        (temporary or path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(rows)


def read_golden(path: Path, observation_size: int, action_size: int) -> tuple[FloatArray, FloatArray]:
    """(rows, n) observations and (rows, m) actions of a file that `write_golden` made.

    Raises:
        CheckpointError: it cannot be read, or is not of actors of these sizes.
    """
    width = observation_size + action_size
    try:
        text = read_regular(path).decode()
        lines = [line for line in text.splitlines() if not line.startswith("//")]
        if (told := re.search(r"^//.* (\d+) pairs", text, re.MULTILINE)) and int(told[1]) != len(lines):
            raise ValueError(f"{len(lines)} of {told[1]} pairs")
        with np.errstate(over="ignore"):  # told below
            pairs = np.array([line.rstrip(",").split(",") for line in lines], dtype=np.float32).reshape(-1, width)
        if not len(pairs) or not np.isfinite(pairs).all():
            raise ValueError("no pairs, or a number that is not finite")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"`{path}` holds no golden pairs of {observation_size} observations and {action_size} actions ({error}). "
            "Write it with `edgedst export --golden`."
        ) from error
    return pairs[:, :observation_size], pairs[:, observation_size:]
