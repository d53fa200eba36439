"""How glibc's allocator treats the large arrays of training steps on a CPU.

XLA frees the intermediate results of a step at its end. By default glibc gives arrays of that size
back to the system, and each page of the next step's is faulted in and zeroed anew.
"""

import ctypes
import importlib.metadata
import importlib.util
import os

import jax

# Parameters of mallopt(3), as glibc's malloc.h numbers them.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST = 2**31 - 1

_kept = False


def keep_memory() -> bool:
    """Memory that is freed stays with this process, for its next step to take.

    To be called before JAX starts its backend: threads that have an arena of their own keep it, and
    arenas but the main one give large arrays back all the same.

    Returns:
      Whether anything was changed: where an accelerator computes, or the C library is not glibc,
      nothing is.
    """
    global _kept
    if not computes_on_cpu() or not _has_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: _LARGEST}
    _kept = all(mallopt(parameter, value) == 1 for parameter, value in wanted.items())
    return _kept


def give_back() -> None:
    """What is free of the memory that `keep_memory` kept goes back to the system.

    Compiling a step and writing a checkpoint leave more than a step ever needs. The next step
    faults its pages in once more, so this is nothing to call after each.
    """
    if _kept:
        ctypes.CDLL(None).malloc_trim(0)


def computes_on_cpu() -> bool:
    """Whether JAX will: without starting a backend, which would start its threads."""
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
    if platforms:
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


def _has_glibc() -> bool:
    name = "CS_GNU_LIBC_VERSION"
    return name in getattr(os, "confstr_names", {}) and bool(os.confstr(name))
