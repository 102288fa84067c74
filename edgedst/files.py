"""The one way in which edgedst writes files: whole or not at all, and on the disk before anything counts on them.

A file is written under a temporary name of its own, fsynced, renamed, and its folder is fsynced. Files of one result
get their names together: when one of them cannot, all are as they were. Standard library only, and little of it: the
lean trainer writes with it too.
"""

import os

from edgedst.errors import RunFolderError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def write_whole(path: str, content: bytes, option: str = "--run-dir") -> None:
    """Write a file whole, or leave what was there.

    Args:
        path: of the file.
        content: all of it.
        option: see `folder_error`.

    Raises:
        RunFolderError: it cannot be written; what `path` was before stays.
    """
    write_together({path: content}, option)


def write_together(contents: "dict[str, bytes]", option: str = "--run-dir") -> None:
    """Write the files of one result whole, all of them, or leave what was there.

    Args:
        contents: by path.
        option: see `folder_error`.

    Raises:
        RunFolderError: one cannot be written; what all of them were before stays.
    """
    named: list[tuple[str, str]] = []
    descriptors = []  # kept open: their locks say that this process lives
    path = ""
    try:
        for path, content in contents.items():
            descriptor, name = temporary(path)
            named.append((name, path))
            descriptors.append(descriptor)
            write_all(descriptor, content)
        put_in_place(named)
    except OSError as error:
        raise folder_error(error, error.filename2 or path, option) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        for name, _ in named:
            remove(name)


def temporary(path: str) -> "tuple[int, str]":
    """Make an empty file beside `path`, of a name that nobody can have foreseen.

    Its lock says that its writer lives: it is held as long as the descriptor is open. What earlier writers of `path`
    left behind when they were killed is removed.

    Returns:
        descriptor, to write and close; name, for `put_in_place`.

    Raises:
        OSError: it cannot be made, or `path` is what no file may replace.
    """
    check_replaceable(path)
    remove_leftovers(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        name = temporary_name(path)
        descriptor = os.open(name, flags, 0o666)
        locked(descriptor)
        if os.fstat(descriptor).st_nlink:  # else it was taken for a leftover before it had its lock
            return descriptor, name
        os.close(descriptor)


def check_replaceable(path: str) -> None:
    """Refuse what a rename would take from everybody: a device, a pipe, and /dev/stdout, whatever it leads to.

    Raises:
        FileExistsError: `path` is such.
    """
    of_process = os.path.islink(path) and os.readlink(path).startswith("/proc/")
    if of_process or (os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))):
        raise FileExistsError(17, "it is no regular file", path)


def temporary_name(path: str) -> str:
    """One beside `path` that nobody can have foreseen; `remove_leftovers` knows its form."""
    folder, base = os.path.split(path)
    # A name may have 255 bytes, and this one is longer by 14 characters.
    return os.path.join(folder, f".{base[:60]}.{os.urandom(4).hex()}.tmp")


def remove_leftovers(path: str) -> None:
    """Remove the temporaries of `path` that no living process writes."""
    folder, base = os.path.split(path)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return
    start = f".{base[:60]}."
    for name in names:
        if name.startswith(start) and name.endswith(".tmp") and len(name) == len(start) + 12:
            left = os.path.join(folder, name)
            try:
                descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            if locked(descriptor):
                remove(left)
            os.close(descriptor)


def put_in_place(named: "Sequence[tuple[str, str]]") -> None:
    """Give written files, or filled folders, their names: all of them, or none.

    What is killed between two of the renames leaves new files beside old ones: no file system renames two at once.

    Args:
        named: (temporary name, name) of each, all on the disk in whatever state.

    Raises:
        OSError: one cannot have its name; those before it are as they were.
    """
    for made, _ in named:
        sync(made)
    kept: list[tuple[str, str]] = []
    done: list[str] = []
    try:
        for made, path in named:
            if path != named[-1][1]:  # nothing comes after the last one that could fail
                _keep(path, kept)
            os.replace(made, path)
            done.append(path)
    except BaseException:  # an interrupt, too: where there are no links, a file may be without its name just now
        for path in set(done).difference([path for _, path in kept]):
            remove(path)
        for old, path in kept:
            if os.path.lexists(old):
                os.replace(old, path)
                remove(old)  # of two names of one file a rename leaves both
        raise
    for old, _ in kept:
        remove(old)
    for folder in dict.fromkeys([os.path.dirname(path) for _, path in named]):
        sync(folder or ".")


def _keep(path: str, kept: "list[tuple[str, str]]") -> None:
    """A second name for a file that is about to be replaced; the only one where the file system has no links."""
    if os.path.islink(path) or os.path.isfile(path):
        old = temporary_name(path)
        try:
            os.link(path, old, follow_symlinks=False)
        except OSError:  # FAT and exFAT; killed before the next rename, `old` stays: it is no leftover by its name
            old = f"{old[:-4]}.old"
            kept.append((old, path))
            os.rename(path, old)
        else:
            kept.append((old, path))


def write_all(descriptor: int, content: "bytes | memoryview") -> None:
    """Write every byte.

    Raises:
        OSError: some could not be written.
    """
    view = memoryview(content).cast("B")
    while len(view):
        view = view[os.write(descriptor, view) :]


def sync(path: str) -> None:
    """Put on the disk what a file holds, or which names a folder has.

    Raises:
        OSError: that failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: str) -> "list[str]":
    """Make a folder and those above it that are missing; their names are on the disk afterwards.

    Returns:
        all that it made, outermost first, for `remove_made`.

    Raises:
        OSError: it cannot be made; FileExistsError when it, the last one, is there already.
    """
    parent = os.path.dirname(path.rstrip("/")) or "."
    made: list[str] = []
    try:
        if not os.path.isdir(parent):
            try:
                made = make_folder(parent)
            except FileExistsError:  # made by another process in this moment
                pass
        os.mkdir(path)
        made.append(path)
        sync(parent)
    except OSError:
        remove_made(made)
        raise
    return made


def remove_made(folders: "list[str]") -> None:
    """Remove of what `make_folder` made what is empty, as it is where nothing came of it."""
    for folder in reversed(folders):
        try:
            os.rmdir(folder)
        except OSError:
            pass


def locked(descriptor: int) -> bool:
    """Lock a file until it is closed; False when another process holds it. True where a file system has no locks."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def remove(path: str) -> None:
    """Remove a file if it is there; what cannot be removed stays."""
    try:
        os.remove(path)
    except OSError:
        pass


def folder_error(error: OSError, path: str, option: str = "--run-dir") -> RunFolderError:
    """What failed to be written, why, and what to do next; `option` is the one that names another folder."""
    if isinstance(error, RunFolderError):
        return error
    advice = {
        2: f"Its folder is not there: make it, or choose another with `{option}`.",
        13: f"Check its permissions, or choose another folder with `{option}`.",
        16: f"It is a folder, or something is mounted there: choose another name with `{option}`.",
        17: f"Something else has that name: choose another with `{option}`.",
        20: f"A file is in the way: choose another folder with `{option}`.",
        21: f"It is a folder: choose another name with `{option}`.",
        27: "The file would be larger than is allowed here (`ulimit -f`).",
        28: f"Free some space, or choose another disk with `{option}`.",
        30: f"Choose a folder that is not mounted read-only with `{option}`.",
        122: f"Your disk quota is used up: free some space, or choose another disk with `{option}`.",
    }.get(error.errno or 0, f"Check the disk, or choose another folder with `{option}`.")
    return RunFolderError(f"`{path}` cannot be written: {error.strerror or error}. {advice}")


def quoted(word: str) -> str:
    """`shlex.quote` for what counts against a small budget: `shlex` would load `re`."""
    plain = all((c.isascii() and c.isalnum()) or c in "@%+=:,./-_" for c in word)
    return word if word and plain else "'" + word.replace("'", "'\"'\"'") + "'"


def close_each(descriptors: "list[int]") -> None:
    """What a forked process must not keep open. The list is empty then: what that forks has none of them."""
    while descriptors:
        os.close(descriptors.pop())


def is_robot_file(env: str) -> bool:
    """Whether an environment's name is the path of a robot.py, rather than an id."""
    return env.endswith(".py") and ":" not in os.path.basename(env)


def log_kind(log: str) -> "tuple[str, str]":
    """Of a setting `prefill`: `csv`, `parquet`, `minari`, `lerobot` or "" for what is none of them; and which one."""
    kind, colon, name = log.partition(":")
    if colon and name and kind in ("minari", "lerobot"):
        return kind, name
    ending = os.path.splitext(log)[1].lower()
    return (ending[1:], log) if ending in (".csv", ".parquet") else ("", log)


def absolute_log(log: str) -> str:
    """A log that is a file or a folder, from wherever a run goes on."""
    kind, name = log_kind(log)
    if kind in ("csv", "parquet"):
        return os.path.abspath(log)
    return f"{kind}:{os.path.abspath(name)}" if kind == "lerobot" and os.path.isdir(name) else log


def told_name(env: str) -> str:
    """An environment as files that leave this machine call it: a robot.py without its folders."""
    if not is_robot_file(env):
        return env
    name = "".join([c if c.isalnum() or c in "-_" else "-" for c in os.path.basename(env).removesuffix(".py")])
    return f"{name.strip('-')[:100] or 'robot'}.py"
