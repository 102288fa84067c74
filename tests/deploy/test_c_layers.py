"""Layers as C reads them: the same weights in another order, in hardly more bytes, and the actions of float64."""

import ctypes
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from actors import random_actor

from edgedst.deploy.agreement import shares_of_bound
from edgedst.deploy.c_check import PACKED, UNPACKED
from edgedst.deploy.c_layers import layers_in_c, runs_of_gaps
from edgedst.deploy.c_source import build_source
from edgedst.deploy.packing import DTYPES, pack_layer, quantised
from tools import require_tool

FLOATS = ctypes.POINTER(ctypes.c_float)


def acted(actor, dtype, observations, folder, options):
    """Actions of the C file, compiled with these options."""
    source = build_source(actor, "actor", dtype)
    (folder / "actor.c").write_text(source.code)
    (folder / "actor.h").write_text(source.header)
    library = f"actor_{len(options)}.so"
    command = [require_tool("cc", "gcc", "clang"), "-std=c99", *options, "-shared", "-fPIC", "-o", library, "actor.c"]
    subprocess.run([*command, "-lm"], cwd=folder, check=True, capture_output=True, text=True)
    act = ctypes.CDLL(str(folder / library)).edgedst_act
    actions = np.empty((len(observations), actor.sizes[-1]), dtype=np.float32)
    for observation, action in zip(observations, actions, strict=True):
        act(observation.ctypes.data_as(FLOATS), action.ctypes.data_as(FLOATS))
    return actions


def shares(actions, expected, actor):
    return shares_of_bound(actions, expected, actor.action_low, actor.action_high)


# One row of lanes, less and more than that; rows of 5 to 300 places, some of them empty; a last layer of 1, 3, 5, 17.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("sizes", [(17, 33, 1), (5, 17, 3), (300, 16, 5), (31, 40, 17)])
def test_every_form_acts_as_float64_does(sizes, density, dtype, tmp_path, rng, reference):
    actor = random_actor(rng, sizes, (density, density))
    actor = replace(actor, action_low=(-1.0,) * sizes[-1], action_high=tuple(np.linspace(0.5, 4, sizes[-1])))
    observations = rng.standard_normal((50, sizes[0])).astype(np.float32)
    expected = reference(quantised(actor, dtype), observations)
    for options in (PACKED, UNPACKED):
        actions = acted(actor, dtype, observations, tmp_path, options)
        assert shares(actions, expected, actor).max() <= 6e-7  # of the bound: float32 products and sums of 300 terms


def test_short_sums_round_little_and_those_in_double_precision_less(tmp_path, rng, reference):
    actor = random_actor(rng, (17, 256, 256, 6), (0.5, 0.5, 1.0))
    observations = rng.standard_normal((1000, 17)).astype(np.float32)
    expected = reference(actor, observations)
    packed, unpacked = (
        np.sqrt(np.square(shares(acted(actor, "fp32", observations, tmp_path, options), expected, actor)).mean())
        for options in (PACKED, UNPACKED)
    )
    assert packed <= 5.5e-8  # two sums a row would round 6.1e-8, the native actor rounds 4.7e-8
    assert unpacked <= 0.75 * packed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.05, 0.2, 0.5])
def test_hidden_units_come_by_their_number_of_weights_and_the_next_columns_with_them(density, dtype, rng):
    actor = random_actor(rng, (17, 64, 40, 6), (density, density, 1.0))
    layers, _ = layers_in_c(actor, dtype)
    x = y = rng.standard_normal((1, 17))
    for number, (trained, layer) in enumerate(zip(actor.layers, layers, strict=True)):
        packed = pack_layer(trained, dtype)
        in_c = dense(layer)
        lengths = np.count_nonzero(in_c, axis=1)
        if number < 2:
            assert (np.diff(lengths) >= 0).all()
        x = np.maximum(x @ packed.dense().T.astype(np.float64) + packed.bias, 0)
        scales = 1.0 if layer.scales is None else layer.scales[:, None]
        y = np.maximum(y @ (in_c * scales).T.astype(np.float64) + layer.bias, 0)
        assert np.allclose(np.sort(x), np.sort(y), rtol=1e-6)  # another order, an int8 scale times a float64
    assert np.allclose(x, y, rtol=1e-6)  # and the actions have theirs


def dense(layer):
    """(O, I) codes of a layer, read as sum_*.c reads them."""
    places = layer.in_features * layer.out_features
    codes = np.zeros((layer.out_features, layer.in_features), dtype=layer.values.dtype)
    if layer.walk == "full":
        return layer.values.reshape(codes.shape)
    if layer.walk == "bitmask":
        np.put(codes, np.flatnonzero(np.unpackbits(layer.positions, count=places, bitorder="little")), layer.values)
        return codes
    position, value, row = 0, 0, 0
    while row < layer.out_features:
        rows, entries = layer.positions[position : position + 2].tolist()
        position += 2
        for _ in range(rows):
            columns = np.cumsum(layer.positions[position : position + entries], dtype=np.int64) - 1
            codes[row, columns] = layer.values[value : value + entries]
            position, value, row = position + entries, value + entries, row + 1
    return codes


def test_gaps_are_runs_of_rows_with_equally_many_entries():
    coded = np.zeros((5, 600), dtype=np.int8)
    coded[2, 0], coded[3, 4] = 1, 2
    coded[4, [255, 599]] = 3, 4  # 256 from the place before the row, then 344
    positions, values = runs_of_gaps(coded)
    # rows and entries of a run, then the distances of each of its rows
    assert positions.tolist() == [2, 0, 2, 1, 1, 5, 1, 4, 255, 1, 255, 89]
    assert values.tolist() == [1, 2, 0, 3, 0, 4]


def test_a_run_is_split_where_its_rows_are_no_byte_and_a_row_of_more_entries_than_a_byte_has_no_gaps():
    positions, _ = runs_of_gaps(np.eye(300, dtype=np.int8)[:, :200])
    assert positions[:2].tolist() == [200, 1]
    assert positions[-2:].tolist() == [100, 0]
    positions, _ = runs_of_gaps(np.zeros((300, 7), dtype=np.int8))
    assert positions.tolist() == [255, 0, 45, 0]
    assert runs_of_gaps(np.ones((1, 255), dtype=np.int8)) is not None
    assert runs_of_gaps(np.ones((1, 256), dtype=np.int8)) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.02, 0.05, 0.1, 0.2, 0.5])
def test_constants_are_hardly_more_than_the_packed_layers(density, dtype, rng):
    actor = random_actor(rng, (17, 256, 256, 6), (density, density, 1.0))
    packed_bytes = sum(pack_layer(layer, dtype).bytes for layer in actor.layers)
    layers, _ = layers_in_c(actor, dtype)
    assert sum(array.nbytes for layer in layers for array in layer.arrays.values()) <= 1.02 * packed_bytes


def test_what_unpacking_takes_is_what_the_object_file_holds(tmp_path, rng):
    size = require_tool("size")
    actor = random_actor(rng, (17, 256, 250, 6), (0.05, 0.5, 1.0))
    source = build_source(actor, "actor", "int8")
    (tmp_path / "actor.c").write_text(source.code)
    (tmp_path / "actor.h").write_text(source.header)
    subprocess.run(["cc", "-std=c99", "-Os", *UNPACKED[1:], "-c", "actor.c"], cwd=tmp_path, check=True)
    listed = subprocess.run([size, "-A", "actor.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
    sections = {line.split()[0]: int(line.split()[1]) for line in listed.stdout.splitlines() if line[:1] == "."}
    ram_bytes = source.ram_bytes + source.unpacked_bytes
    assert source.unpacked_bytes == 4 * (256 * 256 + 16 * 250) + 4  # whole groups of 16 rows; the layer of gaps is none
    assert ram_bytes <= sections[".bss"] <= ram_bytes + 64  # and padding
    assert f"#define EDGEDST_RAM_BYTES {ram_bytes} " in source.header
    assert f"#define EDGEDST_RAM_BYTES {source.ram_bytes} " in source.header
