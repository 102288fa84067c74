"""A run that begins with another's networks, and with its replay: checked before anything is written, then taken.

The source is the newest checkpoint of a run, or what `edgedst import` made: its networks may then lack critics, targets
and moments. What is taken and what is not is told.
"""

import os

from edgedst.agents import agent_class
from edgedst.core import Arena
from edgedst.density import DENSE_METHODS, OWN_SPARSITIES, family, nnz_per_layer
from edgedst.errors import CheckpointError, ConfigError
from edgedst.plain_json import loads
from edgedst.runs.checkpoint import LAYOUT
from edgedst.runs.networks_file import CHUNK_BYTES, check_crc, read_header, read_network
from edgedst.runs.state import forgotten_rows, read_state, with_past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgedst.envs import Environment

    Training = Any  # training.Training, which imports this

TRIES = 3  # a run that trains meanwhile deletes the files of the checkpoint before
_BOUNDS = ("observation_low", "observation_high", "action_low", "action_high")
_MOMENTS = ("adam_m", "adam_v", "bias_adam_m", "bias_adam_v")


class Source:
    """The checkpoint to begin with, held against the run's settings. Its files stay open until they are taken.

    Args:
        config: the run's settings.
        environment: that it trains in.
        layout: of its replay's rows: `runs.checkpoint.layout`.

    Raises:
        CheckpointError: there is none, or it is damaged.
        ConfigError: it cannot be taken into these settings.
    """

    def __init__(self, config: "Any", environment: "Environment", layout: "dict[str, Any]") -> None:
        self.config, self.environment = config, environment
        self.path: str = config.init_from
        self.folder = self._checkpoint_folder()
        try:
            self._open()
            self._check(layout)
        except OSError as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"The checkpoint in `{self.folder}` cannot be read: {error.strerror}. Copy the whole run folder again."
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, (CheckpointError, ConfigError)):
                raise
            raise CheckpointError(
                f"The checkpoint in `{self.folder}` is damaged ({error}). Take it from a backup, or name another run."
            ) from error

    def _checkpoint_folder(self) -> str:
        for folder in (self.path, os.path.join(self.path, "checkpoint")):
            if os.path.lexists(os.path.join(folder, "state.json")):
                return folder
        raise CheckpointError(
            f"`{self.path}` has no checkpoint to begin with: expected `{folder}/state.json`. Name with `--init-from` a "
            "run folder that `edgedst train` or `edgedst import` made."
        )

    def _open(self) -> None:
        """Open every file that is needed, and check that each is whole."""
        for left in reversed(range(TRIES)):
            self.state = read_state(self.folder)
            record = self.state["networks"]
            self.segments = self.state["replay"]["segments"] if self.config.with_replay else []
            try:
                self.file, *self.segment_files = [
                    open(os.path.join(self.folder, one["file"]), "rb", buffering=0)  # noqa: SIM115  # until `close`
                    for one in (record, *self.segments)
                ]
                break
            except FileNotFoundError:
                if not left:
                    raise
        chunk = bytearray(CHUNK_BYTES)
        check_crc(self.file, self.file.name, record["bytes"], record["crc32"], chunk)
        for one, file in zip(self.segments, self.segment_files):  # noqa: B905  # a file each
            size = one["rows"] * self.state["replay"]["row_bytes"]
            check_crc(file, file.name, size, one["crc32"], chunk, whole=False)
        self.header, self.start = read_header(self.file, record["bytes"])
        self.about: dict[str, Any] = loads(self.header["__metadata__"]["edgedst"])

    def close(self) -> None:
        """Its files."""
        for file in (self.file, *self.segment_files):
            file.close()

    def _check(self, layout: "dict[str, Any]") -> None:
        """That its networks, and its replay, are what these settings ask for; and which of them there are."""
        config, environment, about = self.config, self.environment, self.about
        n, m = environment.observation_size, environment.action_size
        kind = agent_class(config.method)
        if family(self.state["method"]) != family(config.method):
            raise ConfigError(
                f"`{self.path}` was trained by {self.state['method']} and `method` is {config.method}: networks of "
                f"{family(self.state['method']).upper()} only begin a run of it. Choose `--method "
                f"{self.state['method']}`."
            )
        history = about.get("history", 0)
        if history != config.history:
            raise ConfigError(
                f"The networks of `{self.path}` see a history of {history} steps and `history` is {config.history}. "
                f"Give `--history {history}`."
            )
        if config.normalize_observations != ("normalizer" in self.state):
            raise ConfigError(
                f"The networks of `{self.path}` see observations "
                + (
                    "as they are, and here they are normalised. Add `--no-normalize-observations`, or normalise there."
                    if config.normalize_observations
                    else "normalised, and here they are not. Add `--normalize-observations`."
                )
            )
        if config.normalize_observations and len(self.state["normalizer"]) != 2 * 8 * (1 + 2 * n):
            raise ValueError(f"its normalizer is not of {n} observations")
        if config.normalize_observations and not any(bytes.fromhex(self.state["normalizer"])[:8]):  # the count
            raise ConfigError(
                f"`{self.path}` was stopped before its first observation: it has a normaliser without a single step. "
                "Name a run that has been trained."
            )
        sizes = about["sizes"]["actor"]
        ours = kind(Arena(None), config, n, m).networks
        if (sizes[0], sizes[-1]) != (ours["actor"].sizes[0], ours["actor"].sizes[-1]):
            heads = kind.POLICY.head_size(1)
            raise ConfigError(
                f"The actor of `{self.path}` takes {about.get('observation_size', sizes[0])} observations and gives "
                f"{sizes[-1] // heads} actions, and {environment.name} has {n} and {m}: its networks do not fit. Name "
                "a run of a task of these sizes."
            )
        self.names = [name for name in kind.names(config) if f"{name}.0.indices" in self.header]
        self.has_critics = {"critic_1", "critic_2"} <= {*self.names}
        if self.has_critics and ("critic_1.0.running_mean" in self.header) != config.batch_norm:
            there, here, switch = ("without", "with", "no-") if config.batch_norm else ("with", "without", "")
            raise ConfigError(
                f"The critics of `{self.path}` were trained {there} batch normalisation, and these settings are "
                f"{here}. Give `--{switch}batch-norm`."
            )
        if not self.has_critics:
            self.names = ["actor"]
        for name in self.names:
            self._check_shape(name, ours[name])
        layers = len(sizes) - 1
        # A copied target has no room for the union that an averaged one may be.
        if not kind.averages_targets(config):
            self.names = [
                name
                for name in self.names
                if self._nnz(name, layers) == self._nnz(name.removesuffix("_target"), layers)
            ]
        online = [f"{name}.{layer}" for name in self.names if "target" not in name for layer in range(layers)]
        has_moments = all(f"{layer}.{moment}" in self.header for layer in online for moment in _MOMENTS)
        self.has_moments = self.has_critics and has_moments
        if config.with_replay:
            self._check_rows(layout)

    def _nnz(self, name: str, layers: int) -> "list[int]":
        return [self.header[f"{name}.{layer}.indices"]["shape"][0] for layer in range(layers)]

    def _check_shape(self, name: str, ours: "Any") -> None:
        """Hidden layers, and the connections that each layer stores; a target's may be those of a union."""
        sizes, wanted = list(self.about["sizes"][name.removesuffix("_target")]), list(ours.sizes)
        stored, given = self._nnz(name, len(sizes) - 1), nnz_per_layer(name, wanted, self.config)
        if sizes == wanted and (stored == given or "target" in name):
            return
        if sizes != wanted:
            differ = (
                f"has hidden layers of {_listed(sizes[1:-1])} features and these settings give {_listed(wanted[1:-1])}"
            )
        else:
            differ = f"stores {_listed(stored)} connections in its layers and these settings give {_listed(given)}"
        raise ConfigError(f"The {name} of `{self.path}` {differ}. Give the settings of that run: {self._advice()}.")

    def _advice(self) -> str:
        """The options that give the source's shapes, as its config.toml has them, and what is in their way."""
        options = {"hidden": ",".join([str(size) for size in self.about["sizes"]["actor"][1:-1]])}
        dense = self.state["method"] in DENSE_METHODS
        try:
            with open(os.path.join(os.path.dirname(self.folder), "config.toml"), "rb") as file:
                lines = [line.partition(" = ") for line in file.read().decode().splitlines()]
        except (OSError, ValueError):
            lines = []
        sparsities = ("sparsity", *OWN_SPARSITIES)
        options |= {line[0]: line[2] for line in lines if line[0] in ("lambda1", "lambda2", *sparsities) and not dense}
        told = [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
        advice = " ".join(["--method " + self.state["method"], *told] if dense else told)
        others = [f"`{name}`" for name in sparsities if name not in options and getattr(self.config, name) is not None]
        return f"`{advice}`" + (f", and leave {' and '.join(others)} out" if others else "")

    def _check_rows(self, layout: "dict[str, Any]") -> None:
        record, there, here = self.state["replay"], [], []
        if not self.segments:
            raise ConfigError(f"`{self.path}` has no replay, as it has made no step. Leave `--with-replay` out.")
        for name in LAYOUT:
            theirs, ours = record.get(name, []), layout.get(name, [])
            if theirs != ours:
                there.append(f"{name} = {theirs}")
                here.append(f"{ours}")
        if there:
            advice = f"Give `--replay-dtype {record['dtype']}`, or leave" if there[0].startswith("dtype") else "Leave"
            raise ConfigError(
                f"The replay of `{self.path}` has rows of {', '.join(there)}, and here they are of {', '.join(here)}. "
                f"{advice} `--with-replay` out."
            )
        for name in _BOUNDS:
            # A simulator's observations are not scaled, which is what bounds of -1 and 1 do.
            unscaled = [-1.0 if name == "observation_low" else 1.0] * self.environment.observation_size
            theirs, ours = self.about.get(name) or unscaled, getattr(self.environment, name) or unscaled
            if list(theirs) != list(ours):
                raise ConfigError(
                    f"The replay of `{self.path}` is of {name} = {theirs} and here it would be {list(ours)}: "
                    "its rows would mean something else. Leave `--with-replay` out, or take them in as a log: `edgedst "
                    "log --transitions`, then `--prefill`."
                )
        end = self.segments[0]["first"]
        for segment in self.segments:
            if end == record.get("pinned"):  # of what came behind the demonstrations, the ring has forgotten some
                end = max(end, segment["first"])
            if segment["first"] != end:
                raise ValueError(f"a segment begins at row {segment['first']}, not at {end}")
            end += segment["rows"]
        if end != record["rows_closed"] or len(record["open_row"]) != 2 * record["row_bytes"]:
            raise ValueError(f"its segments end at row {end}, not at {record['rows_closed']}")


def begin_from(run: "Training", source: Source) -> str:
    """Take the source's networks, their counters and its replay into a run that was just made; returns what to tell.

    Raises:
        CheckpointError: its files are whole, and do not hold what they say.
    """
    try:
        for name in source.names:
            network, workspace = run.agent.networks[name], run.agent.workspace
            read_network(source.file, source.header, source.start, name, network, workspace, source.has_moments)
        units = _change_units(run, source)
        run.agent.take_over(source.state["agent"], source.names, source.has_moments)
        told = [_told_networks(run, source) + units]
        if run.config.with_replay:
            told.append(_take_rows(run, source))
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:  # whole, and not of edgedst
        raise CheckpointError(
            f"The checkpoint in `{source.folder}` does not fit its own networks or replay: {error}. Name another run."
        ) from error
    finally:
        source.close()
    return "\n".join(told)


def _change_units(run: "Training", source: Source) -> str:
    """Statistics, or first layers, for observations in this run's units, where the source's networks saw other ones.

    A machine's networks see observations normalised by its bounds, a simulator's as they are: what was x is now
    `a x + b`. Where both have running statistics, these change; else the weights do, and Adam's moments of them, of
    other units too, begin at 0, as a grown weight's do.
    """
    environment, about, agent, told = run.environment, source.about, run.agent, ""
    theirs = _middle_and_half(about.get("observation_low"), about.get("observation_high"))
    ours = _middle_and_half(environment.observation_low, environment.observation_high)
    n = environment.observation_size
    before, now = theirs or [(0.0, 1.0)] * n, ours or [(0.0, 1.0)] * n
    factors = [(h / half, (m - middle) / half) for (middle, half), (m, h) in zip(before, now)]  # noqa: B905  # n each
    if agent.normalizer is not None:
        statistics = agent.normalizer.state
        statistics.cast("B")[:] = bytes.fromhex(source.state["normalizer"])
        for i, (a, b) in enumerate(factors if theirs != ours else ()):
            statistics[1 + i] = (statistics[1 + i] - b) / a
            statistics[1 + n + i] /= a * a
        told = f" Statistics of {agent.normalizer.count:,} observations are taken, too."
    elif theirs != ours:
        seen = n * max(1, run.config.history)
        for name in source.names:
            network, scratch = agent.networks[name], agent.workspace
            nnz, features = network.nnz[0], network.sizes[0]
            # What batch normalisation takes away before the bias comes.
            bias, sign = (network.running_mean(0), -1) if network.batch_norm else (network.bias(0), 1)
            network.unpack(0, scratch)
            indices, values = scratch.indices, scratch.values
            for k in range(nnz):
                row, column = divmod(indices[k], features)
                if column < seen:
                    a, b = factors[column % n]
                    bias[row] += sign * values[k] * b
                    values[k] *= a
            for moment in (scratch.adam_m, scratch.adam_v):
                moment[:nnz].cast("B")[:] = bytes(4 * nnz)
            network.pack(0, scratch, nnz)
        told = " Their first layers take observations in the units of this run now, which were other ones."
    if "action_low" in about and any(
        list(about[name]) != list(getattr(environment, name)) for name in ("action_low", "action_high")
    ):
        told += (
            f" Their actions from -1 to 1 meant {about['action_low']} to {about['action_high']} there, and mean "
            f"{list(environment.action_low)} to {list(environment.action_high)} here."
        )
    return told


def _middle_and_half(low: "Any", high: "Any") -> "list[tuple[float, float]]":
    """Of each observation's bounds; empty where there are none."""
    return [((a + b) / 2, (b - a) / 2) for a, b in zip(low or (), high or ())]  # noqa: B905  # a pair each


def _told_networks(run: "Training", source: Source) -> str:
    agent, returned = run.agent, source.about.get("evaluation_return")
    scored = "never evaluated" if returned is None else f"return {returned:,.1f}"
    told = f"Begins with `{source.path}`, step {source.state['step']:,}, {scored}: "
    if source.has_critics:
        told += f"{agent.connections:,} connections of actor and critics"
    else:
        told += f"{sum(agent.actor.nnz):,} connections of the actor alone, the critics are random"
    missing = [name for name in agent.targets if name not in source.names]
    if agent.targets:
        told += f", {_listed(missing)} copied from their networks" if missing else ", their targets"
    if source.has_moments:
        told += f", Adam's moments after {agent.iteration:,} updates."
    else:
        told += "; it has no moments of Adam for them, which begin at 0."
    if run.config.alpha_tuning == "automatic":
        told += f" alpha is {agent.alpha:.3g}."
    if run.config.start_steps:
        told += f" Its actor acts after {run.config.start_steps:,} random steps (`start_steps`)."
    return told


def _take_rows(run: "Training", source: Source) -> str:
    """The source's rows, the newest where there is no room for all, numbered from 0 on.

    What sees a history would see an invented past where rows before them are missing: there, rows are taken from the
    next beginning of an episode on.
    """
    record, replay, checkpoints = source.state["replay"], run.agent.replay, run.checkpoints
    checkpoints.set_offset(record)
    forgotten = [forgotten_rows(record, segment) for segment in source.segments]
    rows: int = sum([segment["rows"] for segment in source.segments]) - sum(forgotten)
    # Its open row closes when an episode begins, and that one's first observation takes the last place.
    skipped = max(0, rows - (replay.capacity - 2))
    taken, known = 0, 0
    for segment, file, left_out in zip(source.segments, source.segment_files, forgotten):  # noqa: B905  # a file each
        first = left_out + min(skipped, segment["rows"] - left_out)
        skipped -= first - left_out
        if run.config.history:
            first, known = with_past(segment, first, known, file, checkpoints.next_beginning)
        checkpoints.read_rows(file, first, segment["rows"] - first, taken)
        taken += segment["rows"] - first
    if not run.config.history or known == record["rows_closed"]:
        replay.set_open_row(bytes.fromhex(record["open_row"]))
    which = "" if run.config.history else "the newest "  # behind demonstrations something may be left out
    kept = f"{which}{taken:,} of its {rows:,} rows" if taken < rows else f"all {rows:,} rows"
    return f"Its replay: {kept}, {replay.transitions:,} transitions."


def _listed(items: "Any") -> str:
    return ", ".join([f"{item:,}" if isinstance(item, int) else item for item in items])
