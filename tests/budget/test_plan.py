from types import SimpleNamespace

import pytest

from edgedst import core
from edgedst.agents import agent_class
from edgedst.budget.plan import make_plan
from edgedst.config import TrainConfig
from edgedst.density import check_reachable, nnz_per_layer
from edgedst.errors import BudgetExceeded
from edgedst.launch.settings import read_typed

PROCESS = [("interpreter and libraries", 11_000_000), ("environments", 6_000_000)]
N, M = 17, 6


def settings(**changes):
    return SimpleNamespace(**TrainConfig(**changes).resolved().settings())


def measuring(config):
    """make_plan's `measure_agent`."""

    def measure(width):
        arena = core.Arena(None)
        hidden = [width] * len(config.hidden) if width else config.hidden
        agent = agent_class(config.method)(arena, SimpleNamespace(**{**vars(config), "hidden": hidden}), N, M)
        check_reachable({"actor": agent.actor.sizes}, config)
        return arena

    return measure


def plan(config, rows=None):
    return make_plan(config, N, M, PROCESS, measuring(config), True, rows)


def test_the_ledger_sums_to_the_budget_but_for_less_than_a_row_and_rounding():
    made = plan(settings())
    assert made.planned_bytes == sum(size for _, size in made.lines) <= 50_000_000
    assert 50_000_000 - made.planned_bytes < made.row_bytes + 4 * 64
    assert made.replay_rows >= 400_000


@pytest.mark.parametrize("method", ["ds-td3", "static-td3", "td3", "ds-sac", "static-sac", "sac"])
def test_the_arena_s_regions_equal_the_plan_to_the_byte(method):
    config = settings(method=method, budget_mb=30.0)
    made = plan(config)
    arena = core.Arena(made.arena_bytes)
    agent_class(method)(arena, config, N, M)
    core.Replay(arena, "replay", made.replay_rows, N, M, config.replay_dtype)
    assert arena.used_bytes == made.arena_bytes
    planned = sum(size for name, size in made.lines if name not in (*dict(PROCESS), "headroom"))
    assert planned == sum(size for _, size in arena.regions())


def test_actions_on_their_way_are_told_in_a_checkpoint_and_so_in_the_headroom():
    none, *long = [plan(settings(action_delay=delay)).headroom_bytes for delay in ("3", "0..800", "1000")]
    assert none < long[0] == long[1] - 80 * M * 200 // 2  # bytes for each number that is told as text, and half of them


def test_observations_that_never_move_take_no_replay():
    config = settings()

    made = make_plan(config, N, M, PROCESS, measuring(config), True, constants=[(3, 0.0), (5, 1.0)])
    assert made.row_bytes == plan(config).row_bytes - 2 * 2  # float16
    assert made.replay_rows > plan(config).replay_rows
    told = made.as_dict()
    assert (told["observation_size"], told["constant_observations"]) == (N, 2)


@pytest.mark.parametrize("method", ["ds-sac", "static-sac", "sac"])
def test_a_hard_target_takes_what_its_critic_takes_to_act_and_no_union(method):
    def regions(**changes):
        arena = core.Arena(None)
        agent_class(method)(arena, settings(method=method, **changes), N, M)
        return dict(arena.regions())

    hard, soft = regions(), regions(target_update="soft")
    target = {name: size for name, size in hard.items() if name.startswith("critic_1_target.")}
    assert target == {
        name: hard[name.replace("_target", "")]
        for layer in range(3)
        for name in (f"critic_1_target.{layer}.{part}" for part in ("values", "bias", "buckets", "groups", "columns"))
    }
    config = settings(method=method)
    sizes = {"actor": [N, 256, 256, 2 * M], "critic": [N + M, 256, 256, 1]}
    most = max(max(nnz_per_layer(name, sizes[name], config)) for name in sizes)
    assert hard["topology workspace.values"] == -(-4 * most // 64) * 64
    assert sum(soft.values()) > sum(hard.values())


@pytest.mark.parametrize("method", ["ds-td3", "ds-sac"])
def test_at_95_percent_sparsity_nothing_of_size_in_times_out_is_allocated(method):
    width = 1024
    config = settings(hidden=(width, width), lambda1=0.8, lambda2=0.05 * width / 2, method=method)
    arena = core.Arena(None)
    agent_class(method)(arena, config, N, M)
    layers = [region for region in arena.regions() if not region[0].startswith(("batch", "activations"))]
    name, largest = max(layers, key=lambda region: region[1])
    assert largest < width * width, name  # not even one byte a connection that could be


def test_a_budget_that_cannot_hold_it_is_a_sentence_with_what_would_work():
    with pytest.raises(BudgetExceeded, match=r"HalfCheetah-v4 needs at least [\d.]+ MB .* and the budget is 12.0 MB"):
        plan(settings(budget_mb=12.0))


def test_the_smallest_budget_that_is_named_works_and_a_tenth_of_the_jitter_less_does_not():
    with pytest.raises(BudgetExceeded) as refusal:
        plan(settings(budget_mb=18.0))
    smallest = float(str(refusal.value).split("`--budget-mb ")[1].split("`")[0])
    assert plan(settings(budget_mb=smallest)).smallest_budget_mb == smallest
    with pytest.raises(BudgetExceeded):
        plan(settings(budget_mb=smallest - 0.5))


@pytest.mark.parametrize("hidden", [(256, 256), (2048,), (512, 512, 512)])
def test_a_narrower_network_that_is_advised_fits(hidden):
    with pytest.raises(BudgetExceeded, match=r"or `--hidden [\d,]+` \(saves \d+\.\d MB\)") as refusal:
        plan(settings(budget_mb=23.0, hidden=hidden))
    advised = read_typed({"hidden": str(refusal.value).split("`--hidden ")[1].split("`")[0]})
    assert len(advised["hidden"]) == len(hidden)
    assert plan(settings(budget_mb=23.0, **advised)).replay_rows >= 25_000


def test_no_narrower_network_is_advised_where_it_could_not_be():
    for sparsity, advised in ((0.95, True), (0.98, False)):  # the output layer of 200, 200, 6 has 0.027 of the weights
        with pytest.raises(BudgetExceeded) as refusal:
            plan(settings(budget_mb=23.8, hidden=(400, 400), batch_size=512, sparsity=sparsity))
        assert ("--hidden" in str(refusal.value)) == advised
    begun = settings(budget_mb=20.0)
    begun.init_from = "a run, whose layers have their widths"
    with pytest.raises(BudgetExceeded) as refusal:
        plan(begun)
    assert "narrower" not in str(refusal.value)
    assert "--hidden" not in str(refusal.value)


def test_float32_takes_twice_the_numbers_and_so_half_the_rows():
    half, single = plan(settings()), plan(settings(replay_dtype="float32"))
    assert half.row_bytes == (N + M) * 2 + 5
    assert single.row_bytes == (N + M) * 4 + 5
    assert half.replay_rows > 1.8 * single.replay_rows


def test_replay_rows_can_be_asked_for():
    assert plan(settings(replay_rows=1_000)).replay_rows == 1_000


def test_a_run_that_goes_on_keeps_its_rows_or_is_told():
    made = plan(settings())
    assert plan(settings(), rows=made.replay_rows).replay_rows == made.replay_rows
    with pytest.raises(BudgetExceeded, match="the run's replay"):
        plan(settings(budget_mb=40.0), rows=made.replay_rows)


def test_the_peak_of_the_start_counts_and_is_the_reason_where_it_is_the_largest():
    config = settings(budget_mb=20.0, hidden=(8, 8), replay_rows=100)

    def made(start_bytes, rows=None):
        return make_plan(config, N, M, PROCESS, lambda width: core.Arena(None), True, rows, start_bytes=start_bytes)

    assert made(19_300_000).smallest_budget_mb == 20.2  # 19.3, 0.6 of drift and half as much again
    with pytest.raises(BudgetExceeded, match=r"takes 20\.1 MB to start.* Try `--budget-mb 20\.4`"):
        made(19_500_000)
    made(19_500_000, rows=100)  # a run that goes on may start a little larger than it began


def test_a_run_that_goes_on_fits_though_the_interpreter_counts_more_than_when_it_began():
    config = settings()
    rows = plan(config).replay_rows
    larger = [(PROCESS[0][0], PROCESS[0][1] + 500_000), PROCESS[1]]

    def resumed(lines):
        return make_plan(config, N, M, lines, measuring(config), True, rows, run="runs/A")

    assert resumed(larger).replay_rows == rows
    with pytest.raises(BudgetExceeded, match=r"Try `edgedst train --resume runs/A --budget-mb [\d.]+`\.$"):
        resumed([(PROCESS[0][0], PROCESS[0][1] + 900_000), PROCESS[1]])
