"""A cart-pole on a serial port: plant.py beside this file, or a real one that speaks its few lines.

The port is CARTPOLE_PORT of the environment, else `plant.tty` beside this file. One process at a time has it. A
process that ends, however it ends, lets go of it, and the drive's watchdog turns the force off. No wait here is longer
than its limit below. Importing this file opens and moves nothing.
"""

import errno
import fcntl
import os
import select
import termios
import time

RATE_HZ = 50  # steps a second
EPISODE_SECONDS = 10.0
# Wider than what balancing needs, so that a number of order one stays one; what is beyond is given as the bound.
OBSERVATION = [
    ("cart position, m", -2.4, 2.4),
    ("cart velocity, m/s", -3.0, 3.0),
    ("pole angle, rad", -0.3, 0.3),  # 0 upright
    ("pole rate, rad/s", -3.0, 3.0),
]
ACTION = [("force, N", -10.0, 10.0)]

FAILED_M, FAILED_RAD = 2.3, 0.21  # short of the rail's end, and 12 degrees
BAUD = termios.B115200  # of a real port; a pseudo-terminal does not care
ANSWER_SECONDS = 0.15  # to one question; less than what `--max-missed` allows for
OPEN_SECONDS = 0.5  # a process that was killed lets go of the port a little later
REST_TRIES = 10  # answers that `stop` asks for before it gives up
RESET_SECONDS = 30.0  # somebody lifts the pole
HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # pathlib's memory is better spent on replay
HOW_TO_START = (
    "Is the cart-pole running? `python examples/cartpole/plant.py` starts it; CARTPOLE_PORT names another port."
)

_port = None  # file descriptor, while this process has the port
_found = None  # the port's settings as they were found


def start():
    """Open the port and see that the machine answers. Nothing moves."""
    _open()
    try:
        read_observation(len(OBSERVATION))
    except BaseException:
        close()
        raise


def read_observation(size):
    """The newest sample, `size` = 4 numbers in the order and the units of OBSERVATION."""
    sample = _ask("?", "S", ANSWER_SECONDS)
    if len(sample) != size:
        raise OSError(f"{_path()} answered {len(sample)} numbers; {size} were expected.")
    return [max(low, min(high, float(text))) for text, (_, low, high) in zip(sample, OBSERVATION, strict=True)]


def apply_action(action):
    """Set the force, newtons within its bounds. Does not wait: a full port raises BlockingIOError."""
    (force,) = action
    _, low, high = ACTION[0]
    if not low <= force <= high:  # a NaN, too
        raise ValueError(f"apply_action: the force is {force} N; {low:g} to {high:g} was expected.")
    _send(f"F {force:.4f}")


def stop():
    """Bring the cart to rest: force 0, confirmed by an answer that came after it.

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
    """Have the pole put upright, and wait until it is. It falls from then on."""
    _open()
    _ask("R", "OK", RESET_SECONDS)


def reward(observation, action, next_observation):
    """1 a step in the middle, upright and without force; less away from there, and 0 for the step that fails."""
    if terminated(next_observation):
        return 0.0
    x, _, angle, _ = next_observation
    return 1.0 - 0.4 * (angle / FAILED_RAD) ** 2 - 0.4 * (x / FAILED_M) ** 2 - 0.05 * (action[0] / 10.0) ** 2


def terminated(observation):
    """Whether the pole has fallen too far to be caught, or the cart is about to hit the end of its rail."""
    x, _, angle, _ = observation
    return abs(angle) > FAILED_RAD or abs(x) > FAILED_M


def close():
    """Let go of the port. The machine goes on with its last force until its watchdog trips: `stop` first."""
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
    return os.environ.get("CARTPOLE_PORT") or f"{HERE}/plant.tty"


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
    """Force 0. Asked again and again: on a wire a line can be lost."""
    _flush(termios.TCIOFLUSH)  # forces that have not left yet
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
