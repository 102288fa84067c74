import json
import mmap
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from training import TINY, start

import edgedst
from edgedst.budget.guard import Guard, memory
from edgedst.config import TrainConfig
from edgedst.errors import BudgetBroken
from edgedst.launch.job import command, job_for


def test_memory_reads_what_the_kernel_counts():
    rss, peak, data = memory()
    assert 5_000_000 < rss <= peak
    assert data > 1_000_000
    block = mmap.mmap(-1, 30_000_000)
    for offset in range(0, len(block), 4096):
        block[offset] = 1
    assert memory()[0] - rss > 25_000_000
    block.close()
    assert memory()[1] - rss > 25_000_000  # the peak stays when memory is given back


def test_the_limit_stops_what_would_leave_the_budget():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    guard = Guard(memory()[0] + 40_000_000)
    guard.enforce(headroom_bytes=0, files_bytes=0)
    try:
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == guard.limit_bytes
        with pytest.raises(MemoryError):
            bytearray(200_000_000)
        bytearray(10_000_000)
    finally:
        guard.release()
    assert resource.getrlimit(resource.RLIMIT_DATA)[1] == before[1]


@pytest.mark.parametrize(
    ("headroom", "files", "growth"),
    [(4, 0, 39), (4, 20, 20), (4, 90, 3), (44, 0, 29), (44, 20, 29)],  # MB of 40 that are left
)
def test_what_the_limit_leaves_to_pages_of_files(monkeypatch, headroom, files, growth):
    monkeypatch.setattr("edgedst.budget.guard.memory", lambda: (10_000_000, 10_000_000, 7_000_000))
    guard = Guard(50_000_000)
    monkeypatch.setattr(guard, "_limit", lambda limit: setattr(guard, "limit_bytes", limit))
    guard.enforce(headroom * 1_000_000, files * 1_000_000)
    assert guard.limit_bytes == (7 + growth) * 1_000_000


def test_a_peak_above_the_budget_is_told():
    with pytest.raises(BudgetBroken, match=r"took [\d.]+ MB at its peak and the budget is 1.0 MB"):
        Guard(1_000_000).check()
    assert BudgetBroken.exit_code == 3


def test_a_start_that_compiles_edgedst_counts_what_every_later_start_counts(tmp_path, monkeypatch):
    package = tmp_path / "edgedst"
    shutil.copytree(Path(edgedst.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(edgedst, "__file__", str(package / "__init__.py"))
    arguments, variables = command(job_for(TrainConfig().resolved(), plan_only=True))

    def resident():
        """Of interpreter, libraries and environments, in bytes."""
        out = subprocess.run(arguments, env=variables, capture_output=True, text=True, check=True).stdout
        lines = {line["name"]: line["bytes"] for line in json.loads(out)["lines"]}
        return lines["interpreter and libraries"] + lines["environments"]

    first = resident()
    assert (package / "envs" / "__pycache__").is_dir()
    assert abs(first - resident()) < 600_000  # a run that goes on has so much to spare; compiling leaves 1.3 MB


def test_a_run_does_without_huge_pages_whatever_the_kernel_gives_to_others(tmp_path):
    """Debian's kernel gives them to everybody from 512 MB of memory on: 54.7 MB of 50 on an ARM board."""
    process = start(tmp_path, *TINY, "--steps", "1000000")
    try:
        assert process.stdout.readline()  # it has begun
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    finally:
        process.kill()
        process.communicate()
    assert "\nTHP_enabled:\t0\n" in status
