"""Which board `train` and `plan` are for: what it takes by default, and which kernels run. No typer: see `quick.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgedst.boards import Board, Recognised, detect, load
from edgedst.errors import ConfigError


def asked_board(device: str | None) -> Recognised:
    """The board that `--device` names, else the one that this is."""
    return Recognised(load(device), "`--device` names it.") if device else detect()


def usual_settings(board: Board) -> dict[str, Any]:
    """The settings that a board gives, for whoever types none."""
    return {"budget_mb": board.train.budget_mb, "threads": board.train.threads}


def board_note(board: Board, given: dict[str, Any]) -> str:
    """Which settings are the board's, for a board that is known by name; `given` are those of the user."""
    shown = [text for name, text in zip(usual_settings(board), board.train.words, strict=True) if name not in given]
    if not shown or not (board.models or board.compatibles):
        return ""
    return f"{board.title}: {' and '.join(shown)} by its defaults; `edgedst devices {board.name}` says why."


def kernels_for(board: Board) -> str | None:
    """The kernel path that a new run of a board is pinned to; None: the CPU's best, or what EDGEDST_ISA names.

    Raises:
        ConfigError: this CPU does not have the board's.
    """
    isa = board.train.isa
    if isa is None or "EDGEDST_ISA" in os.environ:
        return None
    if isa in _available():
        return isa
    budget, threads = board.train.budget_mb, board.train.threads
    raise ConfigError(
        f"`{board.name}` trains with `{isa}` kernels, and this CPU has {', '.join(_available())}. Train on that board, "
        f"or here with its settings alone: `--budget-mb {budget:g} --threads {threads}` without `--device`; "
        f"`edgedst plan --device {board.name}` plans for it."
    )


def planning_note(board: Board, budget_mb: float) -> str:
    """What a plan for another machine's board cannot know here; "" when this is that board."""
    if detect().board.name == board.name:
        return ""
    note = (
        f"{board.title} gives {' and '.join(board.train.words)} unless told otherwise. Its networks and replay "
        "rows take the bytes shown; `interpreter and libraries` and `environments` are measured here, and differ "
        "there by some MB. Times are this machine's."
    )
    isa, ram = board.train.isa, board.facts.get("ram_bytes")
    most = max(ram.numbers, default=0) if ram else 0
    if 0 < most < budget_mb * 1e6:
        note += f" It has {most / 1e6:,.0f} MB of memory, fewer than the {budget_mb:,g} MB of this budget."
    return note + (f" Its `{isa}` kernels cannot run here." if isa and isa not in _available() else "")


def emulator_note(proc: Path = Path("/proc")) -> str:
    """Why what is counted here is no board's, where a user-mode emulator runs this interpreter; "" elsewhere.

    Such an emulator (qemu-user) answers for /proc/self/exe with the program that it emulates; by its other name the
    kernel answers.
    """
    try:
        told, running = (proc / "self/exe").readlink(), (proc / "thread-self/exe").readlink()
    except OSError:
        return ""
    if told == running:
        return ""
    return (
        f"{running.name} runs this interpreter, and its own memory and translated code count as `interpreter and "
        "libraries`: some 40 MB that no board takes. `--budget-mb 100` is enough here; what a board needs, a board "
        "tells, or a whole virtual one (`tools/virtual_board.sh` in edgedst's repository). Times are the emulator's."
    )


def _available() -> tuple[str, ...]:
    from edgedst.core import isas  # late: it takes 1.4 MB, which most starts of the front end need not

    return tuple(isas)
