"""What the agents' networks share: whether a method's topology moves, and scratch for the largest layer."""

from edgedst import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgedst.config import TrainConfig


def evolves(config: "TrainConfig") -> bool:
    """Whether the method changes its topology while it trains: `ds-` does, `static-` and the dense methods do not."""
    return config.method.startswith("ds-")


def workspace_for(
    arena: core.Arena, networks: list[tuple[list[int], list[int]]], averaged: bool, over: int
) -> core.TopologyWorkspace:
    """Scratch for the largest layer of any of the (sizes, nnz), over the regions from `over` on.

    With `averaged` targets for their unions, too: one may hold twice its network's connections.
    """
    weights = features = 1
    for sizes, nnz in networks:
        features = max(features, *sizes)
        for n_in, n_out, count in zip(sizes[:-1], sizes[1:], nnz, strict=True):
            weights = max(weights, min(n_in * n_out, 2 * count if averaged else count))
    return core.TopologyWorkspace(arena, "topology workspace", weights, features, features, over)
