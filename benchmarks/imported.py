"""A model of Stable-Baselines3, imported and trained further: return at import, and after some more steps.

    pip install stable-baselines3 && python benchmarks/imported.py --folder runs/imported
    python benchmarks/imported.py --algorithm td3 --env Hopper-v4 --steps 100000 --folder runs/imported-hopper

Trains SAC or TD3 with Stable-Baselines3's defaults (once: FOLDER keeps the model), imports it dense and at each
sparsity, and goes on with `edgedst train --init-from` for each seed. Beside it edgedst trains for as many steps from
nothing. Prints a table in Markdown; some minutes for each row.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np

import edgedst
from edgedst.imports.importing import Imported, import_model


def trained_elsewhere(algorithm: str, env: str, steps: int, seed: int, folder: Path) -> Path:
    """The zip that Stable-Baselines3 saves after so many steps, made where it is not there yet."""
    path = folder / f"{algorithm}-{env}-{steps}-s{seed}.zip"
    if path.exists():
        return path
    if importlib.util.find_spec("stable_baselines3") is None:
        raise SystemExit("Stable-Baselines3 is not installed here: `pip install stable-baselines3`.")
    import stable_baselines3

    folder.mkdir(parents=True, exist_ok=True)
    model = getattr(stable_baselines3, algorithm.upper())("MlpPolicy", env, seed=seed)
    began = time.monotonic()
    model.learn(steps)
    print(f"Stable-Baselines3 {stable_baselines3.__version__}: {steps:,} steps in {time.monotonic() - began:.0f} s")
    model.save(path)
    return path


def imported(path: Path, env: str, sparsity: float | None, seed: int, episodes: int, folder: Path) -> Imported:
    """The model as a run folder."""
    return import_model(path, env, sparsity, run_dir=folder / "runs", episodes=episodes, seed=seed)


def further(run_folder: Path | None, steps: int, episodes: int, folder: Path, **settings: Any) -> list[float]:
    """Mean returns of a training's evaluations, the first at step 0; from nothing without a run to begin from."""
    if run_folder is not None:
        settings |= {"config": run_folder / "config.toml", "init_from": str(run_folder)}
    evaluated: dict[str, Any] = {"eval_every": steps // 4, "eval_episodes": episodes}
    run = edgedst.train(run_dir=folder / "runs", steps=steps, **evaluated, **settings)
    return [mean for _, mean in run.evaluations()]


def told(values: list[float]) -> str:
    """Mean over seeds and its standard deviation."""
    return f"{np.mean(values):,.0f}" + (f" ± {np.std(values):,.0f}" if len(values) > 1 else "")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", choices=("sac", "td3"), default="sac")
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--steps", type=int, default=10_000, help="of Stable-Baselines3")
    parser.add_argument("--more", type=int, default=20_000, help="of edgedst, behind the import")
    parser.add_argument("--sparsity", type=float, nargs="*", default=[0.0, 0.8, 0.9], help="0: dense")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--critic-warmup", type=int, default=0, help="steps in which only the critics learn")
    parser.add_argument("--folder", type=Path, default=Path("imported"))
    options = parser.parse_args()

    path = trained_elsewhere(options.algorithm, options.env, options.steps, 0, options.folder)
    quarters = [f"after {options.more * quarter // 4:,} steps" for quarter in range(1, 5)]
    print("| left out | as it was | imported | pruned | " + " | ".join(quarters) + " |\n" + "|---" * 8 + "|")
    for sparsity in options.sparsity:
        played, evaluations = [], []
        for seed in options.seeds:
            result = imported(path, options.env, sparsity or None, seed, options.episodes, options.folder)
            played.append(result)
            evaluations.append(
                further(
                    result.folder,
                    options.more,
                    options.episodes,
                    options.folder,
                    seed=seed,
                    critic_warmup=options.critic_warmup,
                )
            )
        cells = [
            told(means) if (means := [one.mean for result in played if (one := getattr(result, name))]) else ""
            for name in ("original", "dense", "pruned")
        ]
        cells += [told([means[quarter] for means in evaluations]) for quarter in range(1, 5)]
        print(f"| {sparsity:.0%} | " + " | ".join(cells) + " |", flush=True)
    method = f"ds-{options.algorithm}"
    usual: dict[str, Any] = {"env": options.env, "method": method, "sparsity": 0.9, "hidden": [256, 256]}
    usual["start_steps"] = 1_000
    usual |= {"target_update": "soft", "alpha_tuning": "automatic"} if options.algorithm == "sac" else {}
    scratch = [
        further(None, options.more, options.episodes, options.folder, seed=seed, **usual) for seed in options.seeds
    ]
    cells = [told([means[quarter] for means in scratch]) for quarter in range(1, 5)]
    print("| 90 %, from nothing | | | | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
