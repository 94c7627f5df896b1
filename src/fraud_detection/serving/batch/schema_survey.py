"""Look through a file of events and count how they differ from the declared schema."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path

from fraud_detection.adapters.files.event_sources import open_file
from fraud_detection.adapters.files.tables import is_textual
from fraud_detection.core.errors import RejectError
from fraud_detection.core.features.category_encoding import CategoryEncoding
from fraud_detection.core.parse import Parser
from fraud_detection.core.parse.drift import SchemaDrift
from fraud_detection.core.project_schema import Project

BATCH = 4096


def survey(project: Project, path: Path, category_encoding: CategoryEncoding) -> SchemaDrift:
    """Parse every event of the file and return the tallies; nothing else is done with them."""
    parser = Parser(project.schema, category_encoding, textual=is_textual(path))
    parser.bounds.arrived(int(time.time() * 1000))
    for batch in open_file(path).batches(0, BATCH):
        for raw, identity in zip(batch.events, batch.identities or itertools.repeat(None), strict=False):
            # What is refused is in the tallies too.
            with contextlib.suppress(RejectError):
                parser.parse(raw, identity)
    return parser.drift
