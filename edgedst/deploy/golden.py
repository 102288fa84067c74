"""Golden pairs: observations with the trained actor's actions, as the text that every runner in `export/` reads.

A line is a pair: n observations, then m actions, each number followed by a comma; lines that begin with `//` are
comments. So a C file takes the pairs in with `#include` (a microcontroller has no files), and others split lines.
Of an actor with a history of K lines come in order: every `episode_rows(K)` are an episode, played from a reset on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np

from edgedst.deploy.agreement import (
    OTHER_ORDERS,
    TOLERANCE,
    Reference,
    exact_actions,
    rounding_of,
    shares_of_bound,
    why_it_rounds,
)
from edgedst.deploy.history import History
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
    pairs = _episodes(weights, reference) if weights.history else _pairs(reference)
    if not pairs:
        raise ExportError(
            f"No golden pairs can be written: in float32 every action is off by {reference.rounding.min():.0e} of its "
            f"bound or more, and runners allow {TOLERANCE:.0e}. {why_it_rounds(weights)}"
        )
    lines = [
        f"// Golden pairs of edgedst {weights.version}, format 1: {weights.observation_size} observations, then "
        f"{weights.sizes[-1]} actions, a line a pair.",
        f"// {weights.method} on {weights.environment}, seed {weights.seed}, step {weights.step}; {len(pairs)} pairs.",
    ]
    if weights.history:
        every = episode_rows(weights.history)
        lines.insert(1, f"// A history of {weights.history}: every {every} lines are an episode, in order.")
    for numbers in pairs:
        lines.append(",".join(f"{number:.9g}" for number in numbers) + ",")  # nine digits bring a float32 back
    with writing(path):
        (temporary or path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(pairs)


def _pairs(reference: Reference) -> list[FloatArray]:
    """(n + m) numbers each: observations of which rounding cannot bring an action to the limit, with their actions."""
    calm = np.flatnonzero(OTHER_ORDERS * reference.rounding <= TOLERANCE)
    recorded, random = calm[calm < reference.recorded], calm[calm >= reference.recorded]
    recorded = recorded[: PAIRS // 2]
    rows = [*recorded, *random[: PAIRS - len(recorded)]]
    return [np.concatenate([reference.observations[row], reference.actions[row]]) for row in rows]


def _episodes(weights: ActorWeights, reference: Reference) -> list[FloatArray]:
    """The same of whole episodes, one after the other: half of recorded observations, half of random ones."""
    newest = reference.observations[:, : weights.observation_size]
    recorded, random = (iter(part) for part in np.split(newest, [reference.recorded]))
    wanted = max(PAIRS // episode_rows(weights.history), 2)
    native = NativeActor(weights, 1)
    pairs: list[FloatArray] = []
    for observations, most in ((recorded, wanted // 2), (random, wanted)):
        while len(pairs) < most * episode_rows(weights.history) and (
            episode := _episode(weights, native, observations)
        ):
            pairs += episode
    return pairs


def _episode(weights: ActorWeights, native: NativeActor, observations: Iterator[FloatArray]) -> list[FloatArray]:
    """The next one; nothing when there are not enough observations for it.

    An observation is left out where rounding could bring its action to the limit: that of this step, or what is in the
    history of the steps before. So float32 and float64 both act on their own actions.
    """
    history, exact_history = History.of(weights), History.of(weights)
    assert history is not None
    assert exact_history is not None
    pairs: list[FloatArray] = []
    for observation in observations:
        before = deepcopy((history, exact_history))
        features = history.push(observation)
        action = native.act(features.data)
        row = features[None, :].astype(np.float32)
        exact = exact_actions(weights, exact_history.push(observation)[None, :])
        drift = shares_of_bound(action[None, :], exact, weights.action_low, weights.action_high).max()
        if OTHER_ORDERS * max(drift, rounding_of(weights, row)[0]) <= TOLERANCE:
            pairs.append(np.concatenate([observation, action]))
            history.acted(action)
            exact_history.acted(exact[0])
        else:
            history, exact_history = before
        if len(pairs) == episode_rows(weights.history):
            return pairs
    return []


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
