"""How a run ends: summary.json, and the words for whoever waits. `training.Training` is the run, and stays as it is."""

from edgedst.files import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Training = Any  # training.Training, which imports this


def summary(run: "Training", exit_reason: str) -> "dict[str, Any]":
    """summary.json. A finished run whose peak is above its budget is `over budget`."""
    peak = run.guard.peak()
    if exit_reason == "finished" and peak > run.plan.budget_bytes:
        exit_reason = "over budget"
    return {
        "exit_reason": exit_reason,
        "finished": run.step >= run.config.steps and not run.evaluation_is_due(),
        "step": run.step,
        "budget_bytes": run.plan.budget_bytes,
        "planned_bytes": run.plan.planned_bytes,
        "arena_bytes": run.arena.used_bytes,
        "peak_rss_bytes": peak,
        "front_end_peak_bytes": run.job["front_end_peak_bytes"],  # of the command, before it became the trainer
        "data_limit_bytes": run.guard.limit_bytes,
        "replay_rows": run.plan.replay_rows,
        "replay_transitions": run.agent.replay.transitions,
        "connections": run.agent.connections,
        "evaluations": run.evaluations.count if run.config.eval_every else 0,
        "returns_of": returns_of(run),
        "mean_return_last_10": run.evaluations.final_performance,
        "learning_curve_area": run.evaluations.learning_curve_area,
        "R": run.evaluations.final_performance,  # the paper's names of these two
        "LCA": run.evaluations.learning_curve_area,
        "steps_per_second": round(run.progress.speed(run.step), 1),
        "seconds": round(run.seconds_before + run.progress.seconds, 1),
        "energy": run.energy.total() if run.energy else None,
        **run.more_to_tell(),
    }


def returns_of(run: "Training") -> str:
    """What R and LCA are counted from."""
    return "evaluations" if run.config.eval_every else "training episodes"


def told(run: "Training", summary: "dict[str, Any]") -> str:
    """The last line of a finished run."""
    last = len(run.evaluations.last)
    returned = f" R {summary['R']:,.1f} (mean of the last {last} {returns_of(run)})," if last else ""
    return (
        f"Finished {run.step:,} steps:{returned} {summary['steps_per_second']:,} steps/s, peak "
        f"{summary['peak_rss_bytes'] / 1e6:.1f} of {run.plan.budget_bytes / 1e6:g} MB."
    )


def last_checkpoint(run: "Training") -> str:
    """Where to go on, for an error's sentence."""
    if run.saved_step < 0:
        return "There is no checkpoint yet."
    return f"The checkpoint of step {run.saved_step:,} is good: `edgedst train --resume {quoted(run.folder.path)}`."


def more_memory(run: "Training") -> str:
    """What helps a run that went over its budget: more memory for the same replay."""
    wanted = -(-max(run.guard.peak(), run.plan.budget_bytes) * 5 // 4 // 1_000_000)  # a quarter more, in whole MB
    if run.saved_step < 0:
        again = f"`--budget-mb {wanted} --replay-rows {run.plan.replay_rows}`"
        return f"There is no checkpoint yet. Train again with {again}."
    return (
        f"The checkpoint of step {run.saved_step:,} is good, and keeps the size of its replay: "
        f"`edgedst train --resume {quoted(run.folder.path)} --budget-mb {wanted}`."
    )


def last_words(run: "Training") -> bytes:
    """For a library that ends the process itself, as OpenBLAS does when it gets no memory."""
    text = (
        f"BudgetBroken: a library ended the process of {run.config.env} by itself, most likely for want of memory "
        f"within {run.config.budget_mb:g} MB (its own words may stand above). {more_memory(run)}\n"
    )
    return text.encode(errors="backslashreplace")
