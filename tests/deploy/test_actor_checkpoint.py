"""Reading a checkpoint's actor, and what is said when it cannot be read."""

import json
import shutil

import numpy as np
import pytest
from actors import change_state
from safetensors import safe_open

from edgedst.errors import CheckpointError, ConfigError
from edgedst.runs import actor
from edgedst.runs.actor import best_evaluation, read_actor
from edgedst.runs.find import newest_run
from edgedst.runs.recorded import recorded_rows
from edgedst.runs.state import state_bytes


def test_read_actor_scatters_values_to_their_positions(run):
    actor = read_actor(run)
    assert actor.sizes == (3, 8, 5, 2)
    assert [layer.nnz for layer in actor.layers] == [12, 20, 10]
    assert [layer.sparsity for layer in actor.layers] == [0.5, 0.5, 0.0]
    layer = actor.layers[0]
    for position, value in zip(layer.indices, layer.values, strict=True):
        assert layer.weight[position // 3, position % 3] == value
    assert np.count_nonzero(layer.weight) == layer.nnz
    assert (actor.environment, actor.method, actor.seed, actor.step) == ("Fake-v0", "ds-td3", 7, 1000)
    assert actor.evaluation_return == 12.345678901234567


def test_the_best_actor_is_read_from_its_own_file(run):
    best, last = read_actor(run, "best"), read_actor(run)
    assert (best.checkpoint, best.step, best.evaluation_return) == ("best", 500, 23.4)
    assert (last.checkpoint, last.step, last.evaluation_return) == ("last", 1000, 12.345678901234567)
    assert (best.layers[0].values != last.layers[0].values).any()
    assert best_evaluation(run) == (500, 23.4)


def test_a_run_without_a_best_actor_is_one_sentence(run):
    change_state(run, best=None)
    assert best_evaluation(run) is None
    with pytest.raises(
        CheckpointError, match=r"has no best actor: no evaluation is done yet, or .*\. Take .*`--checkpoint last`"
    ):
        read_actor(run, "best")
    state = json.loads((run / "checkpoint" / "state.json").read_text())
    del state["best"], state["crc32"]
    (run / "checkpoint" / "state.json").write_bytes(state_bytes(state))
    with pytest.raises(CheckpointError, match="has no best actor"):
        read_actor(run, "best")
    assert read_actor(run).step == 1000


@pytest.mark.parametrize("damage", ["flipped bit", "missing", "of another step", "not described"])
def test_a_damaged_best_actor_is_found(run, damage):
    path = next((run / "checkpoint").glob("best-*"))
    state = json.loads((run / "checkpoint" / "state.json").read_text())
    if damage == "flipped bit":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    if damage == "missing":
        path.unlink()
    if damage == "of another step":
        change_state(run, best={**state["best"], "step": 400})
    if damage == "not described":
        change_state(run, best={"step": 500})
    words = {
        "flipped bit": "is damaged: expected",
        "missing": "there is no such file",
        "of another step": r"from step 500 and state\.json from step 400",
        "not described": "is damaged: `best` lacks `file`",
    }
    with pytest.raises(CheckpointError, match=words[damage]):
        read_actor(run, "best")


def test_an_unknown_checkpoint_is_one_sentence(run):
    with pytest.raises(ConfigError, match=r"`--checkpoint first` is unknown\. Expected last or best\."):
        read_actor(run, "first")


def test_sac_s_head_is_split_into_means_and_log_sigma(make_run, tmp_path):
    run = make_run(tmp_path / "runs" / "Fake-v0" / "ds-sac" / "s7-20260102-030405", method="ds-sac")
    actor = read_actor(run)
    with safe_open(next((run / "checkpoint").glob("networks-*")), "np") as file:
        head, bias = file.get_tensor("actor.2.values").reshape(4, 5), file.get_tensor("actor.2.bias")
    for layer, rows in ((actor.layers[-1], slice(2)), (actor.log_std_head, slice(2, 4))):
        assert (layer.weight == head[rows]).all()
        assert (layer.bias == bias[rows]).all()


def test_actions_reach_exactly_their_asymmetric_bounds(run):
    actor = read_actor(run)
    assert actor.to_environment_units([-1.0, -1.0]).tolist() == [-1.0, -0.25]
    assert actor.to_environment_units([1.0, 1.0]).tolist() == [1.0, 4.0]


def test_recorded_observations_come_from_the_first_segments(run):
    rows = recorded_rows(run, 30, 3, 2).observations  # 20 rows a segment: all of the first, half of the second
    assert rows.shape == (30, 3)
    assert len(recorded_rows(run, 500, 3, 2).observations) == 40


def test_constants_that_rows_leave_out_are_put_back_into_recorded_observations(run):
    whole = recorded_rows(run, 40, 3, 2).observations
    replay = json.loads((run / "checkpoint" / "state.json").read_text())["replay"]
    change_state(run, replay={**replay, "constants": [[1, 0.1], [4, -2.0]]})
    wider = recorded_rows(run, 40, 5, 2).observations
    assert (wider[:, [0, 2, 3]] == whole).all()
    assert (wider[:, [1, 4]] == np.float16([0.1, -2])).all()  # as the replay would have kept them


def test_newest_run_goes_by_the_time_in_the_name_and_needs_a_checkpoint(tmp_path, make_run):
    older = make_run(tmp_path / "A-v0" / "td3" / "s9-20260101-120000")
    newer = make_run(tmp_path / "B-v0" / "ds-td3" / "s0-20260101-120001")
    (tmp_path / "B-v0" / "ds-td3" / "s1-20260301-000000").mkdir()
    assert newest_run(tmp_path) == newer
    shutil.rmtree(newer)
    assert newest_run(tmp_path) == older
    shutil.rmtree(older)
    with pytest.raises(CheckpointError, match=r"found 1 runs and none has a checkpoint yet\. Train first"):
        newest_run(tmp_path)


def test_missing_checkpoint_says_where_it_was_expected(run):
    shutil.rmtree(run / "checkpoint")
    with pytest.raises(CheckpointError, match=r"has no checkpoint: expected `.*state\.json`"):
        read_actor(run)
    with pytest.raises(CheckpointError, match="is not a folder"):
        read_actor(run / "nothing")


@pytest.mark.parametrize("damage", ["flipped bit", "cut off"])
def test_damaged_networks_are_found_by_size_or_crc(run, damage):
    path = next((run / "checkpoint").glob("networks-*"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if damage == "flipped bit" else content[:-8])
    with pytest.raises(CheckpointError, match=r"is damaged: expected \d+ bytes with CRC-32 \d+, got \d+ bytes"):
        read_actor(run)


def test_damaged_state_is_one_sentence(run):
    (run / "checkpoint" / "state.json").write_text('{"format": 1, ')
    with pytest.raises(CheckpointError, match=r"state\.json` is damaged: not JSON: .* from a backup"):
        read_actor(run)


def test_a_foreign_checkpoint_is_named_as_such(run):
    (run / "checkpoint" / "state.json").write_text('{"epoch": 3}')
    with pytest.raises(CheckpointError, match="is not a checkpoint of edgedst"):
        read_actor(run)


def test_a_later_format_asks_for_the_edgedst_that_wrote_it(run):
    change_state(run, format=3, edgedst="9.0")
    with pytest.raises(CheckpointError, match=r"format 3 \(edgedst 9\.0\) and this edgedst .* reads format 1 and 2"):
        read_actor(run)


def test_networks_of_another_step_are_refused(run):
    change_state(run, step=999)
    with pytest.raises(CheckpointError, match=r"from step 1000 and state\.json from step 999"):
        read_actor(run)


def test_a_cut_off_replay_segment_is_refused(run):
    segment = run / "checkpoint" / "replay-0.bin"
    segment.write_bytes(segment.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"has 299 bytes where 300 were expected"):
        recorded_rows(run, 30, 3, 2)


def test_a_checkpoint_replaced_while_it_is_read_is_read_again(run, tmp_path, make_run, monkeypatch):
    later = make_run(tmp_path / "later", step=2000)
    read = actor.read_state

    def read_just_before_the_trainer_saves(folder):
        state = read(folder)
        if state["step"] == 1000:
            shutil.rmtree(run)
            later.rename(run)
        return state

    monkeypatch.setattr(actor, "read_state", read_just_before_the_trainer_saves)
    assert read_actor(run).step == 2000
