import os
import signal

import pytest
from study_folder import Folder


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
