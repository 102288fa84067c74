"""One row of the settings' table: what it may hold, how that is checked, and how it is written as TOML.

The table itself is `edgedst/config.py`.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from dataclasses import Field, field
from numbers import Integral, Real
from typing import Any

from edgedst import plain_json
from edgedst.errors import ConfigError

MOST_KWARGS = 20_000  # characters of env_kwargs as JSON: the trainer is told of them on its command line
Json = str  # a JSON object as text, its keys in order: what a frozen config can hold of a dict
Rate = float  # a whole number, or one divided by a whole number
MOST_STEPS = 10_000  # that a rate counts once: 1/10,000 is the lowest


def setting(
    told: str,
    default: Any = None,
    *,
    unit: str = "",
    at_least: float = -math.inf,
    above: float | None = None,
    at_most: float = math.inf,
    below: float | None = None,
    one_of: tuple[str, ...] = (),
    also: str = "",
    usual: str = "",
    **by_family: Any,
) -> Any:
    """A row of the table; its name, its type and whether it may be None are the field's own.

    Args:
        told: what it is, for --help and docs/settings.md.
        default: of every method.
        unit: of its number, in the plural.
        at_least: the lowest number.
        above: instead, what it has to be above of.
        at_most: the highest number.
        below: instead, what it has to be below of.
        one_of: the texts that it may be.
        also: its other names, each an option and a name in TOML; `-n` is an option only.
        usual: what happens while it is None, in words.
        by_family: `td3=` and `sac=`, the default by family, instead of `default`; where the text of `target_update`
            decides, a dict by that text. A family that is not named has no such setting. It is None until a
            TrainConfig fills it in.
    """
    low, high = at_least if above is None else above, at_most if below is None else below
    ends = {"low": low, "open": above is not None, "high": high, "open_high": below is not None}
    about = {"told": told, "unit": unit, **ends, "one_of": one_of}
    return field(default=default, metadata={**about, "also": also.split(), "usual": usual, "by_family": by_family})


_KINDS = {
    "int": "a whole number",
    "float": "a finite number",
    "Rate": f"a whole number, or 1/N for one every N steps (1/2 to 1/{MOST_STEPS:,}),",
    "bool": "true or false",
    "str": "a text",
    "tuple[int, ...]": "a list of whole numbers, for example [256, 256]",
    "tuple[float, ...]": "a list of finite numbers, for example [0.01, 0.1]",
}


def typed(row: Field[Any], value: Any) -> Any:
    """The value as its setting declares it: 1e6 is a whole number, a list becomes a tuple, a table JSON.

    Raises:
        ConfigError: it is of another kind.
    """
    wanted, *none = str(row.type).split(" | ")
    if value is None and (none or row.metadata["by_family"]):
        return None
    if wanted == "Json":
        return _json(row.name, value)
    value = _plain(value)
    if wanted == "tuple[int, ...]" and isinstance(value, (list, tuple)):
        value = tuple(_whole(item) for item in value)
    if wanted == "tuple[float, ...]":
        several = value if isinstance(value, (list, tuple)) else (value,)
        value = tuple(float(item) if _is_finite(item) else item for item in several)
    if wanted == "int":
        value = _whole(value)
    if wanted == "Rate":
        value = _rate(value)
    right = {
        "int": _is_whole(value),
        "float": _is_finite(value),
        "Rate": _is_whole(value) or _is_fraction(value),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "tuple[int, ...]": isinstance(value, tuple) and all(map(_is_whole, value)),
        "tuple[float, ...]": isinstance(value, tuple) and bool(value) and all(map(_is_finite, value)),
    }[wanted]
    if not right:
        hint = f" Near it is 1/{max(2, round(1 / value))}." if wanted == "Rate" and _is_between(value) else ""
        raise ConfigError(f"`{row.name}` must be {_KINDS[wanted]} and is {one_line(repr(value))}.{hint}")
    return value


def check_choice(row: Field[Any], value: Any) -> None:
    """Refuse a text that is none of `one_of`, with the nearest one. None is left to others.

    Raises:
        ConfigError: it is none of them.
    """
    choices = row.metadata["one_of"]
    if value is None or value in choices:
        return
    near = difflib.get_close_matches(str(value).lower(), choices, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    raise ConfigError(f"`{row.name}` must be one of {', '.join(choices)} and is `{one_line(value)}`.{hint}")


def one_line(value: Any) -> str:
    """What somebody wrote, for a sentence: on one line and not endless."""
    text = str(value)
    return (text if text.isprintable() else ascii(text)[1:-1])[:200]


def check_range(row: Field[Any], value: Any) -> None:
    """Refuse a number out of the setting's range.

    Raises:
        ConfigError: it is out of it.
    """
    about = row.metadata
    low, high = about["low"], about["high"]
    if row.type == "tuple[float, ...]":
        value = min(value)
    if not isinstance(value, (int, float)):
        return
    above = low < value or (value == low and not about["open"])
    if above and (value < high or (value == high and not about["open_high"])):
        return
    lowest = f"above {low:g}" if about["open"] else f"at least {low:g}"
    highest = f" and {'below' if about['open_high'] else 'at most'} {high:,.0f}" if high < math.inf else ""
    raise ConfigError(f"`{row.name}` must be {lowest}{highest} and is {value}.")


def toml(value: Any) -> str:
    """One TOML value. repr of a float is TOML unless it has an exponent without a point, which TOML allows too."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(c if c >= " " and c not in '\\"\x7f' else f"\\u{ord(c):04x}" for c in value)
        return f'"{escaped}"'
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):  # on one line: what a run appends to its file must not belong to a table
        return "{ " + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + " }"
    return repr(value)


def _plain(value: Any) -> Any:
    """NumPy's numbers, and what else stands for a number or a text, as Python's own: it is written as a file's."""
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    kinds = {bool: bool, Integral: int, Real: float, str: str}
    return next((plain(value) for kind, plain in kinds.items() if isinstance(value, kind)), value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> Any:
    """1e6 as 1000000: files of others write whole numbers so. A float stands for one number up to 2**53."""
    return int(value) if isinstance(value, float) and abs(value) <= 2**53 and value.is_integer() else value


def _rate(value: Any) -> Any:
    """1/4, a text or 0.25, as the float that is nearest to it; a whole number as one. All else stays as it is."""
    if isinstance(value, str) and (written := re.fullmatch(r"1/([1-9]\d{0,4})", value)):
        number = int(written[1])
        return 1 if number == 1 else 1 / number if number <= MOST_STEPS else value
    if _is_between(value) and abs(value * round(1 / value) - 1) < 1e-9:  # 0.3333333333 is meant to be 1/3
        return _whole(1 / round(1 / value))
    return _whole(value)


def _is_between(value: Any) -> bool:
    """Whether it is one of the numbers of which some are rates, but for the whole ones."""
    return isinstance(value, float) and 1 / MOST_STEPS <= value < 1


def _is_fraction(value: Any) -> bool:
    return _is_between(value) and bool(value == 1 / round(1 / value))


def _json(name: str, value: Any) -> str:
    """A table, or JSON's text of one, as text; every way to write the same table is the same text.

    Raises:
        ConfigError: it is none, or holds what a TOML file cannot.
    """
    if isinstance(value, str):
        try:
            value = plain_json.loads(value)
        except ValueError as error:
            raise ConfigError(f"""`{name}` must be JSON like {{"port": "/dev/ttyUSB0"}} and is {error}.""") from None
    if not isinstance(value, dict):
        shown = f"{value!r}"[:60]
        raise ConfigError(f"""`{name}` must be an object like {{"port": "/dev/ttyUSB0"}} and is {shown}.""")
    _check_holdable(name, value, 0)
    text = json.dumps(value, sort_keys=True)
    if len(text) > MOST_KWARGS:
        raise ConfigError(f"`{name}` has {len(text):,} characters as JSON and may have {MOST_KWARGS:,}. Name a file.")
    return text


def _check_holdable(where: str, value: Any, depth: int) -> None:
    """Refuse what a run's config.toml could not give back: null, a date, NaN, 2**63, half a surrogate pair."""
    if isinstance(value, dict) and depth < 20:
        for key, item in value.items():
            _check_holdable(where, key, depth + 1)
            _check_holdable(f"{where}.{key}", item, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 20:
        for item in value:
            _check_holdable(where, item, depth + 1)
    elif not (
        isinstance(value, bool)
        or (isinstance(value, int) and -(2**63) <= value < 2**63)
        or (isinstance(value, float) and math.isfinite(value))
        or (isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value))
    ):
        shown = ascii(value)[:60]
        raise ConfigError(
            f"`{one_line(where)}` may hold texts, finite numbers, true, false, lists and objects, and has {shown}. "
            "Leave it out."
        )
