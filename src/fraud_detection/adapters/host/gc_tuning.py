"""Keep Python's garbage collector away from the profiles.

It walks every living object again and again, and millions of buckets make it the largest cost of
a payment.  Profiles hold no cycles, so counting references frees them; what little cyclic
garbage there is (tracebacks) is collected among the young objects only, at `sweep`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def few_collections() -> Iterator[None]:
    """Switch automatic collection off inside; whoever runs long calls `sweep` now and then."""
    was_enabled = gc.isenabled()
    # Without a collection before: it would walk all there is, and what is garbage now stays little.
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def sweep() -> None:
    """Collect cycles among the young objects, and look at the survivors no more."""
    if not gc.isenabled():
        gc.collect(0)
        gc.freeze()
