"""Whether two figures of energy may be set beside each other: only if the same source measured the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgedst.errors import EnergyMismatch


def check_comparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse to compare figures of another source or scope, or a measured one with a modelled one.

    Args:
        one: anything with `source`, `scope` and `measured`, such as what a meter or a run's summary.json tells.
        other: likewise.

    Raises:
        EnergyMismatch: they differ.
    """
    if any(one[name] != other[name] for name in ("source", "scope", "measured")):
        raise EnergyMismatch(
            f"Energy from {_told(one)} and from {_told(other)} cannot be compared: expected one source and one scope. "
            "Measure both in the same way."
        )


def _told(figure: Mapping[str, Any]) -> str:
    return f"{figure['source']} ({figure['scope']}, {'measured' if figure['measured'] else 'modelled'})"
