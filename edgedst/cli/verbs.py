"""The verbs of the command line, as typer shows them: each verb's file is imported only when it is called."""

import importlib
import keyword
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# `edgedst/cli/<verb>.py` has a function of that name, or an app with verbs of its own. A verb that is a word of
# Python's has `_` behind it there.
VERBS = (
    *("init", "check", "import", "train", "plan", "evaluate", "export", "log"),
    *("watch", "profile", "study", "tune", "devices"),
)


class SectionedCommand(TyperCommand):
    """Shows its options below the headings that they name as their help panel."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """A section for each heading, in the order in which they come up."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                heading = getattr(parameter, "rich_help_panel", None) or "Options"
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class LazyGroup(TyperGroup):
    """Imports a verb's module when the verb is called, and all of them only for `edgedst --help`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb's command."""
        if cmd_name not in VERBS:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        function = getattr(importlib.import_module(f"edgedst.cli.{name}"), name)
        if isinstance(function, typer.Typer):
            return typer.main.get_command(function)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        options = {"help_option_names": ["-h", "--help"]}
        single.command(cmd_name, cls=SectionedCommand, context_settings=options)(function)
        return typer.main.get_command(single)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name the nearest verb when there is none of that name."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"The commands are: {', '.join(VERBS)}."
            ctx.fail(f"There is no command `{args[0]}`. {hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _version(shown: bool) -> None:
    if shown:
        from edgedst import __version__

        typer.echo(f"edgedst {__version__}")
        raise typer.Exit


@app.callback(context_settings={"help_option_names": ["-h", "--help"]})
def edgedst(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Train a sparse agent on the board it will act on, in a memory budget you choose, and ship the actor."""
