"""Each kernel of the core against sgemm of the dense layer (NumPy's BLAS), in turns, each on one thread.

    python benchmarks/kernels.py                                all shapes, densities, batches and ISAs: half a minute
    python benchmarks/kernels.py --isa all                      with the scalar reference: two minutes
    python benchmarks/kernels.py --isa avx2 --shape 256x256 --density 0.5 --batch 100 --kernel forward weight-gradient
    python benchmarks/kernels.py --shape 256x256 --json

A layer is I x O (in x out). Forward is Y = W X, input-gradient dX = W^T dY, weight-gradient dW = dY X^T at the stored
positions; sgemm computes the same of the dense layer in the fastest of the eight combinations of layouts and
transposed flags, into an output that exists. `act` is forward for one sample; its counterpart is sgemv. Adam and
Polyak (with the pruning of the target) have none: they are compared with the forward sgemm of the first batch size.

Blocks alternate sgemm, ISA 1, ISA 2, ...; times are medians, a ratio is the median of the rounds' ratios. GFLOP/s are
useful ones: two per stored weight and sample. Times include the call from Python, which the first lines tell: it
decides where a kernel takes few microseconds. Before a product is timed, its result is compared with NumPy's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import partial
from operator import methodcaller

import machine
import numpy as np
from one_layer import PRODUCTS, OneLayer, Samples, array_of, blocks_in_turns, on_arena
from timing import Side, progress, ratio, spread

from edgedst import core

KERNELS = (*PRODUCTS, "adam", "polyak", "act")
SLOW_SECONDS = 0.2  # of the rounds of one comparison: past it, three rounds have to do


def dense_operands(kernel: str, n_in: int, n_out: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """The two factors of a dense layer's product, at the shapes of the kernel."""
    draw = np.random.default_rng(1).standard_normal
    weight, x, dy = ((n_out, n_in), (n_in, batch), (n_out, batch))
    a, b = {"forward": (weight, x), "input-gradient": (weight[::-1], dy), "weight-gradient": (dy, x[::-1])}[kernel]
    return draw(a, np.float32), draw(b, np.float32)


def fastest_sgemm(kernel: str, n_in: int, n_out: int, batch: int) -> Side:
    """A B or (A B)^T = B^T A^T, either factor in either memory order: what is fastest on this BLAS and shape."""
    a, b = dense_operands(kernel, n_in, n_out, batch)
    sides = []
    for left, right in ((a, b), (b.T, a.T)):
        for left_order in "CF":
            for right_order in "CF":
                operands = np.array(left, order=left_order), np.array(right, order=right_order)
                out = np.empty((left.shape[0], right.shape[1]), np.float32)
                sides.append(Side("sgemm", partial(np.dot, *operands, out=out)))
    return fastest(sides)


def fastest_sgemv(n_in: int, n_out: int) -> Side:
    """W x with either memory order of W."""
    weight, x = dense_operands("forward", n_in, n_out, 1)
    sides = []
    for order in "CF":
        ordered, out = np.array(weight, order=order), np.empty(n_out, np.float32)
        sides.append(Side("sgemv", partial(np.dot, ordered, x[:, 0], out=out)))
    return fastest(sides)


def fastest(sides: list[Side]) -> Side:
    """The side with the best block of a few."""
    seconds = blocks_in_turns({str(i): side for i, side in enumerate(sides)}, rounds=5, target_seconds=2e-4)
    return sides[int(min(seconds, key=lambda name: min(seconds[name])))]


def dense_weight(layer: OneLayer) -> np.ndarray:
    """(O, I), zeros where nothing is stored."""
    n_in, n_out = layer.sizes
    count = layer.network.unpack(0, layer.workspace)
    weight = np.zeros(n_out * n_in, np.float32)
    weight[np.asarray(layer.workspace.indices)[:count]] = np.asarray(layer.workspace.values)[:count]
    return weight.reshape(n_out, n_in)


def check(kernel: str, layer: OneLayer, samples: Samples) -> None:
    """Stop when the kernel computes something else than NumPy does: its time would mean nothing."""
    layer.product(kernel, samples)()
    x, dy = array_of(samples.x), array_of(samples.dy)
    if kernel == "forward":
        got, expected = array_of(samples.y), dense_weight(layer) @ x + np.asarray(layer.network.bias(0))[:, None]
    elif kernel == "input-gradient":
        got, expected = array_of(samples.dx), dense_weight(layer).T @ dy
    else:
        got = np.asarray(layer.gradients.memory)[: layer.nnz]
        expected = (dy @ x.T).reshape(-1)[layer.network.positions(0)]
    error = np.abs(got - expected).max() / np.abs(expected).max()
    if not error < 1e-5:  # float32 sums of at most a few thousand products, in another order
        raise SystemExit(f"{core.isa()} {kernel} of {layer.sizes} differs from NumPy's by {error:.1e} of the largest.")


def call_microseconds() -> dict[str, float]:
    """What a call from Python costs each side: the time of a product of one number."""
    workspace = on_arena(lambda arena: core.TopologyWorkspace(arena, "workspace", 1, 1, 1))
    layer = OneLayer(1, 1, 1, workspace)
    one = np.ones((1, 1), np.float32)
    sides = {
        "call_us": Side("edgedst", layer.product("forward", Samples(1, 1, 1))),
        "sgemm_call_us": Side("sgemm", partial(np.dot, one, one, out=np.empty((1, 1), np.float32))),
    }
    seconds = blocks_in_turns(sides, rounds=9, target_seconds=2e-4)
    return {name: 1e6 * statistics.median(times) for name, times in seconds.items()}


def row(
    kernel: str, isa: str, layer: OneLayer, batch: int | None, ours: list[float], baseline: str, theirs: list[float]
) -> dict[str, object]:
    """One line of the result."""
    seconds, baseline_seconds = statistics.median(ours), statistics.median(theirs)
    n_in, n_out = layer.sizes
    flops = 2 * layer.nnz * (batch or 0)
    return {
        "kernel": kernel,
        "in": n_in,
        "out": n_out,
        "batch": batch,
        "density": layer.nnz / (n_in * n_out),
        "nnz": layer.nnz,
        "isa": isa,
        **spread(ours),
        "rounds": len(ours),
        "baseline": baseline,
        "baseline_us": 1e6 * baseline_seconds,
        "ratio": ratio(ours, theirs),
        "gflops": 1e-9 * flops / seconds if flops else None,
        "baseline_gflops": 2e-9 * n_in * n_out * batch / baseline_seconds if batch else None,
        "ns_per_weight": 1e9 * seconds / layer.nnz,
    }


class Shape:
    """What the densities of one shape share: the dense layer's products, the samples and the scratch."""

    def __init__(self, args: argparse.Namespace, n_in: int, n_out: int) -> None:
        self.n_in, self.n_out = n_in, n_out
        self.products = [kernel for kernel in PRODUCTS if kernel in args.kernel]
        needed = {(kernel, batch) for kernel in self.products for batch in args.batch}
        if {"adam", "polyak"} & set(args.kernel):
            needed.add(("forward", args.batch[0]))
        self.sgemm = {(kernel, batch): fastest_sgemm(kernel, n_in, n_out, batch) for kernel, batch in needed}
        self.sgemv = fastest_sgemv(n_in, n_out)
        self.samples = {batch: Samples(n_in, n_out, batch) for batch in args.batch}
        self.workspace = on_arena(lambda arena: core.TopologyWorkspace(arena, "workspace", n_in * n_out, n_out, n_in))

    def layer(self, density: float, isa: str) -> OneLayer:
        """A layer, made under its own kernel path, which may decide what it packs; its products are compared."""
        core.set_isa(isa)
        layer = OneLayer(self.n_in, self.n_out, max(1, round(density * self.n_in * self.n_out)), self.workspace)
        for kernel in self.products:
            for samples in self.samples.values():
                check(kernel, layer, samples)
        return layer


def measure(args: argparse.Namespace, shape: Shape, density: float):
    """Yield the rows of one shape and density."""
    layers = {isa: shape.layer(density, isa) for isa in args.isa}

    def rows(kernel, batch, call, blas: Side, baseline: str, before=lambda layer: None):
        sides = {isa: Side(isa, call(layer), partial(prepare, isa, layer, before)) for isa, layer in layers.items()}
        seconds = blocks_in_turns({baseline: blas, **sides}, args.rounds, 1e-3 * args.block_ms, SLOW_SECONDS)
        for isa, layer in layers.items():
            yield row(kernel, isa, layer, batch, seconds[isa], baseline, seconds[baseline])

    for batch, samples in shape.samples.items():
        for kernel in shape.products:
            call = methodcaller("product", kernel, samples)
            yield from rows(kernel, batch, call, shape.sgemm[kernel, batch], f"{kernel} sgemm")
    if "act" in args.kernel:
        yield from rows("act", 1, OneLayer.act, shape.sgemv, "sgemv")
    # Last: they change the weights, and polyak the topology.
    first = args.batch[0]
    for kernel, call, before in (
        ("adam", OneLayer.adam, lambda layer: None),
        ("polyak", OneLayer.polyak, OneLayer.draw_values),
    ):
        if kernel in args.kernel:
            baseline = f"forward sgemm at batch {first}"
            yield from rows(kernel, None, call, shape.sgemm["forward", first], baseline, before)


def prepare(isa: str, layer: OneLayer, before) -> None:
    """What comes before a block of a kernel, not timed."""
    core.set_isa(isa)
    before(layer)


def in_out(text: str) -> tuple[int, int]:
    n_in, separator, n_out = text.partition("x")
    if not (separator and n_in.isdigit() and n_out.isdigit() and int(n_in) and int(n_out)):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; write in x out, such as 256x256.")
    return int(n_in), int(n_out)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    shapes = [(256, 256), (23, 256), (393, 256), (1024, 1024)]
    add = parser.add_argument
    add("--shape", type=in_out, nargs="+", default=shapes, metavar="IxO", help="in x out features of the layer")
    add("--density", type=float, nargs="+", default=[1.0, 0.5, 0.2, 0.1, 0.05], help="stored share of the weights")
    add("--batch", type=int, nargs="+", default=[100, 256], help="samples of the products")
    isas = [isa for isa in core.isas if isa != "scalar"] or ["scalar"]
    add("--isa", nargs="+", default=isas, choices=["all", *core.isas], help="kernel paths; all: with the reference")
    add("--kernel", nargs="+", default=["all"], choices=["all", *KERNELS], help="kernels")
    add("--rounds", type=int, default=9, help="timed blocks of each side; as few as 3 where they are slow")
    add("--block-ms", type=float, default=1.0, help="length of a block, at least one call")
    add("--json", action="store_true", help="print JSON instead of the table")
    args = parser.parse_args()
    args.isa = list(core.isas) if "all" in args.isa else args.isa
    args.kernel = list(KERNELS) if "all" in args.kernel else args.kernel
    if not all(0 < density <= 1 for density in args.density):
        parser.error("--density: a density is a share of the weights, above 0 and at most 1.")

    core.set_threads(1)
    facts = {**machine.facts(), **machine.one_blas_thread(), "isas": list(core.isas), **call_microseconds()}
    if warning := machine.forcing(facts["forced_kernels"]):
        progress(warning)
    started, results = time.perf_counter(), []
    for number, (n_in, n_out) in enumerate(args.shape, start=1):
        shape = Shape(args, n_in, n_out)
        for density in args.density:
            elapsed = time.perf_counter() - started
            progress(f"[{elapsed:3.0f} s] {n_in}x{n_out} ({number} of {len(args.shape)}), density {density:g}")
            results += measure(args, shape, density)
    sys.stdout.write(json.dumps({**facts, "results": results}, indent=2) + "\n" if args.json else table(facts, results))
    return 0


def table(facts: dict, results: list[dict]) -> str:
    """The same for reading."""
    lines = [
        machine.sentence(facts),
        f"BLAS: {facts['blas'] or 'unknown'}, {facts['kernel'] or 'unknown'} kernels; one thread on each side",
        f"A call from Python costs {facts['call_us']:.2f} us, of sgemm {facts['sgemm_call_us']:.2f} us.",
    ]
    groups: dict[tuple, list[dict]] = {}
    for r in results:
        groups.setdefault((r["in"], r["out"], r["batch"], r["kernel"]), []).append(r)
    for (n_in, n_out, batch, kernel), rows in groups.items():
        samples = f", batch {batch}" if batch else ""
        speed = f" ({rows[0]['baseline_gflops']:.1f} GFLOP/s)" if rows[0]["baseline_gflops"] else ""
        lines += [
            "",
            f"{kernel}, {n_in}x{n_out}{samples}; the dense layer's {rows[0]['baseline']} takes "
            f"{rows[0]['baseline_us']:,.1f} us{speed}",
            f"{'density':>9}  {'ISA':8}{'time':>14}{'of sgemm':>10}{'GFLOP/s':>9}{'ns/weight':>11}",
        ]
        for r in rows:
            gflops = f"{r['gflops']:.1f}" if r["gflops"] else "-"
            lines.append(
                f"{r['density']:>9.2f}  {r['isa']:8}{r['median_us']:>11,.1f} us{r['ratio']:>10.2f}{gflops:>9}"
                f"{r['ns_per_weight']:>11.3f}"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
