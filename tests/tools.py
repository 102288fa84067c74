"""Programs that some tests run and no Python package brings: compilers, emulators, a browser."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def require_tool(*names):
    """Path of the first of `names` on PATH or beside this Python. Without it the test is skipped, saying so.

    With EDGEDST_REQUIRE_TOOLS=1, which .ci/run sets, it fails instead: what was never run must not look green.
    """
    for name in names:
        # A virtual environment brings cmake and ninja, and is not activated where `make test` runs.
        if path := shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent):
            return path
    return without(f"needs {' or '.join(names)}")


def without(reason):
    """End the test for want of something of this machine: skipped, or failed with EDGEDST_REQUIRE_TOOLS=1."""
    if os.environ.get("EDGEDST_REQUIRE_TOOLS") == "1":
        pytest.fail(f"EDGEDST_REQUIRE_TOOLS=1, and this test {reason}")
    return pytest.skip(reason)
