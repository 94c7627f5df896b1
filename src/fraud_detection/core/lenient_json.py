"""Read what a strict reader of JSON refuses, as far as it can be understood.

The rare path.  A cut emoji, NaN, 1e400, thousands of levels or digits, or a byte-order mark stop the strict
reader, though no field of the schema may be concerned.  Here such a value is `Unreadable` or cut, and all
others are read; what is no JSON object is refused all the same.  Time and memory grow with the length of the
text, whatever it holds, and its depth costs no stack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from fraud_detection.core.errors import RejectError

BOM: Final = b"\xef\xbb\xbf"
"""The byte-order mark with which some programs begin a file of UTF-8."""

LEVELS: Final = 100
"""What lies deeper in a value is proven to be JSON, and left out."""

MAX_BRACKETS: Final = 65_536
MAX_NUMBER_LENGTH: Final = 1_000
"""Digits; reading a whole number takes the square of their number."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_PART: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]|,', re.DOTALL)


class Unreadable:
    """Stands for a value that is there, and that nothing can be made of."""

    def __init__(self, why: str) -> None:
        """Take what is wrong with it."""
        self.why = why

    def __repr__(self) -> str:
        """Say what is wrong, where an example of a value is told."""
        return self.why


def object_of(raw: bytes) -> dict[str, object]:
    """Return the named values of a JSON object, strict or not; raise RejectError when it is none."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return read_object(raw)
    if not isinstance(value, dict):
        raise RejectError(f"expected a JSON object, got {type(value).__name__}")
    return value


def read_object(raw: bytes) -> dict[str, object]:
    r"""Return the named values of a JSON object; of equal names the last one counts.

    Raises RejectError when it is none.

    >>> read_object(b'\xef\xbb\xbf{"id": 7, "id": 8, "x": NaN, "y": 1e400, "z": "caf\\ud83d"}')
    {'id': 8, 'x': None, 'y': inf, 'z': text that is no Unicode}
    >>> read_object(b"")
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.RejectError: not valid JSON: Expecting value: line 1 column 1 (char 0)...
    """
    text = raw.removeprefix(BOM).decode("utf-8", "surrogateescape")
    brackets = text.count("[") + text.count("{")
    if brackets > MAX_BRACKETS:
        raise RejectError(f"an event has at most {MAX_BRACKETS:,} lists and objects, got {brackets:,}")
    try:
        value = _DECODER.decode(_shallow(text) if brackets > LEVELS else text)
    except ValueError as error:
        raise RejectError(f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise RejectError(f"expected a JSON object, got {type(value).__name__}")
    return {_name(key): _usable(item) for key, item in value.items()}


def items(body: bytes) -> list[bytes] | None:
    """Cut a list of JSON values at its commas, reading none of them; None where it has no end.

    >>> items(b' [{"a": [1, 2]}, nothing, "x,y"] '), items(b"[1, 2"), items(b"[ ]")
    ([b'{"a": [1, 2]}', b'nothing', b'"x,y"'], None, [])
    """
    text = body.removeprefix(BOM).strip()
    if not (text.startswith(b"[") and text.endswith(b"]")):
        return None
    commas = list(_cut(text))
    if not commas or commas[-1] != len(text) - 1:
        return None
    starts = [0, *commas[:-1]]
    parts = [text[start + 1 : end].strip() for start, end in zip(starts, commas, strict=True)]
    return [] if parts == [b""] else parts


def _cut(text: bytes) -> Iterator[int]:
    """Yield the offsets of the commas of a list, and of its end."""
    depth = 0
    for match in _PART.finditer(text):
        character = text[match.start()]
        if character in b"[{":
            depth += 1
        elif character in b"]}":
            depth -= 1
            if depth == 0:
                yield match.start()
                return
        elif character == b","[0] and depth == 1:
            yield match.start()


def _shallow(text: str) -> str:
    """Put null for each value that begins at a multiple of LEVELS; raise ValueError where it is no JSON.

    Each is read without those further in, so that all of the text is read once.
    """
    chunks: list[list[str]] = [[]]
    depth = start = 0
    for token in _TOKEN.finditer(text):
        character = text[token.start()]
        if character in "[{":
            depth += 1
            if depth % LEVELS == 0:
                chunks[-1].append(text[start : token.start()])
                chunks.append([])
                start = token.start()
        elif character in "]}":
            if depth % LEVELS == 0 and len(chunks) > 1:
                chunks[-1].append(text[start : token.end()])
                _DECODER.decode("".join(chunks.pop()))
                chunks[-1].append("null")
                start = token.end()
            depth -= 1
    if len(chunks) > 1:
        message = "a list or an object has no end"
        raise ValueError(message)
    return "".join([*chunks[0], text[start:]])


def _integer(digits: str) -> int | Unreadable:
    return (
        int(digits) if len(digits) <= MAX_NUMBER_LENGTH else Unreadable(f"a number of {len(digits):,} digits")
    )


def _constant(word: str) -> float | None:
    return None if word == "NaN" else float(word)


def _name(key: str) -> str:
    return key.encode("utf-8", "replace").decode()


def _usable(value: object) -> object:
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return Unreadable("text that is no Unicode")
    return value


_DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_constant=_constant, strict=False)
