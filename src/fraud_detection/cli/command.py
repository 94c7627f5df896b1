"""How a command is called: parsed by click, its files checked, its refusal printed in one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, cast

import click
from click.exceptions import NoSuchCommand

from fraud_detection.cli.options import PATH
from fraud_detection.core.errors import FraudDetectionError

REFUSED = 2
INTERRUPTED = 130
SIMILARITY = 0.7
"""How much of a name must agree to be suggested for another, as difflib counts it."""
WIDE = {"max_content_width": 110, "show_default": True}


COMMON = (
    click.Option(["--json"], type=PATH, metavar="FILE", help="Write the figures to FILE."),
    click.Option(["--plain"], is_flag=True, help="Print plain lines, as without a terminal."),
)


class Command(click.Command):
    """A command with `--json` and `--plain`; its function takes an `Output` and its options by name.

    The function returns its exit code, or None where all went as asked.  What it refuses becomes one
    sentence and exit code 2.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options, with those that all commands have."""
        *own, show_help = super().get_params(ctx)
        return [*own, *COMMON, show_help]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; a refusal says of which command it is, which click's parser leaves out."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> int:
        """Call the function; return the exit code."""
        # XGBoost's threads would spin while they wait, and hold up whatever else runs on the same cores.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        log_format = ctx.params.get("log_format")
        if log_format is not None:
            from fraud_detection.adapters.host.server_log import configure_log

            configure_log(log_format)
        try:
            return self._call(ctx.params)
        except BrokenPipeError:
            return _output_closed()
        except (FraudDetectionError, OSError, ModuleNotFoundError) as error:
            _report_error(error, ctx.command_path, log_format)
            return REFUSED
        except KeyboardInterrupt:
            return INTERRUPTED

    def _call(self, options: dict[str, Any]) -> int:
        from fraud_detection.cli.paths import check_paths
        from fraud_detection.cli.printing import Output

        check_paths(options)
        output = Output(options.pop("json"), options.pop("log_format", None), plain=options.pop("plain"))
        work = cast("Callable[..., int | None]", self.callback)
        return work(output, **options) or 0


class Group(click.Group):
    """A command whose commands stand below it."""

    command_class = Command


class Deferred(click.Command):
    """A command that is known by its name and its first line alone, and imported when it is called."""

    def __init__(self, name: str, where: str, first_line: str) -> None:
        """Know where it is: `module:function` below this package."""
        super().__init__(name, help=first_line)
        self._where = where

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        """Parse the arguments of the command itself."""
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> click.Command:
        """Import the command."""
        module, _, function = self._where.partition(":")
        command: click.Command = getattr(import_module(f"fraud_detection.cli.{module}"), function)
        return command


def command(name: str) -> Callable[[Callable[..., int | None]], Command]:
    """Make a command of a function, whose docstring is the help."""
    return click.command(name, cls=Command, context_settings=WIDE)


def group(name: str) -> Callable[[Callable[[], None]], Group]:
    """Make a group of a function that does nothing; its commands are added to it."""
    return click.group(name, cls=Group, no_args_is_help=False, context_settings=WIDE)


def run(command: click.Command, program: str, arguments: Sequence[str] | None) -> int:
    """Parse and run; return 0 when all went as asked, 2 when it was refused, with one sentence.

    What checks something returns 1 when it is not as it should be.
    """
    try:
        code: int | None = command.main(arguments, program, standalone_mode=False)
    except click.UsageError as error:
        path = program if error.ctx is None else error.ctx.command_path
        print(f"{path}: {_usage_error(error)}; see `{path} --help`", file=sys.stderr)
        return REFUSED
    except click.Abort:
        return INTERRUPTED
    return code or 0


def _usage_error(error: click.UsageError) -> str:
    """Return what is wrong, and what was probably meant, as a part of a sentence."""
    near = _similar(error)
    is_unknown = isinstance(error, (click.NoSuchOption, NoSuchCommand))
    message = (error.message if is_unknown else error.format_message()).rstrip(".")
    meant = f" (did you mean {' or '.join(f'`{name}`' for name in near)}?)" if near else ""
    return f"{message[0].lower()}{message[1:]}{meant}"


def _similar(error: click.UsageError) -> list[str]:
    """Return the names that resemble an unknown one; click alone compares the dashes of options too."""
    from difflib import get_close_matches

    if not isinstance(error, (click.NoSuchOption, NoSuchCommand)):
        return []
    typed = error.option_name if isinstance(error, click.NoSuchOption) else error.command_name
    names = {name.lstrip("-"): name for name in error.possibilities or ()}
    return [names[name] for name in get_close_matches(typed.lstrip("-"), names, cutoff=SIMILARITY)]


def _report_error(error: Exception, program: str, log_format: str | None) -> None:
    """Report a refusal: as a line of the log, where that is JSON; raise what is a bug."""
    from fraud_detection.cli.extras import missing

    refusal = missing(error) if isinstance(error, ModuleNotFoundError) else error
    if refusal is None:
        raise error
    if log_format == "json":
        import logging

        logging.getLogger("fraud_detection.cli").critical("%s", refusal, extra={"event": "refused"})
    else:
        print(f"{program}: {refusal}", file=sys.stderr)


def _output_closed() -> int:
    """End in peace; Python would complain again when it flushes standard output at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
