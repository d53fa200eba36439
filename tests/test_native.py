"""The convolution kernels: how they are compiled, what they are used for, threads and devices."""

import os
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from anon_jax.models import convolutions, direct
from anon_jax.native import library

HAS_KERNELS = library.load()
needs_kernels = pytest.mark.skipif(not HAS_KERNELS, reason="no C++ compiler")


def _normal(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def _convolve(x, kernel):
    return convolutions.conv2d(x, kernel, (1, 1))


def _with_gradients(x, kernel, cotangent):
    value, pull = jax.vjp(_convolve, x, kernel)
    return value, *pull(cotangent)


def _script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@needs_kernels
def test_the_library_is_compiled_once(tmp_path, monkeypatch):
    library.open_library(library._compiler(), tmp_path)
    (made,) = tmp_path.iterdir()
    monkeypatch.setattr(library, "_compile", lambda *_: pytest.fail("compiled again"))
    assert library.open_library(library._compiler(), tmp_path)._name == str(made)


def _load_anew(monkeypatch, folder):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return library.load.__wrapped__()


def test_without_a_compiler_xla_convolves(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not _load_anew(monkeypatch, tmp_path / "cache")
    assert "no C++ compiler was found" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_a_compiler_that_fails_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    text = 'echo "x.cc:1: error: no such CPU" >&2; exit 1'
    monkeypatch.setenv("CXX", _script(tmp_path / "compiler", text))
    assert not _load_anew(monkeypatch, tmp_path / "cache")
    assert "compiler failed (x.cc:1: error: no such CPU)" in capsys.readouterr().err
    assert list((tmp_path / "cache" / "anon_jax").iterdir()) == []


def test_what_is_no_library_is_said(tmp_path, monkeypatch, capsys):
    text = 'for last; do :; done; echo nonsense > "$last"'
    monkeypatch.setenv("CXX", _script(tmp_path / "compiler", text))
    assert not _load_anew(monkeypatch, tmp_path / "cache")
    said = capsys.readouterr().err
    assert "invalid ELF header" in said or "too short" in said
    assert "ANON_JAX_NATIVE=0" in said


def test_without_a_home_xla_convolves(monkeypatch, capsys):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(library.Path, "home", no_home)
    monkeypatch.setenv("CXX", sys.executable)  # anything that is there
    assert not library.load.__wrapped__()
    assert "Could not determine home directory" in capsys.readouterr().err


def test_what_a_killed_compilation_left_is_removed(tmp_path, monkeypatch):
    left, running = tmp_path / "compiling-old", tmp_path / "compiling-new"
    for folder in (left, running):
        folder.mkdir()
    os.utime(left, (0, 0))
    compiler = _script(tmp_path / "compiler", "exit 1")
    with pytest.raises(subprocess.CalledProcessError):
        library.open_library(compiler, tmp_path)
    assert not left.exists()
    assert running.exists()  # another process may be at it


def test_the_environment_leaves_them_out(tmp_path, monkeypatch):
    monkeypatch.setenv("ANON_JAX_NATIVE", "0")
    assert not _load_anew(monkeypatch, tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_kernels
def test_programs_for_other_machines_have_no_kernels():
    x, kernel = _normal(0, (2, 8, 8, 4)), _normal(1, (3, 3, 4, 4))

    def text():
        return jax.jit(lambda *arguments: _convolve(*arguments)).lower(x, kernel).as_text()

    assert library.CONVOLUTION in text()
    with direct.xla_forms():
        assert library.CONVOLUTION not in text()
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = (jax.ShapeDtypeStruct((batch, *x.shape[1:]), jnp.float32), kernel)
    exported = jax.export.export(jax.jit(_convolve))(*shapes)
    assert library.CONVOLUTION not in exported.mlir_module()
    half = jax.jit(_convolve).lower(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert library.CONVOLUTION not in half.as_text()


@needs_kernels
def test_devices_convolve_their_own_images():
    arguments = (_normal(0, (8, 9, 7, 5)), _normal(1, (3, 3, 5, 6)), _normal(2, (8, 9, 7, 6)))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    placed = [jax.device_put(x, s) for x, s in zip(arguments, (split, whole, split), strict=True)]
    compiled = jax.jit(_with_gradients).lower(*placed).compile()
    assert library.CONVOLUTION in compiled.as_text()
    assert "all-gather" not in compiled.as_text()
    one, eight = _with_gradients(*arguments), compiled(*placed)
    for ours, theirs in zip(one[:2], eight[:2], strict=True):
        np.testing.assert_array_equal(ours, theirs)  # each image is convolved alone
    # Sums over the images, in another order: a few units in the last place.
    np.testing.assert_allclose(one[2], eight[2], rtol=1e-5, atol=1e-5)


_PROGRAM = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import hashlib, jax, numpy as np
from anon_jax.models import convolutions
rng = np.random.default_rng(0)
shapes = (6, 30, 26, 20), (3, 3, 20, 24), (6, 30, 26, 24)
x, kernel, cotangent = (rng.standard_normal(s).astype(np.float32) for s in shapes)
value, pull = jax.vjp(lambda x, k: convolutions.conv2d(x, k, (1, 1)), x, kernel)
results = b"".join(np.asarray(y).tobytes() for y in (value, *pull(cotangent)))
print(hashlib.sha256(results).hexdigest())
"""


@needs_kernels
def test_results_do_not_depend_on_the_number_of_threads():
    def digest(threads):
        command = [sys.executable, "-c", _PROGRAM, str(threads)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert digest(1) == digest(2)


_ON_FOUR_DEVICES = """
import jax, jax.numpy as jnp
jax.config.update("jax_num_cpu_devices", 4)
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from anon_jax.models import convolutions
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
x = jax.device_put(jnp.ones((4, 6, 6, 2)), NamedSharding(mesh, PartitionSpec("data")))
def total(kernel):
    return convolutions.conv2d(x, kernel, (1, 1)).sum()
jax.jit(jax.grad(total))(jnp.ones((3, 3, 2, 2)))
"""


@needs_kernels
def test_the_cache_of_compiled_programs_finds_those_of_several_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

    def programs():
        subprocess.run([sys.executable, "-c", _ON_FOUR_DEVICES], check=True, capture_output=True)
        return {path.name for path in tmp_path.iterdir() if not path.name.endswith("atime")}

    first = programs()
    assert any("total" in name for name in first)
    assert programs() == first
