"""The process host: the environment's process lives through signals, ends with its pipe, and its end is told."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from open_files import open_files

from edgedst.envs import process_host, registry
from edgedst.envs.gymnasium_host import GymnasiumEnvironment
from edgedst.envs.process_host import ProcessEnvironment
from edgedst.errors import EnvironmentFault, UnknownEnvironment, UnsupportedSpace

STILL = memoryview(np.zeros(1, np.float32))


@pytest.fixture(autouse=True)
def nothing_left():
    before, others = open_files("pipe:"), set(psutil.Process().children())  # of other tests' libraries
    yield
    assert open_files("pipe:") == before
    assert set(psutil.Process().children()) <= others  # no process that nobody waited for


@pytest.fixture
def make():
    made = []

    def make(env_id, limit=None):
        made.append(registry.make(registry.locate(env_id, process=True, max_episode_steps=limit)))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.mark.parametrize(
    ("env_id", "limit"), [("Pendulum-v1", 5), ("scripted:Draws-v0", None), ("scripted:Timed-v0", None)]
)
def test_an_environment_is_the_same_in_a_process_of_its_own(make, env_id, limit, rng):
    env, reference = make(env_id, limit), GymnasiumEnvironment(env_id, limit)
    for name in ("observation_size", "action_size", "action_low", "action_high", "max_episode_steps", "step_seconds"):
        assert getattr(env, name) == getattr(reference, name)
    for host in (env, reference):
        assert host.state() is None
        host.reset(2**31 - 1)
    for _ in range(5):
        assert bytes(env.observation) == bytes(reference.observation)
        action = memoryview(rng.uniform(env.action_low, env.action_high).astype(np.float32))
        assert env.step(action) == reference.step(action)
    assert bytes(env.observation) == bytes(reference.observation)


def test_an_observation_larger_than_a_pipe_arrives_whole_and_is_not_kept_twice(make):
    env = make("scripted:Wide-v0")
    observation = env.observation
    env.reset(0)
    assert set(observation) == {1.0}
    assert env.observation is observation


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP])
def test_a_signal_to_the_whole_group_does_not_end_the_environment(make, number):
    env = make("Pendulum-v1")
    env.reset(0)
    os.kill(env._pid, number)
    assert env.step(STILL)[0] < 0
    env.close()
    assert env._ended == "ended with exit code 0"


def test_a_signal_in_the_first_moment_does_not_end_the_environment(monkeypatch):
    spawn = os.posix_spawn

    def spawn_and_stop(*arguments, **keywords):
        pid = spawn(*arguments, **keywords)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        return pid

    monkeypatch.setattr(os, "posix_spawn", spawn_and_stop)
    env = ProcessEnvironment("Pendulum-v1")
    env.reset(0)
    env.close()


def test_what_the_environment_starts_can_be_ended_by_signals(tmp_path, monkeypatch, make):
    (tmp_path / "simulator.py").write_text(
        "import gymnasium, scripted, subprocess\n"
        "def start(env): env.simulator = subprocess.Popen(['sleep', '600'])\n"
        "def stop(env):\n    env.simulator.terminate()\n    assert env.simulator.wait() == -15\n"
        "gymnasium.register('Own-v0', scripted.Scripted, kwargs={'construct': start, 'close': stop})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    make("simulator:Own-v0").close()


def test_an_environment_that_prints_does_no_harm(make, capfd):
    env = make("scripted:Talks-v0")
    env.reset(0)
    assert env.step(STILL) == (1.0, False, False)
    env.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("a line of its own") == 4000


def test_pipes_are_no_standard_streams_where_the_trainer_has_none():
    code = (
        "from edgedst.envs import registry\n"
        "env = registry.make(registry.locate('scripted:Talks-v0', process=True))\n"
        "assert min(env._requests, env._replies) > 2\n"
        "env.reset(0)\nenv.close()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = f'exec "{sys.executable}" -c "$0" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command, code], env=environment, check=False).returncode == 0


def test_the_trainers_limit_is_not_the_environments():
    code = (
        "import resource\n"
        "from edgedst.envs import registry\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (40_000_000, resource.getrlimit(resource.RLIMIT_DATA)[1]))\n"
        "env = registry.make(registry.locate('scripted:Limits-v0', process=True))\n"
        "env.reset(0)\n"
        "print(env.step(memoryview(bytearray(4)).cast('f'))[0])\nenv.close()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) != 40_000_000


# --- faults and ends


@pytest.mark.parametrize(
    ("env_id", "sentence"),
    [
        ("scripted:Leaves-v0", r"called sys\.exit\(3\) in step 1 of an episode"),
        ("scripted:Surrogate-v0", r"raised ValueError in step 1 of an episode: \\udcffxxx"),
        ("scripted:OutOfMemory-v0", "OutOfMemory-v0 ran out of memory, in a process of its own"),
    ],
)
def test_faults_come_through_with_their_sentence_and_the_process_lives_on(make, env_id, sentence):
    env = make(env_id)
    for _ in range(2):
        env.reset(0)
        with pytest.raises(EnvironmentFault, match=sentence):
            env.step(STILL)


@pytest.mark.parametrize(
    ("env_id", "error", "sentence"),
    [
        ("Pendulun-v1", UnknownEnvironment, "no environment `Pendulun-v1`"),
        ("no_such_module:Ünïc-v0", UnknownEnvironment, "Python finds no module `no_such_module`"),
        ("CartPole-v1", UnsupportedSpace, "takes actions from a Discrete space"),
    ],
)
def test_environments_that_cannot_be_made_are_told(make, env_id, error, sentence):
    with pytest.raises(error, match=sentence):
        make(env_id)


def test_the_end_of_the_process_is_told_each_time_that_it_is_asked(make):
    env = make("scripted:Dies-v0")
    env.reset(0)
    sentence = r"process of scripted:Dies-v0 ended with exit code 3\. Nothing already saved"
    for _ in range(2):
        with pytest.raises(EnvironmentFault, match=sentence):
            env.step(STILL)
    with pytest.raises(EnvironmentFault, match=sentence):
        env.reset(0)


def test_the_end_of_the_process_is_told_while_one_that_it_forked_lives_on(make, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRIPTED_FORKED", str(tmp_path / "pid"))
    env = make("scripted:Forks-v0")
    env.reset(0)
    with pytest.raises(EnvironmentFault, match=r"process of scripted:Forks-v0 was ended by signal 9\."):
        env.step(STILL)
    forked = int((tmp_path / "pid").read_text())
    assert Path(f"/proc/{forked}/stat").read_text().rpartition(") ")[2][0] in "RSD"  # it lives
    os.kill(forked, signal.SIGKILL)


def test_a_reply_that_is_not_whole_is_told(make):
    env = make("scripted:Wide-v0")
    process_host._write(env._requests, b"r", bytes(8))
    select.select([env._replies], [], [])  # it is writing: more than the pipe holds
    os.kill(env._pid, signal.SIGKILL)
    with pytest.raises(EnvironmentFault, match="was ended by signal 9"):
        env._receive(env._observation_bytes)


def test_bytes_that_are_no_reply_are_told(make):
    env = make("Pendulum-v1")
    env._result = memoryview(bytearray(3))
    env.reset(0)
    with pytest.raises(EnvironmentFault, match="sent 34 bytes that are no reply"):
        env.step(STILL)


def test_no_process_that_can_be_started_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(EnvironmentFault, match="No process can be started for Pendulum-v1: No such file"):
        ProcessEnvironment("Pendulum-v1")


# --- close


def test_the_environment_is_closed_once_when_the_pipe_closes_also_after_a_fault(make, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRIPTED_CLOSED", str(tmp_path / "closed"))
    env = make("scripted:Closes-v0")
    env.reset(0)
    with pytest.raises(EnvironmentFault, match="wheel"):
        env.step(STILL)
    assert not (tmp_path / "closed").exists()
    env.close()
    env.close()
    assert (tmp_path / "closed").read_text() == "closed\n"


def test_the_environment_is_closed_when_the_trainer_is_killed(tmp_path):
    code = (
        "import os\n"
        "from edgedst.envs import registry\n"
        "env = registry.make(registry.locate('scripted:Closes-v0', process=True))\n"
        "env.reset(0)\n"
        "print(env._pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment["SCRIPTED_CLOSED"] = str(tmp_path / "closed")
    # Its standard error is the environment's, too: it ends when both have gone.
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert done.stderr == ""
    assert (tmp_path / "closed").read_text() == "closed\n"


@pytest.mark.parametrize(
    ("env_id", "sentence"),
    [
        ("scripted:CloseRaises-v0", "scripted:CloseRaises-v0 raised ValueError in close: the arm is stuck"),
        ("scripted:CloseLeaves-v0", r"CloseLeaves-v0 ended with exit code 3, before its close\(\) was done"),
        ("scripted:CloseHangs-v0", r"did not end within 0\.2 seconds and was killed, before its close\(\) was done"),
    ],
)
def test_what_goes_wrong_in_close_is_told_once(env_id, sentence, monkeypatch, make):
    env = make(env_id)
    env.reset(0)
    if "Hangs" in env_id:
        monkeypatch.setattr(process_host, "CLOSE_SECONDS", 0.2)
    with pytest.raises(EnvironmentFault, match=sentence):
        env.close()
    env.close()


def test_a_process_that_a_thread_of_the_environment_keeps_is_killed_after_its_close(make, monkeypatch):
    env = make("scripted:Stays-v0")
    os.close(env._requests)
    select.select([env._replies], [], [])  # closed
    env._requests = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setattr(process_host, "CLOSE_SECONDS", 0.2)
    with pytest.raises(EnvironmentFault, match=r"did not end within 0\.2 seconds and was killed, after its close\(\)"):
        env.close()


def test_an_environment_whose_reply_nobody_waited_for_is_closed_as_well(make, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRIPTED_CLOSED", str(tmp_path / "closed"))
    for env_id in ("scripted:Closes-v0", "scripted:Wide-v0"):
        env = make(env_id)
        process_host._write(env._requests, b"r", bytes(8))  # and then Ctrl-C
        env._waiting = True
        env.close()
        assert env._ended == "ended with exit code 0"
    assert (tmp_path / "closed").read_text() == "closed\n"
