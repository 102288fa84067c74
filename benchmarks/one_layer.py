"""One packed layer with a call for each of its kernels, and blocks of equal length: for kernels.py and scaling.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from timing import Side, block_seconds

from edgedst import core

PRODUCTS = ("forward", "input-gradient", "weight-gradient")  # 2 * nnz * B FLOPs each


def on_arena(make):
    """`make(arena)` on an arena of exactly the bytes that measuring it gave."""
    measured = core.Arena()
    make(measured)
    return make(core.Arena(measured.used_bytes))


def batch_of(values: np.ndarray) -> core.Batch:
    """A core Batch that holds `values` (rows, B)."""
    batch = on_arena(lambda arena: core.Batch(arena, "batch", *values.shape))
    array_of(batch)[:] = values
    return batch


def array_of(batch: core.Batch) -> np.ndarray:
    """The real columns of a Batch, a view."""
    return np.asarray(batch.memory).reshape(batch.rows, batch.stride)[:, : batch.columns]


class Samples:
    """Input, output and their gradients of an (I, O) layer for B samples; layers of one shape share them."""

    def __init__(self, n_in: int, n_out: int, batch: int) -> None:
        random = np.random.default_rng(0)
        draw = partial(random.standard_normal, dtype=np.float32)
        self.x, self.y = batch_of(draw((n_in, batch))), batch_of(draw((n_out, batch)))
        self.dx, self.dy = batch_of(draw((n_in, batch))), batch_of(draw((n_out, batch)))
        self.activations = on_arena(lambda arena: core.Activations(arena, "activations", [n_in, n_out], batch))


class OneLayer:
    """A linear layer of random topology, without neighbours, so that one call of the network is one kernel."""

    def __init__(self, n_in: int, n_out: int, nnz: int, workspace: core.TopologyWorkspace) -> None:
        self.sizes, self.nnz, self.workspace = [n_in, n_out], nnz, workspace
        self.random = core.Random(0)
        self.network = on_arena(lambda arena: core.Network(arena, "layer", self.sizes, [nnz], "linear"))
        self.network.initialise(self.random, workspace)
        count = self.network.parameter_count
        self.gradients = on_arena(lambda arena: core.Gradients(arena, "gradients", count))
        self.random.normal(self.gradients.memory, 1.0)

    def product(self, kernel: str, samples: Samples) -> Callable[[], None]:
        """One of PRODUCTS as a call without arguments."""
        s = samples
        if kernel == "forward":
            return partial(self.network.forward, s.x, s.activations, s.y)
        gradients, dx = (self.gradients, None) if kernel == "weight-gradient" else (None, s.dx)
        return partial(self.network.backward, s.x, s.activations, s.y, s.dy, self.workspace, gradients, dx)

    def adam(self) -> Callable[[], None]:
        """Adam with weight decay over the stored weights, moments well past their start."""
        return partial(self.network.adam_step, self.gradients, 1000, 1e-3, 2e-4)

    def polyak(self) -> Callable[[], None]:
        """The target's update, pruning included, in the state that DS-TD3 keeps it in: the source has evolved."""
        target = on_arena(lambda arena: core.Network(arena, "target", self.sizes, [self.nnz], "linear", True))
        target.copy_from(self.network, self.workspace)
        self.network.evolve(self.random, 0.05, self.workspace)
        return partial(core.polyak_update, self.network, target, 0.005, self.workspace)

    def draw_values(self) -> None:
        """New weights. Before a block of polyak: the magnitudes that pruning compares keep moving, as in training."""
        self.random.normal(self.network.values(0), self.sizes[0] ** -0.5)

    def act(self) -> Callable[[], None]:
        """The forward product of one sample, as control calls it."""
        activations = on_arena(lambda arena: core.Activations(arena, "activations", self.sizes, 1))
        observation = np.random.default_rng(0).standard_normal(self.sizes[0])
        return partial(self.network.act, observation, np.zeros(self.sizes[1], np.float32), activations)


def blocks_in_turns(
    sides: dict[str, Side], rounds: int, target_seconds: float, most_seconds: float = float("inf")
) -> dict[str, list[float]]:
    """Mean seconds a step of blocks of about `target_seconds`, A B C A B C ...; past `most_seconds`, 3 rounds must do.

    Unlike timing.in_turns, each side has its own number of steps a block, and one step before each block that is not
    timed: it brings the side's data back into the caches.
    """
    isa = core.isa()
    steps = {}
    for name, side in sides.items():
        once = min(warm_block(side, 1), warm_block(side, 1))
        steps[name] = max(1, round(target_seconds / once))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    start = time.perf_counter()
    for done in range(1, rounds + 1):
        for name, side in sides.items():
            seconds[name].append(warm_block(side, steps[name]))
        if done >= 3 and time.perf_counter() - start > most_seconds:
            break
    core.set_isa(isa)
    return seconds


def warm_block(side: Side, steps: int) -> float:
    """Mean seconds a step, behind one that is not timed."""
    side.prepare()
    side.step()
    return block_seconds(side.step, steps)
