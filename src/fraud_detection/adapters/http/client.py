"""Send a request to a server of our own over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request

from fraud_detection.core.errors import ConfigError

TIMEOUT_S = 60.0


def post_json(url: str, body: bytes, key: str = "") -> bytes:
    """Send a JSON body and return the response's; other statuses than 200 raise ConfigError."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url}: expected an address such as http://127.0.0.1:8000")
    headers = {"content-type": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - checked above
            content: bytes = response.read()
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")[:500]
        raise ConfigError(f"{url}: responded {error.code}: {text}") from None
    except OSError as error:
        raise ConfigError(f"{url}: cannot be reached: {error}") from None
    return content
