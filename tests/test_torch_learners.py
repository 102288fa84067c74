"""The PyTorch baseline is dense TD3 and SAC by edgedst's settings: as many connections, updates and delays."""

import runpy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgedst.config import TrainConfig  # noqa: E402  # behind importorskip
from edgedst.density import nnz_per_layer  # noqa: E402

LEARNERS = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "torch_learners.py"))
SAC, TD3, Replay, mlp, polyak_update = (LEARNERS[name] for name in ("SAC", "TD3", "Replay", "mlp", "polyak_update"))
N, M = 5, 2


def learner(method, **settings):
    config = TrainConfig(method=method, hidden=(8, 8), batch_size=4, **settings)
    replay = Replay(10, N, M)
    rng = np.random.default_rng(0)
    for _ in range(10):
        observation, following = rng.standard_normal((2, N))
        replay.add(observation, rng.uniform(-1, 1, M), following, 1.0, False)
    return {"td3": TD3, "sac": SAC}[method](config, N, M, replay)


def weights(network):
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


@pytest.mark.parametrize(("method", "heads"), [("td3", 1), ("sac", 2)])
def test_it_has_as_many_connections_as_edgedst_s_dense_method(method, heads):
    made = learner(method)
    actor = nnz_per_layer("actor", [N, 8, 8, heads * M], made.config)
    critic = nnz_per_layer("critic", [N + M, 8, 8, 1], made.config)
    assert made.connections == sum(actor) + 2 * sum(critic)


@pytest.mark.parametrize("method", ["td3", "sac"])
def test_actions_are_normalised(method):
    made = learner(method)
    for action in (made.act(np.full(N, 1e3)), made.explore(np.full(N, 1e3))):
        assert action.shape == (M,)
        assert np.abs(action).max() <= 1


def test_td3_updates_its_actor_and_targets_at_every_second_update():
    made = learner("td3")
    watched = [made.critics[0], made.actor, made.actor_target, made.critic_targets[0]]
    moved = []
    for _ in range(4):
        before = [weights(network) for network in watched]
        made.update()
        moved.append([bool((weights(n) != b).any()) for n, b in zip(watched, before, strict=True)])
    assert moved == [[True, False, False, False], [True, True, True, True]] * 2


def test_sac_copies_its_critics_when_a_hard_update_is_due():
    made = learner("sac", target_update_every=3)
    for update in range(1, 4):
        made.update()
        equal = [bool((weights(c) == weights(t)).all()) for c, t in zip(made.critics, made.critic_targets, strict=True)]
        assert equal == [update == 3] * 2


@pytest.mark.parametrize(("tuning", "moves"), [("fixed", False), ("automatic", True)])
def test_sac_s_temperature_moves_where_it_is_automatic(tuning, moves):
    made = learner("sac", alpha_tuning=tuning)
    made.update()
    assert (made.log_alpha.exp().item() != pytest.approx(0.2, abs=1e-6)) == moves


def test_sac_s_log_prob_is_that_of_the_squashed_gaussian():
    made = learner("sac")
    torch.manual_seed(1)
    action, log_prob = made._sample(torch.zeros(1, N))
    mean, log_sigma = made.actor(torch.zeros(1, N)).split(M, -1)
    squashed = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_sigma.exp()), torch.distributions.TanhTransform(cache_size=1)
    )
    assert log_prob.item() == pytest.approx(squashed.log_prob(action).sum().item(), rel=1e-4)  # atanh in float32


def test_polyak_moves_a_share_of_the_way():
    network, target = mlp([2, 3]), mlp([2, 3])
    expected = 0.25 * weights(network) + 0.75 * weights(target)
    polyak_update(network, target, 0.25)
    assert torch.allclose(weights(target), expected)


def test_the_replay_forgets_the_oldest_and_knows_what_a_row_takes():
    replay = Replay(3, N, M)
    for i in range(4):
        replay.add(np.full(N, i), np.zeros(M), np.zeros(N), float(i), i == 3)
    assert replay.reward[:, 0].tolist() == [3.0, 1.0, 2.0]
    assert replay.not_done[:, 0].tolist() == [0.0, 1.0, 1.0]
    assert replay.row_bytes == 4 * (2 * N + M + 2)
