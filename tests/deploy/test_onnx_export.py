"""The exported file: valid ONNX, the same actions everywhere, nothing left behind when it is not."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgedst.deploy.agreement import reference_actions
from edgedst.deploy.c_check import check_source
from edgedst.deploy.c_source import build_source
from edgedst.deploy.golden import read_golden, write_golden
from edgedst.deploy.onnx import Format, build_model, export_actor, scale_and_offset
from edgedst.deploy.packing import quantised
from edgedst.deploy.session import open_session
from edgedst.errors import ExportError
from edgedst.runs.actor import read_actor
from edgedst.runs.recorded import recorded_features
from tools import require_tool


def test_reference_evaluator_and_onnxruntime_agree_with_numpy(run, tmp_path, rng, reference):
    actor = read_actor(run)
    model = build_model(actor)
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path / "actor.onnx"
    path.write_bytes(model.SerializeToString())
    session = open_session(path, path.read_bytes())
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
    actions = open_session(path, path.read_bytes()).run(["actions"], {"obs": obs})[0]
    assert (actions >= np.float32(low)).all()
    assert (actions <= np.float32(high)).all()


def test_scale_and_offset_are_exact_for_bounds_of_one(run):
    scale, offset = scale_and_offset(replace(read_actor(run), action_low=(-1.0, -2.0), action_high=(1.0, 2.0)))
    assert (scale.tolist(), offset.tolist()) == ([1.0, 2.0], [0.0, 0.0])


def test_scale_and_offset_never_leave_bounds_of_any_size_even_those_that_float32_lacks(run, rng):
    middle = rng.standard_normal(5000) * 10.0 ** rng.integers(-6, 6, 5000)
    half = np.abs(rng.standard_normal(5000)) * 10.0 ** rng.integers(-9, 6, 5000)
    actor = replace(read_actor(run), action_low=tuple(middle - half), action_high=tuple(middle + half))
    low, high = actor.bounds_inside
    inside = (low >= middle - half) & (high <= middle + half)
    assert inside[half > 1e-6 * np.abs(middle)].all()  # else there may be no float32 between them
    scale, offset = scale_and_offset(actor)
    for tanh in np.float32([-1, -0.9999999, -0.3, 0, 0.7, 1]):
        actions = tanh * scale + offset
        assert actions.dtype == np.float32
        assert ((low <= actions) & (actions <= high)).all()
    magnitude = np.maximum(np.abs(low), np.abs(high))
    # Four times a float32's rounding: of the middle, of the room beside it, of the sum, of the bound.
    assert (np.abs(offset + scale - high) <= 4 * 2**-23 * magnitude).all()


@pytest.mark.parametrize("form", ["onnx fp32", "onnx fp16", "onnx int8", "c fp32", "c int8"])
def test_saturated_actions_stay_within_bounds_that_are_no_float32_numbers(form, run, tmp_path, rng):
    actor = replace(read_actor(run), action_low=(-0.1, 0.3), action_high=(0.7, 1.1))
    kind, dtype = form.split()
    obs = (rng.standard_normal((300, 3)) * 50).astype(np.float32)
    if kind == "onnx":
        (tmp_path / "actor.onnx").write_bytes(build_model(actor, Format(dtype=dtype)).SerializeToString())
        actions = open_session(tmp_path / "actor.onnx", (tmp_path / "actor.onnx").read_bytes()).run(
            ["actions"], {"obs": obs}
        )[0]
    else:
        require_tool("cc", "gcc", "clang")
        source = build_source(actor, "actor", dtype)
        written = quantised(actor, dtype)
        reference = replace(reference_actions(written, obs), observations=obs)
        assert check_source(source.code, source.header, "actor", written, reference) is not None  # asks float64 bounds
        return
    assert (actions.astype(np.float64) >= actor.action_low).all()
    assert (actions.astype(np.float64) <= actor.action_high).all()


def test_bounds_that_float32_cannot_span_are_told_as_the_reason(run, tmp_path):
    largest = float(np.finfo(np.float32).max)
    for low, high in ((-largest, largest), (-1e300, 1.0)):
        actor = replace(read_actor(run), action_low=(low, -1.0), action_high=(high, 1.0))
        with pytest.raises(ExportError, match=r"bounds of Fake-v0 lie farther apart than float32 can count"):
            export_actor(actor, tmp_path / "actor.onnx", np.zeros((0, 3), dtype=np.float32))
    assert not (tmp_path / "actor.onnx").exists()


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
    exported = export_actor(actor, tmp_path / "actor.onnx", recorded_features(run, 512, actor))
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
    exported = export_actor(actor, tmp_path / "actor.onnx", recorded_features(run, 512, actor))
    assert exported.parity.largest_difference < 1e-5
    assert [output.name for output in onnx.load(tmp_path / "actor.onnx").graph.output] == ["actions"]
    ref = exported.parity.reference
    np.testing.assert_allclose(ref.actions, reference(actor, ref.observations), atol=4e-6)
