"""What an actor sees: normalised observations, a history. Whatever plays it acts as the network that learnt.

`Model` is that network in float64, as the trainer runs it: normalise, clip, stack, multiply.
"""

import hashlib
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from actors import change_state, normalizer, random_actor, seeing

from edgedst.deploy import exporting
from edgedst.deploy.actor import Actor
from edgedst.deploy.agreement import TOLERANCE, exact_actions, movements, reference_actions, shares_of_bound
from edgedst.deploy.c_source import build_source, export_c
from edgedst.deploy.evaluate import evaluate
from edgedst.deploy.golden import episode_rows, read_golden
from edgedst.deploy.native_actor import NativeActor
from edgedst.deploy.onnx import Format, build_model, export_actor
from edgedst.deploy.onnx_weights import FORMS
from edgedst.deploy.packing import DTYPES, quantised
from edgedst.deploy.session import sealed
from edgedst.errors import CheckpointError, ConfigError
from edgedst.runs.actor import read_actor
from edgedst.runs.recorded import recorded_features

# A thermometer in kelvin whose signal is 0.01, an angle, a counter.
MEAN, SCALE = (300.0, -0.2, 900.0), (0.01, 0.7, 400.0)
KELVIN = {"normalizer": normalizer(MEAN, SCALE)}
BOUNDS = {"observation_low": [250.0, -3.2, 0.0], "observation_high": [350.0, 3.2, 4096.0]}
IN_BOUNDS = {"normalizer": normalizer([0.01, -0.1, -0.5], [1e-4, 0.2, 0.3])}
HISTORY = {"history": 4, "observation_size": 3}
SEEN = {
    "normalised": KELVIN,
    "bounds, normalised": BOUNDS | IN_BOUNDS,
    "history": HISTORY,
    "bounds, history": BOUNDS | HISTORY,
    "normalised, history": KELVIN | HISTORY,
    "bounds, normalised, history": BOUNDS | IN_BOUNDS | HISTORY,
    "normalised, history of 1": KELVIN | {"history": 1, "observation_size": 3},
}


@pytest.fixture(params=SEEN)
def about(request):
    """What a networks' file says of it."""
    return SEEN[request.param]


class Model:
    """An actor as it learnt, of observations in the environment's units, one after the other."""

    def __init__(self, learnt, about):
        self.layers = [(layer.weight.astype(np.float64), layer.bias) for layer in learnt.layers]
        self.low, self.high = np.array(learnt.action_low), np.array(learnt.action_high)
        self.about, self.history = about, about.get("history", 0)
        self.reset()

    def reset(self):
        self.observations, self.actions = [], [np.zeros(len(self.low))] * self.history

    def act(self, observation):
        x = np.asarray(observation, dtype=np.float64)
        if "observation_low" in self.about:
            low, high = np.array(self.about["observation_low"]), np.array(self.about["observation_high"])
            x = (x - (low + high) / 2) / ((high - low) / 2)
        if "normalizer" in self.about:
            told = self.about["normalizer"]
            x = np.clip((x - told["mean"]) / told["scale"], -told["clip"], told["clip"])
        if self.history:
            self.observations = [x, *(self.observations or [x] * self.history)][: self.history]
            x = np.concatenate([*self.observations, *self.actions])
        for weight, bias in self.layers[:-1]:
            x = np.maximum(weight @ x + bias, 0)
        weight, bias = self.layers[-1]
        action = np.tanh(weight @ x + bias)
        self.actions = [action, *self.actions][: self.history]
        return self.low + (action + 1) / 2 * (self.high - self.low)

    def applied(self, action):
        if self.history:
            self.actions[0] = 2 * (np.asarray(action) - self.low) / (self.high - self.low) - 1


def learnt(rng, about, sizes=(64, 32, 2)):
    features = about.get("history", 0) * (3 + 2) or 3
    return random_actor(rng, (features, *sizes), (0.5,) * (len(sizes) - 1) + (1.0,))


def observed(rng, rows, about):
    """(rows, 3) float32: as they were in training; one in eight is beyond what the normaliser lets through."""
    z = rng.standard_normal((rows, 3))
    if "normalizer" not in about and "observation_low" not in about:
        return z.astype(np.float32)
    z[::8] *= 20
    return (np.array(MEAN) + z * SCALE).astype(np.float32)


def recorded_of(actor, rows=0):
    return np.zeros((rows, actor.sizes[0]), np.float32)


# --- Folding ---------------------------------------------------------------------------------------------------------


def test_an_episode_is_acted_as_the_network_that_learnt_does(about, rng):
    network = learnt(rng, about)
    model, actor = Model(network, about), Actor.of(seeing(network, **about))
    for _ in range(3):
        model.reset()
        actor.reset()
        for observation in observed(rng, 12, about):
            expected, action = model.act(observation), actor.act(observation)
            assert shares_of_bound(action[None], expected[None], model.low, model.high).max() <= TOLERANCE
    assert (actor.observation_size, actor.action_size) == (3, 2)


def test_a_reading_of_300_kelvin_with_a_signal_of_10_millikelvin_keeps_its_digits(rng):
    network = learnt(rng, KELVIN)
    actor, model = seeing(network, **KELVIN), Model(network, KELVIN)
    observations = observed(rng, 200, KELVIN)
    expected = np.stack([model.act(row) for row in observations])

    def off(weights):
        return shares_of_bound(NativeActor(weights).actions(observations), expected, model.low, model.high).max()

    assert off(actor) <= 2e-6
    # All of 300 / 0.01 in the first layer's bias: terms of 30,000 whose sums are of 1.
    middle = (actor.layers[0].values * np.array(actor.centre)[actor.layers[0].columns]).astype(np.float64)
    shift = np.bincount(actor.layers[0].rows, middle, minlength=actor.layers[0].out_features)
    folded = replace(actor.layers[0], bias=(actor.layers[0].bias - shift).astype(np.float32))
    low, high = actor.input_clip
    clipped = (observations - np.array(actor.centre, np.float32)).clip(low, high) + np.array(actor.centre)
    without = replace(actor, layers=(folded, *actor.layers[1:]), centre=None, observation_clip=None)
    actions = NativeActor(without).actions(clipped.astype(np.float32))
    assert shares_of_bound(actions, expected, model.low, model.high).max() >= 1e-4


def test_only_what_is_far_from_0_for_its_scale_is_subtracted_before_the_first_layer():
    network = random_actor(np.random.default_rng(0), (3, 8, 2), (1.0, 1.0))
    assert seeing(network, normalizer=normalizer([300.0, -0.2, 900.0], [0.01, 0.7, 400.0])).centre == (300.0, 0.0, 0.0)
    near = seeing(network, normalizer=normalizer([8.0, -0.2, 0.0], [1.0, 0.7, 400.0]))
    assert near.centre is None
    assert [node.op_type for node in build_model(near).graph.node if "obs" in node.input] == ["Max"]
    assert "_centre" not in build_source(near, "actor").code


def test_the_limits_of_a_clip_are_in_the_environment_s_units(rng):
    actor = seeing(learnt(rng, BOUNDS), **BOUNDS, normalizer=normalizer([0.0, 0.5, -0.5], [0.1, 0.2, 0.25], clip=2.0))
    low, high = actor.observation_clip
    assert low == pytest.approx((300 - 2 * 0.1 * 50, 3.2 * (0.5 - 2 * 0.2), 0.0))
    assert high == pytest.approx((300 + 2 * 0.1 * 50, 3.2 * (0.5 + 2 * 0.2), 2048.0))


def test_an_actor_that_sees_the_observation_alone_takes_no_step_for_it(rng):
    actor = random_actor(rng, (3, 8, 2), (0.5, 1.0))
    for plain in (actor, seeing(actor, observation_low=[59.0] * 3, observation_high=[61.0] * 3)):
        model = build_model(plain)
        assert not {"Sub", "Max", "Min"} & {node.op_type for node in model.graph.node}
        assert not {"history", "clip_low", "start_action"} & json.loads(model.metadata_props[0].value).keys()
        source = build_source(plain, "actor")
        assert not [word for word in ("HISTORY", "edgedst_reset", "edgedst_applied") if word in source.header]
        assert not [word for word in ("take_", "input[", "memory[") if word in source.code]
        assert plain.inputs(recorded_of(plain, 1)).tolist() == [[0.0, 0.0, 0.0]]


def test_sac_s_heads_see_the_same(tmp_path, make_run):
    about = KELVIN | HISTORY
    actor = read_actor(make_run(tmp_path / "run", method="ds-sac", **about))
    assert (actor.history, actor.observation_size, actor.sizes) == (4, 3, (20, 8, 5, 2))
    exported = export_actor(actor, tmp_path / "actor.onnx", recorded_of(actor), Format(stochastic=True))
    assert exported.parity.log_std_difference <= 1e-3


# --- What is exported ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_onnx_form_acts_as_the_network_that_learnt(form, dtype, about, tmp_path, rng):
    network = learnt(rng, about)
    actor = seeing(network, **about)
    exported = export_actor(actor, tmp_path / "actor.onnx", recorded_of(actor), Format(form, dtype))
    assert exported.parity.reference.tolerance <= 2 * TOLERANCE
    model, played = Model(quantised(network, dtype), about), Actor.load(tmp_path / "actor.onnx")
    assert (played.observation_size, played.action_size) == (3, 2)
    played.reset()
    limit = {"fp32": TOLERANCE, "fp16": 5e-3, "int8": 0.1}[dtype]  # other weights are rounded the other way
    for observation in observed(rng, 12, about):
        expected = model.act(observation)
        action = played.act(observation)
        assert shares_of_bound(action[None], expected[None], model.low, model.high).max() <= limit
        model.applied(action)  # each step by itself


@pytest.mark.parametrize("dtype", DTYPES)
def test_c_acts_as_the_native_actor(dtype, about, tmp_path, rng):
    actor = seeing(learnt(rng, about), **about)
    exported = export_c(actor, tmp_path / "actor.c", recorded_of(actor), dtype, tmp_path / "golden.csv")
    assert exported.check is not None, "no C compiler here"
    assert exported.check.largest_difference <= 3e-6
    assert exported.pairs == 64
    if actor.history:
        assert exported.source.ram_bytes == 4 * (64 + 32 + actor.sizes[0] + 1)
    else:
        assert exported.source.ram_bytes == 4 * (64 + 32 + 3)


def test_int8_keeps_the_weights_of_every_unit(rng):
    about = KELVIN | HISTORY
    actor = seeing(learnt(rng, about, (64, 64, 2)), **about)
    recorded = reference_actions(quantised(actor, "int8"), recorded_of(actor))
    assert movements(actor, "int8", recorded)["random"].mean <= 0.02


def test_the_metadata_says_what_a_reader_needs(rng):
    told = json.loads(build_model(seeing(learnt(rng, KELVIN | HISTORY), **KELVIN, **HISTORY)).metadata_props[0].value)
    assert (told["history"], told["observation_size"], told["action_size"]) == (4, 3, 2)
    assert told["start_action"] == [0.0, 1.875]  # the middle of -1 to 1 and of -0.25 to 4
    assert told["clip_low"] == pytest.approx([299.9, -7.2, -3100.0])
    assert told["clip_high"] == pytest.approx([300.1, 6.8, 4900.0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_golden_pairs_of_a_history_are_episodes(dtype, tmp_path, rng):
    about = KELVIN | HISTORY
    trained = seeing(learnt(rng, about), **about)
    actor = quantised(trained, dtype)
    golden = tmp_path / "golden.csv"
    export_c(trained, tmp_path / "actor.c", recorded_of(actor), dtype, golden)
    text = golden.read_text()
    export_actor(trained, tmp_path / "actor.onnx", recorded_of(actor), Format(dtype=dtype), None, golden)
    assert golden.read_text() == text
    assert "// A history of 4: every 8 lines are an episode, in order.\n" in text
    observations, expected = read_golden(golden, 3, 2)
    assert len(observations) == 64
    player = Actor.of(actor)
    for row, (observation, action) in enumerate(zip(observations, expected, strict=True)):
        if row % episode_rows(4) == 0:
            player.reset()
        assert player.act(observation) == pytest.approx(action, rel=1e-6)
    assert len(np.unique(observations, axis=0)) == 64


def test_a_long_history_has_golden_episodes_too(tmp_path, rng):
    """Of 64 steps one or another is beyond the limit: it is left out, and the episode goes on without it."""
    about = KELVIN | {"history": 32, "observation_size": 3}
    actor = seeing(random_actor(rng, (32 * 5, 64, 64, 2), (0.5, 0.5, 1.0)), **about)
    exported = export_c(actor, tmp_path / "actor.c", recorded_of(actor), golden=tmp_path / "golden.csv")
    assert exported.pairs == 2 * episode_rows(32)


def test_a_bundle_s_episodes_come_out_or_it_is_not_played(tmp_path, make_run):
    run = make_run(tmp_path / "run", **KELVIN, **HISTORY)
    kit = tmp_path / "kit"
    export_bundle(run, kit)
    assert Actor.load(kit).observation_size == 3
    readme = (kit / "README.md").read_text()
    assert "It takes\n3 observations and gives 2 actions" in readme
    assert "It sees its last 4 observations and actions." in readme
    assert "$" not in readme
    text = (kit / "golden.csv").read_text().splitlines()
    text[-1], text[-2] = text[-2], text[-1]  # another order is another history
    (kit / "golden.csv").write_text("\n".join(text) + "\n")
    forge_checksum(kit, "golden.csv")
    with pytest.raises(CheckpointError, match="differs from its golden pairs by"):
        Actor.load(kit)


def export_bundle(run, folder):
    return exporting.export_bundle(exporting.request_for(run), folder, None, 50.0)


def forge_checksum(kit, name):
    lines = (kit / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256((kit / name).read_bytes()).hexdigest()
    kept = [line for line in lines if not line.endswith(f"  {name}")]
    (kit / "SHA256SUMS").write_text("\n".join([*kept, f"{digest}  {name}"]) + "\n")


# --- The memory of a history -----------------------------------------------------------------------------------------


@pytest.fixture(params=["native", "onnxruntime"])
def remembering(request, tmp_path, rng):
    """An actor with a history of 4, and its model."""
    network = learnt(rng, HISTORY)
    actor = seeing(network, **HISTORY)
    if request.param == "native":
        return Actor.of(actor), Model(network, HISTORY)
    (tmp_path / "actor.onnx").write_bytes(sealed(build_model(actor)))
    return Actor.load(tmp_path / "actor.onnx"), Model(network, HISTORY)


def test_reset_forgets_and_without_it_nothing_is_forgotten(remembering, rng):
    actor, _ = remembering
    first, other = rng.standard_normal((2, 3))
    begun = actor.act(first)
    assert (actor.act(other) != begun).all()
    assert (actor.act(first) != begun).all()
    actor.reset()
    assert (actor.act(first) == begun).all()


def test_the_action_that_a_limit_allowed_is_the_one_that_is_remembered(remembering, rng):
    actor, model = remembering
    for observation in rng.standard_normal((8, 3)):
        expected, action = model.act(observation), actor.act(observation)
        assert action == pytest.approx(expected, abs=4e-5)
        limited = action * np.float32(0.5)
        actor.applied(limited)
        model.applied(limited)


def test_an_observation_of_another_size_is_refused_and_changes_nothing(remembering):
    actor, _ = remembering
    begun = actor.act(np.zeros(3))
    actor.reset()
    with pytest.raises(ConfigError, match=r"takes one observation of Fake-v0, 3 finite numbers, and got shape \(20,\)"):
        actor.act(np.zeros(20))
    assert (actor.act(np.zeros(3)) == begun).all()


def test_without_a_history_there_is_nothing_to_forget(rng):
    actor = Actor.of(random_actor(rng, (3, 8, 2), (0.5, 1.0)))
    before = actor.act(np.ones(3))
    actor.applied([0.0, 0.0])
    assert (actor.act(np.ones(3)) == before).all()
    actor.reset()


def test_every_episode_of_an_evaluation_begins_with_an_empty_history(tmp_path, make_run, registry):
    run = make_run(tmp_path / "run", **HISTORY)
    together = evaluate(run, 3, env="Fake-v0")
    alone = [evaluate(run, 1, seed, env="Fake-v0").returns[0] for seed in range(3)]
    assert list(together.returns) == alone
    assert len(set(alone)) == 3


def test_a_machine_s_slew_limit_is_in_the_history_of_what_it_did(tmp_path, make_run, arm):
    path = tmp_path / "arm.py"
    path.write_text(arm.text)
    bounds = {"observation_low": arm.bounds[0], "observation_high": arm.bounds[1]}
    run = make_run(tmp_path / "run", env=str(path), **bounds, **HISTORY)
    evaluate(run, 1, env=str(path))
    applied = [list(map(float, line.split()[1:])) for line in log_of(tmp_path) if line.startswith("apply")]
    actor, last = Actor.load(run), [0.0, 0.0]
    for action in applied:
        wanted = actor.act([2048.0, 0.1, 11.0])
        allowed = [max(last[0] - 0.25, min(last[0] + 0.25, float(wanted[0]))), float(wanted[1])]
        assert action == pytest.approx(allowed, abs=1e-6)
        actor.applied(action)
        last = action
    assert len(applied) == 10
    assert np.abs(np.diff([0.0, *(action[0] for action in applied)])).max() > 0.2499  # it limited


def log_of(folder):
    return (folder / "robot.log").read_text().splitlines()


# --- What a run recorded ---------------------------------------------------------------------------------------------


def write_replay(run, observations, actions, flags, **changes):
    """Two segments of rows in place of the run's."""
    record = np.dtype([("observation", "<f2", 3), ("action", "<f2", 2), ("reward", "<f4"), ("flags", "u1")])
    rows = np.zeros(len(flags), record)
    rows["observation"], rows["action"], rows["flags"] = observations, actions, flags
    state = json.loads((run / "checkpoint" / "state.json").read_text())
    segments, first = [], 0
    for number, part in enumerate(np.split(rows, [len(rows) // 2])):
        (run / "checkpoint" / f"replay-{number}.bin").write_bytes(part.tobytes())
        checksum = zlib.crc32(part.tobytes())
        segments.append({"file": f"replay-{number}.bin", "first": first, "rows": len(part), "crc32": checksum})
        first += len(part)
    change_state(run, replay={**state["replay"], "segments": segments, **changes})


def test_recorded_observations_have_the_offset_that_a_row_leaves_out(tmp_path, make_run):
    run = make_run(tmp_path / "run", **KELVIN)
    signal = np.array([[0.0075, 0.25, 0.0], [-0.0125, 0.5, 8.0]], dtype=np.float16)
    write_replay(run, signal, np.zeros((2, 2)), [1, 1], offset=[300.0, 0.0, 512.0])
    features = recorded_features(run, 512, read_actor(run))
    np.testing.assert_array_equal(features, (signal + np.array([300.0, 0.0, 512.0])).astype(np.float32))
    write_replay(run, signal, np.zeros((2, 2)), [1, 1], offset=[300.0])
    with pytest.raises(CheckpointError, match="belongs to another environment"):
        recorded_features(run, 512, read_actor(run))


@pytest.mark.parametrize("first", [0, 1000])
def test_a_recorded_history_is_of_one_episode(first, tmp_path, make_run):
    about = {"history": 2, "observation_size": 3}
    run = make_run(tmp_path / "run", **about)
    # Rows 0 to 3 are an episode, whose last row is no transition; 4 to 6 the next one.
    numbers = np.arange(7)
    observations, actions = np.repeat(numbers[:, None], 3, axis=1), numbers[:, None] * [0.125, 0.125]
    write_replay(run, observations, actions, [1, 1, 3, 0, 1, 1, 1])
    state = json.loads((run / "checkpoint" / "state.json").read_text())["replay"]
    for segment in state["segments"]:
        segment["first"] += first
    change_state(run, replay=state)
    actor = read_actor(run)
    features = recorded_features(run, 512, actor)
    start, done = actor.start_action, actor.to_environment_units(actions)
    expected = [  # row, row before, actions of the steps before
        (0, 0, start, start),
        (1, 0, done[0], start),
        (2, 1, done[1], done[0]),
        (3, 2, done[2], done[1]),
        (4, 4, start, start),
        (5, 4, done[4], start),
        (6, 5, done[5], done[4]),
    ]
    if first:  # what came before row 0 is not on the disk
        expected = expected[2:]
    rows = [[*[now] * 3, *[before] * 3, *one, *two] for now, before, one, two in expected]
    np.testing.assert_array_equal(features, np.array(rows, dtype=np.float32))
    assert len(recorded_features(run, 1, actor)) == 1


# --- Refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 0}, "has a normaliser without a single step: "),
        ({"count": -1}, "-1 is no whole number of 0 or more"),
        ({"count": 2.5}, "2.5 is no whole number"),
        ({"mean": [0.0, 1.0]}, "its normaliser has 2 numbers as mean for 3 observations"),
        ({"scale": [1.0] * 4}, "its normaliser has 4 numbers as scale for 3 observations"),
        ({"scale": [1.0, 0.0, 1.0]}, "its normaliser has the scale 0 at index 1; a number above 0 was expected"),
        ({"scale": [1.0, -1.0, 1.0]}, "its normaliser has the scale -1 at index 1"),
        ({"mean": [0.0, float("nan"), 0.0]}, "nan is no finite number"),
        ({"mean": None}, "is not what edgedst writes"),
        ({"clip": 0}, "its normaliser clips at 0; a number above 0 was expected"),
        ({"clip": float("inf")}, "inf is no finite number"),
        ({"mean": [1e39, 0.0, 0.0]}, "has observations that float32 does not reach"),
        ({"scale": [1e-45, 1.0, 1.0]}, "feature 0, around 300, has a unit of 1e-45, in which float32 does not reach"),
    ],
)
def test_a_normaliser_that_is_none_is_one_sentence(change, words, tmp_path, make_run):
    run = make_run(tmp_path / "run", normalizer=KELVIN["normalizer"] | change)
    with pytest.raises(CheckpointError, match=words) as failure:
        read_actor(run)
    assert len(str(failure.value)) < 600


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"history": 0}, "0 is no whole number of 1 or more"),
        ({"history": 3}, "takes 20 features, and of a history of 3 of 3 observations and 2 actions it has 15"),
        ({"observation_size": 4}, "of a history of 4 of 4 observations and 2 actions it has 24"),
        ({"observation_size": None}, "None is no whole number"),
        ({"action_low": [-1.0, 4.0]}, "action 1 has one value alone"),
    ],
)
def test_a_history_that_is_none_is_one_sentence(change, words, tmp_path, make_run, change_about):
    run = make_run(tmp_path / "run", **HISTORY)
    change_about(run, **change)
    with pytest.raises(CheckpointError, match=words):
        read_actor(run)


@pytest.mark.parametrize(
    "change",
    [{"history": 0}, {"history": 5}, {"history": "4"}, {"start_action": [1.0]}, {"start_action": None}],
    ids=str,
)
def test_an_onnx_file_of_another_history_is_one_sentence(change, tmp_path, rng):
    model = build_model(seeing(learnt(rng, HISTORY), **HISTORY))
    entry = model.metadata_props[0]
    entry.value = json.dumps(json.loads(entry.value) | change)
    (tmp_path / "actor.onnx").write_bytes(sealed(model))
    with pytest.raises(CheckpointError):
        Actor.load(tmp_path / "actor.onnx")


def test_float64_sums_say_the_same_as_the_model(rng):
    """`exact_actions`, which every limit is taken from, is the model."""
    network = learnt(rng, KELVIN)
    observations = observed(rng, 50, KELVIN)
    model = Model(network, KELVIN)
    expected = np.stack([model.act(row) for row in observations])
    actions = exact_actions(seeing(network, **KELVIN), observations)
    assert shares_of_bound(actions, expected, model.low, model.high).max() <= 1e-6  # rounded weights
