"""How time grows with the stored weights: the kernels of one square layer and one whole DS-TD3 update, one thread.

    python benchmarks/scaling.py --json scaling.json --plot scaling.png
    python benchmarks/scaling.py --width 256 --density 0.05 0.5 1 --skip-update
    python benchmarks/scaling.py --read scaling.json --plot scaling.png       draw again, without measuring

A pass is what a training step does to one layer: forward, weight gradient and input gradient, 6 FLOPs a stored weight
and sample. The densities of a width are timed in turns, and medians are told. The table fits time = a + b * nnz by
least squares; the exponent is the slope in the logarithms, 1 where time is proportional to nnz. The multiply-add peak
is fma_peak.cpp's, compiled for this CPU while the benchmark runs; of a run before and one after the layers the faster.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import numpy as np
from learners import Case, edgedst_learner
from one_layer import PRODUCTS, OneLayer, Samples, blocks_in_turns, on_arena
from timing import Side, in_turns, progress, spread

from edgedst import core

UPDATES = 20  # of a block, even: every second one updates the actor and the targets
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast")


def fma_peak() -> dict[str, float] | None:
    """GFLOP/s of fma_peak.cpp (median, fastest, slowest); None behind a sentence where it cannot be compiled."""
    named = os.environ.get("CXX", "").split()
    found = named or [path for path in map(shutil.which, ("c++", "g++", "clang++")) if path][:1]
    if not found:
        progress("No C++ compiler (c++, g++, clang++ or $CXX) is on the path, so there is no multiply-add peak.")
        return None
    with tempfile.TemporaryDirectory(prefix="edgedst-peak-") as folder:
        program = str(Path(folder) / "fma_peak")
        command = [*found, *FLAGS, str(Path(__file__).with_name("fma_peak.cpp")), "-o", program]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
            ran = subprocess.run([program], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            words = getattr(error, "stderr", None) or str(error)
            progress(f"No multiply-add peak, because `{' '.join(command)}` or what it made failed: {words.strip()}")
            return None
    return json.loads(ran.stdout)


def layer_pass(layer: OneLayer, samples: Samples) -> Side:
    """The three products of one layer, one after the other."""
    forward, input_gradient, weight_gradient = (layer.product(kernel, samples) for kernel in PRODUCTS)

    def step() -> None:
        forward()
        weight_gradient()
        input_gradient()

    return Side(f"density {layer.nnz / (layer.sizes[0] * layer.sizes[1]):g}", step)


def layer_bytes(width: int, nnz: int) -> int:
    """What a layer of this size and its scratch take in their arenas, measured without reserving it."""
    arena = core.Arena()
    network = core.Network(arena, "layer", [width, width], [nnz], "linear")
    core.Gradients(arena, "gradients", network.parameter_count)
    core.TopologyWorkspace(arena, "workspace", nnz, width, width)
    return arena.used_bytes


def measure_width(args: argparse.Namespace, width: int):
    """Yield a row for every density of a square layer that takes neither too much memory nor too much time."""
    layers: dict[str, OneLayer] = {}
    sides: dict[str, Side] = {}
    samples = Samples(width, width, args.batch)
    free_bytes = 1_000_000 * args.memory_mb
    for density in sorted(args.density):
        nnz = max(1, round(density * width * width))
        free_bytes -= layer_bytes(width, nnz)
        if free_bytes < 0:
            progress(f"Width {width}, density {density:g} and above: left out, --memory-mb is {args.memory_mb:g}.")
            break
        scratch = on_arena(lambda arena, nnz=nnz: core.TopologyWorkspace(arena, "workspace", nnz, width, width))
        layer = OneLayer(width, width, nnz, scratch)
        side = layer_pass(layer, samples)
        once = min(blocks_in_turns({"": side}, rounds=1, target_seconds=0)[""])
        if once > args.longest_pass:
            progress(f"Width {width}, density {density:g} and above: left out, a pass takes {once:.2f} s.")
            break
        layers[side.label], sides[side.label] = layer, side
    seconds = blocks_in_turns(sides, args.rounds, 1e-3 * args.block_ms)
    for label, layer in layers.items():
        times = spread(seconds[label])
        yield {
            "width": width,
            "density": layer.nnz / width**2,
            "nnz": layer.nnz,
            **times,
            "gflops": 6e-3 * layer.nnz * args.batch / times["median_us"],
        }


def measure_updates(args: argparse.Namespace) -> list[dict[str, object]]:
    """Whole DS-TD3 updates of [256, 256] networks over the densities; at density 1 dense TD3."""
    sides = {}
    for density in sorted(args.density):
        progress(f"DS-TD3 update, density {density:g}: filling a replay")
        sides[density] = edgedst_learner(Case(density=density, batch=args.batch))
    seconds = in_turns(sides, args.rounds, UPDATES)
    return [
        {"density": density, "connections": sides[density].facts["connections"], **spread(times)}
        for density, times in seconds.items()
    ]


def fit(rows: list[dict], key: str) -> dict[str, float] | None:
    """Least squares of time = a + b * nnz, its R^2, and the slope of the logarithms; None for less than 3 points."""
    if len(rows) < 3:
        return None
    nnz = np.array([row[key] for row in rows], float)
    microseconds = np.array([row["median_us"] for row in rows])
    b, a = np.polyfit(nnz, microseconds, 1)
    left = ((microseconds - a - b * nnz) ** 2).sum() / ((microseconds - microseconds.mean()) ** 2).sum()
    exponent = np.polyfit(np.log(nnz), np.log(microseconds), 1)[0]
    return {"a_us": float(a), "b_ns": float(1e3 * b), "r_squared": float(1 - left), "exponent": float(exponent)}


def by_width(result: dict) -> dict[int, list[dict]]:
    """The layers' rows, ascending in width and nnz."""
    widths: dict[int, list[dict]] = {}
    for row in result["layers"]:
        widths.setdefault(row["width"], []).append(row)
    return widths


def table(result: dict) -> str:
    """The fits for reading."""
    peak = result["fma_peak"]
    lines = [
        machine.sentence(result["machine"]),
        f"Multiply-add peak of a core: {peak['median']:.1f} GFLOP/s" if peak else "Multiply-add peak: not measured",
        f"Time = a + b * nnz, batch {result['batch']}",
        "",
        f"{'':26}{'densities':>12}{'a':>12}{'b':>18}{'R^2':>9}{'exponent':>10}{'GFLOP/s':>14}",
    ]
    rows = [(f"layer {width} x {width}", rows, "nnz") for width, rows in by_width(result).items()]
    rows += [("DS-TD3 update, [256, 256]", result["updates"], "connections")] if result["updates"] else []
    for label, points, key in rows:
        fitted = fit(points, key)
        span = f"{points[0]['density']:.2f}-{points[-1]['density']:.2f}"
        if fitted is None:
            lines.append(f"{label:26}{span:>12}   too few densities for a fit")
            continue
        speeds = [point["gflops"] for point in points if "gflops" in point]
        lines.append(
            f"{label:26}{span:>12}{fitted['a_us']:>9.1f} us{fitted['b_ns']:>8.2f} ns/weight{fitted['r_squared']:>9.4f}"
            f"{fitted['exponent']:>10.2f}" + (f"{min(speeds):>8.1f}-{max(speeds):.1f}" if speeds else "")
        )
    return "\n".join(lines) + "\n"


def draw(result: dict, path: Path) -> None:
    """Left time against nnz, right effective GFLOP/s against density."""
    pyplot = machine.pyplot()
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.5, 4.2), dpi=130)
    widths = by_width(result)
    # viridis orders the widths by lightness too, so they stay apart without colours; its yellow end is too pale.
    colours = pyplot.colormaps["viridis"](np.linspace(0.0, 0.88, max(2, len(widths))))
    for colour, (width, rows) in zip(colours, widths.items(), strict=False):
        style = {"color": colour, "marker": "o", "markersize": 3.5, "linewidth": 1.4, "label": f"{width} × {width}"}
        left.plot([row["nnz"] for row in rows], [row["median_us"] / 1000 for row in rows], **style)
        right.plot([row["density"] for row in rows], [row["gflops"] for row in rows], **style)

    updates = result["updates"]
    if updates:
        x, y = [row["connections"] for row in updates], [row["median_us"] / 1000 for row in updates]
        label = "DS-TD3 update, [256, 256]"
        left.plot(x, y, color="black", marker="s", markersize=3.5, linewidth=1.4, label=label)
    # The guide lies under all the lines: it shows the slope, not a fit.
    below = 0.5 * min(row["median_us"] / row["nnz"] for row in result["layers"]) / 1000
    ends = np.array([min(row["nnz"] for row in result["layers"]), max(row["nnz"] for row in result["layers"])])
    left.plot(ends, below * ends, color="grey", linestyle=":", linewidth=1.4, label="proportional to nnz")
    left.set_xscale("log")
    left.set_yscale("log")
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.set_xlabel("stored weights (nnz)")
    left.set_ylabel("milliseconds")
    left.set_title(f"Time of forward and both gradients, batch {result['batch']}", fontsize=11)
    left.legend(frameon=False, fontsize=8.5)

    peak = result["fma_peak"]
    if peak:
        right.axhline(peak["median"], color="black", linestyle="--", linewidth=1.2)
        label = f"multiply-add peak of the core, {peak['median']:.0f}"
        right.annotate(label, (0.02, peak["median"]), (0, 4), textcoords="offset points", fontsize=9)
    right.set_xscale("log")
    ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    right.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    right.xaxis.set_minor_locator(NullLocator())
    right.set_ylim(0, 1.12 * max([row["gflops"] for row in result["layers"]] + ([peak["median"]] if peak else [])))
    right.set_xlabel("density")
    right.set_ylabel("useful GFLOP/s")
    right.set_title(f"Effective speed, {result['machine']['isa']}, one thread", fontsize=11)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout(w_pad=2.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    progress(str(path))


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Everything that the table and the picture show."""
    core.set_threads(1)
    core.set_isa(args.isa)
    result: dict[str, object] = {"machine": machine.facts(), "batch": args.batch}
    peaks = [fma_peak()]
    layers: list[dict] = []
    for width in sorted(args.width):
        progress(f"{width} x {width}")
        layers += measure_width(args, width)
    if peaks[0]:
        peaks.append(fma_peak())
    result["fma_peak"] = max(filter(None, peaks), key=lambda peak: peak["median"], default=None)
    result["layers"] = layers
    result["updates"] = [] if args.skip_update else measure_updates(args)
    result["fits"] = {
        **{str(width): fit(rows, "nnz") for width, rows in by_width(result).items()},
        "update": fit(result["updates"], "connections"),
    }
    return result


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    densities = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0]
    add = parser.add_argument
    add("--width", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048], help="features in and out of a layer")
    add("--density", type=float, nargs="+", default=densities, help="stored shares of the weights")
    add("--batch", type=int, default=100, help="samples")
    add("--isa", default=core.isa(), choices=core.isas, help="kernel path")
    add("--rounds", type=int, default=15, help="timed blocks of each side")
    add("--block-ms", type=float, default=2.0, help="length of a layer's block, at least one pass")
    add("--longest-pass", type=float, default=1.0, metavar="SECONDS", help="leave out layers that take longer")
    add("--memory-mb", type=float, default=600, help="leave out layers that exceed this together, of one width")
    add("--skip-update", action="store_true", help="only layers, no DS-TD3 update")
    add("--read", type=Path, metavar="FILE", help="take an earlier run's JSON instead of measuring")
    add("--json", type=Path, metavar="FILE", help="write JSON; - is stdout, which then has no table")
    add("--plot", type=Path, metavar="FILE", help="PNG to draw")
    args = parser.parse_args()
    if not all(0 < density <= 1 for density in args.density):
        parser.error("--density: a density is a share of the weights, above 0 and at most 1.")

    result = json.loads(args.read.read_text(encoding="utf-8")) if args.read else measure(args)
    if not result["layers"]:
        parser.error("no layer was left to measure: raise --memory-mb or --longest-pass.")
    text = json.dumps(result, indent=2) + "\n"
    if args.json and str(args.json) != "-":
        args.json.write_text(text, encoding="utf-8")
    sys.stdout.write(text if str(args.json) == "-" else table(result))
    if args.plot:
        draw(result, args.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
