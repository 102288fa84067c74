"""The algorithms, each in its paper's order."""

from edgedst.agents.sac import SAC
from edgedst.agents.td3 import TD3
from edgedst.density import family

_AGENTS: "dict[str, type[TD3 | SAC]]" = {"td3": TD3, "sac": SAC}


def agent_class(method: str) -> "type[TD3 | SAC]":
    """The agent that trains by a method: ds-, static- and dense ones of a family are one class."""
    return _AGENTS[family(method)]
