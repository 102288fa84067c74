"""Has a log read for `--prefill`, by a process of its own, before anything of the run is there."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from edgedst.child import python_of, tied
from edgedst.errors import LogError
from edgedst.files import folder_error, remove, temporary
from edgedst.prefill import HEADER_BYTES


def read_log(job: dict[str, Any], folder: str, records: bool = True) -> dict[str, Any]:
    """Read and check the log that a job's settings name.

    Args:
        job: see `trainer.main`.
        folder: where the file of its records may lie; one above it, where it is not there. It has no name: it is gone
            with whoever has it open.
        records: whether they are wanted; else only what they would be.

    Returns:
        What the header says (`prefill.py`), and `descriptor`, of the open file: the caller's to close or hand on. What
        is wrong is `error`, a class and its sentence.

    Raises:
        RunFolderError: there is no place for the file.
        LogError: the process that reads it was ended.
        ModuleNotFoundError: a package is not installed.
    """
    config = job["config"]
    while folder and not os.path.isdir(folder):  # noqa: PTH112  # pathlib raises where a folder may not be searched
        folder = os.path.dirname(folder)  # noqa: PTH120
    place = os.path.join(folder, "prefill")  # noqa: PTH118
    try:
        descriptor, name = temporary(place)
        remove(name)
    except OSError as error:
        raise folder_error(error, folder or ".") from error
    try:
        asked = {
            "log": config["prefill"],
            "spec": job["spec"],
            "replay_dtype": config["replay_dtype"],
            "normalised": config["normalize_observations"],
            "descriptor": descriptor,
            "folder": folder or ".",
            "records": records,
            "debug": job["debug"],
        }
        command = tied([*python_of("edgedst.logs.convert"), json.dumps(asked)])
        # NumPy's BLAS would map buffers for each core.
        process = subprocess.Popen(
            command, env={"OPENBLAS_NUM_THREADS": "1", **os.environ}, pass_fds=(descriptor,), stdin=subprocess.DEVNULL
        )
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        header = os.pread(descriptor, HEADER_BYTES, 0)
        if code or not header.strip(b"\0"):
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            raise LogError(
                f"The process that reads `{config['prefill']}` {how}. This machine may have too little memory for it; "
                "`--debug` may show more."
            )
        told: dict[str, Any] = json.loads(header)
        if "missing" in told:
            raise ModuleNotFoundError(f"No module named {told['missing']!r}", name=told["missing"])
        return {**told, "descriptor": descriptor}
    except BaseException:
        os.close(descriptor)
        raise
