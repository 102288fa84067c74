"""A log as a CSV file: names in its first line, a tick in each other one, separated by commas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import numpy as np

from edgedst import parse
from edgedst.errors import LogError
from edgedst.logs.columns import Task, matched
from edgedst.logs.ticks import BLOCK, Ticks, split

_TRUTHS = {"": False, "0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
_MOST_SHOWN = 60  # characters of a field in a sentence


class CsvLog:
    """Read line by line, in memory that does not depend on their number.

    Args:
        path: of the file.
        task: that it has to fit.

    Raises:
        LogError: it cannot be read, or its columns are not those of the task.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self.source = f"`{path}`"
        try:
            self._file = io.TextIOWrapper(parse.opened(path), encoding="utf-8-sig", newline="")
        except OSError as error:
            raise LogError(f"{self.source} cannot be read: {error.strerror}.") from error
        try:
            self._reader = csv.reader(self._file)
            header = self._next_lines(1)
            if not header:
                raise LogError(f"{self.source} is empty: a first line with the names of its columns was expected.")
            self._width = len(header[0])
            self._names = [name.strip() for name in header[0]]
            self.columns = matched(self._names, task, self.source)
        except LogError:
            self._file.close()
            raise

    def where(self, place: int) -> str:
        """The line, as an editor counts."""
        return f"line {place:,}"

    def ticks(self) -> Iterator[Ticks]:
        """See `Log.ticks`; once."""
        with self._file:
            yield from self._ticks()

    def _ticks(self) -> Iterator[Ticks]:
        columns = self.columns
        places = columns.numbers
        pick = itemgetter(*places)
        label: str | None = None
        while lines := self._next_lines(BLOCK):
            values, begins = [], []
            flags: tuple[list[bool], list[bool]] = ([], [])
            for line, row in zip(self._line_numbers, lines, strict=True):
                if len(row) != self._width:
                    raise LogError(
                        f"{self.source}, line {line:,}: it has {len(row)} fields and the first line names "
                        f"{self._width}. Mend it, or take it out if it was cut off."
                    )
                try:
                    values.append([*map(float, pick(row))])
                except ValueError:
                    values.append([self._number(row[at], at, line) for at in places])
                for list_of, at in zip(flags, (columns.terminated, columns.truncated), strict=True):
                    list_of.append(at is not None and self._truth(row[at], at, line))
                if columns.episode is not None:
                    begins.append(row[columns.episode] != label)
                    label = row[columns.episode]
            numbers = np.array(values, np.float64)
            begun = np.array(begins, bool) if begins else np.zeros(len(values), bool)
            truths = [np.array(list_of, bool) for list_of in flags]
            yield split(columns, self._line_numbers, numbers, truths[0], truths[1], begun)

    def _next_lines(self, count: int) -> list[list[str]]:
        """The fields of some lines; `_line_numbers` are theirs. Empty lines are none."""
        lines: list[list[str]] = []
        self._line_numbers: list[int] = []
        reader = self._reader
        try:
            for row in reader:
                if row:
                    lines.append(row)
                    self._line_numbers.append(reader.line_num)
                    if len(lines) == count:
                        break
        except (csv.Error, UnicodeDecodeError) as error:
            what = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
            raise LogError(
                f"{self.source} cannot be read as CSV behind line {reader.line_num:,}: {what}. Save it as plain CSV."
            ) from error
        except OSError as error:
            raise LogError(f"{self.source} cannot be read: {error.strerror}.") from error
        return lines

    def _number(self, text: str, column: int, line: int) -> float:
        """NaN for an empty field."""
        if not text.strip():
            return float("nan")
        try:
            return float(text)
        except ValueError:
            raise LogError(
                f"{self.source}, line {line:,}: `{self._names[column]}` is {text[:_MOST_SHOWN]!r}; a number was "
                "expected, with a point, or nothing."
            ) from None

    def _truth(self, text: str, column: int, line: int) -> bool:
        truth = _TRUTHS.get(text)
        if truth is None:
            truth = _TRUTHS.get(text.strip().lower())
        if truth is None:
            raise LogError(
                f"{self.source}, line {line:,}: `{self._names[column]}` is {text[:_MOST_SHOWN]!r}; 0, 1, false or true "
                "was expected."
            )
        return truth
