"""Golden pairs: observations with the trained actor's actions, as the text that every runner in `export/` reads.

A line is a pair: n observations, then m actions, each number followed by a comma; lines that begin with `//` are
comments. So a C file takes the pairs in with `#include` (a microcontroller has no files), and others split lines.
Of an actor with a history of K lines come in order: every `episode_rows(K)` are an episode, played from a reset on.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgedst.deploy.agreement import (
    OTHER_ORDERS,
    TOLERANCE,
    Reference,
    exact_actions,
    rounding_of,
    shares_of_bound,
    why_it_rounds,
)
from edgedst.deploy.history import History, play
from edgedst.deploy.native_actor import NativeActor
from edgedst.deploy.writing import writing
from edgedst.errors import CheckpointError, ExportError
from edgedst.runs.actor import ActorWeights, FloatArray
from edgedst.runs.reading import read_regular

PAIRS = 64


def episode_rows(history: int) -> int:
    """Pairs that are played one after the other: half of them with a history that is full; 1 without a history."""
    return 2 * history if history else 1


def write_golden(weights: ActorWeights, reference: Reference, path: Path, temporary: Path | None = None) -> int:
    """Write PAIRS pairs of the actor that `reference` was asked of: half recorded observations, half random ones.

    Left out are observations where rounding alone could pass the runners' limit, TOLERANCE.

    Args:
        weights: that actor, with the weights that its file stands for.
        reference: its observations and actions.
        path: of the file.
        temporary: the name that it has until it gets that one.

    Returns:
        How many pairs: fewer when the reference has fewer.

    Raises:
        ExportError: when the file cannot be written, or rounding spoils every pair.
    """
    episode = episode_rows(weights.history)
    observations, actions, rounding = _candidates(weights, reference)
    calm = np.flatnonzero((OTHER_ORDERS * rounding <= TOLERANCE).reshape(-1, episode).all(axis=1))
    first_random = reference.recorded // episode
    recorded, random = calm[calm < first_random], calm[calm >= first_random]
    wanted = max(PAIRS // episode, 2)
    recorded = recorded[: wanted // 2]
    episodes = np.concatenate([recorded, random[: wanted - len(recorded)]])
    rows = (episodes[:, None] * episode + np.arange(episode)).ravel()
    if not rows.size:
        raise ExportError(
            f"No golden pairs can be written: in float32 every action is off by {rounding.min():.0e} of its "
            f"bound or more, and runners allow {TOLERANCE:.0e}. {why_it_rounds(weights)}"
        )
    lines = [
        f"// Golden pairs of edgedst {weights.version}, format 1: {weights.observation_size} observations, then "
        f"{weights.sizes[-1]} actions, a line a pair.",
        f"// {weights.method} on {weights.environment}, seed {weights.seed}, step {weights.step}; {len(rows)} pairs.",
    ]
    if weights.history:
        lines.insert(1, f"// A history of {weights.history}: every {episode} lines are an episode, in order.")
    for row in rows:
        numbers = [*observations[row], *actions[row]]
        lines.append(",".join(f"{number:.9g}" for number in numbers) + ",")  # nine digits bring a float32 back
    with writing(path):
        (temporary or path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(rows)


def _candidates(weights: ActorWeights, reference: Reference) -> tuple[FloatArray, FloatArray, npt.NDArray[np.float64]]:
    """Observations, actions and how far float32 is off, of whole episodes: recorded ones, then random ones.

    With a history an action's error is in the actions after it, so each arithmetic plays with its own actions.
    """
    history = History.of(weights)
    if history is None:
        return reference.observations, reference.actions, reference.rounding
    episode = episode_rows(weights.history)
    newest = reference.observations[:, : weights.observation_size]
    parts = [part[: len(part) // episode * episode] for part in np.split(newest, [reference.recorded])]
    observations = np.concatenate(parts)
    native = NativeActor(weights, 1)
    features, actions = play(observations, episode, history, lambda row: native.act(row.astype(np.float64).data))
    rounding = rounding_of(weights, features)
    exact = play(observations, episode, history, lambda row: exact_actions(weights, row[None, :])[0])[1]
    drift = shares_of_bound(actions, exact, weights.action_low, weights.action_high).max(axis=1)
    return observations, actions, np.maximum(rounding, drift)


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
