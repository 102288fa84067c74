"""What the networks see, normalised and with a history, against models that keep everything in lists."""

import json
import subprocess
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training import TINY, edgedst, run_in, train

from edgedst import core

N, M = 3, 2


def doubles(values):
    return array("d", values)


def floats(values):
    return array("f", values)


def normalizer_of(observations, clip=10.0):
    made = core.Normalizer(core.Arena(1 << 16), "normalizer", len(observations[0]), clip)
    for observation in observations:
        made.add(doubles(observation))
    return made


def stacked(observations, actions, at, history):
    """What the networks see at `at` of an episode: lists of all its observations and actions."""
    if not history:
        return list(observations[at])
    seen = [value for k in range(history) for value in observations[max(0, at - k)]]
    return seen + [value for k in range(1, history + 1) for value in (actions[at - k] if at >= k else [0.0] * M)]


def test_mean_and_scale_are_those_of_all_observations(rng):
    observations = rng.normal([0.0, 300.0, -5.0], [1.0, 0.01, 1e-3], (500, 3))
    made = normalizer_of(observations)
    assert made.count == 500
    np.testing.assert_allclose(made.mean, observations.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(made.scale, observations.std(axis=0), rtol=1e-8)  # Welford's rounding


@pytest.mark.parametrize("observations", [[[300.0, 0.0]], [[300.0, 0.0], [300.0 + 1e-9, 0.0]]])
def test_an_observation_that_has_not_moved_is_only_shifted(observations):
    assert normalizer_of(observations).scale == [1.0, 1.0]


@pytest.mark.parametrize("history", [0, 1, 2, 5])
def test_the_history_holds_the_last_observations_and_actions_newest_first(history, rng):
    seen = core.History(core.Arena(1 << 16), "history", N, M, history)
    assert seen.size == core.History.input_size(N, M, history) == (history * (N + M) if history else N)
    for length in (4, 9):  # the second episode forgets the first
        observations, actions = rng.normal(size=(length + 1, N)), rng.normal(size=(length, M)).astype(np.float32)
        seen.begin(doubles(observations[0]))
        assert list(seen.state) == stacked(observations, actions, 0, history)
        for step in range(length):
            seen.add(floats(actions[step]), doubles(observations[step + 1]))
            assert list(seen.state) == stacked(observations, actions, step + 1, history)


def test_a_network_acts_on_what_was_seen_as_it_does_on_the_same_numbers(rng):
    arena = core.Arena(1 << 20)
    history, sizes = 3, [3 * (N + M), 16, M]
    network = core.Network(arena, "actor", sizes, [60, 16 * M], "tanh")
    network.initialise(core.Random(1), core.TopologyWorkspace(arena, "workspace", 240, 16, 16))
    passed = core.Activations(arena, "pass", sizes, 1)
    observations, actions = rng.normal(20.0, 3.0, (5, N)), rng.normal(size=(4, M)).astype(np.float32)
    seen, normalizer = core.History(arena, "history", N, M, history), normalizer_of(observations[:3], clip=1.25)
    seen.begin(doubles(observations[0]))
    for action, observation in zip(actions, observations[1:], strict=True):
        seen.add(floats(action), doubles(observation))
    z = np.clip((observations - normalizer.mean) / normalizer.scale, -1.25, 1.25)
    assert np.abs(z).max() == 1.25  # some are cut
    for given_normalizer, numbers in ((None, observations), (normalizer, z)):
        ours, plain = floats([0] * M), floats([0] * M)
        network.act_on(seen, given_normalizer, ours, passed)
        network.act(doubles(stacked(numbers, actions, 4, history)), plain, passed)
        assert list(ours) == list(plain)


class Rows:
    """Episodes as lists, and of each row ever stored its episode and its place there."""

    def __init__(self):
        self.episodes, self.rows = [], []

    def close(self):
        """The last observation of an episode has a row of its own; an episode without a step has none."""
        if self.episodes and self.episodes[-1][1]:
            self.rows.append((len(self.episodes) - 1, None))
        elif self.episodes:
            self.episodes.pop()

    def begin(self, observation):
        if not self.rows or self.rows[-1][1] is not None:
            self.close()
        self.episodes.append(([observation], [], []))

    def add(self, action, reward, observation):
        observations, actions, rewards = self.episodes[-1]
        self.rows.append((len(self.episodes) - 1, len(actions)))
        observations.append(observation)
        actions.append(action)
        rewards.append(reward)


def filled(replay, rows, lengths, rng, ends=True):
    """Episodes of these lengths; numbers are exact in half precision, and every reward is another one."""
    for length in lengths:
        observation = list(rng.integers(-99, 99, N) / 4)
        replay.begin_episode(doubles(observation))
        rows.begin(observation)
        for step in range(length):
            observation, action = list(rng.integers(-99, 99, N) / 4), list(rng.integers(-64, 64, M) / 64)
            reward = float(len(rows.rows))
            replay.add(floats(action), reward, doubles(observation), False, ends and step == length - 1)
            rows.add(action, reward, observation)


def sample(replay, history, normalizer=None, demonstrations=0, columns=400, n_steps=1):
    """Drawn columns, by their reward: (what was seen, action, what was seen next)."""
    arena, size = core.Arena(1 << 22), core.History.input_size(N, M, history)
    both, after = core.Batch(arena, "x", size + M, columns), core.Batch(arena, "next", size + M, columns)
    reward, discount = core.Batch(arena, "reward", 1, columns), core.Batch(arena, "discount", 1, columns)
    # Rewards are numbers of rows: with gamma = 0 the first of n is what there is of their sum.
    gamma = 0.0 if n_steps > 1 else 1.0
    replay.sample(core.Random(3), both, after, reward, discount, normalizer, demonstrations, n_steps, gamma)
    x, y = (np.array(of.memory).reshape(of.rows, of.stride)[:, :columns] for of in (both, after))
    return [
        (int(number), list(x[:size, c]), list(x[size:, c]), list(y[:size, c]))
        for c, number in enumerate(list(reward.memory)[:columns])
    ]


@settings(max_examples=60)
@given(
    history=st.integers(0, 4),
    capacity=st.integers(12, 40),
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    dtype=st.sampled_from(["float16", "float32"]),
    ends=st.booleans(),
    seed=st.integers(0, 99),
    n_steps=st.integers(1, 4),
)
def test_a_sample_has_the_history_of_its_own_episode(history, capacity, lengths, dtype, ends, seed, n_steps):
    replay = core.Replay(core.Arena(1 << 20), "replay", capacity, N, M, dtype, [], history)
    rows, rng = Rows(), np.random.default_rng(seed)
    filled(replay, rows, [*lengths, 3], rng, ends)
    held = rows.rows[-(capacity - 1) :]
    # Of the first rows behind those that were forgotten nobody knows what was before.
    known = held if len(held) == len(rows.rows) else held[history:]
    possible = {number for number, row in enumerate(rows.rows) if row in known and row[1] is not None}
    drawn = sample(replay, history, n_steps=n_steps)
    assert {number for number, *_ in drawn} == possible
    for number, seen, action, seen_next in drawn:
        episode, at = rows.rows[number]
        observations, actions, _ = rows.episodes[episode]
        assert seen == stacked(observations, actions, at, history)
        assert action == actions[at]
        assert seen_next == stacked(observations, actions, min(at + n_steps, len(actions)), history)


@pytest.mark.parametrize("history", [0, 3])
@pytest.mark.parametrize("constant", [False, True])
def test_a_sample_is_normalised_as_what_acts_sees_it(history, constant, rng):
    constants = [(1, 7.5)] if constant else []
    arena = core.Arena(1 << 20)
    replay = core.Replay(arena, "replay", 50, N, M, "float32", constants, history)
    observations = rng.normal([300.0, 7.5, -2.0], [0.01, 0.0 if constant else 5.0, 1e-3], (30, N))
    actions = rng.uniform(-1, 1, (29, M)).astype(np.float32)
    normalizer = normalizer_of(observations, clip=1.5)
    replay.set_offset(doubles(observations[0]))
    seen = core.History(arena, "history", N, M, history)
    replay.begin_episode(doubles(observations[0]))
    for step, action in enumerate(actions):
        replay.add(floats(action), float(step), doubles(observations[step + 1]), False, False)
    z = np.clip((observations - normalizer.mean) / normalizer.scale, -1.5, 1.5)
    for number, drawn, _, drawn_next in sample(replay, history, normalizer):
        # float32 of values whose offset lies some deviations from the mean
        np.testing.assert_allclose(drawn, stacked(z, actions, number, history), atol=2e-5)
        np.testing.assert_allclose(drawn_next, stacked(z, actions, number + 1, history), atol=2e-5)
    assert seen.size == len(drawn)


def test_half_precision_keeps_a_hundredth_of_a_kelvin_at_300(rng):
    readings = 300 + 0.01 * np.cumsum(rng.choice([-1, 1], 200))
    kept = {}
    for offset in (False, True):
        replay = core.Replay(core.Arena(1 << 20), "replay", 300, 1, 1, "float16")
        if offset:
            replay.set_offset(doubles(readings[:1]))
        replay.begin_episode(doubles(readings[:1]))
        for reading in readings[1:]:
            replay.add(floats([0]), 0.0, doubles([reading]), False, False)
        arena = core.Arena(1 << 20)
        batch = [core.Batch(arena, f"{i}", 2, 500) for i in range(2)]
        rewards = [core.Batch(arena, f"r{i}", 1, 500) for i in range(2)]
        replay.sample(core.Random(0), *batch, *rewards, normalizer_of(readings[:, None]))
        kept[offset] = len(np.unique(np.round(list(batch[0].memory)[:500], 4)))
    assert kept[False] <= 3  # float16 counts in quarters there
    assert kept[True] == len(np.unique(np.round(readings[:-1], 4)))


def test_pinned_rows_stay_and_give_their_share_of_each_batch(rng):
    replay, rows = core.Replay(core.Arena(1 << 20), "replay", 30, N, M, "float16", [], 2), Rows()
    filled(replay, rows, [4, 3], rng)
    replay.pin()
    assert (replay.pinned, replay.demonstrations) == (9, 7)
    assert {number for number, *_ in sample(replay, 2, None, 100)} == {0, 1, 2, 3, 5, 6, 7}  # there is nothing else
    rows.close()
    filled(replay, rows, [11, 13, 12], rng)
    drawn = sample(replay, 2, None, 100)
    assert {number for number, *_ in drawn[:100]} == {0, 1, 2, 3, 5, 6, 7}
    assert min(number for number, *_ in drawn[100:]) > len(rows.rows) - 21
    for number, seen, _, seen_next in drawn:
        episode, at = rows.rows[number]
        observations, actions, _ = rows.episodes[episode]
        assert seen == stacked(observations, actions, at, 2)
        assert seen_next == stacked(observations, actions, at + 1, 2)


def test_pinned_rows_are_read_back_with_what_the_ring_has_left(rng):
    replay, rows = core.Replay(core.Arena(1 << 20), "replay", 20, N, M, "float16", [], 2), Rows()
    filled(replay, rows, [4], rng)
    replay.pin()
    filled(replay, rows, [9, 9, 9], rng)
    oldest = replay.rows_closed - (20 - replay.pinned - 1)
    again = core.Replay(core.Arena(1 << 20), "replay", 20, N, M, "float16", [], 2)
    again.set_pinned(replay.pinned)
    size = core.Replay.row_bytes(N, M, "float16")
    for start, count in ((0, replay.pinned), (oldest, replay.rows_closed - oldest)):
        records = bytearray(size * count)
        replay.read_rows(start, count, records)
        again.write_rows(start, count, records)
    again.set_open_row(replay.open_row())
    assert sample(again, 2, None, 50) == sample(replay, 2, None, 50)
    assert (again.transitions, again.demonstrations) == (replay.transitions, replay.demonstrations)
    with pytest.raises(ValueError, match="holds rows"):
        replay.read_rows(replay.pinned, 1, bytearray(size))  # the ring has forgotten that one


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda r: r.set_offset(doubles([0] * N)), "only an empty one"),
        (lambda r: r.set_pinned(2), "not in use"),
        (lambda r: [r.pin(), r.pin()], "holds all of its rows"),
        (lambda r: sample(r, 0, normalizer_of([[1.0]])), "the normalizer is of 1 observations, expected 3"),
    ],
)
def test_what_cannot_be_is_refused(call, told, rng):
    replay = core.Replay(core.Arena(1 << 20), "replay", 30, N, M, "float16")
    filled(replay, Rows(), [4], rng)
    with pytest.raises(ValueError, match=told):
        call(replay)


def test_what_was_trained_so_is_exported_as_it_acts(tmp_path):
    pytest.importorskip("onnxruntime")
    train(tmp_path, *TINY, "--normalize-observations", "--history", "2")
    run = run_in(tmp_path)
    played = []
    subprocess.run(edgedst("export", "actor.onnx", "--run", run), cwd=tmp_path, check=True)  # compares them, too
    for target in (run, "actor.onnx"):
        command = edgedst("evaluate", target, "--episodes", "3", "--json")
        played.append(
            json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout)["returns"]
        )
    assert played[0] == pytest.approx(played[1], rel=1e-3)
