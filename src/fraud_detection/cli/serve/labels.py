"""`fraud label import`: labels of a file, into a state file or to a running server.

Refused rows are named and counted, and the others stand; where nothing else is in the file, the import fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import group
from fraud_detection.cli.printing import Output
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.adapters.terminal import Terminal
    from fraud_detection.serving.embedded.label_import import Imported

MAX_REFUSALS = 5


@group("label")
def label() -> None:
    """Import labels of historical payments."""


@label.command("import")
@click.argument("file", type=options.PATH)
@options.bundle
@options.state
@click.option("--to", metavar="URL", help="URL of a running `fraud serve`, instead of a state file.")
@click.option("--key", metavar="KEY", help="API key for --to (environment variable FRAUD_KEY).")
@options.accept_loss
def import_labels(
    output: Output,
    *,
    file: Path,
    bundle: Path,
    state: Path,
    to: str | None,
    key: str | None,
    accept_loss: bool,
) -> None:
    """Import the labels of a file, each once.

    FILE is CSV, Parquet or JSON Lines, with a label a row.
    """
    from fraud_detection.cli.losses import accept_losses
    from fraud_detection.serving.embedded.label_import import into_server

    screen = output.screen
    if to is None:
        if accept_loss:
            accept_losses([state])
        imported = _into_state(file, bundle, state, screen)
    else:
        imported = into_server(to, key or os.environ.get("FRAUD_KEY", ""), file, screen.progress)
    screen.finish()
    for row, path, reason in imported.refused[:MAX_REFUSALS]:
        screen.print(f"{file}, row {row:,}: {reason} - at `{path}`; correct it and import the file again")
    screen.print(_sentence(imported))
    output.write(
        {
            "learned": imported.learned,
            "redundant": imported.redundant,
            "duplicates": imported.duplicates,
            "refused": len(imported.refused),
            "waiting": imported.waiting,
        }
    )
    if imported.refused and not imported.taken:
        row, path, reason = imported.refused[0]
        raise ConfigError(
            f"{file}: none of its {len(imported.refused):,} rows was imported; row {row:,}: {reason} "
            f"- at `{path}`. Name its columns as `schema` in the project file does, and import it again"
        )


def _into_state(file: Path, bundle: Path, state: Path, screen: Terminal) -> Imported:
    from fraud_detection.adapters.host.gc_tuning import few_collections
    from fraud_detection.serving.embedded.label_import import into_state
    from fraud_detection.serving.embedded.stream_runner import open_service

    _, service = open_service(bundle, state)
    try:
        with few_collections():
            return into_state(service, file, screen.progress)
    finally:
        service.close()


def _sentence(imported: Imported) -> str:
    waiting = f" ({imported.waiting:,} wait for their payment)" if imported.waiting else ""
    again = "; when the file is imported again, each label counts once" if imported.refused else ""
    return (
        f"{imported.learned:,} labels learned{waiting}, {imported.redundant:,} redundant, "
        f"{imported.duplicates:,} duplicates, {len(imported.refused):,} refused{again}"
    )
