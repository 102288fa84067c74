import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedst import plain_json

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(values)
def test_what_is_written_is_json_and_reads_back(value):
    assert json.loads(plain_json.dumps(value)) == value
    assert plain_json.loads(json.dumps(value, indent=1)) == value
    assert plain_json.loads(plain_json.dumps(value)) == value


def test_numbers_that_json_lacks_become_null():
    assert plain_json.dumps([math.nan, math.inf, -math.inf]) == "[null, null, null]"


def test_an_object_is_written_one_entry_a_line():
    assert plain_json.pretty({"step": 3, "files": ["a", "b"]}) == '{\n  "step": 3,\n  "files": ["a", "b"]\n}\n'


@pytest.mark.parametrize("text", ["", "{", "[1,]", "nul", '{"a": 1} x', "[" * 100_000])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        plain_json.loads(text)
