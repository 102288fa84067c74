"""The actor in C and its runner, compiled for each kind of machine and run there, emulated where it is another."""

import select
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actors import overflowing_actor, random_actor

from edgedst.deploy.agreement import largest_difference, reference_actions
from edgedst.deploy.c_source import build_source
from edgedst.deploy.golden import write_golden
from edgedst.deploy.packing import DTYPES, quantised
from tools import require_tool

RUNNER = Path(__file__).parents[2] / "export" / "runner"
SIZES = (17, 256, 256, 6)
# Compiler, and the emulator that runs what it makes.
MACHINES = {
    "x86-64": ("cc", None),
    "AArch64": ("aarch64-linux-gnu-gcc", "qemu-aarch64-static"),
    "32-bit ARM": ("arm-linux-gnueabihf-gcc", "qemu-arm-static"),
}


def write_export(folder, actor, dtype="fp32"):
    """actor.c, actor.h and golden.csv; returns what the native actor does."""
    source = build_source(actor, "actor", dtype)
    (folder / "actor.c").write_text(source.code)
    (folder / "actor.h").write_text(source.header)
    reference = reference_actions(quantised(actor, dtype), np.zeros((0, actor.sizes[0]), dtype=np.float32))
    write_golden(actor, reference, folder / "golden.csv")
    return reference


def make(folder, compiler="cc", *options):
    """Build run_c as a user does, but with every warning an error."""
    flags = " ".join(["-O2", "-Werror", *options])
    command = [require_tool("make"), "-f", RUNNER / "Makefile", "run_c", f"CC={compiler}", f"CFLAGS={flags}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def run(folder, *arguments, emulator=None, text=""):
    command = [*([emulator] if emulator else []), "./run_c", *arguments]
    return subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)


def as_text(observations):
    return "".join(",".join(f"{number:.9g}" for number in row) + "\n" for row in observations)


@pytest.mark.parametrize("options", [(), ("-DEDGEDST_UNPACK",)], ids=["packed", "unpacked"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MACHINES)
def test_the_actor_acts_the_same_on_every_machine(machine, dtype, options, tmp_path, rng):
    compiler, emulator = MACHINES[machine]
    require_tool(compiler)
    emulator = emulator and require_tool(emulator)
    sizes = (17, 64, 40, 6) if emulator and options else SIZES  # emulated vectors take minutes for 10,000 large steps
    actor = random_actor(rng, sizes, (0.05, 0.5, 1.0))  # one layer of each walk
    reference = write_export(tmp_path, actor, dtype)
    built = make(tmp_path, compiler, "-static", *options)
    assert built.returncode == 0, built.stderr
    shown = run(tmp_path, emulator=emulator)
    assert shown.returncode == 0, shown.stderr
    assert f"ds-td3 on Fake-v0, step 1000, {dtype} weights" in shown.stdout
    assert "p50" in shown.stdout
    assert "p99" in shown.stdout
    assert "golden pairs  64 equal" in shown.stderr
    acted = run(tmp_path, "-", emulator=emulator, text=as_text(reference.observations))
    assert acted.returncode == 0, acted.stderr
    actions = np.array([line.split(",") for line in acted.stdout.splitlines()], dtype=np.float32)
    # Of each action's larger bound: 256 float32 sums in another order, and another library's tanhf.
    assert largest_difference(actions, reference.actions, actor).share <= 1e-6


@pytest.mark.parametrize("compiler", ["cc", "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc", "arm-none-eabi-gcc"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_file_compiles_without_a_warning(compiler, dtype, tmp_path, rng):
    source = build_source(random_actor(rng, (17, 32, 32, 6), (0.05, 0.5, 1.0)), "actor", dtype)
    (tmp_path / "actor.c").write_text(source.code)
    (tmp_path / "actor.h").write_text(source.header)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion"]
    for options in (["-O0"], ["-Os"], ["-O3"], ["-O3", "-DEDGEDST_UNPACK"]):
        command = [require_tool(compiler), *strict, *options, "-c", "actor.c"]
        built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr


@pytest.mark.parametrize("processor", [["cortex-m0"], ["cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]])
def test_an_actor_of_95_percent_sparsity_fits_64_kb_of_a_microcontroller(processor, tmp_path, rng):
    compiler, size = require_tool("arm-none-eabi-gcc"), require_tool("arm-none-eabi-size")
    source = build_source(random_actor(rng, SIZES, (0.05, 0.05, 1.0)), "actor", "int8")
    (tmp_path / "actor.c").write_text(source.code)
    (tmp_path / "actor.h").write_text(source.header)
    name, *options = processor
    target = [f"-mcpu={name}", "-mthumb", *options]
    subprocess.run([compiler, "-std=c99", "-Os", *target, "-c", "actor.c"], cwd=tmp_path, check=True)
    listed = subprocess.run([size, "-A", "actor.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
    sections = {line.split()[0]: int(line.split()[1]) for line in listed.stdout.splitlines() if line[:1] == "."}
    code = sum(count for section, count in sections.items() if section.startswith(".text"))
    constants = sum(count for section, count in sections.items() if section.startswith(".rodata"))
    assert source.constant_bytes <= constants <= source.constant_bytes + 300
    assert code < 1500
    assert code + constants < 64 * 1024 / 4  # a quarter of it
    assert sections[".bss"] == source.ram_bytes == 2048
    assert sections.get(".data", 0) == 0


def test_the_runner_refuses_to_run_when_golden_pairs_differ(tmp_path, rng):
    actor = random_actor(rng, (3, 8, 2), (0.5, 1.0))
    reference = write_export(tmp_path, actor)
    other = reference.actions.copy()
    other[:, 1] += 4 * 2e-5  # of a bound of 4
    pairs = replace(reference, actions=other, batched=other)
    write_golden(actor, pairs, tmp_path / "golden.csv")
    assert make(tmp_path).returncode == 0
    for arguments in ((), ("-",)):
        result = run(tmp_path, *arguments, text="0 0 0\n")
        assert result.returncode == 1
        assert "an action differs from its golden pair by 2.0e-05, limit 1e-05" in result.stderr
        assert result.stdout == ""


def test_the_runner_refuses_pairs_of_another_size_or_with_a_nan(tmp_path, rng):
    write_export(tmp_path, random_actor(rng, (3, 8, 2), (0.5, 1.0)))
    (tmp_path / "golden.csv").write_text("// too short\n0,0,0,0,0,\n0,0,0,0,\n")
    assert make(tmp_path).returncode == 0
    result = run(tmp_path)
    assert result.returncode == 1
    assert "another size than 3 observations and 2 actions" in result.stderr
    (tmp_path / "golden.csv").write_text("0,NAN,0,0,0,\n")  # C's name of it; `nan` would not compile
    assert make(tmp_path).returncode == 0
    result = run(tmp_path)
    assert result.returncode == 1
    assert "observation 1 of golden pair 1 is not a finite number" in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.5 0.5 0.5\n0.5,nan,0.5\n", "number 2 of row 2 is not a finite number"),
        ("0.5 0.5 0.5\n0.5,0.5,inf\n", "number 3 of row 2 is not a finite number"),
        ("0.5 0.5 0.5\n0.5,x,0.5\n", "number 2 of row 2 is not a finite number"),
        ("0.5 0.5 0.5\n0.5,,0.5,0.5\n", "number 2 of row 2 is not a finite number"),
        ("0.5 0.5 0.5\n0.5,0.5", "row 2 has 2 numbers; expected 3"),
        ("0.5 0.5 0.5\n0.5,0.5,\r\n0.5,0.5,0.5\n", "row 2 has 2 numbers; expected 3"),
        ("0.5 0.5 0.5\n0.5 0.5 0.5 0.5\n0.5,0.5\n", "row 2 has 4 numbers; expected 3"),
    ],
)
def test_the_runner_refuses_observations_that_are_not_numbers(text, said, tmp_path, rng):
    write_export(tmp_path, random_actor(rng, (3, 8, 2), (0.5, 1.0)))
    assert make(tmp_path).returncode == 0
    result = run(tmp_path, "-", text=text)
    assert result.returncode == 1
    assert said in result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert run(tmp_path, "--help").returncode == 2


@pytest.mark.parametrize("text", ["0,1,2\n0,1,2\n\n", "0,1,2,\r\n\r\n 0\t1 2 \r\n", "\n0 , 1,2 ,\n\n0,1,2"])
def test_the_runner_takes_every_end_of_a_line_and_none_at_the_end(text, tmp_path, rng):
    write_export(tmp_path, random_actor(rng, (3, 8, 2), (0.5, 1.0)))
    assert make(tmp_path).returncode == 0
    result = run(tmp_path, "-", text=text)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2
    assert len(set(result.stdout.splitlines())) == 1


def test_the_runner_passes_on_no_action_that_is_not_finite(tmp_path):
    write_export(tmp_path, overflowing_actor())
    assert make(tmp_path).returncode == 0
    result = run(tmp_path, "-", text="0 0\n3e38 -3e38\n")
    assert result.returncode == 1
    assert "action 1 of row 2 is not finite" in result.stderr
    assert result.stdout == "1\n"


def test_the_runner_answers_a_row_before_the_next_one_comes(tmp_path, rng):
    write_export(tmp_path, random_actor(rng, (3, 8, 2), (0.5, 1.0)))
    assert make(tmp_path).returncode == 0
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([tmp_path / "run_c", "-"], text=True, bufsize=1, **pipes) as process:
        answers = []
        for row in ("0.1,0.2,0.3", "0.1 0.2 0.3", "0.1, 0.2, 0.3,", "\t0.1 ,0.2\t0.3 ,"):
            process.stdin.write(f"{row}\n")
            assert select.select([process.stdout], [], [], 60)[0], f"no answer to {row!r}"
            answers.append(process.stdout.readline())
        process.stdin.close()
    assert process.returncode == 0
    assert len(set(answers)) == 1
