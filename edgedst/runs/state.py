"""state.json, the commit point of a checkpoint: what may stand in it, and the checksum that says that it is as written.

Everything that a checkpoint counts on is named here with its own checksum; the file's own stands on its last line.
Standard library only, and little of it: this runs in the lean trainer. The format stands in docs/formats.md.
"""

import os
from binascii import crc32

from edgedst import __version__
from edgedst.errors import CheckpointError
from edgedst.plain_json import loads, pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FORMAT = 2
FORMATS = (1, FORMAT)  # 1: edgedst 0.1.0 before the file had a checksum
MOST_BYTES = 64_000_000  # of a state.json: format 1 kept every evaluation and every action of an episode in it
_EXTENDED = b"\n# Extended from "
_LAST_LINE = b',\n  "crc32": '


def state_bytes(state: "dict[str, Any]") -> bytes:
    """The file's content: one line for each entry, the checksum of all before it on the last one."""
    text = pretty({"format": FORMAT, "edgedst": __version__, **state}).encode()
    body = text[: -len(b"\n}\n")]
    return b"%b%b%d\n}\n" % (body, _LAST_LINE, crc32(body))


def read_state(folder: str) -> "dict[str, Any]":
    """RUN/checkpoint/state.json, known to be edgedst's, whole, and of a format that is read here.

    Args:
        folder: RUN/checkpoint.

    Raises:
        CheckpointError: it is missing, damaged or somebody else's.
    """
    path = os.path.join(folder, "state.json")
    try:
        # A FIFO of that name would be waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            content = file.read(min(os.fstat(file.fileno()).st_size, MOST_BYTES))
    except FileNotFoundError:
        raise CheckpointError(
            f"There is no checkpoint to resume: expected `{path}`. Name a run folder that `edgedst train` made."
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"`{path}` cannot be read: {error.strerror}. Check its permissions, or copy the whole run folder again."
        ) from error
    try:
        body, mark, end = content.rpartition(_LAST_LINE)
        if mark and end != b"%d\n}\n" % crc32(body):
            raise ValueError("it is not as its checksum says")
        state = loads(content.decode())
        if not isinstance(state, dict) or not {"format", "edgedst", "step", "networks", "replay"} <= state.keys():
            raise CheckpointError(
                f"`{path}` is not a checkpoint of edgedst. Name a run folder that `edgedst train` made."
            )
        if state["format"] not in FORMATS:
            raise CheckpointError(
                f"`{path}` has format {state['format']} (edgedst {state['edgedst']}) and this edgedst {__version__} "
                f"reads format {' and '.join(map(str, FORMATS))}. Install the edgedst that wrote it."
            )
        if bool(mark) != ("crc32" in state) or bool(mark) != (state["format"] > 1):
            raise ValueError("its last line is not its checksum")
        state.pop("crc32", None)
        _check(state, _STATES[state["format"]], "it")
    except (ValueError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"`{path}` is damaged: {error}. Take the whole checkpoint folder from a backup, or train anew."
        ) from error
    return state


def is_config_of(state: "dict[str, Any]", content: bytes) -> bool:
    """Whether a config.toml is the one that a checkpoint was made with, or that one extended (docs/formats.md)."""
    before: bytes | None = content
    while before is not None:
        if state.get("config_crc32", crc32(content)) == crc32(before):
            return True
        before = _before_it_was_extended(before)
    return False


def not_its_config(path: str) -> CheckpointError:
    """What to raise of a config.toml that is not `is_config_of` its checkpoint."""
    return CheckpointError(
        f"`{path}` is not the file that its checkpoint was made with: it was edited or cut. Take it from a backup, or "
        "train a new run with other settings."
    )


def forgotten_rows(record: "dict[str, Any]", segment: "dict[str, Any]") -> int:
    """How many of a segment's first rows the ring of a checkpoint's replay has overwritten; pinned ones stay."""
    pinned = record.get("pinned", 0)
    oldest = oldest_row(record["rows_closed"], record["capacity"], pinned)
    return 0 if segment["first"] < pinned else min(segment["rows"], max(0, oldest - segment["first"]))


def oldest_row(closed: int, capacity: int, pinned: int) -> int:
    """The oldest row of a replay's ring, which has a place for the open row, too."""
    return max(pinned, closed - (capacity - pinned - 1))


def with_past(
    segment: "dict[str, Any]", first: int, known: int, rows: "Any", next_beginning: "Callable[..., int | None]"
) -> "tuple[int, int]":
    """From which row of a segment's file on all that came before in the episode is there, and the next `known`.

    Args:
        segment: of a replay's rows.
        first: the first row of it that is there.
        known: the row of the replay behind the last one that was taken with its past; 0 at first.
        rows: of the segment.
        next_beginning: called with `rows`, `first` and their number; see `Checkpoints.next_beginning`.
    """
    if segment["first"] + first != known:
        beginning = next_beginning(rows, first, segment["rows"])
        if beginning is None:
            return segment["rows"], -1
        first = beginning
    return first, segment["first"] + segment["rows"]


def extended_config(content: bytes, lines: "dict[str, str]") -> bytes:
    """A config.toml with other lines for some of its settings, and the lines that they were in its last one.

    Args:
        content: of the file.
        lines: by name of a setting, each of which the file has.
    """
    new = {name.encode(): line.encode() for name, line in lines.items()}
    were = [line for line in content.split(b"\n") if _setting_of(line) in new]
    body = b"\n".join([new.get(_setting_of(line), line) for line in content.split(b"\n")])
    return b"%b%b%b\n" % (body, _EXTENDED[1:], b", ".join(were))


def _before_it_was_extended(content: bytes) -> "bytes | None":
    """The file that an extended one was made from; None: it was not."""
    body, mark, told = content.rpartition(_EXTENDED)
    were = {_setting_of(line): line for line in told.rstrip(b"\n").split(b", ")}
    return b"\n".join([were.get(_setting_of(line), line) for line in (body + b"\n").split(b"\n")]) if mark else None


def _setting_of(line: bytes) -> bytes:
    return line.partition(b" = ")[0]


def _check(value: "Any", wanted: "Any", where: str) -> None:
    """Hold a value against a part of the schema.

    A word is one of _KINDS; a tuple one of several; a dict an object of these keys, of which those that end in "?" may
    be missing; a list of one a list of it; a longer list a list of just these.

    Raises:
        ValueError: it does not fit, with its place.
    """
    if isinstance(wanted, str):
        told, fits = _KINDS[wanted]
        if not fits(value):
            raise ValueError(f"{where} is {ascii(value)[:60]}, expected {told}")
    elif isinstance(wanted, tuple):
        _check(value, wanted[[isinstance(value, _TYPES[type(one)]) for one in wanted].index(True)], where)
    elif isinstance(wanted, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{where} is no object")
        names = {name.rstrip("?"): part for name, part in wanted.items()}
        for name, part in names.items():
            if name in value:
                _check(value[name], part, f"`{name}`" if where == "it" else f"{name} of {where}")
            elif name + "?" not in wanted:
                raise ValueError(f"{where} lacks `{name}`")
        for name in value:
            if name not in names:
                raise ValueError(f"{where} has {ascii(name)[:60]}, which no checkpoint has")
    else:
        several = len(wanted) > 1
        if not isinstance(value, list) or (several and len(value) != len(wanted)):
            raise ValueError(f"{where} is no list" + (f" of {len(wanted)}" if several else ""))
        for i, item in enumerate(value):
            _check(item, wanted[i if several else 0], f"{where}, entry {i},")


_KINDS: "dict[str, tuple[str, Callable[[Any], bool]]]" = {
    "count": ("a whole number from 0 on", lambda value: type(value) is int and 0 <= value < 2**63),
    "number": ("a number", lambda value: type(value) in (int, float)),
    "number?": ("a number or null", lambda value: value is None or type(value) in (int, float)),
    "flag": ("true or false", lambda value: type(value) is bool),
    "text": ("a text", lambda value: isinstance(value, str) and value.isprintable()),
    "coded": ("digits", lambda value: isinstance(value, str) and value.isascii() and value.isprintable()),
    "dtype": ("float16 or float32", lambda value: value in ("float16", "float32")),
    "name": (
        "the name of a file beside it",
        lambda value: isinstance(value, str) and value[:1].isalnum() and value.isprintable() and "/" not in value,
    ),
    "null": ("null", lambda value: value is None),
}
# Which value takes which of several in a tuple: an object or a list the part of its type, all else the word behind it.
_TYPES: "dict[type, type]" = {str: object, dict: dict, list: list}

_EVALUATION = ["count", "number", "number"]  # step, mean return, its standard deviation
_BEST = {"file": "name", "bytes": "count", "crc32": "count", "step": "count", "evaluation_return": "number"}
_COMMON = {
    "format": "count",
    "edgedst": "text",
    "step": "count",
    "env": "text",
    "method": "text",
    "seed": "count",
    "metrics_bytes": "count",
    "agent": {
        "iteration": "count",
        "actor_iteration?": "count",
        "random_counter": "count",
        "linked": {f"{network}_target?": "flag" for network in ("actor", "critic_1", "critic_2")},
        "losses": ["number?"],
        "log_alpha?": ["number"],
    },
    "episode": ["count", "number", "count"],  # its number, return, length
    "normalizer?": "coded",  # float64: count, then each observation's mean, then its sum of squared deviations
    "seen?": "coded",  # float64: the observations and actions that the networks see
    "seconds": "number",
    "networks": {"file": "name", "bytes": "count", "crc32": "count"},
    "best?": (_BEST, "null"),
    "imported?": "text",  # the file whose networks `edgedst import` took: there is no training to go on with
    "replay": {
        "dtype": "dtype",
        "row_bytes": "count",
        "constants?": [["count", "number"]],
        "offset?": ["number"],
        "pinned?": "count",
        "rows_closed": "count",
        "capacity": "count",
        "segment_rows": "count",
        "open_row": "coded",
        "segments": [{"file": "name", "first": "count", "rows": "count", "crc32": "count"}],
    },
    "energy?": (
        {
            "joules": "number?",
            "source": "text",
            "scope": "text",
            "measured": "flag",
            "sample_hz": "number?",
            "samples": "number?",
            "gaps": "number?",
            "gap_seconds": "number?",
            "detail": "text",
            "meter_cpu_seconds": "number?",
            "meter_reads": "number?",
        },
        "null",
    ),
}
_STATES = {
    1: {**_COMMON, "environment": "coded", "evaluations": [_EVALUATION]},
    FORMAT: {
        **_COMMON,
        "metrics_crc32": "count",
        "config_crc32": "count",
        "isa": "text",
        # Its state, or what leads to it: a seed and the actions since (episode.py).
        "environment": (
            {"seed": "count", "steps": "count", "file": "name", "crc32": "count", "observation": "coded"},
            "coded",
        ),
        "evaluations": {
            "count": "count",
            "sum": "number",
            "best?": "number?",  # of earlier versions, and used by none
            "last": [_EVALUATION],
        },
    },
}
