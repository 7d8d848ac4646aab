"""The command line: a group of commands, each in its own module, and the handling of errors."""

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
from mien.cli._common import EXIT_USER_ERROR, SECTIONS, print_error
from mien.cli._signals import EndSignals
from mien.errors import UserError
from mien.io import atomic_file

REGISTRY = __name__


class CommandGroup(click.Group):
    """The commands in this package, each of which is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the sorted names of all commands."""
        return registry.names(REGISTRY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; an unknown name raises a `UserError` that suggests similar names."""
        if cmd_name not in (known := self.list_commands(ctx)):
            raise registry.unknown_name_error("command", cmd_name, known)
        return getattr(registry.load_module(REGISTRY, cmd_name), cmd_name)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; otherwise, click prints an empty line after each `KeyboardInterrupt`."""
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
                    text = getattr(module, name).get_short_help_str(formatter.width - width - 6)
                    rows.append((f"{name:{width}}", text))
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mien.__version__, prog_name="mien", message="%(prog)s %(version)s")
def app() -> None:
    """Estimate emotion shares for every face in images and videos.

    An emotion share is the estimated fraction of people who would label the facial expression with
    this emotion. mien does not detect what a person feels. It is not for use at work, school,
    hiring, credit, policing or diagnosis.

    \b
        mien analyze photo.jpg
    """


def main() -> None:
    """Run the command line and exit.

    The exit code is 0 on success, 2 for an error the user can fix, 1 for a bug, and 128 plus the
    number of the signal after Ctrl-C, SIGTERM or SIGHUP.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Characters that a narrow encoding lacks become question marks instead of a crash.
        sys.stdout.reconfigure(errors="replace")
    _print_each_warning_once()
    with EndSignals() as signals:
        try:
            sys.exit(app(prog_name="mien", standalone_mode=False))
        except (click.Abort, KeyboardInterrupt):
            _exit_after(signals)
        except UserError as error:
            print_error(error)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f" See {context.command_path} --help." if context else ""
            print_error(" ".join(error.format_message().split()) + hint)
        except Exception as error:
            if signals.received:  # such as an OSError of a terminal that is closed
                _exit_after(signals)
            if getattr(error, "errno", None) not in atomic_file.DISK_FULL_ERRNOS:
                raise
            print_error("The disk is full; the printed output is incomplete. Free some space.")
        sys.exit(EXIT_USER_ERROR)


def _exit_after(signals: EndSignals) -> NoReturn:
    with suppress(OSError):  # the terminal may be closed
        if sys.stderr.isatty():
            click.echo(err=True)  # the line contains ^C
        print_error(signals.message)
    sys.exit(signals.exit_code)


def _print_each_warning_once() -> None:
    """Print Python warnings like errors, each message once; not Pillow's about odd headers."""
    printed: set[str] = set()

    def print_once(message: Warning | str, _: object, filename: str, *__: Any, **___: Any) -> None:
        if "PIL" not in Path(filename).parts and str(message) not in printed:
            printed.add(str(message))
            print_error(message)

    warnings.showwarning = print_once  # type: ignore[assignment]
