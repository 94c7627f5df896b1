"""Lambda's API: the settings, the package and the event source mappings of a function."""

from __future__ import annotations

import base64
import hashlib
import urllib.request
from typing import Any
from urllib.error import URLError

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.core.errors import ConfigError

FETCH_S = 30.0


class DeployedFunction(msgspec.Struct, frozen=True):
    """A function as Lambda's API answers: its configuration, and the very zip that was uploaded."""

    configuration: dict[str, Any]
    package: bytes


class LambdaApi:
    """Reads a deployed function; changes nothing."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - botocore's client has no type
        """Take botocore's client."""
        self._client = client

    def function(self, name: str) -> DeployedFunction:
        """Return a function; raise ConfigError when it is not there, or its package was changed."""
        response = self._call("get_function", FunctionName=name)
        configuration = response["Configuration"]
        package = _fetch(name, response["Code"]["Location"])
        digest = base64.b64encode(hashlib.sha256(package).digest()).decode()
        if digest != configuration["CodeSha256"]:
            raise ConfigError(
                f"function {name}: its package has the SHA-256 {digest}, not {configuration['CodeSha256']}"
            )
        return DeployedFunction(configuration, package)

    def mappings(self, name: str) -> list[dict[str, Any]]:
        """Return the event source mappings of a function, disabled ones too."""
        response = self._call("list_event_source_mappings", FunctionName=name)
        found_mappings: list[dict[str, Any]] = list(response["EventSourceMappings"])
        while response.get("NextMarker"):
            response = self._call(
                "list_event_source_mappings", FunctionName=name, Marker=response["NextMarker"]
            )
            found_mappings += response["EventSourceMappings"]
        return found_mappings

    def _call(self, call: str, **arguments: str) -> dict[str, Any]:
        try:
            response: dict[str, Any] = getattr(self._client, call)(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise ConfigError(f"function {arguments['FunctionName']}: {error}") from None
        return response


def _fetch(name: str, location: str) -> bytes:
    """Download a package from where Lambda says that it lies; no proxy stands between."""
    if not location.startswith(("https://", "http://127.0.0.1:")):
        raise ConfigError(f"function {name}: its package lies at {location}, which is not fetched")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(location, timeout=FETCH_S) as response:
            content: bytes = response.read()
    except (URLError, OSError) as error:
        raise ConfigError(f"function {name}: its package cannot be fetched: {error}") from None
    return content
