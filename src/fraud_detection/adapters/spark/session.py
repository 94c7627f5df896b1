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

from fraud_detection.adapters.spark.java import check_java

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
    "spark.driver.memory": "2g",
}


@contextmanager
def started(master: str, scratch: Path) -> Iterator[SparkSession]:
    """Start a session, and stop it; on this machine alone its files lie in a folder in `scratch` meanwhile.

    master: as Spark names it, or SUBMITTED.  Raises ConfigError where there is no Java that Spark runs on.
    """
    if master == SUBMITTED:
        with _context(SparkConf().setAll(list(ALWAYS.items()))) as session:
            yield session
        return
    check_java(os.environ)
    with TemporaryDirectory(prefix=".fraud-spark-", dir=scratch) as folder:
        conf = SparkConf().setMaster(master).setAll(list(settings(master, Path(folder)).items()))
        # Workers of a cluster have a Python of their own; those of this machine have this one.
        if master.startswith("local"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        with _context(conf) as session:
            yield session


@contextmanager
def _context(conf: SparkConf) -> Iterator[SparkSession]:
    context = SparkContext(conf=conf)
    try:
        yield SparkSession(context)
    finally:
        context.stop()


def settings(master: str, folder: Path) -> Mapping[str, str]:
    """Return the settings of a session; those of the user's own spark-defaults.conf stand beside them."""
    quiet = {"spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={LOG4J.as_uri()}"}
    own = {"spark.sql.warehouse.dir": str(folder / "warehouse")}
    local = {**LOCAL, "spark.local.dir": str(folder)} if master.startswith("local") else {}
    return {**ALWAYS, **quiet, **own, **local}
