"""Keep Python's cycle collector out of the way while many small objects are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the collector for a block that makes many objects and no cycles worth collecting.

    Each of its full collections walks the whole graph; a quarter of the time of a large model went
    there, and time then grew faster than the model.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
