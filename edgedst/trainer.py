"""The lean process that trains: a little of the standard library and the compiled core; no NumPy for native tasks.

The front end replaces itself by this module's `main`. Here is the order of a run: environment, plan, run folder, arena,
loop, summary. The algorithm is in `agents`, files are in `runs` and `checkpoints`, memory is in `budget`.
"""

import sys

# Not `signal`, `types`: they import enum and functools, 0.7 MB.
from _signal import SIGINT, SIGTERM, signal  # type: ignore[import-not-found]  # typeshed has only signal itself
from binascii import a2b_base64, b2a_base64
from time import monotonic

from edgedst import __version__, core
from edgedst.agents import agent_class
from edgedst.budget.guard import Guard, memory
from edgedst.checkpoints import Checkpoints
from edgedst.errors import BudgetBroken, CheckpointError, EdgedstError, EnvironmentFault, TrainingDiverged
from edgedst.plain_json import dumps, loads
from edgedst.progress import Progress
from edgedst.runs import RunFolder, host_facts
from edgedst.stage import floats, make_environments, make_tally, plan_run, read_resumable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Settings: "Any" = type(sys.implementation)  # types.SimpleNamespace
EVALUATION_STREAM = 1000  # evaluation i draws its seeds from stream EVALUATION_STREAM + i: it never disturbs training


def main() -> int:
    """Run what the JSON in sys.argv[-1] asks for; returns the exit code.

    Keys: config (every setting), spec (of the environment, from `registry.locate`), config_toml, run_dir, resume (a
    folder or null), progress (true, false, null), note (told at the start), energy (the meter's spec, from
    `energy.sources.choose`, or null), front_end_peak_bytes, plan_only, debug.
    """
    job = loads(sys.argv[-1])
    try:
        if job["plan_only"]:
            return print_plan(job)
        return Run(job).train()
    except EdgedstError as error:
        if job["debug"]:
            raise
        sys.stdout.flush()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def print_plan(job: "dict[str, Any]") -> int:
    """The plan alone, as JSON on standard output."""
    config = Settings(**job["config"])
    environment, _, lines = make_environments(job["spec"], config.seed)
    make_tally(job["energy"], lines)
    print(dumps(plan_run(config, environment, lines).as_dict()))
    return 0


class Run:
    """One run, from its plan to its summary.

    Args:
        job: see `main`.
    """

    def __init__(self, job: "dict[str, Any]") -> None:
        config = self.config = Settings(**job["config"])
        core.set_threads(config.threads)
        state = read_resumable(config, job["resume"]) if job["resume"] else None
        self.environment, self.evaluation_environment, lines = make_environments(job["spec"], config.seed)
        environment = self.environment
        self.energy = make_tally(job["energy"], lines)
        self.plan = plan_run(config, environment, lines, state["replay"]["capacity"] if state else None)

        # The run fits: only now is anything written or reserved.
        if job["resume"]:
            self.folder = RunFolder(job["resume"])
        else:
            self.folder = RunFolder.create(job["run_dir"], config.env, config.method, config.seed)
            # Two starts differ by some rows; with the number in its config a run can be repeated to the bit.
            rows = "" if config.replay_rows else f"replay_rows = {self.plan.replay_rows}\n"
            self.folder.write("config.toml", job["config_toml"] + rows)
            self.folder.write("plan.json", self.plan.as_dict())
            about = {"edgedst": __version__, "python": sys.version.split()[0], **core.capabilities()}
            self.folder.write("host.json", {**about, **host_facts()})
        n, m = environment.observation_size, environment.action_size
        self.arena = core.Arena(self.plan.arena_bytes)
        self.agent = agent_class(config.method)(self.arena, config, n, m)
        self.agent.replay = core.Replay(
            self.arena, "replay", self.plan.replay_rows, n, m, config.replay_dtype, environment.constants
        )
        self.guard = Guard(self.plan.budget_bytes)
        self.guard.enforce()
        self.checkpoints = Checkpoints(
            self.folder.checkpoint_path,
            self.agent.networks,
            self.agent.workspace,
            self.agent.replay,
            self.plan.row_bytes,
            config.replay_dtype,
        )
        self.progress = Progress(config.steps, self.plan.budget_bytes, job["progress"])
        self.action = floats(m)  # normalised to [-1, 1]
        self.scaled_action = floats(m)  # in the environment's units

        self.step = 0
        self.saved_step = -1
        self.unsaved = True  # a step or an evaluation that no checkpoint has
        self.episode, self.episode_return, self.episode_length = 0, 0.0, 0
        self.evaluations: list[list[float]] = []  # [step, mean return, its standard deviation]
        self.seconds_before = 0.0  # trained by earlier processes
        self.stop = False
        self.note = job["note"]
        self.front_end_peak_bytes = job["front_end_peak_bytes"]
        if state is None:
            self.folder.open_metrics()
            self.agent.initialise()
            self.begin_episode()
        else:
            self.restore(state)

    def train(self) -> int:
        """Train to the last step or to a signal; returns the exit code."""
        for number in (SIGTERM, SIGINT):
            signal(number, self.request_stop)
        config, say = self.config, self.progress.say
        say(
            f"{config.method} on {config.env}, seed {config.seed}: {self.agent.connections:,} connections, "
            f"{self.plan.replay_rows:,} rows of {config.replay_dtype} replay, "
            f"{self.plan.budget_bytes / 1e6:g} MB; {core.isa()}"
        )
        if self.note:
            say(self.note)
        say(f"{self.folder.path}" + (f", from step {self.step:,}" if self.saved_step >= 0 else ""))
        if self.energy:
            say(self.energy.announced())
            self.energy.begin()
        try:
            self.loop()
            if self.step < config.steps or self.evaluation_is_due():
                self.summarise("interrupted")
                say(
                    f"Stopped at step {self.step:,} with a checkpoint. To go on: "
                    f"edgedst train --resume {self.folder.path}"
                )
                return 0
            self.summarise("finished")
            self.guard.check()
            return 0
        except (BudgetBroken, MemoryError) as error:
            self.guard.release()
            self.summarise("over budget")
            reason = error if isinstance(error, BudgetBroken) else f"The process needed more at step {self.step:,}."
            raise BudgetBroken(
                f"{config.env} does not stay within {config.budget_mb:g} MB. {reason} {self.last_checkpoint()} "
                "Train again with a larger `--budget-mb`."
            ) from error
        except TrainingDiverged:  # the checkpoint would lead here again
            raise
        except EdgedstError as error:
            raise type(error)(f"{error} {self.last_checkpoint()}") from error
        finally:
            self.tell_warnings()
            if self.energy:
                self.energy.stop()

    def loop(self) -> None:
        """Evaluate, save, act, learn."""
        config, agent, progress = self.config, self.agent, self.progress
        progress.start(self.step)
        while True:
            if self.evaluation_is_due():
                self.evaluate()
            last = self.stop or self.step >= config.steps
            if (last or self.step % config.checkpoint_every == 0) and self.unsaved:
                self.save()
            if last:
                return
            if self.step < config.start_steps:
                agent.random_action(self.action)
                self.act()
            else:
                agent.explore(self.environment.observation, self.action)
                self.act()
                agent.update()
            self.step += 1
            self.unsaved = True
            if monotonic() >= progress.next_time:
                progress.show(self.step, self.guard.check()[0])

    def act(self) -> None:
        """One environment step into the replay; at an episode's end the next one begins."""
        self.scale_action()
        reward, terminated, truncated = self.environment.step(self.scaled_action)
        observation = self.environment.observation
        self.remember(self.agent.replay.add, self.action, reward, observation, terminated, truncated)
        self.episode_return += reward
        self.episode_length += 1
        if terminated or truncated:
            self.folder.metric(
                {
                    "step": self.step + 1,
                    "episode": self.episode,
                    "episode_return": self.episode_return,
                    "episode_length": self.episode_length,
                    "terminated": terminated,
                }
            )
            self.episode += 1
            self.begin_episode()

    def remember(self, into_replay: "Callable[..., None]", *row: object) -> None:
        """Call a method of the replay, which refuses what its precision cannot hold."""
        try:
            into_replay(*row)
        except ValueError as error:
            raise EnvironmentFault(f"{self.config.env}: {error}.") from error

    def begin_episode(self) -> None:
        """Reset the training environment with a seed of this episode's own."""
        self.environment.reset(self.agent.random.integer())
        self.episode_return, self.episode_length = 0.0, 0
        self.remember(self.agent.replay.begin_episode, self.environment.observation)

    def scale_action(self) -> None:
        """The normalised action into the environment's units."""
        low, high, scaled = self.environment.action_low, self.environment.action_high, self.scaled_action
        for i, a in enumerate(self.action):
            scaled[i] = low[i] + (a + 1.0) / 2.0 * (high[i] - low[i])

    def evaluation_is_due(self) -> bool:
        """Every `eval_every` steps, the first at step 0, each once."""
        number, rest = divmod(self.step, self.config.eval_every)
        return bool(rest == 0 and len(self.evaluations) <= number)

    def evaluate(self) -> None:
        """Episodes without noise. A signal ends it: resumed, the whole evaluation is made again."""
        environment = self.evaluation_environment
        seeds = core.Random(self.config.seed, EVALUATION_STREAM + len(self.evaluations))
        returns = []
        for _ in range(self.config.eval_episodes):
            environment.reset(seeds.integer())
            total, done = 0.0, False
            while not done:
                if self.stop:
                    return
                self.agent.act(environment.observation, self.action)
                self.scale_action()
                reward, terminated, truncated = environment.step(self.scaled_action)
                total += reward
                done = terminated or truncated
            returns.append(total)
        mean = sum(returns) / len(returns)
        sd = (sum([(value - mean) ** 2 for value in returns]) / len(returns)) ** 0.5
        best = max([before for _, before, _ in self.evaluations], default=float("-inf"))
        self.evaluations.append([self.step, mean, sd])
        self.unsaved = True
        if mean > best:
            self.checkpoints.save_best(self.about("actor"))
        self.progress.evaluation = f"{mean:,.1f}"
        rss, peak = self.guard.check()
        speed = self.progress.speed(self.step)
        self.folder.metric(
            {
                "step": self.step,
                "evaluation_return": mean,
                "evaluation_sd": sd,
                "evaluation_episodes": len(returns),
                **self.agent.losses(),
                "steps_per_second": round(speed, 1),
                "seconds": round(self.seconds_before + self.progress.seconds, 1),
                **(self.energy.logged() if self.energy else {}),
                "rss_bytes": rss,
                "peak_rss_bytes": peak,
            }
        )
        self.progress.show(self.step, rss)
        self.tell_warnings()

    def tell_warnings(self) -> None:
        """What the simulators said since the last time. MuJoCo resets an unstable simulation and goes on: tell it."""
        for environment in (self.environment, self.evaluation_environment):
            warnings = environment.take_warnings()
            if warnings:
                others = " There were others." if len(warnings) > 1 else ""
                self.progress.say(f"{self.config.env} warned before step {self.step:,}: {warnings[0]}{others}")

    def save(self) -> None:
        """A checkpoint of this step."""
        config, environment = self.config, self.environment
        self.folder.sync_metrics()
        facts = {
            "step": self.step,
            "env": config.env,
            "method": config.method,
            "seed": config.seed,
            "metrics_bytes": self.folder.metrics_bytes,
            "agent": self.agent.state(),
            "environment": b2a_base64(environment.state(), newline=False).decode(),
            "episode": [self.episode, self.episode_return, self.episode_length],
            "evaluations": self.evaluations,
            "seconds": self.seconds_before + self.progress.seconds,
            "energy": self.energy.total() if self.energy else None,
        }
        self.checkpoints.save(facts, self.about(*self.agent.networks))
        self.saved_step = self.step
        self.unsaved = False

    def about(self, *names: str) -> "dict[str, Any]":
        """Metadata of a file with these networks."""
        config, environment, networks = self.config, self.environment, self.agent.networks
        mean, sd = self.evaluations[-1][1:] if self.evaluations else (None, None)
        return {
            "env": config.env,
            "method": config.method,
            "seed": config.seed,
            "step": self.step,
            "sizes": {name: list(networks[name].sizes) for name in names},
            "action_low": environment.action_low,
            "action_high": environment.action_high,
            "evaluation_return": mean,
            "evaluation_sd": sd,
        }

    def restore(self, state: "dict[str, Any]") -> None:
        """Put everything back as it was when the checkpoint was made."""
        self.checkpoints.load(state)
        try:
            self.agent.set_state(state["agent"])
            self.environment.set_state(a2b_base64(state["environment"]))
            self.step = self.saved_step = state["step"]
            self.unsaved = False
            self.episode, self.episode_return, self.episode_length = state["episode"]
            self.evaluations, self.seconds_before = state["evaluations"], state["seconds"]
            if self.energy:
                self.energy.take_over(state.get("energy"))
            metrics_bytes = state["metrics_bytes"]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, EdgedstError):
                raise
            raise CheckpointError(
                f"`{self.checkpoints.folder}/state.json` does not fit this run ({error}). It is damaged or foreign: "
                "take it from a backup, or train anew."
            ) from error
        if self.evaluations:
            self.progress.evaluation = f"{self.evaluations[-1][1]:,.1f}"
        self.folder.open_metrics(metrics_bytes)

    def summarise(self, exit_reason: str) -> None:
        """summary.json, and for a finished run the last lines on the terminal."""
        peak = memory()[1]
        if exit_reason == "finished" and peak > self.plan.budget_bytes:
            exit_reason = "over budget"
        means = [mean for _, mean, _ in self.evaluations]
        last = means[-10:]
        summary = {
            "exit_reason": exit_reason,
            "finished": self.step >= self.config.steps and not self.evaluation_is_due(),
            "step": self.step,
            "budget_bytes": self.plan.budget_bytes,
            "planned_bytes": self.plan.planned_bytes,
            "arena_bytes": self.arena.used_bytes,
            "peak_rss_bytes": peak,
            "front_end_peak_bytes": self.front_end_peak_bytes,  # of the command, before it became the trainer
            "data_limit_bytes": self.guard.limit_bytes,
            "replay_rows": self.plan.replay_rows,
            "replay_transitions": self.agent.replay.transitions,
            "connections": self.agent.connections,
            "R": sum(last) / len(last) if last else None,  # mean of the last 10 evaluations
            "LCA": sum(means) / 1e6,  # area under the learning curve, as the paper's Table 1 counts it
            "evaluations": len(means),
            "steps_per_second": round(self.progress.speed(self.step), 1),
            "seconds": round(self.seconds_before + self.progress.seconds, 1),
            "energy": self.energy.total() if self.energy else None,
            "modules": sorted(sys.modules),
        }
        self.folder.write("summary.json", summary)
        if exit_reason == "finished":
            told = f" R {summary['R']:,.1f} (mean of the last {len(last)} evaluations)," if last else ""
            self.progress.say(
                f"Finished {self.step:,} steps:{told} {summary['steps_per_second']:,} steps/s, peak {peak / 1e6:.1f} "
                f"of {self.plan.budget_bytes / 1e6:g} MB."
            )
            if self.energy:
                self.progress.say(self.energy.summed_up())

    def request_stop(self, number: int, _frame: object) -> None:
        """SIGTERM or Ctrl-C: the step under way is finished, then a checkpoint is written. Ctrl-C then ends at once.

        Not another SIGTERM: the kernel sends one for each thread of a parent that dies (prctl's PR_SET_PDEATHSIG).
        """
        if self.stop and number == SIGINT:
            raise KeyboardInterrupt
        self.stop = True

    def last_checkpoint(self) -> str:
        """Where to go on, for an error's sentence."""
        if self.saved_step < 0:
            return "There is no checkpoint yet."
        return f"The checkpoint of step {self.saved_step:,} is good: `edgedst train --resume {self.folder.path}`."
