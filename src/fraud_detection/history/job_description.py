"""What a job is asked to do, and what it says of itself: two objects in the folder of its run."""

from __future__ import annotations

import msgspec

from fraud_detection.adapters.aws.s3_files import ObjectVersion
from fraud_detection.core.errors import ConfigError

DESCRIPTION = "job.json"
STATUS = "status.json"
PARTS = "parts/"
LOGS = "logs/"


class JobDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table to make: of which history, and where it goes.

    project: URI of the project file.  out: URI of the table.  work: URI of the run's folder, with a slash at
    its end.  as_of: see `stages.make_features`.
    """

    project: str
    history: ObjectVersion
    labels: tuple[ObjectVersion, ...]
    out: str
    work: str
    as_of: int | None = None


class JobStatus(msgspec.Struct, frozen=True):
    """How far a job is; `reason` says why it failed, and `report` what is in its table.

    report: as `training.tables.report.FeaturesReport`, by name.
    """

    stage: str
    reason: str = ""
    report: dict[str, int | str | None] | None = None


def read_status(content: bytes | None) -> JobStatus:
    """Return the status that a job has put; an empty one where it has put none yet.

    >>> read_status(None).stage, read_status(b'{"stage": "reading"}').stage
    ('', 'reading')
    """
    return JobStatus("") if content is None else msgspec.json.decode(content, type=JobStatus)


def read_description(uri: str, content: bytes | None) -> JobDescription:
    """Return the description of a job; raise ConfigError where there is none, or it is of another version."""
    if content is None:
        raise ConfigError(f"{uri}: no such object; `fraud deploy history` puts it")
    try:
        return msgspec.json.decode(content, type=JobDescription)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{uri}: is not the description of a job of this version: {error}") from None
