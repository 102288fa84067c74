"""Ticks of a log into records of a prefill file: which of them are transitions, and whether every number can be right.

A row is a tick: what was observed, the action that was then given, and the reward, `terminated` and `truncated` that
came of it. The next row of the same episode holds the next observation. What follows from that for an episode's last
row, for gaps and for logs without `episode` stands in docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn
from zlib import crc32

import numpy as np
import numpy.typing as npt

from edgedst.envs import LARGEST_FLOAT32
from edgedst.errors import LogError
from edgedst.logs.columns import Task, listed
from edgedst.logs.ticks import Floats, Log, Ticks, Truths
from edgedst.prefill import BEGINS, TERMINATED, TRUNCATED, record_bytes

GAP_PERIODS = 1.5  # between two ticks, from which on something is missing
_ROUNDING = 1e-4  # of half an action's range, that a log's few digits may lead out of it
_FAR = 3.0  # an observation normalised by its bounds: the whole range beyond one of them
_TOLD = 3  # gaps, with their places


class Checker:
    """Takes a log's ticks in their order and gives records of its transitions.

    Args:
        task: that the log has to fit.
        log: it.
        write: takes the records' bytes.
    """

    def __init__(self, task: Task, log: Log, write: Callable[[bytes], None]) -> None:
        self.task, self.log, self._write = task, log, write
        self.ticks = self.transitions = self.episodes = self.checksum = 0
        n, m = task.observation_size, task.action_size
        fields: Any = [("flags", "u1"), ("reward", "<f8"), ("action", "<f4", (m,)), ("observation", "<f8", (n,))]
        self._record = np.dtype(fields)
        assert self._record.itemsize == record_bytes(n, m)
        low, high = np.array(task.action_low, np.float64), np.array(task.action_high, np.float64)
        self._action_middle, self._action_half = low / 2 + high / 2, high / 2 - low / 2
        self._middle = self._half = None
        self._offset: Floats | None = None  # what the replay holds observations less of
        if task.observation_low is not None and task.observation_high is not None:
            low, high = np.array(task.observation_low), np.array(task.observation_high)
            self._middle, self._half = (low + high) / 2, (high - low) / 2
        self._step = 1 / task.robot.rate_hz if task.robot else 0.0  # seconds between ticks; 0: not known yet
        self._step_checked = False
        self._last: Ticks | None = None  # the newest tick, whose next one is not known yet
        self._after_end = False  # it is what a flagged transition led to
        self._linked = False  # it is what the newest record led to, and its episode goes on
        self._gaps: list[str] = []
        self._count = dict.fromkeys(("gaps", "without outcome", "truncated", "repeated", "over", "no reward"), 0)

    def take(self, ticks: Ticks) -> None:
        """The next ones."""
        self.ticks += len(ticks.place)
        self._check_observations(ticks)
        if self._last is not None:
            ticks = self._last.then(ticks)
        else:
            ticks.begins[:1] = True
        if self.log.columns.episode is None:  # an end, or an observation alone, is followed by another episode
            alone = _alone(ticks)
            flagged = ticks.terminated | ticks.truncated
            ticks.begins[1:] |= alone[:-1] | (flagged[:-1] & ~alone[1:])
        following = ticks.part(1)
        if len(following.place):
            self._pairs(ticks.part(0, -1), following, following.begins)
        self._last = ticks.part(-1)

    def finish(self) -> None:
        """There are no more.

        Raises:
            LogError: there was no transition.
        """
        if self._last is not None:
            self._pairs(self._last, self._last, np.ones(1, bool))
        if not self.transitions:
            raise LogError(
                f"{self.log.source} holds no transition, in {self.ticks:,} rows: one is a row with an action that is "
                "followed by another row of the same episode."
            )

    def notes(self) -> list[str]:
        """What the user should know of how the log was taken, in sentences."""
        count, source = self._count, self.log.source
        notes = []
        if count["gaps"]:
            more = f" and {count['gaps'] - _TOLD:,} more" if count["gaps"] > _TOLD else ""
            notes.append(
                f"{source} has {count['gaps']:,} gaps of more than {GAP_PERIODS * self._step:.3g} s, at which episodes "
                f"are cut: behind {', '.join(self._gaps)}{more}."
            )
        if count["without outcome"]:
            notes.append(
                f"The last actions of {count['without outcome']:,} episodes of {source} are left out: no row says what "
                "came of them."
            )
        if count["truncated"]:
            notes.append(
                f"{count['truncated']:,} truncated transitions of {source} are left out: the observation that they led "
                "to is not in it."
            )
        if count["repeated"]:
            notes.append(
                f"{count['repeated']:,} terminated transitions of {source} lack the observation that they led to: "
                "their own stands for it, and no target needs it."
            )
        if count["over"]:
            notes.append(
                f"{count['over']:,} rows of {source} are left out: `{self.task.name}` says that their episode is over "
                "(terminated)."
            )
        if count["no reward"]:
            notes.append(f"{count['no reward']:,} terminated transitions of {source} have no reward, and are left out.")
        if self.log.columns.unused:
            notes.append(f"{source} has columns that are not used: {listed(self.log.columns.unused)}.")
        return notes

    def _pairs(self, ticks: Ticks, following: Ticks, ends: Truths) -> None:
        """Records of k ticks, of which the following ones are known; `ends`: those are of another episode."""
        task, columns = self.task, self.log.columns
        alone = _alone(ticks)
        terminated = ticks.terminated.copy()
        flagged = ticks.terminated | ticks.truncated
        after_end = np.concatenate([[self._after_end], (flagged & ~ends)[:-1]])
        self._refuse(
            after_end & ~ends,
            following,
            lambda i: (
                "the episode goes on, and two rows before it ended (terminated or truncated). Begin another "
                "`episode` there"
            ),
        )
        gap = self._gap(ticks, following, ends)
        cut = ends | gap
        led = ~cut & ~after_end
        if columns.terminated is None and task.robot is not None:
            over = np.array([task.robot.terminated(row) for row in ticks.observation.tolist()], bool)
            next_over = np.append(over[1:], task.robot.terminated(following.observation[-1].tolist()))
            self._count["over"] += int((led & over).sum())
            led &= ~over
            terminated = led & next_over
        repeated = cut & terminated & ~alone & ~after_end
        if columns.reward is None:
            self._count["no reward"] += int(repeated.sum())
            repeated[:] = False
        taken = led | repeated
        self._count["repeated"] += int(repeated.sum())
        self._count["truncated"] += int((cut & ticks.truncated & ~terminated & ~alone & ~after_end).sum())
        self._count["without outcome"] += int((ends & ~alone & (after_end | ~flagged)).sum())
        self._put(ticks, following.observation, taken, led, terminated)
        self._after_end = bool(flagged[-1] and not ends[-1])

    def _put(self, ticks: Ticks, next_observation: Floats, taken: Truths, led: Truths, terminated: Truths) -> None:
        """Records of the ticks that are `taken`; those that are not `led` anywhere keep their observation."""
        goes_on = led & ~terminated & ~ticks.truncated
        begins = taken & ~np.concatenate([[self._linked], goes_on[:-1]])
        self._linked = bool(goes_on[-1])
        chosen = np.flatnonzero(taken)
        if not chosen.size:
            return
        action = self._actions(ticks, taken)[chosen]
        reward = self._rewards(ticks, next_observation, taken)[chosen]
        place = np.cumsum(taken.astype(np.int64) + begins)[chosen] - 1
        records = np.zeros(int(place[-1]) + 1, self._record)
        ends = TERMINATED * terminated + TRUNCATED * ticks.truncated
        records["flags"][place] = ends[chosen]
        records["reward"][place] = reward
        records["action"][place] = action
        following = np.where(led[chosen, None], next_observation[chosen], ticks.observation[chosen])
        records["observation"][place] = self._normalised(following)
        first = begins[chosen]
        records["flags"][place[first] - 1] = BEGINS
        records["observation"][place[first] - 1] = self._normalised(ticks.observation[chosen][first])
        content = records.tobytes()
        self.checksum = crc32(content, self.checksum)
        self.transitions += chosen.size
        self.episodes += int(first.sum())
        self._write(content)

    def _normalised(self, observation: Floats) -> Floats:
        """As the replay holds them."""
        if self._middle is None or self._half is None:
            return observation
        normalised: Floats = (observation - self._middle) / self._half
        return normalised

    def _actions(self, ticks: Ticks, taken: Truths) -> npt.NDArray[np.float32]:
        """(k, m) in [-1, 1]."""
        names = self.task.own_names[1]
        self._check_finite(ticks.action, taken, ticks, names)
        with np.errstate(invalid="ignore"):
            action = (ticks.action - self._action_middle) / self._action_half
            outside = (np.abs(action) > 1 + _ROUNDING) & taken[:, None]
        if outside.any():
            row, column = (int(place[0]) for place in np.nonzero(outside))
            low, high = self.task.action_low[column], self.task.action_high[column]
            value = ticks.action[row, column]
            self._tell(
                ticks,
                row,
                f"`{names[column]}` is {value:.6g}, outside of {low:g} to {high:g}, which {self.task.name} takes. The "
                "log may be in another unit, or normalised: write actions in the units of the task",
            )
        clipped: npt.NDArray[np.float32] = np.clip(action, -1, 1).astype(np.float32)
        return clipped

    def _rewards(self, ticks: Ticks, next_observation: Floats, taken: Truths) -> Floats:
        """(k,); a robot.py's own where the log has none."""
        if self.log.columns.reward is None:
            robot = self.task.robot
            assert robot is not None
            rewards = np.zeros(len(taken))
            for i in np.flatnonzero(taken):
                given = (values[i].tolist() for values in (ticks.observation, ticks.action, next_observation))
                rewards[i] = robot.reward(*given)
            return rewards
        self._check_finite(ticks.reward[:, None], taken, ticks, ["reward"])
        self._refuse(
            taken & (np.abs(ticks.reward) > LARGEST_FLOAT32),
            ticks,
            lambda i: f"`reward` is {ticks.reward[i]:g}, and the replay holds at most {LARGEST_FLOAT32:g}",
        )
        return ticks.reward

    def _check_observations(self, ticks: Ticks) -> None:
        names = self.task.own_names[0]
        every = np.ones(len(ticks.place), bool)
        self._check_finite(ticks.observation, every, ticks, names)
        for index, value in self.task.constants:
            self._refuse(
                ticks.observation[:, index] != value,
                ticks,
                lambda i, index=index, value=value: (  # type: ignore[misc]  # mypy does not infer defaults
                    f"`{names[index]}` is {ticks.observation[i, index]:g}, and in {self.task.name} it is always "
                    f"{value:g}: the log is of another version of the task"
                ),
            )
        normalised = self._normalised(ticks.observation)
        if self._middle is not None and self.task.observation_low and self.task.observation_high:
            far = np.abs(normalised) > _FAR
            if far.any():
                row, column = (int(place[0]) for place in np.nonzero(far))
                low, high = self.task.observation_low[column], self.task.observation_high[column]
                self._tell(
                    ticks,
                    row,
                    f"`{names[column]}` is {ticks.observation[row, column]:.6g}, far outside of {low:g} to {high:g}, "
                    "the bounds in the robot.py. The log may be in another unit, as degrees for radians",
                )
        if self.task.normalised and self._offset is None:
            self._offset = normalised[:1].copy()
        stored = normalised if self._offset is None else normalised - self._offset
        large = np.abs(stored) > self.task.largest
        if large.any():
            row, column = (int(place[0]) for place in np.nonzero(large))
            self._tell(
                ticks,
                row,
                f"`{names[column]}` is {ticks.observation[row, column]:g}, and the replay's float16 holds at most "
                f"{self.task.largest:g}. Use `--replay-dtype float32`",
            )

    def _check_finite(self, values: Floats, taken: Truths, ticks: Ticks, names: list[str]) -> None:
        wrong = ~np.isfinite(values) & taken[:, None]
        if wrong.any():
            row, column = (int(place[0]) for place in np.nonzero(wrong))
            value = values[row, column]
            what = "empty or NaN" if np.isnan(value) else f"{value:g}"
            self._tell(ticks, row, f"`{names[column]}` is {what}; a finite number was expected")

    def _gap(self, ticks: Ticks, following: Ticks, ends: Truths) -> Truths:
        """Where something is missing between a tick and the next one, by `time`.

        Raises:
            LogError: time does not go on, or by other steps than the robot's.
        """
        if self.log.columns.time is None:
            return np.zeros(len(ends), bool)
        self._check_finite(ticks.time[:, None], np.ones(len(ends), bool), ticks, ["time"])
        self._check_finite(following.time[:, None], ~ends, following, ["time"])
        seconds = following.time - ticks.time
        self._refuse(
            ~ends & ~(seconds > 0),
            following,
            lambda i: (
                f"`time` is {following.time[i]:.9g}, and {ticks.time[i]:.9g} in the row before: it has to grow "
                "within an episode"
            ),
        )
        inside = seconds[~ends]
        if inside.size and not self._step_checked:
            self._step_checked = True
            usual = float(np.median(inside))
            ratio = usual / self._step if self._step else 1.0
            if not 1 / GAP_PERIODS < ratio < GAP_PERIODS:
                raise LogError(
                    f"{self.log.source} has a row every {usual:.3g} s, and {self.task.name} makes a step every "
                    f"{self._step:.3g} s. Write the log anew at that rate, or change RATE_HZ."
                )
            self._step = self._step or usual
        gap: Truths = ~ends & (seconds > GAP_PERIODS * self._step)
        for i in np.flatnonzero(gap)[: max(0, _TOLD - len(self._gaps))]:
            self._gaps.append(f"{self.log.where(int(ticks.place[i]))} ({seconds[i]:.3g} s)")
        self._count["gaps"] += int(gap.sum())
        return gap

    def _refuse(self, wrong: Truths, ticks: Ticks, sentence: Callable[[int], str]) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            self._tell(ticks, row, sentence(row))

    def _tell(self, ticks: Ticks, row: int, what: str) -> NoReturn:
        raise LogError(f"{self.log.source}, {self.log.where(int(ticks.place[row]))}: {what}.")


def _alone(ticks: Ticks) -> Truths:
    """(k,): whether a tick is an observation without an action."""
    alone: Truths = np.all(np.isnan(ticks.action), axis=1)
    return alone
