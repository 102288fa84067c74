"""The exported C file: the trained actor's actions, within its bounds, and nothing left behind when it is not that."""

import ctypes
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from actors import random_actor

from edgedst.deploy.agreement import largest_difference, reference_actions
from edgedst.deploy.c_source import build_source, export_c
from edgedst.deploy.golden import write_golden
from edgedst.deploy.packing import DTYPES, quantised
from edgedst.errors import ConfigError, ExportError
from tools import require_tool

FLOATS = ctypes.POINTER(ctypes.c_float)
NOTHING_RECORDED = np.zeros((0, 17), dtype=np.float32)


def compiled(source, folder, *options):
    """The actor's function, from the text, as a Python function of one observation."""
    (folder / "actor.c").write_text(source.code)
    (folder / "actor.h").write_text(source.header)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", *options]
    command = [require_tool("cc", "gcc", "clang"), *strict, "-shared", "-fPIC", "-o", "actor.so", "actor.c", "-lm"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    library = ctypes.CDLL(str(folder / "actor.so"))
    size = int(source.header.split("EDGEDST_ACTION_SIZE ")[1].split()[0])

    def act(observation):
        action = np.full(size + 1, 77.0, dtype=np.float32)
        observation = np.ascontiguousarray(observation, dtype=np.float32)
        library.edgedst_act(observation.ctypes.data_as(FLOATS), action.ctypes.data_as(FLOATS))
        assert action[size] == 77.0, "wrote past the actions"
        return action[:size]

    return act


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Density of a hidden layer, and how its places are stored in each dtype: a mask of a bit a place costs as much as gaps
# of a byte an entry at an eighth.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("density", "walk"), [(0.05, "gaps"), (0.5, "bitmask"), (1.0, "full")])
def test_every_walk_and_dtype_acts_as_the_native_actor(density, walk, dtype, tmp_path, rng):
    actor = random_actor(rng, (17, 256, 256, 6), (density, density, 1.0))
    recorded = rng.standard_normal((100, 17)).astype(np.float32)
    exported = export_c(actor, tmp_path / "actor.c", recorded, dtype)
    assert f"sum_{walk}(&layer_1, scratch_0, scratch_1);" in exported.source.code
    assert exported.check is not None, "no C compiler here"
    assert exported.check.largest_difference <= 1e-6  # of the bound: 256 float32 sums in another order
    assert (exported.reference.recorded, exported.reference.random) == (100, 512)
    assert exported.source.ram_bytes == 2 * 256 * 4


# Rows of 1, 31, 32, 33 and 65 places begin at every bit of the mask's words; some rows have no weight, one layer
# none.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "densities"),
    [
        ((1, 1), (1.0,)),
        ((3, 2), (0.5,)),
        ((1, 31, 2), (0.6, 0.4)),
        ((31, 33, 65, 7, 3), (0.3, 0.02, 0.5, 0.0)),
        ((65, 32, 5), (0.4, 0.9)),
        ((65, 200, 8), (0.08, 0.1)),  # gaps that end a row at its last place, and begin one at its first
        ((300, 4, 3), (0.005, 1.0)),  # gaps over 255, several rows long
        ((7, 600, 1), (0.001, 1.0)),
    ],
)
def test_odd_shapes_act_as_the_native_actor(sizes, densities, dtype, tmp_path, rng):
    actor = random_actor(rng, sizes, densities)
    act = compiled(build_source(actor, "actor", dtype), tmp_path, "-Os")
    reference = reference_actions(quantised(actor, dtype), np.zeros((0, sizes[0]), dtype=np.float32))
    actions = np.stack([act(observation) for observation in reference.observations])
    assert largest_difference(actions, reference.actions, actor).share <= 1e-6


def test_no_action_passes_its_bound_however_large_the_observation(tmp_path, rng):
    # -1.9 to 0.3 and -1.1 to 3.9: middle - reach and middle + reach, in float32, lie outside. Hardly any of these
    # bounds is a float32, and the one nearest to 0.7 or to 0.1 lies outside.
    low, high = (-1.9, -1.1, 0.7, -1e-9, -1e30, 0.1), (0.3, 3.9, 0.9, 1e-9, 1e30, 0.1)
    actor = replace(random_actor(rng, (17, 64, 6), (0.5, 1.0)), action_low=low, action_high=high)
    act = compiled(build_source(actor, "actor"), tmp_path, "-O2")
    actions = np.stack([act(rng.standard_normal(17) * 10.0 ** rng.integers(-3, 6)) for _ in range(2000)])
    assert (actions.astype(np.float64) >= low)[:, :5].all()
    assert (actions.astype(np.float64) <= high)[:, :5].all()
    assert (actions[:, 5] == np.float32(0.1)).all()  # 0.1 to 0.1 has no float32 in it: the nearest one comes out
    assert (actions.min(axis=0)[:3] < np.array(low[:3]) + 1e-6).all()
    assert (actions.max(axis=0)[:3] > np.array(high[:3]) - 1e-6).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_observation_that_is_not_finite_makes_every_action_nan_and_the_next_one_is_not_touched(
    bad, dtype, tmp_path, rng
):
    actor = random_actor(rng, (17, 32, 32, 6), (0.1, 0.5, 1.0))
    act = compiled(build_source(actor, "actor", dtype), tmp_path, "-O2")
    good = rng.standard_normal(17)
    before = act(good)
    for place in range(17):  # also those that no weight reads
        spoiled = good.copy()
        spoiled[place] = bad
        assert np.isnan(act(spoiled)).all()
    assert (act(good) == before).all()


def test_constants_and_scratch_are_what_the_object_file_holds(tmp_path, rng):
    size = require_tool("size")
    for dtype in DTYPES:
        source = build_source(random_actor(rng, (17, 256, 256, 6), (0.05, 0.05, 1.0)), "actor", dtype)
        compiled(source, tmp_path)
        command = ["cc", "-std=c99", "-Os", "-c", "actor.c"]
        subprocess.run(command, cwd=tmp_path, check=True)
        listed = subprocess.run([size, "-A", "actor.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
        sections = {line.split()[0]: int(line.split()[1]) for line in listed.stdout.splitlines() if line[:1] == "."}
        constants = sum(count for name, count in sections.items() if name.startswith((".rodata", ".data")))
        # Three descriptions of layers, the literals of the code, and padding come on top.
        assert source.constant_bytes <= constants <= source.constant_bytes + 600
        assert sections[".bss"] == source.ram_bytes


def test_the_head_tells_what_the_file_is_and_the_same_actor_gives_the_same_bytes(rng):
    actor = random_actor(rng, (17, 256, 256, 6), (0.05, 0.5, 1.0))
    source = build_source(actor, "walker", "int8")
    again = build_source(actor, "walker", "int8")
    assert (source.code, source.header) == (again.code, again.header)
    for told in (
        "environment  Fake-v0: 17 observations, 6 actions",
        "trained      ds-td3, seed 3, 1,000 steps, edgedst 0.1.0",
        "return       12.5 +- 0.5",
        "17 to 256: 218 connections (95.0% sparse), places as gaps, int8",
    ):
        assert told in source.code
    for told in ("#ifndef EDGEDST_WALKER_H", "#define EDGEDST_OBSERVATION_SIZE 17", "#define EDGEDST_RAM_BYTES 2048"):
        assert told in source.header
    assert max(map(len, source.code.splitlines())) <= 120


def test_names_that_would_end_a_comment_or_a_string_do_not(tmp_path, rng):
    actor = random_actor(rng, (3, 2), (1.0,), environment='odd*/"*\\??/\\\n\u00e9:Env-v0')
    act = compiled(build_source(actor, "actor"), tmp_path)
    assert np.isfinite(act(np.zeros(3))).all()
    program = '#include <stdio.h>\n#include "actor.h"\nint main(void) { return puts(EDGEDST_ENVIRONMENT) < 0; }\n'
    (tmp_path / "name.c").write_text(program)
    subprocess.run(["cc", "-std=c99", "-o", "name", "name.c"], cwd=tmp_path, check=True)
    printed = subprocess.run(["./name"], cwd=tmp_path, check=True, capture_output=True).stdout
    assert printed.decode() == actor.environment + "\n"


def test_the_header_serves_cpp(tmp_path, rng):
    compiler = require_tool("c++", "g++", "clang++")
    source = build_source(random_actor(rng, (3, 2), (1.0,)), "actor")
    compiled(source, tmp_path)
    program = '#include "actor.h"\nint main() { float o[3] = {}, a[2]; edgedst_act(o, a); return a[0] < -1; }\n'
    (tmp_path / "main.cpp").write_text(program)
    subprocess.run(["cc", "-std=c99", "-c", "actor.c"], cwd=tmp_path, check=True)
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", "main", "main.cpp", "actor.o", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 0


@pytest.mark.parametrize("option", ["-ffast-math", "-ffinite-math-only", "-Ofast"])
def test_compiler_options_that_lose_nan_are_refused(option, tmp_path, rng):
    with pytest.raises(subprocess.CalledProcessError) as failure:
        compiled(build_source(random_actor(rng, (3, 2), (1.0,)), "actor"), tmp_path, option)
    assert "compile without -ffast-math" in failure.value.stderr


def test_the_header_of_another_export_is_refused(tmp_path, rng):
    one, other = (build_source(random_actor(rng, (3, 2), (1.0,)), "actor") for _ in range(2))
    with pytest.raises(subprocess.CalledProcessError) as failure:
        compiled(replace(one, header=other.header), tmp_path)
    assert "actor.c and actor.h come from two exports" in failure.value.stderr


def test_a_file_that_acts_differently_is_not_left_behind(tmp_path, rng, monkeypatch):
    require_tool("cc", "gcc", "clang")
    actor = random_actor(rng, (17, 8, 2), (0.5, 1.0))
    wrong = replace(actor, action_high=(1.0, 3.99))
    monkeypatch.setattr("edgedst.deploy.c_source.build_source", lambda _, *more: build_source(wrong, *more))
    (tmp_path / "actor.c").write_text("an older one")
    with pytest.raises(ExportError, match=r"action 1 differs by .* \(limit 1e-05\) .* No file was written"):
        export_c(actor, tmp_path / "actor.c", NOTHING_RECORDED)
    assert (tmp_path / "actor.c").read_text() == "an older one"
    assert names(tmp_path) == ["actor.c"]


def test_a_file_that_acts_differently_only_when_unpacked_is_not_left_behind(tmp_path, rng, monkeypatch):
    require_tool("cc", "gcc", "clang")

    def spoiled(*more):
        source = build_source(*more)
        return replace(source, code=source.code.replace("first[column * kLanes] =", "first[column * kLanes] = -"))

    monkeypatch.setattr("edgedst.deploy.c_source.build_source", spoiled)
    with pytest.raises(ExportError, match=r"differs by .* from C \(\w+ -O3 -DEDGEDST_UNPACK\).* No file was written"):
        export_c(random_actor(rng, (17, 8, 2), (0.5, 1.0)), tmp_path / "actor.c", NOTHING_RECORDED)
    assert names(tmp_path) == []


def test_an_action_outside_its_bounds_is_not_left_behind(tmp_path, rng, monkeypatch):
    require_tool("cc", "gcc", "clang")
    actor = random_actor(rng, (17, 8, 2), (0.5, 1.0))
    monkeypatch.setattr("edgedst.deploy.c_source.build_source", lambda _, *more: build_source(actor, *more))
    with pytest.raises(ExportError, match=r"an action outside its bounds .* No file was written"):
        export_c(replace(actor, action_high=(1.0, 0.5)), tmp_path / "actor.c", NOTHING_RECORDED)
    assert names(tmp_path) == []


def test_a_compiler_that_fails_is_one_sentence_and_no_file(tmp_path, rng, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "cc").write_text("#!/bin/sh\necho 'cc: fatal error: no cc1' >&2\nexit 1\n")
    (programs / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ExportError, match=r"`cc` could not compile the actor .*no cc1.* No file was written"):
        export_c(random_actor(rng, (17, 2), (1.0,)), tmp_path / "actor.c", NOTHING_RECORDED)
    assert names(tmp_path) == ["bin"]


def test_a_full_temporary_folder_is_told_and_not_the_file(tmp_path, rng, monkeypatch):
    require_tool("cc", "gcc", "clang")
    monkeypatch.setattr("tempfile.tempdir", "/dev/full")  # below it nothing can be made
    said = (
        r"cannot be checked in the temporary folder `/dev/full` \(Not a directory\)\. No file was written; set TMPDIR"
    )
    with pytest.raises(ExportError, match=said):
        export_c(random_actor(rng, (17, 2), (1.0,)), tmp_path / "actor.c", NOTHING_RECORDED, golden=tmp_path / "g.csv")
    assert names(tmp_path) == []


def test_without_a_compiler_the_file_is_written_and_known_to_be_unchecked(tmp_path, rng, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    exported = export_c(random_actor(rng, (17, 2), (1.0,)), tmp_path / "actor.c", NOTHING_RECORDED)
    assert exported.check is None
    assert exported.told[0] == "160 bytes of constants, 0 bytes of RAM (static); code not measured"
    assert exported.told[1] == "faster with -DEDGEDST_UNPACK and 1,092 bytes of RAM more"  # 17 inputs, 16 lanes, a flag
    assert exported.told[2].startswith("not compiled here: no C compiler (cc, gcc, clang)")
    assert (tmp_path / "actor.c").read_text() == exported.source.code
    assert (tmp_path / "actor.h").read_text() == exported.source.header


@pytest.mark.parametrize("name", ["actor", "actor.cpp", "actor.C", "my-actor.c", "2actor.c", ".c", "a b.c"])
def test_a_name_that_is_none_in_c_is_one_sentence(name, tmp_path, rng):
    with pytest.raises(ExportError, match=r"cannot be the name of an actor in C\. Expected letters"):
        export_c(random_actor(rng, (17, 2), (1.0,)), tmp_path / name, NOTHING_RECORDED)
    assert names(tmp_path) == []


def test_an_unwritable_place_is_one_sentence(tmp_path, rng):
    actor = random_actor(rng, (17, 2), (1.0,))
    with pytest.raises(ExportError, match=r"cannot be written \(No such file or directory\)\. Choose a folder"):
        export_c(actor, tmp_path / "nowhere" / "actor.c", NOTHING_RECORDED)
    (tmp_path / "actor.h").mkdir()
    with pytest.raises(ExportError, match=r"actor\.h` cannot be written \(Is a directory\)"):
        export_c(actor, tmp_path / "actor.c", NOTHING_RECORDED)
    assert names(tmp_path) == ["actor.h"]


def test_an_unknown_dtype_is_one_sentence(tmp_path, rng):
    with pytest.raises(ConfigError, match="int4"):
        export_c(random_actor(rng, (17, 2), (1.0,)), tmp_path / "actor.c", NOTHING_RECORDED, "int4")
    assert names(tmp_path) == []


def test_golden_pairs_come_back_to_the_bit(tmp_path, rng):
    actor = random_actor(rng, (5, 8, 2), (0.5, 1.0))
    recorded = (rng.standard_normal((40, 5)) * 10.0 ** rng.integers(-9, 9, (40, 5))).astype(np.float32)
    reference = reference_actions(actor, recorded)
    assert write_golden(actor, reference, tmp_path / "golden.csv") == 64
    read = np.loadtxt(tmp_path / "golden.csv", dtype=np.float32, delimiter=",", comments="//", usecols=range(7))
    rows = [*range(32), *range(40, 72)]
    np.testing.assert_array_equal(read[:, :5], reference.observations[rows])
    np.testing.assert_array_equal(read[:, 5:], reference.actions[rows])
    with pytest.raises(ExportError, match=r"cannot be written \(No such file or directory\)"):
        write_golden(actor, reference, tmp_path / "nowhere" / "golden.csv")


def test_the_command_writes_c_by_the_file_s_ending_and_tells_its_size(run, tmp_path):
    command = [sys.executable, "-m", "edgedst.cli.main", "export", "actor.c", "--run", run, "--dtype", "int8"]
    require_tool("cc", "gcc", "clang")
    done = subprocess.run(
        [*command, "--golden", "golden.csv"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "actor.c, actor.h: ds-td3 on Fake-v0, step 1,000, from" in done.stdout
    assert "bytes of constants, 52 bytes of RAM (static)" in done.stdout  # hidden layers of 8 and 5
    assert "40 recorded and 512 random observations" in done.stdout
    assert "golden.csv: 64 observations and actions" in done.stdout
    assert {"actor.c", "actor.h", "golden.csv"} <= set(names(tmp_path))
    command[4] = "my-actor.c"
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "`my-actor.c` cannot be the name of an actor in C" in refused.stderr
    assert "Traceback" not in refused.stderr
