"""The kernels' inner loops as GCC compiles them for AArch64, and llvm-mca's cycles of each; for predict_cycles.py.

Each loop is compiled in a driver of its own (loop_drivers.cpp), from a copy of the headers with the tuning constants
asked for, and cut out of the assembly; so is the code around it.
"""

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

CSRC = Path(__file__).resolve().parent.parent / "edgedst" / "csrc"
# CMakeLists.txt's of the NEON kernels in a release build.
FLAGS = "-std=c++17 -O3 -DNDEBUG -fPIC -fvisibility=hidden -fno-math-errno -ffp-contract=fast -Wno-psabi -march=armv8-a"
LANES, GROUP_ROWS = 4, 4
DRIVERS = Path(__file__).with_name("loop_drivers.cpp")


class Tuning(NamedTuple):
    """The constants of vector.h for AArch64."""

    tile: int  # kTile
    plain_tile: int  # kPlainTile
    columns: tuple[int, ...]  # kColumns of 1, 2, 3, 4 rows


class Loop(NamedTuple):
    """An inner loop, or the code around the loops of a function."""

    label: str
    multiply_adds: int  # of floats, in one iteration
    code: list[str]

    @property
    def on_stack(self) -> int:
        """Instructions that use the stack: spills, inside a loop."""
        return sum("[sp" in line for line in self.code)


class Cycles(NamedTuple):
    """llvm-mca's of one iteration."""

    simulated: float
    at_best: float  # what the units and the issue width need, whatever waits for what


CONSTANTS = re.compile(
    r"(?<=defined\(__aarch64__\)\n)"
    r"constexpr int kLanes = 4, kTile = (\d+), kPlainTile = (\d+);\nconstexpr int kColumns\[\] = \{0, ([\d, ]+)\};"
)


def tuning_of_headers() -> Tuning:
    """What vector.h has."""
    header = CSRC / "kernels" / "vector.h"
    match = CONSTANTS.search(header.read_text(encoding="utf-8"))
    if not match:
        sys.exit(f"{header} does not set kTile, kPlainTile and kColumns for AArch64 the way this tool expects.")
    return Tuning(int(match[1]), int(match[2]), tuple(map(int, match[3].split(","))))


def tile_widths(batch: int, widest: int) -> list[int]:
    """Widths of the batch tiles in vectors: run_tiles of product.h."""
    vectors = math.ceil(batch / LANES)
    tiles = math.ceil(vectors / widest)
    return [(vectors + i) // tiles for i in range(tiles)]


def step_widths(columns: int) -> list[int]:
    """Columns of a weight gradient's steps, those of small buckets last: bucket_gradient of weight_gradient.h."""
    return [columns] if columns == 1 else [columns, *step_widths((columns + 1) // 2)]


def rows_of(pattern: int) -> int:
    """How many of a group's rows use the columns of a bucket."""
    return pattern.bit_count()


def count(n: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{n} {noun}{'s' * (n != 1)}"


def compile_loops(tuning: Tuning, batch: int, compiler: str, flags: str) -> dict[str, Loop]:
    """The inner loops by name; a name with `_rest` is the code around that loop or those loops."""
    widths = sorted({*tile_widths(batch, tuning.tile), tuning.tile})
    plain_widths = sorted({*tile_widths(batch, tuning.plain_tile), tuning.plain_tile})
    steps = [(rows, c) for rows in range(1, 5) for c in step_widths(tuning.columns[rows - 1])]
    drivers = [f"FORWARD(forward_{t}, GroupTile, {t})" for t in widths]
    drivers += [f"FORWARD(plain_{t}, PlainTile, {t})" for t in plain_widths]
    drivers += [f"GRADIENT(gradient_{rows}_{c}, {(1 << rows) - 1}, {c})" for rows, c in steps]
    drivers += [f"SPMV(spmv_{rows}, {(1 << rows) - 1})" for rows in range(1, 5)]
    assembly = compile_drivers("\n".join([DRIVERS.read_text(encoding="utf-8"), *drivers]), tuning, compiler, flags)

    loops = {"peak": Loop("independent fmla", 16 * LANES, [f"\tfmla\tv{i}.4s, v30.4s, v31.4s" for i in range(16)])}
    for t in widths:
        inner, rest = cut(assembly, f"forward_{t}", "fmla", 15)
        for pattern, code in enumerate(inner, start=1):
            label = f"forward, rows {pattern:04b} x {count(t, 'vector')}"
            loops[f"forward_{t}_{pattern}"] = checked(Loop(label, rows_of(pattern) * t * LANES, code))
        loops[f"forward_{t}_rest"] = Loop(f"forward, {count(t, 'vector')}: a group, around its 15 loops", 0, rest)
    for t in plain_widths:
        label = f"forward, plain row x {count(t, 'vector')}"
        inner, rest = cut(assembly, f"plain_{t}", "fmla", 2)
        label = f"{label} x 4 columns"
        loops[f"plain_{t}"] = checked(Loop(label, 4 * t * LANES, max(inner, key=len)))  # the other: what is left
        loops[f"plain_{t}_rest"] = Loop(f"{label}: around the loop", 0, rest)
    for rows, c in steps:
        label = f"weight gradient, {count(rows, 'row')} x {count(c, 'column')}"
        inner, rest = cut(assembly, f"gradient_{rows}_{c}", "fmla", 1)
        loops[f"gradient_{rows}_{c}"] = checked(Loop(label, rows * c * LANES, inner[0]))
        loops[f"gradient_{rows}_{c}_rest"] = Loop(f"{label}: around the loop", 0, rest)
    for rows in range(1, 5):
        inner, _ = cut(assembly, f"spmv_{rows}", "fmla")
        code = max(inner, key=len)  # a shorter one is for the last columns
        loops[f"spmv_{rows}"] = Loop(f"one sample, {count(rows, 'row')} x 4 columns", rows * 4, code)
    loops["adam"] = Loop("Adam, 4 weights", 0, cut(assembly, "adam_loop", r"fsqrt\s+v\d+\.4s", 1)[0][0])
    return loops


def compile_drivers(drivers: str, tuning: Tuning, compiler: str, flags: str) -> str:
    """The assembly of some drivers, with these constants in vector.h."""
    constants = (
        f"constexpr int kLanes = 4, kTile = {tuning.tile}, kPlainTile = {tuning.plain_tile};\n"
        f"constexpr int kColumns[] = {{0, {', '.join(map(str, tuning.columns))}}};"
    )
    command = [compiler, *shlex.split(FLAGS), *shlex.split(flags), "-iquote.", "-S", "-o-", "drivers.cpp"]
    with tempfile.TemporaryDirectory() as folder:
        kernels = shutil.copytree(CSRC / "kernels", Path(folder) / "kernels")
        header = kernels / "vector.h"
        header.write_text(CONSTANTS.sub(constants, header.read_text(encoding="utf-8")), encoding="utf-8")
        (Path(folder) / "drivers.cpp").write_text(drivers, encoding="utf-8")
        compiled = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if compiled.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{compiled.stderr}")
    return compiled.stdout


def cut(assembly: str, function: str, instruction: str, expected: int = 0) -> tuple[list[list[str]], list[str]]:
    """The innermost loops of a function that contain an instruction, in order, and the code outside all of them.

    A loop is what lies between a label and a conditional branch back to it, without another loop in it.
    """
    body = assembly[assembly.index(f"\n{function}:\n") : assembly.index(f"\t.size\t{function},")].splitlines()
    body = [line for line in body if re.match(r"\.L\w+:|\t[a-z]", line)]  # no directives
    label_at = {line[:-1]: i for i, line in enumerate(body) if line.startswith(".L")}
    ranges: list[tuple[int, int]] = []
    for end, line in enumerate(body):
        branch = re.match(r"\t(?:b\.?[a-z]{2}|cbn?z|tbn?z)\t.*?(\.L\w+)$", line)
        begin = label_at[branch[1]] if branch else end
        if begin < end and not any(begin <= inner < end for inner, _ in ranges):
            ranges.append((begin, end))
    loops = [body[begin : end + 1] for begin, end in sorted(ranges)]
    loops = [loop for loop in loops if re.search(instruction, "\n".join(loop))]
    if expected and len(loops) != expected:
        sys.exit(
            f"{function}: expected {count(expected, 'inner loop')} with {instruction}, found {len(loops)}. "
            "The headers unroll up to 8 columns or group vectors and 16 plain vectors."
        )
    inside = {i for begin, end in ranges for i in range(begin, end + 1)}
    # Straight through, without labels: llvm-mca does not follow branches.
    rest = [line for i, line in enumerate(body) if i not in inside and not line.startswith((".L", "\tret"))]
    return loops, rest


def checked(loop: Loop) -> Loop:
    """The same loop; exit where the compiler made another one of it than its label says."""
    found = LANES * sum(bool(re.match(r"\tfmla\tv\d+\.4s", line)) for line in loop.code)
    if found != loop.multiply_adds:
        code = "\n".join(loop.code)
        sys.exit(f"{loop.label}: expected {loop.multiply_adds} multiply-adds an iteration, found {found}:\n{code}")
    return loop


def simulate(loops: dict[str, Loop], cpu: str, llvm_mca: str) -> dict[str, Cycles]:
    """Cycles of an iteration amid many, by the loop's name."""
    regions = [
        f"# LLVM-MCA-BEGIN {name}\n" + "\n".join(loop.code) + "\n# LLVM-MCA-END\n" for name, loop in loops.items()
    ]
    few, many = (summaries("".join(regions), cpu, n, llvm_mca) for n in (200, 400))
    # The difference leaves out how the first iterations fill the pipeline.
    return {
        name: Cycles((block["TotalCycles"] - few[name]["TotalCycles"]) / 200, block["BlockRThroughput"])
        for name, block in many.items()
    }


def summaries(assembly: str, cpu: str, iterations: int, llvm_mca: str) -> dict[str, dict[str, float]]:
    """llvm-mca's summary of each region."""
    command = [llvm_mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-iterations={iterations}", "-json", "-"]
    run = subprocess.run(command, input=assembly, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{run.stderr}")
    return {block["Name"]: block["SummaryView"] for block in json.loads(run.stdout)["CodeRegions"]}
