"""How this process keeps house with memory that tensors on a CPU have left: kept for the next batch, or given back.

A batch's maps are megabytes each. glibc gives such blocks back to the system as soon as they are free and asks for
them again a moment later; the system then clears each page of 4 KiB anew, which takes up to half the time of an answer
(docs/log.md). These functions speak to glibc; with another C library they do nothing.
"""

import ctypes
import mmap
import os
from functools import cache

#: Numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
#: Blocks of at least this size come from the system and go back to it, whatever is said: an `int` says it.
LARGEST = 2**31 - 1
#: Room at the heap's end that is asked to be made of large pages, in blocks that glibc hands out in one piece.
ADVISED, BLOCK = 4 << 30, 1 << 30
#: What this process does: nothing yet, keep, or, for good, give back at once.
_kept = _bounded = False


@cache
def _libc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  (musl has a mallopt that does nothing)
    except (OSError, AttributeError, TypeError):
        return None
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return library


def keep() -> None:
    """Keep what tensors leave for those that come, from now on; not where it is bounded, or glibc was told before."""
    global _kept
    library = _libc()
    if _kept or _bounded or library is None or _told():
        return
    _kept = True
    library.mallopt(M_MMAP_THRESHOLD, LARGEST)
    library.mallopt(M_TRIM_THRESHOLD, -1)
    library.mallopt(M_ARENA_MAX, 1)  # a thread's own heap has no room for large maps
    _advise(library)


def _told() -> bool:
    """Whether the environment has said already how glibc shall do it: ``man mallopt``."""
    return any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")


def _advise(library: ctypes.CDLL) -> None:
    """Ask for large pages where the heap will grow: fewer faults, fewer misses of the processor's page table.

    The room is taken and freed untouched: it costs addresses, no memory. A system that has no large pages, or not as
    much room, does without.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    blocks = [at for _ in range(ADVISED // BLOCK) if (at := library.malloc(BLOCK))]
    for at in blocks:
        first = -(-at // mmap.PAGESIZE) * mmap.PAGESIZE
        library.madvise(first, at + BLOCK - first & -mmap.PAGESIZE, mmap.MADV_HUGEPAGE)
    for at in blocks:
        library.free(at)


def release() -> None:
    """Give back once what lies free now, so that what the process holds is what it needs."""
    library = _libc()
    if library is None:
        return
    library.malloc_trim(0)
    if _kept and not _bounded:
        _advise(library)


def give_back() -> None:
    """Let freed maps go back to the system at once, from now on.

    Otherwise small gradients settle in the holes that freed maps leave, and the larger maps of earlier stages do not
    fit into what is left between them: recomputing would then save less than half of what it can.
    """
    global _bounded
    _bounded = True
    library = _libc()
    if library is not None:
        library.mallopt(M_MMAP_THRESHOLD, 2**17)
        library.mallopt(M_TRIM_THRESHOLD, 2**28)
        library.malloc_trim(0)
