"""The command's entry point: a verb's file does the rest, and an error is printed as one sentence.

`train` starts without typer where it can: the kernel's account of peak memory survives the trainer's exec, so what the
front end takes counts against a small budget, and typer takes 33 MB with what it loads.
"""

import sys

from edgedst.errors import EdgedstError


def main() -> None:
    """Run the command line; an error that edgedst raises on purpose becomes its sentence and its exit code."""
    try:
        if sys.argv[1:2] == ["train"]:
            from edgedst.cli.quick import train

            train(sys.argv[2:])  # returns when typer is needed: for --help, or for what it cannot read
        from edgedst.cli.verbs import app

        app()
    except EdgedstError as error:
        if "--debug" in sys.argv:
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # typer sees to its own; this one came while modules were loaded
        sys.exit(130)


if __name__ == "__main__":
    main()
