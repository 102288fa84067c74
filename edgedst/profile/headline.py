"""What a profile comes to, in words: one sentence, three answers (time, energy, memory), and the doubts."""

from __future__ import annotations

import html
from collections.abc import Sequence

from edgedst.page import inline, tag
from edgedst.profile.shown import (
    CHANGE,
    COUNT,
    JOULES,
    MEGABYTES,
    MILLISECONDS_EACH,
    NOT_MEASURED,
    RATIO,
    SIZE,
    Pair,
    Shown,
    Unit,
)


def headline(shown: Shown) -> str:
    """The page's first screen: about sparse against dense, or the first pair where dense did not run."""
    pair = next(iter(shown.pairs()), Pair.at("ratios.sparse / dense"))
    answers = tag("section", _time(shown, pair), _energy(shown, pair), _memory(shown, pair), class_="answers")
    return tag("header", _about(shown), _title(shown, pair), _setting(shown, pair)) + answers + _doubts(shown)


def besides_replay(shown: Shown, path: str) -> tuple[str, float] | None:
    """Formula and bytes of what a contender's process takes besides its replay.

    None when it is not known, and where the replay is not planned: a peak then holds only what has been filled of it.
    """
    peak, replay = f"{path}.memory.peak_bytes.median", f"{path}.memory.replay_bytes"
    peak_bytes, replay_bytes = shown.number(peak), shown.number(replay)
    planned = shown.number(f"{path}.memory.planned_bytes") is not None
    if not planned or peak_bytes is None or replay_bytes is None or peak_bytes <= replay_bytes:
        return None
    return f"{peak} - {replay}", peak_bytes - replay_bytes


def caveat(shown: Shown) -> str:
    """HTML of what has to stand beside energy, in large letters; empty when a sensor measured it."""
    return tag("p", shown.energy_caveat, class_="modelled") if shown.energy_caveat else ""


def why_no_energy(shown: Shown) -> str:
    """HTML of the reason that the profile gives for having no energy."""
    return shown.words("energy_note", absent="the profile gives no reason")


def _about(shown: Shown) -> str:
    place = "host.title" if shown.value("host.title") else "host.board"
    parts = [shown.words(path) for path in ("task.env", place) if shown.value(path)]
    if shown.value("made"):
        parts.append(tag("time", html.escape(shown.text("made", "")[:10])))
    return tag("p", " · ".join(["edgedst profile", *parts]), class_="about")


def _title(shown: Shown, pair: Pair) -> str:
    energy = _clause(shown, f"{pair.path}.energy_total", "energy")
    if energy and shown.energy_caveat:
        energy += f" ({shown.energy_caveat})"
    besides = _besides_replay(shown, pair)
    memory = f"{besides} memory besides its replay" if besides else ""
    clauses = {
        "Time": _clause(shown, f"{pair.path}.step_seconds", "time a step"),
        "Energy": energy,
        "Memory": memory or _clause(shown, f"{pair.path}.peak_bytes", "memory at its peak"),
    }
    ours, theirs = map(html.escape, pair.said())
    told = [clause for clause in clauses.values() if clause]
    missing = [name for name, clause in clauses.items() if not clause]
    if not told:
        return tag("h1", f"Nothing was measured of {ours} against {theirs}.")
    first = f"{', '.join(told[:-1])} and {told[-1]}" if len(told) > 1 else told[0]
    rest = f" {' and '.join(missing).capitalize()} {'was' if len(missing) == 1 else 'were'} not measured."
    return tag("h1", f"Against {theirs}, {ours} takes {first}.", rest if missing else "")


def _clause(shown: Shown, path: str, of_what: str) -> str:
    """For example 32 % less time a step; empty when there is no ratio."""
    if shown.number(f"{path}.median") is None:
        return ""
    if _undecided(shown, path):
        return f"about as much {of_what}"
    return f"{shown.figure(f'{path}.median', CHANGE)} {of_what}"


def _undecided(shown: Shown, path: str) -> bool:
    """Whether 1 lies within the interval: these repeats show no difference."""
    spread = shown.spread(path)
    return spread is not None and spread.low <= 1 <= spread.high


def _besides_replay(shown: Shown, pair: Pair) -> str:
    """How much less or more that is, HTML; empty when it is not known of both."""
    ours, theirs = (besides_replay(shown, shown.named(name)) for name in (pair.ours, pair.theirs))
    if ours is None or theirs is None:
        return ""
    return shown.derived(f"({ours[0]}) / ({theirs[0]})", ours[1] / theirs[1], CHANGE)


def _setting(shown: Shown, pair: Pair) -> str:
    """What was compared, in one sentence, as far as it is known."""
    labels = [f"{shown.named(name)}.label" for name in (pair.ours, pair.theirs)]
    parts = [" against ".join(shown.words(label) for label in labels)] if any(map(shown.value, labels)) else []
    hidden = shown.items("task.hidden")
    if hidden and all(shown.number(path) is not None for path in hidden):
        layers = " and ".join(map(shown.figure, hidden))
        parts.append(f"hidden layers of {layers}")
    if shown.number("task.batch_size") is not None:
        parts.append(f"batches of {shown.figure('task.batch_size')}")
    if shown.number("task.repeats") is not None and shown.number("task.steps") is not None:
        repeats = "repeat" if shown.value("task.repeats") == 1 else "repeats"
        parts.append(f"{shown.figure('task.repeats')} {repeats} of {shown.figure('task.steps')} steps, in turns")
    return tag("p", "; ".join(parts), ".", class_="setting") if parts else ""


def _time(shown: Shown, pair: Pair) -> str:
    return _answer(shown, pair, "Time of a step", "step_seconds", ("steps_per_second.median", MILLISECONDS_EACH))


def _energy(shown: Shown, pair: Pair) -> str:
    joules = ("energy_joules_per_1000_steps.total.median", JOULES)
    if shown.value("energy") is None:
        return _answer(shown, pair, "Energy", "energy_total", joules, below=tag("p", why_no_energy(shown)))
    source = tag("p", shown.words("energy.source"), ": ", shown.words("energy.scope"), class_="soft")
    return _answer(shown, pair, "Energy of 1,000 steps", "energy_total", joules, above=caveat(shown), below=source)


def _memory(shown: Shown, pair: Pair) -> str:
    rooms = [f"{shown.named(name)}.memory.replay_rows" for name in (pair.ours, pair.theirs)]
    room = ""
    if all(shown.number(path) is not None for path in rooms):
        known = shown.number("task.budget_mb") is not None
        budget = f" in {shown.figure('task.budget_mb', MEGABYTES)}" if known else ""
        said, rows = pair.said()[1], [shown.figure(path, COUNT) for path in rooms]
        room = tag("p", f"replay of {rows[0]} transitions{budget}, {html.escape(said)} {rows[1]}", class_="soft")
    change = _besides_replay(shown, pair)
    if not change:
        return _answer(shown, pair, "Peak memory", "peak_bytes", ("memory.peak_bytes.median", SIZE), below=room)
    found = [besides_replay(shown, shown.named(name)) for name in (pair.ours, pair.theirs)]
    sizes = [shown.derived(*one, SIZE) for one in found if one]
    return _card("Memory besides the replay", tag("p", change, class_="big"), _both(pair, sizes), room)


def _answer(
    shown: Shown, pair: Pair, title: str, name: str, figure: tuple[str, Unit], *, above: str = "", below: str = ""
) -> str:
    """A card: how much less, what against what, and the interval of their ratio."""
    ratio = f"{pair.path}.{name}"
    if shown.number(f"{ratio}.median") is None:
        return _card(title, tag("p", NOT_MEASURED, class_="big absent"), below)
    change = "no clear difference" if _undecided(shown, ratio) else shown.figure(f"{ratio}.median", CHANGE)
    path, unit = figure
    figures = [shown.figure(f"{shown.named(name)}.{path}", unit) for name in (pair.ours, pair.theirs)]
    told = ["ratio ", shown.figure(f"{ratio}.median", RATIO)]
    if shown.spread(ratio):
        told += [f" ({shown.figure(f'{ratio}.low', RATIO)} to {shown.figure(f'{ratio}.high', RATIO)})"]
    else:
        told += [", no interval"]
    return _card(title, above, tag("p", change, class_="big"), _both(pair, figures), tag("p", *told), below)


def _both(pair: Pair, figures: Sequence[str]) -> str:
    told = (f"{html.escape(said)} {figure}" for said, figure in zip(pair.said(), figures, strict=True))
    return tag("p", ", ".join(told))


def _card(title: str, *inside: str) -> str:
    return tag("div", tag("h2", title), *inside, class_="answer")


def _doubts(shown: Shown) -> str:
    """What a reader must know, before any chart."""
    doubts = shown.value("doubts")
    if not isinstance(doubts, list):
        return tag("p", "Whether there are reasons to doubt these figures was not looked for.", class_="setting")
    doubts = [doubt for doubt in doubts if doubt]
    if not doubts:
        return tag("p", "The profile found no reason to doubt these figures.", class_="setting")
    many = "One reason" if len(doubts) == 1 else f"{len(doubts)} reasons"
    items = (tag("li", inline(str(doubt))) for doubt in doubts)
    return tag("section", tag("h2", f"{many} to doubt these figures"), tag("ul", *items), class_="doubts")
