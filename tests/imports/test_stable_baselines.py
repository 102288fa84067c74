"""A zip of Stable-Baselines3: every network against what Stable-Baselines3 computed, and what may stand in a file."""

import base64
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgedst[torch]'")

from edgedst.errors import ModelError  # noqa: E402
from edgedst.imports.actions import in_units  # noqa: E402
from edgedst.imports.stable_baselines import MOST_BYTES, read_stable_baselines  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden"
CLOSE = 2e-6  # float32 sums of 8 products in another order, of numbers around 1
LOW, HIGH = np.array([-1.0, 0.0]), np.array([3.0, 0.5])


def forward(layers, x):
    """The layers in float64, ReLU between them."""
    for layer in layers:
        x = x @ layer.weight.T.astype(np.float64) + layer.bias
        x = x if layer is layers[-1] else np.maximum(x, 0)
    return x


@pytest.mark.parametrize("name", ["td3", "sac"])
def test_every_network_gives_what_stable_baselines3_gives(golden, name):
    model = read_stable_baselines(GOLDEN / f"imported_{name}.zip")
    assert (model.family, model.observation_size, model.hidden, model.action_size) == (name, 3, (8, 6), 2)
    x = golden["observations"].astype(np.float64)
    means = forward(model.networks["actor"], x)[:, :2]
    actions = LOW + (np.tanh(means) + 1) / 2 * (HIGH - LOW)
    np.testing.assert_allclose(actions, golden[f"{name}.actions"], atol=CLOSE)
    state = np.concatenate([x, golden["actions"]], 1)
    for which in ("critic", "critic_target"):
        networks = (which.replace("critic", f"critic_{number}") for number in (1, 2))
        q = np.concatenate([forward(model.networks[network], state) for network in networks], 1)
        np.testing.assert_allclose(q, golden[f"{name}.{which}"], atol=CLOSE)
        assert not np.array_equal(q[:, 0], q[:, 1])
    if name == "td3":
        np.testing.assert_allclose(
            np.tanh(forward(model.networks["actor_target"], x)), golden["td3.actor_target"], atol=CLOSE
        )
        assert model.settings == {"gamma": 0.99}
    else:
        log_std = forward(model.networks["actor"], x)[:, 2:]
        np.testing.assert_allclose(log_std, golden["sac.log_std"], atol=CLOSE)
        assert model.settings["alpha"] == pytest.approx(golden["sac.alpha"].item(), rel=1e-6)
        assert {**model.settings, "alpha": 0} == {
            **{"gamma": 0.97, "target_update": "soft", "alpha": 0, "alpha_tuning": "automatic"}
        }


@pytest.mark.parametrize("name", ["td3", "sac"])
def test_the_model_itself_acts_as_predict_does(golden, name):
    model = read_stable_baselines(GOLDEN / f"imported_{name}.zip")
    for observation, expected in zip(golden["observations"], golden[f"{name}.actions"], strict=True):
        action = in_units(model.run(observation.astype(np.float64)), model.output.meaning, LOW, HIGH)
        np.testing.assert_allclose(action, expected, atol=CLOSE)


def test_a_fixed_temperature_is_taken_as_fixed(changed):
    file = io.BytesIO()
    torch.save({"ent_coef_tensor": torch.tensor(0.25)}, file)
    settings = read_stable_baselines(changed("sac", **{"pytorch_variables.pth": file.getvalue()})).settings
    assert (settings["alpha"], settings["alpha_tuning"]) == (0.25, "fixed")
    assert "alpha" not in read_stable_baselines(changed("sac", **{"pytorch_variables.pth": None})).settings


# Critics that cannot be taken are told, and the actor is taken alone.


def without(start):
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if not name.startswith(start)}


def with_another_critic(tensors):
    more = {name.replace("qf0", "qf2"): tensor for name, tensor in tensors.items() if ".qf0." in name}
    return {**tensors, **more}


def with_wider_critics(tensors):
    wide = {}
    for name, tensor in tensors.items():
        shape = [9 if size == 8 else size for size in tensor.shape]
        wide[name] = torch.zeros(shape) if name.startswith("critic") else tensor
    return wide


def with_quantiles(tensors):
    last = {name for name in tensors if name.startswith("critic") and name.split(".")[2] == "4"}
    return {name: tensor.repeat_interleave(25, 0) if name in last else tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without(("critic.qf1", "critic_target.qf1")), "It has 1 critic, and edgedst's agents have two"),
        (without("critic"), "It has no critic, and"),
        (with_wider_critics, "Its critics have hidden layers of 9,6 and its actor of 8,6"),
        (with_quantiles, "Its critics take 5 numbers and give 25; edgedst's take 5 and give one"),
    ],
)
def test_an_actor_whose_critics_do_not_fit_is_taken_alone_and_that_is_said(policy_of, change, words):
    model = read_stable_baselines(policy_of("td3", change))
    assert list(model.networks) == ["actor"]
    assert model.notes[0].startswith(words)


def test_of_several_critics_the_first_two_are_taken(policy_of):
    model = read_stable_baselines(policy_of("td3", with_another_critic))
    assert len(model.networks) == 6
    assert model.notes == ("It has 3 critics, of which the first two are taken.",)


# What is refused.


def renamed(start, other):
    return lambda tensors: {name.replace(start, other): tensor for name, tensor in tensors.items()}


def with_tensor(name, tensor):
    return lambda tensors: {**tensors, name: tensor}


NAN = torch.full((8, 3), float("nan"))
ENDLESS = torch.zeros(1).expand(2**15, 2**15)  # one number, a billion times


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("td3", lambda tensors: {"mlp_extractor.policy_net.0.weight": torch.zeros(1)}, "is a model of PPO or A2C"),
        ("td3", lambda tensors: {"q_net.q_net.0.weight": torch.zeros(1)}, "is a model of DQN, whose actions are disc"),
        ("td3", lambda tensors: {}, r"is a model of another algorithm \(tensors none\). Expected TD3 or SAC"),
        ("td3", renamed("actor.mu.2", "actor.mu.1"), r"other layers than Linear and ReLU in turn \(numbers 0, 1, 4\)"),
        ("td3", without(("actor.mu.2", "actor.mu.4")), "the actor.mu has no hidden layer"),
        ("td3", without("actor.mu.0.bias"), "has no weight and bias of a Linear layer actor.mu.0"),
        ("td3", without("critic_target.qf0.4"), "critic_1_target is of other sizes than its fellow"),
        ("td3", with_tensor("actor.mu.0.weight", NAN), "layer 0 of the actor.mu holds weights that are not finite"),
        ("td3", with_tensor("actor.mu.2.weight", torch.zeros(6, 9)), r"layer 1 of the actor.mu has weights \[6, 9\]"),
        ("td3", with_tensor("actor.mu.0.weight", ENDLESS), "tensors say that they are larger than the file"),
        (
            "td3",
            with_tensor("actor.features_extractor.cnn.0.weight", torch.zeros(1)),
            "looks at pictures or at several",
        ),
        ("sac", with_tensor("actor.log_std", torch.zeros(6, 2)), "was trained with use_sde"),
        ("sac", with_tensor("actor.log_std.weight", torch.zeros(1, 6)), "means and log sigma differ in size"),
    ],
)
def test_tensors_of_something_else_are_refused_in_a_sentence(policy_of, name, change, words):
    with pytest.raises(ModelError, match=words):
        read_stable_baselines(policy_of(name, change))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"policy_kwargs": {"activation_fn": "<class 'torch.nn.modules.activation.Tanh'>"}}, "has the activation Tanh"),
        ({"policy_kwargs": {"activation_fn": {"nested": 1}}}, "has the activation {'nested': 1}"),
    ],
)
def test_another_activation_is_refused(changed, data, words):
    with pytest.raises(ModelError, match=words):
        read_stable_baselines(changed("td3", data))


def test_the_text_of_relu_is_understood(changed):
    relu = {"activation_fn": "<class 'torch.nn.modules.activation.ReLU'>", ":type:": "x", ":serialized:": "AA=="}
    assert read_stable_baselines(changed("td3", {"policy_kwargs": relu})).family == "td3"


def test_what_is_no_zip_or_no_model_is_refused(changed, tmp_path):
    text = tmp_path / "text.zip"
    text.write_bytes(b"PK, but no zip")
    for path, words in (
        (text, r"is no zip that can be read \(File is not a zip file\)"),
        (changed("td3", **{"policy.pth": None}), "has no policy.pth: it is no model of Stable-Baselines3"),
    ):
        with pytest.raises(ModelError, match=words):
            read_stable_baselines(path)
    with pytest.raises(ModelError, match=r"its policy.pth cannot be read as tensors alone"):
        read_stable_baselines(changed("td3", **{"policy.pth": b"PK nothing"}))
    with pytest.raises(ModelError, match="its data is no JSON"):
        read_stable_baselines(changed("td3", broken=b"[" * 9_999))


# Nothing of a file is run, and nothing is written where it says.


class Attack:
    """Unpickled, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_no_code_of_a_file_is_run(changed, tmp_path):
    trace = tmp_path / "was here"
    file = io.BytesIO()
    torch.save({"actor.mu.0.weight": Attack(str(trace))}, file)
    with pytest.raises(ModelError, match="and no code of a file is run here"):
        read_stable_baselines(changed("td3", **{"policy.pth": file.getvalue()}))
    with pytest.raises(ModelError, match=r"its pytorch_variables.pth cannot be read as tensors alone"):
        read_stable_baselines(changed("sac", **{"pytorch_variables.pth": file.getvalue()}))
    with pytest.raises(ModelError, match="cannot be read as tensors alone"):
        read_stable_baselines(changed("td3", **{"policy.pth": pickle.dumps(Attack(str(trace)))}))
    pickled = base64.b64encode(pickle.dumps(Attack(str(trace)))).decode()
    hidden = {":type:": "<class 'dict'>", ":serialized:": pickled}
    kwargs = {**hidden, "net_arch": [8, 6]}
    assert read_stable_baselines(changed("td3", {"policy_class": hidden, "policy_kwargs": kwargs})).family == "td3"
    assert not trace.exists()
    pickle.loads(pickle.dumps(Attack(str(trace))))  # the attack itself is a real one
    assert trace.exists()


def test_a_zip_bomb_is_not_unpacked(changed, tmp_path, monkeypatch):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("policy.pth", bytes(MOST_BYTES["policy.pth"] + 1))
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(ModelError, match=r"its policy.pth unpacks to 268,435,457 bytes, and 268,435,456 are the most"):
        read_stable_baselines(bomb)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(ModelError, match="it has compressed members"):
        read_stable_baselines(changed("td3", **{"policy.pth": inner.getvalue()}))


def test_members_with_paths_are_never_written(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = tmp_path / "model.zip"
    path.write_bytes((GOLDEN / "imported_td3.zip").read_bytes())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("../out.txt", "x")
        file.writestr(str(tmp_path / "absolute.txt"), "x")
    assert read_stable_baselines(path).family == "td3"
    assert {entry.name for entry in tmp_path.rglob("*")} == {"here", "model.zip"}
