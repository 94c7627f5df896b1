"""Start Spark for one job, and stop it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from fraud_detection.adapters.host.scratch import scratch_folder
from fraud_detection.adapters.spark.java import check_java
from fraud_detection.adapters.spark.shipping import archive_settings, code_archive

SUBMITTED = "spark-submit"
"""In a master's place: the program was started by spark-submit, which named it, with Java and settings."""
LOG4J = Path(__file__).with_name("log4j2.properties")
ALWAYS = {
    "spark.app.name": "fraud-detection",
    "spark.ui.showConsoleProgress": "false",
    # Coalescing would put partitions together by their bytes, but what a task takes is the time and the
    # memory of Python.  It also runs the sides of a union as jobs of their own.
    "spark.sql.adaptive.enabled": "false",
    # What a Python process gets at once; the content of a record may be long.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(1 << 24),
    # Results are counts, and eight bytes a payment.
    "spark.driver.maxResultSize": "0",
}
LOCAL = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
LOCAL_MEMORY = "2g"
"""Of the JVM that does the work where there is no cluster, unless the user says something else."""


@contextmanager
def started(master: str, scratch: Path) -> Iterator[SparkSession]:
    """Start a session, and stop it.  Without a cluster its files lie in a folder in `scratch` meanwhile.

    master: as Spark names it, or SUBMITTED.  Raises ConfigError where there is no Java that Spark runs on.
    """
    if master == SUBMITTED:
        with _context(ALWAYS) as session:
            yield session
        return
    check_java(os.environ)
    if _is_local(master):
        # As variables, since settings would not yield to the user's own, and pyspark asks for no other name.
        os.environ.setdefault("SPARK_DRIVER_MEMORY", LOCAL_MEMORY)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    place = scratch_folder(scratch) if _is_local(master) else _temporary()
    with place as folder, _context(settings(master, folder)) as session:
        yield session


@contextmanager
def _context(chosen: Mapping[str, str]) -> Iterator[SparkSession]:
    context = SparkContext(conf=SparkConf().setAll(list(chosen.items())))
    try:
        yield SparkSession(context)
    finally:
        context.stop()


def settings(master: str, folder: Path) -> Mapping[str, str]:
    """Return the settings of a session; those of the user's own spark-defaults.conf stand beside them."""
    own = {
        "spark.master": master,
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={LOG4J.as_uri()}",
    }
    if _is_local(master):
        return {**ALWAYS, **own, **LOCAL, "spark.local.dir": str(folder)}
    return {**ALWAYS, **own, **archive_settings(code_archive(folder / "code.zip"))}


def _is_local(master: str) -> bool:
    return master.startswith("local")


@contextmanager
def _temporary() -> Iterator[Path]:
    with TemporaryDirectory(prefix="fraud-spark-") as name:
        yield Path(name)
