"""An episode is its seed and its actions: recorded, saved, and played again by another process."""

import array
import re
import struct
import zlib
from binascii import b2a_base64

import pytest

from edgedst.envs import Environment
from edgedst.errors import CheckpointError, EnvironmentFault
from edgedst.runs import episode
from edgedst.runs.episode import Episode


class Sum(Environment):
    """Observes the sum of its seed and all actions so far; `drift` is added to every step, `length` ends it."""

    name, native, action_size, observation_size = "Sum-v0", False, 2, 1

    def __init__(self, drift=0.0, length=10**9):
        self.drift, self.length, self.steps = drift, length, 0
        self.observation = memoryview(array.array("d", [0.0]))

    def state(self):
        return None

    def reset(self, seed):
        self.observation[0], self.steps = float(seed), 0

    def step(self, action):
        if self.drift == "raise":
            raise EnvironmentFault("The arm fell off.")
        self.steps += 1
        self.observation[0] += sum(action) + self.drift
        return 0.0, False, self.steps >= self.length


def played(folder, steps, environment=None, seed=7):
    """An episode of so many steps, saved after each tenth."""
    record = Episode(str(folder), environment or Sum())
    record.begin(0, seed)
    for step in range(steps):
        act(record, step)
        if step % 10 == 9:
            record.saved()
    return record


def act(record, step):
    action = memoryview(array.array("f", [step / 8, 1.0]))
    record.record(action)
    record._environment.step(action)


@pytest.mark.parametrize("steps", [0, 1, 9, 1024, 1025, 5000])  # the buffer holds 1,024 steps
def test_an_episode_goes_on_where_it_was(steps, tmp_path):
    before = played(tmp_path, steps)
    saved = before.saved()
    again = Episode(str(tmp_path), Sum())
    assert again.restore(saved, lambda: False) == ""
    assert again._environment.observation.tobytes() == before._environment.observation.tobytes()
    for record in (before, again):
        for step in range(30):
            act(record, step)
    after = again.saved()
    assert after["steps"] == steps + 30
    assert (tmp_path / after["file"]).stat().st_size == 8 * after["steps"]
    third = Episode(str(tmp_path), Sum())
    assert third.restore(after, lambda: False) == ""
    assert third._environment.observation.tobytes() == before._environment.observation.tobytes()


def test_an_episode_of_a_hundred_thousand_steps_takes_no_more_memory_than_a_short_one(tmp_path):
    record = played(tmp_path, 100_000)
    assert len(record._buffer) <= episode.BUFFER_BYTES
    assert len(str(record.saved())) < 250


def test_what_a_killed_process_left_behind_a_checkpoint_is_cut_off(tmp_path):
    record = played(tmp_path, 20)
    saved = record.saved()
    for step in range(3000):  # more than the buffer holds: some of it is in the file when the process dies
        act(record, step)
    assert (tmp_path / saved["file"]).stat().st_size > 8 * 20
    again = Episode(str(tmp_path), Sum())
    assert again.restore(saved, lambda: False) == ""
    act(again, 1)
    assert again.saved()["steps"] == 21
    assert (tmp_path / saved["file"]).stat().st_size == 8 * 21


def test_the_file_that_a_checkpoint_names_stays_as_it_is_when_later_episodes_begin(tmp_path):
    record = played(tmp_path, 3000)
    saved = record.saved()
    content = (tmp_path / saved["file"]).read_bytes()
    for begin in (3000, 6000):
        record.begin(begin, 1)
        for step in range(3000):
            act(record, step)
    assert (tmp_path / saved["file"]).read_bytes() == content


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (Sum(drift=1e-9), r"Sum-v0 does not repeat itself: .* led to another observation"),
        (Sum(length=12), r"Sum-v0 does not repeat itself: its saved episode ended early"),
        (Sum(length=20), r"Sum-v0 does not repeat itself"),
        (Sum(drift="raise"), r"the saved episode cannot be played again: The arm fell off"),
    ],
)
def test_an_environment_that_does_not_repeat_itself_gets_a_new_episode(environment, words, tmp_path):
    saved = played(tmp_path, 20).saved()
    again = Episode(str(tmp_path), environment)
    assert re.search(words, again.restore(saved, lambda: False))


def test_a_stop_ends_the_playing(tmp_path):
    saved = played(tmp_path, 5000).saved()
    asked = iter([False] * 10)
    again = Episode(str(tmp_path), Sum())
    assert again.restore(saved, lambda: next(asked, True)) == ""
    assert again._environment.steps == 10


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damaged_actions_are_a_sentence_and_nothing_is_played(damage, tmp_path):
    saved = played(tmp_path, 100).saved()
    path = tmp_path / saved["file"]
    content = bytearray(path.read_bytes())
    content[50] ^= 4
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-1])
    again = Episode(str(tmp_path), Sum())
    with pytest.raises(CheckpointError, match=r"episode-000000000\.actions` is damaged: expected 800 bytes"):
        again.restore(saved, lambda: False)
    assert again._environment.steps == 0


def test_an_episode_of_another_environment_is_a_sentence(tmp_path):
    saved = {**played(tmp_path, 5).saved(), "observation": ""}
    with pytest.raises(CheckpointError, match=r"does not belong to Sum-v0 with 1 observations and 2 actions"):
        Episode(str(tmp_path), Sum()).restore(saved, lambda: False)


def test_the_episode_in_a_checkpoint_of_format_1_goes_on(tmp_path):
    other = Sum()
    other.reset(7)
    actions = [array.array("f", [step / 8, 1.0]) for step in range(1500)]
    for action in actions:
        other.step(action)
    state = struct.pack("<4sqII", b"EDGY", 7, 1500, 1) + b"".join(map(bytes, actions)) + other.observation.tobytes()
    record = Episode(str(tmp_path), Sum())
    assert record.restore(b2a_base64(state, newline=False).decode(), lambda: False) == ""
    assert record._environment.observation.tobytes() == other.observation.tobytes()
    saved = record.saved()
    assert saved["steps"] == 1500
    assert zlib.crc32((tmp_path / saved["file"]).read_bytes()) == saved["crc32"]
    with pytest.raises(CheckpointError, match="does not belong to Sum-v0"):
        record.restore(b2a_base64(state[:-1], newline=False).decode(), lambda: False)
