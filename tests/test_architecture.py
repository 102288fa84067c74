"""The house's rules, read from the syntax trees and #include lines: who may import whom (nothing runs to find out)."""

import ast
import graphlib
import re
import sys
from pathlib import Path

import pytest

import edgedst

PACKAGE = Path(edgedst.__file__).resolve().parent
MODULES = {
    ".".join(["edgedst", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in {"devices", "export"}
}

# Imports point down only. A part may import what stands on a lower floor, and its own.
FLOORS = [
    {"cli"},
    {"watch"},
    {"study"},
    {"profile"},
    {"api"},
    {"imports"},
    {"deploy", "live", "logs"},
    {"trainer"},
    {"training"},
    {"timing"},
    {"launch", "stage", "summary"},
    {"evaluation"},
    {"beginning", "prefill", "saving"},
    {"machine", "runs"},
    {"agents", "envs", "progress", "report"},
    {"flops"},
    {"reserve"},
    {"energy"},
    {"budget", "config", "boards"},
    {"disturbances"},
    {"setting"},
    {"child", "core", "density", "files", "folders", "parse", "plain_json", "signals", "spread", "updates"},
    {"_core"},
    {"errors", ""},  # "": edgedst/__init__.py, which holds the version
]
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}

# A library and the only places that may name it, at any depth of the syntax tree. One place each, so that replacing a
# library, or doing without it on a board, is a change in one place.
ONLY_IN = {
    "edgedst._core": {"edgedst.core"},
    "onnx": {"edgedst.deploy", "edgedst.imports.onnx_chain"},
    "onnxruntime": {"edgedst.deploy"},
    "gymnasium": {"edgedst.envs.gymnasium_host", "edgedst.envs.spaces", "edgedst.profile.peers"},
    "mujoco": {"edgedst.deploy.film"},
    "imageio": {"edgedst.deploy.film"},
    "imageio_ffmpeg": {"edgedst.deploy.film"},
    "PIL": {"edgedst.deploy.film"},
    "torch": {"edgedst.imports.stable_baselines"},
    "typer": {"edgedst.cli"},
    "rich": {"edgedst.cli"},
    "jinja2": {"edgedst.report"},
    "markupsafe": {"edgedst.report", "edgedst.profile"},
    "matplotlib": set(),
    "stable_baselines3": {"edgedst.profile.peers"},
    "rltools": {"edgedst.profile.peers"},
    "psutil": {"edgedst.profile.host_state"},
    "distributed": {"edgedst.study.cluster"},
    "pyarrow": {"edgedst.logs.parquet_log", "edgedst.logs.scalars", "edgedst.logs.transitions"},
    "minari": {"edgedst.logs.minari_log"},
    "tensorboard": {"edgedst.logs.scalars", "edgedst.study.beside_logs"},
    "wandb": {"edgedst.logs.scalars"},
    "optuna": {"edgedst.study.tuning"},
}

# Modules that the trainer must not load: each is memory taken from the replay.
HEAVY = {
    *("numpy", "torch", "gymnasium", "mujoco", "typer", "rich", "onnx", "onnxruntime", "safetensors"),
    *("argparse", "asyncio", "dataclasses", "inspect", "pathlib", "subprocess", "tomllib", "typing", "unittest"),
}


def is_type_checking(test):
    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


def imports(module, at_import_only=False, for_types=True):
    """Names that a module imports: `from edgedst import core` counts as edgedst.core.

    With `at_import_only`, those that importing the module executes: not inside functions, not under TYPE_CHECKING.
    With `for_types=False`, those that any use of it may execute: not under TYPE_CHECKING.
    """
    found = set()
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]

    def visit(node):
        if isinstance(node, ast.If) and is_type_checking(node.test):
            if at_import_only or not for_types:
                for other in node.orelse:
                    visit(other)
                return
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and at_import_only:
            return
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            found.add(base)
            if base.split(".")[0] == "edgedst":
                found.update(f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in KNOWN)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    return found


KNOWN = set(MODULES) | {"edgedst._core"}


def part_of(module):
    """edgedst.agents.td3 -> agents; edgedst -> ''."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def within(name, places):
    return any(name == place or name.startswith(place + ".") for place in places)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_only(module):
    part = part_of(module)
    assert part in FLOOR_OF, f"{module} has no floor: give `{part}` one in FLOORS, and in the design"
    for name in imports(module):
        if name.split(".")[0] != "edgedst" or part_of(name) == part:
            continue
        if part == "" and part_of(name) in ("core", "api"):
            continue  # inside a function: edgedst.capabilities() asks the core, edgedst.train the api
        assert FLOOR_OF[part_of(name)] > FLOOR_OF[part], f"{module} imports {name}, which is not below it"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_named_only_where_it_belongs(library):
    places = {module for module in MODULES if any(within(name, {library}) for name in imports(module))}
    strangers = {module for module in places if not within(module, ONLY_IN[library])}
    assert not strangers, f"{library} belongs in {sorted(ONLY_IN[library])}"


# The meter's two are loaded inside a function, by a run that meters its energy.
LEAN = [
    *("edgedst.trainer", "edgedst.live", "edgedst.machine.acting", "edgedst.profile.worker"),
    *("edgedst.energy.meter", "edgedst.energy.tally"),
]


@pytest.mark.parametrize("lean", LEAN)
def test_importing_a_lean_process_loads_no_heavy_module(lean):
    closure, stack = set(), [lean]
    chain = {}
    while stack:
        module = stack.pop()
        if module in closure:
            continue
        closure.add(module)
        for name in imports(module, at_import_only=True):
            assert name.split(".")[0] not in HEAVY, f"{module} imports {name} (reached from {chain.get(module)})"
            # Importing a.b.c runs a and a.b first.
            for depth in range(1, name.count(".") + 2):
                parent = ".".join(name.split(".")[:depth])
                if parent in MODULES:
                    chain.setdefault(parent, module)
                    stack.append(parent)
    assert "energy" in lean or "edgedst.envs" in closure


@pytest.mark.parametrize("module", MODULES)
def test_only_python_s_own_modules_and_declared_dependencies_are_imported(module):
    declared = set(ONLY_IN) | {"edgedst", "numpy", "safetensors", "tomli"}
    for name in imports(module, for_types=False):
        top = name.split(".")[0]
        assert top in declared or top in sys.stdlib_module_names, f"{module} imports {name}"


def test_what_runs_on_the_device_beside_the_actor_imports_nothing_of_edgedst():
    export = PACKAGE / "export" if (PACKAGE / "export").is_dir() else PACKAGE.parent / "export"
    for path in export.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "edgedst"], path


# The rooms of the C++ core, with the same rule: an #include points down, or stays in its room.
CSRC = Path(__file__).resolve().parent.parent / "edgedst" / "csrc"
CSRC_FLOORS = [
    {"bind"},  # Python's view; the rooms below do not know Python
    {"link", "mujoco", "rl", "sparse"},
    {"kernels", "memory"},
    {"numbers", "system"},
]
CSRC_FLOOR_OF = {room: floor for floor, rooms in enumerate(CSRC_FLOORS) for room in rooms}
INCLUDES = {
    path.relative_to(CSRC).as_posix(): re.findall(r'^#include ([<"].+?[>"])', path.read_text("utf-8"), re.MULTILINE)
    for path in sorted(CSRC.rglob("*"))
    if path.suffix in {".cpp", ".h"}
}


@pytest.mark.parametrize("source", INCLUDES)
def test_includes_of_the_core_name_their_room_and_point_down_only(source):
    room = source.partition("/")[0]
    assert room in CSRC_FLOOR_OF, f"{source} has no floor: give its room one in CSRC_FLOORS"
    for included in INCLUDES[source]:
        name = included[1:-1]
        if included.startswith("<"):
            assert room == "bind" or not name.startswith(("nanobind/", "Python.h")), f"{source} includes {name}"
            continue
        assert name in INCLUDES, f'{source} includes "{name}": say the room, as in "memory/arena.h"'
        other = name.partition("/")[0]
        assert other == room or CSRC_FLOOR_OF[other] > CSRC_FLOOR_OF[room], f"{source} includes {name}, which is above"


def test_no_two_units_of_the_core_include_each_other():
    """A unit is a header with its source: what either includes, the unit stands on."""
    stands_on = {}
    for source, included in INCLUDES.items():
        below = stands_on.setdefault(source.rpartition(".")[0], set())
        below.update(name[1:].rpartition(".")[0] for name in included if name.startswith('"'))
    for unit, below in stands_on.items():
        below.discard(unit)
    graphlib.TopologicalSorter(stands_on).prepare()  # raises CycleError with the circle
