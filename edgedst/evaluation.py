"""Evaluations of a run in training: episodes without noise, and what is kept of them in memory.

All of them are in metrics.jsonl. Here are their number, their sum and the last ten, whatever their number: what
R, LCA and a checkpoint need.
"""

from time import monotonic

from edgedst import core
from edgedst.envs import episode_limit
from edgedst.saving import about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Training = Any  # training.Training, which imports this

LAST = 10  # evaluations that R is the mean of
SEED_STREAM = 1_000  # evaluation i draws its seeds from stream SEED_STREAM + i: it never disturbs training


class Evaluations:
    """What is kept of them."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.last: list[list[Any]] = []  # [step, mean return, its standard deviation]

    def add(self, step: int, returns: "list[float]") -> "tuple[float, float]":
        """Add one; returns mean and standard deviation of its returns (of these episodes: divided by their number)."""
        mean = sum(returns) / len(returns)
        sd = (sum([(value - mean) * (value - mean) for value in returns]) / len(returns)) ** 0.5
        self._count_in(step, mean, sd)
        return mean, sd

    def _count_in(self, step: int, mean: float, sd: float) -> None:
        self.count += 1
        self.total += mean
        self.last = [*self.last[1 - LAST :], [step, mean, sd]]

    @property
    def newest(self) -> "tuple[float | None, float | None]":
        """Mean and standard deviation of the newest one."""
        return (self.last[-1][1], self.last[-1][2]) if self.last else (None, None)

    @property
    def final_performance(self) -> "float | None":
        """R: the mean of the last ten."""
        return sum([mean for _, mean, _ in self.last]) / len(self.last) if self.last else None

    @property
    def learning_curve_area(self) -> float:
        """LCA: the area under the learning curve, as the paper's Table 1 counts it."""
        return self.total / 1e6

    def state(self) -> "dict[str, Any]":
        """For state.json."""
        return {"count": self.count, "sum": self.total, "last": self.last}

    def set_state(self, state: "dict[str, Any] | list[Any]") -> None:
        """From state.json, of this format or of the one before, which had all of them."""
        if isinstance(state, list):
            for evaluation in state:
                self._count_in(*evaluation)
            return
        self.count, self.total, self.last = state["count"], state["sum"], state["last"]


def evaluate(run: "Training") -> None:
    """Episodes without noise. A signal ends it: resumed, the whole evaluation is made again."""
    environment, episodes = run.evaluation_environment, run.config.eval_episodes
    seeds = core.Random(run.config.seed, SEED_STREAM + run.evaluations.count)
    seen = run.agent.seen_in_evaluation
    returns = []
    for number in range(episodes):
        environment.reset(run.seed_of_episode(seeds))
        seen.begin(environment.observation)
        total = 0.0
        for steps in range(episode_limit(environment)):
            if run.stop:
                return
            if monotonic() >= run.next_check:
                run.watch(f"under way, episode {number + 1} of {episodes}, {steps:,} steps")
            run.agent.act(seen, run.action)
            run.scale_action()
            reward, terminated, truncated = environment.step(run.scaled_action)
            seen.add(run.action, environment.observation)
            total += reward
            if terminated or truncated:
                break
        returns.append(total)
    mean, _ = run.evaluations.add(run.step, returns)
    run.unsaved = True
    if run.checkpoints.is_best(mean):
        run.checkpoints.save_best(about(run, "actor"))
    run.wish_after_evaluation(mean)
    log(run, len(returns))
    if environment.hardware:
        run.begin_episode()


def log(run: "Training", episodes: int) -> None:
    """The newest evaluation in metrics.jsonl and on the terminal."""
    mean, sd = run.evaluations.newest
    run.progress.evaluation = f"{mean:,.1f}"
    rss, peak = run.guard.check()
    run.folder.metric(
        {
            "step": run.step,
            "evaluation_return": mean,
            "evaluation_sd": sd,
            "evaluation_episodes": episodes,
            **run.agent.losses(),
            "steps_per_second": round(run.progress.speed(run.step), 1),
            "seconds": round(run.seconds_before + run.progress.seconds, 1),
            **(run.energy.logged() if run.energy else {}),
            "rss_bytes": rss,
            "peak_rss_bytes": peak,
        }
    )
    run.progress.show(run.step, rss)
    run.tell_warnings()
