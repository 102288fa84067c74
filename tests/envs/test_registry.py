"""Ids: who hosts them, and what is said of those that nobody does."""

import importlib.util
import json
import subprocess
import sys

import pytest

from edgedst.envs import registry
from edgedst.errors import SimulatorMismatch, UnknownEnvironment


def test_native_tasks_are_located_without_importing_their_packages():
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from edgedst.envs import registry\n"
        "registry.locate('Walker2d-v5')\n"
        "assert not {'numpy', 'gymnasium', 'mujoco'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_located_environment_goes_through_json():
    spec = registry.locate("HalfCheetah-v4")
    assert spec["host"] == "mujoco"
    assert json.loads(json.dumps(spec)) == spec
    for env_id, process, host in [
        ("Pendulum-v1", False, "gymnasium"),
        ("my_module:MyEnv-v0", False, "gymnasium"),
        ("HalfCheetah-v4", True, "process"),
    ]:
        for limit in (None, 12):
            described = {"host": host, "env": env_id, "max_episode_steps": limit}
            assert registry.locate(env_id, process, max_episode_steps=limit) == described


@pytest.mark.parametrize(
    ("env_id", "sentence"),
    [
        ("./task:Slide-v0", r"names a file, and a module was expected, as Python imports it\. Write `task:Slide-v0`\."),
        ("task.py:Slide-v0", r"Write `task:Slide-v0`\."),
        (".task:Slide-v0", r"Write `task:Slide-v0`\."),
        ("../robots/arm.py:ns/Slide-v0", r"Start edgedst in the folder `\.\./robots` and write `arm:ns/Slide-v0`\."),
        ("/home/me/task:Slide-v0", r"Start edgedst in the folder `/home/me` and write `task:Slide-v0`\."),
        ("", r"'' names no environment\. Expected a Gymnasium id like `Pendulum-v1`, or `module:EnvId`"),
        ("task:", "'task:' names no environment"),
        (":Slide-v0", "':Slide-v0' names no environment"),
        (".py:Slide-v0", "names no environment"),
        ("Slide-v0\nExecStart=", r"'Slide-v0\\nExecStart=' names no environment"),
        ("Slide\0-v0", "names no environment"),
        ("Slide-v0\udce9", r"'Slide-v0\\udce9' names no environment"),
    ],
)
def test_ids_that_nobody_can_have_registered_are_told(env_id, sentence):
    for process in (False, True):
        with pytest.raises(UnknownEnvironment, match=sentence):
            registry.locate(env_id, process)


def test_ids_in_other_alphabets_and_with_namespaces_are_taken():
    for env_id in ("módulo:Únic-v0", "task:ns/Slide-v0", "ALE/Pong-v5", "a.b.c:D"):
        assert registry.locate(env_id)["env"] == env_id


@pytest.mark.parametrize(
    ("env_id", "sentence"),
    [
        ("HalfCheetah-v9", "no environment `HalfCheetah-v9`. Did you mean `HalfCheetah-v4` or `HalfCheetah-v5`"),
        ("halfcheetah-v4", "no environment `halfcheetah-v4`. Did you mean `HalfCheetah-v4`"),
        ("HalfCheetah", "no environment `HalfCheetah`. Did you mean `HalfCheetah-v4` or `HalfCheetah-v5`"),
        ("Hopper-v3", "Hopper-v3 needs the retired mujoco-py.*use `Hopper-v4` or `Hopper-v5`"),
        ("Pusher-v2", r"Pusher-v2 needs the retired mujoco-py.*use `Pusher-v5`\."),
        ("Pusher-v4", r"Pusher-v4 does not run on MuJoCo 3 or newer, in gymnasium either: use `Pusher-v5`\."),
    ],
)
def test_near_misses_of_native_tasks_are_told(env_id, sentence):
    with pytest.raises(UnknownEnvironment, match=sentence):
        registry.locate(env_id)


# MuJoCo 3.2 has the enum in mjdata.h, 4.0 in mjtype.h, with other bits.
@pytest.mark.parametrize(("header", "warmstart"), [("mjdata.h", 4), ("mjtype.h", 5)])
def test_state_bits_come_from_whichever_header_has_them(tmp_path, header, warmstart):
    (tmp_path / "mujoco.h").write_text("#define mjVERSION_HEADER 327\n")
    (tmp_path / header).write_text(
        "  mjSTATE_TIME = 1<<0,\n  mjSTATE_QPOS=1 << 1, // position\n  mjSTATE_QVEL = 1<<2,\n mjSTATE_CTRL = 1<<6,\n"
        f"  mjSTATE_WARMSTART = 1<<{warmstart},\n  mjNSTATE = 15,\n  mjSTATE_PHYSICS = mjSTATE_QPOS | mjSTATE_QVEL,\n"
    )
    assert registry.read_state_bits(str(tmp_path)) == {
        "VERSION_HEADER": 327,
        "TIME": 1,
        "QPOS": 2,
        "QVEL": 4,
        "CTRL": 64,
        "WARMSTART": 1 << warmstart,
    }


def test_headers_without_the_enum_are_told(tmp_path):
    (tmp_path / "mujoco.h").write_text("#define mjVERSION_HEADER 210\n")
    with pytest.raises(SimulatorMismatch, match=r"do not define TIME, QPOS, QVEL, CTRL; edgedst needs MuJoCo 3\.2"):
        registry.read_state_bits(str(tmp_path))
    with pytest.raises(SimulatorMismatch, match="VERSION_HEADER"):
        registry.read_state_bits(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("package", ["mujoco", "gymnasium"])
def test_a_package_that_is_not_installed_is_told(package, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(SimulatorMismatch, match=f"Ant-v4 needs the Python package {package}.* `pip install {package}`"):
        registry.locate("Ant-v4")


def test_a_gymnasium_without_the_tasks_model_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_package_folder", lambda name, env_id: str(tmp_path))
    with pytest.raises(SimulatorMismatch, match=r"gymnasium has no walker2d_v5\.xml among its assets.*-U gymnasium"):
        registry.locate("Walker2d-v5")


def test_a_mujoco_without_library_is_told(tmp_path):
    with pytest.raises(SimulatorMismatch, match="holds no libmujoco"):
        registry.find_library(str(tmp_path))
