"""The squashed Gaussian against float64: log-probabilities and gradients where |action| is near 1, and the losses."""

import math

import models
import numpy as np
import packed
import pytest

from edgedst import core

# One component a row: means and log sigma, the clamp's both ends and its inside, tails and the middle.
U = np.linspace(-30, 30, 241)
LOG_SIGMAS = (-25.0, -20.0, -7.3, -1.0, 0.0, 2.0, 4.0)


def head_of(means, log_sigmas):
    return np.stack([means, log_sigmas]).astype(np.float32)


def squash(head, noise):
    """(action, log_prob) from the core, float32."""
    m, columns = len(head) // 2, head.shape[1]
    action, log_prob = (packed.batch_of(np.zeros((rows, columns)), padding=7.0) for rows in (m, 1))
    core.squashed_actions(packed.batch_of(head, 3.0), packed.batch_of(noise, 3.0), action, log_prob)
    for batch in (action, log_prob):
        padded = np.asarray(batch.memory).reshape(batch.rows, batch.stride)[:, columns:]
        assert (padded == 0).all(), "padded columns must not stay what they were"
    return packed.array_of(action), packed.array_of(log_prob)


@pytest.mark.parametrize("log_sigma", LOG_SIGMAS)
def test_log_probabilities_keep_their_digits_in_the_tails(isa, rng, log_sigma):
    noise = rng.normal(size=(1, len(U))).astype(np.float32)
    head = head_of(U, np.full(len(U), log_sigma))
    action, log_prob = squash(head, noise)
    _, expected_action, expected = models.squashed(head.astype(np.float64), noise.astype(np.float64))
    assert np.abs(action).max() <= 1
    assert (np.abs(action) > 0.9999997).sum() > 100  # in float32, 1 - action^2 has no true digit there
    np.testing.assert_allclose(action, expected_action, rtol=0, atol=4e-6)  # u of 30 is good to 2e-6
    # u up to 50, rounded to 2e-6, doubled; and the sum of four terms.
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6, atol=8e-6)


def test_log_probability_is_that_of_the_change_of_variables_by_hand():
    # mean 0, sigma 1, noise 1: log N(1) - log(1 - tanh(1)^2)
    _, log_prob = squash(head_of([0.0], [0.0]), np.ones((1, 1), np.float32))
    expected = -0.5 - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(1) ** 2)
    assert log_prob[0, 0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("log_sigma", LOG_SIGMAS)
@pytest.mark.parametrize("weight", [0.2 / 256, 0.0])
def test_gradients_at_the_head_equal_float64_in_the_tails(isa, rng, log_sigma, weight):
    noise, dq_1, dq_2 = (rng.normal(size=(1, len(U))).astype(np.float32) for _ in range(3))
    head = head_of(U, np.full(len(U), log_sigma))
    action, log_prob = (packed.batch_of(np.zeros((1, len(U)))) for _ in range(2))
    batches = [packed.batch_of(array, 3.0) for array in (head, noise)]
    core.squashed_actions(*batches, action, log_prob)
    d_head = packed.batch_of(np.zeros((2, len(U))), padding=7.0)
    core.squashed_gradient(*batches, action, packed.batch_of(dq_1), packed.batch_of(dq_2), weight, d_head)
    exact = [array.astype(np.float64) for array in (head, noise, dq_1)]
    expected = models.squashed_gradient(*exact[:2], exact[2] + dq_2, weight)
    got = packed.array_of(d_head)
    # 1 - tanh(u)^2 moves by 2 du of itself: relative to each gradient's own size, not to the largest.
    np.testing.assert_allclose(got, expected, rtol=3e-5, atol=3e-7 * weight + 1e-30)
    if not -20 <= log_sigma <= 2:
        assert (got[1] == 0).all()
    assert (np.asarray(d_head.memory).reshape(2, -1)[:, len(U) :] == 0).all()


def test_one_action_at_a_time_is_drawn_as_a_batch_is(isa):
    random, m = core.Random(3), 6
    head = np.linspace(-3, 3, 2 * m).astype(np.float32)
    action, noise = np.zeros(m, np.float32), np.zeros(m, np.float32)
    core.sample_action(head, random, action)
    assert random.counter == 2 * m
    random.counter = 0
    random.normal(noise, 1.0)
    expected, _ = squash(head[:, None], noise[:, None])
    np.testing.assert_array_equal(action, expected[:, 0])
    core.mean_action(head, action)
    np.testing.assert_allclose(action, np.tanh(head[:m]), rtol=5e-7)  # the kernel's tanh


def test_what_does_not_fit_is_a_sentence():
    head, m = packed.batch_of(np.zeros((3, 4))), packed.batch_of(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"squashed_actions: `head` is \(3, 4\), expected \(4, 4\)"):
        core.squashed_actions(head, m, m, packed.batch_of(np.zeros((1, 4))))
    with pytest.raises(ValueError, match=r"mean_action: `head` has 3 numbers, expected a buffer of 4 float32"):
        core.mean_action(np.zeros(3, np.float32), np.zeros(2, np.float32))


@pytest.mark.parametrize("count", [2, 3])
def test_every_number_of_threads_draws_and_squashes_alike(rng, threads, count):
    head = rng.normal(size=(12, 256)).astype(np.float32)

    def run(number):
        threads(number)
        random = core.Random(5)
        noise = packed.batch_of(np.zeros((6, 256)))
        core.fill_normal(noise, random)
        drawn = packed.array_of(noise).copy()
        return [drawn, *(array.copy() for array in squash(head, drawn)), random.counter]

    for one, many in zip(run(1), run(count), strict=True):
        np.testing.assert_array_equal(one, many)


def test_normal_noise_is_standard():
    noise = packed.batch_of(np.zeros((17, 256)), padding=1.0)
    core.fill_normal(noise, core.Random(1))
    drawn = packed.array_of(noise)
    assert abs(drawn.mean()) < 0.05
    assert abs(drawn.std() - 1) < 0.05
    assert np.unique(drawn).size > 0.99 * drawn.size


def test_the_gradient_goes_to_the_smaller_q_and_is_shared_by_equal_ones():
    q_1, q_2 = packed.batch_of(np.array([[1.0, 5.0, 2.0]])), packed.batch_of(np.array([[3.0, 4.0, 2.0]]))
    dq_1, dq_2 = (packed.batch_of(np.zeros((1, 3)), padding=9.0) for _ in range(2))
    assert core.least_q(q_1, q_2, -0.5, dq_1, dq_2) == pytest.approx((1 + 4 + 2) / 3)
    np.testing.assert_array_equal(packed.array_of(dq_1), [[-0.5, 0.0, -0.25]])
    np.testing.assert_array_equal(packed.array_of(dq_2), [[0.0, -0.5, -0.25]])
    assert not np.asarray(dq_1.memory)[3:].any()


def test_the_soft_target_by_hand():
    one, q_1, q_2, log_prob = (packed.batch_of(np.array([row])) for row in ([1.0, 1], [2.0, 9], [5.0, 8], [3.0, -1]))
    discount, y = packed.batch_of(np.array([[0.9, 0.0]])), packed.batch_of(np.zeros((1, 2)))
    core.soft_td_target(one, discount, q_1, q_2, log_prob, 0.2, y)
    np.testing.assert_allclose(packed.array_of(y), [[1 + 0.9 * (2 - 0.2 * 3), 1.0]], rtol=1e-6)
