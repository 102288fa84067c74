"""Golden pairs: observations with the trained actor's actions, as the text that every runner in `export/` reads.

A name that ends in .npz gives arrays `obs` and `actions` for Python instead. In the text a line is a
pair: n observations, then m actions, each number followed by a comma; lines that begin with `//` are comments. So a C
file takes the pairs in with `#include` (a microcontroller has no files), and others split lines.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgedst.deploy.agreement import Reference
from edgedst.deploy.checkpoint import ActorWeights
from edgedst.deploy.writing import writing

PAIRS = 64


def write_golden(weights: ActorWeights, reference: Reference, path: Path, count: int = PAIRS) -> int:
    """Write `count` pairs of the actor that `reference` was asked of: half recorded observations, half random ones.

    Returns:
        How many pairs were written: `count`, or fewer when the reference has fewer.

    Raises:
        ExportError: when the file cannot be written.
    """
    recorded = min(reference.recorded, count // 2)
    rows = [*range(recorded), *range(reference.recorded, reference.recorded + min(reference.random, count - recorded))]
    if path.suffix == ".npz":
        with writing(path), path.open("wb") as file:
            np.savez(file, obs=reference.observations[rows], actions=reference.actions[rows])
        return len(rows)
    lines = [
        f"// Golden pairs of edgedst {weights.version}, format 1: {weights.sizes[0]} observations, then "
        f"{weights.sizes[-1]} actions, a line a pair.",
        f"// {weights.method} on {weights.environment}, seed {weights.seed}, step {weights.step}; {len(rows)} pairs.",
    ]
    for row in rows:
        numbers = [*reference.observations[row], *reference.actions[row]]
        lines.append(",".join(f"{number:.9g}" for number in numbers) + ",")  # nine digits bring a float32 back
    with writing(path):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(rows)
