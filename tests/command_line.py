"""What the command line takes, without calling it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from fraud_detection.cli.command import Deferred
from fraud_detection.cli.main import fraud


def parsed(arguments: Sequence[str]) -> dict[str, object]:
    """Return what a command reads from its arguments; raise click.UsageError for what it refuses."""
    context = fraud.make_context("fraud", [*arguments])
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, rest, parent=context)
    return context.params


def commands(group: click.Group = fraud, *names: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with the words that call it."""
    for name, found in group.commands.items():
        command = found.load() if isinstance(found, Deferred) else found
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield " ".join([*names, name]), command
