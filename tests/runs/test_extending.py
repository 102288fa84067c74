"""Runs that get more steps: they go on as if they had begun with them, and at no instant look finished."""

import re
import shutil
import signal
import time
import zlib

import pytest
from saved_runs import commit
from training import TINY, digest, finished, metrics, run_in, saved_step, start, summary, train

from edgedst.config import TrainConfig
from edgedst.errors import CheckpointError, ConfigError
from edgedst.runs import find
from edgedst.runs.folder import RunFolder
from edgedst.runs.run import Run
from edgedst.runs.state import extended_config, is_config_of, read_state


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The folder of a finished run of 600 steps that evolves until step 400."""
    folder = tmp_path_factory.mktemp("short")
    train(folder, *TINY, "--topology-stop-steps", "200")
    return folder


@pytest.fixture
def folder(short, tmp_path):
    shutil.copytree(short / "runs", tmp_path / "runs")
    return tmp_path


def test_an_extended_run_is_the_run_that_began_with_its_steps(folder, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    train(whole, *TINY, "--steps", "900", "--topology-stop-steps", "500")
    run = run_in(folder)
    out, _ = train(folder, "--resume", str(run), "--steps", "900", "--topology-stop-steps", "500")
    assert "The run is extended from 600 to 900 steps.\n" in out  # evolution ends where it did
    assert metrics(run) == metrics(run_in(whole))
    assert digest(run) == digest(run_in(whole))
    assert (summary(run)["step"], Run(run).settings.steps, Run(run).finished) == (900, 900, True)


@pytest.mark.parametrize("method", ["static-td3", "static-sac"])
def test_an_unfinished_run_of_a_static_method_is_extended_bit_for_bit(method, tmp_path):
    arguments = (*TINY, "--method", method, "--batch-size", "32")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    train(tmp_path / "one", *arguments, "--steps", "500")
    # It stops at its evaluation of step 0.
    train(tmp_path / "two", *arguments, "--steps", "300", "--stop-at-return", "-1e9")
    run = run_in(tmp_path / "two")
    assert not finished(run)
    out, _ = train(tmp_path / "two", "--resume", str(run), "--steps", "500", "--no-progress")
    assert "is extended from 300 to 500 steps.\n" in out
    assert metrics(run) == metrics(run_in(tmp_path / "one"))
    assert digest(run) == digest(run_in(tmp_path / "one"))


@pytest.mark.parametrize(
    ("began", "given", "stop", "words"),
    [
        # steps, topology_stop_steps of the run; what is typed; topology_stop_steps then
        ((600, 30), {}, 60, r"Evolution of its topology had ended at step 570 and goes on until step 1,140\."),
        ((600, 200), {}, 200, r"Evolution of its topology had ended at step 400 and goes on until step 1,000\."),
        ((600, 200), {"topology_stop_steps": 800}, 800, r"from 600 to 1,200 steps\.$"),
        ((600, 0), {"topology_stop_steps": 100}, 100, r"Evolution of its topology ends at step 1,100 instead of 600\."),
    ],
)
def test_where_evolution_ends_is_told_with_both_steps(began, given, stop, words, tmp_path):
    steps, before = began
    config = TrainConfig(env="Arm-v0", steps=steps, topology_stop_steps=before).resolved()
    (tmp_path / "config.toml").write_text("# Board\n" + config.toml() + "replay_rows = 700\n", encoding="utf-8")
    commit(tmp_path, step=600)
    found = find.resume(tmp_path, {"steps": 1200, **given})
    assert found.settings.topology_stop_steps == stop
    assert re.search(words, found.note), found.note
    lines = found.extended_toml.splitlines()
    assert lines[0] == "# Board"
    assert lines[-1] == f"# Extended from steps = {steps}, topology_stop_steps = {before}"
    (tmp_path / "config.toml").write_text(found.extended_toml, encoding="utf-8")
    assert Run(tmp_path).settings == found.settings
    assert found.settings.replay_rows == 700
    # Once more, before any checkpoint was made.
    again = find.resume(tmp_path, {"steps": 2000})
    (tmp_path / "config.toml").write_text(again.extended_toml, encoding="utf-8")
    assert find.resume(tmp_path, {}).settings.steps == 2000


def test_evolution_is_no_word_of_a_method_without_it(tmp_path):
    config = TrainConfig(env="Arm-v0", method="static-td3", steps=600).resolved()
    (tmp_path / "config.toml").write_text(config.toml(), encoding="utf-8")
    commit(tmp_path, method="static-td3")
    assert find.resume(tmp_path, {"steps": 1200}).note == "The run is extended from 600 to 1,200 steps."


@pytest.mark.parametrize("steps", ["500", "100"])
def test_fewer_steps_are_refused(steps, folder):
    _, err = train(folder, "--resume", str(run_in(folder)), "--steps", steps, code=1)
    assert f"was started with steps = 600 and cannot go on with {steps}. Give more of them" in err


def test_as_many_steps_are_as_before(folder):
    _, err = train(folder, "--resume", str(run_in(folder)), "--steps", "600", code=1)
    assert "is finished: all 600 steps are done. Give it more with `--steps`" in err


def test_topology_stop_steps_alone_stays_refused(folder):
    with pytest.raises(ConfigError, match="was started with topology_stop_steps = 200 and cannot go on with 100"):
        find.resume(run_in(folder), {"topology_stop_steps": 100})


def test_an_extended_config_is_proved_by_the_checkpoint_of_before_and_no_other_is():
    old = b'# x\nsteps = 600\nenv = "A, steps = 600"\ntopology_stop_steps = 30\nseed = 0\nreplay_rows = 700\n'
    state = {"config_crc32": zlib.crc32(old)}
    new = extended_config(old, {"steps": "steps = 900", "topology_stop_steps": "topology_stop_steps = 45"})
    assert b"\nsteps = 900\n" in new
    assert b"\ntopology_stop_steps = 45\n" in new
    twice = extended_config(new, {"steps": "steps = 1000", "topology_stop_steps": "topology_stop_steps = 50"})
    assert all(is_config_of(state, content) for content in (old, new, twice))
    assert is_config_of({"config_crc32": zlib.crc32(new)}, twice)
    assert not is_config_of({"config_crc32": zlib.crc32(new)}, old)
    for at in range(len(new)):
        changed = new[:at] + bytes([new[at] ^ 1]) + new[at + 1 :]
        steps = re.search(rb"\nsteps = (.*)\n", changed), re.search(rb"\ntopology_stop_steps = (.*)\n", changed)
        if None in steps or (steps[0][1], steps[1][1]) == (b"900", b"45"):  # the new numbers are the user's word
            assert not is_config_of(state, changed), changed


@pytest.mark.parametrize("instant", ["before", "summary gone", "config written"])
def test_a_run_killed_while_it_is_extended_goes_on(instant, folder, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    train(whole, *TINY, "--steps", "900", "--topology-stop-steps", "500")
    run = run_in(folder)
    text = find.resume(run, {"steps": 900, "topology_stop_steps": 500}).extended_toml
    if instant == "summary gone":
        (run / "summary.json").unlink()
    if instant == "config written":
        RunFolder(str(run)).extend(text)
        assert not Run(run).finished
        assert (Run(run).settings.steps, Run(run).state()["step"]) == (900, 600)
    more = () if instant == "config written" else ("--steps", "900", "--topology-stop-steps", "500")
    train(folder, "--resume", str(run), *more)
    assert metrics(run) == metrics(run_in(whole))
    assert digest(run) == digest(run_in(whole))
    assert read_state(str(run / "checkpoint"))["config_crc32"] == zlib.crc32((run / "config.toml").read_bytes())


def test_an_extended_run_that_is_killed_is_the_newest_unfinished_one_of_its_new_steps(folder):
    run = run_in(folder)
    process = start(folder, "--resume", str(run), "--steps", "100000", "--no-progress")
    while saved_step(run) <= 600 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not Run(run).finished
    settings = Run(run).settings
    assert settings.steps == 100_000
    assert find.newest_unfinished(folder / "runs", settings) == run


def test_newest_with_more_steps_begins_afresh_and_says_how_to_extend(folder):
    run = run_in(folder)
    out, _ = train(folder, *TINY, "--topology-stop-steps", "200", "--steps", "700", "--resume", "newest")
    command = f"edgedst train --resume {run.relative_to(folder)} --steps 700"
    assert f"A new run begins: `{run.relative_to(folder)}` differs in its steps alone" in out
    assert f"`{command}`" in out
    assert len(list((folder / "runs").glob("*/*/s*"))) == 2
    train(folder, *command.split()[2:])
    assert summary(run)["step"] == 700


def test_a_damaged_run_is_not_extended(folder):
    run = run_in(folder)
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.replace("eta = 0.05", "eta = 0.06"), encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not the file that its checkpoint was made with"):
        find.resume(run, {"steps": 900})


SLIDE = """
import gymnasium, numpy

class Slide(gymnasium.Env):
    action_space = gymnasium.spaces.Box(-1, 1, (2,))
    observation_space = gymnasium.spaces.Box(-numpy.inf, numpy.inf, (3,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 3)
        return self.x.astype(numpy.float32), {}

    def step(self, action):
        self.x[:2] += 0.05 * action
        return self.x.astype(numpy.float32), -float(self.x @ self.x), False, False, {}

gymnasium.register("Slide-v0", entry_point=Slide, max_episode_steps=100)
"""


def test_a_task_of_one_s_own_that_still_improves_at_its_end_trains_on(tmp_path):
    (tmp_path / "task.py").write_text(SLIDE, encoding="utf-8")
    settings = ("--env", "task:Slide-v0", "--budget-mb", "90", "--hidden", "32", "--start-steps", "100")
    train(tmp_path, *settings, "--steps", "300", "--eval-every", "100", "--eval-episodes", "1", "--no-progress")
    run = run_in(tmp_path)
    out, _ = train(tmp_path, "--resume", str(run), "--steps", "600")
    assert (
        "The run is extended from 300 to 600 steps. Evolution of its topology had ended at step 285 and goes on" in out
    )
    assert [line["step"] for line in metrics(run) if "evaluation_return" in line] == [0, 100, 200, 300, 400, 500, 600]
