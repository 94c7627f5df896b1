"""`fraud label import`: labels of a file, into a state file or to a running server.

Refused rows are told and counted, and the others stand; where nothing else is in the file, the import fails.
"""

from __future__ import annotations

import os
from argparse import Namespace

from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.cli.losses import accept_losses
from fraud_detection.cli.printing import terminal, write_figures
from fraud_detection.core.errors import ConfigError
from fraud_detection.serving.embedded.label_import import Imported, into_server, into_state
from fraud_detection.serving.embedded.stream_runner import open_service

MAX_REFUSALS = 5


def import_labels(arguments: Namespace) -> None:
    """Learn the labels, and say what became of them."""
    screen = terminal(arguments)
    if arguments.to is None:
        if arguments.accept_loss:
            accept_losses([arguments.state])
        _, service = open_service(arguments.bundle, arguments.state)
        try:
            with few_collections():
                found = into_state(service, arguments.file, screen.progress)
        finally:
            service.close()
    else:
        key = arguments.key or os.environ.get("FRAUD_KEY", "")
        found = into_server(arguments.to, key, arguments.file, screen.progress)
    screen.finish()
    for row, path, reason in found.refused[:MAX_REFUSALS]:
        screen.say(f"{arguments.file}, row {row:,}: refused: {reason} - at `{path}`")
    screen.say(_sentence(found))
    write_figures(
        arguments,
        {
            "learned": found.learned,
            "redundant": found.redundant,
            "repeated": found.repeated,
            "refused": len(found.refused),
            "waiting": found.waiting,
        },
    )
    if found.refused and not found.taken:
        row, path, reason = found.refused[0]
        raise ConfigError(
            f"{arguments.file}: none of its {len(found.refused):,} rows was taken; row {row:,}: {reason} "
            f"- at `{path}`. Name its columns as `schema` in the project file does, and import it again"
        )


def _sentence(found: Imported) -> str:
    waiting = f" ({found.waiting:,} wait for their payment)" if found.waiting else ""
    advice = "; mend those and import the file again, each label counts once" if found.refused else ""
    return (
        f"{found.learned:,} labels learned{waiting}, {found.redundant:,} that change nothing kept beside "
        f"them, {found.repeated:,} had come before, {len(found.refused):,} refused{advice}"
    )
