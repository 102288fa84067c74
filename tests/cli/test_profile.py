"""`edgedst profile`, as it is typed: a real tiny profile from end to end, and what is refused before it begins."""

import json
import os
import re
from dataclasses import replace

import pytest
from described_json import faults
from typer.testing import CliRunner

from edgedst import boards
from edgedst.boards import Recognised, TrainDefaults
from edgedst.cli import profile, verbs
from edgedst.config import TrainConfig
from edgedst.errors import ConfigError, ProfileError
from edgedst.profile.contenders import PEERS

runner = CliRunner()
TINY = ["--seconds", "0.2", "--hidden", "16", "--batch-size", "8", "--energy", "none"]


@pytest.fixture(autouse=True)
def board(monkeypatch):
    recognised = Recognised(boards.load("generic"), "A test says so.")
    monkeypatch.setattr("edgedst.boards.detect", lambda: recognised)
    return recognised


@pytest.fixture
def no_measuring(monkeypatch):
    """Fails the test where the measuring begins."""
    monkeypatch.setattr("edgedst.profile.measure.measure", lambda *_, **__: pytest.fail("the measuring began"))


@pytest.fixture
def run_folder(tmp_path):
    def make(**settings):
        config = TrainConfig(**{"hidden": (16, 16), "batch_size": 8, "replay_rows": 2000, **settings})
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.toml").write_text(config.toml(), encoding="utf-8")
        metric = {"step": 5000, "evaluation_return": 12.5}
        (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps(metric) + "\n", encoding="utf-8")
        return str(tmp_path / "run")

    return make


def test_a_real_profile_of_a_run_from_end_to_end(tmp_path, run_folder):
    file = tmp_path / "profile.json"
    folder = run_folder(steps=30_000, start_steps=1_000)
    arguments = [folder, "--seconds", "0.2", "--energy", "none", "--repeats", "2", "--against", "dense"]
    report = tmp_path / "report.json"
    done = runner.invoke(verbs.app, ["profile", *arguments, "--json", str(file), "--report", str(report)])
    assert done.exit_code == 0, done.output
    told = json.loads(file.read_text(encoding="utf-8"))
    sent = json.loads(report.read_text(encoding="utf-8"))
    assert sent["profile"]["contenders"] == told["contenders"]
    assert sent["here"]["kernel"].startswith("Linux ")
    assert str(tmp_path) not in report.read_text(encoding="utf-8")
    assert "report.json: read it, and send it" in done.output
    assert not faults(told, "A profile's JSON")[0]
    assert told["task"]["hidden"] == [16, 16]
    assert [each["name"] for each in told["contenders"]] == ["sparse", "dense"]
    for each in told["contenders"]:
        assert len(each["steps_per_second"]["values"]) == 2
        assert each["memory"]["peak_bytes"]["high"] <= 50_000_000
        assert each["memory"]["replay_rows"] == 2000  # the run's own
    assert told["run"]["curve"] == [{"step": 5000, "return": 12.5, "joules": None}]
    assert told["energy_note"] == "Energy was not measured: `--energy none`."
    for text in ("steps a second", "sparse / dense", "To doubt:", "round 2 of 2: dense"):
        assert text in done.output


@pytest.mark.parametrize("method", ["ds-td3", "ds-sac"])
@pytest.mark.parametrize("peer", PEERS)
def test_a_real_profile_against_a_peer(peer, method, tmp_path):
    pytest.importorskip(PEERS[peer].module, reason=f"pip install 'edgedst[{peer}]'")
    file = tmp_path / "profile.json"
    done = runner.invoke(
        verbs.app, ["profile", *TINY, "--repeats", "1", "--against", peer, "--method", method, "--json", str(file)]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(file.read_text(encoding="utf-8"))
    assert not faults(told, "A profile's JSON")[0]
    sparse, theirs = told["contenders"]
    title = PEERS[peer].title
    assert re.fullmatch(rf"{title} [0-9.]+ {method[3:].upper()}", theirs["label"])
    assert theirs["memory"]["ledger"] == []
    assert (theirs["updates_per_second"] is None) == (peer == "rltools")
    # As many as edgedst had in its first short turn; two starts of it differ by some.
    assert theirs["memory"]["replay_rows"] == pytest.approx(sparse["memory"]["replay_rows"], rel=0.05)
    assert any(doubt.startswith(f"{title}'s peak memory leaves out") for doubt in told["doubts"])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--seconds", "0"], ConfigError, r"`--seconds` must be above 0 and is 0\."),
        (["--seconds", "nan"], ConfigError, r"`--seconds` must be above 0 and is nan\."),
        (["--repeats", "0"], ConfigError, r"`--repeats` must be at least 1 and is 0\."),
        (["--method", "td3"], ConfigError, r"`method` is td3, which is dense"),
        (["--method", "ds-td"], ConfigError, r"Did you mean"),
        (["--against", "sparse"], ConfigError, r"is the contender itself"),
        (["--against", "tensorflow"], ConfigError, r"must be of dense, sb3, sbx, rltools and has `tensorflow`"),
        (["--json", "nowhere/p.json"], ProfileError, r"`--json nowhere/p\.json` cannot be written: there is no folder"),
        (["--json", "pipe"], ProfileError, r"`--json pipe` cannot be written: it is no regular file"),
        (["--json", "p", "--report", "p"], ConfigError, r"`--json` and `--report` both name `p`: name two files"),
        (["--json", "p", "--html", "./link/p"], ConfigError, r"`--json` and `--html` both name `link/p`: name two"),
        (["--html", "."], ProfileError, r"`--html \.` is a folder and a file was expected"),
        (["nowhere"], ConfigError, r"`nowhere` is no run folder: expected `nowhere/config\.toml`"),
        (["nowhere", "--hidden", "8"], ConfigError, r"`nowhere` brings its own settings: leave out `--hidden`"),
    ],
)
def test_bad_input_is_refused_before_the_measuring(arguments, error, words, no_measuring, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "link").symlink_to(".")
    done = runner.invoke(verbs.app, ["profile", "--energy", "none", *arguments])
    assert isinstance(done.exception, error), done.output
    with pytest.raises(error, match=words):
        raise done.exception
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_a_run_of_a_dense_method_is_refused(run_folder, no_measuring):
    done = runner.invoke(verbs.app, ["profile", run_folder(method="td3"), "--energy", "none"])
    assert isinstance(done.exception, ConfigError)
    assert "`method` is td3, which is dense" in str(done.exception)


@pytest.mark.parametrize("option", ["--steps", "--start-steps", "--eval-every", "--checkpoint-every"])
def test_what_a_profile_decides_itself_is_no_option_of_it(option):
    assert runner.invoke(verbs.app, ["profile", option, "1000"]).exit_code == 2


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # the superuser may write anywhere
    with pytest.raises(ProfileError, match="no permission in"):
        profile.check_writable(tmp_path / "p.json", "--json")


def test_the_board_gives_budget_threads_and_kernels(monkeypatch, board):
    train = TrainDefaults(budget_mb=33.0, threads=2, isa="scalar", reason="a test")
    monkeypatch.setattr("edgedst.boards.detect", lambda: Recognised(replace(board.board, train=train), "A test."))
    monkeypatch.delenv("EDGEDST_ISA", raising=False)
    seen = []

    def started(told, command, variables, *_):
        seen.append((json.loads(command[-1])["config"], variables))
        raise KeyboardInterrupt

    monkeypatch.setattr("edgedst.profile.measure.run_contender", started)
    runner.invoke(verbs.app, ["profile", *TINY])
    ((config, variables),) = seen
    assert (config["budget_mb"], config["threads"], variables["EDGEDST_ISA"]) == (33.0, 2, "scalar")


def test_interrupted_before_the_first_round_it_says_so(monkeypatch, tmp_path):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgedst.profile.measure.run_contender", interrupted)
    done = runner.invoke(verbs.app, ["profile", *TINY, "--json", str(tmp_path / "p.json")])
    assert done.exit_code == 130
    assert "Interrupted before the first round was complete" in done.output
    assert not (tmp_path / "p.json").exists()
