"""What two processes share, in two processes: whole actors, whole records in order, and nobody who waits."""

import os
import random
import signal
import time
from array import array
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from edgedst import core
from edgedst.agents import agent_class
from edgedst.config import TrainConfig
from edgedst.machine import link as fields
from edgedst.machine.link import HEADER, Link, Pipe

N, M, RATE_HZ = 3, 2, 50.0
ACTORS = 4
SETTINGS = {"hidden": (32, 32), "batch_size": 8, "lambda1": 3.0, "lambda2": 4.0, "normalize_observations": True}
KILLS = 30
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child runs the core alone


@pytest.fixture(scope="module", params=["ds-sac", "ds-td3"])
def config(request):
    return SimpleNamespace(**TrainConfig(method=request.param, **SETTINGS).resolved().settings())


def new_agents(config):
    """Of equal shape, each with other weights; the same ones in every process."""
    made = []
    for seed in range(ACTORS):
        own = SimpleNamespace(**{**vars(config), "seed": seed})
        agent = agent_class(config.method)(core.Arena(1_000_000), own, N, M)
        agent.initialise()
        for number in range(seed + 2):  # each sees observations through other statistics
            agent.normalizer.add(memoryview(array("d", [number, seed, number * seed])))
        made.append(agent)
    return made


@pytest.fixture(scope="module")
def agents(config):
    return new_agents(config)


def both_sides(config):
    """The learning side and the acting side of new memory."""
    file = os.memfd_create("link")
    try:
        return tuple(Link(config, N, M, RATE_HZ, learning=learning, file=file) for learning in (True, False))
    finally:
        os.close(file)  # what is mapped stays


@pytest.fixture
def both(config):
    return both_sides(config)


@contextmanager
def another_process(work):
    """A process that does this until it is done, or killed at the end of the block."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class Acts:
    """An actor's actions for three observations: they differ between any two actors."""

    def __init__(self, config, actor):
        policy = agent_class(config.method).POLICY
        arena = core.Arena(100_000)
        self.policy = policy(arena, config, actor, M, core.Random(0))
        self.seen = core.History(arena, "history", N, M, config.history)

    def __call__(self, actor, normalizer):
        self.policy.actor, self.policy.normalizer = actor, normalizer
        action = memoryview(bytearray(4 * M)).cast("f")
        taken = []
        for k in range(3):
            self.seen.begin(memoryview(array("d", [float(i == k) for i in range(N)])))
            self.policy.act(self.seen, action)
            taken += action.tolist()
        return taken


@pytest.fixture
def acts(config, agents):
    return Acts(config, agents[0].actor)


@pytest.fixture
def expected(agents, acts):
    """Of each agent's actor; all differ."""
    found = [acts(agent.actor, agent.normalizer) for agent in agents]
    assert len({tuple(actions) for actions in found}) == ACTORS
    return found


def publish_for_ever(link, config):
    agents = new_agents(config)  # a forked process has no arena of its parent's
    for number in range(2**32):
        agent = agents[number % ACTORS]
        agent.iteration = number
        link.publish(agent, time.monotonic_ns())


def put_for_ever(link, waiting=True):
    """Records that say in each of their parts which one they are."""
    number = 0
    while True:
        HEADER.pack_into(link.record, 0, *[number] * 8, *[float(number)] * 4)
        link.action[:] = memoryview(bytearray(4 * M)).cast("f")
        link.observation[0] = link.observation[N - 1] = number
        if link.ring.put(link.record):
            number += 1
        elif not waiting:
            return


def got(link):
    """The number of the next record, which is held to be whole; None: there is none."""
    if not link.ring.get(link.record):
        return None
    header = HEADER.unpack_from(link.record)
    assert len({*header, link.observation[0], link.observation[N - 1]}) == 1, header
    return header[0]


def test_both_sides_find_the_same_things_at_the_same_places(config, both):
    learning, acting = both
    assert learning.bytes == acting.bytes == Link(config, N, M, RATE_HZ, learning=True).bytes
    for index in range(fields.CELLS):
        learning.cells[index] = 100 + index
    assert [acting.cells[index] for index in range(fields.CELLS)] == [100 + index for index in range(fields.CELLS)]
    assert learning.ring.capacity == acting.ring.capacity >= RATE_HZ * fields.RING_SECONDS


def test_only_whole_actors_are_ever_seen_with_the_number_of_their_updates(config, both, acts, expected):
    learning, acting = both
    assert acting.mailbox.take() == -1
    seen = set()
    with another_process(lambda: publish_for_ever(learning, config)):
        deadline = time.monotonic() + 60
        while len(seen) < 300 and time.monotonic() < deadline:
            index = acting.mailbox.take()
            if index >= 0:
                number = acting.cells[fields.UPDATES_OF + index]
                assert acts(acting.actors[index], acting.normalizers[index]) == expected[number % ACTORS]
                seen.add(number)
    assert len(seen) == 300


def test_a_writer_killed_at_any_moment_leaves_a_whole_actor(config, acts, expected):
    draw = random.Random(1)
    for _ in range(KILLS):
        learning, acting = both_sides(config)
        with another_process(lambda link=learning: publish_for_ever(link, config)) as pid:
            deadline = time.monotonic() + 60
            while acting.mailbox.take() < 0:
                assert os.waitpid(pid, os.WNOHANG) == (0, 0)
                assert time.monotonic() < deadline
            time.sleep(draw.uniform(0, 0.003))  # some twenty actors
        index = acting.mailbox.take()
        assert (
            acts(acting.actors[index], acting.normalizers[index])
            == expected[acting.cells[fields.UPDATES_OF + index] % ACTORS]
        )
        assert acting.mailbox.take() == index


def test_records_of_another_process_come_whole_and_in_order(both):
    learning, acting = both
    expected = 0
    with another_process(lambda: put_for_ever(acting)):
        deadline = time.monotonic() + 60
        while expected < 5 * learning.ring.capacity and time.monotonic() < deadline:
            number = got(learning)
            if number is not None:
                assert number == expected
                expected += 1
    assert expected == 5 * learning.ring.capacity


def test_a_writer_killed_at_any_moment_leaves_whole_records(config):
    draw = random.Random(2)
    for _ in range(KILLS):
        learning, acting = both_sides(config)
        numbers = []
        with another_process(lambda link=acting: put_for_ever(link)):
            enough, deadline = draw.randrange(1, 3 * learning.ring.capacity), time.monotonic() + 60
            while len(numbers) < enough:
                assert time.monotonic() < deadline
                number = got(learning)
                numbers += [number] if number is not None else []
        waiting = learning.ring.waiting
        numbers += [got(learning) for _ in range(waiting)]
        assert numbers == list(range(len(numbers)))
        assert got(learning) is None


def test_a_full_ring_refuses_and_nobody_waits_for_a_reader_that_is_gone(both):
    learning, acting = both
    put_for_ever(acting, waiting=False)
    assert acting.ring.waiting == acting.ring.capacity
    assert not acting.ring.put(acting.record)
    assert got(learning) == 0
    assert acting.ring.put(acting.record)
    assert not acting.ring.put(acting.record)


def test_ages_of_actors_go_across_the_end_of_a_cell(both, agents):
    learning, acting = both
    agent = agents[0]
    published_ns = (2**32 - 5) * 1_000_000  # 49 days after the board was switched on
    agent.iteration = 2**32 + 7
    learning.publish(agent, published_ns)
    index = acting.mailbox.take()
    assert acting.cells[fields.UPDATES_OF + index] == 7
    now_ms = fields.now_ms(published_ns + 12_000_000)
    assert (now_ms - acting.cells[fields.PUBLISHED_AT + index]) & 0xFFFFFFFF == 12


@pytest.mark.parametrize("value", [-1, 2**32, 1.5, "1", None])
def test_a_cell_takes_no_other_numbers(value, both):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        both[0].cells[0] = value
    assert both[0].cells[0] == 0


@pytest.mark.parametrize("index", [-1, fields.CELLS])
def test_a_cell_that_is_not_there_is_an_error(index, both):
    with pytest.raises(IndexError, match="no such cell"):
        both[0].cells[index]


def test_records_of_another_size_are_refused(both):
    learning, acting = both
    for size in (0, acting.record_bytes - 1, acting.record_bytes + 1):
        with pytest.raises(ValueError, match="put"):
            acting.ring.put(bytes(size))
        with pytest.raises(ValueError, match="get"):
            learning.ring.get(bytearray(size))
    with pytest.raises((TypeError, ValueError), match="get"):
        learning.ring.get(bytes(acting.record_bytes))  # it cannot be written to


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    ends = Pipe(reading), Pipe(writing)
    yield ends
    for end in ends:
        try:
            os.close(end.descriptor)
        except OSError:
            pass


def test_messages_come_whole_however_the_pipe_cuts_them(pipe):
    receiver, sender = pipe
    os.write(sender.descriptor, b'{"a": 1}\n{"b"')
    assert receiver.received() == [{"a": 1}]
    assert receiver.received() == []
    os.write(sender.descriptor, b": 2}\n")
    sender.send({"c": "\udcff \n \u00e9"})
    assert receiver.wait() == {"b": 2}
    assert receiver.received() == [{"c": "\udcff \n \u00e9"}]
    os.close(sender.descriptor)
    assert receiver.wait() == {}
    assert receiver.ended


def test_nobody_waits_for_a_reader_that_is_stopped_or_gone(pipe):
    receiver, sender = pipe
    for _ in range(1000):  # more than a pipe holds
        sender.send({"error": "x" * 200})
    received = receiver.received()
    assert 0 < len(received) < 1000
    assert all(message == {"error": "x" * 200} for message in received)
    os.close(receiver.descriptor)
    sender.send({"rest": "now"})
