"""An export that earns less than the trained actor is refused."""

from dataclasses import replace

import numpy as np
import pytest

from edgedst.deploy.onnx import build_model, export_actor
from edgedst.deploy.return_drop import check_return_drop, parse_share
from edgedst.errors import ConfigError, ExportError
from edgedst.runs.actor import read_actor

NOTHING_RECORDED = np.zeros((0, 3), dtype=np.float32)


@pytest.fixture
def actor(run):
    """The run's actor with bounds so high that every return is positive."""
    return replace(read_actor(run), action_low=(1.0, 2.0), action_high=(3.0, 8.0))


@pytest.fixture
def lessened(actor, tmp_path):
    """A file that acts like the actor in all but one action, which is 1 lower: 5 less for an episode's 5 steps."""
    other = replace(actor, action_low=(0.0, 2.0), action_high=(2.0, 8.0))
    path = tmp_path / "lessened.onnx"
    path.write_bytes(build_model(other).SerializeToString())
    return path


@pytest.mark.usefixtures("registry")
def test_the_same_seeds_are_compared_and_the_loss_is_that_of_the_means(actor, lessened):
    drop = check_return_drop(actor, lessened, 1.0, 8)
    assert drop.lost == pytest.approx(5, abs=1e-4)
    assert len(drop.trained.returns) == len(drop.exported.returns) == 8
    np.testing.assert_allclose(np.subtract(drop.trained.returns, drop.exported.returns), 5, atol=1e-4)
    assert drop.uncertainty < 1e-4  # every episode loses the same, however different the episodes are
    assert drop.trained.sd > 1e-3


@pytest.mark.usefixtures("registry")
def test_the_limit_is_a_share_of_the_trained_actor_s_mean(actor, lessened):
    share = 5 / check_return_drop(actor, lessened, 1.0, 4).trained.mean
    check_return_drop(actor, lessened, share * 1.01, 4)
    with pytest.raises(
        ExportError,
        match=r"loses more than .* of the return: [\d.]+ \xb1 [\d.]+ exported and [\d.]+ \xb1 "
        r"[\d.]+ trained, 4 episodes .* the mean loses 5\.0 \xb1 0\.0 standard error",
    ):
        check_return_drop(actor, lessened, share * 0.99, 4)


@pytest.mark.usefixtures("registry")
def test_a_loss_of_negative_returns_is_a_loss_too(actor, tmp_path):
    negative = replace(actor, action_low=(-9.0, -9.0), action_high=(-1.0, -1.0))
    lower = replace(negative, action_low=(-9.5, -9.5), action_high=(-1.5, -1.5))
    path = tmp_path / "actor.onnx"
    path.write_bytes(build_model(lower).SerializeToString())
    assert check_return_drop(negative, path, 1.0, 3).lost == pytest.approx(5, abs=1e-4)
    with pytest.raises(ExportError, match="loses more than 1 %"):
        check_return_drop(negative, path, 0.01, 3)
    path.write_bytes(build_model(negative).SerializeToString())
    assert check_return_drop(lower, path, 0.0, 3).lost < 0  # to earn more is no loss


@pytest.mark.usefixtures("registry")
def test_a_refused_export_leaves_what_was_there(actor, tmp_path):
    def refuse(file):
        assert file.is_file()
        check_return_drop(replace(actor, action_low=(2.0, 3.0), action_high=(4.0, 9.0)), file, 0.02, 3)

    (tmp_path / "actor.onnx").write_bytes(b"an older one")
    before = set(tmp_path.iterdir())
    with pytest.raises(ExportError, match=r"loses more than 2 % of the return"):
        export_actor(actor, tmp_path / "actor.onnx", NOTHING_RECORDED, accept=refuse)
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "actor.onnx").read_bytes() == b"an older one"


@pytest.mark.usefixtures("registry")
def test_one_episode_tells_no_uncertainty(actor, lessened):
    assert check_return_drop(actor, lessened, 1.0, 1).uncertainty == 0
    with pytest.raises(ConfigError, match="`--episodes` is 0"):
        check_return_drop(actor, lessened, 1.0, 0)


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), (" 2.5 % ", 0.025), ("0.02", 0.02), ("0", 0), ("100%", 1)])
def test_a_share_is_read_with_and_without_percent(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["2", "-1%", "101%", "nan", "two", "", "%", "1e-2"])
def test_what_is_no_share_is_one_sentence(text):
    with pytest.raises(ConfigError, match=r"`--max-return-drop .*` is no share\. Expected 0% to 100%"):
        parse_share(text)
