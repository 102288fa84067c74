"""What is put into a template is escaped, and a library that is missing is one sentence."""

import pytest

from edgedst.report.html import marked
from edgedst.report.text import one_line


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a `b < c` and **d & `e`**", "a <code>b &lt; c</code> and <strong>d &amp; <code>e</code></strong>"),
        (r"\`not code\` and \<b>", "`not code` and &lt;b&gt;"),
        ("<i>`<script>`**</i>**", "&lt;i&gt;<code>&lt;script&gt;</code><strong>&lt;/i&gt;</strong>"),
        ("**open and `open", "**open and `open"),
    ],
)
def test_marks_become_elements_and_all_else_is_text(text, html):
    assert marked(text) == html


def test_a_backslash_of_a_path_stays_where_it_escapes_nothing():
    assert marked(r"C:\`x`", escapes=False) == r"C:\<code>x</code>"


def test_a_text_of_a_file_is_one_line_that_does_nothing():
    assert one_line("a\n b\x1b[2J \u202ec \udce9 \uffff") == "a b\ufffd[2J \ufffdc \ufffd \ufffd"
