"""Packed layers: what was packed comes back, in the bytes that the format promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import random_mask, seeds

from edgedst.deploy.native_actor import NativeActor
from edgedst.deploy.packing import DTYPES, ENCODINGS, pack_layer, quantised
from edgedst.errors import ConfigError, ExportError
from edgedst.runs.actor import ActorLayer, read_actor

# Narrow, wide (a gap of 255 split several times over) and everything about a byte of the mask.
SHAPES = [(1, 1), (1, 7), (8, 1), (3, 3), (9, 15), (2, 1500), (40, 40)]


def layer_of(dense, mask=None, bias=None):
    """The layer that holds `dense` where `mask` says (by default where it is not zero)."""
    dense = np.asarray(dense, dtype=np.float32)
    indices = np.flatnonzero(dense if mask is None else mask).astype(np.uint32)
    rows, columns = dense.shape
    bias = np.zeros(rows, dtype=np.float32) if bias is None else bias
    return ActorLayer(columns, rows, indices, dense.ravel()[indices], bias)


@st.composite
def layers(draw):
    """Any share of stored weights, none and all among them; stored zeros, empty rows and lone entries far apart."""
    rows, columns = draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(draw(seeds))
    places = rows * columns
    mask = random_mask(rng, rows, columns, draw(st.sampled_from([0, 1, places // 20, places // 2, places])))
    mask[rng.random(rows) < draw(st.sampled_from([0.0, 0.5]))] = False
    magnitude = draw(st.sampled_from([1e-9, 1.0, 300.0]))
    dense = (rng.standard_normal((rows, columns)) * magnitude).astype(np.float32)
    dense[rng.random((rows, columns)) < draw(st.sampled_from([0.0, 0.2]))] = 0.0
    return layer_of(dense, mask, rng.standard_normal(rows).astype(np.float32))


@given(layer=layers(), encoding=st.sampled_from(ENCODINGS))
def test_fp32_comes_back_to_the_bit(layer, encoding):
    assert (pack_layer(layer, "fp32", encoding).dense() == layer.weight).all()


@given(layer=layers(), encoding=st.sampled_from(ENCODINGS))
def test_fp16_comes_back_as_numpy_rounds(layer, encoding):
    assert (pack_layer(layer, "fp16", encoding).dense() == layer.weight.astype(np.float16)).all()


@given(layer=layers(), encoding=st.sampled_from(ENCODINGS))
def test_int8_comes_back_within_half_a_step_of_its_row(layer, encoding):
    packed = pack_layer(layer, "int8", encoding)
    step = np.abs(layer.weight).max(axis=1, keepdims=True) / 127
    assert (np.abs(packed.dense() - layer.weight) <= 0.5001 * step).all()  # float32 rounds the scale and the product
    largest = np.abs(packed.dense()).max(axis=1)
    np.testing.assert_allclose(largest, np.abs(layer.weight).max(axis=1), rtol=1e-6)  # 127 steps are the largest weight
    assert ((packed.scales == 0) == (layer.weight == 0).all(axis=1)).all()


@given(layer=layers(), dtype=st.sampled_from(DTYPES))
def test_both_encodings_stand_for_the_same_weights_and_the_smaller_one_is_chosen(layer, dtype):
    gaps, bitmask = (pack_layer(layer, dtype, encoding) for encoding in ENCODINGS)
    assert (gaps.dense() == bitmask.dense()).all()
    chosen = pack_layer(layer, dtype)
    assert chosen.encoding == ("gaps" if gaps.bytes <= bitmask.bytes else "bitmask")
    assert chosen.bytes == min(gaps.bytes, bitmask.bytes)


@given(layer=layers(), dtype=st.sampled_from(DTYPES), encoding=st.sampled_from(ENCODINGS))
def test_the_arrays_are_those_that_readers_rely_on(layer, dtype, encoding):
    packed = pack_layer(layer, dtype, encoding)
    assert packed.values.dtype == {"fp32": np.float32, "fp16": np.float16, "int8": np.int8}[dtype]
    assert packed.positions.dtype == np.uint8
    assert (packed.bias == layer.bias).all()
    assert (packed.scales is None) == (dtype != "int8")
    if encoding == "gaps":
        assert packed.positions.shape == packed.values.shape
        assert (packed.positions > 0).all()
        assert (packed.positions[packed.values == 0] == 255).all()  # only fillers have no value
    else:
        assert packed.positions.size == -(-layer.in_features * layer.out_features // 8)
        assert np.unpackbits(packed.positions).sum() == packed.values.size == np.count_nonzero(packed.values)


@pytest.mark.parametrize(
    ("columns", "gaps"),
    [
        ([0], [1]),
        ([0, 1, 5], [1, 1, 4]),
        ([254], [255]),
        ([255], [255, 1]),
        ([509], [255, 255]),
        ([510], [255, 255, 1]),
        ([3, 258, 1023], [4, 255, 255, 255, 255]),
        ([3, 259, 1023], [4, 255, 1, 255, 255, 254]),
        ([], []),
    ],
)
def test_gaps_count_from_minus_one_and_are_split_at_255(columns, gaps):
    dense = np.zeros((1, 1024), dtype=np.float32)
    dense[0, columns] = np.arange(1, len(columns) + 1)
    packed = pack_layer(layer_of(dense), "fp32", "gaps")
    assert packed.positions.tolist() == gaps
    assert packed.values[packed.values != 0].tolist() == list(range(1, len(columns) + 1))
    assert packed.bytes == 5 * len(gaps) + 4


def test_the_bitmask_is_row_major_with_the_least_significant_bit_first():
    packed = pack_layer(layer_of([[1, 0, 2, 0, 0], [0, 0, 0, 3, 4]]), "fp32", "bitmask")
    assert packed.positions.tolist() == [0b00000101, 0b00000011]
    assert packed.values.tolist() == [1, 2, 3, 4]


def test_int8_is_symmetric_with_the_rows_largest_magnitude_at_127():
    packed = pack_layer(layer_of([[254, 1, -2.9], [0, 0, 0], [-0.127, 0, 0.0004]]), "int8", "gaps")
    np.testing.assert_allclose(packed.scales, [2, 0, 0.001], rtol=1e-6)
    assert packed.values.tolist() == [127, -1, -127]  # 1 is half a step and goes to the even 0; 0.0004 is under half
    np.testing.assert_allclose(packed.dense(), [[254, 0, -2], [0, 0, 0], [-0.127, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("sparsity", "encoding"), [(0.5, "bitmask"), (0.86, "bitmask"), (0.89, "gaps"), (0.95, "gaps")]
)
def test_the_encodings_cross_at_an_eighth_of_the_places(sparsity, encoding, rng):
    mask = random_mask(rng, 256, 256, round((1 - sparsity) * 65536))
    packed = pack_layer(layer_of(np.where(mask, 1.0, 0.0)), "fp32")
    assert packed.encoding == encoding


def test_a_weight_too_large_for_float16_is_one_sentence():
    with pytest.raises(ExportError, match=r"magnitude 7e\+04 and float16 ends at 65504\..*`--dtype fp32`"):
        pack_layer(layer_of([[70_000.0]]), "fp16")


def test_an_unknown_dtype_is_a_sentence():
    with pytest.raises(ConfigError, match=r"`--dtype int4` is unknown\. Expected one of fp32, fp16, int8\."):
        pack_layer(layer_of([[1.0]]), "int4")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_quantised_actor_holds_what_the_packed_layers_stand_for(run, dtype, rng):
    actor = read_actor(run)
    other = quantised(actor, dtype)
    for layer, before in zip(other.layers, actor.layers, strict=True):
        assert (layer.weight == pack_layer(before, dtype).dense()).all()
        assert layer.nnz == before.nnz
    observations = rng.standard_normal((20, 3)).astype(np.float32)
    moved = np.abs(NativeActor(other).actions(observations) - NativeActor(actor).actions(observations)).max()
    assert (moved == 0) == (dtype == "fp32")
    assert moved < 0.2  # of bounds up to 4
