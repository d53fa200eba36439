"""Compiles convolutions.cc for this machine's CPU, once, and makes its kernels known to XLA.

A package that is one file for all machines cannot carry machine code for each, and code for the
oldest of them would leave most of the vector units idle. So the first run compiles the source with
the C++ compiler that is there, for the CPU that is there, into a cache folder. Where there is no
compiler, runs go on with XLA's own operations.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import jax

from input_pipeline.progress import say

CONVOLUTION = "anon_jax_convolution"
WEIGHT_GRADIENT = "anon_jax_convolution_weight_gradient"

# Of how `models.direct` calls the kernels and splits them over devices: raised with each change,
# for compiled programs that were made before must not be taken for those of today.
VERSION = 1

# XLA's name of a kernel -> the function's in the library.
_SYMBOLS = {
    CONVOLUTION: "AnonConvolution",
    WEIGHT_GRADIENT: "AnonConvolutionWeightGradient",
}
_SOURCE = Path(__file__).with_name("convolutions.cc")
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fno-semantic-interposition", "-shared")
_COMPILERS = ("c++", "g++", "clang++")
_SECONDS = 300  # a compilation takes about ten
_UNFINISHED = "compiling-"  # begins the names of folders that compilers write into
_SWITCH = "ANON_JAX_NATIVE"


@functools.cache
def load() -> bool:
    """Whether XLA has the kernels; compiles them where nobody has on this machine.

    The environment's ANON_JAX_NATIVE=0 leaves them out. What keeps them from being there (no
    compiler, one that fails, no home, a folder that cannot be written) is said on stderr, once.
    """
    if os.environ.get(_SWITCH, "1") == "0" or os.name != "posix":
        return False
    compiler = _compiler()
    if compiler is None:
        say(
            "anon_jax: no C++ compiler was found (c++, g++, clang++, or $CXX), so convolutions run "
            "in XLA's own form, which is slower on a CPU"
        )
        return False
    try:
        library = open_library(compiler, _folder())
        for target, symbol in _SYMBOLS.items():
            function = jax.ffi.pycapsule(getattr(library, symbol))
            jax.ffi.register_ffi_target(target, function, platform="cpu")
        # Else the address of a Python object is part of the key by which JAX's cache of compiled
        # programs knows one that runs on several devices, and none is ever found again.
        jax.config.update("jax_remove_custom_partitioning_ptr_from_cache_key", True)
    except (OSError, RuntimeError, AttributeError, subprocess.SubprocessError) as error:
        say(
            f"anon_jax: the convolutions for this CPU are not there, {_reason(error)}; they run in "
            f"XLA's own form, which is slower. Mend it, or set {_SWITCH}=0 to leave them out"
        )
        return False
    return True


def open_library(compiler: str, folder: Path) -> ctypes.CDLL:
    """The compiled kernels, from `folder` or made there.

    Raises:
      OSError: the folder cannot be written, or what is there cannot be loaded.
      subprocess.SubprocessError: the compiler failed, or did not end.
    """
    path = folder / f"convolutions-{_key(compiler)}.so"
    if not path.exists():
        _compile(compiler, path)
    return ctypes.CDLL(str(path))


def _compiler() -> str | None:
    names = (os.environ["CXX"],) if os.environ.get("CXX") else _COMPILERS
    return next((found for found in map(shutil.which, names) if found), None)


def _folder() -> Path:
    """Where compiled libraries are kept: $XDG_CACHE_HOME/anon_jax, or ~/.cache/anon_jax."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anon_jax"


def _key(compiler: str) -> str:
    """What the library depends on: source, headers, flags, compiler, and what the CPU can do."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    parts = [
        *(path.read_text() for path in (_SOURCE, *sorted(_SOURCE.parent.glob("*.h")))),
        importlib.metadata.version("jaxlib"),
        repr(_FLAGS),
        os.path.realpath(compiler),
        platform.machine(),
        # The first of many cores; x86 calls its line "flags", ARM "Features".
        next((line for line in lines if line.startswith(("flags", "Features"))), ""),
        next((line for line in lines if line.startswith(("model name", "CPU part"))), ""),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compile(compiler: str, path: Path) -> None:
    """Into a file of another name first: others may compile the same, or this may be stopped."""
    say(f"anon_jax: compiling convolutions for this CPU into {path} (once, about ten seconds)")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{_UNFINISHED}*"):  # by a process that was killed
        if time.time() - left.stat().st_mtime > _SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_UNFINISHED) as folder:
        made = Path(folder) / path.name
        command = [
            *(compiler, *_FLAGS, _for_this_cpu()),
            *("-I", jax.ffi.include_dir(), str(_SOURCE), "-o", str(made)),
        ]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
        made.replace(path)


def _for_this_cpu() -> str:
    return "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"


def _reason(error: Exception) -> str:
    """One line of what went wrong."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in error.stderr.splitlines() if "error" in line.lower()]
        return f"for {error.cmd[0]} failed ({(lines or ['no message'])[0].strip()})"
    return f"for: {error}"
