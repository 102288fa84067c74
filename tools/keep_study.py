"""Copy of a study's finished runs what its report needs: settings, machine, plan, summary, evaluations; no checkpoint.

What it writes is a study's folder: `edgedst study report` reports it, and `edgedst study run` would go on with it.

    python tools/keep_study.py studies/locomotion docs/results/locomotion
"""

import argparse
import json
import shutil
from pathlib import Path

FILES = ("config.toml", "host.json", "plan.json", "summary.json")


def main() -> None:
    """Copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of `edgedst study run`")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(arguments.study / "study.toml", arguments.out)
    for path in sorted(arguments.study.glob("runs/*/*/*/summary.json")):
        if not json.loads(path.read_text(encoding="utf-8"))["finished"]:
            continue
        folder = arguments.out / path.parent.relative_to(arguments.study)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copy(path.parent / name, folder)
        lines = (path.parent / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / "metrics.jsonl").write_text("".join(line for line in lines if '"evaluation_return"' in line))
        print(folder)


if __name__ == "__main__":
    main()
