"""Where the folders are that belong to edgedst and are no Python: `devices/` and `export/`."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """`edgedst/NAME` in an installed wheel, `NAME` beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name
