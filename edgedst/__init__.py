"""edgedst: reinforcement learning that trains on the device it will act on. docs/api.md shows it from Python."""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgedst.api import Actor, Run, evaluate, export, import_model, log, plan, train

__all__ = ["Actor", "Run", "capabilities", "evaluate", "export", "import_model", "log", "plan", "train"]


def capabilities() -> dict[str, object]:
    """Kernel paths that this CPU can run (`isas`) and the one in use (`isa`, pinned by EDGEDST_ISA)."""
    from edgedst import core

    return core.capabilities()


def __getattr__(name: str) -> object:
    """What `edgedst.api` has, loaded when it is asked for: the lean trainer imports this file, and nothing of that."""
    if name in __all__:
        from edgedst import api

        return getattr(api, name)
    raise AttributeError(f"module `edgedst` has no attribute `{name}`")
