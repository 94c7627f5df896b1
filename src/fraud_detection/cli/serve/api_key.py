"""`fraud api-key`: the keys of HTTP callers."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.core.errors import ConfigError


@command("api-key")
@click.argument("name")
@click.option("--roles", default="decide,read", help="Comma-separated rights: decide, read, label, operate.")
@click.option(
    "--rate-limit",
    cls=options.DefaultOption,
    type=float,
    metavar="N",
    show_default="unlimited",
    help="Events a second.",
)
@click.option("--keys", type=options.PATH, default=Path("keys.yaml"), help="File to store it in.")
def api_key(_output: Output, *, name: str, roles: str, rate_limit: float | None, keys: Path) -> None:
    """Make an API key for `fraud serve` and print it, once.

    NAME is the owner of the key.
    """
    from fraud_detection.serving.http.api_keys import ROLES, Role, add_key

    wanted = tuple(part.strip() for part in roles.split(","))
    if unknown := sorted(set(wanted) - set(ROLES)):
        raise ConfigError(f"--roles: unknown {', '.join(unknown)}; allowed here: {', '.join(ROLES)}")
    print_line(add_key(keys, name, cast("tuple[Role, ...]", wanted), rate_limit))
