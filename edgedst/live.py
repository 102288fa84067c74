"""The learning side of a machine that learns while it acts: the trainer whose steps come from another process.

It takes what the acting side hands over, updates as often as was asked or as fits, hands over whole actors, and writes
everything that is written. The acting side never waits for it; what it waits for here is the next step, or its share.
"""

import os
import sys
from _signal import SIGINT  # type: ignore[import-not-found]  # `signal` imports enum
from time import monotonic, sleep

from edgedst import core, saving, trainer, training
from edgedst.errors import EdgedstError, RobotFault, RunFolderError
from edgedst.evaluation import log
from edgedst.machine import Machine
from edgedst.machine import link as fields
from edgedst.machine.kept_time import KeptTime
from edgedst.machine.link import HEADER, now_ns
from edgedst.reserve import Reserve
from edgedst.updates import told_rate, updates_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IDLE_SECONDS = 0.002  # at most, until the ring is looked at again
BESIDE_SECONDS = 5.0  # between two looks at the other processes' memory
TOLD_SECONDS = 10.0  # after which somebody is told that a reset is still awaited, and that learning falls behind
BEHIND_STEPS = 50  # of updates that are owed before that counts as falling behind; one update never does
# The acting side may have a real-time class; the kernel's threads that carry a serial line's bytes to it have none.
LEARNERS_NICE = 10
MOST_LINES = 200  # of WEIGHTS in memory
WEIGHTS = "weights.csv"


def main() -> int:
    """See `trainer.main`."""
    return trainer.main(LiveTraining)


class LiveTraining(training.Training):
    """A run on a machine. Its steps, and so its numbers, follow a clock: no two runs are the same."""

    environment: Machine

    def prepare(self, lines: "Any", state: "dict[str, Any] | None") -> None:
        """As every run; then what is particular to a machine."""
        self.guard.beside_bytes = self.environment.memory_beside()
        super().prepare(lines, state)
        config = self.config
        self.progress.quick_steps = 0  # a machine's steps have a clock
        self.period = 1 / self.environment.rate_hz
        self.reserve = Reserve(config, self.energy)
        self.base_step = self.step
        self.owed_from = self.agent.iteration  # updates and steps that the updates a step are counted from
        self.owed_step = max(self.step, config.start_steps)
        rate_hz = self.environment.rate_hz
        self.kept, self.kept_of_episode = KeptTime(rate_hz), KeptTime(rate_hz)
        self.episode_began = (self.step, self.agent.iteration)
        self.cut_off = self.lost = self.dropped = self.behind = 0
        self.returns: list[float] = []  # of the evaluation under way
        self.evaluating_at = -1  # its step, as the acting side counts them
        self.evaluated = 0
        self.published = -1
        self.next_beside = self.next_word = 0.0
        self.waiting_since = 0.0
        self.weights: list[str] = []  # lines of WEIGHTS that are not written yet
        self.acted_with = -1
        self.acting_since = self.acted_until = 0.0

    def begin_episode(self) -> None:
        """The acting side does."""

    def evaluation_is_due(self) -> bool:
        """The acting side knows."""
        return False

    def loop(self) -> None:
        """Take, learn, hand over, save."""
        config, machine = self.config, self.environment
        self.progress.start(self.step)
        self.publish()
        core.release_file_pages()
        if self.step >= config.steps or self.stop:  # there is nothing to move for
            self.finish()
            return
        if self.saved_step < 0:
            self.save()  # of step 0, as every run's first one: `runs/find.py` knows what a kill leaves of that
        machine.go(self.step, self.episode, self.plan.budget_bytes - self.plan.planned_bytes)
        os.nice(LEARNERS_NICE)
        for note in (machine.note, self.reserve.missing()):
            if note:
                self.progress.say(note)
        self.acting_since = monotonic()
        try:
            self.learn_beside()
        except BaseException:
            machine.end()  # first the machine, then what there is to say
            raise
        self.finish()

    def learn_beside(self) -> None:
        """Until the last step, or a signal."""
        config, agent = self.config, self.agent
        saved_at = self.step // config.checkpoint_every
        while True:
            done = self.environment.done  # what was said and done before that is there, unless the ring was full
            self.hear()
            if self.take_steps():
                self.publish()
            if self.stop or done:  # behind the last step an evaluation may be due
                return
            if self.step // config.checkpoint_every > saved_at:
                saved_at = self.step // config.checkpoint_every
                self.guard.check()
                self.save()
            if self.updates_owed() and agent.replay.transitions:
                began = monotonic()
                agent.update()
                self.reserve.rest(began)
                self.unsaved = True
            else:
                self.publish()
                sleep(min(IDLE_SECONDS, self.period / 4))
            self.watch()

    def hear(self) -> None:
        """What the acting side says. When it has failed, what it has done until then is saved first.

        Raises:
            RobotFault, BudgetBroken: it has ended.
        """
        try:
            if not self.environment.check():
                self.stop = True
        except EdgedstError:
            self.take_steps()
            try:
                self.folder.metric({"step": self.step, "brought_to_rest": self.environment.rested})
                self.save()
            except RunFolderError:
                pass  # the checkpoint before is good
            raise

    def finish(self) -> None:
        """Bring the machine to rest first; then save."""
        try:
            self.environment.close()
        except RobotFault:
            pass  # it may be moving: `fault` tells that when all is saved
        self.take_steps()
        fault = self.environment.fault()
        if self.environment.rested or not fault:
            self.progress.say(f"The machine is at rest: {self.environment.rested or 'nothing had moved'}.")
            self.progress.say(self.in_words())
        self.folder.metric({"step": self.step, "brought_to_rest": self.environment.rested})
        # N updates a step are N of the last steps, too, as long as learning keeps up.
        most = self.most_behind()
        while self.updates_owed() and self.behind <= most and self.agent.replay.transitions and most:
            self.agent.update()
            self.unsaved = True
        if self.unsaved:
            self.save()
        if fault:
            raise fault

    def request_stop(self, number: int, _frame: object) -> None:
        """At a signal the machine comes to rest at once; a second Ctrl-C ends what blocks in robot.py, too."""
        self.environment.end(at_once=self.signalled and number == SIGINT)
        self.stop = self.signalled = True

    def most_behind(self) -> float:
        """Updates that may be owed without falling behind; 0 where there are as many as fit."""
        rate = self.config.updates_per_step
        return max(1, BEHIND_STEPS * rate) if rate else 0

    def updates_owed(self) -> bool:
        """Whether another update is due: N a step, or as many as fit below the cap."""
        if not self.can_learn():  # nothing is owed for these steps: made up for, all would be on one batch
            self.owed_step = max(self.step, self.config.start_steps)
        steps = self.step - self.owed_step
        if steps <= 0:
            return False
        done = self.agent.iteration - self.owed_from
        rate, start = self.config.updates_per_step or self.config.max_updates_per_step, self.config.start_steps
        wanted = updates_for(self.step - start, rate) - updates_for(self.owed_step - start, rate)
        if self.config.updates_per_step:
            self.behind = wanted - done
        return bool(done < wanted)

    def publish(self) -> None:
        """Hand over the actor, if it has changed."""
        agent = self.agent
        if agent.iteration != self.published:
            self.published = agent.iteration
            self.environment.link.publish(agent, now_ns())

    def take_steps(self) -> int:
        """Everything that the ring holds; returns how many records that was."""
        link = self.environment.link
        count = 0
        while link.ring.get(link.record):
            self.take(*HEADER.unpack_from(link.record))
            count += 1
        return count

    def take(
        self,
        kind: int,
        flags: int,
        steps: int,
        length: int,
        missed: int,
        updates: int,
        buffer: int,
        dropped: int,
        value: float,
        jitter_us: float,
        latency_us: float,
        age_ms: float,
    ) -> None:
        """One record: see `link.HEADER`."""
        link, agent = self.environment.link, self.agent
        terminated, truncated = bool(flags & fields.TERMINATED), bool(flags & fields.TRUNCATED)
        self.dropped = dropped
        if kind == fields.BEGIN:
            self.remember(agent.begin_episode, link.observation)
            return
        if kind == fields.OVER:
            self.end_of(flags, steps, length, value, buffer)
            return
        self.acted_until = monotonic()
        for kept in (self.kept, self.kept_of_episode):
            kept.add(missed, jitter_us, latency_us, age_ms if updates else None)
        if kind == fields.TRIED:
            return
        self.step = self.base_step + steps
        self.agent.at_step(self.step - 1)
        self.unsaved = True
        if kind == fields.STEP:
            self.remember(agent.remember, link.action, value, link.observation, terminated, truncated)
        else:
            self.lost += 1
        if updates != self.acted_with:
            self.acted_with = updates
            self.weights.append(f"{self.step},{updates}\n")
            if len(self.weights) == MOST_LINES:
                self.write_weights()

    def end_of(self, flags: int, steps: int, length: int, total: float, buffer: int) -> None:
        """An episode is over."""
        self.cut_off += bool(flags & fields.CUT_OFF)
        if flags & fields.EVALUATION:
            if steps != self.evaluating_at:  # one with an episode cut off, or lost, stays incomplete: another actor's
                self.evaluating_at, self.returns = steps, []
            if not flags & fields.CUT_OFF:
                self.returns.append(total)
            self.evaluated += 1
            if len(self.returns) == self.config.eval_episodes:
                self.count_evaluation(buffer)
            self.environment.acknowledge(self.evaluated)
        else:
            self.episode_return, self.episode_length = total, length
            step, iteration = self.episode_began
            updates = round((self.agent.iteration - iteration) / max(1, self.step - step), 4)
            told = {"updates_per_step": updates, **self.kept_of_episode.told()}
            if flags & fields.CUT_OFF:
                told["cut_off"] = True
            self.end_episode(self.step, bool(flags & fields.TERMINATED), **told)
        self.episode_return, self.episode_length = 0.0, 0
        self.episode_began = (self.step, self.agent.iteration)
        self.kept_of_episode.clear()
        if not self.config.eval_every and self.evaluations.count:
            self.progress.evaluation = f"{self.evaluations.newest[0]:,.1f} (training)"

    def count_evaluation(self, buffer: int) -> None:
        """Its returns; the actor that acted, which still lies in the link, is saved when it is the best."""
        mean, _ = self.evaluations.add(self.step, self.returns)
        if self.checkpoints.is_best(mean):
            link = self.environment.link
            about = saving.about(self, "actor", normalizer=link.normalizers[buffer])
            self.checkpoints.save_best(about, link.actors[buffer])
        self.wish_after_evaluation(mean)
        log(self, len(self.returns))
        self.returns = []

    def watch(self, evaluating: str = "") -> None:
        """As every run; and the memory of the other processes, a reset that goes on, learning that falls behind."""
        now = monotonic()
        if now >= self.next_beside:
            self.next_beside = now + BESIDE_SECONDS
            self.guard.beside_bytes = max(self.guard.beside_bytes, self.environment.memory_beside())
        preparing = self.environment.preparing
        self.waiting_since = (self.waiting_since or now) if preparing else 0.0
        if now >= self.next_word:
            self.next_word = now + TOLD_SECONDS
            if preparing and now - self.waiting_since >= TOLD_SECONDS:
                self.progress.say(f"Waiting for {preparing}() for {now - self.waiting_since:.0f} s; learning goes on.")
            if self.behind > self.most_behind():
                self.progress.say(
                    f"Learning is {self.behind:,} updates behind {told_rate(self.config.updates_per_step)} a step: "
                    f"{self.updates_per_step():.3g} fit. Acting keeps its rate."
                )
            if word := self.reserve.word():
                self.progress.say(word)
        self.reserve.look(now)
        super().watch(evaluating)

    def updates_per_step(self) -> float:
        """Updates for each step behind the random ones, of this process."""
        updates: int = self.agent.iteration - self.owed_from
        steps: int = max(1, self.step - self.owed_step)
        return updates / steps

    def save(self) -> None:
        """A checkpoint, and which weights acted when."""
        self.write_weights()
        super().save()

    def write_weights(self) -> None:
        """What is known of which weights acted when."""
        lines, self.weights = self.weights, []
        self.folder.append(WEIGHTS, "".join(lines))

    def in_words(self) -> str:
        """What real time was like, for people."""
        told = self.kept.told()
        jitter, latency = (
            ", ".join(f"{share} {told[f'{name}_{share}_ms']:g}" for share in ("p50", "p99", "max"))
            for name in ("jitter", "observation_to_action")
        )
        behind = f", {self.behind:,} behind" if self.behind > 0 else ""
        more = f" {self.cut_off:,} episodes were cut off for missed periods." if self.cut_off else ""
        more += f" {self.dropped:,} records found the ring full." if self.dropped else ""
        return (
            f"Rate {told['rate_kept_hz']:g} of {self.environment.rate_hz:g} Hz, {self.kept.missed:,} of "
            f"{self.kept.periods:,} periods missed; jitter {jitter} ms; observation to action {latency} ms; "
            f"{self.updates_per_step():.3g} updates a step{behind}; weights {told['weights_age_p50_ms']:g} ms old "
            f"(p50), {told['weights_age_max_ms']:g} at most.{more}"
        )

    def more_to_tell(self) -> "dict[str, Any]":
        """What real time was like."""
        return {"real_time": self.real_time()}

    def real_time(self) -> "dict[str, Any]":
        """In numbers, of this process."""
        return {
            "rate_hz": self.environment.rate_hz,
            "steps_acted": self.kept.steps,
            "periods": self.kept.periods,
            **self.kept.told(),
            "steps_not_stored": self.lost,
            "records_dropped": self.dropped,
            "episodes_cut_off": self.cut_off,
            "updates_per_step": round(self.updates_per_step(), 4),
            "updates_behind": max(0, self.behind),
            **{f"peak_rss_bytes_{name}": size for name, size in self.environment.peaks.items()},
            "memory_beside_bytes": self.guard.beside_bytes,  # of those two, beyond what they share with this process
            "learning_share": round(self.reserve.share, 3),
            "brought_to_rest": self.environment.rested,
            "seconds_acted": round(max(0.0, self.acted_until - self.acting_since), 1),
        }


if __name__ == "__main__":
    sys.exit(main())
