"""The one door to the compiled core: everything in `edgedst._core`, or a sentence when it was not built."""

from edgedst.errors import CoreNotBuilt

try:
    from edgedst._core import *  # noqa: F403  # a door re-exports all that is behind it
    from edgedst._core import isa, isas
except ImportError as error:  # pragma: no cover
    raise CoreNotBuilt(
        f"edgedst's compiled core cannot be loaded ({error}). In a checkout run `pip install .`, or `make train`."
    ) from error


def capabilities() -> dict[str, object]:
    """Kernel paths that this CPU can run, and the one in use."""
    return {"isa": isa(), "isas": list(isas)}
