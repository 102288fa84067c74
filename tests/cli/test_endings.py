"""Commands end well whatever happens around them: streams that are closed or full, Ctrl-C, other encodings."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EDGEDST = [sys.executable, "-c", "from edgedst.cli.main import main; main()"]
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
ASCII = {**PLAIN, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FULL = "OSError: No space left on device. Free some space, where standard output goes or"
SHORT = "--steps 300 --hidden 16 --start-steps 200 --eval-every 300 --eval-episodes 1 --no-progress"


def run(line, streams="", cwd=None, env=None):
    """Of `edgedst LINE STREAMS` in a shell: exit code, standard output, standard error; never a traceback."""
    command = ["sh", "-c", f'"$@" {line} {streams}', "sh", *EDGEDST]
    done = subprocess.run(command, capture_output=True, cwd=cwd, env=env, check=False)
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    assert "Traceback" not in out + err
    assert "Exception ignored" not in err
    return done.returncode, out, err


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("2>/dev/full", 0),
        (">/dev/full", 1),
        (">/dev/full 2>/dev/full", 1),
    ],
)
@pytest.mark.parametrize("line", ["plan --json", "devices", "--help"])
def test_what_cannot_be_printed_ends_with_1_and_what_need_not_be_with_0(line, streams, code):
    told, _, err = run(line, streams)
    assert told == code
    assert ("2>" in streams) or code == 0 or (FULL in err and len(err.splitlines()) == 1)


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&-", "2>/dev/full"])
def test_a_sentence_that_nobody_can_hear_keeps_its_exit_code(streams):
    assert run("plan --env Nope-v0", streams)[0] == 1


@pytest.mark.parametrize("line", ["log --bogus", "log a b", "trian", "study run s --jobs 0", "train --steps"])
def test_a_line_that_cannot_be_read_ends_with_2_also_where_nobody_can_hear_it(line):
    code, out, err = run(line)
    assert (code, out) == (2, "")
    verb = re.match("((log|study run|train) )?", line)[0]
    assert re.fullmatch(rf"[A-Z]\w+: .*[.?] `edgedst {verb}--help` shows what it takes\.\n", err)
    assert "'" not in err
    assert run(line, "2>/dev/full")[0] == 2


@pytest.mark.parametrize("line", ["", "study"])
def test_without_a_command_there_is_help(line):
    assert "Usage: edgedst " in "".join(run(line)[1:])  # where and with which code differs from typer to typer


@pytest.mark.parametrize("how", ["Ctrl-C", "Ctrl-D"])
def test_a_question_that_is_not_answered_ends_with_130(how, tmp_path):
    assert run("init robot arm", cwd=tmp_path)[0] == 0
    terminal, end = pty.openpty()
    with subprocess.Popen([*EDGEDST, "check", "arm/robot.py"], cwd=tmp_path, stdin=end, stderr=subprocess.PIPE) as asks:
        os.close(end)
        told = b""
        while not told.endswith(b"[y/N]:"):
            byte = asks.stderr.read(1)
            assert byte, told
            told += byte
        asks.send_signal(signal.SIGINT) if how == "Ctrl-C" else os.write(terminal, b"\x04")
        told = asks.stderr.read()
    os.close(terminal)
    assert (asks.returncode, told.strip()) == (130, b"The question was not answered: nothing was started.")


def test_a_reader_that_goes_away_is_no_error_of_ours():
    source, sink = os.pipe()
    os.close(source)
    done = subprocess.run([*EDGEDST, "devices"], stdout=sink, stderr=subprocess.PIPE, text=True, check=False)
    os.close(sink)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_run_with_closed_streams_trains_in_silence(tmp_path):
    told = run(f"train {SHORT}", "<&- >&- 2>&-", cwd=tmp_path)
    assert told == (0, "", "")
    assert len(list(tmp_path.glob("runs/*/*/*/summary.json"))) == 1
    (metrics,) = tmp_path.glob("runs/*/*/*/metrics.jsonl")
    assert all(line.startswith("{") for line in metrics.read_text(encoding="utf-8").splitlines())


# What is loaded by whom: the front end's first, typer, a verb, and what the verb loads.
MOMENTS = [
    ("devices", "edgedst.errors"),
    ("devices", "typer"),
    ("devices", "edgedst.cli.devices"),
    ("plan", "edgedst.cli.plan"),
    ("plan", "edgedst.envs.registry"),
    ("train", "edgedst.cli.quick"),
    ("train", "edgedst.launch.job"),
    ("profile --repeats 0", "edgedst.profile.measure"),
    ("profile --repeats 0", "rich.table"),
    ("study report out", "edgedst.study.report"),
    ("study report out", "numpy"),
    ("study run smoke", "edgedst.study.runner"),
]
INTERRUPTS = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "{}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from edgedst.cli.main import main
main()
"""


@pytest.mark.parametrize(("line", "module"), MOMENTS)
def test_ctrl_c_while_modules_are_loaded_ends_with_130_and_no_word(line, module, tmp_path):
    command = [sys.executable, "-c", INTERRUPTS.format(module), *line.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_the_process_that_plans(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import os, signal, time, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(600)\n",
        encoding="utf-8",
    )
    told = run("plan --env slow:Any-v0 --budget-mb 100", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert told[0] == 130
    assert not Path("/proc", (tmp_path / "pid").read_text(encoding="utf-8")).exists()


@pytest.mark.parametrize("env", [ASCII, {**PLAIN, "PYTHONIOENCODING": "ascii"}], ids=["C", "ascii"])
@pytest.mark.parametrize(
    "line", ["devices", "devices raspberry-pi-4", "plan --env 'Caf\u00e9-v0'", "train --config 'caf\u00e9 \xff'"]
)
def test_a_terminal_of_few_characters_ends_nothing(line, env, tmp_path):
    code, _, err = run(line, cwd=tmp_path, env=env)
    assert code == (0 if line.startswith("devices") else 1)
    assert code == 0 or len(err.splitlines()) == 1


def test_a_path_that_is_no_text_is_told(tmp_path):
    command = [*EDGEDST, "train", "--config", b"caf\xe9.toml"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"ConfigError: The config file `caf\\udce9.toml` cannot be read: No such file")


@pytest.mark.parametrize("line", ["study run STUDY", "plan --json", "profile --repeats 1 --seconds 1 --json x"])
def test_a_current_folder_that_is_gone_is_a_sentence_or_no_matter(line, tmp_path):
    (tmp_path / "s.toml").write_text("[grid]\nseed = 0", encoding="utf-8")
    (tmp_path / "gone").mkdir()
    gone = f'cd {tmp_path / "gone"}; rmdir ../gone; "$@"'
    line = line.replace("STUDY", str(tmp_path / "s.toml"))
    done = subprocess.run(
        ["sh", "-c", gone, "sh", *EDGEDST, *line.split()], capture_output=True, text=True, check=False
    )
    if line == "plan --json":
        assert done.returncode == 0
    else:
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "The folder that this command was started in is gone." in done.stderr


def test_too_many_open_files_and_a_full_folder_of_temporaries_are_sentences(tmp_path):
    command = ["sh", "-c", 'ulimit -n 12; "$@" study report out', "sh", *EDGEDST]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_without_a_home_everything_is_as_ever(tmp_path):
    env = {"PATH": os.environ["PATH"]}
    assert run("devices --here", env=env, cwd=tmp_path)[0] == 0
    assert run("plan --json", env=env, cwd=tmp_path)[0] == 0
