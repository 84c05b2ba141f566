"""How the C library keeps memory that was freed. Imports nothing heavy, so that it can be called first."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Parameters of glibc's mallopt."""

_NEVER = -1
_GROWTH_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Let this process use freed memory again instead of returning it; whether the system can.

    On a CPU XLA allocates a step's temporaries anew each time, in one block that glibc maps and
    unmaps: 290 000 page faults and a sixth of the time of a MiniLM step of 32 pairs. Only for a
    process that is ours, before it starts threads. Changes no number.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (_ARENA_MAX, 1),  # other arenas are too small for such a block, and map it all the same
        (_MMAP_MAX, 0),
        (_TRIM_THRESHOLD, _NEVER),
        (_TOP_PAD, _GROWTH_BYTES),
    )
    done = [mallopt(name, value) for name, value in settings]
    return all(done)
