"""What the two sides of a machine that learns while it acts have in common: fixed memory, and nothing to wait for.

    acting side  -- records of steps -->  ring      --> learning side
    learning side --  whole actors   --> 3 buffers  --> acting side
                      cells: numbers that one side sets and the other reads

Both construct the same objects in the same order on one memory file, so both find them at the same places.
"""

import os
import struct
from time import CLOCK_BOOTTIME, clock_gettime_ns

from edgedst import core
from edgedst.agents import agent_class
from edgedst.agents.actor_critic import CLIP
from edgedst.density import input_size, nnz_per_layer
from edgedst.files import write_all
from edgedst.plain_json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Cells. PHASE and BEAT are set by the acting side, and PHASE by the warden behind it; END by the warden, the others by
# the learning side.
PHASE, BEAT, END, ACKNOWLEDGED = 0, 1, 2, 3
UPDATES_OF, PUBLISHED_AT = 4, 7  # of each of the three actors: updates that made it, when it was handed over (ms)
CELLS = 10

# Phases of the acting side. While it is RUNNING each period brings a beat.
WAITING, STARTING, RESETTING, RUNNING, STOPPING, AT_REST = range(6)

# Kinds of a record. BEGIN holds the first observation of an episode, or the one behind a gap; STEP a transition to
# store; TRIED a step of an evaluation, LOST one whose action was not held for its period: neither is stored; OVER ends
# an episode.
BEGIN, STEP, TRIED, LOST, OVER = range(5)

TERMINATED, TRUNCATED, EVALUATION, CUT_OFF = 1, 2, 4, 8  # flags of a record; CUT_OFF: for missed periods

RING_SECONDS = 10.0
LEAST_RECORDS, MOST_RING_BYTES = 256, 1_000_000

# kind, flags, steps of training since the start, length of the episode, periods missed since the last record, updates
# that made the actor, which buffer it is in, records that found no room since the start; reward or return, jitter (us),
# observation to action (us), age of the actor (ms). Then the normalised action (float32) and the observation (float64).
HEADER = struct.Struct("<8I4d")
LARGEST = 2**32 - 1  # of its integers


class Pipe:
    """Messages, a JSON object a line, over one end of a pipe. What cannot be sent at once is not sent."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.ended = False  # the other end is closed
        self._unread = b""
        self._blocking = True

    def _block(self, blocking: bool) -> None:
        if blocking != self._blocking:  # the loops that listen do so after every update
            os.set_blocking(self.descriptor, blocking)
            self._blocking = blocking

    def send(self, message: "dict[str, Any]") -> None:
        """A short message; nobody waits for a reader that is stopped or gone."""
        self._block(False)
        try:
            os.write(self.descriptor, dumps(message).encode(errors="backslashreplace") + b"\n")
        except OSError:
            pass

    def send_whole(self, message: "dict[str, Any]") -> None:
        """A message of any length, to a reader that waits for it."""
        self._block(True)
        write_all(self.descriptor, dumps(message).encode(errors="backslashreplace") + b"\n")

    def wait(self) -> "dict[str, Any]":
        """The next message; {}: there will be none."""
        self._block(True)
        while b"\n" not in self._unread and not self.ended:
            self._read()
        return next(iter(self._lines(1)), {})

    def received(self) -> "list[dict[str, Any]]":
        """The messages that are there."""
        self._block(False)
        try:
            while not self.ended:
                self._read()
        except BlockingIOError:
            pass
        return self._lines(-1)

    def _read(self) -> None:
        part = os.read(self.descriptor, 4096)
        self._unread += part
        self.ended = not part

    def _lines(self, most: int) -> "list[dict[str, Any]]":
        *lines, self._unread = self._unread.split(b"\n", most)
        return [loads(line.decode()) for line in lines]


def now_ns() -> int:
    """A monotonic time that counts a suspend of the computer, too: the machine was without actions meanwhile."""
    return clock_gettime_ns(CLOCK_BOOTTIME)


def now_ms(time_ns: int) -> int:
    """Such a time in ms, as a cell holds it."""
    return (time_ns // 1_000_000) & 0xFFFFFFFF


class Link:
    """The shared memory of one run, seen from one side.

    Args:
        config: the run's settings.
        observation_size: n.
        action_size: m.
        rate_hz: steps a second.
        learning: whether this is the learning side.
        file: descriptor of the memory, which is made as long as it has to be; -1: only measure it.
    """

    def __init__(
        self, config: "Any", observation_size: int, action_size: int, rate_hz: float, learning: bool, file: int = -1
    ) -> None:
        self._shape = (config, observation_size, action_size, rate_hz, learning)
        measured = core.Arena(None)
        self._lay_out(measured)
        self.bytes = measured.used_bytes
        if file >= 0:
            if learning:
                os.posix_fallocate(file, 0, self.bytes)
            self.arena = core.Arena(self.bytes, file)
            self._lay_out(self.arena)
        self.record = memoryview(bytearray(self.record_bytes))
        start = HEADER.size
        self.action = self.record[start : start + 4 * action_size].cast("f")
        self.observation = self.record[start + 4 * action_size :].cast("d")

    def _lay_out(self, arena: core.Arena) -> None:
        config, n, m, rate_hz, learning = self._shape
        policy = agent_class(config.method).POLICY
        sizes = [input_size(n, m, config.history), *config.hidden, policy.head_size(m)]
        nnz = nnz_per_layer("actor", sizes, config)
        self.record_bytes = HEADER.size + 4 * m + 8 * n
        records = max(LEAST_RECORDS, min(int(rate_hz * RING_SECONDS), MOST_RING_BYTES // self.record_bytes))
        self.cells = core.Cells(arena, "link.cells", CELLS)
        self.ring = core.Ring(arena, "link.ring", records, self.record_bytes)
        self.mailbox = core.Mailbox(arena, "link.mailbox", learning)
        self.actors = [
            core.Network(arena, f"link.actor_{i}", sizes, nnz, policy.HEAD, target=True, averaged=False)
            for i in range(3)
        ]
        self.normalizers = [
            core.Normalizer(arena, f"link.normalizer_{i}", n, CLIP) if config.normalize_observations else None
            for i in range(3)
        ]

    def publish(self, agent: "Any", time_ns: int) -> None:
        """Of the learning side: hand over a copy of the agent's actor, whole, and of how it sees observations."""
        mine = self.mailbox.mine
        self.actors[mine].copy_from(agent.actor, agent.workspace)
        normalizer = self.normalizers[mine]
        if normalizer is not None:
            normalizer.copy_from(agent.normalizer)
        self.cells[UPDATES_OF + mine] = agent.iteration & 0xFFFFFFFF
        self.cells[PUBLISHED_AT + mine] = now_ms(time_ns)
        self.mailbox.publish()
