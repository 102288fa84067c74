"""Reads and checks a log for `--prefill`, in a process of its own: what reading takes is not the trainer's.

It writes a prefill file (`edgedst/prefill.py`) into the descriptor that it is given, or, to be planned with, only its
header. What is wrong with the log stands in the header, too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgedst.envs import LARGEST_FLOAT16, registry
from edgedst.envs.robot import Robot
from edgedst.errors import EdgedstError, LogError, missing_extra
from edgedst.files import folder_error, log_kind, write_all
from edgedst.logs.checking import Checker
from edgedst.logs.columns import Task
from edgedst.logs.ticks import Log
from edgedst.prefill import HEADER_BYTES


def main() -> int:
    """Do what the JSON in sys.argv[-1] asks for; returns the exit code.

    Keys: log (the setting), spec (of the environment, from `registry.locate`), replay_dtype, descriptor (of the file),
    folder (where it is), records (whether they are wanted), debug.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is told by who started this
    os.dup2(2, 1)  # what environments print is not what this tells
    job = json.loads(sys.argv[-1])
    try:
        told = convert(job)
    except EdgedstError as error:
        if job["debug"]:
            traceback.print_exc()
        told = {"error": f"{type(error).__name__}: {error}"}
    except MemoryError:
        told = {"error": f"LogError: There is no memory left to read `{job['log']}`."}
    except ModuleNotFoundError as error:
        if missing_extra(error) is error:
            raise
        told = {"missing": error.name}
    header = json.dumps(told).encode()
    os.pwrite(job["descriptor"], header.ljust(HEADER_BYTES - 1) + b"\n", 0)
    return 0


def convert(job: dict[str, Any]) -> dict[str, Any]:
    """What the header says; records are in the file then.

    Raises:
        LogError: something is wrong with the log.
        EdgedstError: the environment cannot be made.
        RunFolderError: the file cannot be written.
    """
    largest = LARGEST_FLOAT16 if job["replay_dtype"] == "float16" else float("inf")
    task = task_of(job["spec"], largest=largest, normalised=job["normalised"])
    os.lseek(job["descriptor"], HEADER_BYTES, os.SEEK_SET)

    def write(records: bytes) -> None:
        try:
            write_all(job["descriptor"], records)
        except OSError as error:
            raise folder_error(error, job["folder"]) from error

    try:
        return converted(task, opened(job["log"], task), write if job["records"] else lambda records: None)
    except OSError as error:
        if isinstance(error, EdgedstError):
            raise
        raise LogError(f"`{job['log']}` cannot be read: {error.strerror or error}. Copy it again.") from error


def converted(task: Task, log: Log, write: Callable[[bytes], None]) -> dict[str, Any]:
    """Give a log's records to `write`; returns what there is to tell of them.

    Raises:
        LogError: something is wrong with it.
    """
    checker = Checker(task, log, write)
    for ticks in log.ticks():
        checker.take(ticks)
    checker.finish()
    return {
        "observation_size": task.observation_size,
        "action_size": task.action_size,
        "rows": checker.transitions + checker.episodes,
        "transitions": checker.transitions,
        "source": log.source,
        "crc32": checker.checksum,
        "notes": checker.notes(),
    }


def task_of(spec: dict[str, Any], **of_replay: Any) -> Task:
    """What the log has to fit. A robot.py is imported, and nothing moves; any other environment is made and closed.

    Raises:
        EdgedstError: it cannot be made.
        LogError: it is hardware, which is opened once.
    """
    if spec["host"] == "robot":
        return Task.of_robot(Robot(spec["env"]), **of_replay)
    environment = registry.make(spec)
    try:
        if environment.hardware:
            raise LogError(
                f"{environment.name} is hardware, which is opened once: its replay cannot begin with a log. Leave "
                "`--prefill` out, or write a robot.py (`edgedst init robot`)."
            )
        return Task.of_environment(environment, **of_replay)
    finally:
        environment.close()


def opened(given: str, task: Task) -> Log:
    """The log that a setting `prefill` names.

    Raises:
        LogError: it is none, or cannot be read.
    """
    kind, name = log_kind(given)
    if kind == "csv":
        from edgedst.logs.csv_log import CsvLog

        return CsvLog(Path(name), task)
    if kind == "minari":
        from edgedst.logs.minari_log import MinariLog

        return MinariLog(name, task)
    from edgedst.logs import parquet_log

    return parquet_log.lerobot_log(name, task) if kind == "lerobot" else parquet_log.parquet_log(Path(name), task)


if __name__ == "__main__":
    sys.exit(main())
