"""edgedst: reinforcement learning that trains on the device it will act on."""

__version__ = "0.1.0"


def capabilities() -> dict[str, object]:
    """Kernel paths that this CPU can run (`isas`) and the one in use (`isa`, pinned by EDGEDST_ISA)."""
    from edgedst import core

    return core.capabilities()
