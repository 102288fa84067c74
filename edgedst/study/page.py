"""A page in blocks, written as Markdown and as one HTML file with its pictures inside. It knows nothing of studies."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedst.page import inline, shell

NOTHING = "–"  # a cell that has nothing to tell

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
    """A paragraph; `words` between backticks are code, and **words** between double stars are strong."""

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


def markdown(blocks: Sequence[Block]) -> str:
    """The page as Markdown, which names its pictures."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Text):
            parts.append(block.text)
        elif isinstance(block, Items):
            parts.append("\n".join(f"- {item}" for item in block.items))
        elif isinstance(block, Table):
            parts.append(_markdown_table(block))
        else:
            parts.append(f"![{block.alt}]({block.file})\n\n{block.caption}")
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    titles = [f"{column.group}, {column.name}" if column.group else column.name for column in table.columns]
    marks = ["---" if n == 0 or column.text else "---:" for n, column in enumerate(table.columns)]
    rows = [titles, marks, *table.rows]
    # A bar within a cell would end it.
    return (
        "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows) + f"\n\n{table.caption}"
    )


def page(title: str, blocks: Sequence[Block], folder: Path) -> str:
    """The page as HTML that needs no other file: styles and pictures are inside.

    Args:
        title: of the browser's tab.
        blocks: the page.
        folder: where the pictures are.
    """
    body = "\n".join(_html(block, folder) for block in blocks)
    return shell(title, body, _STYLE)


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{inline(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{inline(block.text)}</p>"
    if isinstance(block, Items):
        return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Table):
        return _html_table(block)
    picture = base64.b64encode((folder / block.file).read_bytes()).decode()
    return (
        f'<figure><div class="wide"><img alt="{html.escape(block.alt)}" src="data:image/png;base64,{picture}"></div>'
        f"<figcaption>{inline(block.caption)}</figcaption></figure>"
    )


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
        cells = (f'<th class="group" colspan="{len(group)}">{inline(group[0].group)}</th>' for group in groups)
        head = f"<tr>{''.join(cells)}</tr>"
    head += f"<tr>{''.join(f'<th{kind(column)}>{inline(column.name)}</th>' for column in table.columns)}</tr>"
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind(c)}>{_cell(cell)}</td>" for c, cell in zip(table.columns, row, strict=True))
        + "</tr>"
        for row in table.rows
    )
    # The caption stays in view where the table is wider than the screen.
    return (
        f'<figure><div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'
        f"<figcaption>{inline(table.caption)}</figcaption></figure>"
    )


def _cell(text: str) -> str:
    """A spread or interval goes below its number: columns stay narrow."""
    return re.sub(r" (± .*|\[.*|\(\d+ of .*)$", r'<span class="sd">\1</span>', inline(text))
