"""The shell of every HTML page that edgedst writes: one file, light and dark, nothing to fetch. It knows no content."""

from __future__ import annotations

import html
import re
from pathlib import Path


def shell(title: str, body: str, style: str) -> str:
    """A whole page.

    Args:
        title: of the browser's tab.
        body: HTML.
        style: CSS of this page alone, after what all pages share.
    """
    shared = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{shared}{style}</style>\n<main>\n{body}\n</main>\n</html>\n"
    )


def one_line(text: str) -> str:
    """A text that a file brought, fit for a page: no line breaks, and nothing that is invisible and acts.

    Control characters, halves of surrogate pairs and marks that turn the direction of what follows become U+FFFD.
    """
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]",
        "\N{REPLACEMENT CHARACTER}",
        " ".join(text.split()),
    )


def inline(text: str) -> str:
    """HTML of a sentence, escaped; `words` between backticks are code, **words** between double stars strong."""
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)


def tag(name: str, *inside: str, **attributes: str | float | None) -> str:
    """An element around HTML. Attributes are escaped; `class_` is class, `data_path` is data-path, None is left out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{told}>{''.join(inside)}</{name}>"
