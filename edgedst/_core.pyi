"""Types of edgedst's compiled core (edgedst/csrc). Import it through `edgedst.core`, never directly.

Every array is float32 and feature-major: a `Batch` of shape (rows, columns) keeps all samples of one feature side
by side. Columns are padded to a multiple of 16; padded columns never reach a loss or a gradient.
"""

from collections.abc import Sequence

# An object with the buffer protocol: memoryview, array.array, NumPy array.
from typing_extensions import Buffer

isas: tuple[str, ...]  # kernel paths that this CPU can run, best last, "scalar" (the reference) first

def isa() -> str:
    """The kernel path in use: the best one, or what EDGEDST_ISA named when the core was imported."""

def set_isa(name: str) -> None:
    """Switch kernel path, for tests. Raises ValueError for one that this CPU cannot run."""

def set_threads(count: int) -> None:
    """Size the thread pool (1: no pool). Results are bitwise the same for every count."""

def forbid_huge_pages() -> bool:
    """Have the kernel give this process, and all that come of it by fork and exec, no huge pages.

    A few bytes in one count as 2 MB. Returns whether it could have had some before.
    """

def release_file_pages() -> int:
    """Take unchanged pages of files, mostly libraries' code, out of this process's resident memory.

    What is needed again comes back from the kernel's page cache by itself. Returns the bytes that were resident there;
    0 where the kernel does not tell.
    """

def lock_memory() -> bool:
    """Keep what is resident, and what becomes it, from being swapped out; False where that is not allowed."""

def hold_name(name: bytes) -> int:
    """Keep a name, of which at most 107 bytes count, to this process and those that it forks from now on.

    It is no file: the kernel takes it back however they end. Returns the descriptor that holds it; -1 when another
    process has it, -2 where the system has no such names.
    """

def set_last_words(words: bytes) -> None:
    """What to write to standard error when a library ends this process by C's exit(), which Python never hears of.

    The exit code is then 3, of a run over its budget. At most 2,047 bytes. Empty: nothing is written.
    """

class Arena:
    """One block of memory that everything of the trainer lives in, reserved and touched at once.

    With `capacity_bytes=None` it only measures: objects may be constructed on it, their regions are counted, and
    no memory is reserved. The plan is made that way, so plan and allocation cannot differ.

    With `file`, a descriptor from memfd_create of that many zeroed bytes, other processes may map the same memory: they
    construct the same objects in the same order.
    """

    def __init__(self, capacity_bytes: int | None = None, file: int = -1) -> None: ...
    def regions(self) -> list[tuple[str, int]]:
        """(name, bytes) in order of allocation: what each added to `used_bytes`, with the rounding to 64."""
    @property
    def used_bytes(self) -> int: ...
    @property
    def measuring(self) -> bool: ...

class Random:
    """Counter-based generator (Philox4x32-10; Salmon et al. 2011). `counter` is its whole state beside the seed."""

    counter: int
    def __init__(self, seed: int, stream: int = 0) -> None: ...
    def integer(self) -> int:
        """A uniform 32-bit integer."""
    def uniform(self, values: Buffer, low: float, high: float) -> None:
        """Fill a float32 buffer."""
    def normal(self, values: Buffer, sigma: float) -> None:
        """Fill a float32 buffer from N(0, sigma^2)."""
    def disturb(self, values: Buffer, sigmas: Buffer) -> None:
        """Add noise from N(0, sigma^2) to each of float64 values; where a sigma is 0, nothing is drawn."""

class Batch:
    """(rows, columns) float32, feature-major, columns padded to `stride`."""

    def __init__(self, arena: Arena, name: str, rows: int, columns: int) -> None: ...
    rows: int
    columns: int
    stride: int
    def slice(self, start: int, stop: int) -> Batch:
        """A view of rows [start, stop)."""
    def fill(self, value: float) -> None:
        """Set every real column to `value` and every padded one to 0."""
    @property
    def memory(self) -> memoryview[float]:
        """The rows * stride floats themselves (format 'f')."""

class Activations:
    """Hidden activations of one pass through a network of these sizes; `Network.backward` turns them into gradients.

    Args:
        batch_statistics: batch normalisation takes each mini-batch's own statistics; needs twice the memory.
        over: what the arena had used before other regions were taken, which these may lie over: nothing in those is
            needed from this pass's forward to its backward.
    """

    def __init__(
        self,
        arena: Arena,
        name: str,
        sizes: Sequence[int],
        columns: int,
        batch_statistics: bool = False,
        over: int | None = None,
    ) -> None: ...

class Gradients:
    """Gradients at the stored positions of one network; shared by networks that are updated in turn."""

    def __init__(self, arena: Arena, name: str, count: int) -> None: ...
    @property
    def memory(self) -> memoryview[float]:
        """Format 'f'. Per layer: the weights in packed order (see Network.positions), then the biases."""

class TopologyWorkspace:
    """Scratch for evolution, packing and checkpoints: big enough for `nnz` weights of a layer of these sizes.

    With `over`, what the arena had used before other regions were taken, all but `values` lies over those: whoever
    gives it has nothing in them when a network is initialised, packed, copied, evolved, averaged or read out.

    Raises:
        ValueError: `over` is more than the arena has used.
    """

    def __init__(self, arena: Arena, name: str, nnz: int, rows: int, columns: int, over: int | None = None) -> None: ...
    @property
    def indices(self) -> memoryview[int]:
        """Format 'I': flat positions row * in_features + column, ascending (row-major)."""
    @property
    def values(self) -> memoryview[float]:
        """Format 'f', in the order of `indices`; so are adam_m and adam_v."""
    @property
    def adam_m(self) -> memoryview[float]: ...
    @property
    def adam_v(self) -> memoryview[float]: ...

class Network:
    """Packed sparse multilayer perceptron: ReLU between layers, a linear or tanh output.

    Args:
        sizes: features per layer boundary, for example [17, 256, 256, 6].
        nnz: stored weights per layer; a layer with nnz = in * out is dense and never evolves.
        output: "linear" or "tanh".
        target: True for a target network: no moments, no transposed view.
        averaged: False for a target that is only ever copied to; else it has room for the union of both topologies,
            which `polyak_update` needs.
        batch_norm: hidden layers are y = relu(normalised(W x) + bias), normalised over a mini-batch (Ioffe & Szegedy
            2015; there is no scale). Such a network cannot `act`.
    """

    def __init__(
        self,
        arena: Arena,
        name: str,
        sizes: Sequence[int],
        nnz: Sequence[int],
        output: str,
        target: bool = False,
        averaged: bool = True,
        batch_norm: bool = False,
    ) -> None: ...
    name: str
    sizes: tuple[int, ...]
    @property
    def nnz(self) -> tuple[int, ...]:
        """Stored weights per layer now (a target's may exceed its budget: the union holds explicit zeros)."""
    @property
    def batch_norm(self) -> bool: ...
    @property
    def parameter_count(self) -> int:
        """Weights and biases: what Gradients has to hold."""
    def initialise(self, random: Random, workspace: TopologyWorkspace) -> None:
        """Uniformly random topology of exactly nnz positions a layer; weights and biases U(+-1/sqrt(in))."""
    def copy_from(self, source: Network, workspace: TopologyWorkspace) -> None:
        """Make this target network equal to `source`: topology, weights, biases."""
    def forward(self, x: Batch, activations: Activations, y: Batch) -> None:
        """Compute y = network(x). `x` (in, B), `y` (out, B).

        With batch normalisation: activations with `batch_statistics` normalise by the mean and variance of this very
        mini-batch, and move the running ones by 0.01; others normalise by the running ones.
        """
    def backward(
        self,
        x: Batch,
        activations: Activations,
        y: Batch,
        dy: Batch,
        workspace: TopologyWorkspace,
        gradients: Gradients | None,
        dx: Batch | None = None,
        dx_first_row: int = 0,
    ) -> None:
        """Gradients at the stored positions, and of the input rows from `dx_first_row` on where `dx` is given.

        Consumes `activations` and `dy` (both are overwritten); `workspace` is scratch meanwhile. With `gradients=None`
        only `dx` is computed, which takes activations without `batch_statistics`.
        """
    def adam_step(
        self,
        gradients: Gradients,
        step: int,
        learning_rate: float,
        weight_decay: float,
        beta_1: float = 0.9,
    ) -> None:
        """Adam with L2 weight decay in the gradient (torch.optim.Adam's weight_decay); `step` counts from 1."""
    def evolve(self, random: Random, drop_fraction: float, workspace: TopologyWorkspace) -> int:
        """Algorithm 2 on every sparse layer; returns how many connections moved."""
    def act_on(self, history: History, normalizer: Normalizer | None, action: Buffer, activations: Activations) -> None:
        """As `act`, on what an episode's history holds."""
    def act(self, observation: Buffer, action: Buffer, activations: Activations) -> None:
        """One observation (n,) float64 to one output (m,) float32, batch size 1. `activations`: columns = 1."""
    def positions(self, layer: int) -> list[int]:
        """Flat position of each weight in packed order, the order of `values` and of Gradients (for tests)."""
    def values(self, layer: int) -> memoryview[float]:
        """Weights in packed order, format 'f'; moments alike."""
    def adam_m(self, layer: int) -> memoryview[float]: ...
    def adam_v(self, layer: int) -> memoryview[float]: ...
    def bias(self, layer: int) -> memoryview[float]: ...
    def bias_adam_m(self, layer: int) -> memoryview[float]: ...
    def bias_adam_v(self, layer: int) -> memoryview[float]: ...
    def running_mean(self, layer: int) -> memoryview[float]:
        """Of what a hidden layer normalises, (out,), format 'f'; `running_variance` alike. Needs `batch_norm`."""
    def running_variance(self, layer: int) -> memoryview[float]: ...
    def unpack(self, layer: int, workspace: TopologyWorkspace) -> int:
        """Write the layer's indices, values and moments into the workspace, row-major; returns nnz."""
    def pack(self, layer: int, workspace: TopologyWorkspace, nnz: int) -> None:
        """The reverse. Raises ValueError when indices are not ascending, out of range or too many."""
    def link(self, source: Network, linked: bool, workspace: TopologyWorkspace) -> None:
        """After `pack` of a target on resume: find its source's weights again, unless it was not linked when saved."""
    @property
    def linked(self) -> bool:
        """False between an evolution of the source and the next polyak_update."""

def polyak_update(source: Network, target: Network, tau: float, workspace: TopologyWorkspace) -> None:
    """Polyak averaging over the union of both topologies, theta' <- tau theta + (1 - tau) theta', then Algorithm 3.

    Per weight matrix the k largest magnitudes stay, k = the source's nnz. Of equal ones the lower position stays.
    """

def smooth_actions(actions: Batch, random: Random, sigma: float, clip: float) -> None:
    """Smooth the target policy: actions <- clamp(actions + clamp(N(0, sigma^2), -clip, clip), -1, 1)."""

def fill_normal(batch: Batch, random: Random) -> None:
    """Draw every real column from N(0, 1); padded ones become 0."""

def td_target(reward: Batch, discount: Batch, q_1: Batch, q_2: Batch, y: Batch) -> None:
    """Compute y = reward + discount min(q_1, q_2)."""

def soft_td_target(
    reward: Batch, discount: Batch, q_1: Batch, q_2: Batch, log_prob: Batch, alpha: float, y: Batch
) -> None:
    """Compute y = reward + discount (min(q_1, q_2) - alpha log_prob)."""

def least_q(q_1: Batch, q_2: Batch, scale: float, dq_1: Batch, dq_2: Batch) -> float:
    """Mean of min(q_1, q_2) over the real columns; `scale` goes to the smaller one's gradient, half if equal."""

def squashed_actions(head: Batch, noise: Batch, action: Batch, log_prob: Batch) -> None:
    """Sample a Gaussian squashed by tanh: action = tanh(mean + sigma noise) (m, B) and its log-probability (1, B).

    `head` (2 m, B): means, then log sigma, which is clamped to [-20, 2]. `noise` (m, B) from N(0, 1). Exact in the
    tails: nothing is computed from 1 - action^2.
    """

def squashed_gradient(
    head: Batch, noise: Batch, action: Batch, dq_1: Batch, dq_2: Batch, weight: float, d_head: Batch
) -> None:
    """Gradient of sum(weight log_prob + q) at the head, q's at the actions being dq_1 + dq_2 (m, B).

    The noise is held fixed (reparameterisation); a clamped log sigma has no gradient.
    """

def mean_action(head: Buffer, action: Buffer) -> None:
    """One sample: action (m,) = tanh of the means of `head` (2 m,), float32."""

def sample_action(head: Buffer, random: Random, action: Buffer) -> None:
    """One sample: action (m,) drawn from the policy of `head` (2 m,), float32."""

def join(first: Batch, second: Batch, joint: Batch) -> None:
    """The columns of two batches of equal rows, side by side in a third one."""

def split(joint: Batch, first: Batch, second: Batch) -> None:
    """The reverse of `join`."""

def mse_loss(q: Batch, y: Batch, dq: Batch) -> float:
    """mean((q - y)^2) over the real columns, and its gradient in `dq`."""

def mean(q: Batch) -> float:
    """Mean over the real columns of a one-row batch."""

class Normalizer:
    """Running mean and variance of observations; networks see clip((x - mean) / scale, -clip, clip).

    Source: Welford 1962. A feature that has not moved, but for float32's rounding, has a scale of 1.
    """

    def __init__(self, arena: Arena, name: str, size: int, clip: float) -> None: ...
    size: int
    clip: float
    @property
    def count(self) -> int:
        """Observations so far."""
    @property
    def mean(self) -> list[float]: ...
    @property
    def scale(self) -> list[float]:
        """Standard deviations."""
    @property
    def state(self) -> memoryview[float]:
        """Format 'd': the count, then each feature's mean, then its sum of squared deviations."""
    def add(self, observation: Buffer) -> None:
        """Count one in (float64)."""
    def copy_from(self, other: Normalizer) -> None: ...

class History:
    """What networks take of an episode: the last observation, or with a history of K the last K and as many actions.

    Newest first, observations before actions. Before an episode its first observation is repeated, and actions are 0.
    """

    def __init__(self, arena: Arena, name: str, observation_size: int, action_size: int, history: int) -> None: ...
    @staticmethod
    def input_size(observation_size: int, action_size: int, history: int) -> int:
        """Features that the networks take."""
    size: int
    @property
    def state(self) -> memoryview[float]:
        """Format 'd': what it holds, `size` numbers, as the observations came."""
    def begin(self, observation: Buffer) -> None:
        """An episode begins with this observation (float64)."""
    def add(self, action: Buffer, observation: Buffer) -> None:
        """A step: its action (float32, in [-1, 1]) and what it led to (float64)."""

class Replay:
    """Ring of transitions, each observation stored once: the next observation of a row is the next row.

    Rows are closed in order; the newest is open: it holds the current observation and becomes a transition with
    `add`. An episode's last observation has a row of its own, which is never sampled.
    """

    def __init__(
        self,
        arena: Arena,
        name: str,
        capacity: int,
        observation_size: int,
        action_size: int,
        dtype: str,
        constants: list[tuple[int, float]] = ...,
        history: int = 0,
    ) -> None:
        """A ring on `arena`.

        `constants` are (index, value) of observations that never move, ascending: rows do not store them, samples have
        them, and `add` raises ValueError when one moves. `history`: samples have that many observations and actions,
        as `History` has.
        """
    @staticmethod
    def row_bytes(stored_size: int, action_size: int, dtype: str) -> int:
        """Bytes a row takes in the arena and on disk, rounding aside; `stored_size` observations are not constant."""
    capacity: int
    @property
    def constants(self) -> list[tuple[int, float]]: ...
    @property
    def transitions(self) -> int:
        """Rows that can be sampled now."""
    @property
    def rows_closed(self) -> int:
        """Rows ever closed: row i lies at i mod capacity."""
    def begin_episode(self, observation: Buffer) -> None:
        """Put a reset's observation (float64) into the open row. Raises ValueError when float16 cannot hold it."""
    def add(self, action: Buffer, reward: float, next_observation: Buffer, terminated: bool, truncated: bool) -> None:
        """Close the open row with `action` (float32, in [-1, 1]), open the next with `next_observation` (float64)."""
    @property
    def offset(self) -> list[float]:
        """What rows hold observations less of; empty: nothing."""
    def set_offset(self, offset: Buffer) -> None:
        """Set it (float64), before the first row."""
    pinned: int
    demonstrations: int
    def pin(self) -> None:
        """All rows so far stay, `pinned` in number, `demonstrations` of them transitions. The episode is over."""
    def set_pinned(self, rows: int) -> None:
        """So many rows, the first to be written, stay (resume)."""
    def sample(
        self,
        random: Random,
        critic_input: Batch,
        next_critic_input: Batch,
        reward: Batch,
        discount: Batch,
        normalizer: Normalizer | None = None,
        demonstrations: int = 0,
        n_steps: int = 1,
        gamma: float = 1.0,
    ) -> None:
        """Draw transitions uniformly, with replacement; the first `demonstrations` columns from the pinned rows.

        Writes what the networks take of the observation (N rows) and the action (m) to `critic_input` (N + m, B), what
        they take of the state n' steps further to the first N rows of `next_critic_input`, and (1, B) each:
        `reward`, the sum of gamma^k r_k over k < n', and `discount`, gamma^n', or 0 where the task terminated.
        n' is n_steps, or fewer where the episode ends or the newest row comes before. Raises ValueError when there is
        no transition.
        """
    def read_rows(self, start: int, count: int, out: Buffer) -> None:
        """Copy closed rows [start, start + count), which must still be in the ring, as records of row_bytes."""
    def write_rows(self, start: int, count: int, records: Buffer) -> None:
        """Put records back (resume); rows must come in order."""
    def open_row(self) -> bytes: ...
    def set_open_row(self, record: Buffer) -> None: ...

class Cells:
    """Numbers in [0, 2^32) that one process sets and another reads: `cells[i]`, `cells[i] = value`."""

    def __init__(self, arena: Arena, name: str, count: int) -> None: ...
    def __getitem__(self, index: int) -> int: ...
    def __setitem__(self, index: int, value: int) -> None: ...

class Ring:
    """Records of one size from one process to another, oldest first; neither ever waits for the other.

    `records` is rounded up to a power of two.
    """

    def __init__(self, arena: Arena, name: str, records: int, record_bytes: int) -> None: ...
    @property
    def capacity(self) -> int: ...
    @property
    def waiting(self) -> int:
        """Records that were put and not got yet."""
    def put(self, record: Buffer) -> bool:
        """Of the writer; False: the ring is full, and nothing was put."""
    def get(self, record: Buffer) -> bool:
        """Of the reader; False: there is none."""

class Mailbox:
    """Whose turn it is with three buffers: one process hands over whole ones, another takes the newest.

    Neither ever waits, and the writer may be killed at any moment.
    """

    def __init__(self, arena: Arena, name: str, writer: bool) -> None: ...
    @property
    def mine(self) -> int:
        """Of the writer: the buffer that it may fill, 0 to 2."""
    def publish(self) -> None:
        """Of the writer: hand over the buffer that it filled; `mine` is another one then."""
    def take(self) -> int:
        """Of the reader: the newest buffer that was handed over; -1: none ever was."""

class MujocoHost:
    """One MuJoCo task stepped on an installed libmujoco, without MuJoCo's or Gymnasium's Python.

    Args:
        library: path of libmujoco.so.
        model_file: path of the task's MJCF file.
        task: "HalfCheetah-v4", "Hopper-v5", ...
        state_bits: bits of mjtState by name (QPOS, QVEL, CTRL, ...), and VERSION_HEADER (mjVERSION_HEADER), all
            read from the installed headers.
        factors: of "friction", "mass", "gain", "damping", those that `multiply` changes. With some, the model is this
            host's own; without, all hosts of a file share it.

    Raises:
        OSError: the library cannot be loaded. ValueError: the model or the library is not what the task expects.
    """

    def __init__(
        self, library: str, model_file: str, task: str, state_bits: dict[str, int], factors: Sequence[str] = ()
    ) -> None: ...
    observation_size: int
    action_size: int
    step_seconds: float
    @property
    def observation(self) -> memoryview[float]:
        """(n,) float64, format 'd': the host's own buffer, overwritten by reset and step."""
    @property
    def position(self) -> memoryview[float]:
        """(qpos_size,) float64, format 'd': where the joints are, likewise."""
    @property
    def constants(self) -> list[tuple[int, float]]:
        """(index, value) of the observations that never move in this task, whatever is done."""
    @property
    def idle_factors(self) -> list[str]:
        """Those of `factors` that multiply nothing but zeros in this model."""
    def multiply(self, factors: Buffer) -> None:
        """Multiply the model's own numbers, (len(factors),) float64. To be called before reset or set_state."""
    def reset(self, seed: int) -> None: ...
    def step(self, action: Buffer) -> tuple[float, bool]:
        """`action` (m,) float32 in the environment's units; returns (reward, terminated)."""
    def state(self) -> bytes:
        """The whole simulation state: set_state on a fresh host goes on bit for bit."""
    def set_state(self, state: Buffer) -> None: ...
    def set_position_velocity(self, qpos: Buffer, qvel: Buffer) -> None:
        """Start from this state (float64), as Gymnasium's set_state after a reset does: for tests."""
    def take_warnings(self) -> list[str]:
        """MuJoCo's warnings since the last call."""
