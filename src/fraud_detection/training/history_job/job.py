"""The job as the cluster's driver runs it: a description in S3, a table in S3, a status meanwhile."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from fraud_detection.core.errors import FraudDetectionError
from fraud_detection.history.job_description import (
    PARTS,
    STATUS,
    JobDescription,
    JobStatus,
    read_description,
)
from fraud_detection.project.checks import open_project
from fraud_detection.training.history_job.s3_inputs import FetchingDataflow, Opened, s3_files
from fraud_detection.training.history_job.s3_parts import S3Parts
from fraud_detection.training.tables.engines import SUBMITTED, EngineSettings
from fraud_detection.training.tables.partitioned_job import FeatureJob, HistoryFiles
from fraud_detection.training.tables.report import FeaturesReport, partitioned_report

STATUS_EVERY_S = 5.0


class Reporter:
    """Puts how far the job is, every few seconds, and prints each stage that is done."""

    def __init__(self, opened: Opened, work: str) -> None:
        """Take the folder of the run."""
        self._files, self._uri, self._last = opened(), f"{work}{STATUS}", 0.0

    def progress(self, stage: str, share: float) -> None:
        """Put the stage, unless one was put a moment ago."""
        if share >= 1:
            sys.stdout.write(f"{stage}\n")
            sys.stdout.flush()
        if time.monotonic() - self._last >= STATUS_EVERY_S:
            self._last = time.monotonic()
            self.put(JobStatus(stage))

    def put(self, status: JobStatus) -> None:
        """Put a status."""
        self._files.put(self._uri, msgspec.json.encode(status))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job that the URI of its description names; exit with 1 where it fails."""
    parser = argparse.ArgumentParser(description="Replay history in S3 into a table of features in S3.")
    parser.add_argument("description", metavar="URI", help="description of the job, which is JSON")
    parser.add_argument("--jobs", type=int, help="replay on so many processes of this machine, not on Spark")
    given = parser.parse_args(arguments)
    engine = EngineSettings("local", given.jobs) if given.jobs else EngineSettings("spark", master=SUBMITTED)
    description = read_description(given.description, s3_files().get(given.description))
    with TemporaryDirectory(prefix="fraud-history-") as scratch:
        if not run(description, engine, s3_files, Path(scratch)):
            sys.exit(1)


def run(description: JobDescription, engine: EngineSettings, opened: Opened, scratch: Path) -> bool:
    """Do the job; say in its status why where it fails, and return whether it did not."""
    reporter = Reporter(opened, description.work)
    try:
        report = make_table(description, engine, opened, scratch, reporter)
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for the reason
        known = isinstance(error, (FraudDetectionError, OSError))
        reason = str(error) if known else traceback.format_exc()
        sys.stderr.write(f"{reason}\n")
        reporter.put(JobStatus("failed", reason))
        return False
    reporter.put(JobStatus("done", report=msgspec.to_builtins(report)))
    return True


def make_table(
    description: JobDescription, engine: EngineSettings, opened: Opened, scratch: Path, reporter: Reporter
) -> FeaturesReport:
    """Make the table; see `stages.make_features`."""
    files = opened()
    inputs = (description.history, *description.labels)
    reporter.progress("fetching the history", 0.0)
    project = open_project(files.fetch_once(files.version(description.project), scratch))
    history, *labels = [files.fetch_once(version, scratch) for version in inputs]
    out = scratch / description.out.rpartition("/")[2]
    parts = S3Parts(opened, f"{description.work}{PARTS}", scratch, description.out)
    with engine.opened(history, out, reporter.progress) as flow:
        fetching = FetchingDataflow(flow, opened, inputs, scratch)
        job = FeatureJob(fetching, project, out, reporter.progress, parts)
        named = HistoryFiles(history, tuple(labels))
        made = job.run(named, description.as_of, for_training=True)
    return partitioned_report(made)
