"""Freed memory is used again without a page fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import ctypes, resource, sys, threading
from specrun.runtime.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = libc.memset.argtypes = None
SIZE = 256 << 20

def once():
    block = libc.malloc(SIZE)
    libc.memset(ctypes.c_void_p(block), 1, ctypes.c_size_t(SIZE))
    libc.free(ctypes.c_void_p(block))

def measure():
    once()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    once()
    print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=measure)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_a_freed_block_is_used_again_by_any_thread():
    def faults(mode: str) -> tuple[str, int]:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, mode],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        kept, count = done.stdout.split()
        return kept, int(count)

    kept, count = faults("keep")
    if kept != "True":
        pytest.skip("this C library has no mallopt")
    assert count < 100
    assert faults("default")[1] > 1000
