"""How many weights a layer stores where one `sparsity` stands for the whole network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedst.config import TrainConfig
from edgedst.density import check_reachable, erdos_renyi, nnz_per_layer
from edgedst.errors import ConfigError
from edgedst.flops import Workload
from edgedst.launch.job import preset_note
from edgedst.launch.settings import combined

features = st.integers(1, 300)
networks = st.lists(features, min_size=3, max_size=8)
sparsities = st.floats(0, 1, exclude_max=True)


def places_of(sizes):
    return [a * b for a, b in zip(sizes, sizes[1:], strict=False)]


def by_bisection(sizes, weights):
    """lambda's real-valued counts of the hidden layers, by bisection on the sum: another way to the same numbers."""
    places = places_of(sizes)[:-1]
    sums = [a + b for a, b in zip(sizes, sizes[1:], strict=False)][:-1]
    low, high = 0.0, float(max(places))
    for _ in range(200):
        middle = (low + high) / 2
        if sum(min(p, middle * s) for p, s in zip(places, sums, strict=True)) < weights:
            low = middle
        else:
            high = middle
    return [min(p, high * s) for p, s in zip(places, sums, strict=True)]


@given(networks, sparsities)
def test_the_total_is_the_asked_one_to_the_weight_wherever_it_can_be_reached(sizes, sparsity):
    places = places_of(sizes)
    nnz = erdos_renyi(sizes, sparsity)
    least = places[-1] + len(places) - 1
    assert sum(nnz) == max(least, round((1 - sparsity) * sum(places)))
    assert nnz[-1] == places[-1]
    assert all(1 <= count <= most for count, most in zip(nnz, places, strict=True))


@given(networks, sparsities)
def test_every_layer_has_the_count_that_bisection_finds_but_for_rounding(sizes, sparsity):
    nnz = erdos_renyi(sizes, sparsity)
    expected = by_bisection(sizes, sum(nnz[:-1]))
    tiny = sum(count < 1 for count in expected)  # layers of less than one weight take it from the largest
    for count, real in zip(nnz, expected, strict=False):
        assert max(1, real) - 1 - tiny - 1e-6 <= count <= max(1, real) + 1 + 1e-6


def test_a_layer_without_so_many_places_is_full_and_the_others_share_the_rest():
    #              places 3*256   256*256  256*1, of 66,560
    assert erdos_renyi([3, 256, 256, 1], 0.5) == [768, 32_256, 256]
    # lambda = (6,656 - 256) / (259 + 512) = 8.3 asks layer 1 for 2,150 of its 768.
    assert erdos_renyi([3, 256, 256, 1], 0.9) == [768, 5_632, 256]


def test_equal_layers_get_equal_counts_and_the_first_of_them_what_is_left_over():
    assert erdos_renyi([4, 4, 4, 4, 1], 1 - 27 / 52) == [8, 8, 7, 4]


def test_the_network_of_a_dense_method_has_all_weights_and_sparsity_zero_too():
    sizes = [17, 256, 256, 6]
    assert nnz_per_layer(sizes, TrainConfig(method="td3")) == places_of(sizes)
    assert nnz_per_layer(sizes, TrainConfig(method="ds-td3", sparsity=0)) == places_of(sizes)
    assert nnz_per_layer(sizes, TrainConfig(method="td3", sparsity=0)) == places_of(sizes)


@given(networks, sparsities)
def test_a_sparsity_is_refused_just_where_the_output_layer_alone_has_more(sizes, sparsity):
    places = places_of(sizes)
    reached = sum(erdos_renyi(sizes, sparsity)) == round((1 - sparsity) * sum(places))
    if reached:
        check_reachable({"actor": sizes}, sparsity)
    else:
        with pytest.raises(ConfigError, match="its output layer keeps all of its weights"):
            check_reachable({"actor": sizes}, sparsity)


def test_the_largest_sparsity_that_is_told_can_be_reached():
    networks = {"actor": [17, 256, 256, 6], "critic_1": [23, 256, 256, 1]}
    words = r"`sparsity` is 0.99, and a network of 17, 256, 256, 6 features \(actor\) reaches 0.9784 at most"
    with pytest.raises(ConfigError, match=words):
        check_reachable(networks, 0.99)
    check_reachable(networks, 0.9784)
    check_reachable(networks, None)


# The setting beside others.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sparsity": 0.9, "lambda1": 7}, r"`sparsity` and `lambda1` both say .* and are 0.9 and 7. Leave one out."),
        ({"sparsity": 0.9, "lambda2": 64}, r"`sparsity` and `lambda2` both say"),
        (
            {"sparsity": 0.9, "method": "td3"},
            r"`method` is td3, whose networks have all .* ds-td3 or static-td3",
        ),
        ({"sparsity": 0.9, "method": "sac"}, r"choose ds-sac or static-sac"),
        ({"sparsity": 1}, r"`sparsity` must be at least 0 and below 1 and is 1"),
        ({"sparsity": -0.1}, r"`sparsity` must be at least 0 and below 1 and is -0.1"),
        ({"sparsity": "much"}, r"`sparsity` must be a finite number and is 'much'"),
    ],
)
def test_a_sparsity_that_cannot_be_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig.from_settings(settings)


@pytest.mark.parametrize("env", ["HalfCheetah-v4", "Pendulum-v1"])  # with a preset and without
def test_a_run_s_own_file_repeats_its_sparsity(tmp_path, env):
    config = TrainConfig(env=env, method="ds-sac", sparsity=0.9).resolved()
    assert (config.lambda1, config.lambda2) == (None, None)
    path = tmp_path / "config.toml"
    path.write_text(config.toml(), encoding="utf-8")
    assert TrainConfig.from_settings(TrainConfig.load(path)).resolved() == config
    assert combined({}, TrainConfig.load(path), "the file") == config
    assert preset_note(config) == ""


def test_what_is_typed_of_the_density_replaces_what_the_file_says_of_it():
    by_lambda = {"lambda1": 7.0, "lambda2": 30.0}
    assert combined({"sparsity": 0.9}, by_lambda, "the file").sparsity == 0.9
    assert combined({"lambda2": 30.0}, {"sparsity": 0.9}, "the file").lambda2 == 30.0


def test_a_robot_s_default_density_does_not_count_as_typed():
    robot = combined({"env": "arm/robot.py", "sparsity": 0.8}, {}, "")
    assert (robot.sparsity, robot.lambda2) == (0.8, None)


def test_flops_and_connections_follow_the_sparsity():
    work = Workload.of(TrainConfig(sparsity=0.9).resolved(), 17, 6)
    assert sum(work.actor_nnz) == round(0.1 * (17 * 256 + 256 * 256 + 256 * 6))
    assert sum(work.critic_nnz) == round(0.1 * (23 * 256 + 256 * 256 + 256))
