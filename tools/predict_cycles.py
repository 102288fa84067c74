"""Predict cycles of the kernels' inner loops on the boards' cores: GCC's code for AArch64, in llvm-mca.

    python tools/predict_cycles.py                             the loops, and a layer of 256 x 256 at batch 100
    python tools/predict_cycles.py --llvm-mca llvm-mca-19      from 17 on it knows neoverse-n1, a core like the A76
    python tools/predict_cycles.py --tile 6 --columns 8 6 4 4 --json    with other constants than vector.h's

Predictions, not measurements: llvm-mca takes every load from the first-level cache and every branch as predicted, even
the end of a bucket. A loop's cycles are those of one iteration amid many. `at best` is the least that the core's units
and issue width allow. On the in-order A53 the simulation is far above it, because llvm-mca holds back a load until the
slower multiply-adds before it have nearly ended, which the core does not do
(github.com/llvm/llvm-project/pull/213238): the truth lies between.

A layer has random connections: bucket sizes are binomial. Its cycles are those of its loops, and of the code around
them as if no branch left any of it out. The input gradient is the forward product of the transposed view.
"""

import argparse
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from inner_loops import (
    FLAGS,
    GROUP_ROWS,
    LANES,
    Tuning,
    compile_loops,
    count,
    rows_of,
    simulate,
    step_widths,
    tile_widths,
    tuning_of_headers,
)

# Cores by llvm-mca's names, with a board and its clock in GHz.
BOARDS = {
    "cortex-a53": ("Pi 3B+", 1.4),
    "cortex-a72": ("Pi 4", 1.5),  # later revisions: 1.8
    "cortex-a76": ("Pi 5", 2.4),
    "neoverse-n1": ("Pi 5", 2.4),  # the A76's sibling for servers
}


def main() -> None:
    """Print the tables, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cpu", nargs="+", default=list(BOARDS), choices=list(BOARDS), help="cores; all of them where not given")
    add("--density", type=float, nargs="+", default=[1.0, 0.5, 0.2, 0.1, 0.05], help="of the layer")
    add("--shape", type=int, nargs=2, default=[256, 256], metavar=("I", "O"), help="in and out features of the layer")
    add("--batch", type=int, default=100)
    add("--tile", type=int, help="kTile instead of vector.h's")
    add("--plain-tile", type=int, help="kPlainTile")
    add("--columns", type=int, nargs=4, help="kColumns of 1, 2, 3, 4 rows")
    add("--flags", default="", help="further compiler flags, such as --flags=-mtune=cortex-a72")
    add("--compiler", default="aarch64-linux-gnu-g++")
    add("--llvm-mca", default="llvm-mca")
    add("--json", action="store_true", help="print JSON instead of the tables")
    arguments = parser.parse_args()
    if not all(0 < density <= 1 for density in arguments.density):
        parser.error("--density: a density is a share of the weights, above 0 and at most 1.")
    check_tools(arguments.compiler, arguments.llvm_mca)

    tuning = tuning_of_headers()
    tuning = Tuning(
        arguments.tile or tuning.tile,
        arguments.plain_tile or tuning.plain_tile,
        tuple(arguments.columns or tuning.columns),
    )
    loops = compile_loops(tuning, arguments.batch, arguments.compiler, arguments.flags)
    llvm_version = version(arguments.llvm_mca, "version")
    cores: dict[str, Any] = {}
    for cpu in arguments.cpu:
        release = re.search(r"version (\d+)", llvm_version)
        if cpu == "neoverse-n1" and release and int(release[1]) < 17:
            continue  # it would be the A57's model
        cycles = simulate(loops, cpu, arguments.llvm_mca)
        board, ghz = BOARDS[cpu]
        core = {"board": board, "ghz": ghz, "peak": loops["peak"].multiply_adds / cycles["peak"].simulated}
        cores[cpu] = {**core, "cycles": {name: c.simulated for name, c in cycles.items()}}
        if cpu == "cortex-a53":
            cores[f"{cpu} at best"] = {**core, "cycles": {name: c.at_best for name, c in cycles.items()}}
    result = {
        "command": shlex.join(["python", "tools/predict_cycles.py", *sys.argv[1:]]),
        "compiler": version(arguments.compiler, ""),
        "flags": f"{FLAGS} {arguments.flags}".strip(),
        "llvm_mca": llvm_version,
        "tuning": tuning._asdict(),
        "loops": {
            name: {"label": loop.label, "multiply_adds": loop.multiply_adds, "on_stack": loop.on_stack}
            for name, loop in loops.items()
        },
        "shape": arguments.shape,
        "batch": arguments.batch,
        "cores": cores,
        "layers": list(layers(cores, tuning, arguments)),
    }
    print(json.dumps(result, indent=2) if arguments.json else tables(result))


def check_tools(compiler: str, llvm_mca: str) -> None:
    """Exit with a sentence naming the Debian packages of what is not installed."""
    release = re.search(r"-\d+$", llvm_mca)
    packages = {compiler: "g++-aarch64-linux-gnu", llvm_mca: f"llvm{release[0] if release else ''}"}
    missing = [tool for tool in packages if not shutil.which(tool)]
    if missing:
        found = " and ".join(f"no `{tool}`" for tool in missing)
        install = " ".join(packages[tool] for tool in missing)
        sys.exit(
            f"There is {found} here: run `sudo apt install {install}` (Debian, Ubuntu) and type the command again."
        )


def version(tool: str, word: str) -> str:
    """The first line of `tool --version` that has the word."""
    lines = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()
    return next(line.strip() for line in lines if word in line)


def layers(cores: dict[str, Any], tuning: Tuning, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A layer's products on each core, in each density and form, densest first."""
    (n_in, n_out), batch = arguments.shape, arguments.batch
    for cpu, core in cores.items():
        dense = None
        for density in sorted(arguments.density, reverse=True):
            for form in ("groups", "plain") if density < 1 else ("groups",):
                case = (core["cycles"], form, density, tuning, batch)
                forward, input_gradient = forward_cycles(n_in, n_out, *case), forward_cycles(n_out, n_in, *case)
                weight_gradient = weight_gradient_cycles(n_in, n_out, *case)
                total = forward + input_gradient + weight_gradient
                dense = total if density == 1 else dense
                yield {
                    "core": cpu,
                    "density": density,
                    "form": form,
                    "forward_cycles": forward,
                    "input_gradient_cycles": input_gradient,
                    "weight_gradient_cycles": weight_gradient,
                    "total_cycles": total,
                    "total_ms": total / core["ghz"] / 1e6,
                    "of_dense": total / dense if dense else None,
                    "of_peak": 3 * density * n_in * n_out * batch / total / core["peak"],
                }


def forward_cycles(
    n_in: int, n_out: int, cycles: dict[str, float], form: str, density: float, tuning: Tuning, batch: int
) -> float:
    """The product with all inner loops, and the code around them once a group or plain row."""
    total = 0.0
    if form == "plain":
        for t in tile_widths(batch, tuning.plain_tile):
            total += n_out * (n_in * density / 4 * cycles[f"plain_{t}"] + cycles[f"plain_{t}_rest"])
        return total
    for t in tile_widths(batch, tuning.tile):
        columns = sum(n_in * share * cycles[f"forward_{t}_{p}"] for p, share in bucket_shares(form, density))
        total += math.ceil(n_out / GROUP_ROWS) * (columns + cycles[f"forward_{t}_rest"])
    return total


def weight_gradient_cycles(
    n_in: int, n_out: int, cycles: dict[str, float], form: str, density: float, tuning: Tuning, batch: int
) -> float:
    """The steps of all buckets, each a loop over the batch and the sums behind it."""
    total = 0.0
    for pattern, share in bucket_shares(form, density):
        rows = rows_of(pattern)
        for width, steps in expected_steps(n_in, share, tuning.columns[rows - 1]).items():
            name = f"gradient_{rows}_{width}"
            total += steps * (math.ceil(batch / LANES) * cycles[name] + cycles[f"{name}_rest"])
    return math.ceil(n_out / GROUP_ROWS) * total


def bucket_shares(form: str, density: float) -> list[tuple[int, float]]:
    """Each pattern of a group's rows, and the share of the columns that its bucket holds."""
    if form == "plain":
        return [(1 << row, density) for row in range(GROUP_ROWS)]
    return [(p, density ** rows_of(p) * (1 - density) ** (GROUP_ROWS - rows_of(p))) for p in range(1, 1 << GROUP_ROWS)]


def expected_steps(n: int, share: float, columns: int) -> dict[int, float]:
    """Mean number of the weight gradient's steps of each width, where a bucket has each of n columns with
    probability `share`.
    """
    steps = dict.fromkeys(step_widths(columns), 0.0)
    for size in range(1, n + 1):
        width = next(width for width in steps if width <= size)
        chance = math.comb(n, size) * share**size * (1 - share) ** (n - size)
        steps[width] += chance * math.ceil(size / width)
    return steps


def tables(result: dict[str, Any]) -> str:
    """The same for reading, in Markdown."""
    tuning, cores, (n_in, n_out) = result["tuning"], result["cores"], result["shape"]
    names = "".join(f" {cpu} |" for cpu in cores)
    lines = [
        "Predictions of llvm-mca, not measurements: no caches, no mispredicted branches.",
        f"`{result['command']}`",
        f"{result['compiler']}, {result['flags']}",
        f"{result['llvm_mca']}; kTile {tuning['tile']}, kPlainTile {tuning['plain_tile']}, "
        f"kColumns {', '.join(map(str, tuning['columns']))}",
        "",
    ]
    for cpu, core in cores.items():
        board = f"{core['board']}, {core['ghz']:g} GHz"
        lines.append(f"- {cpu}: {board}; peak {core['peak']:.1f} multiply-adds a cycle, as llvm-mca has it")
    if "cortex-a76" in cores and cores["cortex-a76"]["peak"] < 6:
        lines.append(
            "- This llvm-mca takes cortex-a76 for the older A57, like cortex-a72: half of the A76's vector units."
            + (
                ""
                if "neoverse-n1" in cores
                else " From 17 on (Debian: llvm-19) it knows neoverse-n1, which has as many."
            )
        )
    lines += ["", "Cycles an iteration · multiply-adds a cycle · of the peak:", ""]
    lines += [f"| loop | multiply-adds | on the stack |{names}", "|---|--:|--:|" + "--:|" * len(cores)]
    for label, loops in shown(result["loops"], tuning["columns"]):
        multiply_adds = result["loops"][loops[0]]["multiply_adds"]
        on_stack = max(result["loops"][loop]["on_stack"] for loop in loops)
        cells = " | ".join(cell(core, loops, multiply_adds) for core in cores.values())
        lines.append(f"| {label} | {multiply_adds or '-'} | {on_stack} | {cells} |")
    lines += [
        "",
        f"{n_in} x {n_out}, batch {result['batch']}: forward, input gradient and weight gradient of a layer together.",
        "Million cycles · milliseconds · of the dense layer's time · useful share of the peak:",
        "",
    ]
    lines += [f"| density | form |{names}", "|--:|---|" + "--:|" * len(cores)]
    rows: dict[tuple[float, str], list[str]] = {}
    for layer in result["layers"]:
        of_dense = f"{layer['of_dense']:.2f}" if layer["of_dense"] else "-"
        text = f"{layer['total_cycles'] / 1e6:.2f} · {layer['total_ms']:.2f} · {of_dense} · {layer['of_peak']:.0%}"
        rows.setdefault((layer["density"], layer["form"]), []).append(text)
    lines += [f"| {density:g} | {form} | " + " | ".join(cells) + " |" for (density, form), cells in rows.items()]
    return "\n".join(lines)


def shown(loops: dict[str, Any], columns: tuple[int, ...]) -> Iterator[tuple[str, list[str]]]:
    """Rows of the table: a label, and the loops that it stands for, which differ in their registers only."""
    for t in sorted({int(name.split("_")[1]) for name in loops if name.startswith("forward_")}):
        for rows in range(1, 5):
            names = [f"forward_{t}_{p}" for p in range(1, 16) if rows_of(p) == rows]
            yield f"forward, {count(rows, 'row')} x {count(t, 'vector')}", names
    full_steps = [f"gradient_{rows}_{c}" for rows, c in enumerate(columns, start=1)]
    for name, loop in loops.items():
        if name == "peak" or re.fullmatch(r"forward_\d+_\d+", name):
            continue
        if not name.startswith("gradient_") or name.removesuffix("_rest") in full_steps:
            yield loop["label"], [name]


def cell(core: dict[str, Any], names: list[str], multiply_adds: int) -> str:
    """Mean cycles of some loops; with multiply-adds, their speed too."""
    cycles = sum(core["cycles"][name] for name in names) / len(names)
    if not multiply_adds:
        return f"{cycles:.1f}"
    return f"{cycles:.1f} · {multiply_adds / cycles:.1f} · {multiply_adds / cycles / core['peak']:.0%}"


if __name__ == "__main__":
    main()
