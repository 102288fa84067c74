"""One file that whoever has a board can send: what the board is, what meters it has, a profile, and what held it back.

It is text, to be read before it is sent. Nothing in it names a person, a host or a network: the command that was
typed is left out, home folders are written as `~`, and the kernel's log is cut down to the lines about heat and power.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgedst import parse
from edgedst.boards import devices_folder
from edgedst.errors import BoardFileError
from edgedst.profile.contenders import DENSE, SPARSE
from edgedst.report.numbers import JOULES, MILLISECONDS_EACH, RATIO, SIZE

FORMAT = 1
MOST_LINES = 50  # of the kernel's log, the newest
_TELLS = re.compile(
    r"throttl|under-?voltage|over-?current|undervolt|thermal.*(?:critical|trip|limit)|frequency cap", re.I
)
_RECORD = 8192  # bytes: the kernel hands out one record a read


def board_report(profile: Mapping[str, Any], here: Mapping[str, Any], log: Path = Path("/dev/kmsg")) -> dict[str, Any]:
    """The file's content, JSON-able.

    Args:
        profile: its document (docs/formats.md).
        here: what `edgedst devices --here` tells.
        log: the kernel's.
    """
    lines, unread = kernel_log(log)
    run = profile["run"] and {name: value for name, value in profile["run"].items() if name != "path"}
    report = {
        "format": FORMAT,
        "about": "made by `edgedst profile --report`; read it before you send it",
        "here": dict(here),
        "kernel_log": lines,
        "kernel_log_unread": unread,
        "profile": {name: value for name, value in profile.items() if name != "command"} | {"run": run},
    }
    hidden: dict[str, Any] = _without(report, _homes())
    return hidden


def _homes() -> re.Pattern[str]:
    """Home folders, whose names may be a person's: this user's, and that of whoever became root with sudo."""
    told = {os.environ.get("HOME", "")}
    for number in (os.getuid(), os.environ.get("SUDO_UID", "")):
        try:
            told.add(pwd.getpwuid(int(number)).pw_dir)
        except (KeyError, ValueError, OverflowError):  # a container's user may be in no list
            pass
    ours = sorted((home.rstrip("/") for home in told if re.match("/+[^/]", home)), key=len, reverse=True)
    return re.compile("|".join([*(rf"{re.escape(home)}(?![\w.-])" for home in ours), r"/home/[^/\s:;,'\"`()]+"]))


def _without(value: Any, homes: re.Pattern[str]) -> Any:
    """The same with `~` for home folders."""
    if isinstance(value, str):
        return homes.sub("~", value)
    if isinstance(value, dict):
        return {name: _without(each, homes) for name, each in value.items()}
    return [_without(each, homes) for each in value] if isinstance(value, list) else value


def kernel_log(path: Path = Path("/dev/kmsg")) -> tuple[list[str] | None, str]:
    """Its lines about heat and power since the start, oldest first: `seconds: text`. None and why, where unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return None, _unread(path, error)
    try:
        lines = [line for record in _records(descriptor) if (line := _line(record))]
    except OSError as error:
        return None, _unread(path, error)
    finally:
        os.close(descriptor)
    return lines[-MOST_LINES:], ""


def _unread(path: Path, error: OSError) -> str:
    helps = " As root it can be read." if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
    return f"{path}: {error.strerror}.{helps}"


def _records(descriptor: int) -> Iterator[str]:
    while True:
        try:
            record = os.read(descriptor, _RECORD)
        except BlockingIOError:  # all of it was read
            return
        except BrokenPipeError:  # the oldest was overwritten meanwhile: the next one is there
            continue
        if not record:  # a file that stands in
            return
        yield from record.decode("utf-8", "replace").split("\n")


def _line(record: str) -> str:
    """Of `priority,number,microseconds,flags;text`; empty where it tells of something else."""
    head, _, text = record.partition(";")
    fields = head.split(",")
    if not (_TELLS.search(text) and len(fields) > 2 and fields[2].isdigit()):
        return ""
    return f"{int(fields[2]) / 1e6:.0f} s: {text}"


def measured(board: str) -> list[tuple[str, dict[str, Any]]]:
    """The files that were sent of a board, devices/BOARD/measured/*.json: (name, content), by name.

    Raises:
        BoardFileError: one of them is no such file.
    """
    found = []
    for path in sorted((devices_folder() / board / "measured").glob("*.json")):
        content = parse.json_object(parse.read(path))
        try:
            whole = content.get("format") == FORMAT and bool(summary(content))
        except (AttributeError, LookupError, StopIteration, TypeError, ValueError):
            whole = False
        if not whole:
            raise BoardFileError(
                f"`{path}` is no file of `edgedst profile --report`, format {FORMAT}, or was cut. Copy it again, or "
                "take it away."
            )
        found.append((path.name, content))
    return found


def summary(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a table shows of one: (heading, text)."""
    profile = report["profile"]
    sparse = next(contender for contender in profile["contenders"] if contender["name"] == SPARSE)
    pair: dict[str, Any] = profile["ratios"].get(f"{SPARSE} / {DENSE}", {})
    joules, energy = sparse["energy_joules_per_1000_steps"], profile["energy"]
    host, task = profile["host"], profile["task"]
    told = "not measured"
    if joules and joules["total"] and energy:
        kind = "" if energy["measured"] else ", modelled"
        told = f"{JOULES(joules['total']['median'])} ({energy['source']}, {energy['scope']}{kind})"
    held = (profile["after"] or {}).get("throttled")
    return [
        ("board", host["title"]),
        ("CPU", f"{host['cpu']}, {host['cores']} cores, {host['isa']}"),
        ("task", f"{task['env']}, {task['method']}"),
        ("a step", MILLISECONDS_EACH(sparse["steps_per_second"]["median"])),
        ("of dense", RATIO(pair["step_seconds"]["median"]) if pair.get("step_seconds") else "–"),
        ("peak", SIZE(sparse["memory"]["peak_bytes"]["median"])),
        ("energy of 1,000 steps", told),
        ("held back by", ", ".join(held) if held else "nothing" if held == [] else "not known"),
        ("edgedst", f"{profile['edgedst']}, {profile['made'][:10]}"),
    ]
