"""Films of episodes, read back by Pillow and ffmpeg: what they show, what they leave as it was, when there is none."""

import json
import os
import resource
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from imageio_ffmpeg import count_frames_and_secs
from PIL import Image
from training import TINY, edgedst, run_in, train

from edgedst.deploy.actor import Actor
from edgedst.deploy.evaluate import evaluate
from edgedst.deploy.exporting import export_bundle, export_file, request_for
from edgedst.deploy.film import Film, showing
from edgedst.envs import registry
from edgedst.errors import ConfigError, EnvironmentFault, ExportError
from tools import require_tool

SIZE = "96x64"

# A task of a module of the user's: the brightness of its picture is 10 times its step.
TASK = """
import gymnasium, numpy as np
from gymnasium import spaces

class Lamp(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 100}
    observation_space = spaces.Box(-9, 9, (3,))
    action_space = spaces.Box(np.array([-1, -0.25]), np.array([1, 4]), dtype=np.float64)

    def __init__(self, render_mode=None, shape=(49, 65, 3), fails_at=99):
        self.render_mode, self.shape, self.fails_at = render_mode, shape, fails_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.random.uniform(-1, 1, 3), {}

    def step(self, action):
        self.steps += 1
        if self.steps == self.fails_at:
            raise OSError("the lamp broke")
        return np.random.uniform(-1, 1, 3), float(sum(action)), False, False, {}

    def render(self):
        np.random.uniform(size=self.steps)
        return np.full(self.shape, 10 * self.steps, np.uint8) if self.shape != "none" else None

class Timeless(Lamp):
    metadata = {"render_modes": ["rgb_array"], "render_fps": -1}

class Unseen(Lamp):
    metadata = {"render_modes": []}

class Blind(Lamp):
    def __init__(self):
        super().__init__()

for kind in (Lamp, Timeless, Unseen, Blind):
    gymnasium.register(f"{kind.__name__}-v0", kind, max_episode_steps=15)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a native task by DS-TD3 and one by DS-SAC, of what is theirs an ONNX file and a bundle."""
    folder = tmp_path_factory.mktemp("trained é")
    made = {}
    for method in ("ds-td3", "ds-sac"):
        (folder / method).mkdir()
        train(folder / method, *TINY, "--method", method)
        made[method] = run_in(folder / method)
    made["onnx"] = folder / "actor.onnx"
    export_file(request_for(made["ds-td3"]), made["onnx"], None)
    made["bundle"] = folder / "kit"
    export_bundle(request_for(made["ds-sac"]), made["bundle"], None, None)
    return made


@pytest.fixture
def lamp(tmp_path, make_run, monkeypatch):
    """Evaluates a run in Lamp-v0 or another class of the module."""
    (tmp_path / "lamps.py").write_text(TASK, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    run = make_run(tmp_path / "run", env="lamps:Lamp-v0")
    return lambda name="Lamp", **options: evaluate(run, 2, env=f"lamps:{name}-v0", **options)


def frames(path):
    """Pictures of an animation, (height, width, 3) each, and the milliseconds that it takes."""
    pictures, milliseconds = [], 0
    with Image.open(path) as film:
        for number in range(film.n_frames):
            film.seek(number)
            pictures.append(np.asarray(film.convert("RGB"), dtype=float))
            milliseconds += film.info["duration"]
    return pictures, milliseconds


@pytest.mark.parametrize("target", ["ds-td3", "ds-sac", "onnx", "bundle"])
def test_a_film_changes_no_return_and_has_every_step_of_every_episode(trained, target, tmp_path):
    options = {"episodes": 3, "seed": 5, "max_episode_steps": 12}
    seen = evaluate(trained[target], **options, video=tmp_path / "walk.WebP", size=SIZE)
    assert seen == evaluate(trained[target], **options)
    pictures, milliseconds = frames(tmp_path / "walk.WebP")
    assert len(pictures) == sum(length + 1 for length in seen.lengths)
    assert milliseconds == 40 * len(pictures)  # InvertedPendulum's own 25 a second
    assert {picture.shape for picture in pictures} == {(64, 96, 3)}
    assert [path.name for path in tmp_path.iterdir()] == ["walk.WebP"]


@pytest.mark.parametrize("randomize", ["none", "mass=0.5..2,gain=0.5..2"])
def test_a_native_task_is_drawn_where_its_joints_are(trained, randomize, tmp_path):
    disturbed = {"action_delay": "1", "observation_noise": [0.05], "randomize": randomize}
    options = {"episodes": 1, "max_episode_steps": 9, **disturbed}
    seen = evaluate(trained["ds-td3"], **options, video=tmp_path / "a.webp", size="320x240")
    assert seen == evaluate(trained["ds-td3"], **options)
    host = registry.make(registry.locate("InvertedPendulum-v5", disturbances=disturbed))
    actor = Actor.load(trained["ds-td3"])
    host.reset(0)
    action = memoryview(bytearray(4)).cast("f")
    positions = [np.array(host.inner.position)]
    for _ in range(seen.lengths[0]):
        action[:] = memoryview(np.asarray(actor.act(host.observation), dtype=np.float32))
        host.step(action)
        positions.append(np.array(host.inner.position))
    with gymnasium.make("InvertedPendulum-v5", render_mode="rgb_array", width=320, height=240) as env:
        env.reset()
        drawn = []
        for position in positions:
            env.unwrapped.set_state(position, np.zeros(2))
            drawn.append(env.render().astype(float))
    pictures, _ = frames(tmp_path / "a.webp")
    assert len(pictures) == len(drawn)
    for number, picture in enumerate(pictures):
        below_the_text = [abs(picture - other)[60:].mean() for other in drawn]
        assert below_the_text[number] < min(below_the_text) + 0.05  # the film is lossy; the first steps hardly move
    assert below_the_text[0] > 2 * below_the_text[-1]


def test_what_runs_far_stays_in_view_above_the_floor(tmp_path, monkeypatch):
    """At 80 m, 60 of the floor's tiles, it looks as at 0 m; Gymnasium's own floor ends at 40 m."""
    monkeypatch.chdir(tmp_path)
    host = registry.make(registry.locate("HalfCheetah-v5"))
    host.reset(0)
    with showing(Film(tmp_path / "far.webp", size=(320, 240)), host, 1) as show:
        for step, metres in enumerate((0.0, 80.0)):
            position = np.array(host.position)
            position[0] = metres
            host._host.set_position_velocity(position, np.zeros(9))
            show(0, step, 0.0)
    (near, far), _ = frames(tmp_path / "far.webp")
    assert abs(near - far)[60:].mean() < 5  # the shadow stays behind
    assert [path.name for path in tmp_path.iterdir()] == ["far.webp"]


def test_a_task_of_the_user_s_is_filmed_at_50_frames_a_second_at_most(lamp, tmp_path):
    seen = lamp(video="lamp.webp", size="128x98")
    assert seen == lamp()  # whatever its render() draws of NumPy's random numbers
    pictures, milliseconds = frames(tmp_path / "lamp.webp")
    brightness = [picture[60:].mean() for picture in pictures]
    np.testing.assert_allclose(brightness, [10 * step for step in range(0, 16, 2)] * 2, atol=3)  # it is lossy
    assert milliseconds == 20 * 16
    assert all(picture[:10, :20].max() > 200 for picture in pictures)  # white words on black


def test_a_task_that_does_not_say_its_frames_a_second_has_30_of_them(lamp, tmp_path):
    lamp("Timeless", video="lamp.mp4")
    assert count_frames_and_secs(str(tmp_path / "lamp.mp4")) == (32, pytest.approx(32 / 30, abs=0.01))


@pytest.mark.parametrize(
    ("ending", "shape"), [("mp4", (149, 165, 3)), ("mp4", (2, 3, 3)), ("gif", (148, 164)), ("webp", (151, 164, 4))]
)
def test_every_ending_takes_pictures_of_any_size_and_kind(lamp, tmp_path, ending, shape):
    (tmp_path / "a:b é").mkdir()
    path = tmp_path / "a:b é" / f"-%d lamp.{ending}"
    lamp(video=path, env_kwargs={"shape": list(shape)})
    if ending == "mp4":
        assert count_frames_and_secs(str(path)) == (16, pytest.approx(0.32))
    else:
        assert frames(path)[1] == 320
    assert list(path.parent.iterdir()) == [path]


def test_a_film_that_does_not_come_to_its_end_leaves_what_was_there(lamp, tmp_path):
    (tmp_path / "lamp.mp4").write_bytes(b"before")
    with pytest.raises(EnvironmentFault, match="the lamp broke"):
        lamp(video="lamp.mp4", env_kwargs={"fails_at": 7})
    assert (tmp_path / "lamp.mp4").read_bytes() == b"before"
    assert not list(tmp_path.glob(".*"))


def test_a_disk_that_is_full_is_a_sentence(lamp, tmp_path):
    """What ffmpeg may write ends in the middle of the film."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    try:
        with pytest.raises(ExportError, match=r"`lamp\.gif` cannot be written: ffmpeg failed .* Is there room"):
            lamp(video="lamp.gif")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.iterdir() if "lamp." in path.name]


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("Lamp", {"size": "96x64"}, ConfigError, "`--size` is of a film: add `--video walk.mp4`"),
        ("Lamp", {"video": "a.mp4", "render": True}, ConfigError, "`--render` and `--video` are one or the other"),
        ("Lamp", {"video": "a.avi"}, ConfigError, r"`--video a\.avi` ends in none of \.mp4, \.gif, \.webp"),
        ("Lamp", {"video": "mp4"}, ConfigError, "`--video mp4` ends in none of"),
        ("Lamp", {"video": "no/a.mp4"}, ExportError, r"`no/a\.mp4` cannot be written \(No such file"),
        ("Lamp", {"video": "folder.mp4"}, ExportError, "a folder has that name"),
        *(
            ("Lamp", {"video": "a.mp4", "size": size}, ConfigError, "is no size. Expected WIDTHxHEIGHT, two even")
            for size in ("", "640", "640x", "-640x480", "641x480", "8x8", "640x99999", "big")
        ),
        ("Lamp", {"video": "a.mp4", "camera": "track"}, ConfigError, "has no cameras, as MuJoCo tasks do"),
        (
            "Lamp",
            {"video": "a.mp4", "env_kwargs": {"shape": "none"}},
            EnvironmentFault,
            "render gave NoneType, and a pic",
        ),
        (
            "Unseen",
            {"video": "a.mp4"},
            ConfigError,
            r"Unseen-v0 cannot be drawn: its `render_modes` have no `rgb_array`",
        ),
        ("Blind", {"video": "a.mp4"}, EnvironmentFault, "So it cannot be drawn: leave `--video` and `--render` out"),
    ],
)
def test_what_cannot_be_filmed_is_a_sentence_before_the_first_step(lamp, tmp_path, name, options, error, words):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(error, match=words):
        lamp(name, **{"env_kwargs": {} if name == "Blind" else {"fails_at": 1}, **options})
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".py"}


@pytest.mark.parametrize(
    ("env", "camera", "words"),
    [("Reacher-v5", "0", "It has none: leave"), ("Swimmer-v5", "side", r"Its cameras: track \(0\)\.")],
)
def test_an_unknown_camera_names_those_that_there_are(env, camera, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MuJoCo would leave a log of what it finds wrong with Gymnasium's files
    host = registry.make(registry.locate(env))
    with (
        pytest.raises(ConfigError, match=f"{env} has no camera `{camera}`. {words}"),
        showing(Film(tmp_path / "a.mp4", camera), host, 1),
    ):
        raise AssertionError("it was not refused")
    assert not list(tmp_path.iterdir())


def test_a_machine_cannot_be_filmed(robot_run, arm, tmp_path):
    for env in (None, str(tmp_path / "arm.py")):
        with pytest.raises(ConfigError, match=r"arm\.py` is a machine, which nobody can draw: .*`edgedst log"):
            evaluate(robot_run, 1, env=env, video=tmp_path / "a.mp4")
    assert not (tmp_path / "robot.log").exists()


@pytest.mark.parametrize(
    ("options", "variables", "words"),
    [
        ("--video a.mp4", {"MUJOCO_GL": "egl"}, "MuJoCo cannot draw: MUJOCO_GL=egl does not work here. Try `sudo apt"),
        (
            "--render",
            {"DISPLAY": ":98765"},
            "There is no display here for `--render`'s window. Start it on a desktop, or",
        ),
    ],
)
def test_a_machine_that_cannot_draw_is_told_in_a_sentence(trained, tmp_path, options, variables, words):
    done = evaluated(trained["ds-td3"], tmp_path, options, {"__EGL_VENDOR_LIBRARY_FILENAMES": "/dev/null", **variables})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ConfigError: {words}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_window_shows_the_same_episode(trained, tmp_path):
    xvfb = require_tool("Xvfb")
    server = subprocess.Popen(
        [xvfb, "-displayfd", "1", "-screen", "0", "640x480x24"], stdout=subprocess.PIPE, text=True
    )
    try:
        display = {"DISPLAY": f":{server.stdout.readline().strip()}"}
        shown = evaluated(trained["ds-td3"], tmp_path, "--render --size 96x64", display)
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
    assert shown.returncode == 0, shown.stderr
    played = evaluate(trained["ds-td3"], episodes=1, max_episode_steps=9)
    assert json.loads(shown.stdout)["returns"] == list(played.returns)


def test_a_long_film_takes_no_more_memory_than_a_short_one(lamp, tmp_path):
    """160 pictures of 442 kB are 71 MB."""
    script = (
        "import resource\n"
        "from pathlib import Path\n"
        "from edgedst.deploy.evaluate import evaluate\n"
        "def film(episodes):\n"
        "    evaluate(Path('run'), episodes, env='lamps:Lamp-v0', video='a.mp4', env_kwargs={'shape': [384, 384, 3]})\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "print(-film(1) + film(20))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20e6


def evaluated(run, folder, options, variables):
    """`edgedst evaluate` of one short episode."""
    command = edgedst("evaluate", run, "--episodes", 1, "--max-episode-steps", 9, "--json", *options.split())
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
