"""Each doubt comes when it should, with its number, and does not come when it should not."""

from dataclasses import replace

import pytest
from stand_in_contenders import contender

from edgedst.profile.contenders import Contender
from edgedst.profile.doubts import doubts
from edgedst.profile.host_state import Core, Counters, State
from edgedst.profile.measure import Measured, Turn

STILL = State([Core(1800.0, "performance", 600.0, 1800.0)], 50.0, [], None, 0.1)
NOTHING = Counters(100.0, 0, 0, 1800.0, 0.0)
SIZES = {"observation_size": 17, "action_size": 6}
METERED = {"joules": 5.0, "measured": True, "gaps": 0, "gap_seconds": 0.0, "detail": "a test"}


def turn(seconds=10.0, begin=NOTHING, end=None, energy=None, **facts):
    """A window that used the CPU all the time, of 1,000 steps."""
    facts = {"start": 0.0, "end": seconds, "steps": 1000, "cpu_seconds": seconds, **SIZES, **facts}
    end = end or replace(begin, busy_seconds=begin.busy_seconds + seconds)
    return Turn(facts, begin, replace(end, at=seconds), energy)


def measured(*turns, wanted=None, before=STILL, after=STILL, steps=1000, idle=None, **settings):
    rounds = [{"sparse": each} for each in turns or [turn()] * 5]
    made = [contender("sparse", **settings)]
    return Measured(made, steps, rounds, wanted or len(rounds), before, after, idle, None)


def test_a_quiet_machine_leaves_no_doubt():
    assert doubts(measured()) == []


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (measured(wanted=7), "The profile was interrupted: 5 of 7 rounds are complete."),
        (
            measured(after=replace(STILL, throttled=["throttled now"])),
            "The clock was held back: throttled now (after).",
        ),
        (
            measured(*[turn(end=replace(NOTHING, busy_seconds=110.0, throttle_events=2))] * 5),
            "Cores were throttled by heat 10 times while contenders were measured.",
        ),
        (
            measured(*[turn()] * 4, turn(begin=replace(NOTHING, fastest_mhz=1200.0))),
            "The fastest core ran at 1,200 to 1,800 MHz at the beginnings and ends of the windows.",
        ),
        (
            measured(before=replace(STILL, cores=[Core(600.0, "ondemand", None, None)])),
            "The cores' governor is ondemand, so their clock follows the load. Steadier: `sudo cpupower frequency-set "
            "-g performance`.",
        ),
        (
            measured(*[turn()] * 4, turn(end=replace(NOTHING, busy_seconds=115.0))),
            "Other processes kept 0.0 of 2 cores busy while contenders were measured, at worst 0.5.",
        ),
        (
            measured(*[turn()] * 4, turn(end=replace(NOTHING, busy_seconds=110.0, swapped_pages=30))),
            "The machine swapped 30 pages while contenders were measured.",
        ),
        (measured(threads=3), "3 threads share 2 cores."),
        (
            measured(*[turn()] * 4, turn(seconds=12.0)),
            "The steps a second of sparse differ by 17 % of their median from repeat to repeat.",
        ),
        (measured(turn(), turn()), "2 repeats are few: `--repeats 5` is usual."),
        (
            measured(turn()),
            "There is one repeat, so nothing tells how far to trust it: `--repeats 5` is usual.",
        ),
        (
            measured(*[turn(seconds=0.5)] * 5),
            "The shortest window took 0.50 s, which a moment of other work changes.",
        ),
        (
            measured(steps=500),
            "No evolution of the topology fell into a window of 500 steps; training has one in 1,000 updates.",
        ),
        (
            measured(hidden=(128, 128), env="Ant-v5"),
            "ds-td3 leaves no weight out with so narrow layers: train with `--sparsity` to compare it.",
        ),
        (
            measured(*[turn(energy={**METERED, "measured": False})] * 5),
            "Energy is modelled, not measured: it follows from time and CPU time alone.",
        ),
        (
            measured(*[turn(energy={**METERED, "gaps": 1, "gap_seconds": 0.5})] * 5),
            "The energy meter missed samples: 5 gaps of 2.5 s together.",
        ),
        (
            measured(*[turn(energy={**METERED, "joules": None})] * 5),
            "The energy of 5 of 5 windows is not known: a test.",
        ),
        (
            measured(*[turn(energy=METERED)] * 5, idle={"watts": None, "sd_watts": None, "seconds": 1.0}),
            "The idle power is not known, so energy is told in total only.",
        ),
        (
            measured(env_process=True),
            "edgedst's environment runs in a process of its own: its memory and CPU time are not in these figures.",
        ),
    ],
)
def test_a_doubt_is_a_sentence_with_its_number(case, words, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    assert doubts(case) == [words]


def test_a_replay_of_a_peer_that_is_not_full_is_told():
    case = measured()
    case.contenders.append(Contender("sbx", "SBX TD3", case.contenders[0].config))
    for turns in case.rounds:
        turns["sbx"] = turn(replay_rows=500_000, filled_rows=2_000, replay_row_bytes=168)
    assert doubts(case) == [
        "SBX's peak memory leaves out 84 MB that its replay takes once it is full; edgedst's replay is reserved whole."
    ]


def test_what_is_missing_is_told_last():
    case = measured(env_process=True)
    case.missing.append("SBX is not installed.")
    assert len(doubts(case)) == 2
    assert doubts(case)[-1] == "SBX is not installed."
