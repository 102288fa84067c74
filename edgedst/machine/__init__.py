"""A machine that learns while it acts: the acting side in a process of its own, as the learning side sees it.

`acting.py` is that process, `warden.py` the one that sees to its rest, `link.py` what they have in common. The learning
side's loop is `edgedst/live.py`.
"""

import gc
import os
from _signal import SIGKILL  # type: ignore[import-not-found]  # `signal` imports enum
from time import monotonic, sleep

from edgedst import core, errors
from edgedst.envs import Environment
from edgedst.envs.robot import MOVING, STOP_SECONDS
from edgedst.errors import EdgedstError, RobotFault
from edgedst.files import close_each, folder_error
from edgedst.machine.link import ACKNOWLEDGED, AT_REST, PHASE, RESETTING, STARTING, WAITING, Link, Pipe
from edgedst.machine.warden import REASONS, SIGNALLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACTING_GROWTH_BYTES = 1_000_000  # that robot.py may take as it runs, beyond what importing it took
GROWTH_BYTES = 1_300_000  # the same, and what the warden takes: planned for both
REST_SECONDS = 10.0  # that the machine has to come to rest before the learning side kills what hangs
_PREPARING = {STARTING: "start", RESETTING: "reset"}


class Machine(Environment):
    """The robot of a robot.py. The file is imported in the acting side's process only; nothing moves before `go`.

    Args:
        spec: from `registry.locate`.
        config: the run's settings.

    Raises:
        RobotFault: robot.py is not what it should be.
    """

    native = True
    hardware = True
    growth_beside = GROWTH_BYTES

    def __init__(self, spec: "dict[str, Any]", config: "Any") -> None:
        self.name = spec["env"]
        self.note = ""  # what would help the acting side
        self.rested = ""  # why the machine was brought to rest
        self._fault: tuple[str, str] | None = None
        self.peaks = {"acting": 0, "warden": 0}  # VmHWM of the other two processes in bytes, when last looked at
        self._moving = ""  # why it may still be moving
        self._asked = self._closed = False
        self.link: Link = None  # type: ignore[assignment]  # until the acting side has said how large it is
        self._others: list[int] = []  # process ids: the acting side, the warden
        self._file = os.memfd_create("edgedst")
        reading, writing = os.pipe()
        orders, self._orders_end = os.pipe()
        learner, self._alive_end = os.pipe()
        # Collections leave alone what is frozen, and so its pages stay those of all three processes.
        gc.collect()
        gc.freeze()
        core.release_file_pages()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                for end in (reading, self._orders_end, self._alive_end):
                    os.close(end)
                os.dup2(2, 1)  # what robot.py prints does not belong into the progress
                from edgedst.machine.acting import main

                main(spec, config, self._file, Pipe(writing), Pipe(orders), learner)
            finally:
                os._exit(1)  # a signal's exception, too, ends here: what called this is the learning side's
        for end in (writing, orders, learner):
            os.close(end)
        # Processes that anything here forks must not keep the acting side waiting.
        self._ends = [self._orders_end, self._alive_end, reading]
        os.register_at_fork(after_in_child=lambda: close_each(self._ends))
        self._told, self._orders = Pipe(reading), Pipe(self._orders_end)
        try:
            self._meet(config)
        except BaseException:
            if self._pid:  # robot.py may hang while it is imported; nothing has moved
                os.kill(self._pid, SIGKILL)
            self.close()
            raise

    def _meet(self, config: "Any") -> None:
        """Hear what the machine is, share memory with its process, and wait until that is ready to go."""
        about = self._answer("robot")
        self.rate_hz: float = about["rate_hz"]
        self.step_seconds = 1 / self.rate_hz
        self.max_episode_steps = about["episode_steps"]
        self.observation_low, self.observation_high = tuple(about["observation_low"]), tuple(about["observation_high"])
        self.action_low, self.action_high = tuple(about["action_low"]), tuple(about["action_high"])
        self.observation_size, self.action_size = len(self.observation_low), len(self.action_low)
        self.observation = memoryview(bytearray(8 * self.observation_size)).cast("d")
        try:
            self.link = Link(
                config, self.observation_size, self.action_size, self.rate_hz, learning=True, file=self._file
            )
        except OSError as error:  # `ulimit -f` counts it
            raise folder_error(error, "the memory that acting and learning share") from error
        self._orders.send({"link": self.link.bytes})
        self._others = self._answer("ready")

    def go(self, steps: int, episodes: int, spare_bytes: int) -> None:
        """Let the acting side start the machine; an actor has been handed over.

        Args:
            steps: of training, done before.
            episodes: likewise.
            spare_bytes: of the budget, which nothing was planned for: robot.py may have them.
        """
        growth_bytes = ACTING_GROWTH_BYTES + max(0, spare_bytes)
        self._orders.send({"steps": steps, "episodes": episodes, "growth_bytes": growth_bytes})
        self.note = self._answer("note")  # it is told before anything moves

    def check(self) -> bool:
        """Hear what the acting side says. False: it got a SIGTERM, and whoever sent that wants the run to end.

        Raises:
            RobotFault, BudgetBroken: it has ended; the machine is at rest, or the sentence says that it may not be.
        """
        self._hear()
        signalled = self.rested == REASONS[SIGNALLED]
        if self._fault or ((self.rested or self._told.ended) and not (self._asked or signalled)):
            self._wait()
            raise self._error()
        return not signalled

    def end(self, at_once: bool = False) -> None:
        """Ask for the end, which comes with the acting side's next step; `at_once`: end what blocks, too."""
        self._asked = True
        if self._alive_end not in self._ends:  # closed; a signal may come later, when another file has its number
            return
        try:
            os.write(self._alive_end, b"!" if at_once else b".")
        except OSError:
            pass  # it has ended

    def acknowledge(self, evaluations: int) -> None:
        """So many evaluated episodes were taken note of: their actor need not be kept."""
        self.link.cells[ACKNOWLEDGED] = evaluations & 0xFFFFFFFF

    @property
    def preparing(self) -> str:
        """The call of robot.py that may take its time and is under way: start, reset, or "" for none."""
        return _PREPARING.get(self.link.cells[PHASE], "")

    @property
    def done(self) -> bool:
        """Whether the machine is at rest for good. If it was brought there before its last step, `check` knows."""
        return self.link.cells[PHASE] == AT_REST

    def memory_beside(self) -> int:
        """Bytes that the other two processes take beyond what they share with this one.

        Anonymous memory is counted by shares, which are the family's alone, so that the three sum to what there is; of
        files' pages those that nothing else has mapped. The link is this process's, too. Some ms: not for every step.
        """
        own = _sizes("/proc/self/smaps_rollup")
        total = own.get(b"Pss_Anon", 0) - own.get(b"Anonymous", 0)
        for name, pid in zip(self.peaks, self._others, strict=False):
            other = _sizes(f"/proc/{pid}/smaps_rollup")
            self.peaks[name] = max(self.peaks[name], _sizes(f"/proc/{pid}/status").get(b"VmHWM", 0))
            total += other.get(b"Pss_Anon", 0) + other.get(b"Private_Clean", 0)
        return max(0, total)

    def close(self) -> None:
        """Bring the machine to rest and end both processes, once.

        Raises:
            RobotFault: the machine may be moving.
        """
        if self._closed:
            return
        told_before = bool(self._fault or self._moving)
        self.end()
        if self._orders_end in self._ends:
            self._ends.remove(self._orders_end)
            os.close(self._orders_end)  # ends a side that has not begun
        self._wait()
        self._closed = True
        close_each(self._ends)
        os.close(self._file)
        if self._moving and not told_before:
            raise RobotFault(self._moving)

    def fault(self) -> "EdgedstError | None":
        """What went wrong until the end, if anything did; to be called once it is closed."""
        return self._error() if self._fault or self._moving else None

    def _answer(self, key: str) -> "Any":
        """What the acting side says under this key, next.

        Raises:
            RobotFault: an error instead.
        """
        while True:
            said = self._told.wait()
            if key in said:
                return said[key]
            self._take(said)
            if self._fault or not said:
                self._wait()
                raise self._error()

    def _hear_until_the_end(self, seconds: float) -> None:
        deadline, rested = monotonic() + seconds, False
        while not self._told.ended and monotonic() < deadline:
            self._hear()
            if self.rested and not rested:  # from here the two have but to end
                deadline, rested = min(deadline, monotonic() + STOP_SECONDS), True
            sleep(0.002)

    def _hear(self) -> None:
        for said in self._told.received():
            self._take(said)

    def _take(self, said: "dict[str, Any]") -> None:
        if "error" in said:
            name, sentence = said["error"]
            self._fault = self._fault or (name, sentence)
        self.rested = said.get("rest", self.rested)
        if "moving" in said:
            self._moving = f"{said['moving']} {MOVING}"

    def _wait(self) -> None:
        """For the end of both processes. What hangs is killed: the acting side, so that the warden can do its part."""
        self._hear_until_the_end(REST_SECONDS)
        if not self._told.ended and self._pid:
            os.kill(self._pid, SIGKILL)
            if not self.rested:
                self._hear_until_the_end(2 * STOP_SECONDS)
            for pid in () if self._told.ended else self._others[1:]:
                try:
                    os.kill(pid, SIGKILL)
                except OSError:
                    pass
            self._hear_until_the_end(STOP_SECONDS)
        phase = self.link.cells[PHASE] if self.link else WAITING
        if not self.rested and not self._moving and phase not in (WAITING, AT_REST):
            self._moving = f"`{self.name}` was asked to come to rest, and nobody says that it is. {MOVING}"
        if self._told.ended and self._pid:
            try:
                _, status = os.waitpid(self._pid, 0)
                code = os.waitstatus_to_exitcode(status)
                if code < 0 and not self._fault:
                    self._fault = ("RobotFault", f"The acting side of `{self.name}` was ended by signal {-code}.")
            except ChildProcessError:
                pass
            self._pid = 0

    def _error(self) -> EdgedstError:
        ended = f"The acting side of `{self.name}` ended: {self.rested or 'it said nothing'}."
        name, sentence = self._fault or ("RobotFault", ended)
        rest = self._moving or ("The machine was brought to rest." if self.rested else "Nothing had moved.")
        kind = getattr(errors, name, RobotFault)
        error: EdgedstError = kind(f"{sentence.rstrip('.')}. {rest}")
        return error


def _sizes(path: str) -> "dict[bytes, int]":
    """What a file of /proc says in kB, in bytes by name; {} when the process has ended."""
    sizes = {}
    try:
        with open(path, "rb") as file:
            for line in file.readlines():
                name, _, rest = line.partition(b":")
                if rest.endswith(b"kB\n"):
                    sizes[name] = int(rest.split()[0]) * 1024
    except OSError:
        pass
    return sizes
