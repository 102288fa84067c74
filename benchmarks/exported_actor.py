"""Every form of an exported actor, run as on a device: bytes, time to load, memory of the process, time of a step.

    python benchmarks/exported_actor.py                                  HalfCheetah-v4 at 50, 80 and 95 % sparsity
    python benchmarks/exported_actor.py --sparsity 0.9 --rounds 9 --json
    python benchmarks/exported_actor.py --normalize --history 4          what normalised observations and a history cost

Actors are trained for 2,000 steps (weights need not be good to be timed), their first two layers as sparse as said and
the last one dense, and exported by `edgedst export`. Each form runs in a process of its own by the runners in export/,
`run_actor.py` (onnxruntime) and `run_c` (C), which check their golden pairs first. Forms take turns; printed
are medians over the rounds. C is compiled as its constants lie (cc -O2) and unpacked (the Makefile's options).

"Load" is for ONNX the making of the session, imports left out; for C it is the whole start, the check of its golden
pairs included. "Memory" is the peak of the whole process (VmHWM).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
from timing import progress

RUNNER = Path(__file__).resolve().parent.parent / "export" / "runner"
DTYPES = ("fp32", "fp16", "int8")
MEASURES = ("load_ms", "peak_bytes", "p50_us", "p99_us")
TRAIN_STEPS = 2000
ENV, OBSERVATIONS, ACTIONS, HIDDEN = "HalfCheetah-v4", 17, 6, 256


@dataclass
class Form:
    """One exported actor."""

    label: str
    sparsity: float
    folder: Path
    file_bytes: int  # of the ONNX file; in C of constants and code
    rounds: list[dict[str, float]] = field(default_factory=list)

    @property
    def in_c(self) -> bool:
        """Whether it is a program."""
        return (self.folder / "run_c").exists()

    def measure(self, steps: int) -> None:
        """One more round."""
        self.rounds.append(measure_c(self.folder) if self.in_c else measure_onnx(self.folder, steps))

    def medians(self) -> dict[str, float]:
        """Of all rounds."""
        return {name: statistics.median(found[name] for found in self.rounds) for name in MEASURES}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.5, 0.8, 0.95])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000, help="steps that onnxruntime is timed for; C takes 10,000")
    parser.add_argument("--normalize", action="store_true", help="train with normalised observations")
    parser.add_argument("--history", type=int, default=0, help="train with a history of so many steps")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    facts = machine.facts()
    with tempfile.TemporaryDirectory(prefix="edgedst-exported-") as folder:
        seen = ["--history", str(args.history), *(["--normalize-observations"] if args.normalize else [])]
        features = args.history * (OBSERVATIONS + ACTIONS) or OBSERVATIONS
        forms = [form for sparsity in args.sparsity for form in exported(Path(folder), sparsity, features, seen)]
        for number in range(args.rounds):
            progress(f"round {number + 1} of {args.rounds}, {len(forms)} forms")
            for form in forms:
                form.measure(args.steps)
        results = [
            {"form": form.label, "sparsity": form.sparsity, "bytes": form.file_bytes, **form.medians()}
            for form in forms
        ]
    if args.json:
        print(json.dumps({"machine": facts, "env": ENV, "rounds": args.rounds, "results": results}))
    else:
        print(f"{ENV}, medians of {args.rounds} rounds. {machine.sentence(facts)}\n\n{table(results)}")


def exported(folder: Path, sparsity: float, features: int, seen: list[str]) -> list[Form]:
    """Train an actor of so many features, by these options, and export it in every form."""
    progress(f"training and exporting at {sparsity:.0%} sparsity")
    runs = folder / f"runs-{sparsity}"
    edgedst(
        *("train", "--env", ENV, "--steps", str(TRAIN_STEPS), "--start-steps", "1000"),
        *("--hidden", f"{HIDDEN},{HIDDEN}"),
        *("--lambda1", str(factor(features, sparsity)), "--lambda2", str(factor(HIDDEN, sparsity))),
        *("--eval-every", str(10 * TRAIN_STEPS), "--eval-episodes", "1"),
        *("--run-dir", str(runs), "--no-progress", *seen),
    )
    forms = []
    for dtype in DTYPES:
        for weights in ("dense", "compact"):
            place = folder / f"{sparsity}-{weights}-{dtype}"
            place.mkdir()
            export(place / "actor.onnx", runs, dtype, "--weights", weights)
            file_bytes = (place / "actor.onnx").stat().st_size
            forms.append(Form(f"onnxruntime, {weights} {dtype}", sparsity, place, file_bytes))
        for kind, options in (("C", ["CFLAGS=-O2"]), ("C unpacked", [])):
            place = folder / f"{sparsity}-{kind.replace(' ', '-')}-{dtype}"
            place.mkdir()
            told = export(place / "actor.c", runs, dtype)
            subprocess.run(["make", "-s", "-f", RUNNER / "Makefile", "run_c", *options], cwd=place, check=True)
            sizes = re.search(r"([\d,]+) bytes of constants, .* ([\d,]+) bytes of code", told)
            if sizes is None:
                raise SystemExit(f"`edgedst export` told no sizes of the C file:\n{told}")
            file_bytes = sum(int(n.replace(",", "")) for n in sizes.groups())
            forms.append(Form(f"{kind}, {dtype}", sparsity, place, file_bytes))
    return forms


def factor(inputs: int, sparsity: float) -> float:
    """The density factor lambda of a layer with HIDDEN outputs: it stores lambda * (in + out) weights."""
    return (1 - sparsity) * inputs * HIDDEN / (inputs + HIDDEN)


def export(path: Path, runs: Path, dtype: str, *options: str) -> str:
    """An export with golden pairs beside it; returns what it told."""
    golden = path.with_name("golden.csv")
    return edgedst("export", str(path), "--run-dir", str(runs), "--dtype", dtype, "--golden", str(golden), *options)


def edgedst(*arguments: str) -> str:
    """What the command prints."""
    return checked(machine.edgedst_command(*arguments))


def measure_onnx(folder: Path, steps: int) -> dict[str, float]:
    """By run_actor.py, which tells all of it."""
    command = [sys.executable, str(RUNNER / "run_actor.py"), "actor.onnx", "--golden", "golden.csv"]
    told = checked([*command, "--steps", str(steps)], folder)
    return {
        "load_ms": number(r"made in ([\d.]+) ms", told),
        "peak_bytes": 1e6 * number(r"([\d.]+) MB resident", told),
        "p50_us": number(r"p50 ([\d.]+)", told),
        "p99_us": number(r"p99 ([\d.]+)", told),
    }


def measure_c(folder: Path) -> dict[str, float]:
    """By run_c: a start that checks its golden pairs and waits for observations, then one that times steps."""
    begin = time.perf_counter()
    waiting = subprocess.Popen([folder / "run_c", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiting.stderr is not None
    line = waiting.stderr.readline()
    load_seconds = time.perf_counter() - begin
    if " equal, " not in line:
        raise SystemExit(f"run_c failed in {folder}.\n{line.strip()}")
    status = Path(f"/proc/{waiting.pid}/status").read_text(encoding="utf-8")  # its ru_maxrss would be this process's
    waiting.communicate()
    told = checked([str(folder / "run_c")], folder)
    return {
        "load_ms": 1e3 * load_seconds,
        "peak_bytes": 1024 * number(r"VmHWM:\s+(\d+) kB", status),
        "p50_us": number(r"p50 ([\d.]+)", told),
        "p99_us": number(r"p99 ([\d.]+)", told),
    }


def checked(command: list[str], folder: Path | None = None) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command)}` failed.\n{done.stderr.strip()}")
    return done.stdout


def number(pattern: str, text: str) -> float:
    """The number that the pattern finds."""
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"the runner did not print {pattern!r}:\n{text}")
    return float(found[1])


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a form, sparsities one below the other."""
    lines = ["| sparsity | form | bytes | load ms | memory MB | p50 us | p99 us |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row['sparsity']:.0%} | {row['form']} | {row['bytes']:,} | {row['load_ms']:.1f} | "
        f"{row['peak_bytes'] / 1e6:.1f} | {row['p50_us']:.1f} | {row['p99_us']:.1f} |"
        for row in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
