"""A browser for the page's tests."""

import chromium
import pytest

from tools import require_tool


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium; see `require_tool` for what happens without one."""
    browser = chromium.Browser(require_tool(*chromium.NAMES), tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
