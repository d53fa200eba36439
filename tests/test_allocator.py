"""Memory of large arrays stays with the process, and goes back when it is asked for."""

import os
import subprocess
import sys

import pytest

from anon_jax import allocator

pytestmark = pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="glibc's allocator"
)

# Arrays of 64 MiB, 16,384 pages of 4 KiB, as XLA takes them for each step: from malloc.
_PROGRAM = """
import ctypes, resource, sys
import jax
from anon_jax import allocator

PLATFORMS, ACTION = sys.argv[1:]
jax.config.update("jax_platforms", PLATFORMS)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def take():
    array = libc.malloc(2**26)
    ctypes.memset(array, 1, 2**26)
    libc.free(array)

def resident():  # bytes
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

print(allocator.keep_memory() if ACTION == "keep" else False)
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
before = resident()
allocator.give_back()
print(before - resident())
"""


def _measure(platforms: str, action: str) -> tuple[str, int, int]:
    """Whether memory is kept, page faults of four arrays, bytes that `give_back` gave back."""
    command = [sys.executable, "-c", _PROGRAM, platforms, action]
    # Large pages, where the environment asks for them, make fewer faults of as much memory.
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    kept, faults, bytes_back = done.stdout.split()
    return kept, int(faults), int(bytes_back)


def test_kept_memory_is_not_faulted_in_again():
    kept, faults, bytes_back = _measure("cpu", "keep")
    assert kept == "True"
    assert faults < 100
    assert bytes_back > 0.9 * 2**26


@pytest.mark.parametrize(("platforms", "action"), [("cpu", "leave"), ("cuda,cpu", "keep")])
def test_memory_that_nobody_keeps_is_faulted_in_each_time(platforms, action):
    kept, faults, bytes_back = _measure(platforms, action)
    assert kept == "False"
    assert faults > 0.9 * 4 * 2**26 / 4096
    assert bytes_back < 0.1 * 2**26


def test_without_glibc_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(os, "confstr_names", {})
    assert not allocator.keep_memory()
    allocator.give_back()
