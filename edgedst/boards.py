"""The boards that edgedst knows: reads `devices/`, one folder a board, where every fact names its source.

What is in the files, and how to add a board, stands in devices/README.md. Nothing here measures anything.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedst.errors import UnknownDevice

if TYPE_CHECKING:
    from collections.abc import Mapping

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GENERIC = "generic"  # the board that a machine is when no other folder recognises it


@dataclass(frozen=True)
class Fact:
    """One thing known about a board. Its unit is in its name: `ram_bytes`, `idle_watts`, `clock_hz`."""

    value: int | float | str | tuple[int, ...]
    source: str  # where it is written
    checked: bool  # True: read there by us. False: second hand, to be verified before anything is built on it
    note: str = ""  # what else one has to know to use the number


@dataclass(frozen=True)
class Board:
    """One folder of `devices/`."""

    name: str  # the folder's name
    title: str
    run_by_us: bool  # whether the test suite has run on the board itself
    models: tuple[str, ...]  # substrings of /proc/device-tree/model
    compatibles: tuple[str, ...]  # substrings of /proc/device-tree/compatible
    facts: Mapping[str, Fact]
    folder: Path

    @property
    def bringup(self) -> Path:
        """From a blank card to the first training run."""
        return self.folder / "bringup.md"

    def recognises(self, model: str, compatible: str) -> bool:
        """Whether a device tree with these two texts is this board's."""
        return any(text in model for text in self.models) or any(text in compatible for text in self.compatibles)


def devices_folder() -> Path:
    """`edgedst/devices` in an installed wheel, `devices` beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "devices"
    return installed if installed.is_dir() else package.parent / "devices"


def names() -> list[str]:
    """Every board's name, in alphabetical order."""
    return sorted(path.parent.name for path in devices_folder().glob("*/board.toml"))


def load(name: str) -> Board:
    """The board of that name.

    Raises:
        UnknownDevice: no folder of that name; the sentence offers near ones.
    """
    known = names()
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"Did you mean `{near[0]}`? " if near else ""
        raise UnknownDevice(f"no device `{name}` in devices/. {hint}It holds: {', '.join(known)}.")
    folder = devices_folder() / name
    data = tomllib.loads((folder / "board.toml").read_text(encoding="utf-8"))
    sources = data.get("sources", {})
    recognise = data["recognise"]
    return Board(
        name=name,
        title=data["title"],
        run_by_us=data["run_by_us"],
        models=tuple(recognise.get("model", ())),
        compatibles=tuple(recognise.get("compatible", ())),
        facts={key: _fact(entry, sources) for key, entry in data.get("facts", {}).items()},
        folder=folder,
    )


def detect(device_tree: Path = Path("/proc/device-tree")) -> Board:
    """The board that this is, `generic` when no folder recognises it or there is no device tree (x86)."""
    model, compatible = _read(device_tree / "model"), _read(device_tree / "compatible")
    for name in names():
        board = load(name)
        if board.recognises(model, compatible):
            return board
    return load(GENERIC)


def _fact(entry: dict[str, Any], sources: dict[str, str]) -> Fact:
    value = entry["value"]
    return Fact(
        value=tuple(value) if isinstance(value, list) else value,
        source=sources[entry["source"]],
        checked=entry["checked"],
        note=entry.get("note", ""),
    )


def _read(path: Path) -> str:
    """A device tree's text: entries end in NUL, and there may be several."""
    try:
        return path.read_bytes().decode("utf-8", "replace").replace("\0", "\n")
    except OSError:
        return ""
