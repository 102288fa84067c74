"""What a wheel's name promises is checked before it leaves; the build itself is `make wheels` (CONTRIBUTING.md)."""

import base64
import csv
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import require_tool

ROOT = Path(__file__).resolve().parents[1]
specification = importlib.util.spec_from_file_location("build_wheels", ROOT / "tools" / "build_wheels.py")
build_wheels = importlib.util.module_from_spec(specification)
specification.loader.exec_module(build_wheels)


def module(machine, *versions):
    """The head of an ELF file for a machine, and the versions that it binds as .dynstr holds them."""
    head = b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little")
    return head + b"\0" + b"\0".join(version.encode() for version in versions) + b"\0"


X86_64, AARCH64, ARM = 62, 183, 40


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (module(AARCH64, "GLIBC_2.17", "GLIBC_2.29"), None),
        (module(AARCH64, "GLIBC_2.31"), None),
        (module(AARCH64, "GLIBC_2.4"), None),  # older than 2.31, whatever the digits say
        (module(AARCH64, "GLIBC_2.17", "GLIBC_2.34", "GLIBC_2.35"), "_core.so needs glibc 2.35, and the tag"),
        (module(X86_64, "GLIBC_2.17"), "_core.so is compiled for x86_64, and the tag manylinux_2_31_aarch64 promises"),
        (module(ARM), "_core.so is compiled for the ELF machine 40"),
        (b"MZ" + bytes(30), "_core.so is not an ELF file"),
    ],
)
def test_a_module_keeps_its_tag_s_promise_or_a_sentence_says_what_it_breaks(content, sentence):
    found = build_wheels.broken_promise(content, "_core.so", "aarch64", "2.31")
    assert found is None if sentence is None else found.startswith(sentence)


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        ("manylinux_2_31_aarch64", True),
        ("manylinux_2_17_aarch64", True),  # it would run on older ones, too
        ("manylinux_2_34_aarch64", False),  # libstdc++ or glibc of a newer Debian
        ("manylinux_2_31_x86_64", False),
        ("linux_aarch64", False),  # a library that no manylinux has
    ],
)
def test_auditwheel_has_to_allow_the_tag(found, holds):
    sentence = build_wheels.less_than_promised(found, "aarch64", "2.31")
    assert sentence is None if holds else f"allows the tag {found}, and manylinux_2_31_aarch64 is promised" in sentence


def interpreter(folder, name, version):
    """A program that answers for an interpreter of that version."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return str(program)


def test_interpreters_that_share_the_stable_abi_s_wheel_make_one(tmp_path):
    names = {version: interpreter(tmp_path, f"python{version}", version) for version in ("3.13", "3.12", "3.9", "3.10")}
    found = build_wheels.interpreters(list(names.values()))
    assert found == {version: names[version] for version in ("3.9", "3.10", "3.12")}


def test_a_missing_interpreter_is_named_with_a_way_out(tmp_path):
    with pytest.raises(SystemExit, match=r"python3\.10 does not start. Install it, or .* make wheels PYTHONS="):
        build_wheels.interpreters([str(tmp_path / "python3.10")])


def test_a_missing_cross_compiler_is_named_by_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(build_wheels.platform, "machine", lambda: "x86_64")
    with pytest.raises(SystemExit, match=r"apt install g\+\+-aarch64-linux-gnu`, or .*: --machines x86_64\."):
        build_wheels.compiler_of("aarch64")


METADATA = """\
Metadata-Version: 2.4
Name: edgedst
Requires-Dist: mujoco>=3.2
Requires-Dist: tomli>=2.0; python_version < '3.11'
Requires-Dist: onnx>=1.17; extra == 'export'
"""


@pytest.fixture
def built(tmp_path):
    """A wheel as scikit-build-core leaves it, of three files."""
    path = tmp_path / "edgedst-0.1.0-cp312-abi3-linux_aarch64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("edgedst/_core.abi3.so", module(AARCH64, "GLIBC_2.29"))
        archive.writestr("edgedst-0.1.0.dist-info/METADATA", METADATA)
        archive.writestr("edgedst-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: cp312-abi3-linux_aarch64\n")
        archive.writestr("edgedst-0.1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def wheel(built, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    path = tmp_path / build_wheels.promised_name(built.name, "aarch64", "2.31")
    build_wheels.repack(built, path, "aarch64", "2.31", "{}", {"LICENSE.nanobind": "as is"})
    return path


def test_a_wheel_says_its_tag_in_its_name_and_inside(wheel):
    assert wheel.name == "edgedst-0.1.0-cp312-abi3-manylinux_2_31_aarch64.whl"
    told = zipfile.ZipFile(wheel).read("edgedst-0.1.0.dist-info/WHEEL").decode()
    assert told.splitlines()[1] == "Tag: cp312-abi3-manylinux_2_31_aarch64"


def test_a_wheel_s_record_has_every_file_and_its_hash(wheel):
    archive = zipfile.ZipFile(wheel)
    record = "edgedst-0.1.0.dist-info/RECORD"
    rows = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(archive.read(record).decode()))}
    assert set(rows) == set(archive.namelist())
    assert {
        "edgedst-0.1.0.dist-info/sboms/edgedst.cdx.json",
        "edgedst-0.1.0.dist-info/licenses/LICENSE.nanobind",
    } < set(rows)
    assert rows.pop(record) == ("", "")
    for name, (digest, size) in rows.items():
        content = archive.read(name)
        hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        assert (digest, int(size)) == (f"sha256={hashed}", len(content))


def test_the_same_files_make_the_same_wheel_whatever_their_order_and_date(built, wheel, tmp_path):
    again = tmp_path / "again.whl"
    shuffled = tmp_path / "shuffled.whl"
    with zipfile.ZipFile(built) as archive, zipfile.ZipFile(shuffled, "w") as turned:
        for name in reversed(archive.namelist()):
            turned.writestr(zipfile.ZipInfo(name, (2001, 1, 1, 0, 0, 0)), archive.read(name))
    build_wheels.repack(shuffled, again, "aarch64", "2.31", "{}", {"LICENSE.nanobind": "as is"})
    assert again.read_bytes() == wheel.read_bytes()


def test_a_wheel_of_another_machine_s_module_is_not_written(built, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    wheel = tmp_path / "wrong.whl"
    with pytest.raises(SystemExit, match="is compiled for aarch64, and the tag manylinux_2_31_x86_64 promises x86_64"):
        build_wheels.repack(built, wheel, "x86_64", "2.31", "{}", {})
    assert not wheel.exists()


def test_the_bill_of_materials_names_what_is_compiled_in_and_what_pip_adds(built, monkeypatch):
    tools = {"nanobind": "3.1.0", "scikit-build-core": "1.1.2", "cmake": "4.0", "ninja": "1.13"}
    monkeypatch.setattr(build_wheels, "run", lambda *command: "c++ (Debian) 12.2.0\nCopyright")
    bill = json.loads(build_wheels.bill_of_materials(built, tools, "c++", "6a32c6c", 1700000000))
    parts = {part["name"]: part for part in bill["components"]}
    assert set(parts) == {"nanobind", "robin-map", "mujoco", "tomli"}  # onnx is an extra
    assert parts["nanobind"]["purl"] == "pkg:pypi/nanobind@3.1.0"
    assert parts["tomli"]["description"] == "installed by pip: tomli>=2.0; python_version < '3.11'"
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert {"type": "application", "name": "c++", "version": "c++ (Debian) 12.2.0"} in bill["metadata"]["tools"][
        "components"
    ]


def test_what_else_is_in_the_folder_is_no_part_of_a_release(built, tmp_path):
    (tmp_path / "edgedst-0.1.0.tar.gz").write_bytes(b"sdist")
    (tmp_path / "edgedst-notes").mkdir()
    build_wheels.write_checksums(tmp_path)
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [built.name, "edgedst-0.1.0.tar.gz"]
    assert lines[1].startswith(hashlib.sha256(b"sdist").hexdigest())


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="on AArch64 the label is right")
def test_a_toolchain_file_alone_is_refused_since_the_wheel_s_label_would_be_wrong(tmp_path):
    cmake, compiler = require_tool("cmake"), require_tool("aarch64-linux-gnu-g++")
    toolchain = tmp_path / "aarch64.cmake"
    toolchain.write_text(
        f"set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR aarch64)\nset(CMAKE_CXX_COMPILER {compiler})\n"
    )
    folders = ["-S", str(ROOT), "-B", str(tmp_path / "build")]
    told = subprocess.run(
        [cmake, *folders, f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", f"-DPython_EXECUTABLE={sys.executable}"],
        capture_output=True,
        text=True,
        check=False,
    )
    sentence = " ".join(told.stderr.split())
    assert told.returncode != 0
    assert "compiles for aarch64, and Python" in sentence
    assert "would label the result linux-x86_64. Cross-compile with `make wheels`, or set beside" in sentence
