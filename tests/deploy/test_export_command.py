"""`edgedst export` as it is typed: what it tells, and that bad input leaves nothing behind."""

import json
import os
import shutil

import onnx
import pytest
from typer.testing import CliRunner

from edgedst.cli import verbs
from edgedst.deploy.golden import read_golden
from edgedst.errors import CheckpointError, ConfigError, EdgedstError, ExportError


def export(*arguments):
    return CliRunner().invoke(verbs.app, ["export", *map(str, arguments)])


def about(path):
    return json.loads(onnx.load(path).metadata_props[0].value)


def test_what_was_written_and_checked_is_told(run, tmp_path):
    path = tmp_path / "actor.onnx"
    done = export(path, "--run", run, "--golden", tmp_path / "golden.csv")
    assert done.exit_code == 0, done.output
    assert f"{path}: ds-td3 on Fake-v0, step 1,000, from {run}" in done.output
    assert f"3-8-5-2, 42 connections, {path.stat().st_size:,} bytes; `obs` -> `actions`" in done.output
    assert "compact fp32 (bitmask, bitmask, dense), opset 17" in done.output
    assert "40 recorded and 512 random observations, batch 1 and 64" in done.output
    assert "checked by onnx's full check, onnxruntime" in done.output
    assert "moves the action" not in done.output
    assert (about(path)["step"], about(path)["checkpoint"]) == (1000, "last")
    assert len(read_golden(tmp_path / "golden.csv", 3, 2)[0]) == 64


def test_c_takes_the_best_actor_and_tells_how_far_its_dtype_moves_the_action(run, tmp_path):
    told = export(tmp_path / "actor.c", "--run", run, "--checkpoint", "best", "--dtype", "fp16").output
    assert f"{tmp_path / 'actor.c'}, actor.h: ds-td3 on Fake-v0, step 500 of the best evaluation, from" in told
    assert told.count("fp16 moves the action by up to ") == 2


def test_a_dtype_may_be_spelt_as_the_replay_s_is(run, tmp_path):
    told = export(tmp_path / "actor.onnx", "--run", run, "--dtype", "float16").output
    assert "compact fp16" in told
    assert about(tmp_path / "actor.onnx")["dtype"] == "fp16"


@pytest.mark.parametrize(
    "option", [("--weights", "dense"), ("--opset", "13"), ("--stochastic",), ("--max-return-drop", "2%")]
)
def test_c_refuses_what_is_of_onnx_alone(option, run, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    done = export(tmp_path / "actor.c", "--run", run, *option)
    assert isinstance(done.exception, ConfigError)
    assert "are of ONNX" in str(done.exception)
    assert sorted(tmp_path.rglob("*")) == before


def test_both_forms_have_the_same_golden_pairs(run, tmp_path):
    for name in ("actor.onnx", "actor.c"):
        golden = tmp_path / f"{name}.csv"
        told = export(tmp_path / name, "--run", run, "--golden", golden).output
        assert f"{golden}: 64 observations and actions" in told
    assert (tmp_path / "actor.onnx.csv").read_text() == (tmp_path / "actor.c.csv").read_text()


def test_the_best_actor_is_exported_on_request_and_named_where_it_was_better(run, tmp_path):
    told = export(tmp_path / "last.onnx", "--run", run).output
    assert "its last evaluation gave 12.3, the best one 23.4 at step 500: `--checkpoint best` exports that" in told
    told = export(tmp_path / "best.onnx", "--run", run, "--checkpoint", "best").output
    assert "step 500 of the best evaluation, from" in told
    assert "the best one" not in told
    best = about(tmp_path / "best.onnx")
    assert (best["step"], best["checkpoint"], best["evaluation_return"]) == (500, "best", 23.4)


def test_how_far_a_dtype_moves_the_action_is_told(run, tmp_path):
    told = export(tmp_path / "actor.onnx", "--run", run, "--dtype", "int8").output
    assert told.count("int8 moves the action by up to ") == 2
    assert "on average (recorded observations)" in told
    assert "on average (random observations)" in told


def test_what_cannot_be_checked_of_sparse_initialisers_is_told(run, tmp_path):
    told = export(tmp_path / "actor.onnx", "--run", run, "--weights", "sparse-initializer").output
    assert "onnx's full check and reference evaluator cannot read sparse initialisers" in told
    assert "(sparse, sparse, dense)" in told


def test_the_stochastic_actor_has_two_outputs(make_run, tmp_path):
    run = make_run(tmp_path / "ds-sac" / "s7-20260102-030405", method="ds-sac")
    told = export(tmp_path / "actor.onnx", "--run", run, "--stochastic").output
    assert "`obs` -> `actions`, `log_std`" in told
    assert "largest difference of log_std: " in told
    assert about(tmp_path / "actor.onnx")["log_std"] == [-20.0, 2.0]


@pytest.mark.usefixtures("registry")
def test_returns_are_compared_when_a_limit_is_given(run, tmp_path):
    options = ("--run", run, "--max-return-drop", "50%", "--episodes", "3")
    told = export(tmp_path / "actor.onnx", *options).output
    assert "trained, 3 episodes of the same seeds" in told


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("--weights", "csr"), ConfigError, "`--weights csr` is unknown"),
        (("--dtype", "bf16"), ConfigError, "`--dtype bf16` is unknown"),
        (("--opset", "10"), ConfigError, "`--opset 10` cannot be written"),
        (("--stochastic",), ConfigError, "ds-td3 has a deterministic actor"),
        (("--checkpoint", "first"), ConfigError, "`--checkpoint first` is unknown"),
        (("--max-return-drop", "some"), ConfigError, "is no share"),
        (("--golden", "nowhere/golden.csv"), ExportError, "cannot be written"),
        (("--run", "nowhere"), CheckpointError, "is not a folder"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(arguments, error, words, run, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    done = export(tmp_path / "actor.onnx", "--run", run, *arguments)
    assert isinstance(done.exception, error), done.output
    assert words in str(done.exception)
    assert len(str(done.exception).splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_a_checkpoint_is_one_sentence(run, tmp_path):
    shutil.rmtree(run / "checkpoint")
    done = export(tmp_path / "actor.onnx", "--run", run)
    assert isinstance(done.exception, CheckpointError)
    assert "has no checkpoint" in str(done.exception)
    assert not (tmp_path / "actor.onnx").exists()


@pytest.mark.parametrize("name", ["nowhere/actor.onnx", "folder.onnx", "actor.pt", "actor"])
def test_a_place_or_name_that_cannot_be_written_is_one_sentence(name, run, tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = export(tmp_path / name, "--run", run)
    assert isinstance(done.exception, EdgedstError)
    assert len(str(done.exception).splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_is_no_text_is_written(run, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.onnx")
    done = export(path, "--run", run)
    assert done.exit_code == 0, done.exception
    assert path.exists()
