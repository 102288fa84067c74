import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgedst
from edgedst import plain_json

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
PIECES = [
    *'{}[]:,"\\/-+.eEu019abtfn \n\t\0\x1f',
    '""',
    "\\u12",
    "\\ud83d",
    "\\ude00",
    "null",
    "true",
    "-0",
    "1e5",
    "é",
    "😀",
]


@given(values)
def test_what_is_written_is_json_and_reads_back(value):
    assert json.loads(plain_json.dumps(value)) == value
    assert plain_json.loads(json.dumps(value, indent=1)) == value
    assert plain_json.loads(json.dumps(value, ensure_ascii=False)) == value
    assert plain_json.loads(plain_json.dumps(value)) == value


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_what_json_reads_is_read_and_all_else_is_a_value_error(text):
    def finite(number):
        if not math.isfinite(float(number)):
            raise ValueError("NaN and infinity are Python's own")
        return float(number)

    try:
        expected = json.loads(text, parse_constant=finite, parse_float=finite)
    except ValueError:
        with pytest.raises(ValueError):
            plain_json.loads(text)
    else:
        found = plain_json.loads(text)
        assert found == expected
        assert repr(found) == repr(expected)  # 1 is not 1.0, and -0.0 not 0.0


def test_numbers_that_json_lacks_become_null():
    assert plain_json.dumps([math.nan, math.inf, -math.inf]) == "[null, null, null]"


def test_an_object_is_written_one_entry_a_line():
    assert plain_json.pretty({"step": 3, "files": ["a", "b"]}) == '{\n  "step": 3,\n  "files": ["a", "b"]\n}\n'


NOT_JSON = {
    "": "expected a value at character 0, got its end",
    "{": "expected a name in double quotes at character 1, got its end",
    "[1,]": "expected a value at character 3, got `]`",
    "nul": "expected a value at character 0, got `n`",
    '{"a": 1} x': "more text from character 9 on",
    "[01]": "expected a number at character 1, got `0`",
    "[1e999]": "beyond what a float holds",
    "[" * 100_000: "nested deeper than 100",
    '{"a":' * 100_000: "nested deeper than 100",
    "1" * 100_000: "the number at character 0 has 100000 digits",
    '"\\u12"': "expected four hexadecimal digits",
    '"a\nb"': "a control character",
    '"' + "a" * 1000: "does not end",
    "NaN": "expected a value",
}


@pytest.mark.parametrize("text", NOT_JSON, ids=lambda text: text[:12])
def test_what_is_no_json_is_a_value_error_with_its_place(text):
    with pytest.raises(ValueError, match=NOT_JSON[text]):
        plain_json.loads(text)


def test_damaged_texts_are_value_errors_where_nothing_else_is_imported_either():
    """CPython's own scanner raises SystemError in a process that has not imported `json`, as the trainer has not."""
    rng = random.Random(7)
    state = json.dumps({"step": 12000, "files": [{"file": "a.rows", "crc32": 3.5e9}], "text": 'é\\"\n', "best": None})
    damaged = []
    for _ in range(3000):
        data = bytearray(state, "utf-8")
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        damaged.append(bytes(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data))
    code = (
        f"import sys; sys.path[:0] = [{str(Path(edgedst.__file__).parent.parent)!r}]\n"
        "from edgedst.plain_json import loads\n"
        "read = 0\n"
        "for line in sys.stdin:\n"
        "    try:\n"
        "        loads(bytes.fromhex(line).decode())\n"
        "        read += 1\n"
        "    except ValueError:\n"
        "        pass\n"
        "assert not {'json', 'json.decoder', 're'} & set(sys.modules)\n"
        "print(read)"
    )
    text = "\n".join(data.hex() for data in damaged)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    def readable(data):
        try:
            json.loads(data.decode(), parse_constant=int)
        except ValueError:
            return False
        return True

    assert int(done.stdout) == sum(readable(data) for data in damaged)
