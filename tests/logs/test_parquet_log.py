"""Logs as Parquet files and as LeRobot data sets, real ones, where pyarrow is installed."""

import json

import numpy as np
import pytest
from logs_read import BEGINS, TERMINATED, csv_file, records, robot_task, steps

from edgedst.errors import LogError
from edgedst.logs.columns import Task
from edgedst.logs.convert import convert

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `logs`)")
parquet = pytest.importorskip("pyarrow.parquet")


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), path, row_group_size=3)
    return path


def test_a_table_means_what_a_csv_of_it_means(tmp_path):
    text = """
        episode, observation_0, observation_1, action_0, reward, terminated
        a, 1, 10,  2, 0.5,  0
        a, 2, 20, -1, 0.25, 1
        a, 3, 30,   ,     ,
        b, 4, 40,  0, 1,    0
        b, 5, 50,   ,     ,
        """
    log = write(
        tmp_path / "log.parquet",
        episode=["a", "a", "a", "b", "b"],
        observation_0=pyarrow.array([1, 2, 3, 4, 5], pyarrow.int32()),
        observation_1=np.array([10, 20, 30, 40, 50], np.float32),
        action_0=[2.0, -1.0, None, 0.0, None],
        reward=[0.5, 0.25, None, 1.0, None],
        terminated=[False, True, None, False, None],
    )
    assert records(log)[0] == records(csv_file(tmp_path, text))[0]


def test_lists_are_columns(tmp_path):
    log = write(
        tmp_path / "log.parquet", observation=[[1.0, 10.0], [2.0, 20.0]], action=[[2.0], [0.0]], reward=[1.0, 0]
    )
    assert records(log)[0] == [(BEGINS, 0.0, [0.0], [1.0, 10.0]), (0, 1.0, [1.0], [2.0, 20.0])]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"observation_1": ["a", "b"]}, "`observation_1` is a column of string; numbers were expected"),
        ({"observation_1": [1.0, None]}, "row 2: `observation_1` is empty or NaN"),
        ({"action_0": [9.0, 1.0]}, "row 1: `action_0` is 9, outside of -2 to 2"),
        ({"terminated": [0, 7]}, "row 2: `terminated` is 7; 0, 1"),
    ],
)
def test_it_is_told_where(changed, sentence, tmp_path):
    columns = {"observation_0": [1.0, 2.0], "observation_1": [1.0, 2.0], "action_0": [0.0, 0.0], "reward": [1.0, 1.0]}
    with pytest.raises(LogError, match=sentence):
        records(write(tmp_path / "log.parquet", **{**columns, **changed}))


def test_what_is_no_parquet_is_told(tmp_path):
    (tmp_path / "log.parquet").write_text("observation_0,action_0\n", "utf-8")
    with pytest.raises(LogError, match="cannot be read as Parquet"):
        records(tmp_path / "log.parquet")
    with pytest.raises(LogError, match="No such file"):
        records(tmp_path / "none.parquet")


def lerobot(folder, version, names=("x", "y"), **features):
    """A data set of two episodes of three and two frames, with the files of that version."""
    about = {
        "codebase_version": version,
        "fps": 10,
        "features": {
            "observation.state": {"dtype": "float32", "shape": [2], "names": list(names)},
            "action": {"dtype": "float32", "shape": [1], "names": {"motors": ["force"]}},
            "next.reward": {"dtype": "float32", "shape": [1], "names": None},
            "next.done": {"dtype": "bool", "shape": [1], "names": None},
            **features,
        },
    }
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(about), encoding="utf-8")
    state = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.arange(10) / 10, pyarrow.float32()), 2)
    rows = {
        "observation.state": state,
        "action": pyarrow.array([[0.5]] * 5, pyarrow.list_(pyarrow.float32())),
        "timestamp": np.array([0, 0.1, 0.2, 0, 0.1], np.float32),
        "frame_index": [0, 1, 2, 0, 1],
        "episode_index": [0, 0, 0, 1, 1],
        "next.reward": np.arange(5, dtype=np.float32),
        "next.done": [False, False, True, False, False],
    }
    table = pyarrow.table(rows)
    data = folder / "data" / "chunk-000"
    data.mkdir(parents=True)
    if version == "v3.0":
        parquet.write_table(table, data / "file-000.parquet")
    else:
        parquet.write_table(table.slice(0, 3), data / "episode_000000.parquet")
        parquet.write_table(table.slice(3), data / "episode_000001.parquet")
    return folder


TWO = Task("Arm-v0", 2, 1, (-2.0,), (2.0,))
FRAMES = [(BEGINS, 0.0), (0, 0.2), (0, 0.4), (TERMINATED, 0.4), (BEGINS, 0.6), (0, 0.8)]


def test_a_data_set_that_a_disk_does_not_give_back_is_a_sentence(tmp_path):
    folder = lerobot(tmp_path / "set", "v2.1")
    robot_task(tmp_path)  # writes its robot.py
    (folder / "meta" / "info.json").unlink()
    (folder / "meta" / "info.json").symlink_to("/proc/self/mem")  # a file that is there, and cannot be read
    with (tmp_path / "records").open("w+b") as file:
        job = {
            **{"log": f"lerobot:{folder}", "spec": {"host": "robot", "env": str(tmp_path / "robot.py")}},
            **{"replay_dtype": "float16", "normalised": False, "descriptor": file.fileno(), "folder": str(tmp_path)},
            "records": True,
        }
        with pytest.raises(LogError, match=r"^`lerobot:.*set` cannot be read: .*\. Copy it again\.$"):
            convert(job)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_lerobot_data_set_is_read_from_its_folder(version, tmp_path):
    folder = lerobot(tmp_path / "set", version)
    found = steps(f"lerobot:{folder}", TWO)
    assert found == [(flags, pytest.approx(value)) for flags, value in FRAMES]
    assert [reward for flags, reward, *_ in records(f"lerobot:{folder}", TWO)[0] if not flags & BEGINS] == [0, 1, 2, 3]


def test_and_by_its_id_from_lerobot_s_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    lerobot(tmp_path / "me" / "arm", "v3.0")
    assert len(steps("lerobot:me/arm", TWO)) == len(FRAMES)


def test_its_names_find_a_robot_s_observations_in_another_order(tmp_path):
    folder = lerobot(tmp_path / "set", "v3.0", names=("speed", "angle, rad"))
    (flags, _, _, observation), *_ = records(f"lerobot:{folder}", robot_task(tmp_path))[0]
    assert (flags, observation) == (BEGINS, pytest.approx([(0.1 - 1) / 2, 0.0]))  # angle 0.1, speed 0


def test_a_lerobot_data_set_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(LogError, match=r"There is no LeRobot data set `me/none`: expected `me/none/meta/info\.json`"):
        records("lerobot:me/none", TWO)
    with pytest.raises(LogError, match=r"is of LeRobot's format v9\.0, and v2\.0, v2\.1, v3\.0 can be read"):
        records(f"lerobot:{lerobot(tmp_path / 'new', 'v9.0')}", TWO)
    three = Task("Arm-v0", 3, 1, (-2.0,), (2.0,))
    with pytest.raises(LogError, match="lacks `observation_2`"):
        records(f"lerobot:{lerobot(tmp_path / 'two', 'v3.0')}", three)
