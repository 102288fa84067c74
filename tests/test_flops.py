"""The paper's Table 3 (HalfCheetah), to the connection; and the count of all work, by hand on a tiny network."""

import pytest

from edgedst.config import TrainConfig
from edgedst.flops import Workload, an_update, paper_flops, work_done


def nnz(sizes, lambdas):
    """Stored weights per layer: round(lambda (in + out)) where there is a lambda, all of them where there is none."""
    boundaries = zip(sizes[:-1], sizes[1:], lambdas, strict=True)
    return [n_in * n_out if lam is None else round(lam * (n_in + n_out)) for n_in, n_out, lam in boundaries]


def half_cheetah(*lambdas, **settings):
    return Workload(17, 6, nnz([17, 256, 256, 6], lambdas), nnz([23, 256, 256, 1], lambdas), **settings)


DENSE = half_cheetah(None, None, None)
SPARSE = half_cheetah(7, 64, None)


def test_table_3_network_sizes():
    assert DENSE.connections == 214_784
    assert SPARSE.connections == 106_169


def test_table_3_flops():
    assert f"{paper_flops(DENSE):.2e}" == "1.07e+14"
    assert f"{paper_flops(SPARSE) / paper_flops(DENSE):.2f}" == "0.49"


def test_all_work_is_more_than_the_paper_counts_and_less_where_it_is_sparse():
    dense, sparse = sum(work_done(DENSE).values()), sum(work_done(SPARSE).values())
    assert dense > paper_flops(DENSE)
    assert sparse > paper_flops(SPARSE)
    assert sparse / dense == pytest.approx(0.49, abs=0.01)


def test_work_of_a_run_small_enough_to_count_by_hand():
    # Two updates of one sample, the second with the actor's. The actor has 3 + 5 connections, each critic 4 + 1; half
    # of a critic's inputs are actions.
    run = Workload(3, 3, [3, 5], [4, 1], actor_biases=2, critic_biases=1, steps=7, start_steps=5, batch_size=1)
    assert work_done(run) == {
        "acting": 2 * 2 * 8,
        "evaluation": 0,
        "targets": 2 * 2 * (8 + 5 + 5),
        "critics": 2 * 2 * 2 * (5 + 5 + 1),  # forward, weights, input of the second layer only
        "actor": 2 * (8 + 8 + 5),
        "critic in the actor's update": 2 * (5 + 1 + 2),  # no gradient of its weights; 2 of 4 first ones meet actions
        "adam": 14 * (2 * 2 * 6 + 10),
        "polyak": 3 * (2 * 6 + 10),
        "topology": 0,  # it stays as it is
    }


def test_critics_that_normalise_their_batches_learn_from_both_halves_and_have_no_targets():
    run = Workload(3, 3, [3, 5], [4, 1], critic_biases=1, steps=2, start_steps=0, batch_size=1, averaged=0, halves=2)
    parts = work_done(run)
    assert parts["targets"] == 2 * 2 * (8 + 5 + 5)  # the other half's forward pass
    assert parts["critics"] == 2 * 2 * 2 * (5 + 2 * (5 + 1))
    assert parts["polyak"] == 0
    config = TrainConfig(batch_norm=True, start_steps=0, steps=2, batch_size=1).resolved()
    assert (Workload.of(config, 17, 6).averaged, Workload.of(config, 17, 6).halves) == (0, 2)


def test_a_rate_of_updates_scales_their_work_and_neither_acting_nor_an_update_s():
    def parts(rate):
        run = Workload(3, 3, [3, 5], [4, 1], steps=3_600, start_steps=2_400, updates_per_step=rate, evolve_every=10)
        return work_done(run), paper_flops(run), an_update(run)

    once, paper, update = parts(1)
    for rate in (3, 1 / 4):
        scaled = {name: flops * (1 if name == "acting" else rate) for name, flops in once.items()}
        assert parts(rate) == (scaled, paper * rate, update)


def test_flops_follow_the_setting():
    flops = [paper_flops(Workload.of(TrainConfig(updates_per_step=rate).resolved(), 17, 6)) for rate in (1, 2, 0.01)]
    assert [count / flops[0] for count in flops] == [1, 2, 0.01]


def test_topology_changes_are_counted_by_hand():
    # Hidden weights: 3 of the actor, 4 of each critic. Four updates: two averagings of three targets, and one evolution
    # that looks at 11 weights and grows a half of them.
    run = Workload(3, 3, [3, 5], [4, 1], steps=4, start_steps=0, evolve_every=4, eta=0.5)
    assert work_done(run)["topology"] == 2 * 11 + round(1.5 * 11)


def test_an_update_is_a_share_of_many():
    run = Workload(3, 3, [3, 5], [4, 1], actor_biases=2, critic_biases=1, batch_size=1)
    paper, parts = an_update(run)
    assert paper == 6 * 10 + 3 * 8
    assert parts == {
        "targets": 2 * (8 + 5 + 5),
        "critics": 2 * 2 * (5 + 5 + 1),
        "actor": (8 + 8 + 5),  # at every second update
        "critic in the actor's update": 5 + 1 + 2,
        "adam": 14 * (2 * 6 + 5),
        "polyak": 3 * (2 * 6 + 10) / 2,
        "topology": 0,
    }


def test_a_run_that_ends_before_the_first_update_does_no_work():
    assert sum(work_done(half_cheetah(7, 64, None, steps=10_000)).values()) == 0


def of_sac(*sizes, **rest):
    """By the paper's settings, hard target updates; `averaged=2` for soft ones."""
    usual = {"start_steps": 10_000, "batch_size": 256, "policy_delay": 1, "actor_critics": 2, "averaged": 0}
    return Workload(*sizes, **usual | rest)


def test_sac_s_actor_learns_at_every_update_from_both_critics():
    run = of_sac(3, 3, [3, 5], [4, 1], actor_biases=2, critic_biases=1, steps=7, start_steps=5, batch_size=1)
    assert paper_flops(run) == 7 * 6 * (2 * 5 + 8)
    assert work_done(run) == {
        "acting": 2 * 2 * 8,
        "evaluation": 0,
        "targets": 2 * 2 * (8 + 5 + 5),
        "critics": 2 * 2 * 2 * (5 + 5 + 1),
        "actor": 2 * 2 * (8 + 8 + 5),
        "critic in the actor's update": 2 * 2 * 2 * (5 + 1 + 2),
        "adam": 14 * (2 * 2 * 6 + 2 * 10),
        "polyak": 0,  # copied
        "topology": 0,
    }
    soft = of_sac(3, 3, [3, 5], [4, 1], critic_biases=1, steps=7, start_steps=5, batch_size=1, averaged=2)
    assert work_done(soft)["polyak"] == 3 * 2 * 2 * 6


def test_ds_sac_of_table_4_takes_0_63_of_dense_sac_s_flops():
    def run(*lambdas):
        return of_sac(17, 6, nnz([17, 256, 256, 12], lambdas), nnz([23, 256, 256, 1], lambdas))

    dense, sparse = run(None, None, None), run(12, 80, None)
    assert (dense.connections, sparse.connections) == (216_320, 136_436)
    assert paper_flops(sparse) / paper_flops(dense) == pytest.approx(0.63, abs=0.005)
