"""2D convolutions by the kernels of `anon_jax.native`: float32 on CPUs, any batch sharding."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from anon_jax.native import library

# Strides along a row that the kernels are compiled for.
_MAX_STRIDE = 2

_switched_off = contextvars.ContextVar("switched_off", default=False)

Pair = tuple[int, int]


@contextlib.contextmanager
def xla_forms() -> Iterator[None]:
    """What is traced inside has XLA's operations alone: to count them, or to run elsewhere."""
    token = _switched_off.set(True)
    try:
        yield
    finally:
        _switched_off.reset(token)


def usable(x: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> bool:
    """Whether the kernels can convolve these, and are there.

    Not where a size is open (a symbolic one of jax.export): others could not run what is exported.
    """
    return (
        not _switched_off.get()
        and x.dtype == kernel.dtype == jnp.float32
        and all(isinstance(size, int) and size > 0 for size in x.shape)
        and max(strides) <= _MAX_STRIDE
        and library.load()
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv2d_direct(
    x: Float[Array, "n h w cin"],
    kernel: Float[Array, "kh kw cin cout"],
    strides: Pair,
    padding: Pair,
    size: Pair,
) -> Float[Array, "n oh ow cout"]:
    """The convolution with `padding` zeros above and left, and `size` = (oh, ow) outputs.

    What the outputs see below and on the right of x are zeros too. No forward-mode.
    """
    return _convolve(x, kernel, strides, padding, size)


def _forward(
    x: jax.Array, kernel: jax.Array, strides: Pair, padding: Pair, size: Pair
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    # By its own name: a gradient of the gradient goes through here.
    return conv2d_direct(x, kernel, strides, padding, size), (x, kernel)


def _backward(
    strides: Pair, padding: Pair, size: Pair, saved: tuple[jax.Array, ...], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    return (
        _input_gradient(x, kernel, strides, padding, gradient),
        _weight_gradient(x, gradient, kernel.shape[:2], strides, padding),
    )


conv2d_direct.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _weight_gradient(
    x: jax.Array, gradient: jax.Array, window: Pair, strides: Pair, padding: Pair
) -> jax.Array:
    """[kh, kw, cin, cout]; linear in both arrays, and so its own gradients are convolutions."""
    return _sum_of_products(x, gradient, window, strides, padding)


def _weight_gradient_forward(
    x: jax.Array, gradient: jax.Array, window: Pair, strides: Pair, padding: Pair
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _weight_gradient(x, gradient, window, strides, padding), (x, gradient)


def _weight_gradient_backward(
    window: Pair,
    strides: Pair,
    padding: Pair,
    saved: tuple[jax.Array, jax.Array],
    kernel: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, gradient = saved
    return (
        _input_gradient(x, kernel, strides, padding, gradient),
        conv2d_direct(x, kernel, strides, padding, gradient.shape[1:3]),
    )


_weight_gradient.defvjp(_weight_gradient_forward, _weight_gradient_backward)


def _input_gradient(
    x: jax.Array, kernel: jax.Array, strides: Pair, padding: Pair, gradient: jax.Array
) -> jax.Array:
    """At stride 1 the turned kernel over the gradients; else each sub-pixel phase of x by its own.

    Along an axis with stride s and padding p, position s*q + a of x meets tap s*d + (a + p) % s of
    output q + (a + p) // s - d, for each d.
    """
    turned = kernel[::-1, ::-1].swapaxes(2, 3)  # [kh, kw, cout, cin]
    if strides == (1, 1):
        pads = tuple(k - 1 - p for k, p in zip(kernel.shape[:2], padding, strict=True))
        return conv2d_direct(gradient, turned, strides, pads, x.shape[1:3])
    n, h, w, cin = x.shape
    (sh, sw), (ph, pw) = strides, padding
    rows, columns = -(-h // sh), -(-w // sw)

    def phase(a: int, b: int) -> jax.Array:
        first = ((a + ph) % sh, (b + pw) % sw)
        taps = kernel[first[0] :: sh, first[1] :: sw][::-1, ::-1].swapaxes(2, 3)
        shift = ((a + ph) // sh, (b + pw) // sw)
        pads = tuple(k - 1 - q for k, q in zip(taps.shape[:2], shift, strict=True))
        if 0 in taps.shape[:2]:
            return jnp.zeros((n, rows, columns, cin), gradient.dtype)
        return conv2d_direct(gradient, taps, (1, 1), pads, (rows, columns))

    phases = jnp.stack([jnp.stack([phase(a, b) for b in range(sw)], 3) for a in range(sh)], 2)
    # [n, rows, sh, columns, sw, cin] -> [n, rows*sh, columns*sw, cin]
    return phases.reshape(n, rows * sh, columns * sw, cin)[:, :h, :w]


def convolve_phase(x: jax.Array, taps: jax.Array, padding: Pair) -> jax.Array:
    """For `phases.conv2d_upsampled_in_phases`: as many outputs as inputs."""
    return conv2d_direct(x, taps, (1, 1), padding, x.shape[1:3])


def _call(name: str, shape: tuple[int, ...], *operands: jax.Array, **attributes: Any) -> jax.Array:
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(shape, jnp.float32))
    return call(*operands, **{key: np.int64(value) for key, value in attributes.items()})


def _attributes(strides: Pair, padding: Pair) -> dict[str, int]:
    names = ("stride_h", "stride_w", "pad_h", "pad_w")
    return dict(zip(names, (*strides, *padding), strict=True))


def _convolve(
    x: jax.Array, kernel: jax.Array, strides: Pair, padding: Pair, size: Pair
) -> jax.Array:
    return _convolve_images(x, kernel, _mark(strides, padding), strides, padding, size)


def _sum_of_products(
    x: jax.Array, gradient: jax.Array, window: Pair, strides: Pair, padding: Pair
) -> jax.Array:
    mark = _mark(strides, padding)
    return _sum_over_images(x, gradient, mark, window, strides, padding)


def _mark(strides: Pair, padding: Pair) -> jax.Array:
    """What no shape tells of a call, as an operand that nothing reads.

    A program that is still to be split over devices has nothing else of a call's static arguments,
    and by that program the cache of compiled ones finds what it has (see `library.load`).
    """
    return jnp.asarray([*strides, *padding, library.VERSION], jnp.int32)


@functools.partial(custom_partitioning, static_argnums=(3, 4, 5))
def _convolve_images(
    x: jax.Array, kernel: jax.Array, mark: jax.Array, strides: Pair, padding: Pair, size: Pair
) -> jax.Array:
    del mark
    shape = (x.shape[0], *size, kernel.shape[-1])
    return _call(library.CONVOLUTION, shape, x, kernel, **_attributes(strides, padding))


@functools.partial(custom_partitioning, static_argnums=(3, 4, 5))
def _sum_over_images(
    x: jax.Array, gradient: jax.Array, mark: jax.Array, window: Pair, strides: Pair, padding: Pair
) -> jax.Array:
    del mark
    shape = (*window, x.shape[-1], gradient.shape[-1])
    return _call(library.WEIGHT_GRADIENT, shape, x, gradient, **_attributes(strides, padding))


def _shard_images(function: Any, rule: str, **factors: tuple[str, ...]) -> None:
    """Devices that share the images convolve their own; what has no images is whole on each."""

    def partition(*arguments: Any) -> tuple[Any, ...]:
        *static, mesh, operands, _ = arguments
        spec = operands[0].sharding.spec
        images = spec[0] if spec else None
        whole = NamedSharding(mesh, PartitionSpec())
        own = NamedSharding(mesh, PartitionSpec(images))
        summed = "reduction_factors" in factors

        def lower(x: jax.Array, other: jax.Array, mark: jax.Array) -> jax.Array:
            y = function.fun(x, other, mark, *static)
            return lax.psum(y, images) if summed and images else y

        return mesh, lower, whole if summed else own, (own, own if summed else whole, whole)

    def infer(*arguments: Any) -> NamedSharding:
        return partition(*arguments)[2]

    function.def_partition(
        partition, infer_sharding_from_operands=infer, sharding_rule=rule, **factors
    )


_shard_images(
    _convolve_images,
    "n h w i, a b i o, m -> n y x o",
    need_replication_factors=("h", "w", "i", "a", "b", "o", "m", "y", "x"),
)
_shard_images(
    _sum_over_images,
    "n h w i, n y x o, m -> a b i o",
    reduction_factors=("n",),
    need_replication_factors=("h", "w", "i", "y", "x", "o", "m", "a", "b"),
)
