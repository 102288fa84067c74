"""Returns of a run and of its exported file, on an environment small enough to add up by hand."""

import json

import numpy as np
import pytest

from edgedst.deploy.evaluate import evaluate
from edgedst.deploy.onnx import Format, build_model
from edgedst.deploy.onnx_weights import FORMS
from edgedst.deploy.packing import DTYPES, quantised
from edgedst.errors import CheckpointError, ConfigError, ExportError
from edgedst.runs.actor import read_actor


@pytest.mark.parametrize("source", ["native", "onnxruntime"])
def test_returns_add_up_from_a_run_and_from_an_exported_file(run, tmp_path, reference, registry, source):
    actor = read_actor(run)
    target = run
    if source == "onnxruntime":
        target = tmp_path / "actor.onnx"
        target.write_bytes(build_model(actor).SerializeToString())
    result = evaluate(target, episodes=3, seed=4)
    obs = np.array([[[seed, step, 1.0] for step in range(5)] for seed in (4, 5, 6)])
    expected = reference(actor, obs).sum(axis=(1, 2))
    assert result.source == source
    assert result.lengths == (5, 5, 5)
    np.testing.assert_allclose(result.returns, expected, atol=5e-5)  # 10 actions a return, each good to 4e-6
    assert result.mean == pytest.approx(np.mean(result.returns))
    assert result.sd == pytest.approx(np.std(result.returns))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_form_of_an_exported_file_is_evaluated(run, tmp_path, reference, registry, form, dtype):
    actor = read_actor(run)
    (tmp_path / "actor.onnx").write_bytes(build_model(actor, Format(form, dtype)).SerializeToString())
    result = evaluate(tmp_path / "actor.onnx", episodes=2)
    obs = np.array([[[seed, step, 1.0] for step in range(5)] for seed in (0, 1)])
    np.testing.assert_allclose(result.returns, reference(quantised(actor, dtype), obs).sum(axis=(1, 2)), atol=5e-5)


@pytest.mark.parametrize("damage", ["cut off", "a position out of range", "a name that is no text"])
def test_a_damaged_file_is_one_sentence(run, tmp_path, registry, capfd, damage):
    model = build_model(read_actor(run))
    if damage == "a position out of range":
        model.graph.initializer[0].raw_data = b"\xff" * len(model.graph.initializer[0].raw_data)
    content = model.SerializeToString()
    if damage == "a name that is no text":
        content = content.replace(b"0.bias", b"0.b\xe3as", 1)
    (tmp_path / "actor.onnx").write_bytes(content[:-100] if damage == "cut off" else content)
    with pytest.raises(ExportError, match=r"cannot load `actor\.onnx`|cannot be run \(.*export it again"):
        evaluate(tmp_path / "actor.onnx")
    assert capfd.readouterr() == ("", "")


def test_an_actor_that_does_not_fit_the_environment_is_refused(run, tmp_path, registry):
    target = tmp_path / "actor.onnx"
    target.write_bytes(build_model(read_actor(run)).SerializeToString())
    registry.observation_size = 11
    with pytest.raises(CheckpointError, match=r"takes 3 observations and gives 2 actions; .* has 11 and 2 here"):
        evaluate(target)


def test_a_foreign_onnx_file_is_refused(run, tmp_path):
    model = build_model(read_actor(run))
    del model.metadata_props[:]
    for content in (model.SerializeToString(), b""):
        (tmp_path / "foreign.onnx").write_bytes(content)
        with pytest.raises(CheckpointError, match="was not exported by this edgedst: it has no metadata key `edgedst`"):
            evaluate(tmp_path / "foreign.onnx")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "its format is 2, and 1 is read here"),
        ({"action_low": None}, "action_low"),
        (None, "JSONDecodeError"),
    ],
)
def test_a_file_of_another_format_is_refused(change, said, run, tmp_path):
    model = build_model(read_actor(run))
    about = {**json.loads(model.metadata_props[0].value), **(change or {})}
    text = json.dumps({key: value for key, value in about.items() if value is not None})
    model.metadata_props[0].value = text if change else text[:50]
    (tmp_path / "other.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="was not exported by this edgedst.*" + said):
        evaluate(tmp_path / "other.onnx")


def test_bad_arguments_are_sentences(run, tmp_path):
    with pytest.raises(ConfigError, match="`--episodes` is 0"):
        evaluate(run, episodes=0)
    for seed in (-1, 2**31, 2**31 - 2, 2**64):
        with pytest.raises(ConfigError, match=r"`--seed` is .* Expected 0 to 2147483647 for each of 3"):
            evaluate(run, episodes=3, seed=seed)
    with pytest.raises(ConfigError, match="`--max-episode-steps` is 2147483648"):
        evaluate(run, max_episode_steps=2**31)
    with pytest.raises(CheckpointError, match="There is no file"):
        evaluate(tmp_path / "missing.onnx")


def test_the_largest_seed_is_played(run, registry):
    assert evaluate(run, episodes=3, seed=2**31 - 3).lengths == (5, 5, 5)


def test_of_a_run_the_best_actor_is_played_on_request_and_a_file_has_but_one(run, tmp_path, reference, registry):
    best = read_actor(run, "best")
    obs = np.array([[[seed, step, 1.0] for step in range(5)] for seed in (0, 1)])
    result = evaluate(run, episodes=2, checkpoint="best")
    np.testing.assert_allclose(result.returns, reference(best, obs).sum(axis=(1, 2)), atol=5e-5)
    assert result.returns != evaluate(run, episodes=2).returns
    with pytest.raises(ConfigError, match="`--checkpoint first` is unknown"):
        evaluate(run, checkpoint="first")
    (tmp_path / "actor.onnx").write_bytes(build_model(best).SerializeToString())
    with pytest.raises(ConfigError, match=r"`--checkpoint` is of a run, and `.*actor\.onnx` holds one actor"):
        evaluate(tmp_path / "actor.onnx", checkpoint="best")
