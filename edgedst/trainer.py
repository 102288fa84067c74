"""The lean process that trains: a little of the standard library and the compiled core; no NumPy for native tasks.

The front end replaces itself by this module's `main`. What it does is in `training`; here is how the process begins and
ends: signals, memory that a later start would not take, errors, exit codes.
"""

import os
import sys

# Not `signal`: it imports enum and functools, 0.7 MB.
from _signal import (  # type: ignore[import-not-found]  # typeshed has only signal itself
    SIG_IGN,
    SIG_UNBLOCK,
    SIGHUP,
    SIGTERM,
    getsignal,
    pthread_sigmask,
    signal,
)

from edgedst import core
from edgedst.budget.guard import Guard, compiled_since_start, has_huge_pages
from edgedst.budget.plan import budget_bytes_of
from edgedst.errors import BudgetExceeded, EdgedstError
from edgedst.files import write_whole
from edgedst.plain_json import dumps, loads
from edgedst.progress import flush_output
from edgedst.stage import close_all, make_environments, make_tally, notes_on, plan_run
from edgedst.training import STOPPING, Settings, Training

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(kind: "type[Training] | None" = None) -> int:
    """Run what the JSON in sys.argv[-1] asks for; returns the exit code. `kind`: of training; None: a Training.

    Keys: config (every setting), spec (of the environment, from `registry.locate`), config_toml, run_dir, resume (a
    folder or null), config_crc32 (of its config.toml) and extended_toml (its new one, or null), progress (true, false,
    null), note (told at the start), energy (the meter's spec, from `energy.sources.choose`, or null),
    front_end_peak_bytes, plan_only, debug; and what a caller wishes, or null: stop_at_return (an evaluation of so much
    ends the run), stop_after_seconds (of this process), told_to (a pipe that gets the run folder's path), prefill (a
    log that was read; see `prefill.fill`).
    """
    code = _run(kind)
    threads = sys.modules.get("threading")
    if threads and [one for one in threads.enumerate() if not one.daemon and one is not threads.main_thread()]:
        os._exit(code)  # Python would wait for it
    return code


def _run(kind: "type[Training] | None") -> int:
    """`main` but for its very end."""
    job = loads(sys.argv[-1])
    start_again_if_larger(job)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed before Python began
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a path may have any bytes
    try:
        for number in (SIGTERM, SIGHUP):
            if getsignal(number) != SIG_IGN:
                signal(number, leave)
        pthread_sigmask(SIG_UNBLOCK, STOPPING)  # the front end holds them back until somebody can answer
        if job["plan_only"]:
            return print_plan(job)
        training = (kind or Training)(job)
        try:
            return training.train()
        finally:
            training.close()
    except EdgedstError as error:
        if job["debug"]:
            raise
        tell_error(error)
        return error.exit_code
    except MemoryError:
        tell_error(
            BudgetExceeded(
                f"This machine, or a limit on this process (`ulimit -v`), has no room for a budget of "
                f"{job['config']['budget_mb']:g} MB. Try a smaller `--budget-mb`."
            )
        )
        return 1
    except Terminated as ended:
        return 128 + int(ended.args[0])
    except KeyboardInterrupt:
        return 130
    finally:
        if "EDGEDST_MODULES" in os.environ:  # a test asks what is loaded
            write_whole(os.environ["EDGEDST_MODULES"], dumps(sorted(sys.modules)).encode())
        core.set_last_words(b"")
        flush_output()
        for number in STOPPING:  # another one must not change how this ends
            signal(number, SIG_IGN)


def start_again_if_larger(job: "dict[str, Any]") -> None:
    """Start this process once more where it takes memory that a later start would not.

    That is where Python has just compiled modules, and where it may have got huge pages.
    """
    if job["spec"]["host"] == "mujoco":
        from edgedst.envs import mujoco  # noqa: F401  # the last module that a lean run needs
    larger = (core.forbid_huge_pages() and has_huge_pages()) or compiled_since_start()
    if larger and "EDGEDST_STARTED" not in os.environ:
        os.environ["EDGEDST_STARTED"] = "1"  # once: a clock may go backwards
        os.execv(sys.executable, sys.orig_argv)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP before there is a run to save; what was made is closed on the way out."""


def leave(number: int, _frame: object) -> None:
    """Their handler until then."""
    raise Terminated(number)


def tell_error(error: EdgedstError) -> None:
    """Its sentence on standard error."""
    flush_output()
    try:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    except OSError:  # nobody listens
        pass


def print_plan(job: "dict[str, Any]") -> int:
    """The plan alone, as JSON on standard output."""
    config = Settings(**job["config"])
    core.set_threads(config.threads)
    environment, other, lines, repeats = make_environments(job["spec"], config, Guard(budget_bytes_of(config)))
    try:
        make_tally(job["energy"], lines)
        plan = plan_run(job, config, (environment, other), lines)
        told = {**plan.as_dict(), "notes": notes_on(config, environment, repeats)}
        from edgedst.timing import expected_times

        try:
            told |= expected_times(config, environment, plan.replay_rows)
        except (EdgedstError, MemoryError, ValueError) as error:  # what every byte is for is known all the same
            told["notes"].append(f"How long a step takes could not be measured: {error}")
    finally:
        close_all((environment, other))
    print(dumps(told))
    return 0
