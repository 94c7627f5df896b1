"""Trace one payment through each way of serving: the files it touches, and its moves between files.

    python -m benchmarks.payment_trace [--json] [--verbose]

It needs plain Python, since compiled modules cannot be traced: `python -m benchmarks.structure --trace` runs
it on a copy without them.

A service that has decided `WARM_UP` payments, one by one, is given one more, in this process and without a
socket: embedded its bytes, HTTP the bytes of a request on a connection, the Lambda function an event of
Kinesis.  Recorded is what runs until the decision is committed and answered, and the deferred work after it,
on all threads.  AWS and the model's endpoint are stand-ins for other machines, and left out.

Two payments are traced, because only some are explained: the first that is approved after the warm-up, and
the first that goes to review.  See `call_recorder` for what a move is; `calls_apart` counts consecutive calls
in different files, without returns.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import copy
import io
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

import fraud_detection
from benchmarks.call_recorder import Recorder
from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.http.connection_limit import Bound, LimitedConnection
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.protocol import JSON
from fraud_detection.engine.decision_json import outcome_line
from fraud_detection.serving.aws_lambda.batch import records_of
from fraud_detection.serving.aws_lambda.handler import make_processor
from fraud_detection.serving.aws_lambda.settings import PREFIX
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.embedded.stream_runner import open_service
from fraud_detection.serving.http.api_keys import Access
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.routes import Api
from fraud_detection.serving.sagemaker.container import Endpoint
from fraud_detection.testing.aws_fakes import FakeLog, FakeS3
from fraud_detection.testing.dynamodb_fake import FakeDynamo
from tests.conftest import SmallSimulation
from tests.small_simulation import make_simulation, simulation_in

WARM_UP = 40
PAYMENTS = 60
TRACED = ("approve", "review")
SHARD = "shardId-000000000000"
FIRST = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898
NAMED = [
    f"{PREFIX}{name}"
    for name in (
        "ENDPOINT",
        "PROFILES_TABLE",
        "DECISIONS_TABLE",
        "LABELS_TABLE",
        "QUARANTINE_BUCKET",
        "TOKEN_KEY",
    )
]


Send = Callable[[bytes], bytes]
"""Let a service decide an event; return the decision record as JSON."""
Serve = Callable[[SmallSimulation, Path, Recorder], AbstractContextManager[Send]]


@contextmanager
def embedded(simulation: SmallSimulation, folder: Path, recorder: Recorder) -> Iterator[Send]:
    """Serve as `fraud run` does: a state file, the model in this process."""
    new_state(folder / "embedded.db")
    _, service = open_service(simulation.bundle, folder / "embedded.db")

    def send(event: bytes) -> bytes:
        with recorder.switched(recording=True):
            (outcome,) = service.take(Batch([event], None, 0), "trace")
            service.run_deferred_work()
        return outcome_line(outcome)

    yield send
    service.close()


@contextmanager
def http(simulation: SmallSimulation, folder: Path, recorder: Recorder) -> Iterator[Send]:
    """Serve as `fraud serve` does: one connection, whose bytes are given and taken here."""
    new_state(folder / "http.db")
    _, service = open_service(simulation.bundle, folder / "http.db")
    with asyncio.Runner() as runner:
        requests = RequestBatcher(service)
        application = Api(requests, Access(None), b"")
        connection = LimitedConnection(
            application,
            Bound(1),
            config=Config(_nothing, log_level="warning"),
            server_state=ServerState(),
            app_state={},
            _loop=runner.get_loop(),
        )
        transport = _Transport()
        connection.connection_made(transport)

        async def responded(event: bytes) -> bytes:
            head = b"POST /v1/decisions HTTP/1.1\r\nHost: trace\r\nContent-Length: %d\r\n\r\n" % len(event)
            transport.written = asyncio.get_running_loop().create_future()
            with recorder.switched(recording=True):
                connection.data_received(head + event)
                response = await transport.written
                # After the response comes the deferred work.
                await asyncio.sleep(0)
            return response.partition(b"\r\n\r\n")[2]

        yield lambda event: runner.run(responded(event))
        connection.connection_lost(None)
        requests.close()


@contextmanager
def aws_lambda(simulation: SmallSimulation, folder: Path, recorder: Recorder) -> Iterator[Send]:  # noqa: ARG001 - it has no file
    """Serve as the Lambda function does, one record an invocation."""
    endpoint, log = Endpoint(read_bundle(simulation.bundle)), FakeLog()

    def invoke_endpoint(**request: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        return {"Body": io.BytesIO(endpoint.invoke(request["Body"], JSON, JSON)[0])}

    clients = {
        "dynamodb": recorder.elsewhere(FakeDynamo()),
        "s3": recorder.elsewhere(FakeS3()),
        "sagemaker-runtime": recorder.elsewhere(SimpleNamespace(invoke_endpoint=invoke_endpoint)),
    }
    settings = dict.fromkeys(NAMED, "trace") | {"FRAUD_BUNDLE": str(simulation.bundle)}
    processor = make_processor(settings, recorder.elsewhere(log).write, clients.__getitem__)
    numbers = itertools.count(FIRST)

    def send(event: bytes) -> bytes:
        kinesis = {
            "sequenceNumber": str(next(numbers)),
            "data": base64.b64encode(event).decode(),
            "approximateArrivalTimestamp": 1.0,
        }
        with recorder.switched(recording=True):
            failed = processor.handle(SHARD, records_of({"Records": [{"kinesis": kinesis}]}))
        if failed:
            raise RuntimeError(f"the function would be given the event again: {log.lines[-1]}")
        return json.dumps(next(line for line in reversed(log.lines) if line["type"] == "decision")).encode()

    yield send


class _Transport(asyncio.Transport):
    """What a connection writes on; `written` is its next answer."""

    written: asyncio.Future[bytes]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.set_result(bytes(data))


async def _nothing(_scope: object, _receive: object, _send: object) -> None:
    """Stand in for the ASGI application that uvicorn wants; it is never called."""


def traced(simulation: SmallSimulation, folder: Path, serve: Serve) -> dict[str, Recorder]:
    """Return what was recorded of one payment of each outcome, by its name."""
    recorders: dict[str, Recorder] = {}
    events = simulation.events(PAYMENTS, labels="none", late_share=0, duplicate_share=0, malformed_share=0)
    recorder = Recorder(Path(fraud_detection.__file__).parent)
    with recorder.installed(), serve(simulation, folder, recorder) as send:
        for number, event in enumerate(events):
            recorder.threads = {}
            action = json.loads(send(event))["action"]
            if number >= WARM_UP and action in TRACED and action not in recorders:
                recorders[action] = copy.copy(recorder)
    return recorders


WAYS: dict[str, Serve] = {"embedded": embedded, "http": http, "lambda": aws_lambda}


def main() -> None:
    """Print what one payment of each outcome touches, by way of serving."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--verbose", action="store_true", help="print each move: > for a call, < for a return"
    )
    chosen = parser.parse_args()
    home = Path(fraud_detection.__file__).parent
    if any(home.rglob("*.so")):
        raise SystemExit(f"{home} has compiled modules, which cannot be traced: `make pure` removes them")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_simulation(folder)
        traces = {way: traced(simulation_in(folder), folder, serve) for way, serve in WAYS.items()}
    if chosen.json:
        print(
            json.dumps({way: {action: r.figures() for action, r in of.items()} for way, of in traces.items()})
        )
        return
    for way, recorders in traces.items():
        for action, recorder in sorted(recorders.items()):
            print(f"{way}, {action}:", ", ".join(f"{n} {name}" for name, n in recorder.figures().items()))
            if chosen.verbose:
                print("\n".join(recorder.moves()))


if __name__ == "__main__":
    main()
