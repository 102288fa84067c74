"""A gymnasium environment in a process of its own, outside the budget: a simulator that stands for hardware.

The trainer's side needs little of the standard library only. Messages over two pipes: a request is (verb, length) and
its payload, a reply (status, length) and its payload; status "!" carries an error's class and sentence. When the
requests end, the environment is closed and a last reply says so.
"""

import os
import struct
import sys
from time import monotonic, sleep

from edgedst import errors
from edgedst.envs import Environment
from edgedst.files import close_each, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADER = struct.Struct("<cI")
# Observation size, action size, time limit (0: none), step_seconds (0: not known), whether it is hardware, and
# largest_observation (0: none).
_SPACES = struct.Struct("<QQQd?Qd")
_RESULT = struct.Struct("<d??")  # reward, terminated, truncated; the observation follows
_OK, _ERROR = b".", b"!"

CLOSE_SECONDS = 10.0  # for its last step and its close(); a robot may have to come to rest


class ProcessEnvironment(Environment):
    """The trainer's side; see `GymnasiumEnvironment` for its arguments and for what happens at the other end.

    Raises:
        What the environment raises in its own process, by its class; EnvironmentFault when that process ends.
    """

    native = False

    def __init__(
        self, env_id: str, max_episode_steps: int | None = None, kwargs: "dict[str, Any] | None" = None
    ) -> None:
        # Typeshed has only signal itself.
        from _signal import SIGHUP, SIGINT, SIGTERM, SIGTSTP  # type: ignore[import-not-found]

        self.name = env_id
        self._ended = ""  # how its process ended
        self._waiting = True  # for a reply
        requests_out, self._requests = _pipe()
        self._replies, replies_in = _pipe()
        os.set_inheritable(requests_out, True)
        os.set_inheritable(replies_in, True)
        path = [folder for folder in sys.path if folder]  # "", the current folder, would hide Python's own modules
        boot = (
            f"import sys; sys.path[:] = {path!a}; from edgedst.envs.process_host import serve; "
            f"serve({env_id!a}, {max_episode_steps}, {kwargs!a}, {requests_out}, {replies_in})"
        )
        try:
            # posix_spawn, not subprocess: the trainer pays for every module that it imports.
            # What stops the trainer may reach its whole group, and must not end the environment before it.
            self._pid = os.posix_spawn(
                sys.executable, [sys.executable, "-c", boot], os.environ, setsigmask=(SIGINT, SIGTERM, SIGHUP, SIGTSTP)
            )
        except OSError as error:
            for pipe in (self._requests, self._replies):
                os.close(pipe)
            raise errors.EnvironmentFault(f"No process can be started for {env_id}: {error.strerror}.") from error
        finally:
            os.close(requests_out)
            os.close(replies_in)
        try:
            spaces = self._receive()
        except BaseException:
            try:
                self.close()
            except errors.EnvironmentFault:
                pass  # the first reason is the one to tell
            raise
        self.observation_size, self.action_size, limit, *others = _SPACES.unpack_from(spaces)
        step_seconds, self.hardware, index, largest = others
        self.largest_observation = (index, largest) if largest else None
        bounds = struct.unpack_from(f"<{2 * self.action_size}d", spaces, _SPACES.size)
        self.action_low, self.action_high = bounds[: self.action_size], bounds[self.action_size :]
        self.max_episode_steps, self.step_seconds = limit or None, step_seconds or None
        self.observation = memoryview(bytearray(8 * self.observation_size)).cast("d")
        self._observation_bytes = self.observation.cast("B")
        self._result = memoryview(bytearray(_RESULT.size))

    def reset(self, seed: int) -> None:
        """See `Environment.reset`."""
        self._ask(b"r", struct.pack("<Q", seed), self._observation_bytes)

    def step(self, action: "memoryview[float]") -> tuple[float, bool, bool]:
        """See `Environment.step`."""
        self._ask(b"s", bytes(action), self._result, self._observation_bytes)
        reward, terminated, truncated = _RESULT.unpack(self._result)
        return reward, terminated, truncated

    def close(self) -> None:
        """Have the environment closed, and wait for the end of its process; one that does not end is killed."""
        if self._requests < 0:
            return
        os.close(self._requests)  # it reads the end of the pipe, closes its environment and leaves
        self._requests = -1
        ended_before, due = self._ended, self._waiting
        try:
            said = self._wait()
        finally:
            os.close(self._replies)
            self._replies = -1
        if ended_before:
            return  # that was told
        if said[:1] == _ERROR and not due:
            raise _error(said[_HEADER.size :])
        # While a reply is due, what it said last cannot be told apart from that.
        done = self._ended == "ended with exit code 0" if due else said[:1] == _OK
        if not done or "killed" in self._ended:
            when = "after its close()" if done else "before its close() was done"
            raise errors.EnvironmentFault(f"The process of {self.name} {self._ended}, {when}.")

    def _ask(self, verb: bytes, payload: bytes, *into: memoryview) -> None:
        self._waiting = True
        try:
            _write(self._requests, verb, payload)
        except OSError:
            pass  # _receive says how the process ended
        self._receive(*into)

    def _receive(self, *into: memoryview) -> bytearray:
        """A reply's payload, into views where they are given."""
        try:
            status, length = _HEADER.unpack(_read(self._replies, _HEADER.size))
            payload = _read(self._replies, length) if status == _ERROR or not into else bytearray()
            if status == _OK and length == sum([len(view) for view in into]):
                for view in into:
                    _fill(self._replies, view)
            elif status != _ERROR and into:
                raise errors.EnvironmentFault(f"The process of {self.name} sent {length} bytes that are no reply.")
        except (EOFError, OSError):
            if self._replies >= 0:
                self._wait()
            raise errors.EnvironmentFault(
                f"The process of {self.name} {self._ended}. Nothing already saved is lost."
            ) from None
        self._waiting = False
        if status != _OK:
            raise _error(payload)
        return payload

    def _wait(self) -> bytes:
        """Wait for the process to end, and end it when it does not: all that it said until then."""
        deadline = monotonic() + CLOSE_SECONDS
        os.set_blocking(self._replies, False)
        said = b""
        while not self._ended:
            said = _drain(self._replies, said)
            try:
                ended, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:  # who started the trainer had ended children waited for at once
                self._ended = "ended"
                continue
            code = os.waitstatus_to_exitcode(status) if ended else 0
            if ended:
                self._ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            elif monotonic() > deadline:
                os.kill(self._pid, 9)  # it ignores SIGTERM
                os.waitpid(self._pid, 0)
                self._ended = f"did not end within {CLOSE_SECONDS:g} seconds and was killed"
            else:
                sleep(0.01)
        return _drain(self._replies, said)


def serve(
    env_id: str, max_episode_steps: int | None, kwargs: "dict[str, Any] | None", requests: int, replies: int
) -> None:
    """The environment's side: answer until the trainer closes the pipe or is gone."""
    import resource

    # The trainer's limit is not the environment's: that one is outside the budget.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    # Processes that the environment starts must not keep the pipes open.
    held = [requests, replies]
    for pipe in held:
        os.set_inheritable(pipe, False)
    os.register_at_fork(after_in_child=lambda: close_each(held))
    while (spare := os.open(os.devnull, os.O_RDWR)) < 3:  # a standard stream is missing: its port would become one
        pass
    os.close(spare)
    os.dup2(2, 1)  # what it prints does not belong into the trainer's output
    _outlive_signals()
    from edgedst.envs.gymnasium_host import GymnasiumEnvironment

    try:
        env = GymnasiumEnvironment(env_id, max_episode_steps, kwargs)
    except (errors.EdgedstError, MemoryError) as error:
        _say(replies, env_id, error)
        return
    try:
        _outlive_signals()  # a robot's or a simulator's library may have handlers of its own
        sizes = (env.observation_size, env.action_size, env.max_episode_steps or 0)
        spaces = (*sizes, env.step_seconds or 0, env.hardware, *(env.largest_observation or (0, 0.0)))
        bounds = struct.pack(f"<{2 * env.action_size}d", *env.action_low, *env.action_high)
        _write(replies, _OK, _SPACES.pack(*spaces) + bounds)
        while True:
            verb, length = _HEADER.unpack(_read(requests, _HEADER.size))
            payload = _read(requests, length)
            try:
                result = b""
                if verb == b"r":
                    env.reset(struct.unpack("<Q", payload)[0])
                else:
                    result = _RESULT.pack(*env.step(memoryview(payload).cast("f")))
            except (errors.EdgedstError, MemoryError) as error:
                _say(replies, env_id, error)
            else:
                _write(replies, _OK, result + env.observation.tobytes())
    except (EOFError, OSError):  # the trainer has closed the pipe, or is gone
        pass
    finally:
        closed: BaseException | None = None
        try:
            env.close()
        except (errors.EdgedstError, MemoryError) as error:
            closed = error
        try:
            _say(replies, env_id, closed)
        except OSError:
            pass


def _outlive_signals() -> None:
    """Handlers that do nothing: the trainer decides when this process ends, and tells it by the pipe.

    Ignored signals would stay ignored in a simulator that the environment starts, and in its close() ends by SIGTERM.
    """
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's, for example
            signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _say(replies: int, env_id: str, error: BaseException | None) -> None:
    if error is None:
        _write(replies, _OK, b"")
        return
    name, sentence = type(error).__name__, str(error)
    if not isinstance(error, errors.EdgedstError):
        name, sentence = "EnvironmentFault", f"{env_id} ran out of memory, in a process of its own."
    _write(replies, _ERROR, f"{name}:{sentence}".encode(errors="backslashreplace"))


def _error(payload: "bytes | bytearray") -> errors.EdgedstError:
    name, _, sentence = payload.decode(errors="replace").partition(":")
    kind: type[errors.EdgedstError] = getattr(errors, name, errors.EnvironmentFault)
    return kind(sentence)


def _pipe() -> tuple[int, int]:
    """A pipe that is no standard stream: where the trainer has none, print() would write into it."""
    ends = os.pipe()
    if min(ends) > 2:
        return ends
    others = _pipe()
    for end in ends:
        os.close(end)
    return others


def _write(pipe: int, word: bytes, payload: bytes) -> None:
    write_all(pipe, _HEADER.pack(word, len(payload)) + payload)


def _read(pipe: int, length: int) -> bytearray:
    data = bytearray(length)
    _fill(pipe, memoryview(data))
    return data


def _fill(pipe: int, view: memoryview) -> None:
    while view:
        count = os.readv(pipe, [view])
        if not count:
            raise EOFError
        view = view[count:]


def _drain(pipe: int, said: bytes) -> bytes:
    """`said` and what a pipe holds now, no more than a sentence of it: a reply that nobody waits for may be large."""
    try:
        while part := os.read(pipe, 65536):
            said = (said + part)[:65536]
    except BlockingIOError:
        pass
    return said
