import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from edgedst.cli import quick, train, verbs
from edgedst.config import SETTINGS, TrainConfig
from edgedst.launch import job as launch
from edgedst.launch.settings import flags

runner = CliRunner()


def edgedst(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "edgedst.cli.main", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.fixture
def started(monkeypatch):
    """What typer's `train` would have started the trainer with."""
    calls = []
    names = ("typed", "config", "device", "run_dir", "resume", "progress", "debug")

    def start(*values, **wishes):
        calls.append({**dict(zip(names, values, strict=True)), **wishes})

    monkeypatch.setattr(train, "start_training", start)
    return calls


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--budget-mb 50 --env HalfCheetah-v4",
        "--env-id Hopper-v4 --total-timesteps 30000 --seed 3",
        "-n 5 --hidden 64,32 --lambda1 7 --lambda2=6.5 --eta .1",
        "--resume newest --no-progress --threads 2",
        "--resume runs/a --progress --debug",
        "--config c.toml --run-dir elsewhere --env-process",
        "--hidden 128 --method td3 --replay-dtype float32",
        "--device raspberry-pi-zero-2w --steps 5",
        "--energy csv:meter.csv",
        "--algo sac --ent-coef auto --lr 3e-4 --gamma=.98 --buffer-size 1e4 --net-arch 400,300",
        "--set tau=0.01 --steps 1e6 --set steps=5 --set env_process=true",
        '--env-kwargs={"port":"/dev/ttyUSB0"} --steps many',
        "--stop-after 1h30min --stop-at-return 500",
    ],
)
def test_options_read_without_typer_are_those_that_typer_reads(line, started):
    result = runner.invoke(verbs.app, ["train", *line.split()])
    assert result.exit_code == 0, result.output
    assert quick.parse(line.split()) == started[0]


@pytest.mark.parametrize(
    "line", ["--help", "--steps", "--stepz 3", "--env-process=true", "runs/a", "-n=5", "--seed --debug"]
)
def test_what_is_not_plain_is_left_to_typer(line):
    assert quick.parse(line.split()) is None


@pytest.mark.parametrize("verb", ["train", "plan"])
def test_every_option_is_in_help_with_its_default(verb):
    told = " ".join(runner.invoke(verbs.app, [verb, "--help"], terminal_width=200).output.split())
    defaults = TrainConfig().settings()
    for setting in SETTINGS:
        assert all(flag in told for flag in flags(setting))
        default = defaults[setting]
        shown = ",".join(map(str, default)) if isinstance(default, list) else default
        assert default in (None, False, {}) or f"[default: {shown}]" in told


def test_the_verbs_are_listed_and_a_wrong_one_is_told():
    told = edgedst("--help").stdout
    assert all(verb in told for verb in ("train", "plan", "evaluate", "export", "devices"))
    wrong = edgedst("trian")
    assert wrong.returncode == 2
    assert "Did you mean `train`?" in wrong.stderr


@pytest.mark.parametrize("verb", ["train", "plan", "profile"])
def test_help_has_each_setting_below_one_heading(verb):
    told = runner.invoke(verbs.app, [verb, "--help"], terminal_width=200).output
    below = {}
    for section in re.split(r"\n\n(?=[A-Z])", told)[1:]:
        heading, *lines = section.splitlines()
        for line in lines:
            if option := re.match(r"  (-.*?)(?:  |$)", line):
                for name in re.findall(r"--[a-z0-9-]+", option[1]):
                    below.setdefault(name, []).append(heading)
    expected = {
        "--env": "Task:",
        "--threads": "Run:",
        "--hidden": "Networks:",
        "--tau": "Learning:",
        "--set": "Options:",
    }
    assert {name: below[name] for name in expected} == {name: [heading] for name, heading in expected.items()}
    assert all(len(headings) == 1 for headings in below.values())


@pytest.mark.parametrize("arguments", [["--help"], ["study", "--help"]])
def test_a_verb_s_summary_is_a_whole_sentence_on_80_columns(arguments):
    told = runner.invoke(verbs.app, arguments, terminal_width=80, env={"COLUMNS": "80"}).output
    assert "..." not in told.replace("[ARGS]...", "")
    commands = told.partition("Commands:\n")[2].strip().splitlines()
    assert all(line.startswith("  ") or line[0].isalpha() for line in commands)
    assert all(line.rstrip().endswith(".") for line in commands)


def test_version():
    assert edgedst("--version").stdout.startswith("edgedst 0.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--env", "HalfChetah-v4"), "UnknownEnvironment: There is no environment `HalfChetah-v4`. Did you mean"),
        (
            ("--env", "CartPole-v1", "--budget-mb", "100"),
            "UnsupportedSpace: CartPole-v1 takes actions from a Discrete space",
        ),
        (("--stop-at-return", "nan"), "ConfigError: `--stop-at-return` must be a finite number and is nan."),
        (("--resume", ""), "ConfigError: `--resume` is empty. Name a run folder, or `newest`."),
        (("--method", "ds-td"), "ConfigError: The settings: `method` must be one of"),
        (("--steps", "many"), "ConfigError: The settings: `steps` must be a whole number and is 'many'"),
        (("--set", "gama=1"), "ConfigError: `--set` has an unknown setting `gama`. Did you mean `gamma`?"),
        (("--env-kwargs", "port"), "ConfigError: The settings: `env_kwargs` must be JSON like"),
        (("--eta", "2"), "ConfigError: The settings: `eta` must be at least 0 and at most 1"),
        (("--config", "wrong.toml"), "ConfigError: `wrong.toml` has an unknown setting `step`. Did you mean `steps`?"),
        (("--resume", "nowhere"), "CheckpointError: `nowhere` is no run folder"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, tmp_path):
    (tmp_path / "wrong.toml").write_text("step = 3\n", encoding="utf-8")
    done = edgedst("train", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(words)
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.toml"]


def test_a_wrong_option_has_a_hint_among_all():
    told = runner.invoke(verbs.app, ["train", "--learning-rte", "3"])
    assert told.exit_code == 2
    assert "--learning-rate" in told.output


@pytest.mark.parametrize("verb", ["plan", "profile"])
def test_set_takes_any_setting_of_the_verb_s(verb):
    wrong = edgedst(verb, "--set", "eta=7")
    assert wrong.stderr == "ConfigError: The settings: `eta` must be at least 0 and at most 1 and is 7.0.\n"
    if verb == "profile":
        told = "ConfigError: `steps` is not for `edgedst profile`, which decides it itself.\n"
        assert edgedst(verb, "--set", "total_timesteps=7").stderr == told


def test_plan_prints_the_ledger():
    told = edgedst("plan", "--budget-mb", "50", "--env", "HalfCheetah-v4").stdout
    for line in (
        "interpreter and libraries",
        "critics: Adam moments",
        "replay of",
        "headroom",
        "Smallest budget that works",
    ):
        assert line in told
    assert re.search(r"^A step takes about \S+ ms here: \S+ the simulator and acting, \S+ an update\.$", told, re.M)
    assert re.search(
        r"^1,000,000 steps take about .*; the first 25,000 are without updates; .* evaluations, ", told, re.M
    )


def test_plan_as_json_sums_up():
    plan = json.loads(edgedst("plan", "--json").stdout)
    assert sum(line["bytes"] for line in plan["lines"]) == plan["planned_bytes"] <= plan["budget_bytes"] == 50_000_000


def test_a_plan_that_does_not_fit_exits_with_1():
    done = edgedst("plan", "--budget-mb", "12")
    assert done.returncode == 1
    assert done.stderr.startswith("BudgetExceeded: HalfCheetah-v4 needs at least")
    assert done.stdout == ""


def test_a_task_without_a_preset_is_told():
    assert "has no lambda1 of the paper's" in launch.preset_note(TrainConfig(env="Pendulum-v1").resolved())
    assert launch.preset_note(TrainConfig(env="Pendulum-v1", method="td3").resolved()) == ""
    assert launch.preset_note(TrainConfig(env="Ant-v4").resolved()) == ""
