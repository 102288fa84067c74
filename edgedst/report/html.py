"""The templates, and what all of them share: escaping, style, one file that fetches nothing, light and dark.

What is put into a template is escaped. Only `Markup` passes as HTML, and only this package and its templates make it
from texts of their own.
"""

from __future__ import annotations

import functools
import html
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

_SPANS = r"`([^`]+)`|\*\*(.+?)\*\*"
_MARKS = re.compile(r"((?!))|" + _SPANS)  # the first group is for what a backslash escapes: nothing here
_MARKS_AND_ESCAPES = re.compile(r"\\([!-/:-@\[-`{-~])|" + _SPANS)


def render(template: str, **shown: Any) -> str:
    """The text of a template in templates/; what it shows is escaped."""
    return _templates().get_template(template).render(shown)


@functools.cache
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(percent=lambda share: f"{100 * share:.3f}%", marked=marked)
    return templates


def marked(text: str, escapes: bool = True) -> Markup:
    """HTML of marked-up text: `words` between backticks are code, **words** between double stars strong.

    All in one go: none of them can begin within another.

    Args:
        text: it may hold anything.
        escapes: whether a backslash before punctuation makes it stand as it is, as in Markdown.
    """
    parts, end = [], 0
    for found in (_MARKS_AND_ESCAPES if escapes else _MARKS).finditer(text):
        escaped, span, strong = found.groups()
        parts.append(_escaped(text[end : found.start()]))
        if escaped:
            parts.append(_escaped(escaped))
        elif span:
            parts.append(Markup("<code>{}</code>").format(_escaped(span)))
        else:
            parts.append(Markup("<strong>{}</strong>").format(marked(strong, escapes)))
        end = found.end()
    return Markup("").join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> Markup:
    return Markup(html.escape(text))
