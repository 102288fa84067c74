"""Measures this process's memory and holds it to its budget; the plan is made in `plan.py`.

Everything is in bytes. "Peak" is VmHWM: the most that was ever resident, interpreter and shared libraries included.
"""

import os
import sys
import time

from edgedst.errors import BudgetBroken


def memory() -> "tuple[int, int, int]":
    """(rss, peak, data) bytes of this process: VmRSS, VmHWM, VmData. One read of /proc/self/status, some 20 us."""
    descriptor = os.open("/proc/self/status", os.O_RDONLY)
    try:
        status = os.read(descriptor, 8192)
    finally:
        os.close(descriptor)

    def field(name: bytes) -> int:
        start = status.find(b"\n" + name + b":")
        return int(status[start + len(name) + 2 : status.index(b"kB", start)]) * 1024

    rss = field(b"VmRSS")
    # The kernel brings VmHWM up to date when memory is given back, not each time it grows.
    return rss, max(rss, field(b"VmHWM")), field(b"VmData")


def compiled_since_start() -> bool:
    """Whether Python has compiled a module of this process and written it since the process began.

    Its compiler leaves up to 1.3 MB behind, which no other start of this program has.
    """
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    began = time.time() - age - 0.02  # a tick, and one of the file system's clock
    for module in list(sys.modules.values()):
        cached = getattr(getattr(module, "__spec__", None), "cached", None)  # none: built in or frozen
        try:
            if cached and os.stat(cached).st_mtime > began:
                return True
        except OSError:  # its folder cannot be written to: it is compiled at every start
            pass
    return False


def has_huge_pages() -> bool:
    """Whether the kernel gives huge pages to processes that did not ask for any, as Debian's does from 512 MB on."""
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", "rb") as file:
            return b"[always]" in file.read()
    except OSError:  # a kernel without them
        return False


# Nearer than this to the budget, pages of files are given back: libraries' code that ran once.
NEAR_BYTES = 300_000
# Beyond the budget while an environment is made: MuJoCo and OpenBLAS map up to 50 MB that they hardly touch. One that
# takes more than that is refused before the plan; one that takes less is planned, and refused with the right number.
START_BYTES = 64_000_000


class Guard:
    """Holds the process to `budget_bytes`: RLIMIT_DATA stops its growth, `check` reads the peak.

    RLIMIT_DATA counts private writable memory whether touched or not, the budget counts what is resident. The limit
    is therefore what is mapped now plus what the budget still leaves: an allocation beyond it fails as MemoryError.
    Memory that it does not count, shared or of mapped files, is what `check` is for.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.limit_bytes = 0
        self.peak_bytes = 0  # the most that any look saw: the kernel's own peak lags behind
        self.beside_bytes = 0  # of other processes, beyond what they share with this one; the budget holds both

    def enforce(self, headroom_bytes: int, files_bytes: int) -> None:
        """Set the limit; to be called once everything of the run is allocated.

        Args:
            headroom_bytes: what the process was planned to grow by. A quarter of it is left to what the limit does
                not count: the stack, pages of files.
            files_bytes: pages of files that were given back before. They are read again, so they come out of what
                the budget leaves beyond the headroom's other three quarters.
        """
        rss, _, data = memory()
        left = self.budget_bytes - rss - self.beside_bytes
        margin = headroom_bytes // 4
        self._limit(data + max(0, left - max(margin, min(files_bytes, left - headroom_bytes + margin))))

    def enforce_at_start(self) -> None:
        """Set the limit that holds before the plan is made, while environments are."""
        rss, _, data = memory()
        self._limit(data + max(0, self.budget_bytes - rss) + START_BYTES)

    def exceeded_at_start(self) -> bool:
        """Whether the process has taken what `enforce_at_start` would refuse, in memory that it does not count."""
        return memory()[0] > self.budget_bytes + START_BYTES

    def _limit(self, limit_bytes: int) -> None:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        self.limit_bytes = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (self.limit_bytes, hard))

    def release(self) -> None:
        """Lift the limit again, so that the end of a broken run can be written."""
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))

    def peak(self) -> int:
        """The highest peak that any look saw, this one included, in bytes."""
        self.peak_bytes = max(self.peak_bytes, memory()[1] + self.beside_bytes)
        return self.peak_bytes

    def check(self) -> "tuple[int, int]":
        """(rss, peak) bytes; near the budget, pages of files are given back first.

        Raises:
            BudgetBroken: the peak is above the budget.
        """
        rss, peak, _ = memory()
        rss += self.beside_bytes
        peak = self.peak_bytes = max(self.peak_bytes, peak + self.beside_bytes)
        if rss > self.budget_bytes - NEAR_BYTES:
            from edgedst import core  # the front end asks for `memory` alone: the core takes 1.4 MB

            core.release_file_pages()
            rss = memory()[0] + self.beside_bytes
        if peak > self.budget_bytes:
            raise BudgetBroken(
                f"The process took {peak / 1e6:.1f} MB at its peak and the budget is {self.budget_bytes / 1e6:.1f} MB."
            )
        return rss, peak
