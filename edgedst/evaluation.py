"""Evaluations of a run in training: the episodes without noise, and what is kept of them in memory.

All of them are in metrics.jsonl. Here are their number, their sum, the best one and the last ten, whatever their
number: what R, LCA and a checkpoint need.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgedst.envs import Environment

LAST = 10  # evaluations that R is the mean of
# Steps after which an episode of an evaluation ends where neither the task nor `max_episode_steps` limits it: the usual
# limit of Gymnasium's own tasks.
EPISODE_STEPS = 1_000


class Evaluations:
    """What is kept of them."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.best = float("-inf")  # highest mean return
        self.last: list[list[Any]] = []  # [step, mean return, its standard deviation]

    def add(self, step: int, returns: "list[float]") -> "tuple[float, float]":
        """Add one; returns mean and standard deviation of its returns (of these episodes: divided by their number)."""
        mean = sum(returns) / len(returns)
        sd = (sum([(value - mean) ** 2 for value in returns]) / len(returns)) ** 0.5
        self._count_in(step, mean, sd)
        return mean, sd

    def _count_in(self, step: int, mean: float, sd: float) -> None:
        self.count += 1
        self.total += mean
        self.best = max(self.best, mean)
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
        return {"count": self.count, "sum": self.total, "best": self.best, "last": self.last}  # -inf becomes null

    def set_state(self, state: "dict[str, Any] | list[Any]") -> None:
        """From state.json, of this format or of the one before, which had all of them."""
        if isinstance(state, list):
            for evaluation in state:
                self._count_in(*evaluation)
            return
        self.count, self.total, self.last = state["count"], state["sum"], state["last"]
        self.best = float("-inf") if state["best"] is None else state["best"]


def episode_limit(environment: "Environment") -> int:
    """Steps after which an evaluation's episode ends at the latest."""
    return environment.max_episode_steps or EPISODE_STEPS
