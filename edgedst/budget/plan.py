"""The ledger: what a run will take, line by line in bytes, before it takes it. What is left over becomes replay.

The lines of the agent are its own regions on a measuring arena, so that plan and allocation cannot differ; the line
of the interpreter is this process as it stands. Enforcing is `guard.py`'s.
"""

from edgedst import core
from edgedst.density import input_size
from edgedst.errors import BudgetExceeded, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    MeasureAgent = Callable[[int], core.Arena]  # width of the hidden layers (0: as configured) -> measuring arena

MB = 1_000_000
# Growth of the process after it is counted: pages of code that runs for the first time, a checkpoint's chunks, lines of
# metrics. Measured on x86-64, Python 3.11, seven runs of four tasks with evaluations, checkpoints and evolutions: 1.4
# to 1.6 MB. A simulator of Python allocates more as it goes.
HEADROOM_BYTES = 2_200_000
HEADROOM_BYTES_GYMNASIUM = 4_000_000
HEADROOM_BYTES_A_LAYER = 45_000  # of each hidden layer behind the second: it stands in a checkpoint's header
# A checkpoint tells some numbers as text, of which up to six copies exist at once: the observation, the history that
# the networks see, the statistics of a normaliser, twice, once as a list, delayed actions. The headroom above holds
# some of them.
HEADROOM_BYTES_A_TOLD_NUMBER = 80
NUMBERS_TOLD_IN_HEADROOM = 1_000
NUMBERS_TOLD_OF_STATISTICS = 8  # for each observation
# What is counted differs from start to start, by address layout and by how the kernel has cached the libraries' files
# since (docs/performance.md, "What the libraries count"). A run that goes on may be that much larger: it needs so much
# less headroom.
DRIFT_BYTES = 600_000
DRIFT_BYTES_GYMNASIUM = 1_500_000
SMALLEST_USEFUL_ROWS = 10_000
PROTOCOL_STEPS = 1_000_000  # the paper's runs, whose whole history its replay holds
REGION_ROUNDING_BYTES = 4 * 64  # the replay's four regions, each rounded up to 64

# Last word of a region's name -> ledger line, for regions of networks.
_PARTS = {
    "values": "values and biases",
    "bias": "values and biases",
    "adam_m": "Adam moments",
    "adam_v": "Adam moments",
    "bias_adam_m": "Adam moments",
    "bias_adam_v": "Adam moments",
    "transposed_buckets": "transposed view",
    "transposed_groups": "transposed view",
    "transposed_rows": "transposed view",
    "transposed_slots": "transposed view",
}
_OTHER_PART = "column indices and buckets"
_GROUPS = {"actor": "actor", "critic_1": "critics", "critic_2": "critics"}


class Plan:
    """What fits where. `lines` is [(name, bytes)] and sums to `planned_bytes`, which is at most `budget_bytes`."""

    def __init__(
        self, lines: "list[tuple[str, int]]", budget_bytes: int, replay_rows: int, row_bytes: int, arena_bytes: int
    ) -> None:
        self.lines = lines
        self.budget_bytes = budget_bytes
        self.replay_rows = replay_rows
        self.row_bytes = row_bytes
        self.arena_bytes = arena_bytes  # capacity of the arena: every line but interpreter, environment and headroom
        self.planned_bytes = sum(size for _, size in lines)
        self.headroom_bytes = 0  # of it: growth after the plan, see Guard.enforce
        self.smallest_budget_mb = 0.0
        self.observation_size = 0
        self.constant_observations = 0  # of them: not in the replay's rows

    def as_dict(self) -> "dict[str, Any]":
        """JSON-able."""
        return {
            "budget_bytes": self.budget_bytes,
            "planned_bytes": self.planned_bytes,
            "arena_bytes": self.arena_bytes,
            "replay_rows": self.replay_rows,
            "replay_row_bytes": self.row_bytes,
            "observation_size": self.observation_size,
            "constant_observations": self.constant_observations,
            "smallest_budget_mb": self.smallest_budget_mb,
            "lines": [{"name": name, "bytes": size} for name, size in self.lines],
        }


def budget_bytes_of(config: "Any") -> int:
    """`budget_mb` in bytes."""
    size: int = round(config.budget_mb * MB)
    return size


def rows_needed(steps: int) -> int:
    """Rows that a run of so many steps can fill: a row a transition, one for each episode's end (a tenth), one open."""
    return steps + steps // 10 + 2


def smallest_useful_rows(config: "Any", logged_rows: int = 0) -> int:
    """Below this a run is refused: all of the random first steps, and 10,000 rows, are kept; never more than needed.

    So is what a log fills (`logged_rows`), beside them: a first batch of steps must not push it out.
    """
    least: int = min(max(SMALLEST_USEFUL_ROWS, config.start_steps), rows_needed(config.steps)) + logged_rows
    return least if config.replay_rows is None else min(least, config.replay_rows)


def _most_rows(config: "Any", logged_rows: int) -> int:
    # A short run takes what a long one would: what is tried out in a minute is what runs overnight.
    return config.replay_rows or max(rows_needed(config.steps), rows_needed(PROTOCOL_STEPS)) + logged_rows


def make_plan(
    config: "Any",
    observation_size: int,
    action_size: int,
    process_lines: "list[tuple[str, int]]",
    measure_agent: "MeasureAgent",
    native: bool,
    rows: "int | None" = None,
    constants: "Sequence[tuple[int, float]]" = (),
    run: str = "",
    start_bytes: int = 0,
    logged_rows: int = 0,
) -> Plan:
    """Plan a run.

    Args:
        config: the run's settings.
        observation_size: n.
        action_size: m.
        process_lines: [(name, bytes)] of what is resident already: interpreter, libraries, environment.
        measure_agent: puts the agent on a measuring arena; its argument replaces the width of the hidden layers.
        native: whether the environment is hosted natively, without gymnasium and numpy.
        rows: the replay's rows where they are given (a resumed run keeps its own).
        constants: (index, value) of observations that never move: the replay does not store them.
        run: of a run that goes on, what `edgedst train --resume` was given: its folder, and how many steps are new.
        start_bytes: the peak of the process so far, which counts too.
        logged_rows: of the replay that a log fills before the first step.

    Raises:
        BudgetExceeded: the smallest useful replay does not fit, or starting took more than the budget.
    """
    budget_bytes = budget_bytes_of(config)
    headroom = HEADROOM_BYTES if native else HEADROOM_BYTES_GYMNASIUM
    headroom += HEADROOM_BYTES_A_LAYER * max(0, len(config.hidden) - 2)
    told = HEADROOM_BYTES_A_TOLD_NUMBER * max(0, _numbers_told(config, observation_size, action_size))
    headroom += told
    drift = DRIFT_BYTES if native else DRIFT_BYTES_GYMNASIUM
    if rows is not None:
        headroom -= drift + told // 4  # it has read a checkpoint, which counts as resident
    resident = sum(size for _, size in process_lines)
    row_bytes = core.Replay.row_bytes(observation_size - len(constants), action_size, config.replay_dtype)
    arena = measure_agent(0)
    agent_bytes = arena.used_bytes
    if rows is None and config.replay_rows is not None and logged_rows > config.replay_rows - 3:
        raise BudgetExceeded(
            f"The log needs {logged_rows + 3:,} rows of the replay, and `replay_rows` gives {config.replay_rows:,}. "
            "Leave `replay_rows` out, or take a part of the log."
        )
    least = smallest_useful_rows(config, logged_rows) if rows is None else rows

    if rows is None:
        start_bytes += drift  # the run has to start again in this budget

    def needed(agent: int) -> int:
        return max(start_bytes, resident + headroom + agent + least * row_bytes + REGION_ROUNDING_BYTES)

    smallest = _tenths_up(needed(agent_bytes) + drift // 2)
    if start_bytes > budget_bytes and start_bytes == needed(agent_bytes):
        raise BudgetExceeded(
            f"{config.env} takes {start_bytes / MB:.1f} MB to start, Python and its simulator alone, and the budget is "
            f"{config.budget_mb:.1f} MB. Try {_larger_budget(run, smallest)}."
        )
    if needed(agent_bytes) > budget_bytes:
        parts = [("interpreter, libraries and environment", resident), ("networks and batch", agent_bytes)]
        logged = min(logged_rows, least) * row_bytes
        parts += [("smallest useful replay" if rows is None else "the run's replay", least * row_bytes - logged)]
        if logged:
            parts += [(f"the log's {logged_rows:,} rows", logged)]
        parts += [("headroom", headroom)]
        least_left = least - logged_rows
        fit = (budget_bytes - resident - headroom - agent_bytes - REGION_ROUNDING_BYTES) // row_bytes - least_left
        part_of_log = f"a part of the log: {fit:,} of its rows fit" if logged and fit > 0 else ""
        raise BudgetExceeded(_sentence(config, parts, smallest, measure_agent, needed, run, part_of_log))
    if rows is None:
        left = budget_bytes - resident - agent_bytes - REGION_ROUNDING_BYTES
        rows = min((left - headroom) // row_bytes, _most_rows(config, logged_rows), 2**31 - 1)
        if config.replay_rows is not None and config.replay_rows * row_bytes <= left - (headroom - drift):
            rows = config.replay_rows  # another run's number, to repeat it: the same slack as for a resumed run
            headroom = min(headroom, left - rows * row_bytes)
    core.Replay(arena, "replay", rows, observation_size, action_size, config.replay_dtype, list(constants))
    lines = [*process_lines, *ledger_lines(arena.regions()), ("headroom", headroom)]
    plan = Plan(lines, budget_bytes, rows, row_bytes, arena.used_bytes)
    plan.smallest_budget_mb = smallest
    plan.headroom_bytes = headroom
    plan.observation_size, plan.constant_observations = observation_size, len(constants)
    return plan


def ledger_lines(regions: "list[tuple[str, int]]") -> "list[tuple[str, int]]":
    """Sum an arena's regions into the ledger's lines, in order of first appearance."""
    lines: dict[str, int] = {}
    for region, size in regions:
        head, _, rest = region.partition(".")
        if head in _GROUPS:
            line = f"{_GROUPS[head]}: {_PARTS.get(rest.rpartition('.')[2], _OTHER_PART)}"
        elif head.endswith("_target"):
            line = "target networks"
        elif head in ("batch", "activations", "gradients", "history", "normalizer"):
            line = "batch, activations and gradients"
        else:
            line = head
        lines[line] = lines.get(line, 0) + size
    return list(lines.items())


def _numbers_told(config: "Any", n: int, m: int) -> int:
    """Numbers that a checkpoint tells as text, beside those that any headroom holds."""
    seen = input_size(n, m, config.history) if config.history else 0
    statistics = NUMBERS_TOLD_OF_STATISTICS * n if config.normalize_observations else 0
    delay = int(config.action_delay.rpartition("..")[2])  # the most steps
    on_their_way = m * (delay + 1) // 2 if delay else 0  # float32 in base64: half of a number in digits
    return n + seen + statistics + on_their_way - NUMBERS_TOLD_IN_HEADROOM


def _larger_budget(run: str, smallest: float) -> str:
    """The words of a command that takes a larger budget; those of a run that goes on name it."""
    return f"`edgedst train --resume {run} --budget-mb {smallest:g}`" if run else f"`--budget-mb {smallest:g}`"


def _typed_widths(width: int, layers: int) -> str:
    """Layers of one width as `--hidden` takes them: 256 is two, 256, (with its comma) is one."""
    return ",".join([str(width)] * layers) if layers > 2 else f"{width}," if layers == 1 else str(width)


def _tenths_up(size: int) -> float:
    """Bytes in MB, rounded up to 0.1 MB."""
    return -(-size // (MB // 10)) / 10


def _sentence(
    config: "Any",
    parts: "list[tuple[str, int]]",
    smallest: float,
    measure_agent: "MeasureAgent",
    needed: "Callable[[int], int]",
    run: str,
    otherwise: str,
) -> str:
    """What is needed, which part binds (the largest stands first), and the cheapest changes that would fit.

    A run that goes on keeps its networks and its replay: nothing but a larger budget helps.
    """
    budget_bytes = config.budget_mb * MB
    parts = sorted(parts, key=lambda part: -part[1])
    ledger = ", ".join([f"{name} {size / MB:.1f}" for name, size in parts])
    tries = [_larger_budget(run, smallest)]
    chosen = not (run or config.init_from)  # are its widths
    width = max(config.hidden) if chosen else 0
    agent_bytes = measure_agent(0).used_bytes
    while width > 32:
        width //= 2
        try:
            narrower = measure_agent(width).used_bytes
        except ConfigError:  # so few weights in all, as sparse as that, are fewer than the output layer's
            break
        if needed(narrower) <= budget_bytes - DRIFT_BYTES_GYMNASIUM // 2:
            typed = _typed_widths(width, len(config.hidden))
            tries.append(f"`--hidden {typed}` (saves {(agent_bytes - narrower) / MB:.1f} MB)")
            break
    advice = " or ".join([*tries, otherwise] if otherwise else tries)
    if len(tries) == 1 and chosen:
        advice += f"; no narrower network fits {config.budget_mb:g} MB"
    return (
        f"{config.env} needs at least {smallest:.1f} MB ({ledger}) and the budget is {config.budget_mb:.1f} MB. "
        f"The largest part is {parts[0][0]}. Try {advice}."
    )
