"""Damages a reader's file guided by the branches that they reach, for as long as you like; `pip install atheris` first.

python tests/faults/coverage_guided.py READER FILE [options of libFuzzer, for example -max_total_time=600]

READER is one of reading.py's that reads one file (settings, study, golden, energy); FILE is a good one, of the name
that the reader looks for. What ends it is no sentence of edgedst's: libFuzzer keeps the input as `crash-...`.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edgedst", "tomllib"]):
    from reading import READERS

    from edgedst.errors import EdgedstError


def main(name, file, *options):
    folder = Path(tempfile.mkdtemp(prefix="edgedst-fuzz-"))
    (folder / "corpus").mkdir()
    shutil.copy(file, folder / "corpus")

    def read(content):
        (folder / Path(file).name).write_bytes(content)
        try:
            READERS[name](folder)
        except EdgedstError:
            pass

    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], read)
    atheris.Fuzz()


main(*sys.argv[1:])
