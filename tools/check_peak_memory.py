"""Run a training command; hold the kernel's and summary.json's account of its peak memory to a limit and each other.

Usage: python tools/check_peak_memory.py --limit-bytes 50000000 -- edgedst train ... --run-dir FOLDER
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path


def newest_summary(run_dir: Path) -> Path:
    """The summary.json written last below `run_dir`."""
    summaries = sorted(run_dir.rglob("summary.json"), key=lambda path: path.stat().st_mtime)
    if not summaries:
        sys.exit(f"No summary.json below {run_dir}: the run did not end.")
    return summaries[-1]


def main() -> None:
    """Exit 1 with a sentence when either account is over the limit, or when they are not alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit-bytes", type=int, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    command = [part for part in arguments.command if part != "--"]
    process = subprocess.Popen(command)
    # wait4 tells this child's own maximum; RUSAGE_CHILDREN would be that of all children so far.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with exit code {process.returncode}.")
    summary_path = newest_summary(Path(command[command.index("--run-dir") + 1]))
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    accounts = {
        "the kernel's ru_maxrss": usage.ru_maxrss * 1024,
        f"peak_rss_bytes in {summary_path.name}": summary["peak_rss_bytes"],
    }
    for account, peak_bytes in accounts.items():
        print(f"{account}: {peak_bytes:,} bytes of {arguments.limit_bytes:,}")
    if max(accounts.values()) > arguments.limit_bytes:
        sys.exit("Peak memory is over the limit.")
    # The summary is written a moment before the process ends, and ending takes some 100 KB.
    if max(accounts.values()) - min(accounts.values()) > 1_000_000:
        sys.exit("The kernel and summary.json do not agree on the peak.")


if __name__ == "__main__":
    main()
