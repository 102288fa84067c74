"""How many weights each layer stores: the paper's density rule, or Erdos-Renyi by one sparsity for a whole network.

Next to no imports: the lean trainer uses it.
"""

from edgedst.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

DENSE_METHODS = ("td3", "sac")
OWN_SPARSITIES = ("actor_sparsity", "critic_sparsity")
MOST_FEATURES = 65_535  # of a layer: the core counts them in 16 bits


def family(method: str) -> str:
    """The algorithm of a method, whatever its topology does: `ds-sac` is `sac`."""
    return method.rpartition("-")[2]


def input_size(observation_size: int, action_size: int, history: int) -> int:
    """Features that the networks take of a state: an observation, or with a history of K that many, and K actions."""
    return history * (observation_size + action_size) if history else observation_size


def sparsity_of(network: str, config: "Any") -> "tuple[str, float] | None":
    """Which setting says the share of its weights that a network leaves out, and that; None: lambda1 and lambda2 do.

    Args:
        network: its name, as `actor`, `critic` for each of them, or `critic_1_target`.
        config: anything with `sparsity`, `actor_sparsity` and `critic_sparsity`.
    """
    own = "actor_sparsity" if network.startswith("actor") else "critic_sparsity"
    name = "sparsity" if getattr(config, own) is None else own
    value = getattr(config, name)
    return None if value is None else (name, value)


def uses_lambda(config: "Any") -> bool:
    """Whether the density of some network is what lambda1 and lambda2 say."""
    return sparsity_of("actor", config) is None or sparsity_of("critic", config) is None


def nnz_per_layer(network: str, sizes: "Sequence[int]", config: "Any") -> list[int]:
    """Stored weights per layer of a network with these feature counts at its layer boundaries.

    A hidden layer gets min(in * out, round(lambda * (in + out))): lambda1 for the first, lambda2 for those behind it.
    With `lambda1 = None` the first layer takes the second one's density. The output layer, and every layer of a dense
    method, is full. With a sparsity (`sparsity_of`) the layers are `erdos_renyi`'s.

    Source: Sokar et al. 2022, equation 1, section 4.4 and Table 3. Departs from it: an exact count instead of Bernoulli
    draws, so that a planned budget holds.

    Args:
        network: its name, see `sparsity_of`.
        sizes: for example [17, 256, 256, 6].
        config: anything with `method`, `lambda1`, `lambda2` and the three sparsities.
    """
    full = [a * b for a, b in zip(sizes, sizes[1:])]  # noqa: B905  # one shorter by intent
    if config.method in DENSE_METHODS:
        return full
    asked = sparsity_of(network, config)
    if asked is not None:
        return erdos_renyi(sizes, asked[1])
    nnz = []
    for layer, most in enumerate(full[:-1]):
        factor = config.lambda1 if layer == 0 else config.lambda2
        if factor is None:
            factor = _factor_of_second_layer_density(sizes, config.lambda2)
        nnz.append(max(1, round(min(most, factor * (sizes[layer] + sizes[layer + 1])))))
    return [*nnz, full[-1]]


def lambdas_fill_all(observation_size: int, action_size: int, config: "Any") -> bool:
    """Whether a sparse method leaves nothing out, as its layers are too narrow for lambda1 and lambda2."""
    features = input_size(observation_size, action_size, config.history)
    inputs = {"actor": features, "critic": features + action_size}
    networks = {name: [size, *config.hidden, 1] for name, size in inputs.items()}
    full = [a * b for sizes in networks.values() for a, b in zip(sizes, sizes[1:])]  # noqa: B905  # as above
    stored = [nnz for name, sizes in networks.items() for nnz in nnz_per_layer(name, sizes, config)]
    return config.method not in DENSE_METHODS and uses_lambda(config) and stored == full


def erdos_renyi(sizes: "Sequence[int]", sparsity: float) -> list[int]:
    """Stored weights per layer of a network that leaves out this share of its weights, the full output layer counted.

    A hidden layer gets lambda * (in + out) weights, with one lambda for all of them: so narrow layers are denser than
    wide ones. Layers that have fewer places than that are full, and lambda is solved anew for the others. The total is
    exactly round((1 - sparsity) * places); what rounding leaves over goes to the layers with the largest fractions, the
    first of equal ones. Every layer has at least one weight, also where `check_reachable` refuses the sparsity.

    Source: Mocanu et al. 2018 (SET), equation 1; full layers as in Evci et al. 2020 (RigL), section 3. Departs from
    them: the output layer is full, as in Sokar et al. 2022, and the count is exact instead of a mean of draws.
    """
    places = [a * b for a, b in zip(sizes, sizes[1:])]  # noqa: B905  # one shorter by intent
    sums = [a + b for a, b in zip(sizes, sizes[1:])]  # noqa: B905  # likewise
    *hidden, last = range(len(places))
    left = max(len(hidden), round((1 - sparsity) * sum(places)) - places[last])
    nnz, open_layers = list(places), hidden
    while True:  # lambda is left / total: whole numbers throughout, so that no rounding decides
        total = sum([sums[layer] for layer in open_layers])
        full = [layer for layer in open_layers if left * sums[layer] >= places[layer] * total]
        if not full:
            break
        left -= sum([places[layer] for layer in full])
        open_layers = [layer for layer in open_layers if layer not in full]
    for layer in open_layers:
        nnz[layer] = max(1, left * sums[layer] // total)
    missing = left - sum([nnz[layer] for layer in open_layers])
    rounded_down = [layer for layer in open_layers if left * sums[layer] >= total]
    rounded_down.sort(key=lambda layer: -(left * sums[layer] % total))
    for layer in rounded_down[: max(0, missing)]:
        nnz[layer] += 1
    for _ in range(-missing):  # layers of less than one weight have one now: the largest make room for it
        nnz[max(open_layers, key=nnz.__getitem__)] -= 1
    return nnz


def check_reachable(networks: "dict[str, Sequence[int]]", config: "Any") -> None:
    """Refuse a sparsity that leaves a network fewer weights than its output layer has, and one of each other layer.

    Args:
        networks: their feature counts, by name.
        config: what `sparsity_of` asks.

    Raises:
        ConfigError: it cannot be reached.
    """
    reachable = {}
    for name, sizes in networks.items():
        asked = sparsity_of(name, config)
        if asked is not None:
            places = [a * b for a, b in zip(sizes, sizes[1:])]  # noqa: B905  # one shorter by intent
            least = places[-1] + len(places) - 1
            fits = round((1 - asked[1]) * sum(places)) >= least
            reachable[name] = (1.0 if fits else 1 - least / sum(places), *asked)
    name = min(reachable, key=reachable.__getitem__, default="")
    if name and reachable[name][0] < 1:
        share, setting, sparsity = reachable[name]
        layers = ", ".join(map(str, networks[name]))
        raise ConfigError(
            f"`{setting}` is {sparsity:g}, and a network of {layers} features ({name}) reaches "
            f"{int(share * 10_000) / 10_000:g} at most: its output layer keeps all of its weights. Give that "
            "or less, or wider hidden layers."
        )


def _factor_of_second_layer_density(sizes: "Sequence[int]", lambda2: float) -> float:
    # With one hidden layer there is no second one: the square layer of that width stands for it.
    width = sizes[1]
    next_width = sizes[2] if len(sizes) > 3 else width
    density = min(1.0, lambda2 * (width + next_width) / (width * next_width))
    return density * sizes[0] * width / (sizes[0] + width)
