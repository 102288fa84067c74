"""The folder for a board: everything in it works there, and nothing but a whole one is left behind."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgedst.cli import verbs
from edgedst.deploy.bundle import YOURS, is_bundle, rate_for
from edgedst.deploy.evaluate import evaluate
from edgedst.errors import CheckpointError, ConfigError, ExportError, UnknownDevice
from tools import require_tool

FILES = {
    *("README.md", "BOARD.md", "ONNX.md", "C.md", "SHA256SUMS", "requirements.txt", "golden.csv"),
    *("actor.onnx", "actor.c", "actor.h", "main.c", "run_actor.cpp", "Makefile"),
    *("run_actor.py", "control_loop.py", "robot.py", "edgedst-actor.service"),
}


def export(*arguments):
    return CliRunner().invoke(verbs.app, ["export", *map(str, arguments)])


def bundle(run, folder, *arguments):
    done = export("--bundle", folder, "--run", run, "--rate", "50", *arguments)
    assert done.exit_code == 0, done.output
    return done.output


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


def listed(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_the_folder_has_all_that_a_board_needs_and_says_what_it_is(run, tmp_path):
    told = bundle(run, tmp_path / "kit", "--device", "raspberry-pi-zero-2w", "--dtype", "int8")
    folder = tmp_path / "kit"
    assert {path.name for path in folder.iterdir()} == FILES
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert f"{folder}: {len(FILES)} files, {total:,} bytes: ds-td3 on Fake-v0, step 1,000, from {run}" in told
    assert told.count("int8 moves the action by up to ") == 4  # ONNX and C, recorded and random
    assert "board: Raspberry Pi Zero 2 W. `--device` names it." in told
    assert "loop: 50 times a second, because `--rate` said so; the rate of training is not known" in told
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "an evaluation return of 12.3 ± 0.5" in readme
    assert "from -1 to 1, -0.25 to 4: 50 times a second, because `--rate` said so" in readme
    assert readme.count("int8") == 2
    assert f"| `actor.onnx` | the actor, {(folder / 'actor.onnx').stat().st_size:,} bytes" in readme
    assert "$" not in readme
    for name in re.findall(r"`([\w-]+\.(?:py|c|h|cpp|md|csv|onnx|service))`", readme):
        assert name in FILES
    assert (folder / "BOARD.md").read_text(encoding="utf-8").startswith("# Bringing up a Raspberry Pi Zero 2 W")
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_the_runner_needs_the_onnxruntime_that_edgedst_needs(run, tmp_path):
    bundle(run, tmp_path / "kit")
    numpy, onnxruntime = (tmp_path / "kit" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert numpy == "numpy"  # any: the system's, which the packages of its cameras and buses were built for
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"{onnxruntime.partition(" ")[0]}"' in project


def test_the_readme_s_commands_work_in_the_copied_folder(run, tmp_path):
    bundle(run, tmp_path / "kit")
    folder = Path(shutil.copytree(tmp_path / "kit", tmp_path / "board"))
    require_tool("cc")
    (folder / "venv" / "bin").mkdir(parents=True)  # what the first command makes, where packages cannot be fetched
    python = folder / "venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in readme.splitlines() if line.startswith("    ")]
    assert len(commands) == 8
    copy, check, make_venv, try_it, loop, enable, renew, restart = commands
    assert copy == "scp -r kit USER@BOARD:edgedst-actor"
    assert make_venv.endswith("venv/bin/pip install -r requirements.txt")
    assert enable.endswith("sudo systemctl enable --now /opt/edgedst-actor/edgedst-actor.service")
    assert "make run_c && ./run_c" in readme
    check = check.rpartition("&& ")[2]
    for command in (check, try_it, loop, f"{require_tool('make')} run_c && ./run_c"):
        done = subprocess.run(command, cwd=folder, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    assert "64 equal" in subprocess.run(try_it, cwd=folder, shell=True, capture_output=True, text=True).stdout
    # A newer actor: what the owner wrote stays.
    bundle(run, tmp_path / "newer", "--checkpoint", "best")
    for name in YOURS:
        (folder / name).write_text("# mine\n")
    subprocess.run(renew.replace("/opt/edgedst-actor", str(folder)), cwd=tmp_path, shell=True, check=True)
    assert restart == "sudo systemctl restart edgedst-actor"
    assert not (tmp_path / "newer").exists()
    assert subprocess.run(check, cwd=folder, shell=True, check=False).returncode == 0
    assert all((folder / name).read_text() == "# mine\n" for name in YOURS)
    assert (
        "step                 500"
        in subprocess.run(try_it, cwd=folder, shell=True, capture_output=True, text=True).stdout
    )


def test_checksums_name_every_file_but_the_owner_s(run, tmp_path):
    bundle(run, tmp_path / "kit")
    sums = dict(reversed(line.split("  ")) for line in (tmp_path / "kit" / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == FILES - {"SHA256SUMS", *YOURS}
    for name, expected in sums.items():
        assert hashlib.sha256((tmp_path / "kit" / name).read_bytes()).hexdigest() == expected


def test_the_unit_is_one_that_systemd_takes(run, tmp_path):
    bundle(run, tmp_path / "kit", "--rate", "0.5")
    unit = tmp_path / "kit" / "edgedst-actor.service"
    text = unit.read_text(encoding="utf-8")
    assert "control_loop.py actor.onnx --golden golden.csv --rate 0.5\n" in text
    assert "WatchdogSec=6\n" in text  # three periods of two seconds
    assert "StartLimitIntervalSec=276\n" in text  # three starts of 60 s, three hangs, three stops
    assert "$" not in text
    analyze = require_tool("systemd-analyze")
    text = text.replace("/opt/edgedst-actor/venv/bin/python", sys.executable)
    unit.write_text(text.replace("/opt/edgedst-actor", str(tmp_path / "kit")), encoding="utf-8")
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert unit.name not in done.stdout + done.stderr, done.stderr


def exposure(unit):
    """systemd's own rating: 0 is closed, 10 is open."""
    rate = [require_tool("systemd-analyze"), "security", "--offline=true", "--no-pager", unit]
    told = subprocess.run(rate, capture_output=True, text=True, check=True).stdout
    return float(re.search(r"Overall exposure level for .*: ([\d.]+)", told)[1])


def test_the_unit_is_closed_and_stays_so_when_a_robot_opens_every_line_that_it_may_need(run, tmp_path):
    bundle(run, tmp_path / "kit")
    unit = tmp_path / "kit" / "edgedst-actor.service"
    text = unit.read_text(encoding="utf-8")
    assert exposure(unit) <= 2
    for line, opened in [
        ("#SupplementaryGroups=", "SupplementaryGroups="),
        ("PrivateNetwork=yes\nIPAddressDeny=any\n", ""),
        ("RestrictAddressFamilies=AF_UNIX", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_CAN"),
        ("ProtectKernelTunables=yes", "ProtectKernelTunables=no"),
        ("ProtectHome=yes", "ProtectHome=read-only"),
        ("RestrictRealtime=yes", "RestrictRealtime=no"),
        ("CapabilityBoundingSet=\n", "CapabilityBoundingSet=CAP_SYS_NICE\nAmbientCapabilities=CAP_SYS_NICE\n"),
        ("~@privileged @resources", "~@privileged"),
    ]:
        assert line in text
        text = text.replace(line, opened)
    unit.write_text(text, encoding="utf-8")
    assert exposure(unit) <= 4


def test_the_rate_is_that_of_the_environment():
    assert rate_for("HalfCheetah-v4", None).told == "20 times a second, as in training"
    assert str(rate_for("Humanoid-v4", None)) == "66.6667"
    told = rate_for("HalfCheetah-v4", 50).told
    assert told == "50 times a second, because `--rate` said so; the rate of training was 20"
    with pytest.raises(ConfigError, match=r"`MountainCarContinuous-v0` takes is not known \(it does not say\)"):
        rate_for("MountainCarContinuous-v0", None)
    with pytest.raises(ConfigError, match=r"`Fake-v0` takes is not known .* Say it, for example `--rate 50`"):
        rate_for("Fake-v0", None)


def test_a_rate_that_the_loop_cannot_keep_is_none(registry):
    registry.step_seconds = 86_400.0
    with pytest.raises(ConfigError, match=r"its steps take 86400 s, which the loop cannot keep"):
        rate_for("Fake-v0", None)
    registry.step_seconds = 0.05
    assert rate_for("Fake-v0", None).hz == 20
    for wanted in (1e-310, 1e12, float("inf")):
        with pytest.raises(ConfigError, match=r"is no rate\. Expected 0\.01 to 10000 steps a second"):
            rate_for("Fake-v0", wanted)


def test_stray_files_beside_the_runners_stay_out(run, tmp_path, monkeypatch):
    stray = Path(shutil.copytree(Path(__file__).parents[2] / "export", tmp_path / "export"))
    (stray / "runner" / "actor.onnx").write_text("stale")
    monkeypatch.setattr("edgedst.deploy.bundle.folder_of", lambda name: tmp_path / name)
    bundle(run, tmp_path / "kit")
    assert {path.name for path in (tmp_path / "kit").iterdir()} == FILES
    assert (tmp_path / "kit" / "actor.onnx").read_bytes() != b"stale"


@pytest.mark.parametrize("name", ["my kit", "$kit", "k\u00fcche"])
def test_any_name_is_one_that_the_readme_s_commands_take(name, run, tmp_path):
    bundle(run, tmp_path / name)
    readme = (tmp_path / name / "README.md").read_text(encoding="utf-8")
    (copy,) = [line for line in readme.splitlines() if line.startswith("    scp")]
    assert shlex.split(copy) == ["scp", "-r", name, "USER@BOARD:edgedst-actor"]


def test_a_run_with_an_actor_in_it_is_a_run_and_a_bundle_with_settings_a_bundle(run, tmp_path):
    assert export(run / "actor.onnx", "--run", run, "--golden", run / "golden.csv").exit_code == 0
    (run / "config.toml").touch()
    assert not is_bundle(run)
    bundle(run, tmp_path / "kit")
    (tmp_path / "kit" / "config.toml").write_text("# the robot's\n")
    assert is_bundle(tmp_path / "kit")
    assert not is_bundle(tmp_path)


def test_links_that_lead_in_a_circle_are_one_sentence(run, tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    done = export("--bundle", tmp_path / "circle", "--run", run, "--rate", "50")
    assert isinstance(done.exception, ExportError)
    assert "cannot be written" in str(done.exception)


def test_a_link_is_followed_and_a_trailing_slash_is_none(run, tmp_path):
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to("place")
    bundle(run, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert {path.name for path in (tmp_path / "place").iterdir()} == FILES
    bundle(run, f"{tmp_path}/other/")
    assert (tmp_path / "other" / "README.md").is_file()


@pytest.mark.usefixtures("registry")
def test_a_bundle_is_evaluated_through_its_onnx_file(run, tmp_path):
    bundle(run, tmp_path / "kit")
    for name in YOURS:
        (tmp_path / "kit" / name).write_text("# the owner's\n")
    played, file = evaluate(tmp_path / "kit", 3), evaluate(tmp_path / "kit" / "actor.onnx", 3)
    assert played == file
    assert played.source == "onnxruntime"


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        (
            "actor.onnx",
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            r"actor\.onnx` is not as it was exported",
        ),
        ("actor.onnx", Path.unlink, r"actor\.onnx` is missing"),
        ("main.c", Path.unlink, r"main\.c` is missing"),
        ("README.md", lambda path: path.write_text("mine"), r"README\.md` is not as it was exported"),
        ("golden.csv", Path.unlink, r"golden\.csv` is missing"),
        ("SHA256SUMS", Path.unlink, r"SHA256SUMS` cannot be read"),
        ("SHA256SUMS", lambda path: path.write_text("none"), r"SHA256SUMS` cannot be read"),
        ("SHA256SUMS", lambda path: path.write_text(""), r"SHA256SUMS` does not name actor\.onnx"),
        ("SHA256SUMS", lambda path: path.write_bytes(b"\xff" * 99), r"SHA256SUMS` cannot be read"),
        ("SHA256SUMS", lambda path: path.write_text(f"{'0' * 64}  ../../secret\n"), r"SHA256SUMS` cannot be read"),
        ("SHA256SUMS", lambda path: path.write_text(f"{'0' * 64}  \x1b[2J\n"), r"SHA256SUMS` cannot be read"),
        ("SHA256SUMS", as_pipe, r"SHA256SUMS` cannot be read"),
        ("golden.csv", as_pipe, r"golden\.csv` cannot be read \(it is no regular file\)"),
        ("main.c", lambda path: os.truncate(path, 2**40), r"main\.c` cannot be read \(it has 1,099,511,627,776 bytes"),
    ],
)
def test_a_spoiled_bundle_is_one_sentence(name, spoil, said, run, tmp_path):
    bundle(run, tmp_path / "kit")
    spoil(tmp_path / "kit" / name)
    with pytest.raises(CheckpointError, match=said + r".* Copy the bundle again, or make it anew") as failure:
        evaluate(tmp_path / "kit", 1)
    assert len(str(failure.value).splitlines()) == 1


@pytest.mark.usefixtures("registry")
def test_a_bundle_whose_actor_acts_otherwise_here_is_one_sentence(run, tmp_path):
    bundle(run, tmp_path / "kit")
    golden, sums = tmp_path / "kit" / "golden.csv", tmp_path / "kit" / "SHA256SUMS"
    before = hashlib.sha256(golden.read_bytes()).hexdigest()
    head, comment, first, *rest = golden.read_text().splitlines()
    numbers = first.split(",")
    numbers[4] = str(float(numbers[4]) + 0.04)  # of a bound of 4
    golden.write_text("\n".join([head, comment, ",".join(numbers), *rest]) + "\n")
    sums.write_text(sums.read_text().replace(before, hashlib.sha256(golden.read_bytes()).hexdigest()))
    with pytest.raises(CheckpointError, match=r"differs from its golden pairs by 1\.0e-02 here \(limit 1e-05\)"):
        evaluate(tmp_path / "kit", 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((), ConfigError, "Expected one thing to write"),
        (("actor.onnx", "--bundle", "kit"), ConfigError, "Expected one thing to write"),
        (("--bundle", "kit", "--golden", "golden.csv"), ConfigError, "has its golden pairs already"),
        (("actor.onnx", "--rate", "20"), ConfigError, "`--device` and `--rate` are of a bundle"),
        (("actor.c", "--device", "jetson-nano"), ConfigError, "`--device` and `--rate` are of a bundle"),
        (("--bundle", "kit", "--rate", "0"), ConfigError, "`--rate 0` is no rate"),
        (("--bundle", "kit", "--rate", "nan"), ConfigError, "`--rate nan` is no rate"),
        (("--bundle", "kit"), ConfigError, "How many steps a second `Fake-v0` takes is not known"),
        (("--bundle", "kit", "--rate", "20", "--device", "jetson"), UnknownDevice, "no device `jetson`"),
        (("--bundle", "kit", "--rate", "20", "--dtype", "bf16"), ConfigError, "`--dtype bf16` is unknown"),
        (("--bundle", "nowhere/kit", "--rate", "20"), ExportError, "cannot be written"),
        (("--bundle", "full", "--rate", "20"), ExportError, "is not empty. A bundle is never written over anything"),
        (("--bundle", "full/..", "--rate", "20"), ExportError, "is not empty. A bundle is never written over anything"),
        (("--bundle", "file", "--rate", "20"), ExportError, "a file has that name"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(arguments, error, words, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "robot.py").write_text("the owner's\n")
    (tmp_path / "file").write_text("")
    before = listed(tmp_path)
    done = export(*arguments, "--run", run)
    assert isinstance(done.exception, error), done.output
    assert words in str(done.exception)
    assert len(str(done.exception).splitlines()) == 1
    assert listed(tmp_path) == before


def test_the_current_folder_is_not_replaced(run, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = export("--bundle", ".", "--run", run, "--rate", "50")
    assert isinstance(done.exception, ExportError)
    assert "is the current folder or a mount" in str(done.exception)


def test_a_check_that_fails_leaves_no_folder(run, tmp_path, monkeypatch):
    def refuse(*_):
        raise ExportError("The exported actor is not the trained one.")

    monkeypatch.setattr("edgedst.deploy.c_check.check_agreement", refuse)
    require_tool("cc", "gcc", "clang")
    before = listed(tmp_path)
    done = export("--bundle", tmp_path / "kit", "--run", run, "--rate", "50")
    assert isinstance(done.exception, ExportError)
    assert listed(tmp_path) == before


def test_an_empty_folder_is_filled_and_the_newest_run_is_taken(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("kit").mkdir()
    done = export("--bundle", "kit", "--run-dir", "runs", "--rate", "50")
    assert done.exit_code == 0, done.output
    assert {path.name for path in Path("kit").iterdir()} == FILES
