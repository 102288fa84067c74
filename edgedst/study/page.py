"""A page in blocks, written as Markdown and as one HTML file with its pictures inside. It knows nothing of studies.

Headings, cells and alternative texts are plain. Paragraphs, items and captions are marked up: `words` between backticks
are code, **words** between double stars are strong; what a file brought into them goes through `literal` or `code`.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgedst.page import one_line, shell, tag

NOTHING = "–"  # a cell that has nothing to tell

_MARKS = re.compile(r"\\([!-/:-@\[-`{-~])|`([^`]+)`|\*\*(.+?)\*\*")
# What Markdown takes for more than a text: anywhere; at the beginning of a line.
_SPECIAL = re.compile(r"[\\`*<|$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|(?<=\])\(|~(?=~)")
_LEADING = re.compile(r"^(\d*)([-+#=>~\[]|(?<=\d)[.)])")

# Beyond what all pages share.
_STYLE = """
figcaption { max-width: 54rem; padding-top: .5rem } img { max-width: 100%; height: auto }
table { border-collapse: separate; border-spacing: 0 }
th, td { padding: .34rem .75rem; text-align: right; white-space: nowrap }
th:first-child, td:first-child, td.text, th.text { text-align: left }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--page) }
td.paper.text { white-space: normal; min-width: 15rem }
thead th.group { text-align: center }
thead tr:last-child th, td { border-bottom: 1px solid var(--line) }
.paper { color: var(--soft); background: var(--band) } thead th.paper { font-weight: 400 }
@media (max-width: 40rem) {
  .wide img { max-width: none; width: 40rem }
  body { padding: 1.2rem 1rem 3rem } th, td { padding: .34rem .5rem } ul { padding-left: 1.1rem }
}
"""


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Column:
    """A column of a table. Neighbours with the same group share a title above their own."""

    name: str
    group: str = ""
    paper: bool = False  # the paper's figures, set apart from ours
    text: bool = False  # words, not numbers


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first cell the row's title."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    caption: str


@dataclass(frozen=True)
class Figure:
    """A PNG that lies beside the page."""

    file: str
    alt: str
    caption: str


Block = Heading | Text | Items | Table | Figure


def literal(text: str) -> str:
    """A text that a file brought, so that it stands as it is in what is marked up, in Markdown and in HTML."""
    return _SPECIAL.sub(r"\\\g<0>", one_line(text))


def code(text: str) -> str:
    """A text that a file brought, such as a path, between backticks; its own become apostrophes."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def markdown(blocks: Sequence[Block]) -> str:
    """The page as Markdown, which names its pictures."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {literal(block.text)}")
        elif isinstance(block, Text):
            parts.append(_paragraph(block.text))
        elif isinstance(block, Items):
            parts.append("\n".join(f"- {_paragraph(item)}" for item in block.items))
        elif isinstance(block, Table):
            parts.append(_markdown_table(block))
        else:
            parts.append(f"![{literal(block.alt)}]({block.file})\n\n{block.caption}")
    return "\n\n".join(parts) + "\n"


def _paragraph(text: str) -> str:
    """Not the beginning of a list, a heading, a quotation or a reference."""
    return _LEADING.sub(r"\1\\\2", text)


def _markdown_table(table: Table) -> str:
    titles = [f"{column.group}, {column.name}" if column.group else column.name for column in table.columns]
    marks = ["---" if n == 0 or column.text else "---:" for n, column in enumerate(table.columns)]
    rows = [map(literal, titles), marks, *(map(literal, row) for row in table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{table.caption}"


def page(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """The page as HTML that needs no other file: styles and pictures are inside.

    Args:
        title: of the browser's tab.
        blocks: the page.
        pictures: PNGs by the names that its figures have.
    """
    body = "\n".join(_html(block, pictures) for block in blocks)
    return shell(one_line(title), body, _STYLE)


def _html(block: Block, pictures: Mapping[str, bytes]) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_plain(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{_marked(block.text)}</p>"
    if isinstance(block, Items):
        return "<ul>" + "".join(f"<li>{_marked(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Table):
        return _html_table(block)
    picture = base64.b64encode(pictures[block.file]).decode()
    return (
        f'<figure><div class="wide"><img alt="{_plain(block.alt)}" src="data:image/png;base64,{picture}"></div>'
        f"<figcaption>{_marked(block.caption)}</figcaption></figure>"
    )


def _plain(text: str) -> str:
    return html.escape(one_line(text))


def _marked(text: str) -> str:
    """Code spans, strong words and escaped characters, in one go: none of them can begin within another."""

    def element(found: re.Match[str]) -> str:
        escaped, span, strong = found.groups()
        if escaped:
            return html.escape(escaped)
        return tag("code", html.escape(span)) if span else tag("strong", _marked(strong))

    parts = []
    end = 0
    for found in _MARKS.finditer(text):
        parts += [html.escape(text[end : found.start()]), element(found)]
        end = found.end()
    return "".join([*parts, html.escape(text[end:])])


def _html_table(table: Table) -> str:
    def kind(column: Column) -> str:
        words = [name for name, on in (("paper", column.paper), ("text", column.text)) if on]
        return f' class="{" ".join(words)}"' if words else ""

    groups: list[list[Column]] = []
    for column in table.columns:
        if groups and column.group and groups[-1][0].group == column.group:
            groups[-1].append(column)
        else:
            groups.append([column])
    head = ""
    if any(column.group for column in table.columns):
        cells = (f'<th class="group" colspan="{len(group)}">{_plain(group[0].group)}</th>' for group in groups)
        head = f"<tr>{''.join(cells)}</tr>"
    head += f"<tr>{''.join(f'<th{kind(column)}>{_plain(column.name)}</th>' for column in table.columns)}</tr>"
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind(c)}>{_cell(cell)}</td>" for c, cell in zip(table.columns, row, strict=True))
        + "</tr>"
        for row in table.rows
    )
    # The caption stays in view where the table is wider than the screen.
    return (
        f'<figure><div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'
        f"<figcaption>{_marked(table.caption)}</figcaption></figure>"
    )


def _cell(text: str) -> str:
    """A spread or interval goes below its number: columns stay narrow."""
    return re.sub(r" (± .*|\[.*|\(\d+ of .*)$", r'<span class="sd">\1</span>', _plain(text))
