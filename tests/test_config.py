import datetime
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgedst import parse
from edgedst.config import ALIASES, PRESETS, SETTINGS, TrainConfig
from edgedst.density import nnz_per_layer
from edgedst.errors import ConfigError
from edgedst.flops import Workload, paper_flops
from edgedst.launch.job import trainer_command
from edgedst.launch.settings import combined, configured, read_typed
from edgedst.setting import toml


@pytest.mark.parametrize(
    ("env", "sizes", "connections"),
    [
        # Sokar et al. 2022, Table 3: connections of the actor and of both critics, sparse and dense.
        ("HalfCheetah-v4", (17, 6), (106_169, 214_784)),
    ],
)
def test_connections_are_those_of_the_paper_s_table(env, sizes, connections):
    n, m = sizes
    for method, expected in zip(("ds-td3", "td3"), connections, strict=True):
        config = TrainConfig(env=env, method=method).resolved()
        actor = nnz_per_layer("actor", [n, 256, 256, m], config)
        critic = nnz_per_layer("critic", [n + m, 256, 256, 1], config)
        assert sum(actor) + 2 * sum(critic) == expected


def test_without_lambda1_layer_1_takes_the_density_of_layer_2():
    config = TrainConfig(env="Pendulum-v1").resolved()
    assert config.lambda1 is None
    first, second, output = nnz_per_layer("critic", [3, 256, 256, 1], config)
    assert first / (3 * 256) == pytest.approx(second / 256**2, abs=1e-3)
    assert output == 256


def test_a_layer_stores_at_most_all_of_its_weights_and_at_least_one():
    assert nnz_per_layer("actor", [3, 4, 4, 2], TrainConfig(lambda1=1000.0, lambda2=1e-6)) == [12, 1, 8]


def test_presets_are_the_paper_s_and_hold_for_every_version():
    lambda1 = {"HalfCheetah": 7, "Hopper": 7, "Walker2d": 7, "Ant": 40, "Humanoid": 61}
    assert PRESETS["td3"] == {task: (value, 64) for task, value in lambda1.items()}
    assert PRESETS["sac"] == {  # Table 4
        "HalfCheetah": (12, 80), "Walker2d": (12, 80), "Hopper": (7, 20), "Ant": (30, 64), "Humanoid": (61, 64)
    }  # fmt: skip
    assert TrainConfig(env="Ant-v5").resolved().lambda1 == 40
    assert TrainConfig(env="Ant-v5", lambda1=3).resolved().lambda1 == 3


def test_sac_has_the_paper_s_settings_and_td3_keeps_its_own():
    sac = TrainConfig(method="ds-sac", env="Hopper-v5").resolved()
    assert (sac.lambda1, sac.lambda2, sac.eta, sac.evolve_every) == (7, 20, 0.1, 1000)
    assert (sac.learning_rate, sac.batch_size, sac.weight_decay, sac.start_steps) == (3e-4, 256, 0, 10_000)
    assert (sac.alpha, sac.alpha_tuning) == (0.2, "fixed")
    assert (sac.target_update, sac.tau, sac.target_update_every) == ("hard", 1, 1000)
    assert sac.policy_delay is None
    td3 = TrainConfig(env="Hopper-v5").resolved()
    assert (td3.lambda1, td3.lambda2, td3.eta, td3.tau, td3.policy_delay) == (7, 64, 0.05, 0.005, 2)
    assert (td3.learning_rate, td3.batch_size, td3.weight_decay, td3.start_steps) == (1e-3, 100, 2e-4, 25_000)
    assert td3.alpha is td3.target_update is None


def test_a_soft_target_update_moves_half_a_percent_at_every_update():
    soft = TrainConfig(method="sac", target_update="soft")
    assert (soft.tau, soft.target_update_every) == (0.005, 1)


def test_sac_s_density_is_the_task_s_unless_it_is_given():
    assert TrainConfig(method="ds-sac", env="Pendulum-v1").lambda2 == 64
    assert TrainConfig(method="ds-sac", env="Walker2d-v4").lambda2 == 80
    assert TrainConfig(method="ds-sac", env="Walker2d-v4", lambda2=5.0).lambda2 == 5


def test_evolution_stops_50_000_steps_before_the_end_of_a_million_and_in_proportion_else():
    assert TrainConfig().resolved().topology_stop_steps == 50_000
    assert TrainConfig(steps=200_000).resolved().topology_stop_steps == 10_000
    assert TrainConfig(steps=200_000, topology_stop_steps=7).resolved().topology_stop_steps == 7


@pytest.mark.parametrize("method", [{}, {"method": "ds-sac", "target_update": "soft"}, {"method": "sac"}])
def test_a_run_s_config_file_is_the_same_config_again(method, tmp_path):
    config = TrainConfig(
        env='odd "module":Env-v0\\', hidden=(64, 32), eta=1e-7, learning_rate=5e-4, **method
    ).resolved()
    path = tmp_path / "config.toml"
    path.write_text(config.toml(), encoding="utf-8")
    assert TrainConfig.from_settings(TrainConfig.load(path)) == config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"step": 3}, r"unknown setting `step`. Did you mean `steps`\?"),
        ({"lambda-1": 3}, r"Did you mean `lambda1`\?"),
        ({"zzz": 3}, r"The settings are: env, method"),
        ({"method": "ds-td"}, r"`method` must be one of .* and is `ds-td`. Did you mean `ds-td3`\?"),
        ({"method": "TD3"}, r"`method` must be one of .* and is `TD3`. Did you mean `td3`\?"),
        ({"method": 3}, r"`method` must be one of"),
        (
            {"policy_delay": 2, "method": "ds-sac"},
            r"`policy_delay` is a setting of TD3 and `method` is `ds-sac`. Leave",
        ),
        (
            {"alpha": 0.2},
            r"`alpha` is a setting of SAC and `method` is `ds-td3`. .* choose one of ds-sac, static-sac, sac",
        ),
        ({"method": "sac", "alpha_tuning": "auto"}, r"`alpha_tuning` must be one of fixed, automatic .* Did you mean"),
        ({"method": "sac", "target_update": "sof"}, r"must be one of hard, soft and is `sof`. Did you mean `soft`\?"),
        ({"method": "sac", "target_update": []}, r"`target_update` must be one of hard, soft"),
        (
            {"method": "sac", "tau": 0.005},
            r"`tau` is 0.005 and `target_update` is hard, .* choose `--target-update soft`",
        ),
        ({"method": "sac", "alpha": 0}, r"`alpha` must be above 0"),
        ({"steps": "many"}, r"`steps` must be a whole number and is 'many'"),
        ({"steps": True}, r"`steps` must be a whole number"),
        ({"steps": 0}, r"`steps` must be at least 1"),
        ({"eta": 1.5}, r"`eta` must be at least 0 and at most 1 and is 1.5"),
        ({"budget_mb": float("nan")}, r"`budget_mb` must be a finite number"),
        ({"hidden": []}, r"`hidden` must have 1 to 100 layers"),
        ({"hidden": [65_535, 65_536]}, r"`hidden` must .* of 1 to 65,535 features and is \[65535, 65536\]"),
        ({"hidden": [256, "x"]}, r"`hidden` must be a list of whole numbers"),
        ({"replay_dtype": "float64"}, r"`replay_dtype` must be one of float16, float32"),
    ],
)
def test_a_wrong_setting_is_a_sentence(settings, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig.from_settings(settings, "here")


def test_a_file_that_is_no_toml_is_a_sentence(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("steps: 3", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not TOML"):
        TrainConfig.load(path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        TrainConfig.load(tmp_path / "other.toml")
    path.write_bytes(b"steps = " + b"[" * 9_999)
    with pytest.raises(ConfigError, match=r"is not TOML: .* nested too deeply"):
        TrainConfig.load(path)


def test_what_is_typed_overrides_the_file_and_a_preset_stays_with_its_task(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(TrainConfig(env="Ant-v4", seed=5).resolved().toml(), encoding="utf-8")
    assert configured({"seed": 7}, path).seed == 7
    assert configured({"seed": 7}, path).lambda1 == 40
    assert configured({"env": "Hopper-v4"}, path).lambda1 == 7
    assert configured({"steps": 100_000}, path).topology_stop_steps == 5_000


def test_a_config_of_one_method_starts_another_with_that_one_s_defaults(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(TrainConfig(gamma=0.98, evolve_every=500).resolved().toml(), encoding="utf-8")
    expected = TrainConfig(method="ds-sac", gamma=0.98, evolve_every=500).resolved()
    assert configured({"method": "ds-sac"}, path) == expected
    path.write_text(expected.toml(), encoding="utf-8")
    soft = configured({"target_update": "soft"}, path)
    assert (soft.tau, soft.target_update_every, soft.lambda1, soft.lambda2) == (0.005, 1, 12, 80)
    assert configured({"env": "Hopper-v4"}, path).lambda2 == 20
    assert configured({"method": "td3"}, path).batch_size == 100
    path.write_text("policy_delay = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="`policy_delay` is a setting of TD3"):
        configured({"method": "ds-sac"}, path)


def test_what_a_file_says_of_no_task_or_method_in_particular_holds_for_the_typed_ones(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("lambda1 = 9.0\neta = 0.05\ntarget_update_every = 500\ntopology_stop_steps = 7\n", encoding="utf-8")
    config = configured({"env": "Hopper-v4", "method": "ds-sac", "steps": 100_000}, path)
    found = (config.lambda1, config.eta, config.target_update_every, config.topology_stop_steps)
    assert found == (9, 0.05, 500, 7)  # eta is TD3's default, and was meant


# (observations, actions) of the tasks in the table of docs/sac.md.
SIZES = {
    "HalfCheetah-v4": (17, 6),
    "Walker2d-v4": (17, 6),
    "Hopper-v4": (11, 3),
    "Ant-v4": (27, 8),
    "Ant-v5": (105, 8),
    "Humanoid-v4": (376, 17),
    "Humanoid-v5": (348, 17),
}


def test_the_documented_sizes_and_flops_of_sac_are_those_that_the_presets_give():
    rows = {}
    for line in (Path(__file__).parents[1] / "docs" / "sac.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in SIZES:
            rows[cells[0]] = cells[1:]
    assert set(rows) == set(SIZES)
    for env, (n, m) in SIZES.items():
        runs = []
        for method in ("sac", "ds-sac"):
            config = TrainConfig(env=env, method=method).resolved()
            runs.append(Workload.of(config, n, m))
        (dense, sparse), (dense_flops, sparse_flops) = runs, map(paper_flops, runs)
        expected = [f"{config.lambda1:g}", f"{config.lambda2:g}", f"{dense.connections:,}", f"{sparse.connections:,}"]
        expected += [f"{100 * (1 - sparse.connections / dense.connections):.0f} %"]
        expected += [f"{flops:.2e}".replace("e+", "e") for flops in (dense_flops, sparse_flops)]
        assert rows[env] == expected, env


@pytest.mark.parametrize(
    ("text", "setting", "value"),
    [
        ("hidden=256,128", "hidden", (256, 128)),
        ("hidden=64", "hidden", (64, 64)),
        ("hidden=64,", "hidden", (64,)),
        ("hidden=[64]", "hidden", (64,)),
        ("net-arch=[400, 300]", "hidden", (400, 300)),
        ("steps=1e6", "steps", 1_000_000),
        ("total_timesteps=1_000_000", "steps", 1_000_000),
        ("buffer-size=2.5e3", "replay_rows", 2500),
        ("lr=3e-4", "learning_rate", 3e-4),
        ("gamma = 0.98", "gamma", 0.98),
        ("env_process=True", "env_process", True),
        ('env_kwargs={"port": "/dev/ttyUSB0"}', "env_kwargs", '{"port": "/dev/ttyUSB0"}'),
        ("algo=td3", "method", "td3"),
    ],
)
def test_a_setting_is_typed_by_any_of_its_names(text, setting, value):
    config = TrainConfig.from_settings(read_typed({}, [text]))
    assert getattr(config, setting) == value
    assert type(getattr(config, setting)) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gamma", r"`--set gamma` must be like `--set gamma=0\.98`"),
        ("learning-rte=1", r"`--set` has an unknown setting `learning-rte`. Did you mean `learning_rate`\?"),
        ("buffer_sise=1", r"Did you mean `buffer_size`\?"),
        ("hidden=wide", r"`hidden` must be a list of whole numbers, .* and is 'wide'"),
        ("hidden=", r"`hidden` must be a list of whole numbers"),
        ("steps=1.5", r"`steps` must be a whole number and is 1\.5"),
        ("steps=inf", r"`steps` must be a whole number and is inf"),
        ("steps=1e300", r"`steps` must be a whole number and is 1e\+300"),
        ("gamma=nan", r"`gamma` must be a finite number"),
        ("tau=much", r"`tau` must be a finite number and is 'much'"),
        ("env_process=perhaps", r"`env_process` must be true or false and is 'perhaps'"),
    ],
)
def test_what_is_typed_wrong_is_a_sentence(text, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig.from_settings(read_typed({}, [text]), "The command line")


def test_set_overrides_the_option():
    assert read_typed({"steps": "5"}, ["seed=1", "n_timesteps=6", "seed=2"]) == {"steps": 6, "seed": 2}


def test_a_file_has_the_names_and_numbers_of_others(tmp_path):
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbfalgo = 'sac'\ntotal_timesteps = 1e6\nlearning-starts = 1e4\nnet_arch = [4e2, 300]\n")
    config = configured({}, path)
    assert (config.method, config.steps, config.start_steps, config.hidden) == ("sac", 1_000_000, 10_000, (400, 300))
    assert "steps = 1000000\n" in config.toml()


def test_a_file_that_says_a_setting_twice_or_below_a_table_is_a_sentence(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("learning_rate = 1e-3\nlr = 1e-3\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"c\.toml` has `learning_rate` twice, as `learning_rate` and as `lr`. Leave one"
    ):
        configured({}, path)
    path.write_text("[train]\nsteps = 3000\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"Settings stand at the top level: take the line `\[train\]` out"):
        configured({}, path)


@pytest.mark.parametrize(("text", "alpha"), [("auto", 0.2), ("auto_0.5", 0.5)])
def test_an_alpha_that_is_auto_is_tuned(text, alpha, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(f"method = 'sac'\nent_coef = '{text}'\n", encoding="utf-8")
    for config in (configured({}, path), configured(read_typed({"method": "sac", "alpha": text}), None)):
        assert (config.alpha, config.alpha_tuning) == (alpha, "automatic")
    with pytest.raises(ConfigError, match=r"`alpha` is auto.* and `alpha_tuning` is fixed. Leave one out"):
        TrainConfig.from_settings({"method": "sac", "alpha": text, "alpha_tuning": "fixed"})
    with pytest.raises(ConfigError, match="`alpha` must be a finite number and is 'auto_much'"):
        TrainConfig.from_settings({"method": "sac", "alpha": "auto_much"})


# A robot's port, what TOML and JSON write differently, and names that no bare key may have.
KWARGS = {"port": "/dev/ttyUSB0", "gain": 1e-7, "axes": [1, [True, "\u00e9\n\"'"]], "a b": {"": -(2**63)}}


@pytest.mark.parametrize("name", ["a\nb", "method", "steps", "alpha"])
def test_a_line_break_in_a_file_leaves_one_sentence(name, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(f'{json.dumps(name)} = "c\\nd{"e" * 999}"\nalpha_tuning = "f\\ng"\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        configured({}, path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_arguments_of_the_environment_come_back_from_every_file_and_are_hashable(tmp_path):
    config = TrainConfig.from_settings({"env_kwargs": KWARGS})
    assert config == TrainConfig.from_settings({"env_kwargs": json.dumps(KWARGS, indent=1)})
    assert hash(config) == hash(replace(config))
    assert json.loads(json.dumps(config.settings()))["env_kwargs"] == KWARGS
    path = tmp_path / "c.toml"
    path.write_text(config.toml() + "replay_rows = 400\n", encoding="utf-8")
    assert parse.toml(path.read_bytes())["env_kwargs"] == KWARGS
    assert configured({}, path).settings()["env_kwargs"] == KWARGS
    assert configured({}, path).replay_rows == 400
    path.write_text('[env_kwargs]\nport = "/dev/ttyUSB0"\n', encoding="utf-8")
    assert configured({}, path).settings()["env_kwargs"] == {"port": "/dev/ttyUSB0"}
    assert "env_kwargs" not in TrainConfig().toml()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("port", r"must be JSON like .*ttyUSB0.* and is not JSON"),
        ('{"a": NaN}', "must be JSON like"),
        ("[1]", r"must be an object like .* and is \[1\]"),
        (3, "must be an object like .* and is 3"),
        ({"a": {"b": None}}, r"`env_kwargs.a.b` may hold texts, .* and has None. Leave it out"),
        ({"a": [float("inf")]}, "`env_kwargs.a` may hold .* and has inf"),
        ({"a": 2**63}, "and has 9223372036854775808"),
        ({"a": "\ud800"}, "may hold texts"),
        ({"\ud800": 1}, "may hold texts"),
        ({"a": datetime.date(2026, 1, 1)}, "may hold texts"),
        ({"a": "b" * 30_000}, "has 30,009 characters as JSON and may have 20,000"),
        ('{"a":' * 60 + "1" + "}" * 60, "may hold"),
        ('{"a":' * 9999, "must be JSON"),
    ],
)
def test_arguments_that_no_file_can_hold_are_a_sentence(value, words):
    with pytest.raises(ConfigError, match=words) as caught:
        TrainConfig.from_settings({"env_kwargs": value})
    assert len(str(caught.value)) < 400


def test_every_setting_is_described_and_every_name_is_one_setting_s():
    names = [*SETTINGS, *ALIASES]
    assert len(set(names)) == len(names)
    for name, row in SETTINGS.items():
        assert row.metadata["told"].endswith("."), name
        optional = "None" in str(row.type)
        assert bool(row.metadata["usual"]) == (optional or name == "env_kwargs"), name


def row_of(name):
    """What docs/settings.md says of a setting."""
    row, about = SETTINGS[name], SETTINGS[name].metadata
    kind = str(row.type).split(" | ")[0]
    takes = {"int": "whole number", "float": "number", "bool": "true, false", "tuple[int, ...]": "whole numbers"}
    takes |= {"tuple[float, ...]": "numbers", "Rate": "whole number or 1/N"}
    words = [", ".join(about["one_of"]) or takes.get(kind, "JSON" if kind == "Json" else "text")]
    if about["low"] > -float("inf"):
        words.append(f"{'above' if about['open'] else 'from'} {about['low']:g}")
    if about["high"] < float("inf"):
        words.append(f"{'below' if about['open_high'] else 'up to'} {about['high']:,.0f}")
    defaults = []
    for family, default in about["by_family"].items() or {"": row.default}.items():
        values = default if isinstance(default, dict) else {"": default}
        shown = ", ".join(f"{shown_value(value)}{of and f' ({of})'}" for of, value in values.items())
        defaults.append(f"{family.upper()} {shown}".strip())
    others = ", ".join(f"`{other}`" for other in about["also"])
    cells = (f"`{name}`", others, ", ".join(words), about["usual"] or "; ".join(defaults), about["told"])
    return "| " + " | ".join(cells) + " |"


def shown_value(value):
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value}"


def test_the_documented_settings_are_those_of_the_table():
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    told = [line for line in page.splitlines() if line.startswith("| `")]
    expected = [row_of(name) for name in SETTINGS]
    assert told == expected, "docs/settings.md is to say:\n" + "\n".join(expected)


ROBOT_FILE = "arm/robot.py"


def test_a_robot_py_has_defaults_of_its_own_that_anything_given_overrides():
    robot = combined({"env": ROBOT_FILE}, {}, "")
    assert (robot.method, robot.target_update, robot.alpha_tuning) == ("ds-sac", "soft", "automatic")
    assert (robot.updates_per_step, robot.start_steps, robot.hidden) == (0, 500, (64, 64))
    assert robot.env == str(Path(ROBOT_FILE).absolute())  # it goes on from any folder
    other = combined({"env": ROBOT_FILE, "method": "ds-td3", "hidden": (32, 32)}, {"start_steps": 7}, "a file")
    assert (other.method, other.policy_delay, other.hidden, other.start_steps) == ("ds-td3", 2, (32, 32), 7)
    assert combined({"env": "Pendulum-v1"}, {}, "").start_steps == 25_000
    hard = combined({"env": ROBOT_FILE, "target_update": "hard"}, {}, "")
    assert (hard.tau, hard.target_update_every) == (1, 1000)
    assert combined({"env": ROBOT_FILE, "tau": 0.01}, {}, "").tau == 0.01


def test_auto_is_as_many_updates_as_fit_under_each_of_its_names():
    for name in ("updates_per_step", "updates-per-step", "gradient_steps", "utd_ratio"):
        assert TrainConfig.from_settings({"env": ROBOT_FILE, name: "auto"}).updates_per_step == 0
    with pytest.raises(ConfigError, match=r"`updates_per_step` must be a whole number, or 1/N .* and is 'autos'"):
        TrainConfig.from_settings({"env": ROBOT_FILE, "updates_per_step": "autos"})


@pytest.mark.parametrize(
    ("typed", "value"),
    [("4", 4), ("1e1", 10), ("1.0", 1), ("1/1", 1), ("1/4", 0.25), ("0.25", 0.25), ("1/3", 1 / 3), ("1/10000", 1e-4)],
)
def test_updates_are_whole_numbers_or_one_at_every_nth_step(typed, value, tmp_path):
    config = TrainConfig.from_settings(read_typed({"updates_per_step": typed}))
    assert (config.updates_per_step, type(config.updates_per_step)) == (value, type(value))
    (tmp_path / "config.toml").write_text(config.toml(), encoding="utf-8")
    assert TrainConfig.from_settings(TrainConfig.load(tmp_path / "config.toml")) == config
    written = f'"{typed}"' if "/" in typed else typed
    (tmp_path / "hand.toml").write_text(f"gradient_steps = {written}", encoding="utf-8")
    assert TrainConfig.from_settings(TrainConfig.load(tmp_path / "hand.toml")) == config


def test_what_repr_or_a_pocket_calculator_makes_of_a_third_is_a_third():
    for n in range(2, 10_001):
        for value in (1 / n, float(f"{1 / n:.12g}")):
            assert TrainConfig.from_settings({"updates_per_step": value}).updates_per_step == 1 / n


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("2.5", r"must be a whole number, or 1/N for one every N steps \(1/2 to 1/10,000\), and is 2.5.$"),
        ("0.3", r"must be a whole number, or 1/N .* and is 0.3. Near it is 1/3.$"),
        ("0.9", r"Near it is 1/2.$"),
        ("1/20000", r"\(1/2 to 1/10,000\), and is '1/20000'.$"),
        ("1/0", r"and is '1/0'.$"),
        ("2/3", r"and is '2/3'.$"),
        ("1e-300", r"and is 1e-300.$"),
        ("nan", r"and is nan.$"),
        ("-0.25", r"and is -0.25.$"),
        ("-1", r"must be at least 0 and at most 10,000 and is -1.$"),
        ("20000", r"must be at least 0 and at most 10,000 and is 20000.$"),
    ],
)
def test_other_rates_of_updates_are_refused_with_what_is_possible(typed, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig.from_settings(read_typed({"updates_per_step": typed}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"updates_per_step": "auto"}, r"`HalfCheetah-v4` is no robot.py. Give a number"),
        ({"max_temperature": 70}, r"`max_temperature` slows down what learns beside a machine, and `HalfCheetah-v4`"),
        ({"max_cpu": 50}, r"`max_cpu` slows down"),
        ({"max_watts": 5}, r"`max_watts` slows down"),
        ({"env": ROBOT_FILE, "max_watts": 5}, r"`max_watts` needs a meter: add `--energy auto`"),
        ({"env": ROBOT_FILE, "max_cpu": 0}, r"`max_cpu` must be above 0"),
        ({"eval_every": -1}, r"`eval_every` must be at least 0"),
    ],
)
def test_what_is_a_machine_s_alone_is_refused_elsewhere(settings, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig.from_settings(settings, "here")


@pytest.mark.parametrize(
    ("typed", "in_file", "expected"),
    [
        ({}, {}, {"sparsity": 0.95, "hidden": (512, 512), "updates_per_step": 2}),
        ({"updates_per_step": 1}, {}, {"sparsity": 0.95, "updates_per_step": 1}),
        ({"sparsity": 0.9}, {}, {"sparsity": 0.9, "hidden": (512, 512)}),
        ({"lambda2": 8.0}, {}, {"sparsity": None, "lambda2": 8.0, "hidden": (512, 512)}),
        ({"actor_sparsity": 0.98}, {}, {"sparsity": 0.95, "actor_sparsity": 0.98}),
        ({}, {"hidden": [64, 64], "lambda1": 7.0, "lambda2": 64.0, "gamma": 0.9},
         {"sparsity": 0.95, "hidden": (512, 512), "lambda2": None, "gamma": 0.9}),
        ({}, {"method": "static-td3"}, {"method": "static-td3", "sparsity": 0.95}),
    ],
)  # fmt: skip
def test_a_preset_holds_against_a_file_and_what_is_typed_against_it(typed, in_file, expected, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("".join(f"{name} = {toml(value)}\n" for name, value in in_file.items()))
    found = configured({"preset": "board", **typed}, path)
    assert {name: getattr(found, name) for name in expected} == expected
    again = configured({}, path) if not typed else None
    assert again is None or again.hidden == tuple(in_file.get("hidden", (256, 256)))


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"preset": "bord"}, "`--preset bord` is none: there is board."),
        ({"preset": "board", "method": "td3"}, "`--preset board` is for ds-td3, static-td3, and `method` is td3."),
        ({"preset": "board", "method": "ds-sac"}, "`method` is ds-sac. Choose one of these."),
        ({"preset": "board", "env": "arm/robot.py"}, "`env` is arm/robot.py, which trains a machine"),
        ({"preset": "board", "init_from": "runs/x"}, "`init_from` is runs/x, which begins with the shapes of another"),
        ({"preset": ["board"]}, "is none: there is board."),
    ],
)
def test_a_preset_that_is_none_or_for_another_method_is_refused(typed, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        configured(typed, None)


def test_a_preset_is_an_option_and_no_setting_and_not_for_a_run_that_goes_on(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown setting `preset`\. It is an option, `--preset board`"):
        read_typed({}, ["preset=board"])
    with pytest.raises(ConfigError, match="leave `--preset` out beside `--resume`"):
        trainer_command({"preset": "board"}, None, None, tmp_path, str(tmp_path), False, False)
