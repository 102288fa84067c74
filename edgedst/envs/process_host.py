"""A gymnasium environment in a process of its own, outside the budget: a simulator that stands for hardware.

The trainer's side needs the standard library only. Messages over two pipes: a request is (verb, length) and its
payload, a reply (status, length) and its payload; status "!" carries an error's class and sentence.
"""

import array
import os
import struct
import sys

from edgedst import errors
from edgedst.envs import Environment

_HEADER = struct.Struct("<cI")
_SIZES = struct.Struct("<III")  # observation size, action size, time limit (0: none)
_RESULT = struct.Struct("<d??")  # reward, terminated, truncated; the observation follows
_OK, _ERROR = b".", b"!"


class ProcessEnvironment(Environment):
    """The trainer's side; see `GymnasiumEnvironment` for what happens at the other end.

    Raises:
        What the environment raises in its own process, by its class; EnvironmentFault when that process ends.
    """

    native = False

    def __init__(self, env_id: str) -> None:
        self.name = env_id
        requests_out, self._requests = os.pipe()
        self._replies, replies_in = os.pipe()
        os.set_inheritable(requests_out, True)
        os.set_inheritable(replies_in, True)
        boot = (
            f"import sys; sys.path[:] = {sys.path!r}; from edgedst.envs.process_host import serve; "
            f"serve({env_id!r}, {requests_out}, {replies_in})"
        )
        # posix_spawn, not subprocess: the trainer pays for every module that it imports.
        self._pid = os.posix_spawn(sys.executable, [sys.executable, "-c", boot], os.environ)
        os.close(requests_out)
        os.close(replies_in)
        try:
            spaces = self._receive()
        except BaseException:
            self.close()
            raise
        self.observation_size, self.action_size, limit = _SIZES.unpack_from(spaces)
        bounds = struct.unpack_from(f"<{2 * self.action_size}d", spaces, _SIZES.size)
        self.action_low, self.action_high = bounds[: self.action_size], bounds[self.action_size :]
        self.max_episode_steps = limit or None
        self.observation = memoryview(array.array("d", bytes(8 * self.observation_size)))
        self._observation_bytes = self.observation.cast("B")

    def reset(self, seed: int) -> None:
        """See `Environment.reset`."""
        self._observation_bytes[:] = self._ask(b"r", struct.pack("<Q", seed))

    def step(self, action: "memoryview[float]") -> tuple[float, bool, bool]:
        """See `Environment.step`."""
        reply = self._ask(b"s", bytes(action))
        reward, terminated, truncated = _RESULT.unpack_from(reply)
        self._observation_bytes[:] = reply[_RESULT.size :]
        return reward, terminated, truncated

    def state(self) -> bytes:
        """The other process's state."""
        return self._ask(b"g")

    def set_state(self, state: bytes) -> None:
        """See `Environment.set_state`."""
        self._observation_bytes[:] = self._ask(b"p", state)

    def close(self) -> None:
        """End the other process and wait for it."""
        if self._requests >= 0:
            os.close(self._requests)  # it reads the end of the pipe and leaves
            os.close(self._replies)
            self._requests = self._replies = -1
        if self._pid:
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _ask(self, verb: bytes, payload: bytes = b"") -> bytes:
        try:
            _write(self._requests, verb, payload)
        except BrokenPipeError:
            pass  # _receive says how the process ended
        return self._receive()

    def _receive(self) -> bytes:
        try:
            status, payload = _read(self._replies)
        except EOFError:
            pid, self._pid = self._pid, 0
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 0
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise errors.EnvironmentFault(f"The process of {self.name} {how}. Nothing already saved is lost.") from None
        if status == _ERROR:
            name, _, sentence = payload.decode().partition(":")
            raise getattr(errors, name, errors.EnvironmentFault)(sentence)
        return payload


def serve(env_id: str, requests: int, replies: int) -> None:
    """The environment's side: answer until the trainer closes the pipe."""
    import signal

    from edgedst.envs.gymnasium_host import GymnasiumEnvironment

    # Ctrl-C reaches the whole foreground group; the trainer still needs this state for its checkpoint.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        env = GymnasiumEnvironment(env_id)
    except errors.EdgedstError as error:
        _write(replies, _ERROR, f"{type(error).__name__}:{error}".encode())
        return
    sizes = _SIZES.pack(env.observation_size, env.action_size, env.max_episode_steps or 0)
    _write(replies, _OK, sizes + struct.pack(f"<{2 * env.action_size}d", *env.action_low, *env.action_high))
    while True:
        try:
            verb, payload = _read(requests)
        except EOFError:
            env.close()
            return
        try:
            reply = _answer(env, verb, payload)
        except errors.EdgedstError as error:
            _write(replies, _ERROR, f"{type(error).__name__}:{error}".encode())
        else:
            _write(replies, _OK, reply)


def _answer(env: Environment, verb: bytes, payload: bytes) -> bytes:
    if verb == b"s":
        result = env.step(memoryview(array.array("f", payload)))
        return _RESULT.pack(*result) + env.observation.tobytes()
    if verb == b"g":
        return env.state()
    if verb == b"r":
        env.reset(struct.unpack("<Q", payload)[0])
    else:
        env.set_state(payload)
    return env.observation.tobytes()


def _write(pipe: int, word: bytes, payload: bytes) -> None:
    message = memoryview(_HEADER.pack(word, len(payload)) + payload)
    while message:
        message = message[os.write(pipe, message) :]


def _read(pipe: int) -> tuple[bytes, bytes]:
    word, length = _HEADER.unpack(_read_exactly(pipe, _HEADER.size))
    return word, _read_exactly(pipe, length)


def _read_exactly(pipe: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = os.read(pipe, length - len(data))
        if not part:
            raise EOFError
        data += part
    return data
