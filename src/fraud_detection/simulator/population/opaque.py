"""Ids that look like nothing, and are the same in every run.

A bijective mixer turns counters into 64-bit codes; codes become hexadecimal text
of a fixed width, a column at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fraud_detection.simulator.settings import Codes

Texts = npt.NDArray[np.bytes_]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_PAIRS = np.frombuffer(bytes(range(256)).hex().encode(), dtype=np.uint16)


def mix(values: npt.NDArray[Any]) -> Codes:
    """Scramble 64-bit numbers one to one (the finaliser of SplitMix64).

    >>> mix(np.arange(2)).tolist()
    [16294208416658607535, 10451216379200822465]
    """
    codes: Codes = values.astype(np.uint64) + _GOLDEN
    codes = (codes ^ (codes >> np.uint64(30))) * _FIRST
    codes = (codes ^ (codes >> np.uint64(27))) * _SECOND
    mixed: Codes = codes ^ (codes >> np.uint64(31))
    return mixed


def combine(salt: int, *parts: npt.NDArray[Any]) -> Codes:
    """Turn several whole numbers a row into one code; `salt` keeps kinds of ids apart."""
    codes = mix(np.asarray([salt]))
    for part in parts:
        codes = mix(codes ^ part.astype(np.uint64))
    return codes


def hexadecimal(codes: Codes, digits: int = 16, prefix: str = "") -> Texts:
    """Write codes as text of a fixed width.

    >>> hexadecimal(np.asarray([255], dtype=np.uint64), prefix="t").tolist()
    [b't00000000000000ff']
    """
    pairs = _PAIRS[codes.astype(">u8").view(np.uint8).reshape(-1, 8)].view(np.uint8)
    width = len(prefix) + digits
    letters = np.empty((len(codes), width), dtype=np.uint8)
    letters[:, : len(prefix)] = np.frombuffer(prefix.encode(), dtype=np.uint8)
    letters[:, len(prefix) :] = pairs[:, 16 - digits :]
    return letters.reshape(-1).view(f"S{width}")


def numbered(count: int, prefix: str) -> Texts:
    """Return the names of `count` things, padded to one width.

    >>> numbered(2, "m").tolist()
    [b'm00000', b'm00001']
    """
    return np.asarray([f"{prefix}{number:05d}".encode() for number in range(count)] or [b""])
