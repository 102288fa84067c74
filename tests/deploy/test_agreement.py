"""How far an export may differ: as rounding moves the trained actor itself, which golden pairs keep away from."""

from dataclasses import replace

import numpy as np
import pytest
from actors import random_actor

from edgedst.deploy.agreement import OTHER_ORDERS, TOLERANCE, check_agreement, reference_actions
from edgedst.deploy.golden import read_golden, write_golden
from edgedst.deploy.native_actor import NativeActor
from edgedst.errors import CheckpointError, ExportError

NOTHING_RECORDED = np.zeros((0, 17), dtype=np.float32)


def rough_actor(rng, times):
    """Sums `times` as large as the numbers that they come to, so that rounding shows: pairs of units that cancel."""
    actor = random_actor(rng, (17, 64, 64, 6), (1.0, 1.0, 1.0))
    layer = actor.layers[1]
    weights = layer.values.reshape(64, 64).copy()
    weights[:, 1::2] = -weights[:, ::2]  # a pair of equal inputs leaves nothing of each other
    first = actor.layers[0]
    twins = first.values.reshape(64, 17).copy()
    twins[1::2] = twins[::2] * np.float32(1 + 1 / times)
    bias = first.bias.copy()
    bias[1::2] = bias[::2]
    layers = (
        replace(first, values=twins.ravel(), bias=bias),
        replace(layer, values=weights.ravel() * np.float32(times)),
        actor.layers[2],
    )
    return replace(actor, layers=layers)


def test_where_rounding_is_small_the_limit_is_the_usual_one(rng):
    reference = reference_actions(random_actor(rng, (17, 256, 256, 6), (0.5, 0.5, 1.0)), NOTHING_RECORDED)
    assert reference.tolerance == TOLERANCE
    assert reference.limit_told == "limit 1e-05"
    assert reference.rounding.shape == (512,)
    assert (reference.rounding > 0).any()


def test_where_sums_cancel_the_limit_is_that_of_the_native_actors_own_rounding(rng):
    actor = rough_actor(rng, 300.0)
    reference = reference_actions(actor, NOTHING_RECORDED)
    assert reference.rounding.max() > TOLERANCE
    assert reference.tolerance == OTHER_ORDERS * reference.rounding.max()
    assert "8 times what float32 rounds here" in reference.limit_told
    # The trained actor's own second order of sums passes; another actor does not.
    assert check_agreement(reference.batched, reference, actor, "itself", "order") <= reference.tolerance
    magnitude = np.maximum(np.abs(actor.action_low), np.abs(actor.action_high)).astype(np.float32)
    with pytest.raises(ExportError, match="8 times what float32 rounds here"):
        check_agreement(reference.actions + 2 * reference.tolerance * magnitude, reference, actor, "another", "actor")


def test_a_wrong_native_core_widens_no_limit(rng, monkeypatch):
    actor = random_actor(rng, (17, 64, 6), (0.5, 1.0))
    right = reference_actions(actor, NOTHING_RECORDED)
    layer = actor.layers[0]
    spoiled = replace(actor, layers=(replace(layer, values=np.roll(layer.values, 1)), actor.layers[1]))
    monkeypatch.setattr("edgedst.deploy.agreement.NativeActor", lambda _, *more: NativeActor(spoiled, *more))
    wrong = reference_actions(actor, NOTHING_RECORDED)
    assert wrong.tolerance == right.tolerance == TOLERANCE
    with pytest.raises(ExportError, match="The exported actor is not the trained one"):
        check_agreement(right.actions, wrong, actor, "C", "compiler")


def test_an_actor_that_float32_cannot_tell_from_another_is_refused(rng):
    with pytest.raises(ExportError, match=r"Float32 rounding alone moves .* an export cannot be told from a wrong one"):
        reference_actions(rough_actor(rng, 3e4), NOTHING_RECORDED)


def test_an_actor_whose_sums_overflow_is_refused(rng):
    actor = random_actor(rng, (17, 8, 2), (1.0, 1.0))
    spoiled = replace(actor.layers[0], values=np.full(17 * 8, 3e38, dtype=np.float32))
    with pytest.raises(ExportError, match="The weights have probably diverged"):
        reference_actions(replace(actor, layers=(spoiled, actor.layers[1])), NOTHING_RECORDED)


def test_an_action_that_is_no_number_is_no_agreement(rng):
    actor = random_actor(rng, (17, 8, 2), (1.0, 1.0))
    reference = reference_actions(actor, NOTHING_RECORDED)
    spoiled = reference.actions.copy()
    spoiled[3, 1] = np.nan
    with pytest.raises(ExportError, match="action 1 differs by inf"):
        check_agreement(spoiled, reference, actor, "C", "compiler")


def test_golden_pairs_leave_out_observations_that_rounding_spoils(tmp_path, rng):
    actor = random_actor(rng, (17, 64, 6), (0.5, 1.0))
    reference = reference_actions(actor, NOTHING_RECORDED)
    rounding = np.where(np.arange(512) % 3 == 0, 2e-6, 1e-7)  # 8 times 2e-6 could pass the limit of 1e-5
    assert write_golden(actor, replace(reference, rounding=rounding), tmp_path / "golden.csv") == 64
    observations, _ = read_golden(tmp_path / "golden.csv", 17, 6)
    assert (observations == reference.observations[np.arange(512) % 3 != 0][:64]).all()
    spoiled = replace(reference, rounding=np.full(512, 1e-3))
    with pytest.raises(
        ExportError, match=r"No golden pairs can be written: in float32 every action is off by 1e-03 of"
    ):
        write_golden(actor, spoiled, tmp_path / "other.csv")
    assert not (tmp_path / "other.csv").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "// seed 3, step 10; 2 pairs.\n1,2,3,4,5,\n",
        "// only a comment\n",
        "1,2,3\n",
        "1,2,nan,4,5,\n",
        "a,b,c,d,e,\n",
    ],
)
def test_golden_pairs_that_are_none_are_one_sentence(text, tmp_path):
    (tmp_path / "golden.csv").write_text(text)
    with pytest.raises(CheckpointError, match="holds no golden pairs of 3 observations and 2 actions"):
        read_golden(tmp_path / "golden.csv", 3, 2)
