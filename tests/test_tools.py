"""A missing program skips a test on a board, and fails it where all of them have to be there; compilers that start."""

import os
import subprocess
from pathlib import Path

import pytest

from tools import require_tool


def test_a_tool_on_the_path_is_found_by_the_first_name_that_exists(tmp_path, monkeypatch):
    program = tmp_path / "second"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert require_tool("first", "second") == str(program)


def test_a_missing_tool_skips_and_with_require_tools_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EDGEDST_REQUIRE_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs first or second"):
        require_tool("first", "second")
    monkeypatch.setenv("EDGEDST_REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="EDGEDST_REQUIRE_TOOLS=1, and this test needs first or second"):
        require_tool("first", "second")


@pytest.mark.parametrize(
    ("free_mb", "limit", "jobs"),
    [
        (160, None, 1),  # a Zero 2 W beside a desktop
        (790, None, 1),
        (100_000, None, os.cpu_count()),
        (100_000, "max", os.cpu_count()),
        (100_000, "419430400", 1),  # a container's
        (100_000, "9223372036854771712", os.cpu_count()),  # none, as the older files say it
    ],
)
def test_as_many_compilers_start_as_cores_and_memory_allow(tmp_path, free_mb, limit, jobs):
    (tmp_path / "meminfo").write_text(f"MemTotal: 999999 kB\nMemAvailable:   {free_mb * 1000} kB\n")
    if limit:
        (tmp_path / "memory.max").write_text(limit + "\n")
    script = Path(__file__).parents[1] / "tools" / "compile_jobs.sh"
    variables = {**os.environ, "MEMINFO": str(tmp_path / "meminfo"), "CGROUP": str(tmp_path)}
    told = subprocess.run(["sh", script], env=variables, capture_output=True, text=True, check=True)
    assert told.stdout == f"{min(jobs, len(os.sched_getaffinity(0)))}\n"


def test_a_machine_without_those_files_compiles_one_at_a_time(tmp_path):
    script = Path(__file__).parents[1] / "tools" / "compile_jobs.sh"
    variables = {**os.environ, "MEMINFO": str(tmp_path / "none"), "CGROUP": str(tmp_path)}
    told = subprocess.run(["sh", script], env=variables, capture_output=True, text=True, check=True)
    assert told.stdout == "1\n"
