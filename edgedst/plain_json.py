"""JSON in half a page: the `json` package imports `re` and `enum`, 1.2 MB that are 20,000 transitions of replay."""

# CPython's own C parts of `json`.
from _json import encode_basestring_ascii as _quote
from _json import make_scanner as _make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Context:
    """What json.JSONDecoder hands to the scanner."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: "dict[str, str]" = {}  # noqa: RUF012  # the scanner's own


_scan: "Any" = _make_scanner(_Context)  # type: ignore[arg-type]  # typeshed wants the decoder itself


def loads(text: str) -> "Any":
    """Parse JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        value, end = _scan(text.strip(" \t\r\n"), 0)
    except (StopIteration, RecursionError):
        raise ValueError("not JSON") from None
    if end != len(text.strip(" \t\r\n")):
        raise ValueError(f"not JSON: more text from character {end} on")
    return value


def dumps(value: "Any") -> str:
    """One line of JSON. NaN and infinity, which JSON does not have, become null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value) if value - value == 0 else "null"
    if isinstance(value, dict):
        return "{" + ", ".join([f"{_quote(str(k))}: {dumps(v)}" for k, v in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join([dumps(item) for item in value]) + "]"
    raise TypeError(f"JSON has no {type(value).__name__}")


def pretty(value: "dict[str, Any]") -> str:
    """JSON to be read by people: one line for each entry of the outermost object."""
    return "{\n" + ",\n".join([f"  {_quote(name)}: {dumps(item)}" for name, item in value.items()]) + "\n}\n"
