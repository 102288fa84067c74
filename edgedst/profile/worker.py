"""edgedst's contender: the real lean trainer for a while, with marks. It imports no more than the trainer does.

Departs from a training run where that would disturb the measuring: no evaluation, no checkpoint, fewer random first
steps, and a topology that never stops to evolve. Plan, arena, limit, run folder and loop are the trainer's own.
"""

import sys

from edgedst import core
from edgedst.errors import EdgedstError
from edgedst.plain_json import loads
from edgedst.profile import window
from edgedst.trainer import start_again_if_larger
from edgedst.training import Training

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# An evolved topology's targets hold the union of old and new connections, which a fresh one's do not; so it evolves in
# the warm-up. Measured on HalfCheetah's sizes at density 0.5: a fresh target holds 32,768 weights, three evolutions 200
# updates apart leave 36,900, training in full length 36,200.
UPDATES_BETWEEN_EVOLUTIONS = 200

ASKED_TO_LEAVE = 143  # exit code after SIGTERM, as a shell says it


def main() -> int:
    """Be the contender that the JSON in sys.argv[-1] asks for; returns the exit code.

    Keys: those of the trainer (`trainer.main`), and `profile`: the goal of `window.measure`.
    """
    job = loads(sys.argv[-1])
    start_again_if_larger(job)
    try:
        run = MeasuredRun(job)
        try:
            trainee = LeanTrainee(run)
            trainee.warm_up()
            window.tell({**window.measure(trainee, job["profile"]), **trainee.facts()})
        finally:
            run.close()
        return 0
    except EdgedstError as error:
        if job["debug"]:
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code


class MeasuredRun(Training):
    """A run whose loop does not evaluate or save. It is planned with its settings as they are, then made short."""

    def __init__(self, job: "dict[str, Any]") -> None:
        # Another run's networks would cost the same as random ones.
        super().__init__({**job, "config": {**job["config"], "init_from": None}})
        self.config.start_steps = window.RANDOM_STEPS
        self.config.topology_stop_steps = 0
        self.config.steps = 0  # until `LeanTrainee.train` says more

    def evaluation_is_due(self) -> bool:
        """Never."""
        return False

    def save(self) -> None:
        """No checkpoint."""


class LeanTrainee:
    """What `window.measure` asks of a run. See `window.Trainee`."""

    def __init__(self, run: MeasuredRun) -> None:
        self.run = run
        self.update = window.Timer(run.agent.update)
        run.agent.update = self.update  # type: ignore[method-assign]  # the loop calls it by this name

    def warm_up(self) -> None:
        """Random steps, then some with updates, the last one an evolution."""
        config = self.run.config
        evolve_every = config.evolve_every
        self.train(window.RANDOM_STEPS)
        config.evolve_every = min(evolve_every, UPDATES_BETWEEN_EVOLUTIONS)
        self.train(window.WARM_UP_STEPS)
        config.evolve_every = evolve_every

    def train(self, steps: int) -> None:
        """The trainer's loop, for so many steps more."""
        self.run.config.steps += steps
        self.run.loop()
        self._leave_when_asked()

    def act(self) -> None:
        """One action without noise, in the environment's units."""
        run = self.run
        run.agent.act(run.agent.seen, run.action)
        run.scale_action()

    def advance(self) -> None:
        """Take that action; nothing is remembered or learned."""
        self._leave_when_asked()
        run = self.run
        _, terminated, truncated = run.environment.step(run.scaled_action)
        if terminated or truncated:
            run.environment.reset(run.seed_of_episode(run.agent.random))

    def _leave_when_asked(self) -> None:
        """At a signal the trainer's loop ends; no step follows it."""
        if self.run.stop:
            sys.exit(ASKED_TO_LEAVE)

    def facts(self) -> "dict[str, Any]":
        """What the plan and the networks say."""
        run = self.run
        return {
            "isa": core.isa(),
            "observation_size": run.environment.observation_size,
            "action_size": run.environment.action_size,
            "connections": run.agent.connections,
            "ledger": run.plan.as_dict()["lines"],
            "planned_bytes": run.plan.planned_bytes,
            "arena_bytes": run.arena.used_bytes,
            "replay_row_bytes": run.plan.row_bytes,
            "replay_rows": run.plan.replay_rows,
        }
