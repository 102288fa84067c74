"""Power cuts by POSIX's rules: calls of real commands are recorded, and trees built that a cut may have left.

What real file systems make of a cut is tried in test_power_cuts.py.
"""

import copy
import json

import pytest
from faults.campaign import campaign
from faults.posix import Disk, unsure, write_tree
from faults.system_calls import record
from study_folder import study_text
from training import EXPORTS, TINY, edgedst, goes_on

GRID = 'env = "InvertedPendulum-v5"\nmethod = "ds-td3"\nseed = 0'


def committed_step(tree):
    """Of the checkpoint in a tree; -1 where there is none."""
    states = [json.loads(content) for path, content in tree.items() if path.endswith("checkpoint/state.json")]
    return states[0]["step"] if states else -1


def cut_disk(before, calls, number):
    """The disk when so many calls are done."""
    disk = copy.deepcopy(before)
    for call in calls[:number]:
        disk.play(call)
    return disk


def test_a_run_goes_on_to_the_same_end_from_whatever_a_power_cut_leaves(whole, tmp_path):
    (tmp_path / "recorded").mkdir()
    before = Disk(tmp_path / "recorded")
    command = edgedst("train", "--run-dir", "runs", *TINY)
    calls = record(command, tmp_path / "recorded", tmp_path / "run.strace")
    calls = [call for call in calls if call.name == "lseek" or call.changes(before.root)]
    tried = {}

    def attack(rng, folder):
        disk = cut_disk(before, calls, rng.randrange(len(calls) + 1))
        sure, tree = committed_step(disk.tree()), disk.tree(rng)
        key = (sure, frozenset(tree.items()))
        if key in tried:
            return tried[key]
        write_tree(tree, folder)
        assert committed_step(tree) >= sure, f"the checkpoint of step {sure} is gone"
        tried[key] = goes_on(folder, whole)
        assert sure < 0 or tried[key] == "went on" or committed_step(tree) == 600
        return tried[key]

    campaign("power cuts of a run, by POSIX's rules", 20, tmp_path, attack)


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_is_old_or_new_after_a_power_cut_and_on_the_disk_once_it_is_done(
    kind, recorded_export, exported, tmp_path
):
    (before, calls), (_, made) = recorded_export(kind), exported(kind)
    done = cut_disk(before, calls, len(calls))
    new, old = done.tree(), before.tree()
    assert unsure(done) == []
    assert {name: content for name, content in new.items() if content is not None} == made

    def attack(rng, _):
        tree = cut_disk(before, calls, rng.randrange(len(calls))).tree(rng)
        for name, content in tree.items():
            if not name.startswith("."):  # a leftover goes with the next export: test_kills.py
                assert content in (new.get(name, b""), old.get(name, b"")), f"{name} is neither old nor new"
        whole_ones = {name for name in tree if not name.startswith(".")}
        assert kind != "bundle" or whole_ones in (set(), set(new)), f"a bundle of {len(whole_ones)} files"
        return "kept old and new apart"

    campaign(f"power cuts of an export ({kind}), by POSIX's rules", 60, tmp_path, attack)


def test_a_study_and_its_report_are_on_the_disk_once_they_are_done(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.toml").write_text(study_text(GRID, steps=300), encoding="utf-8")
    for number, command in enumerate((("run", "study.toml", "--out", "out", "--jobs", "1"), ("report", "out"))):
        disk = Disk(folder)
        for call in record(edgedst("study", *command), folder, tmp_path / f"study{number}.strace"):
            disk.play(call)
        # A log is for people, and a lock or a request to stop means nothing after a cut.
        passing = ("log.txt", "lock", "stop")
        left = [path for path in unsure(disk) if not path.endswith(passing)]
        assert left == [], command
