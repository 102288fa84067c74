"""An actor that was trained on a machine: it takes the machine's own numbers, and acts as the network that learnt."""

import json
from dataclasses import replace

import numpy as np
import pytest
from actors import random_actor, seeing

from edgedst.deploy.agreement import OTHER_ORDERS, TOLERANCE, _actions, _shares, movements, reference_actions
from edgedst.deploy.c_source import export_c
from edgedst.deploy.golden import read_golden
from edgedst.deploy.native_actor import NativeActor
from edgedst.deploy.onnx import Format, export_actor
from edgedst.deploy.onnx_weights import FORMS
from edgedst.deploy.packing import DTYPES, quantised
from edgedst.deploy.parity import log_std_limit
from edgedst.deploy.session import open_session, run_in_batches
from edgedst.errors import CheckpointError, ExportError
from edgedst.runs.actor import read_actor
from edgedst.runs.inputs import middle_and_half
from edgedst.runs.recorded import recorded_features, recorded_rows

HALF_ULP = 2.0**-24  # float32 rounds a number by at most this share of it


@pytest.fixture
def pair(tmp_path, make_run, arm, rng):
    """(folded, as it learnt): the same weights, of metadata with and without the machine's bounds."""
    state = rng.bit_generator.state
    plain = make_run(tmp_path / "plain")
    rng.bit_generator.state = state
    folded = make_run(tmp_path / "folded", observation_low=arm.bounds[0], observation_high=arm.bounds[1])
    return read_actor(folded), read_actor(plain)


def with_bounds(actor, bounds):
    """An actor as it is read of a run with these bounds."""
    low, high = (list(map(float, bound)) for bound in bounds)
    return seeing(actor, observation_low=low, observation_high=high)


def one_unit(actor):
    """The same actor, whose first layer does not say that its columns have different units."""
    return replace(actor, layers=(replace(actor.layers[0], units=None), *actor.layers[1:]))


def in_bounds(rng, bounds, rows=200, reach=1.5):
    """Observations in the machine's units, some of them beyond the bounds, and what the network sees of them."""
    middle, half = middle_and_half(bounds)
    observations = (middle + reach * half * rng.uniform(-1, 1, (rows, len(middle)))).astype(np.float32)
    return observations, (observations - middle) / half


def rounding_bound(folded, learnt, observations, seen):
    """(rows, m): how far the rounding of the folded weights and biases can move an action, every error at its worst."""
    weight = np.abs(learnt.layers[0].weight.astype(np.float64))
    error = HALF_ULP * (np.abs(seen) @ weight.T + np.abs(folded.layers[0].bias))
    for layer in learnt.layers[1:]:
        error = error @ np.abs(layer.weight.T.astype(np.float64))
    return error * (np.array(learnt.action_high) - learnt.action_low) / 2 * 1.01  # tanh's derivative is 1 or less


# --- Folding ---------------------------------------------------------------------------------------------------------


def test_the_folded_actor_is_the_one_that_learnt_but_for_float32_s_rounding(pair, rng, reference, arm):
    folded, learnt = pair
    observations, seen = in_bounds(rng, arm.bounds)
    difference = np.abs(reference(folded, observations) - reference(learnt, seen))
    assert (difference <= rounding_bound(folded, learnt, observations, seen)).all()
    assert difference.max() > 0
    assert np.ptp(reference(folded, observations), axis=0).min() > 0.1  # these observations make a difference
    np.testing.assert_array_equal(folded.layers[0].indices, learnt.layers[0].indices)
    for layer, before in zip(folded.layers[1:], learnt.layers[1:], strict=True):
        np.testing.assert_array_equal(layer.values, before.values)
    assert folded.observation_bounds == arm.bounds
    assert learnt.observation_bounds is None


def test_the_native_actor_takes_the_machine_s_numbers(pair, rng, reference, arm):
    folded, learnt = pair
    observations, seen = in_bounds(rng, arm.bounds)
    native = NativeActor(folded)
    expected = reference(learnt, seen)
    alone = np.stack([native.act(row.astype(np.float64).data) for row in observations])
    for actions in (alone, native.actions(observations)):
        assert _shares(actions, expected, folded).max() <= TOLERANCE


def test_sac_s_two_heads_see_the_same_folded_layer(tmp_path, make_run, arm):
    run = make_run(tmp_path / "run", method="ds-sac", observation_low=arm.bounds[0], observation_high=arm.bounds[1])
    actor = read_actor(run)
    exported = export_actor(actor, tmp_path / "actor.onnx", recorded(run), Format(stochastic=True))
    assert exported.parity.log_std_difference <= log_std_limit(exported.parity.reference) <= 1e-3


def test_an_actor_of_one_layer_is_folded_too(rng, arm):
    actor = with_bounds(random_actor(rng, (3, 2), (1.0,)), arm.bounds)
    reference = reference_actions(actor, np.zeros((0, 3), np.float32))
    assert reference.tolerance == TOLERANCE
    assert (reference.rounding > 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"observation_low": None}, "'NoneType' object is not iterable"),
        ({"observation_low": [0.0, 0.0]}, r"observation_low has 2 numbers and observation_high 3 for 3 observations"),
        ({"observation_high": [4096.0, float("nan"), 12.6]}, "nan is no finite number"),
        ({"observation_high": [4096.0, "0.2", 12.6]}, "'0.2' is no finite number"),
        ({"observation_high": [4096.0, -0.2, 12.6]}, r"observation 1 lies between -0\.2 and -0\.2; low < high"),
        ({"observation_high": [4096.0, -0.3, 12.6]}, r"observation 1 lies between -0\.2 and -0\.3; low < high"),
        ({"observation_high": [1e39, 0.2, 12.6]}, r"observation 0 lies between 0 and 1e\+39; low < high, that float32"),
        # 2^24 is the last whole number before which float32 tells all apart.
        ({"observation_low": [2.0**25, -0.2, 10.0], "observation_high": [2.0**25 + 1, 0.2, 12.6]}, "tells apart"),
        (
            {"observation_high": [1e-44, 0.2, 12.6]},
            "feature 0, around 5e-45, has a unit of 5e-45, in which float32 does not reach as far as",
        ),
    ],
)
def test_bounds_that_are_none_are_one_sentence(change, words, robot_run, change_about):
    change_about(robot_run, **change)
    with pytest.raises(
        CheckpointError, match=r"networks-000001000\.safetensors` is not what edgedst writes: .*" + words
    ):
        read_actor(robot_run)


def test_one_bound_without_the_other_is_one_sentence(tmp_path, make_run, arm):
    run = make_run(tmp_path / "run", observation_high=arm.bounds[1])
    with pytest.raises(CheckpointError, match="is not what edgedst writes: no 'observation_low'"):
        read_actor(run)


def recorded(run, count=40):
    return recorded_features(run, count, read_actor(run))


def test_recorded_observations_are_those_that_the_machine_gave(robot_run, arm):
    seen = recorded_rows(robot_run, 40, 3, 2).observations
    middle, half = middle_and_half(arm.bounds)
    np.testing.assert_array_equal(recorded(robot_run), (seen * half + middle).astype(np.float32))
    assert recorded(robot_run).dtype == np.float32
    assert recorded(robot_run).mean(axis=0) == pytest.approx(middle, rel=0.6, abs=0.1)


# --- What is exported ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_onnx_form_takes_the_machine_s_numbers(form, dtype, robot_run, tmp_path, pair, rng, reference, arm):
    folded, learnt = pair
    golden = tmp_path / "golden.csv"
    exported = export_actor(folded, tmp_path / "actor.onnx", recorded(robot_run), Format(form, dtype), None, golden)
    assert exported.pairs == 64
    observations, seen = in_bounds(rng, arm.bounds)
    (actions,) = run_in_batches(
        open_session(tmp_path / "actor.onnx", (tmp_path / "actor.onnx").read_bytes()), observations, 64
    )
    exact = reference(quantised(learnt, dtype), seen)  # the rounding of normalised weights
    # int8: two ways to round, for a power of two beside the half may make another weight the row's largest.
    limit = {"fp32": TOLERANCE, "fp16": 5e-3, "int8": 0.1}[dtype]
    assert _shares(actions, exact, folded).max() <= limit
    told, _ = read_golden(golden, 3, 2)
    assert (
        told[32:] >= np.float32(arm.bounds[0])
    ).all()  # random ones are of the whole range that the machine can give
    assert (told[32:] <= np.float32(arm.bounds[1])).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_c_takes_the_machine_s_numbers(dtype, robot_run, tmp_path, pair):
    folded, _ = pair
    exported = export_c(folded, tmp_path / "actor.c", recorded(robot_run), dtype, tmp_path / "golden.csv")
    assert exported.check is not None, "no C compiler here"
    assert exported.check.largest_difference <= TOLERANCE
    assert exported.pairs == 64
    code = (tmp_path / "actor.c").read_text()
    scaled = "scaled[i] = obs[i] * layer_0_input_scales[i]" in code
    assert scaled == ("static const float layer_0_input_scales[3]" in code)
    assert scaled == (dtype != "fp32")  # float32 needs no step of its own for the units
    assert exported.source.ram_bytes == 4 * (8 + 5 + (3 if scaled else 0))


def test_int8_keeps_the_weights_of_every_unit(rng):
    """A row's largest weight is that of the smallest unit; steps of it would leave nothing of an encoder's weights."""
    bounds = ((0.0, -0.2, 0.0, -1e-3), (4096.0, 0.2, 65535.0, 1e-3))
    learnt = random_actor(rng, (4, 64, 64, 2), (1.0, 0.5, 1.0))
    observations, _ = in_bounds(rng, bounds, 500)

    def moved(actor):
        recorded = reference_actions(quantised(actor, "int8"), observations)
        return movements(actor, "int8", recorded)["recorded"].largest

    folded = with_bounds(learnt, bounds)
    assert moved(folded) <= 0.02
    assert moved(one_unit(folded)) >= 0.2


@pytest.mark.parametrize(("dtype", "limit"), [("fp16", 1e-3), ("int8", 0.02)])
def test_what_rounding_takes_from_a_weight_counts_from_the_middle_of_its_observation_on(dtype, limit, rng):
    bounds = (np.full(4, 59.0), np.full(4, 61.0))  # of 127 steps, half a one is lost: times 60 it would be half of all
    actor = with_bounds(random_actor(rng, (4, 64, 64, 2), (1.0, 0.5, 1.0)), bounds)
    observations, _ = in_bounds(rng, bounds, 500, reach=1.0)
    reference = reference_actions(quantised(actor, dtype), observations)
    assert movements(actor, dtype, reference)["recorded"].largest <= limit


# --- How far an export may differ ------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 5.0, 60.0])
def test_no_order_of_sums_passes_the_limit_that_an_offset_asks_for(offset, rng):
    # An observation between 59 and 61 has terms 60 times as large as what they come to; in float32 they leave an error.
    bounds = (np.full(6, offset - 1), np.full(6, offset + 1))
    actor = with_bounds(random_actor(rng, (6, 64, 64, 2), (0.5, 0.5, 1.0)), bounds)
    reference = reference_actions(actor, np.zeros((0, 6), np.float32))
    exact = _actions(actor, reference.observations.astype(np.float64), 1)
    # The usual limit holds where it can; the offset moves it, by no more than its share of what float32 rounds.
    assert TOLERANCE <= reference.tolerance <= TOLERANCE * (1 + offset)
    calm = OTHER_ORDERS * reference.rounding <= TOLERANCE
    for _ in range(10):
        order = rng.permutation(6)
        # The same sums, their terms in another order, the bias first.
        first = actor.layers[0]
        sums = np.tile(first.bias, (len(exact), 1))
        for i in order:
            sums += reference.observations[:, i : i + 1] * first.weight[:, i]
        rest = replace(actor, layers=actor.layers[1:])
        actions = _actions(rest, np.maximum(sums, 0), 1)
        shares = _shares(actions, exact, actor).max(axis=1)
        assert shares.max() <= reference.tolerance / 2
        assert not calm.any() or shares[calm].max() <= TOLERANCE / 2


def test_constant_observations_widen_the_limit_as_moving_ones_do(rng):
    """A machine that stood still while it was recorded: two orders of one sum may be equal by luck."""
    actor = with_bounds(random_actor(rng, (4, 32, 1), (1.0, 1.0)), (np.full(4, 59.0), np.full(4, 61.0)))
    still = np.full((512, 4), 60.0, np.float32)
    rounding = reference_actions(actor, still).rounding
    terms = 60 * np.abs(actor.layers[0].weight).sum(axis=1) + np.abs(actor.layers[0].bias)
    assert rounding[0] > 1e-7
    assert rounding[:512].max() <= HALF_ULP * terms.sum() * np.abs(actor.layers[1].weight).max()


def test_an_offset_that_float32_cannot_carry_is_named(rng, tmp_path):
    # A barometer: 101,325 Pa, give or take 1.
    bounds = ([0.0, 101_324.0], [1.0, 101_326.0])
    actor = with_bounds(random_actor(rng, (2, 64, 64, 1), (1.0, 1.0, 1.0)), bounds)
    words = (
        r"Observation 1 lies between 101324 and 101326, far from 0 for its width: subtract its middle in "
        r"`read_observation`, write the bounds of the difference into OBSERVATION, and train anew\."
    )
    with pytest.raises(ExportError, match="Float32 rounding alone moves .*" + words):
        export_actor(actor, tmp_path / "actor.onnx", np.zeros((0, 2), np.float32))
    less = with_bounds(random_actor(rng, (2, 64, 64, 1), (1.0, 1.0, 1.0)), ([0.0, 999.0], [1.0, 1001.0]))
    with pytest.raises(ExportError, match=r"No golden pairs can be written: .*Observation 1 lies between 999 and 1001"):
        export_c(less, tmp_path / "actor.c", np.zeros((0, 2), np.float32), golden=tmp_path / "golden.csv")
    assert not list(tmp_path.iterdir())


def test_without_bounds_the_advice_is_the_best_checkpoint(rng):
    actor = with_bounds(random_actor(rng, (2, 8, 1), (1.0, 1.0)), ([-1.0, -1.0], [1.0, 1.0]))
    spoiled = replace(actor.layers[0], values=np.full(16, 3e38, dtype=np.float32))
    with pytest.raises(ExportError, match="The weights have probably diverged"):
        reference_actions(replace(actor, layers=(spoiled, actor.layers[1])), np.zeros((0, 2), np.float32))


def test_a_file_says_nothing_of_normalisation(robot_run, tmp_path, arm):
    """Whoever runs it has nothing to do for it."""
    exported = export_actor(read_actor(robot_run), tmp_path / "actor.onnx", recorded(robot_run))
    assert exported.about["environment"] == "arm.py"
    assert exported.about["observation_size"] == 3
    assert "observation_low" not in json.dumps(exported.about)
