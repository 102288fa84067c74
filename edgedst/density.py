"""How many weights each layer stores, by method: the paper's density rule. No imports: the lean trainer uses it."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

DENSE_METHODS = ("td3", "sac")


def family(method: str) -> str:
    """The algorithm of a method, whatever its topology does: `ds-sac` is `sac`."""
    return method.rpartition("-")[2]


def input_size(observation_size: int, action_size: int, history: int) -> int:
    """Features that the networks take of a state: an observation, or with a history of K that many, and K actions."""
    return history * (observation_size + action_size) if history else observation_size


def nnz_per_layer(sizes: "Sequence[int]", config: "Any") -> list[int]:
    """Stored weights per layer of a network with these feature counts at its layer boundaries.

    A hidden layer gets min(in * out, round(lambda * (in + out))): lambda1 for the first, lambda2 for those behind it.
    With `lambda1 = None` the first layer takes the second one's density. The output layer, and every layer of a dense
    method, is full.

    Source: Sokar et al. 2022, equation 1, section 4.4 and Table 3. Departs from it: an exact count instead of Bernoulli
    draws, so that a planned budget holds.

    Args:
        sizes: for example [17, 256, 256, 6].
        config: anything with `method`, `lambda1` and `lambda2`.
    """
    full = [a * b for a, b in zip(sizes, sizes[1:])]  # noqa: B905  # one shorter by intent
    if config.method in DENSE_METHODS:
        return full
    nnz = []
    for layer, most in enumerate(full[:-1]):
        factor = config.lambda1 if layer == 0 else config.lambda2
        if factor is None:
            factor = _factor_of_second_layer_density(sizes, config.lambda2)
        nnz.append(max(1, min(most, round(factor * (sizes[layer] + sizes[layer + 1])))))
    return [*nnz, full[-1]]


def _factor_of_second_layer_density(sizes: "Sequence[int]", lambda2: float) -> float:
    # With one hidden layer there is no second one: the square layer of that width stands for it.
    width = sizes[1]
    next_width = sizes[2] if len(sizes) > 3 else width
    density = min(1.0, lambda2 * (width + next_width) / (width * next_width))
    return density * sizes[0] * width / (sizes[0] + width)
