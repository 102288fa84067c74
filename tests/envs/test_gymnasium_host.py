"""The gymnasium host: actions to the last bit, global random numbers, and users' mistakes by their words."""

import fractions
import os
import re
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Box, Scripted, give, raising

from edgedst.envs import registry
from edgedst.envs.gymnasium_host import GymnasiumEnvironment
from edgedst.errors import EnvironmentFault, UnknownEnvironment


@pytest.fixture(autouse=True)
def own_registry():
    before = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def make(max_episode_steps=None, **keywords):
    gymnasium.registry.pop("Own-v0", None)
    gymnasium.register("Own-v0", Scripted, kwargs=keywords)
    return GymnasiumEnvironment("Own-v0", max_episode_steps)


def floats(*values):
    return memoryview(np.array(values, np.float32))


# --- time


@pytest.mark.parametrize(
    ("dt", "seconds"),
    [
        (0.02, 0.02),
        (np.float32(0.25), 0.25),
        (np.array([0.5]), 0.5),
        (fractions.Fraction(1, 4), 0.25),
        (1, 1.0),
        (None, None),
        (-0.02, None),
        (float("nan"), None),
        (float("inf"), None),
        ("0.02", None),
        (np.zeros(3), None),
    ],
)
def test_a_step_takes_what_dt_says_where_it_is_one_positive_number(dt, seconds):
    assert make(seconds=dt).step_seconds == seconds


@pytest.mark.parametrize(("env", "seconds"), [("Pendulum-v1", 0.05), ("MountainCarContinuous-v0", None)])
def test_a_step_takes_what_the_environment_says_and_nothing_where_it_says_nothing(env, seconds):
    assert GymnasiumEnvironment(env).step_seconds == seconds  # Pendulum's render_fps says 30


@pytest.mark.parametrize(
    ("env_id", "asked", "limit"),
    [
        ("Pendulum-v1", None, 200),
        ("Pendulum-v1", 3, 3),
        ("Pendulum-v1", 300, 300),
        ("scripted:Endless-v0", None, None),
        ("scripted:Endless-v0", 4, 4),
        ("scripted:Inner-v0", None, 7),  # the task wraps a limit of its own around itself: the smaller one holds
        ("scripted:Inner-v0", 9, 9),
    ],
)
def test_the_limit_of_an_episode_is_the_one_asked_for_or_the_tasks(env_id, asked, limit):
    env = registry.make(registry.locate(env_id, max_episode_steps=asked))
    assert env.max_episode_steps == limit
    for _ in range(2):
        env.reset(0)
        ends = [env.step(floats(0))[1:] for _ in range(limit or 500)]
        assert ends[:-1] == [(False, False)] * (len(ends) - 1)
        assert ends[-1] == (False, limit is not None)


def test_pendulum_equals_gymnasium_and_has_no_state_to_read():
    env, reference = GymnasiumEnvironment("Pendulum-v1"), gymnasium.make("Pendulum-v1")
    rng = np.random.default_rng(0)
    assert (env.observation_size, env.action_size, env.action_low, env.action_high) == (3, 1, (-2.0,), (2.0,))
    env.reset(1)
    observation, _ = reference.reset(seed=1)
    for _ in range(20):
        assert list(env.observation) == list(observation.astype(np.float64))
        action = rng.uniform(-2, 2, 1).astype(np.float32)
        observation, reward, *_ = reference.step(action)
        assert env.step(memoryview(action))[0] == reward
    assert env.state() is None


# --- actions


@pytest.mark.parametrize(("share", "units"), [(-1, -2.0), (0, 0.5), (1, 3.0)])
def test_an_action_is_in_the_units_of_bounds_that_are_not_alike(share, units):
    scaled = floats(9)
    make().scale_action(floats(share), scaled)
    assert scaled[0] == units


@st.composite
def boxes(draw):
    dtype = np.dtype(draw(st.sampled_from(["float16", "float32", "float64", "longdouble"])))
    width = 16 if dtype.itemsize == 2 else 32
    largest = 60_000.0 if width == 16 else 2.0**125
    bound = st.floats(-largest, largest, width=width) | st.floats(-1, 1)  # the latter are of no float32, mostly
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2), (1, 3)]))
    count = int(np.prod(shape))
    pairs = draw(st.lists(st.tuples(bound, bound), min_size=count, max_size=count))
    low, high = (np.array([pick(pair) for pair in pairs]).astype(dtype).reshape(shape) for pick in (min, max))
    return Box(low, high, dtype=dtype)


# What the trainer does, the ends of the range themselves, and beyond.
@given(boxes(), st.lists(st.floats(-1, 1) | st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4), st.booleans())
def test_actions_are_inside_the_space_in_its_own_dtype_to_the_last_bit(space, shares, beyond):
    try:
        env = make(action_space=space)
    except TypeError:  # float32 cannot choose between these bounds: refused
        return
    env.reset(0)
    scripted = env._env.unwrapped
    scaled = floats(*[0] * env.action_size)
    env.scale_action(floats(*shares[: env.action_size]), scaled)
    env.step(memoryview(np.array(scaled) * np.float32(1.001 if beyond else 1)))
    given_action = scripted.actions[-1]
    assert given_action.dtype == space.dtype
    assert space.contains(given_action), (given_action, space)
    for share, bound in ((-1.0, space.low), (1.0, space.high)):
        if set(shares[: env.action_size]) == {share} and not beyond and space.dtype == np.float32:
            assert (given_action == bound).all()


def test_an_upper_bound_of_0_3_is_not_overstepped_by_float32s_0_30000001():
    env = make(action_space=Box(-0.7, 0.3, (1,), np.float64))
    env.reset(0)
    env.step(floats(0.3))
    assert env._env.unwrapped.actions == [0.3]


def test_the_environment_may_keep_an_action():
    env = make()
    env.reset(0)
    action = floats(1)
    env.step(action)
    action[0] = 2
    assert env._env.unwrapped.actions == [1]


def test_an_action_that_is_not_finite_is_not_given_to_the_environment():
    env = make()
    env.reset(0)
    with pytest.raises(
        EnvironmentFault, match=r"was given an action of nan at index 0 in step 1 .* the actor is at fault"
    ):
        env.step(floats(np.nan))
    assert env._env.unwrapped.actions == []


# --- global random numbers


def drawn(env, seed, steps=5):
    env.reset(seed)
    values = [bytes(env.observation)]
    for _ in range(steps):
        env.step(floats(0))
        values.append(bytes(env.observation))
    return values


@pytest.mark.parametrize("env_id", ["scripted:Draws-v0", "scripted:Reseeds-v0"])
def test_global_random_numbers_repeat_by_the_seed_and_no_other_environment_moves_them(env_id):
    alone = drawn(GymnasiumEnvironment(env_id), 5)
    assert drawn(GymnasiumEnvironment(env_id), 6) != alone
    training, evaluation = GymnasiumEnvironment(env_id), GymnasiumEnvironment(env_id)
    training.reset(5)
    disturbed = [bytes(training.observation)]
    for step in range(5):
        if step % 2:
            assert drawn(evaluation, 7 + step) != alone
        if step == 3:
            GymnasiumEnvironment(env_id).close()
        training.step(floats(0))
        disturbed.append(bytes(training.observation))
    assert disturbed == alone


def test_one_environment_alone_pays_nothing_for_global_random_numbers(monkeypatch):
    env = GymnasiumEnvironment("scripted:Draws-v0")
    env.reset(0)
    monkeypatch.delattr(np.random, "get_state")  # a state that is saved in any step would raise
    env.step(floats(0))


# --- what environments give


@pytest.mark.parametrize(
    "reward", [2, True, np.float32(2), np.array(2.0), np.array([2.0]), [2.0], np.array([[2]]), 2.0]
)
def test_a_reward_is_one_number_in_whatever_form(reward):
    env = make(step=give((np.zeros(2), reward, np.array([True]), np.bool_(False), {})))
    env.reset(0)
    assert env.step(floats(0)) == (float(np.ravel(reward)[0]), True, False)


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (
            (np.zeros(2), np.zeros(2), False, False, {}),
            r"gave an array of shape \(2,\) as reward in step 1 of an episode",
        ),
        ((np.zeros(2), None, False, False, {}), "gave None as reward in step 1 of an episode; one number was expected"),
        ((np.zeros(2), "3", False, False, {}), r"gave 3 \(str\) as reward"),
        ((np.zeros(2), {}, False, False, {}), r"gave {} \(dict\) as reward"),
        ((np.zeros(2), 10**400, False, False, {}), "as reward"),
        ((np.zeros(2), np.nan, False, False, {}), "gave a reward of nan in step 1"),
        ((np.zeros(2), 0, [True, False], False, {}), "gave a list of 2 as terminated"),
        ((np.zeros(2), 0, False, "no", {}), r"gave no \(str\) as truncated"),
        (
            (None, 0, False, False, {}),
            "gave None as observation in step 1 of an episode; an array of numbers was expec",
        ),
        (("ab", 0, False, False, {}), "an array of numbers was expected"),
        ((["1", "2"], 0, False, False, {}), "gave a list of 2 as observation.*an array of numbers was expected"),
        (([None, 1], 0, False, False, {}), "an array of numbers was expected"),
        (([[1, 2], [3]], 0, False, False, {}), "an array of numbers was expected"),
        (({"x": 1}, 0, False, False, {}), r"gave {'x': 1} \(dict\) as observation"),
        ((np.zeros(2, complex), 0, False, False, {}), "and dtype complex128 as observation"),
        (
            (np.zeros(3), 0, False, False, {}),
            r"array of shape \(3,\) as observation.*observation space has shape \(2,\)",
        ),
        ((np.array([0.5, np.inf]), 0, False, False, {}), "gave inf at index 1 of the observation in step 1"),
        ((np.zeros(2), 0, False, {}), "old package gym"),
        (
            (np.zeros(2), 0, False, False, False, {}),
            r"step has to give \(observation, reward, terminated, truncated, info\)",
        ),
        (5, r"step has to give \(observation, reward, terminated"),
    ],
)
@pytest.mark.parametrize("limit", [None, 100])  # the limit's wrapper takes the result apart before the host sees it
def test_what_a_step_gives_wrongly_is_told(result, sentence, limit):
    env = make(limit, step=give(result))
    env.reset(0)
    with pytest.raises(EnvironmentFault, match=sentence):
        env.step(floats(0))


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (np.zeros(2), r"reset gave an array of shape \(2,\), and \(observation, info\) was expected.*old package gym"),
        ((0.5, 0.25), "reset gave a tuple of 2, and"),
        ([0.5, 0.25], "reset gave a list of 2"),
        ((None, {}), "gave None as observation from reset; an array"),
        ((np.zeros((2, 2)), {}), r"array of shape \(2, 2\) as observation from reset; its observation space has shape"),
    ],
)
def test_what_a_reset_gives_wrongly_is_told(result, sentence):
    env = make(reset=give(result))
    with pytest.raises(EnvironmentFault, match=sentence):
        env.reset(0)


@pytest.mark.parametrize(
    ("dtype", "seen"),
    [(np.uint8, [255, 0]), (np.float32, [0.5, -1]), (np.int64, [3, -4]), (object, [fractions.Fraction(1), 2])],
)
def test_observations_of_any_number_are_taken_in_any_shape_of_that_many(dtype, seen):
    space = Box(0, 255, (2,), np.uint8) if dtype == np.uint8 else None
    env = make(observation_space=space, reset=give((np.array([seen], dtype), {})))
    env.reset(0)
    assert list(env.observation) == [float(value) for value in seen]


def test_a_reset_of_the_old_gym_that_takes_no_seed_is_told():
    class Old(Scripted):
        def reset(self):
            return np.zeros(2)

    gymnasium.register("Old-v0", Old)
    env = GymnasiumEnvironment("Old-v0")
    with pytest.raises(
        EnvironmentFault, match=r"raised TypeError in reset.*`def reset\(self, \*, seed=None, options=None\)"
    ):
        env.reset(0)


# --- what environments raise


def live(**on):
    env = make(**on)
    env.reset(0)
    env.step(floats(0))
    env.close()


ERRORS = [
    (KeyError("wheel"), r"raised KeyError in {}: 'wheel'\. \(`--debug`"),
    (SystemExit(3), r"called sys\.exit\(3\) in {}"),
    (SystemExit(), r"called sys\.exit\(\) in {}"),
    (GeneratorExit(), "raised GeneratorExit in {}"),
    (ValueError("\udcff" + "x" * 10_000), r"raised ValueError in {}: \\udcffx{{490,500}}\. \("),
    (gymnasium.error.Error("no port"), "raised Error in {}: no port"),
]


@pytest.mark.parametrize(("error", "sentence"), ERRORS)
@pytest.mark.parametrize(
    ("place", "where"),
    [
        ("construct", "construction"),
        ("dt", "its dt"),
        ("reset", "reset"),
        ("step", "step 1 of an episode"),
        ("close", "close"),
    ],
)
def test_what_an_environment_raises_is_told_with_its_place(place, where, error, sentence):
    with pytest.raises(EnvironmentFault, match="Own-v0 " + sentence.format(where)):
        live(**{place: raising(error)})


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("place", ["construct", "dt", "reset", "step", "close"])
def test_ctrl_c_and_a_lack_of_memory_are_not_the_environments_faults(place, error):
    with pytest.raises(type(error)):
        live(**{place: raising(error)})


def test_spaces_that_cannot_be_read_are_told():
    class Spaceless(gymnasium.Env):
        pass

    gymnasium.register("Spaceless-v0", Spaceless)
    with pytest.raises(
        EnvironmentFault, match="Spaceless-v0 raised AttributeError in its observation_space: 'Spaceless"
    ):
        GymnasiumEnvironment("Spaceless-v0")


@pytest.mark.parametrize("keywords", [{}, {"close": raising(ValueError("stuck"))}])
def test_an_environment_is_closed_once_also_when_it_is_refused(keywords):
    closed = []

    class Counted(Scripted):
        def close(self):
            closed.append(self)
            super().close()

    gymnasium.register("Counted-v0", Counted, kwargs={**keywords, "action_space": Box(-1, 1, (0,))})
    with pytest.raises(TypeError, match="has no actions"):
        GymnasiumEnvironment("Counted-v0")
    assert len(closed) == 1
    gymnasium.registry["Counted-v0"].kwargs["action_space"] = None
    env = GymnasiumEnvironment("Counted-v0")
    if keywords:
        with pytest.raises(EnvironmentFault, match="raised ValueError in close: stuck"):
            env.close()
    env.close()
    env.close()
    assert len(closed) == 2


def test_arguments_that_are_missing_can_be_registered_as_is_told():
    class Plant(Scripted):
        def __init__(self, port):
            super().__init__()

    gymnasium.register("Plant-v0", Plant)
    with pytest.raises(
        EnvironmentFault, match=r"raised TypeError in construction.*'port'.*`gymnasium\.register\(\.\.\., kwargs"
    ):
        GymnasiumEnvironment("Plant-v0")
    gymnasium.register("Plugged-v0", Plant, kwargs={"port": 1})
    GymnasiumEnvironment("Plugged-v0")


# --- ids and modules


@pytest.mark.parametrize(
    ("env_id", "sentence"),
    [
        ("Pendulun-v1", r"no environment `Pendulun-v1`\. Did you mean `Pendulum-v1`"),
        ("Pendulum", r"no environment `Pendulum`\. Did you mean `Pendulum-v1`"),  # which version is for the user to say
        (" Pendulum-v1", "Did you mean `Pendulum-v1`"),
        ("Pendulum-v77", r"no environment `Pendulum-v77`\. Did you mean `Pendulum-v1`"),
        (
            "Zzzzzzz-v0",
            r"no environment `Zzzzzzz-v0`\. An environment of your own or of another package is `module:EnvId`",
        ),
        ("Zz/Zzzzz-v5", "or of another package is `module:EnvId`"),
        ("Ünïc ode", "There is no environment `Ünïc ode`"),
        ("no_such_module:Thing-v0", r"Python finds no module `no_such_module`\. Start edgedst in the folder"),
        ("no_such.module:Thing-v0", r"Python finds no module `no_such`\."),
        (
            "scripted:Endles-v0",
            r"`scripted` \(.*scripted\.py\) registers no `Endles-v0`\. Did you mean `scripted:Endless-v0`",
        ),
        ("random:Thing-v0", r"`random` \(.*random\.py\) registers no `Thing-v0`\."),
    ],
)
def test_unknown_ids_are_told(env_id, sentence):
    with pytest.raises(UnknownEnvironment, match=sentence):
        GymnasiumEnvironment(env_id)


def test_a_folder_that_holds_a_robot_is_told_with_the_file_to_name(tmp_path):
    (tmp_path / "robot.py").touch()
    with pytest.raises(
        UnknownEnvironment,
        match=re.escape(f"There is no environment `{tmp_path}`. Did you mean `{tmp_path}/robot.py`?"),
    ):
        GymnasiumEnvironment(str(tmp_path))


def in_folder(folder, code):
    """Run code with an empty first entry in sys.path, as `python -c` has it, and return what it printed."""
    code = f"import sys; sys.path[:] = ['', *{[entry for entry in sys.path if entry]!r}]\n{code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


TRY = """
from edgedst.envs import registry
try:
    registry.make(registry.locate({!r}, process={})).close()
    print("made")
except LookupError as error:
    print(error)
"""


@pytest.mark.parametrize("process", [False, True])
def test_the_current_folder_is_searched_last(tmp_path, process):
    for name in ("types", "random", "copy", "colorsys", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the current folder')\n")
    (tmp_path / "robot.py").write_text("import colorsys, copy, random, types, numpy, scripted\n")
    # What the trainer itself imports is the launcher's part: it starts no process with "" in front.
    code = "sys.path.remove('')\nfrom edgedst.envs import process_host, registry\n"
    code += "sys.path.insert(0, '')\n" if process else ""
    assert in_folder(tmp_path, code + TRY.format("robot:Scripted-v0", process)) == "made"


@pytest.mark.parametrize(
    ("robot", "sentence"),
    [
        (
            "import serial_port_of_nobody",
            "`robot:Own-v0`: `robot` imports `serial_port_of_nobody`, and Python finds no such",
        ),
        (
            "import helper",
            "`robot:Own-v0`: `helper` imports `camera_of_nobody`, and Python finds no such module. Install",
        ),
        ("import robot.arm", "`robot` imports `robot.arm`, and Python finds no such module"),
        (
            "import gymnasium\ngymnasium.register('Own-v0', 'absent_package.envs:Own')",
            "Python finds no module `absent_package`",
        ),
        (
            "import gymnasium\ndef make():\n    raise gymnasium.error.DependencyNotInstalled('install cv2')\n"
            "gymnasium.register('Own-v0', make)",
            "robot:Own-v0 needs a package that is not installed: install cv2.",
        ),
    ],
)
def test_a_package_that_is_missing_is_told_with_who_imports_it(tmp_path, robot, sentence):
    (tmp_path / "robot.py").write_text(robot)
    (tmp_path / "helper.py").write_text("import camera_of_nobody")
    assert sentence in in_folder(tmp_path, TRY.format("robot:Own-v0", False))


@pytest.mark.parametrize(
    ("env_id", "importer", "package", "named"),
    [
        ("HumanoidStandup-v5", "gymnasium.envs.mujoco.mujoco_rendering", "imageio", "imageio"),
        ("robot:Own-v0", "robot", "PIL", "pillow"),
    ],
)
def test_a_missing_package_that_an_extra_has_too_is_told_with_its_command(tmp_path, env_id, importer, package, named):
    (tmp_path / "robot.py").write_text("import PIL")
    assert in_folder(tmp_path, f"sys.modules[{package!r}] = None" + TRY.format(env_id, False)) == (
        f"`{env_id}`: `{importer}` imports `{package}`, and Python finds no such module. Install the package that has "
        f"it: `pip install {named}`."
    )


def test_a_package_that_is_missing_in_a_step_is_a_fault():
    env = make(step=lambda env: __import__("serial_port_of_nobody"))
    env.reset(0)
    with pytest.raises(EnvironmentFault, match="test_gymnasium_host` imports `serial_port_of_nobody`"):
        env.step(floats(0))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("1 / 0", "raised ZeroDivisionError in the import of `broken`"),
        ("exit(3)", r"called sys.exit(3) in the import of"),
    ],
)
def test_what_the_users_module_raises_is_told(tmp_path, monkeypatch, code, sentence):
    (tmp_path / "broken.py").write_text(code)  # a name that no other test imports: Python does so once
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentFault) as caught:
        GymnasiumEnvironment("broken:Own-v0")
    assert sentence in str(caught.value)


# --- memory


def test_openblas_has_its_buffers_before_a_limit_forbids_them():
    code = (
        "import resource, numpy as np\n"
        "from edgedst.budget.guard import memory\n"
        "from edgedst.envs import registry\n"
        "env = registry.make(registry.locate('Pendulum-v1'))\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (memory()[2] + 8_000_000, -1))\n"
        "env.reset(0)\n"
        "a = np.arange(250.0 * 250).reshape(250, 250) % 7 + 300 * np.eye(250)\n"
        "a @ a[0], a @ a.T, a @ a[::2].T, a.astype('f') @ a.astype('f')\n"
        "np.linalg.solve(a, a[0]), np.linalg.svd(a[:90, :90])\n"
        "before = resource.getrlimit(resource.RLIMIT_DATA)[0]\n"
        "registry.make(registry.locate('Pendulum-v1'))\n"  # nothing is mapped twice
        "print(resource.getrlimit(resource.RLIMIT_DATA)[0] - before < 1_000_000)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_a_limit_that_is_there_already_grows_by_openblas_buffers():
    code = (
        "import resource, numpy as np, gymnasium\n"
        "from edgedst.budget.guard import memory\n"
        "from edgedst.envs import gymnasium_host\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (memory()[2] + 8_000_000, -1))\n"
        "gymnasium_host._take_blas_buffers()\n"
        "spare = resource.getrlimit(resource.RLIMIT_DATA)[0] - memory()[2]\n"
        "print(7_000_000 < spare <= 8_100_000)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
