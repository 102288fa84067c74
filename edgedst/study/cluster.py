"""A study on a Dask cluster: the same calls as here, on workers that share the study's folder.

Dask finds the workers, hands out the runs and hands them out again when a worker is lost; a run goes on from its
checkpoint wherever it is next. `distributed` is an optional extra, and named nowhere else.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgedst import __version__
from edgedst.errors import StudyError
from edgedst.study.one_run import unseen

CONNECT_SECONDS = 15
WORKER_SECONDS = 60  # a cluster that is just being started


class Cluster:
    """Hands calls to the workers of the scheduler at an address such as tcp://host:8786.

    Raises:
        StudyError: there is no `distributed`, no scheduler, no worker, or a worker cannot see the folder or has
            another edgedst.
    """

    def __init__(self, address: str, out: Path) -> None:
        _knock(address)
        try:
            from distributed import Client
        except ImportError:
            raise StudyError("--scheduler needs Dask: pip install 'edgedst[dask]', here and on the workers.") from None
        try:
            self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise StudyError(f"What answers at `{address}` is no Dask scheduler ({_first_line(error)}).") from error
        self._session = uuid.uuid4().hex[:8]
        try:
            self._check_workers(address, out)
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> Cluster:
        """Connected already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster as it was."""
        self._client.close()

    def submit(self, function: Any, /, *arguments: Any) -> Any:
        """A future of the call on some worker; on another one should that be lost."""
        key = f"edgedst-{self._session}-{arguments[-1]}"
        return self._client.submit(function, *arguments, key=key, pure=False)

    def _check_workers(self, address: str, out: Path) -> None:
        try:
            self._client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
            raise StudyError(
                f"The scheduler at `{address}` has no workers. Start some, which share the study's folder, with "
                f"`dask worker {address} --nthreads 1`: a thread is a run at a time."
            ) from None
        token = f".seen-{self._session}"
        (out / token).write_text(token, encoding="utf-8")
        try:
            told = self._client.run(look, str(out), token, on_error="return")
        finally:
            (out / token).unlink(missing_ok=True)
        for worker, answer in told.items():
            if isinstance(answer, StudyError):
                raise answer
            if isinstance(answer, Exception):
                raise StudyError(
                    f"The worker {worker} cannot run edgedst {__version__} ({_first_line(answer)}). Install it there: "
                    "pip install 'edgedst[dask]'."
                )
            if answer != __version__:
                raise StudyError(
                    f"The worker {worker} has edgedst {answer}, and here is {__version__}: install the same."
                )


def _knock(address: str) -> None:
    """A client that finds nobody leaves tasks behind that complain for half a minute: see first."""
    try:
        parts = urlsplit(address)
        if not parts.hostname or not parts.port:
            raise OSError("no host and port in it")
        socket.create_connection((parts.hostname, parts.port), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise StudyError(
            f"There is no Dask scheduler at `{address}` ({_first_line(error)}). Start one with `dask scheduler`; its "
            "address looks like tcp://host:8786."
        ) from error


def look(out: str, token: str) -> str:
    """On a worker: edgedst's version there.

    Raises:
        StudyError: the study's folder is another one there, or none.
    """
    if not (Path(out) / token).is_file():
        raise StudyError(unseen(out))
    return __version__


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
