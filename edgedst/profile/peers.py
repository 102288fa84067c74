"""A peer's contender, a process of its own: Stable-Baselines3, SBX or RLtools, called as their own pages call them.

Equal are the task, widths, batch, learning rate, discount, updates a step, random steps, seed and, of TD3, its noises,
delay and tau; all else is the peer's default. What that leaves unequal: peers have no weight decay; SBX's TD3 averages
its targets at every update, not at every second, and all peers' SAC likewise; RLtools' TD3 updates from step 100 on,
however many random steps there are. A package is imported only where it is the one that runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np

from edgedst.density import family
from edgedst.errors import ProfileError
from edgedst.profile import window

Environment = Callable[[], Any]  # makes a Gymnasium environment

MOST_STEPS = 1_000_000_000  # RLtools wants an end, and compiles it in


class Trainee:
    """A peer at work: what `window.measure` asks of it (`window.Trainee`), and its own facts.

    Args:
        config: the settings of a TrainConfig of a dense method; `start_steps` are uniformly random.
        rows: transitions that its replay has room for.
        make: makes the environment, once or more.

    Raises:
        ProfileError: it cannot be set so, or did not compile. What else a peer raises is its own.
    """

    distribution: str  # what pip calls it
    remark = ""  # behind its version
    row_bytes: int  # of a transition

    def __init__(self, config: Any, rows: int, make: Environment) -> None:
        self.update = window.Timer(lambda: None)
        self.env = make()  # for single actions
        self.observation = self.env.reset(seed=config.seed)[0]
        self.action: Any = None

    def train(self, steps: int) -> None:
        """Go on by so many environment steps, each with its updates."""
        raise NotImplementedError

    def act(self) -> None:
        """One action without noise."""
        raise NotImplementedError

    def advance(self) -> None:
        """Take that action; nothing is remembered or learned."""
        self.observation, _, terminated, truncated, _ = self.env.step(self.action)
        if terminated or truncated:
            self.observation = self.env.reset()[0]


class StableBaselines3(Trainee):
    """Stable-Baselines3, on PyTorch."""

    package, distribution = "stable_baselines3", "stable_baselines3"

    def __init__(self, config: Any, rows: int, make: Environment) -> None:
        super().__init__(config, rows, make)
        kind = family(config.method)
        shape = self.env.action_space.shape
        if kind == "td3":
            from stable_baselines3.common.noise import NormalActionNoise

            noise = NormalActionNoise(np.zeros(shape), np.full(shape, config.exploration_noise))
            own = {name: getattr(config, name) for name in ("policy_delay", "target_policy_noise", "target_noise_clip")}
            own |= {"action_noise": noise, "tau": config.tau}
        else:
            own = {"ent_coef": "auto" if config.alpha_tuning == "automatic" else config.alpha}
        self.model = getattr(importlib.import_module(self.package), kind.upper())(
            "MlpPolicy",
            make(),
            learning_rate=config.learning_rate,
            buffer_size=rows,
            learning_starts=config.start_steps,
            batch_size=config.batch_size,
            gamma=config.gamma,
            train_freq=1,
            gradient_steps=config.updates_per_step,
            policy_kwargs={"net_arch": list(config.hidden)},
            seed=config.seed,
            device="cpu",
            **own,
        )
        self.model.train = self.update = window.Timer(self.model.train)
        replay = vars(self.model.replay_buffer).values()
        self.row_bytes = sum(column.nbytes for column in replay if isinstance(column, np.ndarray)) // rows

    def train(self, steps: int) -> None:
        """See `Trainee.train`."""
        self.model.learn(steps, reset_num_timesteps=False, log_interval=None)

    def act(self) -> None:
        """See `Trainee.act`."""
        self.action, _ = self.model.predict(self.observation, deterministic=True)


class Sbx(StableBaselines3):
    """Stable-Baselines3 on JAX."""

    package, distribution = "sbx", "sbx-rl"


class RLtools(Trainee):
    """RLtools by its Python package, which compiles itself for the task as it begins. It tells no update's time."""

    distribution = "rltools"

    def __init__(self, config: Any, rows: int, make: Environment) -> None:
        def rescaled() -> Any:
            one = np.float32(1)
            env = gymnasium.wrappers.RescaleAction(make(), -one, one)
            env.reset(seed=config.seed)  # RLtools resets without a seed, and so goes on from this one
            return env

        super().__init__(config, rows, rescaled)
        import rltools

        if len(set(config.hidden)) > 1:
            raise ProfileError(f"its layers have one width, and `hidden` is {list(config.hidden)}.")
        if config.updates_per_step != 1:
            raise ProfileError(f"it updates once a step, and `updates_per_step` is {config.updates_per_step:g}.")
        kind = family(config.method)
        parameters: dict[str, Any] = {
            **{f"{network}_BATCH_SIZE": config.batch_size for network in ("ACTOR", "CRITIC")},
            **{f"{network}_HIDDEN_DIM": config.hidden[0] for network in ("ACTOR", "CRITIC")},
            **{f"{network}_NUM_LAYERS": len(config.hidden) + 1 for network in ("ACTOR", "CRITIC")},
            "GAMMA": config.gamma,
            "OPTIMIZER_ALPHA": config.learning_rate,
            "N_WARMUP_STEPS": config.start_steps,
            "REPLAY_BUFFER_CAP": rows,
            "STEP_LIMIT": MOST_STEPS,
        }
        if kind == "td3":
            delays = ("ACTOR_TRAINING", "CRITIC_TARGET_UPDATE", "ACTOR_TARGET_UPDATE")
            parameters |= {
                "EXPLORATION_NOISE": config.exploration_noise,
                "TARGET_NEXT_ACTION_NOISE_STD": config.target_policy_noise,
                "TARGET_NEXT_ACTION_NOISE_CLIP": config.target_noise_clip,
                **{f"{delay}_INTERVAL": config.policy_delay for delay in delays},
                **{f"{network}_POLYAK": 1 - config.tau for network in ("ACTOR", "CRITIC")},
            }
        elif config.alpha_tuning != "automatic":
            parameters |= {"ALPHA": config.alpha, "ADAPTIVE_ALPHA": False}
        # What is compiled is kept by this name, and compiled anew where anything differs.
        told = hashlib.sha256(repr((config.env, sorted(parameters.items()))).encode()).hexdigest()[:12]
        algorithm = getattr(rltools, kind.upper())
        with contextlib.redirect_stdout(io.StringIO()) as words:
            try:
                module = algorithm(rescaled, enable_evaluation=False, interface_name=f"edgedst_{told}", **parameters)
            except Exception as error:  # it raises no other kind
                last = " ".join(words.getvalue().split())[-500:]
                raise ProfileError(f"it did not compile ({error}): {last}") from error
        if not any(found in words.getvalue() for found in ("MKL found", "BLAS found")):
            self.remark = " without a BLAS"
        self.state = module.State(config.seed)
        n, m = self.env.observation_space.shape[0], self.env.action_space.shape[0]
        # float32: both observations, action, reward, two flags; and where its episode began.
        self.row_bytes = 4 * (2 * n + m + 3) + 8

    def train(self, steps: int) -> None:
        """See `Trainee.train`."""
        for _ in range(steps):
            self.state.step()

    def act(self) -> None:
        """See `Trainee.act`."""
        self.action = self.state.action(self.observation.astype(np.float32))


TRAINEES: dict[str, type[Trainee]] = {"sb3": StableBaselines3, "sbx": Sbx, "rltools": RLtools}


def environment(config: Any) -> Any:
    """The task as edgedst's contenders have it."""
    return gymnasium.make(config.env, max_episode_steps=config.max_episode_steps, **config.env_kwargs)


def main() -> int:
    """Be the contender that the JSON in sys.argv[-1] asks for: `peer`, `config`, `profile` (see `window.measure`)."""
    job = json.loads(sys.argv[-1])
    config, goal = SimpleNamespace(**job["config"]), job["profile"]
    config.start_steps = window.RANDOM_STEPS
    rows = goal["replay_rows"]
    begun = time.monotonic()
    try:
        peer = TRAINEES[job["peer"]](config, rows, lambda: environment(config))
    except ProfileError as error:
        print(f"ProfileError: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:  # the environment has its own: edgedst's contenders came first
        print(f"ProfileError: {error}: `pip install 'edgedst[{job['peer']}]'`.", file=sys.stderr)
        return 1
    once = time.monotonic() - begun
    before = window.RANDOM_STEPS + window.WARM_UP_STEPS
    peer.train(before)
    measured = window.measure(peer, goal)
    measured["updates"] *= config.updates_per_step  # of which one call makes all
    n, m = (int(np.prod(space.shape)) for space in (peer.env.observation_space, peer.env.action_space))
    window.tell(
        {
            **measured,
            "version": version(peer.distribution) + peer.remark,
            "once_seconds": once,  # most of which is compiling, and kept
            "observation_size": n,
            "action_size": m,
            "replay_row_bytes": peer.row_bytes,
            "replay_rows": rows,
            "filled_rows": min(before + measured["steps"], rows),
        }
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
