"""What a CSV log means, row by row, and what is wrong with it, with the line that an editor shows."""

import pytest
from logs_read import BEGINS, TASK, TERMINATED, TRUNCATED, csv_file, records, robot_task, steps

from edgedst.errors import LogError
from edgedst.logs import ticks
from edgedst.logs.columns import Task
from edgedst.logs.csv_log import CsvLog

HEAD = "observation_0, observation_1, action_0, reward"


def test_a_row_is_a_tick_and_the_next_row_holds_what_came_of_it(tmp_path):
    log = csv_file(
        tmp_path,
        f"""
        {HEAD}
        1, 10,  2.0, 0.5
        2, 20, -1.0, 0.25
        3, 30,     ,
        """,
    )
    found, told = records(log)
    assert found == [
        (BEGINS, 0.0, [0.0], [1.0, 10.0]),
        (0, 0.5, [1.0], [2.0, 20.0]),  # actions are normalised by their bounds, -2 to 2
        (0, 0.25, [-0.5], [3.0, 30.0]),
    ]
    assert (told["transitions"], told["rows"], told["notes"]) == (2, 3, [])


def test_columns_may_stand_in_any_order_and_others_are_told(tmp_path):
    log = csv_file(tmp_path, "reward,note,action_0,observation_1,observation_0\n7,x,2,10,1\n8,y,,20,2")
    found, told = records(log)
    assert found == [(BEGINS, 0.0, [0.0], [1.0, 10.0]), (0, 7.0, [1.0], [2.0, 20.0])]
    assert told["notes"] == [f"`{log}` has columns that are not used: `note`."]


# rows: (episode, observation_0, action_0, terminated, truncated); what is recorded: (flags, next observation_0).
END, CUT, NO = "1,0", "0,1", "0,0"
EPISODES = {
    "another number is another episode, and its last action has no outcome": (
        [("a", 1, 0, NO), ("a", 2, 0, NO), ("b", 3, 0, NO), ("b", 4, 0, NO)],
        [(BEGINS, 1), (0, 2), (BEGINS, 3), (0, 4)],
    ),
    "the row behind an end holds the last observation": (
        [("a", 1, 0, NO), ("a", 2, 0, END), ("a", 3, "", NO), ("b", 4, 0, CUT), ("b", 5, 0, NO)],
        [(BEGINS, 1), (0, 2), (TERMINATED, 3), (BEGINS, 4), (TRUNCATED, 5)],
    ),
    "without that row a terminated transition keeps its own observation": (
        [("a", 1, 0, NO), ("a", 2, 0, END), ("b", 3, 0, NO), ("b", 4, "", NO)],
        [(BEGINS, 1), (0, 2), (TERMINATED, 2), (BEGINS, 3), (0, 4)],
    ),
    "and a truncated one is left out": (
        [("a", 1, 0, NO), ("a", 2, 0, CUT), ("b", 3, 0, NO), ("b", 4, 0, CUT)],
        [(BEGINS, 1), (0, 2), (BEGINS, 3), (0, 4)],
    ),
    "a lone row is no transition": ([("a", 1, 0, NO), ("b", 2, 0, NO), ("b", 3, 0, NO)], [(BEGINS, 2), (0, 3)]),
    "a lone terminated one is": ([("a", 1, 0, END), ("b", 2, 0, NO)], [(BEGINS, 1), (TERMINATED, 1)]),
}


@pytest.mark.parametrize("block", [1, 2, 3, 100])
@pytest.mark.parametrize("what", EPISODES)
def test_of_episodes(what, block, tmp_path, monkeypatch):
    monkeypatch.setattr("edgedst.logs.csv_log.BLOCK", block)
    rows, expected = EPISODES[what]
    lines = [f"{episode},{x},{x},{action},0.5,{flags}" for episode, x, action, flags in rows]
    log = csv_file(tmp_path, "\n".join([f"episode,{HEAD},terminated,truncated", *lines]))
    assert steps(log) == expected


@pytest.mark.parametrize("block", [1, 2, 100])
def test_without_episode_an_end_or_an_observation_alone_is_followed_by_another_one(block, tmp_path, monkeypatch):
    monkeypatch.setattr("edgedst.logs.csv_log.BLOCK", block)
    log = csv_file(
        tmp_path,
        f"""
        {HEAD}, terminated
        1, 0, 1, 1, false
        2, 0, 1, 1, TRUE
        3, 0,  ,  ,
        4, 0, 1, 1, 1
        5, 0, 1, 1, 0
        6, 0,  ,  ,
        7, 0, 1, 1, 0
        8, 0, 1, 1, 0
        """,
    )
    expected = [(BEGINS, 1), (0, 2), (TERMINATED, 3), (BEGINS, 4), (TERMINATED, 4), (BEGINS, 5), (0, 6), (BEGINS, 7)]
    assert steps(log) == [*expected, (0, 8)]


def test_what_is_left_out_is_counted_and_told(tmp_path):
    log = csv_file(
        tmp_path, f"episode,{HEAD},truncated,terminated\na,1,0,1,1,0,0\na,2,0,1,1,0,0\nb,1,0,1,1,1,0\nc,1,0,1,1,0,1"
    )
    notes = records(log)[1]["notes"]
    assert notes == [
        f"The last actions of 1 episodes of `{log}` are left out: no row says what came of them.",
        f"1 truncated transitions of `{log}` are left out: the observation that they led to is not in it.",
        f"1 terminated transitions of `{log}` lack the observation that they led to: their own stands for it, and no "
        "target needs it.",
    ]


@pytest.mark.parametrize("block", [1, 2, 100])
def test_gaps_of_time_cut_episodes_and_are_told_with_their_lines(block, tmp_path, monkeypatch):
    monkeypatch.setattr("edgedst.logs.csv_log.BLOCK", block)
    times = [0, 0.1, 0.2, 0.34, 0.6, 0.7]  # 0.14 s are late, 0.26 s lack something
    log = csv_file(tmp_path, "\n".join([f"time,{HEAD}", *[f"{t},{i},0,1,1" for i, t in enumerate(times)]]))
    assert steps(log) == [(BEGINS, 0), (0, 1), (0, 2), (0, 3), (BEGINS, 4), (0, 5)]
    notes = records(log)[1]["notes"]
    assert notes[0] == f"`{log}` has 1 gaps of more than 0.15 s, at which episodes are cut: behind line 5 (0.26 s)."


def test_a_robot_s_names_bounds_rewards_and_ends_hold(tmp_path):
    log = tmp_path / "drive.csv"
    log.write_text(
        '"angle, rad",speed,force,time\n0,0,1,0.0\n0.5,2,4,0.1\n0.95,0,1,0.2\n0,-2,-2,0.3\n0.1,0,0,0.4\n', "utf-8"
    )
    found, told = records(log, robot_task(tmp_path))
    assert found == [
        (BEGINS, 0.0, [0.0], [-0.5, 0.0]),  # (0 - 1) / 2 and 0 / 2
        (0, 1 + 10 * 0.5, [0.0], [-0.25, 1.0]),
        (TERMINATED, pytest.approx(4 + 9.5), [1.0], [pytest.approx(-0.025), 0.0]),
        (BEGINS, 0.0, [0.0], [-0.5, -1.0]),  # the row at 0.95 is over, and begins nothing
        (0, -2 + 1.0, [-1.0], [pytest.approx(-0.45), 0.0]),
    ]
    over = f"1 rows of `{log}` are left out: `{tmp_path}/robot.py` says that their episode is over (terminated)."
    assert told["notes"][-1] == over


def test_numbered_names_serve_a_robot_too(tmp_path):
    log = csv_file(tmp_path, "observation_0,speed,action_0\n0,0,1\n0.5,0,1")
    assert len(records(log, robot_task(tmp_path))[0]) == 2


WRONG = {
    "a column is missing": (
        "observation_0,action_0,reward\n1,1,1",
        r"lacks `observation_1`: a log of Arm-v0 has a col.*has `o",
    ),
    "its name is nearly there": (
        "observation_0,observation_l,action_0,reward",
        "Is `observation_l` meant as `observation_1`",
    ),
    "they are separated otherwise": ("observation_0;action_0;reward", "have to be separated by commas"),
    "a column stands there twice": (f"{HEAD},reward", "has `reward` more than once"),
    "it is of another task": (
        f"{HEAD},observation_2",
        "has 2 observations, `observation_0` to `observation_1`: it is a",
    ),
    "it is empty": ("", "is empty: a first line"),
    "it has names alone": (HEAD, "holds no transition, in 0 rows"),
    "it has one row": (f"{HEAD}\n1,1,1,1", "holds no transition, in 1 rows"),
    "a text stands for a number": (f"{HEAD}\n1,1,1,1\n1,full,1,1", "line 3: `observation_1` is 'full'; a number was"),
    "a comma stands for a point": (
        f'{HEAD}\n"1,5",1,1,1',
        "line 2: `observation_0` is '1,5'; a number was expected, with",
    ),
    "a number is missing": (f"{HEAD}\n1,1,1,1\n1,,1,1", "line 3: `observation_1` is empty or NaN; a finite"),
    "a number is infinite": (f"{HEAD}\n1,1,1,inf\n1,1,1,1", "line 2: `reward` is inf; a finite"),
    "an action is missing": (f"episode,{HEAD}\na,1,1,,1\na,1,1,1,1", "line 2: `action_0` is empty or NaN"),
    "an action is out of bounds": (
        f"{HEAD}\n1,1,1,1\n1,1,2.1,1\n1,1,1,1",
        "line 3: `action_0` is 2.1, outside of -2 to 2",
    ),
    "a reward is too large": (f"{HEAD}\n1,1,1,1e39\n1,1,1,1", r"line 2: `reward` is 1e\+39, and the replay"),
    "a flag is none": (f"{HEAD},terminated\n1,1,1,1,maybe", "line 2: `terminated` is 'maybe'; 0, 1, false or true"),
    "a line was cut off": (f"{HEAD}\n1,1,1,1\n1,1", "line 3: it has 2 fields and the first line names 4"),
    "time goes backwards": (f"time,{HEAD}\n1,1,1,1,1\n0.5,1,1,1,1", "line 3: `time` is 0.5, and 1 in the row before"),
    "an episode goes on behind its end": (
        f"episode,{HEAD},terminated\na,1,1,1,1,1\na,2,1,1,1,0\na,3,1,1,1,0",
        "line 4: the episode goes on, and two rows before it ended",
    ),
}


@pytest.mark.parametrize("block", [1, 2, 100])
@pytest.mark.parametrize("what", WRONG)
def test_it_is_told_where(what, block, tmp_path, monkeypatch):
    monkeypatch.setattr("edgedst.logs.csv_log.BLOCK", block)
    text, sentence = WRONG[what]
    path = tmp_path / "log.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LogError, match=sentence) as raised:
        records(path)
    assert str(raised.value).startswith(f"`{path}`")


def test_lines_count_as_in_an_editor(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f'note,{HEAD}\r\n"two\nlines",1,1,1,1\r\n\r\n\r\nx,1,1,none,1\r\n'.encode())
    with pytest.raises(LogError, match="line 6: `action_0` is 'none'"):
        records(path)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            "90,0,1",
            r"line 3: `angle, rad` is 90, far outside of -1 to 3, the bounds in the robot.py.*degrees for radians",
        ),
        ("0,0,5", "line 3: `force` is 5, outside of -2 to 4, which .* in another unit, or normalised"),
    ],
)
def test_another_unit_is_guessed(row, sentence, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f'"angle, rad",speed,force\n0,0,1\n{row}\n0,0,1\n', "utf-8")
    with pytest.raises(LogError, match=sentence):
        records(path, robot_task(tmp_path))


def test_a_log_of_another_rate_is_refused(tmp_path):
    log = csv_file(tmp_path, "\n".join(["time,observation_0,speed,action_0", *[f"{t / 100},0,0,1" for t in range(9)]]))
    with pytest.raises(LogError, match=r"has a row every 0\.01 s, and .*robot\.py makes a step every 0\.1 s"):
        records(log, robot_task(tmp_path))


def test_observations_that_never_move_must_not(tmp_path):
    task = Task("Ant-v4", 2, 1, (-2.0,), (2.0,), constants=[(1, 0.0)])
    with pytest.raises(LogError, match=r"line 3: `observation_1` is 0\.5, and in Ant-v4 it is always 0"):
        records(csv_file(tmp_path, f"{HEAD}\n1,0,1,1\n1,0.5,1,1"), task)


def test_what_half_precision_cannot_hold_is_told(tmp_path):
    task = Task("Arm-v0", 2, 1, (-2.0,), (2.0,), largest=65_504.0)
    with pytest.raises(
        LogError, match="line 2: `observation_0` is 70000, and the replay's float16 holds at most 65504"
    ):
        records(csv_file(tmp_path, f"{HEAD}\n70000,0,1,1\n1,0.5,1,1"), task)


def test_a_file_that_is_none_is_told(tmp_path):
    for path, words in [
        (tmp_path, "it is a folder"),
        (tmp_path / "no.csv", "No such file"),
        ("/dev/zero", "no regular"),
    ]:
        if path == tmp_path:
            path = tmp_path / "folder.csv"
            path.mkdir()
        with pytest.raises(LogError, match=words):
            CsvLog(path, TASK)


def test_memory_does_not_depend_on_the_number_of_rows(tmp_path):
    log = csv_file(tmp_path, "\n".join([HEAD, *["1,1,1,1"] * 5_000]))
    assert max(len(block.place) for block in CsvLog(log, TASK).ticks()) == ticks.BLOCK
