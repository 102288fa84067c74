"""What whoever has a board sends: complete, readable, and without a trace of who they are."""

import json
import os
import pwd
from pathlib import Path

import pytest
from profile_documents import measured, modelled, without_energy

from edgedst import boards
from edgedst.cli.devices import board_text
from edgedst.errors import BoardFileError
from edgedst.profile import board_report
from edgedst.profile.board_report import kernel_log, summary

LOG = """6,1,100,-;Booting Linux on physical CPU 0x0
4,812,9123456,-;hwmon hwmon1: Undervoltage detected!
 SUBSYSTEM=hwmon
6,813,9200000,-;usb 1-1: new high-speed device of Ada's phone
4,814,61000000,-;cpu cpu0: dev_pm_opp: thermal throttling, clock limited
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "kmsg"
    path.write_text(LOG, encoding="utf-8")
    return path


def test_only_lines_about_heat_and_power_are_taken_from_the_kernel_s_log(log):
    lines, unread = kernel_log(log)
    assert lines == [
        "9 s: hwmon hwmon1: Undervoltage detected!",
        "61 s: cpu cpu0: dev_pm_opp: thermal throttling, clock limited",
    ]
    assert unread == ""


def test_the_newest_lines_are_kept(tmp_path):
    (tmp_path / "kmsg").write_text("".join(f"4,{i},{i}000000,-;throttled {i}\n" for i in range(90)), encoding="utf-8")
    lines, _ = kernel_log(tmp_path / "kmsg")
    assert (len(lines), lines[-1]) == (50, "89 s: throttled 89")


def test_a_log_that_may_not_be_read_is_told(tmp_path):
    lines, unread = kernel_log(tmp_path / "none")
    assert lines is None
    assert unread == f"{tmp_path}/none: No such file or directory."


@pytest.mark.parametrize(("user", "advice"), [(1000, " As root it can be read."), (0, "")])
def test_root_is_advised_only_where_it_would_help(tmp_path, monkeypatch, user, advice):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert kernel_log(tmp_path / "kmsg") == (None, f"{tmp_path}/kmsg: Operation not permitted.{advice}")


def test_a_log_that_opens_and_cannot_be_read_is_told(tmp_path):
    assert kernel_log(tmp_path) == (None, f"{tmp_path}: Is a directory.")


def test_what_the_kernel_overwrote_meanwhile_is_passed_over(tmp_path, log, monkeypatch):
    answers = iter([BrokenPipeError(), b"4,1,5000000,-;throttled\n", BlockingIOError()])

    def read(*_):
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "read", read)
    assert kernel_log(log) == (["5 s: throttled"], "")


def test_nobody_s_command_path_or_home_is_in_it(log, monkeypatch):
    home = "/srv/people/ada"
    monkeypatch.setenv("HOME", home)
    told = {**measured(), "command": f"edgedst profile --config {home}/secret.toml", "energy_note": f"csv:{home}/m.csv"}
    told["run"] = {**(told["run"] or {"curve": []}), "path": "runs/of/ada"}
    text = json.dumps(board_report.board_report(told, {"board": "generic-x86-64"}, log), indent=2)
    for word in ("secret.toml", home, "of/ada", "Ada's"):
        assert word not in text
    assert "~/m.csv" in text


def note(path):
    """As the report has it."""
    return board_report.board_report({**measured(), "energy_note": path}, {}, Path("none"))["profile"]["energy_note"]


def test_the_home_of_whoever_became_root_is_not_in_it(monkeypatch):
    entry = pwd.getpwuid(0)
    by_number = {0: entry, 4321: pwd.struct_passwd((*entry[:5], "/data/ada", entry[6]))}
    monkeypatch.setattr(pwd, "getpwuid", by_number.__getitem__)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setenv("SUDO_UID", "4321")
    assert note("csv:/data/ada/m.csv, /root/m.csv, /home/grace/m.csv") == "csv:~/m.csv, ~/m.csv, ~/m.csv"
    assert note("/data/adam/m.csv and /roots") == "/data/adam/m.csv and /roots"


def test_a_user_without_a_home_changes_no_path(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 9)  # of a container: in no list
    monkeypatch.delenv("SUDO_UID", raising=False)
    for home in ("/", "", "m"):
        monkeypatch.setenv("HOME", home)
        assert note("csv:/mnt/m.csv") == "csv:/mnt/m.csv"
    monkeypatch.delenv("HOME")
    assert note("csv:/mnt/m.csv") == "csv:/mnt/m.csv"


@pytest.mark.parametrize("profile", [measured(), modelled(), without_energy()])
def test_a_table_shows_what_was_measured_and_by_what(profile, log):
    told = dict(summary(board_report.board_report(profile, {}, log)))
    energy = told["energy of 1,000 steps"]
    if profile["energy"] is None:
        assert energy == "not measured"
    else:
        assert profile["energy"]["scope"] in energy
        assert ("modelled" in energy) != profile["energy"]["measured"]
    assert told["a step"].endswith("ms")
    assert told["board"] == profile["host"]["title"]


def test_what_was_sent_of_a_board_is_shown_with_it(tmp_path, monkeypatch, log):
    folder = tmp_path / "generic-x86-64"
    (folder / "measured").mkdir(parents=True)
    report = board_report.board_report(measured(), {}, log)
    (folder / "measured" / "ada.json").write_text(json.dumps(report), encoding="utf-8")
    board = boards.load("generic-x86-64")
    monkeypatch.setattr(board_report, "devices_folder", lambda: tmp_path)
    assert "Measured there (ada.json)" in board_text(board)
    cut = {**report, "profile": {**report["profile"], "contenders": []}}
    for content in ({}, cut, {**report, "format": 2}, {**report, "profile": None}):
        (folder / "measured" / "other.json").write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(BoardFileError, match=r"other\.json` is no file of `edgedst profile --report`, format 1"):
            board_report.measured("generic-x86-64")


def test_every_file_that_was_sent_stands_in_the_table_of_the_docs():
    table = (Path(__file__).parents[2] / "docs" / "energy.md").read_text(encoding="utf-8")
    for name in boards.names():
        for file, report in board_report.measured(name):
            cells = [text.replace("\N{NO-BREAK SPACE}", " ") for _, text in summary(report)]
            assert f"| [{file}](../devices/{name}/measured/{file}) | {' | '.join(cells)} |" in table
