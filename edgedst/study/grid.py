"""A study's file, read and expanded to its runs. All of it is checked here, before anything runs.

title = "How often should the topology evolve?"

[settings]                      # of every run; names as in a run's config.toml
steps = 1_000_000

[[grid]]                        # every combination of the listed values; one block or more
env = ["HalfCheetah-v4", "Hopper-v4"]
method = "ds-td3"
evolve_every = [200, 1000]
seed = [0, 1, 2]
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import shlex
import stat
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgedst import parse
from edgedst.config import TrainConfig, by_own_names
from edgedst.density import DENSE_METHODS, OWN_SPARSITIES
from edgedst.errors import StudyError
from edgedst.files import is_robot_file
from edgedst.report.text import one_line
from edgedst.runs.folder import folder_name

SHIPPED = Path(__file__).parent / "shipped"
MOST_RUNS = 10_000  # of a study: more are a slip, and would take minutes to be expanded

# Results do not depend on these, so a run may go on with others.
FREE_SETTINGS = ("threads", "checkpoint_every", "energy")

# Settings that there were not always; without them their defaults hold.
_LATER = (
    *("env_kwargs", "hardware", "updates_per_step", "max_updates_per_step"),
    *("max_missed", "max_temperature", "max_watts", "max_cpu"),
    *("init_from", "with_replay", "prefill", "demo_share", "n_steps", "batch_norm", "critic_warmup"),
    *("sparsity", *OWN_SPARSITIES),
    *("normalize_observations", "history", "action_delay", "observation_noise", "randomize"),
)
_BEFORE = {name: value for name, value in TrainConfig().settings().items() if name in _LATER}

# What a topology that stays as it was drawn has no use for, and what one that is full has not.
_OF_EVOLUTION = ("eta", "evolve_every", "topology_stop_steps")
_OF_SPARSITY = ("lambda1", "lambda2", "sparsity", *OWN_SPARSITIES, *_OF_EVOLUTION)

_FLOATS = {setting.name for setting in fields(TrainConfig) if str(setting.type).startswith("float")}


@dataclass(frozen=True)
class Point:
    """One run of a study."""

    config: TrainConfig  # resolved
    label: str = ""  # what the file calls its variant; empty: it is named by its settings
    variant: str = ""  # its name in the study

    @property
    def name(self) -> str:
        """For files: task, method, seed, and a digest of everything that results depend on."""
        config = self.config
        digest = zlib.crc32(identity(config).encode())
        return f"{folder_name(config.env)}-{config.method}-s{config.seed}-{digest:08x}"

    @property
    def told(self) -> str:
        """For people."""
        return f"{self.variant or self.config.method} on {self.config.env}, seed {self.config.seed}"


@dataclass(frozen=True)
class Study:
    """What a study's file says."""

    name: str  # of the file, without `.toml`
    title: str
    description: str
    points: tuple[Point, ...]  # the first seed of everything first: an unfinished study compares already
    text: str  # the file itself


def identity(config: TrainConfig) -> str:
    """Everything that results depend on, as text: two runs with the same are the same run."""
    unused = {*FREE_SETTINGS, *idle_settings(config.method)}
    settings = {name: value for name, value in config.settings().items() if name not in unused}
    for name, default in _BEFORE.items():  # runs from before there was such a setting are the same runs
        if name in settings and settings[name] == default:
            del settings[name]
    # 50 and 50.0 are one budget.
    return json.dumps(
        {n: float(v) if n in _FLOATS and v is not None else v for n, v in settings.items()}, sort_keys=True
    )


def idle_settings(method: str) -> tuple[str, ...]:
    """Settings that a method reads nowhere."""
    if method in DENSE_METHODS:
        return _OF_SPARSITY
    return _OF_EVOLUTION if method.startswith("static-") else ()


def find_study(name: str) -> Path:
    """The file of that path, or else the shipped study of that name, with or without `.toml`.

    Raises:
        StudyError: there is neither.
    """
    path = Path(name)
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return path
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        pass
    except OSError:  # a folder that may not be searched: `read_study` says so
        return path
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.toml"))}
    if path.name == name and name.removesuffix(".toml") in shipped:
        return shipped[name.removesuffix(".toml")]
    near = difflib.get_close_matches(path.name.removesuffix(".toml"), list(shipped), n=1)
    hint = f"Did you mean `{near[0]}.toml`?" if near else "Write one (docs/study.md), or name a shipped one."
    raise StudyError(
        f"There is no study `{name}`. {hint} edgedst comes with {', '.join(f'{stem}.toml' for stem in shipped)}."
    )


def read_study(path: Path) -> Study:
    """A study with all of its runs.

    Raises:
        StudyError: the file cannot be read, is not TOML, has keys that it cannot have, names a machine, or names a run
            twice.
        ConfigError: a setting is unknown or has an impossible value.
    """
    try:
        written = parse.read(path, pipe=True)
        content = parse.toml(written)
    except OSError as error:
        raise StudyError(f"The study `{path}` cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise StudyError(f"The study `{path}` is not TOML: {error}. docs/study.md shows how one is written.") from error

    return study_of(content, written.decode(), path)


def study_of(content: dict[str, Any], text: str, path: Path) -> Study:
    """The study that these tables of a file are. Errors are those of `read_study`."""
    _check_keys(content, path)
    blocks = []
    for number, grid in enumerate(grids := grids_of(content), 1):
        where = f"`{path}`, grid {number}" if len(grids) > 1 else f"`{path}`"
        blocks.append((_label(grid, where), _axes(grid, content.get("settings", {}), where), where))
    _refuse_too_many(sum(math.prod(map(len, axes.values())) for _, axes, _ in blocks), path)
    points = _named([point for block in blocks for point in _expand(*block)])
    _refuse_machines(points, path)
    _refuse_duplicates(points, path)
    points.sort(key=lambda point: point.config.seed)
    title, description = (one_line(content.get(name, "")) for name in ("title", "description"))
    # A study's folder has its copy, which is called so whatever the file was.
    folder = path.parent.resolve().name if path.name == "study.toml" else ""
    return Study(path.stem, title or folder or path.stem, description, tuple(points), text)


def grids_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A study's blocks `[[grid]]`, of which a single one may be a table `[grid]`."""
    return content["grid"] if isinstance(content["grid"], list) else [content["grid"]]


def _check_keys(content: dict[str, Any], path: Path) -> None:
    kinds = {"title": str, "description": str, "settings": dict, "grid": (dict, list), "search": dict}
    for name, value in content.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else "Settings of all runs stand below `[settings]`."
            raise StudyError(f"`{path}` has an unknown key `{name}`. {hint}")
        if not isinstance(value, kinds[name]):  # type: ignore[arg-type]  # a dict of types and of tuples of them
            raise StudyError(f"`{path}`: `{name}` must be {'a text' if kinds[name] is str else 'a table'}.")
    blocks = content.get("grid")
    if not blocks or (isinstance(blocks, list) and not all(isinstance(block, dict) for block in blocks)):
        raise StudyError(f"`{path}` has no grid. Add `[[grid]]` with `env`, `method` and `seed`, each a list.")


def _label(grid: dict[str, Any], where: str) -> str:
    label = grid.get("label", "")
    if not isinstance(label, str):
        raise StudyError(f"{where}: `label` must be a text and is {label!r}.")
    return one_line(label)


def _axes(grid: dict[str, Any], settings: dict[str, Any], where: str) -> dict[str, list[Any]]:
    """The values that a block lists, by setting; what it does not list comes from [settings]."""
    own = {name: value for name, value in grid.items() if name != "label"}
    merged = {**by_own_names(settings, where), **by_own_names(own, where)}
    return {name: _values(name, value, where) for name, value in merged.items()}


def _refuse_too_many(count: int, path: Path) -> None:
    if count > MOST_RUNS:
        told = f"{count:,}" if count < 10**12 else "more than 10^12"
        raise StudyError(
            f"`{path}` has {told} runs, for every combination of the listed values is one, and a study may have "
            f"{MOST_RUNS:,}. List fewer values, or write several studies."
        )


def _expand(label: str, axes: dict[str, list[Any]], where: str) -> list[Point]:
    """Every combination of the values."""
    return [
        Point(TrainConfig.from_settings(dict(zip(axes, values, strict=True)), where).resolved(), label)
        for values in itertools.product(*axes.values())
    ]


def _values(name: str, value: Any, where: str) -> list[Any]:
    """`hidden` is a list in itself: [256, 256] is one value of it, [[256, 256], [64, 64]] are two."""
    if not isinstance(value, list):
        return [value]
    if not value:
        raise StudyError(f"{where}: `{name}` is an empty list. Give it a value, or leave it out.")
    return value if name != "hidden" or isinstance(value[0], list) else [value]


def _refuse_machines(points: list[Point], path: Path) -> None:
    """There is one machine, and a study's runs go side by side."""
    for config in (point.config for point in points):
        if is_robot_file(config.env) or config.hardware:
            raise StudyError(
                f"`{path}`: the runs of a study go side by side, and several would move the machine of `{config.env}` "
                f"at once. Train one seed after the other: `edgedst train --env {shlex.quote(config.env)} --method "
                f"{config.method} --seed {config.seed}{' --hardware' if config.hardware else ''}`."
            )


def _refuse_duplicates(points: list[Point], path: Path) -> None:
    seen: set[str] = set()
    for point in points:
        key = identity(point.config)
        if key in seen:
            idle = idle_settings(point.config.method)
            unused = f" ({', '.join(idle)} do not count: {point.config.method} does not use them)" if idle else ""
            raise StudyError(
                f"`{path}` has the run {point.told} twice. Every combination of settings may stand in it once: look "
                f"for a value that is listed twice, or for two grids that overlap{unused}."
            )
        seen.add(key)


def varied(points: Sequence[Point], group_of: Callable[[Point], str]) -> dict[str, set[str]]:
    """By group, settings with several values within a task and method; a preset that differs by task is none."""
    values: dict[tuple[str, str, str, str], set[str]] = {}
    found: dict[str, set[str]] = {group_of(point): set() for point in points}
    for point in points:
        for name, value in point.config.settings().items():
            key = (group_of(point), point.config.method, point.config.env, name)
            values.setdefault(key, set()).add(repr(value))
    for (group, *_, name), several in values.items():
        if len(several) > 1 and name != "seed" and name not in FREE_SETTINGS:
            found[group].add(name)
    for names in found.values():
        if "steps" in names:
            names.discard("topology_stop_steps")  # follows from the steps
    return found


def _named(points: Sequence[Point]) -> list[Point]:
    """A label, or the method; and whatever else it takes to tell two runs of one task and seed apart."""

    def group(point: Point) -> str:
        return point.label or point.config.method

    several = varied(points, group)
    methods: dict[str, set[str]] = {}
    for point in points:
        methods.setdefault(group(point), set()).add(point.config.method)
    named = []
    for point in points:
        settings = point.config.settings()
        parts = [group(point)]
        if len(methods[group(point)]) > 1:
            parts.append(point.config.method)
        parts += [f"{name} {shown(value)}" for name, value in settings.items() if name in several[group(point)]]
        named.append(replace(point, variant=", ".join(parts)))
    return named


def shown(value: object) -> str:
    """A setting's value as a report names it."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
