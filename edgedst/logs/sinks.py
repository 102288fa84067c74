"""Where the rows of a run go: a table as CSV or Parquet, TensorBoard, W&B; each through that project's own writer."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedst.errors import LogError
from edgedst.files import folder_error, make_folder, remove, write_whole
from edgedst.runs.folder import folder_name
from edgedst.runs.run import Run

STEP, ELAPSED = "time/total_timesteps", "time/time_elapsed"
_OURS = ".edgedst"  # ends the names of our TensorBoard files

Row = dict[str, float]  # of a line of metrics.jsonl: its step as STEP, and the rest by name


class Sink:
    """Where rows of a run go."""

    def __init__(self, run: Path, where: str) -> None:
        self.run, self.where = run, where

    def write(self, rows: Sequence[Row], anew: bool) -> None:
        """The next rows; `anew`: they are all there are, whatever was written before."""
        raise NotImplementedError

    def close(self) -> None:
        """There are no more."""


class CsvTable(Sink):
    """A line a row, a column a name, as Stable-Baselines3's progress.csv. Its file is always whole."""

    kind = "csv"

    def __init__(self, run: Path, where: str) -> None:
        super().__init__(run, where)
        self._rows: list[Row] = []

    def write(self, rows: Sequence[Row], anew: bool) -> None:
        """See `Sink`."""
        self._rows = [*([] if anew else self._rows), *rows]
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        write_whole(self.where, self.content(columns), f"--{self.kind}")

    def content(self, columns: list[str]) -> bytes:
        """Of the file."""
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows)
        return text.getvalue().encode()


class ParquetTable(CsvTable):
    """The same as Parquet: integer steps, all else float64, null where a row has no such number."""

    kind = "parquet"

    def __init__(self, run: Path, where: str) -> None:
        super().__init__(run, where)
        import pyarrow.parquet

        self._pyarrow: Any = pyarrow

    def content(self, columns: list[str]) -> bytes:
        """Of the file."""
        kinds = [(name, self._pyarrow.int64() if name == STEP else self._pyarrow.float64()) for name in columns]
        table = self._pyarrow.Table.from_pylist(self._rows, schema=self._pyarrow.schema(kinds))
        file = io.BytesIO()
        self._pyarrow.parquet.write_table(table, file)
        return file.getvalue()


class TensorBoard(Sink):
    """Event files in a folder of the run's own below `where`. What an earlier call left there is replaced."""

    def __init__(self, run: Path, where: str) -> None:
        super().__init__(run, where)
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._value, self._new_writer = Event, Summary.Value, EventFileWriter
        self._start = SessionLog(status=SessionLog.START)
        self._writer: Any = None
        settings = Run(run).settings
        self._folder = Path(where, folder_name(settings.env), settings.method, run.resolve().name)
        try:
            self._began = (run / "plan.json").stat().st_mtime  # when the run was new, which TensorBoard counts from
        except OSError:
            self._began = 0.0
        self._elapsed = 0.0  # seconds that the last evaluation tells

    def write(self, rows: Sequence[Row], anew: bool) -> None:
        """See `Sink`."""
        try:
            earlier = list(self._folder.glob(f"events.out.tfevents.*{_OURS}")) if anew else []
            if anew:
                self.close()
                self._elapsed = 0.0
                try:
                    make_folder(str(self._folder))
                except FileExistsError:
                    pass
                self._writer = self._new_writer(str(self._folder), filename_suffix=_OURS)
                # A TensorBoard that is open forgets what it has read of the run.
                self._writer.add_event(self._event(wall_time=self._began, step=0, session_log=self._start))
            for row in rows:
                self._elapsed = row.get(ELAPSED, self._elapsed)
                values = [self._value(tag=name, simple_value=number) for name, number in row.items() if name != STEP]
                about = {"wall_time": self._began + self._elapsed, "step": int(row[STEP])}
                self._writer.add_event(self._event(summary={"value": values}, **about))
            self._writer.flush()
            for path in earlier:
                remove(str(path))
        except OSError as error:
            raise folder_error(error, str(self._folder), "--tensorboard") from error

    def close(self) -> None:
        """See `Sink`."""
        if self._writer:
            self._writer.close()


class WandB(Sink):
    """A run of W&B, of the same id each time: rows at steps that it has are left out. `where` is the project."""

    def __init__(self, run: Path, where: str) -> None:
        super().__init__(run, where)
        import wandb

        settings = Run(run).settings
        name = "-".join([folder_name(settings.env), settings.method, run.resolve().name])
        identity = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
        try:
            self._wandb = wandb.init(project=where, id=identity, name=name, config=settings.settings(), resume="allow")
            self._step = self._wandb.step  # the next one
        except (wandb.Error, OSError, ValueError) as error:
            told = str(error).rstrip(".")
            raise LogError(
                f"W&B does not take the run: {told}. Without an account, WANDB_MODE=offline keeps it here."
            ) from error

    def write(self, rows: Sequence[Row], anew: bool) -> None:
        """See `Sink`."""
        for row in rows:
            if row[STEP] >= self._step:
                self._step = int(row[STEP])
                self._wandb.log(row, step=self._step)

    def close(self) -> None:
        """See `Sink`."""
        self._wandb.finish()


SINKS: dict[str, type[Sink]] = {
    "csv": CsvTable,
    "parquet": ParquetTable,
    "tensorboard": TensorBoard,
    "wandb": WandB,
}
