"""Programs that some tests run and no Python package brings: compilers, emulators, a browser."""

import os
import shutil

import pytest


def require_tool(*names):
    """Path of the first of `names` that is on PATH. Without it the test is skipped, saying so.

    With EDGEDST_REQUIRE_TOOLS=1, which .ci/run sets, it fails instead: what was never run must not look green.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    return without(f"needs {' or '.join(names)}")


def without(reason):
    """End the test for want of something of this machine: skipped, or failed with EDGEDST_REQUIRE_TOOLS=1."""
    if os.environ.get("EDGEDST_REQUIRE_TOOLS") == "1":
        pytest.fail(f"EDGEDST_REQUIRE_TOOLS=1, and this test {reason}")
    return pytest.skip(reason)
