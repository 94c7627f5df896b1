"""Background work that dies is started again, and is reported until it is healthy."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from fraud_detection.adapters.host.background import Background, BackgroundTask
from fraud_detection.core.errors import ConfigError

FAULTS = [
    ValueError("any"),
    KeyError("k"),
    OSError("disk"),
    MemoryError(),
    RecursionError("deep"),
    AssertionError(),
    ConfigError("wrong"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda x: type(x).__name__)
def test_a_thread_that_dies_of_anything_comes_back_and_is_not_healthy_meanwhile(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    background, seen = Background(0.001), list[dict[str, str]]()
    done, rounds = threading.Event(), iter([fault, fault, None])

    def work(task: BackgroundTask) -> None:
        seen.append(background.problems())
        if (step := next(rounds)) is not None:
            raise step
        task.recovered()
        seen.append(background.problems())
        done.wait(10)

    thread = background.thread("reader", work)
    while len(seen) < 4:
        thread.join(0.001)
    assert seen[0] == {} == seen[3]
    assert list(seen[1]) == ["reader"] == list(seen[2])
    assert background.tasks["reader"].failures == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    done.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda x: type(x).__name__)
def test_a_task_that_dies_of_anything_comes_back_and_ends_when_it_is_cancelled(fault: Exception) -> None:
    async def main() -> None:
        background, rounds, back = Background(0.001), list[int](), asyncio.Event()

        async def work() -> None:
            rounds.append(len(rounds))
            if len(rounds) < 3:
                raise fault
            back.set()
            await asyncio.sleep(60)

        task = background.task("replication", work)
        async with asyncio.timeout(10):
            await back.wait()
        replication = background.tasks["replication"]
        assert (replication.failures, list(background.problems())) == (2, ["replication"])
        replication.started_at = -1e9  # as if it had run for long
        assert background.problems() == {}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_the_same_problem_is_logged_once_a_minute_and_counted_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = BackgroundTask("releases")
    for _ in range(50):
        task.failed(ConfigError("line 2 is no release"))
    assert (task.failures, len(caplog.records)) == (50, 1)
    task.failed(ConfigError("line 3 is no release"))
    assert len(caplog.records) == 2
