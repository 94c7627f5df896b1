"""Length-prefixed message framing for worker sockets."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

LENGTH = struct.Struct(">I")

MAX_FRAME_BYTES = 1 << 24
"""Bytes; a list of events over HTTP has at most a sixteenth of that, and so have its results."""

_encode = msgspec.msgpack.Encoder().encode


class FrameError(Exception):
    """Received bytes are no frame or exceed the maximum; the connection cannot go on."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One message.

    number: of the request, 0 for a notification.  what: the method, or the kind of reply.
    """

    number: int
    what: str
    body: Any = None


_decode = msgspec.msgpack.Decoder(Frame).decode


def encode_frame(frame: Frame) -> bytes:
    r"""Encode a frame with its length before it.

    >>> encode_frame(Frame(1, "find", "a"))
    b'\x00\x00\x00\t\x93\x01\xa4find\xa1a'
    """
    content = _encode(frame)
    return LENGTH.pack(len(content)) + content


class FrameDecoder:
    """Decodes frames from received bytes, however they were split.

    >>> frames = FrameDecoder()
    >>> whole = encode_frame(Frame(1, "find", "a")) * 2
    >>> [len(list(frames.of(part))) for part in (whole[:3], whole[3:20], whole[20:])]
    [0, 1, 1]
    """

    def __init__(self) -> None:
        """Start with nothing left over."""
        self._buffer = b""

    def of(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with these bytes; raise FrameError where that cannot go on."""
        data = self._buffer + data if self._buffer else data
        offset, size = 0, LENGTH.size
        while len(data) - offset >= size:
            length = LENGTH.unpack_from(data, offset)[0]
            end = offset + size + length
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame has at most {MAX_FRAME_BYTES:,} bytes, got {length:,}")
            if end > len(data):
                break
            try:
                frame = _decode(memoryview(data)[offset + size : end])
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                raise FrameError(f"what arrived is no frame: {error}") from None
            yield frame
            offset = end
        self._buffer = data[offset:]
