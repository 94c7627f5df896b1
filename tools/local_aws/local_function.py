"""A deployed function, run on this machine from the very package that was uploaded."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fraud_detection.adapters.aws.lambda_api import DeployedFunction
from fraud_detection.core.errors import ConfigError
from tools.local_aws.runtime import FunctionRuntime, FunctionSettings


class LocalFunction:
    """One unzipped function, of which any number of environments can be made.

    tools: the environment that has the runtime client.  folder: where the package is unzipped.
    """

    def __init__(self, deployed: DeployedFunction, tools: Path, folder: Path) -> None:
        """Unzip the package; raise ConfigError when it is no zip, or the folder is not empty."""
        self.settings = settings_of(deployed.configuration)
        self._tools, self._folder = tools, folder
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder}: is not empty; a package is unzipped into a folder of its own")
        try:
            with zipfile.ZipFile(io.BytesIO(deployed.package)) as package:
                package.extractall(folder)
        except zipfile.BadZipFile as error:
            raise ConfigError(f"function {self.settings.name}: its package is no zip: {error}") from None

    def runtime(self, endpoints: Mapping[str, str], log: Callable[[bytes], object]) -> FunctionRuntime:
        """Return an environment that has not started yet."""
        return FunctionRuntime(self._tools, self.settings, self._folder, endpoints, log)


def settings_of(configuration: Mapping[str, Any]) -> FunctionSettings:
    """Read what GetFunctionConfiguration answers.

    >>> answer = {"FunctionName": "f", "FunctionArn": "arn:f", "Handler": "f.handler", "Timeout": 60}
    >>> settings_of(answer).timeout_s
    60.0
    """
    return FunctionSettings(
        name=configuration["FunctionName"],
        arn=configuration["FunctionArn"],
        handler=configuration["Handler"],
        variables=dict((configuration.get("Environment") or {}).get("Variables") or {}),
        timeout_s=float(configuration.get("Timeout", 3)),
        memory_mb=int(configuration.get("MemorySize", 128)),
        runtime=configuration.get("Runtime", "python3.12"),
        version=configuration.get("Version", "$LATEST"),
        log_format=(configuration.get("LoggingConfig") or {}).get("LogFormat", "Text"),
    )
