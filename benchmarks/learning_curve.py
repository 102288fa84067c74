"""Draw the evaluation returns of finished runs and print them as a table.

python benchmarks/learning_curve.py --out docs/figures/curve.png runs/HalfCheetah-v4/ds-td3/s0-... runs/.../s1-...
"""

import argparse
from pathlib import Path

from machine import pyplot

from edgedst.runs.run import Run
from edgedst.study.statistics import last_return


def main() -> None:
    """One line a run, and a table of what was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()
    figure, axes = pyplot().subplots(figsize=(7, 3.6), dpi=130)
    print("| run | steps | last evaluation | best | mean of the last 10 |\n|---|---|---|---|---|")
    for run in arguments.runs:
        points = Run(run).evaluations()
        if not points:
            raise SystemExit(f"{run} has no evaluation in its metrics.jsonl yet.")
        steps, returns = zip(*points, strict=True)
        label = f"{run.parent.name}, seed {run.name[1:].partition('-')[0]}"
        axes.plot([step / 1000 for step in steps], returns, label=label, linewidth=1.4)
        print(f"| {label} | {steps[-1]:,} | {returns[-1]:,.0f} | {max(returns):,.0f} | {last_return(returns):,.0f} |")
    axes.set_xlabel("environment steps, thousands")
    axes.set_ylabel("evaluation return (10 episodes)")
    axes.set_title(arguments.title or arguments.runs[0].parent.parent.name)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out)
    print(f"\n{arguments.out}")


if __name__ == "__main__":
    main()
