"""A log as Parquet files: one with the columns of a CSV, or a LeRobot data set's folder. pyarrow is named here only."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from edgedst import parse
from edgedst.errors import LogError
from edgedst.logs.columns import Task, matched
from edgedst.logs.ticks import BLOCK, Floats, Ticks, Truths, split

# LeRobot's names, of its format 2.1 and 3.0.
_LEROBOT = {
    "observation.state": "observation",
    "action": "action",
    "next.reward": "reward",
    "next.done": "terminated",
    "next.truncated": "truncated",
    "episode_index": "episode",
    "timestamp": "time",
}
_VERSIONS = ("v2.0", "v2.1", "v3.0")


def parquet_log(path: Path, task: Task) -> ParquetLog:
    """A Parquet file. A column of lists, `observation` or `action`, stands for `observation_0`, `observation_1`, ...

    Raises:
        LogError: it cannot be read, or its columns are not those of the task.
    """
    return ParquetLog(f"`{path}`", [path], task)


def lerobot_log(given: str, task: Task) -> ParquetLog:
    """A LeRobot data set, by its folder, or by its id where it lies in LeRobot's cache.

    Raises:
        LogError: there is none, it cannot be read, or its columns are not those of the task.
    """
    home = os.environ.get("HF_LEROBOT_HOME") or "~/.cache/huggingface/lerobot"
    folders = [Path(given), Path(home).expanduser() / given]
    folder = next((folder for folder in folders if (folder / "meta" / "info.json").is_file()), None)
    if folder is None:
        raise LogError(
            f"There is no LeRobot data set `{given}`: expected `{folders[0]}/meta/info.json` or `{folders[1]}/meta/"
            "info.json`. Download it first, as with `hf download --repo-type dataset`."
        )
    source = f"`{folder}`"
    about = parse.json_object(parse.read(folder / "meta" / "info.json"))
    version = about.get("codebase_version")
    if version not in _VERSIONS:
        raise LogError(f"{source} is of LeRobot's format {str(version)[:20]}, and {', '.join(_VERSIONS)} can be read.")
    files = sorted((folder / "data").glob("chunk-*/*.parquet"))
    if not files:
        raise LogError(f"{source} has no data/chunk-*/*.parquet: copy the whole data set.")
    renamed = dict(_LEROBOT)
    features = about.get("features")
    if isinstance(features, dict) and "next.reward" not in features and "reward" in features:
        del renamed["next.reward"]
        renamed["reward"] = "reward"
    return ParquetLog(source, files, task, renamed, features if isinstance(features, dict) else {})


class ParquetLog:
    """Read a batch of rows at a time.

    Args:
        source: it, for sentences.
        files: of the same columns, in their order.
        task: that it has to fit.
        renamed: what columns are called here, those that are not to be left out; None: as they are.
        features: of a LeRobot data set: may name the parts of its lists.

    Raises:
        LogError: it cannot be read, or its columns are not those of the task.
    """

    def __init__(
        self,
        source: str,
        files: list[Path],
        task: Task,
        renamed: Mapping[str, str] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = source
        self._files = files
        self._starts = [0]  # of each file, in rows of all
        # (column of the file, part of its list or None) by place in `columns`.
        self._parts: list[tuple[str, int | None]] = []
        names = []
        for name, size in self._sizes(files[0], renamed):
            called = renamed[name] if renamed else name
            if size is None:
                names.append(called)
                self._parts.append((name, None))
                continue
            own = dict(zip(("observation", "action"), task.own_names, strict=True)).get(called, [])
            parts = _names_of((features or {}).get(name), size)
            known = parts if own and set(own) <= set(parts) else [f"{called}_{part}" for part in range(size)]
            # A reward of shape (1,) is a number.
            names += [called] if size == 1 and called not in ("observation", "action") else known
            self._parts += [(name, part) for part in range(size)]
        self.columns = matched(names, task, source)

    def where(self, place: int) -> str:
        """The row, counted from 1 in its file."""
        number = bisect_right(self._starts, place) - 1
        of_file = f" of `{self._files[number].name}`" if len(self._files) > 1 else ""
        return f"row {place - self._starts[number] + 1:,}{of_file}"

    def ticks(self) -> Iterator[Ticks]:
        """See `Log.ticks`."""
        columns = self.columns
        numbers = [self._parts[place] for place in columns.numbers]
        others = [
            None if place is None else self._parts[place][0]
            for place in (columns.terminated, columns.truncated, columns.episode)
        ]
        needed = list(dict.fromkeys([name for name, _ in numbers] + [name for name in others if name is not None]))
        label: Any = None
        for path in self._files:
            start = self._starts[-1]
            with self._reading(path) as file:
                self._starts.append(start + file.metadata.num_rows)
                for batch in file.iter_batches(BLOCK, columns=needed):
                    count = batch.num_rows
                    if not count:
                        continue
                    arrays = {name: batch.column(name) for name in needed}
                    begins = np.zeros(count, bool)
                    if others[2] is not None:
                        labels = arrays[others[2]].to_pylist()
                        begins[:] = [a != b for a, b in zip(labels, [label, *labels], strict=False)]
                        label = labels[-1]
                    lists: dict[str, Floats] = {}
                    values = np.stack([self._numbers(arrays, lists, *part, start) for part in numbers], axis=1)
                    truths = [self._truths(arrays, name, count, start) for name in others[:2]]
                    yield split(columns, range(start, start + count), values, truths[0], truths[1], begins)
                    start += count

    def _sizes(self, path: Path, renamed: Mapping[str, str] | None) -> Iterator[tuple[str, int | None]]:
        """(column, numbers in each of its lists; None: it has no lists) of the columns that count."""
        with self._reading(path) as file:
            for entry in file.schema_arrow:
                if renamed is not None and entry.name not in renamed:
                    continue
                kind = entry.type
                if pyarrow.types.is_fixed_size_list(kind):
                    yield entry.name, kind.list_size
                elif pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
                    first = next(file.iter_batches(1, columns=[entry.name]), None)
                    lists = first.column(0).to_pylist() if first is not None else []
                    yield entry.name, len(lists[0]) if lists and lists[0] is not None else 0
                else:
                    yield entry.name, None

    @contextmanager
    def _reading(self, path: Path) -> Iterator[Any]:
        """The open file.

        Raises:
            LogError: it cannot be read, now or in the block.
        """
        try:
            with parse.opened(path):  # a pipe would be waited for
                file = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
            with file:
                yield file
        except (pyarrow.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
            told = getattr(error, "strerror", None) or " ".join(str(error).split())[:200].rstrip(".")
            raise LogError(f"`{path}` cannot be read as Parquet: {told}. Copy or write it again.") from error

    def _numbers(
        self, arrays: Mapping[str, Any], lists: dict[str, Floats], name: str, part: int | None, start: int
    ) -> Floats:
        """(k,) of a column, or of a part of each of its lists."""
        array = arrays[name]
        if part is None:
            return self._floats(array, name)
        if name not in lists:
            size = sum(of == name for of, _ in self._parts)
            lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
            wrong = np.flatnonzero(lengths != size)
            if wrong.size:
                raise LogError(
                    f"{self.source}, {self.where(start + int(wrong[0]))}: `{name}` has {lengths[wrong[0]]} numbers, "
                    f"and {size} in its first row."
                )
            lists[name] = self._floats(array.flatten(), name).reshape(-1, size)
        return lists[name][:, part]

    def _floats(self, array: Any, name: str) -> Floats:
        kind = array.type
        types = pyarrow.types
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)):
            raise LogError(f"{self.source}: `{name}` is a column of {kind}; numbers were expected.")
        if array.null_count:
            array = array.cast(pyarrow.float64()) if not types.is_boolean(kind) else array.fill_null(False)
        numbers: Floats = array.to_numpy(zero_copy_only=False).astype(np.float64)
        return numbers

    def _truths(self, arrays: Mapping[str, Any], name: str | None, count: int, start: int) -> Truths:
        if name is None:
            return np.zeros(count, bool)
        array = arrays[name]
        if not pyarrow.types.is_primitive(array.type):
            array = array.flatten()  # LeRobot's shape (1,)
        values = np.nan_to_num(self._floats(array, name))
        wrong = np.flatnonzero((values != 0) & (values != 1))
        if len(values) != count or wrong.size:
            at = int(wrong[0]) if wrong.size else 0
            raise LogError(
                f"{self.source}, {self.where(start + at)}: `{name}` is {values[at]:g}; 0, 1, false or true was "
                "expected."
            )
        return values.astype(bool)


def _names_of(feature: Any, size: int) -> list[str]:
    """What a LeRobot data set calls the parts of a list; nothing where it does not say so plainly."""
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    plain = isinstance(names, list) and len(names) == size and all(isinstance(name, str) for name in names)
    return list(names) if plain and names is not None else []
