"""Peak memory of a whole process that trains TD3 on HalfCheetah-v4: edgedst against plain PyTorch.

Both step the real simulator 1,500 times, keep those transitions only, and learn for 1,000 updates; so what is compared
is everything but the replay, whose bytes a transition are printed beside it. Each runs in a process of its own, whose
peak is the kernel's VmHWM.

    python benchmarks/process_memory.py [--json]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import edgedst_command

STEPS, START_STEPS = 1500, 500
N, M = 17, 6  # HalfCheetah's observation and action

PYTORCH = f"""
from edgedst.budget.guard import memory
from edgedst.config import TrainConfig
from edgedst.profile.versus_dense import Training
training = Training(TrainConfig(env="HalfCheetah-v4", method="td3", start_steps={START_STEPS}), {STEPS})
training.train({STEPS})
print(memory()[1], training.replay.row_bytes)
"""


def edgedst_bytes(method: str) -> int:
    """Peak of a real training run, from its summary.json."""
    with tempfile.TemporaryDirectory() as folder:
        command = edgedst_command(
            *("train", "--env", "HalfCheetah-v4", "--method", method),
            *("--budget-mb", "100", "--steps", str(STEPS), "--start-steps", str(START_STEPS)),
            *("--replay-rows", str(STEPS + 100), "--run-dir", folder, "--no-progress"),
        )
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (summary,) = Path(folder).rglob("summary.json")
        return int(json.loads(summary.read_text(encoding="utf-8"))["peak_rss_bytes"])


def pytorch_bytes() -> tuple[int, int]:
    """Peak of the PyTorch process, and what its replay takes a transition."""
    command = [sys.executable, "-W", "ignore", "-c", PYTORCH]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak, row = out.split()[-2:]
    return int(peak), int(row)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    arguments = parser.parse_args()
    # edgedst: observation and action once in float16, reward in float32, a flag. PyTorch: both observations, float32.
    rows = {
        "edgedst ds-td3": (edgedst_bytes("ds-td3"), 2 * (N + M) + 5),
        "edgedst td3 (dense)": (edgedst_bytes("td3"), 2 * (N + M) + 5),
        "PyTorch dense, Gymnasium": pytorch_bytes(),
    }
    if arguments.json:
        print(json.dumps({name: {"peak_bytes": p, "bytes_a_transition": b} for name, (p, b) in rows.items()}))
        return
    print("| process | peak without replay | bytes a transition |\n|---|---|---|")
    for name, (peak, transition) in rows.items():
        print(f"| {name} | {peak / 1e6:.1f} MB | {transition} |")


if __name__ == "__main__":
    main()
