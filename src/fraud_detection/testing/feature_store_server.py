"""The stand-in for Feature Store behind HTTP on this machine, so that AWS's own client can call it.

`AWS_ENDPOINT_URL_SAGEMAKER_FEATURESTORE_RUNTIME` leads a client here.  It speaks the protocol that AWS's
description of the service says (rest-json), for PutRecord and BatchGetRecord.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import msgspec
from botocore.exceptions import ClientError

from fraud_detection.testing.feature_store_fake import FakeFeatureStore
from fraud_detection.testing.feature_store_model import service

PUT = "/FeatureGroup/"


class FeatureStoreServer:
    """Serves a FakeFeatureStore on a free port while the context is open; `url` is its address.

    Unlike the service it requires no signature.

    >>> from fraud_detection.adapters.aws.clients import clients_of
    >>> keys = {"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "fake", "AWS_SECRET_ACCESS_KEY": "fake"}
    >>> asked = {"FeatureGroupName": "live-card", "RecordIdentifiersValueAsString": ["c1"]}
    >>> with FeatureStoreServer(FakeFeatureStore(["live-card"])) as server:
    ...     client = clients_of({"AWS_ENDPOINT_URL": server.url, **keys})("sagemaker-featurestore-runtime")
    ...     client.batch_get_record(Identifiers=[asked])["Records"]
    []
    """

    def __init__(self, store: FakeFeatureStore) -> None:
        """Take the port, and serve nothing yet."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Serve from now on."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    store: FakeFeatureStore
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_PUT(self) -> None:
        if not self.path.startswith(PUT):
            self._send_error("UnknownOperationException", f"no operation at PUT {self.path}", 404)
            return
        name = unquote(self.path.removeprefix(PUT))
        self._respond(self.store.put_record, {"FeatureGroupName": name})

    def do_POST(self) -> None:
        if self.path != "/BatchGetRecord":
            self._send_error("UnknownOperationException", f"no operation at POST {self.path}", 404)
            return
        self._respond(self.store.batch_get_record, {})

    def log_message(self, *_: object) -> None:
        """Say nothing: a test's output is its own."""

    def _respond(self, call: Callable[..., dict[str, Any]], request: dict[str, Any]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            response = call(**request, **msgspec.json.decode(body, type=dict[str, Any]))
        except ClientError as error:
            details = error.response["Error"]
            self._send_error(details["Code"], details["Message"], _status(details["Code"]))
        else:
            self._send(200, response, {})

    def _send_error(self, code: str, message: str, status: int) -> None:
        self._send(status, {"Message": message}, {"x-amzn-errortype": code})

    def _send(self, status: int, response: dict[str, Any], headers: dict[str, str]) -> None:
        body = msgspec.json.encode(response)
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _status(code: str) -> int:
    """Return the HTTP status of an error, as the service's description has it."""
    shapes = {shape.error_code: shape for shape in service().error_shapes}
    return int(shapes[code].metadata["error"]["httpStatusCode"]) if code in shapes else 400
