"""A robot.py that writes down every call, and does what goes wrong where ROBOT_FAULT says so. Tests copy it.

Each line of the log is `ns pid name numbers`; the newest line is the newest call, whichever process made it. An
observation is [reads so far, episodes so far, the last action], counted over all runs that share the log, so that a
transition tells which lines of the log it is, and whether its parts belong together.

ROBOT_FAULT: `name what [call]`: the function, what it does (see `_fault`), and in which of its calls: `3` the third,
`/10` each tenth; all where none is named.
"""

import os
import time

RATE_HZ = float(os.environ.get("ROBOT_RATE", "200"))
EPISODE_SECONDS = int(os.environ.get("ROBOT_EPISODE", "40")) / RATE_HZ
ACTION = [  # name, low, high, slew
    (f"action {number}", *(float(word) for word in text.split()))
    for number, text in enumerate(os.environ.get("ROBOT_ACTION", "-1 1 2").split(","))
]
READS = 2.0**20  # more than any test makes; a power of two, so that float32 keeps each number apart
OBSERVATION = [("reads", -READS, READS), ("episodes", -READS, READS)]
OBSERVATION += [(f"last {name}", low, high) for name, low, high, _ in ACTION]
OBSERVATION += [(f"filler {number}", -1.0, 1.0) for number in range(int(os.environ.get("ROBOT_FILLERS", "0")))]

_log = os.open(os.environ.get("ROBOT_LOG", "log"), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
_name, _what, _call, *_ = [*(os.environ.get("ROBOT_FAULT") or "none none").split(), "/1"]
_calls = dict.fromkeys(("start", "read_observation", "apply_action", "stop", "reset", "reward", "terminated"), 0)
_before = os.pread(_log, os.fstat(_log).st_size, 0)
_reads, _episodes = _before.count(b" read "), _before.count(b" reset ")
_last = [0.0 for _ in ACTION]
del _before
_kept = []


def _write(name, *words):
    words = " ".join([repr(word) if isinstance(word, float) else str(word) for word in words])
    os.write(_log, f"{time.monotonic_ns()} {os.getpid()} {name} {words}\n".encode())


def _fault(name):
    """The fault of this call, or ""; those that any function can have happen here."""
    _calls[name] += 1
    every = _calls[name] % int(_call[1:]) == 0 if _call.startswith("/") else _calls[name] == int(_call)
    if name != _name or not every:
        return ""
    if _what == "raise":
        raise ZeroDivisionError(f"{name} fell off\nthe table")
    if _what == "exit":
        raise SystemExit(7)
    if _what == "block":
        time.sleep(1e6)
    if _what == "swallow":
        while True:
            try:
                time.sleep(1e6)
            except BaseException:
                pass
    if _what == "slow":
        time.sleep(1.6 / RATE_HZ)
    if _what == "leak":
        while True:
            _kept.append(bytearray(50_000))
    if _what.startswith("sleep"):
        time.sleep(float(_what.removeprefix("sleep")))
    return _what


_write("import")


def start():
    _write("start")
    _fault("start")


def read_observation(size):
    global _reads
    _reads += 1
    observation = [float(_reads), float(_episodes), *_last]
    _write("read", *observation)
    observation += [0.0] * (size - len(observation))
    fault = _fault("read_observation")
    if fault == "nan":
        observation[0] = float("nan")
    if fault == "far":
        observation[2] = 1e30
    return observation[:-1] if fault == "size" else observation


def apply_action(action):
    global _last
    _write("apply", *action)
    _fault("apply_action")
    _last = list(action)


def stop():
    global _last
    _write("stop")
    _fault("stop")
    _last = [0.0 for _ in ACTION]


def reset():
    global _episodes
    _write("reset")
    _fault("reset")
    _episodes += 1


def reward(observation, action, next_observation):
    fault = _fault("reward")
    return float("nan") if fault == "nan" else next_observation[0] + sum(action)


def terminated(observation):
    _fault("terminated")
    return False
