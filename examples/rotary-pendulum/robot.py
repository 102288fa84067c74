"""A rotary pendulum on a serial port: plant.py beside this file, or a real one that speaks its few lines.

The motor turns the arm; nothing turns the pendulum. It hangs at first, is to be swung up, and to stay there. What is
observed and what is good stands here alone: simulator.py imports it, so that a policy goes from there to here.

The port is PENDULUM_PORT of the environment, else `plant.tty` beside this file. One process at a time has it. A
process that ends, however it ends, lets go of it, and the drive's watchdog turns the motor off. No wait here is longer
than its limit below. Importing this file opens and moves nothing.
"""

import errno
import fcntl
import math
import os
import select
import termios
import time

RATE_HZ = 50  # steps a second
EPISODE_SECONDS = 8.0
# Scaled here, not by these bounds: a simulator's task has none, and the networks are to see the same numbers from both.
OBSERVATION = [
    ("arm angle, of 2.2 rad", -1.0, 1.0),
    ("sine of the pendulum's angle", -1.0, 1.0),
    ("cosine of the pendulum's angle", -1.0, 1.0),  # 1 upright, -1 hanging
    ("arm rate, of 15 rad/s", -1.0, 1.0),
    ("pendulum rate, of 20 rad/s", -1.0, 1.0),
]
VOLTS = 4.5
ACTION = [("motor, V", -VOLTS, VOLTS)]

ARM_RAD, ARM_RATE, PENDULUM_RATE = 2.2, 15.0, 20.0  # what an observation's 1 stands for
FAILED_RAD = 2.0  # short of the arm's ends
CALM_RATE = 5.0  # rad/s at which a step is worth half: swinging through the top is not balancing
UPRIGHT = math.cos(0.35)  # 20 degrees
BAUD = termios.B115200  # of a real port; a pseudo-terminal does not care
ANSWER_SECONDS = 0.15  # to one question; less than what `--max-missed` allows for
OPEN_SECONDS = 0.5  # a process that was killed lets go of the port a little later
REST_TRIES = 10  # answers that `stop` asks for before it gives up
RESET_SECONDS = 30.0  # until it hangs still
HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # pathlib's memory is better spent on replay
HOW_TO_START = (
    "Is the pendulum running? `python examples/rotary-pendulum/plant.py` starts it; PENDULUM_PORT names another port."
)

_port = None  # file descriptor, while this process has the port
_found = None  # the port's settings as they were found


def observed(arm, angle, arm_rate, rate):
    """A sample of the machine's, rad and rad/s, as the networks see it; what is beyond a bound is given as the bound.

    The pendulum's angle is 0 upright. Its sine and cosine have no jump where a turn ends.
    """
    scaled = (arm / ARM_RAD, math.sin(angle), math.cos(angle), arm_rate / ARM_RATE, rate / PENDULUM_RATE)
    return [max(-1.0, min(1.0, value)) for value in scaled]


def reward(observation, action, next_observation):
    """1 a step that ends upright, slow, with the arm in the middle and no voltage; about 0 hanging, 0 for failing."""
    if terminated(next_observation):
        return 0.0
    arm, _, cosine, _, rate = next_observation
    spared = 1.0 - 0.3 * (arm * ARM_RAD / FAILED_RAD) ** 2 - 0.05 * (action[0] / VOLTS) ** 2
    return (1.0 + cosine) / 2 * spared / (1.0 + (rate * PENDULUM_RATE / CALM_RATE) ** 2)


def terminated(observation):
    """Whether the arm is about to hit one of its ends."""
    return abs(observation[0]) * ARM_RAD > FAILED_RAD


def start():
    """Open the port and see that the machine answers. Nothing moves."""
    _open()
    try:
        read_observation(len(OBSERVATION))
    except BaseException:
        close()
        raise


def read_observation(size):
    """The newest sample as `observed` gives it, `size` = 5 numbers in the order of OBSERVATION."""
    sample = _ask("?", "S", ANSWER_SECONDS)
    if len(sample) != 4 or size != len(OBSERVATION):
        raise OSError(f"{_path()} answered {len(sample)} numbers for {size} observations; 4 for 5 were expected.")
    return observed(*map(float, sample))


def apply_action(action):
    """Set the motor's voltage, within its bounds. Does not wait: a full port raises BlockingIOError."""
    (volts,) = action
    if not -VOLTS <= volts <= VOLTS:  # a NaN, too
        raise ValueError(f"apply_action: the voltage is {volts} V; {-VOLTS:g} to {VOLTS:g} was expected.")
    _send(f"V {volts:.4f}")


def stop():
    """Bring the machine to rest: motor off, confirmed by an answer that came after it. The pendulum swings out.

    Also before `start`, and after another process with the port was killed. One that lives and has it is an OSError:
    end that process first.
    """
    kept = _port is not None
    try:
        if kept:
            try:
                _rest()
                return
            except OSError:  # pulled out and plugged in again: a new opening may reach it
                close()
        _open()
        _rest()
    finally:
        if not kept:
            close()


def reset():
    """Have the arm brought to the middle, and wait until the pendulum hangs still."""
    _open()
    _ask("R", "OK", RESET_SECONDS)


def close():
    """Let go of the port. The machine goes on with its last voltage until its watchdog trips: `stop` first."""
    global _port
    if _port is not None:
        port, _port = _port, None
        try:
            # Should a dead plant's link lead to somebody's terminal by now, that can be typed into again.
            termios.tcsetattr(port, termios.TCSANOW, _found)
            fcntl.ioctl(port, termios.TIOCNXCL)
        except (OSError, termios.error):
            pass
        os.close(port)


def _path():
    return os.environ.get("PENDULUM_PORT") or f"{HERE}/plant.tty"


def _open():
    """Open the port for this process alone, unless it has it already."""
    limit = time.monotonic() + OPEN_SECONDS
    while _port is None:
        try:
            _open_now(_path())
        except BlockingIOError as error:
            if time.monotonic() > limit:
                raise OSError(f"{_path()} is open in another process, and a machine obeys one at a time.") from error
            time.sleep(0.01)


def _open_now(path):
    """Open the port, locked and raw.

    Raises:
        BlockingIOError: another process has it.
        OSError: it is not there, or no serial port.
    """
    global _port, _found
    try:
        port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no port {path}. {HOW_TO_START}") from None
    except OSError as error:
        if error.errno == errno.EBUSY:  # exclusive, and this is not root
            raise BlockingIOError(str(error)) from None
        raise
    try:
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.ioctl(port, termios.TIOCEXCL)  # against programs that do not ask for the lock
        _found = termios.tcgetattr(port)
        mode = termios.CS8 | termios.CREAD | termios.CLOCAL
        termios.tcsetattr(port, termios.TCSANOW, [0, 0, mode, 0, BAUD, BAUD, _found[6]])
    except BaseException:
        os.close(port)
        raise
    _port = port


def _rest():
    """Motor off. Asked again and again: on a wire a line can be lost."""
    _flush(termios.TCIOFLUSH)  # voltages that have not left yet
    for tries_left in reversed(range(REST_TRIES)):
        try:
            _ask("\nZ\n?", "S", ANSWER_SECONDS)  # a line that was cut short ends at the first \n
            return
        except TimeoutError:
            if not tries_left:
                raise


def _ask(question, name, seconds):
    """Send a question and return the words that follow `name` in its answer.

    Raises:
        TimeoutError: no such answer came in time.
        OSError: the port is gone.
    """
    _flush(termios.TCIFLUSH)  # answers that came too late for their question
    _send(question)
    limit = time.monotonic() + seconds
    poll = select.poll()
    poll.register(_port, select.POLLIN)
    received = b""
    left = seconds
    while left > 0:
        # What has come counts, also where this process did not get the processor until the limit had passed.
        left = limit - time.monotonic()
        if not poll.poll(max(0.0, 1e3 * left)):
            break
        part = os.read(_port, 4096)
        if not part:
            raise ConnectionError(f"{_path()} is gone (closed by the machine). {HOW_TO_START}")
        *lines, received = (received + part).split(b"\n")
        for line in lines:
            words = line.decode("ascii", "replace").split()
            if words and words[0] == name:
                return words[1:]
    raise TimeoutError(f"{_path()} did not answer {question!r} within {seconds:g} s. {HOW_TO_START}")


def _send(line):
    if _port is None:
        raise OSError("The port is not open: start() opens it.")
    data = f"{line}\n".encode()
    if os.write(_port, data) < len(data):
        raise BlockingIOError(f"{_path()} is full: the machine does not read.")


def _flush(which):
    if _port is not None:
        try:
            termios.tcflush(_port, which)
        except termios.error as error:
            raise ConnectionError(f"{_path()} is gone ({error.args[1]}). {HOW_TO_START}") from None
