"""A missing program skips a test on a board, and fails it where all of them have to be there; compilers that start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from training import until

from tools import require_tool


def test_a_tool_on_the_path_is_found_by_the_first_name_that_exists(tmp_path, monkeypatch):
    program = tmp_path / "second"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert require_tool("first", "second") == str(program)


def test_a_tool_beside_this_python_is_found_without_an_activated_environment(tmp_path, monkeypatch):
    for folder, name in (("bin", "python"), ("bin", "tool"), ("path", "other")):
        program = tmp_path / folder / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert require_tool("tool") == str(tmp_path / "bin" / "tool")


def test_a_missing_tool_skips_and_with_require_tools_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EDGEDST_REQUIRE_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs first or second"):
        require_tool("first", "second")
    monkeypatch.setenv("EDGEDST_REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="EDGEDST_REQUIRE_TOOLS=1, and this test needs first or second"):
        require_tool("first", "second")


TOOLS = Path(__file__).parents[1] / "tools"
SCRIPT = TOOLS / "compile_jobs.sh"


def compile_jobs(folder):
    """What the script says of the files in `folder` and a machine of 6 cores, whose user gave OpenMP one of them."""
    nproc = folder / "nproc"  # coreutils' own asks for OMP_NUM_THREADS, and newer ones for a container's share
    nproc.write_text('#!/bin/sh\necho "${OMP_NUM_THREADS:-6}"\n')
    nproc.chmod(0o755)
    variables = {"MEMINFO": str(folder / "meminfo"), "CGROUP": str(folder), "OMP_NUM_THREADS": "1"}
    variables["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    told = subprocess.run(["sh", SCRIPT], env=variables, capture_output=True, text=True, check=True)
    assert told.stderr == ""
    return told.stdout


@pytest.mark.parametrize(
    ("free_mb", "limit", "jobs"),
    [
        (160, None, 1),  # a Zero 2 W beside a desktop
        (790, None, 1),
        (1_300, None, 3),
        (100_000, None, 6),
        (100_000, "max", 6),
        (100_000, "419430400", 1),  # a container's
        (100_000, "9223372036854771712", 6),  # none, as the older files say it
    ],
)
def test_as_many_compilers_start_as_cores_and_memory_allow(tmp_path, free_mb, limit, jobs):
    (tmp_path / "meminfo").write_text(f"MemTotal: 999999 kB\nMemAvailable:   {free_mb * 1000} kB\n")
    if limit:
        (tmp_path / "memory.max").write_text(limit + "\n")
    assert compile_jobs(tmp_path) == f"{jobs}\n"


def test_a_machine_without_those_files_compiles_one_at_a_time(tmp_path):
    assert compile_jobs(tmp_path) == "1\n"


@pytest.mark.parametrize(
    ("told", "limit", "words"),
    [
        ("peak", 100_000_000, None),
        ("0", 100_000_000, "The kernel and summary.json do not agree on the peak."),
        ("peak", 1_000_000, "Peak memory is over the limit."),
    ],
)
def test_a_peak_that_summary_json_does_not_tell_as_the_kernel_does_is_refused(told, limit, words, tmp_path):
    code = "import json, resource, sys; peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
    code += f"json.dump({{'peak_rss_bytes': {told}}}, open(sys.argv[2] + '/summary.json', 'w'))"
    command = [sys.executable, TOOLS / "check_peak_memory.py", "--limit-bytes", str(limit), "--"]
    command += [sys.executable, "-c", code, "--run-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == ((1, f"{words}\n") if words else (0, ""))


def test_kernel_objects_that_cannot_be_read_do_not_pass(tmp_path):
    require_tool("nm")
    folder = tmp_path / "edgedst_kernels_avx2"
    folder.mkdir()
    (folder / "kernels.cpp.o").write_bytes(b"no object")
    command = ["sh", TOOLS / "check_kernel_symbols.sh", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "file format not recognized" in done.stderr


def test_a_wait_ends_with_the_process_or_the_time_where_nothing_comes():
    ended = subprocess.Popen([sys.executable, "-c", "import sys; sys.exit('fell over')"], stderr=subprocess.PIPE)
    with pytest.raises(AssertionError, match="fell over"):
        until(lambda: False, ended)
    with pytest.raises(AssertionError, match=r"did not come within 0\.01 s"):
        until(lambda: False, seconds=0.01)
    until(lambda: True, ended, 0)
