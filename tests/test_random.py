"""Random numbers against a model in Python, which Random123's published vectors check."""

import math
import statistics
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedst import core

WORD = 0xFFFFFFFF


def philox4x32(counter, key):
    """Philox4x32-10 (Salmon et al. 2011), four words from four words under a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = second >> 32 ^ c1 ^ k0, second & WORD, first >> 32 ^ c3 ^ k1, first & WORD
        k0, k1 = k0 + 0x9E3779B9 & WORD, k1 + 0xBB67AE85 & WORD
    return [c0, c1, c2, c3]


def draw(seed, stream, counter):
    """What the draw number `counter` has to be."""
    block = counter >> 2
    return philox4x32((block & WORD, block >> 32, stream, 0), (seed & WORD, seed >> 32))[counter & 3]


# counter, key, output: the philox4x32 10 lines of Random123's tests/kat_vectors
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "output"), VECTORS)
def test_the_model_gives_the_published_vectors(counter, key, output):
    counter, key, output = ([int(word, 16) for word in text.split()] for text in (counter, key, output))
    assert philox4x32(counter, key) == output


def test_seed_0_begins_with_the_published_vector():
    random = core.Random(0)
    assert [random.integer() for _ in range(4)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@given(st.integers(0, 2**64 - 1), st.integers(0, WORD), st.integers(0, 2**64 - 20))
def test_every_draw_is_the_models(seed, stream, counter):
    random = core.Random(seed, stream)
    random.counter = counter
    assert [random.integer() for _ in range(9)] == [draw(seed, stream, counter + i) for i in range(9)]
    assert random.counter == counter + 9


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_counter_is_the_whole_state(before, after):
    random, resumed = core.Random(7, 3), core.Random(7, 3)
    values, same = array("f", [0.0] * after), array("f", [0.0] * after)
    for _ in range(before):
        random.integer()
    resumed.counter = random.counter
    random.normal(values, 1.0)
    resumed.normal(same, 1.0)
    assert values == same
    assert random.counter == resumed.counter == before + 2 * after


def test_uniform_is_the_upper_24_bits():
    random, values = core.Random(5), array("f", [0.0] * 100)
    random.uniform(values, 0.0, 1.0)
    assert values.tolist() == [(draw(5, 0, i) >> 8) / 2**24 for i in range(100)]
    random.uniform(values, -2.0, 3.0)
    assert all(-2 <= value <= 3 for value in values)


def test_normal_is_box_muller():
    random, values = core.Random(5), array("f", [0.0] * 1000)
    random.normal(values, 2.0)
    for i, value in enumerate(values):
        u, angle = (draw(5, 0, 2 * i) + 1) / 2**32, 2 * math.pi * (draw(5, 0, 2 * i + 1) >> 8) / 2**24
        # float32 rounds the angle to 2^-22 or so
        assert value == pytest.approx(2 * math.sqrt(-2 * math.log(u)) * math.cos(angle), rel=1e-5, abs=1e-5)


def test_normal_has_the_moments_of_a_normal():
    values = array("f", [0.0] * 100_000)
    core.Random(1).normal(values, 1.0)
    assert statistics.fmean(values) == pytest.approx(0, abs=0.0127)  # 4 standard errors, 1 / sqrt(n) each
    assert statistics.fmean(v * v for v in values) == pytest.approx(1, abs=0.018)  # sqrt(2 / n) each
    assert statistics.fmean(v**4 for v in values) == pytest.approx(3, abs=0.124)  # sqrt(96 / n) each


def test_streams_and_seeds_differ():
    first = [core.Random(seed, stream).integer() for seed in (0, 1, 1 << 32) for stream in (0, 1)]
    assert len(set(first)) == len(first)


def test_disturbing_adds_noise_of_each_sigma_and_draws_nothing_where_it_is_0():
    values, sigmas = array("d", [1.0, 2.0, 3.0]), array("d", [0.5, 0.0, 2.0])
    random, same = core.Random(3, 4), core.Random(3, 4)
    noise = array("f", [0.0, 0.0])
    same.normal(noise, 1.0)
    random.disturb(values, sigmas)
    assert values.tolist() == [1.0 + 0.5 * noise[0], 2.0, 3.0 + 2.0 * noise[1]]
    assert random.counter == same.counter
    with pytest.raises(ValueError, match="disturb: `sigmas` has 2 numbers, expected a buffer of 3 float64"):
        random.disturb(values, sigmas[:2])
