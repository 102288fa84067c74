"""The boards that edgedst knows: reads `devices/`, one folder a board, where every fact names its source.

What is in the files, and how to add a board, stands in devices/README.md. Nothing here measures anything. The front end
of `edgedst train` asks `detect` before it becomes the trainer, so what is imported here counts against a small budget.
"""

from __future__ import annotations

import math
import os
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgedst import parse
from edgedst.errors import BoardFileError, UnknownDevice
from edgedst.folders import folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
Texts = tuple[str, ...]
Known = int | float | str | tuple[int, ...]
Reference = str  # where something is written; a file has the source's name in [sources], a board what stands there
Sensor = str  # one of SENSORS
_Rules = dict[str, Texts]  # kind of rule -> its texts

SENSORS = ("ina3221", "ina238", "pi5-pmic", "rapl")  # that a board can have of its own
GENERIC = "generic"  # the board that a machine is when no other folder recognises it


@dataclass(frozen=True)
class Fact:
    """One thing known about a board. Its unit is in its name: `ram_bytes`, `idle_watts`, `clock_hz`."""

    value: Known
    source: Reference
    checked: bool  # True: read there by us. False: second hand, to be verified before anything is built on it
    note: str = ""  # what else one has to know to use the number

    @property
    def numbers(self) -> tuple[float, ...]:
        """Its number, or those of a board that is sold in several sizes; none of a text."""
        if isinstance(self.value, str):
            return ()
        return self.value if isinstance(self.value, tuple) else (self.value,)


@dataclass(frozen=True)
class TrainDefaults:
    """What `edgedst train` takes on this board unless told otherwise."""

    budget_mb: float  # MB of 1,000,000 bytes
    threads: int
    isa: str | None  # kernel path; None: the best that the CPU has
    reason: str  # why these

    @property
    def words(self) -> list[str]:
        """Budget and threads as a sentence takes them: `50 MB`, `1 thread`."""
        return [f"{self.budget_mb:g} MB", f"{self.threads} thread" + ("s" if self.threads > 1 else "")]


@dataclass(frozen=True)
class PowerSensor:
    """The board's own power sensor."""

    source: Sensor
    scope: str  # wall, board input, module input, sum of rails, CPU package
    rails: Texts  # labels whose sum is the total; empty: all that the sensor has
    reference: Reference
    checked: bool
    note: str = ""


@dataclass(frozen=True)
class PowerModel:
    """Energy without a sensor: idle_watts * seconds + core_watts * CPU-seconds. An estimate, never a measurement."""

    idle_watts: float
    core_watts: float  # above idle, of one busy core
    scope: str
    reference: Reference
    checked: bool
    note: str  # how core_watts follows from the source


@dataclass(frozen=True)
class Board:
    """One folder of `devices/`."""

    name: str  # the folder's name
    title: str
    run_by_us: bool  # whether the test suite has run on the board itself
    models: Texts  # substrings of /proc/device-tree/model
    compatibles: Texts  # substrings of /proc/device-tree/compatible
    machines: Texts  # os.uname().machine, for boards that are whatever no other folder recognises
    train: TrainDefaults
    power: PowerSensor | None  # None: no sensor of its own
    model: PowerModel | None  # None: nothing to estimate energy from
    facts: Mapping[str, Fact]
    folder: Path

    @property
    def bringup(self) -> Path:
        """From a blank card to the first training run."""
        return self.folder / "bringup.md"


@dataclass(frozen=True)
class Recognised:
    """Which board this is, and one sentence that says why."""

    board: Board
    why: str


def devices_folder() -> Path:
    """Where the boards are described."""
    return folder("devices")


def names() -> list[str]:
    """Every board's name, in alphabetical order."""
    return sorted(path.parent.name for path in devices_folder().glob("*/board.toml"))


def load(name: str) -> Board:
    """The board of that name.

    Raises:
        UnknownDevice: no folder of that name; the sentence offers near ones.
        BoardFileError: its board.toml is not as devices/README.md says.
    """
    known = names()
    if name not in known:
        near = [board for board in known if _shortens(name.lower(), board)]
        if not 1 <= len(near) <= 5:
            near = get_close_matches(name.lower(), known, n=1, cutoff=0.4)
        hint = f"Did you mean `{'` or `'.join(near)}`? " if near else ""
        raise UnknownDevice(f"no device `{name}` in devices/. {hint}`edgedst devices` lists all {len(known)}.")
    return _read(name, _board)


def _shortens(name: str, board: str) -> bool:
    """Whether a board's name has these letters and digits in this order: rpi, pi5, orin."""
    letters = iter(board)
    return all(letter in letters for letter in name if letter.isalnum())


def detect(root: Path = Path("/")) -> Recognised:
    """The board that this is: by its device tree, else by its kind of machine.

    Of several rules that hold, the longest text counts: it is the most specific one. `compatible` goes before `model`:
    drivers are bound by the former, the latter is for people and has been renamed between releases.

    Args:
        root: where /proc is found.

    Raises:
        BoardFileError: a board.toml is not as devices/README.md says.
    """
    rules = {name: _read(name, _rules, head_only=True) for name in names()}
    compatible = _text(root / "proc/device-tree/compatible")
    model = _text(root / "proc/device-tree/model").partition("\n")[0]
    # A container hides the device tree; the kernel of a Raspberry Pi names the board here, too.
    named = "" if model else _line(root / "proc/cpuinfo", "Model")
    if name := _longest(rules, "compatible", compatible):
        entry = next(line for line in compatible.split("\n") if any(rule in line for rule in rules[name]["compatible"]))
        return Recognised(load(name), f"/proc/device-tree/compatible has `{entry}`.")
    if name := _longest(rules, "model", model):
        return Recognised(load(name), f"/proc/device-tree/model is `{model}`.")
    if name := _longest(rules, "model", named):
        why = f"/proc/cpuinfo names `{named}`; there is no device tree to read, as in a container."
        return Recognised(load(name), why)
    unknown = f"No folder of devices/ knows `{model}`" if model else "There is no device tree to read"
    machine = os.uname().machine
    for name in rules:
        if machine in rules[name]["machine"]:
            return Recognised(load(name), f"{unknown}; the machine is {machine}.")
    return Recognised(load(GENERIC), f"{unknown}, and no folder is for machines of kind {machine}.")


def _longest(rules: Mapping[str, _Rules], kind: str, text: str) -> str | None:
    """The board with the longest rule that a text has."""
    found = [(len(rule), name) for name, of_board in rules.items() for rule in of_board[kind] if rule in text]
    return max(found)[1] if found else None


def _text(path: Path) -> str:
    """A device tree's text, one entry a line: each ends in NUL, and `compatible` has several."""
    try:
        return path.read_bytes().decode("utf-8", "replace").replace("\0", "\n").strip()
    except OSError:
        return ""


def _line(path: Path, key: str) -> str:
    """The value of a `key : value` line."""
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


class _Wrong(Exception):
    """What is wrong in a board.toml; `_read` adds which one."""


def _read(name: str, reader: Callable[[Path, dict[str, Any]], T], head_only: bool = False) -> T:
    """A board.toml through a reader. Its head is what stands before [sources]: all boards' are read at each start."""
    path = devices_folder() / name / "board.toml"
    try:
        content = parse.read(path)
        return reader(path, parse.toml(content.partition(b"\n[sources]")[0] if head_only else content))
    except OSError as error:
        raise BoardFileError(f"`{path}` cannot be read: {error.strerror}. Restore it, or reinstall edgedst.") from error
    except ValueError as error:
        raise BoardFileError(f"`{path}` is not TOML: {error}. devices/README.md shows a whole one.") from error
    except _Wrong as error:
        raise BoardFileError(f"`{path}`: {error}. devices/README.md shows a whole one.") from error


def _rules(_path: Path, data: dict[str, Any]) -> _Rules:
    recognise = _table(data, "recognise")
    kinds = ("model", "compatible", "machine")
    return {kind: _take(recognise, kind, "Texts", "recognise") if kind in recognise else () for kind in kinds}


def _board(path: Path, data: dict[str, Any]) -> Board:
    told, known = (_table(data, name) if name in data else {} for name in ("sources", "facts"))
    sources = {name: _take(told, name, "str", "sources") for name in told}
    rules = _rules(path, data)
    facts = {name: _entry(Fact, _table(known, name, "facts."), f"facts.{name}", sources) for name in known}
    power = _table(data, "power") if "power" in data else {}
    model = _table(power, "model", "power.") if "model" in power else None
    return Board(
        name=path.parent.name,
        title=_take(data, "title", "str"),
        run_by_us=_take(data, "run_by_us", "bool"),
        models=rules["model"],
        compatibles=rules["compatible"],
        machines=rules["machine"],
        train=_entry(TrainDefaults, _table(data, "train"), "train", sources),
        power=_entry(PowerSensor, power, "power", sources) if "power" in data and power.keys() != {"model"} else None,
        model=_entry(PowerModel, model, "power.model", sources) if model is not None else None,
        facts=facts,
        folder=path.parent,
    )


def _entry(kind: type[T], table: dict[str, Any], where: str, sources: dict[str, str]) -> T:
    """A table as a dataclass of the same keys; what has a default, or may be None, may be left out."""
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # T is one of the dataclasses above
        if field.name in table or (field.default is MISSING and field.type not in _ABSENT):
            value = _take(table, field.name, field.type, where)
            if field.type == "Reference":
                if value not in sources:
                    raise _Wrong(f"[{where}] names the {field.name} `{value}`, which is not in [sources]")
                value = sources[value]
            values[field.name] = value
        elif field.type in _ABSENT:
            values[field.name] = _ABSENT[field.type]
    return kind(**values)


def _table(data: dict[str, Any], name: str, parent: str = "") -> dict[str, Any]:
    if not isinstance(data.get(name), dict):
        raise _Wrong(f"expected a table [{parent}{name}]" + (" before [sources]" if name == "recognise" else ""))
    table: dict[str, Any] = data[name]
    return table


# What a file may hold for a field, by the field's type, and how an error calls it.
_KINDS: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number above 0"),
    "float": ((int, float), "a finite number above 0"),
    "Sensor": (str, f"one of {', '.join(SENSORS)}"),
    "str": (str, "a text"),
    "str | None": (str, "a text"),
    "Reference": (str, "a text"),
    "bool": (bool, "true or false"),
    "Texts": (list, "a list"),
    "Known": ((int, float, str, list), "a number, a text or a list"),
}
_ABSENT: dict[str, Any] = {"str | None": None, "Texts": ()}  # what stands for an entry of that type that is left out


def _take(table: dict[str, Any], key: str, kind: Any, where: str = "") -> Any:
    """An entry of that kind; bool is no number here."""
    place = f"[{where}]" if where else "the top"
    if key not in table:
        raise _Wrong(f"{place} has no `{key}`")
    value = table[key]
    types, wanted = _KINDS[kind]
    wrong = not isinstance(value, types) or (isinstance(value, bool) and types is not bool)
    wrong = wrong or (isinstance(value, float) and not math.isfinite(value))
    if wrong or (kind in ("int", "float") and value <= 0) or (kind == "Sensor" and value not in SENSORS):
        raise _Wrong(f"`{key}` of {place} must be {wanted} and is {value!r}")
    if kind == "Texts" and not all(isinstance(text, str) and text for text in value):
        raise _Wrong(f"`{key}` of {place} must be a list of texts and is {value!r}")
    if kind == "Known" and isinstance(value, list) and not (value and all(type(item) is int for item in value)):
        raise _Wrong(f"`{key}` of {place} must be a number, a text or a list of whole numbers and is {value!r}")
    return float(value) if kind == "float" else tuple(value) if isinstance(value, list) else value
