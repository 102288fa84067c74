"""Profiles as `edgedst profile` writes them (docs/formats.md), made up here: they stand for no measurement.

Every figure is another one, so that a page which shows one in the place of another is found out.
"""

import copy
import random


def stat(draw, median, share, repeats=5):
    """A stat of so many repeats that lie within that share of the median."""
    values = sorted(median * (1 + draw.uniform(-share, share)) for _ in range(repeats))
    values[repeats // 2] = median
    return {"median": median, "low": values[0], "high": values[-1], "values": draw.sample(values, repeats)}


def sizes(draw, median, spread, repeats=5):
    """The same of bytes, which are whole."""
    drawn = stat(draw, median, spread, repeats)
    return {
        **drawn,
        **{end: round(drawn[end]) for end in ("low", "high")},
        "values": [round(v) for v in drawn["values"]],
    }


LEDGER = {
    "interpreter and libraries": (12_972_032, 11_513_856),
    "environments": (6_320_128, 6_561_792),
    "actor: values and biases": (147_136, 288_000),
    "actor: Adam moments": (294_016, 575_616),
    "actor: column indices and buckets": (46_848, 45_184),
    "actor: transposed view": (190_400, 331_200),
    "target networks": (1_840_640, 1_861_120),
    "critics: values and biases": (284_416, 578_048),
    "critics: Adam moments": (568_320, 1_155_328),
    "critics: column indices and buckets": (92_800, 90_752),
    "critics: transposed view": (370_816, 664_320),
    "batch, activations and gradients": (664_576, 806_464),
    "topology workspace": (1_058_368, 1_058_369),
}


def ledger(column, rows):
    lines = [{"name": name, "bytes": both[column]} for name, both in LEDGER.items()]
    lines.append({"name": f"replay of {rows:,} rows, 51 bytes each", "bytes": rows * 51})
    lines += [{"name": "energy meter", "bytes": 180_224 + column}, {"name": "headroom", "bytes": 1_000_000}]
    return lines


def parts(connections, actor, critic):
    """FLOPs of an update at batch 100, near enough."""
    return {
        "acting": 2 * actor,
        "targets": 200 * (actor + 2 * critic),
        "critics": 200 * 6 * critic - 1_180_000,
        "actor": 100 * 3 * actor - 260_000,
        "critic in the actor's update": 100 * 2 * critic + 90_000,
        "adam": 14 * connections,
        "polyak": 3 * connections // 2,
    }


def contender(draw, name, label, engine, method, connections, speed, updates, cpu, joules, idle, peak, action):
    actor = connections // 3
    of_one = parts(connections, actor, (connections - actor) // 2)
    return {
        "name": name,
        "label": label,
        "engine": engine,
        "method": method,
        "connections": connections,
        "memory": {
            "ledger": [],
            "planned_bytes": None,
            "arena_bytes": None,
            "peak_bytes": sizes(draw, peak, 0.004),
            "pss_bytes": sizes(draw, peak - 900_000, 0.004),
            "replay_row_bytes": 168,
            "replay_rows": 20_000,
            "replay_bytes": 3_360_000,
        },
        "flops": {"update_paper": 600 * connections, "update_counted": sum(of_one.values()), "parts": of_one},
        "updates_per_second": stat(draw, updates, 0.03),
        "steps_per_second": stat(draw, speed, 0.04),
        "cpu_seconds_per_1000_steps": stat(draw, cpu, 0.02),
        "energy_joules_per_1000_steps": {
            "total": stat(draw, joules, 0.05),
            "above_idle": stat(draw, joules - idle, 0.06),
            "samples": round(40_000 / speed),
            "gaps": 0,
        },
        "action_microseconds": {"p50": action, "p99": action * 1.62, "max": action * 31, "count": 10_000},
    }


def planned(contender, column, rows):
    lines = ledger(column, rows)
    contender["memory"] |= {
        "ledger": lines,
        "planned_bytes": sum(line["bytes"] for line in lines),
        "arena_bytes": sum(line["bytes"] for line in lines[2:]) - 1_180_225,
        "replay_row_bytes": 51,
        "replay_rows": rows,
        "replay_bytes": rows * 51,
    }
    return contender


def ratio(median, share):
    return {"median": median, "low": median * (1 - share), "high": median * (1 + share)}


def ratios(step, update, cpu, energy, above_idle, peak, connections, flops, action):
    return {
        "step_seconds": ratio(step, 0.03),
        "update_seconds": ratio(update, 0.02),
        "cpu_seconds": ratio(cpu, 0.015),
        "energy_total": ratio(energy, 0.05),
        "energy_above_idle": ratio(above_idle, 0.07),
        "peak_bytes": ratio(peak, 0.003),
        "connections": connections,
        "flops_paper": connections + 0.001,
        "flops_counted": flops,
        "action_p50": ratio(action, 0.04),
    }


def measured():
    """Sparse, dense and Stable-Baselines3, the energy measured, and a run."""
    draw = random.Random(7)
    sparse = contender(
        draw, "sparse", "edgedst DS-TD3", "edgedst", "ds-td3", 106_169, 401.2, 613.0, 2.49, 21.4, 6.2, 49_412_096, 9.87
    )
    dense = contender(
        draw, "dense", "edgedst dense TD3", "edgedst", "td3", 214_784, 272.4, 452.0, 3.66, 30.9, 9.1, 49_393_664, 12.93
    )
    sb3 = contender(
        draw,
        "sb3",
        "Stable-Baselines3 2.9.2 TD3",
        "sb3",
        "td3",
        214_785,
        104.9,
        185.3,
        9.51,
        79.6,
        23.7,
        362_303_488,
        71.4,
    )
    sb3["flops"] |= {"update_counted": None, "parts": {}}
    state = {
        "cores": [
            {"mhz": 1500, "governor": "ondemand", "min_mhz": 600, "max_mhz": 1800},
            {"mhz": 1499, "governor": "ondemand", "min_mhz": 600, "max_mhz": 1800},
            {"mhz": 700, "governor": "ondemand", "min_mhz": 600, "max_mhz": 1800},
            {"mhz": 600, "governor": "ondemand", "min_mhz": 600, "max_mhz": 1800},
        ],
        "celsius": 51.2,
        "throttled": [],
        "power_mode": None,
        "load": 0.12,
    }
    joules = 0.0
    curve = []
    for step in range(0, 205_000, 5_000):
        curve.append(
            {"step": step, "return": -280 + 5200 * (1 - 2 ** (-step / 60_000)) + draw.gauss(0, 160), "joules": joules}
        )
        joules += draw.uniform(101, 113)
    return {
        "format": 1,
        "edgedst": "0.1.0",
        "made": "2026-11-23T18:00:00Z",
        "command": "edgedst profile --seconds 20 --energy ina3221",
        "host": {
            "board": "example-board",
            "title": "Example Board, 4 GB",
            "why": "its device tree names it",
            "cpu": "Cortex-A72",
            "cores": 4,
            "isa": "neon",
            "ram_bytes": 3_980_000_000,
            "python": "3.11.2",
            "kernel": "6.6.31+rpt-rpi-v8",
            "page_bytes": 4096,
        },
        "task": {
            "env": "HalfCheetah-v4",
            "method": "ds-td3",
            "hidden": [256, 257],
            "batch_size": 100,
            "threads": 2,
            "observation_size": 17,
            "action_size": 6,
            "seed": 0,
            "steps": 4000,
            "random_steps": 1000,
            "warm_up_steps": 600,
            "repeats": 5,
            "order": ["sparse", "dense", "sb3"],
            "budget_mb": 50,
        },
        "energy": {
            "source": "ina3221",
            "scope": "module input",
            "measured": True,
            "detail": "rail VDD_IN, in1_input and curr1_input of hwmon3",
            "sample_hz": 10.0,
            "idle_watts": 3.12,
            "idle_sd_watts": 0.04,
            "idle_seconds": 10.2,
            "meter_cpu_seconds": 0.21,
            "meter_reads": 2011,
        },
        "energy_note": None,
        "before": state,
        "after": {**copy.deepcopy(state), "celsius": 63.8, "load": 1.07},
        "doubts": [
            "The governor of cores 0 to 3 is `ondemand`, not performance: clocks changed between repeats.",
            "Core 2 was 18 % busy with something else in repeat 4 of Stable-Baselines3.",
        ],
        "contenders": [planned(sparse, 0, 469_000), planned(dense, 1, 455_500), sb3],
        "ratios": {
            "sparse / dense": ratios(0.679, 0.737, 0.681, 0.693, 0.705, 1.0003, 0.494, 0.521, 0.763),
            "sparse / sb3": ratios(0.262, 0.302, 0.263, 0.269, 0.272, 0.1364, 0.495, 0.522, 0.138),
        },
        "interval": "95 % t-interval of the mean log ratio over the repeats (paired by round)",
        "run": {
            "path": "runs/HalfCheetah-v4/ds-td3/s0-20261123-120000",
            "env": "HalfCheetah-v4",
            "method": "ds-td3",
            "curve": curve,
            "joules_from": "logged by train --energy",
        },
    }


def modelled():
    """Two contenders and the energy by the board's model: one repeat, so no intervals; sparse takes more time here."""
    document = measured()
    document["contenders"].pop()
    document["ratios"] = {"sparse / dense": document["ratios"]["sparse / dense"]}
    of = document["ratios"]["sparse / dense"]
    for name in of:
        if isinstance(of[name], dict):
            of[name] |= {"low": None, "high": None}
    of["step_seconds"]["median"] = 1.23
    of["update_seconds"]["median"] = 2.31
    document["contenders"][0]["steps_per_second"]["median"] = 221.5
    document["contenders"][0]["updates_per_second"]["median"] = 195.7
    for one in document["contenders"]:
        energy = one["energy_joules_per_1000_steps"]
        stats = [one["updates_per_second"], one["steps_per_second"], one["cpu_seconds_per_1000_steps"]]
        stats += [energy["total"], energy["above_idle"], one["memory"]["peak_bytes"], one["memory"]["pss_bytes"]]
        for each in stats:
            each |= {"low": each["median"], "high": each["median"], "values": [each["median"]]}
        energy |= {"samples": None, "gaps": None}
    document["task"]["repeats"] = 1
    document["energy"] |= {
        "source": "model",
        "scope": "board input",
        "measured": False,
        "detail": "3.1 W idle and 0.75 W a busy core, from the board's description",
        "sample_hz": None,
        "idle_watts": 3.1,
        "idle_sd_watts": None,
        "meter_reads": None,
    }
    document["energy_note"] = "No sensor of this board can be read: the joules follow from time and CPU time."
    document["doubts"] = []
    document["run"]["joules_from"] = "steps times this profile's joules a step"
    return document


def without_energy():
    """What a desktop without a sensor gives."""
    document = measured()
    document["energy"] = document["run"] = None
    document["energy_note"] = (
        "No source of energy can be read: RAPL is there but needs root; `edgedst devices` says how to open it."
    )
    for one in document["contenders"]:
        one["energy_joules_per_1000_steps"] = None
    for pair in document["ratios"].values():
        pair["energy_total"] = pair["energy_above_idle"] = None
    # These repeats cannot tell sparse from dense.
    document["ratios"]["sparse / dense"]["step_seconds"] = {"median": 0.97, "low": 0.91, "high": 1.04}
    return document


def without_dense():
    """Sparse against Stable-Baselines3 alone."""
    document = measured()
    del document["contenders"][1]
    document["ratios"] = {"sparse / sb3": document["ratios"]["sparse / sb3"]}
    document["task"]["order"] = ["sparse", "sb3"]
    return document


def emptied(document):
    """The same shape with null for every figure and word; the contenders' names stay, or there would be none."""

    def empty(value, key=""):
        if isinstance(value, dict):
            return {name: empty(inside, name) for name, inside in value.items()}
        if isinstance(value, list):
            return [empty(inside) for inside in value]
        return value if key in ("format", "name") else None

    return empty(document)


def bare():
    """Nothing but the names of what could be there."""
    return dict.fromkeys(measured()) | {"format": 1}
