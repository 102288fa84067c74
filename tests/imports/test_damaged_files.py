"""Damaged models: each is read or refused in one sentence, whatever its bytes have become."""

import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgedst[torch]'")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'edgedst[export]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgedst.errors import EdgedstError  # noqa: E402
from edgedst.imports.onnx_chain import read_onnx  # noqa: E402
from edgedst.imports.stable_baselines import read_stable_baselines  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden" / "imported_sac.zip"
TIMES = 150  # 20,000 were tried once, with no other error


def damaged(content, draw):
    """Some bytes changed, taken out, put in, or made the largest number."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        at = draw.randrange(len(content))
        content[at : at + draw.randrange(9)] = draw.choice(
            [bytes([draw.randrange(256)]), b"", draw.randbytes(8), b"\xff" * 4]
        )
    return bytes(content)


def refused_or_read(read, path):
    try:
        model = read(path)
        model.run(np.zeros(model.observation_size))
    except EdgedstError as error:
        told = str(error)
    else:
        return 0
    assert "\n" not in told
    assert path.name in told
    return 1


def test_a_damaged_zip_is_read_or_refused_in_a_sentence(tmp_path):
    draw, path, refused = random.Random(14), tmp_path / "model.zip", 0
    with zipfile.ZipFile(GOLDEN) as saved:
        members = {name: saved.read(name) for name in saved.namelist()}
    for _ in range(TIMES):
        broken = draw.choice([*members, ""])
        with zipfile.ZipFile(path, "w") as written:
            for name, content in members.items():
                written.writestr(name, damaged(content, draw) if name == broken else content)
        if not broken:
            path.write_bytes(damaged(path.read_bytes(), draw))
        refused += refused_or_read(read_stable_baselines, path)
    assert TIMES / 3 < refused < TIMES


def test_a_damaged_graph_is_read_or_refused_in_a_sentence(tmp_path, rng):
    draw, path, refused = random.Random(14), tmp_path / "model.onnx", 0
    constants = {"mean": rng.standard_normal(3), "w0": rng.standard_normal((8, 3)), "b0": rng.standard_normal(8)}
    constants |= {"w1": rng.standard_normal((8, 2)), "b1": rng.standard_normal(2)}
    nodes = [
        helper.make_node("Sub", ["obs", "mean"], ["a"]),
        helper.make_node("Gemm", ["a", "w0", "b0"], ["b"], transB=1),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w1"], ["d"]),
        helper.make_node("Add", ["d", "b1"], ["e"]),
        helper.make_node("Tanh", ["e"], ["actions"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])]
        for name, size in (("obs", 3), ("actions", 2))
    ]
    stored = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "actor", *ends, stored)
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    for _ in range(TIMES):
        path.write_bytes(damaged(content, draw))
        refused += refused_or_read(read_onnx, path)
    assert TIMES / 3 < refused < TIMES
