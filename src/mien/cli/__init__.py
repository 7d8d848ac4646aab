"""The command line: a group of commands, each in its own module, and their exit codes."""

from __future__ import annotations

import io
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

import mien
from mien import registry
from mien.cli._messages import EXIT_USER_ERROR, print_message
from mien.cli._sections import SECTIONS
from mien.cli._signals import TerminationSignals
from mien.errors import UserError
from mien.io import atomic_file

REGISTRY = __name__


class CommandGroup(click.Group):
    """The commands in this package; the module of a command is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the sorted names of all commands."""
        return registry.names(REGISTRY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; an unknown name raises a `UserError` that suggests a similar one."""
        commands = self.list_commands(ctx)
        if cmd_name not in commands:
            raise registry.unknown_name_error("command", cmd_name, commands)
        return getattr(registry.load_module(REGISTRY, cmd_name), cmd_name)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command, and turn `KeyboardInterrupt` into `click.Abort`.

        Click would do that as well, but also print an empty line.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section with one line per command, all names in one column."""
        commands = self.list_commands(ctx)
        width = max(map(len, commands))
        for section in SECTIONS:
            rows = []
            for name in commands:
                module = registry.load_module(REGISTRY, name)
                if section == module.SECTION:
                    command = getattr(module, name)
                    # As in click: 6 columns for the indentation and the space between the columns.
                    summary = command.get_short_help_str(formatter.width - width - 6)
                    rows.append((f"{name:{width}}", summary))
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mien.__version__, prog_name="mien", message="%(prog)s %(version)s")
def app() -> None:
    """Estimate emotion shares for every face in images and videos.

    An emotion share is the estimated fraction of people who would label the facial expression with
    this emotion. mien does not detect what a person feels. Do not use it on people at work or
    school, or for hiring, credit, policing or diagnosis.

    \b
        mien analyze photo.jpg
    """


def main() -> None:
    """Run the command line and exit.

    The exit code is 0 on success, 1 for a bug or a closed standard output (as by `head`), 2 for an
    error the user can fix, 3 for a missing face with `--strict`, and 128 plus the number of the
    signal after Ctrl-C, SIGTERM or SIGHUP. If one of these signals ends a live source, it is 0.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Print characters that the encoding lacks as question marks instead of raising an error.
        sys.stdout.reconfigure(errors="replace")
    _print_each_warning_once()
    with TerminationSignals() as signals:
        try:
            sys.exit(app(prog_name="mien", standalone_mode=False))
        except (click.Abort, KeyboardInterrupt):
            _exit_after_signal(signals)
        except UserError as error:
            print_message(error)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f" See {context.command_path} --help." if context else ""
            print_message(" ".join(error.format_message().split()) + hint)
        except Exception as error:
            if signals.received:  # a consequence, such as an OSError of a closed terminal
                _exit_after_signal(signals)
            if getattr(error, "errno", None) not in atomic_file.DISK_FULL_ERRNOS:
                raise
            print_message("The disk is full. Free some space, and repeat the command.")
        sys.exit(EXIT_USER_ERROR)


def _exit_after_signal(signals: TerminationSignals) -> NoReturn:
    with suppress(OSError):  # the terminal may be closed
        if sys.stderr.isatty():
            click.echo(err=True)  # end the line in which the terminal printed ^C
        print_message(signals.message)
    sys.exit(signals.exit_code)


def _print_each_warning_once() -> None:
    """Print Python warnings like errors, each message once, without those of Pillow."""
    printed: set[str] = set()

    def print_once(message: Warning | str, _: object, filename: str, *__: Any, **___: Any) -> None:
        is_from_pillow = "PIL" in Path(filename).parts  # such as about malformed metadata
        if not is_from_pillow and str(message) not in printed:
            printed.add(str(message))
            print_message(message)

    warnings.showwarning = print_once  # type: ignore[assignment]
