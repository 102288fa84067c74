"""What is there before the first step: environments, warmed up and measured, an energy meter, the plan, and a run to
go on with.
"""

from edgedst import core
from edgedst.agents import agent_class
from edgedst.budget.guard import memory
from edgedst.budget.plan import Plan, make_plan
from edgedst.checkpoints import read_state
from edgedst.envs import registry
from edgedst.errors import CheckpointError
from edgedst.plain_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgedst.energy.tally import Tally
    from edgedst.envs import Environment

    Ledger = list[tuple[str, int]]

WARM_UP_STEPS = 50
METER_SAMPLES = 64  # remembered: the trainer asks for windows since its first step only


def make_environments(spec: "dict[str, Any]", seed: int) -> "tuple[Environment, Environment, Ledger]":
    """The environment to train in, one to evaluate in, and the ledger's lines of what is resident then.

    Both are stepped a little, so that what the simulator takes as it goes is counted too. One in a process of its own
    is outside the budget and may stand for hardware: it is left alone.
    """
    interpreter = memory()[0]
    environments = registry.make(spec), registry.make(spec)
    for environment in environments if spec["host"] != "process" else ():
        warm_up(environment, seed)
    resident = memory()[0]
    lines = [("interpreter and libraries", interpreter), ("environments", max(0, resident - interpreter))]
    return *environments, lines


def warm_up(environment: "Environment", seed: int) -> None:
    """Some steps in the middle of the action's range."""
    action = floats(environment.action_size)
    for i in range(environment.action_size):
        action[i] = (environment.action_low[i] + environment.action_high[i]) / 2
    done = True
    for _ in range(WARM_UP_STEPS):
        if done:
            environment.reset(seed)
        _, terminated, truncated = environment.step(action)
        done = terminated or truncated
    environment.take_warnings()


def make_tally(spec: "dict[str, Any] | None", lines: "Ledger") -> "Tally | None":
    """The tally of the run's energy, or None; what its meter takes becomes one of the ledger's `lines`.

    The meter samples once, in its thread, so that the thread's stack and all that reading takes are counted.
    """
    if spec is None:
        return None
    before = memory()[0]
    from edgedst.energy.meter import Meter
    from edgedst.energy.tally import Tally

    meter = Meter(spec, kept=METER_SAMPLES)
    meter.start()
    tally = Tally(meter)
    lines.append(("energy meter", max(0, memory()[0] - before)))
    meter.stop()
    return tally


def plan_run(config: "Any", environment: "Environment", lines: "Ledger", rows: "int | None" = None) -> Plan:
    """Plan in this very process; `rows` are those of a run that goes on.

    Raises:
        BudgetExceeded: it does not fit.
    """
    n, m = environment.observation_size, environment.action_size

    def measure(width: int) -> core.Arena:
        arena = core.Arena(None)
        hidden = [width] * len(config.hidden) if width else config.hidden
        agent_class(config.method)(arena, type(config)(**{**vars(config), "hidden": hidden}), n, m)
        return arena

    measure(0)  # what measuring itself takes is resident before it is counted
    interpreter = lines[0]
    others = sum([size for _, size in lines[2:]])
    lines = [interpreter, (lines[1][0], max(0, memory()[0] - interpreter[1] - others)), *lines[2:]]
    return make_plan(config, n, m, lines, measure, environment.native, rows, environment.constants)


def read_resumable(config: "Any", folder: str) -> "dict[str, Any]":
    """The state of the run in `folder`, which has steps left to do.

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
    if state["step"] >= config.steps and _is_finished(folder):
        raise CheckpointError(
            f"`{folder}` is finished: all {config.steps:,} steps are done. Evaluate or export it, or train "
            "a new run without `--resume`."
        )
    return state


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
