"""The replay against a model that keeps every row in a list."""

import itertools
import struct
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedst import core

OBSERVATION, ACTION = 3, 2


class Model:
    """Rows as a list that never forgets: [observation, action, reward, terminated, ended], action None at an end."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.rows = []
        self.open = None

    def begin_episode(self, observation):
        if self.open is not None and self.rows and self.rows[-1][1] is not None:
            self.rows.append([self.open, None, None, None, None])
        self.open = observation

    def ready(self):
        """Whether the open row belongs to an episode that goes on."""
        return self.open is not None and not (self.rows and self.rows[-1][1] is not None and self.rows[-1][4])

    def add(self, action, reward, next_observation, terminated, truncated):
        self.rows.append([self.open, action, reward, terminated, terminated or truncated])
        self.open = next_observation

    def transitions(self):
        """All that can be sampled: the open row and capacity - 1 closed ones are in the ring."""
        following = [*[row[0] for row in self.rows], self.open][1:]
        held = list(zip(self.rows, following, strict=True))[-(self.capacity - 1) :]
        return [(*row[:4], after) for row, after in held if row[1] is not None]


def make(capacity, dtype="float16", sizes=(OBSERVATION, ACTION)):
    return core.Replay(core.Arena(1 << 20), "replay", capacity, *sizes, dtype)


def doubles(values):
    return array("d", values)


def floats(values):
    return array("f", values)


def add(replay, value=0.0, *, terminated=False, truncated=False):
    replay.add(floats([value] * ACTION), value, doubles([value] * OBSERVATION), terminated, truncated)


def sample(replay, columns=64, seed=0, sizes=(OBSERVATION, ACTION)):
    """Draw a batch; its columns as the tuples of Model.transitions."""
    n, m = sizes
    arena = core.Arena(1 << 20)
    both, after = core.Batch(arena, "x", n + m, columns), core.Batch(arena, "next", n + m, columns)
    reward, discount = core.Batch(arena, "reward", 1, columns), core.Batch(arena, "discount", 1, columns)
    replay.sample(core.Random(seed), both, after, reward, discount)
    for drawn in (both, after, reward, discount):  # padding stays 0
        for row in range(drawn.rows):
            assert not any(drawn.memory[row * drawn.stride + columns : (row + 1) * drawn.stride])
    assert not any(after.slice(n, n + m).memory)

    def column(of, first, last, c):
        return [of.memory[row * of.stride + c] for row in range(first, last)]

    return [
        (
            column(both, 0, n, c),
            column(both, n, n + m, c),
            reward.memory[c],
            discount.memory[c] == 0,
            column(after, 0, n, c),
        )
        for c in range(columns)
    ]


@settings(max_examples=100)
@given(
    episodes=st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=8),
    capacity=st.integers(4, 40),
    n_steps=st.integers(1, 6),
    gamma=st.sampled_from([1.0, 0.5]),
    pinned=st.booleans(),
)
def test_a_target_of_n_steps_ends_with_the_episode_and_the_newest_row(episodes, capacity, n_steps, gamma, pinned):
    """Observations count the rows before them; rewards are whole, gamma is 1 or 1/2: sums are exact."""
    replay = core.Replay(core.Arena(1 << 20), "replay", capacity + 30, OBSERVATION, ACTION, "float32")
    expected, row = {}, 0.0
    plays = [((5, True), True), *((each, False) for each in episodes)] if pinned else [(e, False) for e in episodes]
    for number, ((length, terminates), pins) in enumerate(plays):
        rewards = [float((7 * number + step) % 16 + 1) for step in range(length)]
        last = number == len(plays) - 1  # goes on: neither terminated nor cut off
        replay.begin_episode(doubles([row] * OBSERVATION))
        for step, reward in enumerate(rewards):
            ended = step == length - 1 and not last
            replay.add(floats([0] * ACTION), reward, doubles([row + step + 1] * OBSERVATION),
                       ended and terminates, ended and not terminates)  # fmt: skip
        for step in range(length):
            taken = rewards[step : step + n_steps]
            over = step + n_steps >= length and terminates and not last
            total = sum(gamma**k * reward for k, reward in enumerate(taken))
            expected[row + step] = (total, 0.0 if over else gamma ** len(taken), row + step + len(taken))
        row += length + 1
        if pins:
            replay.pin()
    columns = 400
    arena = core.Arena(1 << 20)
    both, after = (core.Batch(arena, name, OBSERVATION + ACTION, columns) for name in ("x", "next"))
    reward, discount = core.Batch(arena, "reward", 1, columns), core.Batch(arena, "discount", 1, columns)
    replay.sample(core.Random(1), both, after, reward, discount, None, columns // 2 if pinned else 0, n_steps, gamma)
    for c in range(columns):
        found = (reward.memory[c], discount.memory[c], after.memory[c])
        assert found == expected[both.memory[c]]


def test_fewer_steps_than_one_are_refused():
    replay = make(8)
    replay.begin_episode(doubles([0] * OBSERVATION))
    add(replay)
    arena = core.Arena(1 << 20)
    x, after = (core.Batch(arena, name, OBSERVATION + ACTION, 2) for name in ("x", "next"))
    reward, discount = (core.Batch(arena, name, 1, 2) for name in ("reward", "discount"))
    with pytest.raises(ValueError, match="`n_steps` is 0, expected 1 or more"):
        replay.sample(core.Random(0), x, after, reward, discount, None, 0, 0)


# begin: a reset; step: 0 goes on, 1 terminated, 2 truncated, 3 both
OPERATIONS = st.lists(st.one_of(st.just("begin"), st.sampled_from([0, 0, 0, 1, 2, 3])), max_size=60)


def apply(operations, replay, model, first=0):
    """Run the operations on both; numbers are distinct and exact in half precision."""
    for i, operation in enumerate(operations, first):
        observation = [float(i), i + 0.25, i + 0.5]
        if operation == "begin":
            replay.begin_episode(doubles(observation))
            model.begin_episode(observation)
            continue
        terminated, truncated = bool(operation & 1), bool(operation & 2)
        action = [i / 64, -i / 64]
        if model.ready():
            replay.add(floats(action), i + 0.125, doubles(observation), terminated, truncated)
            model.add(action, i + 0.125, observation, terminated, truncated)
        else:
            with pytest.raises(ValueError, match="call begin_episode first"):
                replay.add(floats(action), i + 0.125, doubles(observation), terminated, truncated)


def check(replay, model):
    expected = model.transitions()
    assert replay.transitions == len(expected)
    assert replay.rows_closed == len(model.rows)
    if not expected:
        with pytest.raises(ValueError, match="holds no transition"):
            sample(replay)
        return
    drawn = sample(replay, 32 * len(expected))
    assert all(each in expected for each in drawn)
    missing = sum(each not in drawn for each in expected)
    assert missing == 0  # a transition is missed with probability e^-32


@settings(deadline=None, max_examples=200)
@given(OPERATIONS, st.integers(2, 12), st.sampled_from(["float16", "float32"]))
def test_samples_are_exactly_the_models_transitions(operations, capacity, dtype):
    replay, model = make(capacity, dtype), Model(capacity)
    apply(operations, replay, model)
    check(replay, model)


@settings(deadline=None, max_examples=200)
@given(OPERATIONS, OPERATIONS, st.integers(2, 12), st.sampled_from(["float16", "float32"]), st.data())
def test_a_replay_put_back_goes_on_as_the_first(before, after, capacity, dtype, data):
    replay, model = make(capacity, dtype), Model(capacity)
    apply(before, replay, model)
    closed = replay.rows_closed
    oldest = max(0, closed - (capacity - 1))
    bytes_each = core.Replay.row_bytes(OBSERVATION, ACTION, dtype)
    split = data.draw(st.integers(oldest, closed))
    resumed = make(capacity, dtype)
    for start, stop in ((oldest, split), (split, closed)):
        records = bytearray((stop - start) * bytes_each)
        replay.read_rows(start, stop - start, records)
        resumed.write_rows(start, stop - start, bytes(records))
    assert resumed.transitions <= replay.transitions
    if resumed.transitions:  # without its open row, the newest transition has no next observation
        assert all(each in model.transitions() for each in sample(resumed))
    resumed.set_open_row(replay.open_row())
    assert resumed.open_row() == replay.open_row()
    assert resumed.rows_closed == closed
    if replay.transitions:
        assert sample(resumed) == sample(replay)
    apply(after, resumed, model, first=len(before))
    check(resumed, model)


def half(value):
    return struct.unpack("<e", struct.pack("<e", value))[0]


@given(st.lists(st.floats(-65504, 65504), min_size=OBSERVATION, max_size=OBSERVATION))
def test_float16_rounds_to_nearest_even_straight_from_float64(values):
    replay = make(2)
    replay.begin_episode(doubles(values))
    add(replay)
    observation = sample(replay, 1)[0][0]
    assert struct.pack("<3d", *observation) == struct.pack("<3d", *map(half, values))


@pytest.mark.parametrize(
    "value",
    [
        2.0**-24,  # the least subnormal
        2.0**-25,  # half of it: a tie, to 0
        2.0**-25 * (1 + 2.0**-52),
        2.0**-14,  # the least normal
        2.0**-14 - 2.0**-25,  # a tie between the greatest subnormal and it
        1 + 2.0**-11,  # a tie, to 1
        1 + 2.0**-11 + 2.0**-40,  # float32 would make a tie of it
        2 - 2.0**-11,  # a carry into the exponent
        -0.0,
        65504.0,
    ],
)
def test_float16_rounds_its_edges(value):
    replay = make(2)
    replay.begin_episode(doubles([value, -value, 0.0]))
    add(replay)
    assert struct.pack("<3d", *sample(replay, 1)[0][0]) == struct.pack("<3d", half(value), half(-value), 0.0)


def test_every_half_is_read_back():
    numbers = [h for h in range(1 << 16) if h & 0x7C00 != 0x7C00]
    for first in range(0, len(numbers), 4096):
        bits = numbers[first : first + 4096]
        size = len(bits)
        values = struct.unpack(f"<{size}e", struct.pack(f"<{size}H", *bits))
        replay = make(2, sizes=(size, 1))
        replay.begin_episode(doubles(values))
        replay.add(floats([0.0]), 0.0, doubles(values), False, False)
        record = replay.open_row()
        assert struct.unpack_from(f"<{size}H", record) == tuple(bits)
        drawn = sample(replay, 1, sizes=(size, 1))[0][0]
        assert struct.pack(f"<{size}d", *drawn) == struct.pack(f"<{size}d", *values)


@pytest.mark.parametrize("size", [1, 7, 31, 32, 33, 100])
@pytest.mark.parametrize("columns", [1, 15, 16, 17, 33])
def test_wide_rows_and_odd_batches_are_gathered_whole(size, columns):
    replay = make(50, sizes=(size, size))
    rows = [[(i * 31 + j) % 512 / 4 for j in range(size)] for i in range(80)]
    replay.begin_episode(doubles(rows[0]))
    for row, after in itertools.pairwise(rows):
        replay.add(floats(row), row[0], doubles(after), False, False)
    valid = [(row, row, row[0], False, after) for row, after in itertools.pairwise(rows)][-49:]
    assert all(each in valid for each in sample(replay, columns, sizes=(size, size)))


def test_an_observation_that_float16_cannot_hold_changes_nothing():
    replay = make(8, sizes=(5, ACTION))
    sentence = "observation 3 is 1e[+]06 and float16 holds at most 65504"
    with pytest.raises(ValueError, match=sentence):
        replay.begin_episode(doubles([0, 0, 0, 1e6, 0]))
    replay.begin_episode(doubles([0, 0, 0, 1, 0]))
    before = replay.open_row()
    with pytest.raises(ValueError, match=sentence):
        replay.add(floats([0, 0]), 1.0, doubles([0, 0, 0, 1e6, 0]), False, False)
    assert replay.open_row() == before
    assert replay.rows_closed == replay.transitions == 0


def test_what_is_too_far_from_the_first_observation_is_told_with_its_distance():
    replay = make(8, sizes=(2, ACTION))
    replay.set_offset(doubles([-60_000, 0]))
    replay.begin_episode(doubles([-60_000, 0]))
    sentence = "observation 0 is 60000, which is kept as 120000 from the first one, and float16 holds at most 65504"
    with pytest.raises(ValueError, match=sentence):
        replay.add(floats([0, 0]), 1.0, doubles([60_000, 0]), False, False)


def test_float32_holds_what_float16_cannot():
    replay = make(8, "float32")
    replay.begin_episode(doubles([1e6, 0.1, 3e38]))
    with pytest.raises(ValueError, match=r"observation 1 is 1e\+39 and float32 holds at most 3\.40282e\+38"):
        replay.begin_episode(doubles([0, 1e39, 0]))


def test_a_row_costs_its_numbers_and_one_byte():
    assert core.Replay.row_bytes(17, 6, "float16") == 2 * (17 + 6) + 4 + 1
    assert core.Replay.row_bytes(17, 6, "float32") == 4 * (17 + 6) + 4 + 1


def test_wrong_arguments_are_told_apart():
    arena = core.Arena()
    with pytest.raises(ValueError, match='dtype is "float64", expected "float16" or "float32"'):
        core.Replay(arena, "replay", 8, 3, 2, "float64")
    with pytest.raises(ValueError, match="capacity is 1, expected at least 2 rows"):
        core.Replay(arena, "replay", 1, 3, 2, "float16")
    with pytest.raises(ValueError, match="observations of 0 and actions of 2 numbers"):
        core.Replay.row_bytes(0, 2, "float16")
    measured = core.Replay(arena, "replay", 8, 3, 2, "float16")
    with pytest.raises(ValueError, match="on a measuring arena"):
        measured.begin_episode(doubles([0] * 3))
    replay = make(8)
    with pytest.raises(ValueError, match="begin_episode: `observation` has 4 numbers, expected a buffer of 3 float64"):
        replay.begin_episode(doubles([0] * 4))
    with pytest.raises(ValueError, match="there is no episode"):
        add(replay)
    replay.begin_episode(doubles([0] * 3))
    with pytest.raises(ValueError, match="`action` has format 'd', expected a buffer of 2 float32"):
        replay.add(doubles([0] * 2), 0.0, doubles([0] * 3), False, False)
    add(replay)
    with pytest.raises(ValueError, match=r"`critic_input` is \(5, 64\), expected 6 rows of 64 samples"):
        sample(make(8, sizes=(4, 2)))


def test_rows_come_back_in_order_or_not_at_all():
    replay, size = make(4), core.Replay.row_bytes(OBSERVATION, ACTION, "float16")
    replay.begin_episode(doubles([0] * 3))
    for i in range(5):
        add(replay, float(i))
    with pytest.raises(ValueError, match=r"1 rows from row 1 on, but the ring holds rows \[2, 5\)"):
        replay.read_rows(1, 1, bytearray(size))
    with pytest.raises(ValueError, match="4 rows from row 2 on"):
        replay.read_rows(2, 4, bytearray(4 * size))
    with pytest.raises(ValueError, match="`out` has 1 bytes, expected 15 bytes"):
        replay.read_rows(2, 1, bytearray(1))
    records = bytearray(size)
    replay.read_rows(2, 1, records)
    with pytest.raises(ValueError, match="only an empty one resumes"):
        replay.write_rows(5, 1, records)
    resumed = make(4)
    resumed.write_rows(2, 1, records)
    with pytest.raises(ValueError, match="rows from 4 on, expected row 3 next"):
        resumed.write_rows(4, 1, records)
    records[-1] = 77
    with pytest.raises(ValueError, match="record 0 has flags 77"):
        resumed.write_rows(3, 1, records)
    with pytest.raises(ValueError, match="set_open_row: the record has flags 77"):
        resumed.set_open_row(records)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_constants_are_not_stored_and_sampled_all_the_same(dtype):
    # Features 0, 3 and 4 never move; 1.0001 is not a half: samples have what a row would have kept.
    constants = [(0, 0.0), (3, 1.0001), (4, -2.5)]
    arena = core.Arena(1 << 20)
    whole = core.Replay(arena, "whole", 40, 40, ACTION, dtype)
    short = core.Replay(arena, "short", 40, 40, ACTION, dtype, constants)
    assert short.constants == constants
    regions = dict(arena.regions())
    assert (
        regions["whole.observations"] - regions["short.observations"] >= 40 * 3 * (2 if dtype == "float16" else 4) - 64
    )
    for replay in (whole, short):
        for i in range(60):
            observation = [i + j / 8 for j in range(40)]
            for feature, value in constants:
                observation[feature] = value
            if i % 7 == 0:
                replay.begin_episode(doubles(observation))
            else:
                replay.add(floats([i / 64] * ACTION), i, doubles(observation), i % 7 == 6, False)
    assert sample(short, 200, sizes=(40, ACTION)) == sample(whole, 200, sizes=(40, ACTION))

    resumed = core.Replay(core.Arena(1 << 20), "resumed", 40, 40, ACTION, dtype, constants)
    oldest = short.rows_closed - 39
    records = bytearray(39 * core.Replay.row_bytes(37, ACTION, dtype))
    short.read_rows(oldest, 39, records)
    resumed.write_rows(oldest, 39, records)
    resumed.set_open_row(short.open_row())
    assert sample(resumed, 200, sizes=(40, ACTION)) == sample(whole, 200, sizes=(40, ACTION))


def test_a_constant_that_moves_is_refused():
    replay = core.Replay(core.Arena(1 << 20), "replay", 4, OBSERVATION, ACTION, "float16", [(1, 2.5)])
    replay.begin_episode(doubles([1.0, 2.5, 3.0]))
    with pytest.raises(ValueError, match=r"observation 1 is 2 and the task says that it is always 2\.5"):
        replay.add(floats([0.0] * ACTION), 0.0, doubles([1.0, 2.0, 3.0]), False, False)


@pytest.mark.parametrize("constants", [[(3, 0.0)], [(-1, 0.0)], [(1, 0.0), (0, 0.0)], [(1, 0.0), (1, 0.0)]])
def test_constants_out_of_range_or_order_are_refused(constants):
    with pytest.raises(ValueError, match="constants must name features of 3 in ascending order"):
        core.Replay(core.Arena(1 << 20), "replay", 4, OBSERVATION, ACTION, "float16", constants)
