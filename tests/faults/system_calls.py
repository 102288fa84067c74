"""What a command asks of the file system, by strace: recorded, or ended by SIGKILL at a chosen call."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tools import require_tool, without

BY_NAME = ("open", "creat", "truncate", "rename", "link", "symlink", "unlink", "rmdir", "mkdir")
BY_FOLDER_AND_NAME = ("openat", "renameat", "renameat2", "linkat", "symlinkat", "unlinkat", "mkdirat")
BY_DESCRIPTOR = (
    *("write", "pwrite64", "writev", "ftruncate", "fsync", "fdatasync", "lseek", "sendfile", "copy_file_range"),
)

_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
_UNFINISHED = re.compile(r"(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")
_ARGUMENT = re.compile(r'"[^"]*"|(?:<[^>]*>|\[[^\]]*\]|[^,"])+')
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")


def strace():
    """Its path; the test is skipped where it is missing or not allowed."""
    path = require_tool("strace")  # Debian: apt install strace
    if subprocess.run([path, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        without("needs a strace that may trace")
    return path


class Descriptor(NamedTuple):
    """An argument that stands for an open file, or for the current folder."""

    number: str
    path: str


class Call(NamedTuple):
    """One call that succeeded."""

    name: str
    arguments: list  # texts as bytes, Descriptors, other words as they are
    result: int
    paths: list  # of the files that it is about, whole
    ordinal: int  # which call of this name it was of its thread, from 1

    @property
    def flags(self):
        """Of an open."""
        return " ".join(word for word in self.arguments if isinstance(word, str))

    def changes(self, root):
        """Whether it changes what is below `root`."""
        if self.name == "lseek" or ("open" in self.name and not re.search("O_CREAT|O_TRUNC", self.flags)):
            return False
        return any(within(path, root) for path in self.paths)


def within(path, root):
    return path == str(root) or path.startswith(f"{root}/")


def record(command, cwd, log):
    """Run a command to its end; return its calls that change files, and those that say where, in their order."""
    names = ",".join((*BY_NAME, *BY_FOLDER_AND_NAME, *BY_DESCRIPTOR))
    under = [strace(), "-f", "-y", "-xx", "-s", "100000000", "--seccomp-bpf", "-o", str(log), "-e", f"trace={names}"]
    done = subprocess.run([*under, *command], cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    calls, begun, counts = [], {}, Counter()
    with log.open(encoding="ascii") as lines:
        for line in lines:
            if half := _UNFINISHED.match(line):
                begun[half[1]] = half[2]
                continue
            if rest := _RESUMED.match(line):
                line = f"{rest[1]} {begun.pop(rest[1])}{rest[2]}"
            if not (whole := _LINE.match(line)):
                continue
            thread, name, arguments, result, opened = whole.groups()
            counts[thread, name] += 1
            if int(result) >= 0:
                words = [_word(word) for found in _ARGUMENT.findall(arguments) if (word := found.strip())]
                paths = [_text(opened)] if opened else _paths(name, words, str(cwd))
                calls.append(Call(name, words, int(result), paths, counts[thread, name]))
    return calls


def under(*injections, log="/dev/null", paths=()):
    """What to start a command under, so that strace meddles with its system calls.

    Args:
        injections: (name of the call, what strace does then) of each; `when=N` counts calls of that name.
        log: where it tells what it did.
        paths: only calls that are about these files.
    """
    options = ["-e", f"trace={','.join(name for name, _ in injections)}"]
    options += [word for name, what in injections for word in ("-e", f"inject={name}:{what}")]
    options += [word for path in paths for word in ("-P", str(path))]
    return [strace(), "-f", "-o", str(log), *options]  # with --seccomp-bpf strace 6.1 injects nothing


def killing_at(call):
    """What to start a command under, so that SIGKILL ends it as it enters such a call."""
    return under((call.name, f"signal=KILL:when={call.ordinal}"))


def _word(word):
    if word.startswith('"'):
        return unhex(word.strip('"'))
    if descriptor := re.fullmatch(r"(\w+)<([^>]*)>", word):
        return Descriptor(descriptor[1], _text(descriptor[2]))
    return word


def _paths(name, words, cwd):
    if name in BY_DESCRIPTOR:
        descriptors = [word.path for word in words if isinstance(word, Descriptor)]
        return descriptors[1:2] if name == "copy_file_range" else descriptors[:1]
    found, folder = [], cwd
    for word in words:
        if isinstance(word, Descriptor):
            folder = word.path
        elif isinstance(word, bytes):
            found.append(str(Path(folder, os.fsdecode(word))))
    return found


def unhex(text):
    """Strace's -xx as bytes."""
    return _HEX.sub(lambda run: bytes.fromhex(run[0].replace("\\x", "")).decode("latin-1"), text).encode("latin-1")


def _text(text):
    return os.fsdecode(unhex(text))
