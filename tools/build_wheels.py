"""Build a release from the newest commit: an sdist, a wheel for each Python and machine, and their SHA256SUMS.

Usage: python tools/build_wheels.py [--output dist] [--machines x86_64 aarch64] [--glibc 2.31]

PYTHONS names the interpreters (default "python3.10 python3.11 python3.12"). 3.12's wheel holds the stable ABI: it is
for every Python after it, too. Another machine's wheels need its compiler (g++-aarch64-linux-gnu), no Python and no
system of it. A commit gives the same bytes each time, with the same compilers and tools/wheel_requirements.txt.
"""

import argparse
import base64
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "tools" / "wheel_requirements.txt"
ELF_MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine in <elf.h>
STABLE_ABI = (3, 12)  # nanobind's stable ABI begins there
GLIBC = "2.31"  # Debian 11, the oldest Raspberry Pi OS whose users can have Python 3.10


def main() -> None:
    """Build everything into --output, and say what each file weighs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--machines", nargs="+", choices=sorted(ELF_MACHINES.values()), default=["x86_64", "aarch64"])
    parser.add_argument("--glibc", default=GLIBC, help="the oldest glibc that the wheels promise to run on")
    options = parser.parse_args()
    compilers = {machine: compiler_of(machine) for machine in options.machines}
    pythons = interpreters(os.environ.get("PYTHONS", "python3.10 python3.11 python3.12").split())
    commit, seconds = run("git", "log", "-1", "--format=%H %ct").split()
    if run("git", "status", "--porcelain", "--untracked-files=no"):
        print("Uncommitted changes are not in these wheels: they are built from the newest commit.", file=sys.stderr)
    os.environ |= {"SOURCE_DATE_EPOCH": seconds, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    options.output.mkdir(parents=True, exist_ok=True)
    for old in released(options.output):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tools = {version: environment(python, work / version) for version, python in pythons.items()}
        sdist = build_sdist(next(iter(tools.values())), work / "checkout", options.output)
        # From the sdist, not the checkout: so the sdist is complete.
        run("tar", "-xf", sdist.resolve(), "-C", work)
        source = work / sdist.name.removesuffix(".tar.gz")
        for version, bin_folder in tools.items():
            for machine, compiler in compilers.items():
                built = build_wheel(bin_folder, version, machine, compiler, source, work / f"{version}-{machine}")
                bill = bill_of_materials(built, versions_in(bin_folder), compiler, commit, int(seconds))
                wheel = options.output / promised_name(built.name, machine, options.glibc)
                repack(built, wheel, machine, options.glibc, bill, licenses(bin_folder))
                audit(bin_folder, wheel, machine, options.glibc)
    write_checksums(options.output)


def run(*command: str | Path, **more: object) -> str:
    """The command's standard output; what it wrote is shown where it fails."""
    done = subprocess.run(command, cwd=more.pop("cwd", ROOT), capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def compiler_of(machine: str) -> str:
    """The C++ compiler for a machine: $CXX or c++ for this one, Debian's cross-compiler for another."""
    name = os.environ.get("CXX", "c++") if machine == platform.machine() else f"{machine}-linux-gnu-g++"
    if shutil.which(name) is None:
        package = f"g++-{machine.replace('_', '-')}-linux-gnu" if machine != platform.machine() else "g++"
        sys.exit(
            f"Wheels for {machine} need the compiler {name}, which is not on PATH: run `sudo apt install {package}`, "
            f"or name the machines that you want: --machines {platform.machine()}."
        )
    return name


def interpreters(names: list[str]) -> dict[str, str]:
    """Version ("3.10") to interpreter. One of those that share the stable ABI's wheel is enough: the oldest."""
    found = {}
    for name in names:
        try:
            tell = "import sys; print('%d.%d' % sys.version_info[:2])"
            found[subprocess.run([name, "-c", tell], capture_output=True, text=True, check=True).stdout.strip()] = name
        except (OSError, subprocess.CalledProcessError):
            sys.exit(
                f"Wheels are made with {', '.join(names)}, each with venv and headers, and {name} does not start. "
                f'Install it, or name those that you have: make wheels PYTHONS="python3.11 /opt/bin/python3.12".'
            )
    ordered = sorted(found, key=version_tuple)
    sharing = [version for version in ordered if version_tuple(version) >= STABLE_ABI]
    return {version: found[version] for version in ordered if version not in sharing[1:]}


def version_tuple(version: str) -> tuple[int, ...]:
    """(3, 10) of "3.10"."""
    return tuple(int(part) for part in version.split("."))


def environment(python: str, folder: Path) -> Path:
    """A virtual environment of `python` with the pinned tools; its bin folder."""
    run(python, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS)
    return folder / "bin"


def build_sdist(bin_folder: Path, checkout: Path, output: Path) -> Path:
    """The sdist of the newest commit: of the files that git knows, so that nothing else gets in."""
    checkout.mkdir()
    run("git", "archive", f"--output={checkout}.tar", "HEAD")
    run("tar", "-xf", f"{checkout}.tar", "-C", checkout)
    build = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    run(bin_folder / "python", "-c", build, output.resolve(), cwd=checkout)
    return next(output.glob("edgedst-*.tar.gz"))


def build_wheel(bin_folder: Path, version: str, machine: str, compiler: str, source: Path, work: Path) -> Path:
    """scikit-build-core's wheel, labelled linux_<machine>. CMakeLists.txt refuses a label that the compiler belies."""
    started = time.monotonic()
    defines = {
        "EDGEDST_PORTABLE": "ON",
        "EDGEDST_WERROR": "ON",
        "CMAKE_CXX_COMPILER": compiler,
        # Folders' names in assertions and debug information would differ between two builds.
        "CMAKE_CXX_FLAGS": f"-ffile-prefix-map={work.parent}=edgedst",
    }
    variables = {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    if machine != platform.machine():
        tag = f"cpython-{version.replace('.', '')}-{machine}-linux-gnu"
        variables |= {"_PYTHON_HOST_PLATFORM": f"linux-{machine}", "SETUPTOOLS_EXT_SUFFIX": f".{tag}.so"}
        defines |= {
            "CMAKE_SYSTEM_NAME": "Linux",
            "CMAKE_SYSTEM_PROCESSOR": machine,
            "Python_INCLUDE_DIR": copied_headers(bin_folder, work / "include"),
        }
    variables["CMAKE_ARGS"] = shlex.join(f"-D{name}={value}" for name, value in defines.items())
    settings = [f"--config-settings=build-dir={work / 'build'}"]
    if version_tuple(version) >= STABLE_ABI:
        settings.append(f"--config-settings=wheel.py-api=cp{''.join(map(str, STABLE_ABI))}")
    pip = [bin_folder / "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, *settings, "--wheel-dir", work, source, env=os.environ | variables)
    built = next(work.glob("edgedst-*.whl"))
    print(f"Python {version}, {machine}: compiled in {time.monotonic() - started:.0f} s", flush=True)
    return built


def copied_headers(bin_folder: Path, folder: Path) -> Path:
    """This machine's Python headers, alone: a cross-compiler must not see what else is in /usr/include.

    pyconfig.h of x86-64 and AArch64 Linux agree in every size and in all that a module compiles by. Debian keeps it
    in a folder named after the machine, and in its place one that would look for another machine's.
    """
    tell = "import sysconfig; print(sysconfig.get_path('include'), sysconfig.get_config_var('MULTIARCH'), sep='\\n')"
    headers, machine = run(bin_folder / "python", "-c", tell).splitlines()
    shutil.copytree(headers, folder)
    configuration = Path(headers).parent / machine / Path(headers).name / "pyconfig.h"
    if configuration.exists():
        shutil.copyfile(configuration, folder / "pyconfig.h")
    return folder


def promised_name(name: str, machine: str, glibc: str) -> str:
    """A wheel's file name with the platform tag that it promises."""
    return name.replace(f"linux_{machine}.whl", f"{platform_tag(machine, glibc)}.whl")


def platform_tag(machine: str, glibc: str) -> str:
    """manylinux_2_31_aarch64 and the like (PEP 600)."""
    return f"manylinux_{glibc.replace('.', '_')}_{machine}"


def broken_promise(module: bytes, name: str, machine: str, glibc: str) -> str | None:
    """What a compiled module breaks of a tag's promise, in a sentence, or None."""
    tag = platform_tag(machine, glibc)
    if module[:4] != b"\x7fELF":
        return f"{name} is not an ELF file, and {tag} promises one for {machine}."
    number = int.from_bytes(module[18:20], "little")
    found = ELF_MACHINES.get(number, f"the ELF machine {number}")
    if found != machine:
        return f"{name} is compiled for {found}, and the tag {tag} promises {machine}. Look at the compiler's target."
    # The versions of the functions that it binds stand as whole strings in .dynstr.
    needed = {found.decode() for found in re.findall(rb"(?<=\0)GLIBC_([0-9.]+)(?=\0)", module)}
    newer = sorted((v for v in needed if version_tuple(v) > version_tuple(glibc)), key=version_tuple)
    if newer:
        return (
            f"{name} needs glibc {newer[-1]}, and the tag {tag} promises that {glibc} is enough. "
            f"`objdump -T` names the functions: bind older ones in edgedst/csrc/system/portable.h, or promise less: "
            f"--glibc {newer[-1]}."
        )
    return None


def repack(built: Path, wheel: Path, machine: str, glibc: str, bill: str, texts: dict[str, str]) -> None:
    """Write `built` as `wheel`: with its tag, bill of materials (PEP 770) and others' licenses, in order, undated."""
    with zipfile.ZipFile(built) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}
    info = next(name for name in files if name.endswith(".dist-info/WHEEL")).removesuffix("/WHEEL")
    for name, content in files.items():
        if name.endswith(".so") and (sentence := broken_promise(content, name, machine, glibc)):
            sys.exit(sentence)
    tag = platform_tag(machine, glibc).encode()
    files[f"{info}/WHEEL"] = files[f"{info}/WHEEL"].replace(f"linux_{machine}".encode(), tag)
    files[f"{info}/sboms/edgedst.cdx.json"] = bill.encode()
    files |= {f"{info}/licenses/{name}": text.encode() for name, text in texts.items()}
    record = f"{info}/RECORD"
    del files[record]
    files[record] = "".join(
        [*(f"{name},{record_hash(files[name])},{len(files[name])}\n" for name in sorted(files)), f"{record},,\n"]
    ).encode()  # last, as PEP 427 recommends for what describes the archive
    date = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in [*sorted(set(files) - {record}), record]:
            entry = zipfile.ZipInfo(name, date)
            entry.external_attr = (0o100755 if name.endswith(".so") else 0o100644) << 16
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED, 9)


def record_hash(content: bytes) -> str:
    """A file's hash as RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def versions_in(bin_folder: Path) -> dict[str, str]:
    """Version of each tool in an environment. pip lists scikit_build_core as scikit-build-core or as it stands here."""
    listed = json.loads(run(bin_folder / "pip", "list", "--format=json"))
    return {tool["name"].replace("_", "-"): tool["version"] for tool in listed}


def licenses(bin_folder: Path) -> dict[str, str]:
    """Licenses of what is compiled in: nanobind's file, and the head of robin-map's header, which nanobind brings."""
    tell = "import nanobind; print(nanobind.__path__[0])"
    nanobind = Path(run(bin_folder / "python", "-c", tell))
    text = next(nanobind.parent.glob("nanobind-*.dist-info/**/LICENSE*")).read_text(encoding="utf-8")
    head = (nanobind / "ext/robin_map/include/tsl/robin_map.h").read_text(encoding="utf-8").partition("*/")[0]
    return {"LICENSE.nanobind": text, "LICENSE.robin-map": re.sub(r"^[/ ]\*+ ?", "", head, flags=re.MULTILINE).strip()}


def bill_of_materials(built: Path, tools: dict[str, str], compiler: str, commit: str, seconds: int) -> str:
    """CycloneDX: what is compiled in, what pip installs beside it, and what it was made with."""
    with zipfile.ZipFile(built) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    version = built.name.split("-")[1]
    needed = re.findall(r"^Requires-Dist: ([A-Za-z0-9._-]+)((?!.*extra).*)$", metadata, re.MULTILINE)
    components = [
        component("nanobind", tools["nanobind"], "BSD-3-Clause", "compiled in"),
        component("robin-map", None, "MIT", f"compiled in, as nanobind {tools['nanobind']} brings it"),
        *(component(name, None, None, f"installed by pip: {name}{rest}") for name, rest in needed),
    ]
    made_with = {name: tools[name] for name in ("scikit-build-core", "cmake", "ninja")}
    made_with[compiler] = run(compiler, "--version").splitlines()[0]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)),
            "tools": {
                "components": [
                    {"type": "application", "name": tool, "version": found} for tool, found in made_with.items()
                ]
            },
            "component": component("edgedst", version, "Apache-2.0", f"built from commit {commit}"),
        },
        "components": components,
        "dependencies": [{"ref": "edgedst", "dependsOn": [part["bom-ref"] for part in components]}],
    }
    return json.dumps(bill, indent=1) + "\n"


def component(name: str, version: str | None, license_id: str | None, description: str) -> dict[str, object]:
    """A component of the bill. pip chooses the version of a dependency: the bill then has none, but the range."""
    entry: dict[str, object] = {"type": "library", "bom-ref": name, "name": name, "description": description}
    if version:
        entry["version"] = version
    if license_id:
        entry["licenses"] = [{"license": {"id": license_id}}]
    if name != "robin-map":  # from GitHub; the others are PyPI's
        entry["purl"] = f"pkg:pypi/{name}" + (f"@{version}" if version else "")
    return entry


def audit(bin_folder: Path, wheel: Path, machine: str, glibc: str) -> None:
    """A second opinion: auditwheel, which also knows libstdc++'s versions and the instructions of a CPU."""
    found = json.loads(run(bin_folder / "auditwheel", "show", "--json", wheel.resolve()))["overall_tag"]
    if sentence := less_than_promised(found, machine, glibc):
        wheel.unlink()
        sys.exit(f"{wheel.name}: {sentence}")


def less_than_promised(found: str, machine: str, glibc: str) -> str | None:
    """How auditwheel's tag falls short of ours, in a sentence, or None."""
    match = re.fullmatch(r"manylinux_(\d+)_(\d+)_(\w+)", found)
    if match and match[3] == machine and (int(match[1]), int(match[2])) <= version_tuple(glibc):
        return None
    return (
        f"auditwheel allows the tag {found}, and {platform_tag(machine, glibc)} is promised. `auditwheel show` names "
        f"the libraries and versions: bind older ones in edgedst/csrc/system/portable.h, or promise less with --glibc."
    )


def released(output: Path) -> list[Path]:
    """A release's files; whatever else is in the folder is not ours to delete or to sign."""
    return sorted([*output.glob("edgedst-*.whl"), *output.glob("edgedst-*.tar.gz")])


def write_checksums(output: Path) -> None:
    """SHA256SUMS, for `sha256sum --check`; shows each file's size."""
    files = released(output)
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (output / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    for file in files:
        print(f"{file.stat().st_size / 1e6:6.2f} MB  {file}")


if __name__ == "__main__":
    main()
