"""Reads damaged texts in a process as lean as the trainer, one after the other. Run by test_readers.py.

A question is a length (4 bytes, little-endian) and so many bytes: the text of a state.json where a folder was named, or
else of any JSON. An answer is a length and a line: `read VALUE`, `refused Error: sentence` or `raised Error: words`.
"""

import sys

from edgedst.errors import EdgedstError
from edgedst.plain_json import loads
from edgedst.runs.state import read_state


def read(text, folder):
    if not folder:
        return loads(text.decode())
    with open(folder + "/state.json", "wb") as file:  # noqa: PTH123  # as lean as the trainer
        file.write(text)
    return read_state(folder)


def answer(text, folder):
    try:
        value = read(text, folder)
    except EdgedstError as error:
        return f"refused {type(error).__name__}: {error}"
    except ValueError as error:
        return f"{'raised' if folder else 'refused'} {type(error).__name__}: {error}"
    except BaseException as error:
        return f"raised {type(error).__name__}: {error}"
    try:
        return f"read {value!r}"
    except RecursionError:
        return "read something deep"


def main(folder):
    assert "json" not in sys.modules
    while len(head := sys.stdin.buffer.read(4)) == 4:
        told = answer(sys.stdin.buffer.read(int.from_bytes(head, "little")), folder)
        told = told.encode("utf-8", "backslashreplace")
        sys.stdout.buffer.write(len(told).to_bytes(4, "little") + told)
        sys.stdout.buffer.flush()


main(sys.argv[-1] if len(sys.argv) > 1 else "")
