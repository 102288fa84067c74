"""Evolution (Algorithm 2) and target maintenance (Algorithm 3) of the core, against the NumPy models.

Weights lie on a lattice on which Polyak averages with a dyadic tau are exact, so everything is compared to the bit.
"""

import itertools

import models
import numpy as np
import packed
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import drop_fractions, lattice, networks, random_mask, seeds

from edgedst import core


def one_row(weights):
    """A layer of one output from a row like [9, None, -1]; None is not stored. Moments are told by position."""
    mask = np.array([[weight is not None for weight in weights]])
    values = np.array([[weight or 0 for weight in weights]], dtype=np.float32)
    moments = np.where(mask, 100 + np.arange(len(weights)), 0).astype(np.float32)
    return models.Layer(values, mask, np.zeros(1, np.float32), adam_m=moments, adam_v=2 * moments)


# w   9  .  -1   3   .   1  -8   2   .  -2        a dot is not stored
WEIGHTS = [9, None, -1, 3, None, 1, -8, 2, None, -2]
X = None  # dropped or never stored: the place may be grown


@pytest.mark.parametrize(
    ("drop_fraction", "kept"),
    [
        (0.00, [9, X, -1, 3, X, 1, -8, 2, X, -2]),  # nothing dropped, nothing grown
        (0.25, [9, X, -1, 3, X, X, -8, 2, X, -2]),  # 1 of 4 positive ones; 0.75 of 3 negative ones is none
        (0.50, [9, X, X, 3, X, X, -8, X, X, -2]),  # 1 and 2 go; -1 goes
        (0.99, [9, X, X, X, X, X, -8, X, X, X]),  # 3 of 4, 2 of 3
        (1.00, [X, X, X, X, X, X, X, X, X, X]),  # all go
    ],
)
def test_evolution_drops_the_weights_nearest_zero_and_grows_zeros(drop_fraction, kept):
    check_evolution([one_row(WEIGHTS)], drop_fraction, seed=7, expected_kept=[value is not None for value in kept])


@pytest.mark.parametrize(
    ("weights", "drop_fraction", "kept"),
    [
        ([0, 5, 0, X, -5], 0.0, [X, 5, X, X, -5]),  # stored zeros go first, even when the fraction is 0
        ([0, 5, 6, X, -5], 0.5, [X, X, 6, X, -5]),  # and do not count as positive or negative
        ([2, X, 2, 2, 2], 0.5, [X, X, X, 2, 2]),  # of equal weights the lower position goes first
        ([-2, X, -2, -2, 1], 0.5, [X, X, -2, -2, 1]),  # of negative ones likewise; half of 3 is 1
        ([0, 0, X, X, X], 0.3, [X, X, X, X, X]),  # a layer of nothing but zeros starts anew
        ([1, 0, 2, 3, 4], 0.9, [1, 0, 2, 3, 4]),  # a dense layer never evolves
    ],
)
def test_edges_of_the_drop(weights, drop_fraction, kept):
    check_evolution([one_row(weights)], drop_fraction, seed=3, expected_kept=[value is not None for value in kept])


@settings(max_examples=300)
@given(layers=networks(moments=True), drop_fraction=drop_fractions, seed=seeds)
def test_evolution_equals_the_model_of_algorithm_2(layers, drop_fraction, seed):
    check_evolution(layers, drop_fraction, seed)


def check_evolution(layers, drop_fraction, seed, expected_kept=None):
    workspace = packed.workspace_for(layers)
    network = packed.network_of(layers, workspace=workspace)
    moved = network.evolve(core.Random(seed), drop_fraction, workspace)
    after = packed.read(network, workspace)

    all_dropped = 0
    for old, new in zip(layers, after, strict=True):
        dropped = models.dropped_by_evolution(old.weight, old.mask, drop_fraction)
        kept, grown = old.mask & ~dropped, new.mask & ~(old.mask & ~dropped)
        all_dropped += dropped.sum()
        if expected_kept is not None:
            np.testing.assert_array_equal(kept.reshape(-1), expected_kept)
        assert new.mask.sum() == old.mask.sum(), "nnz is constant"
        assert new.mask[kept].all(), "what is not dropped stays"
        for name in ("weight", "adam_m", "adam_v"):
            np.testing.assert_array_equal(getattr(new, name)[kept], getattr(old, name)[kept], err_msg=f"{name} is kept")
            assert not getattr(new, name)[grown].any(), f"{name} of a grown weight is 0"
        np.testing.assert_array_equal(new.bias, old.bias)
    assert moved == all_dropped
    assert network.nnz == tuple(int(layer.mask.sum()) for layer in layers)


def test_every_set_of_empty_positions_grows_equally_often():
    # 3 x 4 with 5 stored; 0.4 of 5 positive ones go, so 2 of 9 empty places are grown: 36 pairs, 100 expected each.
    mask = np.zeros((3, 4), dtype=bool)
    mask.reshape(-1)[[0, 3, 5, 8, 11]] = True
    weight = np.where(mask, np.arange(1, 13).reshape(3, 4), 0).astype(np.float32)
    layers = [models.Layer(weight, mask, np.zeros(3, np.float32))]
    kept = mask & ~models.dropped_by_evolution(weight, mask, 0.4)
    workspace = packed.workspace_for(layers)
    network = packed.network_of(layers, workspace=workspace)

    counts = dict.fromkeys(itertools.combinations(np.flatnonzero(~kept).tolist(), 2), 0)
    for seed in range(100 * len(counts)):
        packed.write(network, layers, workspace)
        network.evolve(core.Random(seed), 0.4, workspace)
        (after,) = packed.read(network, workspace)
        counts[tuple(np.flatnonzero(after.mask & ~kept).tolist())] += 1
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert len(counts) == 36
    assert chi_square < 90  # 35 degrees of freedom: above 90 once in a million


@settings(max_examples=100)
@given(layers=networks(moments=True), seed=seeds)
def test_forward_follows_the_evolved_topology(layers, seed):
    workspace = packed.workspace_for(layers)
    network = packed.network_of(layers, workspace=workspace)
    network.evolve(core.Random(seed), 0.5, workspace)
    after = packed.read(network, workspace)
    x = lattice(np.random.default_rng(seed), (network.sizes[0], 7))
    y = packed.on_arena(lambda arena: core.Batch(arena, "y", network.sizes[-1], 7))
    activations = packed.on_arena(lambda arena: core.Activations(arena, "h", network.sizes, 7))
    network.forward(packed.batch_of(x), activations, y)
    np.testing.assert_array_equal(packed.array_of(y), models.forward(after, x, "linear")[-1])


@settings(max_examples=100)
@given(layers=networks(moments=True))
def test_unpack_returns_what_pack_got(layers):
    workspace = packed.workspace_for(layers)
    assert_layers_equal(packed.read(packed.network_of(layers, workspace=workspace), workspace), layers)


@settings(max_examples=100)
@given(layers=networks(moments=True))
def test_pack_leaves_the_workspace_as_it_is(layers):
    workspace = packed.workspace_for(layers)
    network = packed.network_of(layers, workspace=workspace)
    arrays = [np.asarray(getattr(workspace, name)) for name in ("indices", "values", "adam_m", "adam_v")]
    for number in range(len(layers)):
        count = network.unpack(number, workspace)
        unpacked = [array[:count].copy() for array in arrays]
        network.pack(number, workspace, count)
        for array, before in zip(arrays, unpacked, strict=True):
            np.testing.assert_array_equal(array[:count], before)


def assert_layers_equal(got, expected, names=("weight", "mask", "bias", "adam_m", "adam_v")):
    for number, (a, b) in enumerate(zip(got, expected, strict=True)):
        for name in names:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=f"{name} of layer {number}")


@pytest.mark.parametrize(
    ("indices", "count"), [([3, 1], 2), ([1, 1], 2), ([1, 12], 2), ([0, 1, 2, 3, 4, 5], 6)], ids=str
)
def test_pack_refuses_indices_that_cannot_be_a_layer(indices, count):
    layer = models.Layer(
        np.ones((3, 4), np.float32), random_mask(np.random.default_rng(0), 3, 4, 5), np.zeros(3, np.float32)
    )
    layer.weight[~layer.mask] = 0
    workspace = packed.workspace_for([layer])
    network = packed.network_of([layer], workspace=workspace)
    np.asarray(workspace.indices)[:count] = indices
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        network.pack(0, workspace, count)
    assert_layers_equal(packed.read(network, workspace), [layer])


# --- Target networks --------------------------------------------------------------------------------------------

# source  8  4  .  1  .      k = 3, tau = 1/2
# target  2  .  6  .  4      over the union: 5 2 3 .5 2
MAINTAIN_SPARSITY = [
    (3, [5, 2, 3, 0.5, 2], [5, 2, 3, 0, 0]),  # the two 2s are equal: the lower position stays
    (2, [5, 2, 3, 0.5, 2], [5, 0, 3, 0, 0]),
    (5, [5, 2, 3, 0.5, 2], [5, 2, 3, 0.5, 2]),  # room for the whole union
    (2, [-5, 2, 3, -4, 2], [-5, 0, 0, -4, 0]),  # magnitude, not value
]


@pytest.mark.parametrize(("k", "weight", "kept"), MAINTAIN_SPARSITY)
def test_model_of_algorithm_3_keeps_the_largest_magnitudes(k, weight, kept):
    np.testing.assert_array_equal(models.maintain_sparsity(np.array([weight], np.float32), k), [kept])


events = st.lists(st.sampled_from(["train", "evolve", "polyak", "polyak", "resume"]), min_size=1, max_size=10)


@settings(max_examples=300)
@given(layers=networks(step=0.25), events=events, tau=st.sampled_from([0.5, 0.25]), seed=seeds)
def test_target_maintenance_equals_the_model_of_algorithm_3(layers, events, tau, seed):
    """Whatever happens between two target updates. tau = 2^-2 at most 10 times on quarters: exact in float32."""
    rng, random = np.random.default_rng(seed), core.Random(seed)
    workspace = packed.workspace_for(layers)
    source = packed.network_of(layers, workspace=workspace)
    target = empty_target(layers)
    target.copy_from(source, workspace)
    expected = [layer.copy() for layer in layers]

    for event in events:
        if event == "train":
            for number, layer in enumerate(layers):
                layer.weight = np.where(layer.mask, lattice(rng, layer.mask.shape, 0.25), np.float32(0))
                layer.bias = lattice(rng, layer.bias.shape, 0.25)
                np.asarray(source.values(number))[:] = layer.weight.reshape(-1)[source.positions(number)]
                np.asarray(source.bias(number))[:] = layer.bias
        elif event == "evolve":
            source.evolve(random, 0.5, workspace)
            layers = packed.read(source, workspace)
        elif event == "polyak":
            core.polyak_update(source, target, tau, workspace)
            models.polyak_update(layers, expected, tau)
            assert target.linked
        else:
            target = resumed(target, source, layers, workspace)
        found = packed.read(target, workspace, moments=False)
        assert_layers_equal(found, expected, names=("weight", "bias"))
        for layer, k in zip(found, source.nnz, strict=True):
            assert np.count_nonzero(layer.weight) <= k

    x = lattice(rng, (source.sizes[0], 2))
    y = packed.on_arena(lambda arena: core.Batch(arena, "y", source.sizes[-1], 2))
    activations = packed.on_arena(lambda arena: core.Activations(arena, "h", source.sizes, 2))
    target.forward(packed.batch_of(x), activations, y)
    wide = [models.Layer(layer.weight.astype(np.float64), layer.mask, layer.bias) for layer in expected]
    # Averaged weights have too many bits for exact sums: 3 layers of 17 products, each rounded once.
    np.testing.assert_allclose(packed.array_of(y), models.forward(wide, x, "linear")[-1], rtol=1e-5, atol=1e-4)


def empty_target(layers):
    counts = [int(layer.mask.sum()) for layer in layers]
    return packed.on_arena(lambda arena: core.Network(arena, "t", packed.sizes_of(layers), counts, "linear", True))


def resumed(target, source, layers, workspace):
    """Another target from what a checkpoint holds of this one: positions, stored zeros and all."""
    fresh = empty_target(layers)
    for number in range(len(layers)):
        fresh.pack(number, workspace, target.unpack(number, workspace))
        np.asarray(fresh.bias(number))[:] = target.bias(number)
    fresh.link(source, target.linked, workspace)
    assert fresh.linked == target.linked
    return fresh


def test_pruned_target_weights_compete_again(rng):
    """At the paper's own tau: 200 updates with training between, an evolution every 50."""
    layers = []
    for rows, columns, count in ((24, 9, 100), (16, 24, 130), (2, 16, 32)):
        mask = random_mask(rng, rows, columns, count)
        weight = np.where(mask, rng.normal(size=mask.shape), 0).astype(np.float32)
        layers.append(models.Layer(weight, mask, rng.normal(size=rows).astype(np.float32)))
    workspace = packed.workspace_for(layers)
    source, target, random = packed.network_of(layers, workspace=workspace), empty_target(layers), core.Random(1)
    target.copy_from(source, workspace)
    expected = [layer.copy() for layer in layers]
    for update in range(1, 201):
        if update % 50 == 0:
            source.evolve(random, 0.3, workspace)
        layers = packed.read(source, workspace)
        for number, layer in enumerate(layers):
            layer.weight = np.where(layer.mask, layer.weight + 0.1 * rng.normal(size=layer.mask.shape), 0)
            layer.weight = layer.weight.astype(np.float32)
            np.asarray(source.values(number))[:] = layer.weight.reshape(-1)[source.positions(number)]
        core.polyak_update(source, target, 0.005, workspace)
        models.polyak_update(layers, expected, 0.005)
        found = packed.read(target, workspace, moments=False)
        for a, b in zip(found, expected, strict=True):
            # float32 rounds at each of 200 updates, 6e-8 of weights up to 5
            np.testing.assert_allclose(a.weight, b.weight, rtol=0, atol=2e-5)


def source_and_target(rng, nnz):
    """A layer of so many ones, and its target; and their scratch."""
    mask = random_mask(rng, 24, 9, nnz)
    layers = [models.Layer(np.where(mask, np.float32(1), np.float32(0)), mask, np.zeros(24, np.float32))]
    workspace = packed.workspace_for(layers)
    source, target = packed.network_of(layers, workspace=workspace), empty_target(layers)
    target.copy_from(source, workspace)
    return source, target, workspace


def test_weights_that_have_become_nan_reach_the_target_and_do_not_stop_the_process(rng):
    source, target, workspace = source_and_target(rng, 100)
    source.evolve(core.Random(0), 0.3, workspace)
    np.asarray(source.values(0))[:] = np.nan
    core.polyak_update(source, target, 0.005, workspace)
    (found,) = packed.read(target, workspace, moments=False)
    assert np.isnan(found.weight.reshape(-1)[source.positions(0)]).all()


def test_weights_that_have_become_nan_leave_a_target_with_their_topology(rng):
    """No magnitude prunes them: united again and again they would outgrow its room, which is that of two topologies."""
    source, target, workspace = source_and_target(rng, 60)
    for seed in range(4):
        source.initialise(core.Random(seed), workspace)
        np.asarray(source.values(0))[:] = np.nan
        core.polyak_update(source, target, 0.005, workspace)
        assert target.nnz[0] <= 2 * 60


def test_a_target_for_copies_follows_its_source_and_has_no_room_to_average(rng):
    mask = random_mask(rng, 24, 9, 100)
    weight = np.where(mask, rng.normal(size=mask.shape), 0).astype(np.float32)
    layers = [models.Layer(weight, mask, rng.normal(size=24).astype(np.float32))]
    workspace = packed.workspace_for(layers)
    source = packed.network_of(layers, workspace=workspace)

    def make(**kind):
        return packed.on_arena(lambda arena: core.Network(arena, "target", [9, 24], [100], "linear", True, **kind))

    copied, averaged = make(averaged=False), make()
    for seed in range(2):
        source.evolve(core.Random(seed), 0.3, workspace)
        for target in (copied, averaged):
            target.copy_from(source, workspace)
            assert target.linked
            assert target.positions(0) == source.positions(0)
            assert bytes(target.values(0)) == bytes(source.values(0))
            assert bytes(target.bias(0)) == bytes(source.bias(0))
    with pytest.raises(ValueError, match=r"target is a target for copies .* no room for the union of two topologies"):
        core.polyak_update(source, copied, 0.5, workspace)
    core.polyak_update(source, averaged, 0.5, workspace)
