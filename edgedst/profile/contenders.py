"""Who is measured against whom: the sparse method, the dense one of its family, and other projects that are installed.

Each is a process, which is started, listened to, and ended with its parent, however that ends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgedst import errors
from edgedst.child import python_of, tied
from edgedst.config import METHODS, TrainConfig, dense_of
from edgedst.density import DENSE_METHODS, OWN_SPARSITIES, family
from edgedst.disturbances import in_use
from edgedst.errors import ConfigError, EdgedstError, ProfileError
from edgedst.files import is_robot_file
from edgedst.parse import json_object
from edgedst.profile.window import PREFIX
from edgedst.updates import told_rate

SPARSE, DENSE = "sparse", "dense"


class Peer(NamedTuple):
    """Another project's TD3 and SAC, dense. `peers.py` runs it; its extra bears its name here."""

    title: str
    module: str  # that is looked for, to see whether it is installed


PEERS = {
    "sb3": Peer("Stable-Baselines3", "stable_baselines3"),
    "sbx": Peer("SBX", "sbx"),
    "rltools": Peer("RLtools", "rltools"),
}
BASELINES = (DENSE, *PEERS)

CLOSE_SECONDS = 5.0  # for a contender that is asked to leave
TICK_SECONDS = 1.0  # between two looks at the clock, for a person who watches

Command = tuple[list[str], dict[str, str]]  # argv, environment variables

# The lean process of edgedst's contenders: how it is started is the front end's to say, as for `edgedst train`.
# (settings, goal of `window.measure`, folder for its run folder) -> its command.
Start = Callable[[TrainConfig, dict[str, Any], str], Command]


@dataclass(frozen=True)
class Contender:
    """One side of the comparison."""

    name: str  # sparse, or one of BASELINES
    label: str
    config: TrainConfig

    @property
    def peer(self) -> Peer | None:
        """None: edgedst itself."""
        return PEERS.get(self.name)

    @property
    def engine(self) -> str:
        """edgedst, or a peer's name."""
        return self.name if self.peer else "edgedst"

    @property
    def told(self) -> str:
        """For a sentence."""
        return f"the {self.name} contender ({self.label})"

    def command(self, goal: dict[str, Any], folder: str, start: Start) -> Command:
        """Its process."""
        return peer_command(self.name, self.config, goal) if self.peer else start(self.config, goal, folder)


_OF_A_BEGINNING = ("init_from", "prefill", "critic_warmup")
# And what they are without.
_NOT_OF_PEERS = {"normalize_observations": False, "history": 0, "n_steps": 1, "batch_norm": False}


def contenders(config: TrainConfig, against: Sequence[str]) -> tuple[list[Contender], list[str]]:
    """The contenders in their order, and sentences on those that are not installed.

    Raises:
        ConfigError: the task is a machine, the method is dense, `against` names something else, or a setting is not all
            contenders'.
        ProfileError: nobody of those that were asked for is installed.
    """
    if is_robot_file(config.env) or config.hardware:
        hidden = ",".join(map(str, config.hidden))
        of_density = [(name, getattr(config, name)) for name in ("lambda2", "sparsity", *OWN_SPARSITIES)]
        density = " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in of_density if value is not None)
        raise ConfigError(
            f"In a profile each contender trains from nothing, and each would move the machine of `{config.env}`. What "
            "an update costs depends on sizes alone: profile a simulator of similar ones, for example `edgedst profile "
            f"--env InvertedPendulum-v4 --method {config.method} --hidden {hidden} {density}` (4 observations, 1 "
            "action)."
        )
    kind = family(config.method)
    if config.method in DENSE_METHODS:
        sparse = [method for method in METHODS if method not in DENSE_METHODS and family(method) == kind]
        raise ConfigError(
            f"`method` is {config.method}, which is dense, and a profile holds a sparse method against dense. Choose "
            f"`--method {sparse[0]}` or `--method {sparse[1]}`."
        )
    for name in against:
        if name in (SPARSE, config.method):
            raise ConfigError(
                f"`--against {name}` is the contender itself: name what it is held against, of {', '.join(BASELINES)}."
            )
        if name not in BASELINES:
            raise ConfigError(f"`--against` must be of {', '.join(BASELINES)} and has `{name}`.")
    if not against:
        raise ConfigError(f"`--against` names nobody to be measured against: name some of {', '.join(BASELINES)}.")
    for name in _OF_A_BEGINNING:
        if getattr(config, name) not in (None, 0):
            raise ConfigError(f"In a profile each contender trains from nothing: leave `{name}` out.")
    if config.updates_per_step < 1:
        raise ConfigError(
            "A profile measures the updates of each step, and `updates_per_step` is "
            f"{told_rate(config.updates_per_step)}: most steps have none. Give `--updates-per-step 1`; an update costs "
            "the same at every rate."
        )
    disturbed = in_use(config.action_delay, config.observation_noise, config.randomize)
    against = list(dict.fromkeys(against))
    own = [name for name, without in _NOT_OF_PEERS.items() if getattr(config, name) != without]
    if (foreign := [name for name in against if name in PEERS]) and (only_ours := [*own, *disturbed]):
        raise ConfigError(
            f"`{only_ours[0]}` is edgedst's own, and {PEERS[foreign[0]].title} does without: leave it out, or add "
            f"`--against {DENSE}`."
        )
    dense = dense_of(config)
    made = [Contender(SPARSE, f"edgedst {_upper(config.method)}", config)]
    if DENSE in against:
        made.append(Contender(DENSE, f"edgedst dense {kind.upper()}", dense))
    installed, missing = peers(foreign, dense)
    made += installed
    if len(made) == 1:
        raise ProfileError(" ".join(missing))
    return made, missing


def peers(names: Iterable[str], dense: TrainConfig) -> tuple[list[Contender], list[str]]:
    """The contenders of these PEERS with the settings of a dense method; sentences on those that are not installed."""
    installed, missing = [], []
    for name in names:
        title, module = PEERS[name]
        if importlib.util.find_spec(module):
            installed.append(Contender(name, f"{title} {family(dense.method).upper()}", dense))
        else:
            missing.append(
                f"{title} is not installed, so nothing is compared with it: `pip install 'edgedst[{name}]'`."
            )
    return installed, missing


def _upper(method: str) -> str:
    """ds-td3 as people write it."""
    topology, _, algorithm = method.rpartition("-")
    return f"{'DS' if topology == 'ds' else topology}-{algorithm.upper()}"


def peer_command(name: str, config: TrainConfig, goal: dict[str, Any]) -> Command:
    """A peer's process: any Python with its site-packages, as its users start it."""
    job = json.dumps({"peer": name, "config": config.settings(), "profile": goal})
    return [*python_of("edgedst.profile.peers"), job], peer_variables(config.threads)


def peer_variables(threads: int) -> dict[str, str]:
    """The environment that holds a peer's libraries to so many threads; NPROC and, for one, the flag are for JAX."""
    variables = {**os.environ, "PYTHONWARNINGS": "ignore"}
    variables |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC"), str(threads))
    if threads == 1:
        variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    return variables


def run_contender(
    told: str,
    command: list[str],
    variables: dict[str, str],
    on_mark: Callable[[str], None],
    on_tick: Callable[[], None],
) -> dict[str, Any]:
    """Run a contender to its end; whatever is raised here meanwhile (Ctrl-C) ends it first.

    `on_mark` is called with "begin" and "end" when its window does, `on_tick` about once a second.

    Returns:
        What it measured (`window.measure`), and its own facts.

    Raises:
        EdgedstError: what the contender said, of its own class.
        ProfileError: it failed in another way.
    """
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            tied(command),
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            start_new_session=True,  # a terminal's Ctrl-C is this process's to pass on
        )
        try:
            result = _listen(process, on_mark, on_tick)
            code = process.wait()
        finally:
            end(process)
        if code == 0 and result is not None:
            return result
        words.seek(0)
        raise failure(told, code, words.read().decode("utf-8", "replace"))


def _listen(
    process: subprocess.Popen[bytes], on_mark: Callable[[str], None], on_tick: Callable[[], None]
) -> dict[str, Any] | None:
    """Until its output ends; what it told last."""
    assert process.stdout is not None
    result: dict[str, Any] | None = None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(TICK_SECONDS):
                on_tick()
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return result
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                _, mine, said = line.decode("utf-8", "replace").partition(PREFIX)
                if not mine:
                    continue
                values = json_object(said)  # empty of what an environment prints that looks so
                if "mark" in values:
                    on_mark(str(values["mark"]))
                elif values:
                    result = values


def end(process: subprocess.Popen[bytes]) -> None:
    """Nothing where it has ended. It may close its environment first; then it is killed, and its children with it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def failure(told: str, code: int, words: str) -> EdgedstError:
    """A contender's own sentence, as an error of its class; else its last line."""
    last = next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "")
    name, _, sentence = last.partition(": ")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, EdgedstError) and sentence:
        return kind(f"{sentence} That was said by {told}.")
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return ProfileError(f"{told[0].upper()}{told[1:]} {how}: {last or 'it said nothing'}")
