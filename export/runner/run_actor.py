#!/usr/bin/env python3
"""Run an exported actor where it will act: show what it is, check it, time a step.

Needs onnxruntime and numpy only; imports nothing of edgedst, so this one file can be copied onto a device.

    python run_actor.py actor.onnx --golden golden.csv
    python run_actor.py actor.onnx --observations observations.npy --actions actions.npy
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import sys
import time

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # 1.32 writes events into the home folder and sends them
try:
    import numpy as np
    import onnxruntime
except ImportError as error:
    sys.exit(f"run_actor: {error}. It needs numpy and onnxruntime, most easily in a venv: README.md has the commands")

FORMAT = 1
NEEDED = ("observation_size", "action_size", "action_low", "action_high")
TOLERANCE = 1e-5  # of each action's largest magnitude, as in `edgedst export`


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="file made by `edgedst export`")
    parser.add_argument("--golden", help="pairs that `edgedst export --golden` made")
    parser.add_argument(
        "--observations",
        help=".npy of shape (rows, n): step through these instead of random ones; with a history, as one episode",
    )
    parser.add_argument("--actions", help=".npy to write the actions of --observations to")
    parser.add_argument("--steps", type=int, default=1000, help="steps to time, batch 1 (default 1000)")
    parser.add_argument("--threads", type=int, default=1, help="onnxruntime's threads (default 1)")
    arguments = parser.parse_args()
    if arguments.actions and not arguments.observations:
        parser.error("--actions is where the actions of --observations go: name both, or neither")
    try:
        start = time.perf_counter()
        session = open_session(arguments.model, arguments.threads)
        load_seconds = time.perf_counter() - start
        about = read_metadata(session)
        print_metadata(about)
        print(f"{'session':20} made in {1e3 * load_seconds:.1f} ms, onnxruntime {onnxruntime.__version__}")
        if arguments.golden:
            check_golden(session, about, arguments.golden)
        observations = read_observations(arguments.observations, about["observation_size"])
        if arguments.observations:
            report_actions(session, about, observations, arguments.actions)
        print_times(session, about, observations, arguments.steps)
        print_memory()
    except (OSError, ValueError) as error:
        print(f"run_actor: {error}", file=sys.stderr)
        return 1
    return 0


class History:
    """What the actor takes: the last K observations, then the last K actions, each newest first; ONNX.md has why.

    Of an actor without a history that is the observation alone, and nothing is remembered.
    """

    def __init__(self, about):
        self.steps, self.size = about.get("history", 0), about["observation_size"]
        self.start = np.tile(np.array(about.get("start_action", []), dtype=np.float32), self.steps)
        self.actions = about["action_size"]
        self.episode = max(2 * self.steps, 1)  # golden pairs: so many lines are one
        self.reset()

    def reset(self):
        """Forget all: the next observation is an episode's first."""
        self.features = None

    def push(self, observation):
        """Remember an observation, (n,) float32; returns (1, N) float32 for `act`."""
        if not self.steps:
            return observation[None, :]
        past = self.steps * self.size
        if self.features is None:
            self.features = np.concatenate([np.tile(observation, self.steps), self.start])
        else:
            self.features[self.size : past] = self.features[: past - self.size].copy()
            self.features[: self.size] = observation
        return self.features[None, :].copy()

    def acted(self, action):
        """Remember the action that followed, (m,)."""
        if self.steps:
            past = self.steps * self.size
            self.features[past + self.actions :] = self.features[past : -self.actions].copy()
            self.applied(action)

    def applied(self, action):
        """What was done instead of the last action, where a limit changed it."""
        if self.steps:
            past = self.steps * self.size
            self.features[past : past + self.actions] = action


def open_session(path, threads):
    """An onnxruntime session on the CPU with the file, once its checksum has come out."""
    content = read_checked(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        # Without a fallback, which is the same provider once more and prints that it is tried.
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise ValueError(f"onnxruntime {onnxruntime.__version__} cannot load `{path}`: {error}") from error


def read_checked(path):
    """The file's bytes, as they were exported: ONNX.md says how their checksum is found. Older files have none."""
    content = pathlib.Path(path).read_bytes()
    before, key, after = content.rpartition(b'"sha256":"')
    if key and hashlib.sha256(before + key + b"0" * 64 + after[64:]).hexdigest().encode() != after[:64]:
        raise ValueError(f"`{path}` is not as it was exported: its checksum is another one; copy it again")
    return content


def read_metadata(session):
    """What the file says about itself (ONNX.md lists the keys)."""
    text = session.get_modelmeta().custom_metadata_map.get("edgedst")
    if text is None:
        raise ValueError("the model has no metadata key `edgedst`; expected a file made by `edgedst export`")
    try:
        about = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"the model's metadata cannot be read: {error}") from error
    if not isinstance(about, dict):
        raise ValueError("the model's metadata is no JSON object; expected a file made by `edgedst export`")
    if about.get("format") != FORMAT:
        raise ValueError(
            f"the model has format {about.get('format')}; this runner reads {FORMAT}: take both from one edgedst"
        )
    if missing := [key for key in NEEDED if key not in about]:
        raise ValueError(f"the model's metadata has no {', '.join(missing)}; expected a file made by `edgedst export`")
    sizes, bounds = [about[key] for key in NEEDED[:2]], [about[key] for key in NEEDED[2:]]
    numbers = all(isinstance(bound, list) and len(bound) == sizes[1] for bound in bounds)
    if not numbers or not all(type(number) in (int, float) for number in [*sizes, *bounds[0], *bounds[1]]):
        raise ValueError(f"the model's metadata has other {', '.join(NEEDED)} than an actor; export it again")
    history, start = about.get("history", 0), about.get("start_action", [])
    if type(history) is not int or history < 0 or not isinstance(start, list) or (history and len(start) != sizes[1]):
        raise ValueError("the model's metadata has another history than an actor; export it again")
    return about


def print_metadata(about):
    """One line a fact."""
    for key, value in about.items():
        print(f"{key:20} {json.dumps(value)}")


def check_golden(session, about, path):
    """Compare with recorded pairs at batch 1 and all at once; a difference above TOLERANCE is a ValueError."""
    observations, expected = read_golden(path, about["observation_size"], about["action_size"])
    magnitude = np.maximum(np.abs(about["action_low"]), np.abs(about["action_high"]))
    magnitude = np.where(magnitude > 0, magnitude, 1.0)
    features, one_by_one = step_through(session, about, observations)
    largest = 0.0
    for actions in (one_by_one, act(session, features)):
        largest = max(largest, float(np.max(np.abs(actions - expected) / magnitude)))
    if not largest <= TOLERANCE:
        raise ValueError(f"`{path}`: an action differs by {largest:.1e}, limit {TOLERANCE:.0e}; wrong file or runtime?")
    print(f"{'golden pairs':20} {len(observations)} equal, largest difference {largest:.1e} (limit {TOLERANCE:.0e})")


def step_through(session, about, observations, episode=None):
    """Act on (rows, n) observations in their order, `episode` of them from a reset to the next; as many as golden ones.

    Returns the (rows, N) features that the model took, and (rows, m) actions.
    """
    history, features, actions = History(about), [], []
    for row, observation in enumerate(observations):
        if row % (episode or history.episode) == 0:
            history.reset()
        features.append(history.push(observation))
        actions.append(act(session, features[-1]))
        if actions[-1].shape != (1, about["action_size"]):
            raise ValueError(
                f"the model gives {actions[-1].shape[-1]} actions and says {about['action_size']}; export it again"
            )
        history.acted(actions[-1][0])
    return np.concatenate(features), np.concatenate(actions)


def read_golden(path, observation_size, action_size):
    """(rows, n) observations and (rows, m) actions, float32; of a text, a line is a pair, `//` begins a comment."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    lines = [line.strip().rstrip(",").split(",") for line in text.splitlines() if not line.startswith("//")]
    if not lines or {len(line) for line in lines} != {observation_size + action_size}:
        raise ValueError(f"`{path}` is not of {observation_size} observations and {action_size} actions a line")
    if (told := re.search(r"^//.* (\d+) pairs", text, re.MULTILINE)) and int(told[1]) != len(lines):
        raise ValueError(f"`{path}` says that it has {told[1]} pairs, and has {len(lines)}; copy it again")
    pairs = np.array(lines, dtype=np.float32)
    if not np.isfinite(pairs).all():
        raise ValueError(f"`{path}` has a number that is not finite; export it again")
    return pairs[:, :observation_size], pairs[:, observation_size:]


def read_observations(path, size):
    """The rows of `path` as float32, or 256 random ones."""
    if path is None:
        return np.random.default_rng(0).standard_normal((256, size)).astype(np.float32)
    try:
        with pathlib.Path(path).open("rb") as file:
            observations = np.lib.format.read_array(file)  # np.load would open other files than .npy, too
    except ValueError as error:
        raise ValueError(f"`{path}` is no .npy file of numbers ({error}); write one with numpy.save") from error
    if observations.ndim != 2 or observations.shape[1] != size or not len(observations):
        raise ValueError(f"`{path}` has shape {observations.shape}; the actor wants (rows, {size}), one row at least")
    observations = observations.astype(np.float32)
    if not np.isfinite(observations).all():
        row, place = (int(index[0]) for index in np.nonzero(~np.isfinite(observations)))
        raise ValueError(f"`{path}` has {observations[row, place]} in row {row}, place {place}; nothing was run")
    return observations


def report_actions(session, about, observations, path):
    """Print the first actions; write all of them where `path` is given."""
    _, actions = step_through(session, about, observations, len(observations))
    for row in actions[:5]:
        print(f"{'actions':20} {row.tolist()}")
    if path is not None:
        with pathlib.Path(path).open("wb") as file:  # by its name, numpy would append .npy
            np.save(file, actions)
        print(f"{'actions written':20} {len(actions)} rows to {path}")


def print_times(session, about, observations, steps):
    """Time single steps: observation in, action out."""
    history = History(about)
    rows = [np.ascontiguousarray(row) for row in observations]
    for i in range(100):  # the first runs allocate
        history.acted(act(session, history.push(rows[i % len(rows)]))[0])
    times = np.empty(max(steps, 1))
    for i in range(len(times)):
        start = time.perf_counter_ns()
        history.acted(act(session, history.push(rows[i % len(rows)]))[0])
        times[i] = (time.perf_counter_ns() - start) / 1000
    p50, p99 = np.percentile(times, [50, 99])
    print(f"{'step microseconds':20} p50 {p50:.1f}, p99 {p99:.1f}, max {times.max():.1f} ({len(times)} steps, batch 1)")


def print_memory():
    """What the process took at its peak; most of it is Python and onnxruntime."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # Linux; getrusage would count what started this process
        kib = next(line.split()[1] for line in status.read_text(encoding="utf-8").splitlines() if line[:5] == "VmHWM")
        print(f"{'memory':20} {1024e-6 * int(kib):.1f} MB resident at the peak (1 MB = 1,000,000 bytes)")


def act(session, features):
    """(rows, N) float32 to (rows, m) float32 in the environment's units."""
    return session.run(["actions"], {"obs": features})[0]


if __name__ == "__main__":
    sys.exit(main())
