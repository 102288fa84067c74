"""A board that trains has no package of an extra; a verb that needs one says how to get it."""

import subprocess
import sys
from pathlib import Path

import pytest
from training import TINY, train

from edgedst import parse
from edgedst.errors import EXTRAS
from edgedst.profile.contenders import PEERS

PROJECT = parse.toml((Path(__file__).parents[2] / "pyproject.toml").read_bytes())["project"]
# rich comes with typer, and imageio only to Gymnasium's own MuJoCo tasks.
HIDDEN = [package for package in EXTRAS if package not in ("rich", "imageio")]
PACKAGES = {"imageio_ffmpeg": "imageio-ffmpeg", "PIL": "pillow"}  # of modules that are called otherwise
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({})); from edgedst.cli.main import main; main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    train(folder, *TINY)
    (folder / "actor.onnx").touch()
    return folder


def edgedst_without(packages, *arguments, cwd):
    command = [sys.executable, "-c", WITHOUT.format(packages), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "export --help",
        "devices",
        "devices --here",
        "plan --env InvertedPendulum-v5",
        "train --env InvertedPendulum-v5 --steps 5 --start-steps 5 --eval-episodes 1 --resume newest --no-progress",
        "evaluate --episodes 1",
        "watch --text",
    ],
)
def test_what_a_board_does_needs_no_extra(line, folder):
    done = edgedst_without(HIDDEN, *line.split(), cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "package", "extra"),
    [
        ("export a.onnx", "onnx", "export"),
        ("export a.onnx", "onnxruntime", "export"),
        ("evaluate actor.onnx", "onnxruntime", "export"),
        ("evaluate --video a.onnx.mp4", "imageio_ffmpeg", "video"),
        ("evaluate --video a.onnx.mp4", "PIL", "video"),
        ("profile --seconds 0.1", "rich", "profile"),
        ("profile --seconds 0.1", "psutil", "profile"),
        ("profile --seconds 0.1 --html page.html", "jinja2", "profile"),
        ("study report .", "jinja2", "study"),
        ("log --tensorboard a.onnx", "tensorboard", "tensorboard"),
        ("log --wandb project", "wandb", "wandb"),
        ("log --parquet a.parquet", "pyarrow", "logs"),
    ],
)
def test_a_missing_extra_is_one_sentence_with_its_command(line, package, extra, folder):
    done = edgedst_without([package], *line.split(), cwd=folder)
    assert done.returncode == 1
    sentence = f"This needs {package}, which is not installed: `pip install 'edgedst[{extra}]'`."
    assert done.stderr == f"MissingExtra: {sentence}\n"
    assert not list(folder.glob("a.*"))


def test_another_missing_module_is_a_bug_and_keeps_its_traceback(folder):
    done = edgedst_without(["numpy"], "evaluate", cwd=folder)
    assert "Traceback" in done.stderr


def test_every_package_of_an_extra_is_known_by_its_extra():
    extras = PROJECT["optional-dependencies"]
    of_no_verb = {"all", "test", "docs", *PEERS}  # `make docs` alone needs docs; a profile does without any peer
    assert {*EXTRAS.values(), "study"} == set(extras) - of_no_verb  # study has nothing of its own
    for module, extra in EXTRAS.items():
        package = PACKAGES.get(module, module)
        assert any(line.startswith(package + ">=") for line in extras[extra]), package
        assert not any(line.startswith(package + ">=") for line in PROJECT["dependencies"]), package
    named = {line.partition(">=")[0] for extra in set(EXTRAS.values()) for line in extras[extra]}
    assert named == {PACKAGES.get(module, module) for module in EXTRAS}
    assert extras["all"] == ["edgedst[export,study,profile,torch,dask,logs,minari,video,tensorboard,wandb,tune]"]
