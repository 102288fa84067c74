"""`edgedst log --csv, --parquet, --tensorboard, --wandb`: a run's numbers, once each, while it trains or afterwards."""

import csv
import fcntl
import json
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pyarrow.parquet
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import TINY, edgedst, run_in, saved_step, start, train

import edgedst.cli.log as cli_log
from edgedst.errors import CheckpointError, ConfigError, LogError, RunFolderError
from edgedst.logs import scalars
from edgedst.logs.scalars import write_scalars

SB3 = ("rollout/ep_rew_mean", "rollout/ep_len_mean", "eval/mean_reward", "train/critic_loss", "train/actor_loss")
SB3 += ("train/n_updates", "time/fps", "time/time_elapsed", "time/total_timesteps")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ds-td3")
    train(folder, *TINY)
    return run_in(folder)


@pytest.fixture(scope="module")
def sac(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ds-sac")
    train(folder, *TINY, "--method", "ds-sac", "--updates-per-step", "0.5")
    return run_in(folder)


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(v) for name, v in row.items() if v} for row in csv.DictReader(file)]


def recorded(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def events_of(folder):
    """{tag: [(step, value)]} of the one folder below that has event files."""
    (parent,) = {path.parent for path in folder.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(parent), size_guidance={"scalars": 0}).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def is_of(rows, run):
    """Whether rows are the lines of the run's metrics, each once."""
    lines = recorded(run)
    assert [row["time/total_timesteps"] for row in rows] == [line["step"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert row.get("eval/mean_reward") == line.get("evaluation_return")
        assert row.get("rollout/ep_rew") == line.get("episode_return")


@pytest.mark.parametrize(("method", "updates"), [("run", 400), ("sac", 200)])
def test_a_run_is_told_by_stable_baselines3_s_names(method, updates, request, tmp_path):
    run = request.getfixturevalue(method)
    folder = tmp_path / "ä b"  # of any name
    folder.mkdir()
    places = {"csv": str(folder / "a.csv"), "parquet": str(folder / "a.parquet"), "tensorboard": str(folder / "tb")}
    if method == "run":
        typed = [word for kind, place in places.items() for word in (f"--{kind}", place)]
        told = subprocess.run(edgedst("log", run, *typed), capture_output=True, text=True, check=False)
        assert told.stderr == ""
        assert f"{len(recorded(run))} rows of {run}" in told.stdout
    else:
        assert write_scalars(run, places) == (len(recorded(run)), 0)
    rows = table(folder / "a.csv")
    is_of(rows, run)
    last = [row for row in rows if "eval/mean_reward" in row][-1]
    state = json.loads((run / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    assert last["train/n_updates"] == state["agent"]["iteration"] == updates
    assert ("train/ent_coef" in last) == (method == "sac")
    assert set(SB3) <= {name for row in rows for name in row}
    returns = [line["episode_return"] for line in recorded(run) if "episode" in line]
    means = [row["rollout/ep_rew_mean"] for row in rows if "rollout/ep_rew_mean" in row]
    assert means == pytest.approx([sum(returns[max(0, n - 100) : n]) / min(n, 100) for n in range(1, len(returns) + 1)])

    kept = pyarrow.parquet.read_table(folder / "a.parquet").to_pylist()
    assert [{name: v for name, v in row.items() if v is not None} for row in kept] == rows
    drawn = events_of(folder / "tb")
    assert "time/total_timesteps" not in drawn  # as Stable-Baselines3: it is every tag's step
    for tag, points in drawn.items():
        assert points == [(r["time/total_timesteps"], pytest.approx(r[tag])) for r in rows if tag in r], tag
    write_scalars(run, places)  # again: nothing twice
    assert events_of(folder / "tb") == drawn


def test_what_a_resumed_run_does_again_takes_the_place_of_what_was_lost(run, tmp_path, monkeypatch):
    run = shutil.copytree(run, tmp_path / run.name)
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    again = json.dumps(json.loads(lines[6]) | {"seconds": 123.25}).encode() + b"\n"
    looks = [  # what is there, whether half a line of it is none yet, and how many event files had to be begun
        (b"".join(lines[:5]) + lines[5][:9], 5, 1),
        (b"".join(lines[:8]), 8, 1),
        (b"".join(lines[:8]), 8, 1),
        (b"".join([*lines[:6], again, *lines[7:]]), len(lines), 2),  # cut off and done again between two looks
        (b"".join(lines[:3]), 3, 3),  # cut off, and nothing done again yet
        (b"", 3, 3),
        (b"".join(lines), len(lines), 3),
    ]
    begun, event_files, left = set(), [], iter(looks)

    def look(seconds=0):
        begun.update(tmp_path.rglob("events.out.tfevents.*"))
        event_files.append(len(begun))
        content, *_ = next(left)
        path.write_bytes(content)

    def seen(seconds):
        _, rows, files = looks[len(event_files) - 1]
        assert len(table(tmp_path / "a.csv")) == rows
        look()
        assert event_files[-1] == files

    look()
    monkeypatch.setattr(scalars, "has_ended", lambda folder: path.read_bytes() == looks[-1][0])
    monkeypatch.setattr(scalars.time, "sleep", seen)
    told = write_scalars(run, {"csv": str(tmp_path / "a.csv"), "tensorboard": str(tmp_path / "tb")}, follow=True)
    assert told == (len(lines), 0)
    assert len(begun | set(tmp_path.rglob("events.out.tfevents.*"))) == 3
    is_of(table(tmp_path / "a.csv"), run)
    points = events_of(tmp_path / "tb")["rollout/ep_rew"]
    assert points == [
        (line["step"], pytest.approx(line["episode_return"])) for line in recorded(run) if "episode" in line
    ]


def test_an_event_file_that_is_removed_while_it_is_written_is_told(run, tmp_path, monkeypatch):
    places = {"tensorboard": str(tmp_path / "tb")}

    def seen(seconds):
        write_scalars(run, places)  # a second one, which replaces it

    looks = iter([False, False, True])  # the follower's, the second's, the follower's
    monkeypatch.setattr(scalars, "has_ended", lambda folder: next(looks))
    monkeypatch.setattr(scalars.time, "sleep", seen)
    with pytest.raises(LogError, match=r"The event file in `.*` was removed while it was written.* end one of them"):
        write_scalars(run, places, follow=True)
    assert len(events_of(tmp_path / "tb")["eval/mean_reward"]) == 4  # the second's is whole


def test_settings_that_are_not_the_checkpoints_are_told(run, tmp_path):
    run = shutil.copytree(run, tmp_path / run.name)
    for content in (b"", (run / "config.toml").read_bytes().replace(b"seed = 0", b"seed = 1")):
        (run / "config.toml").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"config\.toml` is not the file that its checkpoint was made with"):
            write_scalars(run, {"csv": str(tmp_path / "a.csv")})
    assert not (tmp_path / "a.csv").exists()


def test_following_goes_on_over_a_kill_and_ends_with_the_run(tmp_path, monkeypatch):
    told = []
    long = [*TINY, "--steps", "3000", "--eval-every", "500", "--checkpoint-every", "250"]
    trainer = start(tmp_path, *long)
    try:
        wait_for(lambda: list(tmp_path.glob("runs/*/*/s*/checkpoint/state.json")), trainer)
        run = run_in(tmp_path)
        monkeypatch.setattr(scalars, "POLL_SECONDS", 0.05)
        places = {"csv": str(tmp_path / "a.csv"), "tensorboard": str(tmp_path / "tb")}
        follower = threading.Thread(target=lambda: told.append(write_scalars(run, places, follow=True)), daemon=True)
        follower.start()
        wait_for((tmp_path / "a.csv").exists, trainer)
    finally:
        trainer.kill()
        trainer.communicate()
    if saved_step(run) < 3000:
        train(tmp_path, "--resume", run, "--no-progress")
    follower.join(timeout=60)
    rows = table(tmp_path / "a.csv")
    assert told == [(len(rows), 0)]
    is_of(rows, run)
    assert rows[-1]["time/total_timesteps"] == 3000
    drawn = events_of(tmp_path / "tb")["eval/mean_reward"]
    assert [step for step, _ in drawn] == list(range(0, 3001, 500))


def test_ctrl_c_ends_following_a_killed_run_with_all_that_is_there_and_tells_what_cannot_be_read(run, tmp_path):
    run = shutil.copytree(run, tmp_path / run.name)
    (run / "summary.json").unlink()
    rows = len(recorded(run)) + 1
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(
            '{"step": "many"}\n\x00\x00\n{"step": 700, "brought_to_rest": "stop()", "rate_kept_hz": 9.5}\n{"step": 8'
        )
    command = edgedst("log", run, "--csv", tmp_path / "a.csv", "--follow")
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for((tmp_path / "a.csv").exists, follower)
        assert follower.poll() is None
        follower.send_signal(signal.SIGINT)
        out, err = follower.communicate(timeout=60)
    finally:
        follower.kill()
    assert follower.returncode == 0
    assert err == f"2 lines of {run / 'metrics.jsonl'} cannot be read: left out.\n"
    assert f"{rows} rows of {run}" in out
    told = table(tmp_path / "a.csv")
    assert len(told) == rows
    assert told[-1] == {"time/total_timesteps": 700, "machine/rate_kept_hz": 9.5}


def test_a_run_killed_behind_an_earlier_end_has_not_ended(run, tmp_path):
    run = shutil.copytree(run, tmp_path / run.name)
    assert scalars.has_ended(run)
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    stopped = summary | {"step": 300, "finished": False}
    (run / "summary.json").write_text(json.dumps(stopped), encoding="utf-8")
    assert not scalars.has_ended(run)
    (run / "summary.json").write_text(json.dumps(stopped | {"step": 600}), encoding="utf-8")
    assert scalars.has_ended(run)


def test_a_run_that_is_trained_has_not_ended_whatever_its_summary_says(run, tmp_path):
    run = shutil.copytree(run, tmp_path / run.name)
    with (run / "metrics.jsonl").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as the trainer of a run that was resumed, and has recorded nothing yet
        assert not scalars.has_ended(run)
    assert scalars.has_ended(run)


def test_the_command_says_what_it_needs(run):
    with pytest.raises(ConfigError, match="`--follow` is for these four"):
        cli_log.log(run, transitions=Path("a.csv"), follow=True)
    with pytest.raises(ConfigError, match=r"`--env robot\.py` names the columns of `--transitions FILE`"):
        cli_log.log(run, csv="a.csv", env="robot.py")


def test_a_table_has_its_ending_and_is_no_file_of_the_run(run, tmp_path):
    run = shutil.copytree(run, tmp_path / run.name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("metrics.jsonl", "config.toml", "none", ""):
        for kind in ("csv", "parquet"):
            place = str(run / name) if name else ""
            with pytest.raises(ConfigError, match=rf"^`--{kind}` must be FILE\.{kind} and is `{place}`\.$"):
                cli_log.log(run, transitions=tmp_path / "t.csv", **{kind: place})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_two_tables_under_one_name_are_refused(run, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("a.csv", "link/a.csv"):
        with pytest.raises(ConfigError, match=rf"`--transitions` and `--csv` both name `.*{name}`: name two files"):
            cli_log.log(run, transitions=tmp_path / "a.csv", csv=f"{tmp_path}/{name}")
    with pytest.raises(ConfigError, match="`--transitions` and `--parquet` both name"):
        cli_log.log(run, transitions=tmp_path / "a.parquet", parquet=f"{tmp_path}/a.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


@pytest.mark.parametrize(
    ("kind", "where", "sentence"),
    [
        ("csv", "none/a.csv", "none/a.csv` cannot be written.* `--csv`"),
        ("csv", "", "cannot be written"),
        ("parquet", "none/a.parquet", "none/a.parquet` cannot be written.* `--parquet`"),
        ("tensorboard", "file", "cannot be written.* `--tensorboard`"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(kind, where, sentence, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=sentence):
        write_scalars(run, {kind: where})


def test_an_event_file_that_finds_no_room_is_one_sentence(run, tmp_path):
    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    command = edgedst("log", run, "--tensorboard", "tb")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=no_room)
    assert done.returncode == 1
    assert done.stderr.startswith("RunFolderError: `tb/")
    assert done.stderr.count("\n") == 1, done.stderr


def test_what_is_no_run_or_has_recorded_nothing_is_a_sentence(run, tmp_path):
    with pytest.raises(ConfigError, match="is no run folder"):
        write_scalars(tmp_path, {"csv": str(tmp_path / "a.csv")})
    run = shutil.copytree(run, tmp_path / run.name)
    places = {"csv": str(tmp_path / "a.csv"), "tensorboard": str(tmp_path / "tb")}
    for spoil in ((run / "metrics.jsonl").write_bytes, lambda _: (run / "metrics.jsonl").unlink()):
        spoil(b"")
        with pytest.raises(LogError, match="has recorded no evaluation"):
            write_scalars(run, places)
    assert not (tmp_path / "a.csv").exists()
    assert not (tmp_path / "tb").exists()


def test_w_and_b_gets_every_row_offline(run, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not among the packages of the tests: a hundred megabytes")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    subprocess.run(edgedst("log", run, "--wandb", "project"), check=True, cwd=tmp_path, capture_output=True)
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content, place, data, kept = path.read_bytes(), 7, b"", []
    while place < len(content):  # LevelDB's log: blocks of 32 KB, in which a record may be cut into parts
        left = 32_768 - place % 32_768
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        data += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or a last part
            record, data = Record.FromString(data), b""
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                kept.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    by_step = {}
    for line in recorded(run):
        by_step.setdefault(line["step"], {}).update(line)
    assert [row["_step"] for row in kept] == list(by_step)
    assert [row.get("eval/mean_reward") for row in kept] == [r.get("evaluation_return") for r in by_step.values()]


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
