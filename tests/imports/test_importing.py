"""From a file to a run folder that every reader takes for one, and nothing where anything is wrong."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'edgedst[torch]'")

from edgedst.config import TrainConfig
from edgedst.density import nnz_per_layer
from edgedst.deploy.evaluate import evaluate
from edgedst.errors import CheckpointError, ConfigError, EdgedstError, ModelError, RunFolderError
from edgedst.imports.importing import import_model
from edgedst.runs import find
from edgedst.runs.actor import read_actor
from edgedst.runs.run import Run
from edgedst.runs.state import read_state

GOLDEN = Path(__file__).parents[1] / "golden"
TD3, SAC = GOLDEN / "imported_td3.zip", GOLDEN / "imported_sac.zip"
ENV = "Asymmetric-v0"

ROBOT = """
RATE_HZ = 50
EPISODE_SECONDS = 1
OBSERVATION = [("a", -2.0, 4.0), ("b", -1.0, 1.0), ("c", 0.0, 10.0)]
ACTION = [("left", -1.0, 3.0), ("right", 0.0, 0.5)]

def start(): raise SystemExit("moved")
read_observation = apply_action = stop = reset = reward = terminated = start
"""


@pytest.fixture
def imported(tmp_path):
    """`import_model` into tmp_path/runs, and what it told."""

    def make(path, env=ENV, **more):
        told = []
        result = import_model(path, env, run_dir=tmp_path / "runs", tell=told.append, **{"episodes": 2, **more})
        return result, told

    return make


@pytest.mark.parametrize("path", [TD3, SAC], ids=["td3", "sac"])
def test_the_imported_actor_earns_what_the_original_earns(imported, path):
    result, told = imported(path)
    assert result.original.returns == pytest.approx(result.dense.returns, rel=1e-5)  # rounding, in ten steps
    assert result.original.source == "torch"
    assert result.pruned is None
    assert evaluate(result.folder, 2).returns == result.dense.returns
    assert any(line.startswith("  as it was, by torch: ") for line in told)
    assert told[-1] == f"To go on: edgedst train --config {result.folder}/config.toml --init-from {result.folder}"


@pytest.mark.parametrize(
    ("path", "method", "targets"),
    [(TD3, "ds-td3", ("actor", "critic_1", "critic_2")), (SAC, "ds-sac", ("critic_1", "critic_2"))],
    ids=["td3", "sac"],
)
def test_a_pruned_model_has_the_counts_that_its_config_gives_and_targets_keep_the_same_weights(
    imported, path, method, targets
):
    from safetensors.numpy import load_file

    result, told = imported(path, sparsity=0.6)
    run = Run(result.folder)
    assert (run.settings.method, run.settings.hidden, run.settings.sparsity) == (method, (8, 6), 0.6)
    assert "  critic_1: 37 of 94 weights" not in told
    state = run.state()
    tensors = load_file(result.folder / "checkpoint" / state["networks"]["file"])
    outputs = 4 if method == "ds-sac" else 2
    for name, sizes in (("actor", [3, 8, 6, outputs]), ("critic_1", [5, 8, 6, 1]), ("critic_2", [5, 8, 6, 1])):
        counts = [len(tensors[f"{name}.{layer}.values"]) for layer in range(3)]
        assert counts == nnz_per_layer(name, sizes, run.settings)
        assert sum(counts) == round(0.4 * sum(a * b for a, b in zip(sizes, sizes[1:], strict=False)))
    for name in targets:
        for layer in range(3):
            where = tensors[f"{name}.{layer}.indices"], tensors[f"{name}_target.{layer}.indices"]
            np.testing.assert_array_equal(*where)
    assert state["agent"]["linked"] == {f"{name}_target": True for name in targets}
    assert evaluate(result.folder, 2).returns == result.pruned.returns
    assert result.pruned.returns != result.dense.returns


@pytest.mark.parametrize(
    ("given", "written", "actor", "critic"),
    [
        # places: actor 3*8 + 8*6 + 6*2 = 84, critic 5*8 + 8*6 + 6 = 94
        ({"actor_sparsity": 0.75}, {"actor_sparsity": 0.75, "critic_sparsity": 0.0}, 21, 94),
        ({"critic_sparsity": 0.5}, {"actor_sparsity": 0.0, "critic_sparsity": 0.5}, 84, 47),
        ({"sparsity": 0.5, "actor_sparsity": 0.75}, {"sparsity": 0.5, "actor_sparsity": 0.75}, 21, 47),
    ],
)
def test_actor_and_critics_are_pruned_apart(imported, given, written, actor, critic):
    result, told = imported(TD3, **given)
    settings = Run(result.folder).settings.settings()
    names = ("sparsity", "actor_sparsity", "critic_sparsity")
    assert settings["method"] == "ds-td3"
    assert {name: settings[name] for name in names if settings[name] is not None} == written
    assert any(line.startswith(f"  actor: {actor} of 84 weights") for line in told)
    assert any(line.startswith(f"  critic_1: {critic} of 94 weights") for line in told)


def test_the_folder_is_a_run_s_with_nothing_done_yet(imported, tmp_path):
    result, _ = imported(SAC, seed=7)
    assert result.folder.parent == tmp_path / "runs" / ENV / "sac"
    assert result.folder.name.startswith("s7-")
    assert (tmp_path / "runs" / "order").read_text() == f"{result.folder.relative_to(tmp_path / 'runs')}\n"
    assert sorted(path.name for path in result.folder.rglob("*")) == [
        *("checkpoint", "config.toml", "networks-000000000.safetensors", "state.json")
    ]
    state = read_state(str(result.folder / "checkpoint"))
    assert (state["step"], state["replay"]["rows_closed"], state["replay"]["segments"]) == (0, 0, [])
    assert state["imported"] == "imported_sac.zip, SAC of Stable-Baselines3 after 60 steps"
    settings = Run(result.folder).settings
    assert (settings.gamma, settings.alpha_tuning, settings.target_update) == (0.97, "automatic", "soft")
    assert state["agent"]["log_alpha"][0] == pytest.approx(np.log(settings.alpha))
    actor = read_actor(result.folder)
    assert (actor.step, actor.sizes, actor.evaluation_return) == (0, (3, 8, 6, 2), result.dense.mean)


def test_its_settings_hold_for_a_training_with_whatever_else_is_typed(imported):
    result, _ = imported(TD3, sparsity=0.5)
    from edgedst.launch.settings import configured

    settings = configured({"steps": 500}, result.folder / "config.toml", {"budget_mb": 30, "threads": 2})
    assert (settings.env, settings.method, settings.hidden, settings.sparsity) == (ENV, "ds-td3", (8, 6), 0.5)
    assert (settings.budget_mb, settings.threads, settings.steps) == (30, 2, 500)  # the board's, and what is typed


def test_resuming_an_import_says_how_to_begin_from_it_and_the_newest_run_to_resume_is_never_one(imported, tmp_path):
    result, _ = imported(TD3, episodes=0)
    with pytest.raises(CheckpointError, match=r"took them, and no training to go on with.*--init-from"):
        find.resume(result.folder, {})
    assert find.newest_unfinished(tmp_path / "runs", Run(result.folder).settings) is None
    assert find.newest_run(tmp_path / "runs") == result.folder


def test_with_zero_episodes_nothing_is_played(imported):
    result, told = imported(TD3, episodes=0)
    assert (result.original, result.dense, result.pruned) == (None, None, None)
    assert not [line for line in told if "return" in line]
    assert read_actor(result.folder).evaluation_return is None


def test_two_imports_in_one_second_are_two_folders(imported):
    folders = {imported(TD3, episodes=0)[0].folder for _ in range(3)}
    assert len(folders) == 3


def test_a_robot_py_is_not_moved_and_the_layers_take_its_normalised_observations(imported, tmp_path, golden):
    path = tmp_path / "arm.py"
    path.write_text(ROBOT)
    result, told = imported(TD3, env=str(path), sparsity=0.0, method="ds-td3")
    assert f"Not played: `{path}` is a machine." in told
    assert result.original is None
    actor = read_actor(result.folder)  # folds the bounds back in
    assert actor.observation_bounds == ((-2.0, -1.0, 0.0), (4.0, 1.0, 10.0))
    x = golden["observations"].astype(np.float64)
    for layer in actor.layers:
        x = x @ layer.weight.T + layer.bias
        x = np.tanh(x) if layer is actor.layers[-1] else np.maximum(x, 0)
    np.testing.assert_allclose(actor.to_environment_units(x), golden["td3.actions"], atol=1e-5)  # two more roundings
    assert Run(result.folder).settings.normalize_observations is False


# What is refused leaves nothing behind.


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"env": None}, ConfigError, "does not name the environment that it was trained in. Add `--env`"),
        ({"env": "Pendulum-v1"}, ModelError, "takes 3 observations and gives 2 actions, and `Pendulum-v1` has 3 and 1"),
        ({"env": "Nowhere-v0"}, EdgedstError, "Nowhere"),
        ({"method": "ds-td3"}, ConfigError, "`--method ds-td3` is sparse: say how much .* `--sparsity 0.9`"),
        ({"method": "sac"}, ConfigError, "is a TD3 and `--method` is sac. Expected ds-td3, static-td3, td3"),
        ({"method": "td4"}, ConfigError, "`method` must be one of"),
        ({"method": "td3", "sparsity": 0.5}, ConfigError, "`sparsity` is 0.5 and `method` is td3"),
        ({"sparsity": 1.0}, ConfigError, "`sparsity` must be at least 0 and below 1"),
        ({"sparsity": 0.95}, ConfigError, r"a network of 3, 8, 6, 2 features \(actor\) reaches 0.8333 at most"),
        ({"actions": "units"}, ConfigError, "`--actions` is of ONNX"),
        ({"actions": "radians"}, ConfigError, "`--actions radians` is unknown. Expected normalized or units"),
        ({"episodes": -1}, ConfigError, "`--episodes` is -1"),
        ({"seed": -1}, ConfigError, "`seed` must be at least 0"),
    ],
)
def test_what_cannot_be_imported_is_told_in_a_sentence_and_leaves_nothing(imported, tmp_path, given, error, words):
    with pytest.raises(error, match=words):
        imported(TD3, **{"env": ENV, **given})
    assert not (tmp_path / "runs").exists()


def test_files_that_are_none_are_told(imported, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"\x80\x02")
    for path, words in (
        (tmp_path / "missing.zip", "cannot be read: No such file or directory. Name a .zip or .onnx file"),
        (tmp_path, "is a folder. Expected a model's file, .zip or .onnx; a run folder is begun from with"),
        (tmp_path / "model.pt", "is neither a zip nor named .onnx"),
        (Path("/dev/zero"), "it is no regular file"),
    ):
        with pytest.raises(ModelError, match=words):
            imported(path)


def test_other_action_bounds_than_the_model_was_trained_with_are_refused(imported, changed):
    bounds = {"action_space": {"low": "[-2.  0.]", "high": "[3.  0.5]"}}
    with pytest.raises(ModelError, match=r"whose low is \[-2.0, 0.0\], and `Asymmetric-v0` has \[-1.0, 0.0\]"):
        imported(changed("td3", bounds))
    unknown = {"action_space": {"low": "[-1. ... 0.]", "high": "[3.  0.5]"}}
    assert imported(changed("td3", unknown), episodes=0)[0].folder.is_dir()


def test_a_folder_that_cannot_be_written_is_told_and_nothing_of_it_is_left(imported, tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("a file is in the way")
    with pytest.raises(RunFolderError, match="cannot be written"):
        imported(TD3, episodes=0)
    (tmp_path / "runs").unlink()

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgedst.imports.writing.note_in_order", lambda *_: None)
    monkeypatch.setattr("edgedst.imports.writing.claim_folder", broken)
    with pytest.raises(RunFolderError, match="Free some space"):
        imported(TD3, episodes=0)
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not list((tmp_path / "runs").rglob(".*"))


def test_an_actor_alone_has_a_file_with_nothing_else(imported, policy_of):
    def alone(tensors):
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("critic")}

    result, told = imported(policy_of("sac", alone), sparsity=0.5)
    state = read_state(str(result.folder / "checkpoint"))
    assert state["agent"]["linked"] == {}
    assert "It has no critic, and edgedst's agents have two: theirs begin random." in told
    assert evaluate(result.folder, 2).returns == result.pruned.returns


# ONNX: an exported actor comes back.


@pytest.mark.parametrize("path", [TD3, SAC], ids=["td3", "sac"])
def test_an_actor_that_was_exported_is_imported_again_for_either_family(imported, tmp_path, path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'edgedst[export]'")
    from edgedst.deploy.exporting import export_file, request_for

    first, _ = imported(path, sparsity=0.5)
    export_file(request_for(first.folder), tmp_path / "actor.onnx", None)
    again, told = imported(tmp_path / "actor.onnx", env=None)
    assert again.original.returns == pytest.approx(first.pruned.returns, rel=1e-5)
    assert again.dense.returns == pytest.approx(first.pruned.returns, rel=1e-5)
    assert "An ONNX file has the actor alone: the critics begin random." in told
    for method in ("td3", "sac", "ds-td3", "ds-sac"):
        sparse = {"sparsity": 0.5} if method.startswith("ds-") else {}
        result, told = imported(tmp_path / "actor.onnx", env=None, method=method, episodes=0, **sparse)
        assert TrainConfig.load(result.folder / "config.toml")["method"] == method
        assert any("It has no log sigma" in line for line in told) == method.endswith("sac")
        assert len(read_actor(result.folder).layers[-1].bias) == 2


def test_the_command_prints_what_it_did_and_main_tells_errors_in_a_sentence(imported, tmp_path, monkeypatch, capsys):
    from edgedst.cli import main

    monkeypatch.setattr(
        "sys.argv", ["edgedst", "import", str(TD3), "--env", ENV, "--run-dir", str(tmp_path), "--episodes", "1"]
    )
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert not ended.value.code
    assert "To go on: edgedst train --config" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["edgedst", "import", str(tmp_path / "none.zip")])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("ModelError: ")


def test_without_torch_the_command_names_the_extra(imported, monkeypatch, capsys):
    import sys

    from edgedst.cli import main

    monkeypatch.delitem(sys.modules, "edgedst.imports.stable_baselines", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("sys.argv", ["edgedst", "import", str(TD3), "--env", ENV])
    with pytest.raises(SystemExit):
        main.main()
    assert "pip install 'edgedst[torch]'" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "edgedst.imports.stable_baselines", raising=False)
