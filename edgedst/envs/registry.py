"""From an environment's id to a host: `locate` in the front end, `make` in the trainer.

`locate` imports neither gymnasium nor mujoco: it finds their folders and reads MuJoCo's headers as text.
"""

import os

from edgedst.envs import Environment
from edgedst.envs.tasks import NATIVE_TASKS
from edgedst.errors import ConfigError, EnvironmentFault, SimulatorMismatch, UnknownEnvironment
from edgedst.files import is_robot_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Spec = dict[str, Any]


def locate(
    env_id: str,
    process: bool = False,
    max_episode_steps: int | None = None,
    kwargs: "dict[str, Any] | None" = None,
    disturbances: "dict[str, Any] | None" = None,
) -> "Spec":
    """Describe the host of `env_id`, in values that JSON holds.

    Args:
        env_id: a gymnasium id, `module:EnvId`, or the path of a robot.py.
        process: put the environment into a process of its own, through gymnasium.
        max_episode_steps: replaces the task's own time limit.
        kwargs: arguments of the environment, values that JSON holds. The native tasks have none: with some, gymnasium
            makes them.
        disturbances: the settings action_delay, observation_noise and randomize by name; what is left out does nothing.

    Raises:
        ConfigError: the environment takes no such arguments or disturbances.
        UnknownEnvironment: no such task, where that can be told without importing gymnasium.
        SimulatorMismatch: a native task without an installed MuJoCo that can be read.
    """
    disturbed: Spec = {}
    if disturbances:
        from edgedst.disturbances import in_use  # the trainer does without: it has them as numbers

        disturbed = in_use(**disturbances)
    if is_robot_file(env_id):
        return _robot(env_id, process, max_episode_steps, kwargs, disturbed)
    _refuse_malformed(env_id)
    _refuse_near_misses(env_id)
    common: Spec = {"env": env_id, "max_episode_steps": max_episode_steps}
    if kwargs:
        common["kwargs"] = kwargs
    if process or env_id not in NATIVE_TASKS or kwargs:
        _refuse_to_randomize(env_id, disturbed)
    common |= disturbed
    if process:
        return {"host": "process", **common}
    if env_id not in NATIVE_TASKS or kwargs:
        return {"host": "gymnasium", **common}
    mujoco = _package_folder("mujoco", env_id)
    model_file = os.path.join(
        _package_folder("gymnasium", env_id), "envs", "mujoco", "assets", NATIVE_TASKS[env_id].model_file
    )
    if not os.path.exists(model_file):
        raise SimulatorMismatch(
            f"The installed gymnasium has no {NATIVE_TASKS[env_id].model_file} among its assets, which {env_id} needs. "
            "Try `pip install -U gymnasium`."
        )
    return {
        "host": "mujoco",
        **common,
        "library": find_library(mujoco),
        "model_file": model_file,
        "state_bits": read_state_bits(os.path.join(mujoco, "include", "mujoco")),
    }


def make(spec: "Spec") -> Environment:
    """Make the environment that `locate` described.

    Raises:
        UnknownEnvironment, UnsupportedSpace, SimulatorMismatch, EnvironmentFault: as the host says.
        ConfigError: it cannot be disturbed so.
    """
    host = _make_host(spec)
    if "action_delay" not in spec and "observation_noise" not in spec:
        return host
    from edgedst.envs.disturbed import DisturbedEnvironment

    try:
        return DisturbedEnvironment(host, spec.get("action_delay", (0, 0)), spec.get("observation_noise", ()))
    except ConfigError:
        try:
            host.close()
        except EnvironmentFault:
            pass  # the first reason is the one to tell
        raise


def _make_host(spec: "Spec") -> Environment:
    limit, kwargs = spec.get("max_episode_steps"), spec.get("kwargs")
    if spec["host"] == "mujoco":
        from edgedst.envs.mujoco import MujocoEnvironment

        model = (spec["library"], spec["model_file"], spec["state_bits"])
        return MujocoEnvironment(spec["env"], *model, limit, spec.get("randomize"))
    if spec["host"] == "robot":
        from edgedst.envs.robot_environment import RobotEnvironment

        return RobotEnvironment(spec["env"], limit)
    if spec["host"] == "process":
        from edgedst.envs.process_host import ProcessEnvironment

        return ProcessEnvironment(spec["env"], limit, kwargs)
    from edgedst.envs.gymnasium_host import GymnasiumEnvironment

    return GymnasiumEnvironment(spec["env"], limit, kwargs)


def find_library(mujoco_folder: str) -> str:
    """Path of the library in MuJoCo's Python package.

    Raises:
        SimulatorMismatch: there is none.
    """
    names = [name for name in sorted(os.listdir(mujoco_folder)) if name.startswith("libmujoco.")]
    if not names:
        raise SimulatorMismatch(
            f"{mujoco_folder} holds no libmujoco. Reinstall MuJoCo: `pip install --force-reinstall mujoco`."
        )
    return os.path.join(mujoco_folder, names[-1])


def read_state_bits(headers: str) -> dict[str, int]:
    """Bits of the enum mjtState by name, and VERSION_HEADER, from the text of MuJoCo's headers.

    They differ between versions (WARMSTART is 1 << 4 in 3.2 and 1 << 5 in 4.0), and so does the file that has them.

    Raises:
        SimulatorMismatch: headers are missing or hold no mjtState.
    """
    import re

    bits: dict[str, int] = {}
    names = sorted(os.listdir(headers)) if os.path.isdir(headers) else []
    for name in names:
        if not name.endswith(".h"):
            continue
        with open(os.path.join(headers, name), encoding="utf-8", errors="replace") as file:
            text = file.read()
        for state, shift in re.findall(r"\bmjSTATE_(\w+)\s*=\s*1\s*<<\s*(\d+)", text):
            bits[state] = 1 << int(shift)
        version = re.search(r"#define\s+mjVERSION_HEADER\s+(\d+)", text)
        if version:
            bits["VERSION_HEADER"] = int(version.group(1))
    missing = [name for name in ("VERSION_HEADER", "TIME", "QPOS", "QVEL", "CTRL") if name not in bits]
    if missing:
        raise SimulatorMismatch(
            f"MuJoCo's headers in {headers} do not define {', '.join(missing)}; edgedst needs MuJoCo 3.2 or newer. "
            "Try `pip install -U mujoco`, or `--env-process`."
        )
    return bits


def _robot(
    path: str, process: bool, max_episode_steps: "int | None", kwargs: "dict[str, Any] | None", disturbed: "Spec"
) -> "Spec":
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise UnknownEnvironment(f"`{path}` {what}; a robot.py was expected. `edgedst init robot` writes one.")
    if process:
        raise ConfigError(f"`{path}` acts in a process of its own as it is: leave `--env-process` out.")
    if kwargs:
        raise ConfigError(f"`{path}` takes no arguments: leave `--env-kwargs` out, and write them into the file.")
    if disturbed:
        raise ConfigError(
            f"`{next(iter(disturbed))}` is of simulators, and `{path}` is a machine, which has a delay, a noise and a "
            "friction of its own: leave it out."
        )
    return {"host": "robot", "env": path, "max_episode_steps": max_episode_steps}


def _refuse_to_randomize(env_id: str, disturbed: "Spec") -> None:
    """Where Gymnasium makes the task, its model is not ours to change."""
    if "randomize" not in disturbed:
        return
    advice = "leave `--env-process` and `--env-kwargs` out."
    if env_id not in NATIVE_TASKS:
        advice = "give it other numbers with `--env-kwargs`, or let the task's own reset draw them."
    raise ConfigError(
        f"`randomize` multiplies numbers of a native MuJoCo task's model, and Gymnasium makes this `{env_id}`: {advice}"
    )


def _refuse_malformed(env_id: str) -> None:
    """Ids that nobody can have registered, and files in the place of modules."""
    module, colon, name = env_id.rpartition(":")
    folder, base = os.path.split(module)
    plain = base.removesuffix(".py").strip(".")
    if not name or (colon and not plain) or not env_id.isprintable():
        raise UnknownEnvironment(
            f"{env_id!r} names no environment. Expected a Gymnasium id like `Pendulum-v1`, or `module:EnvId`, where "
            "importing `module` registers `EnvId`."
        )
    if plain != module:
        start = "Write" if folder in ("", ".") else f"Start edgedst in the folder `{folder}` and write"
        raise UnknownEnvironment(
            f"`{env_id}` names a file, and a module was expected, as Python imports it. {start} `{plain}:{name}`."
        )


def _refuse_near_misses(env_id: str) -> None:
    """HalfCheetah-v9, halfcheetah-v4 and HalfCheetah are told here; gymnasium's host tells of all other ids."""
    if env_id in NATIVE_TASKS or ":" in env_id or "/" in env_id:
        return
    base, _, version = env_id.partition("-v")
    versions = [name for name in NATIVE_TASKS if name.partition("-v")[0].casefold() == base.casefold()]
    if not versions:
        return
    same_version = [name for name in versions if name.partition("-v")[2] == version]
    known = " or ".join(f"`{name}`" for name in same_version or versions)
    if version in ("2", "3"):
        raise UnknownEnvironment(f"{env_id} needs the retired mujoco-py, which edgedst does not support: use {known}.")
    if env_id == "Pusher-v4":
        raise UnknownEnvironment(f"{env_id} does not run on MuJoCo 3 or newer, in gymnasium either: use {known}.")
    raise UnknownEnvironment(f"There is no environment `{env_id}`. Did you mean {known}?")


def _package_folder(name: str, env_id: str) -> str:
    import importlib.util

    spec = importlib.util.find_spec(name)  # a top-level name: nothing is imported
    if spec is None or not spec.submodule_search_locations:
        raise SimulatorMismatch(
            f"{env_id} needs the Python package {name}, which is not installed. Try `pip install {name}`."
        )
    return next(iter(spec.submodule_search_locations))
