"""Checkpoints of a small agent, without a process around it; tests/test_trainer.py kills whole processes."""

import json
import os
import zlib
from types import SimpleNamespace

import pytest
from safetensors.numpy import load_file

from edgedst import checkpoints, core
from edgedst.agents.td3 import TD3
from edgedst.checkpoints import Checkpoints, read_state
from edgedst.config import TrainConfig
from edgedst.errors import CheckpointError, RunFolderError

N, M, CAPACITY = 3, 2, 64


def new_agent(**changes):
    settings = {
        "hidden": (16, 16),
        "lambda1": 3.0,
        "lambda2": 4.0,
        "batch_size": 8,
        "evolve_every": 5,
        "start_steps": 0,
    }
    config = SimpleNamespace(**TrainConfig(**{**settings, **changes}).resolved().settings())
    arena = core.Arena(4_000_000)
    agent = TD3(arena, config, N, M)
    agent.replay = core.Replay(arena, "replay", CAPACITY, N, M, "float16")
    return agent


def checkpoints_of(agent, folder):
    row_bytes = core.Replay.row_bytes(N, M, "float16")
    return Checkpoints(str(folder), agent.networks, agent.workspace, agent.replay, row_bytes, "float16")


def play(agent, rng, steps):
    import array

    action = array.array("f", [0.0] * M)
    if agent.replay.rows_closed == 0:
        agent.replay.begin_episode(array.array("d", rng.normal(size=N)))
    for _ in range(steps):
        agent.random_action(action)
        agent.replay.add(action, float(rng.normal()), array.array("d", rng.normal(size=N)), False, False)
        agent.update()


def save(agent, writer, step):
    facts = {"step": step, "agent": agent.state()}
    writer.save(facts, {"step": step})


def tensors(folder):
    return load_file(folder / read_state(str(folder))["networks"]["file"])


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(checkpoints, "SEGMENT_ROWS", 20)
    monkeypatch.setattr(checkpoints, "CHUNK_BYTES", 100)


@pytest.mark.parametrize("steps", [3, 30, 150])  # less than a segment, a part of the ring, the ring twice over
@pytest.mark.usefixtures("small_segments")
def test_an_agent_that_was_saved_and_loaded_learns_the_very_same(steps, tmp_path, rng):
    agent = new_agent()
    agent.initialise()
    writer = checkpoints_of(agent, tmp_path)
    for step in range(steps):
        play(agent, rng, 1)
        if step % 7 == 0:
            save(agent, writer, step)
    save(agent, writer, steps)

    other = new_agent(seed=9)
    state = read_state(str(tmp_path))
    reader = checkpoints_of(other, tmp_path)
    reader.load(state)
    other.set_state(state["agent"])
    other.random = agent.random.__class__(0)
    other.random.counter = state["agent"]["random_counter"]
    assert other.replay.transitions == agent.replay.transitions
    assert other.replay.rows_closed == agent.replay.rows_closed
    for _ in range(12):  # across two evolutions
        agent.update()
        other.update()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    save(agent, checkpoints_of(agent, tmp_path / "a"), 0)
    save(other, checkpoints_of(other, tmp_path / "b"), 0)
    one, two = tensors(tmp_path / "a"), tensors(tmp_path / "b")
    assert one.keys() == two.keys()
    assert all((one[name] == two[name]).all() for name in one)


@pytest.mark.usefixtures("small_segments")
def test_segments_that_the_ring_forgot_are_deleted(tmp_path, rng):
    agent = new_agent()
    agent.initialise()
    writer = checkpoints_of(agent, tmp_path)
    for step in range(30):
        play(agent, rng, 10)
        save(agent, writer, step)
    segments = read_state(str(tmp_path))["replay"]["segments"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(s["file"] for s in segments), "networks-000000029.safetensors", "state.json"]
    )
    assert 63 <= sum(segment["rows"] for segment in segments) < 63 + 20


@pytest.mark.usefixtures("small_segments")
def test_a_ring_smaller_than_what_happens_between_two_checkpoints_is_saved_from_its_oldest_row(tmp_path, rng):
    agent = new_agent()
    agent.initialise()
    writer = checkpoints_of(agent, tmp_path)
    save(agent, writer, 0)
    play(agent, rng, 200)
    save(agent, writer, 1)
    segments = read_state(str(tmp_path))["replay"]["segments"]
    assert segments[0]["first"] == 200 - (CAPACITY - 1)
    other = new_agent()
    checkpoints_of(other, tmp_path).load(read_state(str(tmp_path)))
    assert other.replay.transitions == agent.replay.transitions


def best_of(folder):
    """state.json's best actor and its tensors; the file is as state.json says."""
    best = read_state(str(folder))["best"]
    content = (folder / best["file"]).read_bytes()
    assert (len(content), zlib.crc32(content)) == (best["bytes"], best["crc32"])
    return best, load_file(folder / best["file"])


def test_the_best_actor_is_kept_alone_and_as_it_was(tmp_path, rng):
    agent = new_agent()
    agent.initialise()
    writer = checkpoints_of(agent, tmp_path)
    save(agent, writer, 0)
    assert read_state(str(tmp_path))["best"] is None
    writer.save_best({"step": 5, "evaluation_return": 1.5})
    save(agent, writer, 5)
    whole = tensors(tmp_path)
    play(agent, rng, 10)
    save(agent, writer, 15)
    best, kept = best_of(tmp_path)
    assert (best["step"], best["evaluation_return"]) == (5, 1.5)
    assert sorted(kept) == [f"actor.{layer}.{name}" for layer in range(3) for name in ("bias", "indices", "values")]
    assert all((kept[name] == whole[name]).all() for name in kept)
    assert any((kept[name] != values).any() for name, values in tensors(tmp_path).items() if name in kept)


def test_a_checkpoint_names_the_best_of_its_own_time_until_the_next_one_is_whole(tmp_path, rng, monkeypatch):
    agent = new_agent()
    agent.initialise()
    writer = checkpoints_of(agent, tmp_path)
    writer.save_best({"step": 0, "evaluation_return": -3.0})
    save(agent, writer, 0)
    for step in (10, 20):  # two better ones before the next checkpoint
        play(agent, rng, 10)
        writer.save_best({"step": step, "evaluation_return": float(step)})
        assert best_of(tmp_path)[0]["step"] == 0
    resumed = checkpoints_of(new_agent(), tmp_path)
    resumed.load(read_state(str(tmp_path)))
    assert resumed.best["step"] == 0
    save(agent, writer, 20)
    assert best_of(tmp_path)[0]["step"] == 20
    assert [path.name for path in sorted(tmp_path.glob("best-*"))] == ["best-000000020.safetensors"]
    resumed.load(read_state(str(tmp_path)))
    save(agent, resumed, 30)
    assert best_of(tmp_path)[0]["step"] == 20


def test_a_run_from_before_there_was_a_best_actor_goes_on(tmp_path):
    agent = new_agent()
    agent.initialise()
    save(agent, checkpoints_of(agent, tmp_path), 0)
    state = read_state(str(tmp_path))
    del state["best"]
    other = checkpoints_of(new_agent(), tmp_path)
    other.load(state)
    assert other.best is None


def test_the_format_is_the_one_that_docs_formats_describes(tmp_path, rng):
    agent = new_agent()
    agent.initialise()
    save(agent, checkpoints_of(agent, tmp_path), 7)
    found = tensors(tmp_path)
    assert found["actor.0.indices"].dtype == "uint32"
    assert len(found["actor.0.indices"]) == round(3.0 * (N + 16)) or len(found["actor.0.indices"]) == N * 16
    assert (found["critic_1.1.indices"][1:] > found["critic_1.1.indices"][:-1]).all()
    assert found["critic_2.2.bias_adam_v"].shape == (1,)
    assert "actor_target.0.adam_m" not in found
    state = json.loads((tmp_path / "state.json").read_text(encoding="utf-8"))
    assert state["format"] == 1
    assert state["step"] == 7
    assert state["networks"]["bytes"] == (tmp_path / state["networks"]["file"]).stat().st_size


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "replay"])
def test_a_damaged_checkpoint_is_a_sentence(damage, tmp_path, rng):
    agent = new_agent()
    agent.initialise()
    play(agent, rng, 10)
    save(agent, checkpoints_of(agent, tmp_path), 1)
    state = read_state(str(tmp_path))
    replay = damage == "replay"
    path = tmp_path / (state["replay"]["segments"][0]["file"] if replay else state["networks"]["file"])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-5] if damage == "cut" else content)
    words = "cannot be read: No such file" if damage == "missing" else "is damaged: expected .* bytes with CRC-32"
    with pytest.raises(CheckpointError, match=words):
        checkpoints_of(new_agent(), tmp_path).load(state)


def test_a_checkpoint_of_other_networks_is_a_sentence(tmp_path):
    agent = new_agent()
    agent.initialise()
    save(agent, checkpoints_of(agent, tmp_path), 1)
    with pytest.raises(CheckpointError, match="does not fit this run"):
        checkpoints_of(new_agent(hidden=(32, 32)), tmp_path).load(read_state(str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "There is no checkpoint to resume"),
        ("{", "is damaged"),
        ('{"a": 1}', "is not a checkpoint of edgedst"),
        ('{"format": 9, "edgedst": "9.0", "step": 1, "networks": {}, "replay": {}}', r"has format 9 \(edgedst 9.0\)"),
    ],
)
def test_a_state_that_cannot_be_read_is_a_sentence(text, words, tmp_path):
    if text is not None:
        (tmp_path / "state.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        read_state(str(tmp_path))


@pytest.mark.parametrize("failing_call", range(7))
def test_a_disk_that_fills_up_leaves_the_last_checkpoint_good(failing_call, tmp_path, rng, monkeypatch):
    agent = new_agent()
    agent.initialise()
    writer = checkpoints_of(agent, tmp_path)
    play(agent, rng, 10)
    writer.save_best({"step": 1, "evaluation_return": 1.0})
    save(agent, writer, 1)
    play(agent, rng, 10)
    calls, fsync = [], os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) - 1 == failing_call:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        try:
            writer.save_best({"step": 2, "evaluation_return": 2.0})
            save(agent, writer, 2)
        except RunFolderError as error:
            assert "No space left on device" in str(error)  # noqa: PT017  # past the last fsync nothing fails
    state = read_state(str(tmp_path))
    checkpoints_of(new_agent(), tmp_path).load(state)
    assert state["step"] in (1, 2)
    assert best_of(tmp_path)[0]["step"] == state["step"]
    save(agent, writer, 3)  # and when there is room again, the next one is good
    checkpoints_of(new_agent(), tmp_path).load(read_state(str(tmp_path)))
