"""A browser for the page's tests."""

import os

import chromium
import pytest


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium. Without one the tests are skipped; where EDGEDST_NEED_CHROMIUM is set (.ci/run) they fail."""
    program = chromium.installed()
    if program is None:
        sentence = "no Chromium to show the page in: sudo apt install chromium"
        if os.environ.get("EDGEDST_NEED_CHROMIUM"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    browser = chromium.Browser(program, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
