"""Number the distinct values of a column of text, batch by batch, without keeping an object a row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class TextCodes:
    """Gathers texts, and numbers them in the order of their code points.

    >>> codes = TextCodes()
    >>> codes.add(np.array(["b", "c"], object))
    >>> codes.add(np.array(["a", "c"], object))
    >>> codes.numbers().tolist()
    [1, 2, 0, 2]
    """

    def __init__(self) -> None:
        """Begin without any text."""
        self._values = pa.array([], pa.large_string())
        self._batches: list[np.ndarray] = []

    def add(self, texts: np.ndarray) -> None:
        """Append a batch of texts, shape (m,)."""
        encoded = pa.array(texts, pa.large_string()).dictionary_encode()
        own = encoded.dictionary
        known = pc.index_in(own, value_set=self._values)
        number = known.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        new = number < 0
        number[new] = len(self._values) + np.arange(int(new.sum()), dtype=np.int32)
        self._values = pa.concat_arrays([self._values, own.filter(pa.array(new))])
        self._batches.append(number[encoded.indices.to_numpy()])

    def numbers(self) -> np.ndarray:
        """Return the number of each text among the distinct ones in their order, int32, shape (n,)."""
        order = pc.sort_indices(self._values).to_numpy()
        rank = np.empty(order.size, np.int32)
        rank[order] = np.arange(order.size, dtype=np.int32)
        return rank[np.concatenate(self._batches)] if self._batches else np.zeros(0, np.int32)
