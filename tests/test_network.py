"""Forward, backward, Adam and losses of packed networks, on every kernel path, against dense NumPy models.

On lattice weights every sum is exact in float32 whatever its order (strategies.lattice), so most tests compare to the
bit. The tests on real-valued weights say why their tolerance is what it is.
"""

import gc
import os
import subprocess
import sys

import models
import numpy as np
import packed
import pytest
from hypothesis import HealthCheck, example, given, settings
from strategies import batches, lattice, networks, random_mask, seeds

from edgedst import core

# `isa` is set once for all of a test's examples, which is what is wanted.
each_isa = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Pass:
    """A network with everything that a forward and a backward pass need."""

    def __init__(self, layers, batch_size, output="linear", dx_first_row=None):
        self.network = packed.network_of(layers, output)
        sizes = self.network.sizes
        self.activations = packed.on_arena(lambda arena: core.Activations(arena, "h", sizes, batch_size))
        self.y = packed.on_arena(lambda arena: core.Batch(arena, "y", sizes[-1], batch_size))
        self.workspace = packed.workspace_for(layers)
        count = self.network.parameter_count
        self.gradients = packed.on_arena(lambda arena: core.Gradients(arena, "gradients", count))
        self.dx, self.first_row = None, 0
        if dx_first_row is not None:
            rows = sizes[0] - dx_first_row
            self.dx = packed.on_arena(lambda arena: core.Batch(arena, "dx", rows, batch_size))
            self.first_row = dx_first_row

    def forward(self, x, padding=3.0):
        """Real columns of y. The padded columns of x hold something that must not matter."""
        self.x = packed.batch_of(x, padding)
        self.network.forward(self.x, self.activations, self.y)
        return packed.array_of(self.y).copy()

    def backward(self, dy, gradients=True):
        """Dense gradients, or None, and the real columns of dx where it was asked for."""
        self.network.backward(
            self.x,
            self.activations,
            self.y,
            packed.batch_of(dy),
            self.workspace,
            self.gradients if gradients else None,
            self.dx,
            self.first_row,
        )
        dense = packed.gradients_of(self.network, self.gradients) if gradients else None
        return dense, None if self.dx is None else packed.array_of(self.dx).copy()


def layer_of(rng, rows, columns, count, values=lattice):
    mask = random_mask(rng, rows, columns, count)
    weight = np.where(mask, values(rng, mask.shape), 0).astype(np.float32)
    return models.Layer(weight, mask, values(rng, (rows,)).astype(np.float32))


def uniform(rng, shape):
    return rng.uniform(-1, 1, shape) / np.sqrt(shape[-1])


@each_isa
@given(layers=networks(), batch_size=batches, seed=seeds)
def test_forward_equals_the_model_to_the_bit(isa, layers, batch_size, seed):
    x = lattice(np.random.default_rng(seed), (layers[0].weight.shape[1], batch_size))
    np.testing.assert_array_equal(Pass(layers, batch_size).forward(x), models.forward(layers, x, "linear")[-1])


@each_isa
@given(layers=networks(), batch_size=batches, seed=seeds)
def test_gradients_equal_the_model_to_the_bit(isa, layers, batch_size, seed):
    rng = np.random.default_rng(seed)
    features = layers[0].weight.shape[1]
    first_row = int(rng.integers(features))
    x, dy = lattice(rng, (features, batch_size)), lattice(rng, (layers[-1].weight.shape[0], batch_size))
    run = Pass(layers, batch_size, dx_first_row=first_row)
    run.forward(x)
    gradients, dx = run.backward(dy)
    expected, expected_dx = models.backward(layers, models.forward(layers, x, "linear"), dy, "linear")
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(got[0], want[0], err_msg="weights")
        np.testing.assert_array_equal(got[1], want[1], err_msg="biases")
    np.testing.assert_array_equal(dx, expected_dx[first_row:])

    # Of the input only, as the actor's update asks the critic; and of the parameters only, as the critic's does.
    run.forward(x)
    _, dx_alone = run.backward(dy, gradients=False)
    np.testing.assert_array_equal(dx_alone, dx)
    run.forward(x)
    run.dx, run.first_row = None, 0
    for (weight, bias), (weight_again, bias_again) in zip(gradients, run.backward(dy)[0], strict=True):
        np.testing.assert_array_equal(weight_again, weight)
        np.testing.assert_array_equal(bias_again, bias)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17])
@pytest.mark.parametrize("kind", ["empty row", "empty column", "all zero", "all dense", "diagonal", "last only"])
def test_edges_of_a_pattern(isa, rng, size, kind):
    mask = {
        "empty row": ~np.eye(size, 17, dtype=bool) & (np.arange(size) != size // 2)[:, None],
        "empty column": np.ones((size, 17), dtype=bool) & (np.arange(17) != 8),
        "all zero": rng.random((size, 17)) < 0.5,
        "all dense": np.ones((size, 17), dtype=bool),
        "diagonal": np.eye(size, 17, dtype=bool),
        "last only": np.arange(size * 17).reshape(size, 17) == size * 17 - 1,
    }[kind]
    if not mask.any():
        mask[0, 0] = True  # a layer stores at least one weight
    weight = np.where(mask, lattice(rng, mask.shape), np.float32(0)) * np.float32(kind != "all zero")
    layers = [models.Layer(weight, mask, lattice(rng, size)), layer_of(rng, 3, size, 2 * size)]
    x, dy = lattice(rng, (17, 9)), lattice(rng, (3, 9))
    run = Pass(layers, 9, dx_first_row=0)
    boundaries = models.forward(layers, x, "linear")
    np.testing.assert_array_equal(run.forward(x), boundaries[-1])
    gradients, dx = run.backward(dy)
    expected, expected_dx = models.backward(layers, boundaries, dy, "linear")
    np.testing.assert_array_equal(gradients[0][0], expected[0][0])
    np.testing.assert_array_equal(gradients[1][0], expected[1][0])
    np.testing.assert_array_equal(dx, expected_dx)


@pytest.mark.parametrize("density", [0.02, 0.2, 0.5, 0.95, 1.0])
def test_a_network_of_the_papers_size_with_tanh(isa, rng, density):
    sizes = [17, 256, 256, 6]
    layers = [
        layer_of(rng, rows, columns, max(1, round(density * rows * columns)), uniform)
        for columns, rows in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    x, dy = rng.normal(size=(17, 100)).astype(np.float32), rng.normal(size=(6, 100)).astype(np.float32)
    run = Pass(layers, 100, "tanh", dx_first_row=0)
    y = run.forward(x)
    gradients, dx = run.backward(dy)

    boundaries = models.forward([wide(layer) for layer in layers], x.astype(np.float64), "tanh")
    # Sums of at most 256 products below 1, and a tanh good to a few units in the last place.
    np.testing.assert_allclose(y, boundaries[-1], rtol=0, atol=3e-6)
    expected, expected_dx = models.backward([wide(layer) for layer in layers], boundaries, dy, "tanh")
    for got, want in zip(gradients, expected, strict=True):
        for a, b in zip(got, want, strict=True):
            # 100 samples, three layers. An activation within rounding of 0 may fall on ReLU's other side: one
            # sample's share of one unit, as rare as 1e-6 a unit and none in these seeds.
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6 * np.abs(b).max() + 1e-7)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-4, atol=2e-6 * np.abs(expected_dx).max())


def wide(layer):
    """The same layer in float64."""
    copy = layer.copy()
    for name in ("weight", "bias", "adam_m", "adam_v", "bias_adam_m", "bias_adam_v"):
        setattr(copy, name, getattr(copy, name).astype(np.float64))
    return copy


def test_every_number_of_threads_gives_the_same_bits(isa, rng, threads):
    sizes = [17, 256, 256, 6]
    layers = [
        layer_of(rng, rows, columns, max(1, rows * columns // 2), uniform)
        for columns, rows in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    x, dy = rng.normal(size=(17, 100)).astype(np.float32), rng.normal(size=(6, 100)).astype(np.float32)
    results = []
    for count in (1, 2, 3):
        threads(count)
        run = Pass(layers, 100, "tanh", dx_first_row=3)
        y = run.forward(x)
        gradients, dx = run.backward(dy)
        run.network.adam_step(run.gradients, 1, 1e-3, 2e-4)
        after = packed.read(run.network, packed.workspace_for(layers))
        results.append([y, dx, *(part for pair in gradients for part in pair), *(layer.weight for layer in after)])
    for other in results[1:]:
        for one_thread, more in zip(results[0], other, strict=True):
            assert one_thread.tobytes() == more.tobytes()


@each_isa
@given(layers=networks(), seed=seeds)
@example(layers=[models.Layer(np.zeros((1, 1), np.float32), np.ones((1, 1), bool), np.zeros(1, np.float32))], seed=0)
def test_adam_equals_the_model(isa, layers, seed):
    """Five steps with weight decay; some gradients are exactly 0, some weights too."""
    rng = np.random.default_rng(seed)
    run, expected = Pass(layers, 1), [wide(layer) for layer in layers]
    workspace = packed.workspace_for(layers)
    for step in range(1, 6):
        gradients, start, flat = [], 0, np.asarray(run.gradients.memory)
        for number, layer in enumerate(expected):
            weight = np.where(layer.mask, lattice(rng, layer.mask.shape), 0)
            bias = lattice(rng, layer.bias.shape)
            gradients.append((weight.astype(np.float64), bias.astype(np.float64)))
            count = layer.mask.sum()
            flat[start : start + count] = weight.reshape(-1)[run.network.positions(number)]
            flat[start + count : start + count + len(bias)] = bias
            start += count + len(bias)
        run.network.adam_step(run.gradients, step, 1e-3, 2e-4)
        models.adam_step(expected, gradients, step, 1e-3, 2e-4)
        for got, want in zip(packed.read(run.network, workspace), expected, strict=True):
            np.testing.assert_array_equal(got.mask, want.mask)
            # Each step rounds the weight once (6e-8 of at most 1) and its own 1e-3 a few times.
            np.testing.assert_allclose(got.weight, want.weight, rtol=0, atol=step * 1e-7)
            np.testing.assert_allclose(got.bias, want.bias, rtol=0, atol=step * 1e-7)
            # m is a sum of terms of both signs: its error is against the largest term, 1.
            np.testing.assert_allclose(got.adam_m, want.adam_m, rtol=0, atol=step * 1e-7)
            np.testing.assert_allclose(got.adam_v, want.adam_v, rtol=2e-6, atol=1e-12)
            np.testing.assert_allclose(got.bias_adam_m, want.bias_adam_m, rtol=0, atol=step * 1e-7)
            np.testing.assert_allclose(got.bias_adam_v, want.bias_adam_v, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("output", ["linear", "tanh"])
def test_act_equals_a_forward_of_one_sample(isa, rng, output):
    layers = [layer_of(rng, 24, 9, 80), layer_of(rng, 17, 24, 200), layer_of(rng, 5, 17, 85)]
    observation = lattice(rng, (9, 1)).astype(np.float64)
    run = Pass(layers, 1, output)
    action = np.zeros(5, np.float32)
    run.network.act(observation.reshape(-1), action, run.activations)
    expected = models.forward([wide(layer) for layer in layers], observation, output)[-1][:, 0]
    if output == "linear":
        np.testing.assert_array_equal(action, expected)
    else:
        np.testing.assert_allclose(action, expected, rtol=0, atol=1e-6)  # tanh: a few units in the last place


@pytest.mark.parametrize(
    ("observation", "action", "sentence"),
    [
        (np.ones(9), np.zeros(5), r"`action` has format 'd', expected a buffer of 5 float32"),
        (
            np.ones(9, np.float32),
            np.zeros(5, np.float32),
            r"`observation` has format 'f', expected a buffer of 9 float64",
        ),
        (np.ones(8), np.zeros(5, np.float32), r"`observation` has 8 numbers, expected a buffer of 9 float64"),
        (np.ones((9, 1)), np.zeros(5, np.float32), r"`observation` has 2 dimensions, expected a buffer of 9 float64"),
        (np.ones(9), np.zeros(10, np.float32)[::2], r"`action` is numpy.ndarray, not contiguous or not writable"),
        ([1.0] * 9, np.zeros(5, np.float32), r"`observation` is list, not a buffer"),
    ],
    ids=["float64 action", "float32 observation", "too short", "two dimensions", "strided action", "list"],
)
def test_act_refuses_what_it_would_have_to_copy(rng, observation, action, sentence):
    run = Pass([layer_of(rng, 5, 9, 20)], 1, "tanh")  # a copy of the action would be filled, and lost
    with pytest.raises(ValueError, match=f"act: {sentence}"):
        run.network.act(observation, action, run.activations)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 16, 100])
def test_losses_see_the_real_columns_only(isa, rng, batch_size):
    q_1, q_2, reward = (lattice(rng, (1, batch_size)) for _ in range(3))
    discount = rng.integers(0, 2, (1, batch_size)).astype(np.float32) / 2
    y, dq = (packed.batch_of(np.full((1, batch_size), np.nan, np.float32), np.nan) for _ in range(2))
    junk = (packed.batch_of(values, 1e9) for values in (reward, discount, q_1, q_2))
    core.td_target(*junk, y)
    expected_y = reward + discount * np.minimum(q_1, q_2)
    np.testing.assert_array_equal(packed.array_of(y), expected_y)

    loss = core.mse_loss(packed.batch_of(q_1, 1e9), y, dq)
    assert loss == pytest.approx(np.mean((q_1 - expected_y) ** 2), rel=1e-6)  # at most 100 float32 additions
    np.testing.assert_allclose(packed.array_of(dq), 2 * (q_1 - expected_y) / batch_size, rtol=2.4e-7)  # two roundings
    padded = np.asarray(dq.memory).reshape(1, dq.stride)[:, batch_size:]
    assert not padded.any(), "padded columns carry no gradient"
    assert core.mean(packed.batch_of(q_1, 1e9)) == pytest.approx(q_1.mean(), abs=1e-6)


def test_initialise_fills_every_position_equally_and_within_the_bound():
    sizes, counts = [9, 20, 4], [60, 80]
    network = packed.on_arena(lambda arena: core.Network(arena, "n", sizes, counts, "tanh"))
    layers = [models.Layer(np.zeros((o, i)), np.zeros((o, i), bool), np.zeros(o)) for i, o in ((9, 20), (20, 4))]
    workspace = packed.workspace_for(layers)
    stored = np.zeros((20, 9))
    for seed in range(300):
        network.initialise(core.Random(seed), workspace)
        first, last = packed.read(network, workspace)
        assert (first.mask.sum(), last.mask.sum()) == (60, 80)
        assert np.abs(first.weight).max() <= 1 / np.sqrt(9)
        assert np.abs(first.bias).max() <= 1 / np.sqrt(9)
        assert np.abs(last.weight).max() <= 1 / np.sqrt(20)
        stored += first.mask
    # Each of 180 positions holds a weight with probability 1/3: 100 of 300, sd 8.2.
    assert np.abs(stored - 100).max() < 5 * 8.2


def test_wrong_shapes_are_refused_before_anything_is_computed(rng):
    run = Pass([layer_of(rng, 4, 3, 6)], 8)
    packed.array_of(run.y)[:] = 7
    with pytest.raises(ValueError, match=r"x of network has 5 features \(shape \(5, 8\)\), the network has 3\."):
        run.network.forward(packed.batch_of(np.zeros((5, 8), np.float32)), run.activations, run.y)
    assert (packed.array_of(run.y) == 7).all()


def test_a_slice_of_a_view_outlives_every_name_of_its_owner():
    arena = core.Arena(1 << 20)
    network = core.Network(arena, "network", [3, 4, 1], [12, 4], "linear")
    workspace = core.TopologyWorkspace(arena, "workspace", 12, 4, 4)
    network.initialise(core.Random(1), workspace)
    expected = list(network.values(0))[2:5]
    part = network.values(0)[2:5]
    del arena, network, workspace
    gc.collect()
    core.Arena(1 << 20)  # would take the same pages
    assert list(part) == expected


def test_an_unknown_form_of_layers_is_refused_when_the_core_is_imported():
    environment = {**os.environ, "EDGEDST_FORM": "plian"}
    done = subprocess.run(
        [sys.executable, "-c", "import edgedst.core"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert 'EDGEDST_FORM: layers are packed as "plain" rows or as "groups", got "plian".' in done.stderr
