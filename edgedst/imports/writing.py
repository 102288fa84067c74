"""The run folder that an import leaves: step 0 of a run, which `--init-from`, `evaluate` and `export` read.

It is a run's as docs/formats.md says, without what a training adds. It appears whole: under a temporary name first.
"""

from __future__ import annotations

import json
import math
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from edgedst import core
from edgedst.agents import agent_class
from edgedst.agents.actor_critic import NETWORKS
from edgedst.config import TrainConfig
from edgedst.density import family
from edgedst.files import folder_error, make_folder, remove_made, sync, temporary_name, told_name, write_whole
from edgedst.imports.place import Place
from edgedst.runs.actor import ActorLayer, read_actor
from edgedst.runs.checkpoint import SEGMENT_ROWS
from edgedst.runs.folder import claim_folder, folder_name, note_in_order
from edgedst.runs.state import state_bytes

Networks = dict[str, Sequence[ActorLayer]]


def write_run(
    run_dir: Path,
    config: TrainConfig,
    config_toml: str,
    place: Place,
    networks: Networks,
    model: str,
    evaluation: tuple[float, float] | None,
) -> Path:
    """Make runs/<env>/<method>/s<seed>-<time>/ with these networks.

    Args:
        run_dir: folder that holds the runs.
        config: the run's settings.
        config_toml: of them, what its config.toml says.
        place: its environment.
        networks: by name, in the order of the file.
        model: where they come from, for people.
        evaluation: mean and standard deviation of the returns that the actor earned; None: it was not played.

    Raises:
        RunFolderError: it cannot be written; nothing of it is left.
    """
    tensors = _safetensors(networks, _about(config, place, networks, evaluation))
    name = "networks-000000000.safetensors"
    state = _state(config, config_toml, place, networks, model)
    state["networks"] = {"file": name, "bytes": len(tensors), "crc32": zlib.crc32(tensors)}
    parent = run_dir / folder_name(config.env) / config.method
    made = Path(temporary_name(str(parent / f"s{config.seed}")))
    folders: list[str] = []
    try:
        folders = make_folder(str(made / "checkpoint"))
        write_whole(str(made / "config.toml"), config_toml.encode())
        write_whole(str(made / "checkpoint" / name), tensors)
        write_whole(str(made / "checkpoint" / "state.json"), state_bytes(state))
        read_actor(made)
        folder = Path(claim_folder(str(run_dir), config.env, config.method, config.seed))
        try:
            made.replace(folder)
        except OSError:
            folder.rmdir()
            raise
        sync(str(parent))
        note_in_order(str(run_dir), str(folder))
    except OSError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # what was said names what is gone
        raise folder_error(cause, str(run_dir)) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
        remove_made(folders)
    return folder


def _safetensors(networks: Networks, about: dict[str, Any]) -> bytes:
    tensors: dict[str, Any] = {}
    for name, layers in networks.items():
        for number, layer in enumerate(layers):
            key = f"{name}.{number}."
            parts = (("indices", layer.indices), ("values", layer.values), ("bias", layer.bias))
            tensors |= {key + part: np.ascontiguousarray(array) for part, array in parts}
    content: bytes = save(tensors, {"edgedst": json.dumps(about)})
    return content


def _about(
    config: TrainConfig, place: Place, networks: Networks, evaluation: tuple[float, float] | None
) -> dict[str, Any]:
    """Metadata of the networks' file, as `saving.about`."""
    bounds = {}
    if place.observation_bounds is not None:
        low, high = place.observation_bounds
        bounds = {"observation_low": low, "observation_high": high, "step_seconds": place.step_seconds}
    mean, sd = evaluation or (None, None)
    return {
        "env": told_name(config.env),
        "method": config.method,
        "seed": config.seed,
        "step": 0,
        "sizes": {
            name: [layers[0].in_features, *(layer.out_features for layer in layers)]
            for name, layers in networks.items()
        },
        "action_low": place.action_low,
        "action_high": place.action_high,
        **bounds,
        "evaluation_return": mean,
        "evaluation_sd": sd,
    }


def _state(config: TrainConfig, config_toml: str, place: Place, networks: Networks, model: str) -> dict[str, Any]:
    """state.json but for its networks, as `saving.facts` and `Checkpoints.save`; nothing was done yet."""
    of_sac = family(config.method) == "sac"
    agent: dict[str, Any] = {
        "iteration": 0,
        "random_counter": 0,
        "linked": {name: True for name in networks if name not in NETWORKS},
        "losses": [0.0] * len(agent_class(config.method).METRICS),
    }
    agent |= {"log_alpha": [math.log(config.alpha), 0.0, 0.0]} if of_sac else {"actor_iteration": 0}
    stored = place.observation_size - len(place.constants)
    return {
        "step": 0,
        "env": config.env,
        "method": config.method,
        "seed": config.seed,
        "imported": model,
        "isa": core.isa(),
        "config_crc32": zlib.crc32(config_toml.encode()),
        "metrics_bytes": 0,
        "metrics_crc32": 0,
        "agent": agent,
        "environment": "",
        "episode": [0, 0.0, 0],
        "evaluations": {"count": 0, "sum": 0.0, "last": []},
        "seconds": 0.0,
        "energy": None,
        "best": None,
        "replay": {
            "dtype": config.replay_dtype,
            "row_bytes": core.Replay.row_bytes(stored, place.action_size, config.replay_dtype),
            "constants": place.constants,
            "rows_closed": 0,
            "capacity": 0,
            "segment_rows": SEGMENT_ROWS,
            "open_row": "",
            "segments": [],
        },
    }
