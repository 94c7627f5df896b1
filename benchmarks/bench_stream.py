"""Measure the Lambda function on local AWS services: records/s, latency by stage, the endpoint, staleness.

    python -m benchmarks.bench_stream [--payments N] [--seconds S] [--json FILE] [--write]

Everything shares this machine's cores: the services, four environments of the function, the model's
server and the sender.  The package, the template and the protocols are those of AWS; its machines are not.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from fraud_detection.adapters.aws.clients import clients_of
from fraud_detection.adapters.aws.cloudwatch_logs import LogTail
from fraud_detection.adapters.aws.kinesis_producer import KinesisProducer, KinesisReceiver
from fraud_detection.adapters.aws.state.dynamodb_decisions import DynamoDedupIndex
from fraud_detection.adapters.terminal import Terminal
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.core.score.protocol import JSON, write_request
from fraud_detection.demo.demo import DemoSettings, demo_project, learn
from fraud_detection.deployment.logs import entries
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.simulator.stream import SimulatedStream, StreamOptions
from tests.e2e.stream_ground_truth import GroundTruth, SavedProfiles, events, records
from tools.aws_demo.demo import deployed, fill, local_settings
from tools.local_aws.local_deployment import LocalDeployment
from tools.local_aws.processes import LOOPBACK
from tools.local_aws.shard_poller import PollIntervals
from tools.local_aws.tap import Tap

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".venv-aws"
PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- stream: written by `make bench-stream` -->", "<!-- end of stream -->"
SIMULATION = SimulatorSettings(seed=7, cards=2_000, days=60)
RATE = 100.0
DRAIN_S = 600.0
LOOKED_AT = 500
CALLS = 300
EAGER = PollIntervals(poll_s=0.05, lagging_poll_s=0.02)
Figures = dict[str, float]


def main() -> None:
    """Print every figure, and write them where they are wanted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--payments", type=int, default=20_000, help="that wait in the stream (20,000)")
    parser.add_argument("--seconds", type=float, default=30.0, help="at each fixed rate (30)")
    parser.add_argument("--directory", type=Path, default=Path("build/bench-stream"), help="keeps the bundle")
    parser.add_argument("--json", type=Path, help="write the figures to FILE")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    arguments = parser.parse_args()
    bundle, history = trained_bundle(arguments.directory)
    figures = backlog(bundle, history, arguments.payments)
    for poll_s in (1.0, 0.2):
        figures |= steady(bundle, history, arguments.seconds, poll_s)
    figures |= endpoint(bundle, history)
    table = report(figures, arguments)
    print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.write:
        text = PAGE.read_text()
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def trained_bundle(folder: Path) -> tuple[Bundle, Path]:
    """Return a bundle and the history it was trained on, made once."""
    if not (folder / "bundle").exists():
        folder.mkdir(parents=True, exist_ok=True)
        learn(DemoSettings(0, 0, SIMULATION, folder), demo_project(), Terminal(plain=True).progress)
    return read_bundle(folder / "bundle"), folder / "history.parquet"


class Scene(msgspec.Struct, frozen=True):
    """A deployed stack, and what leads to it."""

    deployment: LocalDeployment
    clients: Any
    outputs: dict[str, str]
    saved: SavedProfiles

    def send(self, payments: list[bytes], rate: float = math.inf) -> None:
        """Put payments, at a rate or as fast as they are taken."""
        producer = KinesisProducer(self.clients("kinesis"), self.outputs["Stream"])
        receiver, began = KinesisReceiver(producer, ("card_id", "transaction_id")), time.monotonic()
        for index, event in enumerate(payments):
            if math.isfinite(rate) and index % 10 == 0:
                receiver.close()
                time.sleep(max(0.0, began + index / rate - time.monotonic()))
            receiver.write(event)
        receiver.close()

    def lines(self) -> list[dict[str, Any]]:
        """Return the function's log."""
        return entries(LogTail(self.clients("logs"), self.outputs["LogGroup"], 0).news())


@contextmanager
def scene(
    bundle: Bundle, history: Path, intervals: PollIntervals, *, tapped: bool = False
) -> Iterator[Scene]:
    """Deploy, fill the profiles, and make ready; the caller starts the deployment."""
    with (
        tempfile.TemporaryDirectory() as folder,
        deployed(bundle, local_settings("bench"), TOOLS, Path(folder), _quiet) as (
            cloud,
            release,
            services,
        ),
        Tap(services.port) as tap,
    ):
        clients, outputs, saved = clients_of(services.environment()), cloud.stack.outputs(), SavedProfiles()
        tap.saw = saved
        fill(bundle, outputs, clients, history, _quiet)
        variables = {"AWS_ENDPOINT_URL_DYNAMODB": tap.url} if tapped else {}
        deployment = LocalDeployment(
            services, clients, outputs, release.model, intervals=intervals, variables=variables
        )
        yield Scene(deployment, clients, outputs, saved)


def backlog(bundle: Bundle, history: Path, payments: int) -> Figures:
    """Return how fast a full stream is worked off, and how old what a shared profile did not know was."""
    sent = _payments(payments)
    with scene(bundle, history, EAGER) as running:
        running.send(sent)
        began = time.monotonic()
        with running.deployment:
            _drain(running)
            seconds = time.monotonic() - began
        batches = [line for line in running.lines() if line["type"] == "batch"]
    with scene(bundle, history, EAGER, tapped=True) as running:
        with running.deployment:
            running.send(sent[: payments // 4])
            _drain(running)
        came = events(
            demo_project(),
            records(running.clients("kinesis"), running.deployment.mapping.settings.stream_arn),
        )
        dedup_index = DynamoDedupIndex(
            running.clients("dynamodb"), running.outputs["DecisionsTable"], running.outputs["LabelsTable"]
        )
        ground_truth = GroundTruth(demo_project(), bundle.contents.features.category_encoding, came)
        decisions = list(dedup_index.decisions())
        sampled = Random(1).sample(decisions, min(LOOKED_AT, len(decisions)))
        stale = sorted(ground_truth.profile_lag_s(decision, running.saved) for decision in sampled)
    return {
        "backlog_records": len(sent),
        "backlog_records_per_s": len(sent) / seconds,
        "backlog_batch_records_mean": len(sent) / len(batches),
        "write_conflicts_per_batch": sum(line["write_conflicts"] for line in batches) / len(batches),
        "stale_share": sum(seconds > 0 for seconds in stale) / len(stale),
        "stale_p50_ms": 1000 * stale[len(stale) // 2],
        "stale_p99_ms": 1000 * stale[len(stale) * 99 // 100],
        "stale_max_ms": 1000 * stale[-1],
    }


def steady(bundle: Bundle, history: Path, seconds: float, poll_s: float) -> Figures:
    """Return the latency at a fixed rate, when a shard is read so often, and what it is made of."""
    name = f"poll_{round(1000 * poll_s)}ms"
    with (
        scene(bundle, history, PollIntervals(poll_s=poll_s, lagging_poll_s=min(poll_s, 0.2))) as running,
        running.deployment,
    ):
        running.send(_payments(400), RATE)  # the function starts cold
        _drain(running)
        running.deployment.flush_logs()
        before = len(running.lines())
        running.send(_payments(400 + round(RATE * seconds))[400:], RATE)
        _drain(running)
        running.deployment.flush_logs()
        lines = running.lines()[before:]
    decisions = [line["iterator_latency_ms"] for line in lines if line["type"] == "decision"]
    batches = [line for line in lines if line["type"] == "batch"]
    work = [line["stages_ms"] for line in batches]
    figures = {"put_to_decision": decisions, "put_to_function": _waits(batches)}
    figures |= {
        stage: [invocation[stage] for invocation in work] for stage in ("decide", "endpoint", "store", "save")
    }
    return {
        f"{name}_{what}_p{percent}_ms": _percentile(values, percent)
        for what, values in figures.items()
        for percent in (50, 99)
    }


def _waits(batches: list[dict[str, Any]]) -> list[float]:
    """Return how long each decided record waited before its batch came to the function."""
    return [
        max(0.0, ms - line["stages_ms"]["decide"]) for line in batches for ms in line["iterator_latency_ms"]
    ]


def endpoint(bundle: Bundle, history: Path) -> Figures:
    """Return how long boto3's InvokeEndpoint takes, for one row and for a hundred."""
    figures: Figures = {}
    with scene(bundle, history, EAGER) as running, running.deployment:
        address = f"http://{LOOPBACK}:{running.deployment.model.port}"
        environment = {"AWS_ENDPOINT_URL": address, "AWS_REGION": "local", "AWS_ACCESS_KEY_ID": "local"}
        client = clients_of(environment | {"AWS_SECRET_ACCESS_KEY": "local"})("sagemaker-runtime")
        features, vectors = bundle.contents.features, bundle.contents.vectors.matrix()
        for rows in (1, 100):
            matrix = [vectors[index % len(vectors)] for index in range(rows)]
            body = write_request(matrix, features.names, features.fingerprint, 1.0)
            took = [_invoke(client, body) for _ in range(CALLS)][CALLS // 10 :]
            figures |= {
                f"invoke_{rows}_rows_p{percent}_ms": _percentile(took, percent) for percent in (50, 99)
            }
    return figures


def _invoke(client: Any, body: bytes) -> float:  # noqa: ANN401 - boto3's client
    began = time.perf_counter()
    client.invoke_endpoint(EndpointName="bench", ContentType=JSON, Accept=JSON, Body=body)["Body"].read()
    return 1000 * (time.perf_counter() - began)


def report(figures: Figures, arguments: argparse.Namespace) -> str:
    """Return the figures as a page shows them."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git there is
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    ).stdout.strip()
    rows = [
        (
            f"a backlog of {figures['backlog_records']:,.0f} records on 4 shards",
            f"{figures['backlog_records_per_s']:,.0f} records/s",
        ),
        (
            "records a batch there; profiles changed by another shard meanwhile, a batch",
            f"{figures['backlog_batch_records_mean']:.0f}; {figures['write_conflicts_per_batch']:.1f}",
        ),
        (
            "decisions there with a profile that did not know all that had come by other shards",
            f"{100 * figures['stale_share']:.0f} %",
        ),
        (
            "how long before the decision's own record the oldest of these came: p50, p99, longest",
            " / ".join(f"{figures[f'stale_{name}_ms']:,.0f} ms" for name in ("p50", "p99", "max")),
        ),
    ]
    for poll in ("1000ms", "200ms"):
        for what, description in STAGES.items():
            p50, p99 = (figures[f"poll_{poll}_{what}_p{percent}_ms"] for percent in (50, 99))
            rows.append(
                (
                    f"{RATE:.0f}/s, read every {poll.replace('ms', ' ms')}: {description}",
                    f"{p50:,.1f} / {p99:,.1f} ms",
                )
            )
    for count in (1, 100):
        p50, p99 = (figures[f"invoke_{count}_rows_p{percent}_ms"] for percent in (50, 99))
        rows.append((f"`InvokeEndpoint`, {count} row{'s' * (count > 1)}", f"{p50:.2f} / {p99:.2f} ms"))
    head = (
        f"{platform.machine()}, 2 shared cores, Python {platform.python_version()}, commit {commit}; "
        f"{arguments.seconds:g} s at each rate. Two figures are p50 and p99.\n\n| | measured |\n|---|---|\n"
    )
    return head + "\n".join(f"| {what} | {value} |" for what, value in rows)


STAGES = {
    "put_to_decision": "put to decision",
    "put_to_function": "of it, waiting in the stream and for the batch before",
    "decide": "a batch: load, features, score, decide",
    "endpoint": "of it, the endpoint",
    "store": "a batch: store decisions, labels, quarantine",
    "save": "a batch: save profiles",
}


def _payments(count: int) -> list[bytes]:
    stream = SimulatedStream(SIMULATION, StreamOptions(payments=count, labels="none"))
    return [event.data.rstrip(b"\n") for chunk in stream.chunks(0) for event in chunk][:count]


def _drain(running: Scene) -> None:
    if not running.deployment.mapping.drained(DRAIN_S):
        raise TimeoutError(f"the stream was not worked off within {DRAIN_S:.0f} s")


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _quiet(*_: object) -> None:
    """Show no progress."""


if __name__ == "__main__":
    main()
