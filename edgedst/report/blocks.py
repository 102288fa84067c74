"""A page in blocks, written as Markdown and as one HTML file with its pictures inside. It knows nothing of its content.

Headings, cells and alternative texts are plain. Paragraphs, items and captions are marked up: `words` between backticks
are code, **words** between double stars are strong; what a file brought into them goes through `literal` or `code`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedst.report.html import render
from edgedst.report.text import literal, one_line, paragraph

NOTHING = "–"  # a cell that has nothing to tell

# A spread, interval or count goes below its number: columns stay narrow.
_BELOW = re.compile(r" (?=± .*$|\[.*$|\(\d+ of .*$)")


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

    @property
    def style(self) -> str:
        """CSS classes."""
        return " ".join(name for name in ("paper", "text") if getattr(self, name))


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first cell the row's title."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    caption: str

    @property
    def groups(self) -> list[list[Column]]:
        """Columns that share a title."""
        groups: list[list[Column]] = []
        for column in self.columns:
            if groups and column.group and groups[-1][0].group == column.group:
                groups[-1].append(column)
            else:
                groups.append([column])
        return groups


# Of a film or still, by its name's ending.
FILMS = {".webp": "image/webp", ".gif": "image/gif", ".png": "image/png", ".mp4": "video/mp4"}


@dataclass(frozen=True)
class Picture:
    """An SVG that lies beside the page, or one of `FILMS`."""

    file: str
    alt: str
    caption: str

    @property
    def media(self) -> str:
        """Its media type."""
        return FILMS.get(Path(self.file).suffix, "image/svg+xml")


Block = Heading | Text | Items | Table | Picture


def markdown(blocks: Sequence[Block]) -> str:
    """The page as Markdown, which names its pictures."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {literal(block.text)}")
        elif isinstance(block, Text):
            parts.append(paragraph(block.text))
        elif isinstance(block, Items):
            parts.append("\n".join(f"- {paragraph(item)}" for item in block.items))
        elif isinstance(block, Table):
            titles = [f"{column.group}, {column.name}" if column.group else column.name for column in block.columns]
            marks = ["---" if n == 0 or column.text else "---:" for n, column in enumerate(block.columns)]
            rows = [map(literal, titles), marks, *(map(literal, row) for row in block.rows)]
            parts += ["\n".join(f"| {' | '.join(row)} |" for row in rows), block.caption]
        else:
            shown = "" if block.media.startswith("video") else "!"
            parts += [f"{shown}[{literal(block.alt)}]({block.file})", block.caption]
    return "\n\n".join(parts) + "\n"


def page(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """The page as HTML that needs no other file: styles and pictures, by their names in blocks, are inside."""
    return render(
        "blocks.html",
        title=one_line(title),
        blocks=[(type(block).__name__, block) for block in blocks],
        pictures={name: base64.b64encode(picture).decode() for name, picture in pictures.items()},
        plain=one_line,
        split=lambda cell: _BELOW.split(one_line(cell), maxsplit=1),
    )
