"""Small models of Stable-Baselines3, and what it computes with them: the oracle of `edgedst import`.

    pip install stable-baselines3 && python tests/golden/make_imported_models.py

Writes imported_td3.zip, imported_sac.zip and imported_models.npz beside this file. Of the zips only those members stay
that are read, and of their data no pickles: what stands in them is of the machine that made them.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC, TD3

HERE = Path(__file__).parent
LOW, HIGH = np.array([-1.0, 0.0], np.float32), np.array([3.0, 0.5], np.float32)  # neither symmetric nor alike
KEPT = ("data", "policy.pth", "pytorch_variables.pth")
SPACES = ("observation_space", "action_space")
TOLD = ("policy_kwargs", *SPACES)


class Asymmetric(gymnasium.Env):
    """Observations are random; the reward likes the middle of the bounds."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gymnasium.spaces.Box(LOW, HIGH)

    def reset(self, *, seed=None, options=None):
        """A new episode of ten steps."""
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.standard_normal(3).astype(np.float32), {}

    def step(self, action):
        """One of them."""
        self.steps += 1
        observation = self.np_random.standard_normal(3).astype(np.float32)
        return observation, -float(np.abs(action - (LOW + HIGH) / 2).sum()), False, self.steps == 10, {}


def without_pickles(content: bytes) -> bytes:
    """A saved model with the members that are read."""
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as saved, zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as written:
        for name in KEPT:
            text = saved.read(name)
            if name == "data":
                data = {
                    key: value for key, value in json.loads(text).items() if not isinstance(value, dict) or key in TOLD
                }
                for space in SPACES:
                    data[space][":serialized:"] = ""
                text = json.dumps(data).encode()
            written.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return kept.getvalue()


def main() -> None:
    """Train for some steps, so that targets are not their networks, save and ask."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(14)
    observations = rng.standard_normal((16, 3)).astype(np.float32)
    actions = rng.uniform(-1, 1, (16, 2)).astype(np.float32)  # as the critics see them
    arrays = {"observations": observations, "actions": actions}
    for name, algorithm, more in (("td3", TD3, {}), ("sac", SAC, {"gamma": 0.97})):
        model = algorithm(
            "MlpPolicy", Asymmetric(), seed=3, policy_kwargs={"net_arch": [8, 6]}, learning_starts=20, batch_size=8,
            learning_rate=1e-2, **more,
        )  # fmt: skip
        model.learn(60)
        saved = io.BytesIO()
        model.save(saved)
        (HERE / f"imported_{name}.zip").write_bytes(without_pickles(saved.getvalue()))
        arrays[f"{name}.actions"] = model.predict(observations, deterministic=True)[0]
        with torch.no_grad():
            batch = torch.from_numpy(observations), torch.from_numpy(actions)
            for which, critic in (("critic", model.critic), ("critic_target", model.critic_target)):
                arrays[f"{name}.{which}"] = torch.cat(critic(*batch), 1).numpy()
            if name == "td3":
                arrays["td3.actor_target"] = model.actor_target(batch[0]).numpy()
            else:
                arrays["sac.log_std"] = model.actor.get_action_dist_params(batch[0])[1].numpy()
                arrays["sac.alpha"] = model.log_ent_coef.exp().detach().numpy()
    np.savez_compressed(HERE / "imported_models.npz", **arrays)


if __name__ == "__main__":
    main()
