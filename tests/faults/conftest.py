import pytest

pytest.register_assert_rewrite("training", "faults.campaign")

from training import TINY, run_in, train  # noqa: E402  # rewritten, so that a failure says what differs


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The run folder of TINY, never disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, *TINY)
    return run_in(folder)


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory):
    """Two run folders whose actors differ."""
    folder = tmp_path_factory.mktemp("two")
    for seed in (0, 1):
        train(folder, *TINY, "--seed", str(seed))
    return sorted((folder / "runs").glob("*/*/s*"))
