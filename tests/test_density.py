"""How many weights a layer stores where one `sparsity` stands for the whole network."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedst import core
from edgedst.agents import agent_class
from edgedst.config import TrainConfig
from edgedst.density import check_reachable, erdos_renyi, lambdas_fill_all, nnz_per_layer, sparsity_of
from edgedst.errors import ConfigError
from edgedst.flops import Workload
from edgedst.launch.job import preset_note
from edgedst.launch.settings import combined
from edgedst.study.grid import identity
from edgedst.study.results import Costs

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
    for settings in ({"method": "td3"}, {"method": "ds-td3", "sparsity": 0}, {"method": "td3", "sparsity": 0}):
        assert nnz_per_layer("actor", sizes, TrainConfig(**settings)) == places_of(sizes)


@given(networks, sparsities)
def test_a_sparsity_is_refused_just_where_the_output_layer_alone_has_more(sizes, sparsity):
    places = places_of(sizes)
    reached = sum(erdos_renyi(sizes, sparsity)) == round((1 - sparsity) * sum(places))
    for name in ("sparsity", "actor_sparsity"):
        config = TrainConfig(**{name: sparsity})
        if reached:
            check_reachable({"actor": sizes}, config)
        else:
            with pytest.raises(ConfigError, match=f"`{name}` is .*: its output layer keeps all of its weights"):
                check_reachable({"actor": sizes}, config)
        check_reachable({"critic_1": sizes}, TrainConfig(actor_sparsity=sparsity))


def test_the_largest_sparsity_that_is_told_can_be_reached():
    networks = {"actor": [17, 256, 256, 6], "critic_1": [23, 256, 256, 1]}
    words = r"`sparsity` is 0.99, and a network of 17, 256, 256, 6 features \(actor\) reaches 0.9784 at most"
    with pytest.raises(ConfigError, match=words):
        check_reachable(networks, TrainConfig(sparsity=0.99))
    check_reachable(networks, TrainConfig(sparsity=0.9784))
    check_reachable(networks, TrainConfig())
    words = r"`critic_sparsity` is 0.999, and a network of 23, 256, 256, 1 features \(critic_1\) reaches 0.9964 at most"
    with pytest.raises(ConfigError, match=words):
        check_reachable(networks, TrainConfig(sparsity=0.9, critic_sparsity=0.999))
    check_reachable(networks, TrainConfig(sparsity=0.99, actor_sparsity=0.9784, critic_sparsity=0.9964))


def test_a_lambda_beyond_all_numbers_is_a_full_layer():
    config = TrainConfig(lambda1=1e308, lambda2=1e308)
    assert nnz_per_layer("actor", [17, 256, 256, 6], config) == places_of([17, 256, 256, 6])


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
        ({"actor_sparsity": 1.5}, r"`actor_sparsity` must be at least 0 and below 1 and is 1.5"),
        (
            {"actor_sparsity": 0.9, "critic_sparsity": 0.5, "lambda2": 64},
            r"`actor_sparsity` and `critic_sparsity` and `lambda2` both say .* and are 0.9 and 0.5 and 64. Leave one",
        ),
        ({"critic_sparsity": 0.9, "method": "sac"}, r"`critic_sparsity` is 0.9 .* choose ds-sac or static-sac"),
    ],
)
def test_a_sparsity_that_cannot_be_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig.from_settings(settings)


@pytest.mark.parametrize(
    ("settings", "fills"),
    [
        ({"hidden": (128, 128)}, True),
        ({"hidden": (32,), "method": "static-sac"}, True),
        ({"hidden": (128, 129)}, False),
        ({"hidden": (64, 64), "env": "HalfCheetah-v4"}, False),  # the paper's lambda1 leaves some of layer 1 out
        ({"hidden": (64, 64), "critic_sparsity": 0.9}, False),
        ({"hidden": (64, 64), "sparsity": 0.0}, False),  # as it was asked
        ({"hidden": (64, 64), "method": "td3"}, False),
    ],
)
def test_lambdas_that_leave_nothing_out_are_known(settings, fills):
    config = TrainConfig(**{"env": "Ant-v5", "start_steps": 0, **settings}).resolved()
    assert lambdas_fill_all(17, 6, config) == fills


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


# One network's own.

SIZES = {"actor": [17, 256, 256, 6], "critic": [23, 256, 256, 1]}
BY_LAMBDA = {"actor": 7 * 273 + 64 * 512 + 256 * 6, "critic": 7 * 279 + 64 * 512 + 256}  # the preset of HalfCheetah


@pytest.mark.parametrize(
    ("settings", "actor", "critic"),
    [
        ({"actor_sparsity": 0.95}, 0.95, None),
        ({"critic_sparsity": 0.8}, None, 0.8),
        ({"actor_sparsity": 0.95, "critic_sparsity": 0.8}, 0.95, 0.8),
        ({"sparsity": 0.5, "actor_sparsity": 0.95}, 0.95, 0.5),
        ({"sparsity": 0.5, "critic_sparsity": 0}, 0.5, 0),
        ({"sparsity": 0.5, "actor_sparsity": 0.95, "critic_sparsity": 0.8}, 0.95, 0.8),
        ({}, None, None),
    ],
)
def test_a_network_s_own_sparsity_goes_before_that_of_all_and_that_before_the_lambdas(settings, actor, critic):
    config = TrainConfig(**settings).resolved()
    for name, sparsity in (("actor", actor), ("critic", critic)):
        expected = BY_LAMBDA[name] if sparsity is None else round((1 - sparsity) * sum(places_of(SIZES[name])))
        assert sum(nnz_per_layer(name, SIZES[name], config)) == expected
    assert (config.lambda1, config.lambda2) == ((7, 64) if None in (actor, critic) else (None, None))
    work = Workload.of(config, 17, 6)
    for name, nnz in (("actor", work.actor_nnz), ("critic", work.critic_nnz)):
        assert list(nnz) == nnz_per_layer(name, SIZES[name], config)


@pytest.mark.parametrize("method", ["ds-td3", "static-td3", "ds-sac"])
def test_the_agent_s_networks_and_their_targets_have_those_counts(method):
    config = SimpleNamespace(**TrainConfig(method=method, actor_sparsity=0.95, critic_sparsity=0.8).settings())
    agent = agent_class(method)(core.Arena(8_000_000), config, 17, 6)
    agent.initialise()
    for name, network in agent.networks.items():
        share = 0.05 if name.startswith("actor") else 0.2
        assert sum(network.nnz) == round(share * sum(places_of(network.sizes)))
    assert agent.connections == sum(sum(agent.networks[name].nnz) for name in ("actor", "critic_1", "critic_2"))
    assert sparsity_of("actor_target", config) == ("actor_sparsity", 0.95)
    assert sparsity_of("critic_2_target", config) == ("critic_sparsity", 0.8)


#                typed                            the file                                      what holds, of the two
@pytest.mark.parametrize(
    ("typed", "file", "held"),
    [
        ({"sparsity": 0.5}, {"actor_sparsity": 0.95, "critic_sparsity": 0.8}, {"sparsity": 0.5}),
        ({"sparsity": 0.5}, {"actor_sparsity": 0.95, "lambda2": 30.0}, {"sparsity": 0.5}),
        ({"actor_sparsity": 0.9}, {"sparsity": 0.5}, {"sparsity": 0.5, "actor_sparsity": 0.9}),
        ({"actor_sparsity": 0.9}, {"lambda2": 30.0}, {"actor_sparsity": 0.9, "lambda1": 7.0, "lambda2": 30.0}),
        (
            {"actor_sparsity": 0.9},
            {"critic_sparsity": 0.8, "lambda1": 7.0, "lambda2": 30.0},
            {"actor_sparsity": 0.9, "critic_sparsity": 0.8},
        ),
        (
            {"lambda2": 30.0},
            {"sparsity": 0.5, "actor_sparsity": 0.9},
            {"actor_sparsity": 0.9, "lambda1": 7.0, "lambda2": 30.0},
        ),
        ({"lambda2": 30.0}, {"actor_sparsity": 0.9, "critic_sparsity": 0.8}, {"lambda1": 7.0, "lambda2": 30.0}),
    ],
)
def test_what_is_typed_leaves_of_the_file_s_densities_what_can_stand_beside_it(typed, file, held, tmp_path):
    config = combined(typed, file, "the file")
    names = ("lambda1", "lambda2", "sparsity", "actor_sparsity", "critic_sparsity")
    assert {name: getattr(config, name) for name in names if getattr(config, name) is not None} == held
    (tmp_path / "config.toml").write_text(config.toml(), encoding="utf-8")
    assert combined({}, TrainConfig.load(tmp_path / "config.toml"), "the file") == config


def test_a_robot_s_default_density_is_left_to_the_networks_that_have_no_sparsity():
    robot = combined({"env": "arm/robot.py", "actor_sparsity": 0.8}, {}, "")
    assert (robot.actor_sparsity, robot.lambda2) == (0.8, 16.0)
    robot = combined({"env": "arm/robot.py", "actor_sparsity": 0.8, "critic_sparsity": 0.5}, {}, "")
    assert robot.lambda2 is None


def test_the_dense_run_beside_a_sparse_one_has_no_sparsity():
    for settings in ({"sparsity": 0.9}, {"actor_sparsity": 0.9}, {"critic_sparsity": 0.9}):
        costs = Costs.of(TrainConfig(**settings).resolved(), 17, 6)
        assert costs.dense_connections == 214_784
        assert costs.connections < 214_784
    # A study of another sparsity is another run; of a dense method it is the same.
    runs = [TrainConfig(method="ds-td3", actor_sparsity=share).resolved() for share in (0.9, 0.95, None)]
    assert len({identity(config) for config in runs}) == 3
    assert "sparsity" not in identity(TrainConfig().resolved())
