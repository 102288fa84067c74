"""Fixtures of every test: seeded random draws, and each kernel path that this CPU can run."""

import signal
import zlib

import chromium
import numpy as np
import pytest
from hypothesis import settings

from tools import require_tool

pytest.register_assert_rewrite("training", "machine.runs")  # imported by tests: a failure says what differs

# Under nohup SIGHUP is ignored, and a child would begin so: behind a handler it begins with the default.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# A board is slow and shared: a deadline there would test the machine. derandomize: a red test stays red.
settings.register_profile("edgedst", deadline=None, derandomize=True)
settings.load_profile("edgedst")


@pytest.fixture(autouse=True)
def _ctrl_c():
    """Ctrl-C is pytest's again behind a test that ran the command line in this process, which ends with it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    if signal.getsignal(signal.SIGINT) != before:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def rng(request):
    """NumPy's generator, seeded by the test's name: other draws in every test, the same ones every time."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


def _isas():
    """Kernel paths of this CPU; none when the core is not built, so that tests without it still run."""
    try:
        from edgedst import core
    except ImportError:
        return ()
    return core.isas


@pytest.fixture(params=_isas())
def isa(request):
    """Run the test on every kernel path, the scalar reference first."""
    from edgedst import core

    before = core.isa()
    core.set_isa(request.param)
    yield request.param
    core.set_isa(before)


@pytest.fixture
def threads():
    """`core.set_threads`, back at one thread afterwards."""
    from edgedst import core

    yield core.set_threads
    core.set_threads(1)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium; see `require_tool` for what happens without one."""
    browser = chromium.Browser(require_tool(*chromium.NAMES), tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
