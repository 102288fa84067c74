#!/bin/sh
# Says in one sentence which Debian packages are missing before the first build: PYTHON (default python3) of 3.10 or
# newer with venv and headers, a C++17 compiler, make. cmake and ninja are not asked for: pip brings them.
python=${PYTHON:-python3}
compiler=${CXX:-}
missing=

if ! command -v "$python" >/dev/null 2>&1; then
    missing="python3 python3-venv python3-dev"
else
    # A virtual environment's python answers for the interpreter that it was made from.
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        found=$("$python" -c 'import platform; print(platform.python_version())')
        echo "edgedst needs Python 3.10 or newer and \`$python\` is $found: install a newer one (\`sudo apt install python3\` on Debian 12, Ubuntu 22.04, Raspberry Pi OS 12 or newer) and name it, for example \`make PYTHON=python3.11 train\`." >&2
        exit 1
    fi
    case $(basename "$python") in
        python3.*) package=$(basename "$python") ;;
        *) package=python3 ;;
    esac
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || missing="$missing $package-venv"
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        missing="$missing $package-dev"
fi

if [ -z "$compiler" ]; then
    for candidate in c++ g++ clang++; do
        if command -v "$candidate" >/dev/null 2>&1; then
            compiler=$candidate
            break
        fi
    done
fi
if [ -z "$compiler" ] || ! command -v "${compiler%% *}" >/dev/null 2>&1; then
    missing="$missing g++"
elif ! echo '#include <optional>' | $compiler -std=c++17 -x c++ -fsyntax-only - >/dev/null 2>&1; then
    echo "edgedst needs a C++17 compiler and \`$compiler\` is not one: \`sudo apt install g++\` (version 9 or newer), or name another one, for example \`CXX=clang++ make train\`." >&2
    exit 1
fi
command -v make >/dev/null 2>&1 || missing="$missing make"

missing=$(echo $missing)
if [ -n "$missing" ]; then
    echo "edgedst cannot be built yet, because something that it needs is not installed: run \`sudo apt install $missing\` (Debian, Ubuntu, Raspberry Pi OS) and type the command again." >&2
    exit 1
fi
