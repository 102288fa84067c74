"""A campaign: many attacks drawn from one seed. Short in the suite, as long as you like by a command:

EDGEDST_FAULTS=300 EDGEDST_FAULTS_SEED=7 pytest -s tests/faults/test_kills.py

Every attack draws from a generator of its own, so one that found a fault is made again alone: EDGEDST_FAULTS_ONLY=41.
"""

import os
import random
import shutil
import time
from collections import Counter

SHOW_SECONDS = 10
TOLD = 12  # faults that are told in full
MOST = 20  # attacks, where a few have not come to what they need


def campaign(name, usual, place, attack, needs=()):
    """Attack again and again; what was found is one AssertionError at the end.

    Args:
        name: of the campaign.
        usual: attacks in a run of the whole suite; EDGEDST_FAULTS names another number.
        place: a folder; what an attack that found a fault left behind stays there.
        attack: called with a `random.Random` and an empty folder; returns a word for what came of it, and raises when
            it found a fault.
        needs: words of which each has to come: attacks that met nothing show nothing. For them there are more attacks.
    """
    count = int(os.environ.get("EDGEDST_FAULTS") or usual)
    seed = int(os.environ.get("EDGEDST_FAULTS_SEED") or 0)
    only = os.environ.get("EDGEDST_FAULTS_ONLY")
    outcomes, faults, shown = Counter(), [], time.monotonic()
    for number in [int(only)] if only else range(max(count, MOST)):
        if not only and number >= count and (faults or outcomes.keys() >= set(needs)):
            break
        folder = place / f"attack{number}"
        folder.mkdir()
        try:
            outcomes[attack(random.Random(f"{name} {seed} {number}"), folder)] += 1
            shutil.rmtree(folder)
        except Exception as error:  # a hang ends in TimeoutExpired
            if only:
                raise
            outcomes["FAULT"] += 1
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            faults.append(f"EDGEDST_FAULTS_ONLY={number}: {kind}{error}")
        if time.monotonic() > shown + SHOW_SECONDS:
            shown = time.monotonic()
            print(f"{name}: {number + 1:,} of {count:,}, {len(faults)} faults", flush=True)
    told = ", ".join(f"{times:,} {outcome}" for outcome, times in outcomes.most_common())
    print(f"\n{name}: {outcomes.total():,} attacks with seed {seed}: {told}", flush=True)
    if faults:
        rest = f"\n... and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise AssertionError(
            f"{name}, seed {seed}: {len(faults)} of {outcomes.total()} attacks found a fault\n"
            + "\n".join(faults[:TOLD])
            + rest
        )
    if not only:
        missed = set(needs) - outcomes.keys()
        assert not missed, f"{name}: none of {outcomes.total()} attacks {' and none '.join(sorted(missed))}: {told}"


def sentence(error_text, *names):
    """Hold the last words of a command to be one sentence of edgedst's: `Name: what and what next.`"""
    lines = error_text.strip().splitlines()
    assert "Traceback" not in error_text, error_text[-1500:]
    assert len(lines) == 1, f"not one sentence: {error_text[-1500:]!r}"
    name = lines[0].partition(": ")[0]
    assert name.isidentifier(), lines[0]
    if names:
        assert name in names, lines[0]
    return name


def no_leftovers(folder):
    """Hold a folder to have no temporary file or folder."""
    left = [str(path) for path in folder.rglob("*") if path.name.endswith(".tmp") or path.name.startswith(".")]
    assert not left, f"left behind: {left}"
