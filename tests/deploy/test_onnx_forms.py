"""The forms of an exported file: how small, what onnxruntime makes of them, and that each is the same actor."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from edgedst import core
from edgedst.deploy import packing
from edgedst.deploy.agreement import movements
from edgedst.deploy.native_actor import LOG_STD_BOUNDS
from edgedst.deploy.onnx import OPSETS, Format, build_model, export_actor
from edgedst.deploy.onnx_weights import FORMS
from edgedst.deploy.packing import DTYPES, quantised
from edgedst.deploy.session import open_session, run_in_batches
from edgedst.errors import ConfigError, ExportError
from edgedst.runs.actor import ActorLayer, ActorWeights, read_actor
from edgedst.runs.recorded import recorded_features

SIZES = (17, 256, 256, 6)
SPARSITIES = (0.5, 0.8, 0.9, 0.95)

# Bytes of a prototype's files, made with onnx 1.23 of random weights: all three layers sparse, no metadata, and of int8
# one scale a layer (its numbers leave no room for 518 scales a file). Ours carry 0.6 KB of metadata and a scale a row.
PROTOTYPE_BYTES = {
    ("gaps", "fp32"): (182_297, 75_153, 39_448, 21_587),
    ("gaps", "fp16"): (111_014, 46_726, 25_301, 14_583),
    ("gaps", "int8"): (75_515, 32_653, 18_371, 11_222),
    ("bitmask", "fp32"): (155_794, 70_081, 41_517, 27_230),
    ("bitmask", "fp16"): (84_505, 41_648, 27_364, 20_221),
    ("bitmask", "int8"): (49_003, 27_572, 20_431, 16_857),
}
SCALES_BYTES = 4 * sum(SIZES[1:]) - 4 * 3  # a scale a row instead of one a layer

NEWEST_OPSET = min(OPSETS[-1], onnx.defs.onnx_opset_version())

# What one step runs: nothing that decodes.
OF_A_STEP = {"FusedGemm", "Gemm", "Relu", "Tanh", "Clip", "Mul", "Add"}

STOCHASTIC = Format(stochastic=True)


def actor_of(rng, sparsities, sizes=SIZES, method="ds-td3"):
    """An actor of random weights on HalfCheetah-v4, `sparsities` layer by layer, weights of a trained one's size."""
    layers = [
        layer_of(rng, inputs, outputs, s) for (inputs, outputs), s in zip(pairwise(sizes), sparsities, strict=True)
    ]
    bounds = (1.0,) * sizes[-1]
    low = tuple(-bound for bound in bounds)
    told = (5123.123456789012, 123.12345678901234)
    return ActorWeights("HalfCheetah-v4", method, 0, 1_000_000, "0.1.0", tuple(layers), low, bounds, *told)


def layer_of(rng, inputs, outputs, sparsity):
    places = inputs * outputs
    nnz = round((1 - sparsity) * places)
    indices = np.sort(rng.choice(places, nnz, replace=False)).astype(np.uint32)
    values = (rng.standard_normal(nnz) / np.sqrt(inputs)).astype(np.float32)
    return ActorLayer(inputs, outputs, indices, values, (rng.standard_normal(outputs) / 10).astype(np.float32))


def write(model, path):
    path.write_bytes(model.SerializeToString())
    return path


def operators_after_loading(path, level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL):  # the default
    """Operators that onnxruntime is left with when it has made the session."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    optimised = path.with_suffix(".optimised")
    options.optimized_model_filepath = str(optimised)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(optimised, format="protobuf").graph.node]


@pytest.mark.parametrize(("encoding", "dtype"), PROTOTYPE_BYTES)
def test_a_file_is_as_small_as_the_prototype_was(encoding, dtype, rng, monkeypatch):
    monkeypatch.setattr(packing, "ENCODINGS", (encoding,))  # either, whether smaller or not
    for sparsity, bytes_before in zip(SPARSITIES, PROTOTYPE_BYTES[encoding, dtype], strict=True):
        model = build_model(actor_of(rng, [sparsity] * 3), Format(dtype=dtype))
        expected = bytes_before + (SCALES_BYTES if dtype == "int8" else 0)
        size = len(model.SerializeToString())
        assert abs(size - expected) <= 0.03 * expected, (sparsity, size)
        names = {initialiser.name for initialiser in model.graph.initializer}
        assert encoding in names
        assert not {"gaps", "bitmask"} & names - {encoding}


@pytest.mark.parametrize("dtype", DTYPES)
def test_compact_is_never_larger_than_one_encoding_alone_or_dense(dtype, rng, monkeypatch):
    mixed = actor_of(rng, [0.5, 0.95, 0.0])
    smallest = len(build_model(mixed, Format(dtype=dtype)).SerializeToString())
    dense = len(build_model(mixed, Format("dense", dtype)).SerializeToString())
    alone = []
    for encoding in packing.ENCODINGS:
        monkeypatch.setattr(packing, "ENCODINGS", (encoding,))
        alone.append(len(build_model(mixed, Format(dtype=dtype)).SerializeToString()))
    assert smallest < min(alone) < dense


@pytest.mark.parametrize("opset", [OPSETS[0], 13, 17, NEWEST_OPSET])
@pytest.mark.parametrize("dtype", DTYPES)
def test_onnxruntime_decodes_everything_when_the_session_is_made(dtype, opset, rng, tmp_path):
    for sparsities in ([0.5] * 3, [0.95] * 3, [0.5, 0.95, 0.0], [0.95, 0.5, 0.5]):
        actor = actor_of(rng, sparsities)
        path = write(build_model(actor, Format(dtype=dtype, opset=opset)), tmp_path / "actor.onnx")
        left = operators_after_loading(path)
        assert set(left) <= OF_A_STEP, left
        dense = write(build_model(actor, Format("dense", opset=opset)), tmp_path / "dense.onnx")
        assert left == operators_after_loading(dense)


def test_without_optimisation_the_decoding_is_part_of_every_step(rng, tmp_path):
    path = write(build_model(actor_of(rng, [0.5] * 3)), tmp_path / "actor.onnx")
    left = operators_after_loading(path, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    assert {"NonZero", "ScatterElements"} <= set(left)


@pytest.mark.parametrize(
    ("form", "dtype", "opset"),
    [
        *((form, dtype, 17) for form in FORMS for dtype in DTYPES),
        *(("compact", "int8", opset) for opset in range(OPSETS[0], NEWEST_OPSET + 1)),
        ("dense", "fp32", OPSETS[0]),
        ("dense", "fp16", NEWEST_OPSET),
        ("sparse-initializer", "fp32", OPSETS[0]),
        ("sparse-initializer", "fp16", NEWEST_OPSET),
    ],
)
@pytest.mark.parametrize("method", ["ds-td3", "ds-sac"])
def test_every_form_dtype_and_opset_is_the_same_actor(form, dtype, opset, method, make_run, tmp_path, reference):
    """With asymmetric bounds, a few layers, and of SAC with the second output."""
    run = make_run(tmp_path / method / "s7-20260102-030405", method=method)
    actor = read_actor(run)
    stochastic = method == "ds-sac"
    format = Format(form, dtype, opset, stochastic)
    exported = export_actor(actor, tmp_path / "actor.onnx", recorded_features(run, 512, actor), format)
    assert exported.parity.largest_difference <= 1e-5
    meant = quantised(actor, dtype)
    ref = exported.parity.reference
    np.testing.assert_allclose(ref.actions, reference(meant, ref.observations), atol=4e-6)
    moved = movements(actor, dtype, ref)
    assert set(moved) == (set() if dtype == "fp32" else {"recorded", "random"})
    assert all(0 < there.mean < there.largest < 0.1 for there in moved.values())
    model = onnx.load(tmp_path / "actor.onnx")
    assert model.opset_import[0].version == opset
    assert model.ir_version == onnx.helper.find_min_ir_version_for(list(model.opset_import))
    assert [output.name for output in model.graph.output] == (["actions", "log_std"] if stochastic else ["actions"])
    asked_reference = "reference evaluator cannot" not in exported.parity.checks
    assert asked_reference == (form != "sparse-initializer")
    if asked_reference:
        onnx.checker.check_model(model, full_check=True)
    assert bool(model.graph.sparse_initializer) == (form == "sparse-initializer")


@pytest.mark.parametrize("opset", [OPSETS[0], 17])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("encodings", [("gaps",), ("bitmask",), ("gaps", "bitmask")])
def test_each_encoding_is_the_same_actor(encodings, dtype, opset, rng, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "ENCODINGS", encodings)
    low, high = (-1.0, -3.0, 0.5, -1.0, 0.0, -9.0), (1.0, 4.0, 0.75, -0.25, 0.0, 8.0)
    actor = replace(actor_of(rng, [0.97, 0.5, 0.9]), action_low=low, action_high=high)  # gaps, bitmask, gaps
    exported = export_actor(
        actor, tmp_path / "actor.onnx", np.zeros((0, 17), np.float32), Format("compact", dtype, opset)
    )
    assert {layer["encoding"] for layer in exported.about["layers"]} == set(encodings)
    session = open_session(tmp_path / "actor.onnx", (tmp_path / "actor.onnx").read_bytes())
    actions = run_in_batches(session, exported.parity.reference.observations * 100, 64)[0]
    assert (actions >= np.float32(low)).all()
    assert (actions <= np.float32(high)).all()


def test_the_default_is_read_by_onnxruntime_1_20(run):
    model = build_model(read_actor(run))
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)  # it reads opset 21 and IR version 10


def test_a_layer_may_have_no_weights_one_weight_or_empty_rows(rng, tmp_path):
    layers = [
        ActorLayer(5, 4, np.zeros(0, np.uint32), np.zeros(0, np.float32), np.ones(4, np.float32)),
        ActorLayer(
            4, 300, np.array([1199], np.uint32), np.ones(1, np.float32), np.linspace(0, 1, 300, dtype=np.float32)
        ),
        layer_of(rng, 300, 1, 0.97),
    ]
    for dtype in DTYPES:
        for encoding in packing.ENCODINGS:
            actor = replace(actor_of(rng, [0.5] * 3), layers=tuple(layers), action_low=(-2.0,), action_high=(5.0,))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(packing, "ENCODINGS", (encoding,))
                model = build_model(actor, Format(dtype=dtype))
            path = write(model, tmp_path / "actor.onnx")
            onnx.checker.check_model(model, full_check=True)
            observations = rng.standard_normal((3, 5)).astype(np.float32)
            dense = build_model(quantised(actor, dtype), Format("dense"))
            (expected,) = ReferenceEvaluator(dense).run(None, {"obs": observations})
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            np.testing.assert_allclose(session.run(None, {"obs": observations})[0], expected, atol=1e-6)
            np.testing.assert_allclose(
                ReferenceEvaluator(model).run(None, {"obs": observations})[0], expected, atol=1e-6
            )


def test_log_std_is_clamped_as_in_training(make_run, tmp_path):
    run = make_run(tmp_path / "ds-sac" / "s7-20260102-030405", method="ds-sac")
    actor = read_actor(run)
    head = replace(actor.log_std_head, values=actor.log_std_head.values * 100)
    export_actor(replace(actor, log_std_head=head), tmp_path / "actor.onnx", np.zeros((0, 3), np.float32), STOCHASTIC)
    observations = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "actor.onnx"), providers=["CPUExecutionProvider"])
    (log_std,) = session.run(["log_std"], {"obs": observations})
    assert (log_std.min(), log_std.max()) == LOG_STD_BOUNDS

    def sampled(log_sigma):  # by the core, the same noise each time
        action = memoryview(bytearray(4)).cast("f")
        core.sample_action(np.array([0.0, log_sigma], np.float32).data, core.Random(1), action)
        return action[0]

    low, high = LOG_STD_BOUNDS
    assert sampled(high) == sampled(high + 1) != sampled(high - 1)
    assert sampled(low) == sampled(low - 1) != sampled(low + 1)


@pytest.mark.parametrize("part", ["gaps", "bitmask.values", "0.shape", "2.bias", "log_std.bias"])
def test_a_file_with_one_damaged_constant_is_not_left_behind(part, make_run, tmp_path, monkeypatch):
    run = make_run(tmp_path / "ds-sac" / "s7-20260102-030405", method="ds-sac")
    actor = read_actor(run)
    if part == "gaps":
        monkeypatch.setattr(packing, "ENCODINGS", ("gaps",))

    def damaged(*arguments):
        model = build_model(*arguments)
        (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == part]
        tensor.raw_data = bytes([tensor.raw_data[0] ^ 1, *tensor.raw_data[1:-1], tensor.raw_data[-1] ^ 1])
        return model

    monkeypatch.setattr("edgedst.deploy.onnx.build_model", damaged)
    before = set(tmp_path.iterdir())
    with pytest.raises(ExportError, match=r"No file was written|cannot load|cannot be run"):
        export_actor(actor, tmp_path / "actor.onnx", np.zeros((0, 3), np.float32), STOCHASTIC)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("format", "method", "words"),
    [
        (Format(weights="csr"), "ds-td3", r"`--weights csr` is unknown\. Expected one of compact, dense, sparse-init"),
        (Format(dtype="int4"), "ds-td3", r"`--dtype int4` is unknown\. Expected one of fp32, fp16, int8\."),
        (Format(opset=10), "ds-td3", r"`--opset 10` cannot be written\. Expected 11 to 2\d"),
        (Format(opset=99), "ds-td3", r"`--opset 99` cannot be written"),
        (STOCHASTIC, "static-td3", r"`--stochastic` adds SAC's log_std, and static-td3 has a deterministic actor"),
    ],
)
def test_a_format_that_cannot_be_written_is_one_sentence(format, method, words, run, tmp_path):
    actor = replace(read_actor(run), method=method)
    before = set(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=words):
        export_actor(actor, tmp_path / "actor.onnx", np.zeros((0, 3), np.float32), format)
    assert set(tmp_path.iterdir()) == before
