"""Run folders whose state.json is committed as the trainer does it, without their having been trained."""

import json
from zlib import crc32

from edgedst.runs.state import state_bytes

# A whole state of DS-TD3 on an environment without a state of its own.
STATE = {
    "step": 5,
    "env": "Arm-v0",
    "method": "ds-td3",
    "seed": 0,
    "isa": "scalar",
    "config_crc32": 0,
    "metrics_bytes": 0,
    "metrics_crc32": 0,
    "agent": {"iteration": 0, "random_counter": 1, "linked": {}, "losses": [], "actor_iteration": 0},
    "environment": {"seed": 7, "steps": 3, "file": "episode-000000000.actions", "crc32": 1, "observation": "AAAA"},
    "episode": [2, -1.5, 3],
    "evaluations": {"count": 1, "sum": -3.5, "last": [[0, -3.5, 0.25]]},
    "seconds": 1.5,
    "energy": None,
    "networks": {"file": "networks-000000005.safetensors", "bytes": 0, "crc32": 0},
    "best": None,
    "replay": {
        "dtype": "float16",
        "row_bytes": 15,
        "constants": [],
        "rows_closed": 0,
        "capacity": 100,
        "segment_rows": 50_000,
        "open_row": "00" * 15,
        "segments": [],
    },
}


def commit(run, **changes):
    """Write RUN/checkpoint/state.json beside the config.toml that is there: STATE, but for `changes`."""
    (run / "checkpoint").mkdir(parents=True, exist_ok=True)
    checksum = crc32((run / "config.toml").read_bytes())
    (run / "checkpoint" / "state.json").write_bytes(state_bytes({**STATE, "config_crc32": checksum, **changes}))


def recommit(run, config_toml, **changes):
    """Give a trained run these settings, and its checkpoint these entries, as if it had been trained so."""
    (run / "config.toml").write_text(config_toml, encoding="utf-8")
    state = json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    kept = {name: value for name, value in state.items() if name not in ("format", "edgedst", "crc32", "config_crc32")}
    commit(run, **{**kept, **changes})
