"""Lines between workers: every request gets its own reply, or an error that there will be none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.adapters.ipc.framing import Frame, FrameDecoder, encode_frame
from fraud_detection.adapters.ipc.rpc import RequestHandler
from fraud_detection.adapters.ipc.rpc_node import RpcNode, socket_of
from fraud_detection.core.errors import RetryError

BODIES = st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=5)


@given(st.lists(st.tuples(st.integers(0, 2**40), st.text(), BODIES)), st.lists(st.integers(1, 9), min_size=1))
def test_frames_arrive_whole_however_they_are_cut(sent: list[tuple[int, str, Any]], sizes: list[int]) -> None:
    wanted = [Frame(*frame) for frame in sent if not _too_large(frame[2])]
    data, frames, decoded, offset = b"".join(map(encode_frame, wanted)), FrameDecoder(), list[Frame](), 0
    while data:
        size = sizes[offset % len(sizes)]
        decoded += frames.of(data[:size])
        data, offset = data[size:], offset + 1
    assert decoded == wanted


def _too_large(body: object) -> bool:
    if isinstance(body, list):
        return any(_too_large(part) for part in body)
    return isinstance(body, int) and not -(2**63) <= body < 2**64


async def pair(folder: Path, handlers: tuple[RequestHandler, RequestHandler]) -> tuple[RpcNode, RpcNode]:
    both = tuple(RpcNode(own, 2, folder, handlers[own], lambda _: None) for own in range(2))
    for peer in both:
        await peer.open()
    await until(lambda: all(peer.connected for peer in both))
    return both[0], both[1]


async def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


async def echo(sender: int, what: str, body: Any) -> Any:  # noqa: ANN401 - whatever was requests
    await asyncio.sleep(0.02 * (body % 3) if isinstance(body, int) else 0)
    if what == "refuse":
        raise RetryError("not now")
    return [sender, what, body]


def test_each_of_many_questions_under_way_gets_its_own_reply(tmp_path: Path) -> None:
    async def call() -> None:
        first, second = await pair(tmp_path, (echo, echo))
        requests = [first.clients[1].call("count", number) for number in range(100)]
        assert await asyncio.gather(*requests) == [[0, "count", number] for number in range(100)]
        assert await second.clients[0].call("x", b"\0raw") == [1, "x", b"\0raw"]
        with pytest.raises(RetryError, match="not now"):
            await first.clients[1].call("refuse", None)
        await first.close()
        await second.close()

    asyncio.run(call())


def test_a_worker_that_hangs_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async def hang(_other: int, _what: str, body: Any) -> Any:  # noqa: ANN401 - whatever was requests
        await asyncio.sleep(60 if body == "hang" else 0)
        return body

    async def call() -> None:
        rpc = [RpcNode(own, 2, tmp_path, hang, lambda _: None, timeout_s=0.1) for own in range(2)]
        for peer in rpc:
            await peer.open()
        await until(lambda: all(peer.connected for peer in rpc))
        waiting = rpc[0].clients[1].call("x", "hang")
        with pytest.raises(RetryError, match="worker 1 does not respond"):
            await asyncio.wait_for(waiting, 5)
        # The line stands, and others are answered.
        assert rpc[0].connected
        assert await rpc[0].clients[1].call("x", "go on") == "go on"
        for peer in rpc:
            await peer.close()

    asyncio.run(call())


def test_a_connection_that_breaks_reports_it_and_is_made_anew(tmp_path: Path) -> None:
    async def never(_other: int, _what: str, _body: Any) -> Any:  # noqa: ANN401 - whatever was requests
        await asyncio.sleep(60)

    async def call() -> None:
        first, second = await pair(tmp_path, (echo, never))
        waiting = first.clients[1].call("x", 1)
        await asyncio.sleep(0.05)
        await second.close()
        with pytest.raises(RetryError, match="worker 1 does not respond"):
            await waiting
        await until(lambda: not first.connected)
        with pytest.raises(RetryError, match="worker 1 does not respond"):
            await first.clients[1].call("x", 1)
        again = RpcNode(1, 2, tmp_path, echo, lambda _: None)
        await again.open()
        await until(lambda: first.connected)
        assert await first.clients[1].call("x", 2) == [0, "x", 2]
        await first.close()
        await again.close()

    asyncio.run(call())


def test_all_are_connected_only_when_the_others_reach_one_another_too(tmp_path: Path) -> None:
    async def call() -> None:
        # Each sees the sockets that its own folder leads to: worker 1 does not find worker 2 at first.
        folders = [tmp_path / str(own) for own in range(3)]
        for folder in folders:
            folder.mkdir()
        nodes = [RpcNode(own, 3, folder, echo, lambda _: None) for own, folder in enumerate(folders)]
        for own, folder in enumerate(folders):
            for other in {0, 1, 2} - {own} - ({2} if own == 1 else set()):
                socket_of(folder, other).symlink_to(socket_of(folders[other], other))
        for node in nodes:
            await node.open()
        await until(lambda: nodes[0].connected and nodes[2].connected)
        assert [await node.all_connected() for node in nodes] == [False] * 3
        socket_of(folders[1], 2).symlink_to(socket_of(folders[2], 2))
        await until(lambda: nodes[1].connected)
        assert [await node.all_connected() for node in nodes] == [True] * 3
        for node in nodes:
            await node.close()
        assert not await nodes[0].all_connected()

    asyncio.run(call())


def test_lines_that_break_while_they_are_closed_end_all_the_same(tmp_path: Path) -> None:
    async def call() -> None:
        for _ in range(20):
            both = await pair(tmp_path, (echo, echo))
            # Both at once: the end of a line and the word to give it up come in one turn of the loop.
            for peer in both:
                for client in peer.clients.values():
                    client.close()
            await asyncio.sleep(0)
            await asyncio.wait_for(asyncio.gather(*(peer.close() for peer in both)), 5)

    asyncio.run(call())


@pytest.mark.parametrize(
    "sent", [b"\xff\xff\xff\xff", b"\x01\x00\x00\x01" + b"x" * 100, b"\x00\x00\x00\x01\xc1"]
)
def test_what_is_no_frame_ends_its_line_and_no_other(sent: bytes, tmp_path: Path) -> None:
    async def tried() -> None:
        left, right = await pair(tmp_path, (echo, echo))
        reader, writer = await asyncio.open_unix_connection(str(socket_of(tmp_path, 1)))
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()
        assert await left.clients[1].call("what", 1) == [0, "what", 1]
        await asyncio.gather(left.close(), right.close())

    asyncio.run(tried())
