"""Every file that edgedst reads, damaged: the same result as before or a sentence, never another result or a hang."""

import json
import random
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faults.campaign import campaign, sentence
from faults.damage import damaged
from study_folder import study_text
from training import TINY, contents, digest, edgedst, metrics, run_in, saved_step, start

from edgedst.config import TrainConfig
from edgedst.folders import folder as shipped
from edgedst.launch import job as launch

HERE = Path(__file__).parent
MOST_SECONDS = 30  # of one read
GRID = 'env = ["InvertedPendulum-v5"]\nmethod = ["ds-td3", "sac"]\nseed = [0, 1]'


class Lean:
    """A process as lean as the trainer that reads texts: lean_reading.py."""

    def __init__(self, folder=""):
        arguments, variables = launch.command(launch.job_for(TrainConfig().resolved()))
        boot = arguments[-2].partition("from edgedst")[0]
        command = [*arguments[:-2], f"{boot}exec(open({str(HERE / 'lean_reading.py')!r}).read())", str(folder)]
        self.process = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, text):
        """(read, refused or raised; what)."""
        self.process.stdin.write(len(text).to_bytes(4, "little") + text)
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], MOST_SECONDS)[0], "it hangs"
        head = self.process.stdout.read(4)
        assert head, f"it ended with {self.process.wait()}"
        told = self.process.stdout.read(int.from_bytes(head, "little")).decode()
        return told.partition(" ")[::2]

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def lean(request, whole, tmp_path):
    """A lean process; of one that reads state.json the run folder is `tmp_path / "run"`."""
    if getattr(request, "param", None) == "state.json":
        shutil.copytree(whole, tmp_path / "run")
        made = Lean(tmp_path / "run" / "checkpoint")
    else:
        made = Lean()
    yield made
    made.close()


def test_the_lean_parser_reads_what_json_reads_and_refuses_all_else(lean, whole, tmp_path):
    texts = [path.read_bytes() for path in (whole / "checkpoint" / "state.json", whole / "summary.json")]
    texts += [json.dumps(value).encode() for value in ([[[1e-5, -0.0, "\u20ac\n"]], {}], {"a": [None, True]}, "x", 7)]

    def attack(rng, _):
        text = damaged(rng.choice(texts), rng)
        how, what = lean.ask(text)
        assert how != "raised", f"{what} at {text[:200]!r}"
        try:
            expected = json.loads(text.decode())
        except (ValueError, RecursionError):
            assert how == "refused" or "deep" in what or len(text) > 4000, f"{what[:200]} of {text[:200]!r}"
            return "refused"
        told = repr(expected)
        if how == "refused" and any(word in told for word in ("nan", "inf", "\\ud")):
            return "refused"  # json takes them, JSON does not
        assert (how, what) == ("read", told.encode("utf-8", "backslashreplace").decode()), text[:200]
        return "read"

    campaign("texts for the lean parser", 2000, tmp_path, attack)


@pytest.mark.parametrize("lean", ["state.json"], indirect=True)
def test_every_change_of_a_character_and_every_cut_of_state_json_is_a_sentence(lean, whole):
    text = (whole / "checkpoint" / "state.json").read_bytes()
    as_it_was = lean.ask(text)
    assert as_it_was[0] == "read"
    rng = random.Random(0)
    changes = [text[:at] for at in range(len(text))]
    for at, byte in enumerate(text):
        near = 48 + (byte - 47) % 10 if chr(byte).isdigit() else byte ^ 1  # what still looks right
        changes += [text[:at] + bytes([new]) + text[at + 1 :] for new in (near, rng.randrange(256)) if new != byte]
    faults = {}
    for changed in changes:
        how, what = lean.ask(changed)
        if how == "raised" or (how == "read" and what != as_it_was[1]):
            faults.setdefault(f"{how} {what.partition(':')[0]}" if how == "raised" else "read another state", changed)
    assert faults.keys() == set(), f"of {len(changes)}: {list(faults)}"


class Reader:
    """A process that reads files: reading.py. It is started anew when it crashed or hung."""

    def __init__(self, log):
        self.log, self.process = log, None

    def ask(self, name, folder):
        """(read, refused or raised; what)."""
        if self.process is None:
            command = [sys.executable, str(HERE / "reading.py")]
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
                )
        self.process.stdin.write(json.dumps([name, str(folder)]) + "\n")
        self.process.stdin.flush()
        answered = select.select([self.process.stdout], [], [], MOST_SECONDS)[0]
        if line := self.process.stdout.readline() if answered else "":
            return json.loads(line)
        self.close()
        raise AssertionError(f"{name} {'crashed' if answered else 'hangs'}")

    def close(self):
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    made = Reader(tmp_path_factory.mktemp("reader") / "log.txt")
    yield made
    made.close()


@pytest.fixture(scope="module")
def folders(whole, exported, tmp_path_factory):
    """By reader, the folder that it reads."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("settings", "study", "board", "golden", "onnx", "energy")}
    text = TrainConfig(env="Hopper-v4", method="ds-sac", hidden=(64, 32)).resolved().toml()
    (made["settings"] / "settings.toml").write_text(text, encoding="utf-8")
    (made["study"] / "study.toml").write_text(study_text(GRID), encoding="utf-8")
    for path in shipped("devices").glob("*/board.toml"):
        (made["board"] / path.parent.name).mkdir()
        shutil.copy(path, made["board"] / path.parent.name)
    new = exported("onnx")[1]
    (made["golden"] / "golden.csv").write_bytes(new["golden.csv"])
    (made["onnx"] / "actor.onnx").write_bytes(new["actor.onnx"])
    (made["energy"] / "power.csv").write_text(
        "time,watts\n" + "".join(f"{1_790_000_000 + second}.25,{3 + second / 7}\n" for second in range(20)),
        encoding="utf-8",
    )
    made["log"] = tmp_path_factory.mktemp("log")
    (made["log"] / "log.csv").write_text(
        "episode,time,observation_0,action_0,reward,terminated\n"
        + "".join(f"{row // 7},{row / 10},{row},{row % 3 - 1},{row / 2},{int(row % 7 == 5)}\n" for row in range(40)),
        encoding="utf-8",
    )
    made["bundle"] = tmp_path_factory.mktemp("bundle")
    for name, content in exported("bundle")[1].items():
        (made["bundle"] / Path(name).name).write_bytes(content)
    made["actors"] = made["replay"] = whole
    made["report"] = study_of(whole, tmp_path_factory.mktemp("report"))
    return made


def study_of(whole, folder):
    """A study's folder whose only run is `whole`."""
    settings = TrainConfig.load(whole / "config.toml")
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    runs = folder / "out" / "runs" / whole.parent.parent.name / whole.parent.name
    shutil.copytree(whole, runs / whole.name)
    (folder / "out" / "study.toml").write_text(f"[[grid]]\n{lines}", encoding="utf-8")
    return folder


def is_of_a_bundle(path):
    """Files that a checksum covers, and the checksums; the others are the owner's to write."""
    return path.name not in ("robot.py", "edgedst-actor.service")


# reader: (files that are damaged, whether a damage may never change the result, how often)
DAMAGED = {
    "settings": (lambda path: True, False, 300),
    "study": (lambda path: True, False, 300),
    "board": (lambda path: True, False, 60),
    "golden": (lambda path: True, False, 100),
    "energy": (lambda path: True, False, 100),
    "log": (lambda path: True, False, 300),
    "bundle": (is_of_a_bundle, True, 60),
    "onnx": (lambda path: True, True, 25),
    "actors": (lambda path: path.suffix == ".safetensors" or path.name == "state.json", True, 200),
    "replay": (lambda path: path.suffix == ".rows" or path.name == "state.json", True, 60),
    "report": (lambda path: path.suffix in (".json", ".jsonl", ".toml", ".safetensors"), False, 6),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_read_as_before_or_refused_in_a_sentence(name, reader, folders, tmp_path):
    chosen, strict, usual = DAMAGED[name]
    how, as_it_was = reader.ask(name, folders[name])
    assert how == "read", as_it_was
    files = sorted(path.relative_to(folders[name]) for path in folders[name].rglob("*") if path.is_file())
    files = [path for path in files if chosen(path)]

    def attack(rng, folder):
        shutil.copytree(folders[name], folder, dirs_exist_ok=True)
        path = rng.choice(files)
        (folder / path).write_bytes(damaged((folder / path).read_bytes(), rng))
        how, what = reader.ask(name, folder)
        assert how != "raised", f"{path.name}: {what}"
        if how == "refused":
            sentence(what)
            assert name != "report" or path.name == "study.toml", "one file of a run ends the whole report"
            return how
        assert not strict or what == as_it_was, f"{path.name}: another result"
        return "read as before" if what == as_it_was else "read as something else"

    campaign(f"damaged files ({name})", usual, tmp_path, attack)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run that was killed behind its first checkpoints."""
    for _ in range(20):  # it may be done before it is seen
        folder = tmp_path_factory.mktemp("stopped")
        process = start(folder, *TINY)
        while process.poll() is None and not any(saved_step(run) >= 70 for run in folder.glob("runs/*/*/s*")):
            pass
        process.kill()
        process.communicate()
        if 70 <= saved_step(run_in(folder)) < 600:
            return folder
    raise AssertionError("no run could be stopped")


def test_a_run_whose_files_are_damaged_goes_on_to_the_same_end_or_is_refused_in_a_sentence(stopped, whole, tmp_path):
    files = sorted(path for path in contents(stopped) if "best-" not in path)
    state = next(path for path in files if path.endswith("state.json"))

    def attack(rng, folder):
        done = rng.random() < 0.2
        shutil.copytree(whole.parents[3] if done else stopped, folder, dirs_exist_ok=True)
        run = run_in(folder)
        if done:
            name = "summary.json"  # which says whether the run is finished
            (run / name).write_bytes(damaged((run / name).read_bytes(), rng))
        else:
            name = rng.choice((*files, state, state, state))
            (folder / name).write_bytes(damaged((folder / name).read_bytes(), rng))
        wanted = ("--resume", str(run)) if done or rng.random() < 0.5 else ("--resume", "newest", *TINY)
        process = start(folder, *wanted)
        _, err = process.communicate(timeout=60)
        if process.returncode:
            assert process.returncode == 1, err
            sentence(err)
            return "refused"
        assert list(folder.glob("runs/*/*/s*")) == [run], f"{name}: it was trained anew"
        assert digest(run)[1] == digest(whole)[1], f"{name}: another end"
        if not name.endswith("metrics.jsonl"):  # whose lines nothing depends on
            assert metrics(run) == metrics(whole), f"{name}: other metrics"
        return "went on"

    campaign("runs with a damaged file", 24, tmp_path, attack)


def test_a_command_that_reads_a_damaged_file_ends_with_a_sentence(folders, tmp_path):
    commands = {
        "settings": ("plan", "--config", "settings.toml"),
        "study": ("study", "run", "study.toml", "--out", "/dev/null/out"),
        "onnx": ("evaluate", "actor.onnx", "--episodes", "1"),
        "bundle": ("evaluate", ".", "--episodes", "1"),
        "actors": ("export", "actor.c", "--run", "."),
    }

    def attack(rng, folder):
        name = rng.choice(list(commands))
        shutil.copytree(folders[name], folder, dirs_exist_ok=True)
        path = rng.choice(sorted(path for path in contents(folder) if DAMAGED[name][0](Path(path))))
        (folder / path).write_bytes(damaged((folder / path).read_bytes(), rng))
        done = subprocess.run(
            edgedst(*commands[name]), cwd=folder, capture_output=True, text=True, check=False, timeout=MOST_SECONDS
        )
        if done.returncode:
            assert done.returncode == 1, done.stderr
            sentence(done.stderr)
        return "read" if done.returncode == 0 else "refused"

    campaign("commands that read a damaged file", 6, tmp_path, attack)
