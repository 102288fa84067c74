"""Fills a new replay from a log before the first step: the trainer's side of `--prefill`.

The log was read and checked by a process of its own (`logs/convert.py`), which left a file without a name: a header, a
line of JSON padded to HEADER_BYTES, then records. A record is a byte of flags, the reward (float64), the action in
[-1, 1] (m float32) and the next observation (n float64), little-endian; one that begins an episode counts for its
observation alone. Standard library only, and little of it: this runs in the lean trainer.
"""

import os
from binascii import crc32

from edgedst.errors import EnvironmentFault, RunFolderError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgedst.agents.actor_critic import ActorCritic

HEADER_BYTES = 16_384
BEGINS, TERMINATED, TRUNCATED = 1, 2, 4  # flags of a record
CHUNK_BYTES = 32_768  # of records, in memory at a time


def record_bytes(observation_size: int, action_size: int) -> int:
    """Of one record."""
    return 1 + 8 + 4 * action_size + 8 * observation_size


def fill(agent: "ActorCritic", told: "dict[str, Any]", stays: bool) -> str:
    """Let an agent remember a log's transitions, in memory that does not depend on their number.

    Args:
        agent: its replay has room for all rows, as the plan has made sure.
        told: the job's `prefill`: what the header says, and `descriptor`, of the open file.
        stays: whether they are demonstrations, which the replay never forgets.

    Returns:
        What was taken, in words.

    Raises:
        RunFolderError: the file is not as it was written.
        EnvironmentFault: the replay cannot hold an observation.
    """
    observation_size, action_size = agent.observation_size, agent.action_size
    size = record_bytes(observation_size, action_size)
    chunk = memoryview(bytearray(max(1, CHUNK_BYTES // size) * size))
    reward = memoryview(bytearray(8)).cast("d")
    action = memoryview(bytearray(4 * action_size)).cast("f")
    observation = memoryview(bytearray(8 * observation_size)).cast("d")
    bytes_of_reward, bytes_of_action, bytes_of_observation = (view.cast("B") for view in (reward, action, observation))
    left, checksum, episodes, total = told["rows"], 0, 0, 0.0
    os.lseek(told["descriptor"], HEADER_BYTES, os.SEEK_SET)
    while left:
        part = chunk[: min(left * size, len(chunk))]
        _read_into(told, part)
        checksum = crc32(part, checksum)
        left -= len(part) // size
        for start in range(0, len(part), size):
            flags = part[start]
            bytes_of_observation[:] = part[start + size - 8 * observation_size : start + size]
            try:
                if flags & BEGINS:
                    agent.begin_episode(observation)
                    episodes += 1
                else:
                    bytes_of_reward[:] = part[start + 1 : start + 9]
                    bytes_of_action[:] = part[start + 9 : start + 9 + 4 * action_size]
                    ends = bool(flags & TERMINATED), bool(flags & TRUNCATED)
                    agent.remember(action, reward[0], observation, *ends)
                    total += reward[0]
            except ValueError as error:
                raise EnvironmentFault(f"{told['source']}: {error}. The replay cannot take this log.") from error
    if checksum != told["crc32"]:
        raise _damaged(told)
    os.close(told["descriptor"])
    if stays:
        agent.replay.pin()
    return (
        f"The replay begins with {told['transitions']:,} transitions of {episodes:,} episodes, mean return "
        f"{total / max(1, episodes):,.1f}, from {told['source']}."
    )


def _read_into(told: "dict[str, Any]", view: memoryview) -> None:
    while len(view):
        count = os.readv(told["descriptor"], [view])
        if not count:
            raise _damaged(told)
        view = view[count:]


def _damaged(told: "dict[str, Any]") -> RunFolderError:
    return RunFolderError(
        f"What was read of {told['source']} did not come back from the disk as it was written. Check the disk, or "
        "choose another one with `--run-dir`."
    )
