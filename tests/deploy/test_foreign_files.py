"""Files that were damaged, or made by somebody: what they say of themselves is held against what they are and do."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from actors import change_state, normalizer, random_actor, seeing
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from edgedst.cli import verbs
from edgedst.deploy.evaluate import evaluate
from edgedst.deploy.onnx import OPSETS, Format, build_model, export_actor
from edgedst.deploy.onnx_weights import FORMS
from edgedst.deploy.packing import DTYPES
from edgedst.deploy.session import KEYS_BEFORE, OPERATORS, open_checked, sealed
from edgedst.errors import CheckpointError, EdgedstError
from edgedst.runs.actor import read_actor, read_state
from edgedst.runs.recorded import recorded_rows

NOTHING_RECORDED = np.zeros((0, 3), dtype=np.float32)
DEEP, ENDLESS = "[" * 100_000, "9" * 5000

# Texts that would be something in a unit of systemd, in C, in a shell, in Make, in a page or on a terminal.
NASTY = (
    *("Fake-v0\n[Service]\nExecStartPre=+/bin/sh", "Fake\r-v0", "Fake\u2028-v0", "Fake\x85-v0", "Fake\x1b[2J-v0"),
    *("Fake*/-v0", 'Fake"-v0', "Fake'-v0", "Fake\\-v0", "Fake%n-v0", "$(id)-v0", "`id`-v0", "${HOME}-v0", "Fake -v0"),
    *("<script>-v0", "Fake&-v0", "Fake|-v0", "Fake#-v0", "", "\ud800-v0", "F" * 1000, "Fake\0-v0", "-Fake-v0"),
)


def test_reading_a_run_takes_the_memory_of_its_files_and_not_of_the_largest_that_may_be(run):
    """On a board of 1 GB an export ended for want of 1 GB."""
    code = (
        "import resource, sys; from pathlib import Path; from edgedst.runs.actor import read_actor; "
        "resource.setrlimit(resource.RLIMIT_DATA, (2**29, 2**29)); print(len(read_actor(Path(sys.argv[1])).layers))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("3\n", "")


@pytest.fixture
def model(run):
    return build_model(read_actor(run))


def say(model, **changes):
    """The model with another metadata, and a checksum that comes out."""
    (entry,) = model.metadata_props
    entry.value = json.dumps({**json.loads(entry.value), **changes})
    return model


@pytest.fixture
def refused(tmp_path):
    """Assert that a file of these bytes is not played, in one sentence that has these words."""

    def refuse(content, words):
        path = tmp_path / "actor.onnx"
        path.write_bytes(content if isinstance(content, bytes) else sealed(content))
        with pytest.raises(EdgedstError, match=words) as failure:
            evaluate(path, 1)
        assert len(str(failure.value).splitlines()) == 1

    return refuse


# --- A checksum over every bit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "format",
    [*(Format(form, dtype) for form in FORMS for dtype in DTYPES), Format(stochastic=True), Format(opset=11)],
    ids=str,
)
def test_no_flipped_bit_is_played(format, make_run, tmp_path, rng):
    actor = read_actor(make_run(tmp_path / "s7-20260102-030405", method="ds-sac"))
    path = tmp_path / "actor.onnx"
    export_actor(actor, path, NOTHING_RECORDED, format)
    open_checked(path)
    content = path.read_bytes()
    for bit in rng.choice(8 * len(content), 200, replace=False):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(EdgedstError) as failure:
            open_checked(path)
        assert len(str(failure.value).splitlines()) == 1


def test_no_flipped_bit_of_the_metadata_is_played(model, tmp_path):
    content = sealed(model)
    path = tmp_path / "actor.onnx"
    about = content.index(b'"sha256"')
    for place in range(about - 20, len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(EdgedstError):
                open_checked(path)


@pytest.mark.parametrize("checksum", ["", "0" * 64, "f" * 64, 7, None, "\u00e4" * 64, [], "0" * 63 + "\n"])
def test_a_checksum_that_is_none_is_refused(checksum, model, tmp_path, refused):
    say(model, sha256=checksum)
    refused(model.SerializeToString(), "is not as `edgedst export` wrote it: its checksum is another one")


@pytest.mark.usefixtures("registry")
def test_a_file_from_before_there_was_a_checksum_is_played_with_a_note(model, tmp_path, capfd):
    path = tmp_path / "actor.onnx"
    path.write_bytes(model.SerializeToString())
    assert set(json.loads(model.metadata_props[0].value)) == KEYS_BEFORE
    assert "has no checksum: damage to it could not be told" in evaluate(path, 1).notes[0]
    path.write_bytes(sealed(model))
    assert evaluate(path, 1).notes == ()


# --- What a graph is and does ----------------------------------------------------------------------------------------


def test_every_form_is_made_of_the_operators_that_are_played(rng):
    actor = random_actor(rng, (17, 64, 64, 64, 6), (0.05, 0.05, 0.5, 1.0))  # gaps, a bitmask, dense
    formats = [Format(form, dtype, opset) for form in FORMS for dtype in DTYPES for opset in (OPSETS[0], 13, 17)]
    models = [build_model(actor, format) for format in formats]
    models.append(build_model(seeing(actor, normalizer=normalizer([300.0] * 17, [0.1] * 17))))
    found = {node.op_type for model in models for node in model.graph.node}
    assert found == OPERATORS


def test_an_endless_loop_is_not_begun(model, refused):
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", "", "obs"], ["never"], body=body))
    refused(model, "has the operators 'Loop'")


def test_a_function_or_an_operator_of_its_own_is_not_run(model, refused):
    model.graph.node[0].domain = "elsewhere"
    refused(model, "has the operators")
    model.graph.node[0].domain = ""
    node = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("", "Tanh", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))
    refused(model, "has functions of its own")


def test_weights_in_another_file_are_not_read(model, refused):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    refused(model, "its weights are in another file")


@pytest.mark.parametrize("places", [2**40, 2**62, -5])
def test_weights_that_would_unpack_to_more_than_any_memory_are_refused(places, model, refused):
    (size,) = (t for t in model.graph.initializer if t.name == "bitmask.size")
    size.CopyFrom(numpy_helper.from_array(np.array([1, places]), size.name))
    refused(model, "its weights unpack to")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"observation_size": 4}, "says that it takes 4 observations, and takes 3"),
        (
            {"action_size": 3, "action_low": [-1, -1, -1], "action_high": [1, 1, 1]},
            "gives 3 actions; .*has 3 and 2 here",
        ),
        ({"action_high": [1, -0.2]}, "gave an action of .* at index 1, and says that it lies between -0.25 and -0.2"),
        ({"action_low": [-1]}, "action_low has 1 numbers for 2 actions"),
        ({"action_low": [-1, float("nan")]}, "no finite number"),
        ({"action_low": [-1, 10**400]}, "OverflowError"),
        ({"action_low": ["-1", "-1"]}, "no finite number"),
        ({"action_size": 2.0}, "no whole number"),
        ({"action_size": True}, "no whole number"),
        ({"observation_size": 0}, "no whole number"),
        ({"environment": None}, "no environment's id"),
        ({"environment": ["Fake-v0"]}, "no environment's id"),
        ({"format": "1"}, "its format is 1, and 1 is read here"),
    ],
)
def test_what_a_file_says_and_does_not_do_is_one_sentence(said, words, model, refused):
    refused(say(model, **said), words)


@pytest.mark.usefixtures("registry")
def test_fewer_actions_than_a_file_says_are_not_spread_out(model, registry, refused):
    registry.action_size = 3
    refused(
        say(model, action_size=3, action_low=[-1, -1, -1], action_high=[9, 9, 9]),
        r"says that it gives 3 actions, and gives an array of shape \(1, 2\)",
    )


@pytest.mark.parametrize("text", [DEEP, ENDLESS, "null", "[]", "7", '"edgedst"', '{"format": ' + DEEP, ""])
def test_metadata_that_no_parser_takes_is_one_sentence(text, model, refused):
    model.metadata_props[0].value = text
    refused(model.SerializeToString(), "was not exported by this edgedst")


@pytest.mark.parametrize("name", NASTY)
def test_an_environment_s_name_is_one_wherever_it_comes_from(name, run, model, tmp_path, refused, change_about):
    refused(say(model, environment=name), "no environment's id")
    change_about(run, env=name)
    for option in ([tmp_path / "a.onnx"], [tmp_path / "a.c"], ["--bundle", tmp_path / "kit", "--rate", "50"]):
        done = CliRunner().invoke(verbs.app, ["export", "--run", str(run), *map(str, option)])
        assert isinstance(done.exception, CheckpointError)
        assert "is no environment's id" in str(done.exception)
        str(done.exception).encode("ascii", "strict" if str(tmp_path).isascii() else "replace")
    assert not [path for path in tmp_path.iterdir() if path.name not in ("runs", "actor.onnx")]


@pytest.mark.parametrize("name", ["K\u00fcche/\u00c4rmchen-v0", "my.package:Ns/Fake.2-v10", "\u4e16\u754c-v0"])
def test_a_name_that_an_environment_may_have_is_one_in_every_file_of_a_bundle(name, run, tmp_path, change_about):
    change_about(run, env=name)
    arguments = ["export", "--run", str(run), "--bundle", str(tmp_path / "kit"), "--rate", "50"]
    assert CliRunner().invoke(verbs.app, arguments).exit_code == 0
    unit = (tmp_path / "kit" / "edgedst-actor.service").read_text(encoding="utf-8")
    assert f"Description=edgedst actor: ds-td3 on {name}, 50 steps a second\n" in unit
    assert name in (tmp_path / "kit" / "README.md").read_text(encoding="utf-8")


# --- Paths that are no files -----------------------------------------------------------------------------------------


def test_what_is_no_regular_file_is_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe", tmp_path / "pipe.onnx"):
        with pytest.raises(CheckpointError, match="it is no regular file"):
            evaluate(path)


def test_a_file_larger_than_any_actor_is_not_read(tmp_path):
    with (tmp_path / "actor.onnx").open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no room
    with pytest.raises(CheckpointError, match="has 1,099,511,627,776 bytes, and no actor more than"):
        evaluate(tmp_path / "actor.onnx")


def test_what_is_not_there_or_no_run_is_told_without_options_that_evaluate_has_not(tmp_path):
    (tmp_path / "out").mkdir()
    for name, words in (("nosuch", "There is no file"), ("out", "It is no run folder, which has a config.toml")):
        with pytest.raises(CheckpointError, match=words) as failure:
            evaluate(tmp_path / name)
        assert "--run`" not in str(failure.value)


def test_a_folder_of_runs_names_the_newest_of_them(tmp_path):
    for name in ("s0-20260101-000000", "s1-20260301-000000", "s2-20260201-000000"):
        run = tmp_path / "runs" / "Ant-v4" / "ds-td3" / name
        (run / "checkpoint").mkdir(parents=True)
        (run / "checkpoint" / "state.json").touch()
    (run.parent / "s9-20260401-000000" / "checkpoint").mkdir(parents=True)  # stopped before its first checkpoint
    foreign = tmp_path / "runs" / "src-main" / "checkpoint"
    foreign.mkdir(parents=True)
    (foreign / "state.json").touch()
    for folder in (run.parents[2], run.parents[1], run.parent):
        with pytest.raises(CheckpointError, match=r"It holds runs: the newest is `.*/s1-20260301-000000`\.$"):
            evaluate(folder)


@pytest.fixture
def open_to_all():
    """A folder that everybody may write in; those that pytest makes are their user's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def nobody():
    """A user who may not search what root made; where the tests are no root's, modes alone do it."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_folders_that_may_not_be_searched_are_one_sentence(run, tmp_path, open_to_all, request):
    bundle = tmp_path / "kit"
    arguments = ["export", "--run", str(run), "--bundle", str(bundle), "--rate", "50"]
    assert CliRunner().invoke(verbs.app, arguments).exit_code == 0
    for folder in (run, bundle):
        folder.chmod(0o000)
        request.addfinalizer(functools.partial(folder.chmod, 0o755))  # for whoever removes it
    request.getfixturevalue("nobody")
    tries = [
        lambda: evaluate(run),
        lambda: evaluate(bundle),
        lambda: evaluate(bundle / "actor.onnx"),
        lambda: read_state(run),
        lambda: recorded_rows(run, 30, 3, 2),
    ]
    for attempt in tries:
        with pytest.raises(CheckpointError, match="Permission denied"):
            attempt()
    for target in (["--run", str(run)], ["--run-dir", str(tmp_path / "runs")]):
        done = CliRunner().invoke(verbs.app, ["export", str(open_to_all / "actor.onnx"), *target])
        assert isinstance(done.exception, CheckpointError), done.output


# --- A checkpoint's own metadata -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        *({"env": value} for value in (None, 7, ["Fake-v0"], {})),
        *({"method": value} for value in (None, "ppo", "ds-td3\n", 3, [])),
        *({"seed": value} for value in (-1, 2**63, 1.5, "7", True, None)),
        *({"step": value} for value in (-1, 2**70, "1000", None)),
        *({"sizes": value} for value in (None, [], {"actor": None}, {"actor": []}, {"actor": [3]}, {"actor": "3852"})),
        *({"sizes": {"actor": value}} for value in ([3, 8, 5, -2], [3.0, 8, 5, 2], [2**30, 2**30, 2], [3, 8, 5, 2, 0])),
        *({"action_low": value} for value in (None, [], [-1], [None, None], ["a", "b"], [-1, float("-inf")], [9, 9])),
        *({"action_high": value} for value in ([1, float("nan")], [1, 10**400], 1, {"a": 1})),
        *({"evaluation_return": value} for value in ("much", float("inf"), [], 10**400)),
    ],
    ids=lambda changes: ascii(changes)[:60],
)
def test_metadata_of_wrong_types_or_values_is_one_sentence(changes, run, change_about):
    change_about(run, **changes)
    with pytest.raises(CheckpointError) as failure:
        read_actor(run)
    assert len(str(failure.value).splitlines()) == 1
    assert len(str(failure.value)) < 1000


@pytest.mark.parametrize(
    ("method", "layer", "positions", "words"),
    [
        ("ds-td3", 0, [], "the 0 positions of layer 0 are not one or more, ascending below 24"),
        ("ds-td3", 2, [], "the 0 positions of layer 2 are not one or more, ascending below 10"),
        ("ds-td3", 1, [7, 7], "the 2 positions of layer 1 are not one or more, ascending below 40"),
        ("ds-td3", 1, [7, 40], "the 2 positions of layer 1 are not one or more, ascending below 40"),
        ("ds-sac", 2, [0, 9], "its means have 2 of the 2 weights of the last layer"),
        ("ds-sac", 2, [10, 19], "its means have 0 of the 2 weights of the last layer"),
    ],
)
def test_a_layer_without_a_weight_or_with_its_weights_elsewhere_is_refused(
    method, layer, positions, words, make_run, tmp_path, change_about
):
    run = make_run(tmp_path / "runs" / "Fake-v0" / method / "s7-20260102-030405", method=method)
    indices = np.array(positions, np.uint32)
    values = np.ones(len(positions), np.float32)
    change_about(run, tensors={f"actor.{layer}.indices": indices, f"actor.{layer}.values": values})
    with pytest.raises(CheckpointError, match=words):
        read_actor(run)


@pytest.mark.parametrize("version", ["0.1\n[Service]", "0.1 */", '0.1"', "", "%n", "$HOME", "<b>", 1])
def test_a_version_is_one_wherever_it_comes_from(version, run):
    change_state(run, edgedst=version)
    with pytest.raises(CheckpointError) as failure:
        read_actor(run)
    assert len(str(failure.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", [DEEP, ENDLESS, "", "null", "[1, 2]", "{", '{"env": "\\ud800"}', '{"step": ' + ENDLESS + "}"]
)
def test_metadata_that_is_no_object_is_one_sentence(text, run, change_about):
    change_about(run, text=text)
    with pytest.raises(CheckpointError) as failure:
        read_actor(run)
    assert len(str(failure.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a\nb", "", 7, None, "x" * 300, "..", "."])
def test_a_checkpoint_names_files_of_its_own_folder_alone(name, run):
    state = json.loads((run / "checkpoint" / "state.json").read_text())
    state["networks"]["file"] = state["replay"]["segments"][0]["file"] = name
    change_state(run, networks=state["networks"], replay=state["replay"])
    for read in (read_actor, lambda run: recorded_rows(run, 30, 3, 2)):
        with pytest.raises(CheckpointError) as failure:
            read(run)
        assert len(str(failure.value).splitlines()) == 1


def test_a_flipped_bit_of_a_replay_segment_is_found(run):
    path = run / "checkpoint" / "replay-0.bin"
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"replay-0\.bin` is damaged: expected CRC-32"):
        recorded_rows(run, 10, 3, 2)
