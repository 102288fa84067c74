"""One run, from its plan to its summary: environment, plan, run folder, arena, loop.

The algorithm is in `agents`, files are in `runs`, memory is in `budget`; `trainer` is the process around it.
"""

import sys

# Not `signal`, `types`: they import enum and functools, 0.7 MB.
from _signal import (  # type: ignore[import-not-found]  # typeshed has only signal itself
    SIG_IGN,
    SIGHUP,
    SIGINT,
    SIGTERM,
    SIGTSTP,
    getsignal,
    signal,
)
from binascii import crc32
from time import monotonic

from edgedst import __version__, core, saving
from edgedst import summary as words
from edgedst.agents import agent_class
from edgedst.budget.guard import Guard
from edgedst.budget.plan import budget_bytes_of
from edgedst.envs import LARGEST_FLOAT32
from edgedst.errors import BudgetBroken, EdgedstError, EnvironmentFault, TrainingDiverged
from edgedst.evaluation import Evaluations, evaluate
from edgedst.files import quoted, write_all
from edgedst.progress import Progress
from edgedst.runs.checkpoint import Checkpoints, layout
from edgedst.runs.episode import Episode
from edgedst.runs.folder import RunFolder, host_facts
from edgedst.stage import (
    close_all,
    floats,
    learning_seconds,
    make_environments,
    make_tally,
    not_kept,
    note_on_cores,
    notes_on,
    plan_run,
    read_resumable,
    take_kernels,
)
from edgedst.updates import updates_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgedst.energy.tally import Tally
    from edgedst.stage import Ledger

Settings: "Any" = type(sys.implementation)  # types.SimpleNamespace
STOPPING = (SIGTERM, SIGHUP, SIGINT)  # at each of them a run checkpoints and ends; a SIGHUP under nohup stays ignored
CHECK_SECONDS = 0.5  # between two looks at the memory


class ReplayFault(EnvironmentFault):
    """The replay cannot hold what the environment gave: going on from a checkpoint would lead there again."""


class Training:
    """One run, from its plan to its summary.

    Args:
        job: see `trainer.main`.
    """

    def __init__(self, job: "dict[str, Any]") -> None:
        config = self.config = Settings(**job["config"])
        self.job = job
        core.set_threads(config.threads)
        self.guard = Guard(budget_bytes_of(config))
        self.energy: Tally | None = None
        state, kernels = None, ""
        if job["resume"]:
            self.folder = RunFolder(job["resume"])
            self.folder.open_metrics(new=False)
            state = read_resumable(config, job["resume"], job["config_crc32"])
            kernels = take_kernels(state, job["resume"])
        self.environment, self.evaluation_environment, lines, repeats = make_environments(
            job["spec"], config, self.guard
        )
        try:
            self.prepare(lines, state)
        except BaseException as error:
            self.close()
            if isinstance(error, ReplayFault):
                raise EnvironmentFault(str(error)) from error
            raise
        notes = [kernels, note_on_cores(config.threads), *notes_on(config, self.environment, repeats)]
        self.notes = [job["note"], *notes, self.note]

    def prepare(self, lines: "Ledger", state: "dict[str, Any] | None") -> None:
        """The plan; then, if it fits, the run folder, the arena and all that is on it, as new or as it was saved."""
        config, job, environment = self.config, self.job, self.environment
        # Only runs that begin so have these in memory, and it is counted before the plan.
        if state is None and config.init_from:
            from edgedst.beginning import Source, begin_from
        if state is None and job["prefill"]:
            from edgedst.prefill import fill
        self.energy = make_tally(job["energy"], lines)
        rows = state["replay"]["capacity"] if state else None
        self.plan = plan_run(job, config, (environment, self.evaluation_environment), lines, rows)

        source = None
        if state is None and config.init_from:
            rows_are = layout(config.replay_dtype, self.plan.row_bytes, environment.constants)
            source = Source(config, environment, rows_are)

        early = state is None and 0 < config.start_steps < config.steps and not config.critic_warmup
        timed = early and job["progress"] is not False and not environment.hardware
        learning = learning_seconds(config, environment) if timed else 0.0

        # The run fits: only now is anything written or reserved.
        self.stop = self.signalled = False
        self.wish = ""  # why it was stopped, when that was the caller's wish
        for number in STOPPING:
            if number != SIGHUP or getsignal(number) != SIG_IGN:  # nohup
                signal(number, self.request_stop)
        if environment.hardware:  # Ctrl-Z: who reads "Stopped" must not find the machine moving
            signal(SIGTSTP, self.request_stop)
        if state is None:
            self.folder = RunFolder.create(job["run_dir"], config.env, config.method, config.seed)
            # Two starts differ by some rows; with the number in its config a run can be repeated to the bit.
            rows_told = "" if config.replay_rows else f"replay_rows = {self.plan.replay_rows}\n"
            self.folder.write("config.toml", job["config_toml"] + rows_told)
            self.config_crc32 = crc32((job["config_toml"] + rows_told).encode())
            self.folder.write("plan.json", self.plan.as_dict())
            about = {"edgedst": __version__, "python": sys.version.split()[0], **core.capabilities()}
            self.folder.write("host.json", {**about, **host_facts()})
            self.folder.open_metrics(new=True)
        else:
            self.config_crc32 = job["config_crc32"]
        if job["told_to"] is not None:
            write_all(job["told_to"], f"{self.folder.path}\n".encode(errors="surrogateescape"))
        n, m = environment.observation_size, environment.action_size
        files_bytes = core.release_file_pages()  # of making the run folder; the arena's pages are all touched now
        self.arena = core.Arena(self.plan.arena_bytes)
        self.agent = agent_class(config.method)(self.arena, config, n, m)
        self.agent.replay = core.Replay(
            self.arena,
            "replay",
            self.plan.replay_rows,
            n,
            m,
            config.replay_dtype,
            environment.constants,
            config.history,
        )
        self.guard.enforce(self.plan.headroom_bytes, files_bytes)
        self.checkpoints = Checkpoints(
            self.folder.checkpoint_path,
            self.agent.networks,
            self.agent.workspace,
            self.agent.replay,
            self.plan.row_bytes,
            config.replay_dtype,
        )
        quick = config.start_steps + config.critic_warmup
        self.progress = Progress(config.steps, self.plan.budget_bytes, job["progress"], quick, learning)
        self.next_check = 0.0
        self.action = floats(m)  # normalised to [-1, 1]
        self.scaled_action = floats(m)  # in the environment's units

        self.step = 0
        self.saved_step = -1
        self.unsaved = True  # a step or an evaluation that no checkpoint has
        self.record = Episode(self.folder.checkpoint_path, environment)
        self.episode, self.episode_return, self.episode_length = 0, 0.0, 0
        self.evaluations = Evaluations()
        self.seconds_before = 0.0  # trained by earlier processes
        self.note = ""  # of the way on
        if state is None:
            self.agent.initialise()
            told = [begin_from(self, source)] if source else []
            if job["prefill"]:
                told.append(fill(self.agent, job["prefill"], config.demo_share > 0))
            self.note = "\n".join(told)
            self.begin_episode()
        else:
            self.note = saving.restore(self, state)
            if job["extended_toml"] is not None:
                self.config_crc32 = self.folder.extend(job["extended_toml"])

    def close(self) -> None:
        """Close the environments and the meter; to be called on every way out."""
        if self.energy:
            self.energy.stop()
        told = close_all((self.environment, self.evaluation_environment))
        if told:
            print(told, file=sys.stderr)

    def train(self) -> int:
        """Train to the last step or to a signal; returns the exit code."""
        config, say = self.config, self.progress.say
        say(
            f"{config.method} on {config.env}, seed {config.seed}: {self.agent.connections:,} connections, "
            f"{self.plan.replay_rows:,} rows of {config.replay_dtype} replay, "
            f"{self.plan.budget_bytes / 1e6:g} MB; {core.isa()}"
        )
        for note in self.notes:
            if note:
                say(note)
        say(f"{self.folder.path}" + (f", from step {self.step:,}" if self.saved_step >= 0 else ""))
        if self.energy:
            say(self.energy.announced())
            self.energy.begin()
        core.set_last_words(words.last_words(self))
        try:
            self.loop()
            if self.step < config.steps or self.evaluation_is_due():
                self.summarise("stopped" if self.wish else "interrupted")
                say(
                    f"Stopped at step {self.step:,} with a checkpoint{self.wish}. To go on: "
                    f"edgedst train --resume {quoted(self.folder.path)}"
                )
                return 0
            self.summarise("finished")
            self.guard.check()
            return 0
        except (BudgetBroken, MemoryError) as error:
            core.release_file_pages()  # what ends the run needs some
            self.guard.release()
            self.summarise("over budget")
            reason = error if isinstance(error, BudgetBroken) else f"The process needed more at step {self.step:,}."
            raise BudgetBroken(
                f"{config.env} does not stay within {config.budget_mb:g} MB. {reason} {words.more_memory(self)}"
            ) from error
        except TrainingDiverged:  # the checkpoint would lead here again
            raise
        except ReplayFault as error:  # likewise
            raise EnvironmentFault(str(error)) from error
        except EdgedstError as error:
            raise type(error)(f"{error} {words.last_checkpoint(self)}") from error
        finally:
            self.tell_warnings()

    def loop(self) -> None:
        """Evaluate, save, act, learn."""
        config, agent, progress = self.config, self.agent, self.progress
        progress.start(self.step)
        core.release_file_pages()
        while True:
            if self.evaluation_is_due():
                evaluate(self)
            last = self.stop or self.step >= config.steps
            if (last or self.step % config.checkpoint_every == 0) and self.unsaved:
                self.guard.check()  # what now runs for the first time needs room
                self.save()
            if last:
                return
            if self.step < config.start_steps:
                agent.random_action(self.action)
                self.act()
            else:
                agent.explore(agent.seen, self.action)
                self.act()
                self.learn()
            self.step += 1
            self.unsaved = True
            self.watch()

    def learn(self) -> None:
        """The updates of a step: some, or with a fraction of one a step most often none."""
        rate, steps = self.config.updates_per_step, self.step - self.config.start_steps
        self.agent.at_step(self.step)
        if self.can_learn():
            for _ in range(updates_for(steps + 1, rate) - updates_for(steps, rate)):
                self.agent.update()

    def can_learn(self) -> bool:
        """Networks that another run has trained wait for a whole batch: the same few transitions again and again in
        each would spoil them.
        """
        replay = self.agent.replay
        least = min(self.config.batch_size, replay.capacity // 4) if self.config.init_from else 0
        return bool(replay.transitions >= least)

    def watch(self, evaluating: str = "") -> None:
        """Now and then: the memory against the budget, and the line of progress when it is due.

        Raises:
            BudgetBroken: the process is over its budget.
        """
        now = monotonic()
        if now >= self.next_check:
            self.next_check = now + CHECK_SECONDS
            rss = self.guard.check()[0]
            limit = self.job["stop_after_seconds"]
            if limit is not None and self.progress.seconds >= limit and not (self.stop or evaluating):
                self.stop, self.wish = True, f": {limit:g} s are over"
            if now >= self.progress.next_time:
                self.progress.show(self.step, rss, evaluating)

    def act(self) -> None:
        """One environment step into the replay; at an episode's end the next one begins."""
        self.scale_action()
        self.record.record(self.scaled_action)
        reward, terminated, truncated = self.environment.step(self.scaled_action)
        if abs(reward) > LARGEST_FLOAT32:
            raise ReplayFault(
                f"{self.config.env} gave a reward of {reward:g}, and the replay keeps it as float32, "
                f"which holds at most {LARGEST_FLOAT32:g}. Give a smaller one."
            )
        observation = self.environment.observation
        self.remember(self.agent.remember, self.action, reward, observation, terminated, truncated)
        self.episode_return += reward
        self.episode_length += 1
        if terminated or truncated:
            self.end_episode(self.step + 1, terminated)
            self.begin_episode()

    def end_episode(self, step: int, terminated: bool, **told: "Any") -> None:
        """An episode of training is over: a line of metrics. Without evaluations R comes from these returns.

        Not from one that a machine `cut_off` for missed periods: its return is that of a few steps.
        """
        line = {
            "step": step,
            "episode": self.episode,
            "episode_return": self.episode_return,
            "episode_length": self.episode_length,
            "terminated": terminated,
        }
        self.folder.metric({**line, **told})
        self.progress.episode = f"{self.episode_return:,.1f}"
        if not self.config.eval_every and "cut_off" not in told:
            self.wish_after_evaluation(self.evaluations.add(step, [self.episode_return])[0])
        self.episode += 1

    def remember(self, method: "Callable[..., None]", *row: object) -> None:
        """Call a method of the agent, whose replay refuses what its precision cannot hold."""
        try:
            method(*row)
        except ValueError as error:
            raise ReplayFault(not_kept(self.config, error)) from error

    def begin_episode(self) -> None:
        """Reset the training environment with a seed of this episode's own."""
        self.record.begin(self.step, self.seed_of_episode(self.agent.random))
        self.episode_return, self.episode_length = 0.0, 0
        self.remember(self.agent.begin_episode, self.environment.observation)

    def seed_of_episode(self, random: core.Random) -> int:
        """The next seed; one that a C int holds where it leaves this process's code."""
        return random.integer() if self.environment.native else random.integer() & 0x7FFFFFFF

    def scale_action(self) -> None:
        """The normalised action into the environment's units."""
        self.environment.scale_action(self.action, self.scaled_action)

    def evaluation_is_due(self) -> bool:
        """Every `eval_every` steps, the first at step 0, each once; on hardware between episodes, none at step 0."""
        if not self.config.eval_every:
            return False
        if self.environment.hardware:
            return self.episode_length == 0 and bool(self.step // self.config.eval_every > self.evaluations.count)
        number, rest = divmod(self.step, self.config.eval_every)
        return bool(rest == 0 and self.evaluations.count <= number)

    def wish_after_evaluation(self, mean: float) -> None:
        """Stop where that evaluation's return was the caller's goal."""
        wanted = self.job["stop_at_return"]
        if wanted is not None and mean >= wanted and not self.stop:
            self.stop, self.wish = True, f": the evaluation return {mean:,.1f} is {wanted:g} or more"

    def tell_warnings(self) -> None:
        """What the simulators said since the last time. MuJoCo resets an unstable simulation and goes on: tell it."""
        for environment in (self.environment, self.evaluation_environment):
            warnings = environment.take_warnings()
            if warnings:
                others = " There were others." if len(warnings) > 1 else ""
                self.progress.say(f"{self.config.env} warned before step {self.step:,}: {warnings[0]}{others}")

    def save(self) -> None:
        """A checkpoint of this step."""
        self.folder.sync_metrics()
        facts = saving.facts(self)
        self.checkpoints.save(facts, saving.about(self, *self.agent.networks), (self.record.file,))
        self.saved_step = self.step
        self.unsaved = False
        core.set_last_words(words.last_words(self))

    def summarise(self, exit_reason: str) -> None:
        """summary.json, and for a finished run the last lines on the terminal."""
        summary = words.summary(self, exit_reason)
        self.folder.write("summary.json", summary)
        if summary["exit_reason"] == "finished":
            self.progress.say(words.told(self, summary))
            if self.energy:
                self.progress.say(self.energy.summed_up())

    def more_to_tell(self) -> "dict[str, Any]":
        """What summary.json has of this kind of run alone."""
        return {}

    def request_stop(self, number: int, _frame: object) -> None:
        """At a signal the step under way is finished, then a checkpoint is written. Ctrl-C then ends at once.

        Not another SIGTERM: the kernel sends one for each thread of a parent that dies (prctl's PR_SET_PDEATHSIG).
        """
        if self.signalled and number == SIGINT:
            raise KeyboardInterrupt
        self.stop = self.signalled = True
