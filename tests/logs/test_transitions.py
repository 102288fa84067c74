"""`edgedst log --transitions`: a run's replay as a log, and back into another run's replay, to the bit."""

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from machine import runs
from training import TINY, contents, edgedst, run_in, train

import edgedst as package
from edgedst.errors import ConfigError, LogError
from edgedst.logs.transitions import write_transitions

# Humanoid-v4 has 376 observations, of which some never move: rows leave them out. Episodes are cut after 40 steps.
HUMANOID = (
    *("--env", "Humanoid-v4", "--budget-mb", "60", "--hidden", "16", "--steps", "200", "--start-steps", "150"),
    *("--eval-every", "0", "--max-episode-steps", "40", "--checkpoint-every", "100", "--no-progress"),
)
FORGETS = ("--replay-rows", "120")  # of 200 steps


def rows(run, action_size):
    """The replay's closed rows that are in the ring; of an observation alone what counts, and the replay's record."""
    state = json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    replay = state["replay"]
    size = replay["row_bytes"]
    content = b""
    for segment in replay["segments"]:
        content += (run / "checkpoint" / segment["file"]).read_bytes()[: segment["rows"] * size]
    held = min(replay["rows_closed"], replay["capacity"] - 1)
    behind = (
        2 if replay["dtype"] == "float16" else 4
    ) * action_size + 5  # a slot's action and reward stay as they were
    found = [content[i * size : (i + 1) * size] for i in range(len(content) // size)][-held:]
    return [row if row[-1] else row[:-behind] for row in found], replay


def log(run, *arguments, **options):
    done = subprocess.run(edgedst("log", run, *arguments), capture_output=True, text=True, check=False, **options)
    assert "Traceback" not in done.stderr
    return done


def prefilled(folder, log, *arguments):
    """The run of no step whose replay begins with a log."""
    folder.mkdir()
    typed = [*arguments, "--prefill", str(log), "--steps", "1", "--start-steps", "1", "--seed", "5"]
    out, _ = train(folder, *typed)
    return run_in(folder), out


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("ring", [(), FORGETS])
def test_a_log_gives_the_very_rows_back(ring, dtype, tmp_path):
    train(tmp_path, *HUMANOID, "--replay-dtype", dtype, *ring)
    run = run_in(tmp_path)
    path = tmp_path / "humanoid.csv"
    told = log(run, "--transitions", path)
    assert told.returncode == 0, told.stderr
    before, replay = rows(run, 17)
    transitions = sum(len(row) == replay["row_bytes"] for row in before)
    assert f"{transitions} transitions of " in told.stdout
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines[0]) == 1 + 376 + 17 + 3
    assert len(replay["constants"]) > 10
    for index, value in replay["constants"]:
        assert {line[f"observation_{index}"] for line in lines} == {repr(value)}

    again, out = prefilled(tmp_path / "again", path, *HUMANOID, "--replay-dtype", dtype)
    assert f"The replay begins with {transitions} transitions of " in out
    assert f"from `{path}`." in out
    after, replay_after = rows(again, 17)
    assert replay_after["constants"] == replay["constants"]
    if len(before[0]) < replay["row_bytes"]:  # the ring has forgotten what led there
        before = before[1:]
    assert after[: len(before)] == before


@pytest.mark.parametrize(
    ("steps", "ring", "history", "told"),
    [(210, 1000, 2, "210 transitions of 6 episodes"), (210, 100, 0, "96 transitions of 4 episodes"),
     (210, 100, 2, "90 transitions of 3 episodes"), (210, 30, 2, "10 transitions of 1 episodes"),
     (190, 20, 2, "holds no transition behind a beginning of an episode")],
)  # fmt: skip
def test_with_a_history_it_begins_with_a_beginning(steps, ring, history, told, tmp_path):
    """Episodes of 40 steps have 41 rows; rows 116 to 214 of the longer runs are in the ring of 100."""
    train(tmp_path, "--env", "HalfCheetah-v4", "--budget-mb", "60", "--hidden", "16", "--start-steps", "1000",
          *("--max-episode-steps", "40", "--checkpoint-every", "7", "--eval-every", "0", "--no-progress"),
          *("--steps", str(steps), "--replay-rows", str(ring), "--history", str(history)))  # fmt: skip
    path = tmp_path / "cheetah.csv"
    written = log(run_in(tmp_path), "--transitions", path)
    assert told in written.stdout + written.stderr
    if "holds no" in told:
        assert not path.exists()
        return
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    lengths = [sum(line["episode"] == episode and line["reward"] != "" for line in lines) for episode in "012345"]
    whole = [40] * (len(lines) // 41) + [10]
    assert [length for length in lengths if length] == (whole if history else [6, 40, 40, 10])


def test_of_a_machine_it_has_the_robot_s_names_and_units(tmp_path):
    run = runs.Run(tmp_path, *runs.SMALL, "--steps", "60")
    run.process.communicate(timeout=runs.LONGEST_SECONDS)
    folder = run_in(tmp_path)
    robot = tmp_path / "robot.py"
    told = log(folder, "--transitions", tmp_path / "numbered.csv")
    calls = len(run.calls)
    assert told.stderr == "The columns are numbered: `--env robot.py` gives them the robot's names.\n"
    assert log(folder, "--transitions", tmp_path / "named.csv", "--env", robot, cwd=tmp_path).stderr == ""
    assert [call.name for call in run.calls[calls:]] == ["import"]
    numbered, named = (
        (tmp_path / f"{name}.csv").read_text(encoding="utf-8").partition("\n") for name in ("numbered", "named")
    )
    assert numbered[2] == named[2]
    with (tmp_path / "named.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    read = [call.numbers[0] for call in run.calls if call.name == "read"]
    assert {float(line[1]) for line in lines[1:]} <= set(read)  # its own units: the numbers that it gave

    typed = [*runs.SMALL, "--prefill", "named.csv", "--steps", "1"]
    again = tmp_path / "again"
    again.mkdir()
    out, _ = train(
        tmp_path, "--run-dir", "again", *typed, env={**os.environ, "ROBOT_LOG": str(tmp_path / "log"), **run.variables}
    )
    assert "The replay begins with " in out
    (second,) = again.glob("*/*/s*")
    before, _ = rows(folder, 1)
    after, _ = rows(second, 1)
    assert after[: len(before)] == before


def test_the_names_of_another_robot_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOT_LOG", str(tmp_path / "log"))
    run = runs.Run(tmp_path, *runs.SMALL, "--steps", "45")
    run.process.communicate(timeout=runs.LONGEST_SECONDS)
    text = (tmp_path / "robot.py").read_text(encoding="utf-8")
    other = tmp_path / "other.py"
    other.write_text(
        f"{text}\nACTION = [(name, 2 * low, 2 * high) for name, low, high, *_ in ACTION]\n", encoding="utf-8"
    )
    with pytest.raises(LogError, match="has other bounds of observations or actions than"):
        write_transitions(run_in(tmp_path), tmp_path / "log.csv", str(other))
    assert not (tmp_path / "log.csv").exists()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    train(folder, *TINY)
    return run_in(folder)


def test_parquet_holds_what_csv_holds(tiny, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `logs`)")
    from logs_read import records

    from edgedst.logs.columns import Task

    task = Task("InvertedPendulum-v5", 4, 1, (-3.0,), (3.0,))
    for ending in ("csv", "parquet"):
        write_transitions(tiny, tmp_path / f"log.{ending}")
    assert records(tmp_path / "log.csv", task)[0] == records(tmp_path / "log.parquet", task)[0]


def test_from_python_too(tiny, tmp_path):
    written = package.log(tiny, transitions=tmp_path / "log.csv")
    assert (written.of_robot, written.transitions > 200, written.episodes > 3) == (False, True, True)
    assert (tmp_path / "log.csv").stat().st_size > 10_000


def test_it_is_written_whole_or_not_at_all(tiny, tmp_path):
    before = contents(tiny)
    (tmp_path / "log.csv").write_text("older", encoding="utf-8")
    told = subprocess.run(
        ["sh", "-c", 'ulimit -f 8; "$@"', "sh", *edgedst("log", tiny, "--transitions", tmp_path / "log.csv")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert told.stderr.startswith(f"RunFolderError: `{tmp_path}/log.csv` cannot be written: File too large.")
    assert contents(tmp_path) == {"log.csv": b"older"}
    assert contents(tiny) == before


@pytest.mark.parametrize(
    ("path", "env", "sentence"),
    [
        ("log.txt", None, r"`--transitions` must be FILE\.csv or FILE\.parquet and is `.*log\.txt`"),
        ("log.csv", "Hopper-v4", "names of a robot.py, and `Hopper-v4` is none"),
    ],
)
def test_what_cannot_be_written_is_told(path, env, sentence, tiny, tmp_path):
    with pytest.raises(ConfigError, match=sentence):
        write_transitions(tiny, tmp_path / path, env)
    assert not contents(tmp_path)


def test_the_command_says_what_it_needs(tmp_path):
    done = log(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("ConfigError: Say what to write: `edgedst log --transitions FILE.csv`, or ")
    done = log(tmp_path, "--transitions", tmp_path / "log.csv")
    assert "is no run folder" in done.stderr or "has no checkpoint" in done.stderr


def test_a_replay_without_a_transition_is_told(tiny, tmp_path):
    folder = tmp_path / "run"
    subprocess.run(["cp", "-r", str(tiny), str(folder)], check=True)
    from saved_runs import recommit

    state = json.loads((folder / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    empty = {**state["replay"], "segments": [], "rows_closed": 0}
    recommit(folder, (folder / "config.toml").read_text(encoding="utf-8"), replay=empty)
    with pytest.raises(LogError, match="holds no transition yet"):
        write_transitions(folder, tmp_path / "log.csv")
    assert not (tmp_path / "log.csv").exists()


def test_offsets_that_rows_leave_out_are_added(tiny):
    from edgedst.runs.actor import read_state
    from edgedst.runs.recorded import Replay

    state = read_state(Path(tiny))
    segment = state["replay"]["segments"][0]
    plain = Replay(tiny, state, 4, 1)
    records = plain.rows(segment, 5)
    moved = {**state, "replay": {**state["replay"], "offset": [300.0, 0.0, -1.0, 0.0]}}
    difference = Replay(tiny, moved, 4, 1).observations(records) - plain.observations(records)
    assert np.allclose(difference, [300.0, 0.0, -1.0, 0.0])
