"""The one door to the compiled core: everything in `edgedst._core`, or a sentence when it was not built."""

from edgedst.errors import CoreNotBuilt

try:
    from edgedst._core import *  # noqa: F403  # a door re-exports all that is behind it
    from edgedst._core import isa, isas
except ImportError as error:  # pragma: no cover
    raise CoreNotBuilt(
        f"edgedst's compiled core cannot be loaded ({error}). In a checkout run `pip install .`, or `make train`."
    ) from error


TYPE_CHECKING = False
if not TYPE_CHECKING:  # mypy would take any name then

    def __getattr__(name: str) -> object:
        """Python files may be newer than the core, after a pull."""
        if name.startswith("__"):  # Python itself asks
            raise AttributeError(name)
        raise CoreNotBuilt(
            f"edgedst's compiled core is of another version: it has no `{name}`. In a checkout run `pip install .`, or "
            "`make build`."
        )


def capabilities() -> dict[str, object]:
    """Kernel paths that this CPU can run, and the one in use."""
    return {"isa": isa(), "isas": list(isas)}
