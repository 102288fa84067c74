"""What is seen of episodes while they are played: Gymnasium's window, or a film.

Gymnasium draws. A task that the core steps is drawn by Gymnasium's environment of the same name, which is told where
the joints are: that is all that its pictures depend on, whatever `--randomize` draws. Each frame goes to ffmpeg at
once, so a long film takes no more memory than a short one.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedst.deploy.writing import check_place, replacing
from edgedst.envs import Environment, registry
from edgedst.envs.disturbed import DisturbedEnvironment
from edgedst.envs.mujoco import MujocoEnvironment
from edgedst.errors import ConfigError, EnvironmentFault, ExportError
from edgedst.files import write_all

Show = Callable[[int, int, float], None]  # episode, from 0 on; its steps so far; its return so far

# ffmpeg's options, by the file's ending.
ENCODERS = {
    ".mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"),
    # Each frame has colours of its own: those of the whole film would need all of it in memory.
    ".gif": ("-filter_complex", "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1", "-f", "gif"),
    ".webp": ("-c:v", "libwebp_anim", "-quality", "60", "-pix_fmt", "yuv420p", "-loop", "0", "-f", "webp"),
}
MOST_FRAMES_A_SECOND = 50  # gif counts hundredths of a second, and players slow down what has fewer than 2 of them
USUAL_FRAMES_A_SECOND = 30  # of a task that does not say
SMALLEST_SIZE, LARGEST_SIZE = 16, 4096  # pixels; the latter is of H.264's usual levels


@dataclass(frozen=True)
class Film:
    """What is wanted: the file, or no file but a window; a MuJoCo camera by name or number; width and height."""

    file: Path | None
    camera: str | None = None
    size: tuple[int, int] | None = None

    @property
    def render_mode(self) -> str:
        """Gymnasium's name of it."""
        return "rgb_array" if self.file else "human"


def wanted(render: bool, video: str | Path | None, camera: str | int | None, size: str | None) -> Film | None:
    """The film, or None where nothing is to be seen.

    Raises:
        ConfigError: the options contradict each other or cannot be read; no display for a window; no ffmpeg.
        ExportError: the file cannot be written.
        ModuleNotFoundError: the extra `video` is not installed.
    """
    if not render and video is None:
        if camera is not None or size is not None:
            option = "--camera" if camera is not None else "--size"
            raise ConfigError(f"`{option}` is of a film: add `--video walk.mp4`, or `--render` for a window.")
        return None
    if render and video is not None:
        raise ConfigError("`--render` and `--video` are one or the other: a window, or a file.")
    film = Film(None if video is None else Path(video), None if camera is None else str(camera), _size(size))
    # `_Screen` tells it in a sentence.
    warnings.filterwarnings("ignore", ".*render_mode=.* that is not in the possible render_modes")
    import imageio  # noqa: F401  # Gymnasium's MuJoCo renderer imports it, and would not name the extra

    if film.file is None:
        if not _runs("import glfw; assert glfw.init() and glfw.get_primary_monitor()"):
            raise ConfigError(
                "There is no display here for `--render`'s window. Start it on a desktop, or write a film: "
                "`--video walk.mp4`."
            )
        return film
    if film.file.suffix.lower() not in ENCODERS:
        raise ConfigError(f"`--video {film.file}` ends in none of {', '.join(ENCODERS)}, and the ending decides.")
    import imageio_ffmpeg
    import PIL  # noqa: F401

    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise ConfigError(
            "There is no ffmpeg for `--video`: the package imageio-ffmpeg has none for this machine. Try `sudo apt "
            "install ffmpeg`."
        ) from error
    check_place(film.file)
    return film


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})[xX\u00d7](\d{1,5})", text.strip())
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    # Most players want a film's colours at half of its size.
    if not all(SMALLEST_SIZE <= pixels <= LARGEST_SIZE and pixels % 2 == 0 for pixels in size):
        raise ConfigError(
            f"`--size {text}` is no size. Expected WIDTHxHEIGHT, two even numbers of {SMALLEST_SIZE} to {LARGEST_SIZE} "
            "pixels, for example 640x480."
        )
    return size


def _runs(code: str) -> bool:
    """Whether a Python process with this one's modules gets through. What fails may end it, or stay half loaded."""
    boot = f"import sys; sys.path[:] = {[folder for folder in sys.path if folder]!r}; "
    command = [sys.executable, "-W", "error::UserWarning", "-c", boot + code]  # GLFW only warns
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def showing(film: Film | None, host: Environment, episodes: int) -> Iterator[Show]:
    """What is called after each reset and step of `host`, and shows it.

    The film has its name when the block is through.

    Args:
        film: None: nothing is shown.
        host: was opened with the film's `render_mode`.
        episodes: that will be played.

    Raises:
        ConfigError: this task or this machine cannot draw; there is no such camera.
        EnvironmentFault: drawing failed.
        ExportError: the film cannot be written.
    """
    if film is None:
        yield lambda episode, step, episode_return: None
        return
    with ExitStack() as stack:
        yield _Screen(film, host, episodes, stack).show


class _Screen:
    """Draws and shows; `stack` closes what it opens."""

    def __init__(self, film: Film, host: Environment, episodes: int, stack: ExitStack) -> None:
        from edgedst.envs.gymnasium_host import GymnasiumEnvironment

        self._film, self._episodes, self._stack = film, episodes, stack
        played = host.inner if isinstance(host, DisturbedEnvironment) else host
        self._native = played if isinstance(played, MujocoEnvironment) else None
        if self._native:
            if film.file or os.environ.get("MUJOCO_GL"):  # which MuJoCo's import looks at
                _choose_gl()
            played = _drawer_of(played.name, film.render_mode)
            stack.callback(played.close)
        assert isinstance(played, GymnasiumEnvironment), "nothing else is opened with a render_mode"
        self._drawer = played
        env = played.env
        if film.render_mode not in (env.metadata.get("render_modes") or ()):
            raise ConfigError(
                f"{played.name} cannot be drawn: its `render_modes` have no `{film.render_mode}`. Leave "
                f"`{'--video' if film.file else '--render'}` out, or give its class a `render()`."
            )
        self._aim(env.unwrapped)
        if self._native:
            _widen_floor(env.unwrapped)
            played.reset(0)  # Gymnasium draws nothing before
        said = env.metadata.get("render_fps")
        usual = 1 / (played.step_seconds or 1 / USUAL_FRAMES_A_SECOND)
        a_second = said if isinstance(said, int | float) and 0 < said < math.inf else usual
        self._every = math.ceil(a_second / MOST_FRAMES_A_SECOND) if film.file else 1
        self._frames_a_second = a_second / self._every
        self._due = 0.0  # when a window shows the next step
        self._size = film.size
        self._encoder: int | None = None

    def show(self, episode: int, step: int, episode_return: float) -> None:
        """See `showing`."""
        if step % self._every:
            return
        if self._native:
            env: Any = self._drawer.env.unwrapped
            env.set_state(np.asarray(self._native.position), env.data.qvel)
        if self._film.file:
            told = f"episode {episode + 1} of {self._episodes}\nstep {step:,}\nreturn {episode_return:,.1f}"
            self._write(self._film.file, self._drawer.render(), told)
            return
        if self._native:  # a task that Gymnasium steps shows itself
            self._drawer.render()
        now = time.monotonic()
        self._due = max(now, self._due + 1 / self._frames_a_second)
        time.sleep(self._due - now)

    def _aim(self, task: Any) -> None:
        """Camera and size of a MuJoCo task; others have one view, whose pictures are scaled."""
        film, renderer = self._film, getattr(task, "mujoco_renderer", None)
        if renderer is None:
            if film.camera is not None:
                raise ConfigError(f"{self._drawer.name} has no cameras, as MuJoCo tasks do: leave `--camera` out.")
            return
        names = [task.model.camera(number).name for number in range(task.model.ncam)]
        known = {spelt: number for number, name in enumerate(names) for spelt in (str(number), name)}
        # What walks leaves the view of the others, which some versions of Gymnasium take by themselves.
        camera = "track" if film.camera is None and "track" in known else film.camera
        if camera is not None:
            if camera not in known:
                told = ", ".join(f"{name or 'unnamed'} ({number})" for number, name in enumerate(names))
                advice = f"Its cameras: {told}." if names else "It has none: leave `--camera` out."
                raise ConfigError(f"{self._drawer.name} has no camera `{camera}`. {advice}")
            renderer.camera_id = known[camera]
            renderer.default_cam_config = {"type": 2, "fixedcamid": renderer.camera_id}  # 2: MuJoCo's mjCAMERA_FIXED
        if film.size:
            renderer.width, renderer.height = film.size
            buffer = task.model.vis.global_
            buffer.offwidth = max(buffer.offwidth, film.size[0])
            buffer.offheight = max(buffer.offheight, film.size[1])
        if film.file and not self._native:
            _choose_gl()

    def _write(self, path: Path, frame: Any, told: str) -> None:
        from PIL import Image, ImageDraw, ImageFont

        try:
            picture = Image.fromarray(np.asarray(frame)).convert("RGB")
        except (TypeError, ValueError) as error:
            raise EnvironmentFault(
                f"{self._drawer.name}'s render gave {type(frame).__name__}, and a picture was expected: an array of "
                "(height, width, 3), uint8."
            ) from error
        if self._size is None:
            width, height = (max(SMALLEST_SIZE, pixels // 2 * 2) for pixels in picture.size)
            self._size = width, height
        if picture.size != self._size:
            picture = picture.resize(self._size)
        font = ImageFont.load_default(max(11, self._size[1] // 24))
        draw = ImageDraw.Draw(picture)
        _, _, right, bottom = draw.multiline_textbbox((5, 3), told, font)
        draw.rectangle((0, 0, right + 5, bottom + 5), "black")
        draw.multiline_text((5, 3), told, "white", font)
        if self._encoder is None:
            self._encoder = self._stack.enter_context(_encoding(path, self._size, self._frames_a_second))
        write_all(self._encoder, picture.tobytes())


def _drawer_of(task: str, render_mode: str) -> Environment:
    """Gymnasium's environment of a native task."""
    import mujoco

    before = mujoco.get_mju_user_warning()
    # What MuJoCo says of Gymnasium's model files is not the user's to mend, and goes to a file in the current folder.
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        return registry.make(registry.locate(task, kwargs={"render_mode": render_mode}))
    finally:
        mujoco.set_mju_user_warning(before)


def _widen_floor(task: Any) -> None:
    """Draw a floor that ends beyond a kilometre: of Gymnasium's 40 m a cheetah sees the end after some seconds."""
    model = task.model
    for geom in np.flatnonzero((model.geom_type == 0) & (model.geom_matid >= 0)):  # 0: MuJoCo's mjGEOM_PLANE
        model.geom_size[geom, :2] *= 25
        model.mat_texrepeat[model.geom_matid[geom]] *= 25


def _choose_gl() -> None:
    """Have MuJoCo draw with what works here: in a process that failed with one library, no other one works."""
    chosen = os.environ.get("MUJOCO_GL")
    for name in (chosen.lower(),) if chosen else ("egl", "osmesa"):
        if _runs(f"import importlib; importlib.import_module({'mujoco.' + name!r}).GLContext(16, 16).make_current()"):
            os.environ["MUJOCO_GL"] = name
            return
    tried = f"MUJOCO_GL={chosen} does not work here" if chosen else "neither EGL nor OSMesa is there"
    raise ConfigError(
        f"MuJoCo cannot draw: {tried}. Try `sudo apt install libegl1 libgl1`, or `sudo apt install libosmesa6`"
        + (", and unset MUJOCO_GL." if chosen else ".")
    )


@contextmanager
def _encoding(path: Path, size: tuple[int, int], frames_a_second: float) -> Iterator[int]:
    """A descriptor that takes frames, (height, width, 3) bytes each; `path` is made of them.

    ffmpeg is started here, not by imageio, which does not say whether it came to a good end.

    Raises:
        ExportError: the film cannot be written; nothing of it is left.
    """
    import imageio_ffmpeg

    with replacing(path) as (made,), tempfile.TemporaryFile() as said:
        taken = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", f"{frames_a_second:.6f}")
        given = (*ENCODERS[path.suffix.lower()], f"file:{made}")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *taken, "-i", "-", *given]
        # A session of its own: Ctrl-C ends it by way of this process only.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said, start_new_session=True)
        assert process.stdin is not None
        broken = False
        try:
            yield process.stdin.fileno()
        except BrokenPipeError:
            broken = True
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdin.close()
            code = process.wait()
        if code or broken:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()[-1:] or [f"it ended with code {code}"]
            raise ExportError(f"`{path}` cannot be written: ffmpeg failed ({words[0]}). Is there room on the disk?")
