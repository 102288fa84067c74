"""A run that begins with a log, as a user starts it: what gets into the replay, what is refused, what is left."""

import csv
import json
import os
import re
import struct
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from open_files import open_files
from training import TINY, contents, digest, edgedst, metrics, modules, run_in, saved_step, summary, telling, train

import edgedst as package
from edgedst import core, prefill
from edgedst.agents import agent_class
from edgedst.config import TrainConfig
from edgedst.errors import BudgetExceeded, ConfigError, EnvironmentFault, LogError, RunFolderError
from edgedst.launch.job import job_for, take_log
from edgedst.runs import find

HEAD = [*(f"observation_{i}" for i in range(4)), "action_0", "reward", "terminated"]


@pytest.fixture
def log(tmp_path):
    return pendulum(tmp_path / "log.csv", episodes=3, length=20)


def pendulum(path, episodes, length, rng=None):
    """Episodes of InvertedPendulum-v5's sizes, each of whose last rows is an observation alone."""
    rng = rng or np.random.default_rng(3)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for _ in range(episodes):
            for i in range(length):
                writer.writerow([*rng.normal(size=4).round(6), rng.uniform(-3, 3), 1.0, int(i == length - 1)])
            writer.writerow([*rng.normal(size=4), "", "", ""])
    return path


def typed(log, *more):
    return (*TINY, "--prefill", str(log), *more)


def test_the_replay_begins_with_it(log, tmp_path):
    out, err = train(tmp_path, *typed(log), env=telling(tmp_path))
    assert f"The replay begins with 60 transitions of 3 episodes, mean return 20.0, from `{log}`." in out
    assert err == ""
    run = run_in(tmp_path)
    assert summary(run)["finished"]
    assert (run / "config.toml").read_text(encoding="utf-8").count(f'prefill = "{log}"') == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "modules.json", "runs"]
    assert not {"csv", "numpy", "subprocess", "edgedst.logs"} & modules(tmp_path)


def test_demonstrations_come_along_with_the_replay_of_a_run_whose_ring_has_forgotten_rows(log, tmp_path):
    for name in ("source", "run"):
        (tmp_path / name).mkdir()
    # Many checkpoints, so that what the ring forgot stays on the disk in segments of its own.
    train(tmp_path / "source", *typed(log, "--demo-share", "0.5", "--replay-rows", "200", "--checkpoint-every", "20"))
    source = run_in(tmp_path / "source")
    out, _ = train(
        *(tmp_path / "run", *TINY, "--steps", "1", "--init-from", str(source), "--with-replay", "--replay-rows", "400")
    )
    kept = summary(source)["replay_transitions"]
    assert f"Its replay: all 199 rows, {kept} transitions." in out
    theirs, ours = (b"".join(path.read_bytes() for path in segments(run)) for run in (source, run_in(tmp_path / "run")))
    demonstrations = 63 * json.loads((source / "checkpoint/state.json").read_text())["replay"]["row_bytes"]
    assert ours[:demonstrations] == theirs[:demonstrations]


def segments(run):
    replay = json.loads((run / "checkpoint/state.json").read_text())["replay"]
    return [run / "checkpoint" / segment["file"] for segment in replay["segments"]]


def test_a_run_that_goes_on_does_not_read_it_again(log, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    train(whole, *typed(log))
    train(stopped, *typed(log), "--stop-at-return", "-1e9")  # at the first evaluation, of step 0
    run = run_in(stopped)
    assert saved_step(run) == 0
    replay = json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))["replay"]
    assert replay["rows_closed"] == 60 + 3  # transitions and last observations; the run's own first one is open
    log.unlink()
    out, _ = train(stopped, "--resume", run)
    assert "The replay begins" not in out
    assert metrics(run) == metrics(run_in(whole))
    assert digest(run) == digest(run_in(whole))


@pytest.mark.parametrize("seen", [(), ("--normalize-observations", "--history", "3")])
def test_demonstrations_stay_in_a_ring_that_forgets_and_a_run_goes_on_with_them(seen, log, tmp_path):
    arguments = (*typed(log), "--demo-share", "0.5", "--method", "static-td3", *seen)
    for name, steps in (("whole", 600), ("stopped", 500)):
        (tmp_path / name).mkdir()
        train(tmp_path / name, *arguments, "--steps", steps)
    stopped, whole = run_in(tmp_path / "stopped"), run_in(tmp_path / "whole")
    for run, step in ((stopped, 500), (whole, 600)):
        replay = json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))["replay"]
        first, second, *_ = replay["segments"]
        assert (replay["pinned"], first["first"], first["rows"]) == (63, 0, 63)
        assert second["first"] + second["rows"] > replay["rows_closed"] - replay["capacity"] + 63
        assert replay["rows_closed"] > step + 63
    train(tmp_path / "stopped", "--resume", stopped, "--steps", "600")
    assert metrics(stopped) == metrics(whole)
    assert digest(stopped) == digest(whole)


def test_it_is_relative_to_where_it_was_typed(log, tmp_path):
    out, _ = train(tmp_path, *typed("log.csv"))
    assert f"from `{log}`" in out
    assert TrainConfig(prefill="log.csv").prefill == str(os.path.abspath("log.csv"))  # noqa: PTH100
    assert TrainConfig(prefill="minari:a/b-v0").prefill == "minari:a/b-v0"
    assert TrainConfig(prefill="lerobot:me/none").prefill == "lerobot:me/none"
    assert TrainConfig(prefill=f"lerobot:{tmp_path}").prefill == f"lerobot:{tmp_path}"


@pytest.mark.parametrize("verb", ["train", "plan"])
def test_a_log_that_is_wrong_is_one_sentence_and_leaves_nothing(verb, log, tmp_path):
    with log.open("a", encoding="utf-8") as file:
        file.write("0,0,0,0,4,1,0\n0,0,0,0,0,1,0\n")
    before = contents(tmp_path)
    arguments = [part for part in typed(log) if verb == "train" or part != "--no-progress"]
    done = subprocess.run(edgedst(verb, *arguments), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"LogError: `{log}`, line 65: `action_0` is 4, outside of -3 to 3, which InvertedPendulum-v5 takes. The log "
        "may be in another unit, or normalised: write actions in the units of the task.\n"
    )
    assert contents(tmp_path) == before


def test_a_log_that_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    log = pendulum(tmp_path / "log.csv", episodes=100, length=1_000)
    settings = {"env": "InvertedPendulum-v5", "hidden": [256, 256], "steps": 20_000}
    smallest = package.plan(**settings)["smallest_budget_mb"]
    refused = (
        rf"needs at least [\d.]+ MB .*the log's 100,100 rows 1\.5.* budget is {smallest + 0.5:.1f} MB\. .* Try "
        r"`--budget-mb ([\d.]+)` .*a part of the log: [\d,]+ of its rows fit"
    )
    with pytest.raises(BudgetExceeded, match=refused):
        package.plan(**settings, budget_mb=smallest + 0.5, prefill=str(log))
    with pytest.raises(BudgetExceeded, match=refused) as raised:
        package.train(**settings, budget_mb=smallest + 0.5, prefill=str(log), run_dir=tmp_path / "runs")
    assert list(tmp_path.iterdir()) == [log]
    enough = float(re.search(r"--budget-mb ([\d.]+)", str(raised.value))[1])
    assert package.plan(**settings, budget_mb=enough, prefill=str(log))["replay_rows"] > 100_100


def test_rows_that_were_typed_have_to_hold_it(log, tmp_path):
    done = subprocess.run(
        edgedst("train", *typed(log, "--replay-rows", "60")), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == (
        "BudgetExceeded: The log needs 66 rows of the replay, and `replay_rows` gives 60. Leave `replay_rows` out, or "
        "take a part of the log.\n"
    )
    assert list(tmp_path.iterdir()) == [log]


def test_from_python_too(log, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    settings = {"env": "InvertedPendulum-v5", "budget_mb": 40, "hidden": [16], "steps": 20, "start_steps": 10}
    run = package.train(run_dir=tmp_path / "runs", prefill=str(log), eval_every=0, **settings)
    assert run.state()["replay"]["rows_closed"] >= 63 + 20
    assert package.plan(prefill=str(log), **settings)["replay_rows"] > 1_000
    with pytest.raises(LogError, match="cannot be read: No such file"):
        package.train(run_dir=tmp_path / "none", prefill=str(tmp_path / "none.csv"), **settings)
    assert open_files(str(tmp_path)) == []
    assert not (tmp_path / "none").exists()


def test_what_is_left_out_is_told_by_train_and_plan(log, tmp_path):
    with log.open("a", encoding="utf-8") as file:
        file.write("0,0,0,0,1,1,0\n0,0,0,0,1,1,0\n")
    note = f"The last actions of 1 episodes of `{log}` are left out: no row says what came of them."
    assert note in train(tmp_path, *typed(log))[0]
    settings = {"env": "InvertedPendulum-v5", "budget_mb": 40, "hidden": [16]}
    assert note in package.plan(prefill=str(log), **settings)["notes"]


def test_a_package_that_is_missing_is_told_with_its_extra(tmp_path):
    (tmp_path / "pyarrow.py").write_text("raise ModuleNotFoundError('no', name='pyarrow')\n", encoding="utf-8")
    (tmp_path / "log.parquet").touch()
    done = subprocess.run(
        edgedst("train", *typed("log.parquet")),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    sentence = "This needs pyarrow, which is not installed: `pip install 'edgedst[logs]'`."
    assert (done.returncode, done.stderr) == (1, f"MissingExtra: {sentence}\n")


def test_a_folder_that_cannot_be_written_is_told(log, tmp_path):
    (tmp_path / "runs").write_text("", encoding="utf-8")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 1; "$@"', "sh", *edgedst("train", *typed(log))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("RunFolderError: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"demo_share": 0.5}, "`demo_share` is 0.5, a share of each batch that comes from a log, and there is no log"),
        (
            {"demo_share": 0.03, "batch_size": 16, "prefill": "a.csv"},
            r"`demo_share` is 0\.03, and of a batch of 16 that is no transition\. Give 0\.062 or more",
        ),
        (
            {"prefill": "log.xlsx"},
            r"`prefill` must be FILE\.csv, FILE\.parquet, minari:DATASET_ID or .* is `log\.xlsx`",
        ),
        ({"prefill": "minari:"}, "`prefill` must be"),
        ({"prefill": "log.csv", "hardware": True}, "needs the sizes and bounds of `HalfCheetah-v4`, and hardware"),
    ],
)
def test_settings_that_do_not_go_together_are_told(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        TrainConfig(**settings)


def test_a_run_killed_before_its_first_checkpoint_has_done_nothing_however_long_its_log(tmp_path):
    settings = TrainConfig(env="InvertedPendulum-v5", prefill=str(tmp_path / "log.csv")).resolved()
    run = tmp_path / "InvertedPendulum-v5" / "ds-td3" / "s0-20260101-000000"
    (run / "checkpoint").mkdir(parents=True)
    (run / "config.toml").write_text(settings.toml(), encoding="utf-8")
    for row in (0, 50_000, 100_000):
        (run / "checkpoint" / f"replay-{row:010d}.rows").touch()
    assert find.newest_unfinished(tmp_path, settings) is None


def job(log, **settings):
    config = TrainConfig(env="InvertedPendulum-v5", prefill=str(log), **settings).resolved()
    return job_for(config)


@pytest.fixture
def told(log, tmp_path):
    made = job(log)
    take_log(made, str(tmp_path / "runs" / "deeper"))
    yield made["prefill"]
    try:
        os.close(made["prefill"]["descriptor"])
    except OSError:  # filled
        pass


def agent_of(rows, constants=()):
    """One with a replay of so many rows."""
    settings = TrainConfig(hidden=(8, 8), batch_size=8, normalize_observations=True).resolved().settings()
    arena = core.Arena(1_000_000)
    agent = agent_class("ds-td3")(arena, SimpleNamespace(**settings), 4, 1)
    agent.replay = core.Replay(arena, "replay", rows, 4, 1, "float32", list(constants))
    return agent


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("chunk", [1, 100, 32_768])
def test_every_observation_is_seen_once(chunk, stays, told, log, monkeypatch):
    monkeypatch.setattr(prefill, "CHUNK_BYTES", chunk)
    agent = agent_of(100)
    prefill.fill(agent, told, stays)
    with log.open(encoding="utf-8") as file:
        lines = np.array([[float(line[f"observation_{i}"]) for i in range(4)] for line in csv.DictReader(file)])
    assert agent.normalizer.count == len(lines) == 63
    np.testing.assert_allclose(agent.normalizer.mean, lines.mean(axis=0))
    assert (agent.replay.transitions, agent.replay.demonstrations) == (60, 60 if stays else 0)
    assert agent.replay.rows_closed == (63 if stays else 62)


def test_a_file_that_comes_back_otherwise_is_told(told):
    os.pwrite(told["descriptor"], struct.pack("<d", 7.0), prefill.HEADER_BYTES + prefill.record_bytes(4, 1) + 1)
    with pytest.raises(RunFolderError, match=r"did not come back from the disk as it was written"):
        prefill.fill(agent_of(100), told, False)
    os.ftruncate(told["descriptor"], prefill.HEADER_BYTES + 100)
    with pytest.raises(RunFolderError, match=r"did not come back"):
        prefill.fill(agent_of(100), told, False)


def test_what_the_replay_refuses_is_told_with_the_log(told, log):
    with pytest.raises(EnvironmentFault, match=f"`{log}`: observation 0 is .* always 0.5"):
        prefill.fill(agent_of(100, [(0, 0.5)]), told, False)


def test_its_file_has_no_name(told, tmp_path):
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    assert os.fstat(told["descriptor"]).st_nlink == 0
    header = json.loads(os.pread(told["descriptor"], prefill.HEADER_BYTES, 0))
    assert (header["rows"], header["transitions"], header["observation_size"], header["action_size"]) == (63, 60, 4, 1)


def test_a_process_that_is_killed_while_it_reads_is_told(log, monkeypatch):
    monkeypatch.setattr("edgedst.launch.log.python_of", lambda module: ["/bin/sh", "-c", "kill -9 $$"])
    with pytest.raises(LogError, match=r"The process that reads `.*log\.csv` was ended by signal 9"):
        take_log(job(log), ".")


def test_an_environment_of_python_is_asked_for_its_sizes(tmp_path):
    log = pendulum(tmp_path / "log.csv", episodes=1, length=5)
    made = job(log)
    made["spec"] = {"host": "gymnasium", "env": "Pendulum-v1", "max_episode_steps": None}
    with pytest.raises(LogError, match="has a column `observation_3` and Pendulum-v1 has 3 observations"):
        take_log(made, str(tmp_path))


def test_hardware_is_not_opened_for_it_a_second_time(tmp_path, log):
    (tmp_path / "plant.py").write_text(
        "import gymnasium\n"
        "class Plant(gymnasium.Env):\n"
        "    hardware = True\n"
        "    observation_space = gymnasium.spaces.Box(-1, 1, (4,))\n"
        "    action_space = gymnasium.spaces.Box(-3, 3, (1,))\n"
        "gymnasium.register('Plant-v0', Plant)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        edgedst("train", "--env", "plant:Plant-v0", "--budget-mb", "120", "--prefill", log),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "LogError: plant:Plant-v0 is hardware, which is opened once" in done.stderr
    assert not (tmp_path / "runs").exists()
