"""Holds a JSON document to the table of keys and types in docs/formats.md."""

import re
from pathlib import Path

FORMATS = Path(__file__).parent.parent / "docs" / "formats.md"

STAT = {"median", "low", "high", "values"}
RATIO = {"median", "low", "high"}


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_stat(value):
    return isinstance(value, dict) and value.keys() == STAT and min(value["values"]) == value["low"] <= value["high"]


def is_ratio(value):
    return isinstance(value, dict) and value.keys() == RATIO and is_number(value["median"])


TYPES = {
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": is_number,
    "text": lambda value: isinstance(value, str) and value != "",
    "truth": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "list": lambda value: isinstance(value, list),
    "stat": is_stat,
    "ratio": is_ratio,
    "null": lambda value: value is None,
}


def described(title):
    """{key: its types} of the table under a title, as regular expressions of paths."""
    section = FORMATS.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    keys = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            names, kinds = [cell.strip() for cell in line.split("|")[1:3]]
            for name in re.findall(r"`([^`]+)`", names):
                pattern = re.escape(name).replace(r"\*", r"[^.\[]+").replace(r"\[\]", r"\[\]")
                keys[pattern] = kinds.split(" or ")
    return keys


def list_of(pattern):
    """The pattern of the list whose elements a pattern is about."""
    return pattern.rpartition(r"\[\]")[0]


def faults(document, title):
    """What the document has and the table does not, or is of another type, or is missing; nothing when it is right."""
    keys = described(title)
    found, met = [], set()

    def visit(path, value):
        patterns = [pattern for pattern in keys if re.fullmatch(pattern, path)]
        met.update(patterns)
        kinds = [kind for pattern in patterns for kind in keys[pattern]]
        if kinds and not any(TYPES[kind](value) for kind in kinds):
            found.append(f"{path} is {value!r}, not {' or '.join(kinds)}")
        if is_stat(value) or is_ratio(value):
            pass
        elif isinstance(value, dict) and value:
            for key, entry in value.items():
                visit(f"{path}.{key}" if path else key, entry)
        elif isinstance(value, list) and value:
            for entry in value:
                visit(f"{path}[]", entry)
        elif not kinds and not (value == [] and any(re.fullmatch(list_of(pattern), path) for pattern in keys)):
            found.append(f"{path} is not described")

    visit("", document)
    return found, [pattern for pattern in keys if pattern not in met]
