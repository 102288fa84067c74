"""`edgedst evaluate`: returns of a trained or exported actor."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgedst.cli.options import AsJson, Debug, RunDir

EnvKwargs = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        help="""Arguments of the environment, as in '{"port": "/dev/ttyUSB0"}'. [default: those of the run; none for """
        "a file]",
        show_default=False,
    ),
]


def evaluate(
    target: Annotated[
        Path | None, typer.Argument(help="Run folder, .onnx file or bundle; by default the newest run below --run-dir.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to play.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Episode i is reset with seed + i.")] = 0,
    checkpoint: Annotated[
        str, typer.Option(help="Of a run. last: the actor as training left it. best: that of the best evaluation.")
    ] = "last",
    run_dir: RunDir = Path("runs"),
    env: Annotated[
        str | None,
        typer.Option(
            help="Environment to play. Needed where the file names one of a module or a robot.py: that code runs only "
            "for whoever types it. [default: the one that it was trained in]",
            show_default=False,
        ),
    ] = None,
    max_episode_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps after which an episode is cut. [default: the task's own limit, else 1,000]",
            show_default=False,
        ),
    ] = None,
    env_kwargs: EnvKwargs = None,
    action_delay: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS",
            help="Steps that an action waits for before a simulator gets it, as in training; 0: none. [default: that "
            "of the run; 0 for a file]",
            show_default=False,
        ),
    ] = None,
    observation_noise: Annotated[
        str | None,
        typer.Option(
            metavar="SIGMAS",
            help="Sigma of the noise on a simulator's observations, likewise; 0: none.",
            show_default=False,
        ),
    ] = None,
    randomize: Annotated[
        str | None,
        typer.Option(
            metavar="RANGES",
            help="What a native task multiplies an episode at a time, likewise; none: nothing.",
            show_default=False,
        ),
    ] = None,
    render: Annotated[bool, typer.Option("--render", help="Show the episodes in a window, in real time.")] = False,
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Film the episodes, one after the other; the ending decides: .mp4, .gif or .webp.",
            show_default=False,
        ),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of a MuJoCo task: name or number of the camera. [default: the task's own view]",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Of the pictures, 640x480. [default: the task's own]", show_default=False),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Play a trained actor, and print the returns it earns.

    Whole episodes without exploration noise; mean and standard deviation. A run folder is played by the native actor,
    an .onnx file by onnxruntime. Of a bundle, the folder that `edgedst export --bundle` makes, the checksums and golden
    pairs are checked first; then its .onnx file is played.
    """
    import json

    from edgedst.config import arguments
    from edgedst.deploy.evaluate import evaluate as play
    from edgedst.launch.settings import read_typed
    from edgedst.runs.find import newest_run

    chosen = target or newest_run(run_dir)
    kwargs = None if env_kwargs is None else arguments(env_kwargs, "The command line")
    options = {"action_delay": action_delay, "observation_noise": observation_noise, "randomize": randomize}
    typed = read_typed({name: text for name, text in options.items() if text is not None})
    seen: dict[str, Any] = {"render": render, "video": video, "camera": camera, "size": size}
    result = play(chosen, episodes, seed, checkpoint, env, max_episode_steps, kwargs, **typed, **seen)
    for note in result.notes:
        print(note, file=sys.stderr)
    if as_json:
        about = {"target": str(chosen), "environment": result.environment, "actor": result.source, "seed": result.seed}
        numbers = {"mean": result.mean, "sd": result.sd, "returns": result.returns, "lengths": result.lengths}
        print(json.dumps({**about, **numbers}))
        return
    tell(f"{chosen} ({result.source} actor) on {result.environment}")
    shortest, longest = min(result.lengths), max(result.lengths)
    steps = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
    seeds = "" if result.seed is None else f"seeds {seed} to {seed + episodes - 1}; "
    tell(
        f"return {result.mean:.1f} \u00b1 {result.sd:.1f} over {episodes} episodes ({seeds}{steps} steps each; \u00b1 "
        "is the standard deviation)"
    )


def tell(line: str) -> None:
    """Print a line. A terminal that has no ± gets +-; whatever else it cannot show is escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"  # a closed standard output is None
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        line = line.replace("\u00b1", "+-").encode(encoding, "backslashreplace").decode(encoding)
    print(line)
