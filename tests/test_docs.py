"""What the pages say is so: commands exist, TOML is read, outputs are what comes out. And the site of them."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt

from edgedst import boards
from edgedst.cli import verbs
from edgedst.config import TrainConfig
from edgedst.study.grid import read_study
from edgedst.study.tuning import Search
from tools import require_tool

ROOT = Path(__file__).parents[1]
PATTERNS = ("*.md", "docs/*.md", "export/*.md", "devices/README.md", "examples/*/README.md")
PAGES = {f"{path.relative_to(ROOT)}": path.read_text("utf-8") for each in PATTERNS for path in sorted(ROOT.glob(each))}
RUN_PAGES = ("docs/tutorial.md", "docs/faq.md")  # each of their commands is run, in order


def blocks(page):
    """(language, text) of the fenced blocks of a page."""
    fenced = re.findall(r"^( *)```(\w+)\n(.*?)^\1```$", PAGES[page], re.DOTALL | re.MULTILINE)
    return [(language, textwrap.dedent(text)) for _, language, text in fenced]


# Of blocks with a fence and of indented ones; a line that ends in a backslash goes on.
COMMANDS = [
    (page, line)
    for page, text in PAGES.items()
    for code in (re.sub(r"^(?! {4}).*", "", text, flags=re.MULTILINE), *(shown for _, shown in blocks(page)))
    for line in re.findall(r"^(?: {4}|\$ )?edgedst ([a-z].*)$", code.replace("\\\n", ""), re.MULTILINE)
]
BLOCKS = [(page, language, text) for page in PAGES for language, text in blocks(page)]


def test_the_pages_are_searched():
    assert len(COMMANDS) > 90
    assert {page for page, _ in COMMANDS} > {"README.md", *RUN_PAGES}


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_has_its_verb_and_options(page, line):
    command = typer.main.get_command(verbs.app)
    words = [word for word in shlex.split(line, comments=True) if word != "..."]
    while hasattr(command, "get_command"):
        command = command.get_command(None, verb := words.pop(0))
    command.make_context(verb, words)  # typer's own error where they do not fit


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, language, text in BLOCKS if language == "python"])
def test_python_compiles_and_names_what_edgedst_has(page, text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "edgedst":
            assert hasattr(importlib.import_module("edgedst"), node.attr), page
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgedst"):
            assert all(hasattr(importlib.import_module(node.module), alias.name) for alias in node.names), page


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, language, text in BLOCKS if language == "toml"])
def test_toml_is_read_by_what_reads_it(page, text, tmp_path, monkeypatch):
    file = tmp_path / "board" / "board.toml"
    file.parent.mkdir()
    file.write_text(text, "utf-8")
    monkeypatch.setattr(boards, "devices_folder", lambda: tmp_path)
    read = {
        "docs/settings.md": lambda: TrainConfig.from_settings(TrainConfig.load(file), page),
        "docs/study.md": lambda: Search(file) if "[search]" in text else read_study(file),
        "devices/README.md": lambda: boards.load("board"),
    }
    assert read[page]()


def small(command, runs):
    """The words of a command that a page shows, of as few steps and seconds as do the same."""
    if command.startswith("make "):  # what it would run
        # Not what the make that runs these tests was given.
        clean = {name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS", "MAKELEVEL")}
        told = subprocess.run(
            [require_tool("make"), "-n", *command.split()[1:]],
            **{"cwd": ROOT, "env": clean, "capture_output": True, "text": True, "check": True},
        )
        command = (
            f"{re.search(r'edgedst train .*', told.stdout)[0]} --start-steps 25000"  # said for the hundredth of it
        )
    if "RUN" in command:
        command = command.replace("RUN", f"runs/{(runs / 'order').read_text('utf-8').split()[-1]}")
    command = re.sub(r"(?<=steps )\d+", lambda steps: f"{int(steps[0]) // 100}", command)
    command = re.sub(r"(?<=--seconds )\d+", "0.5", command)
    words = shlex.split(re.sub(r"(?<=--repeats )\d+", "2", command))[1:]
    return [*words, *(["--hidden", "64", "--batch-size", "8"] if words[0] == "profile" else [])]


def shape(line):
    """A line of output without what differs between two machines: numbers, and how wide they are."""
    return re.sub(r"[-+]?\d(?:[\d,.]*\d)?", "#", " ".join(line.replace("─", "").split()))


def matches(shown, told):
    """Whether the shown lines are among those that were told, in order; `...` stands for anything."""
    lines = iter([shape(line) for line in told.splitlines()])
    for line in filter(None, map(shape, shown)):
        pattern = re.escape(line).replace(re.escape("..."), ".*")
        if line != "..." and not any(re.fullmatch(pattern, told_line) for told_line in lines):
            return f"`{line}` is not in:\n{told}"
    return ""


@pytest.mark.parametrize("page", RUN_PAGES)
def test_what_a_page_shows_is_what_comes_out(page, tmp_path):
    environment = {**os.environ, "COLUMNS": "80"}
    for language, text in blocks(page):
        if language == "python":
            subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True)
            continue
        assert language == "console"
        for command, *shown in (part.splitlines() for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]):
            done = subprocess.run(
                [sys.executable, "-m", "edgedst.cli.main", *small(command, tmp_path / "runs")],
                **{"cwd": tmp_path, "env": environment, "check": False, "text": True},
                **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT},
            )
            # A refusal is shown by its sentence; `check` calls it a problem where a busy machine misses periods.
            if " check " not in command:
                assert done.returncode == bool(re.match(r"[A-Z]\w+: ", shown[0])), f"{command}\n{done.stdout}"
            assert not (wrong := matches(shown, done.stdout)), f"{page}: {command}: {wrong}"


def test_a_shown_line_that_does_not_come_out_is_found():
    assert not matches(
        ["...", "replay of 7 rows, 51 bytes", "...", "on ..."], "a\nreplay of 1,234  rows, 33 bytes\non x\n"
    )
    assert matches(["replay of 7 rows"], "replay of 7 columns")
    assert matches(["second", "first"], "first\nsecond")


def test_the_site_has_every_page_as_the_repository_shows_it_and_loads_nothing_from_elsewhere(tmp_path):
    if not (ROOT / "docs/figures").is_dir():
        pytest.skip("the sdist is without docs/figures, which pages show")
    environment = {**os.environ, "MKDOCS": require_tool("mkdocs")}
    command = [ROOT / "tools" / "build_docs.sh", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page, text in PAGES.items():
        built = tmp_path / (page.replace("README.md", "index.html").replace(".md", ".html"))
        article = re.search(r"<article.*</article>", built.read_text("utf-8"), re.DOTALL)[0]
        items = MarkdownIt("commonmark").render(text).count("<li>")  # python-markdown wants blank lines around lists
        assert article.count("<li>") == items, f"{page}: a list is none on the site"
    for file in [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]:
        loads = re.findall(
            r"<(?!a\b)\w+[^>]*\s(?:src|href|data)=[\"']?(?:https?:)?//[^>]*>", text := file.read_text("utf-8")
        )
        assert loads + re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)]*", text) == [], file
