"""What is there before the first step: environments, warmed up and measured, an energy meter, the plan, and a run to
go on with.
"""

import os
from binascii import crc32
from time import monotonic

from edgedst import core
from edgedst.agents import agent_class
from edgedst.agents.actor_critic import NETWORKS
from edgedst.agents.networks import evolves
from edgedst.budget.guard import START_BYTES, Guard, memory
from edgedst.budget.plan import Plan, make_plan
from edgedst.density import MOST_FEATURES, check_reachable, input_size, lambdas_fill_all
from edgedst.envs import EPISODE_STEPS, LARGEST_FLOAT16, registry
from edgedst.errors import (
    BudgetExceeded,
    CheckpointError,
    EdgedstError,
    EnvironmentFault,
    TrainingDiverged,
    UnsupportedSpace,
)
from edgedst.files import quoted
from edgedst.plain_json import loads
from edgedst.runs.state import is_config_of, not_its_config, read_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from edgedst.energy.tally import Tally
    from edgedst.envs import Environment

    Ledger = list[tuple[str, int]]
    Made = tuple[Environment, Environment, Ledger, bool | None]

WARM_UP_STEPS = 50
FRONT_END_BYTES = 16_500_000  # peak of the command that becomes the trainer; a plan alone cannot measure it
TRIED_SECONDS = 0.1  # of learning, before a run begins
METER_SAMPLES = 64  # remembered: the trainer asks for windows since its first step only


def make_environments(spec: "dict[str, Any]", config: "Any", guard: Guard) -> "Made":
    """The environment to train in, one to evaluate in, and the ledger's lines of what is resident then.

    Both are stepped a little, so that what the simulator takes as it goes is counted too. One in a process of its own
    is outside the budget and is left alone. One that is hardware is made once, for both, and not moved.

    Returns:
        environment, evaluation environment, ledger, and whether the environment repeats itself from a seed: both did
        the same; None: not tried.

    Raises:
        BudgetExceeded: it takes far more than the budget before it has done anything.
        EdgedstError: what the host says. Whatever was made is closed.
    """
    core.release_file_pages()
    interpreter = memory()[0]
    made: list[Environment] = []
    repeats = None
    guard.enforce_at_start()
    try:
        made.append(_make_machine(spec, config) if spec["host"] == "robot" else registry.make(spec))
        made[0].hardware = made[0].hardware or config.hardware
        _check_start(spec, guard)
        core.release_file_pages()  # the peak counts from the first instant
        made.append(made[0] if made[0].hardware else _make_another(spec))
        _check_start(spec, guard)
        if is_warmed_up(spec, made[0]):
            seen = [warm_up(environment, spec, config.seed, guard) for environment in made]
            repeats = seen[0] == seen[1]
    except MemoryError as error:
        close_all(made)
        if isinstance(error, EdgedstError):
            raise
        raise _too_large(spec, guard) from None
    except BaseException:
        close_all(made)
        raise
    lines = [("interpreter and libraries", interpreter), ("environments", max(0, memory()[0] - interpreter))]
    return made[0], made[1], lines, repeats


def _make_machine(spec: "dict[str, Any]", config: "Any") -> "Environment":
    from edgedst.machine import Machine

    return Machine(spec, config)


def _make_another(spec: "dict[str, Any]") -> "Environment":
    try:
        return registry.make(spec)
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"{error} It was the second one of two: one trains, the other evaluates. Of a machine there is one: give "
            "its class the attribute `hardware = True` (docs/environments.md)."
        ) from error


def is_warmed_up(spec: "dict[str, Any]", environment: "Environment") -> bool:
    """Whether an environment may be moved to be measured, and its memory counts."""
    return spec["host"] != "process" and not environment.hardware


def notes_on(config: "Any", environment: "Environment", repeats: "bool | None") -> "list[str]":
    """What to know of an environment, and of what its sizes make of the settings, before it trains."""
    notes = []
    if lambdas_fill_all(environment.observation_size, environment.action_size, config):
        notes.append(
            f"{config.method} leaves no weight out: lambda2 = {config.lambda2:g} fills hidden layers of "
            f"{', '.join(map(str, config.hidden))}. `--sparsity 0.9` leaves out nine weights of ten."
        )
    if environment.max_episode_steps is None:
        notes.append(
            f"{environment.name} has no time limit: an evaluation's episode ends after {EPISODE_STEPS:,} steps, one of "
            "training when it says so. `--max-episode-steps N` limits both."
        )
    if environment.hardware:
        notes.append(
            f"{environment.name} is hardware: it evaluates between two episodes of its training, and a run that is "
            "resumed begins a new episode. No two runs are the same."
        )
    if repeats is False:
        notes.append(
            f"{environment.name} does not repeat itself from its seed: a run that is resumed begins a new episode, and "
            "two runs of one seed differ."
        )
    return notes


def note_on_cores(threads: int) -> str:
    """What to know of so many threads on this machine, or nothing."""
    cores = len(os.sched_getaffinity(0))
    if threads <= cores:
        return ""
    return f"{threads} threads share {cores} core{'s' * (cores > 1)} here: `--threads {cores}` gives each its own."


def warm_up(environment: "Environment", spec: "dict[str, Any]", seed: int, guard: "Guard | None" = None) -> bytes:
    """Some steps in the middle of the action's range; returns the last observation."""
    action = floats(environment.action_size)
    for i in range(environment.action_size):
        action[i] = (environment.action_low[i] + environment.action_high[i]) / 2
    done = True
    for _ in range(WARM_UP_STEPS):
        if done:
            environment.reset(seed)
        _, terminated, truncated = environment.step(action)
        done = terminated or truncated
        if guard:
            _check_start(spec, guard)
    environment.take_warnings()
    return environment.observation.tobytes()


def close_all(environments: "Iterable[Environment]") -> str:
    """Close each, once; returns what the first one said that failed, or ""."""
    told = ""
    for environment in {id(environment): environment for environment in environments}.values():
        try:
            environment.close()
        except EnvironmentFault as error:
            told = told or str(error)
    return told


def _check_start(spec: "dict[str, Any]", guard: Guard) -> None:
    if guard.exceeded_at_start():
        raise _too_large(spec, guard)


def _too_large(spec: "dict[str, Any]", guard: Guard) -> BudgetExceeded:
    elsewhere = "" if spec["host"] == "mujoco" else ", or `--env-process`, which puts it into a process of its own"
    return BudgetExceeded(
        f"{spec['env']} takes more than {(guard.budget_bytes + START_BYTES) / 1e6:.0f} MB while it is made and warmed "
        f"up, and the budget is {guard.budget_bytes / 1e6:g} MB. Try a larger `--budget-mb`{elsewhere}."
    )


def make_tally(spec: "dict[str, Any] | None", lines: "Ledger") -> "Tally | None":
    """The tally of the run's energy, or None; what its meter takes becomes one of the ledger's `lines`.

    The meter samples once, in its thread, so that the thread's stack and all that reading takes are counted.
    """
    if spec is None:
        return None
    core.release_file_pages()
    before = memory()[0]
    from edgedst.energy.meter import Meter
    from edgedst.energy.tally import Tally

    meter = Meter(spec, kept=METER_SAMPLES)
    meter.start()
    tally = Tally(meter)
    core.release_file_pages()
    lines.append(("energy meter", max(0, memory()[0] - before)))
    meter.stop()
    return tally


def plan_run(
    job: "dict[str, Any]",
    config: "Any",
    environments: "tuple[Environment, Environment]",
    lines: "Ledger",
    rows: "int | None" = None,
) -> Plan:
    """Plan in this very process.

    What the interpreter, its libraries and the simulator needed only to start is given back before it is counted: the
    count then hardly depends on how the kernel has cached their files, and a run fits again when it goes on.

    Args:
        job: see `trainer.main`.
        config: the run's settings.
        environments: to train and to evaluate in.
        lines: from `make_environments` and `make_tally`.
        rows: of the replay of a run that goes on.

    Raises:
        BudgetExceeded: it does not fit.
        ConfigError: the networks cannot be as sparse as the settings say.
        UnsupportedSpace: half precision cannot hold what the environment says that it observes, or no layer has as many
            features.
    """
    environment = environments[0]
    if config.replay_dtype == "float16" and rows is None:
        _check_half_precision(environment)
    n, m = environment.observation_size, environment.action_size

    def measure(width: int) -> core.Arena:
        arena = core.Arena(None)
        hidden = [width] * len(config.hidden) if width else config.hidden
        agent = agent_class(config.method)(arena, type(config)(**{**vars(config), "hidden": hidden}), n, m)
        check_reachable({name: agent.networks[name].sizes for name in NETWORKS[:2]}, config)
        return arena

    widest = input_size(n, m, config.history) + m  # a critic's first layer
    if widest > MOST_FEATURES:
        raise UnsupportedSpace(
            f"{environment.name} has {n:,} observations and {m:,} actions, and the first layer of a critic would have "
            f"{widest:,} features, of at most {MOST_FEATURES:,}. "
            + ("Give a smaller `--history`." if config.history else "Observe less.")
        )

    measure(0)  # what measuring itself takes is resident before it is counted
    core.release_file_pages()
    for one in environments if is_warmed_up(job["spec"], environment) else ():
        warm_up(one, job["spec"], config.seed)
    try:
        rehearse(config, environment)
    except MemoryError:  # it takes less than the run, which the plan refuses with what it needs
        pass
    interpreter = lines[0]
    others = sum([size for _, size in lines[2:]])
    lines = [interpreter, (lines[1][0], max(0, memory()[0] - interpreter[1] - others)), *lines[2:]]
    if beside := environment.memory_beside():
        lines.append(("acting side", beside + environment.growth_beside))
    # The front end that became this process counts, too: the kernel's account of the peak survives that.
    start = max(memory()[1], job["front_end_peak_bytes"] or FRONT_END_BYTES)
    run = quoted(job["resume"]) if job["resume"] else ""
    if job["extended_toml"] is not None:
        run += f" --steps {config.steps}"
    logged = (job.get("prefill") or {}).get("rows", 0)
    return make_plan(config, n, m, lines, measure, environment.native, rows, environment.constants, run, start, logged)


def read_resumable(config: "Any", folder: str, config_crc32: int) -> "dict[str, Any]":
    """The state of the run in `folder`, which has steps left to do. To be called with the run's lock held.

    Args:
        config: the run's settings.
        folder: of the run.
        config_crc32: of the config.toml that they were read from.

    Raises:
        CheckpointError: there is none, it is another run's, or the run is finished.
    """
    state = read_state(f"{folder}/checkpoint")
    for name in ("env", "method", "seed"):
        wanted = getattr(config, name)
        if state.get(name) != wanted:
            raise CheckpointError(
                f"`{folder}` has a checkpoint with {name} = {state.get(name)} and its config.toml says {wanted}: "
                "files of two runs are mixed. Copy the whole run folder again."
            )
    try:
        with open(f"{folder}/config.toml", "rb") as file:  # noqa: PTH123  # the lean trainer does without pathlib
            content = file.read()
    except OSError as error:
        raise CheckpointError(
            f"`{folder}/config.toml` cannot be read: {error.strerror}. Copy the whole run folder again."
        ) from error
    if crc32(content) != config_crc32 or not is_config_of(state, content):
        raise not_its_config(f"{folder}/config.toml")
    if state["step"] >= config.steps and _is_finished(folder):
        raise CheckpointError(
            f"`{folder}` is finished: all {config.steps:,} steps are done. Give it more with `--steps`, evaluate or "
            "export it, or train a new run without `--resume`."
        )
    return state


def _check_half_precision(environment: "Environment") -> None:
    """Refuse at the start what would end a run when it happens: a run keeps its precision."""
    index, largest = environment.largest_observation or (0, 0.0)
    if largest > LARGEST_FLOAT16:
        raise UnsupportedSpace(
            f"{environment.name} says that observation {index} goes up to {largest:g}, and float16, in which the "
            f"replay keeps it, holds at most {LARGEST_FLOAT16:g}. Use `--replay-dtype float32`, or give its "
            "observation_space narrower bounds."
        )


def rehearse(config: "Any", environment: "Environment") -> None:
    """Let a small agent act, learn and evolve, so that the code that trains is resident and counted; it goes again."""
    hidden = [min(32, width) for width in config.hidden]
    small = type(config)(**{**vars(config), "hidden": hidden, "start_steps": 0})
    agent, action = made_to_try(small, environment), floats(environment.action_size)
    for _ in range(4):
        agent.explore(agent.seen, action)
        agent.remember(action, 0.0, environment.observation, False, False)
        agent.update()
    agent.act(agent.seen, action)
    if evolves(config):
        agent.evolve(agent.actor)


def learning_seconds(config: "Any", environment: "Environment") -> float:
    """What a step's updates take beside what else runs now, tried for a moment; the environment is not moved.

    To be called before the arena is made, which takes more than the agent that is tried here and goes again.
    """
    agent, action = made_to_try(config, environment), floats(environment.action_size)
    for _ in range(4):
        agent.remember(action, 0.0, environment.observation, False, False)
    updates, began = 0, monotonic()
    while not updates or monotonic() < began + TRIED_SECONDS:
        try:
            agent.update()
        except TrainingDiverged:  # on rows that nobody saw: the run itself will tell
            return 0.0
        updates += 1
    return float(config.updates_per_step * (monotonic() - began) / updates)


def made_to_try(config: "Any", environment: "Environment", rows: int = 8) -> "Any":
    """An agent with a replay of a few rows, in which an episode has begun."""
    n, m = environment.observation_size, environment.action_size

    def make(arena: core.Arena) -> "Any":
        agent = agent_class(config.method)(arena, config, n, m)
        agent.replay = core.Replay(
            arena, "replay", rows, n, m, config.replay_dtype, environment.constants, config.history
        )
        return agent

    measured = core.Arena(None)
    make(measured)
    agent = make(core.Arena(measured.used_bytes))
    agent.initialise()
    try:
        agent.begin_episode(environment.observation)
    except ValueError as error:
        raise EnvironmentFault(not_kept(config, error)) from error
    return agent


def not_kept(config: "Any", error: ValueError) -> str:
    """What the replay refuses to keep of an environment, as it says in `error`, and what to do next."""
    half = config.replay_dtype == "float16" and "float16" in str(error)
    advice = " Train anew with `--replay-dtype float32`: a run keeps its precision." if half else ""
    return f"{config.env}: {error}.{advice}"


def take_kernels(state: "dict[str, Any]", folder: str) -> str:
    """Go on with the kernels of a checkpoint; returns "", or why the run's numbers may differ from here."""
    isa = state.get("isa")
    if isa is None:  # format 1: its run may tell
        try:
            with open(f"{folder}/host.json", "rb") as file:  # noqa: PTH123  # the lean trainer does without pathlib
                isa = loads(file.read().decode())["isa"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
    differs = "from here its numbers may differ."
    wanted = os.environ.get("EDGEDST_ISA", isa)
    if wanted != isa:
        return f"The run began with `{isa}` kernels, and EDGEDST_ISA says `{wanted}`: {differs}"
    if isa not in core.isas:
        return f"The run began with `{isa}` kernels, which this CPU lacks: {differs}"
    core.set_isa(isa)
    return ""


def _is_finished(folder: str) -> bool:
    """Not so when it was stopped within its last evaluation, or between its last checkpoint and its summary."""
    try:
        with open(f"{folder}/summary.json", "rb") as file:  # noqa: PTH123  # the lean trainer does without pathlib
            return bool(loads(file.read().decode())["finished"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def floats(count: int) -> "Any":
    """A float32 buffer. Not `array`: its import takes 0.5 MB."""
    return memoryview(bytearray(4 * count)).cast("f")
