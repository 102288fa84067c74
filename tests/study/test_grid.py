import os
from pathlib import Path

import pytest

from edgedst.config import TrainConfig
from edgedst.density import nnz_per_layer
from edgedst.errors import ConfigError, StudyError
from edgedst.launch.settings import NAMED_PRESETS
from edgedst.study.grid import SHIPPED, Point, find_study, identity, read_study

# Digests of the runs of edgedst 0.1.0: a setting that is added since must not make them other runs.
OLD_NAMES = {"ds-td3": "f57acfd8", "static-td3": "de331789", "td3": "dc112ca0", "ds-sac": "507dde84", "sac": "9518bd8e"}


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return read_study(path)

    return from_text


def test_a_grid_is_every_combination_and_the_first_seed_of_everything_comes_first(read):
    study = read(
        """
        [settings]
        steps = 3000
        method = "ds-td3"
        [grid]
        env = ["HalfCheetah-v4", "Hopper-v4"]
        evolve_every = [200, 1000]
        seed = [0, 1]
        """
    )
    points = [(p.config.seed, p.config.env, p.config.evolve_every) for p in study.points]
    assert points == [
        (0, "HalfCheetah-v4", 200),
        (0, "HalfCheetah-v4", 1000),
        (0, "Hopper-v4", 200),
        (0, "Hopper-v4", 1000),
        (1, "HalfCheetah-v4", 200),
        (1, "HalfCheetah-v4", 1000),
        (1, "Hopper-v4", 200),
        (1, "Hopper-v4", 1000),
    ]
    assert {p.config.steps for p in study.points} == {3000}
    assert len({p.name for p in study.points}) == 8
    assert study.name == study.title == "mine"


def test_several_grids_add_up_and_hidden_is_a_list_in_itself(read):
    study = read(
        """
        [settings]
        hidden = [32, 32]
        [[grid]]
        method = "td3"
        [[grid]]
        label = "wide"
        hidden = [[64, 64], [128]]
        """
    )
    assert [(p.config.method, p.config.hidden, p.label) for p in study.points] == [
        ("td3", (32, 32), ""),
        ("ds-td3", (64, 64), "wide"),
        ("ds-td3", (128,), "wide"),
    ]


def test_a_point_keeps_its_name_when_the_study_grows_and_when_threads_change(read):
    (before,) = read("[grid]\nseed = 3").points
    after = read("[settings]\nthreads = 2\n[grid]\nseed = [1, 2, 3]\nevolve_every = [1000, 50]").points
    assert before.name in {p.name for p in after}


def test_the_names_of_runs_that_were_trained_before_hold():
    names = {method: Point(TrainConfig(method=method).resolved()).name for method in OLD_NAMES}
    assert names == {method: f"HalfCheetah-v4-{method}-s0-{digest}" for method, digest in OLD_NAMES.items()}


def test_settings_have_all_of_their_names_and_a_grid_s_own_goes_before_those_of_all(read):
    study = read(
        "[settings]\nlr = 1e-3\ntotal_timesteps = 1e4\n[[grid]]\nlearning_rate = [1e-4, 1e-5]\nnet_arch = [64, 32]\n"
    )
    assert [point.config.learning_rate for point in study.points] == [1e-4, 1e-5]
    assert {(point.config.steps, point.config.hidden) for point in study.points} == {(10_000, (64, 32))}


def test_a_whole_number_is_the_same_budget_with_a_point_and_static_runs_differ_by_lambda_only(read):
    (one,), (other,) = read("[grid]\nbudget_mb = 50").points, read("[grid]\nbudget_mb = 50.0").points
    assert identity(one.config) == identity(other.config)
    static = read("[grid]\nmethod = 'static-td3'\nlambda1 = [6.0, 7.0]").points
    assert identity(static[0].config) != identity(static[1].config)


def test_a_study_without_a_title_is_called_as_its_file_or_as_its_folder(tmp_path, monkeypatch):
    (tmp_path / "width" / "runs").mkdir(parents=True)
    for name in ("mine.toml", "study.toml"):
        (tmp_path / "width" / name).write_text("[grid]\nseed = 0\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "width")
    assert [read_study(Path(name)).title for name in ("mine.toml", "study.toml")] == ["mine", "width"]
    monkeypatch.chdir("runs")
    assert read_study(Path("../study.toml")).title == "width"


def test_line_breaks_in_titles_and_labels_become_spaces(read):
    study = read('title = "one\\ntwo"\n[grid]\nlabel = "three\\n four"\nseed = 0')
    assert (study.title, study.points[0].label) == ("one two", "three four")


MANY = list(range(3_000))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[grid]\nseed = [0, 1", StudyError, r"is not TOML: .*line 2"),
        ("[grid]\nmethod = 'ds-td4'", ConfigError, r"`method` must be one of ds-td3, .*Did you mean `ds-td3`\?"),
        ("[grid]\nevolve_evry = 3", ConfigError, r"unknown setting `evolve_evry`. Did you mean `evolve_every`\?"),
        ("[grid]\nsteps = 'many'", ConfigError, r"`steps` must be a whole number"),
        ("[grid]\nseed = []", StudyError, r"`seed` is an empty list"),
        ("[grid]\nseed = [0, 1, 0]", StudyError, r"has the run ds-td3 on HalfCheetah-v4, seed 0 twice"),
        ("[[grid]]\nlambda1 = 7.0\n[[grid]]\nseed = 0", StudyError, r"twice"),  # the preset says 7 as well
        ("[[grid]]\nthreads = [1, 2]", StudyError, r"twice"),  # one result, whatever the threads
        ("[grid]\nbudget_mb = [50, 50.0]", StudyError, r"twice"),
        ("[grid]\nmethod = ['ds-td3', 'td3']\nevolve_every = [200, 1000]", StudyError, r"td3 does not use them"),
        ("[grid]\nmethod = 'static-sac'\neta = [0.1, 0.2]", StudyError, r"static-sac does not use them"),
        (
            "[grid]\nenv = ['Hopper-v4', 'arm.py']",
            StudyError,
            r"several would move the machine of `/.*/arm\.py` at once",
        ),
        (
            "[grid]\nhardware = true\nmethod = 'sac'\nseed = [4]",
            StudyError,
            r"Train one seed after the other: `edgedst ",
        ),
        ("[settings]\nsteps = 3", StudyError, r"has no grid"),
        ("steps = 3\n[grid]\nseed = 0", StudyError, r"unknown key `steps`. Settings of all runs stand below"),
        ("[gird]\nseed = 0", StudyError, r"unknown key `gird`. Did you mean `grid`\?"),
        ("title = 3\n[grid]\nseed = 0", StudyError, r"`title` must be a text"),
        ("[[grid]]\nseed = 0\n[[grid]]\nsteps = 0", ConfigError, r"mine.toml`, grid 2: `steps` must be at least 1"),
        ("[grid]\nlabel = ['a', 'b']", StudyError, r"`label` must be a text"),
        ("", StudyError, r"has no grid"),
        ("grid = 3", StudyError, r"`grid` must be a table"),
        ("[grid]\nseed = [1, true]", ConfigError, r"`seed` must be a whole number and is True"),
        ("[grid]\nseed = " + "[" * 9_999 + "]" * 9_999, StudyError, r"is not TOML: .* nested too deeply"),
        ("[grid]\nseed = " + "9" * 5_000, StudyError, r"is not TOML: a number in it has too many digits"),
        (f"[grid]\nbudget_mb = {10**400}", StudyError, r"is not TOML: a whole number in it does not fit 64 bits"),
        (f"[grid]\nseed = {list(range(10_001))}", StudyError, r"has 10,001 runs, .* may have 10,000"),
        (f"[grid]\nseed = {MANY}\nsteps = {MANY}\ngamma = {MANY}", StudyError, r"has 27,000,000,000 runs"),
        ("".join(f"[[grid]]\nseed = {MANY}\n" for _ in range(4)), StudyError, r"has 12,000 runs"),
        ("[grid]\nhidden = [[64, 64], 3]", ConfigError, r"`hidden` must be a list of whole numbers"),
    ],
)
def test_what_is_wrong_is_one_sentence(text, error, words, read):
    with pytest.raises(error, match=words) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_a_study_may_come_from_a_pipe_and_with_the_mark_of_an_editor():
    source, sink = os.pipe()
    os.write(sink, b"\xef\xbb\xbf[grid]\nseed = 3")
    os.close(sink)
    path = find_study(f"/dev/fd/{source}")
    assert [point.config.seed for point in read_study(path).points] == [3]
    os.close(source)


@pytest.mark.parametrize("name", ["a\0b", "n" * 300, "none/study.toml"])
def test_a_study_that_is_not_there_is_a_sentence(name):
    with pytest.raises(StudyError, match=r"There is no study|cannot be read: File name too long"):
        read_study(find_study(name))


def test_shipped_studies_are_found_by_name():
    assert find_study("smoke.toml") == find_study("smoke") == SHIPPED / "smoke.toml"
    with pytest.raises(StudyError, match=r"no study `paper-td4.toml`. Did you mean `paper-td3.toml`\?"):
        find_study("paper-td4.toml")


def test_a_file_comes_before_a_shipped_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke.toml").write_text("[grid]\nseed = 0", encoding="utf-8")
    assert find_study("smoke.toml").absolute() == tmp_path / "smoke.toml"


TASKS = {f"{task}-v4" for task in ("HalfCheetah", "Hopper", "Walker2d", "Ant", "Humanoid")}


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.name)
def test_a_shipped_study_is_the_paper_s_protocol(path):
    points = [p.config for p in read_study(path).points]
    if path.stem == "smoke":
        assert len({p.env for p in points}) == len({p.method for p in points}) == 2
        return
    if path.stem == "sparse-sac":
        of_sac = sorted((str(p.sparsity), p.hidden, p.updates_per_step, p.method) for p in points)
        assert of_sac == [
            ("0.8", (256, 256), 1, "ds-sac"),
            ("0.9", (256, 256), 1, "ds-sac"),
            ("0.95", (512, 512), 2, "ds-sac"),
            ("None", (256, 256), 1, "ds-sac"),
            ("None", (256, 256), 1, "sac"),
        ]
        return
    if path.stem in ("sparse-and-often", "more-updates"):
        often = path.stem == "sparse-and-often"
        runs = 4 * 5 * 3 + 2 if often else 4 * (3 * 3 + 1)
        assert ({p.env for p in points}, len(points)) == (TASKS - {"Humanoid-v4"}, runs)
        assert {(p.steps, p.budget_mb) for p in points} == {(300_000, 50)}
        board = TrainConfig.from_settings(NAMED_PRESETS["board"]["td3"]).settings()
        of_the_preset = [
            p for p in points if all(p.settings()[name] == board[name] for name in NAMED_PRESETS["board"]["td3"])
        ]
        assert len(of_the_preset) == (4 * 3 if often else 0)
        return
    assert {p.seed for p in points} == set(range(5))
    assert {p.steps for p in points} == {1_000_000}
    assert {(p.eval_every, p.eval_episodes) for p in points} == {(5_000, 10)}
    methods, tasks = {p.method for p in points}, {p.env for p in points}
    if path.stem == "paper-td3":
        assert (methods, tasks, len(points)) == ({"ds-td3", "static-td3", "td3"}, TASKS, 5 * 3 * 5)
    if path.stem == "paper-sac":
        assert (methods, tasks, len(points)) == ({"ds-sac", "sac"}, TASKS, 5 * 3 * 5)  # SAC with hard and soft targets
    if path.stem == "paper-schedule":
        assert {p.evolve_every for p in points if p.method == "ds-td3"} == {200, 500, 1000, 2000}
        assert (methods, len(points)) == ({"ds-td3", "td3"}, 5 * 5)


def connections(settings):
    """Of the actor and both critics on HalfCheetah."""
    actor, critic = (
        nnz_per_layer(*of, settings) for of in (("actor", [17, 256, 256, 6]), ("critic", [23, 256, 256, 1]))
    )
    return sum(actor) + 2 * sum(critic)


def test_the_sparsity_study_leaves_75_50_and_20_percent_of_the_connections():
    points = [p.config for p in read_study(SHIPPED / "paper-sparsity.toml").points]
    sparse = {connections(p) / 214_784 for p in points if p.method == "ds-td3"}
    assert sorted(sparse) == pytest.approx([0.20, 106_169 / 214_784, 0.75], abs=1e-4)  # of one connection in 10,000
    assert {connections(p) for p in points if p.method == "td3"} == {214_784}
    assert len(points) == 4 * 5
