"""Texts that a file brought, made fit for a page or for Markdown."""

from __future__ import annotations

import re

# What Markdown takes for more than a text: anywhere; at the beginning of a line.
_SPECIAL = re.compile(r"[\\`*<|$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|(?<=\])\(|~(?=~)")
_LEADING = re.compile(r"^(\d*)([-+#=>~\[]|(?<=\d)[.)])")


def one_line(text: str) -> str:
    """A text that a file brought, fit for a page: no line breaks, and nothing that is invisible and acts.

    Control characters, halves of surrogate pairs, what XML forbids, and marks that turn the direction of what follows
    become U+FFFD.
    """
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]",
        "\N{REPLACEMENT CHARACTER}",
        " ".join(text.split()),
    )


def literal(text: str) -> str:
    """A text that a file brought, so that it stands as it is in what is marked up, in Markdown and in HTML."""
    return _SPECIAL.sub(r"\\\g<0>", one_line(text))


def code(text: str) -> str:
    """A text that a file brought, such as a path, between backticks; its own become apostrophes."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def paragraph(text: str) -> str:
    """Marked-up text that Markdown does not take for a list, a heading, a quotation or a reference."""
    return _LEADING.sub(r"\1\\\2", text)
