"""The episode under way, so that a run that goes on can go on with it.

A simulator whose state can be read gives it. Of any other environment an episode is its seed and its actions: they are
kept here, the newest in memory and the others in a file of the checkpoint, so that an episode of any length takes the
same memory. Going on means playing them again. Where that leads to another observation, or where the environment is
hardware and nothing may be played again, a new episode begins, and everything else goes on as it was.
"""

import os
import struct
from binascii import a2b_base64, b2a_base64, crc32

from edgedst.errors import CheckpointError, EnvironmentFault
from edgedst.files import folder_error, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from edgedst.envs import Environment

BUFFER_BYTES = 8192  # of actions that are not in the file yet
_FORMAT_1 = struct.Struct("<4sqII")  # "EDGY", seed (-1: no episode yet), steps, observation size; actions, observation


class Episode:
    """Records the training episode, and goes on with a recorded one.

    Args:
        folder: RUN/checkpoint.
        environment: that trains; one whose `state()` is None is recorded, unless it is hardware.
    """

    def __init__(self, folder: str, environment: "Environment") -> None:
        self._folder = folder
        self._environment = environment
        self._step_bytes = 4 * environment.action_size
        self._buffer = memoryview(bytearray(max(1, BUFFER_BYTES // self._step_bytes) * self._step_bytes))
        self._recorded = environment.state() is None and not environment.hardware
        self._buffered = 0  # bytes
        self._descriptor = -1
        self._forget("", 0)

    def begin(self, step: int, seed: int) -> None:
        """Reset the environment and record an episode that begins at this step of the run, which no other one does.

        Raises:
            EnvironmentFault: the environment raised.
        """
        self._forget(f"episode-{step:09d}.actions", seed)
        self._environment.reset(seed)

    def record(self, action: "memoryview[float]") -> None:
        """Remember an action, (m,) float32 in the environment's units, before it is taken.

        Raises:
            RunFolderError: the file cannot be written.
        """
        if not self._recorded:
            return
        if self._buffered == len(self._buffer):
            self._write()
        self._buffer[self._buffered : self._buffered + self._step_bytes] = action.cast("B")
        self._buffered += self._step_bytes

    def saved(self) -> "str | dict[str, Any]":
        """For state.json. The file that it names is on the disk then.

        Raises:
            RunFolderError: the file cannot be written.
        """
        if self._environment.hardware:  # it cannot be gone on with
            return ""
        state = self._environment.state()
        if state is not None:
            return b2a_base64(state, newline=False).decode()
        self._write()
        observation = b2a_base64(self._environment.observation.cast("B"), newline=False).decode()
        if self._written:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                raise folder_error(error, self._path) from error
        steps = self._written // self._step_bytes  # of none there is no file
        told = {"seed": self._seed, "steps": steps, "file": self.file, "crc32": self._crc32}
        return {**told, "observation": observation}

    def restore(self, saved: "str | dict[str, Any]", stopping: "Callable[[], bool]") -> str:
        """Bring the environment to where it was.

        Args:
            saved: what `saved` gave, of this format of checkpoints or of the one before.
            stopping: asked between steps; when it is so, what is reached does not matter any more.

        Returns:
            "", or why a new episode has to begin: the environment is anywhere then.

        Raises:
            CheckpointError: what was saved is damaged, or of another environment.
        """
        if self._environment.hardware:
            return f"{self._environment.name} is hardware, on which nothing is played again"
        if isinstance(saved, str):
            state = a2b_base64(saved)
            if state[:4] != b"EDGY":
                self._environment.set_state(state)
                return ""
            seed, actions, observation = _of_format_1(state, self._environment)
            self._forget("episode-again.actions", seed)
            told = self._play(actions, observation, stopping)
            for action in actions if not told else ():
                self.record(action)
            return told
        self._forget(saved["file"], saved["seed"])
        observation = a2b_base64(saved["observation"])
        if len(observation) != self._environment.observation.nbytes:
            raise _foreign(self._environment)
        told = self._play(self._read(saved["steps"] * self._step_bytes, saved["crc32"]), observation, stopping)
        self._written, self._crc32 = saved["steps"] * self._step_bytes, saved["crc32"]
        return told

    def _play(self, actions: "Iterable[memoryview[float]]", observation: bytes, stopping: "Callable[[], bool]") -> str:
        """Play an episode again from its seed; returns "" when it led to the same observation."""
        environment = self._environment
        over = False
        try:
            environment.reset(self._seed)
            for action in actions:
                if stopping():
                    return ""
                if over:
                    return f"{environment.name} does not repeat itself: its saved episode ended early when played again"
                _, terminated, truncated = environment.step(action)
                over = terminated or truncated
        except EnvironmentFault as error:
            return f"the saved episode cannot be played again: {str(error).rstrip('.')}"
        if over or environment.observation.tobytes() != observation:
            return (
                f"{environment.name} does not repeat itself: the actions of its saved episode, played again from its "
                "seed, led to another observation (take all of the environment's randomness from `self.np_random`)"
            )
        return ""

    def _read(self, size: int, expected_crc32: int) -> "Iterator[memoryview[float]]":
        """The actions in the file, once it has proved to be whole."""
        for checking in (True, False):
            checksum, left = 0, size
            if left:
                self._open()
                os.lseek(self._descriptor, 0, os.SEEK_SET)
            while left:
                view = self._buffer[: min(left, len(self._buffer))]
                if os.readv(self._descriptor, [view]) != len(view):
                    break
                left -= len(view)
                checksum = crc32(view, checksum)
                for start in range(0, 0 if checking else len(view), self._step_bytes):
                    yield view[start : start + self._step_bytes].cast("f")
            if left or checksum != expected_crc32:
                raise CheckpointError(
                    f"`{self._path}` is damaged: expected {size} bytes with CRC-32 {expected_crc32}, got "
                    f"{size - left} bytes with {checksum}. Take the checkpoint folder from a backup, or train anew."
                )

    def _forget(self, file: str, seed: int) -> None:
        """Nothing is recorded. The file of the episode before stays: a checkpoint may count on it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self.file = file  # of the actions, in the checkpoint's folder
        self._path = os.path.join(self._folder, file)
        self._seed = seed
        self._buffered = self._written = self._crc32 = 0

    def _open(self) -> None:
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                self._descriptor = os.open(self._path, flags, 0o644)
            except OSError as error:
                raise folder_error(error, self._path) from error

    def _write(self) -> None:
        """Put what is in the buffer behind what is in the file."""
        if not self._buffered:
            return
        self._open()
        view = self._buffer[: self._buffered]
        try:
            # Behind what a checkpoint vouches for, a process that was killed may have left more.
            os.ftruncate(self._descriptor, self._written)
            os.lseek(self._descriptor, self._written, os.SEEK_SET)
            write_all(self._descriptor, view)
        except OSError as error:
            raise folder_error(error, self._path) from error
        self._crc32 = crc32(view, self._crc32)
        self._written += self._buffered
        self._buffered = 0


def _of_format_1(state: bytes, environment: "Environment") -> "tuple[int, list[memoryview[float]], bytes]":
    """(seed, actions, observation) of an episode in a checkpoint of format 1."""
    if len(state) < _FORMAT_1.size:
        raise _foreign(environment)
    _, seed, steps, observation_size = _FORMAT_1.unpack_from(state)
    step_bytes = 4 * environment.action_size
    end = _FORMAT_1.size + steps * step_bytes
    if observation_size != environment.observation_size or len(state) != end + 8 * observation_size or seed < 0:
        raise _foreign(environment)
    played = memoryview(state)[_FORMAT_1.size : end]
    return seed, [played[i : i + step_bytes].cast("f") for i in range(0, len(played), step_bytes)], state[end:]


def _foreign(environment: "Environment") -> CheckpointError:
    return CheckpointError(
        f"The saved episode does not belong to {environment.name} with {environment.observation_size} observations "
        f"and {environment.action_size} actions. Install the version that it was trained with, or train anew."
    )
