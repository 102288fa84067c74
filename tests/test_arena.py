"""The arena, batches on it, and the losses that run on batches."""

import gc
import math
import subprocess
import sys
from array import array

import pytest

from edgedst import core


def batch(arena, rows=1, columns=5, values=None):
    """A batch whose rows all begin with `values`."""
    made = core.Batch(arena, "batch", rows, columns)
    for row in range(rows):
        for column, value in enumerate(values or []):
            made.memory[row * made.stride + column] = value
    return made


@pytest.fixture
def arena():
    return core.Arena(1 << 20)


@pytest.mark.parametrize(("columns", "stride"), [(1, 16), (15, 16), (16, 16), (17, 48), (100, 112), (256, 272)])
def test_regions_are_rounded_to_64_bytes_and_rows_to_an_odd_number_of_them(arena, columns, stride):
    made = core.Batch(arena, "x", 3, columns)
    assert (made.rows, made.columns, made.stride) == (3, columns, stride)
    assert made.memory.format == "f"
    assert len(made.memory) == 3 * stride
    assert arena.regions() == [("x", 3 * stride * 4)]
    assert arena.used_bytes == 3 * stride * 4


def test_measuring_counts_what_a_real_arena_takes(arena):
    measuring = core.Arena()
    for each in (measuring, arena):
        core.Batch(each, "x", 17, 100)
        core.Replay(each, "replay", 1001, 17, 6, "float16")
    assert measuring.measuring
    assert not arena.measuring
    assert measuring.regions() == arena.regions()
    assert [name for name, _ in arena.regions()] == [
        "x",
        "replay.observations",
        "replay.actions",
        "replay.rewards",
        "replay.flags",
    ]


def test_an_arena_gives_its_last_byte_and_not_one_more():
    arena = core.Arena(3 * 64)
    core.Batch(arena, "x", 2, 16)
    with pytest.raises(MemoryError, match=r"`y` takes 128 bytes and 64 of 192 are left"):
        core.Batch(arena, "y", 2, 16)
    core.Batch(arena, "z", 1, 16)
    assert arena.used_bytes == 192


@pytest.mark.parametrize("columns", [16, 640])  # the rows below are more, and fewer, than the scratch over them
def test_scratch_may_lie_over_what_is_not_needed_meanwhile(columns):
    taken = []
    for arena in (core.Arena(), core.Arena(1 << 20)):
        core.Batch(arena, "kept", 1, 16)
        over = arena.used_bytes
        below = core.Batch(arena, "below", 10, columns)
        scratch = core.TopologyWorkspace(arena, "scratch", 1000, 4, 4, over=over)
        after = core.Batch(arena, "after", 1, 16)
        taken.append((arena.used_bytes, arena.regions()))
    assert taken[0] == taken[1]
    assert sum(size for _, size in arena.regions()) == arena.used_bytes
    for over_it in (scratch.indices, scratch.adam_m, scratch.adam_v):
        over_it.cast("B")[:] = b"\1" * over_it.nbytes
    assert any(below.memory)  # it is the same memory
    scratch.values.cast("B")[:] = b"\2" * scratch.values.nbytes
    assert set(after.memory) == {0.0}  # and no other one is
    assert set(scratch.adam_v.cast("B")) == {1}
    with pytest.raises(ValueError, match="no region begins at 1048640; "):
        core.TopologyWorkspace(arena, "scratch", 1000, 4, 4, over=(1 << 20) + 64)


def test_sizes_that_overflow_are_refused():
    with pytest.raises(MemoryError, match="does not give"):
        core.Arena(2**63)
    with pytest.raises(ValueError, match="expected a number of bytes, or None"):
        core.Arena(-1)
    with pytest.raises(ValueError, match=r"\(-1, 4\) is not a shape"):
        core.Batch(core.Arena(), "x", -1, 4)


def test_a_view_keeps_the_arena_alive():
    view = core.Batch(core.Arena(4096), "x", 2, 16).slice(1, 2).memory[4:]
    gc.collect()
    view[0] = 3.0
    assert view.tolist() == [3.0] + [0.0] * 11


def test_a_slice_is_a_view_of_its_rows(arena):
    whole = core.Batch(arena, "x", 4, 3)
    part = whole.slice(1, 3)
    part.fill(2.5)
    assert (part.rows, part.columns, part.stride) == (2, 3, 16)
    assert whole.memory.tolist() == [0.0] * 16 + ([2.5] * 3 + [0.0] * 13) * 2 + [0.0] * 16
    for start, stop in [(-1, 2), (2, 2), (3, 2), (0, 5)]:
        with pytest.raises(ValueError, match="not a range within the batch's 4 rows"):
            whole.slice(start, stop)


def test_what_has_no_memory_is_joined_split_and_passed_to_nowhere():
    real, none = core.Arena(1 << 16), core.Arena()
    x, both, nothing = core.Batch(real, "x", 2, 3), core.Batch(real, "both", 2, 6), core.Batch(none, "x", 2, 3)
    for call in (lambda: core.join(nothing, x, both), lambda: core.split(both, nothing, x)):
        with pytest.raises(ValueError, match="`first` is on a measuring arena"):
            call()
    network = core.Network(none, "critic_1", [2, 4, 1], [8, 4], "linear", batch_norm=True)
    assert network.batch_norm
    q, passed = core.Batch(real, "q", 1, 3), core.Activations(real, "pass", network.sizes, 3, True)
    with pytest.raises(ValueError, match="on a measuring arena and have no memory"):
        network.forward(x, passed, q)


def test_joined_columns_come_apart_again(arena):
    first, second = batch(arena, 2, 3, [1, 2, 3]), batch(arena, 2, 18, range(4, 22))
    joint = batch(arena, 2, 21, [9] * 21)
    core.join(first, second, joint)
    for row in range(2):
        start = row * joint.stride
        assert list(joint.memory[start : start + joint.stride]) == [*range(1, 22)] + [0] * (joint.stride - 21)
    again = batch(arena, 2, 3), batch(arena, 2, 18)
    core.split(joint, *again)
    assert [bytes(part.memory) for part in again] == [bytes(first.memory), bytes(second.memory)]


def test_a_batch_without_memory_says_so():
    measured = core.Batch(core.Arena(), "x", 1, 4)
    for use in (lambda: measured.memory, lambda: measured.fill(1), lambda: core.mean(measured)):
        with pytest.raises(ValueError, match="on a measuring arena"):
            use()
    with pytest.raises(BufferError, match="no memory"):
        memoryview(measured)


def test_mse_loss_and_its_gradient(arena):
    q, y, dq = batch(arena, 1, 3, [1, 2, 3]), batch(arena, 1, 3, [1, 0, 6]), batch(arena, 1, 3, [9] * 16)
    assert core.mse_loss(q, y, dq) == pytest.approx((0 + 4 + 9) / 3)
    assert dq.memory.tolist() == pytest.approx([0, 4 / 3, -2] + [0] * 13)


def test_td_target_bootstraps_unless_terminated(arena):
    reward, discount = batch(arena, 1, 3, [1, 2, 3]), batch(arena, 1, 3, [0.5, 0, 0.5])
    q_1, q_2, y = batch(arena, 1, 3, [10, 10, 30]), batch(arena, 1, 3, [20, 20, 20]), batch(arena, 1, 3)
    core.td_target(reward, discount, q_1, q_2, y)
    assert y.memory.tolist() == [6, 2, 13] + [0] * 13


@pytest.mark.parametrize("q", [[math.nan, 1], [1, math.nan]])
def test_td_target_hides_no_nan(arena, q):
    zero, y = batch(arena, 1, 1), batch(arena, 1, 1)
    core.td_target(zero, zero, batch(arena, 1, 1, q[:1]), batch(arena, 1, 1, q[1:]), y)
    assert math.isnan(y.memory[0])


def test_mean_leaves_padded_columns_out(arena):
    assert core.mean(batch(arena, 1, 3, [1, 2, 6, 1000])) == 3


def test_smoothing_clips_the_noise_and_the_action(arena):
    actions = batch(arena, 2, 4, [0, 0.9, -0.9, 0.2])
    core.smooth_actions(actions, core.Random(1), 100.0, 0.25)  # so large a sigma always meets the clip
    for row in range(2):
        a = actions.memory[row * 16 : row * 16 + 4].tolist()
        assert abs(a[0]) == 0.25
        assert a[1] in (1.0, pytest.approx(0.65))
        assert a[2] in (-1.0, pytest.approx(-0.65))
        assert abs(a[3] - 0.2) == pytest.approx(0.25)


def test_smoothing_draws_two_integers_a_real_column_whatever_sigma(arena):
    random = core.Random(1)
    actions = batch(arena, 2, 5, [0.5] * 5)
    core.smooth_actions(actions, random, 0.0, 0.5)
    assert random.counter == 2 * 2 * 5
    assert actions.memory[:5].tolist() == [0.5] * 5


def test_shapes_that_do_not_fit_are_refused_by_name(arena):
    small, large = batch(arena, 1, 4), batch(arena, 1, 5)
    with pytest.raises(ValueError, match=r"mse_loss: `y` is \(1, 5\), expected \(1, 4\)"):
        core.mse_loss(small, large, small)
    with pytest.raises(ValueError, match=r"td_target: `q_2` is \(1, 5\), expected \(1, 4\)"):
        core.td_target(small, small, small, large, small)
    with pytest.raises(ValueError, match=r"mean: `q` is \(2, 4\), expected \(1, 4\)"):
        core.mean(batch(arena, 2, 4))
    with pytest.raises(ValueError, match="must not be negative"):
        core.smooth_actions(small, core.Random(1), 0.1, -0.5)


@pytest.mark.parametrize("count", [0, -1, 257])
def test_set_threads_wants_a_number_of_threads(count):
    with pytest.raises(ValueError, match="expected 1 to 256"):
        core.set_threads(count)


WORK = """
import re
from edgedst import core

def anonymous_kb():
    with open("/proc/self/smaps_rollup") as file:
        return int(re.search("Anonymous: *([0-9]+)", file.read())[1])

actions, random = core.Batch(core.Arena(1 << 20), "actions", 64, 100), core.Random(1)

def work():
    for _ in range(1000):
        core.smooth_actions(actions, random, 0.2, 0.5)  # the deepest task

work()
core.set_threads(65)
before = anonymous_kb()
work()
print(anonymous_kb() - before)
"""


def test_what_the_stacks_of_threads_take_is_resident_before_they_work():
    """The plan counts it then; a thread that had slept through its tasks took it some day, beyond the budget."""
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64  # of 64 threads a page each would be 256 kB


def test_buffers_of_another_kind_are_refused(arena):
    random = core.Random(1)
    with pytest.raises(ValueError, match="`values` has format 'd', expected a buffer of float32"):
        random.normal(array("d", [0.0]), 1.0)
    with pytest.raises(ValueError, match="`values` is list, not a buffer, expected a buffer of float32"):
        random.normal([0.0], 1.0)
    with pytest.raises(ValueError, match="not contiguous or not writable"):
        random.normal(memoryview(array("f", [0.0, 0.0])).toreadonly(), 1.0)
    with pytest.raises(ValueError, match="not contiguous"):
        random.normal(memoryview(array("f", [0.0] * 4))[::2], 1.0)
