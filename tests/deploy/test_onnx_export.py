"""The exported file: valid ONNX, the same actions everywhere, nothing left behind when it is not."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgedst.deploy.checkpoint import read_actor
from edgedst.deploy.golden import read_golden, write_golden
from edgedst.deploy.onnx import build_model, export_actor, scale_and_offset
from edgedst.deploy.recorded import recorded_observations
from edgedst.deploy.session import open_session
from edgedst.errors import ExportError


def test_reference_evaluator_and_onnxruntime_agree_with_numpy(run, tmp_path, rng, reference):
    actor = read_actor(run)
    model = build_model(actor)
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path / "actor.onnx"
    path.write_bytes(model.SerializeToString())
    session = open_session(path)
    for batch in (1, 5, 64):
        obs = rng.standard_normal((batch, 3)).astype(np.float32)
        expected = reference(actor, obs)
        atol = 4e-6  # bounds up to 4, float32 sums of 8 terms, and onnxruntime's tanh is good to 3e-7
        np.testing.assert_allclose(ReferenceEvaluator(model).run(None, {"obs": obs})[0], expected, atol=atol, rtol=0)
        np.testing.assert_allclose(session.run(["actions"], {"obs": obs})[0], expected, atol=atol, rtol=0)


def test_no_action_passes_its_bound_when_tanh_saturates(run, tmp_path, rng):
    low, high = (-0.1, 0.3), (0.7, 1.1)
    low, high = (tuple(float(np.float32(bound)) for bound in bounds) for bounds in (low, high))
    actor = replace(read_actor(run), action_low=low, action_high=high)
    path = tmp_path / "actor.onnx"
    path.write_bytes(build_model(actor).SerializeToString())
    obs = (rng.standard_normal((500, 3)) * 50).astype(np.float32)
    actions = open_session(path).run(["actions"], {"obs": obs})[0]
    assert (actions >= np.float32(low)).all()
    assert (actions <= np.float32(high)).all()


def test_scale_and_offset_are_exact_for_bounds_of_one(run):
    scale, offset = scale_and_offset(replace(read_actor(run), action_low=(-1.0, -2.0), action_high=(1.0, 2.0)))
    assert (scale.tolist(), offset.tolist()) == ([1.0, 2.0], [0.0, 0.0])


def test_metadata_keeps_every_digit(run):
    actor = read_actor(run)
    model = build_model(actor)
    about = json.loads({entry.key: entry.value for entry in model.metadata_props}["edgedst"])
    assert about["evaluation_return"] == 12.345678901234567
    assert (about["environment"], about["step"]) == ("Fake-v0", 1000)
    assert (about["action_low"], about["action_high"]) == ([-1.0, -0.25], [1.0, 4.0])
    layer = {"in": 3, "out": 8, "nnz": 12, "sparsity": 0.5, "encoding": "bitmask"}
    assert about["layers"][0] == layer
    assert about["layers"][2]["encoding"] == "dense"
    assert (about["weights"], about["dtype"], about["checkpoint"], about["log_std"]) == (
        "compact",
        "fp32",
        "last",
        None,
    )
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)


def test_export_checks_against_the_native_actor(run, tmp_path, reference):
    actor = read_actor(run)
    exported = export_actor(actor, tmp_path / "actor.onnx", recorded_observations(run, 512, 3, 2))
    assert exported.parity.largest_difference < 1e-5
    ref = exported.parity.reference
    assert (ref.recorded, ref.random) == (40, 512)
    assert exported.file_bytes == (tmp_path / "actor.onnx").stat().st_size
    np.testing.assert_allclose(ref.actions, reference(actor, ref.observations), atol=4e-6)
    assert write_golden(actor, ref, tmp_path / "golden.csv") == 64
    observations, actions = read_golden(tmp_path / "golden.csv", 3, 2)
    assert (observations == ref.observations[[*range(32), *range(40, 72)]]).all()
    assert (actions == ref.actions[[*range(32), *range(40, 72)]]).all()


def test_a_file_that_acts_differently_is_not_left_behind(run, tmp_path, monkeypatch):
    actor = read_actor(run)
    wrong = replace(actor, action_high=(1.0, 4.001))
    monkeypatch.setattr("edgedst.deploy.onnx.build_model", lambda *_: build_model(wrong))
    (tmp_path / "actor.onnx").write_bytes(b"an older one")
    with pytest.raises(ExportError, match=r"action 1 differs by .* \(limit 1e-05\) .* No file was written"):
        export_actor(actor, tmp_path / "actor.onnx", np.zeros((0, 3), dtype=np.float32))
    assert (tmp_path / "actor.onnx").read_bytes() == b"an older one"
    assert [path.name for path in tmp_path.glob("*actor*")] == ["actor.onnx"]


def test_an_unwritable_place_is_one_sentence(run, tmp_path):
    with pytest.raises(ExportError, match=r"cannot be written \(No such file or directory\)\. Choose a folder"):
        export_actor(read_actor(run), tmp_path / "nowhere" / "actor.onnx", np.zeros((0, 3), dtype=np.float32))


def test_of_sac_the_mean_is_exported_and_log_sigma_is_not(make_run, tmp_path, reference):
    run = make_run(tmp_path / "runs" / "Fake-v0" / "ds-sac" / "s7-20260102-030405", method="ds-sac")
    actor = read_actor(run)
    assert actor.sizes == (3, 8, 5, 2)
    assert [layer.nnz for layer in actor.layers] == [12, 20, 10]
    exported = export_actor(actor, tmp_path / "actor.onnx", recorded_observations(run, 512, 3, 2))
    assert exported.parity.largest_difference < 1e-5
    assert [output.name for output in onnx.load(tmp_path / "actor.onnx").graph.output] == ["actions"]
    ref = exported.parity.reference
    np.testing.assert_allclose(ref.actions, reference(actor, ref.observations), atol=4e-6)
