import functools
import subprocess

import pytest

pytest.register_assert_rewrite("faults.campaign")

from faults.posix import Disk  # noqa: E402  # imported when they are rewritten, so that a failure says what differs
from faults.system_calls import record  # noqa: E402
from training import EXPORTS, TINY, contents, edgedst, run_in, train  # noqa: E402


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The run folder of TINY, never disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, *TINY)
    return run_in(folder)


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """By kind, two `edgedst export` commands of the same names. Golden pairs are larger than the .onnx files."""
    folder = tmp_path_factory.mktemp("two")
    for seed in (0, 1):
        train(folder, *TINY, "--env", "HalfCheetah-v5", "--hidden", "16", "--seed", str(seed))
    runs = sorted((folder / "runs").glob("*/*/s*"))
    return {kind: [edgedst("export", *named, "--run", run) for run in runs] for kind, named in EXPORTS.items()}


@pytest.fixture(scope="session")
def exported(exports, tmp_path_factory):
    """Of a kind, what either command writes: ({name: bytes} of the old files, of the new ones).

    A bundle is never written over anything: of it there are no old files.
    """

    @functools.cache
    def made(kind):
        found = []
        for command in exports[kind]:
            folder = tmp_path_factory.mktemp(kind)
            subprocess.run(command, cwd=folder, capture_output=True, check=True)
            found.append(contents(folder))
        return ({} if kind == "bundle" else found[0]), found[1]

    return made


@pytest.fixture(scope="session")
def recorded_export(exports, exported, tmp_path_factory):
    """Of a kind, (disk before, system calls) of the new export over the old files."""

    @functools.cache
    def recorded(kind):
        folder = tmp_path_factory.mktemp(kind)
        for name, content in exported(kind)[0].items():
            (folder / name).write_bytes(content)
        before = Disk(folder)
        calls = record(exports[kind][1], folder, tmp_path_factory.mktemp(kind) / "export.strace")
        return before, [call for call in calls if call.name == "lseek" or call.changes(folder)]

    return recorded
