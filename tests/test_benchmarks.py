"""The benchmarks run as their help says and print what they promise; tiny sizes, for timing is not what is tested."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgedst.cli.quick import parse
from edgedst.launch.settings import combined
from tools import require_tool

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def run_json(script: str, *arguments: str) -> dict:
    """What the script prints as JSON."""
    return json.loads(run_script(script, *arguments).stdout)


def test_benchmarks_ask_each_other_for_what_is_there():
    trees = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in BENCHMARKS.glob("*.py")}
    defined = {}
    for name, tree in trees.items():
        bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        made = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        defined[name] = bound | made
    asked = 0
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in trees:
                wanted, module = {alias.name for alias in node.names}, node.module
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in trees:
                wanted, module = {node.attr}, node.value.id
            else:
                continue
            asked += 1
            assert wanted <= defined[module], f"{name}.py asks {module}.py for {wanted - defined[module]}"
    assert asked > 20


def test_update_step_has_every_baseline_and_the_floor_only_the_products_of_an_update():
    n, m, h, batch = 5, 2, 32, 8
    sizes = ["--observation", str(n), "--action", str(m), "--hidden", str(h), "--batch", str(batch)]
    result = run_json("update_step.py", *sizes, "--blocks", "1", "--updates", "2", "--json")
    assert {"edgedst_dense", "blas_floor"} <= set(result["ratios"])
    sparse = result["sides"]["edgedst"]
    assert 0.4 < sparse["connections"] / sparse["dense_connections"] < 0.8
    actor, critic = n * h + h * h + h * m, (n + m) * h + h * h + h
    first_of_actor, first_of_critic = n * h, (n + m) * h
    always = actor + 4 * critic + 2 * critic + 2 * (critic - first_of_critic)
    delayed = actor + critic + (critic - first_of_critic + m * h) + actor + (actor - first_of_actor)
    assert result["sides"]["blas_floor"]["flops_an_update"] == 2 * batch * (always + delayed / 2)


def test_kernels_times_every_kernel_against_sgemm():
    result = run_json("kernels.py", "--shape", "24x32", "--density", "0.5", "--batch", "8", "--isa", "scalar", "--json")
    products = {"forward", "input-gradient", "weight-gradient"}
    assert products | {"adam", "polyak", "act"} == {row["kernel"] for row in result["results"]}
    assert all(row["ratio"] > 0 and row["nnz"] == 24 * 32 // 2 for row in result["results"])


@pytest.fixture
def scripts(monkeypatch):
    """A script by its name, as a module; what the scripts import of each other leaves with the test."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for script in BENCHMARKS.glob("*.py"):  # pytest names the package of tests/machine/ as one of them is named
        monkeypatch.delitem(sys.modules, script.stem, raising=False)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or ".").parent == BENCHMARKS:
            del sys.modules[name]


def test_scaling_s_fit_is_a_line_and_the_exponent_the_slope_of_the_logarithms(scripts):
    fit = scripts("scaling").fit

    def fitted(microseconds):
        return fit([{"nnz": nnz, "median_us": microseconds(nnz)} for nnz in (10, 20, 40)], "nnz")

    line, proportional = fitted(lambda nnz: 7 + 0.5 * nnz), fitted(lambda nnz: 0.5 * nnz)
    assert (line["a_us"], line["b_ns"], line["r_squared"]) == pytest.approx((7, 500, 1))
    assert (proportional["exponent"], proportional["a_us"]) == pytest.approx((1, 0), abs=1e-9)
    assert line["exponent"] < 1
    assert fit([{"nnz": 10, "median_us": 12}, {"nnz": 20, "median_us": 17}], "nnz") is None


def test_scaling_fits_time_against_connections_beside_the_measured_peak(tmp_path):
    require_tool("c++", "g++", "clang++")
    picture = tmp_path / "scaling.png"
    options = ["--width", "32", "64", "--density", "0.25", "0.5", "1", "--batch", "8", "--skip-update"]
    result = run_json("scaling.py", *options, "--json", "-", "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert result["fma_peak"]["median"] > 0.1
    assert len(result["layers"]) == 6
    fits = result["fits"]
    assert fits.keys() == {"32", "64", "update"}
    assert fits["32"].keys() == fits["64"].keys() == {"a_us", "b_ns", "r_squared", "exponent"}
    assert fits["update"] is None  # --skip-update


def test_on_a_board_edgedst_sees_the_observations_that_pytorch_sees(scripts, tmp_path):
    contenders = scripts("real_time").CONTENDERS
    for name, options in contenders.items():
        if "PyTorch" not in name:
            read = parse(scripts("real_time").board_options(tmp_path, options, 1.0, 0, "256,256"))
            config = combined(read["typed"], {}, "").resolved()
            assert (config.normalize_observations, config.history) == (False, 0), name


def test_exported_actor_runs_every_form_as_on_a_device():
    require_tool("cc")
    require_tool("size")
    result = run_json("exported_actor.py", "--sparsity", "0.9", "--rounds", "1", "--steps", "20", "--json")
    rows = {row["form"]: row for row in result["results"]}
    assert len(rows) == 12
    assert rows["onnxruntime, compact int8"]["bytes"] < rows["onnxruntime, dense int8"]["bytes"] / 3
    # C has neither Python nor onnxruntime in its process.
    assert rows["C, fp32"]["peak_bytes"] < 5e6 < rows["onnxruntime, dense fp32"]["peak_bytes"]
    assert all(0 < row["p50_us"] <= row["p99_us"] and row["load_ms"] > 0 for row in rows.values())


@pytest.mark.parametrize("script", ["update_step.py", "kernels.py", "scaling.py", "peers.py", "exported_actor.py"])
def test_help_tells_how_to_get_json(script):
    done = subprocess.run([sys.executable, str(BENCHMARKS / script), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


def test_switches_have_their_costs_beside_each_other():
    result = run_json("switches.py", "--env", "InvertedPendulum-v5", "--plans", "1", "--rounds", "1", "--json")
    assert {"action delay", "observation noise", "mass", "all of them"} <= set(result["switches"])
    for cost in result["switches"].values():
        assert cost.keys() == {"bytes", "step_us", "episode_us", "update_us"}


def test_update_calls_tells_each_call_and_the_update():
    sizes = ["--hidden", "16", "--batch", "8", "--blocks", "1"]
    command = [sys.executable, str(BENCHMARKS / "update_calls.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[2:14]][::11] == ["sample", "update"]


PEERS = ["95", "sb3"] if importlib.util.find_spec("stable_baselines3") else ["95"]


def test_peers_are_timed_in_turns_with_room_for_a_million_transitions(tmp_path):
    file = tmp_path / "speed.json"
    options = ["--env", "InvertedPendulum-v5", "--seconds", "0.2", "--repeats", "1", "--json", str(file)]
    done = run_script("peers.py", "speed", *options, "--only", *PEERS)
    sides = json.loads(file.read_text(encoding="utf-8"))["sides"]
    assert list(sides) == PEERS
    for side in sides.values():
        assert 0 < side["steps_per_second"] < side["updates_per_second"]
        assert side["bytes_with_a_million"] > 1_000_000 * side["row_bytes"]
        assert f"| {side['label']} |" in done.stdout


def test_peers_train_until_they_have_a_return_and_are_not_trained_again(tmp_path):
    picture = tmp_path / "returns.png"
    options = ["--env", "InvertedPendulum-v5", "--goals", "2", "100000", "--steps", "10200", "--folder", str(tmp_path)]
    for _ in range(2):
        done = run_script("peers.py", "returns", *options, "--only", *PEERS, "--picture", str(picture))
        assert done.stdout.count("not in 10,") == len(PEERS)
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert "on InvertedPendulum-v5, seed 0" not in done.stderr  # nobody was trained again
    for name in PEERS:
        told = json.loads((tmp_path / "InvertedPendulum-v5" / f"{name}-s0.json").read_text(encoding="utf-8"))
        reached = told["goals"]["2"]  # by chance, within the random steps
        assert 0 < reached["step"] <= 10_200
        assert reached["seconds"] >= 0 < reached["cpu_seconds"]  # 0: within the first look at it
        assert told["curve"][0][0] < told["curve"][-1][0] <= 10_200
