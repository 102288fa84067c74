"""Whatever is in a file, and whatever the file is, ends in values or in one sentence."""

import os

import pytest

from edgedst import parse

DEEP = 100_000
DIGITS = "9" * 5000


def test_the_mark_that_some_editors_write_is_skipped():
    assert parse.toml(b"\xef\xbb\xbfsteps = 3000\n") == {"steps": 3000}
    assert parse.json_object(b'\xef\xbb\xbf{"step": 1}') == {"step": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("steps: 3", "Expected '=' after a key"),
        ("a = " + "[" * DEEP + "]" * DEEP, "nested too deeply"),
        (f"steps = {DIGITS}", "too many digits"),
        (f"a = [[1, {2**63}]]", "does not fit 64 bits"),
        (f"[a.b]\nc = {{d = -{2**63 + 1}}}", "does not fit 64 bits"),
        ("a = 'b'\nenv = '\udcff'", r"no UTF-8 text \(at line 2\)"),
        ('a = "\\ud800"', "not a Unicode scalar value"),
        ("a = '\0'", "Illegal character|Found invalid character"),
        ("a = [", r"at line 1, the end"),
    ],
    ids=lambda text: text[:20],
)
def test_toml_that_cannot_be_read_is_one_line_that_says_why(content, words):
    with pytest.raises(ValueError, match=words) as caught:
        parse.toml(content.encode(errors="surrogateescape"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "3", "[1]", "null", '{"a": ', '{"a": ' + DIGITS + "}", "[" * DEEP, '{"a":' * DEEP, "\udcff{}", "\0"]
)
def test_what_is_no_json_object_is_an_empty_one(content):
    assert parse.json_object(content.encode(errors="surrogateescape")) == {}


def test_a_pipe_is_read_where_it_may_be_and_not_waited_for_elsewhere(tmp_path):
    source, sink = os.pipe()
    os.write(sink, b"steps = 3")
    os.close(sink)
    assert parse.read(f"/dev/fd/{source}", pipe=True) == b"steps = 3"
    os.close(source)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="no regular file"):
        parse.read(tmp_path / "fifo")


@pytest.mark.parametrize("pipe", [True, False])
@pytest.mark.parametrize(("name", "words"), [("", "a folder"), ("none", "No such file"), ("a\0b", "has a NUL")])
def test_a_file_that_is_none_is_an_os_error(tmp_path, name, words, pipe):
    with pytest.raises(OSError, match=words):
        parse.read(tmp_path / name, pipe)


def test_a_file_without_an_end_is_refused(tmp_path):
    with pytest.raises(OSError, match="more than 4,000,000 bytes"):
        parse.read("/dev/zero", pipe=True)
