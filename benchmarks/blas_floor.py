"""The BLAS floor: only the matrix products of one dense TD3 update, through NumPy's sgemm on one thread.

Of each network the forward pass, the weight gradients, and the input gradients that somebody reads; no bias, no
activation function, no loss, no Adam, no Polyak, no replay. Any dense update that calls this BLAS needs at least that.

The baseline gets every help. Operands and outputs stand ready, buffers are reused so that they stay in the cache, and
how matrices lie in memory (activations feature-major or batch-major, weights by row or by column) is chosen by timing
all four ways on the machine. The calls are np.dot: it costs 0.5 us less than np.matmul, and np.matmul leaves the outer
product behind a critic's output to a plain loop (37 us where np.dot takes 5; NumPy 2.4, AVX2). Stacking the first
layers of both critics into one product was measured too, and gains nothing.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from learners import Case
from machine import one_blas_thread
from timing import Side, in_turns

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray
    Product = tuple[Matrix, Matrix, Matrix]  # (a, b, out): out = a @ b

TRIALS, TRIAL_SECONDS = 5, 0.02  # blocks of each way to lie in memory, and how long one takes
ACTIVATIONS = {"C": "feature-major", "F": "batch-major"}
WEIGHTS = {"C": "by row", "F": "by column"}


def blas_floor(case: Case) -> Side:
    """The floor of a dense update of this case, in the memory layout that is fastest here."""
    blas = one_blas_thread()
    floors = {(a, w): Floor(case, a, w) for a in ACTIVATIONS for w in WEIGHTS}
    sides = {layout: Side("", floor.update) for layout, floor in floors.items()}
    slowest = max(statistics.median(times) for times in in_turns(sides, 1, 2).values())
    trials = in_turns(sides, TRIALS, 2 * max(1, round(TRIAL_SECONDS / slowest / 2)))
    medians = {layout: statistics.median(times) for layout, times in trials.items()}
    best = min(medians, key=lambda layout: medians[layout])
    return Side(
        f"BLAS floor, {blas['kernel'] or 'unknown'} kernel",
        floors[best].update,
        facts={
            **blas,
            "layout_us": {f"{ACTIVATIONS[a]}, weights {WEIGHTS[w]}": 1e6 * s for (a, w), s in medians.items()},
            "layout": f"{ACTIVATIONS[best[0]]}, weights {WEIGHTS[best[1]]}",
            "products_an_update": len(floors[best].always) + len(floors[best].delayed) / 2,
            "flops_an_update": floors[best].flops,
        },
    )


class Floor:
    """The products of one update and their buffers.

    Shapes are those of the paper's equations, x (I, B) and W (O, I); `activation_order` and `weight_order` say how
    they lie in memory: "C" by row, "F" by column.
    """

    def __init__(self, case: Case, activation_order: str, weight_order: str) -> None:
        import numpy as np

        self.np, self.rng = np, np.random.default_rng(0)
        self.activation_order, self.weight_order = activation_order, weight_order
        self.batch = case.batch
        self.count = 0
        self.always: list[Product] = []
        self.delayed: list[Product] = []  # at every second update

        n, m, h = case.observation, case.action, case.hidden
        actor, actor_target, actor_gradient = (self.network(n, h, h, m) for _ in range(3))
        critic_1, critic_2, critic_1_target, critic_2_target = (self.network(n + m, h, h, 1) for _ in range(4))
        critic_gradient = self.network(n + m, h, h, 1)
        critic_input, next_critic_input = self.activations(n + m), self.activations(n + m)
        observation, next_observation = critic_input[:n], next_critic_input[:n]
        action, d_action, q, dq = (self.activations(rows) for rows in (m, m, 1, 1))
        hidden, actor_hidden = ([self.activations(h), self.activations(h)] for _ in range(2))

        # The actors' actions are not written into the critics' input: that costs no product.
        self.forward(self.always, actor_target, next_observation, hidden, action)
        for target in (critic_1_target, critic_2_target):
            self.forward(self.always, target, next_critic_input, hidden, q)
        for critic in (critic_1, critic_2):
            self.forward(self.always, critic, critic_input, hidden, q)
            self.backward(self.always, critic, critic_input, hidden, dq, critic_gradient)
        self.forward(self.delayed, actor, observation, actor_hidden, action)
        self.forward(self.delayed, critic_1, critic_input, hidden, q)
        self.backward(self.delayed, critic_1, critic_input, hidden, dq, None)
        self.multiply(self.delayed, critic_1[0][:, n:].T, hidden[0], d_action)  # of dQ/dx only the action's rows
        self.backward(self.delayed, actor, observation, actor_hidden, d_action, actor_gradient)

    def update(self) -> None:
        """One update's products."""
        dot = self.np.dot
        self.count += 1
        for a, b, out in self.always:
            dot(a, b, out)
        if self.count % 2 == 0:
            for a, b, out in self.delayed:
                dot(a, b, out)

    @property
    def flops(self) -> float:
        """FLOPs an update; the delayed ones count half."""
        always, delayed = (
            sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b, _ in products)
            for products in (self.always, self.delayed)
        )
        return always + delayed / 2

    def activations(self, rows: int) -> Matrix:
        """(rows, B), normal: no product meets denormal numbers."""
        values = self.rng.standard_normal((rows, self.batch))
        return self.np.asarray(values, self.np.float32, self.activation_order)

    def network(self, *sizes: int) -> list[Matrix]:
        """The weights (O, I) of each layer, U(+-1/sqrt(I)); or room for their gradients."""
        return [
            self.np.asarray(self.rng.uniform(-1, 1, (o, i)) / i**0.5, self.np.float32, self.weight_order)
            for i, o in zip(sizes[:-1], sizes[1:], strict=True)
        ]

    def forward(
        self, products: list[Product], weights: list[Matrix], x: Matrix, hidden: list[Matrix], y: Matrix
    ) -> None:
        """Through every layer to `y`."""
        for w, layer_input, output in zip(weights, [x, *hidden], [*hidden, y], strict=True):
            self.multiply(products, w, layer_input, output)

    def backward(
        self,
        products: list[Product],
        weights: list[Matrix],
        x: Matrix,
        hidden: list[Matrix],
        dy: Matrix,
        gradients: list[Matrix] | None,
    ) -> None:
        """From the output down to the first layer's own gradient; its input's is nobody's.

        A hidden layer's gradient takes the place of its activations, as in edgedst: fewer bytes in the cache.
        """
        inputs, d_outputs = [x, *hidden], [*hidden, dy]
        for layer in reversed(range(len(weights))):
            if gradients:
                self.multiply(products, d_outputs[layer], inputs[layer].T, gradients[layer])
            if layer > 0:
                self.multiply(products, weights[layer].T, d_outputs[layer], inputs[layer])

    def multiply(self, products: list[Product], a: Matrix, b: Matrix, out: Matrix) -> None:
        """out = a @ b; np.dot wants `out` by row, so a transposed one becomes out.T = b.T @ a.T."""
        products.append((a, b, out) if out.flags.c_contiguous else (b.T, a.T, out.T))
