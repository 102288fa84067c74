"""A disk by POSIX's rules alone: what no fsync covered may be there after a power cut, in part, or gone.

A file's bytes are on the disk once the file was fsynced; a name is once its folder was. Until then every single write,
new name, removal and rename may have reached the disk or not, in any order; one rename within a folder is whole or not
there. Real file systems promise more, each something else.
"""

import re
from pathlib import Path

from faults.system_calls import unhex, within


class Node:
    """A file or folder: what it is now, what of it is surely on the disk, and what came since."""

    def __init__(self, folder):
        self.now = {} if folder else b""
        self.durable = {} if folder else b""
        self.since = []

    @property
    def is_folder(self):
        return isinstance(self.now, dict)

    def change(self, *operation):
        self.now = _changed(self.now, operation)
        self.since.append(operation)

    def sync(self):
        self.durable, self.since = self.now, []

    def after_cut(self, rng):
        """One of the contents that a cut may leave; without `rng` the least of them."""
        if rng is None or not self.since:
            return self.durable
        kept = self.since
        how = rng.choice(("none", "all", "first", "some", "zeros"))
        if how == "none":
            kept = []
        elif how == "first":
            kept = kept[: rng.randrange(len(kept) + 1)]
        elif how == "some" or (how == "zeros" and self.is_folder):
            kept = [operation for operation in kept if rng.random() < 0.5]
        elif how == "zeros":  # the length came through, the new bytes did not
            kept = [("write", at, bytes(len(data))) if what == "write" else (what, at, data) for what, at, data in kept]
        content = self.durable
        for operation in kept:
            content = _changed(content, operation)
        return content


def _changed(content, operation):
    what, where, value = operation
    if isinstance(content, dict):
        content = dict(content)
        if what == "rename":
            content.pop(where, None)
            content[value[0]] = value[1]
        elif what == "name":
            content[where] = value
        else:
            content.pop(where, None)
        return content
    if what == "truncate":
        return content[:where].ljust(where, b"\0")
    return content[:where].ljust(where, b"\0") + value + content[where + len(value) :]


class Disk:
    """A folder on such a disk, which a program's calls are played on.

    Args:
        root: the folder. What is in it now is on the disk.
    """

    def __init__(self, root):
        self.root = str(root)
        self.top = Node(folder=True)
        self._offsets = {}
        self._take(Path(root), self.top)

    def _take(self, path, node):
        for entry in path.iterdir() if node.is_folder else ():
            made = Node(entry.is_dir())
            node.now[entry.name] = made
            if made.is_folder:
                self._take(entry, made)
            else:
                made.now = entry.read_bytes()
        node.sync()

    def play(self, call):
        """One call of the program."""
        if any(within(path, self.root) for path in call.paths):
            name = {"pwrite64": "pwrite", "fdatasync": "fsync", "creat": "open"}.get(call.name, call.name)
            getattr(self, "_" + re.sub("at2?$", "", name))(call)

    def _at(self, path):
        node = self.top
        for part in Path(path).relative_to(self.root).parts:
            node = node.now.get(part) if node is not None and node.is_folder else None
        return node

    def _folder(self, path):
        return self._at(Path(path).parent), Path(path).name

    def _open(self, call):
        node = self._at(call.paths[0])
        if node is None:
            folder, base = self._folder(call.paths[0])
            if "O_CREAT" not in call.flags or folder is None:  # of a file without a name, or of one that is gone
                return
            node = Node(folder=False)
            folder.change("name", base, node)
        elif "O_TRUNC" in call.flags and node.now:
            node.change("truncate", 0, b"")
        self._offsets[call.result, id(node)] = len(node.now) if "O_APPEND" in call.flags else 0

    def _opened(self, descriptor):
        """(file, key of its offset); the file is None where it has no name."""
        node = self._at(descriptor.path)
        return node, (int(descriptor.number), id(node))

    def _put(self, descriptor, data):
        node, key = self._opened(descriptor)
        if node is not None and data:
            at = self._offsets.get(key, 0)
            node.change("write", at, data)
            self._offsets[key] = at + len(data)

    def _write(self, call):
        self._put(call.arguments[0], call.arguments[1][: call.result])

    def _writev(self, call):
        self._put(call.arguments[0], b"".join(map(unhex, re.findall(r'iov_base="([^"]*)"', call.flags))))

    def _pwrite(self, call):
        descriptor, data, _, at = call.arguments
        if node := self._at(descriptor.path):
            node.change("write", int(at), data[: call.result])

    def _sendfile(self, call):
        target, source, at, _ = call.arguments
        self._copy(target, source, at, call.result)

    def _copy_file_range(self, call):
        source, at, target = call.arguments[:3]
        self._copy(target, source, at, call.result)

    def _copy(self, target, source, at, count):
        """From a file that does not change; `at` is where, or NULL: behind what was copied to the target before."""
        start = self._offsets.get(self._opened(target)[1], 0) if at == "NULL" else int(re.search(r"\d+", at)[0])
        self._put(target, Path(source.path).read_bytes()[start : start + count])

    def _lseek(self, call):
        self._offsets[self._opened(call.arguments[0])[1]] = call.result

    def _ftruncate(self, call):
        node, size = self._at(call.arguments[0].path), int(call.arguments[1])
        if node is not None and len(node.now) != size:
            node.change("truncate", size, b"")

    def _fsync(self, call):
        if node := self._at(call.arguments[0].path):
            node.sync()

    def _mkdir(self, call):
        folder, base = self._folder(call.paths[0])
        folder.change("name", base, Node(folder=True))

    def _rename(self, call):
        (source, old), (target, new) = self._folder(call.paths[0]), self._folder(call.paths[1])
        node = source.now[old]
        if source is target:
            source.change("rename", old, (new, node))
        else:
            target.change("name", new, node)
            source.change("gone", old, None)

    def _link(self, call):
        folder, base = self._folder(call.paths[1])
        folder.change("name", base, self._at(call.paths[0]))

    def _unlink(self, call):
        folder, base = self._folder(call.paths[0])
        folder.change("gone", base, None)

    _rmdir = _unlink

    def tree(self, rng=None):
        """{path below the root: bytes, or None for a folder} after a power cut now; without `rng` the least there is.

        What is sure is in the least tree; after the last fsync every tree is the least one.
        """
        found = {}

        def walk(node, place):
            content = node.after_cut(rng)
            if not isinstance(content, dict):
                found[place] = content
                return
            if place:
                found[place] = None
            for name, inner in sorted(content.items()):
                walk(inner, f"{place}/{name}" if place else name)

        walk(self.top, "")
        return found


def unsure(disk):
    """Files whose bytes, and names that, no fsync covers. A removal that is undone by a cut does no harm."""
    found = []

    def walk(node, place):
        if node.is_folder:
            names = [value[0] if what == "rename" else where for what, where, value in node.since if what != "gone"]
            found.extend(f"{place}{name}" for name in names if name in node.now)
            for name, inner in node.now.items():
                walk(inner, f"{place}{name}/")
        elif node.since:
            found.append(place.rstrip("/"))

    walk(disk.top, "")
    return found


def write_tree(tree, folder):
    for path, content in tree.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
