"""The environment that an actor is played in: which module may run for it, and that it is closed, however that ends."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import FrameType
from typing import Any

from edgedst.config import TrainConfig, arguments, disturbing
from edgedst.disturbances import NAMES, in_use
from edgedst.envs import Environment, registry
from edgedst.errors import CheckpointError, ConfigError
from edgedst.files import is_robot_file


def chosen_environment(recorded: str, typed: str | None, of_run: bool = False) -> str:
    """The environment that the user typed, or the one that a file names.

    Args:
        recorded: what the file says.
        typed: `--env`.
        of_run: the file is a run's. Its module is also imported where it is installed or on PYTHONPATH, which only the
            user can have done.

    Raises:
        ConfigError: `recorded` names a module or a robot.py, whose code would run because a file says so.
    """
    if typed is not None:
        return typed
    if is_robot_file(recorded):
        raise ConfigError(
            f"The actor was trained on a machine, and `{recorded}` would run and move it. If you trust that file, and "
            f"nothing is in the machine's way, add `--env {shlex.quote(recorded)}`."
        )
    if ":" not in recorded or (of_run and _installed(recorded.partition(":")[0])):
        return recorded
    module = recorded.rpartition(":")[0]
    raise ConfigError(
        f"A file names the environment `{recorded}`, and the code of the module `{module}` would run for it. If you "
        f"trust that module, add `--env {recorded}`."
    )


def trained_environment(run: Path, recorded: str) -> str:
    """The environment of a run: of a robot.py, of which the actor's file has but the name, with its folder.

    Raises:
        CheckpointError: the run's config.toml cannot be read.
    """
    path = run / "config.toml"
    if not is_robot_file(recorded) or not os.path.isfile(path):  # noqa: PTH113  # pathlib may raise
        return recorded
    try:
        trained = TrainConfig.load(path, pipe=False).get("env")
    except ConfigError as error:
        raise CheckpointError(f"{error} The run's settings are damaged: take the file from a backup.") from error
    return trained if isinstance(trained, str) and is_robot_file(trained) else recorded


def chosen_arguments(run: Path | None, environment: str, typed: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments of the environment: those that the user typed, else those that a run was trained with.

    A run's are of its own environment only. Without a run a file is played, which names no arguments.

    Raises:
        CheckpointError: the run's config.toml cannot be read.
    """
    if typed is not None or run is None:
        return typed or {}
    try:
        return arguments(_settings(run, environment).get("env_kwargs", {}), f"`{run / 'config.toml'}`")
    except ConfigError as error:
        raise CheckpointError(
            f"{error} What the environment was made with is not known: say it, `--env-kwargs '{{}}'` for nothing."
        ) from error


def chosen_disturbances(
    run: Path | None, environment: str, typed: dict[str, Any] | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What delays, disturbs and randomises the environment: what the user typed, else what a run was trained with.

    Args:
        run: its folder; None: a file is played, which names nothing of the kind.
        environment: that is played; a run's are of its own only.
        typed: settings by name; a None of them was not typed.

    Returns:
        For `registry.locate`; and a sentence for the user where the run's own are among them.

    Raises:
        ConfigError: one of those that were typed cannot be read.
        CheckpointError: the run's config.toml cannot be read.
    """
    chosen = disturbing(typed or {}, "The call")
    if run is None or len(chosen) == len(NAMES):
        return chosen, ()
    try:
        trained = disturbing(_settings(run, environment), f"`{run / 'config.toml'}`")
    except ConfigError as error:
        raise CheckpointError(
            f"{error} What disturbed the environment is not known: say it, `--action-delay 0 --observation-noise 0 "
            "--randomize none` for nothing."
        ) from error
    own = [name for name in in_use(**trained) if name not in chosen]
    if not own:
        return chosen, ()
    options = {name: f"--{name.replace('_', '-')}" for name in own}
    told = " ".join(f"{option} {_typed(trained[name])}" for name, option in options.items())
    without = " ".join(f"{option} {'none' if name == 'randomize' else 0}" for name, option in options.items())
    return {**trained, **chosen}, (f"Played as it was trained, with `{told}`; `{without}` plays without.",)


def _typed(value: Any) -> str:
    """A setting's value as it is typed."""
    return ",".join(f"{item:.15g}" for item in value) if isinstance(value, list) else str(value)


def _settings(run: Path, environment: str) -> dict[str, Any]:
    """The settings of a run whose environment this is; none of another one's, and none where they were not kept.

    Raises:
        ConfigError: its config.toml cannot be read.
    """
    path = run / "config.toml"
    if not os.path.isfile(path):  # noqa: PTH113  # pathlib may raise
        return {}
    settings = TrainConfig.load(path, pipe=False)
    return settings if settings.get("env", TrainConfig().env) == environment else {}


def _installed(module: str) -> bool:
    """Whether Python finds a package of that name, neither its own nor one that just lies in the current folder."""
    top = module.partition(".")[0]
    here = os.path.realpath(".")
    asked_for = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # an empty entry means the current folder to Python
    path = [entry for entry in sys.path if entry and (os.path.realpath(entry) != here or entry in asked_for)]
    found, imported = PathFinder.find_spec(top, path), PathFinder.find_spec(top, sys.path)
    if found is None or imported is None or top in sys.stdlib_module_names:
        return False
    return found.origin == imported.origin and found.submodule_search_locations == imported.submodule_search_locations


@contextmanager
def open_environment(
    env_id: str,
    max_episode_steps: int | None = None,
    kwargs: dict[str, Any] | None = None,
    disturbances: dict[str, Any] | None = None,
    render_mode: str | None = None,
) -> Iterator[Environment]:
    """An environment that is closed at the end of the block: also after an error, Ctrl-C, SIGTERM or a lost terminal.

    Hardware also after Ctrl-Z: who reads "Stopped" must not find it moving. No further signal interrupts its closing,
    which brings it to rest. `render_mode` is for an environment that Gymnasium makes; another one cannot draw itself.

    Raises:
        What `registry.locate` and `registry.make` raise.
        SystemExit: after SIGTERM or SIGHUP, with the exit code that a shell gives them.
    """
    spec = registry.locate(env_id, max_episode_steps=max_episode_steps, kwargs=kwargs, disturbances=disturbances)
    if render_mode and spec["host"] == "gymnasium":
        spec["kwargs"] = {**spec.get("kwargs", {}), "render_mode": render_mode}
    try:
        with _Signals() as signals:
            host = registry.make(spec)
            try:
                if host.hardware:
                    signals.take({signal.SIGTSTP: signal.SIG_DFL})
                try:
                    yield host
                finally:
                    signals.held_back = host.hardware
            finally:
                signals.held_back = host.hardware  # once more: another signal may have come between the two
                host.close()
    except _Asked as asked:
        raise SystemExit(128 + asked.args[0]) from None


class _Asked(KeyboardInterrupt):
    """A signal asked for the end: as Ctrl-C, which every host lets through."""


class _Signals:
    """Raises _Asked at signals that would end or stop the process at once; what is handled or ignored stays so."""

    def __init__(self) -> None:
        self.held_back = False  # then they do nothing, and no more does Ctrl-C
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        """Take those that end the process."""
        terminal = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
        self.take({signal.SIGTERM: signal.SIG_DFL, **terminal})
        return self

    def take(self, usual: dict[signal.Signals, Any]) -> None:
        """Take signals whose handlers are the usual ones, where this is the main thread: others cannot."""
        for number, handler in usual.items():
            if signal.getsignal(number) == handler:
                try:
                    self._before[number] = signal.signal(number, self._ask)
                except ValueError:  # a thread of a program that uses edgedst
                    break

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if not self.held_back:
            raise KeyboardInterrupt if number == signal.SIGINT else _Asked(number)
