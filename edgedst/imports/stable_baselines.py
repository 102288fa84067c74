"""Reads a TD3 or SAC that Stable-Baselines3 saved, without Stable-Baselines3 and without running what is in the file.

Such a zip has `data`, JSON in which whatever is no JSON is a base64 cloudpickle: of it plain values are read, and
nothing is unpickled. Tensors are in torch's files, which torch reads with `weights_only`. Nothing is written to a disk.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgedst.errors import ModelError
from edgedst.imports.model import NORMALISED, Dense, DoubleArray, Model, Output, check_layers, read_file
from edgedst.runs.actor import FloatArray
from edgedst.runs.metrics import is_number

POLICY, VARIABLES, DATA = "policy.pth", "pytorch_variables.pth", "data"
# What a member may unpack to. Six networks of ten million weights each, or data with every object of the training.
MOST_BYTES = {POLICY: 2**28, VARIABLES: 2**20, DATA: 2**24}
_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError)
# Beginnings of tensors' names in models of other algorithms.
_OTHERS = {
    "mlp_extractor.": "PPO or A2C",
    "action_net.": "PPO or A2C",
    "q_net.": "DQN, whose actions are discrete",
    "quantile_net.": "QR-DQN, whose actions are discrete",
}

Tensors = dict[str, FloatArray]


def read_stable_baselines(path: Path) -> Model:
    """The networks of a TD3 or SAC, and what its data says of the training.

    Raises:
        ModelError: it is none, or has what edgedst's networks cannot be; the sentence says what.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_file(path))) as archive:
            members = {name: _member(archive, name, path) for name in MOST_BYTES}
    except _DAMAGED as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"`{path}` is no zip that can be read ({_words(error)}). Expected what `model.save` of Stable-Baselines3 "
            "writes, or an .onnx file."
        ) from error
    policy, variables = members[POLICY], members[VARIABLES]
    if policy is None:
        raise ModelError(
            f"`{path}` has no {POLICY}: it is no model of Stable-Baselines3. Expected what `model.save` writes."
        )
    tensors = _tensors(policy, POLICY, path)
    data = _data(members[DATA] or b"{}", path)
    family = _family(tensors, path)
    _check_activation(data, path)
    networks, notes = _networks(tensors, family, path)
    m = len(networks["actor"][-1].bias) // (2 if family == "sac" else 1)
    settings: dict[str, Any] = {}
    if is_number(gamma := data.get("gamma")) and 0 <= gamma <= 1:
        settings["gamma"] = float(gamma)
    if family == "sac":
        # Its targets are averages, not copies.
        settings |= {"target_update": "soft", **_temperature(variables, path)}
    steps = data.get("num_timesteps")
    after = f" after {steps:,} steps" if type(steps) is int else ""
    return Model(
        path,
        f"{family.upper()} of Stable-Baselines3{after}",
        networks,
        Output(True, np.ones(m), np.zeros(m), NORMALISED),
        _forward(networks["actor"], m),
        "torch",
        family,
        log_std=family == "sac",
        bounds=_bounds(data, m),
        settings=settings,
        notes=tuple(notes),
    )


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes | None:
    """A member's bytes, None where there is none of that name."""
    try:
        about = archive.getinfo(name)
    except KeyError:
        return None
    most = MOST_BYTES[name]
    if about.file_size > most:
        raise ModelError(
            f"`{path}`: its {name} unpacks to {about.file_size:,} bytes, and {most:,} are the most that are read. It "
            "is no model of a size that edgedst trains."
        )
    with archive.open(about) as file:
        return file.read(most)


def _tensors(content: bytes, name: str, path: Path) -> Tensors:
    """The tensors of a file of torch, by name."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
        # Torch writes no compressed members. With those a small file could unpack to any size.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it has compressed members")
        if sum(member.file_size for member in members) > len(content):
            raise ValueError("its members say that they are larger than the file")
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(loaded, dict):
            raise ValueError("it holds no table of tensors")
        told = {str(key): value for key, value in loaded.items() if isinstance(value, torch.Tensor)}
        if sum(value.numel() for value in told.values()) > len(content) // 2:  # a stride of 0 repeats a number for ever
            raise ValueError("its tensors say that they are larger than the file")
        return {
            key: value.detach().to(torch.float32).contiguous().numpy().copy()
            for key, value in told.items()
            if value.layout is torch.strided and value.is_floating_point() and value.device.type == "cpu"
        }
    except Exception as error:  # torch's own share no base but Exception
        raise ModelError(
            f"`{path}`: its {name} cannot be read as tensors alone ({_words(error)}), and no code of a file is run "
            "here. Save the model again with Stable-Baselines3 of a version that torch reads with `weights_only`."
        ) from error


def _data(content: bytes, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"`{path}`: its data is no JSON ({_words(error)}). It is damaged: save it again.") from error
    return data if isinstance(data, dict) else {}


def _family(tensors: Tensors, path: Path) -> str:
    """Which algorithm it is, from the tensors' names."""
    if "actor.log_std" in tensors:
        raise ModelError(
            f"`{path}` was trained with use_sde, whose noise depends on the state, and edgedst's SAC has none such. "
            "Train it with use_sde=False."
        )
    if any("features_extractor." in name for name in tensors):
        raise ModelError(
            f"`{path}` looks at pictures or at several observations (it has the tensors of a features_extractor). "
            "Expected MlpPolicy, whose observation is a list of numbers."
        )
    if "actor.mu.weight" in tensors and "actor.log_std.weight" in tensors:
        return "sac"
    if "actor.mu.0.weight" in tensors:
        return "td3"
    found = {other for start, other in _OTHERS.items() if any(name.startswith(start) for name in tensors)}
    what = found.pop() if found else f"another algorithm (tensors {', '.join(sorted(tensors)[:3]) or 'none'})"
    raise ModelError(f"`{path}` is a model of {what}. Expected TD3 or SAC, whose actions are numbers with bounds.")


def _check_activation(data: dict[str, Any], path: Path) -> None:
    """Both have ReLU unless policy_kwargs say otherwise; of a class its text is in the data, beside its pickle."""
    kwargs = data.get("policy_kwargs")
    text = kwargs.get("activation_fn") if isinstance(kwargs, dict) else None
    if text is None:
        return
    name = re.search(r"(\w+)'>$", str(text))
    if name is None or name[1] != "ReLU":
        shown = name[1] if name else ascii(text)[:60]
        raise ModelError(
            f"`{path}` has the activation {shown}, and edgedst's networks have ReLU. Train it with "
            "policy_kwargs={'activation_fn': torch.nn.ReLU}."
        )


def _networks(tensors: Tensors, family: str, path: Path) -> tuple[dict[str, list[Dense]], list[str]]:
    """Networks by edgedst's names, and what is to be known of those that are not there."""
    networks = {"actor": _actor(tensors, family, path)}
    n, hidden = networks["actor"][0].weight.shape[1], [len(layer.bias) for layer in networks["actor"][:-1]]
    m = len(networks["actor"][-1].bias) // (2 if family == "sac" else 1)
    count = len({name.split(".")[1] for name in tensors if re.match(r"critic\.qf\d+\.", name)})
    if count < 2:
        return networks, [f"It has {count or 'no'} critic, and edgedst's agents have two: theirs begin random."]
    critics = {f"critic_{number + 1}": _sequential(tensors, f"critic.qf{number}", path) for number in range(2)}
    critic = critics["critic_1"]
    sizes = [critic[0].weight.shape[1], *(len(layer.bias) for layer in critic)]
    if sizes[1:-1] != hidden:
        told = [",".join(map(str, widths)) for widths in (sizes[1:-1], hidden)]
        return networks, [
            f"Its critics have hidden layers of {told[0]} and its actor of {told[1]}; edgedst's are the same for both. "
            "The actor is taken alone, and the critics begin random."
        ]
    if (sizes[0], sizes[-1]) != (n + m, 1):
        return networks, [
            f"Its critics take {sizes[0]} numbers and give {sizes[-1]}; edgedst's take {n + m} and give one. The actor "
            "is taken alone, and the critics begin random."
        ]
    notes = [] if count == 2 else [f"It has {count} critics, of which the first two are taken."]
    networks |= critics
    if family == "td3":
        networks["actor_target"] = _sequential(tensors, "actor_target.mu", path)
    for number in range(2):
        networks[f"critic_{number + 1}_target"] = _sequential(tensors, f"critic_target.qf{number}", path)
    for name in networks:
        like = networks["actor" if name.startswith("actor") else "critic_1"]
        if [layer.weight.shape for layer in networks[name]] != [layer.weight.shape for layer in like]:
            raise ModelError(f"`{path}`: its {name} is of other sizes than its fellow. It is damaged: save it again.")
    return networks, notes


def _actor(tensors: Tensors, family: str, path: Path) -> list[Dense]:
    if family == "td3":
        return _sequential(tensors, "actor.mu", path)
    means, log_std = (_linear(tensors, f"actor.{head}", path) for head in ("mu", "log_std"))
    if means.weight.shape != log_std.weight.shape:
        raise ModelError(f"`{path}`: its means and log sigma differ in size. It is damaged: save it again.")
    head = Dense(np.concatenate([means.weight, log_std.weight]), np.concatenate([means.bias, log_std.bias]))
    return _sequential(tensors, "actor.latent_pi", path, [head])


def _sequential(tensors: Tensors, start: str, path: Path, head: list[Dense] | None = None) -> list[Dense]:
    """Linear layers with an activation behind each: those of torch's Sequential have the numbers 0, 2, 4, ..."""
    pattern = re.compile(re.escape(start) + r"\.(\d{1,6})\.")
    numbers = sorted({int(found[1]) for name in tensors if (found := pattern.match(name))})
    if numbers != list(range(0, 2 * len(numbers), 2)):
        raise ModelError(
            f"`{path}`: its {start} has other layers than Linear and ReLU in turn (numbers "
            f"{', '.join(map(str, numbers[:8]))}). Expected Stable-Baselines3's own MlpPolicy."
        )
    layers = [*(_linear(tensors, f"{start}.{number}", path) for number in numbers), *(head or [])]
    check_layers(path, start, layers)
    return layers


def _linear(tensors: Tensors, name: str, path: Path) -> Dense:
    weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
    if weight is None or bias is None or weight.ndim != 2 or bias.ndim != 1:
        raise ModelError(f"`{path}` has no weight and bias of a Linear layer {name}. It is damaged: save it again.")
    return Dense(weight, bias)


def _temperature(content: bytes | None, path: Path) -> dict[str, Any]:
    """SAC's alpha, and whether it was tuned; nothing where the file does not say."""
    tensors = _tensors(content, VARIABLES, path) if content else {}
    for name, tuning in (("log_ent_coef", "automatic"), ("ent_coef_tensor", "fixed")):
        if name in tensors and tensors[name].size == 1:
            value = float(tensors[name].ravel()[0])
            alpha = math.exp(min(value, 100.0)) if tuning == "automatic" else value
            if 0 < alpha <= 1e6:
                return {"alpha": alpha, "alpha_tuning": tuning}
    return {}


def _bounds(data: dict[str, Any], action_size: int) -> tuple[DoubleArray, DoubleArray] | None:
    """The action space's bounds, of which the data has NumPy's text; None where it is not one number an action."""
    space = data.get("action_space")
    bounds = []
    for side in ("low", "high"):
        text = space.get(side) if isinstance(space, dict) else None
        try:
            bound = np.array([float(word) for word in str(text).strip("[] ").split()])
        except ValueError:
            return None
        if bound.shape != (action_size,) or not np.isfinite(bound).all():
            return None
        bounds.append(bound)
    return bounds[0], bounds[1]


def _forward(layers: list[Dense], action_size: int) -> Any:
    """The actor in torch: (n,) to (m,), tanh of the means."""
    pairs = [(torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)) for layer in layers]

    def run(observation: DoubleArray) -> FloatArray:
        x = torch.from_numpy(observation.astype(np.float32))[None, :]
        for number, (weight, bias) in enumerate(pairs):
            x = torch.nn.functional.linear(x, weight, bias)
            x = torch.relu(x) if number < len(pairs) - 1 else x[:, :action_size].tanh()
        actions: FloatArray = x[0].numpy()
        return actions

    return run


def _words(error: Exception) -> str:
    """Its first sentence: torch's errors advise at length, and what they advise runs the file's code."""
    return re.split(r"\.\s|\n", str(error).strip() or type(error).__name__)[0][:160]
