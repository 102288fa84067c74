"""mypy believes `_core.pyi`, so the stub and the compiled module have to name the same things."""

import ast
from pathlib import Path

import pytest

import edgedst
from edgedst import _core, core
from edgedst.errors import CoreNotBuilt

STUB = Path(edgedst.__file__).with_name("_core.pyi")


def stub_names(body):
    """Public names that a class or module body of the stub declares."""
    names = set()
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.AnnAssign):
            names.add(statement.target.id)
    return {name for name in names if not name.startswith("_")}


def public_names(thing):
    return {name for name in vars(thing) if not name.startswith("_")}


STUB_MODULE = ast.parse(STUB.read_text(encoding="utf-8"))
STUB_CLASSES = {node.name: node for node in STUB_MODULE.body if isinstance(node, ast.ClassDef)}


def test_stub_and_module_have_the_same_names():
    assert stub_names(STUB_MODULE.body) == public_names(_core)


@pytest.mark.parametrize("name", STUB_CLASSES)
def test_stub_and_module_classes_have_the_same_members(name):
    assert stub_names(STUB_CLASSES[name].body) == public_names(getattr(_core, name))


def test_a_core_that_is_older_than_the_python_files_is_told():
    with pytest.raises(CoreNotBuilt, match=r"another version: it has no `spmm_f64`\. In a checkout run"):
        core.spmm_f64  # noqa: B018  # asking is what fails
    with pytest.raises(CoreNotBuilt, match="has no `spmm_f64`"):
        from edgedst.core import spmm_f64  # noqa: F401
    assert not hasattr(core, "__path__")
