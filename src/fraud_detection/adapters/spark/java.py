"""Whether there is a Java that Spark runs on; without one it would say so in a page of its own log."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping

from fraud_detection.core.errors import ConfigError

MIN_JAVA = 17
INSTALL_JAVA = "apt-get install openjdk-17-jre-headless"


def check_java(environment: Mapping[str, str]) -> None:
    """Raise ConfigError where the Java that Spark would start is missing or too old."""
    home = environment.get("JAVA_HOME")
    java = shutil.which("java" if not home else f"{home}/bin/java", path=environment.get("PATH", os.defpath))
    if java is None:
        named = f"JAVA_HOME names {home}, which has no bin/java" if home else "no `java` was found"
        raise ConfigError(f"Spark needs Java {MIN_JAVA} or newer, and {named}: {INSTALL_JAVA}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    version = re.search(r'version "(?:1\.)?(\d+)', answer)
    if version is None or int(version[1]) < MIN_JAVA:
        found = answer.partition("\n")[0] or "nothing"
        raise ConfigError(
            f"Spark needs Java {MIN_JAVA} or newer, and {java} says {found!r}: {INSTALL_JAVA}, and name it "
            "with JAVA_HOME"
        )
