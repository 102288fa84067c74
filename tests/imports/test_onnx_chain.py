"""ONNX actors: edgedst's own in every form, and plain chains as rsl_rl, mjlab and torch write them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'edgedst[export]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'edgedst[export]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgedst.deploy.native_actor import NativeActor  # noqa: E402
from edgedst.deploy.onnx import Format, build_model  # noqa: E402
from edgedst.deploy.session import sealed  # noqa: E402
from edgedst.errors import CheckpointError, ModelError  # noqa: E402
from edgedst.imports.actions import fitted, in_units  # noqa: E402
from edgedst.imports.onnx_chain import read_onnx  # noqa: E402
from edgedst.runs.actor import ActorLayer, ActorWeights  # noqa: E402

SIZES = (3, 8, 6, 2)
LOW, HIGH = np.array([-1.0, 0.0]), np.array([3.0, 0.5])
MIDDLE, HALF = (LOW + HIGH) / 2, (HIGH - LOW) / 2
CLOSE = 1e-5  # of actions up to 3, float32 through three layers


def native(layers):
    """The native actor with these dense layers and the bounds above."""
    weights = ActorWeights(
        environment="Asymmetric-v0",
        method="ds-td3",
        seed=0,
        step=0,
        version="0.1.0",
        layers=tuple(
            ActorLayer(
                layer.weight.shape[1],
                layer.weight.shape[0],
                np.flatnonzero(layer.weight).astype(np.uint32),
                layer.weight.ravel()[np.flatnonzero(layer.weight)],
                layer.bias,
            )
            for layer in layers
        ),
        action_low=tuple(LOW.tolist()),
        action_high=tuple(HIGH.tolist()),
        evaluation_return=None,
        evaluation_sd=None,
    )
    return NativeActor(weights), weights


@pytest.fixture
def layers(rng):
    """Dense layers of SIZES, about half of whose weights are 0."""
    made = []
    for columns, rows in zip(SIZES, SIZES[1:], strict=False):
        weight = rng.standard_normal((rows, columns)) * rng.integers(0, 2, (rows, columns))
        weight[0, 0] = 1
        made.append(
            SimpleNamespace(weight=weight.astype(np.float32), bias=rng.standard_normal(rows).astype(np.float32))
        )
    return made


@pytest.fixture
def chain(tmp_path, layers):
    """Write the layers as a graph: `chain(["Tanh"], before=["Sub mean"])`; a word with a number is a constant's."""

    def write(behind=(), before=(), form="Gemm", activation="Relu", change=None, inputs=("obs",), outputs=("actions",)):
        nodes, constants, x = [], {}, "obs"

        def node(kind, *more, **attributes):
            nonlocal x
            y = f"t{len(nodes)}"
            nodes.append(helper.make_node(kind, [x, *more], [y], **attributes))
            x = y

        def constant(value):
            name = f"c{len(constants)}"
            constants[name] = np.asarray(value, np.float32)
            return name

        def each(operators):
            for operator in operators:
                kind, *values = operator if isinstance(operator, tuple) else (operator,)
                node(kind, *(constant(value) for value in values))

        each(before)
        for number, layer in enumerate(layers):
            if form == "Gemm":
                node("Gemm", constant(layer.weight), constant(layer.bias), transB=1)
            else:
                node("MatMul", constant(layer.weight.T))
                node("Add", constant(layer.bias))
            if number < len(layers) - 1:
                node(activation)
        each(behind)
        if nodes:
            nodes[-1].output[0] = "actions"
        graph = helper.make_graph(
            nodes,
            "actor",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", SIZES[0]]) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", SIZES[-1]]) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if change:
            change(model)
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def z_of(layers, observations):
    """The last layer's output, in float64."""
    x = observations.astype(np.float64)
    for layer in layers:
        x = x @ layer.weight.T.astype(np.float64) + layer.bias
        x = x if layer is layers[-1] else np.maximum(x, 0)
    return x


def both(path, observations):
    """Actions of the model itself, and of the native actor after import; and what is said of the difference."""
    model = read_onnx(path)
    original = [in_units(model.run(row), model.output.meaning, LOW, HIGH) for row in observations]
    actor, note = fitted(model, LOW, HIGH)
    return np.array(original), native(actor)[0].actions(observations.astype(np.float32)), note


# edgedst's own.


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("form", ["compact", "dense", "sparse-initializer"])
def test_an_actor_that_edgedst_exported_comes_back_in_every_form(tmp_path, rng, layers, form, dtype):
    _, weights = native(layers)
    path = tmp_path / "actor.onnx"
    path.write_bytes(sealed(build_model(weights, Format(form, dtype))))
    observations = rng.standard_normal((32, 3))
    original, imported, note = both(path, observations)
    np.testing.assert_allclose(imported, original, atol=CLOSE)
    assert note == ""
    model = read_onnx(path)
    assert (model.environment, model.family, model.hidden) == ("Asymmetric-v0", "td3", (8, 6))
    places = sum(layer.weight.size for layer in layers)
    assert f"of {places} weights that are not 0" in model.notes[-1]
    if dtype == "fp32":
        for read, written in zip(model.networks["actor"], layers, strict=True):
            np.testing.assert_array_equal(read.weight, written.weight)


def test_the_means_alone_are_taken_where_log_sigma_stands_beside_them(tmp_path, rng, layers):
    _, weights = native(layers)
    weights = replace(weights, method="ds-sac", log_std_head=weights.layers[-1])
    path = tmp_path / "actor.onnx"
    path.write_bytes(sealed(build_model(weights, Format(stochastic=True))))
    original, imported, _ = both(path, rng.standard_normal((8, 3)))
    np.testing.assert_allclose(imported, original, atol=CLOSE)
    assert read_onnx(path).family == "sac"


def test_a_file_of_edgedst_that_was_changed_is_refused(tmp_path, layers):
    _, weights = native(layers)
    content = bytearray(sealed(build_model(weights, Format("dense"))))
    place = content.index(layers[0].bias.tobytes())
    content[place] ^= 1
    (tmp_path / "actor.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match="its checksum is another one"):
        read_onnx(tmp_path / "actor.onnx")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"history": 1}, "a history of 1 observations"),  # of an observation and two actions
        ({"observation_clip": ((-10.0,) * 3, (10.0,) * 3)}, "a normaliser"),
    ],
)
def test_an_actor_with_more_than_layers_is_refused(tmp_path, layers, more, told):
    _, weights = native(layers)
    (tmp_path / "actor.onnx").write_bytes(sealed(build_model(replace(weights, **more), Format())))
    with pytest.raises(ModelError, match=f"is an actor with {told}, which is not imported. Begin from the run"):
        read_onnx(tmp_path / "actor.onnx")


# Conventions of actions: played by both.


@pytest.mark.parametrize("form", ["Gemm", "MatMul"])
def test_a_tanh_alone_means_the_bounds(chain, layers, rng, form):
    observations = rng.standard_normal((32, 3))
    original, imported, note = both(chain(["Tanh"], form=form), observations)
    expected = MIDDLE + HALF * np.tanh(z_of(layers, observations))
    np.testing.assert_allclose(original, expected, atol=CLOSE)
    np.testing.assert_allclose(imported, expected, atol=CLOSE)
    assert note == ""


def test_a_scale_and_an_offset_behind_tanh_are_in_the_environment_s_units(chain, layers, rng):
    observations = rng.standard_normal((32, 3))
    behind = ["Tanh", ("Clip", -1, 1), ("Mul", HALF), ("Add", MIDDLE)]
    original, imported, note = both(chain(behind), observations)
    np.testing.assert_allclose(imported, original, atol=CLOSE)
    np.testing.assert_allclose(original, MIDDLE + HALF * np.tanh(z_of(layers, observations)), atol=CLOSE)
    assert note == ""
    turned, imported, note = both(chain(["Tanh", ("Mul", -HALF), ("Add", MIDDLE)]), observations)
    np.testing.assert_allclose(imported, turned, atol=CLOSE)
    np.testing.assert_allclose(turned, MIDDLE - HALF * np.tanh(z_of(layers, observations)), atol=CLOSE)
    assert note == ""


def slope(act, direction, step=1e-3):
    return (act(step * direction) - act(-step * direction)) / (2 * step)


@pytest.mark.parametrize("behind", [[], [("Clip", -9, 9)], [("Mul", [0.3, 0.1]), ("Add", [1.0, 0.25])]])
def test_a_linear_output_is_in_units_and_keeps_its_slope_at_the_middle(chain, layers, rng, behind):
    # The middle of the bounds at observation 0, where the comparison is made; through it the network is linear.
    for layer in layers:
        layer.bias[:] = 0.5
    middle = np.zeros(2) if len(behind) == 2 else MIDDLE
    layers[-1].bias[:] += (middle - z_of(layers, np.zeros((1, 3)))[0]).astype(np.float32)
    model = read_onnx(chain(behind))
    actor, note = fitted(model, LOW, HIGH)
    assert note.startswith("Its output is linear, cut at the bounds, and edgedst's actor ends in tanh.")
    direction = rng.standard_normal(3)

    def imported(observation):
        return native(actor)[0].actions(observation[None, :].astype(np.float32))[0]

    def original(observation):
        return in_units(model.run(observation), model.output.meaning, LOW, HIGH)

    np.testing.assert_allclose(imported(np.zeros(3)), original(np.zeros(3)), atol=CLOSE)
    # Central differences of float32 actions: 1e-7 / 2e-3 of rounding, and curvature of a thousandth.
    np.testing.assert_allclose(slope(imported, direction), slope(original, direction), rtol=1e-2, atol=1e-3)


def test_a_linear_output_that_asks_for_a_bound_gets_76_percent_of_the_way(chain, layers):
    for layer in layers[:-1]:
        layer.bias[:] = -1  # no feature is active at observation 0
    layers[-1].bias[:] = HIGH
    original, imported, _ = both(chain(), np.zeros((1, 3)))
    np.testing.assert_allclose(original[0], HIGH)
    np.testing.assert_allclose(imported[0], MIDDLE + np.tanh(1) * HALF, atol=CLOSE)


@pytest.mark.parametrize(
    ("cuts", "meaning", "words"),
    [
        ([("Clip", -1, 0.5)], "units", "cuts its action 0 at -1 and 0.5, and the bounds are -1 and 3, which"),
        ([("Clip", -1, 3), ("Clip", 0.1, 9)], "units", "cuts its action 0 at 0.1 and 3, and the bounds are -1 and 3,"),
        ([("Clip", -0.1, 0.1)], "normalized", "cuts its action 0 at -0.1 and 0.1, and the bounds are -1 and 1, which"),
        ([("Clip", -1, 3)], "units", None),
        ([("Clip", -1, 1)], "normalized", None),
    ],
)
def test_a_linear_output_that_is_cut_within_its_bounds_is_refused(chain, cuts, meaning, words):
    model = read_onnx(chain(cuts))
    model = replace(model, output=replace(model.output, meaning=meaning))
    if words is None:
        assert fitted(model, LOW, HIGH)[1].startswith("Its output is linear, cut at the bounds")
    else:
        with pytest.raises(ModelError, match=words):
            fitted(model, LOW, HIGH)


def test_a_tanh_of_another_range_keeps_action_and_slope_in_the_middle_and_says_so(chain, layers):
    for layer in layers:
        layer.bias[:] = 0
    model = read_onnx(chain(["Tanh", ("Mul", [1.0, 0.1]), ("Add", [1.5, 0.2])]))
    actor, note = fitted(model, LOW, HIGH)
    assert note.startswith("Its action 1 goes from 0.1 to 0.3, and the bounds are 0 and 0.5.")
    assert native(actor)[0].actions(np.zeros((1, 3), np.float32))[0] == pytest.approx([1.5, 0.2], abs=1e-6)
    with pytest.raises(ModelError, match="the middle of its action 0 is 30, and the bounds are -1 and 3"):
        fitted(read_onnx(chain(["Tanh", ("Add", [30.0, 0.2])])), LOW, HIGH)


def test_actions_can_be_said_to_be_normalised_or_in_units(chain, layers, rng):
    observations = rng.standard_normal((16, 3))
    model = read_onnx(chain(["Tanh"]))
    units = replace(model, output=replace(model.output, meaning="units"))
    actor, note = fitted(units, np.full(2, -1.0), np.full(2, 1.0))
    assert note == ""  # -1 and 1 are the bounds here
    np.testing.assert_array_equal(actor[-1].weight, model.networks["actor"][-1].weight)
    linear = read_onnx(chain())
    normalised = replace(linear, output=replace(linear.output, meaning="normalized"))
    raw = [in_units(normalised.run(row), "normalized", LOW, HIGH) for row in observations]
    np.testing.assert_allclose(raw, MIDDLE + HALF * z_of(layers, observations).clip(-1, 1), atol=CLOSE)


# What stands before the first layer.


def test_a_normaliser_is_folded_into_the_first_layer(chain, layers, rng):
    mean, sd = rng.standard_normal(3), rng.uniform(0.5, 2, 3)
    observations = rng.standard_normal((32, 3))
    path = chain(["Tanh"], before=["Identity", ("Sub", mean[None, :]), ("Div", sd)])
    original, imported, note = both(path, observations)
    expected = MIDDLE + HALF * np.tanh(z_of(layers, (observations - mean) / sd))
    np.testing.assert_allclose(original, expected, atol=CLOSE)
    np.testing.assert_allclose(imported, expected, atol=CLOSE)
    assert note == ""


def test_a_clip_of_observations_is_dropped_and_told(chain):
    assert "It cut its observations" in read_onnx(chain(["Tanh"], before=[("Clip", -5, 5)])).notes[0]


def test_weights_may_be_constants_that_are_transposed_or_added_to_a_number(chain, layers, rng):
    def change(model):
        graph = model.graph
        (weight,) = [tensor for tensor in graph.initializer if list(tensor.dims) == [8, 3]]
        graph.initializer.remove(weight)
        stored = numpy_helper.from_array(numpy_helper.to_array(weight).T.copy(), "stored")
        made = helper.make_node("Constant", [], ["stored"], value=stored)
        half = helper.make_node("Add", ["stored", "one"], ["more"])
        less = helper.make_node("Sub", ["more", "one"], ["as before"])
        graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
        nodes = [made, half, less, helper.make_node("Transpose", ["as before"], [weight.name]), *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)

    observations = rng.standard_normal((8, 3))
    original, imported, _ = both(chain(["Tanh"], change=change), observations)
    np.testing.assert_allclose(imported, MIDDLE + HALF * np.tanh(z_of(layers, observations)), atol=CLOSE)
    np.testing.assert_allclose(imported, original, atol=CLOSE)


# What it takes.


def takes(shape, dtype=np.float32):
    """A change of a graph: its input has this shape, and all of its numbers this type."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def change(model):
        graph = model.graph
        graph.input[0].CopyFrom(helper.make_tensor_value_info("obs", kind, shape))
        graph.output[0].CopyFrom(helper.make_tensor_value_info("actions", kind, None))
        for tensor in graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))

    return change


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (["batch", 3], np.float64),
        (["batch", 3], np.float16),
        ([64, 3], np.float32),
        ([3], np.float64),
        (["features"], np.float32),
        ([None, None], np.float32),
        (None, np.float32),
    ],
)
def test_a_model_is_played_with_the_type_and_the_shape_that_it_takes(chain, layers, rng, shape, dtype):
    observations = rng.standard_normal((8, 3))
    original, imported, _ = both(chain(["Tanh"], form="MatMul", change=takes(shape, dtype)), observations)
    close = 2e-2 if dtype is np.float16 else CLOSE  # of actions up to 3, in eleven bits through three layers
    np.testing.assert_allclose(original, MIDDLE + HALF * np.tanh(z_of(layers, observations)), atol=close)
    np.testing.assert_allclose(imported, original, atol=close)


# What is refused.


def bomb(model):
    """A tensor of 10^10 numbers out of two of 10^5."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.zeros((100_000, 1), np.float32), "column"))
    graph.initializer.append(numpy_helper.from_array(np.zeros((1, 100_000), np.float32), "row"))
    graph.node.insert(0, helper.make_node("Add", ["column", "row"], ["endless"]))


def external(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights.bin")


def nan(model):
    tensor = model.graph.initializer[0]
    value = np.full(tensor.dims, np.nan, np.float32)
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def integers(model):
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("obs", TensorProto.INT64, ["batch", 3]))
    model.graph.node.insert(0, helper.make_node("Cast", ["obs"], ["cast"], to=TensorProto.FLOAT))
    model.graph.node[1].input[0] = "cast"


def function(model):
    model.functions.add(name="f", domain="d")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"activation": "Elu"}, "has the activation Elu, and edgedst's networks have ReLU. Train it with ReLU"),
        ({"activation": "Tanh"}, "it has the activation Tanh between its layers"),
        ({"activation": "Identity"}, "a layer stands behind another without an activation"),
        ({"behind": ["Softmax"]}, "has the activation Softmax"),
        ({"behind": ["Relu"]}, "it ends with Relu"),
        ({"behind": ["Relu", ("Mul", 2)]}, "Mul stands behind a Relu"),
        ({"behind": ["Tanh", "Tanh"]}, "Tanh stands behind Tanh"),
        ({"behind": ["Tanh", ("Clip", -0.5, 0.5)]}, "Clip cuts what its Tanh gives"),
        ({"behind": [("Clip", -1, 1), ("Mul", 2)]}, "Mul stands behind a Clip"),
        ({"behind": [("Div", 0)]}, "Div divides by what is no constant, or by 0"),
        ({"behind": [("Add", np.zeros(3))]}, r"of shape \[3\] is not one number a feature"),
        ({"before": [("Mul", np.zeros((3, 3)))]}, r"of shape \[3, 3\] is not one number a feature"),
        ({"behind": [("Conv", np.zeros((1, 1, 1)))]}, "has the operator 'Conv'. Expected a chain of Gemm"),
        ({"inputs": ("obs", "hidden")}, "has 2 inputs: obs, hidden. Expected the observation"),
        ({"outputs": ("mean", "value")}, "has the outputs 'mean, value'. Expected the actions alone"),
        ({"outputs": ("nothing",)}, "no node makes `nothing`"),
        ({"change": bomb}, "computes its weights by Add"),
        ({"change": external}, "has its weights in another file"),
        ({"change": function}, "has functions of its own"),
        (
            {"change": takes([1, 1, 3]), "form": "MatMul"},
            r"takes `tensor\(float\)` of shape \[1, 1, 3\], and its first",
        ),
        ({"change": takes([2**40, 3])}, r"\[1099511627776, 3\], and its first layer 3 features. Expected floats of"),
        ({"change": integers}, r"takes `tensor\(int64\)` of shape \['batch', 3\], and its first layer 3 features"),
        ({"change": nan}, "layer 0 of the actor holds weights that are not finite"),
    ],
)
def test_what_is_no_chain_of_relu_layers_is_refused_in_a_sentence(chain, made, words):
    with pytest.raises(ModelError, match=words):
        read_onnx(chain(**made))


def test_a_graph_that_joins_two_branches_is_no_chain(chain):
    def change(model):
        first = model.graph.node[0]
        model.graph.node.insert(1, helper.make_node("Add", [first.output[0], first.output[0]], ["twice"]))
        model.graph.node[2].input[0] = "twice"

    with pytest.raises(ModelError, match="is no chain: Add makes `twice` of 2 tensors that depend"):
        read_onnx(chain(change=change))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ": it is empty"),
        (b"no protobuf at all", r" \("),
        (b"\x08\x07", ": it has no layer in it"),  # a version of the format, and nothing else
        (b"\x08\x07\x3a\x03\x12\x01\x67", ": it has no layer in it"),  # and a graph that has a name
    ],
)
def test_what_is_no_onnx_is_refused(tmp_path, content, said):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.onnx` is no ONNX file{said}.*\. Export the model again\.$"):
        read_onnx(path)
