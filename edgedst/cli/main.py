"""The command's entry point: a verb's file does the rest. How a command ends, whatever happens to it, is said here.

`train` starts without typer where it can: the kernel's account of peak memory survives the trainer's exec, so what the
front end takes counts against a small budget, and typer takes 33 MB with what it loads.
"""

import os
import sys

# Not `signal`: it imports enum.
from _signal import SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]  # only in `signal`

INTERRUPTED = 130  # exit code after Ctrl-C, as a shell says it

# What to do next, by errno, where the system's own words leave that open.
_ADVICE = {
    7: "The settings are too large to be handed to a process: give `hidden` fewer layers.",
    13: "Check its permissions, and those of the folders above it.",
    23: "This machine has too many files open: end some programs.",
    24: "Raise the limit on open files with `ulimit -n`.",
    28: "Free some space, where standard output goes or in the folder for temporary files, which TMPDIR names.",
}


def main() -> None:
    """Run the command line; what is no bug becomes one sentence and an exit code.

    0: done. 1: refused or failed, or what was printed could not be. 2: no such option. 3: over the budget. 130: Ctrl-C.
    """
    # While modules are loaded there is nothing to clean up. A caller that ignores Ctrl-C (nohup) is left its way.
    interruptible = getsignal(SIGINT) is default_int_handler
    if interruptible:
        signal(SIGINT, _leave)
    from edgedst.errors import EdgedstError, missing_extra

    try:
        _mend_streams()
        if sys.argv[1:2] == ["train"]:
            from edgedst.cli.quick import train

            train(sys.argv[2:])  # returns when typer is needed: for --help, or for what it cannot read
        from edgedst.cli.verbs import app

        if interruptible:
            signal(SIGINT, default_int_handler)
        sys.exit(app(prog_name="edgedst", standalone_mode=False))
    except KeyboardInterrupt:  # typer sees to its own
        sys.exit(INTERRUPTED)
    except EdgedstError as error:
        _refuse(error, str(error), error.exit_code)
    except ModuleNotFoundError as error:
        told = missing_extra(error, "".join(sys.argv[1:2]))
        if told is error:
            raise
        _refuse(told, str(told))
    except MemoryError as error:
        _refuse(error, "There is no memory left for it, on this machine or by a limit on this process (`ulimit -v`).")
    except UnicodeEncodeError as error:
        wrong = error.object[error.start : error.end]
        _refuse(error, f"{wrong!a} cannot be written in {error.encoding}. Set LC_ALL=C.UTF-8, or use other characters.")
    except OSError as error:
        _refuse(error, _sentence(error))
    except Exception as error:
        _refuse_by_typer(error)
    finally:
        if interruptible:
            signal(SIGINT, _leave)
        _flush()


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)


def _mend_streams() -> None:
    """Make closed standard streams ones that lead nowhere, and let no character end a command.

    Else the next file that is opened would get the number of standard output, and what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # a number
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # a number
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # typeshed has TextIO


def _refuse(error: Exception, sentence: str, code: int = 1) -> None:
    if "--debug" in sys.argv:
        raise error
    _end(f"{type(error).__name__}: {sentence}", code)


def _end(told: str, code: int) -> None:
    try:
        print(told, file=sys.stderr, flush=True)
    except OSError:  # nobody hears it; the exit code tells
        pass
    sys.exit(code)


def _refuse_by_typer(error: Exception) -> None:
    """One of typer's errors, whose classes are click's or its own, by its version; others are raised again."""
    name = type(error).__name__
    if name == "Abort":  # Ctrl-C, or no more input, at a question, whose line is still open
        _end("\nThe question was not answered: nothing was started.", INTERRUPTED)
    if not hasattr(error, "format_message"):
        raise error
    told = error.format_message()
    if name == "NoArgsIsHelpError":
        _end(told, 2)
    from edgedst.cli.verbs import VERBS

    context = getattr(error, "ctx", None)  # an option without its value has none
    verb = [word for word in sys.argv[1:2] if word in VERBS]
    command = context.command_path if context else " ".join(["edgedst", *verb])
    told = told.replace("'", "`") + ("" if told.endswith((".", "?")) else ".")
    _refuse(error, f"{told} `{command} --help` shows what it takes.", getattr(error, "exit_code", 2))


def _sentence(error: OSError) -> str:
    """Which file, why, and what next."""
    where = " and ".join([f"`{name}`" for name in (error.filename, error.filename2) if name is not None])
    if isinstance(error, FileNotFoundError):
        try:
            os.getcwd()  # noqa: PTH109  # pathlib may not be loaded
        except OSError:
            return "The folder that this command was started in is gone. Go to one that is there (`cd`), and try again."
    advice = _ADVICE.get(error.errno or 0, "`--debug` shows where that came from.")
    return f"{where + ': ' if where else ''}{error.strerror or error}. {advice}"


def _flush() -> None:
    """What cannot be printed has been told, or is progress that nobody reads: Python is not to complain at its end."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


if __name__ == "__main__":
    main()
