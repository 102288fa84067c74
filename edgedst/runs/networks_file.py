"""The safetensors file of a run's networks, written and read a layer at a time with the standard library.

A layer is unpacked into the workspace, row by row and sorted, so that a file does not depend on how the core packs it.
The format stands in docs/formats.md.
"""

import os
from binascii import crc32

from edgedst.errors import CheckpointError
from edgedst.files import put_in_place, remove, temporary, write_all
from edgedst.plain_json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgedst import core

CHUNK_BYTES = 32_768  # of a file, in memory at a time
_MOMENTS = ("adam_m", "adam_v")
_STATISTICS = ("running_mean", "running_variance")  # of hidden layers with batch normalisation


def write_networks(
    path: str,
    networks: "dict[str, core.Network]",
    workspace: "core.TopologyWorkspace",
    about: "dict[str, Any]",
    moments: bool = True,
) -> "dict[str, int]":
    """Write a file of networks; it is there when it is whole.

    Args:
        path: of the file.
        networks: by name; targets, whose names have "target" in them, have no moments.
        workspace: where a layer is unpacked to.
        about: its metadata.
        moments: whether it holds Adam's.

    Returns:
        Its `bytes` and `crc32`, for state.json.

    Raises:
        OSError: it cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": {"edgedst": dumps(about)}}
    offset = 0
    for name, network in networks.items():
        for layer, nnz in enumerate(network.nnz):
            for tensor, count in _tensors(name, network, layer, nnz, moments):
                dtype, end = _dtype(tensor), offset + 4 * count
                header[f"{name}.{layer}.{tensor}"] = {"dtype": dtype, "shape": [count], "data_offsets": [offset, end]}
                offset = end
    text = dumps(header).encode()
    text += b" " * (-len(text) % 8)
    written, checksum = 0, 0
    descriptor, made = temporary(path)
    try:

        def write(data: "bytes | memoryview") -> None:
            nonlocal written, checksum
            view = memoryview(data).cast("B")
            checksum = crc32(view, checksum)
            written += len(view)
            write_all(descriptor, view)

        write(len(text).to_bytes(8, "little"))
        write(text)
        for name, network in networks.items():
            for layer, nnz in enumerate(network.nnz):
                network.unpack(layer, workspace)
                for tensor, count in _tensors(name, network, layer, nnz, moments):
                    write(_memory(network, layer, workspace, tensor)[:count])
        put_in_place([(made, path)])
    finally:
        os.close(descriptor)
        remove(made)
    return {"bytes": written, "crc32": checksum}


def read_network(
    file: "Any",
    header: "dict[str, Any]",
    start: int,
    name: str,
    network: "core.Network",
    workspace: "core.TopologyWorkspace",
    moments: bool = True,
) -> None:
    """Fill a network from such a file.

    Args:
        file: that is read.
        header: of it.
        start: where its tensors begin.
        name: of the network in it.
        network: that is filled.
        workspace: where a layer is read to.
        moments: whether its moments are read, too; else they are zero.

    Raises:
        KeyError, ValueError: a tensor is not there or not of this network's size.
    """
    for layer in range(len(network.sizes) - 1):
        (nnz,) = header[f"{name}.{layer}.indices"]["shape"]
        for tensor, count in _tensors(name, network, layer, nnz):
            key, memory = f"{name}.{layer}.{tensor}", _memory(network, layer, workspace, tensor)
            if len(memory) < count:
                raise ValueError(f"{key} has {count} numbers and the run's network {len(memory)}")
            view = memory[:count].cast("B")
            if tensor.endswith(_MOMENTS) and not moments:
                view[:] = bytes(len(view))
                continue
            entry, wanted = header[key], _dtype(tensor)
            if entry["shape"] != [count] or entry["dtype"] != wanted:
                raise ValueError(f"{key} is {entry['dtype']}{entry['shape']}, expected {wanted}[{count}]")
            file.seek(start + entry["data_offsets"][0])
            read_into(file, view)
        network.pack(layer, workspace, nnz)


def _tensors(name: str, network: "core.Network", layer: int, nnz: int, moments: bool = True) -> "list[tuple[str, int]]":
    """(tensor, elements) of a layer in the order of the file."""
    out = network.sizes[layer + 1]
    kept = _MOMENTS if moments and "target" not in name else ()
    tensors = [("indices", nnz), ("values", nnz), *[(moment, nnz) for moment in kept]]
    tensors += [("bias", out), *[("bias_" + moment, out) for moment in kept]]
    if network.batch_norm and layer + 1 < len(network.nnz):
        tensors += [(statistic, out) for statistic in _STATISTICS]
    return tensors


def _dtype(tensor: str) -> str:
    return "U32" if tensor == "indices" else "F32"


def _memory(network: "core.Network", layer: int, workspace: "core.TopologyWorkspace", tensor: str) -> memoryview:
    if tensor.startswith(("bias", "running")):
        memory: memoryview = getattr(network, tensor)(layer)
    else:
        memory = getattr(workspace, tensor)
    return memory


def check_crc(file: "Any", path: str, size: int, expected: int, chunk: bytearray, whole: bool = True) -> None:
    """Read the first `size` bytes of a file, through `chunk`; with `whole` there must be no more.

    Raises:
        CheckpointError: they are not there, or not as their CRC-32 says.
    """
    found = os.fstat(file.fileno()).st_size
    checksum, left = 0, min(size, found)
    file.seek(0)
    while left:
        view = memoryview(chunk)[: min(left, len(chunk))]
        read_into(file, view)
        checksum = crc32(view, checksum)
        left -= len(view)
    if found < size or (whole and found != size) or checksum != expected:
        raise CheckpointError(
            f"`{path}` is damaged: expected {size} bytes with CRC-32 {expected}, got {found} bytes with "
            f"{checksum}. Take the checkpoint folder from a backup, or train anew."
        )


def read_header(file: "Any", size: int) -> "tuple[dict[str, Any], int]":
    """(header, where the tensors begin) of a safetensors file of so many bytes.

    Raises:
        ValueError: it has none.
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > size:
        raise ValueError("its networks' file has no safetensors header")
    return loads(file.read(length).decode()), 8 + length


def read_into(file: "Any", view: memoryview) -> None:
    """Fill a view from a file.

    Raises:
        ValueError: it ends too early.
    """
    while len(view):
        count = file.readinto(view)
        if not count:
            raise ValueError("a file of it ends too early")
        view = view[count:]
