"""JSON in a page: the `json` package imports `re` and `enum`, 1.2 MB that are 20,000 transitions of replay.

Its C scanner cannot stand alone: it asks the package for the error that it raises.
"""

from _json import encode_basestring_ascii as _quote  # it raises nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEEPEST = 100  # lists and objects within each other; edgedst writes five
MOST_DIGITS = 100  # of a whole number; edgedst writes twenty

_WORDS: "dict[str, tuple[str, Any]]" = {"n": ("null", None), "t": ("true", True), "f": ("false", False)}
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = "0123456789abcdefABCDEF"


def loads(text: str) -> "Any":
    """Parse JSON (RFC 8259). Of keys that an object has twice the last one counts.

    Raises:
        ValueError: it is none, or nested deeper than DEEPEST, or has a number of more than MOST_DIGITS digits or beyond
            what a float holds.
    """
    value, end = _value(text, _skip(text, 0), 0)
    end = _skip(text, end)
    if end != len(text):
        raise ValueError(f"not JSON: more text from character {end} on")
    return value


def _skip(text: str, at: int) -> int:
    """Behind the white space."""
    while text[at : at + 1] in (" ", "\n", "\t", "\r"):
        at += 1
    return at


def _value(text: str, at: int, depth: int) -> "tuple[Any, int]":
    """The value that begins there, and where it ends."""
    first = text[at : at + 1]
    if first == '"':
        return _string(text, at + 1)
    if first in ("{", "["):
        if depth == DEEPEST:
            raise ValueError(f"not JSON of edgedst: nested deeper than {DEEPEST} at character {at}")
        return (_object if first == "{" else _array)(text, at + 1, depth + 1)
    if first in _WORDS:
        word, value = _WORDS[first]
        if text.startswith(word, at):
            return value, at + len(word)
    elif first in ("-", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"):
        return _number(text, at)
    raise _wrong("a value", text, at)


def _object(text: str, at: int, depth: int) -> "tuple[dict[str, Any], int]":
    found: dict[str, Any] = {}
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        return found, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise _wrong("a name in double quotes", text, at)
        name, at = _string(text, at + 1)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise _wrong("a colon", text, at)
        found[name], at = _value(text, _skip(text, at + 1), depth)
        more, at = _more(text, at, "}")
        if not more:
            return found, at


def _array(text: str, at: int, depth: int) -> "tuple[list[Any], int]":
    found: list[Any] = []
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return found, at + 1
    while True:
        value, at = _value(text, at, depth)
        found.append(value)
        more, at = _more(text, at, "]")
        if not more:
            return found, at


def _more(text: str, at: int, closing: str) -> "tuple[bool, int]":
    """Whether a comma follows and not the end, and what comes behind it."""
    at = _skip(text, at)
    sign = text[at : at + 1]
    if sign not in (",", closing):
        raise _wrong(f"a comma or `{closing}`", text, at)
    return sign == ",", _skip(text, at + 1) if sign == "," else at + 1


def _string(text: str, at: int) -> "tuple[str, int]":
    """The string whose first character, behind the quote, stands there."""
    parts = []
    while True:
        end = text.find('"', at)
        if end < 0:
            raise ValueError(f"not JSON: the string before character {at} does not end")
        escape = text.find("\\", at, end)
        part = text[at : end if escape < 0 else escape]
        if min(part, default=" ") < " ":
            raise ValueError(f"not JSON: a control character in the string that goes on at character {at}")
        parts.append(part)
        if escape < 0:
            return "".join(parts), end + 1
        sign = text[escape + 1 : escape + 2]
        if sign == "u":
            code, at = _code(text, escape), escape + 6
            # Beyond the first 65,536 characters, one is written as two.
            if 0xD800 <= code < 0xDC00 and text.startswith("\\u", at) and 0xDC00 <= (low := _code(text, at)) < 0xE000:
                code, at = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00, at + 6
            parts.append(chr(code))
        elif sign in _ESCAPES:
            parts.append(_ESCAPES[sign])
            at = escape + 2
        else:
            raise _wrong("an escape", text, escape + 1)


def _code(text: str, at: int) -> int:
    """The four hexadecimal digits of an escape that begins there."""
    digits = text[at + 2 : at + 6]
    if len(digits) < 4 or [digit for digit in digits if digit not in _HEX]:
        raise _wrong("four hexadecimal digits", text, at + 2)
    return int(digits, 16)


def _number(text: str, at: int) -> "tuple[int | float, int]":
    end = at
    while (sign := text[end : end + 1]) and sign in "-+.eE0123456789":
        end += 1
    number = text[at:end]
    mantissa, exponential, exponent = number.replace("E", "e").partition("e")
    whole, point, fraction = mantissa.removeprefix("-").partition(".")
    right = whole.isdigit() and (whole == "0" or whole[0] != "0") and (not point or fraction.isdigit())
    if not right or (exponential and not exponent[exponent[:1] in ("-", "+") :].isdigit()):
        raise _wrong("a number", text, at)
    if point or exponential:
        value = float(number)
        if value - value != 0:
            raise ValueError(f"not JSON of edgedst: the number at character {at} is beyond what a float holds")
        return value, end
    if len(whole) > MOST_DIGITS:
        raise ValueError(f"not JSON of edgedst: the number at character {at} has {len(whole)} digits")
    return int(number), end


def _wrong(expected: str, text: str, at: int) -> ValueError:
    found = ascii(text[at : at + 1])[1:-1]
    return ValueError(f"not JSON: expected {expected} at character {at}, got {f'`{found}`' if found else 'its end'}")


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
