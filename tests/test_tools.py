"""A missing program skips a test on a board, and fails it where all of them have to be there."""

import pytest

from tools import require_tool


def test_a_tool_on_the_path_is_found_by_the_first_name_that_exists(tmp_path, monkeypatch):
    program = tmp_path / "second"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert require_tool("first", "second") == str(program)


def test_a_missing_tool_skips_and_with_require_tools_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EDGEDST_REQUIRE_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs first or second"):
        require_tool("first", "second")
    monkeypatch.setenv("EDGEDST_REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="EDGEDST_REQUIRE_TOOLS=1, and this test needs first or second"):
        require_tool("first", "second")
