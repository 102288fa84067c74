"""Checkpoints of a small agent, without a process around it; tests/test_trainer.py kills whole processes."""

import json
import os
import re
import zlib
from types import SimpleNamespace

import pytest
from safetensors.numpy import load_file
from saved_runs import STATE

from edgedst import core
from edgedst.agents.td3 import TD3
from edgedst.config import TrainConfig
from edgedst.errors import CheckpointError, RunFolderError
from edgedst.evaluation import Evaluations
from edgedst.runs import checkpoint
from edgedst.runs.checkpoint import Checkpoints
from edgedst.runs.state import read_state, state_bytes

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
    mine = ("networks", "best", "replay")
    facts = {name: value for name, value in STATE.items() if name not in mine}
    facts |= {"step": step, "agent": agent.state()}
    writer.save(facts, {"step": step})


def tensors(folder):
    return load_file(folder / read_state(str(folder))["networks"]["file"])


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(checkpoint, "SEGMENT_ROWS", 20)
    monkeypatch.setattr(checkpoint, "CHUNK_BYTES", 100)


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
    assert other.load(state) == ""
    assert other.best is None
    assert other.is_best(-1e9)


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 100)], ids=["gone", "torn"]
)
def test_a_run_goes_on_without_its_best_actor_and_says_so(tmp_path, damage):
    agent = new_agent()
    agent.initialise()
    writer = checkpoints_of(agent, tmp_path)
    writer.save_best({"step": 0, "evaluation_return": -3.5})
    save(agent, writer, 0)
    damage(tmp_path / "best-000000000.safetensors")
    other = checkpoints_of(new_agent(), tmp_path)
    told = other.load(read_state(str(tmp_path)))
    assert told.endswith("is damaged or gone. That of the next evaluation takes its place.")
    assert str(tmp_path / "best-000000000.safetensors") in told
    assert other.is_best(-4.0)
    other.save_best({"step": 10, "evaluation_return": -4.0})
    save(agent, other, 10)
    assert best_of(tmp_path)[0]["step"] == 10
    assert not other.is_best(-4.0)


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
    assert state["format"] == 2
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


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a checkpoint."""
    folder = tmp_path_factory.mktemp("saved")
    agent = new_agent()
    agent.initialise()
    writer = checkpoints_of(agent, folder)
    writer.save_best({"step": 0, "evaluation_return": -3.5})
    save(agent, writer, 0)
    return folder


def damaged(content, folder):
    """Whether state.json of this content is refused; read, it would have to be what it was."""
    (folder / "state.json").write_bytes(content)
    try:
        read_state(str(folder))
    except CheckpointError as error:
        return str(error)
    return ""


def test_no_single_character_of_state_json_can_change_without_being_told(saved, tmp_path):
    content = (saved / "state.json").read_bytes()
    for at in range(len(content)):
        for character in {b" ", b"0", b'"', b"\n"} - {content[at : at + 1]}:
            assert damaged(content[:at] + character + content[at + 1 :], tmp_path), (at, character)
        assert damaged(content[:at] + content[at + 1 :], tmp_path), at
        assert damaged(content[:at], tmp_path), at
    assert not damaged(content, tmp_path)
    assert damaged(content + b" ", tmp_path)


@pytest.mark.parametrize("bit", range(8))
def test_no_bit_of_state_json_can_flip_without_being_told(bit, saved, tmp_path):
    content = bytearray((saved / "state.json").read_bytes())
    for at in range(len(content)):
        content[at] ^= 1 << bit
        assert damaged(bytes(content), tmp_path), at
        content[at] ^= 1 << bit


def without(state, *path):
    """A copy without an entry, or with another value there: the last of `path`."""
    copy = json.loads(json.dumps(state))
    part = copy
    for name in path[:-2]:
        part = part[name]
    part[path[-2]] = path[-1]
    return copy


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("step", -(2**63)), "`step` is -9223372036854775808, expected a whole number from 0 on"),
        (("step", 1.5), "`step` is 1.5"),
        (("step", True), "`step` is True"),
        (("env", None), "`env` is None, expected a text"),
        (("env", "A\nB"), r"`env` is 'A\\nB', expected a text"),
        (
            ("networks", "file", "../../state.json"),
            "file of `networks` is '../../state.json', expected the name of a file",
        ),
        (("networks", {}), "`networks` lacks `file`"),
        (("replay", "segments", {}), "segments of `replay` is no list"),
        (("replay", "constants", [[1]]), "constants of `replay`, entry 0, is no list of 2"),
        (("evaluations", "last", [[0, "x", 1]]), "last of `evaluations`, entry 0,, entry 1, is 'x', expected a number"),
        (("best", []), r"`best` is \[\], expected null"),
        (("agent", "losses", 3), "losses of `agent` is no list"),
        (("other", 1), "has 'other', which no checkpoint has"),
    ],
)
@pytest.mark.parametrize("format_", [1, 2])
def test_a_state_of_wrong_types_or_impossible_values_is_a_sentence(format_, path, words, saved, tmp_path):
    state = read_state(str(saved))
    if format_ == 1:
        if path[0] == "evaluations":
            path, words = ("evaluations", 3), "`evaluations` is no list"
        content = json.dumps(without(as_format_1(state), *path)).encode()
    else:
        content = state_bytes({k: v for k, v in without(state, *path).items() if k not in ("format", "edgedst")})
    assert re.search(words, damaged(content, tmp_path)), damaged(content, tmp_path)


def as_format_1(state):
    """The state as edgedst wrote it before there was a checksum."""
    new = ("isa", "config_crc32", "metrics_crc32")
    old = {name: value for name, value in state.items() if name not in new}
    return {**old, "format": 1, "environment": "", "evaluations": state["evaluations"]["last"]}


def test_a_checkpoint_of_format_1_is_still_read(saved, tmp_path):
    content = json.dumps(as_format_1(read_state(str(saved))), indent=2).encode()
    assert not damaged(content, tmp_path)
    assert read_state(str(tmp_path))["evaluations"] == [[0, -3.5, 0.25]]


def test_a_checkpoint_that_counted_the_best_evaluation_is_still_read(saved, tmp_path):
    state = {k: v for k, v in read_state(str(saved)).items() if k not in ("format", "edgedst")}
    state["evaluations"]["best"] = -3.5
    assert not damaged(state_bytes(state), tmp_path)
    evaluations = Evaluations()
    evaluations.set_state(read_state(str(tmp_path))["evaluations"])
    assert (evaluations.count, evaluations.final_performance) == (1, -3.5)


def test_a_state_of_the_new_format_without_its_checksum_is_damaged(saved, tmp_path):
    content = (saved / "state.json").read_bytes()
    assert "is damaged" in damaged(content.replace(b'"crc32": ', b'"crc33": '), tmp_path)
    body = content[: content.rindex(b",")]
    assert "last line is not its checksum" in damaged(body + b"\n}\n", tmp_path)


def test_networks_of_another_step_than_the_state_s_are_refused(saved):
    state = {**read_state(str(saved)), "step": 5}
    with pytest.raises(CheckpointError, match=r"its networks are of step 0, and state\.json says 5"):
        checkpoints_of(new_agent(), saved).load(state)


@pytest.mark.parametrize("failing_call", range(10))
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
