"""TD3 of Stable-Baselines3, SBX and RLtools beside edgedst's on one core: what a step costs, how soon a return comes.

    python benchmarks/peers.py speed --json speed.json       all in turns, with room for a million transitions
    python benchmarks/peers.py returns                       trains each until it has the returns, into runs/peers
    python benchmarks/peers.py returns --env Hopper-v4 --goals 2000
    python benchmarks/peers.py returns --picture cheetah.png --speed speed.json

They come from PyPI (`pip install 'edgedst[profile,sb3,sbx,rltools]'`, a C++ compiler and Python's headers for the last
one); those that are not installed are left out. Task, widths, batch, learning rate, noises, one update a step and the
random steps before them are the same (but see edgedst/profile/peers.py: RLtools updates in those, too); edgedst runs
dense, at 50, 80, 90 and 95 % sparsity, and with `--preset board`, which has other widths and two updates a step.

A return is the mean of the last ten training episodes, with their exploration noise: no evaluation takes time of
anybody. Seconds begin where a peer is ready to train, and edgedst's with its process. CPU-seconds are all that the
process used until then, its start included. A run is made once, unless more steps or a higher goal are asked for; an
interrupted one begins anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from statistics import median
from typing import Any

import machine
from timing import progress

from edgedst import boards
from edgedst.cli.profile_terminal import Reporter
from edgedst.config import TrainConfig
from edgedst.energy import sources
from edgedst.energy.meter import Meter
from edgedst.errors import EdgedstError, ProfileError
from edgedst.launch.job import command, job_for
from edgedst.launch.settings import NAMED_PRESETS
from edgedst.profile.contenders import PEERS, Contender, peer_variables, peers
from edgedst.profile.measure import Goal, Measured, measure
from edgedst.spread import ratio

SPARSITIES = {"50": 0.5, "80": 0.8, "90": 0.9, "95": 0.95}  # percent
ROWS = 1_000_000
START_STEPS = 10_000  # random ones, of everybody, where returns are asked for
EPISODES = 10  # of a mean return
POLL_SECONDS = 0.05


def contenders(args: Namespace, **more: Any) -> list[Contender]:
    """edgedst's, the half-dense one first, then the peers that are installed."""
    common = {
        "env": args.env,
        "start_steps": START_STEPS,
        "threads": 1,
        "replay_rows": ROWS,
        "budget_mb": 4000.0,
        **more,
    }
    made = [
        Contender(name, f"edgedst {name} %", TrainConfig(method="ds-td3", sparsity=sparsity, **common))
        for name, sparsity in SPARSITIES.items()
    ]
    made.append(
        Contender(
            "board",
            "edgedst --preset board",
            TrainConfig(method="ds-td3", **{**NAMED_PRESETS["board"]["td3"], **common}),
        )
    )
    dense = TrainConfig(method="td3", **common)
    made.append(Contender("dense", "edgedst dense", dense))
    installed, missing = peers(PEERS, dense)
    made += installed
    for sentence in missing:
        progress(sentence)
    only = args.only or [each.name for each in made]
    if unknown := set(only) - {each.name for each in made}:
        raise SystemExit(f"`--only` has {sorted(unknown)}, and there are {[each.name for each in made]}.")
    return [dataclasses.replace(each, config=each.config.resolved()) for each in made if each.name in only]


def speed(args: Namespace) -> None:
    """Everybody in turns, as `edgedst profile` measures."""

    def start(config: TrainConfig, goal: dict[str, Any], folder: str) -> tuple[list[str], dict[str, str]]:
        job = job_for(config, run_dir=folder, progress=False, debug=False, front_end_peak_bytes=0)
        return command({**job, "profile": goal})

    reporter = Reporter(None)
    facts, everybody = machine.facts(), contenders(args)
    if all(each.peer for each in everybody):
        raise SystemExit("`--only` names nobody of edgedst's, whose steps in `--seconds` are everybody's. Add 95.")
    measured = measure(everybody, Goal(args.seconds, args.repeats), start, reporter, meter())
    reporter.end()
    if not measured.rounds:
        raise SystemExit("Interrupted before the first round was complete: there is nothing to tell.")
    sides = {each.name: side(each, measured) for each in measured.contenders}
    result = {"machine": facts, "env": args.env, "steps": measured.steps, "rounds": len(measured.rounds)}
    result |= {"missing": measured.missing, "sides": sides}
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    heads = (
        "",
        "updates/s",
        "loop steps/s",
        "CPU-s of 1,000 steps",
        "of it",
        "MB, a million transitions",
        "bytes each",
    )
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for told in sides.values():
        updates = f"{told['updates_per_second']:,.0f}" if told["updates_per_second"] else "not told"
        print(
            f"| {told['label']} | {updates} | {told['steps_per_second']:,.0f} | {told['cpu_seconds']:.2f} | "
            f"{told['cpu_ratio']:.2f} | {told['bytes_with_a_million'] / 1e6:,.0f} | {told['row_bytes']} |"
        )
    first = next(iter(sides.values()))["label"]
    print(f"\nOf it: a step's CPU time of {first}, divided by this one's; median over {len(measured.rounds)} rounds.")
    print(*measured.missing, machine.sentence(facts), sep="\n")


def side(contender: Contender, measured: Measured) -> dict[str, Any]:
    """Medians over the rounds. Memory is the peak, and what was not filled of a replay that fills page by page."""
    turns, first = measured.turns(contender.name), measured.turns(measured.contenders[0].name)
    shares = ratio([turn.cpu_seconds for turn in first], [turn.cpu_seconds for turn in turns])
    updates = [1 / turn.update_seconds for turn in turns if turn.update_seconds]
    facts = turns[0].facts
    return {
        "label": f"{contender.label} {facts.get('version', '')}".strip(),
        "updates_per_second": median(updates) if updates else None,
        "steps_per_second": median(turn.steps_per_second for turn in turns),
        "cpu_seconds": median(1000 * turn.cpu_seconds for turn in turns),
        "cpu_ratio": shares and shares["median"],
        "joules": [turn.joules and 1000 * turn.joules for turn in turns],
        "bytes_with_a_million": max(turn.facts["peak_bytes"] + turn.empty_bytes for turn in turns),
        "row_bytes": facts["replay_row_bytes"],
    }


def meter() -> Meter | None:
    """Of the joules, where this machine has a source."""
    spec = sources.choose("auto", boards.detect().board)
    return Meter(spec) if spec is not None else None


def returns(args: Namespace) -> None:
    """Train each until it has the highest goal or `--steps` are over; then a table, and a picture."""
    never = {"eval_every": 2 * args.steps, "checkpoint_every": 2 * args.steps}
    for seed in args.seeds:
        for contender in contenders(args, seed=seed, steps=args.steps, eval_episodes=1, **never):
            file = args.folder / args.env / f"{contender.name}-s{seed}.json"
            if file.exists() and not asks_for_more(args, json.loads(file.read_text(encoding="utf-8"))):
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            progress(f"{contender.label} on {args.env}, seed {seed}")
            try:
                told = learn(contender, args)
            except ProfileError as error:
                progress(f"{contender.label} is left out: {error}")
                continue
            file.write_text(json.dumps(told) + "\n", encoding="utf-8")
            progress("  " + ", ".join(f"{goal} after {at['seconds']:,.0f} s" for goal, at in told["goals"].items()))
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((args.folder / args.env).glob("*.json"))]
    print(f"| {args.env}, seed | return | steps | seconds | CPU-seconds | joules |\n|---|---|---|---|---|---|")
    for run in sorted(runs, key=lambda run: (run["seed"], run["name"] in PEERS)):
        for goal in args.goals:
            at = run["goals"].get(str(goal))
            joules = f"{at['joules']:,.0f}" if at and at["joules"] is not None else "not metered"
            figures = f"{at['step']:,} | {at['seconds']:,.0f} | {at['cpu_seconds']:,.0f} | {joules}" if at else None
            missed = f"not in {run['curve'][-1][0]:,} | | | "
            print(f"| {run['label']}, {run['seed']} | {goal:,} | {figures or missed} |")
    print(f"\n{machine.sentence(machine.facts())}; each run has its own machine and commit in {args.folder}")
    if args.picture:
        draw(runs, args)


def asks_for_more(args: Namespace, run: dict[str, Any]) -> bool:
    """Whether a goal is missing that the run was not made for, or that more steps may bring."""
    missing = [goal for goal in args.goals if str(goal) not in run["goals"]]
    return bool(missing) and (max(missing) > run["watched_for"] or args.steps > run["steps"])


def learn(contender: Contender, args: Namespace) -> dict[str, Any]:
    """One run, watched as its file of episodes grows: where it reached which goal, and its curve.

    Raises:
        ProfileError: its process failed before that.
    """
    facts, joules, config = machine.facts(), meter(), contender.config
    with tempfile.TemporaryDirectory(prefix="edgedst-peers-") as folder:
        environment = None
        if contender.peer is None:
            (Path(folder) / "config.toml").write_text(config.toml(), encoding="utf-8")
            line = machine.edgedst_command(
                "train", "--config", f"{folder}/config.toml", "--run-dir", folder, "--no-progress"
            )
        else:
            environment = peer_variables(1)
            job = {"peer": contender.name, "config": config.settings(), "folder": folder}
            line = [sys.executable, __file__, "--role", json.dumps(job)]
        if joules:
            joules.start()
        with (Path(folder) / "words").open("w+", encoding="utf-8") as words:
            process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=words, env=environment)
            try:
                told = watch(process, Path(folder), args.goals, joules, contender.peer is None)
            finally:
                process.kill()  # nothing where it has ended
                process.wait()
                if joules:
                    joules.stop()
            if len(told["goals"]) < len(args.goals) and process.returncode:
                words.seek(0)
                raise ProfileError(f"it ended with {process.returncode}: {words.read().strip()[-2000:]}")
    asked = {"steps": args.steps, "watched_for": max(args.goals)}
    return {"name": contender.name, "label": contender.label, "seed": config.seed, "machine": facts, **asked, **told}


def watch(
    process: subprocess.Popen[bytes], folder: Path, goals: list[int], joules: Meter | None, ready: bool
) -> dict[str, Any]:
    """Read metrics.jsonl, a line an episode, until the last goal or the process's end."""
    ticks_a_second = os.sysconf("SC_CLK_TCK")
    begun = time.monotonic()
    lines, returns, reached, curve, running = None, [], {}, [], True
    while running and len(reached) < len(goals):
        time.sleep(POLL_SECONDS)
        # Before the poll, which takes an ended process away. Behind its name's parenthesis, utime is field 11.
        utime, stime = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        running = process.poll() is None
        now, cpu = time.monotonic(), (int(utime) + int(stime)) / ticks_a_second
        file = next(folder.rglob("metrics.jsonl"), None)
        if file is None:
            continue
        if not ready:  # a peer made the file when it was
            ready, begun = True, now
        lines = lines or file.open(encoding="utf-8")
        while (line := lines.readline()).endswith("\n"):
            told = json.loads(line)
            if "episode_return" not in told:
                continue
            returns.append(told["episode_return"])
            mean = sum(returns[-EPISODES:]) / EPISODES if len(returns) >= EPISODES else None
            if not curve or told["step"] - curve[-1][0] >= 1000:
                curve.append((told["step"], now - begun, cpu, mean))
            for goal in goals:
                if str(goal) not in reached and mean is not None and mean >= goal:
                    took = joules.energy(begun, now, cpu_seconds=cpu)["joules"] if joules else None
                    at = {"step": told["step"], "seconds": now - begun, "cpu_seconds": cpu, "joules": took}
                    reached[str(goal)] = at
        lines.seek(lines.tell() - len(line))  # half a line is read again
    return {"goals": reached, "curve": curve}


def peer_role(job: dict[str, Any]) -> None:
    """Train a peer on an environment that tells of its episodes as edgedst's runs do."""
    import gymnasium

    from edgedst.profile.peers import TRAINEES, environment

    config = Namespace(**job["config"])
    steps = 0

    class Told(gymnasium.Wrapper):  # type: ignore[misc]  # whatever the environment's types
        total = 0.0

        def step(self, action: Any) -> Any:
            nonlocal steps
            observation, reward, terminated, truncated, info = self.env.step(action)
            steps += 1
            self.total += float(reward)
            if terminated or truncated:
                file.write(json.dumps({"step": steps, "episode_return": self.total}) + "\n")
                self.total = 0.0
            return observation, reward, terminated, truncated, info

    peer = TRAINEES[job["peer"]](config, ROWS, lambda: Told(environment(config)))
    with (Path(job["folder"]) / "metrics.jsonl").open("w", buffering=1, encoding="utf-8") as file:
        peer.train(config.steps)


def draw(runs: list[dict[str, Any]], args: Namespace) -> None:
    """Return over CPU-seconds, which on a free core are seconds; memory in the legend, where `--speed` tells it."""
    speed = json.loads(args.speed.read_text(encoding="utf-8")) if args.speed else {"env": args.env, "sides": {}}
    if speed["env"] != args.env:
        raise SystemExit(f"`{args.speed}` is of {speed['env']} and the picture of {args.env}: give that task's.")
    plot = machine.pyplot()
    figure, axes = plot.subplots(figsize=(7.5, 4.2), dpi=130)
    names = list(dict.fromkeys(run["name"] for run in runs))
    for run in runs:
        memory = speed["sides"].get(run["name"], {}).get("bytes_with_a_million")
        label = run["label"] + (f", {memory / 1e6:,.0f} MB" if memory else "")
        points = [(cpu, mean) for _, _, cpu, mean in run["curve"] if mean is not None]
        seconds, means = [cpu for cpu, _ in points], [mean for _, mean in points]
        colour = f"C{names.index(run['name'])}"
        style = "--" if run["name"] in PEERS else "-"
        axes.plot(
            seconds, means, style, color=colour, linewidth=1.4, label=label if run["seed"] == runs[0]["seed"] else None
        )
    axes.set_xscale("log")
    axes.set_xlabel("CPU-seconds, one thread")
    axes.set_ylabel(f"return: mean of {EPISODES} training episodes")
    axes.set_title(args.env)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    figure.tight_layout()
    figure.savefig(args.picture)


def main() -> int:
    if sys.argv[1:2] == ["--role"]:
        peer_role(json.loads(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--env", default="HalfCheetah-v4", help="Gymnasium id (HalfCheetah-v4)")
    common.add_argument("--only", nargs="+", metavar="NAME", help="of dense, 50, 80, 90, 95, board, sb3, sbx, rltools")
    one = verbs.add_parser("speed", parents=[common], help="what a step costs")
    one.add_argument("--seconds", type=float, default=5.0, help="window of edgedst's slowest (5)")
    one.add_argument("--repeats", type=int, default=5, help="rounds (5)")
    one.add_argument("--json", type=Path, help="file to write")
    one.set_defaults(run=speed)
    two = verbs.add_parser("returns", parents=[common], help="how soon a return comes")
    two.add_argument("--goals", type=int, nargs="+", default=[3000, 5000, 8000], help="returns (3000 5000 8000)")
    two.add_argument("--steps", type=int, default=300_000, help="at most (300000)")
    two.add_argument("--seeds", type=int, nargs="+", default=[0], help="(0)")
    two.add_argument("--folder", type=Path, default=Path("runs/peers"), help="of the results (runs/peers)")
    two.add_argument("--picture", type=Path, help="PNG to write")
    two.add_argument("--speed", type=Path, help="what `speed --json` wrote: the picture's megabytes")
    two.set_defaults(run=returns)
    args = parser.parse_args()
    try:
        args.run(args)
    except KeyboardInterrupt:
        return 130
    except EdgedstError as error:
        raise SystemExit(str(error)) from None
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
