"""Runs that begin with the networks, and the replay, of another run: what is taken, and what is refused."""

import json
import os
import re
import shutil
import zlib
from array import array
from types import SimpleNamespace

import numpy as np
import pytest
from saved_runs import commit
from training import TINY, modules, run_in, summary, telling, train

from edgedst import core
from edgedst.beginning import _change_units
from edgedst.config import TrainConfig
from edgedst.errors import ConfigError
from edgedst.launch.settings import combined
from edgedst.runs.state import read_state

pytest.importorskip("safetensors")
from safetensors.numpy import load_file, save_file

SHAPES = (
    *("--env", "InvertedPendulum-v5", "--budget-mb", "40", "--hidden", "32", "--lambda1", "5", "--lambda2", "8"),
    "--no-progress",
)
FAST = ("--eval-every", "200", "--eval-episodes", "1", "--evolve-every", "100", "--checkpoint-every", "70")
SAC = ("--method", "ds-sac", "--alpha-tuning", "automatic", "--batch-size", "32")


def trained(folder, *arguments):
    train(folder, *SHAPES, *FAST, "--steps", "600", "--start-steps", "200", "--replay-rows", "700", *arguments)
    return run_in(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("td3"))


@pytest.fixture(scope="module")
def crossq_source(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("crossq"), "--batch-norm")


@pytest.fixture(scope="module")
def soft_source(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("soft"), *SAC, "--target-update", "soft")


@pytest.fixture(scope="module")
def hard_source(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("hard"), *SAC, "--target-update-every", "150")


def begun(folder, source, *arguments, steps=1, **options):
    """The run that begins with `source`, and what it said. One step of a larger batch: nothing is learned yet."""
    out, _ = train(folder, *SHAPES, "--init-from", str(source), "--eval-every", "0", "--steps", str(steps), *arguments,
                   **options)  # fmt: skip
    return run_in(folder), out


def state_of(run):
    return read_state(str(run / "checkpoint"))


def tensors(run):
    return load_file(run / "checkpoint" / state_of(run)["networks"]["file"])


def rows_of(run):
    """Its replay's closed rows, as bytes each; on the disk there may be more."""
    replay = state_of(run)["replay"]
    size = replay["row_bytes"]
    content = b"".join((run / "checkpoint" / s["file"]).read_bytes()[: s["rows"] * size] for s in replay["segments"])
    return [content[at : at + size] for at in range(0, len(content), size)][1 - replay["capacity"] :]


@pytest.mark.parametrize(
    ("which", "arguments"),
    [("source", ()), ("crossq_source", ()), ("source", ("--method", "static-td3", "--gamma", "0.9")),
     ("soft_source", (*SAC, "--target-update", "soft")), ("hard_source", SAC),
     ("hard_source", (*SAC, "--target-update", "soft"))],
)  # fmt: skip
def test_a_run_begins_with_the_networks_moments_and_counts_of_another_and_nothing_else(
    which, arguments, request, tmp_path
):
    source = request.getfixturevalue(which)
    run, out = begun(tmp_path, source, *arguments)
    before, now = tensors(source), tensors(run)
    assert before.keys() == now.keys()
    assert all((before[name] == now[name]).all() for name in before)
    theirs, ours = state_of(source)["agent"], state_of(run)["agent"]
    same = ("iteration", "actor_iteration", "linked", *(("log_alpha",) if "log_alpha" in theirs else ()))
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert ours["random_counter"] != theirs["random_counter"]
    assert state_of(run)["replay"]["rows_closed"] == 1
    scored = state_of(source)["evaluations"]["last"][-1][1]
    told = f"Begins with `{source}`, step 600, return {scored:,.1f}: {summary(run)['connections']:,} connections"
    targets = "" if which == "crossq_source" else " their targets,"
    assert f"{told} of actor and critics,{targets} Adam's moments after 400 updates." in out
    if "log_alpha" in theirs:
        assert f"alpha is {np.exp(theirs['log_alpha'][0]):.3g}." in out


SEEN = ("--normalize-observations", "--history", "2")


@pytest.fixture(scope="module")
def seeing_source(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("seeing"), *SEEN)


def statistics(run):
    """Count, means, sums of squared deviations."""
    return np.frombuffer(bytes.fromhex(state_of(run)["normalizer"]))


def test_how_networks_see_observations_comes_along_and_is_the_usual_way_then(seeing_source, tmp_path):
    run, out = begun(tmp_path, seeing_source, "--with-replay", "--replay-rows", "2000")
    theirs, ours = statistics(seeing_source), statistics(run)
    assert f"Statistics of {theirs[0]:,.0f} observations are taken, too." in out
    assert ours[0] == theirs[0] + 2  # a reset and a step
    np.testing.assert_allclose(ours[1:5], theirs[1:5], atol=0.05)
    assert state_of(run)["replay"]["offset"] == state_of(seeing_source)["replay"]["offset"]
    before, now = rows_of(seeing_source), rows_of(run)
    taken = int(re.search(rf"Its replay: (\d+) of its {len(before)} rows", out)[1])  # the source's ring has wrapped
    assert now[:taken] == before[-taken:]
    assert before[-taken - 1][-1] == 0  # the end of an episode: a history has all that was before


def test_statistics_are_in_the_units_of_the_run_that_takes_them(rng):
    arena = core.Arena(1 << 16)
    theirs, ours = (core.Normalizer(arena, name, 3, 10.0) for name in ("theirs", "ours"))
    seen = rng.normal([20.0, -3.0, 0.5], [4.0, 0.1, 1.0], (50, 3))  # in the environment's units
    their_low, their_high = np.array([0.0, -5.0, -1.0]), np.array([40.0, 5.0, 3.0])
    our_low, our_high = np.array([-10.0, -4.0, -2.0]), np.array([90.0, 0.0, 2.0])

    def scaled(observations, low, high):
        return (observations - (low + high) / 2) / ((high - low) / 2)

    for observation in scaled(seen, their_low, their_high):
        theirs.add(array("d", observation))
    source = SimpleNamespace(
        state={"normalizer": theirs.state.hex()},
        about={"observation_low": their_low.tolist(), "observation_high": their_high.tolist()},
    )
    environment = SimpleNamespace(
        observation_size=3, observation_low=our_low.tolist(), observation_high=our_high.tolist()
    )
    run = SimpleNamespace(environment=environment, agent=SimpleNamespace(normalizer=ours))
    assert _change_units(run, source) == " Statistics of 50 observations are taken, too."
    x = scaled(seen, our_low, our_high)
    np.testing.assert_allclose(ours.mean, x.mean(axis=0))
    np.testing.assert_allclose(ours.scale, x.std(axis=0))


def test_critics_that_normalise_their_batches_are_the_same_in_other_units(rng):
    """x = a x' + b: what their first layer takes away before the bias comes moves, not the bias."""
    arena = core.Arena(1 << 20)
    network = core.Network(arena, "critic_1", [3, 4, 1], [12, 4], "linear", batch_norm=True)
    scratch = core.TopologyWorkspace(arena, "scratch", 12, 4, 4)
    network.initialise(core.Random(1), scratch)
    network.running_mean(0)[:] = array("f", rng.normal(size=4))
    passed, q = core.Activations(arena, "pass", network.sizes, 7), core.Batch(arena, "q", 1, 7)

    def values(x):
        batch = core.Batch(arena, "x", 3, 7)
        for row in range(3):
            batch.memory[row * batch.stride : row * batch.stride + 7] = array("f", x[row])
        network.forward(batch, passed, q)
        return list(q.memory[:7])

    x = rng.normal(size=(3, 7))
    before = values(x)
    agent = SimpleNamespace(normalizer=None, networks={"critic_1": network}, workspace=scratch)
    run = SimpleNamespace(
        agent=agent, config=SimpleNamespace(history=0),
        environment=SimpleNamespace(observation_size=2, observation_low=[-1, 2], observation_high=[3, 4]),
    )  # fmt: skip
    source = SimpleNamespace(names=["critic_1"], about={"observation_low": [-2, -1], "observation_high": [1, 3]})
    _change_units(run, source)
    units = x[:2] * [[1.5], [2.0]] + [[-0.5], [1.0]]  # theirs were these, less middle, over half
    x[:2] = (units - [[1.0], [3.0]]) / [[2.0], [1.0]]
    np.testing.assert_allclose(values(x), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("which", "arguments", "words"),
    [
        ("source", ("--normalize-observations",), "see observations as they are.*--no-normalize-observations"),
        ("seeing_source", ("--no-normalize-observations",), "see observations normalised, and here they are not"),
        ("seeing_source", ("--history", "3"), "see a history of 2 steps and `history` is 3"),
        ("source", ("--batch-norm",), r"trained without batch .* are with\. Give `--no-batch-norm`\.$"),
        ("crossq_source", ("--no-batch-norm",), r"trained with batch .* are without\. Give `--batch-norm`\.$"),
    ],
)
def test_networks_that_were_other_ones_are_refused(which, arguments, words, request, tmp_path):
    source = request.getfixturevalue(which)
    _, err = train(tmp_path, *SHAPES, "--init-from", str(source), *arguments, code=1)
    assert re.search(words, err)
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_target_that_only_copies_has_no_room_for_a_union_and_is_copied_anew_which_is_told(soft_source, tmp_path):
    before = tensors(soft_source)
    union = any(
        len(before[f"critic_1_target.{layer}.indices"]) > len(before[f"critic_1.{layer}.indices"]) for layer in (0, 1)
    )
    assert union
    run, out = begun(tmp_path, soft_source, *SAC)
    now = tensors(run)
    assert "critic_1_target, critic_2_target copied from their networks" in out
    for layer in range(3):
        for name in ("indices", "values", "bias"):
            assert (now[f"critic_1_target.{layer}.{name}"] == before[f"critic_1.{layer}.{name}"]).all()


def test_the_replay_comes_along_whole_or_its_newest_rows_and_that_is_told(source, tmp_path):
    theirs = rows_of(source)
    (tmp_path / "all").mkdir()
    run, out = begun(tmp_path / "all", f"{source}/checkpoint", "--with-replay", "--replay-rows", "2000")
    transitions = summary(source)["replay_transitions"]
    assert f"Its replay: all {len(theirs):,} rows, {transitions:,} transitions." in out
    ours = rows_of(run)
    assert ours[: len(theirs)] == theirs
    # The source's open row, closed as the end of its episode, and the one step of this run.
    assert len(ours) == len(theirs) + 2
    assert ours[len(theirs)].hex() == state_of(source)["replay"]["open_row"][:-2] + "00"
    assert summary(run)["replay_transitions"] == transitions + 1

    (tmp_path / "some").mkdir()
    run, out = begun(tmp_path / "some", source, "--with-replay", "--replay-rows", "300")
    assert re.search(rf"Its replay: the newest 298 of its {len(theirs):,} rows, \d+ transitions\.", out)
    assert rows_of(run)[:297] == theirs[-297:]  # the step of this run took the place of the oldest one


@pytest.mark.parametrize(
    ("steps", "theirs", "ours", "taken"),
    [(90, 400, 400, 90), (190, 100, 400, 0), (250, 100, 400, 50), (250, 400, 100, 50), (190, 400, 100, 0)],
    ids=["whole", "without a beginning", "forgotten", "newest", "newest, without a beginning"],
)
def test_a_history_has_its_rows_from_a_beginning_on(steps, theirs, ours, taken, tmp_path):
    """Pendulum-v1's episodes have 200 steps: its second begins 50 rows before the last of 250, and a row of its end."""
    asked = (*("--env", "Pendulum-v1", "--hidden", "16", "--history", "2", "--budget-mb", "60", "--eval-every", "0"),
             *("--start-steps", "1000", "--no-progress"))  # fmt: skip
    for name in ("source", "run"):
        (tmp_path / name).mkdir()
    train(tmp_path / "source", *asked, "--steps", str(steps), "--replay-rows", str(theirs))
    source = run_in(tmp_path / "source")
    out, _ = train(tmp_path / "run", *asked, "--steps", "1", "--replay-rows", str(ours), "--with-replay",
                   "--init-from", str(source))  # fmt: skip
    there, here = rows_of(source), rows_of(run_in(tmp_path / "run"))
    told = f"all {taken} rows" if taken == len(there) else f"{taken} of its {len(there)} rows"
    assert f"Its replay: {told}, {taken} transitions." in out
    assert here[:taken] == there[len(there) - taken :]
    if taken == 50:
        assert there[-51][-1] == 0  # no transition: the last observation of the episode before
    assert len(here) == taken + (2 if taken else 1)  # the end of the source's episode, and the one step


def test_a_replay_of_several_segments_is_not_in_the_way_of_a_run_killed_within_its_first_checkpoint(source, tmp_path):
    run, _ = begun(tmp_path, source, "--with-replay", "--replay-rows", "2000")
    shutil.copy(next((run / "checkpoint").glob("replay-*")), run / "checkpoint" / "replay-0000050000.rows")
    for path in (run / "checkpoint").iterdir():
        if path.name.startswith("networks-"):
            path.rename(path.with_name("networks-000000000.safetensors"))
    (run / "checkpoint" / "state.json").unlink()
    (run / "summary.json").unlink()
    out, _ = train(tmp_path, *SHAPES, "--init-from", str(source), "--with-replay", "--replay-rows", "2000",
                   "--eval-every", "0", "--steps", "1", "--resume", "newest")  # fmt: skip
    assert "Finished 1 steps" in out


def test_no_update_is_made_before_the_replay_holds_a_batch(source, tmp_path):
    run, _ = begun(tmp_path, source, "--batch-size", "64", steps=80)
    assert state_of(run)["agent"]["iteration"] == 400 + 80 - 63


def test_a_run_that_begins_from_another_goes_on_after_a_kill_bit_for_bit(source, tmp_path):
    arguments = (*SHAPES, *FAST, "--init-from", os.path.relpath(source, tmp_path), "--with-replay")
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    arguments = (*arguments, "--replay-rows", "500", "--steps", "300")
    arguments = [str(source) if "-v5/" in part else part for part in arguments]
    train(tmp_path / "whole", *arguments)
    train(tmp_path / "stopped", *arguments, "--stop-at-return", "-1e9")  # at the evaluation of step 0
    stopped, whole = run_in(tmp_path / "stopped"), run_in(tmp_path / "whole")
    assert state_of(stopped)["step"] == 0
    out, _ = train(tmp_path / "stopped", *arguments, "--resume", "newest")
    assert "Begins with" not in out
    before, now = tensors(whole), tensors(stopped)
    assert all((before[name] == now[name]).all() for name in before)
    assert rows_of(whole) == rows_of(stopped)


def test_a_run_that_begins_from_another_stays_lean_and_below_a_small_budget(source, tmp_path):
    run, _ = begun(tmp_path, source, "--with-replay", "--budget-mb", "19", "--replay-rows", "10000", steps=300,
                   env=telling(tmp_path))  # fmt: skip
    assert summary(run)["peak_rss_bytes"] <= 19_000_000
    assert not modules(tmp_path) & {"numpy", "typing", "pathlib", "json", "dataclasses", "re", "gymnasium"}


def rewritten(run, folder, keep, **state_changes):
    """A copy of a run whose networks' file has only the tensors that `keep` says."""
    copy = shutil.copytree(run, folder)
    state = state_of(run)
    path = copy / "checkpoint" / state["networks"]["file"]
    found = {name: value for name, value in load_file(path).items() if keep(name)}
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    about = json.loads(header["__metadata__"]["edgedst"])
    if not any("critic" in name for name in found):
        about["sizes"] = {"actor": about["sizes"]["actor"]}
    save_file(found, path, {"edgedst": json.dumps(about)})
    content = path.read_bytes()
    record = {"file": path.name, "bytes": len(content), "crc32": zlib.crc32(content)}
    rest = {name: value for name, value in state.items() if name not in ("format", "edgedst", "config_crc32")}
    commit(copy, **{**rest, "networks": record, **state_changes})
    return copy


@pytest.mark.parametrize("which", ["source", "soft_source"])
def test_an_actor_alone_is_enough_and_what_is_random_is_told(which, request, tmp_path):
    source = request.getfixturevalue(which)
    actor = rewritten(source, tmp_path / "actor", lambda name: name.startswith("actor.") and "adam" not in name)
    run, out = begun(tmp_path, actor, *(SAC if which == "soft_source" else ()))
    assert "connections of the actor alone, the critics are random, " in out
    assert "copied from their networks; it has no moments of Adam for them, which begin at 0." in out
    before, now = tensors(actor), tensors(run)
    for name, value in before.items():
        assert (now[name] == value).all()
        if which == "source":
            assert (now[name.replace("actor", "actor_target")] == value).all()
    assert not any(now[name].any() for name in now if "adam" in name)
    assert (now["critic_1_target.0.values"] == now["critic_1.0.values"]).all()
    assert state_of(run)["agent"]["iteration"] == state_of(run)["agent"]["actor_iteration"] == 0


def test_networks_without_moments_begin_with_a_new_adam(source, tmp_path):
    bare = rewritten(source, tmp_path / "bare", lambda name: "adam" not in name)
    run, out = begun(tmp_path, bare)
    assert "connections of actor and critics, their targets; it has no moments of Adam for them" in out
    before, now = tensors(bare), tensors(run)
    assert all((now[name] == before[name]).all() for name in before)
    assert not any(now[name].any() for name in now if "adam" in name)
    assert state_of(run)["agent"]["iteration"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--env", "Hopper-v5"), r"takes 4 observations and gives 1 actions, and Hopper-v5 has 11 and 3"),
        (("--history", "2"), r"see a history of 0 steps and `history` is 2\. Give `--history 0`"),
        (("--hidden", "16"), r"layers of 32, 32 features and these .* 16, 16\. .*`--hidden 32,32 --lambda1 5.0 --"),
        (("--lambda2", "3"), r"stores .* in its layers and these settings give .*`--hidden 32,32 --lambda1 5.0 --"),
        (("--method", "ds-sac"), r"was trained by ds-td3 and `method` is ds-sac.*`--method ds-td3`"),
        (("--with-replay", "--replay-dtype", "float32"), r"has rows of dtype = float16, .*--replay-dtype float16"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence_before_anything_is_written(arguments, words, source, tmp_path):
    _, err = train(tmp_path, *SHAPES, "--init-from", str(source), *arguments, code=1)
    assert re.match(f"ConfigError: .*{words}", err), err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_the_refusal_of_other_connections_advises_works(tmp_path):
    (tmp_path / "source").mkdir()
    source = trained(tmp_path / "source", "--lambda1", "5", "--lambda2", "3", "--hidden", "24,16")
    _, err = train(tmp_path, *SHAPES, "--init-from", str(source), code=1)
    advice = re.search(r"`(--hidden [^`]*)`\.$", err.strip())[1].split()
    run, out = begun(tmp_path, source, *advice)
    assert f"{summary(source)['connections']:,} connections" in out
    assert summary(run)["connections"] == summary(source)["connections"]


@pytest.mark.parametrize("damage", ["state", "networks", "replay", "gone", "none"])
def test_a_damaged_source_is_one_sentence_before_anything_is_written(damage, source, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    state = state_of(source)
    names = {"state": "state.json", "networks": state["networks"]["file"], "gone": state["networks"]["file"]}
    path = copy / "checkpoint" / names.get(damage, state["replay"]["segments"][0]["file"])
    if damage == "gone":
        path.unlink()
    elif damage != "none":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    (tmp_path / "here").mkdir()
    name = copy.parent if damage == "none" else copy
    _, err = train(tmp_path / "here", *SHAPES, "--init-from", str(name), "--with-replay", code=1)
    words = {"gone": "cannot be read: No such file", "none": "has no checkpoint to begin with: expected"}
    assert re.match(f"CheckpointError: .*{words.get(damage, 'is damaged')}", err), err
    assert len(err.splitlines()) == 1
    assert list((tmp_path / "here").iterdir()) == []


def test_a_source_without_a_replay_has_none_to_take(source, tmp_path):
    (tmp_path / "here").mkdir()
    replay = {**state_of(source)["replay"], "capacity": 0, "rows_closed": 0, "open_row": "", "segments": []}
    imported = rewritten(source, tmp_path / "imported", lambda name: "adam" not in name, replay=replay)
    _, err = train(tmp_path / "here", *SHAPES, "--init-from", str(imported), "--with-replay", code=1)
    assert re.match(r"ConfigError: .* has no replay, as it has made no step\. Leave `--with-replay` out\.$", err), err
    assert list((tmp_path / "here").iterdir()) == []


def test_what_shapes_the_networks_is_as_in_the_source_unless_it_is_given(seeing_source):
    typed = {"env": "arm/robot.py", "init_from": str(seeing_source)}
    taken = combined(typed, {}, "")
    assert (taken.method, taken.hidden, taken.lambda1, taken.lambda2) == ("ds-td3", (32, 32), 5.0, 8.0)
    assert (taken.history, taken.normalize_observations, taken.sparsity) == (2, True, None)
    assert (taken.start_steps, taken.updates_per_step, taken.gamma) == (0, 0, 0.99)  # what a robot.py gets
    assert combined({**typed, "history": 0, "hidden": (64, 64)}, {}, "").hidden == (64, 64)
    sparse = combined({**typed, "sparsity": 0.5}, {}, "")
    assert (sparse.sparsity, sparse.lambda1, sparse.lambda2) == (0.5, None, None)


def test_a_sparsity_of_one_network_is_the_source_s_too_and_a_refusal_says_what_is_in_the_way(tmp_path):
    own = ("--actor-sparsity", "0.7", "--lambda1", "5", "--lambda2", "8")
    for name in ("source", "same", "other"):
        (tmp_path / name).mkdir()
    train(tmp_path / "source", *TINY, *own)
    begin = (*TINY, "--init-from", run_in(tmp_path / "source"), "--steps", "300")
    train(tmp_path / "same", *begin)
    assert TrainConfig.load(run_in(tmp_path / "same") / "config.toml")["actor_sparsity"] == 0.7
    _, err = train(tmp_path / "other", *begin, "--sparsity", "0.5", code=1)
    told = re.search(r"Give the settings of that run: `(.*)`, and leave `sparsity` out\.$", err)
    assert told, err
    train(tmp_path / "other", *begin, *told[1].split())
    assert summary(run_in(tmp_path / "other"))["connections"] == summary(run_in(tmp_path / "same"))["connections"]


def test_with_init_from_random_steps_are_none_unless_they_are_given():
    assert combined({"init_from": "x"}, {}, "").start_steps == 0
    assert combined({"init_from": "x", "start_steps": 7}, {}, "").start_steps == 7
    assert combined({"init_from": "x"}, {"start_steps": 9}, "a.toml").start_steps == 9
    assert combined({"init_from": "x", "env": "robot.py"}, {}, "").start_steps == 0
    assert combined({"init_from": "x"}, {"start_steps": 25_000}, "run/config.toml").start_steps == 0  # TD3's own
    assert combined({}, {}, "").start_steps == 25_000


def test_a_relative_source_is_the_same_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert TrainConfig(init_from="runs/x").init_from == str(tmp_path / "runs" / "x")


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"with_replay": True}, "and it names none"), ({"init_from": ""}, "must be the path"),
     ({"init_from": "a\nb"}, "control characters")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**settings)
