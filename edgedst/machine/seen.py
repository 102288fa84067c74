"""What a trial of a robot.py saw, in fixed memory, and what that means for a training on it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from edgedst.envs.robot import MOVING, STOP_SECONDS, STOPPED_ELSEWHERE
from edgedst.machine.kept_time import Histogram

READING, SMALL, FULL = "reading", "small actions", "full range"  # phases of a trial
REST_SECONDS = 1.0  # after `stop`, in which the machine should come to rest

MOST_MISSED, MUCH_MISSED = 0.1, 0.01  # shares of the periods: a problem, a warning
MUCH_OF_PERIOD = 0.5  # that a step's calls take, in the middle: learning acts in there, too
FITTING_SHARE = 0.8  # of a period that 99 % of the steps should fit in
MUCH_REPEATED = 0.1  # share of the steps
LITTLE_SEEN = 0.05  # share of a declared range


class Seen:
    """Counts, extremes and times, as they come.

    Args:
        n: numbers of an observation.
        m: of an action.
    """

    def __init__(self, n: int, m: int) -> None:
        self.fault = self.stop_fault = ""  # sentences
        self.at_rest = self.terminated_at_reset = self.resets_too_long = False
        self.moving = False  # in the newest step, at half its largest speed or more
        self.resets = self.episodes_terminated = self.missed = 0
        self._us: dict[str, Histogram] = defaultdict(Histogram)
        self._steps: Counter[str] = Counter()  # by phase
        self._repeated: Counter[str] = Counter()
        self._low: dict[str, list[float]] = {
            "observed": [math.inf] * n,
            "applied": [math.inf] * m,
            "reward": [math.inf],
        }
        self._high = {name: [-value for value in low] for name, low in self._low.items()}
        # Largest change of each observation in one step, by phase; of the last third behind `stop`.
        self._change: dict[str, list[float]] = defaultdict(lambda: [0.0] * n)
        self._after: list[float] | None = None
        self._moving_steps = 0  # behind `stop`, until it was still

    def took(self, what: str, ns: int) -> None:
        """A call of a function; all calls of a `step`; or how `late` a step began."""
        self._us[what].add(ns / 1e3)

    def observe(self, observation: Sequence[float]) -> None:
        """An observation, of any phase."""
        self._widen("observed", observation)

    def act(self, action: Sequence[float]) -> None:
        """An action that was given to the motors."""
        self._widen("applied", action)

    def reward(self, value: float) -> None:
        """Of a step."""
        self._widen("reward", [value])

    def step(self, phase: str, before: Sequence[float], after: Sequence[float]) -> None:
        """A step, with the observations around it."""
        self._steps[phase] += 1
        self._repeated[phase] += before == after
        largest, noise = self._change[phase], self._change[READING]
        self.moving = False
        for i, value in enumerate(after):
            change = abs(value - before[i])
            largest[i] = max(largest[i], change)
            self.moving = self.moving or (change > 2 * noise[i] and change > 0.5 * largest[i])

    def rest(self, step: int, count: int, before: Sequence[float], after: Sequence[float]) -> None:
        """Step number `step` of `count` after `stop`."""
        changes = [abs(b - a) for a, b in zip(before, after, strict=True)]
        if any(change > still for change, still in zip(changes, self._still(), strict=True)):
            self._moving_steps = step + 1
        if step >= count * 2 // 3:
            self._after = [max(pair) for pair in zip(self._after or changes, changes, strict=True)]

    def found(self, rate_hz: float) -> dict[str, Any]:
        """All of it, in values that JSON holds; what there was none of is left out."""
        steps = self._steps.total()
        names = ("fault", "stop_fault", "at_rest", "resets", "resets_too_long")
        found: dict[str, Any] = {name: getattr(self, name) for name in names}
        found |= {name: getattr(self, name) for name in ("episodes_terminated", "terminated_at_reset")}
        found |= {"steps": dict(self._steps), "repeated_steps": dict(self._repeated), "missed_periods": self.missed}
        if steps:
            found["kept_hz"] = rate_hz * steps / (steps + self.missed)
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        found["ms"] = {
            name: {share: round(us.quantile(of) / 1e3, 3) for share, of in shares.items()}
            for name, us in self._us.items()
        }
        for name, low in self._low.items():
            if math.isfinite(low[0]):
                high = self._high[name]
                found |= {f"{name}_{end}": v[0] if name == "reward" else v for end, v in (("low", low), ("high", high))}
        found["change"] = dict(self._change)
        if self._after is not None:
            found |= {"change_at_rest": self._after, "still": self._still(), "rest_s": self._moving_steps / rate_hz}
        return found

    def _still(self) -> list[float]:
        """What moves no more than this is at rest: thrice the noise before it moved, or a tenth of the movement.

        Both are the largest of few changes of a step: of Gaussian noise one is at times twice the other.
        """
        noise, moving = self._change[READING], self._change[FULL]
        return [max(3 * a, 0.1 * b) for a, b in zip(noise, moving, strict=True)]

    def _widen(self, name: str, values: Sequence[float]) -> None:
        low, high = self._low[name], self._high[name]
        for i, value in enumerate(values):
            if value < low[i]:
                low[i] = value
            if value > high[i]:
                high[i] = value


class Judgement:
    """What stops a training (`problems`), spoils it (`warnings`), or is worth a look (`notes`): sentences.

    Args:
        path: of the robot.py.
        robot: what it says of itself.
        found: `Seen.found`, or less where the trial was killed; and what `check.py` adds.
    """

    def __init__(self, path: str, robot: dict[str, Any], found: dict[str, Any]) -> None:
        self.path, self.robot, self.found = path, robot, found
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self._faults()
        if found.get("steps") and not found["fault"] and not found["signal"]:
            self._rate()
            self._ranges()
            self._repeats()
            self._episodes()
            self._rest()

    def _faults(self) -> None:
        found, elsewhere = self.found, self.found["stop_elsewhere"]
        told = [found.get(name) for name in ("killed", "fault", "stop_fault")]
        self.problems += [sentence for sentence in told if sentence and sentence != elsewhere["fault"]]
        if elsewhere["fault"] and elsewhere["needed"]:
            self.problems.append(f"{elsewhere['fault']} {MOVING}")
        elif elsewhere["needed"]:
            self.notes.append(STOPPED_ELSEWHERE)
        elif elsewhere["fault"]:
            self.problems.append(
                f"In a process that had not called start() stop() failed: {elsewhere['fault']} Such a process brings "
                "the machine to rest when the one that acts is killed: open in stop() what it needs."
            )
        longest_s = found.get("ms", {}).get("stop", {}).get("max", 0.0) / 1e3
        if longest_s > STOP_SECONDS / 2 and not found["stop_fault"]:
            self.warnings.append(f"stop() took {longest_s:.2g} s. In training it has {STOP_SECONDS:g} s.")

    def _rate(self) -> None:
        found, rate, ms = self.found, self.robot["rate_hz"], self.found["ms"]
        missed = found["missed_periods"] / (found["missed_periods"] + sum(found["steps"].values()))
        share = f"{100 * missed:.2g} % of the periods were missed"
        period, step = 1e3 / rate, ms["step"]
        slowest = max((name for name in ("read_observation", "apply_action") if name in ms), key=lambda n: ms[n]["p50"])
        if missed > MOST_MISSED and step["p99"] > FITTING_SHARE * period:
            self.problems.append(
                f"`{self.path}` cannot keep RATE_HZ = {rate:g}: the calls of a step take {step['p50']:.3g} ms in the "
                f"middle and {step['p99']:.3g} ms at p99 of a period of {period:.3g} ms, and {share}. Write RATE_HZ = "
                f"{FITTING_SHARE * 1e3 / step['p99']:.2g}, or make {slowest}() faster."
            )
        elif missed > MOST_MISSED:
            self.problems.append(
                f"This machine does not keep RATE_HZ = {rate:g}: {share}, though the calls of a step take "
                f"{step['p99']:.3g} ms at p99 of a period of {period:.3g} ms. Something else has the CPU: end it, or "
                "write a lower RATE_HZ."
            )
        elif step["p50"] > MUCH_OF_PERIOD * period:
            self.warnings.append(
                f"The calls of a step take {step['p50']:.3g} ms of {period:.3g} ms, above all {slowest}(): learning "
                "acts in the same period, on what is that old. Read in a thread, and return the newest sample at once."
            )
        elif missed > MUCH_MISSED:
            self.warnings.append(f"{share[0].upper()}{share[1:]}: something else has the CPU now and then.")

    def _ranges(self) -> None:
        found, robot = self.found, self.robot
        frozen = []
        for i, name in enumerate(robot["observation_names"]):
            low, high = robot["observation_low"][i], robot["observation_high"][i]
            seen_low, seen_high = found["observed_low"][i], found["observed_high"][i]
            if seen_low < low or seen_high > high:
                self.warnings.append(
                    f"`{name}` was seen from {seen_low:.4g} to {seen_high:.4g}, outside of its bounds {low:g} to "
                    f"{high:g}, which the networks see as -1 and 1. Widen them, or cut it off in read_observation()."
                )
            if seen_low == seen_high:
                frozen.append(name)
            elif found["moved"] and seen_high - seen_low < LITTLE_SEEN * (high - low):
                self.notes.append(
                    f"`{name}` used {100 * (seen_high - seen_low) / (high - low):.2g} % of its declared range: the "
                    "networks hardly see it change. Narrower bounds help, where the task needs no more."
                )
        if frozen and found["moved"]:
            self.warnings.append(f"{_listed(frozen)} never changed: a dead sensor, a wrong register, or of no use.")
        elif frozen:
            self.notes.append(f"{_listed(frozen)} never changed; nothing was moved.")

    def _repeats(self) -> None:
        found, rate = self.found, self.robot["rate_hz"]
        phases = (SMALL, FULL) if found["moved"] else (READING,)
        steps, repeated = (sum(found[what].get(name, 0) for name in phases) for what in ("steps", "repeated_steps"))
        if repeated <= MUCH_REPEATED * steps or found["observed_low"] == found["observed_high"]:
            return
        told = f"In {repeated:,} of {steps:,} steps the whole observation was the one before"
        if not found["moved"]:
            self.notes.append(f"{told}; nothing was moved.")
            return
        new_hz = rate * (steps - repeated) / steps
        self.warnings.append(
            f"{told}: new samples come about {new_hz:.2g} times a second, and the loop takes {rate:g}. Make the sensor "
            f"faster, or write RATE_HZ = {new_hz:.2g}."
        )

    def _episodes(self) -> None:
        found = self.found
        if found["terminated_at_reset"]:
            self.problems.append(
                f"`{self.path}`: terminated() was True for what reset() left behind: such an episode is over as it "
                "begins. Let reset() go on until it is False."
            )
        if found["moved"] and found["reward_low"] == found["reward_high"]:
            self.notes.append(f"reward() gave {found['reward_low']:g} in every step: nothing can be learnt from that.")
        if found["resets_too_long"]:
            self.notes.append("The resets took so long that the movement was cut short.")

    def _rest(self) -> None:
        found = self.found
        for i, after in enumerate(found.get("change_at_rest", ())):
            before = found["change"][FULL][i]
            if min(before, after) > found["still"][i]:
                self.warnings.append(
                    f"`{self.robot['observation_names'][i]}` still changed by {after:.3g} a step {REST_SECONDS:g} s "
                    f"after stop(), and by {before:.3g} at most while it was moved: stop() does not "
                    "bring it to rest, or it swings on by itself."
                )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"`{name}`" for name in names[:5]) + more
