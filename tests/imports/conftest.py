"""What the tests of imports share: the golden models, their environment, and zips with something else in them."""

import io
import json
import zipfile
from pathlib import Path

import gymnasium
import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
LOW, HIGH = np.array([-1.0, 0.0], np.float32), np.array([3.0, 0.5], np.float32)


class Asymmetric(gymnasium.Env):
    """The golden models' own: random observations, and a reward that tells the actions apart."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # as Gymnasium has it; Stable-Baselines3 asks for it
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gymnasium.spaces.Box(LOW, HIGH)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.standard_normal(3).astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        observation = self.np_random.standard_normal(3).astype(np.float32)
        return observation, float(action @ np.array([1.0, 10.0])), False, self.steps == 10, {}


@pytest.fixture(autouse=True, scope="session")
def asymmetric():
    """Its id."""
    gymnasium.register("Asymmetric-v0", Asymmetric)
    return "Asymmetric-v0"


@pytest.fixture
def golden():
    """What Stable-Baselines3 computed with the golden models."""
    with np.load(GOLDEN / "imported_models.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def changed(tmp_path):
    """Write a golden model with other members: `changed("td3", data={...}, **{"policy.pth": bytes})`; None: without."""

    def write(name, data=None, broken=None, **members):
        path = tmp_path / "model.zip"
        with zipfile.ZipFile(GOLDEN / f"imported_{name}.zip") as saved, zipfile.ZipFile(path, "w") as written:
            for member in saved.namelist():
                content = members.pop(member, saved.read(member))
                if member == "data" and broken is not None:
                    content = broken
                if member == "data" and data is not None:
                    content = json.dumps({**json.loads(content), **data}).encode()
                if content is not None:
                    written.writestr(member, content)
        return path

    return write


@pytest.fixture
def policy_of(changed):
    """Write a golden model whose tensors a function changed: it gets them as a dict and returns one."""
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgedst[torch]'")

    def write(name, change, **more):
        with zipfile.ZipFile(GOLDEN / f"imported_{name}.zip") as saved:
            tensors = torch.load(io.BytesIO(saved.read("policy.pth")), weights_only=True)
        file = io.BytesIO()
        torch.save(change(dict(tensors)), file)
        return changed(name, **{"policy.pth": file.getvalue()}, **more)

    return write
