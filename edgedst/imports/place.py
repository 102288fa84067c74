"""The environment that a model is imported for: its sizes and bounds, and whether anything may be played in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedst.deploy.environment import open_environment
from edgedst.envs import registry
from edgedst.envs.robot import Robot
from edgedst.errors import ModelError
from edgedst.files import is_robot_file
from edgedst.imports.actions import in_units
from edgedst.imports.model import Dense, DoubleArray, Model
from edgedst.runs.inputs import Bounds, middle_and_half


@dataclass(frozen=True, eq=False)
class Place:
    """What is known of an environment without playing in it."""

    env: str
    env_kwargs: dict[str, Any]
    observation_size: int
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    constants: list[list[float]]  # observations that the replay leaves out
    observation_bounds: Bounds | None = None  # that the networks see as -1 and 1
    step_seconds: float | None = None
    not_played: str = ""  # why nothing is played in it

    @property
    def low(self) -> DoubleArray:
        """(m,)."""
        return np.array(self.action_low)

    @property
    def high(self) -> DoubleArray:
        """(m,)."""
        return np.array(self.action_high)

    def check_fits(self, model: Model) -> None:
        """Refuse a model of other sizes or action bounds.

        Raises:
            ModelError: with both.
        """
        sizes, own = (model.observation_size, model.action_size), (self.observation_size, self.action_size)
        if sizes != own:
            raise ModelError(
                f"`{model.path}` takes {sizes[0]} observations and gives {sizes[1]} actions, and `{self.env}` has "
                f"{own[0]} and {own[1]}. Name the environment that it was trained in with `--env`."
            )
        for side, bound, found in zip(("low", "high"), (self.low, self.high), model.bounds or (), strict=False):
            if not np.allclose(bound, found, rtol=1e-4, atol=1e-6):  # the file has eight digits of them
                raise ModelError(
                    f"`{model.path}` was trained with actions whose {side} is {found.tolist()}, and `{self.env}` has "
                    f"{bound.tolist()}: its actions would mean others. Name the environment that it was trained in."
                )

    def played(self, model: Model) -> Any:
        """The model's own policy: (n,) float64 to (m,) float32 in the environment's units."""
        return lambda observation: in_units(model.run(observation), model.output.meaning, self.low, self.high)

    def normalised(self, layers: list[Dense]) -> list[Dense]:
        """The layers for observations as edgedst's networks see them here: a machine's between -1 and 1.

        The reverse of `runs/actor.py`'s folding: `W (half x + middle) + b`. Columns behind them are actions, as they
        are.
        """
        if self.observation_bounds is None:
            return layers
        middle, half = middle_and_half(self.observation_bounds)
        weight, n = layers[0].weight.astype(np.float64), len(half)
        bias = layers[0].bias + weight[:, :n] @ middle
        weight[:, :n] *= half
        return [Dense(weight.astype(np.float32), bias.astype(np.float32)), *layers[1:]]


def place_of(env: str, env_kwargs: dict[str, Any]) -> Place:
    """Make the environment, look at it and close it; of a robot.py the file is read, and nothing moves.

    Raises:
        What `registry.locate` and `registry.make` raise.
    """
    if is_robot_file(env):
        registry.locate(env, kwargs=env_kwargs)
        robot = Robot(env)
        return Place(
            env,
            env_kwargs,
            len(robot.observation_names),
            len(robot.action_names),
            robot.action_low,
            robot.action_high,
            [],
            (robot.observation_low, robot.observation_high),
            1 / robot.rate_hz,
            f"Not played: `{env}` is a machine.",
        )
    with open_environment(env, kwargs=env_kwargs) as host:
        return Place(
            env,
            env_kwargs,
            host.observation_size,
            host.action_size,
            host.action_low,
            host.action_high,
            [list(constant) for constant in host.constants],
            not_played=f"Not played: `{env}` stands for a machine." if host.hardware else "",
        )
