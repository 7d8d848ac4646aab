"""The command line: one file per command, imported when it is asked for, and what errors print."""

from __future__ import annotations

import io
import sys
import warnings

import click

import mien
from mien import registry
from mien.cli._common import EXIT_INTERRUPTED, EXIT_USER_ERROR, SECTIONS, print_error
from mien.errors import UserError
from mien.io import atomic_file

REGISTRY = __name__


class Verbs(click.Group):
    """The verbs on the shelf, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names, sorted."""
        return registry.names(REGISTRY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name; a `UserError` that guesses what was meant if there is none."""
        if cmd_name not in (known := self.list_commands(ctx)):
            raise registry.unknown_name_error("command", cmd_name, known)
        return getattr(registry.load_module(REGISTRY, cmd_name), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands of each panel with a line on each, names in one column."""
        known = self.list_commands(ctx)
        wide = max(map(len, known))
        for panel in SECTIONS:
            rows = []
            for name in known:
                module = registry.load_module(REGISTRY, name)
                if panel == module.SECTION:
                    text = getattr(module, name).get_short_help_str(formatter.width - wide - 6)
                    rows.append((f"{name:{wide}}", text))
            with formatter.section(panel):
                formatter.write_dl(rows)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mien.__version__, prog_name="mien", message="%(prog)s %(version)s")
def app() -> None:
    """Read the proportions of emotion on every face in a picture.

    What it gives is an estimate of how people would label an expression; it does not read minds.
    Not for use at work, school, hiring, credit, policing or diagnosis.

    \b
        mien analyze photo.jpg
    """


def main() -> None:
    """Run the command line; exits 0 when done, 2 for the user's mistake, 1 for a bug."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Bars and names beyond a narrow encoding become question marks, not a crash.
        sys.stdout.reconfigure(errors="replace")
    told: set[str] = set()

    def warn_once(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in told:
            told.add(str(message))
            print_error(message)

    warnings.showwarning = warn_once
    try:
        sys.exit(app(prog_name="mien", standalone_mode=False))
    except UserError as error:
        print_error(error)
        sys.exit(EXIT_USER_ERROR)
    except OSError as error:
        if error.errno not in atomic_file.DISK_FULL:
            raise
        print_error("The disk is full; what was printed is not all.")
        sys.exit(EXIT_USER_ERROR)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(EXIT_USER_ERROR)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        more = f" See {context.command_path} --help." if context else ""
        print_error(error.format_message() + more)
        sys.exit(EXIT_USER_ERROR)
    except click.Abort:
        click.echo("mien: stopped", err=True)
        sys.exit(EXIT_INTERRUPTED)
