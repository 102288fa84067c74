"""Trained actors without training: random weights at any density, with bounds as few environments have them."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np

from edgedst.runs.actor import ActorLayer, ActorWeights
from edgedst.runs.inputs import read_inputs
from edgedst.runs.state import state_bytes

BOUNDS = (
    (-1.0, -0.25, -3.0, 0.5, -100.0, -1e-3, -2.0, -1.5),
    (1.0, 4.0, -1.0, 0.75, 100.0, 1e-3, 2.0, -0.5),
)  # of up to eight actions


def random_layer(rng, inputs, outputs, density):
    """Density 0: one connection of weight 0, which a packed form has no entry for."""
    total = inputs * outputs
    places = np.sort(rng.choice(total, max(1, round(density * total)), replace=False)).astype(np.uint32)
    # Sums of size one, as a trained actor's: tanh is then neither linear nor saturated.
    values = np.sign(density) * rng.standard_normal(len(places)) / np.sqrt(max(density * inputs, 1.0))
    bias = (0.1 * rng.standard_normal(outputs)).astype(np.float32)
    return ActorLayer(inputs, outputs, places, values.astype(np.float32), bias)


def random_actor(rng, sizes, densities, environment="Fake-v0"):
    layers = [
        random_layer(rng, inputs, outputs, density)
        for (inputs, outputs), density in zip(pairwise(sizes), densities, strict=True)
    ]
    low, high = (bounds[: sizes[-1]] for bounds in BOUNDS)
    return ActorWeights(environment, "ds-td3", 3, 1000, "0.1.0", tuple(layers), low, high, 12.5, 0.5)


def normalizer(mean, scale, clip=10.0, count=100):
    """As a networks' file has it."""
    return {"count": count, "mean": list(map(float, mean)), "scale": list(map(float, scale)), "clip": clip}


def seeing(actor, **about):
    """The actor as it is read of a file whose metadata has `about`: bounds, a normaliser, a history."""
    inputs = read_inputs(about, actor.sizes[0], (actor.action_low, actor.action_high), "networks.safetensors")
    return replace(
        actor,
        layers=(inputs.fold(actor.layers[0]), *actor.layers[1:]),
        observation_bounds=inputs.observation_bounds,
        observation_clip=inputs.observation_clip,
        history=inputs.history,
        centre=inputs.centre,
    )


def difference_actor():
    """2-1: action = 1 + 2 tanh(obs[0] - obs[1]), bounds -1 and 3."""
    weight = np.array([1.0, -1.0], dtype=np.float32)
    layer = ActorLayer(2, 1, np.array([0, 1], dtype=np.uint32), weight, np.zeros(1, dtype=np.float32))
    return ActorWeights("Fake-v0", "ds-td3", 0, 10, "0.1.0", (layer,), (-1.0,), (3.0,), None, None)


def overflowing_actor():
    """2-2-1: observing (3e38, -3e38), which is finite, both hidden sums are infinite, and their difference NaN."""
    values = (np.array([2, 0, 0, -2], np.float32), np.array([1, -1], np.float32))
    layers = tuple(
        ActorLayer(2, outputs, np.arange(2 * outputs, dtype=np.uint32), weights, np.zeros(outputs, np.float32))
        for outputs, weights in zip((2, 1), values, strict=True)
    )
    return ActorWeights("Fake-v0", "ds-td3", 0, 10, "0.1.0", layers, (-1.0,), (3.0,), None, None)


def change_state(run, **changes):
    """Rewrite what a run's state.json says; its checksum comes out."""
    path = run / "checkpoint" / "state.json"
    state = {**json.loads(path.read_text()), **changes}
    path.write_bytes(state_bytes({name: value for name, value in state.items() if name != "crc32"}))
