"""What a checkpoint holds of a run, and how the run comes back from it. The files are `runs/`'s."""

from edgedst import core
from edgedst.errors import CheckpointError, EdgedstError
from edgedst.files import told_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Training = Any  # training.Training, which imports this


def facts(run: "Training") -> "dict[str, Any]":
    """What state.json holds beside the files (`runs/state.py`)."""
    return {
        "step": run.step,
        "env": run.config.env,
        "method": run.config.method,
        "seed": run.config.seed,
        "isa": core.isa(),
        "config_crc32": run.config_crc32,
        "metrics_bytes": run.folder.metrics_bytes,
        "metrics_crc32": run.folder.metrics_crc32,
        "agent": run.agent.state(),
        "environment": run.record.saved(),
        "episode": [run.episode, run.episode_return, run.episode_length],
        **_seen(run),
        "evaluations": run.evaluations.state(),
        "seconds": run.seconds_before + run.progress.seconds,
        "energy": run.energy.total() if run.energy else None,
    }


def _seen(run: "Training") -> "dict[str, str]":
    """Where they are in use: the statistics of observations, and what was seen of the episode under way."""
    told = {}
    if run.agent.normalizer is not None:
        told["normalizer"] = run.agent.normalizer.state.hex()
    if run.config.history and not run.environment.hardware:
        told["seen"] = run.agent.seen.state.hex()
    return told


def about(run: "Training", *names: str, normalizer: "core.Normalizer | None" = None) -> "dict[str, Any]":
    """Metadata of a file with these networks; `normalizer`: what they saw observations through, if not the newest."""
    mean, sd = run.evaluations.newest
    environment = run.environment
    seen: dict[str, Any] = {}  # how the networks see observations
    if environment.observation_low is not None:  # what the networks see as -1 and 1
        seen = {
            "observation_low": environment.observation_low,
            "observation_high": environment.observation_high,
            "step_seconds": environment.step_seconds,
        }
    if run.config.history:
        seen |= {"history": run.config.history, "observation_size": environment.observation_size}
    normalizer = normalizer or run.agent.normalizer
    if normalizer is not None and normalizer.count:
        seen["normalizer"] = {
            "count": normalizer.count,
            "mean": normalizer.mean,
            "scale": normalizer.scale,
            "clip": normalizer.clip,
        }
    return {
        "env": told_name(run.config.env),
        "method": run.config.method,
        "seed": run.config.seed,
        "step": run.step,
        "sizes": {name: list(run.agent.networks[name].sizes) for name in names},
        "action_low": run.environment.action_low,
        "action_high": run.environment.action_high,
        **seen,
        "evaluation_return": mean,
        "evaluation_sd": sd,
    }


def restore(run: "Training", state: "dict[str, Any]") -> str:
    """Put everything back as it was when the checkpoint was made; a new episode, where its own cannot go on.

    Returns:
        What the user has to know of the way on, or "".

    Raises:
        CheckpointError: the checkpoint is damaged, or of another run.
    """
    run.folder.keep_metrics(state["metrics_bytes"], state.get("metrics_crc32"))
    lost: str = run.checkpoints.load(state)
    _check_bounds(run)
    try:
        run.agent.set_state(state["agent"])
        run.step = run.saved_step = state["step"]
        run.unsaved = False
        run.episode, run.episode_return, run.episode_length = state["episode"]
        run.evaluations.set_state(state["evaluations"])
        run.seconds_before = state["seconds"]
        if run.energy:
            run.energy.take_over(state.get("energy"))
        if run.agent.normalizer is not None:
            run.agent.normalizer.state.cast("B")[:] = bytes.fromhex(state["normalizer"])
        broken_off: str = run.record.restore(state["environment"], lambda: run.stop)
        if not broken_off:
            run.agent.seen.begin(run.environment.observation)
            if run.config.history:
                run.agent.seen.state.cast("B")[:] = bytes.fromhex(state["seen"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, EdgedstError):
            raise
        raise CheckpointError(
            f"`{run.checkpoints.folder}/state.json` does not fit this run ({error}). It is damaged or foreign: take it "
            "from a backup, or train anew."
        ) from error
    mean, _ = run.evaluations.newest
    if mean is not None:
        run.progress.evaluation = f"{mean:,.1f}"
    if not broken_off:
        return lost
    run.begin_episode()
    return (f"{lost} " if lost else "") + (
        f"A new episode begins: {broken_off}. Networks, replay and counters are as they were; from here the run's "
        "numbers are not those of one that was never stopped."
    )


def _check_bounds(run: "Training") -> None:
    """A machine's observations and actions are normalised by bounds: others would make another meaning of the replay.

    Raises:
        CheckpointError: they are not those of the run.
    """
    environment, about = run.environment, run.checkpoints.about
    run.checkpoints.about = {}  # with a normaliser it has some lists of numbers
    seconds = about.get("step_seconds")
    if environment.observation_low is not None and seconds and seconds != environment.step_seconds:
        raise CheckpointError(
            f"`{environment.name}` makes {1 / (environment.step_seconds or 1):g} steps a second, and the run was "
            f"trained with {1 / seconds:g}: its replay has steps of another length. Set RATE_HZ back, or train anew."
        )
    for name in ("observation_low", "observation_high", "action_low", "action_high"):
        now = getattr(environment, name)
        if environment.observation_low is not None and name in about and list(now) != list(about[name]):
            raise CheckpointError(
                f"`{environment.name}` has {name} = {list(now)} and the run was trained with {list(about[name])}: its "
                "networks and its replay would mean something else. Give the file its bounds back, or train anew."
            )
