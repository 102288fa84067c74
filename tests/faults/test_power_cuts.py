"""Power cuts of real file systems on loop images: what no fsync put on the disk is gone, and the rest is gone on with.

A cut is the file system's own emergency shutdown without a flush of its journal (FS_IOC_SHUTDOWN): from that moment on
nothing reaches the image. The image is then checked, mounted again, and what is on it is gone on with. A disk that
reorders or loses writes within its own cache is not tried here, but by POSIX's rules in test_power_model.py.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import time
from contextlib import contextmanager

import pytest
from faults.campaign import campaign
from training import TINY, goes_on, saved_step, start

from tools import require_tool

FS_IOC_SHUTDOWN = 0x8004587D
NO_FLUSH_OF_THE_JOURNAL = 2
EVERY = int(TINY[TINY.index("--checkpoint-every") + 1])
KINDS = {"ext4": ("-t", "ext4"), "ext4 without a journal": ("-t", "ext4", "-O", "^has_journal"), "ext2": ("-t", "ext2")}


class Image:
    """A file system in a file, mounted at `place`."""

    def __init__(self, folder, kind):
        self.file, self.place = folder / "image", folder / "mounted"
        self.place.mkdir()
        with self.file.open("wb") as file:
            file.truncate(24_000_000)
        self._do("mkfs.ext4", "-q", *KINDS[kind], self.file)
        self.mount()

    def mount(self):
        self._do("mount", "-o", "loop", self.file, self.place)

    def unmount(self):
        for _ in range(100):  # its writer is killed and not yet gone
            if subprocess.run(["umount", self.place], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.place} cannot be unmounted")

    def cut(self):
        """Cut the power."""
        descriptor = os.open(self.place, os.O_RDONLY)
        fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", NO_FLUSH_OF_THE_JOURNAL))
        os.close(descriptor)

    def power_up(self):
        """Unmount, check, and mount what the cut left."""
        self.unmount()
        done = subprocess.run(["e2fsck", "-fy", self.file], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1, 2), done.stdout
        self.mount()

    def _do(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs loop mounts: {done.stderr.strip()}")


@pytest.fixture
def image():
    """Makes an image in a folder; unmounts it in the end."""
    if os.geteuid():
        pytest.skip("needs root, to mount images")
    for program in ("mkfs.ext4", "e2fsck", "mount"):  # Debian: apt install e2fsprogs mount
        require_tool(program)

    @contextmanager
    def made(folder, kind):
        image = Image(folder, kind)
        try:
            yield image
        finally:
            image.unmount()

    return made


def step_on(disk):
    return max((saved_step(run) for run in disk.place.glob("runs/*/*/s*")), default=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_to_the_same_end_after_a_power_cut(kind, image, whole, tmp_path):
    def attack(rng, folder):
        with image(folder, kind) as disk:
            for _ in range(rng.randrange(1, 4)):
                process = start(disk.place, *TINY, "--resume", "newest")
                wanted = rng.randrange(-1, 600)
                while process.poll() is None and (seen := step_on(disk)) < wanted:
                    pass
                time.sleep(rng.uniform(0, 0.02))
                disk.cut()
                process.kill()
                process.communicate()
                disk.power_up()
                # The checkpoint that is seen may just get its name; the one before is on the disk.
                assert step_on(disk) >= seen - EVERY, f"the checkpoint of step {seen} was seen"
            return goes_on(disk.place, whole)

    campaign(f"power cuts of a run on {kind}", 2, tmp_path, attack)


@pytest.mark.parametrize("kind", ["ext4", "ext4 without a journal"])
@pytest.mark.parametrize("form", ["onnx", "bundle"])
def test_an_export_that_is_done_is_there_after_a_power_cut(form, kind, image, exports, tmp_path):
    def attack(rng, folder):
        with image(folder, kind) as disk:
            (disk.place / "out").mkdir()
            os.sync()
            done = subprocess.run(
                rng.choice(exports[form]), cwd=disk.place / "out", capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            shutil.copytree(disk.place / "out", folder / "made")
            disk.cut()
            disk.power_up()
            for made in sorted(path for path in (folder / "made").rglob("*") if path.is_file()):
                kept = disk.place / "out" / made.relative_to(folder / "made")
                assert kept.is_file(), f"{kept.name} is gone"
                assert kept.read_bytes() == made.read_bytes(), f"{kept.name} has {kept.stat().st_size} bytes"
        return "all there"

    campaign(f"power cuts after an export ({form}) on {kind}", 1, tmp_path, attack)
